"""HANDS 2017 challenge, frame-based pose: Yuan, Ye, Garcia-Hernando, Kim, arXiv 1707.02237.

957,032 training frames and 295,510 test frames of BigHand2.2M and First-Person Hand Action, in random order. Layout as
in mks0601/V2V-PoseNet_RELEASE @ f9bd495, src/data/HANDS2017/data.lua. The test annotations came out in December 2019
as `test_annotation_frame.txt`; without that file the test frames can be predicted, not measured.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .files import (
    BLOCK,
    Cube,
    DepthFrames,
    Source,
    check_points,
    check_split,
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
    joint is `annotated` and `identity` says `labelled: False`. `cube` in mm, one edge or three. `centers`: see
    depth_files.py. Raises ValueError naming the missing or broken file.
    """

    source = Source(
        "hands2017",
        "HANDS 2017 challenge (Yuan et al. 2017)",
        "ROOT/training/Training_Annotation.txt, ROOT/training/images/image_D00000001.png ..., "
        "ROOT/frame/BoundingBox.txt, ROOT/frame/images/...",
        up=False,
    )

    def __init__(
        self, root: str | Path, split: str = "train", centers: str | Path | None = None, cube: Cube = None
    ) -> None:
        check_split(split)
        part, name = ("training", "Training_Annotation.txt") if split == "train" else ("frame", "BoundingBox.txt")
        folder = find_folder(root, [f"{part}/{name}"], self.source, ["HANDS2017", "hands2017"])
        self.folder, self.split = folder / part / "images", split
        lists = [folder / part / name]
        joints = len(self.source.set.skeleton)
        if split == "train":
            self.names, points = read_list(lists[0], joints)
        else:
            self.names, points = _names(lists[0]), np.empty(0)
            lists += [path for path in (folder / p / _TRUTH for p in ("frame", "test", "")) if path.is_file()][:1]
            points = _truth(lists[1], self.names, joints) if lists[1:] else np.empty((len(self.names), joints, 3))
        labelled = split == "train" or len(lists) > 1
        points = check_points(points, lists[-1]) if labelled else np.zeros_like(points)
        identity = {"labelled": labelled, "labels_sha256": sha256(*lists)}
        cubes = edges(cube, np.array(self.source.set.cube), len(points))
        self._hold(folder, split, points, centers, cubes, identity, labelled=labelled)

    def place(self, row: int) -> tuple[str, str]:
        name = Path(self.names[row].decode()).with_suffix("")
        return f"hands2017/{self.split}/{name}", f"hands2017/{self.split}/{row // BLOCK:05d}"

    def read(self, row: int) -> np.ndarray:
        return read_png(self.folder / self.names[row].decode(), self.source.set.size)


def _names(path: Path) -> np.ndarray:
    return np.array([file_name(words[0], where) for where, words in read_lines(path)], np.bytes_)


def _truth(path: Path, names: np.ndarray, joints: int) -> np.ndarray:
    """(N, joints, 3) mm, for frames in the order of `names`; the file may name them with their folders."""
    found, points = read_list(path, joints)
    same = len(found) == len(names) and all(a.split(b"/")[-1] == b for a, b in zip(found, names, strict=True))
    if not same:
        raise ValueError(
            f"{path} has {len(found)} frames, frame/BoundingBox.txt {len(names)}, or they are in another order; the "
            "two must list the same pictures"
        )
    return points
