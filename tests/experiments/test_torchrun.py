"""One run on several processes as a user starts it: torchrun on the command line."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch

from keyshift.experiments.cli import main
from keyshift.models.saved import load_checkpoint

SMALL = [
    *("source.test=10", "target.test=10", "strategy=bn_control", "batch_norm=both", "guard=off"),
    *("pretrain.name=sgd", "optimization.name=sgd"),
    *("log_every=1", "evaluate_every=2", "checkpoint_every=1", "precision=32-true"),
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def torchrun(*words, processes=2):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*launcher, "-m", "keyshift.experiments.cli", *words]


def logged(run):
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {record["step"]: record["metrics"] for record in map(json.loads, lines)}


def test_two_processes_train_what_one_does(home, small_demo):
    """To the last digits of losses and weights; a map's highest cell may be another for that."""
    with subprocess.Popen(torchrun("train", "demo", *small_demo, *SMALL, "steps=4", "output=there/two")) as both:
        assert main(["train", "demo", *small_demo, *SMALL, "steps=4", "output=here/one"]) == 0
        assert both.wait(240) == 0
    one, two = (home / "here/one", home / "there/two")
    first, second = (load_checkpoint(run / "checkpoint.pt")["strategy"] for run in (one, two))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=1e-5, rtol=1e-4, msg=name)
    assert list(logged(one)) == list(logged(two)) == [1, 2, 3, 4]
    for step, metrics in logged(one).items():
        assert logged(two)[step]["loss/heatmap"] == pytest.approx(metrics["loss/heatmap"], rel=1e-5)
        assert logged(two)[step].keys() == metrics.keys()
    results = [json.loads((run / "result.json").read_text()) for run in (one, two)]
    assert results[0]["target"]["epe"] == pytest.approx(results[1]["target"]["epe"], rel=0.05)
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    assert json.loads((two / "environment.json").read_text())["processes"] == 2


def test_two_processes_that_are_told_to_stop_keep_what_they_have(home, small_demo):
    """By what a cluster sends before it takes the machine; one process goes on with the rest."""
    words = ["train", "demo", *small_demo, *SMALL, "steps=400", "evaluate_every=400", "output=runs/it"]
    run = home / "runs/it"
    with subprocess.Popen(torchrun(*words), stderr=subprocess.PIPE, text=True) as both:
        end = time.monotonic() + 240
        while len(logged(run)) < 3 and both.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        both.send_signal(signal.SIGTERM)
        said = both.communicate(timeout=60)[1]
    assert both.returncode != 0
    assert "checkpoint written in" in said
    assert "the same command goes on" in said
    step = load_checkpoint(run / "checkpoint.pt")["step"]
    assert 3 <= step < 400
    assert not (run / "result.json").exists()
    assert main(words) == 0
    assert sorted(logged(run)) == list(range(1, 401))


def test_a_batch_that_does_not_divide_is_refused(home, capsys, monkeypatch, small_demo):
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert main(["train", "demo", *small_demo, *SMALL]) == 2
    assert "batch=4 does not divide among 3 processes; choose a multiple" in capsys.readouterr().err
