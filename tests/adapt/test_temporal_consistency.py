"""Neighbouring frames agree: the term against a loop, what costs nothing, every strategy with it, its effect, runs."""

import dataclasses
import json
import os
import signal
from copy import deepcopy

import av
import cv2
import numpy as np
import pytest
import torch
import yaml
from lightning_fabric import Fabric

from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.scoring.evaluation import everyone, predict, scores
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization, frames_of
from keyshift.adapt.temporal_consistency import departure, inconsistency, moving, steps
from keyshift.adapt.trainer import updates
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.sample import Unlabeled
from keyshift.datasets.views import as_clips
from keyshift.experiments.cli import main
from keyshift.experiments.config import build
from keyshift.experiments.runs import conclusion
from keyshift.experiments.runs.task import prepare
from keyshift.experiments.runs.training import (
    Phase,
    build_strategy,
    make_fabric,
    plain_batches,
    target_of,
    training_batches,
)
from keyshift.models.output import Grid
from keyshift.models.saved import load_checkpoint

CPU = torch.device("cpu")
SIZE, TURNED = (32, 32), Augmentation(rotation=20)
REFUSED = {"given", "source_only", "bn_control", "adabn", "bn_online", "oracle"}
ADAM = Optimization("adam", 1e-2, {}, 0.0, gamma=0.0)


def clip_of(images, margins=None):
    count, given = len(images), {} if margins is None else {"margins": margins}
    one = torch.ones(count)
    return Unlabeled(
        {"image": images, **given}, ("",) * count, ("",) * count, one.long(), torch.zeros(count, 4),
        torch.eye(3)[:2].repeat(count, 1, 1), one,
    )  # fmt: skip


def network(toys, kind="TopDown", **options):
    torch.manual_seed(0)
    kind = getattr(toys, kind)
    return kind(3, kind.Options(channels=8, **options))


def walks(toys, style, part="train", train=24, test=12):
    return toys.Walks(toys.Walks.Options(train=train, test=test), part, style)


def test_the_term_and_its_gradient_are_those_of_a_loop(toys):
    torch.manual_seed(3)
    model = network(toys).eval()
    model.head[0].weight.data *= 30  # surer than a fresh network
    images = torch.randint(0, 256, (5, 3, 3, 32, 32), dtype=torch.uint8)
    images[2, 2] = images[2, 1]  # a video ends here
    margins = torch.tensor([[1.0, 1], [1, 3], [1, 1], [2, 1], [4, 4]])
    slack, total = 0.5, 0
    for b in range(5):
        single = [dataclasses.replace(clip_of(images[b : b + 1, t])) for t in range(3)]
        before, now, after = (model(each) for each in single)
        for k in range(3):
            a, c = margins[b].tolist()
            ends = [votes.mean()[0, k].detach() for votes in (before, after)]
            away = (now.mean()[0, k] - (c * ends[0] + a * ends[1]) / (a + c)) / 2.0  # of the grid's stride
            r = (away[0] ** 2 + away[1] ** 2) ** 0.5 - slack
            sure = min(float(votes.confidence().detach()[0, k]) for votes in (before, after))
            if b != 2 and r.detach() > 0:
                total = total + sure * (r**2 / 2 if r.detach() < 1 else r - 0.5) / 15
    value = inconsistency(model, clip_of(images, margins), slack)
    torch.testing.assert_close(value, total, atol=1e-6, rtol=1e-4)
    assert value > 0.01
    parameters = list(model.parameters())
    wanted, made = (torch.autograd.grad(each, parameters) for each in (total, value))
    for one, other in zip(wanted, made, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_constant_speed_costs_nothing_and_neither_does_allowed_acceleration():
    grid = Grid((8, 8), (4.0, 4.0), (2.0, 2.0), Grid((8,), (50.0,), (-175.0,)))
    margins = torch.tensor([[1.0, 1], [3, 1]])
    before, speed = torch.randn(2, 4, 3) * 5, torch.randn(2, 1, 3)
    now = (before + margins[:, :1, None] * speed).requires_grad_()
    after = before + margins.sum(1).view(2, 1, 1) * speed
    apart = departure(now, before, after, margins, grid)
    assert apart.max() < 1e-5
    (gradient,) = torch.autograd.grad((apart - 0.1).clamp_min(0).sum(), now)
    assert gradient.abs().max() == 0
    away = now + torch.tensor([4.0, 0, 50.0])  # one cell in x, one in depth
    torch.testing.assert_close(departure(away, before, after, margins, grid), torch.full((2, 4), 2**0.5))


def test_a_frame_that_stands_for_a_missing_neighbour_has_no_term(toys):
    clip = EvaluationBatches(as_clips(walks(toys, "shifted"), 3), 12, SIZE)[0].without_labels()
    ends = [time in (0, 5) for time in clip.frame.tolist()]
    assert moving(clip).tolist() == [not end for end in ends]
    assert steps(clip).tolist() == [[1, 1]] * 12
    model, images = network(toys).eval(), clip.image.clone()
    for row, end in enumerate(ends):
        if not end:
            images[row, 0] = images[row, 1]  # a cut before
    assert inconsistency(model, clip_of(images), 0.0) == 0
    wide = EvaluationBatches(as_clips(walks(toys, "shifted"), 5), 12, SIZE)[0]
    assert torch.equal(moving(wide), moving(clip))  # of a system that reads three frames: its own middle counts


@pytest.fixture(scope="module")
def finder(toys):
    """A network that finds several people, and has learned to."""
    torch.manual_seed(0)
    strategy = made(toys, "source_only", 0.0, network(toys, "BottomUp"))
    data = toys.Scenes(toys.Scenes.Options(train=96), "train")
    batches = TrainingBatches(data, "source", 0, 16, SIZE, Augmentation(rotation=20), True)
    fabric, optimizers = Fabric(accelerator="cpu", devices=1), strategy.optimizers()
    for step in range(60):
        list(updates(fabric, strategy, optimizers, batches[step % 12], None))
    return strategy.predictor


@pytest.mark.parametrize("kind", ["BottomUp", "ClipNet"])
def test_several_people_and_systems_of_clips(toys, finder, kind):
    """Of a system of clips the three windows overlap; of one that finds several people each is compared with itself."""
    if kind == "BottomUp":
        model = deepcopy(finder).train()
        image = EvaluationBatches(toys.Scenes(toys.Scenes.Options(), "train"), 8, SIZE)[0].image
        clip = clip_of(torch.stack([image, image.roll(1, -1), image], 1))
    else:
        model = network(toys, kind).train()
        clip = EvaluationBatches(as_clips(walks(toys, "plain"), frames_of(model, 3)), 12, SIZE)[0]
    before = deepcopy(model.state_dict())
    value = inconsistency(model, clip, 0.0)
    assert value > 0
    value.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    assert all(key.endswith("num_batches_tracked") for key in moved), "no running statistics move"


def test_people_are_compared_with_themselves(toys, finder):
    """A still picture of several people shown three times, but for one level of one pixel, agrees with itself."""
    model = finder.eval()
    image = EvaluationBatches(toys.Scenes(toys.Scenes.Options(), "train"), 8, SIZE)[0].image
    images = torch.stack([image, image, image], 1)
    images[:, [0, 2], 0, 0, 0] ^= 1
    with torch.no_grad():
        assert inconsistency(model, clip_of(images), 0.05) < 1e-4
        shifted = images.clone()
        shifted[:, 1] = shifted[:, 1].roll(2, -1)
        assert inconsistency(model, clip_of(shifted), 0.05) > 1e-3


def made(toys, name, steady=1.0, model=None, **options):
    kind = STRATEGIES[name]
    return kind(model or network(toys), toys.DOTS, ADAM, options=kind.Options(**options, steady=steady)).train()


def batches_of(strategy, source, target, batch=4):
    """As a run makes them."""
    clips = target if strategy.clip < 2 else as_clips(target, frames_of(strategy.model, strategy.clip))
    cut = 0, batch, SIZE, TURNED
    return {
        "source": TrainingBatches(source, "source", *cut, True, strategy.views["source"]),
        "target": TrainingBatches(clips, "target", *cut, strategy.labelled_target, strategy.views["target"]),
    }


@pytest.mark.parametrize("name", [name for name in suited(["image"]) if name not in REFUSED])
def test_every_strategy_that_trains_on_the_target_has_it(toys, name):
    """Once an iteration, in half precision; views and all see single pictures."""
    strategy = made(toys, name)
    source, target = walks(toys, "plain"), walks(toys, "shifted")
    batches = batches_of(strategy, source, target)
    seen = []
    forward = strategy.model.forward
    strategy.model.forward = lambda sample: seen.append(sample.image.dim()) or forward(sample)
    strategy.begin_round(everyone(strategy.predictor, target, 8, SIZE, TURNED, CPU))
    fabric, optimizers = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"), strategy.optimizers()
    before = deepcopy(strategy.model.state_dict())
    for step in range(2):
        losses = list(updates(fabric, strategy, optimizers, batches["source"][step], batches["target"][step]))
        assert sum("steady" in each for each in losses) == 1
        assert all(loss.isfinite() for each in losses for loss in each.values())
    assert set(seen) == {4}
    assert any(not torch.equal(before[k], v) for k, v in strategy.model.state_dict().items())


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_where_nothing_learns_from_the_target_it_is_refused(toys, name):
    with pytest.raises(ValueError, match=r"steady=1: .* trains no weights on the unlabelled target"):
        made(toys, name)
    assert made(toys, name, steady=0.0).clip == 0


def test_a_lifter_of_any_number_of_frames_has_no_neighbours(toys):
    model = toys.Lifter(3, toys.Lifter.Options())
    assert frames_of(model, 3) == 7
    model.frames = 0
    with pytest.raises(ValueError, match=r"Lifter reads 2D keypoints of any number of frames"):
        frames_of(model, 3)


def test_it_adapts_to_a_target_whose_frames_have_their_own_noise(toys):
    """Spots that come and go draw answers away from frame to frame; source-free, with a source, and against RegDA."""

    def trained(kind, options, model, count, first=0):
        torch.manual_seed(0)
        strategy = kind(deepcopy(model), toys.DOTS, ADAM, options=options).train()
        batches = batches_of(strategy, source, target, 8)
        fabric, optimizers = Fabric(accelerator="cpu", devices=1), strategy.optimizers()
        for step in range(first, first + count):
            torch.manual_seed(step)
            list(updates(fabric, strategy, optimizers, batches["source"][step], batches["target"][step]))
        return strategy.predictor

    source, target = (walks(toys, style, train=192) for style in ("plain", "shifted"))
    test = EvaluationBatches(walks(toys, "shifted", "test", test=60), 60, SIZE)[0]
    start = trained(STRATEGIES["source_only"], None, network(toys, sigma=1.0), 100)
    adversarial = RegDA.Options(head_layers=1, fresh_head=False, sigma=1.0, steady=1.0)
    for kind, options in ((RegDA, adversarial), (MeanTeacher, MeanTeacher.Options(decay=0.9, sigma=1.0, steady=3.0))):
        without = dataclasses.replace(options, steady=0.0)
        models = [trained(kind, one, start, 40, 100) for one in (without, options)]
        pck = [scores(predict(model, [test], CPU), toys.DOTS, 0.1)["pck"] for model in models]
        assert pck[1] > pck[0] + 0.15


RUN = {
    "name": "walks",
    "batch": 4,
    "pretrain_steps": 2,
    "steps": 4,
    "evaluate_every": 2,
    "checkpoint_every": 2,
    "log_every": 1,
    "seeds": 1,
    "tracking": "off",
    "guard": "off",
    "optimization": {"name": "adam", "rate": 0.005},
    "source": {"name": "walks.plain", "train": 12, "test": 6},
    "target": {"name": "walks.shifted", "train": 12, "test": 6},
    "model": {"name": "bottom_up", "channels": 8, "threshold": 0.0},
}


@pytest.fixture
def home(registered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(conclusion, "to_onnx", lambda *_: None)
    (tmp_path / "walks.yaml").write_text(yaml.safe_dump(RUN))
    return tmp_path


def test_the_target_training_samples_of_a_run_are_clips_and_nothing_else_is(home):
    config = build(RUN, ["strategy=mean_teacher", "mean_teacher.steady=1"])
    task, fabric = prepare(config, ["mean_teacher"]), make_fabric(config)
    strategy = build_strategy(task, Phase("mean_teacher", 1, config.optimization, None, "target"), 0)
    made = training_batches(task, strategy, 0, fabric)
    target = made["target"][0]
    assert target.image.shape == (4, 3, 3, 32, 32) == target.views[0].image.shape
    assert target.inputs["margins"].shape == (4, 2)
    assert made["source"][0].image.shape == (4, 3, 32, 32)
    assert next(plain_batches(task, task.target_train)()).image.dim() == 4
    assert target_of(task, strategy.predictor, CPU).dataset[0].image.ndim == 3
    plain = build_strategy(task, Phase("tent", 1, config.optimization, None, "target"), 0)
    other = training_batches(task, plain, 0, fabric)["target"][0]
    assert torch.equal(target.image[:, 1], other.image)  # the same samples in the same views
    assert target.id == other.id


@pytest.mark.parametrize("said", ["regda", "self_training"])
def test_a_run_that_is_killed_goes_on_to_the_same_weights(home, monkeypatch, said):
    words = ["walks.yaml", f"strategy={said}", f"{said}.steady=1"]
    assert main(["train", *words, "output=whole"]) == 0
    kept, original = [], torch.optim.Adam.step

    def step(self, *args, **kwargs):
        kept.append(1)
        if len(kept) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", step)
        assert main(["train", *words, "output=broken"]) != 0
    assert main(["train", *words, "output=broken"]) == 0
    one, other = (load_checkpoint(home / name / "checkpoint.pt")["strategy"] for name in ("whole", "broken"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    logged = [json.loads(line)["metrics"] for line in (home / "whole/metrics.jsonl").read_text().splitlines()]
    assert all("loss/steady" in each for each in logged)


def test_a_target_that_is_no_video_is_refused_before_anything_is_written(home, capsys):
    words = ["walks.yaml", "target.name=scenes.shifted", "target.train=8", "target.test=4", "strategy=mean_teacher"]
    assert main(["train", *words, "mean_teacher.steady=1", "output=run"]) == 2
    assert "does not know which of its pictures follow each other" in capsys.readouterr().err
    assert not (home / "run").exists()


def write_video(path, pictures):
    with av.open(path, "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        file.mux(stream.encode())


def test_your_own_video_has_it_and_your_photographs_do_not(home, capsys):
    """Of photographs none is another's neighbour; both commands say so before anything is written."""
    rng = np.random.default_rng(0)
    wide = cv2.GaussianBlur(rng.integers(0, 256, (64, 128, 3)).astype(np.uint8), (9, 9), 0)
    write_video("clip.mp4", [wide[:, left : left + 64] for left in range(40)])
    (home / "photos").mkdir()
    for number in range(30):
        cv2.imwrite(f"photos/{number:03d}.png", rng.integers(0, 256, (40, 40, 3)).astype(np.uint8))
    words = ["strategy=mean_teacher", "mean_teacher.steady=1", "target.name=pictures"]
    assert main(["train", "walks.yaml", *words, "target.root=clip.mp4", "output=given"]) == 0
    logged = (home / "given/metrics.jsonl").read_text().splitlines()
    assert all("loss/steady" in json.loads(line)["metrics"] for line in logged)
    capsys.readouterr()
    free = ["--strategy", "mean_teacher_free", "mean_teacher_free.steady=1"]
    for command in (
        ["train", "walks.yaml", *words, "target.root=photos", "output=none"],
        ["adapt", "given", "--target", "photos", *free, "--output", "none"],
    ):
        assert main(command) == 2
        assert "gives no clips of 3 frames" in capsys.readouterr().err
        assert not (home / "none").exists()


def test_a_stream_has_not_seen_the_next_frame(home, capsys):
    assert main(["train", "walks.yaml", "strategy=source_only", "output=given"]) == 0
    words = ["--online", "--strategy", "tent", "tent.steady=1", "--output", "stream"]
    (home / "pictures").mkdir()
    assert main(["adapt", "given", "--target", "pictures", *words]) == 2
    assert "a stream has not seen" in capsys.readouterr().err
