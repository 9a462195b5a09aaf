"""Predictions over a dataset beside its labels, as a run keeps them in predictions.npz: what every score is made of."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...datasets.reading.files import write_whole
from ...datasets.sample import BODY_MM, IN_MM, PIXELS, PIXELS_AND_MM, to_pixels
from . import metrics, people_metrics
from .selection import Headline
from .space_scores import placed


@dataclass(frozen=True)
class Answers:
    """Everyone whom a system that finds people found in the M pictures of a dataset, Q in number, and what average
    precision needs besides; of 2D points in file px."""

    points: Tensor
    """(Q, K, 2)"""
    score: Tensor
    """(Q,)"""
    row: Tensor
    """(Q,) the dataset's sample that the person was found in."""
    invented: Tensor
    """(Q,) bool: nobody labelled the person, in a picture that is labelled."""
    picture: Tensor
    """(M,) the dataset's samples, rising."""
    sequence: tuple[str, ...]
    """(M,) theirs."""
    sigmas: Tensor
    """(K,) the fall-offs of OKS."""
    own_area: bool = False
    """Whether the dataset says people's areas."""
    crowded: Tensor | None = None
    """(M,) CrowdPose's crowdIndex, NaN where it is not known; None where the dataset has none."""

    def within(self, pictures: Tensor) -> Answers:
        """Those in some of the pictures, given by the dataset's samples."""
        people, kept = torch.isin(self.row, pictures), torch.isin(self.picture, pictures)
        parts = {name: getattr(self, name)[people] for name in ("points", "score", "row", "invented")}
        names = tuple(name for name, stays in zip(self.sequence, kept.tolist(), strict=True) if stays)
        crowded = None if self.crowded is None else self.crowded[kept]
        return replace(self, **parts, picture=self.picture[kept], sequence=names, crowded=crowded)


@dataclass
class Predictions:
    """Predictions and truth for the N labelled people of a dataset in its order, of crops one each; in file pixels, z
    in mm beside them, or mm in the camera's frame or along its axes from the root, as `space` says."""

    points: Tensor
    """(N, K, 2 or 3); zeros of people that were missed."""
    confidence: Tensor
    """(N, K)"""
    truth: Tensor
    """(N, K, 2 or 3)"""
    annotated: Tensor
    """(N, K) bool: known and inside the crop."""
    visible: Tensor
    """(N, K) bool"""
    side: Tensor
    """(N,) the crop's side."""
    camera: Tensor
    """(N, 4) fx, fy, cx, cy in file pixels, zeros where unknown; 3D points need it."""
    sequence: tuple[str, ...]
    id: tuple[str, ...]
    row: Tensor
    """(N,) the dataset's sample that the person stands in."""
    matched: Tensor
    """(N,) bool: the model has found the person; of crops all."""
    space: str = PIXELS
    invented: int = 0
    """People that the model has found and nobody labelled: see `Answers.invented`."""
    depth: Tensor | None = None
    """(N,) mm: where z is counted from, the true root's distance; None where z is counted from the camera."""
    root: int = -1
    """The keypoint that z, or all, is counted from."""
    own_depth: Tensor | None = None
    """(N,) mm: the same root's distance as a model says it that answers both."""
    place: Tensor | None = None
    """(N, 3) mm in the camera's frame: where the true root stands of poses along the camera's axes from the root, zeros
    where it is not known."""
    frame: Tensor | None = None
    """(N,) int64: the sample's frame in its sequence; None of files of earlier versions."""
    area: Tensor | None = None
    """(N,) file px squared, of pictures in which people are found: see `Answers.own_area`."""
    bounds: Tensor | None = None
    """(N, 4) left, top, right, bottom of people's boxes, file px; zeros where the dataset says none."""
    crowd: Tensor | None = None
    """(N,) bool: many people under one label."""
    answers: Answers | None = None
    """Everyone whom a system that finds people in pictures predicted; None of one that answers for crops, and of files
    of version 0.1.0."""

    def save(self, path: Path) -> None:
        present = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.answers is not None:
            present |= {f"{FOUND}{f.name}": getattr(self.answers, f.name) for f in fields(Answers)}
        arrays = {name: np.asarray(value) for name, value in present.items() if value is not None and name != "answers"}
        buffer = BytesIO()  # a zip archive whose writing fails complains once more when it is thrown away
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_whole(path, lambda file: file.write(buffer.getbuffer()))

    @classmethod
    def load(cls, path: Path) -> Predictions:
        with np.load(path) as arrays:
            values: dict[str, Any] = {name: arrays[name] for name in arrays.files}
        for name, value in values.items():
            if name.removeprefix(FOUND) in WORDS:
                values[name] = tuple(str(v) for v in value)
            else:
                values[name] = torch.from_numpy(value) if value.ndim else value.item()
        count, dims = values["points"].shape[0], values["points"].shape[-1]
        # files of version 0.1.0 hold crops, and the first of them no camera
        values.setdefault("camera", torch.zeros(count, 4))
        values.setdefault("row", torch.arange(count))
        values.setdefault("matched", torch.ones(count, dtype=torch.bool))
        values.setdefault("space", PIXELS_AND_MM if dims == 3 else PIXELS)
        answers = {name.removeprefix(FOUND): values.pop(name) for name in list(values) if name.startswith(FOUND)}
        return cls(**values, answers=Answers(**answers) if answers else None)

    @property
    def dims(self) -> int:
        return self.points.shape[-1]

    def headline(self, threshold: float) -> Headline:
        """What these are judged by: AP of people who were found in pictures, PCK at `threshold` of crops in pixels."""
        return Headline.of(self.dims, threshold, several=self.answers is not None)

    def errors(self) -> Tensor:
        """Distances (N, K): as fractions of the crop's side, or of 3D points in mm in the camera's frame, relative to
        the root where z is; infinite for people that were missed. Raises ValueError for 3D points without a camera."""
        if self.dims == 2:
            return self.of_matched(metrics.relative_errors(self.points, self.truth, self.side))
        if self.space in IN_MM:
            return self.of_matched(people_metrics.root_errors(self.points, self.truth, self.counted_from))
        blind = (self.camera[:, :2] == 0).any(1) & self.annotated.any(1)
        if blind.any():
            raise ValueError(
                f"{int(blind.sum())} of {len(blind)} samples have no camera, {self.id[int(blind.int().argmax())]!r} "
                "first: errors in mm need fx and fy in file pixels; let the dataset give them"
            )
        return self.of_matched(metrics.distances(*(self.in_space(points) for points in (self.points, self.truth))))

    @property
    def counted_from(self) -> int | None:
        """The root that poses are counted from; None where they are not."""
        return None if self.root < 0 else self.root

    def in_space(self, points: Tensor) -> Tensor:
        """Points (N, K, 3) in file pixels and mm as mm in the camera's frame; of a pose relative to its root, which is
        taken to stand at its true distance, mm from the root."""
        places = placed(points, self.depth, self.camera)
        return places if self.depth is None else places - places[:, self.root, None]

    def pixels(self) -> Tensor:
        """Distances in the picture, file px, of points in space through the camera: (N, K)."""
        return self.of_matched(metrics.distances(self.in_picture(self.points), self.in_picture(self.truth)))

    def in_picture(self, points: Tensor) -> Tensor:
        """x and y in file px of points (N, K, 2 or 3); of those in mm through the camera, a pose that is counted from
        its root standing where the true one does, NaN where either is not known: (N, K, 2)."""
        if self.space not in IN_MM:
            return points[..., :2]
        seen = (self.camera[:, :2] > 0).all(1)
        if self.space == BODY_MM:
            assert self.place is not None
            seen, points = seen & (self.place[:, 2] > 0), points + self.place[:, None]
        return torch.where(seen[:, None, None], to_pixels(points, self.camera)[..., :2], torch.nan)

    def select(self, rows: Tensor) -> Predictions:
        """Those of the people at `rows`, indices or a mask, and who was found in their pictures; who was invented is
        not counted."""
        index = torch.arange(len(self.points))[rows]
        whole = {f.name: getattr(self, f.name) for f in fields(self)}
        tensors: dict[str, Any] = {name: value[index] for name, value in whole.items() if isinstance(value, Tensor)}
        listed: dict[str, Any] = {name: tuple(whole[name][i] for i in index.tolist()) for name in WORDS}
        answers = None if self.answers is None else self.answers.within(self.row[index])
        return replace(self, **tensors, **listed, invented=0, answers=answers)

    def of_sequences(self, names: Collection[str]) -> Predictions:
        """The people of some sequences; of systems that find people those whom they invented there too."""
        made = self.select(torch.tensor([name in names for name in self.sequence], dtype=torch.bool))
        if self.answers is None:
            return made
        inside = torch.tensor([name in names for name in self.answers.sequence], dtype=torch.bool)
        answers = self.answers.within(self.answers.picture[inside])
        return replace(made, answers=answers, invented=int(answers.invented.sum()))

    def in_plane(self) -> Predictions:
        """Their x and y alone, in file pixels."""
        points, truth = self.points[..., :2], self.truth[..., :2]
        return replace(self, points=points, truth=truth, space=PIXELS, depth=None, root=-1, own_depth=None, place=None)

    def of_matched(self, distances: Tensor) -> Tensor:
        return torch.where(self.matched[:, None], distances, torch.inf)


WORDS = ("sequence", "id")
"""Fields of predictions that hold words."""
FOUND = "found."
"""Begins the names of what `Answers` holds in a file."""
