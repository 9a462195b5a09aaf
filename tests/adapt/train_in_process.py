"""Trains in a process of its own: FOLDER STEPS [plain], plain for a network without batch norm."""

import sys
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.processes import leave
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import Loop, Trainer
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.sample import Item
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.saved import save_checkpoint
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


def without_batch_norm(module):
    for name, child in module.named_children():
        if isinstance(child, torch.nn.BatchNorm2d):
            setattr(module, name, torch.nn.Identity())
        else:
            without_batch_norm(child)


def main(folder, steps, plain):
    folder.mkdir(parents=True, exist_ok=True)
    import os

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto")
    fabric.launch()
    torch.manual_seed(0)
    model = PoseResNet(2, PoseResNet.Options(backbone="small", input_size=[32, 32], heatmap_size=[8, 8], channels=8))
    strategy = (MeanTeacher if plain else RegDA)(model, Noise.skeleton, Optimization(rate=0.01))
    if plain:
        without_batch_norm(strategy)
    where = {"rank": fabric.global_rank, "processes": fabric.world_size}
    batches = {
        name: TrainingBatches(Noise(first), name, 0, 4, (32, 32), Augmentation(), name == "source", views, **where)
        for name, first, views in (("source", 0, 1), ("target", 100, strategy.views["target"]))
    }
    trainer = Trainer(fabric, strategy, batches, folder, Loop(steps, 1, 1000, 4), 0)
    trainer.fit()
    if fabric.is_global_zero:
        gradients = {k: p.grad for k, p in strategy.named_parameters() if p.grad is not None}
        save_checkpoint(folder / "gradients.pt", gradients)
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), len(sys.argv) > 3)
