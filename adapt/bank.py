"""Where a method that relabels keeps its pseudo labels between two rounds."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from ..datasets.sample import Unlabeled, from_file, renamed, swaps
from ..models.output import Poses

FIELDS = tuple(f.name for f in fields(Poses))


class Bank(nn.Module):
    """Poses of all target training samples, as `Target.predict` gives them: points in file coordinates, `image_index`
    the samples' rows. They are in the state, however many they are, so that a resumed run has them."""

    points: Tensor
    confidence: Tensor
    image_index: Tensor
    score: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("samples", torch.zeros((), dtype=torch.int64))
        self.keep(Poses(torch.zeros(0, 0, 0), torch.zeros(0, 0), torch.zeros(0, dtype=torch.int64), torch.zeros(0)), 0)

    def keep(self, poses: Poses, samples: int) -> None:
        """Replace what is kept, of a target with so many samples."""
        for name in FIELDS:
            self.register_buffer(name, getattr(poses, name).detach().clone())
        self.samples.fill_(samples)
        self.look()

    def look(self) -> None:
        """See whether all samples have one person each: then no step waits for the device to say how many there are."""
        every = torch.arange(int(self.samples), device=self.image_index.device)
        self.alone = torch.equal(self.image_index, every)

    def people(self, row: Tensor) -> tuple[Tensor, ...]:
        """Who stands in the samples `row` (B,): the images of the batch (P,), ascending, and the people kept (P,)."""
        if self.alone:
            return torch.arange(len(row), device=row.device), row
        return (row[:, None] == self.image_index).nonzero(as_tuple=True)

    def of(self, sample: Unlabeled, flip: list[int]) -> Poses:
        """The poses of a batch's samples, in the coordinates of its view; where that is mirrored, keypoints change
        places by the permutation `flip`. `image_index` is the image of the batch, as `decode` gives it."""
        if not len(self.points):  # nobody, or nothing yet: no pose, of as many keypoints
            none = self.points.new_zeros(0, len(flip), sample.to_file.shape[1])
            return Poses(none, none[..., 0], self.image_index, self.score)
        image_index, person = self.people(sample.row)
        points = from_file(self.points[person], sample, flip, image_index)
        confidence = renamed(self.confidence[person], flip, swaps(sample)[image_index])
        return Poses(points, confidence, image_index, self.score[person])

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in FIELDS:
            if prefix + name in state:  # a round's number of people is its own
                setattr(self, name, getattr(self, name).new_empty(state[prefix + name].shape))
        super()._load_from_state_dict(state, prefix, *rest)
        self.look()
