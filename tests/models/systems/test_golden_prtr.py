"""PRTR against the reference implementation's numbers."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from keyshift.datasets.sample import Labeled
from keyshift.models.systems.prtr import class_losses, load_reference, matched, place_losses

FACTORS = [
    ("query_embed.weight", 30),
    ("input_proj.weight", 0.1),
    ("transformer.encoder.*out_proj.weight", 0.15),
    ("transformer.encoder.*linear2.weight", 0.15),
    ("transformer.decoder.*self_attn.out_proj.weight", 0.3),
    ("transformer.decoder.*linear2.weight", 0.3),
    ("*multihead_attn.in_proj_weight", 2),
    ("kpt_embed.layers.2.weight", 2),
    ("class_embed.weight", 2),
    ("*bn3.weight", 0.5),
]
SIDES = torch.tensor([288.0, 384.0])


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.load("prtr")


@pytest.fixture(scope="module")
def model(golden):
    state = {f"module.{key}": value for key, value in golden.weights("prtr", FACTORS).items()}
    return load_reference({"epoch": 200, "state_dict": state})


@pytest.fixture(scope="module")
def answers(golden, model):
    """Raw logits (B, L, Q, K + 1) and places before their sigmoid, of the golden image, and the votes of both."""
    with torch.no_grad():
        features = model.encode(golden.texture("image", (2, 3, 384, 288)))
        return *model.head(features), model.votes(features, None)


def labels(golden, model):
    """In our pixels: a place of the reference is counted from the middle of the first one."""
    uniform = golden.uniform("target", (2, 17, 2))
    target = torch.from_numpy((0.05 + 0.9 * uniform).astype(np.float32))
    visible = torch.from_numpy(golden.load("prtr")["visible"])[..., 0] > 0
    return Labeled(
        inputs={"image": torch.zeros(2, 3, 384, 288)},
        id=("", ""),
        sequence=("", ""),
        frame=torch.arange(2),
        camera=torch.ones(2, 4),
        to_file=torch.eye(3)[:2].repeat(2, 1, 1),
        side=torch.full((2,), 384.0),
        keypoints=target * SIDES + 0.5,
        visible=visible,
        annotated=visible,
        image_index=torch.arange(2),
    )


def test_the_networks_answers(golden, arrays, answers):
    classes, places, _ = answers
    for layer in range(6):
        prefix = "" if layer == 5 else f"aux{layer}."
        golden.compare(arrays, f"{prefix}logits", classes[:, layer])
        golden.compare(arrays, f"{prefix}coords", places[:, layer].sigmoid())


def test_matching(golden, arrays, model, answers):
    votes, sample = answers[2], labels(golden, model)
    truth, everyone = torch.from_numpy(arrays["target"]), torch.ones(2, 17, dtype=torch.bool)
    np.testing.assert_allclose((sample.keypoints - 0.5) / SIDES, truth, atol=1e-6)
    query = matched(votes.extra["logs"], votes.extra["places"], truth, everyone, 5.0)
    for image in range(2):
        joints, queries = arrays["match"][image]
        np.testing.assert_array_equal(joints, np.arange(17))
        np.testing.assert_array_equal(query[image, -1], queries)


def test_losses_of_every_decoder_layer(golden, arrays, model, answers):
    votes, sample = answers[2], labels(golden, model)
    logs, places, truth = votes.extra["logs"], votes.extra["places"], torch.from_numpy(arrays["target"])
    everyone = torch.ones(2, 17, dtype=torch.bool)
    query = matched(logs, places, truth, everyone, 5.0)
    classes, away = class_losses(logs, query, everyone), place_losses(places, query, truth, sample.annotated)
    wanted = [
        [float(arrays[f"loss.{n}{'' if i == 5 else f'_{i}'}"]) for i in range(6)] for n in ("loss_ce", "loss_kpts")
    ]
    np.testing.assert_allclose(classes, wanted[0], rtol=2e-5)
    np.testing.assert_allclose(away, wanted[1], rtol=2e-5)
    losses = model.loss(votes, sample)
    assert float(losses["classes"]) == pytest.approx(sum(wanted[0]), rel=2e-5)
    assert float(losses["places"]) == pytest.approx(5 * sum(wanted[1]), rel=2e-5)


def test_decoding(arrays, model, answers):
    """Against the reference's recipe on the reference's numbers: the probability among keypoints alone, one query
    each, the place times the picture's sides."""
    logits, coords = torch.from_numpy(arrays["logits"]), torch.from_numpy(arrays["coords"])
    poses = model.decode(answers[2], None)
    for image in range(2):
        probability = logits[image, :, :-1].softmax(-1).numpy()
        joints, queries = linear_sum_assignment(-probability.T)
        wanted = coords[image, queries].numpy() * SIDES.numpy() + 0.5
        np.testing.assert_allclose(poses.points[image], wanted, atol=0.02)
        np.testing.assert_allclose(poses.confidence[image], probability[queries, joints], atol=2e-4)
