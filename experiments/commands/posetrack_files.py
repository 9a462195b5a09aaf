"""People found in videos in the form that PoseTrack's published tool (leonid-pishchulin/poseval) reads: beside each
label file one of the same name, with its images, and people with the scores and tracks of predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.bodies.posetrack import SLOTS
from ...datasets.bodies.skeletons import POSETRACK15
from ...datasets.reading.annotations import read_json
from ...datasets.reading.files import check_place, write_json
from ...models.output import Poses

FILE_NAMES = ["head_bottom" if name == "neck" else name for name in SLOTS.keypoints]
PLACES = [SLOTS.keypoints.index(name) for name in POSETRACK15.keypoints]
"""Where PoseTrack's 15 joints stand among the 17 of its files."""


def write_posetrack(
    folder: Path, labels: Sequence[Path], people: Poses, given: np.ndarray, tracks: np.ndarray, pictures: Sequence[str]
) -> list[Path]:
    """Write `people`, of whose joints some are `given` (Q, K) bool, of `tracks` (Q,), in the `pictures` that their
    image_index says, a file for each of the `labels`. Who has no track, -1, is numbered behind all tracks by the place
    in the picture: AP does not look at it. Raises ValueError where a file is there already."""
    check_place(folder)
    targets = [folder / file.name for file in labels]
    there = next((target for target in targets if target.exists()), None)
    if there is not None:
        raise ValueError(f"{there} exists: remove it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(people.image_index.tolist()):
        rows.setdefault(pictures[image], []).append(row)
    points, scores = people.points.numpy() - 0.5, people.confidence.numpy()
    for target, file in zip(targets, labels, strict=True):
        images = read_json(file)["images"]
        annotations = [
            {"image_id": image["id"], "track_id": track, **_joints(points[row], scores[row], given[row])}
            for image in images
            for row, track in _tracked(rows.get(image["file_name"], []), tracks)
        ]
        categories = [{"id": 1, "name": "person", "supercategory": "person", "keypoints": FILE_NAMES, "skeleton": []}]
        write_json(target, {"images": images, "annotations": annotations, "categories": categories})
    return targets


def _tracked(rows: Sequence[int], tracks: np.ndarray) -> Iterator[tuple[int, int]]:
    """The people of a picture with their tracks."""
    behind = int(tracks.max(initial=-1)) + 1
    for place, row in enumerate(rows):
        yield row, int(tracks[row]) if tracks[row] >= 0 else behind + place


def _joints(points: np.ndarray, scores: np.ndarray, given: np.ndarray) -> dict[str, Any]:
    """`keypoints` and `scores` of a person in the 17 places of PoseTrack's files."""
    joints, sure = np.zeros((len(SLOTS), 3)), np.zeros(len(SLOTS))
    joints[PLACES] = np.concatenate([points, np.ones((len(points), 1))], 1) * given[:, None]
    sure[PLACES] = scores * given
    return {"keypoints": joints.round(3).ravel().tolist(), "scores": sure.round(5).tolist(), "category_id": 1}
