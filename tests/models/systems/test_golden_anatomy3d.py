"""Anatomy3D against the reference implementation's numbers."""

import pytest
import torch

from keyshift.datasets.bodies.skeletons import H36M17
from keyshift.models.parts.bones import PUBLISHED, bones_of, shifts, vectors
from keyshift.models.systems.anatomy3d import load_reference
from keyshift.models.systems.anatomy3d_released import released_names

FACTORS = [
    ("boneatt.weight", 0.3),
    ("shrink.weight", 0.05),
    ("shrink_js_*.weight", 0.05),
    ("layers_convbone.9.weight", 0.05),
]


@pytest.fixture(scope="module")
def model(golden):
    state = {f"module.{key}": value for key, value in golden.weights("anatomy3d", FACTORS).items()}
    return load_reference({"epoch": 60, "model_pos": state})


def frames(golden, name, shape):
    values = golden.normal(name, shape, 0.5)
    values[..., 2] = (0.5 + 0.3 * values[..., 2]).clamp(0, 1)
    return values


class Sample:
    """What the networks read, as it is normalised."""

    def __init__(self, window, others):
        self.inputs = {"keypoints2d": window, "random2d": others}
        self.frame = torch.zeros(len(window), dtype=torch.int64)


def test_keys(golden, model):
    assert (model.options.widths, model.options.channels, model.frames) == ([3] * 5, 1024, 243)
    assert not model.training
    own = model.state_dict()
    names = released_names(own, 4)
    assert set(names.values()) == {key for key, _ in golden.keys("anatomy3d")}
    assert len(set(names.values())) == len(own) == 197
    assert sum(value.numel() for value in model.parameters()) == 59_177_580


@torch.no_grad()
def test_training_form(golden, model, monkeypatch):
    arrays = golden.load("anatomy3d")
    monkeypatch.setattr(model, "normalised", lambda keypoints2d, lens: keypoints2d)
    window = frames(golden, "frames", (2, 243, 17, 3))
    for name, frame, lengths in (
        ("random_frames", "train.x_rand", "train.bonelength"),
        ("random_frames.aug", "train.x_randaug", "train.bonelengthaug"),
    ):
        places = golden.normal(name, (2, 50, 17, 2), 0.5)
        poses = model.length.poses(places)
        golden.compare(arrays, frame, poses)
        golden.compare(arrays, lengths, model.lengths_of(poses))
    others = golden.normal("random_frames", (2, 50, 17, 2), 0.5)
    sample = Sample(window, others)
    votes = model.votes(model.features(sample), sample)
    golden.compare(arrays, "train.x", votes.extra["apart"][:, None])
    golden.compare(arrays, "train.bonelength", votes.extra["lengths"])
    golden.compare(arrays, "train.bonedirect_2", votes.extra["directions"][..., None])
    golden.compare(arrays, "train.bonedirect_1", votes.extra["first_directions"][..., None])
    golden.compare(arrays, "train.js_2", votes.extra["shifts"][:, None])
    golden.compare(arrays, "train.js_1", votes.extra["first_shifts"][:, None])
    where = 1000 * (votes.extra["apart"] - votes.extra["apart"][:, :1])
    torch.testing.assert_close(votes.mean(), where, atol=1e-3, rtol=1e-5)
    rows = model.length.poses(others)[:, 0]
    torch.testing.assert_close(votes.extra["pose"], rows)


@torch.no_grad()
def test_test_form(golden, model):
    """Of five windows, whose lengths the five frames in their middles tell."""
    long = frames(golden, "long", (1, 247, 17, 3))[0]
    lengths = model.lengths_over(long[121:126])
    golden.compare(golden.load("anatomy3d"), "test.positions", model.joints_over(long, lengths)[None])


def test_bones(golden):
    arrays = golden.load("anatomy3d")
    assert bones_of(H36M17) == PUBLISHED
    pose = golden.normal("pose", (2, 5, 17, 3), 300.0)
    bones = vectors(pose, torch.tensor(PUBLISHED))
    golden.compare(arrays, "bone.length", bones.norm(dim=-1))
    golden.compare(arrays, "bone.direct", torch.nn.functional.normalize(bones, dim=-1).flatten(1, 2))
    pairs = torch.tensor(shifts(PUBLISHED, 17))
    assert len(pairs) == 137
    golden.compare(arrays, "bone.joint_shift", vectors(pose, pairs.flip(1)))
