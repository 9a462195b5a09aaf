"""DCPose against the reference implementation's numbers."""

import json
from dataclasses import replace

import pytest
import torch

from keyshift.models.systems.dcpose import load_reference

KEYS = {
    "diff_temporal_fuse.": "difference.",
    "support_temporal_fuse.": "support.",
    "offset_mask_combine_conv.": "fusion.",
    "offsets_list.": "head.offsets.",
    "masks_list.": "head.masks.",
    "modulated_deform_conv_list.": "head.warps.",
    "rough_pose_estimation_net.final_layer.": "rough.",
    "rough_pose_estimation_net.": "backbone.",
}


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.load("dcpose")


@pytest.fixture(scope="module")
def weights(golden, arrays):
    return golden.weights("dcpose", [tuple(pair) for pair in json.loads(str(arrays["meta"]))["factors"]])


@pytest.fixture(scope="module")
def model(weights):
    return load_reference({"state_dict": {f"module.{key}": value for key, value in weights.items()}})


@pytest.fixture(scope="module")
def clip(golden):
    """(1, 3, 3, 384, 288): the reference's frames are the current, the previous and the next one."""
    return golden.texture("image", (1, 9, 384, 288)).unflatten(1, (3, 3))[:, [1, 0, 2]]


def test_the_released_checkpoint_loads_fully(golden, weights, model):
    state = model.state_dict()
    assert len(state) == len(weights) == 2215
    assert sum(p.numel() for p in model.parameters()) == 65_198_798
    for key, value in weights.items():
        begin = next(begin for begin in KEYS if key.startswith(begin))
        ours = KEYS[begin] + key.removeprefix(begin)
        if begin.endswith("list."):
            ours = ours.replace(".0.weight", ".weight").replace(".deform_conv.", ".")
        assert torch.equal(state[ours], value), key
    assert not model.training
    assert model.held == ("backbone", "upsampling", "rough")
    assert model.options.reference


@torch.no_grad()
def test_every_branch_and_the_answer(golden, arrays, model, clip):
    maps = model.rough_maps(clip)
    golden.compare(arrays, "rough", maps[0][[1, 0, 2]])
    parts = model.temporal(maps, torch.from_numpy(arrays["margin"]).float())
    golden.compare(arrays, "diff", parts.difference)
    golden.compare(arrays, "support", parts.support)
    golden.compare(arrays, "fused", parts.fused)
    offsets, masks = model.head.offsets[0](parts.fused), model.head.masks[0](parts.fused)
    golden.compare(arrays, "offsets0", offsets)
    golden.compare(arrays, "masks0", masks)
    golden.compare(arrays, "warped0", model.head.warps[0](parts.support, offsets, masks))
    golden.compare(arrays, "output", model.head(torch.cat([parts.rough, parts.support, parts.fused], 1)))


@torch.no_grad()
def test_the_whole_network_in_one_call(golden, arrays, model, clip):
    """Votes are 20 times the maps."""
    sample = replace(model.empty(), inputs={"image": clip, "margins": torch.from_numpy(arrays["margin"]).float()})
    votes = model(sample)
    golden.compare(arrays, "output", votes.maps / 20)
    assert torch.equal(votes.extra["rough"], model.features(sample)[:, :17])
