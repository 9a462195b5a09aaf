"""Charts of the report: SVG pictures as data URIs, one look per strategy throughout.

Drawn with `matplotlib.figure.Figure` alone: pyplot keeps global state. Text stays text in the SVG, so that the
viewer's own font is used. Legends are HTML beside the chart, where they wrap on a phone and are read aloud.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .looks import Look

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "keyshift",
    "font.size": 10,
    "font.family": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8A8F98",
    "axes.labelcolor": "#3D434D",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E8EC",
    "grid.linewidth": 0.8,
    "text.parse_math": False,
    "xtick.color": "#8A8F98",
    "ytick.color": "#8A8F98",
    "xtick.labelcolor": "#3D434D",
    "ytick.labelcolor": "#3D434D",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.solid_capstyle": "round",
}
WIDTH = 4.8
NARROW = 3.7
"""Inches: drawn about as wide as the page shows them, so that letters keep their size."""
MOST_POINTS = 240
MARKERS = 0.17
"""Between two markers on a line, as a share of the picture's diagonal."""


@dataclass(frozen=True)
class Chart:
    title: str
    picture: str
    """Data URI."""
    alt: str
    notes: dict[str, str] = field(default_factory=dict)
    """What the legend says after a strategy's name; its keys are the strategies drawn."""


Line = tuple[np.ndarray, np.ndarray]
"""x (S,), y (S,); NaN in y breaks a line."""


def bars(
    title: str,
    values: dict[str, dict[str, tuple[float | None, float | None]]],
    labels: Sequence[str],
    axis: str,
    scale: float,
    end: float,
    look: Mapping[str, Look],
) -> Chart:
    """Grouped horizontal bars: values {strategy: {label: (mean, std)}}, labels from top to bottom. Values are drawn
    `scale` times as large, on an axis from 0 to `end`; before each bar stands its strategy's marker."""
    group = (0.12 if len(values) <= 8 else 0.095) * len(values) + 0.14  # inches
    whole = max(0.8, 1 - 0.2 / group)  # the share of it that bars fill
    slot = whole / max(1, len(values))
    with _figure(0.7 + len(labels) * group) as (axes, finish):
        for place, (name, row) in enumerate(values.items()):
            at = np.arange(len(labels)) - whole / 2 + (place + 0.5) * slot
            pairs = [row.get(label, (None, None)) for label in labels]
            mean, std = (np.array([scale * _number(pair[i]) for pair in pairs]) for i in (0, 1))
            axes.barh(at, np.nan_to_num(mean), slot * 0.86, color=look[name].colour, linewidth=0)
            known = np.isfinite(mean) & np.isfinite(std)
            axes.errorbar(mean[known], at[known], xerr=std[known], fmt="none", ecolor="#22262E", elinewidth=0.9)
            shown, outside = np.isfinite(mean), axes.get_yaxis_transform()
            marks = _marker(look[name], 4.6) | {"linestyle": "none", "clip_on": False, "transform": outside}
            axes.plot(np.full(shown.sum(), -0.016), at[shown], **marks)
        axes.set_yticks(np.arange(len(labels)), [_label(label) for label in labels])
        axes.set_ylim(len(labels) - 0.45, -0.55)
        axes.set_xlim(0, end)
        axes.set_xlabel(axis)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0, pad=10)
        return Chart(title, finish(), f"Bar chart: {title}, one bar for each strategy.", dict.fromkeys(values, ""))


def lines(
    title: str,
    series: dict[str, list[Line]],
    labels: tuple[str, str],
    look: Mapping[str, Look],
    *,
    percent: bool = False,
    mark: float | None = None,
    notes: dict[str, str] | None = None,
    width: float = WIDTH,
) -> Chart:
    """Each strategy's mean over seeds as a thick line with markers, its seeds as thin ones. `mark`: a vertical line."""
    scale = 100 if percent else 1
    with _figure(0.64 * width, width) as (axes, finish):
        if mark is not None:
            axes.axvline(mark, color="#8A8F98", linewidth=0.9, linestyle=(0, (2, 3)))
        for place, (name, seeds) in enumerate(series.items()):
            colour, dash = look[name].colour, look[name].dash
            for x, y in seeds if len(seeds) > 1 else ():
                axes.plot(*_thinned(x, scale * y), color=colour, linewidth=0.7, alpha=0.4)
            x, y = _thinned(*mean_line(seeds))
            first = MARKERS * place / len(series)  # the markers of neighbours stand beside each other
            every = (first, MARKERS) if len(x) > 1 else None
            style = (0, dash) if dash else "solid"
            marker = _marker(look[name], 5.6)
            axes.plot(x, scale * y, color=colour, linestyle=style, linewidth=1.8, markevery=every, **marker)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if percent:
            axes.set_ylim(bottom=0, top=min(100, axes.get_ylim()[1]))
        if labels[0] == "step":
            axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}".replace(",", " ")))
        notes = notes if notes is not None else dict.fromkeys(series, "")
        return Chart(title, finish(), f"Line chart: {title}, {labels[1]} over {labels[0]}. {_spoken(notes)}", notes)


def forest(title: str, values: Mapping[str, tuple[float, ...]], axis: str, look: Mapping[str, Look]) -> Chart:
    """Each strategy's (mean, low, high) as a marker on its interval, from top to bottom, beside a line at zero."""
    with _figure(0.8 + 0.19 * len(values), NARROW) as (axes, finish):
        axes.axvline(0, color="#8A8F98", linewidth=0.9)
        for at, (name, (mean, low, high)) in enumerate(values.items()):
            axes.plot([low, high], [at, at], color=look[name].colour, linewidth=1.4)
            axes.plot([mean], [at], linestyle="none", **_marker(look[name], 6.5))
        axes.set_yticks([])
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.set_xlabel(axis)
        spoken = {name: f"{mean:+.1f}" for name, (mean, _, _) in values.items()}
        return Chart(title, finish(), f"Intervals: {title}, {axis}. {_spoken(spoken)}", spoken)


def scatter(
    title: str, points: Mapping[str, tuple[float, float]], labels: tuple[str, str], look: Mapping[str, Look]
) -> Chart:
    """Each strategy's (x, y) as its marker, the lowest y at the top."""
    with _figure(0.6 * WIDTH) as (axes, finish):
        for name, (x, y) in points.items():
            axes.plot([x], [y], linestyle="none", clip_on=False, **_marker(look[name], 8))
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.margins(0.08)
        axes.invert_yaxis()
        notes = {name: f"{x:.1f} ×, {y:.1f}" for name, (x, y) in points.items()}
        return Chart(title, finish(), f"Points: {title}, {labels[1]} over {labels[0]}. {_spoken(notes)}", notes)


def mean_line(seeds: Sequence[Line]) -> Line:
    """The mean over seeds at the x that all seeds have: a mean over a changing set of seeds would jump."""
    shared = seeds[0][0]
    for x, _ in seeds[1:]:
        shared = np.intersect1d(shared, x)
    if not len(shared):
        return shared, shared
    return shared, np.mean([y[np.isin(x, shared)] for x, y in seeds], axis=0)


@contextmanager
def _figure(height: float, width: float = WIDTH) -> Iterator[tuple[Axes, Callable[[], str]]]:
    with rc_context(STYLE):
        figure = Figure((width, height), layout="constrained")
        yield figure.subplots(), lambda: _data_uri(figure)


def _marker(look: Look, size: float) -> dict[str, Any]:
    """Of a line, in points."""
    corners = [*look.shape, look.shape[0]]
    colours = {"markerfacecolor": look.fill, "markeredgecolor": look.colour, "markeredgewidth": 1.1}
    return {"marker": corners, "markersize": size, **colours}


def _data_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Names may be in any script: the browser has the letters, though the font that measures them here may not.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support .* natively")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue().decode().replace("'DejaVu Sans'", "system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans'")
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _thinned(x: np.ndarray, y: np.ndarray) -> Line:
    """At most MOST_POINTS points, means of neighbours: a long run's losses would fill megabytes."""
    if len(x) <= MOST_POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), MOST_POINTS)
    return np.array([x[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])


def _label(text: str, longest: int = 22) -> str:
    """Control characters break an SVG, and a long name would leave no room for the bars."""
    plain = "".join(letter for letter in text if letter.isprintable())
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def _spoken(notes: dict[str, str]) -> str:
    return "; ".join(f"{name}: {note}" if note else name for name, note in notes.items()) + "."


def _number(value: float | None) -> float:
    return np.nan if value is None else value
