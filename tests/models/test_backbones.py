"""Backbones by name and by file: their grids, their weights, what is said where they cannot be had."""

import sys
import urllib.error
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torchvision.models import get_model

from keyshift.datasets.sample import Unlabeled
from keyshift.datasets.skeleton import HAND
from keyshift.models.parts import hub
from keyshift.models.parts.backbones import build_backbone, build_levels
from keyshift.models.saved import load_model, save_model
from keyshift.models.systems.a2j import A2J
from keyshift.models.systems.awr import AWR
from keyshift.models.systems.pose_resnet import PoseResNet

TIMM = {"timm:test_vit": 16, "timm:test_convnext@8": 8, "timm:resnet10t@16": 16}


def shape(backbone, width=96, height=64):
    with torch.no_grad():
        return tuple(backbone.eval()(torch.rand(1, 3, height, width)).shape)


@pytest.mark.parametrize("name", ["small", "resnet18", "mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5"])
def test_torchvision_gives_a_grid(name):
    one = build_backbone(name)
    assert shape(one) == (1, one.channels, 64 // one.stride, 96 // one.stride)


@pytest.mark.parametrize(("name", "channels"), [("small", (96, 96)), ("mobilenet_v3_small", (48, 576))])
def test_two_levels_have_one_resolution(name, channels):
    both = build_levels(name)
    assert both.channels == channels
    assert shape(both) == (1, sum(channels), 64 // both.stride, 96 // both.stride)


@pytest.mark.parametrize("name", TIMM)
def test_timm_gives_a_grid(name):
    pytest.importorskip("timm")
    one = build_backbone(name, size=(96, 64))
    assert one.stride == TIMM[name]
    assert shape(one) == (1, one.channels, 64 // one.stride, 96 // one.stride)
    both = build_levels(name.partition("@")[0], size=(96, 64))
    assert shape(both) == (1, sum(both.channels), 64 // both.stride, 96 // both.stride)


def test_weights_of_files(tmp_path):
    network = get_model("mobilenet_v3_small", weights=None)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "mobile.pt")
    one = build_backbone("mobilenet_v3_small", str(tmp_path / "mobile.pt"))
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in one.state_dict().items())
    with pytest.raises(ValueError, match="not weights of torchvision's resnet18"):
        build_backbone("resnet18", str(tmp_path / "mobile.pt"))


def test_weights_of_timm_files(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    network = timm.create_model("test_vit")  # positions for 160 x 160 are laid on another grid
    torch.save({"state_dict": network.state_dict()}, tmp_path / "vit.pt")
    one = build_backbone("timm:test_vit", str(tmp_path / "vit.pt"), (96, 64)).state_dict()
    for key in ("patch_embed.proj.weight", "blocks.5.mlp.fc2.weight", "blocks.0.norm1.weight"):
        assert torch.equal(one[f"network.model.{key}"], network.state_dict()[key])
    del network.blocks[3].attn.qkv.weight
    torch.save(network.state_dict(), tmp_path / "broken.pt")
    with pytest.raises(ValueError, match=r"not weights of timm's test_vit.*blocks\.3\.attn\.qkv"):
        build_backbone("timm:test_vit", str(tmp_path / "broken.pt"), (96, 64))


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet19", None, "Did you mean resnet18"),
        ("vit_b_16", None, "no regular grid .* timm:"),
        ("resnet18", "IMAGENET", "choose one of IMAGENET1K_V1"),
        ("resnet18", "none.pt", "no such file"),
        ("small", "IMAGENET1K_V1", "no published weights"),
    ],
)
def test_what_cannot_be_had(name, weights, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(name, weights)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("timm:test_vitt", None, "Did you mean test_vit"),
        ("timm:test_convnext@64", None, r"its strides are \[4, 8, 16, 32\]"),
        ("timm:vit_tiny_patch14_x", None, "is not known"),
        ("timm:test_vit.r160_in1k", None, "timm:test_vit model.weights=r160_in1k"),
        ("timm:test_vit", "in22k", "r160_in1k"),
        ("timm:test_vit", "none.pt", "no such file"),
        ("timm:test_vit", "r160_in1k", r"huggingface.co/timm/test_vit.r160_in1k/.*model.weights"),
    ],
)
def test_what_timm_does_not_have(monkeypatch, tmp_path, name, weights, message):
    pytest.importorskip("timm")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def away(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(hub.urllib.request, "urlopen", away)
    with pytest.raises(ValueError, match=message):
        build_backbone(name, weights, (32, 32))


VIT = {"depth": 3, "embed_dim": 24, "num_heads": 2}
CONVNEXT = {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 24)}


def plain_key(key):
    """timm's key, whatever a network of features makes of it."""
    return key.removeprefix("network.").removeprefix("model.").replace(".", "_")


@pytest.mark.parametrize(
    ("name", "tag", "form", "stride"),
    [
        ("vit_small_patch16_224", "dino", VIT, 16),
        ("vit_small_patch14_dinov2", "lvd142m", VIT, 16),
        ("vit_small_patch16_dinov3", "lvd1689m", VIT, 16),
        ("convnext_tiny", "dinov3_lvd1689m", CONVNEXT, 32),
        ("convnext_tiny", "in12k_ft_in1k", CONVNEXT, 32),
    ],
)
def test_published_weights_by_their_tag(monkeypatch, tmp_path, name, tag, form, stride):
    """Networks of the published kinds with fewer layers; the hub's file is one of theirs."""
    timm = pytest.importorskip("timm")
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, **form))
    torch.manual_seed(1)
    state = timm.create_model(f"{name}.{tag}", pretrained=False).state_dict()
    torch.save(state, tmp_path / "hub.pt")
    asked = []
    monkeypatch.setattr(hub, "hub_file", lambda *place: asked.append(place) or tmp_path / "hub.pt")
    one = build_backbone(f"timm:{name}", tag, (96, 64))
    assert asked == [(f"timm/{name}.{tag}", "model.safetensors")]
    assert (one.stride, one.channels) == (stride, 24)
    assert shape(one) == (1, 24, 64 // stride, 96 // stride)
    loaded = {plain_key(key): value for key, value in one.state_dict().items()}
    same = [key for key, value in state.items() if torch.equal(value, loaded.get(plain_key(key), value + 1))]
    assert len(same) > 0.8 * len(state)


def test_weights_of_another_normalisation_are_told(monkeypatch, tmp_path):
    timm = pytest.importorskip("timm")
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, **VIT))
    torch.save(timm.create_model("vit_small_patch16_224").state_dict(), tmp_path / "hub.pt")
    monkeypatch.setattr(hub, "hub_file", lambda *_: tmp_path / "hub.pt")
    with pytest.warns(UserWarning, match=r"augreg_in1k of vit_small_patch16_224 learned .* mean \(0\.5, 0\.5, 0\.5\)"):
        build_backbone("timm:vit_small_patch16_224", "augreg_in1k", (32, 32))


@torch.no_grad()
def test_patches_of_14_stand_on_a_grid_of_16(monkeypatch, tmp_path):
    """DINOv2's: what changes one cell of 16 pixels changes that cell of the grid most."""
    timm = pytest.importorskip("timm")
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, **VIT))
    torch.manual_seed(0)
    one = build_backbone("timm:vit_small_patch14_dinov2", size=(96, 64)).eval()
    image = torch.rand(1, 3, 64, 96)
    smaller = F.interpolate(image, (56, 84), mode="bilinear", align_corners=False)
    torch.testing.assert_close(one(image), one.network(smaller)[0])
    for row, column in ((0, 0), (2, 3), (3, 5)):
        changed = image.clone()
        changed[..., 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 3
        change = (one(changed) - one(image)).norm(dim=1).flatten()
        assert int(change.argmax()) == 6 * row + column
        assert change.topk(2).values[1] < 0.5 * change.max()


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"pip install 'keyshift\[backbones\]'"):
        build_backbone("timm:test_vit")


@pytest.mark.parametrize("backbone", ["shufflenet_v2_x0_5", "hrnet_w18_small", "timm:test_vit", "timm:test_convnext@8"])
def test_every_system_takes_them_and_loads_without_a_download(tmp_path, balls, dots, labeled, backbone):
    if backbone.startswith("timm"):
        pytest.importorskip("timm")
    sizes = {"backbone": backbone, "input_size": [64, 64], "channels": 8}
    picture = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    depth = {"image": torch.rand(2, 1, 64, 64), "reach": torch.full((2,), 100.0)}
    nothing = torch.zeros(0)
    for model, inputs in (
        (PoseResNet(21, PoseResNet.Options(heatmap_size=[16, 16], **sizes)), {"image": picture}),
        (A2J(21, A2J.Options(**sizes | {"backbone": backbone.partition("@")[0]})), depth),
        (AWR(21, AWR.Options(downsample=4, **sizes)), depth),
    ):
        save_model(tmp_path / "weights.pt", model.eval(), HAND, 0)
        again = load_model(tmp_path / "weights.pt")[0].eval()
        sample = Unlabeled(inputs, (), (), nothing, nothing, nothing, nothing)
        with torch.no_grad():
            assert torch.equal(model.decode(model(sample), sample).points, again.decode(again(sample), sample).points)
