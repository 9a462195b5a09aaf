"""The table's statistics against naive loops."""

import numpy as np
import pytest
from scipy.stats import rankdata

from keyshift.experiments.lab.table import behind_best, correlation, rates, sign_right, table


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    made = []
    shares = (100, 1.0), (200, 1.0), (300, 0.5), (300, 1.0)
    for pair in ("p", "q", "r"):
        for seed in (0, 1):
            for candidate in ("x", "y"):
                for step, share in shares:
                    gain = rng.normal(0, 4)
                    made.append(
                        {"pair": pair, "half": "a" if pair == "p" else "b", "kind": "k", "candidate": candidate,
                         "strategy": "regda", "seed": seed, "step": step, "share": share, "gain": gain,
                         "gain_se": 1.0, "before.good": 0.5, "after.good": 0.5 + gain / 50 + rng.normal(0, 0.08),
                         "before.gone": np.nan, "after.gone": np.nan}
                    )  # fmt: skip
    return made


def test_rank_correlation_within_a_pair(rows):
    expected = []
    for pair in ("p", "q", "r"):
        own = [row for row in rows if row["pair"] == pair]
        ranks = [rankdata([row[key] for row in own]) for key in ("after.good", "gain")]
        expected.append(np.corrcoef(*ranks)[0, 1])
    assert correlation(rows, "good") == pytest.approx(np.mean(expected))
    assert np.isnan(correlation(rows, "gone"))


def test_rates_and_signs(rows):
    worse = better = shipped = missed = right = signed = 0
    for row in rows:
        rises = row["after.good"] > row["before.good"]
        if row["gain"] < -1:
            worse += 1
            shipped += rises
        if row["gain"] > 2:
            better += 1
            missed += not rises
        if abs(row["gain"]) > 1.96:
            signed += 1
            right += rises == (row["gain"] > 0)
    assert rates(rows, lambda row: row["after.good"] > row["before.good"]) == (shipped / worse, missed / better)
    assert sign_right(rows, "good") == right / signed
    assert 0 < right / signed < 1
    assert np.isnan(rates([], lambda row: True)).all()


def test_behind_the_best_checkpoint(rows):
    behind = []
    for pair in ("p", "q", "r"):
        for seed in (0, 1):
            for candidate in ("x", "y"):
                run = [r for r in rows if (r["pair"], r["seed"], r["candidate"]) == (pair, seed, candidate)]
                picked = run[int(np.argmax([row["after.good"] for row in run]))]
                behind.append(max(row["gain"] for row in run) - picked["gain"])
    assert behind_best(rows, lambda row: row["after.good"]) == pytest.approx(np.mean(behind))


def test_tables(rows):
    about, scores, candidates = table(rows).split("\n\n")
    assert about == "48 points of 3 pairs."
    good, gone = (line.strip("| ").split(" | ") for line in scores.splitlines()[2:])
    assert good[0] == "good"
    assert good[3] == f"{correlation(rows, 'good'):.2f}"
    assert good[-1] == "100%"
    assert gone == ["gone", *"–" * 7, "0%"]
    lines = [line.strip("| ").split(" | ") for line in candidates.splitlines()[2:]]
    own = [row for row in rows if row["candidate"] == "y"]
    last, between = ([r["gain"] for r in own if (r["step"], r["share"]) == (300, share)] for share in (1, 0.5))
    assert lines[1][:4] == ["y", "6", f"{np.mean(last):+.1f}", f"{np.mean(between):+.1f}"]
    assert "| gain of the last | at share 0.5 | of the best |" in candidates
    best = {}
    for row in own:
        if row["share"] == 1:
            best[row["pair"], row["seed"]] = max(best.get((row["pair"], row["seed"]), -99), row["gain"])
    assert lines[1][4] == f"{np.mean(list(best.values())):+.1f}"
    with pytest.raises(ValueError, match="there is no point yet"):
        table([])
