"""MSRA Hand Gesture Database: Sun, Wei, Liang, Tang, Sun, CVPR 2015, https://jimmysuen.github.io.

Nine people, P0 to P8, with 17 gestures each; one is left out for testing. Two versions are about, of 76,375 and of
76,391 frames, and centre files fit one of them only. Layout and order of the frames as in
mks0601/V2V-PoseNet_RELEASE @ f9bd495, src/data/MSRA/data.lua; cubes by person as in DeepPrior++.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..options import option
from ..reading.images import UnreadableImage
from ..reading.splits import check_part
from .files import (
    DepthFrames,
    PublicOptions,
    Source,
    check_points,
    edges,
    find_folder,
    numbers,
    read_lines,
    sha256,
)

SUBJECTS = tuple(f"P{i}" for i in range(9))
GESTURES = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "I", "IP", "L", "MP", "RP", "T", "TIP", "Y")
VERSIONS = {
    "old": (8499, 8492, 8412, 8488, 8500, 8497, 8497, 8498, 8492),
    "new": (8499, 8499, 8406, 8498, 8500, 8497, 8498, 8498, 8496),
}
"""Frames by person: `old` as in awesome-hand-pose-estimation's lists, `new` as in V2V-PoseNet's centres."""
CUBES = {"P0": 200, "P1": 200, "P2": 200, "P3": 180, "P4": 180, "P5": 180, "P6": 170, "P7": 160, "P8": 150}
"""Edges in mm by person, DeepPrior++ and DSF. V2V-PoseNet cuts 200 for all."""


@dataclass(frozen=True)
class Options(PublicOptions):
    """The options of MSRA."""

    subject: int = option(0, "the person that tests; the other eight train", low=0, high=8)


class MsraHands(DepthFrames):
    """`root` holds `P0/` to `P8/`, each with 17 folders of `%06d_depth.bin` and a `joint.txt`.

    `cube` null takes each person's of CUBES.
    """

    source = Source(
        "msra",
        "MSRA Hand Gesture Database (Sun et al. 2015)",
        "ROOT/{P0..P8}/{1..9,I,IP,L,MP,RP,T,TIP,Y}/000000_depth.bin ... and joint.txt beside them",
        up=True,
    )

    def __init__(self, options: Options, part: str) -> None:
        check_part(part)
        needed = [f"{person}/{gesture}/joint.txt" for person in SUBJECTS for gesture in GESTURES]
        self.folder = find_folder(options.folder, needed, self.source, ["cvpr15_MSRAHandGestureDB"])
        self.subject = SUBJECTS[options.subject]
        self.persons = tuple(p for p in SUBJECTS if (p == self.subject) == (part == "test"))
        self.counts = {person: sum(_count(self._list(person, g)) for g in GESTURES) for person in SUBJECTS}
        self.version = _version(tuple(self.counts.values()))
        lists = [self._list(person, gesture) for person in self.persons for gesture in GESTURES]
        read = [_joints(path) for path in lists]
        self.ends = np.cumsum([len(points) for points in read])
        sizes = [CUBES[person] for person in self.persons for _ in range(self.counts[person])]
        identity = {"subject": self.subject, "version": self.version, "labels_sha256": sha256(*lists)}
        cubes = edges(options.cube, np.array(sizes, np.float64)[:, None], len(sizes))
        self._hold(self.folder, part, np.concatenate(read), options.centers, cubes, identity)

    def _list(self, person: str, gesture: str) -> Path:
        return self.folder / person / gesture / "joint.txt"

    def center_names(self, part: str) -> tuple[list[str], list[str]]:
        folders = [*super().center_names(part)[0], "msra_center"]
        return folders, [f"center_{part}_{self.subject[1]}_refined.txt", f"center_{part}_{self.subject}_refined.txt"]

    def count_hint(self, lines: int) -> str:
        fits = [name for name, counts in VERSIONS.items() if lines == self._frames(counts)]
        known = ", ".join(f"{name} ({sum(c)} frames, {self._frames(c)} of them here)" for name, c in VERSIONS.items())
        return (
            f" MSRA is about in two versions: {known}. These frames are of the version {self.version!r}, the centres "
            f"of {' or '.join(map(repr, fits)) or 'neither'}."
        )

    def _frames(self, counts: tuple[int, ...]) -> int:
        return sum(count for person, count in zip(SUBJECTS, counts, strict=True) if person in self.persons)

    def _file(self, row: int) -> tuple[str, str, int]:
        number = int(np.searchsorted(self.ends, row, "right"))
        start = self.ends[number - 1] if number else 0
        return self.persons[number // len(GESTURES)], GESTURES[number % len(GESTURES)], int(row - start)

    def place(self, row: int) -> tuple[str, str]:
        person, gesture, number = self._file(row)
        return f"msra/{person}/{gesture}/{number:06d}", f"msra/{person}/{gesture}"

    def read(self, row: int) -> np.ndarray:
        person, gesture, number = self._file(row)
        return read_patch(self.folder / person / gesture / f"{number:06d}_depth.bin", self.source.set.size)


def _version(counts: tuple[int, ...]) -> str:
    return next((name for name, known in VERSIONS.items() if known == counts), "other")


def _count(path: Path) -> int:
    where, words = next(read_lines(path), (f"{path}, line 1", []))
    if len(words) != 1 or not words[0].isdigit():
        raise ValueError(f"{where}: found {' '.join(words[:5])!r}, expected the number of frames alone")
    return int(words[0])


def _joints(path: Path) -> np.ndarray:
    """(N, 21, 3) mm, y down, z forward; the file has y up and z negative."""
    lines = list(read_lines(path))[1:]
    if len(lines) != _count(path):
        raise ValueError(f"{path}: line 1 says {_count(path)} frames, {len(lines)} lines of joints follow")
    rows = [numbers(words, 63, where) for where, words in lines]
    return check_points(np.array(rows).reshape(-1, 21, 3) * [1, -1, -1], path)


def read_patch(path: Path, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 mm: six int32 (width, height, left, top, right, bottom) and the float32 of that part, the rest 0.

    Raises UnreadableImage naming the path.
    """
    try:
        content = path.read_bytes()
        width, height, left, top, right, bottom = struct.unpack_from("<6i", content)
    except (OSError, struct.error) as error:
        raise UnreadableImage(f"cannot read the depth {path}: {error}. Restore the file") from error
    inside = 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    length = 24 + 4 * (right - left) * (bottom - top)
    if (width, height) != size or not inside or len(content) != length:
        raise UnreadableImage(
            f"cannot read the depth {path}: a frame of {width} x {height} with the part {left}, {top} to {right}, "
            f"{bottom} in {len(content)} bytes; expected {size[0]} x {size[1]}, a part inside it and {length} bytes"
        )
    depth = np.zeros(size[::-1], np.float32)
    depth[top:bottom, left:right] = np.frombuffer(content, "<f4", offset=24).reshape(bottom - top, right - left)
    if not np.isfinite(depth).all():
        raise UnreadableImage(f"cannot read the depth {path}: it holds values that are no numbers. Restore the file")
    return depth
