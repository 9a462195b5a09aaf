"""2D sequences of moving people with exact 3D labels: motion capture, or made-up motion, seen by cameras of a style.

A recording is a clip that a virtual person with bones of its own performs, turned about, before a camera, with what a
2D detector finds of it. A style is a domain: `lab` four cameras on tripods and a nearly exact detector; `field` cameras
that people hold, at all heights and distances, and a detector that errs; `ceiling` fixed ones that look down from far.
The skeleton is Human3.6M's 17 joints, of which rigs give the directions (motion.py), so that it is the same one
whatever the rig; lengths are the person's, about 1.70 m tall, so that the clips' unit does not matter.

Clips (`motion`, a folder of BVH files) part by their paths: in sorted order each `held_out`-th tests, the others train,
and `half` takes every other of those, so that the two sides of a pair show other motion. Recordings of one clip are
takes of it, and no independent evidence: intervals resample clips (`sample.block_of`). Without a folder motion is made
up, `CLIPS` clips a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np

from ..bodies.skeletons import H36M17
from ..options import option
from ..reading.bvh import about
from ..reading.files import from_home
from ..reading.sequences import Recording, SequenceOptions, Sequences
from ..reading.splits import PARTS, by_group, check_part
from ..sample import TAKE
from .detector import Detector
from .filming import Style, film
from .motion import Motion, digest, motion_files, motions, sampled
from .performance import at_rate, improvised, performed
from .person_anatomy import sample_person

VERSION = 1
"""Raise it when any number of these sets changes."""
CLIPS = {"train": 12, "test": 8}
"""How many motions are made up."""
MADE_UP = 16.0
"""Seconds of each."""
STYLES = {
    "lab": Style(
        (1000, 1000), (1.14, 1.15), (1400, 1600), (4000, 5000), Detector(noise=0.004), ring=4, room=2500, aim=0.5
    ),
    "field": Style(
        *((1280, 720), (0.6, 1.3), (500, 2300), (2500, 8000)),
        Detector(noise=0.022, memory=2.0, missed=0.04, swapped=0.02, lost=0.03),
        room=5000,
        aim=3.0,
        roll=4.0,
        sway=40.0,
    ),
    "ceiling": Style(
        *((1920, 1080), (0.7, 1.0), (2800, 4200), (4000, 7000)),
        Detector(noise=0.016, memory=1.0, missed=0.02, swapped=0.015, lost=0.02),
        room=4000,
        aim=2.0,
        roll=1.0,
    ),
}


@dataclass(frozen=True)
class Options(SequenceOptions):
    """The options of people seen by cameras."""

    motion: str | None = option(None, "folder of BVH clips that people perform; null: motion is made up")
    takes: int = option(48, "recordings that train, of all clips in turn", low=1)
    test_takes: int = option(12, "recordings that test", low=1)
    longest: float = option(8.0, "seconds of a recording at most; longer clips show a part of them", low=0.1)
    rate: float = option(25.0, "frames a second, whatever the clips have", low=1, high=1000)
    noise: float = option(1.0, "times the errors of the style's detector; 0: exact 2D keypoints", low=0, high=10)
    intrinsics: bool = option(True, "samples say their camera's focal lengths and middle")
    held_out: int = option(4, "of the clips every how many-th tests", low=2)
    half: int | None = option(None, "which half of the clips that train is shown; null: all", choices=(0, 1))
    scenes: int = option(0, "seed of persons, cameras and errors", low=0, high=2**31)


def mocap(options: Options, part: str, style: str) -> Sequences:
    """The `part` of people as the cameras of a style see them. Raises ValueError for a folder without clips, or with
    too few for two parts, BadAnnotation for a clip that cannot be read or mapped."""
    check_part(part)
    amount = "takes" if part == "train" else "test_takes"
    about_it: dict[str, Any] = {"style": style, "part": part, "version": VERSION, "scenes": options.scenes}
    for name in ("longest", "rate", "noise", "intrinsics", "held_out", "half", amount):
        about_it[name] = getattr(options, name)
    if options.motion is not None:
        about_it["motion"] = digest(str(from_home(options.motion)))
    name = f"mocap.{style}.{part}"
    return Sequences(name, H36M17, list(recordings(options, part, style)), options, {"name": name, **about_it})


def clips_of(options: Options, part: str) -> dict[str, Motion]:
    """The clips of a part by their names: paths below `root` without the ending."""
    if options.motion is None:
        clips = {f"made-up/{part}/{number:02d}": _improvised(part, number) for number in range(CLIPS[part])}
    else:
        folder = str(from_home(options.motion))
        paths = [path.relative_to(folder).with_suffix("").as_posix() for path in motion_files(folder)]
        chosen = by_group(paths, part, options.held_out)
        clips = {paths[i]: motions(folder)[i] for i in chosen}
    names = list(clips)[options.half :: 2] if part == "train" and options.half is not None else list(clips)
    if not names:
        raise ValueError(f"half={options.half} of {len(clips)} clips is none: give more of them, or leave half out")
    return {name: clips[name] for name in names}


@lru_cache(maxsize=sum(CLIPS.values()))
def _improvised(part: str, number: int) -> Motion:
    return improvised(np.random.default_rng([PARTS.index(part), number, 61]), MADE_UP)


def recordings(options: Options, part: str, style: str) -> Iterator[Recording]:
    """Each is a function of the options and its number."""
    look, clips = STYLES[style], clips_of(options, part)
    for number in range(options.takes if part == "train" else options.test_takes):
        rng = np.random.default_rng([options.scenes, crc32(style.encode()), PARTS.index(part), number])
        name = list(clips)[number % len(clips)]
        motion = _part(clips[name], options.longest, rng)
        world = (
            performed(sample_person(rng), at_rate(motion, options.rate)) @ about(1, rng.uniform(0, 2 * np.pi, 1))[0].T
        )
        shot = film(world, look, number // len(clips) + number, options.rate, rng)
        detector = look.detector.times(options.noise)
        keypoints2d = detector.detect(shot.keypoints, look.size, H36M17.keypoints, rng)
        yield Recording(
            f"mocap/{name}{TAKE}{number}",
            keypoints2d.astype(np.float32),
            look.size,
            shot.points,
            shot.camera if options.intrinsics else np.zeros(4),
        )


def _part(motion: Motion, longest: float, rng: np.random.Generator) -> Motion:
    """At most `longest` seconds of a motion, from where `rng` says."""
    spare = (len(motion) - 1) * motion.seconds - longest
    start = rng.uniform(0, max(spare, 0)) + np.arange(len(motion)) * motion.seconds
    return sampled(motion, start[start <= start[0] + longest]) if spare > 0 else motion
