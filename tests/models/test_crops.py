"""Boxes cut from maps, against torch's sampling person by person and against bilinear means by hand."""

import pytest
import torch
import torch.nn.functional as F

from keyshift.models.parts.crops import REACH, bilinear, cut_boxes, from_boxes, in_boxes


def boxes_of(images=2, people=3):
    torch.manual_seed(0)
    return torch.cat([torch.rand(images, people, 2), 0.05 + torch.rand(images, people, 2)], -1).double()


def sampled(maps, box, cells):
    """One person's crop, (C, cells, cells), by the formula of PRTR's notebook."""
    x, y, width, height = box
    u = torch.linspace(-1.25, 1.25, cells, dtype=maps.dtype)
    down, across = torch.meshgrid(height * u + 2 * y - 1, width * u + 2 * x - 1, indexing="ij")
    return F.grid_sample(maps[None], torch.stack([across, down], -1)[None], padding_mode="border", align_corners=False)[
        0
    ]


@pytest.mark.parametrize("cells", [2, 10])
def test_crops_and_their_gradients_are_those_of_sampling_each_person(cells):
    maps, boxes = torch.randn(2, 4, 7, 9).double().requires_grad_(), boxes_of().requires_grad_()
    ours = cut_boxes(maps, boxes, cells)
    assert ours.shape == (2, 3, 4, cells, cells)
    wanted = torch.stack([torch.stack([sampled(maps[b], boxes[b, n], cells) for n in range(3)]) for b in range(2)])
    torch.testing.assert_close(ours, wanted)
    weight = torch.randn_like(ours)
    for one, other in zip(
        *(torch.autograd.grad((c * weight).sum(), (maps, boxes)) for c in (ours, wanted)), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_a_line_by_hand():
    """Of 4 cells, whose middles are at 0.5 .. 3.5: points of an interval about 2 that reaches 1.25 of its half."""
    shares = bilinear(torch.tensor(0.5), torch.tensor(0.8), 4, 3)
    places = [2 - 0.4 * 4 * REACH, 2.0, 2 + 0.4 * 4 * REACH]  # 0, on the border, beyond the first middle
    assert places == [0.0, 2.0, 4.0]
    torch.testing.assert_close(shares, torch.tensor([[1.0, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1.0]]))


def test_a_crop_in_half_precision_lies_where_it_lies_in_float32():
    maps, boxes = torch.randn(2, 4, 32, 32), boxes_of().float()
    boxes[..., 2:] = 0.02  # a person of less than a cell: eight bits of its place would be a cell
    half = cut_boxes(maps.bfloat16(), boxes, 4).float()
    torch.testing.assert_close(half, cut_boxes(maps, boxes, 4), atol=0.1, rtol=0.02)


def test_points_of_crops_go_into_the_picture_and_back():
    boxes = boxes_of()
    corners = torch.tensor([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]).double()
    points = from_boxes(corners, boxes[:, :, None])
    torch.testing.assert_close(points[:, :, 1], boxes[..., :2])
    torch.testing.assert_close(points[:, :, 2] - points[:, :, 0], 1.25 * boxes[..., 2:])
    torch.testing.assert_close(in_boxes(points, boxes[:, :, None]), corners.expand_as(points))


def test_a_crops_border_is_what_points_are_counted_from():
    """The first and last sample of a ramp stand where the shares 0 and 1 do."""
    ramp = (torch.arange(64).double() + 0.5).expand(1, 1, 64, 64)
    box = torch.tensor([[[0.5, 0.5, 0.4, 0.2]]]).double()
    crop = cut_boxes(ramp, box, 5)[0, 0, 0]
    ends = from_boxes(torch.tensor([[0.0, 0.5], [1.0, 0.5]]).double(), box[0]) * 64
    torch.testing.assert_close(crop[2, [0, -1]], ends[:, 0])
