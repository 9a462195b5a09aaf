import json
import math
import shutil

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring.evaluation import Predictions
from keyshift.adapt.scoring.resampling import block_totals
from keyshift.adapt.scoring.selection import MM, PCK, RULES, Headline, Selection
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Strategy
from keyshift.datasets.sample import CAMERA_MM, PIXELS, PIXELS_AND_MM
from keyshift.experiments.cli import main
from keyshift.experiments.runs.progress import Reporter
from keyshift.experiments.runs.results import against, behind, collect, print_table, summarize


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


def test_gains_without_a_source_are_over_the_given_model(monkeypatch):
    kind = type("Alone", (Strategy,), {"title": "Alone", "about": "no source", "needs": frozenset({"target"})})
    monkeypatch.setitem(STRATEGIES, "alone", kind)
    counts = np.array([100.0, 300.0])
    rates = {"given": 0.3, "source_only": 0.4, "bn_control": 0.45, "regda": 0.5, "alone": 0.6, "oracle": 0.8}
    totals = {name: np.stack([counts * rate] * 3) for name, rate in rates.items()}
    summary = summarize(totals, counts)
    bases = {name: row["base"] for name, row in summary.items()}
    assert bases == dict.fromkeys(rates, "source_only") | {"given": "given", "alone": "given"}
    for name, over in (("regda", 0.4), ("alone", 0.3), ("oracle", 0.4)):
        assert summary[name]["gain"]["mean"] == pytest.approx(rates[name] - over)
    assert {n: row["gain_over_given"]["mean"] for n, row in summary.items()} == {
        n: None if n == "given" else pytest.approx(rate - 0.3) for n, rate in rates.items()
    }
    assert summary["alone"]["gap_closed"]["mean"] == pytest.approx(0.3 / 0.5)
    assert summary["regda"]["gap_closed"]["mean"] == pytest.approx(0.1 / 0.4)
    assert summary["given"]["gain"]["mean"] is summary["given"]["gap_closed"]["mean"] is None
    assert summary["given"]["gain_over_bn_control"]["mean"] is None
    assert summary["source_only"]["gap_closed"]["mean"] is None
    del totals["source_only"]
    without = summarize(totals, counts)
    assert {row["base"] for row in without.values()} == {"given"}
    assert without["regda"]["gain"] == without["regda"]["gain_over_given"] == summary["regda"]["gain_over_given"]
    assert without["regda"]["gap_closed"]["mean"] == pytest.approx(0.2 / 0.5)
    del totals["given"]
    nothing = {"mean": None, "interval": [None, None]}
    assert all(row["gain"] == row["gain_over_given"] == nothing for row in summarize(totals, counts).values())


def test_counts_of_each_run_and_counts_of_all_are_one_thing():
    counts, rng = np.array([10.0, 30.0, 20.0]), np.random.default_rng(0)
    totals = {name: rng.integers(0, 10, (3, 3)).astype(float) for name in ("source_only", "regda", "oracle")}
    each = {name: np.tile(counts, (3, 1)) for name in totals}
    assert summarize(totals, each) == summarize(totals, counts)


def test_a_mean_error_is_of_those_who_were_seen():
    """Of two people of whom a run misses one the other's error is the mean; a block of missed people alone is left out
    of the draws that hold no other."""
    seen = np.array([[4.0, 4.0, 4.0]] * 2)
    totals = {"source_only": seen * 10, "regda": np.array([[12.0, 0.0, 12.0]] * 2)}
    counts = {"source_only": seen, "regda": np.array([[4.0, 0.0, 4.0]] * 2)}
    row = summarize(totals, counts, MM)["regda"]
    assert row["target"]["mean"] == 3
    assert row["gain"] == {"mean": 7, "interval": [7, 7]}
    nobody = summarize(totals, counts | {"regda": np.zeros((2, 3))}, MM)["regda"]
    assert nobody["target"] == {"mean": None, "std": None}
    assert nobody["gain"] == {"mean": None, "interval": [None, None]}


def people(matched, dims):
    """Four people in two pictures, two joints each, of which the second person's last is not annotated."""
    truth = torch.arange(8 * dims, dtype=torch.float32).view(4, 2, dims) + 500
    annotated = torch.ones(4, 2, dtype=torch.bool)
    annotated[1, 1] = False
    return Predictions(
        points=truth + 6.0 / math.sqrt(dims),
        confidence=torch.ones(4, 2),
        truth=truth,
        annotated=annotated,
        visible=annotated,
        side=torch.full((4,), 100.0),
        camera=torch.tensor([[500.0, 500.0, 0.0, 0.0]]).expand(4, 4),
        sequence=("b", "b", "a", "a"),
        id=("x", "x", "y", "y"),
        row=torch.tensor([0, 0, 1, 1]),
        matched=torch.tensor(matched),
        space=CAMERA_MM if dims == 3 else PIXELS,
    )


def test_missed_people_are_misses_and_have_no_distance():
    every = [True] * 4
    total, count = block_totals(people(every, 2), Headline.of(2, 0.1))
    assert (total.tolist(), count.tolist()) == ([4, 3], [4, 3])
    total, count = block_totals(people([True, False, False, True], 2), Headline.of(2, 0.1))
    assert (total.tolist(), count.tolist()) == ([2, 2], [4, 3])
    total, count = block_totals(people([True, False, False, True], 3), MM)
    np.testing.assert_allclose(total, [12, 12], rtol=1e-4)
    assert count.tolist() == [2, 2]
    _, count = block_totals(people([True, True, False, False], 3), MM)
    assert count.tolist() == [0, 3]


def test_a_run_without_a_source(tmp_path):
    for name in ("given", "regda"):
        write_run(tmp_path / f"{name}-seed0", {"given": 30.0, "regda": 20.0}[name], 0)
        file = tmp_path / f"{name}-seed0" / "result.json"
        result = json.loads(file.read_text())
        del result["selected"]["source"]
        file.write_text(json.dumps(result | {"source": None}))
    results = collect(tmp_path, ["given", "regda"], [0], 0.1)
    row = results["summary"]["regda"]
    assert row["base"] == "given"
    assert row["gain"]["mean"] > 0
    assert row["selected"]["last"]["gain"] == pytest.approx(row["gain"]["mean"], rel=1e-4)
    assert row["selected"]["source"] == {"target": None, "gain": None, "gap_closed": None}


def test_a_comparison_of_version_0_1_0_has_the_same_numbers(shared, tmp_path):
    stored = shared / "cases" / "run_0_1_0" / "pictures"
    if not stored.is_dir():
        pytest.skip("no run folder of version 0.1.0 among the shared values")
    folder = shutil.copytree(stored, tmp_path / "pictures")
    before = json.loads((folder / "results.json").read_text())
    again = collect(folder, list(before["strategies"]), [0], 0.1)
    assert {row.pop("base") for row in again["summary"].values()} == {"source_only"}
    assert all(row.pop("gain_over_given")["mean"] is None for row in again["summary"].values())
    assert again == before


# The table


def printed(results, capsys):
    reporter = Reporter()
    reporter.console.width = 220
    print_table(results, reporter)
    return capsys.readouterr().out


def compared(rates, source=0.7, **target):
    counts = np.full(6, 50.0)
    summary = summarize({name: np.stack([counts * rate] * 2) for name, rate in rates.items()}, counts)
    run = {"target": target, "source": None if source is None else {"pck": source}}
    return {"metric": "pck@0.1", "strategies": {name: {"0": run, "1": run} for name in rates}, "summary": summary}


def test_the_table_has_the_columns_that_apply(capsys, monkeypatch):
    kind = type("Alone", (Strategy,), {"title": "Alone", "about": "no source", "needs": frozenset({"target"})})
    monkeypatch.setitem(STRATEGIES, "alone", kind)
    usual = printed(compared({"source_only": 0.4, "bn_control": 0.45, "regda": 0.5, "oracle": 0.8}), capsys)
    head, row = usual.splitlines()[2], next(line for line in usual.splitlines() if "regda" in line)
    assert [cell.strip() for cell in head.strip("┃ ").split("┃")] == [
        *("strategy", "target", "source", "gain [95 %]", "over bn_control", "gap closed")
    ]
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == [
        *("regda", "0.500 ± 0.000", "0.700", "+0.100 [+0.100, +0.100]", "+0.050 [+0.050, +0.050]", "25% [25%, 25%]")
    ]
    alone = printed(compared({"given": 0.4, "alone": 0.5}, source=None), capsys)
    assert "gain over given [95 %]" in alone
    assert not any(word in alone for word in ("source", "bn_control", "gap", "is over", "missed"))
    mixed = printed(compared({"given": 0.3, "source_only": 0.4, "regda": 0.5, "alone": 0.6}), capsys)
    assert "is over" in mixed
    assert "over given" in mixed
    row = next(line for line in mixed.splitlines() if "alone" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")][3:5] == ["+0.300 [+0.300, +0.300]", "given"]


def test_the_table_counts_people_and_reads_older_results(capsys):
    results = compared({"source_only": 0.4, "regda": 0.5}, missed=3)
    for row in results["summary"].values():
        del row["base"], row["gain_over_given"]
    table = printed(results, capsys)
    assert "missed" in table
    assert "3.0" in table
    assert "invented" not in table
    assert "+0.100" in table


def test_people_in_space_have_a_table_of_their_own(capsys):
    rates = {"source_only": 0.4, "regda": 0.5}
    assert "people in space" not in printed(compared(rates), capsys)
    results = compared(rates, pa_mm=60.25, pck_150mm=0.8, mrpe_z=None)
    results["strategies"]["regda"]["1"] = {"target": {"pa_mm": 58.25, "pck_150mm": 0.9}, "source": None}
    del results["strategies"]["source_only"]["0"]["target"]["pck_150mm"]  # which both its seeds share: as of older runs
    results["strategies"]["regda"]["0"] = {"target": {"pa_mm": 60.25, "pck_150mm": 0.8}, "source": None}
    table = printed(results, capsys).partition("people in space, target")[2]
    head, row = (next(line for line in table.splitlines() if word in line) for word in ("strategy", "regda"))
    assert [cell.strip() for cell in head.strip("┃ ").split("┃")] == ["strategy", "PA-MPJPE, mm", "3DPCK, %"]
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == ["regda", "59.2", "85.0"]
    row = next(line for line in table.splitlines() if "source_only" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == ["source_only", "60.2", "–"]


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
    rules = {"last": (3, 0.0), "source": (1, 1.0), "target_score": (2, 2.0), "oracle": (4, -1.0)}
    selected = {rule: {"step": step, "target": {"mm": error + more}} for rule, (step, more) in rules.items()}
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


def test_one_strategy_against_the_others(tmp_path, capsys):
    """As its own gains have it, where they are over the same; its worst last checkpoint is behind its best one."""
    for name, level in LEVELS.items():
        for seed in (0, 1):
            write_run(tmp_path / f"{name}-seed{seed}", level, seed)
    results = collect(tmp_path, list(LEVELS), [0, 1], 0.1)
    gains = against(tmp_path, results, "regda")
    assert list(gains) == ["source_only", "bn_control", "oracle"]
    for other, key in (("source_only", "gain"), ("bn_control", "gain_over_bn_control")):
        assert gains[other]["mean"] == pytest.approx(results["summary"]["regda"][key]["mean"])
        assert gains[other]["interval"] == pytest.approx(results["summary"]["regda"][key]["interval"])
    assert gains["oracle"]["mean"] < gains["oracle"]["interval"][1] < 0
    assert behind(results, "regda") == pytest.approx(1)
    results["strategies"]["regda"]["0"]["selected"].pop("oracle")
    results["strategies"]["regda"]["1"]["selected"]["oracle"] = results["strategies"]["regda"]["1"]["selected"]["last"]
    assert behind(results, "regda") == 0
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert main(["table", str(tmp_path), "--against", "regda"]) == 0
    rows = [row.strip("| ").split(" | ") for row in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["RegDA over", tmp_path.name]
    low, high = gains["oracle"]["interval"]
    assert ["Oracle", f"{gains['oracle']['mean']:+.2f} [{low:+.2f}, {high:+.2f}]"] in rows
    assert rows[-1] == ["its last behind its best", "0.00"]
    assert main(["table", str(tmp_path), "--against", "dan"]) == 2
    assert "has no such strategy: --against='dan' is not known; choose one of source_only" in capsys.readouterr().err


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
