"""What the campaign's commands work on: small pictures with labels, a network that answers where a picture is bright,
and an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from ...datasets.reading.files import write_json, write_text
from ...datasets.rendered.hands import render
from ...datasets.skeleton import HAND
from ..report.drawing import write_picture
from .injection import DATA, FULL, LIMIT, SIGNALS, TRACKER

NETWORK = '''"""Where a picture is bright and coloured: few parameters, and answers that follow what is seen."""

import torch
from torch import nn


class Bright(nn.Module):
    def __init__(self, keypoints):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 5, 4, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Conv2d(6, keypoints, 1)
        nn.init.uniform_(self.body[0].weight, 0.0, 0.2)
        nn.init.uniform_(self.head.weight, 0.5, 1.5)

    def forward(self, image):
        return self.head(self.body(image))
'''
SIDE = 32
SOURCE, TARGET = 24, 40
"""Pictures."""
EXPERIMENT = {
    "name": "faults",
    "source": {"name": "coco_json", "root": "source", "block": 3},
    "target": {"name": "coco_json", "root": "target", "block": 3},
    "model": {"name": "own", "file": "network.py", "object": "Bright", "input_size": [SIDE, SIDE], "scale": 4.0}
    | {"arguments": {"keypoints": len(HAND)}, "normalize": "unit"},
    "batch": 4,
    "pretrain_steps": 4,
    "steps": 8,
    "evaluate_every": 4,
    "checkpoint_every": 2,
    "log_every": 1,
    "seeds": 1,
    "strategies": ["source_only", "mean_teacher"],
    "tracking": "off",
    "pretrain": {"name": "adam", "rate": 0.003, "gamma": 0.0},
    "optimization": {"name": "adam", "rate": 0.003, "gamma": 0.0},
}


@dataclass(frozen=True)
class Case:
    """A command that is disturbed, and by what."""

    name: str
    words: list[str]
    kinds: tuple[str, ...] = (*SIGNALS, FULL, LIMIT)
    data: tuple[str, ...] = ()
    """Folders that may go away."""
    after: tuple[list[str], ...] = ()
    """What is run undisturbed at the end."""
    exports: bool = True
    """Whether ONNX is there; without it a run leaves no model.onnx."""
    fresh: bool = False
    """Whether one of its two undisturbed runs is in a process of its own, and not from the server."""
    share: float = 1.0
    """Of the campaign's interruptions, beside others'."""


STORE = "sqlite:///tracker/mlflow.db"
ADAPT = ["adapt", "given", "--target", "target"]
TRAIN = ["train", "faults.yaml", "output=runs/one", "strategy=mean_teacher"]
EVERY = (*SIGNALS, FULL, LIMIT, DATA)
CASES = (
    Case(
        "data prepare",
        ["data", "prepare", "coco_json", "root=source", "block=3", f"size={SIDE}"],
        EVERY,
        ("source",),
        share=3,
    ),
    Case(
        "predict",
        ["predict", "given", "target", "--output", "answers.json", "--draw", "drawn", "--batch", "4", "--overwrite"],
        EVERY,
        ("target",),
        share=2,
    ),
    Case(
        "adapt --online",
        [*ADAPT, "--online", "--output", "runs/online", "--overwrite", "batch=4"],
        EVERY,
        ("target",),
        share=1.5,
    ),
    Case("train", TRAIN, EVERY, ("source", "target"), exports=False, fresh=True),
    Case(
        "adapt",
        [*ADAPT, "--strategy", "mean_teacher_free", "--output", "runs/adapted", "batch=6", "tracking=off"],
        EVERY,
        ("target",),
        exports=False,
        share=0.8,
    ),
    Case("compare", ["compare", "faults.yaml", "output=runs/both"], EVERY, ("source", "target"), exports=False),
    Case(
        "train, tracked, with ONNX",
        [*TRAIN, f"tracking={STORE}"],
        (*SIGNALS, FULL, TRACKER),
        after=(["sync", "runs/one"],),
        share=0.3,
    ),
    Case("export, onnx", ["export", "given", "--output", "given.onnx", "--overwrite"], share=0.2),
    Case("export, torch", ["export", "given", "--format", "torch", "--output", "given.pt2", "--overwrite"], share=0.2),
)


def make_world(folder: Path) -> None:
    """The files of the user in `folder`, but for the trained run."""
    write_pictures(folder / "source", "studio", SOURCE)
    write_pictures(folder / "target", "webcam", TARGET)
    write_text(folder / "network.py", NETWORK)
    write_text(folder / "faults.yaml", yaml.safe_dump(EXPERIMENT, sort_keys=False))


def write_pictures(folder: Path, style: str, count: int) -> None:
    """Rendered hands as PNGs with a COCO file beside them."""
    folder.mkdir(parents=True)
    drawn = render(style, 0, range(count), SIDE)
    images, annotations = [], []
    for number, (picture, points) in enumerate(zip(drawn.image.numpy(), drawn.keypoints.numpy(), strict=True)):
        name = f"{number:03d}.png"
        write_picture(folder / name, picture)
        images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        flags = np.full((len(points), 1), 2.0)
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [0, 0, SIDE, SIDE], "iscrowd": 0}
            | {"area": SIDE**2, "num_keypoints": len(points)}
            | {"keypoints": np.hstack([points[:, :2] - 0.5, flags]).ravel().tolist()}
        )
    category = {"id": 1, "name": "hand", "keypoints": list(HAND.keypoints)}
    category["skeleton"] = [[a + 1, b + 1] for a, b in HAND.edges]
    write_json(folder / "labels.json", {"images": images, "annotations": annotations, "categories": [category]})
