"""Rendered sets whose distance from another is said by dials, one for each kind of shift.

`hands.shifted` starts from `hands.studio`, `depth_hands.shifted` and `depth_bodies.shifted` from the ideal sensor. With
all dials at 0 they have exactly that set's distribution. At 1, light and clutter of hands are those of `hands.webcam`,
sensor and camera of depth those of the set that `toward` names; the others go where no other set does. In between,
numbers lie on the line from one to the other, and what is there or not (clutter, sleeves, what stands before the
subject) is there that often. Two settings show the same hands, poses, lamps and so on for one (seed, index), but for
what their dials say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..options import Options, option
from . import depth, hands
from .hand_scene import STYLES, Style
from .sensors import SENSORS, Sensor, weakened

VERSION = 1
"""Raise it when a dial goes elsewhere: cached sets of another version are rendered anew."""
STUDIO, WEBCAM = STYLES["studio"], STYLES["webcam"]
FAR: dict[str, dict[str, Any]] = {
    "light": {name: getattr(WEBCAM, name) for name in ("tint", "hard", "exposure", "vignette", "veil")},
    "skin": {"tone": (0.55, 1.0)},
    "clutter": {"cluttered": 1.0, "sleeves": WEBCAM.sleeves},
    "camera": {
        "distance": (230.0, 380.0),
        "off_axis": 0.3,
        "turn": (40.0, 36.0, 60.0),
        "pitch": 15.0,
        "any_yaw": 0.35,
        "shake": 0.03,
    },
    "sensor": {"blur": (0.5, 3.0), "noise": (0.02, 0.1)},
    "framing": {"fill": (0.3, 0.75), "cut": 0.12},
    "occlusion": {"occlusion": 1.0},
    "anatomy": {"anatomy": 1.0},
    "poses": {"poses": 1.0},
}
"""What of a `Style` each dial of hands moves, and where to."""
DEPTH_DIALS = ("camera", "sensor", "occlusion", "anatomy", "poses")
VIEW = ("focal", "distance", "off_axis", "turn", "pitch", "any_yaw")
"""What of a depth `Sensor` the dial of the camera moves."""


def dial(about: str) -> Any:
    return option(0.0, f"0 to 1, how far it is shifted: {about}", low=0, high=1)


@dataclass(frozen=True)
class Dials(Options):
    """The dials that hands and depth share."""

    camera: float = dial("from where the subject is seen, and from how near")
    sensor: float = dial("errors of the sensor; of pictures, blur and noise")
    occlusion: float = dial("bars before the subject")
    anatomy: float = dial("other proportions and thickness, children")
    poses: float = dial("rare poses made common")


@dataclass(frozen=True)
class HandOptions(hands.Options, Dials):
    """The options of rendered hands with dials."""

    light: float = dial("coloured and hard lamps, exposure, vignette, stray light")
    skin: float = dial("dark skin")
    clutter: float = dial("things behind the hand, some of a skin's colour, and sleeves")
    framing: float = dial("the hand smaller in the picture, off its middle, and cut off")


@dataclass(frozen=True)
class DepthOptions(depth.Options, Dials):
    """The options of rendered depth with dials."""

    toward: str = option(
        "time_of_flight",
        "the set whose sensor and camera those dials lead to",
        choices=("structured_light", "time_of_flight"),
    )


def shifted_hands(options: HandOptions, part: str) -> hands.RenderedHands | hands.HandGroups:
    return hands.rendered_hands(options, part, hand_style(options))


def shifted_depth(options: DepthOptions, part: str, what: str) -> depth.RenderedDepth:
    return depth.rendered_depth(options, part, what, depth_sensor(options))


def hand_style(options: HandOptions) -> Style:
    """The style that the dials make of the studio's."""
    dials = {name: float(getattr(options, name)) for name in FAR}
    start = replace(STUDIO, clutter=WEBCAM.clutter if options.clutter else 0, cluttered=0.0)
    moved = {
        one: between(getattr(start, one), far, dials[name]) for name, fars in FAR.items() for one, far in fars.items()
    }
    return replace(start, name="shifted", dials=_differing(dials), **moved)


def depth_sensor(options: DepthOptions) -> Sensor:
    """The sensor that the dials make of the ideal one."""
    dials = {name: float(getattr(options, name)) for name in DEPTH_DIALS}
    start, far = SENSORS["ideal"], SENSORS[options.toward]
    moved: dict[str, Any] = {one: between(getattr(start, one), getattr(far, one), dials["camera"]) for one in VIEW}
    moved |= {name: dials[name] for name in ("occlusion", "anatomy", "poses")}
    return replace(
        start,
        **moved,
        name="shifted",
        measure=partial(weakened, far.measure, dials["sensor"]),
        dials={"toward": options.toward, **_differing(dials)},
    )


def between(near: Any, far: Any, share: float) -> Any:
    """The number, or the tuple of them, that lies at `share` of the way; exactly the ends at 0 and 1."""
    if isinstance(near, tuple):
        return tuple(between(*pair, share) for pair in zip(near, far, strict=True))
    return (1 - share) * near + share * far


def _differing(dials: Mapping[str, float]) -> dict[str, float]:
    """What names a cached set."""
    return {"version": VERSION, **{name: value for name, value in dials.items() if value}}
