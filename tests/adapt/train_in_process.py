"""Trains in a process of its own: FOLDER STEPS."""

import sys
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import Loop, Trainer
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.sample import Item
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.systems.pose_resnet import PoseResNet


class Noise:
    """Pictures of noise: labels matter little here, only that the same numbers come out."""

    name, identity, skeleton = "noise", {}, Skeleton("two", ("a", "b"))

    def __init__(self, first):
        self.first = first

    def __len__(self):
        return 10

    def __getitem__(self, index):
        rng = np.random.default_rng(self.first + index)
        known = np.ones(2, bool)
        image = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        box = np.array([0, 0, 32, 32])
        return Item(image, box, str(index), "", index, np.zeros(4), rng.uniform(4, 28, (2, 2)), known, known)


def main(folder, steps):
    folder.mkdir(parents=True, exist_ok=True)
    fabric = Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(0)
    model = PoseResNet(2, PoseResNet.Options(backbone="small", input_size=[32, 32], heatmap_size=[8, 8], channels=8))
    strategy = RegDA(model, Noise.skeleton, Optimization(rate=0.01))
    batches = {
        name: TrainingBatches(Noise(first), name, 0, 4, (32, 32), Augmentation(), name == "source")
        for name, first in (("source", 0), ("target", 100))
    }
    Trainer(fabric, strategy, batches, folder, Loop(steps, 1, 1000, 4), 0).fit()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
