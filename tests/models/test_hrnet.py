"""HRNet: the references' keys and numbers, its branches, its weights, and the systems that stand on it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from keyshift.datasets.sample import Unlabeled
from keyshift.models.export import to_onnx
from keyshift.models.parts import hub
from keyshift.models.parts.backbones import build_backbone, build_levels
from keyshift.models.parts.hrnet import HEADS, HRNETS, HRNet
from keyshift.models.systems.pose_net import PoseNet
from keyshift.models.systems.pose_resnet import PoseResNet
from keyshift.models.systems.root_net import RootNet

BODY = [("*fuse_layers.*.1.weight", 0.25), ("*bn2.weight", 0.25), ("*bn3.weight", 0.4)]
DEKR = [
    ("transition_offset.0.weight", 0.2),
    ("*.transform_matrix_conv.weight", 0.6),
    ("*.translation_conv.weight", 1.5),
]
SMALL = "hrnet_w18_small"


def body(keys, prefix=""):
    """Of (key, ...) rows those of the body, without the prefix."""
    rows = [(key.removeprefix(prefix), rest) for key, rest in keys if key.startswith(prefix)]
    return {key: rest for key, rest in rows if not key.startswith(HEADS)}


def filled(layers, state, key):
    layers.load_state_dict({k.removeprefix(f"{key}."): v for k, v in state.items() if k.startswith(f"{key}.")})
    return layers.eval()


def pictures(count, height, width):
    return Unlabeled(
        {"image": torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)},
        ("",) * count,
        ("",) * count,
        torch.arange(count),
        torch.ones(count, 4),
        torch.eye(3)[:2].repeat(count, 1, 1),
        torch.ones(count),
    )


@pytest.mark.parametrize(
    ("listing", "prefix", "name", "levels"),
    [
        ("higherhrnet_w32", "", "hrnet_w32", 1),
        ("dekr_w32", "", "hrnet_w32", 4),
        ("dcpose", "rough_pose_estimation_net.", "hrnet_w48", 1),
    ],
)
def test_keys_are_the_references(golden, listing, prefix, name, levels):
    ours = {key: tuple(value.shape) for key, value in HRNet(name, levels=levels).state_dict().items()}
    assert ours == body(golden.keys(listing), prefix)


@torch.no_grad()
def test_higherhrnet(golden):
    arrays, state = golden.load("higherhrnet"), golden.weights("higherhrnet_w32", BODY)
    network = HRNet("hrnet_w32")
    network.load_state_dict(body(state.items()))
    final = filled(nn.Conv2d(32, 34, 1), state, "final_layers.0")
    maps = final(network.eval()(golden.texture("image", (1, 3, 512, 512))))
    golden.compare(arrays, "stage0.heatmaps", maps[:, :17])
    golden.compare(arrays, "stage0.tags", maps[:, 17:])


@torch.no_grad()
def test_dekr(golden):
    arrays, state = golden.load("dekr"), golden.weights("dekr_w32", DEKR + BODY)
    network = HRNet("hrnet_w32", levels=4)
    network.load_state_dict(body(state.items()))
    levels = network.eval()(golden.texture("image", (1, 3, 256, 256)))
    assert network.channels == (32, 64, 128, 256)
    offset = nn.Sequential(nn.Conv2d(480, 255, 1, bias=False), nn.BatchNorm2d(255), nn.ReLU())
    golden.compare(arrays, "features", filled(offset, state, "transition_offset")(levels))
    heat = nn.Sequential(nn.Conv2d(480, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
    last = nn.Sequential(nn.Sequential(BasicBlock(32, 32)), nn.Conv2d(32, 18, 1))
    features = filled(heat, state, "transition_heatmap")(levels)
    golden.compare(arrays, "heatmap", filled(last, state, "head_heatmap")(features))


@torch.no_grad()
def test_weights_of_imagenet(tmp_path, monkeypatch):
    """timm's networks have the published keys; its forward is a second implementation."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("hrnet_w18_small_v2").eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "imagenet.pt")
    image = torch.rand(2, 3, 64, 96)
    stem = network.act2(network.bn2(network.conv2(network.act1(network.bn1(network.conv1(image))))))
    wanted = network.stages(stem)
    ours = HRNet(SMALL, str(tmp_path / "imagenet.pt"), levels=4).eval()
    for branch, one in zip(ours.branches(image), wanted, strict=True):
        torch.testing.assert_close(branch, one, atol=1e-5, rtol=1e-5)
    asked = []
    monkeypatch.setattr(hub, "hub_file", lambda *place: asked.append(place) or tmp_path / "imagenet.pt")
    finest = build_backbone(SMALL, "ms_in1k").eval()(image)
    torch.testing.assert_close(finest, wanted[0], atol=1e-5, rtol=1e-5)
    assert asked == [("timm/hrnet_w18_small_v2.ms_in1k", "model.safetensors")]
    assert timm.get_pretrained_cfg("hrnet_w18_small_v2.ms_in1k").hf_hub_id == asked[0][0]


def test_the_body_of_a_pose_checkpoint(golden, tmp_path):
    state = golden.weights("higherhrnet_w32", BODY)
    torch.save({"state_dict": state}, tmp_path / "pose.pt")
    network = HRNet("hrnet_w32", str(tmp_path / "pose.pt"))
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    with pytest.raises(ValueError, match=r"not weights of hrnet_w32: .* missing: stage4\.2\.fuse_layers\.1"):
        HRNet("hrnet_w32", str(tmp_path / "pose.pt"), levels=2)  # which it does not have
    with pytest.raises(ValueError, match=f"not weights of {SMALL}"):
        HRNet(SMALL, str(tmp_path / "pose.pt"))


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("hrnet_32", None, "Did you mean hrnet_w32"),
        (SMALL, "none.pt", "no such file"),
        (SMALL, "IMAGENET1K_V1", "choose one of ms_in1k"),
    ],
)
def test_what_cannot_be_had(name, weights, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(name, weights)


@pytest.mark.parametrize(("height", "width"), [(32, 64), (36, 20)])
def test_branches_halve(height, width):
    """Multiples of 32, and sizes that are none."""
    torch.manual_seed(0)
    network, image = HRNet(SMALL, levels=4).eval(), torch.rand(1, 3, height, width)
    with torch.no_grad():
        maps = network.branches(image)
        levels = network(image)
    sizes = [(-(-height // step), -(-width // step)) for step in (4, 8, 16, 32)]
    assert [tuple(one.shape) for one in maps] == [(1, 18 * 2**i, *size) for i, size in enumerate(sizes)]
    wanted = [F.interpolate(one, sizes[0], mode="bilinear", align_corners=False) for one in maps]
    torch.testing.assert_close(levels, torch.cat(wanted, 1))
    assert build_levels(SMALL).channels == (18, 36)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_all_parameters_learn(levels):
    torch.manual_seed(0)
    network = HRNet(SMALL, levels=levels)
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    idle = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert not idle


def test_systems_of_people_stand_on_it():
    sizes = {"backbone": SMALL, "input_size": [64, 64]}
    for model in (RootNet(3, RootNet.Options(**sizes)), PoseNet(3, PoseNet.Options(**sizes))):
        assert model.feature_shape() == (18, 16, 16)
        with torch.no_grad():
            assert model.eval()(model.empty()).logits.isfinite().all()
    with pytest.raises(ValueError, match="at most 4"):
        PoseResNet(3, PoseResNet.Options(heatmap_size=[8, 8], **sizes))


def test_onnx_answers_as_pytorch(tmp_path, monkeypatch):
    """Of as few blocks and modules as have each kind of layer: exporters take as long as there are layers."""
    import onnxruntime

    monkeypatch.setitem(HRNETS, SMALL, HRNETS[SMALL]._replace(width=6, blocks=1, modules=(1, 1, 2)))

    torch.manual_seed(0)
    options = PoseResNet.Options(backbone=SMALL, input_size=[64, 32], heatmap_size=[16, 8])
    model, sample = PoseResNet(4, options).eval(), pictures(3, 32, 64)
    to_onnx(model, (64, 32), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    keypoints, confidence = session.run(None, {"image": sample.image.numpy()})
    with torch.no_grad():
        poses = model.decode(model(sample), sample)
    np.testing.assert_allclose(keypoints, poses.points.numpy(), atol=1e-3)
    np.testing.assert_allclose(confidence, poses.confidence.numpy(), atol=1e-5)
