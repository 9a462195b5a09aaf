"""The rule of adapt: what it predicts, how it is fitted, what its rates and intervals are worth."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from keyshift.adapt.scoring import rule as rules
from keyshift.adapt.scoring.neighbours import known_pairs, left_out_error, nearest
from keyshift.adapt.scoring.rule import Rule, hard, load, soft
from keyshift.adapt.scoring.rule_fit import (
    HARM,
    fit,
    forward,
    margin,
    points_of,
    rates,
    regression,
    sums_of,
    usable,
)


def made(pairs=16, candidates=10, noise=0.02, seed=0):
    """Rows as the laboratory has them: `right` follows the gain, `source` its losses, `smooth` rises for all, `video`
    is measured on every fourth pair alone, `blind` says nothing."""
    rng, rows = np.random.default_rng(seed), []
    for pair in range(pairs):
        level, bias = rng.uniform(0.3, 0.8), rng.normal(0, 0.01)
        for candidate in range(candidates):
            strength = rng.normal(0, 6)
            for step in (100, 200, 300):
                gain = strength * step / 300 + rng.normal(0, 1)
                change = {
                    "right": 0.02 * gain + bias + rng.normal(0, noise),
                    "source": 0.02 * min(gain, 0) + rng.normal(0, noise / 2),
                    "smooth": abs(rng.normal(0.1, 0.03)),
                    "video": 0.02 * gain if pair % 4 == 0 else None,
                    "blind": rng.normal(0, 0.1),
                }
                row = {"pair": f"p{pair}", "half": "ab"[pair % 2], "kind": "light", "candidate": f"c{candidate}"}
                row |= {"seed": 0, "step": step, "gain": gain, "gain_se": 1.0}
                row |= {f"before.{name}": level for name in change}
                row |= {f"after.{name}": None if by is None else level + by for name, by in change.items()}
                rows.append(row)
    return rows


@pytest.fixture(scope="module")
def points():
    return points_of(made())


@pytest.fixture(scope="module")
def rule(points):
    return fit(points, ["image, one person"])


def test_the_rule_keeps_what_it_promises_on_pairs_that_were_not_used(rule):
    shown = rule.basis["shown"]
    assert len(shown["pairs"]) == len(rule.basis["found"]["pairs"]) == 8
    assert "right" in rule.scores
    assert "blind" not in rule.scores
    for of in ("points", "runs"):
        assert shown[of]["harm"] <= HARM * shown[of]["worse"]
        assert shown[of]["missed"] <= 0.3 * shown[of]["better"]
    assert shown["runs"]["lost"] < 1
    assert shown["inside"] == pytest.approx(rule.level, abs=0.12)
    assert all(abs(predicted - true) < 1.5 for predicted, true in shown["bins"])


def test_a_prediction_is_near_the_gain_and_in_its_interval(rule):
    before = {"right": 0.5, "source": 0.5}
    better, worse = (rule.predict(before, {"right": 0.5 + c, "source": 0.5 + min(c, 0)}) for c in (0.12, -0.12))
    assert better.gain == pytest.approx(6, abs=2)
    assert worse.gain == pytest.approx(-6, abs=2)
    assert better.low < better.gain < better.high
    assert better.ships
    assert worse.low < worse.gain < worse.high < 0
    assert not worse.ships
    assert 0 < better.least == worse.least < 6


def test_without_a_score_the_others_answer_and_the_interval_is_wider(rule):
    whole = rule.predict({"right": 0.5, "source": 0.5}, {"right": 0.62, "source": 0.5})
    less = rule.predict({"right": 0.5, "source": math.nan}, {"right": 0.62, "source": math.nan})
    assert less.gain == pytest.approx(whole.gain, abs=3)
    assert less.high - less.low > whole.high - whole.low
    assert rule.predict({"right": math.nan}, {"right": 0.6}) is None
    assert rule.predict({}, {}) is None
    assert rule.predict({"right": 0.5}, {"right": -math.inf}) is None, "no number, no change"


def test_a_change_beyond_all_others_is_no_reason_for_more(rule):
    far, further = (rule.predict({"right": 0.0}, {"right": change}) for change in (10.0, 1e6))
    assert far == further
    assert math.isfinite(far.high)


def test_a_ridge_regression_by_hand(points):
    """Of what is measured on all pairs the regression is that of all rows, weighted."""
    ours = points.half("a")
    names, scales = usable(ours)
    made = regression(ours)
    whole = [name for name in made.features if not name.startswith("video")]
    columns = []
    for name in whole:
        change = ours.changes[name.removesuffix("-")] if name != "trained" else np.ones(len(ours))
        change = np.minimum(change, 0) if name.endswith("-") else change
        columns.append(np.clip(change / scales[names.index(name)], -2, 2))
    values, weight = np.stack(columns, 1), np.full(len(ours), 1 / 30)  # 30 points a pair, all as noisy
    (ridge,) = {round(r, 6) for r in np.diag(made.moments)[: len(whole)] - (weight[:, None] * values**2).sum(0) / 8}
    left = values.T @ (weight[:, None] * values) / 8 + ridge * np.eye(len(whole))
    expected = values @ np.linalg.solve(left, values.T @ (weight * np.arcsinh(ours.gain / 3)) / 8)
    assert whole == made.features, "the fit needs no video"
    np.testing.assert_allclose(made.soft_gains(ours.changes)[0], expected, atol=1e-6)


def test_features_are_chosen_by_the_error_on_pairs_left_out(points):
    """The first one against a loop over all of them."""
    ours = points.half("a")
    names, scales = usable(ours)
    pair = np.unique(ours.text["pair"], return_inverse=True)[1]
    sums = sums_of(ours, names, scales)
    answer = np.arcsinh(ours.gain / 3)
    errors = []
    for name, scale in zip(names[1:], scales[1:], strict=True):
        change = ours.changes[name.removesuffix("-")]
        value = np.nan_to_num(np.clip((np.minimum(change, 0) if name.endswith("-") else change) / scale, -2, 2))
        there = np.isfinite(change)
        off = []
        for left in range(8):
            rest, own = there & (pair != left), pair == left
            slope = (value * answer)[rest].mean() / ((value**2)[rest].mean() + 0.1)
            off.append(np.square(answer - slope * value)[own].mean())
        errors.append(np.mean(off))
    _, chosen = forward(sums, 0.1)
    assert chosen[0] == 1 + int(np.argmin(errors))


def test_a_score_is_read_only_where_it_follows_the_truth(points):
    """Every pair has its own level: a score that rises with the gain over all pairs, and within them not, is none."""
    ours = points.half("a")
    names, _ = usable(ours)
    assert "right" in names
    assert not {"blind", "smooth", "level"} & set(names)
    level = 5.0 * np.unique(ours.text["pair"], return_inverse=True)[1]
    wider = replace(
        ours,
        gain=ours.gain + level,
        before=ours.before | {"level": np.zeros(len(ours))},
        after=ours.after | {"level": level + np.random.default_rng(0).normal(0, 1, len(ours))},
    )
    assert np.corrcoef(wider.after["level"], wider.gain)[0, 1] > 0.8
    assert "level" not in usable(wider)[0]
    with pytest.raises(ValueError, match="no score changes with the truth on half a"):
        usable(replace(ours, before={"blind": ours.before["blind"]}, after={"blind": ours.after["blind"]}))


def test_the_least_gain_that_ships_is_chosen_by_the_harm_it_does():
    """Two pairs of 50 worse points and one of 2."""
    names = np.repeat(["big", "other", "small"], [50, 50, 2])
    rows = [
        {"pair": n, "half": "a", "kind": "k", "candidate": f"c{i}", "seed": 0, "step": 1, "gain": -4}
        for i, n in enumerate(names)
    ]
    points, error = points_of(rows), np.full(102, 2.0)
    gain = np.full(102, -1.0)
    assert margin(points, gain, error) == 0
    gain[:4] = 0.99
    assert margin(points, gain, error) == 0, "4 and one of 102 are under 5 %"
    gain[:5] = 0.99
    assert margin(points, gain, error) == pytest.approx(0.5)
    gain[:5], gain[-1] = -1.0, 1.99
    assert margin(points, gain, error) == pytest.approx(1.0), "1 of 102, and half of a pair"
    gain[:] = 1e3
    assert margin(points, gain, error) == pytest.approx(3.0), "none is enough"


def test_rates_count_what_users_feel():
    rows = [
        {"pair": "p", "half": "a", "kind": "k", "candidate": c, "seed": 0, "step": s, "gain": g, "gain_se": 0}
        for c, s, g in [("x", 1, -5), ("x", 2, 6), ("y", 1, 3), ("y", 2, -2), ("z", 1, 0.5), ("z", 2, 1.5)]
    ]
    gain = np.array([0.1, 0.9, 0.2, 0.8, 0.3, np.nan])
    ships = np.array([True, False, True, True, True, False])
    counts = rates(points_of(rows), gain, ships)
    assert counts["points"] == {"all": 6, "shipped": 4, "worse": 2, "harm": 2, "better": 2, "missed": 1}
    runs = counts["runs"]
    assert (runs["worse"], runs["harm"], runs["better"], runs["missed"]) == (1, 1, 1, 1), "6, -2 and 0.5 are picked"
    assert runs["lost"] == pytest.approx(((6 - 0) + (3 + 2) + (1.5 - 0.5)) / 3)


def test_gains_are_compared_softly():
    gains = np.array([-40.0, -1.0, 0.0, 2.0])
    np.testing.assert_allclose(hard(soft(gains)), gains)
    assert soft(np.array(0.3)) == pytest.approx(0.1, rel=0.01)


def test_what_was_fitted_is_read_again_without_code(rule, tmp_path, monkeypatch):
    rule.save(tmp_path / "rule.json")
    monkeypatch.setattr(rules, "RULE", tmp_path / "rule.json")
    again, change = load(), ({"right": 0.5}, {"right": 0.6})
    assert again.predict(*change) == rule.predict(*change)
    assert again.basis == rule.basis
    assert set(json.loads((tmp_path / "rule.json").read_text())) == set(Rule.__dataclass_fields__)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"features": []}', '{"weights": 1}'])
def test_a_rule_that_is_not_there_is_said(tmp_path, content):
    path = tmp_path / "rule.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r"rule\.json.*keyshift lab FILE --fit"):
        load(path)


def test_too_few_pairs_make_no_rule():
    with pytest.raises(ValueError, match="half a has 2 pairs"):
        fit(points_of(made(pairs=4)))


def test_pairs_whose_metric_is_full_teach_nothing(rule):
    full = [row | {"pair": f"full{row['pair']}", "gain": 0.0} for row in made() if row["pair"] in ("p0", "p1")]
    again = fit(points_of(made() + full), ["image, one person"])
    assert again.basis["left_out"] == ["fullp0", "fullp1"]
    assert (again.features, again.moments, again.low) == (rule.features, rule.moments, rule.low)
    assert not set(again.basis["left_out"]) & set(again.pairs)


def test_the_nearest_pairs_are_those_whose_given_networks_score_alike(rule):
    assert len(rule.pairs) == 16
    near = nearest(rule.pairs, rule.pairs["p3"]["scores"], "c2")
    assert near[0].name == "p3"
    assert near[0].distance == pytest.approx(0)
    assert near[0].gain == pytest.approx(rule.pairs["p3"]["gains"]["c2"])
    assert nearest(rule.pairs, {}, "c2") == nearest({}, {"right": 0.5}, "c2") == []
    unknown = nearest(rule.pairs, rule.pairs["p3"]["scores"], "never tried")[0]
    assert unknown.gain == pytest.approx(np.median(list(rule.pairs["p3"]["gains"].values())))
    assert rule.basis["dry"] == pytest.approx(left_out_error(rule.pairs))


def test_of_a_pair_the_last_checkpoints_are_remembered(rule, points):
    own = (points.text["pair"] == "p3") & (points.text["candidate"] == "c2") & (points.step == 300)
    assert rule.pairs["p3"]["gains"]["c2"] == pytest.approx(points.gain[own].mean())
    rows = made()
    between = [row | {"share": 0.5, "gain": row["gain"] + 9} for row in rows]
    known = known_pairs(points_of([*rows, *between]))
    assert known["p3"]["gains"]["c2"] == rule.pairs["p3"]["gains"]["c2"], "as they are, not mixed"
