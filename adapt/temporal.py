"""Labels that hold on from frame to frame: where a video's picture moves, its keypoints move along.

From CC-SSL (Mu et al., CVPR 2020; JitengMu/Learning-from-Synthetic-Animals @ 1ff5b52, CCSSL/scripts/consistency.py,
written from a description of it).

Pyramidal Lucas-Kanade flow (window 15, 2 levels, 10 iterations or 0.03) carries the labels of the frame before, of
confidence c', to places f. A keypoint that it moves by more than 15 px is lost: c' = 0. Where c' > 0 and c / c' < 0.9
the label becomes f with confidence 0.9 c', and the next frame goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ..datasets.augment import crop_matrix, warp
from ..datasets.loading import EvaluationBatches
from ..datasets.sample import PIXELS, Item, PoseDataset
from ..models.output import Poses
from .scoring.matching import SPAN_MM

SIZE = (256, 256)
"""Of the grey crops that are compared, so that a window and a jump mean the same whatever the file's resolution."""
JUMP, LEAST, RETURN = 15.0, 0.9, 1.0
"""px that flow may move a keypoint; what is left of c' to replace c; px within which flow there and back must end."""


@dataclass(frozen=True)
class Survey:
    """What is looked up once of a dataset, whose pictures have to be opened for it."""

    spans: np.ndarray
    """(N, 2 or 3) float32: the lengths in which points of a sample are judged: the crop's side in file pixels along x
    and y, along z the cube's edge, of people in space the extent; in the camera's frame a person's length, mm."""
    pictures: list[int]
    """Rows that have a picture in which flow tells all of where a point goes: depth, keypoints alone and pictures with
    distances have none."""
    pairs: list[tuple[int, int]]
    """Rows of pictures that follow each other in one video, (frame before, frame), in the order of time."""


def survey(dataset: PoseDataset) -> Survey:
    """Of all samples, each read once."""
    spans, pictures, sequences, frames = [], [], [], []
    read = EvaluationBatches(dataset, 1, SIZE).read
    for row in range(len(dataset)):
        item = read(row)
        spans.append(span(item))
        if item.space == PIXELS and item.image.ndim in (3, 4):
            pictures.append(row)
            sequences.append(item.sequence)
            frames.append(item.frame)
    pairs = [(pictures[before], pictures[after]) for before, after in neighbours(sequences, frames)]
    return Survey(np.stack(spans), pictures, pairs)


def span(item: Item) -> np.ndarray:
    """One row of `Survey.spans`."""
    if item.in_camera:
        return np.full(3, SPAN_MM, np.float32)
    side = max(item.box[2] - item.box[0], item.box[3] - item.box[1])
    if item.cube is None and item.space == PIXELS:
        return np.array([side, side], np.float32)
    return np.array([side, side, item.inputs["extent"] if item.cube is None else item.cube[2]], np.float32)


def neighbours(sequences: Sequence[str], frames: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Rows (before, after) of frames that lie next to each other in their sequence: as far apart as the nearest two of
    it, so that a gap has none. A picture that has several rows has none either: who is who is not known."""
    rows: dict[str, dict[int, list[int]]] = {}
    for row, (sequence, frame) in enumerate(zip(sequences, frames, strict=True)):
        rows.setdefault(sequence, {}).setdefault(frame, []).append(row)
    for times in rows.values():
        ordered = sorted(times)
        step = int(min(np.diff(ordered), default=1))
        for time in ordered:
            pair = times.get(time - step, []) + times[time]
            if len(pair) == 2 and len(times[time]) == 1:
                yield pair[0], pair[1]


def flow(before: np.ndarray, after: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where Lucas-Kanade flow carries points (K, 2), indices of pixels, between grey pictures (H, W) uint8: (K, 2)
    float32, and whether each was followed: (K,) bool."""
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)
    start = np.ascontiguousarray(points, np.float32)[:, None]
    empty, size = np.zeros_like(start), (15, 15)
    moved, status, _ = cv2.calcOpticalFlowPyrLK(before, after, start, empty, winSize=size, maxLevel=2, criteria=stop)
    return np.asarray(moved)[:, 0], np.asarray(status)[:, 0] > 0


def fused(now: np.ndarray, before: np.ndarray, carried: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (K, 3), x, y, confidence, of a frame and of the one before, whose places flow has carried to (K, 2): the
    frame's new labels, and c' (K,), 0 of those lost."""
    sure = np.where(np.linalg.norm(carried - before[:, :2], axis=1) > JUMP, 0, before[:, 2])
    with np.errstate(divide="ignore", invalid="ignore"):
        surer = (sure > 0) & (now[:, 2] / sure < LEAST)
    flowed = np.concatenate([carried, LEAST * sure[:, None]], 1)
    return np.where(surer[:, None], flowed, now).astype(np.float32), sure.astype(np.float32)


def propagated(dataset: PoseDataset, poses: Poses, pairs: list[tuple[int, int]], reference: bool = False) -> Poses:
    """Poses of all samples of a dataset, points (N, K, 2) in file pixels, made to hold on along `pairs` of rows.

    Flow that does not lead back to where it came from is not believed: of two pictures that are none of a video next to
    none does. With `reference` all flow is, and what it loses is lost in the stored label of the frame before too.
    """
    labels = torch.cat([poses.points, poses.confidence.unsqueeze(-1)], -1).cpu().numpy().copy()
    read = EvaluationBatches(dataset, 1, SIZE).read
    last, item = -1, None
    for before, row in pairs:
        earlier = item if before == last and item is not None else read(before)
        last, item = row, read(row)
        matrix = crop_matrix(item.box, SIZE)
        there, back = matrix[:2], np.linalg.inv(matrix)[:2]
        crops = grey(earlier, matrix), grey(item, matrix)
        (now, then), centre = (_moved(labels[k], there) for k in (row, before)), 0.5
        carried, known = flow(*crops, then[:, :2] - centre)
        if not reference:
            again, seen = flow(*crops[::-1], carried)
            known &= seen & (np.linalg.norm(again + centre - then[:, :2], axis=1) < RETURN)
            then[:, 2] *= known
        label, sure = fused(now, then, carried + centre)
        changed = (label != now).any(1)
        labels[row] = np.where(changed[:, None], _moved(label, back), labels[row])
        if reference:
            labels[before, :, 2] = sure
    kept = torch.from_numpy(labels).to(poses.points)
    return Poses(kept[..., :2], kept[..., 2], poses.image_index, kept[..., 2].mean(-1))


def _moved(labels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Labels (K, 3) with their places under the affine (2, 3)."""
    places = labels[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([places, labels[:, 2:]], 1).astype(np.float32)


def grey(item: Item, matrix: np.ndarray) -> np.ndarray:
    """Levels (H, W) uint8 of a picture, of a clip its middle frame, under the 3x3 `matrix` from file pixels to SIZE."""
    stored = matrix if item.to_file is None else matrix @ np.vstack([item.to_file, [0, 0, 1]])
    image = item.image[len(item.image) // 2] if item.image.ndim == 4 else item.image
    return cv2.cvtColor(warp(image, stored, SIZE), cv2.COLOR_RGB2GRAY)
