"""Persons who move: the 17 joints of Human3.6M over all frames of a motion at once, and motions that are made up.

A person's bones keep their lengths; a motion gives directions, and the way of the pelvis in lengths of a leg. Made-up
motions go from one drawn pose to the next, each within the limits of all joints (person_poses.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ..bodies.skeletons import H36M17
from ..reading.bvh import about
from .body_anatomy import collar_lift
from .motion import Motion, between, rotations, sampled, unit
from .person_anatomy import FACE, SIDES, Person, PersonPose, place_person, sample_person, within_person_limits
from .person_poses import sample_stance

Array = np.ndarray
STYLE = {"stand": 0.25, "gesture": 0.35, "walk": 0.15, "bend": 0.08, "squat": 0.07, "lunge": 0.05, "kick": 0.05}
"""Families of poses that made-up motions go through."""
HOLD = (0.35, 1.1)
"""Seconds from one pose to the next."""
KEYS = 8.0
"""Poses a second that made-up motions are kept at."""
PACE = 0.5
"""Lengths of a leg a second that a made-up person wanders, standard deviation."""


def performed(person: Person, motion: Motion) -> Array:
    """(F, 17, 3) mm, the joints of Human3.6M in its order, y up, the floor at 0: what `motion_stance` poses frame by
    frame, where the motion goes, the lowest joint an ankle's height over the floor and as much more as it lifts."""
    size = person.body.lengths
    chest, skull = motion.chest, motion.skull
    torso = np.array([0, size["loin"], 0])
    neck = torso + size["chest"] * chest[..., 1]
    head = neck + size["head"] * skull[..., 1]
    joints = {"pelvis": np.zeros_like(neck), "spine": np.broadcast_to(torso, neck.shape), "neck": neck}
    scale = person.skull * person.body.stature / 1700
    joints |= {name: head + skull @ (scale * np.array(FACE[name])) for name in ("nose", "head_top")}
    for number, (side, mirror) in enumerate(zip(SIDES, (-1.0, 1.0), strict=True)):
        (upper, fore), (thigh, shank) = motion.arms[:, number].swapaxes(0, 1), motion.legs[:, number, :2].swapaxes(0, 1)
        lift = collar_lift(np.arccos(np.clip(-(upper * chest[..., 1]).sum(-1), -1, 1)))
        out, drop = size["shoulder"], size["shoulder_drop"]
        aside, high = out * np.cos(lift) + drop * np.sin(lift), out * np.sin(lift) - drop * np.cos(lift)
        joints[f"{side}_shoulder"] = neck + mirror * aside[:, None] * chest[..., 0] + high[:, None] * chest[..., 1]
        joints[f"{side}_elbow"] = joints[f"{side}_shoulder"] + size["upper_arm"] * upper
        joints[f"{side}_wrist"] = joints[f"{side}_elbow"] + size["forearm"] * fore
        joints[f"{side}_hip"] = np.broadcast_to([mirror * size["hip"], 0, 0], neck.shape)
        joints[f"{side}_knee"] = joints[f"{side}_hip"] + size["thigh"] * thigh
        joints[f"{side}_ankle"] = joints[f"{side}_knee"] + size["shank"] * shank
    own = np.stack([joints[name] for name in H36M17.keypoints], 1) @ motion.pelvis.swapaxes(1, 2)
    leg, (x, _, z) = size["thigh"] + size["shank"], motion.place.T
    high = leg * motion.lift + size["ankle"] - own[..., 1].min(1)
    return own + np.stack([leg * x, high, leg * z], 1)[:, None]


def at_rate(motion: Motion, rate: float) -> Motion:
    """The same motion, `rate` frames a second from its first frame on: between two frames turns and directions are the
    shares of both, made rotations and unit vectors again."""
    end = (len(motion) - 1) * motion.seconds
    return sampled(motion, np.arange(int(end * rate + 1e-6) + 1) / rate)


def improvised(rng: np.random.Generator, seconds: float) -> Motion:
    """A motion that is made up: poses drawn from `STYLE`, from each to the next within `HOLD` seconds, slow at both
    ends, while the person turns and wanders; `KEYS` frames a second."""
    person, starts = sample_person(rng), [0.0]
    while starts[-1] < seconds:
        starts.append(starts[-1] + rng.uniform(*HOLD))
    stances = [sample_stance(rng, person, STYLE) for _ in starts]
    angles = np.stack([stance.angles for stance in stances if stance.angles is not None])
    tilts = np.stack([stance.root for stance in stances])
    steps = np.diff(starts, prepend=starts[0])
    heading = np.cumsum(0.8 * steps * rng.standard_normal(len(starts)))
    way = np.cumsum(PACE * steps[:, None] * rng.standard_normal((len(starts), 2)), axis=0)
    times = np.arange(int(seconds * KEYS) + 1) / KEYS
    before = np.searchsorted(starts, times, "right").clip(1, len(starts) - 1) - 1
    share = (times - np.array(starts)[before]) / np.diff(starts)[before]
    mean = partial(between, before=before, share=share**2 * (3 - 2 * share))
    poses = [place_person(person, within_person_limits(own)) for own in mean(angles)]
    root = about(1, mean(heading)) @ rotations(mean(tilts))
    return _of_poses(person, poses, root, mean(way), "made up")


def _of_poses(person: Person, poses: list[PersonPose], root: Array, way: Array, name: str) -> Motion:
    """The motion of poses (F) turned by `root` (F, 3, 3), over the places `way` (F, 2) of a floor on which they
    stand."""

    def each(read: Callable[[PersonPose], Array]) -> Array:
        return np.stack([read(pose) for pose in poses])

    joints = each(lambda pose: pose.upper.joints)
    shoulders, elbows, hips = joints[:, 2:4], joints[:, 4:6], joints[:, 9:11]
    arms = [elbows - shoulders, each(lambda pose: pose.upper.wrists) - elbows]
    knees, ankles, balls = each(lambda p: p.upper.knees), each(lambda p: p.ankles), each(lambda p: p.balls)
    foot = unit(balls - each(lambda pose: pose.heels))
    legs = [unit(knees - hips), unit(ankles - knees), foot, np.cross(foot, each(lambda pose: pose.across))]
    turns = each(lambda pose: pose.upper.frames)
    leg = person.body.lengths["thigh"] + person.body.lengths["shank"]
    feet = np.concatenate([ankles, balls, each(lambda pose: pose.heels)], 1) @ root.swapaxes(1, 2)
    place = np.stack([way[:, 0], -feet[..., 1].min(1) / leg, way[:, 1]], 1)
    ways = unit(np.stack(arms, 2)), np.stack(legs, 2)
    return Motion(name, root, turns[:, 1], turns[:, 2], *ways, np.zeros(len(way)), place, 1 / KEYS)
