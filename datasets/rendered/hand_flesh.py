"""The hand's surface: round cones around the bones, and which joint each part of a cone belongs to.

A joint's own surroundings are the adjoining halves of its bones and the flesh that it lies in. A bone that points at
the camera hides its far joint: its near half belongs to the other one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .hand_anatomy import Pose, Subject
from .occluders import OCCLUDERS

Array = np.ndarray
FINGER_NAMES = ("thumb", "index", "middle", "ring", "little")
FOREARM = 240.0
"""mm from the wrist to where the arm ends."""


@dataclass(frozen=True)
class Flesh:
    """N round cones of one hand and arm, in the hand's frame (a right hand)."""

    a: Array
    """(N, 3) mm."""
    b: Array
    """(N, 3) mm."""
    radii: Array
    """(N, 2) mm; 0 where a part is absent."""
    back: Array
    """(N, 3) unit vectors to the side where a nail would be; zeros off the fingers."""


Row = tuple[str, tuple[int, ...], tuple[int, ...], float, float, int]


def _layout() -> list[Row]:
    """Every cone, in the order of `flesh`, and what may stand before them: its name, the joints that own its first and
    its last part, where along it those parts end and begin, and its finger segment (as `SEGMENT`)."""
    rows: list[Row] = []
    for f, finger in enumerate(FINGER_NAMES):
        for s in range(3):
            start = 1 + 4 * f + s
            rows.append((f"{finger}_{s}", (start,), (start + 1,), 0.5, 0.5, 3 * f + s))
    for f in range(1, 5):
        rows.append((f"metacarpal_{f}", (0,), (1 + 4 * f,), 0.25, 0.6, -1))
    for f in range(1, 4):
        rows.append((f"between_{f}", (0,), (1 + 4 * f, 5 + 4 * f), 0.25, 0.6, -1))
    for f in range(1, 4):
        rows.append((f"web_{f}", (1 + 4 * f,), (5 + 4 * f,), 0.5, 0.5, -1))
    rows += [
        ("pad_radial", (5,), (9,), 0.5, 0.5, -1),
        ("pad_ulnar", (13,), (17,), 0.5, 0.5, -1),
        ("heel", (0, 1), (0,), 0.5, 0.5, -1),
        ("thenar", (0, 1), (2,), 0.5, 0.6, -1),
        ("thenar_inner", (0, 1), (), 0.5, 1.0, -1),
        ("thumb_web", (), (), 0.5, 0.5, -1),
        ("thumb_web_edge", (2,), (), 0.3, 1.0, -1),
        ("hypothenar", (0,), (17,), 0.3, 0.7, -1),
        ("carpus_radial", (0, 1), (0, 1), 0.5, 0.5, -1),
        ("carpus_ulnar", (0,), (0,), 0.5, 0.5, -1),
        ("arm_radial", (0,), (), 0.1, 2.0, -1),
        ("arm_ulnar", (0,), (), 0.1, 2.0, -1),
        ("arm_middle", (0,), (), 0.1, 2.0, -1),
        ("sleeve_radial", (), (), 0.5, 0.5, -1),
        ("sleeve_ulnar", (), (), 0.5, 0.5, -1),
        *((f"occluder_{n}", (), (), 0.5, 0.5, -1) for n in range(OCCLUDERS)),
    ]
    return rows


LAYOUT = _layout()
PARTS = tuple(row[0] for row in LAYOUT)
SPLIT = np.array([row[3:5] for row in LAYOUT])
"""(N, 2) where along a cone, 0 to 1, its first joint's surroundings end and its last joint's begin."""
SEGMENT = np.array([row[5] for row in LAYOUT])
"""(N,) which of the 15 finger segments (3 * finger + segment, thumb first) a cone is; -1 for palm and arm."""
CLOTH = np.array([name.startswith(("sleeve", "occluder")) for name in PARTS])
"""(N,) whether a cone is a sleeve or stands before the hand: it has a colour of its own, not the skin's."""
OF_HAND = np.array([not name.startswith(("arm", "sleeve", "occluder")) for name in PARTS])
"""(N,) whether a cone is the hand's, and not the arm's: what boxes are drawn around."""


def _owners() -> Array:
    owns = np.zeros((3, len(LAYOUT), 21), dtype=bool)
    for n, row in enumerate(LAYOUT):
        owns[0, n, list(row[1])] = True
        owns[2, n, list(row[2])] = True
    return owns


OWNS = _owners()
"""(3, N, 21) whether the first, middle and last part of a cone are the joint's own surroundings."""


def flesh(subject: Subject, pose: Pose, sleeve: float) -> Flesh:
    """Clothe a pose in flesh. `sleeve` is where the sleeve begins, mm from the wrist; infinite for a bare arm."""
    j, k, g = pose.joints, subject.scale, subject.scale * subject.girth
    a, b, radii = _fingers(subject, pose)

    def add(start: Array, end: Array, first: float, second: float) -> None:
        a.append(start)
        b.append(end)
        radii.append((first * g, second * g))

    def mix(p: Array, q: Array, share: float) -> Array:
        return p + share * (q - p)

    def at(x: float, y: float, z: float) -> Array:
        return np.array([x, y, z]) * k

    knuckle, carpus = j[[5, 9, 13, 17]], subject.carpus
    low = at(0, 0, -1.5)
    for f in range(4):
        add(carpus[f] + low, knuckle[f] + low, 13.0, subject.radii[f + 1, 0] / g + 0.6)
    for f in range(3):
        add(mix(carpus[f], carpus[f + 1], 0.5) + low, mix(knuckle[f], knuckle[f + 1], 0.5) + at(0, 1, -2.5), 13, 9.6)
    for f in range(3):
        start, end = 5 + 4 * f, 9 + 4 * f
        add(mix(j[start], j[start + 1], 0.24), mix(j[end], j[end + 1], 0.24), 6.8, 6.4)
    add(knuckle[0] + at(2, -8, -4), knuckle[1] + at(0, -7, -5), 9.5, 9.5)
    add(knuckle[2] + at(0, -7, -4.5), knuckle[3] + at(-2, -8, -3), 9.5, 9.0)
    add(at(-11, 14, -4), at(13, 13, -4), 15.0, 14.0)
    cmc, thumb, index = j[1], j[2], j[5]
    add(at(-9, 18, -8), mix(cmc, thumb, 0.8) + at(2, 0, -3), 15.5, 13.5)
    add(at(-6, 30, -8), mix(mix(cmc, thumb, 0.9), index, 0.22), 14.0, 10.5)
    add(mix(cmc, thumb, 0.6), mix(carpus[0], index, 0.5), 11.0, 10.5)
    add(mix(cmc, thumb, 0.95), mix(carpus[0], index, 0.72), 7.0, 8.5)
    add(at(16, 20, -7), knuckle[3] + at(-2, -18, -5), 14.5, 11.0)
    add(at(-8, 0, 0), carpus[0] + low, 17.5, 13.5)
    add(at(8, 0, 0), carpus[3] + low, 17.5, 13.5)
    _arm(pose.forearm, k, sleeve, add)
    back = np.zeros((len(a), 3))
    back[:15] = pose.dorsal.reshape(15, 3)
    return Flesh(np.stack(a), np.stack(b), np.array(radii), back)


def _fingers(subject: Subject, pose: Pose) -> tuple[list[Array], list[Array], list[tuple[float, float]]]:
    chains, radii = pose.joints[1:].reshape(5, 4, 3), subject.radii
    a = list(chains[:, :3].reshape(15, 3))
    b = list(chains[:, 1:].reshape(15, 3))
    return a, b, list(zip(radii[:, :3].ravel().tolist(), radii[:, 1:].ravel().tolist(), strict=True))


def _arm(forearm: Array, k: float, sleeve: float, add: Callable[[Array, Array, float, float], None]) -> None:
    """Radius and ulna side by side, widening to the elbow, and the sleeve around them."""
    end = forearm * FOREARM * k
    side = np.array([k, 0.0, 0.0])
    for sign in (-1.0, 1.0):
        add(sign * 9.5 * side, end + sign * 17 * side, 17.5, 29.0)
    add(0 * side, end, 18.3, 32.5)
    share = min(sleeve / FOREARM, 1.0)
    for sign in (-1.0, 1.0):
        worn = share < 0.9
        start = (forearm * sleeve if worn else end * 0.5) + sign * (9.5 + 7 * share) * side
        add(start, end + sign * 19 * side, (24.0 + 10 * share) * worn, 39.0 * worn)
