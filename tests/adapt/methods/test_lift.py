"""Lifters adapt: consistent lifting by its effect, what it refuses, and every strategy on answers from the root."""

import dataclasses
from copy import deepcopy

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from keyshift.adapt.methods.lift import Lift
from keyshift.adapt.methods.lift_online import LiftOnline
from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.scoring.evaluation import everyone
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization, frames_of
from keyshift.adapt.trainer import updates
from keyshift.datasets.augment import Augmentation, disturbed
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.views import View, as_clips
from keyshift.experiments.config import build
from keyshift.experiments.runs.task import prepare

CPU, SIZE = torch.device("cpu"), (1000, 1000)
LESS_EXACT = Augmentation(area=[1.0, 1.0], jitter=0.005, missing=0.1)
OPTIONS = {"regda": RegDA.Options(head_layers=1), "mean_teacher": MeanTeacher.Options(decay=0.9)}


def recordings(toys, style, part="train", **options):
    return toys.Recordings(toys.Recordings.Options(**{"train": 6, "frames": 6} | options), part, style)


def lifter(toys, **options):
    torch.manual_seed(0)
    return toys.BodyLifter(6, toys.BodyLifter.Options(**options))


def made(toys, kind, model, rate=1e-3, options=None):
    torch.manual_seed(1)
    return kind(deepcopy(model), toys.FIGURE, Optimization("adam", rate, {}, 0.0, gamma=0.0), options=options).train()


def batches_of(strategy, source, target, batch=4, augmentation=LESS_EXACT):
    sides = {
        "source": as_clips(source, 5),
        "target": as_clips(target, frames_of(strategy.model, max(strategy.clip, 1))),
    }
    labels = {"source": True, "target": strategy.labelled_target}
    return {d: TrainingBatches(sides[d], d, 0, batch, SIZE, augmentation, labels[d], strategy.views[d]) for d in sides}


def trained(toys, strategy, source, target, count, batch=4, augmentation=LESS_EXACT):
    """The strategy after so many iterations, everything finite."""
    batches = batches_of(strategy, source, target, batch, augmentation)
    strategy.begin_round(everyone(strategy.predictor, as_clips(target, 5), 36, SIZE, augmentation, CPU))
    fabric, optimizers = Fabric(accelerator="cpu", devices=1), strategy.optimizers()
    for step in range(count):
        torch.manual_seed(step)
        needed = [batches[d][step] if d in strategy.needs else None for d in ("source", "target")]
        for losses in updates(fabric, strategy, optimizers, *needed):
            assert all(loss.isfinite() for loss in losses.values()), losses
    return strategy


def same(one, other):
    return all(torch.equal(value, other[key]) for key, value in one.items())


class Noise(View):
    """Other labels of the same 2D keypoints, those of other frames too."""

    def __getitem__(self, index):
        item, rng = self.dataset[index], np.random.default_rng(index)
        noise = {key: rng.normal(0, 500, item.inputs[key].shape) for key in item.inputs.keys() & {"random3d"}}
        known = rng.random(item.annotated.shape) > 0.5
        points = rng.normal(0, 500, item.keypoints.shape)
        return dataclasses.replace(
            item, keypoints=points, points=points, visible=known, annotated=known, inputs={**item.inputs, **noise}
        )


@pytest.mark.parametrize("name", suited(["keypoints2d"]))
def test_every_strategy_on_a_lifter_moves_and_sees_no_target_label(toys, name):
    kind, model = STRATEGIES[name], lifter(toys, channels=8)
    source, target = recordings(toys, "plain", random=3), recordings(toys, "shifted", random=3)
    before = deepcopy(model.state_dict())
    ends = [
        trained(toys, made(toys, kind, model, options=OPTIONS.get(name)), source, side, 2).predictor.state_dict()
        for side in (target, Noise(target))
    ]
    assert all(value.isfinite().all() for value in ends[0].values())
    assert any(not torch.equal(before[key], value) for key, value in ends[0].items()) == (name != "given")
    assert same(*ends) == (name != "oracle")


@pytest.mark.parametrize("name", ["regda", "mean_teacher", "tent", "lift", "lift_online"])
def test_temporal_consistency_of_lifters(toys, name):
    """Windows of five frames, of seven that a sample holds."""
    kind = STRATEGIES[name]
    strategy = made(toys, kind, lifter(toys, channels=8), options=kind.Options(steady=1.0, steady_slack=0.0))
    target = recordings(toys, "shifted")
    assert batches_of(strategy, target, target)["target"][0].inputs["keypoints2d"].shape == (4, 7, 6, 3)
    before = deepcopy(strategy.model.state_dict())
    trained(toys, strategy, recordings(toys, "plain"), target, 2, augmentation=Augmentation(area=[1.0, 1.0]))
    assert not same(before, strategy.model.state_dict())


@pytest.fixture(scope="module")
def shift(toys):
    """Error in mm on the shifted style of a lifter that learned the plain one; and the two sets."""
    source, target = (recordings(toys, style, train=120, frames=10) for style in ("plain", "shifted"))
    test = EvaluationBatches(as_clips(recordings(toys, "shifted", "test", test=24, frames=10), 5), 240, SIZE)[0]
    start = made(toys, STRATEGIES["source_only"], lifter(toys, channels=128, head_layers=2), rate=3e-3)
    still = Augmentation(area=[1.0, 1.0])
    trained(toys, start, source, target, 200, 32, still)

    def error(kind=None, options=None, rate=1e-3, known=True):
        strategy = start
        if kind is not None:
            strategy = made(toys, kind, start.predictor, rate, options)
            if known:
                some = EvaluationBatches(as_clips(source, 5), 256, SIZE)
                strategy.see_source(lambda: (some[number] for number in range(len(some))))
            trained(toys, strategy, source, target, 100, 32, still)
        model = strategy.predictor.eval()
        with torch.no_grad():
            return float((model(test).mean() - test.keypoints)[:, 1:].norm(dim=-1).mean())

    return error


def test_consistent_lifting_adapts_to_another_camera_and_a_worse_detector(shift):
    before, norms = shift(), shift(STRATEGIES["bn_online"])
    assert norms < before
    assert shift(Lift) < min(0.7 * before, norms - 15)
    assert shift(LiftOnline, LiftOnline.Options(rate=1e-2)) < min(0.7 * before, norms - 10)


def test_measured_lengths_stand_for_the_source(toys, shift):
    options = Lift.Options(lengths=[float(bone) for bone in toys.Recordings.bones])
    assert shift(Lift, options, known=False) < 0.7 * shift()


def test_what_consistent_lifting_cannot_do_without(toys):
    model, skeleton = lifter(toys), toys.FIGURE
    with pytest.raises(ValueError, match=r"lift knows no lengths of bones.* pelvis to chest, chest to left_elbow"):
        made(toys, Lift, model).see_source(None)
    made(toys, Lift, model, options=Lift.Options(known=0.0)).see_source(None)
    with pytest.raises(ValueError, match=r"are 2; 'figure' has 5 bones: pelvis to chest"):
        made(toys, LiftOnline, model, options=LiftOnline.Options(lengths=[100.0, 200.0]))
    with pytest.raises(
        ValueError, match=r"Consistent lifting is made for systems that read keypoints2d; TopDown reads im"
    ):
        made(toys, Lift, toys.TopDown(3, toys.TopDown.Options()))
    bare = dataclasses.replace(skeleton, edges=(), flip_pairs=())
    with pytest.raises(ValueError, match=r"symmetry, bones, known, reprojection there is none .* 'figure' allows"):
        Lift(model, bare, Optimization(), options=Lift.Options(reprojection=0.0))


def test_a_run_of_another_system_is_refused_before_it_starts(registered):
    config = build(
        {}, ["source.name=scenes.plain", "target.name=scenes.shifted", "model.name=bottom_up", "strategy=lift"]
    )
    with pytest.raises(ValueError, match=r"Consistent lifting is made for systems that read keypoints2d; BottomUp"):
        prepare(config, ["lift"])


def test_disturbed_keypoints_are_those_of_a_worse_detector():
    """Repeated frames err alike, so that they stay repeats; what is missing is zeros; what was missing stays."""
    rng = np.random.default_rng(0)
    poses = np.concatenate([rng.uniform(0, 1000, (400, 5, 2)), np.ones((400, 5, 1))], -1)
    poses[1], poses[7, 2] = poses[0], 0
    options = Augmentation(jitter=0.02, missing=0.0)
    noise = [(disturbed(poses, 1000, options, np.random.default_rng(seed)) - poses)[8:, :, :2] for seed in range(20)]
    spread = [part.std() for part in noise]
    assert 0 < min(spread) < 10 < max(spread) <= 21
    assert abs(np.mean(noise)) < 0.5
    made = disturbed(poses, 1000, Augmentation(jitter=0.02, missing=0.5), np.random.default_rng(3))
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[1], made[2])
    assert np.array_equal(made[7, 2], np.zeros(3))
    gone = made[..., 2] == 0
    assert 0.02 < gone.mean() < 0.5
    assert (made[gone] == 0).all()
    assert disturbed(poses, 1000, Augmentation(), rng) is poses
