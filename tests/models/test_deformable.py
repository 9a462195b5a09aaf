"""Deformable convolution against a loop written from the formula, torchvision's operator, the reference's numbers."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import deform_conv2d

from keyshift.models.parts.deformable import DeformConv, deform_conv
from keyshift.models.parts.hrnet import HEADS, HRNet

FACTORS = [
    ("transition_offset.0.weight", 0.2),
    ("*.transform_matrix_conv.weight", 0.6),
    ("*.translation_conv.weight", 1.5),
    ("*fuse_layers.*.1.weight", 0.25),
    ("*bn2.weight", 0.25),
    ("*bn3.weight", 0.4),
]
V1 = {"size": (5, 6), "kernel": (3, 2), "stride": (1, 2), "padding": (1, 0), "dilation": (1, 2)}
V2 = V1 | {"masked": True, "groups": 2, "offset_groups": 4}
NARROW = {"size": (1, 7), "kernel": (1, 3), "stride": (1, 1), "padding": (0, 1), "dilation": (1, 1)}


def made(size, kernel, stride, padding, dilation, masked=False, groups=1, offset_groups=1):
    """Inputs in double precision, with offsets that leave the picture too; and where a plain convolution reads."""
    torch.manual_seed(0)
    taps = kernel[0] * kernel[1]
    sides = zip(size, kernel, stride, padding, dilation, strict=True)
    out = [(side + 2 * pad - step * (count - 1) - 1) // jump + 1 for side, count, jump, pad, step in sides]
    shapes = {
        "image": (2, 4, *size),
        "offset": (2, offset_groups * taps * 2, *out),
        "weight": (6, 4 // groups, *kernel),
        "bias": (6,),
        "mask": (2, offset_groups * taps, *out),
    }
    tensors = {name: torch.randn(shape, dtype=torch.double) for name, shape in shapes.items()}
    tensors["offset"] *= 2
    if not masked:
        tensors["mask"] = None
    return [one if one is None else one.requires_grad_() for one in tensors.values()], (stride, padding, dilation)


def bilinear(plane, y, x):
    """The value at (y, x) of a plane (H, W) that is 0 all around."""
    total, top, left = 0.0, int(y.detach().floor()), int(x.detach().floor())
    for row, column in product((top, top + 1), (left, left + 1)):
        if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
            total = total + plane[row, column] * (1 - (y - row).abs()) * (1 - (x - column).abs())
    return total


def looped(image, offset, weight, bias, stride, padding, dilation, mask):
    """Output by output, tap by tap, channel by channel."""
    (batch, channels), (outputs, inputs, rows, columns) = image.shape[:2], weight.shape
    taps, size = rows * columns, offset.shape[-2:]
    moving, groups = offset.shape[1] // (2 * taps), channels // inputs
    answer = []
    for b, o, i, j in product(range(batch), range(outputs), range(size[0]), range(size[1])):
        total = bias[o]
        for channel, row, column in product(range(inputs), range(rows), range(columns)):
            source = o // (outputs // groups) * inputs + channel
            tap = source // (channels // moving) * taps + row * columns + column
            y = i * stride[0] - padding[0] + row * dilation[0] + offset[b, 2 * tap, i, j]
            x = j * stride[1] - padding[1] + column * dilation[1] + offset[b, 2 * tap + 1, i, j]
            value = bilinear(image[b, source], y, x) * (1 if mask is None else mask[b, tap, i, j])
            total = total + weight[o, channel, row, column] * value
        answer.append(total)
    return torch.stack(answer).view(batch, outputs, *size)


@pytest.mark.parametrize("other", [looped, deform_conv2d])
@pytest.mark.parametrize("form", [V1, V2, NARROW])
def test_values_and_gradients(other, form):
    (image, offset, weight, bias, mask), place = made(**form)
    leaves = [one for one in (image, offset, weight, bias, mask) if one is not None]
    answers = [run(image, offset, weight, bias, *place, mask) for run in (deform_conv, other)]
    torch.testing.assert_close(*answers, atol=1e-11, rtol=0)
    incoming = torch.randn_like(answers[0])
    ours, theirs = (torch.autograd.grad(answer, leaves, incoming) for answer in answers)
    for one, wanted in zip(ours, theirs, strict=True):
        assert wanted.any()
        torch.testing.assert_close(one, wanted, atol=1e-11, rtol=0)


def test_offsets_are_down_then_right():
    image = torch.arange(25.0).view(1, 1, 5, 5)
    offset = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 5, 5)
    moved = deform_conv(image, offset, torch.ones(1, 1, 1, 1))
    assert torch.equal(moved[0, 0, :4, :3], image[0, 0, 1:, 2:])
    assert not moved[0, 0, 4:].any()
    assert not moved[0, 0, :, 3:].any()


def test_masks_are_factors_as_they_are():
    image, offset, mask = torch.rand(1, 1, 4, 4), torch.zeros(1, 2, 4, 4), torch.full((1, 1, 4, 4), -3.0)
    torch.testing.assert_close(deform_conv(image, offset, torch.ones(1, 1, 1, 1), mask=mask), -3 * image)


def test_without_offsets_it_is_a_convolution():
    torch.manual_seed(0)
    layer, image = DeformConv(4, 6, 3, 2, 1, groups=2), torch.rand(2, 4, 8, 10)
    plain = nn.functional.conv2d(image, layer.weight, layer.bias, 2, 1, groups=2)
    torch.testing.assert_close(layer(image, torch.zeros(2, 18, 4, 5)), plain)
    half = layer(image.half(), torch.zeros(2, 18, 4, 5).half())
    torch.testing.assert_close(half, plain, atol=1e-2, rtol=0)


def test_under_autocast_it_is_a_convolution_of_that_kind_whose_places_keep_their_digits():
    torch.manual_seed(0)
    layer, image = DeformConv(4, 6, 3, padding=1), torch.rand(1, 4, 3, 300)
    offset = torch.full((1, 18, 3, 300), 0.3)
    exact = layer(image, offset)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(image, offset)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(
        half.float(), exact, atol=2e-2, rtol=0
    )  # at column 300 a place in bf16 would be a px off


def test_of_no_images_there_are_no_maps():
    layer = DeformConv(4, 6, 3, 2, 1, groups=2)
    image = torch.rand(0, 4, 8, 10, requires_grad=True)
    maps = layer(image, torch.rand(0, 36, 4, 5), torch.rand(0, 18, 4, 5))
    assert maps.shape == (0, 6, 4, 5)
    maps.sum().backward()
    assert not layer.weight.grad.any()


def test_onnx(tmp_path):
    import onnxruntime

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset, self.layer = nn.Conv2d(4, 27, 3, padding=1), DeformConv(4, 6, 3, padding=1)

        def forward(self, image):
            offset, mask = self.offset(image).split([18, 9], 1)
            return self.layer(image, 4 * offset, mask.sigmoid())

    torch.manual_seed(0)
    net, image = Net().eval(), torch.rand(2, 4, 8, 10)
    batch = {"image": {0: torch.export.Dim("batch")}}
    torch.onnx.export(net, (image,), tmp_path / "net.onnx", dynamo=True, dynamic_shapes=batch, input_names=["image"])
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 3):
        image = torch.rand(count, 4, 8, 10)
        (answer,) = session.run(None, {"image": image.numpy()})
        np.testing.assert_allclose(answer, net(image).detach().numpy(), atol=1e-5)


@torch.no_grad()
def test_dekr(golden):
    """The adaptive convolution of joint 3, at the offsets that its features ask for."""
    arrays, state = golden.load("dekr"), golden.weights("dekr_w32", FACTORS)
    network = HRNet("hrnet_w32", levels=4).eval()
    network.load_state_dict({key: value for key, value in state.items() if not key.startswith(HEADS)})
    levels = network(golden.texture("image", (1, 3, 256, 256)))

    def filled(layer, key):
        layer.load_state_dict({k.removeprefix(key): v for k, v in state.items() if k.startswith(key)})
        return layer.eval()

    enter = nn.Sequential(nn.Conv2d(480, 255, 1, bias=False), nn.BatchNorm2d(255), nn.ReLU())
    features, block = filled(enter, "transition_offset.")(levels)[:, 45:60], "offset_feature_layers.3.0."
    matrix = filled(nn.Conv2d(15, 4, 3, padding=1), f"{block}transform_matrix_conv.")(features)
    shift = filled(nn.Conv2d(15, 2, 3, padding=1), f"{block}translation_conv.")(features)
    golden.compare(arrays, "matrix3", matrix)
    golden.compare(arrays, "translation3", shift)
    regular = torch.tensor([[-1.0, -1, -1, 0, 0, 0, 1, 1, 1], [-1, 0, 1, -1, 0, 1, -1, 0, 1]])
    taps = torch.einsum("brchw,ck->bkrhw", matrix.unflatten(1, (2, 2)), regular)
    offset = taps - regular.T[None, :, :, None, None] + shift[:, None]
    layer = filled(DeformConv(15, 15, 3, padding=1, bias=False), f"{block}adapt_conv.")
    golden.compare(arrays, "adapt3", layer(features, offset.flatten(1, 2)))
