"""A run that leaves the road is stopped and taken back to where it was good; a healthy one is what it is without."""

import json
import math
import os
import signal
from copy import deepcopy

import pytest
import torch
from lightning_fabric import Fabric

from keyshift.adapt import guard as guarding
from keyshift.adapt.guard import Bounds, Guard, sentence
from keyshift.adapt.methods.bn_online import BatchNormOnline
from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.methods.tent import Tent
from keyshift.adapt.scoring.evaluation import predict, scores
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import Interrupted, Loop, NotFinite, Trainer
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.skeleton import Skeleton
from keyshift.datasets.views import WithoutLabels
from keyshift.models.saved import MODELS, load_checkpoint, load_model

CPU = torch.device("cpu")
LOOSE = {"distance": 1e9, "sharpness": 0.0, "agreement": 0.0, "anatomy": 0.0, "source": 0.0}


@pytest.fixture
def run(dots, toys, toy_shift, tmp_path, monkeypatch):
    """make(folder, kind, ...): a trainer from the toy's pretrained network, watched on its held-out pictures; evaluated
    every other update."""
    monkeypatch.setitem(MODELS, "top_down", toys.TopDown)
    skeleton = dots.skeleton

    def whole(dataset):
        return [EvaluationBatches(dataset, len(dataset), (32, 32))[0]]

    labels, held, target = whole(dots(32)), whole(dots(32, first=500)), whole(WithoutLabels(dots(32, "shifted")))
    limits = guarding.ranges(guarding.labelled_traits(labels, skeleton))

    def measure(model):
        sharpness, poses = guarding.looked_at(model, target, skeleton, CPU)
        values = {"sharpness": sharpness, "anatomy": guarding.plausible(poses, limits)}
        return values | guarding.source_accuracy(model, held, skeleton, 0.1, CPU)

    def evaluate(model):
        score = scores(predict(model, held, CPU), skeleton, 0.1)
        return {"source/pck": score["pck"], "source/epe": score["epe"], "target/score": score["pck"]}

    def make(folder, kind=MeanTeacher, steps=8, stops=True, spoil=None, bounds=None, options=None, rate=1e-3):
        torch.manual_seed(0)
        optimization = Optimization("adam", rate, {}, 0.0, gamma=0.0)
        strategy = kind(deepcopy(toy_shift.start), skeleton, optimization, "target", options)
        styles = {"source": "plain", "target": "shifted"}
        cut = 0, 4, (32, 32), Augmentation()
        batches = {
            d: TrainingBatches(dots(16, style), d, *cut, d == "source", strategy.views[d])
            for d, style in styles.items()
        }
        guard = None if stops is None else Guard(stops, bounds or Bounds(), deepcopy(toy_shift.start), measure)
        (tmp_path / folder).mkdir(exist_ok=True)
        loop = Loop(steps, log_every=1, evaluate_every=2, checkpoint_every=1)
        fabric = Fabric(accelerator="cpu", devices=1)
        made = Trainer(fabric, strategy, batches, tmp_path / folder, loop, 0, evaluate, guard=guard)
        made.callbacks = [lambda step, _: spoil(made, step)] if spoil else []
        return made

    return make


def at(step, change):
    """Changes the predictor after update `step`."""

    def spoil(trainer, done):
        if done == step:
            with torch.no_grad():
                change(trainer.strategy.predictor)

    return spoil


def away(model):
    for p in model.parameters():
        p.mul_(-1)


def flat(model):
    model.head[-1].weight.zero_()
    model.head[-1].bias.zero_()


def sharp(model):
    model.head[-1].weight.mul_(1000)


def in_one_place(model):
    """All keypoints at the first one's."""
    for p in (model.head[-1].weight, model.head[-1].bias):
        p[1:3] = p[:1]


def renamed(model):
    for p in (model.head[-1].weight, model.head[-1].bias):
        p[:3] = p[[1, 2, 0]]


def broken(model):
    next(model.parameters())[0] = math.nan


@pytest.mark.parametrize(
    ("change", "measure", "bound"),
    [
        (away, "distance", {"distance": 1.0}),
        (flat, "sharpness", {"sharpness": 0.5}),
        (sharp, "sharpness", {"sharpness": 0.5}),
        (in_one_place, "anatomy", {"anatomy": 0.5}),
        (renamed, "pck", {"source": 0.5}),
        (broken, "distance", {}),
    ],
)
def test_each_measure_stops_a_run_alone(run, tmp_path, change, measure, bound):
    """And what it goes back to are the weights of the last evaluation before, to the bit."""
    made = run("run", spoil=at(5, change), bounds=Bounds(**LOOSE | bound))
    made.fit()
    state = load_checkpoint(tmp_path / "run/checkpoint.pt")
    left = state["guard"]["left"]
    assert (left["step"], left["back"], left["measure"], state["step"]) == (6, 4, measure, 6)
    assert set(state["selection"]["steps"].values()) <= {2, 4}
    assert state["selection"]["steps"]["last"] == 4
    said = sentence(left, 8)
    assert said.startswith("training was stopped at update 6 of 8 and went back to update 4: ")
    if measure == "distance" and not bound:
        assert said.endswith("to nan, which is no number")
        assert left["value"] is None
    else:
        assert f"went from {left['start']:.3f} to {left['value']:.3f}, and its bound is {left['bound']:.3f}" in said
    assert "NaN" not in json.dumps(left)
    healthy = run("healthy", steps=4)
    healthy.fit()
    kept = load_model(tmp_path / "run/weights-000004.pt")[0].state_dict()
    assert all(torch.equal(value, kept[key]) for key, value in healthy.strategy.predictor.state_dict().items())
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert f"guard/{'pck' if measure == 'pck' else 'distance'}" in lines[-1]["metrics"]
    assert "source/pck" not in lines[-1]["metrics"]  # no rule may choose it


def test_a_run_that_was_stopped_is_finished(run, tmp_path):
    run("run", spoil=at(3, away)).fit()
    before = (tmp_path / "run/checkpoint.pt").read_bytes()
    again = run("run", spoil=lambda *_: pytest.fail("it trains on"))
    again.fit()
    assert again.stopped
    assert (tmp_path / "run/checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("interrupted", [1, 3])
def test_an_interrupted_run_is_stopped_where_the_whole_one_is(run, tmp_path, interrupted):
    def both(trainer, step):
        at(5, away)(trainer, step)
        if step == interrupted and trainer.folder.name == "broken":
            os.kill(os.getpid(), signal.SIGINT)

    run("whole", spoil=both).fit()
    with pytest.raises(Interrupted):
        run("broken", spoil=both).fit()
    run("broken", spoil=both).fit()
    whole, broken_off = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("whole", "broken"))
    assert whole["guard"] == broken_off["guard"]
    assert whole["guard"]["left"]["step"] == 6
    assert whole["selection"] == broken_off["selection"]
    for key, value in whole["strategy"].items():
        assert torch.equal(value, broken_off["strategy"][key])


@pytest.mark.parametrize("kind", [MeanTeacher, Tent, BatchNormOnline])
def test_a_healthy_run_is_the_same_to_the_bit(run, tmp_path, kind):
    for name, stops in (("off", None), ("stop", True)):
        run(name, kind, stops=stops, steps=4).fit()
    off, stop = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("off", "stop"))
    assert stop["guard"]["left"] is None
    assert stop["guard"]["good"] == 4
    assert off["guard"] is None
    assert off["selection"] == stop["selection"]
    for key, value in off["strategy"].items():
        assert torch.equal(value, stop["strategy"][key])

    def lines(name):
        read = (json.loads(line)["metrics"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        return [{k: v for k, v in m.items() if not k.startswith(("guard/", "seconds"))} for m in read]

    assert lines("off") == lines("stop")


def test_a_run_that_left_before_it_was_evaluated_goes_back_to_the_given_weights(run, toy_shift, tmp_path):
    made = run("run", spoil=at(1, away))
    made.fit()
    state = load_checkpoint(tmp_path / "run/checkpoint.pt")
    assert state["selection"]["steps"] == {"last": 0, "source": 0, "target_score": 0}
    kept = load_model(tmp_path / "run/weights-000000.pt")[0].state_dict()
    assert all(torch.equal(value, kept[key]) for key, value in toy_shift.start.state_dict().items())
    assert "went back to the given weights: " in sentence(state["guard"]["left"], 8)


def poisoned(step):
    """Mean teacher whose loss is no number at iteration `step`."""

    class Poisoned(MeanTeacher):
        def supervised(self, batch):
            self.count = getattr(self, "count", -1) + 1
            return {
                name: loss * (math.nan if self.count == step else 1) for name, loss in super().supervised(batch).items()
            }

    return Poisoned


def test_a_loss_that_is_not_finite(run, tmp_path):
    """Is gone back from by a guard that stops; else it ends the run as ever."""
    run("stop", poisoned(4)).fit()
    left = load_checkpoint(tmp_path / "stop/checkpoint.pt")["guard"]["left"]
    assert (left["step"], left["back"]) == (5, 4)
    assert "a loss is not finite at step 4: heat = nan" in sentence(left, 8)
    for stops in (False, None):
        with pytest.raises(NotFinite, match="step 4"):
            run(f"watch {stops}", poisoned(4), stops=stops).fit()


def test_a_guard_that_watches_says_so_alone(run, tmp_path):
    run("watch", stops=False, spoil=at(5, renamed)).fit()
    state = load_checkpoint(tmp_path / "watch/checkpoint.pt")
    assert (state["step"], state["selection"]["steps"]["last"]) == (8, 8)
    assert (state["guard"]["left"]["step"], state["guard"]["left"]["back"]) == (6, None)
    assert sentence(state["guard"]["left"], 8).startswith("training left the road at update 6 of 8, and went on")


def test_a_fresh_head_is_watched_once_it_has_learned(run, tmp_path):
    """It begins outside, which stops nothing; at the end it must be inside."""
    options = RegDA.Options(fresh_head=True, sigma=1.0)
    run("run", RegDA, options=options, bounds=Bounds(**LOOSE | {"source": 0.9}), steps=6).fit()
    state = load_checkpoint(tmp_path / "run/checkpoint.pt")
    assert not state["guard"]["inside"]
    assert (state["guard"]["left"]["step"], state["guard"]["left"]["back"]) == (6, 0)
    assert set(state["selection"]["steps"].values()) == {0}
    assert load_model(tmp_path / "run/weights-000000.pt")[0].options.head_layers == 1
    run("learns", RegDA, options=options, bounds=Bounds(**LOOSE), steps=6).fit()
    state = load_checkpoint(tmp_path / "learns/checkpoint.pt")
    assert state["guard"]["inside"]
    assert state["guard"]["left"] is None


@pytest.mark.parametrize(
    ("kind", "options", "rate"),
    [
        (MeanTeacher, MeanTeacher.Options(decay=0.9, weight=1e4), 0.1),
        (Tent, Tent.Options(rate=0.05), 1e-3),
        (RegDA, RegDA.Options(fresh_head=False, sigma=1.0, warmup=1, highest=30.0), 0.1),
    ],
)
def test_strategies_in_absurd_settings_are_stopped(run, tmp_path, kind, options, rate):
    made = run("run", kind, options=options, rate=rate, steps=80)
    made.loop.evaluate_every = 20
    made.fit()
    left = load_checkpoint(tmp_path / "run/checkpoint.pt")["guard"]["left"]
    assert left is not None
    assert left["step"] <= 40


def test_traits_by_a_loop():
    """Of a pose whose third joint nobody knows, and one all of whose joints are in one place."""
    skeleton = Skeleton("chain", ("a", "b", "c", "d"), edges=((0, 1), (1, 2), (1, 3)))
    points = torch.rand(3, 4, 2)
    points[1, 2] = math.nan
    points[2] = 0.5
    values = guarding.traits(points, skeleton)
    for person, pose in enumerate(points.tolist()):
        lengths = [math.dist(pose[a], pose[b]) for a, b in skeleton.edges]
        known = [length for length in lengths if not math.isnan(length)]
        mean = max(sum(known) / len(known), 1e-6)
        wanted = [length / mean for length in lengths]
        for a, b, c in ((0, 1, 2), (0, 1, 3), (2, 1, 3)):
            one, other = ([q - p for p, q in zip(pose[b], pose[end], strict=True)] for end in (a, c))
            size = math.hypot(*one) * math.hypot(*other)
            wanted.append(sum(p * q for p, q in zip(one, other, strict=True)) / size if size else 0.0)
        torch.testing.assert_close(values[person], torch.tensor(wanted), equal_nan=True)
    limits = torch.tensor([[0.0, 0.0, math.nan], [1.0, 0.5, math.nan]])
    assert guarding.plausible(torch.tensor([[0.5, 0.6, 0.0], [0.5, 0.1, 0.0]]), limits) == 0.75
    assert guarding.plausible(torch.zeros(0, 3), limits) == 0
    of_a_point = guarding.traits(torch.rand(8, 1, 2), Skeleton("point", ("a",)))
    assert math.isnan(guarding.plausible(of_a_point, guarding.ranges(of_a_point)))


def test_what_a_measure_may_be():
    bounds = Bounds(source=0.5)
    assert bounds.limits("mm", 20.0) == (0.0, 40.0)
    assert bounds.limits("pck", 0.8) == (0.4, math.inf)
    assert bounds.limits("pck", 0.05) == (0.0, math.inf)
    assert bounds.limits("ap", 0.3) == (0.15, math.inf)
    assert bounds.limits("ap", 0.05) == (0.0, math.inf)
    assert bounds.limits("sharpness", 0.6) == (0.3, 0.8)
    assert bounds.limits("sharpness", 0.95) == pytest.approx((0.475, 1.05))
    assert bounds.limits("sharpness", 0.0) == (-0.1, 0.5)
