"""ICVL Hand Posture Dataset: Tang, Chang, Tejani, Kim, CVPR 2014, https://labicvl.github.io/hand.html.

331,006 training frames, 22,068 of them as recorded and the rest turned in the plane, and 702 + 894 test frames.
Layout as in mks0601/V2V-PoseNet_RELEASE @ f9bd495, src/data/ICVL/data.lua; turned frames lie in folders named by
their angle ("22-5" is 22.5 degrees), as in DeepPrior++'s importer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..options import option
from ..reading.splits import check_part
from .files import (
    BLOCK,
    DepthFrames,
    PublicOptions,
    Source,
    check_points,
    edges,
    find_folder,
    read_list,
    read_png,
    sha256,
    to_points,
)

_ANGLE = re.compile(r"-?\d{1,3}(-5)?")
_LISTS = {"train": ("Training", ("labels.txt",)), "test": ("Testing", ("test_seq_1.txt", "test_seq_2.txt"))}


@dataclass(frozen=True)
class Options(PublicOptions):
    """The options of ICVL."""

    rotated: bool = option(True, "false: without the training frames that were turned in the plane")


class IcvlHands(DepthFrames):
    """`root` holds `Training/` (`Depth/`, `labels.txt`) and `Testing/` (`Depth/`, `test_seq_1.txt`, `test_seq_2.txt`).

    Turned are all folders whose names are angles but "0".
    """

    source = Source(
        "icvl",
        "ICVL Hand Posture Dataset (Tang et al. 2014)",
        "ROOT/Training/labels.txt, ROOT/Training/Depth/..., ROOT/Testing/test_seq_{1,2}.txt, ROOT/Testing/Depth/...",
        up=False,
    )

    def __init__(self, options: Options, part: str) -> None:
        check_part(part)
        home, lists = _LISTS[part]
        folder = find_folder(options.folder, [f"{home}/{name}" for name in lists], self.source, ["ICVL"])
        self.folder, self.part = folder / home / "Depth", part
        paths = [folder / home / name for name in lists]
        read = [read_list(path, len(self.source.set.skeleton)) for path in paths]
        self.names = np.concatenate([names for names, _ in read])
        pixels = np.concatenate([values for _, values in read]).astype(np.float64)
        pixels[..., :2] += 0.5
        points = check_points(to_points(pixels, self.source.set.camera), " and ".join(map(str, paths)))
        kept = [options.rotated or not _turned(name.decode()) for name in self.names]
        rows = np.flatnonzero(kept)
        identity = {"rotated": options.rotated, "labels_sha256": sha256(*paths)}
        cubes = edges(options.cube, np.array(self.source.set.cube), len(rows))
        self._hold(folder, part, points[rows], options.centers, cubes, identity, rows, len(points))

    def center_names(self, part: str) -> tuple[list[str], list[str]]:
        folders, names = super().center_names(part)
        return [*folders, _LISTS[part][0]], names

    def place(self, row: int) -> tuple[str, str]:
        name = Path(self.names[row].decode())
        return f"icvl/{self.part}/{name.with_suffix('')}", f"icvl/{self.part}/{name.parent}/{row // BLOCK:05d}"

    def read(self, row: int) -> np.ndarray:
        return read_png(self.folder / self.names[row].decode(), self.source.set.size)


def _turned(name: str) -> bool:
    first = name.split("/")[0]
    return first != "0" and _ANGLE.fullmatch(first) is not None
