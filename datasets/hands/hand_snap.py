"""Real hand photographs of Snap and NTU, the "real-world test set" of Ge et al., CVPR 2019.

https://github.com/3d-hand-shape/hand-graph-cnn @ 2f59da3, data/real_world_testset: images/%05d.jpg (square crops),
pose_gt.mat (N, 21, 3 camera space, centimetres), params.mat (camera of the original frame, box of the crop in it).
Non-commercial research licence. Frames follow each other in time, so the split is by blocks of frames: even blocks
train (their labels are for the oracle alone), odd blocks test. The published crops are the boxes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..reading.annotations import probe_mats, read_mat
from ..reading.images import read_image
from ..reading.origin import FolderOptions, Origin
from ..reading.splits import BlockOptions, check_part
from ..sample import Item
from ..skeleton import HAND

ORIGIN = Origin(
    "the real-world test set of Ge et al., CVPR 2019 (Snap, NTU)",
    "Snap Inc., non-commercial research and education",
    "https://github.com/3d-hand-shape/hand-graph-cnn (data/real_world_testset)",
    "images/%05d.jpg, pose_gt.mat, params.mat",
)


@dataclass(frozen=True)
class Options(BlockOptions, FolderOptions):
    """The options of the Snap hands."""


class SnapHands:
    """`root` is the folder that holds `images/`, `pose_gt.mat` and `params.mat`, or its parent.

    Every image is decoded once when the set is opened. Raises ValueError naming the missing or broken file.
    """

    skeleton = HAND

    def __init__(self, options: Options, part: str) -> None:
        check_part(part)
        self.folder, block = _folder(options.folder), options.block
        self.name = f"hand_snap.{part}"
        points, camera, box, paths = _labels(self.folder)
        number = np.arange(len(points))
        chosen = number // block % 2 == (part == "test")
        if not chosen.any():
            raise ValueError(f"{self.folder}: blocks of {block} of {len(number)} frames leave no {part} part")
        self.frames = number[chosen]
        self.block = block
        self.paths = [self.folder / paths[i] for i in self.frames]
        digest = hashlib.sha256((self.folder / "pose_gt.mat").read_bytes())
        sizes = []
        for path in self.paths:
            sizes.append(read_image(path).shape[1::-1])
            digest.update(path.read_bytes())
        self.sizes = np.array(sizes, np.float64)
        self.points = points[chosen]
        scale = self.sizes / box[chosen][:, 2:]
        focal = camera[chosen][:, :2] * scale
        center = (camera[chosen][:, 2:] - box[chosen][:, :2]) * scale
        self.camera = np.concatenate([focal, center], 1)
        self.keypoints = self.points[..., :2] / self.points[..., 2:] * focal[:, None] + center[:, None]
        self.identity: dict[str, Any] = {
            "name": "hand_snap",
            "split": part,
            "block": block,
            "count": len(self),
            "sha256": digest.hexdigest(),
            "boxes": "published crops",
            "licence": ORIGIN.licence,
        }

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int, /) -> Item:
        known = np.ones(len(HAND), bool)
        frame = int(self.frames[index])
        return Item(
            image=read_image(self.paths[index]),
            box=np.array([0, 0, *self.sizes[index]]),
            id=f"hand_snap/{frame:05d}",
            sequence=f"hand_snap/{frame // self.block:03d}",
            frame=frame,
            camera=self.camera[index].astype(np.float32),
            keypoints=self.keypoints[index],
            visible=known,
            annotated=known,
            points=self.points[index],
        )


def _folder(root: Path) -> Path:
    for folder in (root, root / "real_world_testset"):
        if (folder / "pose_gt.mat").is_file() and (folder / "params.mat").is_file():
            return folder
    raise ValueError(
        f"no Snap hands at {root}: expected images/, pose_gt.mat and params.mat there or in real_world_testset/ below. "
        "Get data/real_world_testset of github.com/3d-hand-shape/hand-graph-cnn and pass its folder as target.root"
    )


def _labels(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    try:
        files = folder / "pose_gt.mat", folder / "params.mat"
        probe_mats(files)
        pose, params = (read_mat(file, probed=True) for file in files)
        pose = pose["pose_gt"]
        camera, box, paths = params["cam_param"], params["bbox"], params["image_path"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"cannot read the labels in {folder} (pose_gt.mat, params.mat): {error}") from error
    count = len(pose)
    if pose.shape != (count, 21, 3) or camera.shape != (count, 4) or box.shape != (count, 4):
        raise ValueError(
            f"{folder}: expected pose_gt (N, 21, 3), cam_param (N, 4), bbox (N, 4) of one N; "
            f"found {pose.shape}, {camera.shape}, {box.shape}"
        )
    names = [str(path).strip() for path in np.ravel(paths)]
    if len(names) != count or any(Path(n).is_absolute() or ".." in Path(n).parts for n in names):
        raise ValueError(f"{folder}/params.mat: image_path must hold {count} paths inside the folder")
    if not np.isfinite(camera).all() or not np.isfinite(box).all() or not (box[:, 2:] > 0).all():
        raise ValueError(f"{folder}/params.mat: cameras and boxes must be finite, and boxes not empty")
    if not np.isfinite(pose).all() or not (pose[..., 2] > 0).all():
        raise ValueError(f"{folder}/pose_gt.mat: joints must be finite and in front of the camera")
    return pose.astype(np.float64) * 10, camera.astype(np.float64), box.astype(np.float64), names
