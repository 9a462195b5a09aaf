"""Runs that left the road, and batch norm that is chosen from the data, as a user meets them."""

import json

import pytest

from keyshift.experiments.cli import main
from keyshift.experiments.runs import conclusion
from keyshift.experiments.runs.before_training import CHOICE
from keyshift.models.saved import load_checkpoint, load_model

SMALL = ["steps=4", "evaluate_every=2", "checkpoint_every=1", "report.pictures=none"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSHIFT_CACHE", str(cache))
    monkeypatch.setattr(conclusion, "export", lambda *_: None)
    return tmp_path


def test_a_stopped_run_is_finished_and_says_so_everywhere(home, capsys, small_demo):
    words = [
        "compare",
        "demo",
        *small_demo,
        *SMALL,
        "seeds=1",
        "strategies=[source_only,given,mean_teacher]",
        "bounds.distance=1e-9",
    ]
    assert main([*words, "output=run"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    said = (
        "training was stopped at update 2 of 4 and went back to the given weights: the weights' relative distance from"
    )
    result = json.loads((home / "run/source_only-seed0/result.json").read_text())
    assert result["guard"]["said"].startswith(said)
    assert f"source_only seed 0: {said}" in printed
    assert said in (home / "run/report.html").read_text().replace("&#39;", "'")
    given = json.loads((home / "run/given-seed0/result.json").read_text())
    assert given["guard"] is None
    assert given["batch_norm"] is None
    assert result["target"] == given["target"]  # what is scored are the given weights
    assert {choice["step"] for choice in result["selected"].values()} == {0}
    assert result["selected"]["last"]["target"]["pck"] == result["target"]["pck"]
    assert json.loads((home / "run/results.json").read_text())["strategies"]["source_only"]["0"] == result
    assert main([*words, "output=run"]) == 0
    assert "nothing is trained" in capsys.readouterr().out


def test_a_guard_that_is_off_is_not_there(home, small_demo):
    words = ["train", "demo", *small_demo, *SMALL, "strategy=mean_teacher", "output=run"]
    assert main([*words, "guard=off", "bounds.distance=0"]) == 0
    assert load_checkpoint(home / "run/checkpoint.pt")["guard"] is None
    assert "guard/" not in (home / "run/metrics.jsonl").read_text()
    assert json.loads((home / "run/result.json").read_text())["guard"] is None


def test_auto_is_settled_once_and_kept(home, capsys, small_demo):
    words = ["train", "demo", *small_demo, *SMALL, "strategy=mean_teacher", "batch_norm=auto", "output=run"]
    assert main(words) == 0
    printed = " ".join(capsys.readouterr().out.split())
    kept = json.loads((home / "run" / CHOICE).read_text())
    assert f"batch norm: {kept['why']}" in printed
    assert list(kept["evidence"]) == ["0.25", "0.5", "0.75", "1"]
    result = json.loads((home / "run/result.json").read_text())
    assert result["batch_norm"] == kept
    (home / "run/result.json").unlink()
    before = (home / "run/checkpoint.pt").read_bytes()
    assert main(words) == 0
    assert "batch norm:" not in capsys.readouterr().out
    assert json.loads((home / "run/result.json").read_text()) == result
    assert (home / "run/checkpoint.pt").read_bytes() == before


def test_a_strategy_has_a_policy_of_its_own(home, capsys, small_demo):
    """keyshift that of the data, where there are given weights; others, and from no weights all, the target's."""
    few = ["train", "demo", *small_demo, *SMALL, "guard=off"]
    assert main([*few, "strategy=keyshift", "output=own"]) == 0
    assert "batch norm: " in capsys.readouterr().out
    assert main([*few, "strategy=keyshift", "batch_norm=auto", "output=auto"]) == 0
    assert main([*few, "strategy=mean_teacher", "output=other"]) == 0
    assert main([*few, "strategy=mean_teacher", "batch_norm=target", "output=target"]) == 0
    assert main([*few, "strategy=keyshift", "pretrain_steps=0", "output=afresh"]) == 0
    assert not any((home / name / CHOICE).exists() for name in ("other", "target", "afresh"))
    for name, same in (("own", "auto"), ("other", "target")):
        one, two = (load_model(home / folder / "weights-000004.pt")[0].state_dict() for folder in (name, same))
        assert all((one[key] == two[key]).all() for key in one)


def test_a_mixture_normalises_from_the_start_and_stays(home, small_demo):
    """Share 0 is frozen to the bit."""
    for name, policy in (("frozen", ["frozen"]), ("none", ["mixed", "batch_norm_share=0"]), ("half", ["mixed"])):
        first, *more = policy
        run = ["train", "demo", *small_demo, *SMALL, "guard=off", "strategy=mean_teacher", f"batch_norm={first}", *more]
        run += [f"output={name}"]
        assert main(run) == 0
    frozen, none, half = (
        load_model(home / name / "weights-000004.pt")[0].state_dict() for name in ("frozen", "none", "half")
    )
    assert all((frozen[key] == none[key]).all() for key in frozen)
    moved = {key for key in frozen if "running" in key and (frozen[key] != half[key]).any()}
    assert moved == {key for key in frozen if "running" in key}


def test_a_mixture_of_nothing_is_refused(home, capsys, small_demo):
    words = ["train", "demo", *small_demo, *SMALL, "strategy=mean_teacher", "output=run"]
    words += ["batch_norm=mixed", "pretrain_steps=0"]
    assert main(words) == 2
    assert "batch_norm=mixed is of the statistics of pretrained or given weights" in capsys.readouterr().err
