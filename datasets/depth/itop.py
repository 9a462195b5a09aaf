"""ITOP, Invariant-Top View: Haque, Peng, Luo, Alahi, Yeung, Fei-Fei, ECCV 2016, https://zenodo.org/record/3932973.

Twenty people before two depth cameras, one in front (the files say `side`) and one above; 39,795 training and 10,501
test frames a view, of which the hand-checked ones (`is_valid`) are used: 17,991 and 4,863 in front. CC-BY-4.0. Units
and camera as in zhangboshen/A2J @ 4c332f0, src/itop_side.py.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..reading.images import UnreadableImage
from ..reading.splits import check_part
from .files import BLOCK, DepthFrames, PublicOptions, Source, check_points, edges, find_folder

if TYPE_CHECKING:
    import h5py

VIEWS = {"front": "side", "top": "top"}
"""Name of a view to what its files are called."""


class ItopBodies(DepthFrames):
    """`root` holds `ITOP_side_train_depth_map.h5`, `ITOP_side_train_labels.h5` and so on, unpacked.

    `view` is "front" or "top". Public centre files may have a line for every frame or for the valid ones. Files are
    opened by each process for itself.
    """

    source = Source(
        "itop",
        "ITOP (Haque et al. 2016)",
        "ROOT/ITOP_{side,top}_{train,test}_{depth_map,labels}.h5",
        up=True,
        unit=1000.0,
    )

    def __init__(self, options: PublicOptions, part: str, view: str = "front") -> None:
        check_part(part)
        stem = f"ITOP_{VIEWS[view]}_{part}"
        needed = [f"{stem}_depth_map.h5", f"{stem}_labels.h5"]
        folder = find_folder(options.folder, needed, self.source, [f"{view}_view", f"ITOP_{view}", VIEWS[view]])
        self.path, self.view, self.part = folder / needed[0], view, part
        self._files: dict[int, h5py.File] = {}
        labels = _labels(folder / needed[1])
        self.ids, rows = labels["id"], np.flatnonzero(labels["is_valid"])
        self.seen = labels["visible_joints"][rows] > 0
        self._check_depth(len(self.ids))
        world = labels["real_world_coordinates"][rows].astype(np.float64) * [1000, -1000, 1000]
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(labels[key]).tobytes() for key in sorted(labels)))
        points = check_points(world, folder / needed[1], rows)
        identity = {"view": view, "labels_sha256": digest.hexdigest()}
        cubes = edges(options.cube, np.array(self.source.set.cube), len(rows))
        self._hold(folder, part, points, options.centers, cubes, identity, rows, len(self.ids))
        self.seen = self.seen[np.searchsorted(rows, self.rows)]

    def _check_depth(self, count: int) -> None:
        width, height = self.source.set.size
        with self._open() as file:
            shape = file["data"].shape
        if shape != (count, height, width):
            raise ValueError(f"{self.path}: data has the shape {shape}, its labels want {(count, height, width)}")

    def _open(self) -> h5py.File:
        import h5py

        try:
            file = h5py.File(self.path, "r")
            file["data"]
        except (OSError, KeyError) as error:
            raise UnreadableImage(f"cannot read the depth {self.path}: {error}. Restore the file") from error
        return file

    def _depth(self) -> Any:
        process = os.getpid()  # a forked process must not read through its parent's open file
        if process not in self._files:
            self._files = {process: self._open()}
        return self._files[process]["data"]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}

    def center_names(self, part: str) -> tuple[list[str], list[str]]:
        folders = ["", "center", "centers", f"center/{self.view}_view", f"ITOP_{self.view}/center"]
        names = [f"center_{part}.txt", f"center_{part}_refined.txt", f"itop_{VIEWS[self.view]}_center_{part}.mat"]
        return folders, names

    def place(self, row: int) -> tuple[str, str]:
        person, _, number = self.ids[row].decode().partition("_")
        place = f"itop/{self.view}/{self.part}/{person}"
        return f"{place}/{number}", f"{place}/{int(number) // BLOCK:04d}"

    def visible(self, index: int) -> np.ndarray:
        return self.seen[index]

    def read(self, row: int) -> np.ndarray:
        try:
            depth = self._depth()[row].astype(np.float32) * np.float32(1000)
        except OSError as error:
            raise UnreadableImage(f"cannot read frame {row} of {self.path}: {error}. Restore the file") from error
        if not np.isfinite(depth).all():
            raise UnreadableImage(f"frame {row} of {self.path} holds depths that are no numbers. Restore the file")
        return depth


def _labels(path: Path) -> dict[str, np.ndarray]:
    """The arrays that are read, checked for their shapes; `id` as bytes "person_frame"."""
    import h5py

    shapes = {"id": (), "is_valid": (), "visible_joints": (15,), "real_world_coordinates": (15, 3)}
    try:
        with h5py.File(path, "r") as file:
            labels = {key: np.asarray(file[key][()]) for key in shapes}
    except (OSError, KeyError) as error:
        raise ValueError(f"cannot read the labels {path}: {error}. Restore the file") from error
    labels["id"] = labels["id"].astype(np.bytes_)
    count = len(labels["id"])
    for key, shape in shapes.items():
        if labels[key].shape != (count, *shape):
            raise ValueError(f"{path}: {key} has the shape {labels[key].shape}, expected {(count, *shape)}")
    bad = next((name for name in labels["id"] if not name.replace(b"_", b"", 1).isdigit() or b"_" not in name), None)
    if bad is not None:
        raise ValueError(f"{path}: the id {bytes(bad)!r} is not of the form person_frame, as in 00_00123")
    return labels
