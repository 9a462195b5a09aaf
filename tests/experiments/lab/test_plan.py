"""Plans: pairs and candidates laid over one base."""

import pytest
import yaml

from keyshift.experiments.lab.plan import read_plan, shipped_plans


def test_what_lies_over_what(plan_file, tmp_path):
    (tmp_path / "more.yaml").write_text("candidates: {tent: {strategy: tent, tent: {rate: 0.5}}}\nseeds: 3\n")
    words = ["steps=9", "lifts.target.train=5", "lifts.steps=8", "lifts.threshold=0.3"]
    plan = read_plan([plan_file, "more.yaml"], words)
    assert list(plan.candidates) == ["bn_control", "surer", "surer_hard", "tent"]
    assert plan.seeds == [0, 1, 2]
    hard, lifts = plan.config("clips", "surer_hard"), plan.config("lifts", "tent")
    assert (hard.strategy, hard.methods["surer"].weight, hard.optimization.rate) == ("surer", 100.0, 0.1)
    assert (hard.optimization.name, hard.pretrain.rate, hard.steps, hard.threshold) == ("adam", 0.01, 9, 0.1)
    assert (lifts.target.name, lifts.target.options.train, lifts.methods["tent"].rate) == ("sequences.shifted", 5, 0.5)
    assert lifts.threshold == 0.3
    assert lifts.steps == 9, "what is typed of all runs lies over what is typed of a pair"
    assert plan.said("clips", "surer") != plan.said("clips", "surer_hard")
    part = plan.chosen(["lifts"], ["tent", "surer"], [4])
    assert (list(part.pairs), list(part.candidates), part.seeds) == (["lifts"], ["tent", "surer"], [4])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"pairs": {"x": {"kind": "light"}}}, "pair x must say half: a or b"),
        ({"candidates": {"x": {"regda": {}}}}, "candidate x must say strategy"),
        (
            {"candidates": {"x": {"strategy": "surer", "surer": {"wait": 1}}}},
            "candidate x: unknown key surer.wait. Did",
        ),
        ({"candidates": {"x": {"strategy": "surer", "target": {"test": 3}}}}, "candidate x has target="),
        ({"candidates": {"x": {"strategy": "surer", "batch": 8}}}, "candidate x has batch=8, pair clips 4"),
        ({"shares": [0.5, 1.5]}, "1.5] must be at least 0, at most 1"),
        ({"pair": {}}, "unknown key pair. Did you mean pairs?"),
        ({"pairs": {"x": {"half": "a", "kind": "k", "target": {"tset": 3}}}}, "pair x"),
    ],
)
def test_what_is_refused(plan_file, tmp_path, content, text):
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=text.replace("?", r"\?")):
        read_plan([plan_file, "more.yaml"]).check()


def test_shares_are_free_and_none_of_a_head_that_restarts(plan_file, tmp_path):
    more = {
        "shares": [0.75, 0.5],
        "candidates": {"fresh": {"strategy": "regda"}, "kept": {"strategy": "regda", "regda": {"fresh_head": False}}},
    }
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(more))
    before, plan = read_plan([plan_file]), read_plan([plan_file, "more.yaml"])
    shares = {name: plan.shares_of("clips", name) for name in plan.candidates}
    assert shares["surer"] == shares["kept"] == [0.75, 0.5]
    assert shares["fresh"] == before.shares_of("clips", "surer") == []
    assert plan.said("clips", "surer") == before.said("clips", "surer")
    assert read_plan([plan_file, "more.yaml"], ["shares=[0.25]"]).shares == [0.25]


def test_names_that_the_plan_does_not_have(plan):
    with pytest.raises(ValueError, match="Did you mean clips"):
        plan.chosen(["clip"], [], [])
    with pytest.raises(ValueError, match="no plan 'nothing'"):
        read_plan(["nothing"])
    with pytest.raises(ValueError, match="lab_candidates: no pairs"):
        read_plan(["lab_candidates"])


@pytest.mark.parametrize("pairs", ["lab_pairs", "lab_real"])
@pytest.mark.parametrize("candidates", sorted(shipped_plans().keys() - {"lab_pairs", "lab_real"}))
def test_shipped_plans_are_valid(pairs, candidates):
    read_plan([pairs, candidates]).check()
