"""What a scene of several hands is: one camera, light and background, and hands at their own places before them.

Two hands, a right and a left one, belong to one subject: they share bones, skin and sleeves. Neighbouring indices (see
`BLOCK`) show the same subjects. Hands hide each other in part, and hardly ever go through one another.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .hand_anatomy import sample_subject
from .hand_flesh import PARTS, Flesh
from .hand_scene import (
    BLOCK,
    Hand,
    Style,
    draw_camera,
    draw_cloth,
    draw_hand,
    draw_paint,
    draw_skin,
    draw_surroundings,
    draws_of,
    generator,
    held,
)
from .occluders import OCCLUDERS, draw_occluders

Array = np.ndarray
MOST = 8
"""Hands in a picture."""
SPAN = 160.0
"""mm, the larger extent of a typical hand's joints, by which the focal length is chosen."""
SHARE = 0.68
"""How large a typical hand is in the picture, against the style's pictures of one hand; of more than `FEW` hands, all
are smaller, so that their boxes take as much of the picture as those of `FEW`."""
FEW = 4
CROWDED = 0.5
"""Share of hands that are placed beside another one, instead of anywhere."""
APART = 0.35
"""Distance of the middles of two hands in the picture, in extents of theirs: less of it hides too much of one."""
TRIES = 60
LONGER = 1.8
"""Of arms, against those of pictures of one hand, so that most end beyond the picture."""
PLACES = np.linspace(0, 1, 7)
"""Where along an arm's axis spheres stand for its flesh; of a hand's cones every third place is enough."""
ARM = np.array([name.startswith(("arm", "sleeve")) for name in PARTS[:-OCCLUDERS]])
"""(N,) of the cones of `Flesh`."""


def hands_in(look: Style, seed: int, index: int, lowest: int, highest: int) -> int:
    """How many hands a scene has, `lowest` to `highest`."""
    return int(generator(f"{look.name}/hands", seed, 1, index).integers(lowest, highest + 1))


def draw_group(
    look: Style, seed: int, index: int, size: int, pictures: tuple[str, ...], count: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All that a picture of `count` hands is made from, as small arrays: what they share, and of each hand its own. A
    picture of none has one that is absent."""
    apart = look.dials is not None
    draws = draws_of(f"{look.name}/hands", seed, index, apart)
    camera = group_camera(draws("frame"), look, size, count)
    around = draw_surroundings(draws, look, size, pictures)
    hands: list[dict[str, Any]] = []
    placed: list[Placed] = []
    for slot in range(max(count, 1)):
        own = generator(f"{look.name}/subject{slot // 2}", seed, 1, index // BLOCK)
        subject, skin, cloth = sample_subject(own, look.anatomy), draw_skin(own, look), draw_cloth(own)
        of_hand = draws_of(f"{look.name}/hand{slot}", seed, index, apart)
        hand = draw_hand(of_hand, look, subject, None if slot % 2 == 0 else not hands[-1]["right"])
        hand = replace(hand, flesh=long_armed(hand.flesh))
        placed.append(place_hand(of_hand("frame"), look, hand, spheres_of(hand.flesh), camera, size, placed))
        before = draw_occluders(of_hand("occluders"), look.occlusion, hand.joints + placed[-1].shift)
        made = held(hand, placed[-1].shift, before, cloth["sleeve"], draw_paint(of_hand, look))
        key = np.array(of_hand("noise").integers(-(2**31), 2**31), dtype=np.int32)
        hands.append({**made, **skin, "weave": cloth["weave"], "key": key})
    if not count:
        hands[0]["radii"] = np.zeros_like(hands[0]["radii"])
    return {"camera": camera, **around, **draw_camera(draws, look, size)}, hands


def group_camera(rng: np.random.Generator, look: Style, size: int, count: int) -> Array:
    """(4,) The camera's axis goes through the middle of the picture, which shows hands at all the style's distances."""
    share = SHARE * min(1.0, FEW / max(count, 1)) ** 0.5
    focal = rng.uniform(*look.fill) * share * size * np.mean(look.distance) / SPAN
    return np.array([focal, focal, size / 2, size / 2])


def long_armed(body: Flesh) -> Flesh:
    """Arms that seldom end within the picture."""
    return replace(body, b=np.where(ARM[:, None], body.a + LONGER * (body.b - body.a), body.b))


def spheres_of(body: Flesh) -> tuple[Array, Array]:
    """Centres (N, 3) and radii (N,) mm of spheres that stand for a hand's flesh."""
    share = PLACES[:, None, None]
    centres, radii = body.a + share * (body.b - body.a), body.radii[:, :1].T + share[..., 0] * np.diff(body.radii).T
    kept = (radii > 0) & (ARM | (np.arange(len(PLACES)) % 3 == 0)[:, None])
    return centres[kept], radii[kept]


class Placed:
    """A hand at its place in a picture."""

    def __init__(self, hand: Hand, spheres: Array, radii: Array, camera: Array, middle: Array, distance: float) -> None:
        """`middle` (2,) px of the joints' middle, `distance` mm; `spheres` (N, 3) mm stand for its flesh."""
        low, high = hand.joints.min(0), hand.joints.max(0)
        away = np.append((middle - camera[2:]) / camera[:2], 1.0) * distance
        self.middle, self.shift = middle, away - (low + high) / 2
        self.extent = float(camera[0] * (high - low)[:2].max() / distance)
        self.spheres, self.radii = spheres + self.shift, radii

    def room(self, other: Placed) -> float:
        """1 where two hands neither meet nor hide too much of one another."""
        from scipy.spatial.distance import cdist

        off = np.linalg.norm(self.middle - other.middle) / (APART * (self.extent + other.extent) / 2)
        if off < 1:
            return float(off - 1)
        gap = cdist(self.spheres, other.spheres) - self.radii[:, None] - other.radii
        return float(1 + min(gap.min(), 0) / SPAN)


def place_hand(
    rng: np.random.Generator,
    look: Style,
    hand: Hand,
    body: tuple[Array, Array],
    camera: Array,
    size: int,
    others: list[Placed],
) -> Placed:
    """A place beside other hands for one with the spheres `body`, as `spheres_of` gives them: of `TRIES` draws the
    first that leaves the others room, else the one that leaves most."""
    best, most = None, -np.inf
    for _ in range(TRIES):
        distance = rng.uniform(*look.distance)
        # As in pictures of one hand: its joints stay in the picture, but for what the style cuts off.
        extent = camera[0] * np.ptp(hand.joints[:, :2], 0) / distance
        edge = np.maximum(size / 2 - extent / 2 - 0.03 * size + look.cut * size, 0)
        middle = size / 2 + edge * rng.uniform(-1, 1, 2)
        if others and rng.random() < CROWDED:
            beside = others[int(rng.integers(len(others)))]
            near = beside.middle + (beside.extent + extent) / 2 * rng.uniform(-1, 1, 2)
            middle = near.clip(size / 2 - edge, size / 2 + edge)
        one = Placed(hand, *body, camera, middle, distance)
        room = min((one.room(other) for other in others), default=1.0)
        if room > most:
            best, most = one, room
        if room >= 1:
            break
    assert best is not None
    return best
