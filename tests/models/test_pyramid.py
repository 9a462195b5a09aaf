"""A backbone's levels are what its layers give one after the other."""

import pytest
import torch

from keyshift.models.parts.backbones import build_backbone
from keyshift.models.parts.pyramid import Pyramid


def test_a_resnets_levels_are_its_layers():
    torch.manual_seed(0)
    pyramid = Pyramid("resnet18", None, (64, 64), 3).eval()
    torch.manual_seed(0)
    whole, image = build_backbone("resnet18").eval(), torch.rand(1, 3, 64, 96)
    wanted, maps = {}, image
    with torch.no_grad():
        for name, part in whole.named_children():
            wanted[name] = maps = part(maps)
        levels = pyramid(image)
    assert (pyramid.channels, pyramid.strides) == ((128, 256, 512), (8, 16, 32))
    for level, name in zip(levels, ("layer2", "layer3", "layer4"), strict=True):
        assert torch.equal(level, wanted[name])


@pytest.mark.parametrize(
    ("name", "count", "channels", "strides"),
    [
        ("small", 1, [96], [8]),
        ("small", 3, [24, 48, 96], [2, 4, 8]),
        ("hrnet_w18_small", 2, [72, 144], [16, 32]),
        ("timm:resnet18", 2, [256, 512], [16, 32]),
        ("timm:vit_small_patch14_dinov2", 2, [384, 384], [16, 16]),
    ],
)
def test_levels_have_the_shapes_that_are_said(name, count, channels, strides):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    pyramid = Pyramid(name, None, (64, 64), count).eval()
    assert (list(pyramid.channels), list(pyramid.strides)) == (channels, strides)
    with torch.no_grad():
        levels = pyramid(torch.zeros(1, 3, 64, 64))
    assert [list(level.shape) for level in levels] == [
        [1, c, 64 // s, 64 // s] for c, s in zip(channels, strides, strict=True)
    ]


@torch.no_grad()
def test_a_stride_that_is_no_power_of_two_sees_the_picture_smaller():
    pytest.importorskip("timm")
    torch.manual_seed(0)
    pyramid, image = Pyramid("timm:vit_small_patch14_dinov2", None, (112, 64), 2).eval(), torch.rand(1, 3, 64, 112)
    seen = torch.nn.functional.interpolate(image, (56, 98), mode="bilinear")
    for level, wanted in zip(pyramid(image), pyramid.network.network(seen), strict=True):
        assert level.shape == (1, 384, 4, 7)
        assert torch.equal(level, wanted)


def test_more_levels_than_there_are():
    with pytest.raises(ValueError, match=r"model.levels=4: the backbone 'small' has levels of strides \[2, 4, 8\]"):
        Pyramid("small", None, (64, 64), 4)
