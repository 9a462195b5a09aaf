"""HANDS 2017 challenge, frame-based pose: Yuan, Ye, Garcia-Hernando, Kim, arXiv 1707.02237.

957,032 training frames and 295,510 test frames of BigHand2.2M and First-Person Hand Action, in random order. Layout as
in mks0601/V2V-PoseNet_RELEASE @ f9bd495, src/data/HANDS2017/data.lua. The test annotations came out in December 2019
as `test_annotation_frame.txt`; without that file the test frames can be predicted, not measured.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..reading.splits import check_part
from .files import (
    BLOCK,
    DepthFrames,
    PublicOptions,
    Source,
    check_points,
    edges,
    file_name,
    find_folder,
    read_lines,
    read_list,
    read_png,
    sha256,
)

_TRUTH = "test_annotation_frame.txt"


class Hands2017(DepthFrames):
    """`root` holds `training/` (`images/`, `Training_Annotation.txt`) and `frame/` (`images/`, `BoundingBox.txt`).

    The test joints are read from `test_annotation_frame.txt` in `frame/`, `test/` or the root; where it is missing, no
    joint is `annotated` and `identity` says `labelled: False`.
    """

    source = Source(
        "hands2017",
        "HANDS 2017 challenge (Yuan et al. 2017)",
        "ROOT/training/Training_Annotation.txt, ROOT/training/images/image_D00000001.png ..., "
        "ROOT/frame/BoundingBox.txt, ROOT/frame/images/...",
        up=False,
    )

    def __init__(self, options: PublicOptions, part: str) -> None:
        check_part(part)
        home, name = ("training", "Training_Annotation.txt") if part == "train" else ("frame", "BoundingBox.txt")
        folder = find_folder(options.folder, [f"{home}/{name}"], self.source, ["HANDS2017", "hands2017"])
        self.folder, self.part = folder / home / "images", part
        lists = [folder / home / name]
        joints = len(self.source.set.skeleton)
        if part == "train":
            self.names, points = read_list(lists[0], joints)
        else:
            self.names, points = _names(lists[0]), np.empty(0)
            lists += [path for path in (folder / p / _TRUTH for p in ("frame", "test", "")) if path.is_file()][:1]
            points = _truth(lists[1], self.names, joints) if lists[1:] else np.empty((len(self.names), joints, 3))
        labelled = part == "train" or len(lists) > 1
        points = check_points(points, lists[-1]) if labelled else np.zeros_like(points)
        identity = {"labelled": labelled, "labels_sha256": sha256(*lists)}
        cubes = edges(options.cube, np.array(self.source.set.cube), len(points))
        self._hold(folder, part, points, options.centers, cubes, identity, labelled=labelled)

    def place(self, row: int) -> tuple[str, str]:
        name = Path(self.names[row].decode()).with_suffix("")
        return f"hands2017/{self.part}/{name}", f"hands2017/{self.part}/{row // BLOCK:05d}"

    def read(self, row: int) -> np.ndarray:
        return read_png(self.folder / self.names[row].decode(), self.source.set.size)


def _names(path: Path) -> np.ndarray:
    return np.array([file_name(words[0], where) for where, words in read_lines(path)], np.bytes_)


def _truth(path: Path, names: np.ndarray, joints: int) -> np.ndarray:
    """(N, joints, 3) mm, for frames in the order of `names`; the file may name them with their folders."""
    listed, points = read_list(path, joints)
    same = len(listed) == len(names) and all(a.split(b"/")[-1] == b for a, b in zip(listed, names, strict=True))
    if not same:
        raise ValueError(
            f"{path} has {len(listed)} frames, frame/BoundingBox.txt {len(names)}, or they are in another order; the "
            "two must list the same pictures"
        )
    return points
