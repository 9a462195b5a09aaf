"""What is kept of everyone whom a system finds in a batch of pictures: who was invented, and how large labelled people are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...datasets.sample import Labeled, known_ends, transform
from ...models.output import Poses
from .matching import SMALLEST
from .oks_ap import similarity
from .predictions import Found

ALIKE = 0.5
"""OKS from which on whoever is found is one of a crowd, or a person of whom the box alone is labelled: COCO's least."""
EACH = ("points", "score", "row", "invented", "picture")
"""What `Found` holds of each person or picture."""


def of_people(sample: Labeled) -> Labeled:
    """The same labels without the keypoints of crowds, which are nobody's."""
    if sample.crowd is None:
        return sample
    return replace(sample, annotated=sample.annotated & ~sample.crowd[:, None])


def nobodys(poses: Poses, place: Tensor, sample: Labeled, sigmas: Sequence[float]) -> Tensor:
    """Which of the predicted people nobody labelled, in images that are labelled: (Q,) bool. `place` (P,) says who is
    who. An image is not labelled where people are said to be in it and nothing is known of them; crowds, and people of
    whom only the box is, are anybody who is like them (see `oks_ap.similarity`)."""
    listed = torch.bincount(sample.image_index, minlength=len(sample))
    known = sample.annotated.any(1)
    told = torch.bincount(sample.image_index[known], minlength=len(sample))
    alone = torch.ones(len(poses), dtype=torch.bool, device=place.device)
    alone[place[place >= 0]] = False
    if sample.bounds is not None and sample.area is not None and poses.points.shape[-1] == 2:
        boxed = ~known
        points = transform(sample.to_file[poses.image_index], poses.points)
        blind = sample.keypoints[boxed], sample.annotated[boxed], sample.area[boxed], sample.bounds[boxed]
        likes = similarity(points, *(values.to(points.device) for values in blind), sigmas)
        same = poses.image_index[:, None] == sample.image_index[boxed]
        alone &= ~((likes >= ALIKE) & same).any(1)
        told = listed
    return alone & ((listed == 0) | (told > 0))[poses.image_index]


def extents(values: dict[str, Tensor], sample: Labeled) -> dict[str, Tensor]:
    """Area (P,) in file px squared, bounds (P, 4) and crowd (P,) of the labelled people of `values`, as the set says
    them; without that the area is that of the annotated keypoints' box, of which no side counts as less than a quarter
    of the other, nor as less than SMALLEST of the picture."""
    if sample.area is not None and sample.bounds is not None and sample.crowd is not None:
        return {"area": sample.area, "bounds": sample.bounds, "crowd": sample.crowd}
    low, high = known_ends(values["truth"], values["annotated"])
    sides = (high - low).clamp_min(0).nan_to_num(0.0, 0.0, 0.0)
    least = torch.maximum(sides.amax(-1) / 4, SMALLEST * values["side"])
    area = torch.maximum(sides, least[:, None]).prod(-1)
    return {"area": area, "bounds": torch.zeros(len(area), 4), "crowd": torch.zeros(len(area), dtype=torch.bool)}


def found(poses: Poses, alone: Tensor, sample: Labeled, sigmas: Sequence[float]) -> Found:
    """Everyone in a sample, of whom those who are `alone` (Q,) are invented."""
    return Found(
        points=transform(sample.to_file[poses.image_index], poses.points).cpu(),
        score=poses.score.cpu(),
        row=sample.row[poses.image_index].cpu(),
        invented=alone.cpu(),
        picture=sample.row.cpu(),
        sequence=sample.sequence,
        sigmas=torch.tensor(sigmas, dtype=torch.float64),
        own_area=sample.area is not None,
    )


def joined(parts: Sequence[Found]) -> Found | None:
    """Those of all batches; None without any."""
    if not parts:
        return None
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in EACH}
    sequence = tuple(name for part in parts for name in part.sequence)
    return replace(parts[0], **tensors, sequence=sequence, own_area=all(part.own_area for part in parts))
