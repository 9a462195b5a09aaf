"""Weights files: what is written is what is read, and files of version 0.1.0 load to the same answers."""

import hashlib
from dataclasses import asdict, fields

import pytest
import torch

from keyshift.datasets.sample import Unlabeled
from keyshift.datasets.skeleton import HAND, Skeleton
from keyshift.models.output import Poses
from keyshift.models.saved import MODELS, known_skeleton, load_model, save_checkpoint, save_model
from keyshift.models.systems.own import OwnModel

RGB = Skeleton("rgb", ("left_dot", "green_dot", "right_dot"), ((0, 1), (1, 2)), ((0, 2),), {"all": (0, 1, 2)})
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.final = nn.Conv2d(8, 3, 1)

    def forward(self, image):
        return self.final(self.body(image))
"""
DEPTH = {"backbone": "small", "input_size": [32, 32], "channels": 8, "depth_reach": 150.0}
ARCHITECTURES = {
    "pose_resnet": ("pose_resnet", {"heatmap_size": [8, 8], "head_layers": 1, "sigma": 2.0, "reference": False}),
    "reference": ("pose_resnet", {"heatmap_size": [8, 8], "head_layers": 2, "sigma": 1.5, "reference": True}),
    "a2j": ("a2j", DEPTH | {"head_layers": 1, "depth": True, "spatial": 1.0, "regression": 3.0, "smooth_depth": False}),
    "awr": ("awr", DEPTH | {"head_layers": 1, "downsample": 4, "form": "offset", "kernel": 0.8, "dense_steps": 0}),
    "hourglass": ("awr", DEPTH | {"backbone": "hourglass_2", "head_layers": 1, "kernel": 0.4, "every_stack": False}),
    "own": ("own", {"head_layers": None, "object": "Net", "arguments": {}, "gives": "heatmaps", "head": "final"}),
    "own, deeper": ("own", {"head_layers": 2, "object": "Net", "arguments": {}, "gives": "heatmaps", "head": "final"}),
}
"""Systems and the architectures that version 0.1.0 wrote beside the number of keypoints."""


@pytest.fixture
def old(tmp_path):
    """old(name, skeleton) -> a network, and what a file of version 0.1.0 holds of it."""

    def make(name, skeleton):
        system, architecture = ARCHITECTURES[name]
        if system == "pose_resnet":
            architecture = {"backbone": "small", "input_size": [32, 32], "channels": 8} | architecture
        if system == "own":
            file = tmp_path / "net.py"
            file.write_text(NET)
            architecture |= {"input_size": [32, 32], "file": str(file), "normalize": "imagenet"}
            architecture |= {"scale": 1.0, "unit": "pixels", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        torch.manual_seed(0)
        options = {key: value for key, value in architecture.items() if (key, value) != ("head_layers", None)}
        model = MODELS[system](len(skeleton), MODELS[system].Options(**options)).eval()
        return model, {
            "format": "keyshift model 1",
            "name": system,
            "architecture": {"keypoints": len(skeleton)} | architecture,
            "step": 7,
            "keypoints": list(skeleton.keypoints),
            "skeleton": asdict(skeleton),
            "model": model.state_dict(),
        }

    return make


def answers(model):
    draw, nothing = torch.Generator().manual_seed(1), torch.zeros(0)
    inputs = {"image": torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=draw)}
    if "reach" in model.reads:
        image = 200 * torch.rand(2, 1, 32, 32, generator=draw) - 100
        inputs = {"image": image, "reach": torch.tensor([100.0, 90.0])}
    sample = Unlabeled(inputs, (), (), nothing, nothing, nothing, nothing)
    with torch.no_grad():
        return model.decode(model(sample), sample)


def same(one, other):
    return all(torch.equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Poses))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_files_of_version_0_1_0_answer_as_they_did(old, tmp_path, name):
    model, state = old(name, RGB)
    save_checkpoint(tmp_path / "old.pt", state)
    again, skeleton = load_model(tmp_path / "old.pt")
    assert type(again) is type(model)
    assert skeleton == RGB
    assert same(answers(again.eval()), answers(model))
    save_model(tmp_path / "new.pt", again, skeleton, 7)
    third, skeleton = load_model(tmp_path / "new.pt")
    assert skeleton == RGB
    assert third.architecture == again.architecture
    assert same(answers(third.eval()), answers(model))


def test_the_first_files_hold_the_names_of_keypoints_alone(old, tmp_path):
    tips = HAND.select(tuple(name for name in HAND.keypoints if name.endswith(("tip", "dip"))))
    model, state = old("pose_resnet", tips)
    del state["skeleton"]
    save_checkpoint(tmp_path / "old.pt", state)
    again, skeleton = load_model(tmp_path / "old.pt")
    assert skeleton == tips
    assert same(answers(again.eval()), answers(model))
    body = known_skeleton(("left_knee", "left_ankle", "tail", "right_knee"))
    assert body.edges == ((1, 0),)
    assert body.flip_pairs == ((0, 3),)


def test_options_that_came_later_have_their_defaults(old, tmp_path):
    model, state = old("a2j", RGB)
    for key in ("depth_reach", "smooth_depth"):
        del state["architecture"][key]
    save_checkpoint(tmp_path / "old.pt", state)
    again, _ = load_model(tmp_path / "old.pt")
    assert (again.options.depth_reach, again.options.smooth_depth) == (150.0, True)
    assert same(answers(again.eval()), answers(model))


def test_what_cannot_be_loaded_says_why(old, tmp_path):
    _, state = old("pose_resnet", RGB)

    def refused(message, **change):
        save_checkpoint(tmp_path / "bad.pt", state | change)
        with pytest.raises(ValueError, match=rf"bad\.pt.*{message}"):
            load_model(tmp_path / "bad.pt")

    refused("does not know: name='a3j' is not known; choose one of .*Did you mean a2j", name="a3j")
    refused("cannot be built: .*unknown key model.sigmoid. Did you mean", architecture={"keypoints": 3, "sigmoid": 1})
    refused("cannot be built: .*model.input_size", architecture={"input_size": [32]})
    refused("cannot be built: .*must be a mapping, found 3", architecture=3)
    refused("does not fit its own architecture", model={})
    refused("broken skeleton", skeleton={"name": "x", "keypoints": ["a"], "edges": [[0, 99]]})
    refused("holds a skeleton of .*, but predicts .*'b'", keypoints=["a", "b", "c"])
    refused("does not fit its own architecture", skeleton=asdict(HAND), keypoints=list(HAND.keypoints))
    save_checkpoint(tmp_path / "few.pt", {"format": "keyshift model 1"})
    with pytest.raises(ValueError, match=r"expected format, name, architecture, model, found \['format'\]"):
        load_model(tmp_path / "few.pt")


def test_an_old_network_of_yours_runs_only_the_file_that_it_was_trained_with(old, tmp_path):
    model, state = old("own", RGB)
    assert isinstance(model, OwnModel)
    (tmp_path / "net.py").write_text(NET + "\n")
    save_checkpoint(tmp_path / "old.pt", state)
    with pytest.raises(ValueError, match=r"old\.pt cannot be built: .*net\.py has changed"):
        load_model(tmp_path / "old.pt")
