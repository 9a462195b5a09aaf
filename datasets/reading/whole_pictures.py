"""Whole pictures as samples: a picture set's table read picture by picture, each with all its people.

A sample's box is the picture itself, which the model's input holds whole, in its middle. Nobody is mirrored: of a set
that shows right hands as left ones hands are what they are here. Areas that the set does not say are SEGMENT of the
box's, or of the joints' box: as CrowdPose is evaluated, which has no outlines (jin-s13/xtcocoapi @ 00fc01e,
cocoeval.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from ..options import Options
from ..sample import MASK, Item
from ..skeleton import Skeleton
from .images import UnreadableImage
from .people import WHOLE, PictureSet

SEGMENT = 0.53
"""Area of a person over that of the box."""


def check_whole(name: str, options: Options) -> None:
    """Raises ValueError for options of the dataset `name` that are of crops alone."""
    given = {key: getattr(options, key, None) for key in ("boxes", "chain")}
    cut = [f"{key}={value}" for key, value in given.items() if value and value != WHOLE]
    if cut:
        raise ValueError(
            f"crops=whole gives whole pictures of {name}, and {' and '.join(cut)} says how people are cut out of them: "
            "leave it out, or say crops=person"
        )


def whole_pictures(dataset: PictureSet) -> WholePictures:
    """The pictures of a set, with all their people."""
    values = {one.name: getattr(dataset, one.name) for one in fields(dataset) if one.init}
    return WholePictures(**values | {"boxes": WHOLE, "whole": None})


@dataclass
class WholePictures(PictureSet):
    """The pictures of a `People` table, in the order in which they first stand there; rows of `nobody` show nobody.

    Where the table says of anyone where people without labels are, all samples have an input `mask`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.identity |= {"crops": WHOLE}
        guessed = int((self.somebody & (self.people.area is None or np.isnan(self.people.area))).sum())
        if guessed:
            note = f"the area of {guessed} of {self.somebody.sum()} people is taken as {SEGMENT} of that of their box"
            self.said = (*self.said, f"{note}, for OKS: the labels say none")

    def __len__(self) -> int:
        return len(self.pictures)

    @cached_property
    def pictures(self) -> list[str]:
        return list(self.rows)

    @cached_property
    def firsts(self) -> list[int]:
        """The first row of each picture."""
        return [rows[0] for rows in self.rows.values()]

    @cached_property
    def somebody(self) -> np.ndarray:
        """(N,) bool: the row is a person or a crowd."""
        nobody = self.people.nobody
        return np.ones(len(self.people), bool) if nobody is None else ~nobody

    @cached_property
    def bounds(self) -> np.ndarray:
        """(N, 4) the people's boxes; of sets that have none those of their joints, or zeros."""
        people = self.people
        if people.boxes is not None:
            return people.boxes
        points, known = people.keypoints, people.annotated[..., None]
        low, high = np.where(known, points, np.inf).min(1), np.where(known, points, -np.inf).max(1)
        return np.where(known.any(1), np.concatenate([low, high], 1), 0.0)

    @cached_property
    def area(self) -> np.ndarray:
        """(N,) px squared."""
        sides = self.bounds[:, 2:] - self.bounds[:, :2]
        own = np.full(len(sides), np.nan) if self.people.area is None else self.people.area
        return np.where(np.isnan(own), SEGMENT * sides.prod(1), own)

    def chosen(self, skeleton: Skeleton, order: Sequence[int]) -> WholePictures:
        """The same with keypoint `order[k]` as the k-th of `skeleton`; who has none of them is still there."""
        about = self.about | {"keypoints": ", ".join(skeleton.keypoints)}
        return replace(self, people=self.people.choose(skeleton, order), about=about)

    def for_space(self) -> WholePictures:
        return self

    def own_boxes(self) -> None:
        """None: nobody is cut out."""

    def cameras(self) -> np.ndarray | None:
        """(N, 4) of the pictures."""
        return None if self.people.camera is None else self.people.camera[self.firsts]

    def crowding(self) -> np.ndarray | None:
        """(N,) how crowded the pictures are, CrowdPose's crowdIndex, 0 to 1; None where the set does not say it."""
        return None if self.people.crowding is None else self.people.crowding[self.firsts]

    def picture(self, index: int) -> str:
        return self.pictures[index]

    def item(self, index: int, image: np.ndarray) -> Item:
        people, first = self.people, self.firsts[index]
        rows = [row for row in self.rows[self.picture(index)] if self.somebody[row]]
        annotated = people.annotated[rows]
        return Item(
            image=image,
            box=self.box(index, image.shape[1], image.shape[0]),
            id=self.picture(index),
            sequence=people.sequences[first],
            frame=int(people.frames[first]),
            camera=np.zeros(4, np.float32) if people.camera is None else people.camera[first].astype(np.float32),
            keypoints=np.where(annotated[..., None], people.keypoints[rows], 0.0),
            visible=people.visible[rows] & annotated,
            annotated=annotated,
            points=None if people.points is None else people.points[rows],
            inputs={} if people.unlabelled is None else {MASK: self.mask(index, rows, image)},
            area=self.area[rows],
            bounds=self.bounds[rows],
            crowd=np.zeros(len(rows), bool) if people.crowd is None else people.crowd[rows],
        )

    def mask(self, index: int, rows: list[int], image: np.ndarray) -> np.ndarray:
        """(H, W) uint8: 0 where people of a picture's `rows` stand who have no labels. Raises UnreadableImage where
        what tells it is of a picture of another size."""
        assert self.people.unlabelled is not None
        mask = np.ones(image.shape[:2], np.uint8)
        for row in rows:
            region = self.people.unlabelled[row]
            if region is not None:
                try:
                    region.clear(mask)
                except ValueError as error:
                    size = f"{image.shape[1]}x{image.shape[0]}"
                    raise UnreadableImage(
                        f"{self.path(index)}: {size}, but {error} in {self.people.ids[row]}: labels and picture are of "
                        "another size"
                    ) from error
        return mask

    def box(self, index: int, width: int, height: int) -> np.ndarray:
        """The picture itself."""
        return np.array([0.0, 0.0, width, height])
