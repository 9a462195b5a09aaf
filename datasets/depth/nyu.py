"""NYU Hand Pose Dataset: Tompson, Stein, LeCun, Perlin, ACM ToG 2014, https://jonathantompson.github.io.

One Kinect in front of one trained-on person (72,757 frames) and two tested ones (8,252 frames). The two other cameras
of the set are not read. Joints, layout and the smaller cube of the second tested person as in
Elody-07/AWR-Adaptive-Weighting-Regression @ 1d0e440, dataloader/nyu_loader.py; zhangboshen/A2J @ 4c332f0 evaluates the
same 14 joints.
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
    find_folder,
    read_mat,
    read_png,
    sha256,
    to_file,
)
from .sets import NYU_COLUMNS

SECOND = 2440
"""The first test frame of the second person, whose hand AWR cuts with 5/6 of the cube."""


class NyuHands(DepthFrames):
    """`root` holds `train/` and `test/`, each with `depth_1_%07d.png` and `joint_data.mat`.

    `cube` null is AWR's 300 mm, 250 for the second tested person.
    """

    source = Source(
        "nyu",
        "NYU Hand Pose Dataset (Tompson et al. 2014)",
        "ROOT/{train,test}/depth_1_0000001.png ... and ROOT/{train,test}/joint_data.mat",
        up=True,
    )

    def __init__(self, options: PublicOptions, part: str) -> None:
        check_part(part)
        below = ["dataset", "nyu_hand_dataset_v2/dataset"]
        folder = find_folder(options.folder, [f"{part}/joint_data.mat"], self.source, below)
        self.folder, self.part = folder / part, part
        labels = self.folder / "joint_data.mat"
        points = _points(labels, self.source)
        second = (part == "test") & (np.arange(len(points)) >= SECOND)
        default = np.where(second, 5 / 6, 1.0)[:, None] * self.source.set.cube
        cubes = edges(options.cube, default, len(points))
        self._hold(folder, part, points, options.centers, cubes, {"camera": "front", "labels_sha256": sha256(labels)})

    def center_names(self, part: str) -> tuple[list[str], list[str]]:
        folders, names = super().center_names(part)
        return [*folders, part], names

    def place(self, row: int) -> tuple[str, str]:
        person = 1 + (self.part == "test" and row >= SECOND)
        return f"nyu/{self.part}/{row + 1:07d}", f"nyu/{self.part}/{person}/{row // BLOCK:04d}"

    def read(self, row: int) -> np.ndarray:
        return read_png(self.folder / f"depth_1_{row + 1:07d}.png", self.source.set.size, two_bytes=True)


def _points(path: Path, source: Source) -> np.ndarray:
    """(N, 14, 3) mm of the front camera, y down."""
    world, pixels = read_mat(path, "joint_xyz", "joint_uvd")
    if world.ndim != 4 or world.shape[2:] != (36, 3) or world.shape != pixels.shape:
        raise ValueError(
            f"{path}: expected joint_xyz and joint_uvd of one shape (cameras, N, 36, 3), found {world.shape} and "
            f"{pixels.shape}"
        )
    columns = list(NYU_COLUMNS)
    points = check_points(world[0][:, columns] * [1.0, -1.0, 1.0], path)
    off = np.abs(to_file(points, source.set.camera)[..., :2] - 0.5 - pixels[0][:, columns, :2])
    if off.size and np.median(off) > 0.5:
        raise ValueError(
            f"{path}: joint_xyz falls {np.median(off):.1f} px from joint_uvd under NYU's camera; the file is another's "
            "or its axes were changed. Restore the published file"
        )
    return points
