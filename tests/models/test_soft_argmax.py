"""The soft-argmax against the expectation written out, in value, gradient, precision and memory."""

import itertools

import pytest
import torch

from keyshift.experiments.commands.bench_memory import peak_bytes
from keyshift.models.output import Grid, Votes
from keyshift.models.parts.blocks import blocks
from keyshift.models.parts.soft_argmax import direct_soft_argmax, soft_argmax

SHAPES = [(5,), (4, 6), (3, 4, 5), (2, 3, 2, 4)]


def expectation(maps):
    """sum_n p_n x_n over positions that are written out, in the maps' precision."""
    cells = torch.tensor(list(itertools.product(*map(range, maps.shape[2:])))).flip(-1).to(maps)
    return maps.flatten(2).softmax(-1) @ cells


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("answer", [soft_argmax, direct_soft_argmax])
def test_both_forms_are_the_expectation_with_its_gradient(shape, answer):
    maps = torch.randn(2, 3, *shape, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(answer(maps), expectation(maps))
    assert torch.autograd.gradcheck(answer, (maps,))


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_single_precision_is_no_worse_than_the_direct_forms(scale):
    torch.manual_seed(0)
    maps, incoming = scale * torch.randn(2, 2, 32, 32, 32), torch.randn(2, 2, 3)
    wanted, slope = answered(direct_soft_argmax, maps.double(), incoming.double())
    errors = {}
    for form in (soft_argmax, direct_soft_argmax):
        mean, gradient = answered(form, maps, incoming)
        assert mean.dtype == gradient.dtype == torch.float32
        errors[form] = (mean - wanted).abs().max(), (gradient - slope).abs().max() / slope.abs().max()
    assert errors[soft_argmax][0] < 1e-5  # cells
    for own, direct in zip(errors[soft_argmax], errors[direct_soft_argmax], strict=True):
        assert own < 1.5 * direct + 1e-7


def answered(form, maps, incoming):
    leaf = maps.detach().clone().requires_grad_()
    mean = form(leaf)
    (mean * incoming).sum().backward()
    return mean.detach(), leaf.grad


def test_half_precision_and_autocast_compute_in_single():
    maps = torch.randn(2, 3, 8, 8, 8).bfloat16()
    incoming = torch.randn(2, 3, 3)
    wanted, slope = answered(direct_soft_argmax, maps.float(), incoming)
    with torch.autocast("cpu", torch.bfloat16):
        mean, gradient = answered(soft_argmax, maps, incoming)
    assert mean.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(mean, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(gradient.float(), slope, atol=1e-7, rtol=2**-8)


def test_votes_of_any_strides_give_the_mean_in_pixels():
    grid = Grid((3, 4, 5), (4.0, 4.0, 31.25), (2.0, 2.0, -984.375))
    maps = torch.randn(2, 3, 3, 4, 5)
    wanted = grid.to_points(expectation(maps.double())).float()
    keypoints_last = maps.flatten(2).transpose(1, 2).contiguous()
    for logits in (maps.flatten(2).transpose(1, 2), keypoints_last, torch.cat([keypoints_last] * 2)[::2][:1]):
        leaf = logits.detach().requires_grad_()
        mean = Votes(grid, leaf).mean()
        torch.testing.assert_close(mean, wanted[: len(mean)], atol=1e-3, rtol=0)
        mean.sum().backward()
        assert leaf.grad.shape == logits.shape
        torch.testing.assert_close(leaf.grad.sum(1), torch.zeros(len(logits), 3), atol=1e-4, rtol=0)


def test_a_map_answers_the_same_whatever_is_beside_it():
    for shape in [(24, 40), (16, 16, 16)]:
        maps, incoming = torch.randn(40, 9, *shape), torch.randn(40, 9, len(shape))
        mean, gradient = answered(soft_argmax, maps, incoming)
        for some in (slice(0, 1), slice(3, 10), slice(20, 40)):
            alone, slope = answered(soft_argmax, maps[some], incoming[some])
            assert torch.equal(alone, mean[some])
            assert torch.equal(slope, gradient[some])


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (3, 5, 2), (7, 18, 64, 64), (2, 3, 64, 64, 65)])
def test_blocks_cover_every_map_once(shape):
    seen = torch.zeros(shape[:2])
    for images, parts in blocks(torch.empty(shape, device="cpu")):
        for some in parts:
            seen[images, some] += 1
    assert (seen == 1).all()


def test_next_to_no_memory_beyond_logits_and_their_gradient():
    maps, incoming = torch.randn(4, 6, 64, 64, 64, requires_grad=True), torch.randn(4, 6, 3)
    whole, beyond = maps.numel() * maps.element_size(), {}
    for form in (soft_argmax, direct_soft_argmax):
        maps.grad = None
        beyond[form] = peak_bytes(lambda form=form: (form(maps) * incoming).sum().backward(), "cpu") / whole - 1
    assert beyond[soft_argmax] < 0.05  # one map of 24, beside the gradient
    assert beyond[direct_soft_argmax] > 1.5


def test_a_mean_is_exported_and_compiled_in_plain_operations():
    class Mean(torch.nn.Module):
        def forward(self, maps):
            return Votes.from_maps(Grid(tuple(maps.shape[2:]), (1.0,) * 3, (0.0,) * 3), maps).mean()

    maps = torch.randn(2, 3, 4, 5, 6)
    for strict in (False, True):
        batch = torch.export.Dim("batch")
        program = torch.export.export(Mean(), (maps,), dynamic_shapes=({0: batch},), strict=strict)
        more = torch.randn(5, 3, 4, 5, 6)
        torch.testing.assert_close(program.module()(more), expectation(more), atol=1e-5, rtol=1e-5)
