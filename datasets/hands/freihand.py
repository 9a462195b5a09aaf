"""Photographs of right hands of Zimmermann et al., ICCV 2019 (FreiHAND), 224 px, in four versions each.

Raw layout as published (FreiHAND_pub_v2.zip): training_K.json (N, 3, 3), training_xyz.json (N, 21, 3) metres in the
camera's frame (x right, y down, z forward), training/rgb/%08d.jpg: the N = 32 560 photographs before a green screen
(gs), then the same N with backgrounds put in and harmonised (hom) or coloured anew (sample, auto), N numbers later
each. Keypoints are the projection K xyz / z, already in HAND's order. Nothing says which joints are hidden, so
`visible` is `annotated`: all. The evaluation set is not used, as in the reference.

Pixel origin: the corner, nothing is shifted. The photographs are warped about the principal point, and K puts it at 112
of 224: the middle counted from the corner. The publisher states no origin, so half a pixel may be wrong.

By default blocks of neighbouring photographs, with all their versions, train or test. `split=frames` is TLLib's
(thuml/Transfer-Learning-Library @ c4aa59e, freihand.py), a LEAK: it shuffles single pictures (listed by gs, auto,
sample, hom), so that one photograph trains in one colour and tests in another. All hands are mirrored, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..options import option
from ..reading import splits
from ..reading.annotations import BadAnnotation, entries, need_file, numbers, read_json
from ..reading.cameras import pinhole
from ..reading.origin import Download, Origin
from ..reading.people import People, PictureOptions, PictureSet, digest, project
from ..reading.splits import BlockOptions, SplitOptions
from ..skeleton import HAND

ORIGIN = Origin(
    "FreiHAND of Zimmermann, Ceylan, Yang, Russell, Argus and Brox, ICCV 2019",
    "research only, no commercial use",
    "https://lmb.informatik.uni-freiburg.de/projects/freihand/",
    "training_K.json, training_xyz.json, training/rgb/%08d.jpg",
    (Download("https://lmb.informatik.uni-freiburg.de/data/freihand/FreiHAND_pub_v2.zip"),),
)
VERSIONS = ("gs", "hom", "sample", "auto")
"""In the order of the files' numbers."""
LISTED = ("gs", "auto", "sample", "hom")
"""In the order in which the reference lists them before it shuffles."""


@dataclass(frozen=True)
class Options(SplitOptions, BlockOptions, PictureOptions):
    """The options of FreiHAND."""

    version: str | None = option(
        None, "which of the four pictures of each photograph; null, all: all four", choices=(*VERSIONS, "all")
    )


def freihand(options: Options, part: str) -> PictureSet:
    """One sample a picture of `version`. `root` holds training_K.json.

    Raises ValueError for blocks that leave a part empty, missing or malformed files.
    """
    home, block, split, version = options.folder, options.block, options.split, options.version
    files = [need_file(home / f"training_{kind}.json", f"FreiHAND needs {ORIGIN.layout}") for kind in ("K", "xyz")]
    camera, points = _labels(*files)
    chosen = LISTED if version is None or version == "all" else (version,)
    photo = np.tile(np.arange(len(camera)), len(chosen))
    number = photo + len(camera) * np.repeat([VERSIONS.index(name) for name in chosen], len(camera))
    blocks = [f"{p // block:08d}" for p in photo]
    rows = splits.by_shuffle(len(photo), part) if split == "frames" else splits.by_group(blocks, part)
    about = {"part": part, "version": version or "all", "split": split or f"blocks of {block}"}
    about["sha256"] = digest(*files)
    people = _people(files[1], camera, points, number[rows], photo[rows], [blocks[i] for i in rows])
    return PictureSet(f"freihand.{part}", home, people, about, ORIGIN, options.boxes, fallback="whole")


def _people(
    file: Path, camera: np.ndarray, points: np.ndarray, number: np.ndarray, photo: np.ndarray, blocks: list[str]
) -> People:
    known = np.ones((len(photo), len(HAND)), bool)
    return People(
        file=str(file),
        skeleton=HAND,
        pictures=[f"training/rgb/{n:08d}.jpg" for n in number],
        ids=[f"freihand/{n:08d}" for n in number],
        sequences=[f"freihand/{block}" for block in blocks],
        frames=number,
        keypoints=project(points, camera)[photo],
        annotated=known,
        visible=known,
        camera=camera[photo],
        points=points[photo],
        mirrored=known[:, 0],
    )


def _labels(matrices: Path, joints: Path) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4) fx, fy, cx, cy and (N, 21, 3) mm of the photographs."""
    camera = pinhole(_listed(matrices, (3, 3)), matrices, "K")
    points = _listed(joints, (21, 3)) * 1000
    if len(camera) != len(points):
        raise BadAnnotation(joints, "", "the list", f"of length {len(points)}", f"{len(camera)} as in {matrices.name}")
    near = (points[..., 2] < 1).any(1)
    if near.any():
        row = int(np.argmax(near))
        raise BadAnnotation(joints, f"photograph {row}", "z", points[row, :, 2].tolist(), "1 mm or more")
    return camera, points


def _listed(file: Path, shape: tuple[int, int]) -> np.ndarray:
    """(N, *shape) of a JSON list."""
    listed = entries(read_json(file), file, "", "the content")
    rows = [numbers(row, shape, file, f"photograph {i}", "the entry") for i, row in enumerate(listed)]
    return np.array(rows).reshape(-1, *shape)
