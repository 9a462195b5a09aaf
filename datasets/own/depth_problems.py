"""What frames of your own depth camera say against its camera.yaml: for `keyshift data check`, and for every command
that reads them, before it starts."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from ..depth.calibration import Size, doubts
from ..depth.center import UnusableDepth
from ..depth.unit import likely, seen_ratios, shown, unit_by
from ..sample import PoseDataset
from .depth_folder import DepthFolder

LOOKED_AT = 12
"""Frames that are held against camera.yaml, spread over all."""
FARTHEST = 15000.0
"""mm at which half of the returns of a camera's frames never lie, unless camera.yaml says a `far` beyond."""
LEAST = 5
"""Labels or centres whose z is held against the frames."""


def camera_problems(dataset: PoseDataset) -> list[str]:
    """What speaks against the camera.yaml of a set that is of your own depth camera."""
    if not isinstance(dataset, DepthFolder):
        return []
    return [f"{dataset.setup.path}: {problem}" for problem in _problems(dataset)]


def _problems(folder: DepthFolder) -> list[str]:
    """Frames of several sizes, a calibration that cannot be that of their size, a unit in which returns, labels or
    centres lie elsewhere."""
    setup, sizes, covered, returns = folder.setup, dict[Size, str](), list[float](), list[float]()
    ratios: dict[str, list[float]] = {"labels": [], "centers": []}
    for index in range(0, len(folder), -(-len(folder) // LOOKED_AT)):
        with suppress(UnusableDepth):
            depth = folder.read(index)
            sizes.setdefault((depth.shape[1], depth.shape[0]), folder.files[index])
            returns.append(float(np.median(depth[depth > 0])))
            for kind in ratios.keys() & folder.tables.keys():
                ratios[kind] += seen_ratios(depth, folder.tables[kind][index])
            center = folder.center(index, depth)
            covered.append(float((setup.cube[:2] * setup.camera[:2]).max() / center[2]))
    against = _of_size(folder, sizes, float(np.median(covered)) if covered else None)
    middle = float(np.median(returns)) if returns else 0.0
    if middle > max(FARTHEST, setup.far):
        fits = likely(np.array(returns), setup.unit, setup.near, FARTHEST / 2)
        against.append(
            f"with unit: {shown(setup.unit)} half of the returns are {middle / 1000:.0f} m away or more, "
            f"beyond what most depth cameras see{f'; nearer would be unit: {fits}' if fits else ''}"
        )
    return against + [f"{kind}{why}" for kind, own in ratios.items() if (why := unit_by(own, setup.unit, LEAST))]


def _of_size(folder: DepthFolder, sizes: dict[Size, str], covered: float | None) -> list[str]:
    setup = folder.setup
    if len(sizes) > 1:
        names = ", ".join(f"{width} x {height} ({name})" for (width, height), name in sizes.items())
        return [f"frames are of several sizes, {names}, and one calibration is of one size: a folder for each"]
    return [d for size in sizes for d in doubts(setup.camera, size, setup.shift, setup.size is not None, covered)]
