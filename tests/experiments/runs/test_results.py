import json
import math

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring.evaluation import Predictions
from keyshift.adapt.scoring.selection import MM, PCK, RULES, Headline, Selection
from keyshift.datasets.sample import PIXELS_AND_MM
from keyshift.experiments.runs.results import collect, summarize


def test_gain_and_gap_by_hand():
    counts = np.array([100.0, 300.0])
    summary = summarize(
        {
            name: np.stack([counts * rate] * 3)
            for name, rate in [("source_only", 0.4), ("bn_control", 0.45), ("regda", 0.5), ("oracle", 0.8)]
        },
        counts,
    )
    assert summary["regda"]["target"] == {"mean": pytest.approx(0.5), "std": pytest.approx(0)}
    assert summary["regda"]["gain"]["mean"] == pytest.approx(0.1)
    assert summary["regda"]["gain_over_bn_control"]["mean"] == pytest.approx(0.05)
    assert summary["regda"]["gap_closed"]["mean"] == pytest.approx(0.25)
    assert summary["regda"]["gap_closed"]["interval"] == [pytest.approx(0.25)] * 2
    nothing = {"mean": None, "interval": [None, None]}
    assert summary["source_only"]["gain"] == nothing
    assert summary["oracle"]["gap_closed"] == nothing


def test_no_share_of_a_gap_that_may_not_exist():
    counts = np.full(6, 50.0)
    mixed = counts * (0.5 + 0.2 * np.array([1, -1, 1, -1, 1, -1]))
    summary = summarize(
        {"source_only": counts[None] * 0.5, "regda": counts[None] * 0.55, "oracle": mixed[None]}, counts
    )
    assert summary["regda"]["gap_closed"] == {"mean": None, "interval": [None, None]}
    assert summary["regda"]["gain"]["mean"] == pytest.approx(0.05)


def test_one_seed_has_no_spread():
    counts = np.full(4, 10.0)
    summary = summarize({"source_only": counts[None] * 0.4, "regda": counts[None] * 0.6}, counts)
    assert summary["regda"]["target"]["std"] is None
    assert summary["regda"]["gap_closed"]["mean"] is None


def test_the_interval_covers_the_true_gain():
    """Of 60 experiments drawn with a true gain of 0.05, about 95 % of the intervals hold it."""
    rng = np.random.default_rng(1)
    counts = np.full(30, 200.0)
    held = 0
    for _ in range(60):
        ease = 0.1 * rng.standard_normal(30)  # blocks are easy or hard for both
        base = np.stack([counts * (0.5 + ease + 0.03 * rng.standard_normal(30)) for _ in range(3)])
        better = np.stack([counts * (0.55 + ease + 0.03 * rng.standard_normal(30)) for _ in range(3)])
        low, high = summarize({"source_only": base, "regda": better}, counts, resamples=400)["regda"]["gain"][
            "interval"
        ]
        held += low <= 0.05 <= high
    assert held >= 50


LEVELS = {"source_only": 30.0, "bn_control": 26.0, "regda": 20.0, "oracle": 12.0}
"""mm of the noise in the fake runs, in each of x, y and z."""


def write_run(folder, level, seed):
    """A finished run over depth: 60 frames in 6 sequences. Gives its naive mean error."""
    folder.mkdir()
    rng = np.random.default_rng([seed, int(level)])
    camera = np.array([500.0, 480.0, 160.5, 120.5])
    space = rng.uniform([-80, -80, 500], [80, 80, 700], (60, 4, 3))
    moved = space + rng.normal(0, level / math.sqrt(3), space.shape)
    annotated = np.random.default_rng(7).random((60, 4)) > 0.2
    points, truth = (np.dstack([p[..., :2] / p[..., 2:] * camera[:2] + camera[2:], p[..., 2]]) for p in (moved, space))
    predictions = Predictions(
        points=torch.from_numpy(points),
        confidence=torch.ones(60, 4),
        truth=torch.from_numpy(truth),
        annotated=torch.from_numpy(annotated),
        visible=torch.from_numpy(annotated),
        side=torch.full((60,), 100.0),
        camera=torch.from_numpy(camera).expand(60, 4),
        sequence=tuple(f"clip{i // 10}" for i in range(60)),
        id=tuple(map(str, range(60))),
        row=torch.arange(60),
        matched=torch.ones(60, dtype=torch.bool),
        space=PIXELS_AND_MM,
    )
    predictions.save(folder / "predictions.npz")
    error = float(np.mean([math.dist(moved[i, k], space[i, k]) for i, k in np.argwhere(annotated)]))
    rules = {"last": 0.0, "source": 1.0, "target_score": 2.0, "oracle": -1.0}
    selected = {rule: {"step": 3, "target": {"mm": error + more}} for rule, more in rules.items()}
    (folder / "result.json").write_text(json.dumps({"target": {"mm": error}, "selected": selected}))
    return error


def test_a_comparison_in_mm_against_naive_numbers(tmp_path):
    mean = {name: [write_run(tmp_path / f"{name}-seed{s}", level, s) for s in (0, 1)] for name, level in LEVELS.items()}
    results = collect(tmp_path, list(LEVELS), [0, 1], 0.1)
    assert results["metric"] == "mm"
    mean = {name: sum(values) / 2 for name, values in mean.items()}
    assert mean["source_only"] > mean["regda"] > mean["oracle"]
    summary = results["summary"]
    for name in LEVELS:
        assert summary[name]["target"]["mean"] == pytest.approx(mean[name], rel=1e-5)
    fallen = mean["source_only"] - mean["regda"]
    low, high = summary["regda"]["gain"]["interval"]
    assert summary["regda"]["gain"]["mean"] == pytest.approx(fallen, rel=1e-4)
    assert 0 < low < fallen < high
    over = summary["regda"]["gain_over_bn_control"]["mean"]
    assert over == pytest.approx(mean["bn_control"] - mean["regda"], rel=1e-4)
    share = fallen / (mean["source_only"] - mean["oracle"])
    low, high = summary["regda"]["gap_closed"]["interval"]
    assert summary["regda"]["gap_closed"]["mean"] == pytest.approx(share, rel=1e-4)
    assert 0 < low < share < high < 1
    chosen = summary["regda"]["selected"]["source"]
    assert chosen == {
        k: pytest.approx(v) for k, v in (("target", mean["regda"] + 1), ("gain", fallen), ("gap_closed", share))
    }


def test_a_worse_strategy_loses_under_either_metric():
    counts = np.full(8, 10.0)
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 8))
    totals = {name: counts * (rate + noise) for name, rate in (("source_only", 0.5), ("regda", 0.4), ("oracle", 0.8))}
    assert summarize(totals, counts)["regda"]["gain"]["interval"][1] < 0
    swapped = summarize(totals, counts, MM)
    assert swapped["regda"]["gain"]["interval"][0] > 0
    assert swapped["regda"]["gap_closed"]["mean"] is None  # this oracle is worse than source_only


def test_the_best_step_is_the_lowest_error_and_the_highest_pck():
    lines = [(10, 30.0, 0.5), (20, 22.0, 0.7), (30, 22.0, 0.6), (40, math.nan, 0.65), (50, 25.0, 0.2)]
    by_mm, by_pck = Selection(), Selection()
    for step, value, score in lines:
        by_mm.update(step, {"source/mm": value, "target/mm": 100 - value, "target/score": score})
        by_pck.update(step, {"source/pck": value, "target/pck": 100 - value, "target/score": score})
    assert by_mm.steps == {"last": 50, "source": 20, "target_score": 20, "oracle": 10}
    assert by_pck.steps == {"last": 50, "source": 10, "target_score": 20, "oracle": 20}
    assert by_mm.values["source"] == 22
    resumed = Selection(by_mm.steps, by_mm.values)
    resumed.update(60, {"source/mm": 21.0})
    assert resumed.steps["source"] == 60
    assert list(RULES) == ["last", "source", "target_score", "oracle"]


def test_headlines_are_rebuilt_from_their_names():
    for headline in (Headline.of(2, 0.1), Headline.of(2, 0.05), Headline.of(3, 0.1)):
        assert Headline.named(headline.name) == headline
    assert (Headline.of(2, 0.1).name, Headline.of(3, 0.1).name) == ("pck@0.1", "mm")
    assert Headline.among({"target/mm": 1.0}, "target/") is MM
    assert Headline.among({"pck": 1.0}) == PCK
    assert Headline.among({"loss": 1.0}) is None
    assert (MM.show(23.44), MM.bare(23.444), MM.heading) == ("23.4 mm", "23.44", "mean error in mm")
    assert (PCK.show(0.4781), PCK.bare(0.4781), Headline.of(2, 0.1).heading) == ("47.8 %", "0.478", "PCK@0.1")
