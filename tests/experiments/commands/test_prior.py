"""`keyshift prior`: from a dataset or an experiment's source to a file that POST takes."""

import pytest

from keyshift.adapt.prior import load_prior
from keyshift.datasets.skeleton import HAND
from keyshift.experiments.cli import main
from keyshift.experiments.config import load
from keyshift.experiments.runs.task import prepare

SMALL = ["train=24", "test=20", "size=32"]
SHORT = ["prior.updates=4", "prior.batch=8", "prior.width=8"]


def test_of_a_dataset(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["prior", "hands.studio", *SMALL, *SHORT]) == 0
    said = capsys.readouterr().out
    assert "20 bones of 24 poses. Of 20 held-out poses the distance is" in said
    assert "post.prior=hands.studio.prior.pt" in said
    prior = load_prior(tmp_path / "hands.studio.prior.pt", HAND)
    assert (prior.dims, prior.width, prior.bones) == (2, 8, HAND.edges)
    assert main(["prior", "hands.studio", *SMALL, *SHORT]) == 2
    assert "exists; pass --overwrite" in capsys.readouterr().err


def test_of_depth_in_space(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train=20", "test=20", "size=32", "--output", "deep.pt"]
    assert main(["prior", "depth_hands.ideal", *words, *SHORT]) == 0
    assert load_prior(tmp_path / "deep.pt", HAND).dims == 3


def test_of_an_experiment(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sides = [f"{side}.{word}" for side in ("source", "target") for word in SMALL]
    assert main(["prior", "demo", *sides, *SHORT, "tracking=off"]) == 0
    assert (tmp_path / "demo.prior.pt").exists()
    words = [*sides, "pretrain_steps=0", "steps=1", "batch=2", "tracking=off", "model.input_size=[32,32]"]
    words += ["model.backbone=small", "model.weights=null", "model.channels=8", "model.heatmap_size=[8,8]"]
    notes = prepare(load("demo", words), ["post"]).notes
    assert "POST runs without a prior of poses: make one with keyshift prior, and name it as post.prior=FILE" in notes
    capsys.readouterr()
    assert main(["train", "demo", *words, "strategy=post", "output=run", "post.prior=demo.prior.pt"]) == 0
    assert "without a prior" not in capsys.readouterr().out
    assert main(["prior", "run", *SHORT, "--output", "own.pt"]) == 0
    assert main(["prior", "run", *SHORT, "--output", "nowhere/own.pt"]) == 2
    assert "there is no folder nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["hands.studio", "prior.update=3"], "unknown key prior.update. Did you mean prior.updates"),
        (["hands.studio", "train=8", "test=8", "size=32", *SHORT], "a prior needs 20 poses"),
        (["nothing"], "nothing"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, capsys, words, text):
    monkeypatch.chdir(tmp_path)
    assert main(["prior", *words]) == 2
    assert text in capsys.readouterr().err
