"""DCPose through the command line: its single-frame network in a run of its own, the whole over it, and what is said of
data and weights that do not fit."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from keyshift.experiments.cli import main
from keyshift.models.saved import load_checkpoint, load_model

RATE = {"name": "adam", "rate": 0.003}
FEW = {"train": 12, "test": 8}
WALKS = {
    "name": "walks",
    "source": {"name": "clips.plain", **FEW},
    "target": {"name": "clips.shifted", **FEW},
    "model": {
        "name": "dcpose",
        "backbone": "small",
        "input_size": [32, 32],
        "channels": 8,
        "fused": 8,
        "sigma": 1.0,
        "dilations": [1, 2],
    },
    "pretrain": RATE,
    "optimization": RATE,
    **{"batch": 4, "pretrain_steps": 2, "steps": 2, "evaluate_every": 2, "checkpoint_every": 2, "log_every": 1},
    **{"seeds": 1, "tracking": "off", "device": "cpu"},
}


@pytest.fixture
def home(tmp_path, monkeypatch, registered, no_export):
    """Files are exported in tests/models/systems/test_dcpose.py."""
    monkeypatch.chdir(tmp_path)
    Path("walks.yaml").write_text(yaml.safe_dump(WALKS))
    return tmp_path


def test_from_one_frame_to_three(home, capsys):
    """What the first run has learned stands frozen in every strategy of the second, unless that frees it."""
    rough = ["train", "walks.yaml", "strategy=source_only", "model.stage=rough", "output=runs/rough"]
    assert main(rough) == 0
    given = load_model(home / "runs/rough/weights-000002.pt")[0].state_dict()
    over = ["compare", "walks.yaml", "model.weights=runs/rough", "strategies=[source_only,regda]"]
    for words, same in ([], True), (["model.frozen=false"], False):
        folder = f"runs/full{same}"
        assert main([*over, *words, f"output={folder}"]) == 0
        written = json.loads(Path(folder, "results.json").read_text())
        assert written["metric"] == "pck@0.1"
        for name in ("source_only", "regda"):
            model = load_model(next(Path(folder, f"{name}-seed0").glob("weights-*.pt")))[0]
            assert bool(model.held) == same
            state = model.state_dict()
            equal = [torch.equal(state[key.replace("head.", "rough.")], value) for key, value in given.items()]
            assert all(equal) == same
    state = load_checkpoint(home / "runs/fullTrue/regda-seed0/checkpoint.pt")["strategy"]
    assert all(value.isfinite().all() for value in state.values())
    capsys.readouterr()
    assert main(["evaluate", "runs/fullTrue/regda-seed0"]) == 0
    assert "PCK@0.1" in capsys.readouterr().out
    again = ["train", "walks.yaml", "strategy=source_only", "start=runs/rough", "output=runs/again"]
    assert main(again) == 2
    assert (
        "is of model.stage=rough, not full: say model.stage=rough, or build a full one on it" in capsys.readouterr().err
    )
    assert not Path("runs/again").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["source.name=scenes.plain"], "DCPose reads image and margins; scenes.plain.train gives image"),
        (["model.frozen=true"], "model.frozen=true freezes weights that are random: say model.weights or start"),
        (["model.weights=no/such.pt"], "model.weights=no/such.pt: no such file"),
        (["model.weights=runs/none"], "model.weights=runs/none: no such file"),
    ],
)
def test_what_does_not_fit_is_said(home, capsys, words, message):
    assert main(["compare", "walks.yaml", *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()
