"""HigherHRNet against the reference implementation's numbers."""

import numpy as np
import pytest
import torch

from keyshift.models.parts.tag_losses import cells_of, drawn_maps, masked_error, tag_losses
from keyshift.models.systems.higher_hrnet import load_reference

FACTORS = [("*fuse_layers.*.1.weight", 0.25), ("*bn2.weight", 0.25), ("*bn3.weight", 0.4)]
SIZE = 64


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.load("higherhrnet")


@pytest.fixture(scope="module")
def model(golden):
    state = {f"module.{key}": value for key, value in golden.weights("higherhrnet_w32", FACTORS).items()}
    return load_reference({"state_dict": state})


def labels(golden):
    """Cells (P, K, 2), which count (P, K) and the image of the people of three images with 3, 1 and 0."""
    people = [golden.uniform(f"people{i}.xy", (count, 17, 2)) for i, count in enumerate((3, 1))]
    points = np.concatenate([-3 + (SIZE + 6) * one for one in people])
    seen = np.concatenate([golden.uniform(f"people{i}.v", (count, 17)) > 0.2 for i, count in enumerate((3, 1))])
    points = torch.from_numpy(points * seen[..., None])
    cells, inside = cells_of(points, (SIZE, SIZE), 1)
    return cells, inside & torch.from_numpy(seen), torch.tensor([0, 0, 0, 1])


def drawn(golden):
    cells, counted, image_index = labels(golden)
    return drawn_maps(cells, counted, image_index, 3, (SIZE, SIZE), 2.0)


def test_the_released_checkpoint_loads_fully(golden, model):
    state = model.state_dict()
    ours = {key.removeprefix("backbone.").removeprefix("head."): tuple(value.shape) for key, value in state.items()}
    assert ours == dict(golden.keys("higherhrnet_w32"))
    assert len(ours) == 1810
    assert sum(p.numel() for p in model.parameters()) == 28_645_331
    wanted = golden.weights("higherhrnet_w32", FACTORS)
    assert all(torch.equal(state[f"head.{k}"], v) for k, v in wanted.items() if k.startswith(("final", "deconv")))
    assert not model.training


@torch.no_grad()
def test_raw_outputs(golden, arrays, model):
    coarse, fine = model.head(model.pictured(golden.texture("image", (1, 3, 512, 512))))
    golden.compare(arrays, "stage0.heatmaps", coarse[:, :17])
    golden.compare(arrays, "stage0.tags", coarse[:, 17:])
    golden.compare(arrays, "stage1.heatmaps", fine)


def test_targets(golden, arrays):
    maps = drawn(golden)
    np.testing.assert_array_equal(maps[:2].numpy(), arrays["target.heatmaps"])
    assert not maps[2].any()


def test_joint_lists(golden, arrays):
    cells, counted, _ = labels(golden)
    flat = torch.arange(17) * SIZE**2 + cells[..., 1] * SIZE + cells[..., 0]
    nodes = arrays["target.nodes"].reshape(6, 17, 2)
    assert not nodes[4:].any()
    for person, mine, ours in zip(nodes[:4], counted, flat, strict=True):
        assert ours[mine].tolist() == person[person[:, 1] > 0, 0].tolist()


def test_heatmap_loss(golden, arrays):
    maps = golden.normal("pred", (3, 17, SIZE, SIZE), 0.3)
    mask = torch.from_numpy((golden.uniform("mask", (3, SIZE, SIZE)) > 0.3).astype(np.float32))
    golden.compare(arrays, "loss.heatmap", masked_error(maps, drawn(golden), mask))


@pytest.mark.parametrize("kind", ["exp", "max"])
def test_tag_loss(golden, arrays, kind):
    push, pull = tag_losses(golden.normal("tags", (3, 17, SIZE, SIZE)), *labels(golden), kind)
    golden.compare(arrays, f"loss.push.{kind}", push)
    golden.compare(arrays, f"loss.pull.{kind}", pull)
