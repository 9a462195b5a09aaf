"""How a strategy looks wherever a report shows it: colour, dash and marker.

Nobody has to tell strategies apart by colour: of the first dozens no two share dash and marker, so that a print in grey
and colour-blind readers do. Colours are Okabe and Ito's and Paul Tol's, which stay apart under colour blindness, in an
order in which those that share a marker differ in lightness too.

A look follows from a strategy's place in the registry, not from what it is compared with. References (what adaptation
is measured against) have looks of their own. Names that the registry does not hold come after those that it does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from markupsafe import Markup

from ...adapt.strategies import STRATEGIES

Polygon = tuple[tuple[float, float], ...]


def _ring(*radii: float, corners: int, turn: float = 0.0) -> Polygon:
    """Corners around the middle, the first at the top turned by `turn` degrees; radii alternate."""
    angles = [math.radians(90 - turn - 360 * i / corners) for i in range(corners)]
    rounds = [(radii[i % len(radii)], angle) for i, angle in enumerate(angles)]
    return tuple((round(r * math.cos(a), 3), round(r * math.sin(a), 3)) for r, a in rounds)


CIRCLE = _ring(0.88, corners=24)
SQUARE = _ring(1.12, corners=4, turn=45)
DIAMOND = _ring(1.0, corners=4)
STAR = _ring(1.0, 0.42, corners=10)
UP, RIGHT, DOWN, LEFT = (_ring(1.0, corners=3, turn=turn) for turn in (0, 90, 180, 270))
HOURGLASS: Polygon = ((-0.8, 0.9), (0.8, 0.9), (-0.8, -0.9), (0.8, -0.9))
BAR: Polygon = ((-0.3, 1.0), (0.3, 1.0), (0.3, -1.0), (-0.3, -1.0))
_T = 0.32
PLUS: Polygon = (
    *((-_T, 1.0), (_T, 1.0), (_T, _T), (1.0, _T), (1.0, -_T), (_T, -_T)),
    *((_T, -1.0), (-_T, -1.0), (-_T, -_T), (-1.0, -_T), (-1.0, _T), (-_T, _T)),
)
CROSS: Polygon = tuple((round(0.74 * (x - y), 3), round(0.74 * (x + y), 3)) for x, y in PLUS)

COLOURS = ("#0072B2", "#B5559A", "#E69F00", "#332288", "#882255", "#56B4E9", "#A6A63A")
DASHES: tuple[tuple[float, ...], ...] = ((), (3.7, 1.6), (1, 1.4), (6, 1.6, 1, 1.6), (6, 1.6, 1, 1.6, 1, 1.6))
"""Lengths of line and gap in widths of the line; () is a solid one."""
SHAPES = (CIRCLE, SQUARE, UP, DIAMOND, DOWN, HOURGLASS, RIGHT, LEFT)
REFERENCE_COLOURS = ("#000000", "#D55E00", "#7A7A7A", "#009E73")
REFERENCE_DASHES = (DASHES[3], DASHES[0], DASHES[1], DASHES[2])
REFERENCE_SHAPES = (PLUS, CROSS, BAR, STAR)


@dataclass(frozen=True)
class Look:
    colour: str
    dash: tuple[float, ...]
    shape: Polygon
    """The marker's corners, x right and y up, within about 1 of the middle."""
    hollow: bool

    @property
    def fill(self) -> str:
        return "#FFFFFF" if self.hollow else self.colour

    @property
    def mark(self) -> Markup:
        """The marker alone, as SVG."""
        return _svg("mark", 13, 13, self._marker(6.5))

    @property
    def line(self) -> Markup:
        """A piece of the line with its marker."""
        dashes = f' stroke-dasharray="{" ".join(f"{2.4 * part:g}" for part in self.dash)}"' if self.dash else ""
        line = f'<path d="M0 6.5H36" fill="none" stroke="{self.colour}" stroke-width="2.4"{dashes}/>'
        return _svg("mark", 36, 13, line + self._marker(18))

    @property
    def bar(self) -> Markup:
        """The beginning of a bar behind its marker."""
        bar = f'<rect x="14" y="1.5" width="14" height="10" fill="{self.colour}"/>'
        return _svg("mark", 28, 13, self._marker(6) + bar)

    def _marker(self, middle: float) -> str:
        corners = " ".join(f"{middle + 4.6 * x:.1f},{6.5 - 4.6 * y:.1f}" for x, y in self.shape)
        return f'<polygon points="{corners}" fill="{self.fill}" stroke="{self.colour}" stroke-width="1.4"/>'


def _svg(kind: str, width: int, height: int, content: str) -> Markup:
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return Markup(f'<svg class="{kind}" aria-hidden="true" {size}>{content}</svg>')


def adapting(place: int) -> Look:
    """The look of the strategy that adapts at this place among its like."""
    lap, turn = place // len(COLOURS), place // len(SHAPES)
    return Look(
        COLOURS[place % len(COLOURS)], DASHES[lap % len(DASHES)], SHAPES[place % len(SHAPES)], hollow=turn % 2 == 1
    )


def reference(place: int) -> Look:
    """The look of the reference at this place among its like."""
    turn, each = divmod(place, len(REFERENCE_COLOURS))
    dash = REFERENCE_DASHES[(each + turn) % len(REFERENCE_DASHES)]
    return Look(REFERENCE_COLOURS[each], dash, REFERENCE_SHAPES[each], hollow=turn % 2 == 1)


def looks(names: Sequence[str]) -> dict[str, Look]:
    """The look of each of all the strategies that a report shows."""
    places, references = count(), count()
    known = {
        name: adapting(next(places)) if kind.adapts else reference(next(references))
        for name, kind in STRATEGIES.items()
    }
    unknown = {name: adapting(next(places)) for name in sorted(set(names) - set(known))}
    return {name: (known | unknown)[name] for name in names}
