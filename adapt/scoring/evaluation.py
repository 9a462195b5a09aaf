"""Predictions over a dataset, the scores made from them, and the one score that needs no labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...datasets.augment import Augmentation
from ...datasets.loading import EvaluationBatches
from ...datasets.sample import (
    BODY_MM,
    IN_MM,
    PIXELS_AND_MM,
    ROOT_MM,
    Labeled,
    PoseDataset,
    Unlabeled,
    carry,
    countable,
    inside,
    renamed,
    swaps,
    transform,
    z_edge,
)
from ...datasets.skeleton import Skeleton
from ...datasets.views import WithoutLabels
from ...models.output import Poses
from ...models.pose_model import PoseModel, mirrored, mirrored_sequences
from ..processes import shared
from ..strategy import Target
from . import depth_metrics, metrics
from .finding import answers_of, extents, invented, joined, of_people
from .matching import SPAN_MM, match, span
from .oks_sigmas import UNPUBLISHED, fall_offs
from .people_ap import ap_scores
from .predictions import WORDS, Predictions
from .selection import Headline
from .space_scores import space_scores


@torch.no_grad()
def predict(
    model: PoseModel,
    batches: Iterable[Labeled],
    device: torch.device,
    mirror: Sequence[int] | None = None,
    skeleton: Skeleton | None = None,
) -> Predictions:
    """Evaluate `model` in evaluation mode; its mode is restored. With the permutation `mirror` of keypoints that
    mirroring asks for, answers are the means over a sample and its mirror image. OKS of people in pictures falls off as
    the `skeleton` says, equally for all keypoints without one."""
    mode = model.training
    model.eval()
    parts = shared(batches, lambda batch: of_batch(model, batch.to(device), mirror, skeleton))
    model.train(mode)
    whole: dict[str, Any] = {name: [part[name] for part in parts] for name in parts[0]}
    seen = [answers for answers in whole.pop("answers") if answers is not None]
    space, invention = whole.pop("space")[0], sum(whole.pop("invented"))
    for name, values in whole.items():
        whole[name] = tuple(word for words in values for word in words) if name in WORDS else torch.cat(values)
    root = model.root if space in (ROOT_MM, BODY_MM) else -1
    return Predictions(**whole, space=space, invented=invention, root=root, answers=joined(seen))


def of_batch(
    model: PoseModel, batch: Labeled, mirror: Sequence[int] | None, skeleton: Skeleton | None
) -> dict[str, Any]:
    """What `Predictions` holds, by name, of one batch and on the CPU."""
    sample = blind(of_people(batch))
    votes = model(sample)
    if mirror is not None and not model.single:
        votes = model.with_mirrored(votes, sample, mirror)
    poses, distance = model.decode(votes, sample), model.root_distance(votes)
    del votes  # of volumes as large as all else together
    if mirror is not None and model.single:
        poses = with_mirror(poses, model, sample, mirror)
    if not model.single:  # who is who is found in float64, which Apple's devices do not have
        poses, sample = poses.each(torch.Tensor.cpu), sample.to("cpu")
    truth = sample.keypoints[..., : poses.points.shape[-1]]
    people = sample.image_index
    counted = sample.whole & countable(truth, sample, people)
    place = arrange(poses, truth, counted, sample, model.single)
    matched, taken = place >= 0, place.clamp_min(0)
    values = {
        "points": picked(transform(sample.to_file[poses.image_index], poses.points), taken, matched),
        "confidence": picked(poses.confidence, taken, matched),
        "truth": transform(sample.to_file[people], truth),
        "annotated": counted,
        "visible": sample.visible & countable(truth, sample, people),
        "side": sample.side[people],
        "camera": sample.camera[people],
        "row": sample.row[people],
        "frame": sample.frame[people],
        "matched": matched,
    }
    if sample.space == ROOT_MM:
        values["depth"] = root_depth(sample, model.root)
    if sample.space == BODY_MM:
        values["place"] = root_place(sample, model.root)
    if distance is not None:
        values["own_depth"] = distance[people]
    sigmas = fall_offs(skeleton) if skeleton is not None else (UNPUBLISHED,) * truth.shape[1]
    alone, answers = invented(poses, place, sample, sigmas), None
    if not model.single and truth.shape[-1] == 2:
        values |= extents(values, sample)
        answers = answers_of(poses, alone, sample, sigmas)
    words = {name: tuple(getattr(batch, name)[i] for i in people.tolist()) for name in WORDS}
    tensors = {name: value.cpu() for name, value in values.items()}
    return tensors | words | {"space": sample.space, "invented": int(alone.sum()), "answers": answers}


def blind(sample: Labeled) -> Labeled:
    """The batch without the labels of other frames, which no answer may be made of."""
    return replace(sample, inputs={name: value for name, value in sample.inputs.items() if name != "random3d"})


def with_mirror(poses: Poses, model: PoseModel, sample: Unlabeled, flip: Sequence[int]) -> Poses:
    """The means of a model's `poses` for the pictures of a sample and its answers for their mirror images, in which
    keypoints change places by the permutation `flip`, of a system that sees one person in each. Raises ValueError as
    `check_mirrored` does, and for a system of several people, whose votes `PoseModel.with_mirrored` brings together."""
    check_mirrored(model)
    if not model.single:
        raise ValueError(f"flip_test: {type(model).__name__} finds several people; with_mirrored is for its votes")
    lifts, order = model.space == BODY_MM, list(flip)
    there_sample = mirrored_sequences(sample, model.input_size[0], order) if lifts else mirrored(sample)
    there = model.decode(model(there_sample), there_sample)
    points = there.points[:, order]
    edge = 0 if lifts else sample.image.shape[-1]
    points = torch.cat([edge - points[..., :1], points[..., 1:]], -1)
    return replace(
        poses,
        points=(poses.points + points) / 2,
        confidence=(poses.confidence + there.confidence[:, order]) / 2,
        score=(poses.score + there.score) / 2,
    )


def check_mirrored(model: PoseModel) -> None:
    """Raises ValueError where mirror images tell nothing: for a system that finds several people and has no way to
    bring together what it says of both, and for one that answers neither in pixels of pictures nor, from 2D keypoints,
    in mm from the root."""
    able = model.single or type(model).with_mirrored is not PoseModel.with_mirrored
    pictures = "image" in model.reads and model.space not in IN_MM
    if not able or not (pictures or (model.space == BODY_MM and "keypoints2d" in model.reads)):
        raise ValueError(
            f"flip_test: {type(model).__name__} does not answer for one person in a picture's pixels, nor from 2D "
            "keypoints in mm from the root"
        )


def root_depth(sample: Labeled, root: int) -> Tensor:
    """(P,) mm: the distance of each person's true root along the optical axis, 1 m where it is not known: nothing of
    such a person counts."""
    if sample.points is None:
        return torch.full((len(sample.keypoints),), 1000.0, device=sample.keypoints.device)
    z = sample.points[:, root, 2]
    return torch.where(z > 0, z, 1000.0)


def root_place(sample: Labeled, root: int) -> Tensor:
    """(P, 3) mm in the camera's frame: where each person's true root stands, zeros where it is not known."""
    if sample.points is None or root < 0:
        return sample.keypoints.new_zeros(len(sample.keypoints), 3)
    return sample.points[:, root]


def arrange(poses: Poses, truth: Tensor, counted: Tensor, sample: Labeled, single: bool) -> Tensor:
    """Which of the predicted people each labelled person is: (P,), -1 for nobody. Of crops the only one."""
    if single:
        return sample.image_index
    return match(poses, truth, counted, sample.image_index, sample)


def picked(values: Tensor, place: Tensor, matched: Tensor) -> Tensor:
    """Rows `place` (P,) of values (Q, ...), zeros where nobody was matched."""
    if not len(values):
        return values.new_zeros(len(place), *values.shape[1:])
    return values[place] * matched.view(-1, *(1,) * (values.dim() - 1))


@torch.no_grad()
def predict_people(
    model: PoseModel, batches: Iterable[Unlabeled], device: torch.device, flip: list[int] | None = None
) -> Poses:
    """The poses of everyone whom the model finds: points as the files have them (file pixels, or mm in the camera's
    frame), `image_index` the sample's row in its dataset. With the permutation `flip` keypoints have the file's names
    too, where the network sees a sample mirrored."""
    mode = model.training
    model.eval()

    def answer(batch: Unlabeled) -> Poses:
        sample = batch.to(device)
        poses = model.decode(model(sample), sample)
        points, confidence = transform(sample.to_file[poses.image_index], poses.points), poses.confidence
        if flip is not None:
            points, confidence = (renamed(v, flip, swaps(sample)[poses.image_index]) for v in (points, confidence))
        return Poses(points, confidence, sample.row[poses.image_index], poses.score).each(Tensor.cpu)

    parts = shared(batches, answer)
    model.train(mode)
    return Poses(*(torch.cat([getattr(part, f.name) for part in parts]).to(device) for f in fields(Poses)))


def everyone(
    model: PoseModel,
    dataset: PoseDataset,
    at_once: int,
    size: tuple[int, int],
    augmentation: Augmentation,
    device: torch.device,
    mode: str = "exact",
) -> Target:
    """The target's training samples, without their labels, and the model's poses for them, `at_once` in a pass."""
    unlabeled = WithoutLabels(dataset)

    def passed(warp: int) -> Poses:
        batches = EvaluationBatches(unlabeled, at_once, size, mode, (augmentation, warp) if warp else None)
        return predict_people(model, batches, device, dataset.skeleton.flip)

    return Target(unlabeled, passed)


def scores(predictions: Predictions, skeleton: Skeleton, threshold: float) -> dict[str, Any]:
    """The headline over all annotated, the seen, groups and joints; EPE in file px; the area under the curve.

    Of 2D points PCK at `threshold` of the crop's side, `auc` below its curve to 0.2. Of 3D points `mm`, the mean error;
    `auc` below the share of frames whose worst joint is within 0 to 80 mm; `map`, the share within 100 mm, ITOP's mAP;
    of people in space what `space_scores` gives. Of people who were found in pictures `ap` and the others of
    `ap_scores` beside PCK, and always how many were `missed` and `invented`.
    """
    headline = predictions.headline(threshold).by_joint
    errors, mask = predictions.errors(), predictions.annotated
    values = torch.from_numpy(headline.values(predictions))
    known = mask & torch.isfinite(values)  # an error of someone who was missed is no distance; PCK counts a miss
    joints = metrics.mean_per_joint(values, known)
    near = {"map": float(depth_metrics.mean_average_precision(errors, mask))} if headline.key == "mm" else {}
    pixels = predictions.pixels()
    lost = int((~predictions.matched & mask.any(1)).sum())
    several = predictions.answers is not None or lost > 0 or predictions.invented > 0
    people = {"missed": lost, "invented": predictions.invented} if several else {}
    return {
        **ap_scores(predictions),
        headline.key: float(metrics.mean(values, known)),
        f"{headline.key}_visible": float(metrics.mean(values, known & predictions.visible)),
        "epe": float(metrics.mean(pixels, mask & torch.isfinite(pixels))),
        "auc": area(headline, errors, mask),
        **near,
        **space_scores(predictions, skeleton),
        **people,
        "groups": metrics.group_means(joints, skeleton.groups),
        "joints": dict(zip(skeleton.keypoints, joints.tolist(), strict=True)),
    }


def hits(predictions: Predictions, batches: Sequence[Labeled], threshold: float) -> np.ndarray:
    """(N, K) float64, 1 for a keypoint within `threshold` of its place, in shares of the crop's side, of 3D points of
    the cube's edge: of those the `batches` that were predicted say it."""
    errors = predictions.errors()
    if predictions.dims == 3:
        errors = errors / torch.cat([edge(batch) for batch in batches])[predictions.row, None]
    return (errors <= threshold).double().numpy()


def edge(batch: Labeled) -> Tensor:
    """(B,) mm of the cube's edge, of a picture the extent; of a person in mm a person's length."""
    return torch.full((len(batch),), SPAN_MM) if batch.space in IN_MM else z_edge(batch).cpu().float()


def curve(headline: Headline, errors: Tensor, mask: Tensor, thresholds: Tensor) -> Tensor:
    """The share within each of `thresholds` (T,): of PCK all keypoints count, of mm each frame's worst one. (T,)"""
    counted = metrics.pck_curve if headline.key == "pck" else depth_metrics.worst_joint_curve
    return counted(errors, mask, thresholds)


def area(headline: Headline, errors: Tensor, mask: Tensor) -> float:
    """The area under `curve` up to the headline's highest threshold, as a share of the whole."""
    counted = metrics.auc if headline.key == "pck" else depth_metrics.worst_joint_auc
    return float(counted(errors, mask, headline.highest))


@torch.no_grad()
def agreement(
    model: PoseModel, batches: Iterable[Unlabeled], flip: list[int], device: torch.device, threshold: float = 0.05
) -> float:
    """The label-free score: the share of keypoints that are predicted at the same place, to `threshold` of the crop's
    side (along z of the cube's edge), in two known warps of an image.

    A network that collapsed to constant answers does not turn with the image, so it scores low here, while it
    scores high on entropy or confidence.
    """
    mode = model.training
    model.eval()

    def counts(batch: Unlabeled) -> tuple[float, float]:
        first = batch.to(device)
        (second,) = first.views
        there = model.decode(model(first), first)
        points = carry(there.points, first, second, flip, there.image_index)
        here = model.decode(model(second), second)
        shown = inside(points, second, there.image_index)
        place = torch.arange(len(points), device=points.device)
        if not model.single:
            place = match(here, points, shown, there.image_index, second)
        mine = picked(here.points, place.clamp_min(0), place >= 0)
        close = (place >= 0)[:, None] & near(mine, points, second, there.image_index, threshold)
        return float((close & shown).sum()), float(shown.sum())

    counted = shared(batches, counts)
    model.train(mode)
    same, total = (sum(number[side] for number in counted) for side in (0, 1))
    if not total and not model.single:
        return 0.0  # whoever finds nobody does not agree with himself
    return same / total if total else float("nan")


def near(here: Tensor, there: Tensor, sample: Unlabeled, image_index: Tensor, threshold: float) -> Tensor:
    """Whether points (P, K, D) of a sample agree: to `threshold` of the input's longer side, along z of the cube's
    edge, in mm along all axes of SPAN_MM: (P, K) bool."""
    if sample.space in IN_MM:
        return metrics.distances(here, there) <= threshold * span(sample)
    close = metrics.distances(here[..., :2], there[..., :2]) <= threshold * span(sample)
    if sample.space in (PIXELS_AND_MM, ROOT_MM) and here.shape[-1] == 3:
        close &= (here - there)[..., 2].abs() <= threshold * z_edge(sample)[image_index, None]
    return close
