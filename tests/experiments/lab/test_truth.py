"""Hits of points in a depth camera's cube against a naive loop."""

import numpy as np
import torch

from keyshift.adapt.scoring.evaluation import hits, predict
from keyshift.datasets.loading import EvaluationBatches
from keyshift.experiments.lab.truth import gain
from keyshift.models.systems.a2j import A2J


def test_a_joint_is_hit_within_a_share_of_the_cubes_edge(balls):
    torch.manual_seed(0)
    model = A2J(3, A2J.Options(backbone="small", input_size=[32, 32], channels=8, head_layers=1))
    data = balls(10)
    batches = EvaluationBatches(data, 4, (32, 32))
    batches = [batches[i] for i in range(len(batches))]
    predictions = predict(model, batches, torch.device("cpu"))
    expected = np.zeros((10, 3))
    for i in range(10):
        fx, fy, cx, cy = data[i].camera
        for k in range(3):
            u, v, z = predictions.points[i, k].tolist()
            point = np.array([(u - cx) * z / fx, (v - cy) * z / fy, z])
            expected[i, k] = np.linalg.norm(point - data[i].points[k]) <= 0.25 * data[i].cube[0]
    assert 0 < expected.mean() < 1
    assert (hits(predictions, batches, 0.25) == expected).all()


def test_the_error_of_a_gain_over_blocks_of_unequal_size():
    """Against a bootstrap over blocks; a gain that is the same in all blocks has none."""
    rng = np.random.default_rng(0)
    counts = rng.integers(20, 60, 40)
    before, after = (
        {"hits": list(rng.binomial(counts, share)), "counts": list(counts)} for share in (0.5, 0.6)
    )  # fmt: skip
    difference, error = gain(before, after)
    drawn = rng.multinomial(40, np.full(40, 1 / 40), 4000)
    resampled = 100 * (drawn @ (np.array(after["hits"]) - before["hits"])) / (drawn @ counts)
    assert abs(difference - 100 * (sum(after["hits"]) - sum(before["hits"])) / counts.sum()) < 1e-9
    assert abs(error / resampled.std() - 1) < 0.08
    assert gain({"hits": [4, 8], "counts": [8, 16]}, {"hits": [6, 12], "counts": [8, 16]}) == (25.0, 0.0)
