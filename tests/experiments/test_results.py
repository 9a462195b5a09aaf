import numpy as np
import pytest

from keyshift.experiments.results import summarize


def test_gain_and_gap_by_hand():
    counts = np.array([100.0, 300.0])
    found = summarize(
        {
            name: np.stack([counts * rate] * 3)
            for name, rate in [("source_only", 0.4), ("bn_control", 0.45), ("regda", 0.5), ("oracle", 0.8)]
        },
        counts,
    )
    assert found["regda"]["target"] == {"mean": pytest.approx(0.5), "std": pytest.approx(0)}
    assert found["regda"]["gain"]["mean"] == pytest.approx(0.1)
    assert found["regda"]["gain_over_bn_control"]["mean"] == pytest.approx(0.05)
    assert found["regda"]["gap_closed"]["mean"] == pytest.approx(0.25)
    assert found["regda"]["gap_closed"]["interval"] == [pytest.approx(0.25)] * 2
    nothing = {"mean": None, "interval": [None, None]}
    assert found["source_only"]["gain"] == nothing
    assert found["oracle"]["gap_closed"] == nothing


def test_no_share_of_a_gap_that_may_not_exist():
    counts = np.full(6, 50.0)
    mixed = counts * (0.5 + 0.2 * np.array([1, -1, 1, -1, 1, -1]))
    found = summarize({"source_only": counts[None] * 0.5, "regda": counts[None] * 0.55, "oracle": mixed[None]}, counts)
    assert found["regda"]["gap_closed"] == {"mean": None, "interval": [None, None]}
    assert found["regda"]["gain"]["mean"] == pytest.approx(0.05)


def test_one_seed_has_no_spread():
    counts = np.full(4, 10.0)
    found = summarize({"source_only": counts[None] * 0.4, "regda": counts[None] * 0.6}, counts)
    assert found["regda"]["target"]["std"] is None
    assert found["regda"]["gap_closed"]["mean"] is None


def test_the_interval_covers_the_true_gain():
    """Of 60 experiments drawn with a true gain of 0.05, about 95 % of the intervals hold it."""
    rng = np.random.default_rng(1)
    counts = np.full(30, 200.0)
    held = 0
    for _ in range(60):
        ease = 0.1 * rng.standard_normal(30)  # blocks are easy or hard for both
        base = np.stack([counts * (0.5 + ease + 0.03 * rng.standard_normal(30)) for _ in range(3)])
        better = np.stack([counts * (0.55 + ease + 0.03 * rng.standard_normal(30)) for _ in range(3)])
        low, high = summarize({"source_only": base, "regda": better}, counts, 400)["regda"]["gain"]["interval"]
        held += low <= 0.05 <= high
    assert held >= 50
