"""Motion of a folder of BVH clips, carried over to rendered persons by the directions of bones.

A rig's joints are known by their names (`NAMES`). Its bones give directions alone: lengths are the person's own. How
the head turns is the deviation of its joint from its mean over the clip, in which it looks ahead. Up is the axis along
which heads stand highest over ankles in a clip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from ..reading.annotations import BadAnnotation, Words
from ..reading.bvh import END, Clip, read_bvh
from .body_anatomy import BodyPose, collar_lift
from .person_anatomy import SIDES, Person, assemble
from .person_poses import Stance

Array = np.ndarray


def _sided(left: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Names of the left as they stand, of the right with it in place of the left."""
    made = []
    for name in left:
        if "left" in name:
            made.append(name.replace("left", "right"))
        else:
            made.append("r" + name[1:] if name.startswith("l") and not name.endswith("l") else name[:-1] + "r")
    return {"left": left, "right": tuple(made)}


_LIMBS = {
    "hip": _sided(("leftupleg", "leftupperleg", "leftthigh", "upperlegl", "thighl", "lefthip", "lhip", "lthigh")),
    "knee": _sided(("leftleg", "leftlowerleg", "leftshin", "lowerlegl", "calfl", "shinl", "leftknee", "lknee")),
    "ankle": _sided(("leftankle", "leftfoot", "footl", "lankle", "lfoot")),
    "toe": _sided(("lefttoebase", "lefttoe", "toesl", "toel", "ltoe", "leftball", "balll")),
    "shoulder": _sided(("leftarm", "leftupperarm", "upperarml", "leftuparm", "lshldr", "leftshoulder", "lshoulder")),
    "elbow": _sided(("leftforearm", "leftlowerarm", "lowerarml", "forearml", "leftelbow", "lelbow", "lforearm")),
    "wrist": _sided(("leftwrist", "lefthand", "handl", "lwrist", "lhand")),
}
NAMES: dict[str, tuple[str, ...]] = {
    "pelvis": ("hips", "pelvis", "hip", "root"),
    "neck": ("neck", "neck1", "lowerneck"),
    "head": ("head",),
    **{f"{side}_{joint}": names[side] for joint, names in _LIMBS.items() for side in SIDES},
}
"""Names of rigs' joints, in small letters without blanks, signs and what stands before a colon; the first that a rig
has is taken. Where a rig calls the collar bones shoulders, it has arms, which come first."""
OPTIONAL = ("left_toe", "right_toe")
LIFTED = 60.0
"""mm over the usual height from which on somebody does not stand on the floor."""


@dataclass(frozen=True)
class Motion:
    """The directions of F frames, in a world with y up."""

    file: str
    pelvis: Array
    """(F, 3, 3) from the pelvis' axes to the world's."""
    chest: Array
    """(F, 3, 3) from the chest's axes to the pelvis'."""
    skull: Array
    """(F, 3, 3) from the skull's axes to the pelvis'."""
    arms: Array
    """(F, 2, 2, 3) unit vectors of upper arm and forearm, right and left, in the pelvis' axes."""
    legs: Array
    """(F, 2, 4, 3) of thigh, shank, foot and the sole's normal."""
    lift: Array
    """(F,) how high the lowest joint is over its usual height in the clip, in lengths of a leg."""
    place: Array
    """(F, 3) the middle of the hips over the floor, in lengths of a leg."""
    seconds: float
    """From a frame to the next."""

    def __len__(self) -> int:
        return len(self.pelvis)


def plain(name: str) -> str:
    """A joint's name as `NAMES` has it."""
    return "".join(letter for letter in name.rpartition(":")[2].lower() if letter.isalnum())


def mapping(clip: Clip) -> dict[str, int]:
    """The rig's joint for each of ours. Raises BadAnnotation naming those of ours that it has under no known name, and
    its own names."""
    known = {plain(name): joint for joint, name in reversed(list(enumerate(clip.names))) if not name.endswith(END)}
    chosen = {ours: next((known[name] for name in names if name in known), -1) for ours, names in NAMES.items()}
    gone = [ours for ours, joint in chosen.items() if joint < 0 and ours not in OPTIONAL]
    if gone:
        wanted = f"{gone[0]} as one of {', '.join(NAMES[gone[0]])}"
        own = ", ".join(name for name in clip.names if not name.endswith(END))
        raise BadAnnotation(
            clip.file,
            "HIERARCHY",
            "the rig",
            Words(f"without {', '.join(gone)}"),
            f"all of them, {wanted}",
            f"It has {own}. Rename its joints, or leave the clip out",
        )
    return chosen


def read_motion(path: str | Path) -> Motion:
    """The directions of a clip. Raises BadAnnotation for a file that cannot be read or mapped."""
    clip = read_bvh(path)
    places, turns = clip.forward()
    joints = mapping(clip)
    upright = upright_turn(places, joints, clip.file)
    places, turns = places @ upright.T, upright @ turns

    def at(name: str) -> Array:
        return places[:, joints[name]]

    def pair(name: str) -> Array:
        return np.stack([at(f"{side}_{name}") for side in SIDES], 1)

    hips, shoulders = pair("hip"), pair("shoulder")
    middle = _middle(clip, joints)
    low, high, waist = hips.mean(1), shoulders.mean(1), places[:, middle]
    pelvis = frames(hips[:, 1] - hips[:, 0], waist - low)
    chest = frames(shoulders[:, 1] - shoulders[:, 0], high - waist)
    turned = _deviation(turns[:, middle], turns[:, joints["head"]])
    inward = pelvis.transpose(0, 2, 1)
    legs, arms = _legs(pair, joints, pelvis), [pair("elbow") - shoulders, pair("wrist") - pair("elbow")]
    leg = sum(np.linalg.norm(bone, axis=-1).mean() for bone in (pair("knee") - hips, pair("ankle") - pair("knee")))
    floor = np.stack([at(name)[:, 1] for name in joints if joints[name] >= 0]).min(0)
    usual = np.quantile(floor, 0.2)
    return Motion(
        str(path),
        pelvis,
        inward @ chest,
        inward @ turned @ chest,
        unit(np.stack(arms, 2)) @ pelvis[:, None],
        legs @ pelvis[:, None],
        (floor - usual) / leg,
        (low - [0, usual, 0]) / leg,
        clip.frame_time,
    )


def unit(vectors: Array) -> Array:
    """(..., 3) of length 1; of length 0 they point down."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 1e-9, vectors / np.maximum(length, 1e-9), np.array([0, -1.0, 0]))


def frames(left: Array, up: Array) -> Array:
    """(F, 3, 3) whose columns are left, made square to up, then up and forward."""
    y = unit(up)
    x = unit(left - y * (left * y).sum(-1, keepdims=True))
    return np.stack([x, y, np.cross(x, y)], -1)


def rotations(mixtures: Array) -> Array:
    """(F, 3, 3) rotations again, of the means of some."""
    return frames(mixtures[..., 0], mixtures[..., 1])


def between(values: Array, before: Array, share: Array) -> Array:
    """(F, ...) between the rows `before` (F,) of values (T, ...) and those after them, by the shares (F,) of these."""
    part = share.reshape(-1, *(1,) * (values.ndim - 1))
    return values[before] * (1 - part) + values[np.minimum(before + 1, len(values) - 1)] * part


def upright_turn(places: Array, joints: dict[str, int], file: str) -> Array:
    """(3, 3) that turns the file's axes so that y is up. Raises BadAnnotation where no axis is clearly up."""
    ankles = (places[:, joints["left_ankle"]] + places[:, joints["right_ankle"]]) / 2
    way = (places[:, joints["head"]] - ankles).mean(0)
    axis = int(np.abs(way).argmax())
    if np.sort(np.abs(way))[-2] > 0.7 * abs(way[axis]):
        shown = Words(f"{np.round(way, 2).tolist()} from ankles to head")
        raise BadAnnotation(file, "MOTION", "the mean way", shown, "one axis that is clearly up", "Leave the clip out")
    up = np.zeros(3)
    up[axis] = np.sign(way[axis])
    x = np.zeros(3)
    x[0 if axis else 1] = 1
    return np.stack([x, up, np.cross(x, up)])


def _middle(clip: Clip, joints: dict[str, int]) -> int:
    """The joint of the back that is nearest to half way from the pelvis to the neck."""
    chain = [joints["neck"]]
    while clip.parents[chain[-1]] >= 0 and chain[-1] != joints["pelvis"]:
        chain.append(clip.parents[chain[-1]])
    if chain[-1] != joints["pelvis"] or len(chain) < 3:
        own = ", ".join(clip.names[joint] for joint in chain[::-1])
        raise BadAnnotation(clip.file, "HIERARCHY", "the back", Words(own), "a joint between pelvis and neck")
    places, _ = clip.forward()
    lengths = np.linalg.norm(np.diff(places[:, chain[::-1]], axis=1), axis=-1).mean(0).cumsum()
    return chain[::-1][1 + int(np.abs(lengths[:-1] - lengths[-1] / 2).argmin())]


def _deviation(body: Array, head: Array) -> Array:
    """(F, 3, 3) the head's turn, in the world, away from its mean against the body."""
    relative = body.transpose(0, 2, 1) @ head
    u, _, v = np.linalg.svd(relative.mean(0))
    mean = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
    return body @ relative @ mean.T @ body.transpose(0, 2, 1)


def _legs(pair: Callable[[str], Array], joints: dict[str, int], pelvis: Array) -> Array:
    """(F, 2, 4, 3) directions in the world; a rig without toes has feet square to the shanks."""
    hip, knee, ankle = pair("hip"), pair("knee"), pair("ankle")
    thigh, shank = unit(knee - hip), unit(ankle - knee)
    ahead = pelvis[:, None, :, 2] - shank * (pelvis[:, None, :, 2] * shank).sum(-1, keepdims=True)
    if all(joints[name] >= 0 for name in OPTIONAL):
        ball = unit(pair("toe") - ankle)
        up = unit(-shank + ball * (shank * ball).sum(-1, keepdims=True))
        # From the ankle the ball of the foot lies 18 degrees below the sole's direction.
        foot = np.cos(np.deg2rad(18)) * ball + np.sin(np.deg2rad(18)) * up
    else:
        foot = unit(ahead)
    up = unit(-shank + foot * (shank * foot).sum(-1, keepdims=True))
    return np.stack([thigh, shank, foot, up], 2)


def sampled(motion: Motion, times: Array) -> Motion:
    """The same motion at `times` (F,) seconds from its first frame on, which are within it: between two frames turns
    and directions are the shares of both, made rotations and unit vectors again."""
    at = (times / motion.seconds).clip(0, len(motion) - 1)
    before = np.floor(at).astype(int).clip(0, max(len(motion) - 2, 0))
    mean = partial(between, before=before, share=at - before)
    return Motion(
        motion.file,
        rotations(mean(motion.pelvis)),
        rotations(mean(motion.chest)),
        rotations(mean(motion.skull)),
        unit(mean(motion.arms)),
        unit(mean(motion.legs)),
        mean(motion.lift),
        mean(motion.place),
        float(times[1] - times[0]) if len(times) > 1 else motion.seconds,
    )


def motion_files(folder: str | Path) -> tuple[Path, ...]:
    """The clips of a folder and below, by path. Raises ValueError where there are none."""
    if not Path(folder).is_dir():
        raise ValueError(f"motion={str(folder)!r} is not a folder; name one that holds BVH clips")
    files = tuple(sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() == ".bvh"))
    if not files:
        raise ValueError(f"motion={str(folder)!r} and its subfolders hold no .bvh file; name a folder of BVH clips")
    return files


def digest(folder: str | Path) -> str:
    """A name for exactly these clips, by their content."""
    total = hashlib.sha256()
    for path in motion_files(folder):
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


@lru_cache(maxsize=4)
def motions(folder: str) -> tuple[Motion, ...]:
    """All clips of a folder. Raises BadAnnotation for the first that cannot be used."""
    return tuple(read_motion(path) for path in motion_files(folder))


def sample_motion(rng: np.random.Generator, person: Person, clips: tuple[Motion, ...]) -> Stance:
    """A frame of a clip, both drawn evenly, as the pose of a person."""
    clip = clips[int(rng.integers(len(clips)))]
    return motion_stance(person, clip, int(rng.integers(len(clip))))


def motion_stance(person: Person, clip: Motion, frame: int) -> Stance:
    """A person in the pose of one frame."""
    size = person.body.lengths
    chest, skull, arms = clip.chest[frame], clip.skull[frame], clip.arms[frame]
    torso = np.array([0, size["loin"], 0])
    neck = torso + chest @ np.array([0, size["chest"], 0])
    shoulders, elbows, wrists, hands, tips, thumbs = [], [], [], [], [], []
    for side, mirror in enumerate((-1.0, 1.0)):
        upper, fore = arms[side]
        lift = collar_lift(float(np.arccos(np.clip(-(upper @ chest[:, 1]), -1, 1))))
        out, drop = size["shoulder"], size["shoulder_drop"]
        local = [out * np.cos(lift) + drop * np.sin(lift), out * np.sin(lift) - drop * np.cos(lift), 0]
        shoulders.append(neck + chest @ (np.array(local) * [mirror, 1, 1]))
        elbows.append(shoulders[-1] + size["upper_arm"] * upper)
        wrists.append(elbows[-1] + size["forearm"] * fore)
        hands.append(wrists[-1] + size["hand"] / 2 * fore)
        tips.append(wrists[-1] + size["hand"] * fore)
        # The thumb lies on the side that the elbow bends to; of a straight arm, to the front.
        bend = fore - upper * (fore @ upper) + 0.2 * chest[:, 2]
        thumbs.append(unit(bend - fore * (bend @ fore)))
    hips = np.array([[-size["hip"], 0, 0], [size["hip"], 0, 0]])
    joints = np.stack([neck + skull @ [0, size["head"], 0], neck, *shoulders, *elbows, *hands, torso, *hips])
    axes = np.stack([np.eye(3), chest, skull])
    upper_body = BodyPose(joints, np.stack(wrists), np.stack(tips), np.stack(thumbs), hips, axes)
    pose = assemble(person, upper_body, clip.legs[frame])
    leg = size["thigh"] + size["shank"]
    high = float(clip.lift[frame]) * leg
    return Stance(pose, clip.pelvis[frame], high if high > LIFTED else 0.0, False, "motion")
