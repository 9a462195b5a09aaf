"""A plan that takes a second: toy clips, and toy lifters whose points are in space."""

import pytest
import yaml

from keyshift.experiments.lab.plan import read_plan

OPTIONS = {"name": "adam", "rate": 0.01, "weight_decay": 0.0}
PLAN = {
    "base": {
        "source": {"name": "clips.plain"},
        "target": {"name": "clips.shifted"},
        "model": {"name": "clip_net", "channels": 8},
        "augmentation": {"rotation": 10.0},
        "batch": 4,
        "pretrain_steps": 4,
        "steps": 4,
        "pretrain": OPTIONS,
        "optimization": OPTIONS,
        "evaluate_every": 2,
        "checkpoint_every": 2,
        "device": "cpu",
    },
    "pairs": {
        "clips": {"half": "a", "kind": "light"},
        "lifts": {
            "half": "b",
            "kind": "camera",
            "source": {"name": "sequences.plain"},
            "target": {"name": "sequences.shifted"},
            "model": {"name": "lifter", "channels": 8},
            "augmentation": {"rotation": 0.0, "area": [1.0, 1.0], "color": 0.0, "blur": 0.0},
        },
    },
    "candidates": {
        "bn_control": {"strategy": "bn_control"},
        "surer": {"strategy": "surer"},
        "surer_hard": {"strategy": "surer", "surer": {"weight": 100.0}, "optimization": {"rate": 0.1}},
    },
    "seeds": [0, 1],
}


@pytest.fixture
def plan_file(registered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
    return "plan.yaml"


@pytest.fixture
def plan(plan_file):
    return read_plan([plan_file])
