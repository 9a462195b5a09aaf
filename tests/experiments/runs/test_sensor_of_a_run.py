"""Other cameras and the target's sensor in a run: said and shown, the same again when it goes on, refused where no
source stands beside a target."""

from pathlib import Path

import pytest
import torch
import yaml

from keyshift.adapt.trainer import Trainer
from keyshift.datasets.catalog import DATASETS, Data
from keyshift.datasets.views import View
from keyshift.experiments.cli import main
from keyshift.models.saved import load_checkpoint

FEW = {"train": 12, "test": 8}
RUN = {
    "name": "toys",
    "source": {"name": "scenes.plain", **FEW},
    "target": {"name": "scenes.shifted", **FEW},
    "model": {"name": "bottom_up", "channels": 8},
    "strategy": "bn_control",
    "batch": 4,
    "steps": 4,
    "pretrain_steps": 0,
    "evaluate_every": 4,
    "checkpoint_every": 2,
    "tracking": "off",
    "sensor": 0.8,
    "cameras": {"focal": [0.8, 1.3], "principal": 0.1, "distortion": 0.2},
}


@pytest.fixture
def home(tmp_path, registered, monkeypatch, no_export):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    Path("toys.yaml").write_text(yaml.safe_dump(RUN))
    return registered


def weights(folder):
    return load_checkpoint(Path(folder) / "checkpoint.pt")["strategy"]


def same(a, b):
    return all(torch.equal(a[key], b[key]) for key in a)


def test_what_is_estimated_is_said_and_shown_and_a_run_goes_on_with_it(home, monkeypatch, capsys):
    assert main(["train", "toys.yaml", "output=runs/whole"]) == 0
    assert "sensor: noise" in capsys.readouterr().out
    assert Path("runs/whole/sensor.png").read_bytes()[:4] == b"\x89PNG"
    after = Trainer.after
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "after", lambda self, done, stop: after(self, done, stop or done == 2))
        assert main(["train", "toys.yaml", "output=runs/broken"]) == 130
    assert main(["train", "runs/broken"]) == 0
    assert same(weights("runs/whole"), weights("runs/broken"))
    assert main(["train", "toys.yaml", "output=runs/plain", "sensor=0"]) == 0
    assert not same(weights("runs/whole"), weights("runs/plain"))


def test_no_label_of_the_target_says_what_its_sensor_is(home, monkeypatch):
    assert main(["train", "toys.yaml", "output=runs/labels"]) == 0
    scenes = DATASETS["scenes.shifted"]

    class Unknown(View):
        def __getitem__(self, index):
            item = self.dataset[index]
            if self.name.endswith("train"):
                item.keypoints[:] = 5.0
                item.annotated[:] = True
            return item

    opener = scenes.open
    monkeypatch.setitem(DATASETS, "scenes.shifted", Data(lambda *a: Unknown(opener(*a)), scenes.Options))
    assert main(["train", "toys.yaml", "output=runs/noise"]) == 0
    assert same(weights("runs/labels"), weights("runs/noise"))


@pytest.mark.parametrize("words", [["strategy=source_only"], ["strategy=mean_teacher_free"], ["strategy=oracle"]])
def test_where_no_source_stands_beside_a_target_a_sensor_is_refused(home, capsys, words):
    assert main(["train", "toys.yaml", *words]) == 2
    said = capsys.readouterr().err
    assert "trains on no source beside a target. Leave sensor at 0" in said


def test_too_few_pictures_are_refused_before_anything_is_written(home, capsys):
    assert main(["train", "toys.yaml", "target.train=6"]) == 2
    assert "6 of the target are too few, 8 is the least" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_sequences_have_no_sensor(home, capsys):
    lifted = {"source": {"name": "sequences.plain"}, "target": {"name": "sequences.shifted"}}
    Path("lifted.yaml").write_text(yaml.safe_dump({**RUN, **lifted, "model": {"name": "lifter", "channels": 8}}))
    assert main(["train", "lifted.yaml"]) == 2
    assert "is of pictures and depth frames" in capsys.readouterr().err
    assert main(["train", "lifted.yaml", "sensor=0"]) == 0
