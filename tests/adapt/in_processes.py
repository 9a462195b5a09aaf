"""What several processes do together, forked from one that has not computed anything yet, which spares their imports:
FOLDER. Leaves there what test_processes.py looks at."""

import importlib.util
import os
import socket
import sys
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn import functional

from keyshift.adapt.methods.dann import DANN
from keyshift.adapt.processes import leave, shared
from keyshift.adapt.scoring.evaluation import agreement, predict, predict_people
from keyshift.adapt.scoring.evidence import Evidence, Looks
from keyshift.adapt.shared_norm import share_statistics
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import Loop, Trainer
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, Mapped, TrainingBatches
from keyshift.models.systems.pose_resnet import PoseResNet

_spec = importlib.util.spec_from_file_location("dots", Path(__file__).parents[1] / "conftest.py")
_toys = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_toys)
Dots = _toys.Dots
SIZE, CPU, SHARES = (32, 32), torch.device("cpu"), ((0, 5), (5, 5), (5, 12))
"""The parts of a batch of 12 that three processes have; the second has none."""


def launch(processes, work):
    """Run `work(fabric)` in so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(processes):
        child = os.fork()
        if not child:
            where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
            where |= {"GROUP_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": port}
            os.environ.update({name: str(value) for name, value in where.items()} if processes > 1 else {})
            code = 1
            try:
                fabric = Fabric(accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto")
                fabric.launch()
                work(fabric)
                leave()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    ends = [os.waitpid(child, 0)[1] for child in children]
    assert not any(ends), f"{work} failed in {processes} processes"


def network():
    torch.manual_seed(0)
    sizes = {"input_size": list(SIZE), "heatmap_size": [8, 8]}
    return PoseResNet(3, PoseResNet.Options(backbone="small", channels=8, **sizes))


def train(folder, steps, fabric):
    """With batch norm in the network and in the discriminator; momentum goes through checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    where = {"rank": fabric.global_rank, "processes": fabric.world_size}
    strategy = DANN(network(), Dots.skeleton, Optimization(rate=0.01), "both", DANN.Options(width=16, warmup=2))
    if fabric.world_size > 1:
        share_statistics(strategy)
    data = {"source": Dots(12), "target": Dots(12, "shifted")}
    batches = {
        d: TrainingBatches(data[d], d, 0, 8, SIZE, Augmentation(), d == "source", strategy.views[d], **where)
        for d in data
    }
    Trainer(fabric, strategy, batches, folder, Loop(steps, 2, 1000, 4), 0).fit()


def normalise(folder, fabric):
    """One layer's answer, gradients and statistics, of this process's share of a batch or of the whole."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, momentum=None), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    whole, goal = torch.randn(12, 2, 4, 4), torch.randn(12, 2, 4, 4)
    share = slice(None)
    if fabric.world_size > 1:
        share_statistics(layers)
        share = slice(*SHARES[fabric.global_rank])
    for _ in range(2):
        layers.zero_grad()
        answer = layers(whole[share])
        functional.mse_loss(answer, goal[share], reduction="sum").backward()
    gradients = {name: parameter.grad for name, parameter in layers.named_parameters()}
    state = {"answer": answer.detach(), "gradients": gradients, "state": layers.state_dict()}
    torch.save(state, folder / f"norm-{fabric.world_size}-{fabric.global_rank}.pt")


def look(folder, fabric):
    """What evaluation and the label-free scores see, shared out."""
    model, data = network(), Dots(22)
    batches = EvaluationBatches(data, 4, SIZE)
    predictions = predict(model, batches, CPU)
    poses = predict_people(model, batches, CPU)
    looks = Looks(data, Dots(9, "shifted"), Dots.skeleton, SIZE, Augmentation(), 0.1, CPU, pictures=40)
    evidence = Evidence(model, looks)
    views = TrainingBatches(data, "score", 0, 4, SIZE, Augmentation(), labels=False, views=2)
    read = []
    shared(Mapped(range(5), lambda number: read.append(number) or number), lambda number: number)
    state = {
        "predicted": [predictions.points, predictions.confidence, predictions.row],
        "poses": [poses.points, poses.image_index],
        "seen": [evidence.target.points, evidence.target.image_index, evidence.target.log_density],
        "views": [evidence.views.points, evidence.views.shown],
        "agreement": agreement(model, Mapped(range(6), views.__getitem__), Dots.skeleton.flip, CPU),
        "read": read,
    }
    torch.save(state, folder / f"look-{fabric.world_size}-{fabric.global_rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[1])
    for count, doing in ((1, normalise), (3, normalise), (1, look), (2, look)):
        launch(count, partial(doing, place))
    launch(1, partial(train, place / "whole", 8))
    for then in (1, 4):
        launch(2, partial(train, place / f"two-{then}", 4))
        launch(then, partial(train, place / f"two-{then}", 8))
