"""MAPS: its split and one step of the reference code, and how the strategy uses them."""

import json

import pytest
import torch

from keyshift.adapt import warps
from keyshift.adapt.methods import maps
from keyshift.models.output import Grid, Poses, Votes

FIXED = [6, 7]
"""Joints whose weight the reference's body script sets to 0."""


@pytest.fixture
def arrays(golden):
    return golden.load("strategy_maps")


def test_the_split(golden, arrays):
    samples, joints = arrays["split.entropy"].shape
    settings, cells = json.loads(str(arrays["meta"]))["split"], 32
    shape = (samples, joints, cells, cells)
    first, noise = golden.normal("split.maps", shape, 0.2), golden.normal("split.maps_again", shape, 0.05)
    first[1] = -first[1].abs() - 1
    height = torch.linspace(1, 0, samples)[5 * torch.arange(samples) % samples].view(-1, 1, 1, 1)
    grid = Grid((cells, cells), (1.0, 1.0), (0.0, 0.0))
    true = Votes.from_maps(grid, first).peak()
    again = noise + height * grid.target(true, 2.0, cut=6)
    error = maps.map_error(again, warps.rectify(first, 2.0))
    golden.compare(arrays, "split.error", error)
    easy, hard = maps.split(error, settings["fraction"])
    assert easy.tolist() == arrays["split.easy"].tolist()
    assert hard.tolist() == arrays["split.hard"].tolist()
    golden.compare(arrays, "split.keypoints", warps.peaks(first)[easy] * (settings["original_image"] / cells))
    golden.compare(arrays, "split.entropy", 1 - Votes.from_maps(grid, first).confidence())


def network(golden, joints, seed):
    made = torch.nn.Sequential()
    made.add_module("head", torch.nn.Conv2d(3, 8, 4, stride=4))
    made.add_module("relu", torch.nn.ReLU())
    made.add_module("out", torch.nn.Conv2d(8, joints, 1))
    before, golden.seed = golden.seed, seed
    shapes = {key: tuple(value.shape) for key, value in made.state_dict().items()}
    made.load_state_dict({k: golden.weight(k, s, [("head.weight", 0.5)]) for k, s in shapes.items()})
    golden.seed = before
    return made


def test_a_step(golden, arrays):
    settings = json.loads(str(arrays["meta"]))["step"]
    side, cells = settings["image_size"], settings["heatmap_size"]
    batch, joints, ratio = len(arrays["step.permutation"]), len(arrays["step.grad.out.bias"]), side // cells
    easy, view, taught = (golden.texture(f"step.{n}", (batch, 3, side, side)) for n in ("x_s", "x_stu", "x_tea0"))
    label = golden.normal("step.label", (batch, joints, cells, cells), 0.3)
    weight = torch.ones(batch, joints)
    weight[:, FIXED] = 0
    undo_student, undo_teacher = (torch.from_numpy(arrays[f"step.undo_{n}"]) for n in ("stu", "tea0"))
    student, teacher = (network(golden, joints, seed) for seed in (golden.seed, golden.seed + 1000))
    with torch.no_grad():
        wanted = warps.undo(teacher(taught), undo_teacher, ratio)
    own = student(view)
    mask = warps.above(wanted.amax((2, 3)), settings["mask_ratio"])
    rho, order = float(arrays["step.rho"][0]), torch.from_numpy(arrays["step.permutation"])
    pictures = maps.mixed(view, rho, order)
    golden.compare(arrays, "step.mixed", pictures)
    goal = maps.mixed(own.detach(), rho, order)
    losses = {
        "proxy": warps.map_loss(student(easy), label, weight),
        "consistency": warps.map_consistency(warps.undo(own, undo_student, ratio), warps.rectify(wanted, 2), mask),
        "mix": warps.map_loss(student(pictures), goal),
    }
    for name, value in losses.items():
        golden.compare(arrays, f"step.loss_{name}", value)
    weights = {"proxy": settings["proxy_ratio"], "consistency": settings["lambda_c"], "mix": settings["mix_ratio"]}
    optimizer = torch.optim.Adam(student.parameters(), lr=2e-4)
    sum(weights[name] * value for name, value in losses.items()).backward()
    optimizer.step()
    with torch.no_grad():
        torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - 0.999)
    for key, parameter in student.named_parameters():
        golden.compare(arrays, f"step.grad.{key}", parameter.grad)
        golden.compare(arrays, f"step.student.{key}", parameter)
        golden.compare(arrays, f"step.teacher.{key}", dict(teacher.named_parameters())[key])


def test_point_error_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    first = Poses(
        torch.rand(5, 3, 2, generator=generator), torch.ones(5, 3), torch.tensor([0, 0, 2, 3, 5]), torch.ones(5)
    )
    again = Poses(
        torch.rand(5, 3, 2, generator=generator), torch.ones(5, 3), torch.tensor([0, 2, 2, 2, 3]), torch.ones(5)
    )
    for pose, image, error in zip(first.points, first.image_index, maps.point_error(first, again), strict=True):
        there = [other for other, place in zip(again.points, again.image_index, strict=True) if place == image]
        size = max(float(pose[:, d].max() - pose[:, d].min()) for d in range(2))
        away = [sum(float((pose[k] - other[k]).norm()) for k in range(3)) / 3 / size for other in there]
        assert float(error) == pytest.approx(min(away, default=float("inf")))
    assert not maps.point_error(first.each(lambda values: values[:0]), again).numel()
