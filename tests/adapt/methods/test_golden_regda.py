"""RegDA, its losses, pseudo labels and PCK against the reference implementation's numbers."""

import dataclasses

import numpy as np
import pytest
import torch

from keyshift.adapt.methods.pseudo_labels import ground_false, ground_truth
from keyshift.adapt.methods.regda import RegDA, WarmStartGradient
from keyshift.adapt.scoring.metrics import tllib_pck
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.sample import Labeled
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.output import Grid, Poses, Votes, spatial_kl
from keyshift.models.systems.pose_resnet import PoseResNet

GRID = Grid((64, 64), (4.0, 4.0), (0.0, 0.0))


def logits(golden):
    maps = golden.normal("logits", (2, 6, 64, 64))
    maps[0, 0] -= 10
    maps[0, 1] = 0
    for b, k, row, col in [(0, 2, 0, 0), (0, 3, 63, 62), (1, 0, 30, 20), (1, 1, 30, 20), (1, 2, 10, 12), (1, 2, 40, 5)]:
        maps[b, k, row, col] = 20
    return maps


def options(side, backbone):
    sizes = {"input_size": [side, side], "heatmap_size": [side // 4, side // 4]}
    return PoseResNet.Options(backbone=backbone, reference=True, **sizes)


def label(joints, grid=GRID, sigma=2.0):
    """generate_target through our grid: the reference's rounding and square cut."""
    net = PoseResNet(1, options(64, "small"))
    net.grid = grid
    points = torch.as_tensor(joints, dtype=torch.float32)
    return grid.target(net.reference_points(points), sigma, cut=3 * sigma)


def goal(golden):
    return torch.cat([label(0.98 * 256 * golden.uniform(f"goal{b}", (6, 2))[None]) for b in range(2)])


@pytest.mark.parametrize(("variant", "name"), [("lookup", "pseudo"), ("fast", "pseudo_fast")])
def test_pseudo_labels(golden, variant, name):
    arrays = golden.load("tllib_functions")
    votes = Votes.from_maps(GRID, logits(golden))
    np.testing.assert_array_equal(votes.logits.argmax(1).numpy(), arrays["logits.argmax"])
    (truth,) = ground_truth(votes, Poses.of_crops(votes.peak(), votes.confidence()), 2.0, variant)
    np.testing.assert_allclose(truth.numpy(), arrays[f"{name}.truth"], atol=2e-7)
    (false,) = ground_false((truth,))
    np.testing.assert_allclose(false.numpy(), arrays[f"{name}.false"], atol=5e-7)
    assert ground_false((truth[:, :1],))[0].sum() == 0


def test_labels(golden):
    arrays = golden.load("tllib_functions")
    for name, grid in {"target": GRID, "target_rect": Grid((32, 64), (4.0, 4.0), (0.0, 0.0))}.items():
        drawn = (
            label(arrays["target.joints"][None], grid)[0] * torch.as_tensor(arrays[f"{name}.weight"] > 0.5)[..., None]
        )
        np.testing.assert_allclose(drawn.sum((1, 2)).numpy(), arrays[f"{name}.sum"], rtol=1e-6)
        np.testing.assert_array_equal(drawn.flatten(1).argmax(1).numpy(), arrays[f"{name}.argmax"])
        if name == "target":
            np.testing.assert_allclose(drawn.numpy(), arrays["target.map"], atol=2e-7)


def test_label_weights(golden):
    arrays = golden.load("tllib_functions")
    net = PoseResNet(24, options(256, "small"))
    sample = dataclasses.replace(
        batch(golden, "s", 0),
        keypoints=torch.as_tensor(arrays["target.joints"])[None].float(),
        annotated=torch.as_tensor(arrays["target.vis"][:, 0] > 0)[None],
    )
    np.testing.assert_array_equal(net.counted(sample)[0].numpy(), arrays["target.weight"][:, 0] > 0)


@pytest.mark.parametrize("epsilon", [0.0, 1e-7])
def test_kl(golden, epsilon):
    arrays = golden.load("tllib_functions")
    name = "kl.eps0" if epsilon == 0 else "kl.eps1e-07"
    maps, weights = logits(golden).requires_grad_(), torch.as_tensor(arrays["loss.weights"])[..., 0]
    np.testing.assert_array_equal(goal(golden).flatten(2).argmax(-1).numpy(), arrays["loss.goal.argmax"])
    density = Votes.from_maps(GRID, maps).log_density()
    golden.compare(arrays, f"{name}.unweighted", spatial_kl(density, goal(golden), epsilon=epsilon))
    loss = spatial_kl(density, goal(golden), weights, epsilon)
    golden.compare(arrays, f"{name}.weighted", loss)
    golden.compare(arrays, f"{name}.weighted.grad", torch.autograd.grad(loss, maps)[0])
    empty = goal(golden)
    empty[0, 0] = 0
    if epsilon:
        golden.compare(arrays, f"{name}.zero_target", spatial_kl(density, empty, weights, epsilon))
    else:
        assert spatial_kl(density, empty, weights, epsilon).isfinite()


@pytest.mark.parametrize(("variant", "name"), [("lookup", "slow"), ("fast", "fast")])
def test_disparity(golden, variant, name):
    arrays = golden.load("tllib_functions")
    weights = torch.as_tensor(arrays["loss.weights"])[..., 0]
    density = Votes.from_maps(GRID, golden.normal("logits.adv", (2, 6, 64, 64))).log_density()
    votes = Votes.from_maps(GRID, logits(golden))
    truth = ground_truth(votes, Poses.of_crops(votes.peak(), votes.confidence()), 2.0, variant)
    for mode, (aim,) in {"min": truth, "max": ground_false(truth)}.items():
        golden.compare(arrays, f"disparity.{name}.{mode}", spatial_kl(density, aim, weights, 1e-7))
        golden.compare(arrays, f"disparity.{name}.{mode}.unweighted", spatial_kl(density, aim, None, 1e-7))


def test_gradient_warm_up(golden):
    arrays = golden.load("tllib_functions")
    for row, (alpha, lo, hi, iters) in zip(arrays["lambda.values"], arrays["lambda.settings"], strict=True):
        layer = WarmStartGradient(alpha, lo, hi, int(iters))
        for step, wanted in zip(arrays["lambda.steps"], row, strict=True):
            layer.iteration.fill_(float(step))
            x = torch.ones(3, requires_grad=True)
            (gradient,) = torch.autograd.grad(layer(x).sum(), x)
            np.testing.assert_allclose(gradient.numpy(), wanted, rtol=2e-5, atol=1e-7)


def test_reference_pck(golden):
    arrays = golden.load("tllib_functions")
    truth = torch.cat([label(0.98 * 256 * golden.uniform(f"pck{i}", (6, 2))[None]) for i in range(8)])
    maps = truth + 0.05 * golden.normal("pck.jitter", (8, 6, 64, 64))
    for i, j in np.ndindex(8, 6):
        maps[i, j] = maps[i, j].roll(tuple(int(n) for n in arrays["pck.shift"][i, j]), (0, 1))
    truth[0, 0] = 0
    truth[:, 5] = 0
    maps[1, 1] -= 5
    np.testing.assert_array_equal(truth.flatten(2).argmax(-1).numpy(), arrays["pck.truth.argmax"])
    for threshold in (0.5, 0.2):
        per_joint, mean, predicted = tllib_pck(maps, truth, threshold)
        np.testing.assert_allclose(per_joint.numpy(), arrays[f"pck.thr{threshold}.acc"], atol=1e-6)
        np.testing.assert_allclose([mean, (per_joint >= 0).sum()], arrays[f"pck.thr{threshold}.avg_cnt"], atol=1e-6)
        np.testing.assert_array_equal(predicted.numpy(), arrays[f"pck.thr{threshold}.pred"])


@pytest.mark.parametrize(("setting", "rate", "variant"), [("official", 0.1, "lookup"), ("gentle", 0.01, "fast")])
def test_three_iterations(golden, setting, rate, variant):
    arrays = golden.load("regda_train")
    factors = [("head.3.weight", 0.25), ("head_adv.3.weight", 0.25), ("*bn2.weight", 0.5)]
    keys = golden.keys("regda_train")
    state = golden.weights("regda_train", factors)
    strategy = reference_regda(rate, variant)
    names = {key: f"adversary.{key[9:]}" if key.startswith("head_adv.") else f"model.{key}" for key, _ in keys}
    own = {names[k]: v for k, v in state.items() if ".fc." not in k}
    strategy.load_state_dict(own | {"gradient.iteration": torch.tensor(2000.0)})
    strategy.train()
    optimizers = strategy.optimizers()
    limits = {"official": [1e-5, 5e-4, 5e-3], "gentle": [1e-5] * 3}[setting]
    for i in range(3):
        rates = [
            group["lr"] for name in ("features", "head", "adversary") for group in optimizers[name][0].param_groups[:1]
        ]
        np.testing.assert_allclose(rates, arrays[f"{setting}.lr"][i], rtol=1e-6)
        losses = iterate(strategy, optimizers, batch(golden, "s", i), batch(golden, "t", i).without_labels())
        supervised, margin, false, truth = losses
        mine = [supervised, margin / 4, supervised + margin, false, truth]
        np.testing.assert_allclose(mine, arrays[f"{setting}.loss"][i], atol=limits[i] if i != 1 else 5e-4)
        mean_std_first = [summary(strategy.state_dict()[names[k]] if ".fc." not in k else state[k]) for k, _ in keys]
        np.testing.assert_allclose(mean_std_first, arrays[f"{setting}.table{i + 1}"], atol=limits[i])
    strategy.eval()
    with torch.no_grad():
        y = strategy.model(batch(golden, "t", 0)).maps
    wanted = arrays[f"{setting}.eval_y"]
    np.testing.assert_allclose(
        y.numpy()[tuple(slice(None, None, int(s)) for s in arrays[f"{setting}.eval_y.step"])],
        wanted,
        atol=5e-3 if setting == "official" else 1e-4,
    )


def reference_regda(rate, variant):
    skeleton = Skeleton("five", tuple("abcde"))
    model = PoseResNet(5, options(64, "resnet18"))
    optimization = Optimization(rate=rate)
    return RegDA(model, skeleton, optimization, "reference", options=RegDA.Options(pseudo_labels=variant))


def iterate(strategy, optimizers, source, target):
    seen = []
    for losses, names in strategy.step(source, target):
        for optimizer, _ in optimizers.values():
            optimizer.zero_grad()
        sum(losses.values()).backward()
        for name in names:
            optimizers[name][0].step()
        seen += [loss.item() for loss in losses.values()]
    for _, schedule in optimizers.values():
        schedule.step()
    strategy.after_step()
    return seen


def batch(golden, domain, i):
    joints = np.stack([2 + 56 * golden.uniform(f"joints_{domain}{i}.{n}", (5, 2)) for n in range(4)])
    annotated = torch.ones(4, 5, dtype=torch.bool)
    if domain == "s":
        annotated[1, 2] = False
    return Labeled(
        inputs={"image": golden.texture(f"x_{domain}{i}", (4, 3, 64, 64))},
        id=("",) * 4,
        sequence=("",) * 4,
        frame=torch.zeros(4),
        camera=torch.zeros(4, 4),
        to_file=torch.eye(3)[:2].repeat(4, 1, 1),
        side=torch.full((4,), 64.0),
        keypoints=torch.as_tensor(joints).float(),
        visible=annotated,
        annotated=annotated,
        image_index=torch.arange(4),
    )


def summary(tensor):
    values = tensor.double().flatten()
    first = torch.zeros(4, dtype=torch.float64)
    first[: min(4, len(values))] = values[:4]
    return [values.mean().item(), values.std(correction=0).item(), *first.tolist()]
