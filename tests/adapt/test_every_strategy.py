"""What holds for each strategy in the dict, and the effect of each adaptation on a toy shift."""

import dataclasses
from copy import deepcopy as copy_of

import pytest
import torch
from lightning_fabric import Fabric
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from keyshift.adapt.methods.keyshift import Keyshift
from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.methods.uniframe import UniFrame
from keyshift.adapt.scoring.evaluation import agreement, everyone, predict, predict_people
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import updates
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.sample import Labeled, carry, invert, transform
from keyshift.datasets.skeleton import Skeleton
from keyshift.datasets.views import WithoutLabels
from keyshift.models.systems.pose_resnet import PoseResNet

OPTIONS = {
    "regda": RegDA.Options(head_layers=1),
    "mean_teacher": MeanTeacher.Options(decay=0.9),
    "uniframe": UniFrame.Options(decay=0.9),
}
ADAM = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)


def build(name, skeleton):
    torch.manual_seed(0)
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    model = PoseResNet(3, PoseResNet.Options(backbone="small", channels=16, sigma=1.0, **sizes))
    return STRATEGIES[name](model, skeleton, ADAM, options=OPTIONS.get(name))


class NoFloat64(TorchDispatchMode):
    """Fails where anything but a single number is computed in float64, which Apple's GPUs do not have."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        answer = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(answer):
            assert not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float64 or tensor.numel() < 2, func
        return answer


@pytest.mark.parametrize("name", suited(["image"]))
def test_three_updates(dots, batches, iterate, name):
    """All weights have an optimiser, nothing is computed in float64, and the state is complete: a copy through the
    state dicts after two iterations is the same after the third, to the bit."""
    strategy = build(name, dots.skeleton).train()
    source, target = batches(dots, strategy, "plain", "source"), batches(dots, strategy, "shifted", "target")
    score = TrainingBatches(WithoutLabels(dots(8, "shifted")), "score", 0, 4, (32, 32), Augmentation(), False, 2)[0]
    assert STRATEGIES[name].labelled_target == isinstance(target[0], Labeled) == (name == "oracle")
    pairs = [(source[step] if "source" in strategy.needs else None, target[step]) for step in range(3)]
    optimizers = strategy.optimizers()
    before = {k: v.clone() for k, v in strategy.predictor.state_dict().items()}
    flip, cpu = dots.skeleton.flip, torch.device("cpu")
    with NoFloat64():
        strategy.begin_round(everyone(strategy.predictor, dots(64, "shifted"), 64, (32, 32), Augmentation(20), cpu))
        for pair in pairs[:2]:
            iterate(strategy, *pair, optimizers)
        predict_people(strategy.predictor, [target[0]], cpu, flip)
        predict(strategy.predictor, [source[0]], cpu)
        agreement(strategy.predictor, [score], flip, cpu)
    copy = build(name, dots.skeleton).train()
    copy.load_state_dict(strategy.state_dict())
    others = copy.optimizers()
    for key, (optimizer, _) in others.items():
        optimizer.load_state_dict(copy_of(optimizers[key][0].state_dict()))
    for one, own in ((strategy, optimizers), (copy, others)):
        torch.manual_seed(0)  # as the trainer seeds each step
        iterate(one, *pairs[2], own)
    for key, value in strategy.state_dict().items():
        assert torch.equal(value, copy.state_dict()[key]), key
    after = strategy.predictor.state_dict()
    moved = any(not torch.equal(before[k], after[k]) for k in before)
    assert moved == (name != "given")
    assert all(v.isfinite().all() for v in after.values())
    owned = [id(p) for o, _ in optimizers.values() for g in o.param_groups for p in g["params"]]
    trained = {id(p) for p in strategy.parameters() if p.requires_grad}
    assert len(owned) == len(set(owned))
    assert set(owned) == trained or name == "given"


class NoWait(TorchDispatchMode):
    """Fails where the host would wait for a number or a size from the device."""

    waits = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal.default", "repeat_interleave.Tensor")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        picks = args[1] if str(func).startswith("aten.index") and isinstance(args[1], (list, tuple)) else ()
        assert not any(getattr(index, "dtype", None) == torch.bool for index in picks), func
        # torch 2.11's quantile compares its share with the bounds so, on the CPU alone
        scalars = func is torch.ops.aten.equal.default and args[0].dim() == 0
        assert scalars or not any(str(func).startswith(f"aten.{wait}") for wait in self.waits), func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "name", sorted(set(suited(["image"])) - {"maps", "uniframe"})
)  # which draw a number on the CPU
def test_no_step_waits_for_the_device(dots, batches, name):
    """Of a network that answers with one person; how many people there are is known to the host alone when it asks."""
    strategy = build(name, dots.skeleton).train()
    source, target = batches(dots, strategy, "plain", "source")[0], batches(dots, strategy, "shifted", "target")[0]
    cut = 64, (32, 32), Augmentation(20), torch.device("cpu")
    strategy.begin_round(everyone(strategy.predictor, dots(64, "shifted"), *cut))
    with NoWait():
        for losses, _ in strategy.step(source, target):
            sum(losses.values()).backward()
        strategy.draw_back()
        strategy.after_step()


class Few:
    """The first dots of a set, without edges: two are each other's mirror image."""

    def __init__(self, data, count):
        names = ("left", "right")[:count]
        self.data, self.identity, self.name = data, {}, "few"
        self.skeleton = Skeleton("few", names, flip_pairs=((0, 1),)[: count - 1], groups={"all": tuple(range(count))})

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        item, count = self.data[index], len(self.skeleton)
        parts = {name: getattr(item, name)[:count] for name in ("keypoints", "visible", "annotated")}
        return dataclasses.replace(item, **parts)


def innermost(tensor):
    """Pictures with channels innermost, as a run with channels_last has them."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", suited(["image"]))
def test_one_keypoint_and_two_mirrored_channels_last_in_half_precision(toys, dots, name, count):
    """Losses are finite, and the state that they leave, float32."""
    sets = {d: Few(dots(8, style), count) for d, style in (("source", "plain"), ("target", "shifted"))}
    torch.manual_seed(0)
    model = toys.TopDown(count, toys.TopDown.Options(channels=8))
    strategy = STRATEGIES[name](model, sets["target"].skeleton, ADAM, options=OPTIONS.get(name)).train()
    strategy, cut = strategy.to(memory_format=torch.channels_last), ((32, 32), Augmentation(mirror=0.5))
    labels = {"source": True, "target": strategy.labelled_target}
    batches = {
        d: TrainingBatches(sets[d], d, 0, 4, *cut, labels[d], strategy.views[d])[0].each(innermost) for d in sets
    }
    strategy.begin_round(everyone(strategy.predictor, sets["target"], 8, *cut, torch.device("cpu")))
    fabric, optimizers = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"), strategy.optimizers()
    for _ in range(2):
        for losses in updates(fabric, strategy, optimizers, batches["source"], batches["target"]):
            assert all(loss.isfinite() for loss in losses.values()), losses
    floating = [value for value in strategy.state_dict().values() if value.is_floating_point()]
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in floating)


def test_regda_steps_and_what_they_update(dots, batches, iterate):
    strategy = build("regda", dots.skeleton).train()
    source, target = batches(dots, strategy, "plain", "source"), batches(dots, strategy, "shifted", "target")
    names = iterate(strategy, source[0], target[0], strategy.optimizers())
    assert names == [("features", "head", "adversary"), ("adversary",), ("features",)]
    assert strategy.gradient.iteration == 1


@pytest.mark.parametrize(
    ("policy", "moved"), [("target", (0.0, 0.1)), ("both", (0.1, 0.1)), ("reference", (0.1, 0.19))]
)
def test_batch_norm_policy(dots, batches, policy, moved):
    strategy = build("bn_control", dots.skeleton).train()
    strategy.batch_norm = policy
    norm = strategy.model.backbone.stem[1]
    for domain, wanted in zip(("source", "target"), moved, strict=True):
        norm.reset_running_stats()
        batch = batches(dots, strategy, "plain", domain)[0]
        with strategy.statistics(domain):
            strategy.model(batch)
        mean = strategy.model.backbone.stem[0](
            (batch.image / 255 - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
            / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        ).mean((0, 2, 3))
        torch.testing.assert_close(norm.running_mean, wanted * mean, atol=1e-4, rtol=1e-3)
        assert norm.momentum == 0.1


def test_points_travel_between_views(dots, batches):
    strategy = build("mean_teacher", dots.skeleton)
    data = dataclasses.replace(batches(dots, strategy, "plain", "target")[0])
    (view,) = data.views
    points = torch.rand(8, 3, 2) * 32
    there = carry(points, data, view, [0, 1, 2], torch.arange(8))
    torch.testing.assert_close(transform(view.to_file, there), transform(data.to_file, points), atol=1e-3, rtol=1e-4)
    mirror = view.to_file.clone()
    mirror[0, :, 0] *= -1
    mirrored = dataclasses.replace(view, to_file=mirror)
    swapped = carry(points, data, mirrored, [2, 1, 0], torch.arange(8))
    torch.testing.assert_close(swapped[1:], there[1:])
    direct = transform(invert(mirror[:1]), transform(data.to_file[:1], points[:1]))
    torch.testing.assert_close(swapped[0], direct[0, [2, 1, 0]])


HELPS = {
    "regda": RegDA.Options(head_layers=1, fresh_head=False, sigma=1.0, warmup=20, highest=1.0),
    "mean_teacher": MeanTeacher.Options(decay=0.9, sigma=1.0),
    "uniframe": UniFrame.Options(decay=0.9, sigma=1.0),
    "keyshift": Keyshift.Options(decay=0.9),
}


@pytest.fixture(scope="module")
def source_only(toy_shift):
    """Which fails on the target, where the oracle does not."""
    pck = toy_shift.pck(STRATEGIES["source_only"])
    assert toy_shift.pck(STRATEGIES["oracle"]) > pck + 0.1
    return pck


@pytest.mark.parametrize("name", HELPS)
def test_adaptation_helps_on_a_toy_shift(toy_shift, source_only, name):
    """By more than the same updates with the source alone."""
    assert toy_shift.pck(STRATEGIES[name], HELPS[name]) > source_only + 0.05
