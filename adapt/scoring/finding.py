"""What is kept of everyone whom a system finds in a batch of pictures: who was invented, how large labelled people
are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from ...datasets.sample import Labeled, known_ends, transform
from ...models.output import Poses
from .matching import SMALLEST, unmatched
from .oks_ap import HALF, FlatPeople, closest
from .predictions import Answers

ALIKE = 0.5
"""OKS from which on whoever is found is one of a crowd, or a person of whom the box alone is labelled: COCO's least."""
EACH = ("points", "score", "row", "invented", "picture")
"""What `Answers` holds of each person or picture."""


def of_people(sample: Labeled) -> Labeled:
    """The same labels without the keypoints of crowds, which are nobody's."""
    if sample.crowd is None:
        return sample
    return replace(sample, annotated=sample.annotated & ~sample.crowd[:, None])


def nobodys(people: Poses, place: Tensor, truth: FlatPeople, sigmas: Sequence[float]) -> Tensor:
    """Which of the predicted people nobody labelled: (Q,) bool. `place` (P,) says who is who. Crowds, and people of
    whom the box alone is labelled, are anybody who is like them, as of `oks_ap.similarity`."""
    blind = FlatPeople(*(getattr(truth, one.name)[truth.ignored] for one in fields(FlatPeople)))
    return unmatched(place, len(people)) & (closest(people, blind, sigmas) < ALIKE)


def invented(poses: Poses, place: Tensor, sample: Labeled, sigmas: Sequence[float]) -> Tensor:
    """The same of a sample, in images that are labelled: not in one where people are said to be and nothing is known of
    them, no keypoint and no box."""
    if (
        sample.bounds is not None
        and sample.area is not None
        and sample.crowd is not None
        and poses.points.shape[-1] == 2
    ):
        image = sample.image_index
        answers = replace(poses, points=transform(sample.to_file[poses.image_index], poses.points))
        own = sample.keypoints, sample.annotated, sample.area, sample.bounds + HALF, sample.crowd, image
        return nobodys(answers, place, FlatPeople(*own), sigmas)
    listed = torch.bincount(sample.image_index, minlength=len(sample))
    known = torch.bincount(sample.image_index[sample.annotated.any(1)], minlength=len(sample))
    return unmatched(place, len(poses)) & ((listed == 0) | (known > 0))[poses.image_index]


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


def answers_of(poses: Poses, alone: Tensor, sample: Labeled, sigmas: Sequence[float]) -> Answers:
    """Everyone in a sample, of whom those who are `alone` (Q,) are invented."""
    return Answers(
        points=transform(sample.to_file[poses.image_index], poses.points).cpu(),
        score=poses.score.cpu(),
        row=sample.row[poses.image_index].cpu(),
        invented=alone.cpu(),
        picture=sample.row.cpu(),
        sequence=sample.sequence,
        sigmas=torch.tensor(sigmas, dtype=torch.float64),
        own_area=sample.area is not None,
    )


def joined(parts: Sequence[Answers]) -> Answers | None:
    """Those of all batches; None without any."""
    if not parts:
        return None
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in EACH}
    sequence = tuple(name for part in parts for name in part.sequence)
    return replace(parts[0], **tensors, sequence=sequence, own_area=all(part.own_area for part in parts))
