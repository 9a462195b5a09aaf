"""Centres by prediction: the task that a network learns, and a dataset whose frames are cut around what it said.

V2V-PoseNet's public centre files were made so (Moon et al., CVPR 2018; Oberweger and Lepetit, "DeepPrior++", ICCV
Workshops 2017): around a rough centre a larger cube is cut, and a network says where in it the joints' mean lies.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..sample import Item, PoseDataset
from ..skeleton import Skeleton
from ..views import View
from .crop import cube_box

CENTER = Skeleton("center", ("center",), groups={"all": (0,)})
LARGER = 1.5
"""Edge of the cube in which a centre is looked for, against the cube that is cut around it."""


class CenterTask(View):
    """A depth dataset with one keypoint, the mean of its annotated joints, in a larger cube."""

    def __init__(self, dataset: PoseDataset) -> None:
        super().__init__(dataset, f"{dataset.name}.center", CENTER, joints="center")

    def __getitem__(self, index: int, /) -> Item:
        item = self.dataset[index]
        if item.center is None or item.cube is None:
            raise ValueError(f"joints=center is of depth datasets; {self.dataset.name} gives pictures")
        known, cube = item.annotated, LARGER * item.cube
        any_known = np.full(1, known.any())
        middle = item.keypoints[known].mean(0, keepdims=True) if known.any() else item.center[None]
        return replace(
            item,
            keypoints=middle,
            annotated=any_known,
            visible=any_known,
            points=None,
            cube=cube,
            box=cube_box(item.center, cube, item.camera),
        )


class Recentered(View):
    """A depth dataset cut around given centres (N, 3), px, px and mm; not a number where none was found."""

    def __init__(self, dataset: PoseDataset, centers: np.ndarray, origin: str) -> None:
        super().__init__(dataset, centers=origin)
        self.centers = centers

    def __getitem__(self, index: int, /) -> Item:
        item, center = self.dataset[index], self.centers[index]
        if item.cube is None:
            raise ValueError(f"{self.dataset.name} gives pictures, which have no centres")
        box = cube_box(center, item.cube, item.camera) if np.isfinite(center).all() else item.box
        return replace(item, center=center, box=box)
