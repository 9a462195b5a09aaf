"""Every strategy on RootNet, whose one keypoint has a distance, and on volumes (PoseNet, DSNT), by the same files."""

from copy import deepcopy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from keyshift.adapt.guard import labelled_traits
from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.methods.uda_animal import UDAAnimal
from keyshift.adapt.scoring.evaluation import agreement, everyone, predict, scores
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import Loop, Trainer, updates
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.sample import carry, transform
from keyshift.datasets.views import InSpace, Selected, View
from keyshift.models import people
from keyshift.models.output import Poses
from keyshift.models.saved import MODELS, load_checkpoint

SYSTEMS, SIZE, CPU = ("root_net", "pose_net", "dsnt_3d"), (32, 32), torch.device("cpu")
TURNED = Augmentation(rotation=20, area=[0.8, 1.2], color=0, blur=0, mirror=0.5)
OPTIONS = {
    "regda": RegDA.Options(head_layers=1, fresh_head=False, sigma=1.0, warmup=20, highest=1.0, trade_off=0.3),
    "mean_teacher": MeanTeacher.Options(decay=0.9, sigma=1.0, weight=0.3),
}


@pytest.fixture(autouse=True)
def backbone(toys, monkeypatch):
    monkeypatch.setattr(people, "build_backbone", lambda *_: toys.Tiny())


def seen(name, data):
    keypoints = MODELS[name].learns(data.skeleton).keypoints
    return InSpace(Selected(data, keypoints), MODELS[name].space == "pixels and mm from the root")


def build(name, skeleton):
    torch.manual_seed(0)
    kind, skeleton = MODELS[name], MODELS[name].learns(skeleton)
    cells = {} if name == "root_net" else {"depth_cells": 16}
    return kind(len(skeleton), kind.Options(input_size=list(SIZE), channels=16, **cells)).know(skeleton)


def begun(name, strategy, model, rate=3e-3, milestones=()):
    torch.manual_seed(0)
    skeleton = MODELS[name].learns(model.skeleton)
    optimization = Optimization("adam", rate, {}, 0.0, gamma=0.0, milestones=list(milestones))
    return STRATEGIES[strategy](deepcopy(model.network), skeleton, optimization, options=OPTIONS.get(strategy)).train()


class Start:
    """A network with the skeleton of its data."""

    def __init__(self, name, persons):
        self.network, self.skeleton = build(name, persons.skeleton), persons.skeleton


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("strategy", suited(["image"]))
def test_two_updates_in_half_precision(persons, two_updates, name, strategy):
    """With mirrored views; what moves is the network."""
    made = begun(name, strategy, Start(name, persons))
    data = {d: seen(name, persons(8, style)) for d, style in (("source", "plain"), ("target", "shifted"))}
    changed, _ = two_updates(made, data, SIZE, TURNED)
    assert bool(changed) == (strategy != "given")


class Unlike(View):
    """Samples of which every second has no depth, and says `said` mm, and multiples of it, in its place."""

    def __init__(self, dataset, said):
        super().__init__(dataset)
        self.said = said

    def __getitem__(self, index):
        item = self.dataset[index]
        if index % 2:
            return item
        z = self.said * np.arange(1, len(item.keypoints) + 1)
        keypoints = np.concatenate([item.keypoints[:, :2], z[:, None]], 1)
        return replace(item, keypoints=keypoints, deep=np.zeros(len(keypoints), bool))


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("strategy", [key for key, kind in STRATEGIES.items() if "source" in kind.needs])
def test_a_depth_that_no_label_knows_teaches_nothing(persons, monkeypatch, name, strategy):
    """Of a 2D set beside a 3D one: whatever stands in its place, nothing changes, to the bit."""
    monkeypatch.setitem(OPTIONS, "uda_animal", UDAAnimal.Options(mixup=True))
    after = []
    for said in (0.0, 300.0):
        made = begun(name, strategy, Start(name, persons))
        data = {"source": Unlike(seen(name, persons(8)), said), "target": seen(name, persons(8, "shifted"))}
        labels = {"source": True, "target": made.labelled_target}
        batches = {d: TrainingBatches(data[d], d, 0, 8, SIZE, TURNED, labels[d], made.views[d]) for d in data}
        made.begin_round(everyone(made.predictor, data["target"], 8, SIZE, TURNED, CPU))
        fabric, optimizers = Fabric(accelerator="cpu", devices=1), made.optimizers()
        torch.manual_seed(0)
        for step in range(2):
            list(updates(fabric, made, optimizers, batches["source"][step], batches["target"][step]))
        after.append(made.state_dict())
    assert all(torch.equal(value, after[1][key]) for key, value in after[0].items())


def test_anatomy_is_not_learned_from_labels_without_depth(persons):
    data = Unlike(seen("pose_net", persons(8)), 0.0)
    known = labelled_traits([EvaluationBatches(data, 8, SIZE)[0]], data.skeleton).isfinite().any(1)
    assert known.tolist() == [bool(row % 2) for row in range(8)]


@pytest.mark.parametrize("name", SYSTEMS)
def test_points_travel_between_views_with_their_distance(persons, name):
    """x and y by the affines, z as it is; the truth lands on the truth, whatever is mirrored, turned and zoomed."""
    data = seen(name, persons(16))
    sample = TrainingBatches(data, "source", 0, 16, SIZE, TURNED, labels=True, views=2)[0]
    (view,) = sample.views
    there = carry(sample.keypoints, sample, view, data.skeleton.flip, torch.arange(16))
    torch.testing.assert_close(there, view.keypoints, atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(
        transform(view.to_file, view.keypoints)[..., 2], view.keypoints[..., 2], atol=1e-3, rtol=1e-5
    )


@pytest.mark.parametrize("name", SYSTEMS)
def test_agreement_looks_at_distances_too(persons, name):
    """A network that says the truth agrees with itself; one that says another distance in each view does not."""
    data = seen(name, persons(8))
    sample = TrainingBatches(data, "source", 0, 8, SIZE, TURNED, labels=True, views=2)[0]

    class Knows(torch.nn.Module):
        single, wrong = True, 0.0

        def forward(self, sample):
            return sample

        def decode(self, votes, sample):
            points = sample.keypoints.clone()
            points[..., 2] += self.wrong * len(sample.views)  # in the first view alone
            return Poses.of_crops(points, torch.ones(points.shape[:2]))

    knows = Knows()
    assert agreement(knows, [sample], data.skeleton.flip, CPU) == 1
    knows.wrong = 150.0  # more than a twentieth of 2 m
    assert agreement(knows, [sample], data.skeleton.flip, CPU) == 0


class Other(View):
    """The same pictures with other labels."""

    def __getitem__(self, index):
        item, rng = self.dataset[index], np.random.default_rng(index)
        known = rng.random(3) > 0.5
        labels = {"keypoints": rng.uniform(0, 48, (3, 2)), "points": rng.uniform(1, 9000, (3, 3))}
        return replace(item, visible=known, annotated=known, **labels)


def trainer(persons, folder, name, strategy, steps, target=None):
    """As a run trains; `target` takes the place of the target's samples."""
    made = begun(name, strategy, Start(name, persons))
    data = {"source": seen(name, persons(12)), "target": seen(name, target or persons(12, "shifted"))}
    labels = {"source": True, "target": made.labelled_target}
    batches = {d: TrainingBatches(data[d], d, 5, 4, SIZE, TURNED, labels[d], made.views[d]) for d in data}
    folder.mkdir(exist_ok=True)
    loop = Loop(steps, log_every=2, evaluate_every=100, checkpoint_every=2)
    return Trainer(Fabric(accelerator="cpu", devices=1), made, batches, folder, loop, 5)


def weights(folder):
    return load_checkpoint(folder / "checkpoint.pt")["strategy"]


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("strategy", ["regda", "mean_teacher"])
def test_a_run_goes_on_to_the_same_weights_and_never_sees_a_target_label(persons, tmp_path, name, strategy):
    trainer(persons, tmp_path / "whole", name, strategy, 4).fit()
    trainer(persons, tmp_path / "broken", name, strategy, 2).fit()
    assert load_checkpoint(tmp_path / "broken/checkpoint.pt")["step"] == 2
    trainer(persons, tmp_path / "broken", name, strategy, 4).fit()
    same(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    trainer(persons, tmp_path / "other", name, strategy, 4, Other(persons(12, "shifted"))).fit()
    same(weights(tmp_path / "whole"), weights(tmp_path / "other"))


@pytest.mark.parametrize("name", SYSTEMS)
def test_adaptation_helps_on_a_toy_shift(persons, iterate, name):
    """By more than the same updates with the source alone, in mm: of the root's place in the camera's frame, of the
    pose relative to it."""

    @cache
    def batch(domain, number, views):
        data = seen(name, persons(160, "plain" if domain == "source" else "shifted"))
        turned = replace(TURNED, mirror=0.0)
        return TrainingBatches(data, domain, 0, 16, SIZE, turned, domain == "source", views)[number]

    def run(strategy, start, updates, rate, milestones=()):
        made = begun(name, strategy, start, rate, milestones)
        optimizers = made.optimizers()
        for step in range(updates):
            target = batch("target", step % 10, made.views["target"]) if "target" in made.needs else None
            iterate(made, batch("source", step % 10, 1), target, optimizers)
            for _, schedule in optimizers.values():
                schedule.step()
        return made.predictor

    start = Start(name, persons)
    start.network = run("source_only", start, 140, 1e-2, [100])
    data = seen(name, persons(96, "shifted", first=1000))
    test = EvaluationBatches(data, 96, SIZE)[0]
    mm = {
        strategy: scores(predict(run(strategy, start, 40, 3e-3), [test], CPU), data.skeleton, 0.1)["mm"]
        for strategy in ("source_only", "regda", "mean_teacher")
    }
    assert mm["regda"] < 0.95 * mm["source_only"], mm
    assert mm["mean_teacher"] < 0.9 * mm["source_only"], mm
