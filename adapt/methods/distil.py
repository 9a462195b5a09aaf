"""Distillation: a small model learns from the labels that somebody else's model gave the target.

    labels = other model(target),   kept where its confidence >= least
    L = L_model(student(augmented target), kept labels)
No paper's: the plain form, by the model's own loss, of learning from a larger model's outputs (Hinton et al., 2015;
for keypoints Zhang et al., CVPR 2019), when these are poses in a file and the model itself may not be at hand.

`labels` is a COCO results file, a COCO file as `keyshift predict` writes it, or a network that `keyshift export` wrote
(.onnx, of pictures or depth), which then looks at the target's own crops, of depth cut as it says that it learned from.
Relative paths start from where keyshift is started, as those of all options. The labels are read once, before the
first update, and are in the state. Where code names no `labels`, they are the given model's own; a run must name them
(`self_training` is what learns from its own).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ...datasets.loading import EvaluationBatches
from ...datasets.options import FILE, option
from ...datasets.reading.coco_predictions import people_of, read_for
from ...datasets.reading.files import from_home
from ...datasets.sample import PoseDataset
from ...models.exported import Exported
from ...models.output import Poses
from ...models.pose_model import PoseModel
from ..scoring.evaluation import predict_people
from ..strategy import Strategy, Target
from .self_training import FixedLabels

AT_ONCE = 32


class Distil(FixedLabels):
    """The labels are another model's."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        labels: str | None = option(
            None, "a COCO results file (.json) or an exported network (.onnx); a run needs it", tags=(FILE,)
        )
        least: float = option(0.0, "labels of a lower confidence, on the other model's scale, are left out", low=0)

    title = "Distillation"
    about = "learns from the labels that another model gave the target"
    cost = 1.0
    kind = "source_free"
    besides = "labels by another model (COCO results or ONNX)"
    requires = ("labels",)
    needs = frozenset({"target"})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.options.labels is not None:  # before anything is trained
            path = from_home(self.options.labels)
            (Exported if is_network(path) else read_for)(path, self.skeleton.keypoints)

    def labels(self, target: Target) -> Poses:
        if self.options.labels is None:
            return target.predict()
        path, device = from_home(self.options.labels), next(self.model.parameters()).device
        read = self.exported if is_network(path) else of_file
        return read(path, target.dataset).each(lambda values: values.to(device))

    def exported(self, path: Path, dataset: PoseDataset) -> Poses:
        """What the network in the file says of the crops."""
        network = Exported(path, self.skeleton.keypoints)
        batches = EvaluationBatches(dataset, AT_ONCE, network.size, network.crop)
        crops = (batches[number] for number in range(len(batches)))
        return predict_people(cast(PoseModel, network), crops, torch.device("cpu"), self.skeleton.flip)

    def kept_of(self, confidence: Tensor) -> Tensor:
        keep = (confidence > 0) & (confidence >= self.options.least)
        if self.options.labels is not None and not keep.any():
            most = f"{float(confidence.max()):.3g}" if confidence.numel() else "none"
            raise ValueError(
                f"{self.options.labels}: no label is above 0 and as sure as distil.least={self.options.least:g}, the "
                f"surest: {most}. Lower it, or give another file"
            )
        return keep


def is_network(path: Path) -> bool:
    return path.suffix.lower() == ".onnx"


def of_file(path: Path, dataset: PoseDataset) -> Poses:
    """The poses in a COCO file for the dataset's samples."""
    people = people_of(path, dataset)
    points, confidence = (torch.from_numpy(part).float() for part in (people.points, people.confidence))
    return Poses(points, confidence, torch.from_numpy(people.row), confidence.mean(-1))
