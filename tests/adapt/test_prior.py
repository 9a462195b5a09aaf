"""The prior of poses: its noise and labels against loops, and that it learns which poses there are."""

import numpy as np
import pytest
import torch

from keyshift.adapt.anatomy import orientations
from keyshift.adapt.prior import (
    PosePrior,
    PriorOptions,
    directions_of,
    fit,
    load_prior,
    nearest,
    perturbed,
    save_prior,
    separation,
    turned,
)
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.saved import save_checkpoint

BONES = [(0, 1), (1, 2), (1, 3), (2, 4), (3, 5)]
NAMES = ("head", "neck", "left_shoulder", "right_shoulder", "left_hand", "right_hand")


def bodies(count, dims=2, seed=0):
    """Upright poses that differ by little."""
    rng = np.random.default_rng(seed)
    base = np.array([[0, -2, 0], [0, 0, 0], [-1, 0, 0], [1, 0, 0], [-2, 2, 1], [2, 2, 1]])[:, :dims]
    return torch.from_numpy((base + rng.normal(0, 0.15, (count, 6, dims))) * 20).float()


@pytest.mark.parametrize("dims", [2, 3])
def test_noise_turns_each_bone_by_its_angle(dims):
    clean = orientations(bodies(20, dims), torch.tensor(BONES))
    angle = torch.linspace(-3, 3, 100).view(20, 5)
    other = torch.randn(20, 5, 3, generator=torch.Generator().manual_seed(0)) if dims == 3 else None
    there = turned(clean, angle, other)
    torch.testing.assert_close(there.norm(dim=-1), torch.ones(20, 5))
    torch.testing.assert_close((there * clean).sum(-1), angle.cos(), atol=1e-5, rtol=0)
    if dims == 2:
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(20, 5, 2, 2)
        torch.testing.assert_close(there, (turn @ clean.unsqueeze(-1)).squeeze(-1))


def test_the_nearest_poses_against_a_loop():
    some, clean = (orientations(bodies(n, seed=n), torch.tensor(BONES)) for n in (300, 40))
    distance, index = nearest(some, clean, 3)
    for p in (0, 17, 299):
        each = torch.stack([(some[p] - one).norm(dim=-1).mean() for one in clean])
        torch.testing.assert_close(distance[p], each.sort().values[:3])
        assert index[p].tolist() == each.argsort()[:3].tolist()


def test_the_tree_says_whose_features_a_bone_reads():
    torch.manual_seed(0)
    prior = PosePrior(BONES, width=8)
    given = torch.randn(1, 5, 2, requires_grad=True)
    changed = []
    for bone in range(5):
        (grad,) = torch.autograd.grad(prior.encode(given).view(1, 5, 6)[0, bone].square().sum(), given)
        changed.append(grad[0].abs().sum(-1).nonzero().flatten().tolist())
    assert changed == [[0], [0, 1], [0, 2], [0, 1, 3], [0, 2, 4]]


@pytest.mark.parametrize("dims", [2, 3])
def test_it_tells_poses_from_perturbed_ones(dims):
    torch.manual_seed(0)
    prior = PosePrior(BONES, dims, width=64)
    options = PriorOptions(updates=200, batch=128, rate=2e-3, width=64)
    held = directions_of(prior, bodies(100, dims, seed=1))
    fit(prior, directions_of(prior, bodies(300, dims)), options)
    clean, noisy, farther = separation(prior, held, options)
    assert clean < 0.15 < 0.4 < noisy
    assert farther > 0.9


def test_a_file_holds_bones_by_name(tmp_path):
    torch.manual_seed(0)
    skeleton = Skeleton("body", NAMES, tuple(BONES))
    prior, path = PosePrior(BONES, width=8), tmp_path / "prior.pt"
    save_prior(path, prior, skeleton)
    order = (*NAMES[::-1], "tail")
    again = load_prior(path, Skeleton("other", order))
    points = bodies(7)
    there = torch.cat([points.flip(1), points[:, :1]], 1)
    with torch.no_grad():
        wanted = prior(directions_of(prior, points))
        torch.testing.assert_close(again(directions_of(again, there)), wanted)
    with pytest.raises(ValueError, match=r"a prior of head, neck, .*; the model predicts head, neck, without left_sho"):
        load_prior(path, Skeleton("few", ("head", "neck")))
    with pytest.raises(ValueError, match="2D poses, these are 3D"):
        directions_of(again, bodies(2, 3))
    state = torch.load(path, weights_only=True)
    save_checkpoint(path, state | {"width": 16})
    with pytest.raises(ValueError, match="does not fit its own description"):
        load_prior(path, skeleton)


def test_the_references_noise_is_of_2d_alone():
    rng = np.random.default_rng(0)
    clean = orientations(bodies(8), torch.tensor(BONES))
    assert perturbed(clean, 20, "reference", rng).isfinite().all()
    with pytest.raises(ValueError, match="noise=reference is of 2D"):
        perturbed(orientations(bodies(8, 3), torch.tensor(BONES)), 20, "reference", rng)
