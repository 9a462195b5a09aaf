"""PoseResNet against the reference implementation's numbers."""

import pytest
import torch

from keyshift.models.systems.pose_resnet import load_reference

FACTORS = [("*bn2.weight", 0.5), ("*bn3.weight", 0.5)]


@pytest.mark.parametrize("size", [64, 256])
def test_pretraining_network(golden, size):
    arrays = golden.load("tllib_pose_resnet")
    model = load_reference(golden.weights("tllib_pose_resnet", FACTORS), (size, size))
    image = golden.texture(f"image{size}", (2 if size == 64 else 1, 3, size, size))
    golden.compare(arrays, f"PoseResNet.{size}.y", model.head(model.upsampling(model.backbone(image))))


@pytest.mark.parametrize("size", [64, 256])
def test_regda_network(golden, size):
    arrays = golden.load("tllib_pose_resnet")
    model, adversary = regda_network(golden, (size, size))
    image = golden.texture(f"image{size}", (2 if size == 64 else 1, 3, size, size))
    with torch.no_grad():
        deep = model.backbone(image)
        features = model.upsampling(deep)
        for name, value in {
            "backbone": deep,
            "f": features,
            "y": model.head(features),
            "y_adv": adversary(features),
        }.items():
            golden.compare(arrays, f"PoseResNet2d.{size}.{name}", value)


def test_regda_network_in_training_mode(golden):
    arrays = golden.load("tllib_pose_resnet")
    model, adversary = regda_network(golden, (64, 64))
    model.train(), adversary.train()
    features = model.upsampling(model.backbone(golden.texture("image.train", (4, 3, 64, 64))))
    golden.compare(arrays, "PoseResNet2d.train.y", model.head(features))
    golden.compare(arrays, "PoseResNet2d.train.y_adv", adversary(features))
    for layer, norm in {
        "backbone.bn1": model.backbone.bn1,
        "upsampling.7": model.upsampling[7],
        "head.1": model.head[1],
        "head_adv.1": adversary[1],
    }.items():
        golden.compare(arrays, f"PoseResNet2d.train.{layer}.running_mean", norm.running_mean)
        golden.compare(arrays, f"PoseResNet2d.train.{layer}.running_var", norm.running_var)


def regda_network(golden, size):
    state = golden.weights("tllib_pose_resnet2d", FACTORS)
    model = load_reference(state, size)
    adversary = model.new_head()
    adversary.load_state_dict({k.removeprefix("head_adv."): v for k, v in state.items() if k.startswith("head_adv.")})
    return model, adversary.eval()


def test_weights_follow_the_recipe(golden):
    state = golden.weights("tllib_pose_resnet", FACTORS)
    values = torch.cat([v.double().flatten() for v in state.values() if v.is_floating_point()])
    wanted = golden.load("tllib_pose_resnet")["weights.PoseResNet"]
    torch.testing.assert_close(
        torch.tensor([len(values), values.sum(), values.abs().sum()], dtype=torch.float64),
        torch.from_numpy(wanted),
        rtol=1e-9,
        atol=1e-6,
    )
