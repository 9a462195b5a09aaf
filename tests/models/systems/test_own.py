"""Networks that keyshift does not know: three forms of answers, every strategy, and what is refused."""

import hashlib
import os
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring.evaluation import everyone, predict, scores
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches
from keyshift.datasets.options import make as make_options
from keyshift.datasets.sample import Unlabeled
from keyshift.models.export import to_onnx, to_program
from keyshift.models.output import Poses
from keyshift.models.saved import load_model, save_checkpoint, save_model
from keyshift.models.systems.own import OwnModel, to_float
from keyshift.models.systems.pose_resnet import PoseResNet

NETS = '''
import torch
from torch import nn

def block(inner, outer, stride=1):
    return nn.Sequential(nn.Conv2d(inner, outer, 3, stride, 1), nn.BatchNorm2d(outer), nn.ReLU())

class UNet(nn.Module):
    """Down to a quarter and up again, with skips; `outputs` maps at half the input's size."""

    def __init__(self, outputs, width=8):
        super().__init__()
        self.last = nn.ModuleDict({"maps": nn.Conv2d(2 * width, outputs, 1)})  # not the last child
        self.first, self.down, self.deep = block(3, width, 2), block(width, 2 * width, 2), block(2 * width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)

    def forward(self, image):
        high = self.first(image)
        low = self.deep(self.down(high))
        return self.last["maps"](torch.cat([self.up(low), high], 1))

class Regressor(nn.Module):
    def __init__(self, keypoints, pairs=True):
        super().__init__()
        self.body = nn.Sequential(block(3, 16, 2), block(16, 32, 2), nn.AvgPool2d(4), nn.Flatten())
        self.point = nn.Linear(128, 2 * keypoints)
        self.pairs = pairs

    def forward(self, image):
        answer = self.point(self.body(image))
        return answer.view(len(image), -1, 2) if self.pairs else answer

class TwoHeads(nn.Module):
    def __init__(self, keypoints):
        super().__init__()
        self.responses, self.offsets = nn.Conv2d(16, keypoints, 1), nn.Conv2d(16, 2 * keypoints, 1)

    def forward(self, features):
        return self.responses(features), self.offsets(features)

class Dense(nn.Module):
    def __init__(self, keypoints, joined):
        super().__init__()
        self.body = nn.Sequential(block(3, 16, 2), block(16, 16, 2))
        self.head = nn.Conv2d(16, 3 * keypoints, 1) if joined else TwoHeads(keypoints)

    def forward(self, image):
        return self.head(self.body(image))

def dense(keypoints: int) -> nn.Module:
    return Dense(keypoints, False)

def unsaid(keypoints):
    raise RuntimeError("this was called")
'''
FORMS = {
    "heatmaps": {"object": "UNet", "arguments": {"outputs": 3}, "head": "last.maps"},
    "coordinates": {"object": "Regressor", "arguments": {"keypoints": 3}, "unit": "unit"},
    "offsets": {"object": "Dense", "arguments": {"keypoints": 3, "joined": True}},
    "pair": {"object": "dense", "arguments": {"keypoints": 3}, "gives": "offsets"},
}
OPTIONS = {"mean_teacher": {"decay": 0.9}, "post": {"frozen": []}}
SIZE, CPU = (32, 32), torch.device("cpu")


@pytest.fixture
def nets(tmp_path):
    file = tmp_path / "nets.py"
    file.write_text(NETS)
    return file


def make(nets, form="heatmaps", keypoints=3, **options):
    torch.manual_seed(0)
    return build({"file": str(nets), "gives": form} | FORMS[form] | options, keypoints)


def build(options, keypoints=3):
    return OwnModel(keypoints, OwnModel.Options(**({"input_size": list(SIZE)} | options)))


def write(tmp_path, forward, parts="self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)", name="small.py"):
    file = tmp_path / name
    file.write_text(
        f"import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n"
        f"        super().__init__()\n        {parts}\n    def forward(self, x):\n        {forward}\n"
    )
    return {"file": str(file), "object": "Net", "arguments": {}}


def sample_of(image):
    nothing = torch.zeros(0)
    return Unlabeled({"image": image}, (), (), nothing, nothing, nothing, nothing)


def images(count=4, size=SIZE):
    return torch.randint(0, 256, (count, 3, *size[::-1]), dtype=torch.uint8)


def strategy_of(name, model, skeleton):
    kind = STRATEGIES[name]
    optimization = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)
    return kind(model, skeleton, optimization, options=kind.Options(**OPTIONS.get(name, {})))


MOVED = {
    "given": set(),
    **{key: {"backbone"} for key in ("adabn", "bn_online", "tent", "ssa")},  # where the batch norm is
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", suited(["image"]))
def test_every_strategy_and_the_way_through_a_checkpoint(dots, batches, iterate, nets, tmp_path, name, form):
    strategy = strategy_of(name, make(nets, form), dots.skeleton).train()
    source, target = batches(dots, strategy, "plain", "source"), batches(dots, strategy, "shifted", "target")
    optimizers = strategy.optimizers()
    before = {k: v.clone() for k, v in strategy.predictor.state_dict().items()}
    strategy.begin_round(everyone(strategy.predictor, dots(64, "shifted"), 64, SIZE, Augmentation(20), CPU))
    for step in range(2):
        iterate(strategy, source[step] if "source" in strategy.needs else None, target[step], optimizers)
    model = strategy.predictor.eval()
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert {k.split(".")[0] for k in changed} == MOVED.get(name, {"backbone", "head"})
    owned = [id(p) for o, _ in optimizers.values() for g in o.param_groups for p in g["params"]]
    assert len(owned) == len(set(owned))
    assert set(owned) == {id(p) for p in strategy.parameters() if p.requires_grad} or name == "given"
    save_model(tmp_path / "weights.pt", model, dots.skeleton, 2)
    again, skeleton = load_model(tmp_path / "weights.pt")
    again.eval()
    assert skeleton == dots.skeleton
    assert again.architecture == model.architecture
    sample = sample_of(images())
    votes, others = model(sample), again(sample)
    assert torch.equal(votes.logits, others.logits)
    assert votes.where is None or torch.equal(votes.where, others.where)
    one, two = model.decode(votes, sample), again.decode(others, sample)
    assert all(torch.equal(getattr(one, f.name), getattr(two, f.name)) for f in fields(Poses))


def test_answers_as_pose_resnet_of_the_same_parts(tmp_path, labeled):
    small = {"backbone": "small", "input_size": [64, 32], "heatmap_size": [16, 8], "channels": 16}
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\nfrom torch import nn\nfrom keyshift.models.systems.pose_resnet import PoseResNet\n"
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        f"        made = PoseResNet(3, PoseResNet.Options(**{small}))\n"
        "        self.low, self.high, self.maps = made.backbone, made.upsampling, made.head\n"
        "    def forward(self, image):\n        return self.maps(self.high(self.low(image)))\n"
    )
    torch.manual_seed(0)
    theirs = PoseResNet(3, PoseResNet.Options(**small))
    torch.manual_seed(0)
    ours = build({"input_size": [64, 32], "file": str(file), "object": "Net"})
    points = torch.rand(4, 3, 2) * torch.tensor([80.0, 40.0]) - 8
    sample = labeled(images(size=(64, 32)), points, torch.rand(4, 3) < 0.8)
    both = []
    for model in (theirs, ours):
        votes = model(sample)
        losses = model.loss(votes, sample)
        losses["heatmap"].backward()
        gradients = [p.grad for p in model.parameters()]
        poses = [getattr(model.decode(votes, sample), f.name) for f in fields(Poses)]
        both.append([votes.logits, *losses.values(), *poses, model.counted(sample), *gradients])
    assert len(both[0]) == len(both[1])
    assert all(torch.equal(a, b) for a, b in zip(*both, strict=True))
    assert ours.grid == theirs.grid
    assert {n: len(p) for n, p in ours.groups().items()} == {
        "backbone": len(theirs.groups()["backbone"] + theirs.groups()["upsampling"]),
        "head": 2,
    }


@pytest.mark.parametrize(("pairs", "unit"), [(True, "unit"), (False, "pixels")])
def test_coordinates_against_the_module(nets, labeled, pairs, unit):
    options = {"arguments": {"keypoints": 3, "pairs": pairs}, "unit": unit, "input_size": [32, 16]}
    nets.write_text(NETS.replace("nn.Linear(128", "nn.Linear(64"))
    model = make(nets, "coordinates", normalize="unit", **options).eval()
    sample = labeled(images(size=(32, 16)), torch.rand(4, 3, 2) * 16)
    raw = model.head(model.backbone.body(sample.image / 255)).view(4, 3, 2)
    wanted = raw * torch.tensor([32.0, 16.0]) if unit == "unit" else raw
    votes = model(sample)
    poses = model.decode(votes, sample)
    torch.testing.assert_close(poses.points, wanted)
    assert poses.confidence.eq(1).all()
    away = ((wanted - sample.keypoints) / 32).abs()
    smooth = torch.where(away < 0.01, away**2 / 0.02, away - 0.005).mean()
    torch.testing.assert_close(model.loss(votes, sample), {"point": smooth})
    assert model.grid.shape == (4, 8)
    assert votes.log_density().exp().sum((2, 3)).allclose(torch.ones(4, 3), atol=1e-4)


@pytest.mark.parametrize("form", ["offsets", "pair"])
def test_offsets_against_a_loop(nets, labeled, form):
    model = make(nets, form, scale=2.0).eval()
    sample = labeled(images(2), torch.rand(2, 3, 2) * 32)
    raw = model.head(model.backbone.body(to_float(sample.image, "imagenet")))
    responses, offsets = (raw[:, :3], raw[:, 3:]) if form == "offsets" else raw
    votes = model(sample)
    for cell, (row, column) in enumerate(np.ndindex(8, 8)):
        for k in range(3):
            x = 4 * column + 2 + offsets[:, 2 * k, row, column]
            y = 4 * row + 2 + offsets[:, 2 * k + 1, row, column]
            torch.testing.assert_close(votes.where[:, cell, k], torch.stack([x, y], -1))
            torch.testing.assert_close(votes.logits[:, cell, k], 2 * responses[:, k, row, column])
    share = votes.logits.softmax(1).unsqueeze(-1)
    torch.testing.assert_close(model.decode(votes, sample).points, (share * votes.where).sum(1))
    assert set(model.loss(votes, sample)) == {"heatmap", "point"}


@pytest.mark.parametrize("form", ["coordinates", "offsets"])
def test_regda_draws_points_that_are_not_cells(dots, batches, nets, form):
    """Step B's loss moves every output of the adversary, offsets too; step C's moves the features and nothing else."""
    strategy = strategy_of("regda", make(nets, form), dots.skeleton).train()
    strategy.gradient.advance()
    updates = strategy.step(
        *(batches(dots, strategy, s, d)[0] for s, d in (("plain", "source"), ("shifted", "target")))
    )
    next(updates)
    losses, _ = next(updates)
    strategy.zero_grad()
    losses["false"].backward()
    assert all(p.grad is None for p in strategy.model.parameters())
    last = strategy.adversary[-1].weight.grad.flatten(1).norm(dim=1)
    assert (last > 0).all()
    losses, _ = next(updates)
    strategy.zero_grad()
    losses["truth"].backward()
    assert any(p.grad is not None and p.grad.norm() > 0 for p in strategy.model.groups()["backbone"])
    assert all(p.grad is None for p in strategy.model.groups()["head"])


def test_grid_of_any_ratio(tmp_path):
    options = write(tmp_path, "return self.b(nn.functional.adaptive_avg_pool2d(self.a(x), (5, 12)))")
    model = build(options | {"input_size": [64, 48]})
    assert model.grid.shape == (5, 12)
    assert model.grid.stride == pytest.approx((64 / 12, 48 / 5))
    corners = model.grid.to_points(torch.tensor([[-0.5, -0.5], [11.5, 4.5]]))
    torch.testing.assert_close(corners, torch.tensor([[0.0, 0.0], [64.0, 48.0]]))


def test_normalisation():
    image = images()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(to_float(image, "imagenet"), (image / 255 - mean) / std)
    torch.testing.assert_close(to_float(image, "unit"), image / 255)
    torch.testing.assert_close(to_float(image, "none"), image.float())
    kept = torch.rand(2, 3, 4, 4)
    assert all(to_float(kept, form) is kept for form in ("imagenet", "unit", "none"))


@pytest.mark.parametrize("form", FORMS)
def test_losses_without_a_label_and_far_outside_are_finite(nets, labeled, form):
    model = make(nets, form)
    for points, known in ((torch.full((2, 3, 2), -1e6), True), (torch.rand(2, 3, 2), False)):
        sample = labeled(images(2), points, torch.full((2, 3), known))
        loss = sum(model.loss(model(sample), sample).values())
        model.zero_grad()
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        assert known or loss == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_loss_counts_people(nets, labeled, form):
    """Three people in two images, one keypoint unknown: as two batches of one person an image."""
    model, points = make(nets, form).eval(), 4 + 24 * torch.rand(3, 3, 2)
    known = torch.tensor([[True] * 3, [True, True, False], [True] * 3])
    sample = labeled(images(2), points[:2], known[:2])
    flat = replace(sample, keypoints=points, annotated=known, visible=known, image_index=torch.tensor([0, 1, 1]))
    second = replace(sample, keypoints=points[[0, 2]], annotated=torch.tensor([[False] * 3, [True] * 3]))
    votes = model(sample)
    parts = [model.loss(votes, one) for one in (sample, second)]
    for name, value in model.loss(votes, flat).items():
        one, two = (part[name] for part in parts)
        # heatmap: a mean over all keypoints, those unknown included; point: over the known
        wanted = (6 * one + 6 * two) / 9 if name == "heatmap" else (5 * one + 3 * two) / 8
        torch.testing.assert_close(value, wanted)


def test_weights_there_and_back(nets, tmp_path):
    namespace = {}
    exec(NETS, namespace)
    trained = namespace["UNet"](3).eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in trained.state_dict().items()}}, tmp_path / "net.pt")
    model = make(nets, weights=str(tmp_path / "net.pt")).eval()
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(model(sample_of(image)).maps, trained(image))
    (tmp_path / "net.pt").unlink()
    state = model.own_state()
    assert state.keys() == trained.state_dict().keys()
    assert all(torch.equal(v, trained.state_dict()[k]) for k, v in state.items())
    model.restart_head(2)
    with pytest.raises(ValueError, match=r"hidden layers that the module has not.*regda.head_layers=1"):
        model.own_state()
    for content in (b"no weights", None):
        (tmp_path / "bad.pt").write_bytes(content) if content else torch.save({"a": 1}, tmp_path / "bad.pt")
        with pytest.raises(ValueError, match=r"bad.pt is no state_dict of UNet of .*nets.py"):
            make(nets, weights=str(tmp_path / "bad.pt"))


def test_new_heads(nets, tmp_path):
    model = make(nets)
    fresh, deep = model.new_head(1), model.new_head(3)
    assert type(fresh) is torch.nn.Conv2d
    assert not torch.equal(fresh.weight, model.head.weight)
    assert [type(m).__name__ for m in deep] == ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["Conv2d"]
    model.restart_head(2)
    assert len(model.head) == 4
    assert len(model.new_head()) == 4  # the form that the main head has now
    assert type(model.new_head(1)) is torch.nn.Conv2d
    vectors = make(nets, "coordinates").new_head(2)
    assert [type(m).__name__ for m in vectors] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    parts = "self.a, self.b = nn.Conv2d(3, 3, 1), Head()"
    options = write(tmp_path, "return self.b(self.a(x))", parts)
    with open(options["file"], "a") as file:
        file.write("class Head(nn.Module):\n    def __init__(self):\n        super().__init__()\n")
        file.write("        self.inner, self.factor = nn.Conv2d(3, 3, 1), nn.Parameter(torch.ones(()))\n")
        file.write("    def forward(self, x):\n        return self.factor * self.inner(x)\n")
    stuck = build(options)
    with pytest.raises(ValueError, match=r"head=b is asked for, but Head has parameters and no reset_parameters"):
        stuck.new_head(1)
    tokens = write(
        tmp_path, "return self.b(self.a(x).flatten(2))", "self.a, self.b = nn.Conv2d(3, 3, 1), nn.Linear(1024, 2)"
    )
    model = build(tokens | {"gives": "coordinates"})
    assert model.new_head(1).weight.shape == (2, 1024)
    with pytest.raises(ValueError, match=r"\(B, 3, 1024\).*Set regda.head_layers=1"):
        model.new_head(2)


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        (
            "heatmaps",
            {"keypoints": 4},
            r"UNet of .*nets.py answers images \(2, 3, 32, 32\) with \(2, 3, 16, 16\); .*\(2, 4, h",
        ),
        (
            "heatmaps",
            {"gives": "coordinates"},
            r"with \(2, 3, 16, 16\); gives=coordinates of 3 keypoints is \(2, 3, 2\) or",
        ),
        ("heatmaps", {"gives": "offsets"}, r"\(2, 9, h, w\), or a tuple of \(2, 3, h, w\) and \(2, 6, h, w\)"),
        ("coordinates", {"gives": "heatmaps", "unit": "pixels"}, r"with \(2, 3, 2\); gives=heatmaps .*\(2, 3, h, w\)"),
        ("pair", {"gives": "heatmaps"}, r"with \(2, 3, 8, 8\) and \(2, 6, 8, 8\); gives=heatmaps.* with that alone"),
        ("heatmaps", {"head": "up"}, r"head=up must be the last operation.*Children: last \(ModuleDict\), first"),
        ("heatmaps", {"head": None}, r"head=up must be the last operation"),
        ("pair", {"head": "head.offsets"}, r"head=head.offsets must be the last operation"),
        ("heatmaps", {"head": "final"}, r"no submodule head=final; name one of its children: last"),
        (
            "coordinates",
            {"input_size": [64, 64]},
            r"Regressor of .*nets.py fails on images \(2, 3, 64, 64\): RuntimeError",
        ),
        ("heatmaps", {"object": "Unet"}, r"Unet of .*nets.py must be a class .* the file has no 'Unet'"),
        ("heatmaps", {"object": "torch"}, r"must be a class derived from torch.nn.Module.*found <module 'torch'"),
        ("heatmaps", {"object": "unsaid", "arguments": {"keypoints": 3}}, r"annotated `-> nn.Module`; found <function"),
        (
            "heatmaps",
            {"arguments": {"outs": 3}},
            r"UNet of .*nets.py cannot be built .*unexpected keyword argument 'outs'",
        ),
        ("heatmaps", {"arguments": {"outputs": torch.zeros(1)}}, r"arguments must be plain data"),
        ("heatmaps", {"file": ""}, r"model.file is not set"),
        ("heatmaps", {"file": "missing/net.py"}, r"no file .*missing/net.py that can be read"),
        ("heatmaps", {"file": os.__file__, "object": "system", "head": None}, r"os.py is of an installed package"),
        ("heatmaps", {"file": torch.__file__}, r"is of an installed package"),
        ("heatmaps", {"gives": "maps"}, r"gives='maps' is not known; choose one of heatmaps, coordinates, offsets"),
        ("heatmaps", {"normalize": "zero"}, r"normalize='zero' is not known; choose one of imagenet, unit, none"),
        ("heatmaps", {"unit": "unit"}, r"model.unit=unit is of coordinates"),
        ("heatmaps", {"scale": float("nan")}, r"scale=nan must be at least 1e-09"),
        ("coordinates", {"scale": 2.0}, r"model.scale=2.0 has no effect on coordinates"),
        ("heatmaps", {"weights": "none.pt"}, r"model.weights=none.pt is no state_dict of UNet"),
    ],
)
def test_what_is_refused(nets, form, options, message):
    with pytest.raises(ValueError, match=message):
        make(nets, form, **options)


@pytest.mark.parametrize(
    "forward",
    [
        "return self.b(self.a(x)).relu()",
        "return 2 * self.b(self.a(x))",
        "y = self.a(x); return self.b(y) + y",
        "return self.b(self.b(self.a(x)))",
        "return self.a(x) * self.b.weight.sum()",
        "return self.a(x)",
    ],
)
@pytest.mark.parametrize("zeros", [True, False])
def test_a_head_that_is_not_the_last_operation(tmp_path, forward, zeros):
    parts = "self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)"
    parts += "; nn.init.zeros_(self.b.weight); nn.init.zeros_(self.b.bias)" if zeros else ""
    with pytest.raises(ValueError, match=r"Net of .*small.py: head=b must be the last operation"):
        build(write(tmp_path, forward, parts) | {"head": "b"})


def test_a_head_that_shares_parameters(tmp_path):
    parts = "self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1); self.b.weight = self.a.weight"
    with pytest.raises(ValueError, match=r"head=b shares parameters with the rest"):
        build(write(tmp_path, "return self.b(self.a(x))", parts))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def (", "does not run: SyntaxError"),
        ("import nothing_of_that_name", "does not run: ModuleNotFoundError"),
        ("raise SystemExit(3)", "does not run: SystemExit: 3"),
        ("\x00", "does not run: (SyntaxError|ValueError)"),
        ("def net() -> 'Gone': ...", "annotations of net cannot be read: NameError"),
        ("from torch import nn\ndef net() -> nn.Module: return 3", "gave a int; expected a torch.nn.Module"),
        ("from torch import nn\ndef net() -> nn.Module: return nn.Conv2d(3, 3, 1)", "no submodule head=None.*: none"),
        ("from os import system as net", "must be a class"),
    ],
)
def test_files_that_do_not_run(tmp_path, source, message):
    file = tmp_path / "bad.py"
    file.write_text(source)
    before = set(sys.modules)
    with pytest.raises(ValueError, match=message) as error:
        build({"file": str(file), "object": "net"})
    assert str(file) in str(error.value) or "annotations of net" in str(error.value)
    kept = {n for n in set(sys.modules) - before if n.startswith("keyshift_own")}
    assert len(kept) == source.startswith(("def net", "from"))  # what ran whole; nothing half run stays


def test_a_checkpoint_runs_only_the_file_that_it_was_trained_with(dots, nets, tmp_path):
    ran = tmp_path / "ran"
    path = tmp_path / "weights.pt"
    save_model(path, make(nets), dots.skeleton, 0)
    own = f"open({str(ran)!r}, 'w').close()\n"
    nets.write_text(own + NETS)
    with pytest.raises(
        ValueError, match=r"weights.pt cannot be built: .*nets.py has changed.*Put the earlier file back"
    ):
        load_model(path)
    assert not ran.exists()
    nets.unlink()
    with pytest.raises(ValueError, match=r"weights.pt cannot be built: no file .*nets.py"):
        load_model(path)
    nets.write_text(own + NETS)
    state = torch.load(path, weights_only=True)
    absent, other = r"no SHA-256 of .*nets.py.* so that file is not run", r"nets.py has changed.* It is not run"
    for wrong, message in (({}, absent), ({"sha256": None}, absent), ({"sha256": 3}, other), ({"sha256": ""}, other)):
        kept = {k: v for k, v in state["architecture"].items() if k != "sha256"}
        save_checkpoint(path, state | {"architecture": kept | wrong})
        with pytest.raises(ValueError, match=message):
            load_model(path)
        assert not ran.exists()
    digest = hashlib.sha256(nets.read_bytes()).hexdigest()
    save_checkpoint(path, state | {"architecture": state["architecture"] | {"sha256": digest, "object": "unsaid"}})
    with pytest.raises(ValueError, match=r"must be a class derived from"):
        load_model(path)
    assert ran.exists()


def test_weights_are_not_read_again(nets, tmp_path):
    torch.save(make(nets).own_state(), tmp_path / "net.pt")
    model = make(nets, weights=str(tmp_path / "net.pt"))
    assert model.architecture["weights"] is None
    (tmp_path / "net.pt").unlink()
    options = OwnModel.Options(**(model.architecture | {"weights": str(tmp_path / "net.pt")}))
    assert OwnModel.rebuild(3, options).architecture == model.architecture


def test_a_file_may_import_its_neighbours(tmp_path):
    """Two networks whose neighbours have one name; nothing stays on the path, nothing is drawn from the generator."""
    before = list(sys.path)
    heads = []
    for folder, width in (("one", 4), ("two", 6)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "parts_of_it.py").write_text(f"WIDTH = {width}\n")
        options = write(
            tmp_path / folder, "return self.b(self.a(x))", "self.a, self.b = nn.Conv2d(3, W, 1), nn.Conv2d(W, 3, 1)"
        )
        file = tmp_path / folder / "small.py"
        file.write_text("from parts_of_it import WIDTH as W\n" + file.read_text())
        heads.append(build(options).head.in_channels)
    assert heads == [4, 6]
    assert sys.path == before
    assert "parts_of_it" not in sys.modules
    torch.manual_seed(5)
    build(options)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    torch.nn.Conv2d(3, 6, 1), torch.nn.Conv2d(6, 3, 1)
    assert torch.equal(drawn, torch.rand(1))


def test_options_of_a_configuration(nets, tmp_path):
    """As a YAML's `model:` and the command line give them, flat, and refused by name."""
    chosen = {"input_size": [32, 32], "file": str(nets), "gives": "heatmaps"} | FORMS["heatmaps"]
    options = make_options(OwnModel.Options, chosen | {"arguments": {"outputs": 3, "width": 4}}, "own.yaml", "model.")
    assert OwnModel(3, options).head.in_channels == 8
    later = make_options(OwnModel.Options, {"weights": str(tmp_path / "later.pt")}, "own.yaml", "model.", options)
    with pytest.raises(ValueError, match=r"later.pt is no state_dict"):
        OwnModel(3, later)
    for content, message in (
        (chosen | {"channels": 3}, r"own.yaml: unknown key model.channels"),
        (chosen | {"fiel": 3}, r"own.yaml: unknown key model.fiel. Did you mean model.file"),
        ({"own": chosen}, r"own.yaml: unknown key model.own"),
        (chosen | {"gives": "maps"}, r"model.gives='maps' is not known; choose one of heatmaps, coordinates, offsets"),
        (chosen | {"scale": 0}, r"model.scale=0.0 must be at least 1e-09"),
        (chosen | {"arguments": {"outputs": torch.zeros(1)}}, r"own.yaml: model.arguments"),
    ):
        with pytest.raises(ValueError, match=message):
            make_options(OwnModel.Options, content, "own.yaml", "model.")
    with pytest.raises(ValueError, match=r"own.yaml: unknown key model.file"):
        make_options(PoseResNet.Options, chosen, "own.yaml", "model.")


@pytest.mark.parametrize("form", FORMS)
def test_exports_answer_as_pytorch(nets, tmp_path, form):
    import onnxruntime

    model = make(nets, form).eval()
    to_onnx(model, SIZE, tmp_path / "model.onnx")
    to_program(model, SIZE, tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        image = images(count)
        keypoints, confidence = session.run(None, {"image": image.numpy()})
        with torch.no_grad():
            poses = model.decode(model(sample_of(image)), sample_of(image))
            torch.testing.assert_close(program(image), (poses.points, poses.confidence), atol=1e-3, rtol=0)
        np.testing.assert_allclose(keypoints, poses.points.numpy(), atol=1e-3)
        np.testing.assert_allclose(confidence, poses.confidence.numpy(), atol=1e-4)


def test_an_own_network_that_cannot_be_exported_is_named(tmp_path):
    """What branches on what it sees trains, and is refused by name and file."""
    forward = "y = self.a(x)\n        return self.b(y if y.sum() > 0 else -y)"
    model = build(write(tmp_path, forward))
    with pytest.raises(ValueError, match=r"^Net of .*small.py cannot be exported: \w+: \S") as error:
        to_program(model, SIZE, tmp_path / "model.pt2")
    assert "\n" not in str(error.value)


def test_images_of_another_size(nets):
    with pytest.raises(ValueError, match=r"OwnModel was built for inputs of 32x32 .*got 64x32"):
        make(nets)(sample_of(images(size=(64, 32))))


@pytest.fixture
def one_thread():
    """Maps this small are slower on many threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_adaptation_helps_an_own_network(dots, batches, iterate, nets, one_thread):
    """Source-only fails on the shifted dots; from the same start the mean teacher does better."""
    test = EvaluationBatches(dots(64, "shifted", first=1000), 64, SIZE)
    start, pck = None, {}
    for name in ("pretraining", "source_only", "mean_teacher"):
        kind = "source_only" if name == "pretraining" else name
        strategy = strategy_of(kind, make(nets, normalize="unit"), dots.skeleton).train()
        for model in (strategy.model, strategy.predictor):
            model.load_state_dict(start or model.state_dict())
        source, target = batches(dots, strategy, "plain", "source"), batches(dots, strategy, "shifted", "target")
        optimizers = strategy.optimizers()
        for step in range(100) if start is None else range(100, 130):
            iterate(strategy, source[step], target[step] if "target" in strategy.needs else None, optimizers)
        start = start or {key: value.clone() for key, value in strategy.model.state_dict().items()}
        predictions = predict(strategy.predictor, [test[0]], torch.device("cpu"))
        pck[name] = scores(predictions, dots.skeleton, 0.1)["pck"]
    assert pck["mean_teacher"] > max(pck["source_only"], pck["pretraining"]) + 0.1, pck
