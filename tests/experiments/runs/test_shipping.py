"""What is shipped: each outcome, and the sentence that says it."""

import math
from types import SimpleNamespace

import pytest

from keyshift.adapt.scoring.label_free import SCORES
from keyshift.adapt.scoring.rule import Prediction
from keyshift.experiments.runs import shipping
from keyshift.experiments.runs.shipping import (
    CHANCE,
    FEWEST,
    Forecaster,
    People,
    beforehand,
    borrowed,
    by_labels,
    decide,
    known_rule,
    reading,
)
from keyshift.models.saved import MODELS

SURE = Prediction(4.21, -0.04, 8.0, 0.8, 1.26)
DOUBTFUL = Prediction(1.21, -3.0, 5.0, 0.8, 1.26)
LOSS = Prediction(-1.24, -5.0, 2.0, 0.8, 1.26)


@pytest.mark.parametrize(
    ("step", "prediction", "held", "outcome", "said"),
    [
        (
            300,
            SURE,
            None,
            "adapted",
            "of update 300, the best of those evaluated, is +4.2 points (80 %",
        ),
        (300, SURE, SURE, "adapted", "to +8.0), above the +1.3 points, from which on the rule ships"),
        (300, SURE, LOSS, "worse on held-out", "but on 40 pictures held out it is -1.2 points"),
        (300, DOUBTFUL, SURE, "too small a gain", "(80 % interval -3.0 to +5.0), under the +1.3 points, from which on"),
        (300, LOSS, SURE, "no gain predicted", "is -1.2 points (80 % interval -5.0 to +2.0)"),
        (300, None, None, "nothing to predict by", "no score that the rule reads could be measured of update 300"),
        (0, SURE, SURE, "no checkpoint", "training kept no checkpoint"),
    ],
)
def test_every_outcome_says_which_test_failed(step, prediction, held, outcome, said):
    decision = decide(step, prediction, held, 40)
    assert decision.outcome == outcome
    assert decision.adapted == (outcome == "adapted")
    assert said in decision.why
    assert not decision.why.endswith(".")
    assert ("predicted gain" in decision.why) == (step > 0 and prediction is not None)


def test_what_is_on_the_way_is_called_so():
    way = r"update 7 (0.75 of the way from the given weights to the adapted ones)"
    assert f"of {way}, the best of those evaluated, is +4.2 points" in decide(7, SURE, None, share=0.75).why
    check = {"metric": "pck@0.1", "pictures": 31, "gain": {"mean": 0.1, "interval": [0.02, 0.2]}}
    assert f"by them {way} gains +0.100" in by_labels(7, check, 0.75).why


@pytest.mark.parametrize(
    ("gains", "share"), [([1, 4, 2, 3], 0.5), ([1, 4, 2, 5], 1.0), ([2, 2, 2, 2], 1.0), ([None] * 4, 1.0)]
)
def test_the_mixture_with_the_highest_predicted_gain_is_the_best(toy_rule, monkeypatch, gains, share):
    """A network is a number here: 0 the given one, 8 the adapted one."""
    monkeypatch.setattr(shipping, "mixed", lambda given, adapted, share: given + share * (adapted - given))
    monkeypatch.setattr(shipping, "measured", lambda *_: {})
    asked = dict(zip((2, 4, 6, 8), gains, strict=True))

    def predict(_, model):
        return (None, {}) if asked[model] is None else (Prediction(asked[model], 0, 9, 0.8, 0), {"gain": asked[model]})

    monkeypatch.setattr(Forecaster, "predict", predict)
    best = Forecaster(toy_rule, shipping.Evidence(0, None)).best(8, shipping.SHARES)
    assert (best.share, best.model) == (share, 8 * share)
    assert (None if best.prediction is None else best.prediction.gain) == asked[best.model]
    assert best.record["shares"] == dict(zip(("0.25", "0.5", "0.75", "1"), gains, strict=True))
    assert list(asked) == [2, 4, 6, 8]


def test_what_is_known_before_training():
    basis = {"systems": ["image, one person", "image and reach, one person"]}
    assert beforehand(CHANCE, FEWEST, "image, one person", basis) is None
    assert beforehand(CHANCE, FEWEST, "anything", {}) is None, "a rule that does not say"
    assert beforehand(0.099, FEWEST, "image, one person", basis).outcome == "hardly above chance"
    assert "no keypoint could be compared" in beforehand(math.nan, FEWEST, "image, one person", basis).why
    assert beforehand(0.9, FEWEST - 1, "image, one person", basis).outcome == "too few pictures"
    unknown = beforehand(0.9, FEWEST, "keypoints2d, one person", basis)
    assert unknown.outcome == "not known to the rule"
    assert "not fitted on models of keypoints2d, one person, but of image, one person; image and reach" in unknown.why
    assert "keyshift train EXPERIMENT start=MODEL target.name=sequences2d" in unknown.why
    assert "labels can decide" in beforehand(0.9, FEWEST, "image and margins, one person", basis).why


@pytest.mark.parametrize(("after", "outcome"), [(80, "adapted"), (79, "loses people"), (500, "adapted")])
def test_a_candidate_that_loses_people_is_not_shipped(after, outcome):
    """However high its gain: scores of keypoints do not see whom nobody finds."""
    decision = decide(7, SURE, None, people=People(100, after, 40))
    assert decision.outcome == outcome
    assert f"in 40 pictures the given model finds 100 people and the candidate {after}" in decision.why


def test_the_rule_is_lent_to_systems_that_find_everyone_unless_it_was_fitted_on_them():
    people, basis = MODELS["prtr_people"], {"systems": ["image, one person"]}
    assert "on none that finds everyone in a picture as PRTRPeople does" in borrowed(people, 0.1, basis)
    assert borrowed(people, 0.1, {"systems": ["image, several people"]}) is None
    assert borrowed(MODELS["pose_resnet"], 0.1, basis) is None
    assert beforehand(0.5, FEWEST, reading(people), basis, lent=True) is None
    assert beforehand(0.5, FEWEST, reading(people), basis).outcome == "not known to the rule"


def test_systems_are_told_by_what_they_read_and_find():
    assert reading(MODELS["pose_resnet"]) == reading(MODELS["own"]) == "image, one person"
    assert reading(MODELS["a2j"]) == reading(MODELS["awr"]) == "image and reach, one person"


@pytest.mark.parametrize(
    ("metric", "mean", "interval", "outcome", "said"),
    [
        (
            "pck@0.1",
            0.1,
            [0.02, 0.2],
            "adapted",
            "update 7 gains +0.100 [+0.020, +0.200] of PCK@0.1, whose lower end is",
        ),
        ("pck@0.1", 0.1, [0.0, 0.2], "no gain by labels", "not above 0 at the one-sided level of 97.5 %"),
        ("mm", 3.0, [1.0, 5.0], "adapted", "gains +3.00 [+1.00, +5.00] of mean error in mm"),
        ("mm", 3.0, [None, None], "labels of one block", "label some of another"),
    ],
)
def test_labels_decide_by_the_lower_end_of_their_interval(metric, mean, interval, outcome, said):
    decision = by_labels(7, {"metric": metric, "pictures": 31, "gain": {"mean": mean, "interval": interval}})
    assert decision.outcome == outcome
    assert said in decision.why
    assert "the labels of 31 pictures decide (--decide-by-check)" in decision.why


def test_a_forecast_reads_the_rules_scores_of_both_networks_on_one_set_of_pictures(toy_rule, monkeypatch):
    asked = []

    def agreement(evidence):
        asked.append((evidence.model, evidence.given.model))
        return {"given": 0.5, "candidate": 0.6}[evidence.model]

    monkeypatch.setitem(SCORES, "agreement", agreement)
    looks = SimpleNamespace(target=range(40))
    forecaster = Forecaster(toy_rule, shipping.Evidence("given", looks))
    prediction, told = forecaster.predict("candidate")
    assert asked == [("given", "given"), ("candidate", "given")]
    assert prediction == toy_rule.predict({"agreement": 0.5}, {"agreement": 0.6})
    assert (told["pictures"], told["scores"]) == (40, {"agreement": [0.5, 0.6]})
    assert told["gain"] == prediction.gain == forecaster.gain(shipping.Evidence("candidate", looks, forecaster.given))


def test_a_rule_that_reads_what_is_not_there_is_refused(toy_rule, monkeypatch):
    assert known_rule() == toy_rule
    monkeypatch.delitem(SCORES, "agreement")
    with pytest.raises(ValueError, match=r"the rule reads agreement, and the label-free scores are .*: fit it again"):
        known_rule()
