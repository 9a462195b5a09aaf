"""DEKR against the published code: its checkpoint's keys, raw maps, labels, losses."""

import pytest
import torch
from torch.nn import functional as F

from keyshift.datasets.sample import Unlabeled
from keyshift.models.systems import dekr_labels
from keyshift.models.systems.dekr import BETA, load_reference

FACTORS = [
    ("transition_offset.0.weight", 0.2),
    ("*.transform_matrix_conv.weight", 0.6),
    ("*.translation_conv.weight", 1.5),
    ("*fuse_layers.*.1.weight", 0.25),
    ("*bn2.weight", 0.25),
    ("*bn3.weight", 0.4),
]
TAPS = torch.tensor([[-1.0, -1, -1, 0, 0, 0, 1, 1, 1], [-1.0, 0, 1, -1, 0, 1, -1, 0, 1]])


def released(golden):
    state = golden.weights("dekr_w32", FACTORS)
    return {key: TAPS if key.endswith("regular_matrix") else value for key, value in state.items()}


def sample(image):
    count, one = len(image), torch.ones(len(image))
    return Unlabeled({"image": image}, ("",) * count, ("",) * count, one, one, torch.eye(2, 3).repeat(count, 1, 1), one)


@torch.no_grad()
def test_maps(golden):
    """All keys of the checkpoint are taken, whichever wrapper they come in."""
    arrays, state = golden.load("dekr"), released(golden)
    numbers = torch.cat([v.double().flatten() for v in state.values() if v.is_floating_point()])
    wanted = arrays["weights.dekr_w32"]
    assert [len(numbers), float(numbers.sum()), float(numbers.abs().sum())] == pytest.approx(wanted.tolist(), rel=1e-9)
    model = load_reference({"state_dict": {f"module.{k}": v for k, v in state.items()}}, (256, 256))
    assert model.keypoints == 17
    assert sum(p.numel() for p in model.parameters()) == 29_561_182
    picture = sample(golden.texture("image", (1, 3, 256, 256)))
    features = model.features(picture)
    votes = model.votes(features, picture)
    golden.compare(arrays, "heatmap", torch.cat([votes.maps / 20, votes.extra["center"][:, None]], 1))
    golden.compare(arrays, "offset", votes.extra["offsets"].flatten(1, 2))
    own = model.head.transition_offset(features)
    golden.compare(arrays, "features", own)
    block = model.head.offset_feature_layers[0]
    golden.compare(arrays, "matrix3", block.transform_matrix_conv(own)[:, 12:16])
    golden.compare(arrays, "translation3", block.translation_conv(own)[:, 6:8])
    golden.compare(arrays, "adapt3", block.adapt_conv(own, block.steps(own))[:, 45:60])


def test_what_is_no_checkpoint(golden):
    state = released(golden)
    with pytest.raises(ValueError, match=r"not a DEKR checkpoint: found 1 entries.*transition_heatmap\.0\.weight"):
        load_reference({"foreign": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"head\.offset_final_layer\.bias is there for 16 of 17 keypoints"):
        load_reference({key: value for key, value in state.items() if key != "offset_final_layer.3.bias"})
    with pytest.raises(ValueError, match=r"not a DEKR checkpoint of hrnet_w32: .*backbone\.conv1\.weight"):
        load_reference({key: value for key, value in state.items() if key != "conv1.weight"})


def people(arrays):
    """Points (3, 18, 2) in cells, the centre last, and which are known."""
    rows = torch.from_numpy(arrays["target.people"])
    return rows[..., :2], rows[..., 2] > 0


def test_heatmaps_and_their_mask(golden):
    arrays = golden.load("dekr")
    points, known = people(arrays)
    drawn = known & ((points >= 0) & (points < 64)).all(-1)
    place = torch.zeros(3, dtype=torch.int64), 1, (64, 64)
    heat, covered = dekr_labels.heatmaps(points, drawn, [2.0] * 17 + [4.0], *place)
    golden.compare(arrays, "target.heatmaps", heat[0])
    golden.compare(arrays, "target.mask", torch.where(covered[0], 1.0, 0.1))
    pred = golden.normal("pred", (1, 18, 64, 64), 0.3)
    loss = (torch.where(covered, 1.0, 0.1) * (pred - heat).square()).mean()
    golden.compare(arrays, "loss.heatmap", loss)


def test_offsets_and_their_weights(golden):
    arrays = golden.load("dekr")
    points, known = people(arrays)
    area = torch.from_numpy(arrays["target.area"])
    known = known & ((points >= 0) & (points < 64)).all(-1)
    place = torch.zeros(3, dtype=torch.int64), 1, 4, (64, 64)
    owner = dekr_labels.owners_by_turns(points[:, :17], points[:, 17], known[:, :17] & known[:, 17:], area, *place)
    offsets, weight = dekr_labels.offsets(owner, points[:, :17], area)
    golden.compare(arrays, "target.offset", offsets[0].flatten(0, 1))
    golden.compare(arrays, "target.offset_weight", weight[0].repeat_interleave(2, 0))
    assert (weight > 0).sum() > 1000
    pred = (offsets + 0.05).flatten(1, 2)
    pred[:, 1::2] = offsets[:, :, 1] + 2 * golden.normal("pred.offset", (34, 64, 64))[1::2]
    away = F.smooth_l1_loss(pred.unflatten(1, (17, 2)), offsets, reduction="none", beta=BETA)
    golden.compare(arrays, "loss.offset", (away * weight[:, :, None]).sum() / (2 * (weight > 0).sum()))
