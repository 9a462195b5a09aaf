"""`keyshift evaluate POSE_RUN --root ROOT_RUN`: which part of a chain loses what, on a labelled set.

A chain finds boxes, asks RootNet for the distance of each person's root, and PoseNet for the pose around it. Here each
part's answers take the place of the truth in turn, for the same people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from ...adapt.scoring import people_metrics
from ...adapt.scoring.evaluation import Predictions, predict
from ...adapt.scoring.space_scores import placed
from ...datasets.catalog import open_dataset
from ...datasets.loading import EvaluationBatches, loader
from ...datasets.reading.boxes import FILES, SCORE, detect_people
from ...datasets.reading.detections import Detected, read_detections
from ...datasets.reading.people import PictureSet
from ...datasets.sample import PIXELS_AND_MM, ROOT_MM, PoseDataset
from ...datasets.skeleton import Skeleton
from ...datasets.views import for_space
from ...models.pose_model import PoseModel
from ...models.saved import load_model
from ..config import Chosen, Config, load_folder
from ..runs.device import choose_device
from ..runs.progress import Reporter
from ..runs.task import at_once, check_fits, seen_by
from .evaluate import ships, weights_of
from .labelled_people import boxed, names_of

BOXES = ("boxes", "crops")
"""What sets call the option that says what crops are made from."""
COLUMNS = ("MRPE", "MPJPE from the root", "absolute MPJPE")


@dataclass(frozen=True)
class Part:
    """A network of the chain and the configuration of its run."""

    run: Path
    config: Config
    model: PoseModel
    skeleton: Skeleton

    @classmethod
    def load(cls, run: Path, words: list[str], space: str, wanted: str) -> Part:
        """Raises ValueError for a run of another kind of system."""
        config = load_folder(run, words)
        if not any((run / name).is_file() for name in ("checkpoint.pt", "model.pt")):
            raise ValueError(
                f"{run} holds no trained run: a chain is made of single runs, STRATEGY-seedN of a comparison"
            )
        model, skeleton = load_model(weights_of(run, config, ships(run, words)))
        if model.space != space or "reach" in model.reads or skeleton.root is None:
            raise ValueError(f"{run} holds a {type(model).__name__}: the chain needs {wanted}")
        return cls(run, config, model.to(choose_device(config.device)), skeleton)

    def answers(self, dataset: PoseDataset, side: str) -> Predictions:
        """Raises ValueError where data does not fit."""
        lacking = [name for name in self.skeleton.keypoints if name not in dataset.skeleton.keypoints]
        if lacking:
            raise ValueError(
                f"{self.run} answers with {', '.join(lacking)}, which {dataset.name} does not label: choose a set that "
                "has them"
            )
        seen = seen_by(type(self.model), dataset, self.skeleton, self.model.frames)
        check_fits(self.config, self.model, seen, side)
        count = at_once(type(self.model), self.model.options, len(self.skeleton))
        batches = EvaluationBatches(seen, count, self.model.input_size, self.config.crop)
        mirror = self.skeleton.flip if self.config.flip_test else None
        return predict(self.model, loader(batches, range(len(batches))), choose_device(self.config.device), mirror)


def evaluate_chain(
    pose_run: Path, root_run: Path, words: list[str], reporter: Reporter, boxes: str | None = None
) -> dict[str, dict[str, float]]:
    """Print and return MRPE, MPJPE from the root and absolute MPJPE, mm, by whose boxes and whose roots were used.

    The set is the test part of the pose run's target, or of its source where it has none, with `words` key=value over
    its configuration. `boxes` is a file of boxes, or a torchvision detector; None: the set's own, where they are not
    the true joints' already. All rows are over the people whom the given boxes find. Raises ValueError for runs of
    other systems, and for sets without 3D points, cameras or boxes of the truth.
    """
    pose = Part.load(pose_run, words, ROOT_MM, "a run of pose_net, whose poses are counted from the root")
    root = Part.load(root_run, [], PIXELS_AND_MM, "a run of root_net as --root, which says where the root is")
    names = [part.skeleton.keypoints[part.skeleton.root or 0] for part in (pose, root)]
    if names[0] != names[1]:
        raise ValueError(f"{pose_run} counts from the {names[0]}, {root_run} answers with the {names[1]}")
    side = "source" if pose.config.target is None else "target"
    true = opened(getattr(pose.config, side), "truth")
    given, said = given_boxes(getattr(pose.config, side), true, boxes)
    reporter.say(f"{true.name}: {len(true)} people")
    answers = {"true boxes": (pose.answers(true, side), root.answers(true, side))}
    if given is not None:
        answers[said[0]] = pose.answers(given, side), root.answers(given, side)
        for line in said[1:]:
            reporter.say(line)
    table = losses(answers)
    if not table:
        raise ValueError(f"{true.name}: nobody's root is known, so that nothing can be scored")
    print_losses(table, reporter)
    return table


def opened(chosen: Chosen, boxes: str | None = None) -> PoseDataset:
    """The test part of a set, with other boxes where they are named. Raises ValueError for a set without such an
    option."""
    if boxes is None:
        return open_dataset(chosen.name, chosen.options, "test")
    known = (one for one in fields(chosen.options) if one.name in BOXES and boxes in one.metadata["choices"])
    name = next((one.name for one in known), None)
    if name is None:
        raise ValueError(
            f"{chosen.name} has no option {' or '.join(BOXES)} that takes {boxes}, and the chain is told apart by its "
            "boxes: choose another set"
        )
    return open_dataset(chosen.name, replace(chosen.options, **{name: boxes}), "test")


def given_boxes(chosen: Chosen, true: PoseDataset, boxes: str | None) -> tuple[PoseDataset | None, list[str]]:
    """The set with the boxes that a chain would use, and what is said of them, their name first; None where there are
    no others than the true ones."""
    own = for_space(opened(chosen))  # crops of given boxes are made as the networks see the set's own
    if boxes is None:
        kind = own.identity.get("boxes")
        return (None, []) if kind == true.identity.get("boxes") else (own, [f"boxes={kind}"])
    names = names_of(own)
    met, alone = boxed(own, names, detections(boxes, own, names), boxes)
    if not len(met):
        raise ValueError(f"{boxes}: no box is of any of the {len(own)} people of {own.name}")
    lost = f"{boxes}: it misses {len(own) - len(met)} of {len(own)} people; {alone} of its boxes are nobody's"
    return met, ["given boxes", f"{lost}. All numbers are those of the people whom it finds"]


def detections(source: str, dataset: PoseDataset, names: Sequence[str]) -> Detected:
    """The boxes of a file, or those that a torchvision detector finds in the pictures of a set of files."""
    pictures = list(dict.fromkeys(names))
    if Path(source).suffix.lower() in FILES:
        return read_detections(Path(source), pictures, least=SCORE)
    if not isinstance(dataset, PictureSet):
        raise ValueError(f"--boxes {source}: {dataset.name} has no picture files for a detector to see; give a file")
    return Detected(detect_people(source, dataset.root, pictures, white=dataset.white), False)


def losses(answers: dict[str, tuple[Predictions, Predictions]]) -> dict[str, dict[str, float]]:
    """`COLUMNS` by whose boxes and roots, over the people who are in all answers and whose root is known; empty without
    such people."""
    common = set.intersection(*(set(pose.id) for pose, _ in answers.values()))
    table = {}
    for boxes, (pose, root) in answers.items():
        rows = torch.tensor([name in common for name in pose.id])
        rows &= pose.annotated[:, pose.root] & root.annotated[:, 0]
        if not rows.any():
            return {}
        chosen, roots = pose.select(rows), root.select(rows)
        assert chosen.depth is not None
        truth = placed(chosen.truth, chosen.depth, chosen.camera)
        answered = roots.in_space(roots.points)[:, 0]
        for whose, own in (("true roots", truth[:, chosen.root]), ("RootNet", answered)):
            table[f"{boxes}, {whose}"] = errors(chosen, own, truth)
    return table


def errors(pose: Predictions, roots: Tensor, truth: Tensor) -> dict[str, float]:
    """`COLUMNS` of poses around roots (N, 3) mm against the true joints (N, K, 3) mm; the root's keypoint stands where
    PoseNet sees it, at RootNet's distance."""
    points, mask, root = placed(pose.points, roots[:, 2], pose.camera), pose.annotated, pose.root
    values = (
        people_metrics.mrpe(roots, truth[:, root], mask[:, root]),
        people_metrics.mpjpe(points, truth, mask, root),
        people_metrics.mpjpe(points, truth, mask, None),
    )
    return dict(zip(COLUMNS, map(float, values), strict=True)) | {"people": float(len(roots))}


def print_losses(table: dict[str, dict[str, float]], reporter: Reporter) -> None:
    """A row for each, with how much the absolute error is above that of the first."""
    last, people = COLUMNS[-1], next(iter(table.values()))["people"]
    first = next(iter(table.values()))[last]
    rows = [
        [name, *(f"{values[column]:.1f}" for column in COLUMNS), f"{values[last] - first:+.1f}"]
        for name, values in table.items()
    ]
    columns = ["boxes and roots", *(f"{column}, mm" for column in COLUMNS), "more than the first"]
    reporter.table(f"what a chain loses where, {people:.0f} people", columns, rows)
