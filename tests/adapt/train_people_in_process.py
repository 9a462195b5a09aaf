"""Trains the toy that finds several people in a process of its own: FOLDER STRATEGY..."""

import importlib.util
import os
import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric

from keyshift.adapt.methods.ccssl import CCSSL
from keyshift.adapt.methods.cdan import CDAN
from keyshift.adapt.methods.dann import DANN
from keyshift.adapt.methods.hamipose import HamiPose
from keyshift.adapt.methods.keyshift import Keyshift
from keyshift.adapt.methods.mcd import MCD
from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.post import Post
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.methods.uniframe import UniFrame
from keyshift.adapt.methods.view_filter import ViewFilter
from keyshift.adapt.processes import leave
from keyshift.adapt.scoring.evaluation import everyone
from keyshift.adapt.shared_norm import share_statistics
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import Loop, Trainer
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches

_spec = importlib.util.spec_from_file_location("toys", Path(__file__).parents[1] / "toys.py")
toys = sys.modules["toys"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toys)
OPTIONS = {
    "regda": RegDA.Options(head_layers=1, warmup=5),
    "mean_teacher": MeanTeacher.Options(decay=0.5, sigma=1.0),
    "hamipose": HamiPose.Options(decay=0.5, sigma=1.0, warmup=2),
    "view_filter": ViewFilter.Options(decay=0.5, sigma=1.0, teacher_views=2, opening=2),
    "keyshift": Keyshift.Options(decay=0.5),
    "relabel": toys.Relabel.Options(length=2),
    "dann": DANN.Options(width=16, warmup=2),
    "cdan": CDAN.Options(width=16, warmup=2, entropy=True),
    "mcd": MCD.Options(warmup=2, repeats=1, balance=0.1),
    "ccssl": CCSSL.Options(length=2, dropped=[0.2]),
    "uniframe": UniFrame.Options(decay=0.5, sigma=1.0, occluded=1.0, square=0.4),
    "post": Post.Options(decay=0.5, sigma=1.0, barlow=1.0),
}
SETS = {d: toys.Scenes(toys.Scenes.Options(), "train", s) for d, s in (("source", "plain"), ("target", "shifted"))}


def strategy_of(name):
    torch.manual_seed(0)
    model = toys.BottomUp(3, toys.BottomUp.Options(channels=8, threshold=0.55))
    kind = {**STRATEGIES, **toys.METHODS}[name]
    strategy = kind(model, toys.DOTS, Optimization(rate=1e-3), "both", OPTIONS.get(name))
    strategy.see_source(lambda: [EvaluationBatches(SETS["source"], 24, (32, 32))[0].without_labels()])
    return strategy


def train(fabric, folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    strategy, where = strategy_of(name), {"rank": fabric.global_rank, "processes": fabric.world_size}
    if fabric.world_size > 1:
        share_statistics(strategy)
    batches = {
        d: TrainingBatches(SETS[d], d, 0, 4, (32, 32), Augmentation(), d == "source", strategy.views[d], **where)
        for d in SETS
    }
    cut = 24, (32, 32), Augmentation(), torch.device("cpu")
    trainer = Trainer(
        *(fabric, strategy, batches, folder, Loop(4, 1, 1000, 4), 0),
        target=lambda model: everyone(model, SETS["target"], *cut),
    )
    trainer.fit()


if __name__ == "__main__":
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto")
    fabric.launch()
    for each in sys.argv[2:]:
        train(fabric, Path(sys.argv[1]) / each, each)
    leave()
