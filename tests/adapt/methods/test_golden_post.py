"""POST against the numbers of its reference code: directions of bones, the prior, its training data, and two steps."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from keyshift.adapt import warps
from keyshift.adapt.alignment import pooled
from keyshift.adapt.anatomy import orientations, parents_of, soft_argmax
from keyshift.adapt.methods.post import correlation, redundancy, redundant
from keyshift.adapt.prior import PosePrior, angles, nearest, reference_turned

BONES = [(8, 9), (2, 8), (3, 8), (12, 8), (13, 8), (1, 2), (0, 1), (4, 3), (5, 4), (11, 12), (10, 11), (14, 13)]
BONES += [(15, 14)]


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.load("strategy_post")


@pytest.fixture(scope="module")
def prior(golden):
    return loaded(golden)


def loaded(golden):
    """The reference's network from its own keys."""
    given = golden.weights("strategy_post.prior", (("*weight_g", 0.9),))
    made = PosePrior(BONES)
    hidden = made.inner.shape[-1]
    state = made.state_dict()
    for i in range(len(BONES)):
        key = f"enc.net.{i}.net"
        inner = given[f"{key}.0.weight"]
        state["inner"][i] = nn.functional.pad(inner, (0, hidden - inner.shape[1]))  # a root has no parent's features
        state["inner_bias"][i] = given[f"{key}.0.bias"]
        state["outer"][i], state["outer_bias"][i] = given[f"{key}.2.weight"], given[f"{key}.2.bias"]
    for i in range(6):
        state[f"layers.{i}.bias"] = given[f"dfnet.lin{i}.bias"]
        for name, part in (("original0", "weight_g"), ("original1", "weight_v")):
            state[f"layers.{i}.parametrizations.weight.{name}"] = given[f"dfnet.lin{i}.{part}"]
    made.load_state_dict(state)
    return made


def test_the_weights_are_the_recipe(golden, arrays):
    values = list(golden.weights("strategy_post.prior", (("*weight_g", 0.9),)).values())
    flat = torch.cat([value.flatten() for value in values]).double()
    np.testing.assert_allclose([len(flat), flat.sum(), flat.abs().sum()], arrays["weights.prior"], rtol=1e-6)
    np.testing.assert_allclose(values[0].flatten()[:4], arrays["weights.prior.first4"], rtol=1e-6)


def test_directions_of_bones(golden, arrays):
    bones = torch.tensor(BONES)
    maps = golden.normal("bones.maps", (*arrays["bones.coordinates"].shape[:2], 24, 24), 0.004).requires_grad_()
    np.testing.assert_array_equal(maps.detach().flatten()[:8], arrays["input.bones.maps"])
    golden.compare(arrays, "bones.coordinates", soft_argmax(maps, 500))
    golden.compare(arrays, "bones.coordinates.hard", soft_argmax(100 * maps, 500))
    directions = orientations(soft_argmax(maps, 500), bones)
    golden.compare(arrays, "bones.orientations", directions)
    energy = (directions * torch.arange(1.0, 27).view(13, 2)).sum()
    golden.compare(arrays, "bones.energy", energy)
    energy.backward()
    golden.compare(arrays, "bones.energy.grad_maps", maps.grad)


def test_joints_in_one_place_have_no_direction(arrays):
    """Where the reference gives NaN there are zeros, and no gradient."""
    points = torch.rand(1, 16, 2, generator=torch.Generator().manual_seed(0)) * 24
    points[:, 9] = points[:, 8]
    points.requires_grad_()
    directions = orientations(points, torch.tensor(BONES))
    lost = torch.from_numpy(arrays["bones.coincident_is_nan"])
    assert torch.equal(directions[0] == 0, lost)
    directions.square().sum().backward()
    (grad,) = torch.autograd.grad(orientations(points, torch.tensor(BONES))[:, 0].sum(), points)
    assert points.grad.isfinite().all()
    assert not grad.any()


def test_the_prior(golden, arrays, prior):
    assert parents_of(BONES) == [-1, 0, 0, 0, 0, 1, 5, 2, 7, 3, 9, 4, 11]
    given = golden.normal("prior.input", arrays["prior.sum.grad_input"].shape)
    np.testing.assert_array_equal(given.flatten()[:8], arrays["input.prior.input"])
    given = nn.functional.normalize(given, dim=-1).requires_grad_()
    golden.compare(arrays, "prior.features", prior.encode(given))
    distance = prior(given)
    golden.compare(arrays, "prior.distance", distance[:, None])
    golden.compare(arrays, "prior.sum", distance.sum())
    distance.sum().backward()
    golden.compare(arrays, "prior.sum.grad_input", given.grad)
    assert torch.equal(prior(given, rectified=False).relu(), distance)


def test_perturbed_poses_and_their_labels(golden, arrays):
    poses, bones = arrays["noise.angle"].shape
    np.testing.assert_allclose(angles(poses, bones, np.random.RandomState(1)), arrays["noise.angle"], atol=1e-12)
    points = torch.from_numpy(256 * golden.uniform("noise.keypoints", (poses, 16, 2)))
    np.testing.assert_array_equal(points.flatten()[:8], arrays["input.noise.keypoints"])
    clean = orientations(points, torch.tensor(BONES))
    golden.compare(arrays, "noise.clean", clean)
    raw = reference_turned(clean, torch.from_numpy(arrays["noise.angle"]))
    golden.compare(arrays, "noise.raw", raw)
    distance, index = nearest(raw / raw.norm(dim=-1, keepdim=True), clean, arrays["noise.nearest"].shape[1])
    golden.compare(arrays, "noise.nearest", distance)
    assert np.array_equal(index.numpy(), arrays["noise.index"])


def network(golden, seed):
    """Maps from `head`, features from `body`."""
    golden.seed, before = golden.seed + seed, golden.seed
    head, body = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(3, 6, 8, 8)
    for name, layer in (("head", head), ("body", body)):
        factor = 0.01 if name == "head" else 1.0
        for key, value in layer.named_parameters():
            value.data = golden.weight(f"{name}.{key}", tuple(value.shape), (("*", factor),))
    golden.seed = before
    return nn.ModuleDict({"head": head, "body": body})


def test_two_steps(golden, arrays, prior):
    settings = json.loads(str(arrays["meta"]))["step"]
    student, teacher = network(golden, 0), network(golden, 1000)
    views = {}
    for name in ("stu", "tea0"):
        image = golden.texture(f"step.x_{name}", (4, 3, 64, 64))
        np.testing.assert_array_equal(image.flatten()[:8], arrays[f"input.step.x_{name}"])
        views[name] = image, torch.from_numpy(arrays[f"step.undo_{name}"]).float()
    (seen, undo_student), (taught, undo_teacher) = views["stu"], views["tea0"]
    for step in (46, 47):
        tag = f"step{step}"
        with torch.no_grad():
            maps = warps.undo(teacher["head"](taught), undo_teacher, 4)
            given = warps.undo(teacher["body"](taught), undo_teacher, 8)
        mask = warps.above(maps.amax((2, 3)), settings["mask_ratio"])
        raw = student["head"](seen)
        undone = warps.undo(raw, undo_student, 4)
        consistency = warps.map_consistency(undone, warps.rectify(maps, settings["sigma"]), mask)
        features = warps.undo(student["body"](seen), undo_student, 8)
        alike = correlation(pooled(features), pooled(given), exact=False)
        on, off = redundancy(alike)
        weight, loss_b = settings["lambda_b"], redundant(alike)
        if step < settings["step_p"]:
            loss = consistency + 0.5 * weight * loss_b
        else:
            directions = orientations(soft_argmax(raw, 500), torch.tensor(BONES))
            distance = prior(directions)
            loss = consistency + weight * loss_b + settings["lambda_p"] * distance.mean()
            compared = {"orientations": directions, "distance": distance[:, None], "loss_p": distance.mean()}
            compared |= {"loss_c": consistency, "loss_b": loss_b}
            compared |= {"diagonal_minus_1_squared": on, "off_diagonal_squared": off}
            for name, value in compared.items():
                golden.compare(arrays, f"{tag}.{name}", value)
        golden.compare(arrays, f"{tag}.loss_all", loss)
        optimizer = torch.optim.Adam(student.parameters(), lr=1e-4)
        optimizer.zero_grad()
        loss.backward()
        for key, parameter in student.named_parameters():
            golden.compare(arrays, f"{tag}.grad.{key}", parameter.grad)
    optimizer.step()
    with torch.no_grad():
        torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - 0.999)
    for key, parameter in teacher.named_parameters():
        golden.compare(arrays, f"step47.teacher.{key}", parameter)
