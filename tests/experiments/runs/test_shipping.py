"""What is shipped: each outcome, and the sentence that says it."""

import math

import pytest

from keyshift.experiments.runs.shipping import CHANCE, Scores, beforehand, decide

NAN = math.nan


@pytest.mark.parametrize(
    ("step", "trained", "held", "outcome", "said"),
    [
        (300, (100, 0.5, 0.7), (25, 0.5, 0.6), "adapted", ["from 0.500 to 0.700 at update 300", "noise of 0.050"]),
        (300, (100, 0.5, 0.7), (25, 0.5, 0.6), "adapted", ["on 25 pictures held out it rose from 0.500 to 0.600"]),
        (300, (100, 0.5, 0.7), (1, 0.5, 0.5), "adapted", ["on 1 picture held out it went from 0.500 to 0.500"]),
        (
            300,
            (100, 0.5, 0.7),
            (25, 0.6, 0.492),
            "worse on held-out",
            ["it fell from 0.600 to 0.492", "rose from 0.500"],
        ),
        (300, (100, 0.5, 0.7), (25, NAN, NAN), "worse on held-out", ["no keypoint could be compared"]),
        (300, (100, 0.5, 0.55), (25, 0.5, 0.9), "within noise", ["from 0.500 to 0.550", "0.050 (100 pictures; more"]),
        (20, (36, 0.104, 0.12), (25, 0.1, 0.2), "within noise", ["within its noise of 0.051"]),
        (20, (6, 0.5, 0.7), (2, 0.5, 0.9), "within noise", ["(6 pictures; more"]),
        (
            300,
            (100, 0.5, 0.5),
            (25, 0.5, 0.6),
            "no better checkpoint",
            ["did not rise: it was 0.500, and at best 0.500"],
        ),
        (
            300,
            (100, 0.5, 0.4),
            (25, 0.5, 0.6),
            "no better checkpoint",
            ["it was 0.500, and at best 0.400, at update 300"],
        ),
        (None, (100, 0.5, NAN), (25, 0.5, 0.5), "no better checkpoint", ["no checkpoint has"]),
        (300, (100, 0.084, 0.9), (25, 0.1, 0.9), "hardly above chance", ["0.084, under 0.1"]),
        (300, (100, NAN, 0.9), (25, 0.1, 0.9), "hardly above chance", ["no keypoint could be compared"]),
        (300, (1, 0.5, 0.9), (0, 0.5, 0.9), "nothing held out", ["nothing is held out"]),
    ],
)
def test_every_outcome_says_which_test_failed(step, trained, held, outcome, said):
    decision = decide(step, Scores(*trained), Scores(*held))
    assert decision.outcome == outcome
    assert decision.adapted == (outcome == "adapted")
    for part in said:
        assert part in decision.why
    assert not decision.why.endswith(".")


def test_what_is_known_before_training():
    assert beforehand(CHANCE, 1) is None
    assert beforehand(0.099, 1).outcome == beforehand(0.0, 0).outcome == "hardly above chance"
    assert beforehand(0.5, 0).outcome == "nothing held out"


def test_noise_is_that_of_a_share_of_pictures():
    assert Scores(256, 0.5).noise == pytest.approx(0.5 / 16)
    assert Scores(100, 0.0).noise == Scores(100, 1.0).noise == pytest.approx(0.001)
