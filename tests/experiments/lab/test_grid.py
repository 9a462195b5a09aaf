"""The grid: all of it is done, each part of it once, whatever happens in between."""

import json
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from keyshift.adapt import trainer
from keyshift.adapt.scoring.evaluation import predict
from keyshift.adapt.scoring.label_free import SCORES
from keyshift.datasets.reading.files import only_one
from keyshift.experiments.cli import main
from keyshift.experiments.lab import grid
from keyshift.experiments.lab.grid import runs_of, work
from keyshift.experiments.lab.plan import read_plan
from keyshift.experiments.lab.points import collect, read_points, write_points
from keyshift.experiments.runs.task import prepare
from keyshift.models.saved import load_model

OUT = Path("runs/lab")


@pytest.fixture
def calls(monkeypatch):
    """What is trained, and what is scored by a score that counts."""
    made = {"trained": [], "scored": 0}
    fit = grid.fit

    def counted_fit(task, phase, seed, folder, *rest, **more):
        made["trained"].append(str(folder.relative_to(OUT)))
        fit(task, phase, seed, folder, *rest, **more)

    def counted(evidence):
        made["scored"] += 1
        assert evidence.given is evidence or evidence.given.given is evidence.given
        return float(evidence.target.spread.mean() - evidence.given.target.spread.mean())

    monkeypatch.setattr(grid, "fit", counted_fit)
    for name in list(SCORES):
        monkeypatch.delitem(SCORES, name)
    monkeypatch.setitem(SCORES, "agreement", counted)
    return made


def lab(*words):
    return main(["lab", "plan.yaml", *words])


def test_each_part_is_done_once(plan_file, calls, monkeypatch, capsys):
    """The grid, its second pass, one more candidate, one more score, and one that is computed anew."""
    small = "--pairs", "clips", "--seeds", "0"
    assert lab(*small, "--candidates", "bn_control,surer") == 0
    assert calls == {"trained": ["clips/seed0/bn_control", "clips/seed0/surer"], "scored": 1 + 2 * 2}
    assert "[2/2, 0 min left] clips seed 0 surer: " in capsys.readouterr().out
    calls |= {"trained": [], "scored": 0}
    assert lab(*small, "--candidates", "bn_control,surer") == 0
    assert calls == {"trained": [], "scored": 0}

    assert lab(*small) == 0
    assert calls == {"trained": ["clips/seed0/surer_hard"], "scored": 2}
    before = json.loads((OUT / "clips/seed0/surer/scores.json").read_text())

    calls |= {"trained": [], "scored": 0}
    monkeypatch.setitem(SCORES, "sharp", lambda evidence: float(-evidence.target.spread.mean()))
    assert lab(*small) == 0
    assert calls == {"trained": [], "scored": 0}
    after = json.loads((OUT / "clips/seed0/surer/scores.json").read_text())
    assert after["checkpoints"]["2"]["scores"].pop("sharp") < 0
    assert after["checkpoints"]["2"] == before["checkpoints"]["2"]
    assert lab(*small, "--rescore", "agreement") == 0
    assert calls == {"trained": [], "scored": 1 + 3 * 2}

    calls |= {"trained": [], "scored": 0}
    assert lab("--pairs", "clips", "--seeds", "1", "--candidates", "surer", "--unscored") == 0
    assert calls == {"trained": ["clips/seed1/surer"], "scored": 0}
    record = json.loads((OUT / "clips/seed1/surer/scores.json").read_text())
    assert [(entry["scores"], "hits" in entry["truth"]) for entry in record["checkpoints"].values()] == [({}, True)] * 2
    assert lab("--pairs", "clips", "--seeds", "1", "--candidates", "surer") == 0
    assert calls == {"trained": ["clips/seed1/surer"], "scored": 1 + 2}

    rows = [row for row in read_points(OUT / "points.csv") if row["seed"] == 0]
    assert [(r["candidate"], r["step"], r["last"]) for r in rows][:3] == [
        ("bn_control", 2, 0), ("bn_control", 4, 1), ("surer", 2, 0)]  # fmt: skip
    assert all(np.isfinite(row["after.sharp"]) and row["before.agreement"] == 0 for row in rows)
    assert not list(OUT.glob("*/seed*/*/checkpoint.pt"))


def test_points_are_what_a_naive_loop_gives(plan, plan_file):
    """Of both a network of pictures and one of points in space: gains, their errors, millimetres, scores."""
    assert lab("--seeds", "1", "--candidates", "bn_control", "steps=2", "threshold=0.2") == 0
    rows = read_points(OUT / "points.csv")
    assert {row["pair"]: (row["half"], row["kind"], row["seed"], row["step"]) for row in rows} == {
        "clips": ("a", "light", 1, 2),
        "lifts": ("b", "camera", 1, 2),
    }
    for row in rows:
        task = prepare(plan.config(row["pair"]), ["bn_control"])
        batches = task.batches(task.target[1])
        files = {"after": OUT / row["pair"] / "seed1/bn_control/weights-000002.pt"}
        about = json.loads((OUT / row["pair"] / "seed1/given.json").read_text())["checkpoints"]["0"]["weights"]
        files["before"] = next(p for p in OUT.glob("pretrained/*/weights-*.pt") if grid.sha256(p) == about)
        blocks, mm = {}, {}
        for side, file in files.items():
            predictions = predict(load_model(file)[0], [batches[i] for i in range(len(batches))], torch.device("cpu"))
            errors = predictions.errors() / (2000 if row["pair"] == "lifts" else 1)
            mm[side] = float(predictions.errors().mean())
            blocks[side] = {}
            for i, name in enumerate(predictions.sequence):
                for k in range(errors.shape[1]):
                    blocks[side].setdefault(name, []).append(100 * float(errors[i, k] <= 0.2))
        gains = [np.mean(blocks["after"][name]) - np.mean(blocks["before"][name]) for name in blocks["after"]]
        assert row["gain"] == pytest.approx(np.mean(gains), abs=1e-3)
        assert row["gain_se"] == pytest.approx(np.std(gains, ddof=1) / len(gains) ** 0.5, abs=1e-3)
        assert row["truth_after"] == pytest.approx(
            np.mean([hit for hits in blocks["after"].values() for hit in hits]), abs=1e-3
        )
        if row["pair"] == "lifts":
            assert row["mm_before"] == pytest.approx(mm["before"], rel=1e-4)
        else:
            assert np.isnan(row["mm_before"])
        assert 0 <= row["source_before"] <= 100
    write_points(OUT / "again.csv", rows)
    first, second = ((OUT / name).read_text().splitlines()[0] for name in ("points.csv", "again.csv"))
    assert first == second


def test_mixtures_of_the_last_checkpoint_are_scored_and_nothing_is_trained(plan_file, calls):
    """Beside what was known of a plan without them: against a loop over the weights of both files."""
    words = "--pairs", "clips", "--seeds", "0", "--candidates", "surer"
    assert lab(*words) == 0
    before = json.loads((OUT / "clips/seed0/surer/scores.json").read_text())["checkpoints"]
    Path("more.yaml").write_text("shares: [0.5, 0.75]\n")
    calls |= {"trained": [], "scored": 0}
    for _ in range(2):
        assert lab("more.yaml", *words) == 0
        assert calls == {"trained": [], "scored": 2}
    after = json.loads((OUT / "clips/seed0/surer/scores.json").read_text())["checkpoints"]
    assert {step: after[step] for step in before} == before
    assert set(after) == {"2", "4", "4@0.5", "4@0.75"}
    rows = read_points(OUT / "points.csv")
    assert [(r["step"], r["share"], r["last"]) for r in rows] == [(2, 1, 0), (4, 0.5, 0), (4, 0.75, 0), (4, 1, 1)]

    start = next(p for p in OUT.glob("pretrained/*/weights-*.pt") if grid.sha256(p) == after["4"]["given"])
    given, last = load_model(start)[0], load_model(OUT / "clips/seed0/surer/weights-000004.pt")[0]
    for own, end in zip(given.state_dict().values(), last.state_dict().values(), strict=True):
        own.copy_(own + 0.75 * (end - own) if own.is_floating_point() else end)
    task = prepare(read_plan(["plan.yaml"]).config("clips"), ["bn_control"])
    batches = task.batches(task.target[1])
    predictions = predict(given, [batches[i] for i in range(len(batches))], torch.device("cpu"))
    hits = float((predictions.errors() <= 0.1).float().mean())
    assert rows[2]["truth_after"] == pytest.approx(100 * hits, abs=1e-3)


class Stopped(BaseException):
    """What nothing catches, as a killed process."""


def test_a_killed_grid_goes_on(plan, plan_file, calls, monkeypatch):
    """Killed while it trains and while it scores: the points are those of a grid that nobody touched."""
    plan = plan.chosen(["clips"], ["bn_control"], [0])
    work(plan, OUT / "whole", lambda run, text: None)

    def work_killed(owner, name, time):
        """Ends in the call of that number of `owner.name`."""
        inner, count = getattr(owner, name), iter(range(1, 100))

        def call(*args, **kwargs):
            if next(count) == time:
                raise Stopped
            return inner(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, call)
            work(plan, OUT / "killed", lambda run, text: None)

    for place in ((trainer, "save_model", 4), (grid.Record, "save", 3), (grid, "truth", 1)):
        with pytest.raises(Stopped):
            work_killed(*place)
    work(plan, OUT / "killed", lambda run, text: None)
    assert collect(OUT / "killed") == collect(OUT / "whole")
    assert len(collect(OUT / "killed")) == 2


def test_an_error_of_one_run_does_not_stop_the_others(plan_file, calls, monkeypatch, capsys):
    """A run whose training fails, and a score that fails: the others go on, and the end says which failed."""
    fit = grid.fit

    def failing(task, phase, seed, folder, *rest, **more):
        if folder.name == "surer":
            raise ArithmeticError("a loss is not finite")
        fit(task, phase, seed, folder, *rest, **more)

    words = "--pairs", "clips", "--seeds", "0", "--candidates", "bn_control,surer"
    with monkeypatch.context() as patch:
        patch.setattr(grid, "fit", failing)
        assert lab(*words) == 1
    said = capsys.readouterr().out
    assert "failed: clips seed 0 surer: ArithmeticError: a loss is not finite" in said
    assert {row["candidate"] for row in collect(OUT)} == {"bn_control"}
    assert lab(*words) == 0
    assert {row["candidate"] for row in collect(OUT)} == {"bn_control", "surer"}
    monkeypatch.setitem(SCORES, "broken", lambda evidence: 1 / 0)
    assert lab(*words) == 1
    assert "score broken: ZeroDivisionError" in capsys.readouterr().out


def test_a_candidate_that_has_changed_is_refused(plan_file, calls, capsys):
    words = "--pairs", "clips", "--seeds", "0", "--candidates", "surer"
    assert lab(*words) == 0
    for _ in range(2):
        assert lab(*words, "surer.weight=3") == 1
        assert "holds another run: surer.weight was 1.0, now 3.0" in capsys.readouterr().out
    assert lab(*words) == 0


def test_processes_share_the_groups(plan, calls, monkeypatch):
    """What another process holds is left to it, and waited for."""
    monkeypatch.setattr(grid, "WAIT", 0.01)
    plan = plan.chosen(["clips"], ["bn_control"], [0, 1])
    groups = runs_of(plan, OUT)
    done = []
    with only_one(groups[0][0].group):
        other = Thread(target=work, args=(plan, OUT, lambda run, text: done.append(run.seed)))
        other.start()
        while not done and other.is_alive():
            other.join(0.05)
        assert done == [1]
    other.join(30)
    assert done == [1, 0]
