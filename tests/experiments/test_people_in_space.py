"""Systems of people in space from the command line: a 2D set beside a 3D source, mm in results, what does not fit."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from keyshift.adapt.trainer import Trainer
from keyshift.datasets.catalog import DATASETS, Data
from keyshift.datasets.reading.images import UnreadableImage
from keyshift.datasets.views import InSpace, Rows, View, cameras_of
from keyshift.experiments.cli import main
from keyshift.experiments.config import build, load, load_folder, of_pretraining, plain
from keyshift.experiments.runs.task import prepare
from keyshift.models.saved import load_checkpoint, load_model

FEW = {"train": 10, "test": 6}
SPACE = {
    "name": "space",
    "source": {"name": "persons.plain", **FEW},
    "beside": {"name": "sketches.plain", "train": 4},
    "target": {"name": "persons.shifted", **FEW},
    "model": {"name": "pose_net", "backbone": "small", "input_size": [32, 32], "channels": 8, "depth_cells": 8},
    "augmentation": {"rotation": 30, "mirror": 0.5},
    "batch": 4,
    "pretrain_steps": 2,
    "steps": 4,
    "evaluate_every": 2,
    "checkpoint_every": 2,
    "log_every": 1,
    "seeds": 1,
    "tracking": "off",
    "pretrain": {"name": "adam", "rate": 0.01},
    "optimization": {"name": "adam", "rate": 0.005},
}
ROOT = ["model.name=root_net", "model.backbone=small", "model.input_size=[32,32]", "model.channels=8"]


@pytest.fixture
def home(tmp_path, monkeypatch, registered, no_export):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    Path("space.yaml").write_text(yaml.safe_dump(SPACE))
    return registered


def weights(folder):
    return load_checkpoint(Path(folder) / "checkpoint.pt")["strategy"]


@pytest.mark.parametrize("system", ["pose_net", "root_net"])
def test_a_comparison_with_a_set_beside_the_source(home, capsys, system):
    """In mm, the same when it is evaluated again; a folder keeps what stands beside, and what differs is refused."""
    words = ["compare", "space.yaml", "strategies=[source_only,mean_teacher]", "flip_test=true"]
    words += ROOT if system == "root_net" else []
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "beside the source, half of its samples: sketches.plain" in out
    written = json.loads(Path("runs/space/results.json").read_text())
    assert written["metric"] == "mm"
    mm = {name: runs["0"]["target"]["mm"] for name, runs in written["strategies"].items()}
    assert all(0 < value < 9000 for value in mm.values())
    run = Path("runs/space/mean_teacher-seed0")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["beside"] == {"name": "sketches.plain", "size": 48, "test": 12, "train": 4}
    identity = json.loads((run / "identity.json").read_text())
    assert identity["source_train"]["beside"]["name"] == "sketches.plain.train"
    assert identity["source_train"]["name"] == "persons.plain.train"
    assert "beside" not in identity["source_test"]
    model, skeleton = load_model(next(run.glob("weights-*.pt")))
    assert (model.extent, skeleton.extent) == (2000, 2000)
    assert main(["evaluate", str(run)]) == 0
    assert f"{mm['mean_teacher']:.3f}" in capsys.readouterr().out
    assert main(words) == 0
    assert "is finished" in capsys.readouterr().out
    assert main([*words, "beside.train=5"]) == 2
    assert "beside" in capsys.readouterr().err


def test_a_killed_run_goes_on_with_what_stood_beside(home, monkeypatch):
    train = ["train", "space.yaml", "strategy=regda", "regda.head_layers=1"]
    assert main([*train, "output=runs/whole"]) == 0
    after = Trainer.after

    def interrupted(self, done, stop):
        return after(self, done, stop or (done == 2 and self.folder.name == "broken"))

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "after", interrupted)
        assert main([*train, "output=runs/broken"]) == 130
    assert main(["train", "runs/broken"]) == 0
    whole, broken = weights("runs/whole"), weights("runs/broken")
    assert all(torch.equal(whole[key], broken[key]) for key in whole)
    assert main([*train, "output=runs/alone", "beside=null"]) == 0
    alone = weights("runs/alone")
    assert any(not torch.equal(whole[key], alone[key]) for key in whole)
    assert "beside" not in yaml.safe_load(Path("runs/alone/config.yaml").read_text())


def test_it_is_said_in_a_file_or_in_words(home):
    config = load("space.yaml")
    assert (config.beside.name, config.beside.options.train) == ("sketches.plain", 4)
    without = {key: value for key, value in SPACE.items() if key != "beside"}
    assert build(without).beside is None
    assert "beside" not in plain(build(without))
    words = build(without, ["beside.name=sketches.plain", "beside.train=4"])
    assert plain(words) == plain(config)
    assert build(plain(config)) == config
    assert load("space.yaml", ["beside=null"]).beside is None
    other = load("space.yaml", ["beside.name=sketches.shifted"])
    assert (other.beside.name, other.beside.options.train) == ("sketches.shifted", 4)
    Path("runs").mkdir()
    Path("runs/config.yaml").write_text(yaml.safe_dump(plain(other)))
    assert load_folder(Path("runs")) == other


def test_pretrained_weights_depend_on_it(home):
    """On its name and its options, and on what it holds."""
    config = load("space.yaml")
    abouts = [of_pretraining(load("space.yaml", words)) for words in ([], ["beside.train=5"], ["beside=null"])]
    assert abouts[0]["beside"]["train"] == 4
    assert all(a != b for i, a in enumerate(abouts) for b in abouts[:i])
    task = prepare(config, ["source_only"])
    assert task.source_train.identity["beside"]["count"] == 4
    assert len(task.source_train) == 20
    assert len(task.source_test) == 6


def other_skeleton(home, name, **changes):
    """A set of the toys under another skeleton."""
    entry = DATASETS[name]
    return Data(
        lambda options, part: View(
            entry.open(options, part), skeleton=replace(entry.open(options, part).skeleton, **changes)
        ),
        entry.Options,
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["source.name=sketches.plain", "beside=null"], "PoseNet learns distances in mm; sketches.plain.train has 2D"),
        ([*ROOT, "source.name=sketches.plain", "beside=null"], "RootNet learns distances in mm; sketches.plain.train"),
        (["source.name=sketches.plain", "beside.name=sketches.shifted"], "sketches.shifted.train has 2D keypoints al"),
        ([*ROOT, "target.name=sketches.plain"], "reads image and camera, fx and fy above 0; sketches.plain.train giv"),
        (["beside.name=clips.plain"], "share no keypoint name: pelvis, left_hand, right_hand; red, green, blue"),
        (["beside.name=scenes.plain"], "share no keypoint name"),
        (
            ["beside.trian=3"],
            "beside.trian=3 is no option of sketches.plain, which takes train, test, size. Did you mean",
        ),
        (["beside.name=sketches.plan"], "Did you mean sketches.plain?"),
        (["flip_test=true", "target.name=sketches.plain", "augmentation.mirror=0"], "flip_test looks at mirror images"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(home, capsys, words, message):
    assert main(["compare", "space.yaml", "strategies=[source_only]", *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


class Blind(View):
    """Of which samples 2, which cannot be read, and 4 have no camera."""

    def __getitem__(self, index):
        if index == 2:
            raise UnreadableImage("two.png is broken")
        return self.dataset[index]

    def cameras(self):
        made = np.full((len(self), 4), 50.0)
        made[[2, 4]] = 0
        return made


def test_mirror_images_are_refused_before_training_where_they_tell_nothing(home, monkeypatch):
    monkeypatch.setattr("keyshift.models.systems.pose_net.PoseNet.single", False)
    with pytest.raises(ValueError, match="flip_test: PoseNet does not answer for one person"):
        prepare(load("space.yaml", ["flip_test=true"]), ["source_only"])


def test_later_samples_without_a_camera_are_said_too(home, capsys, monkeypatch):
    """Of RootNet's target, before anything is written; PoseNet needs none."""
    entry = DATASETS["persons.shifted"]
    monkeypatch.setitem(
        DATASETS, "persons.shifted", Data(lambda options, part: Blind(entry.open(options, part)), entry.Options)
    )
    words = ["train", "space.yaml", "strategy=source_only", "beside=null"]
    assert main([*words, *ROOT]) == 2
    assert "RootNet reads image and camera; 2 of 10 samples of persons.shifted.train have no camera, '" in (
        capsys.readouterr().err
    )
    assert not Path("runs").exists()
    data = Blind(entry.open(entry.Options(**FEW), "train"))
    assert (cameras_of(Rows(InSpace(data, rooted=False), [4, 0]))[:, 0] == [0, 50]).all()
    assert cameras_of(data.dataset) is None
    prepare(load("space.yaml", ["beside=null"]), ["source_only"])


@pytest.mark.parametrize("system", [[], ROOT])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": None}, "says no root, which people in space need"),
        ({"root": 1}, "PoseNet counts from the root 'pelvis'; that of persons.shifted.train is 'left_hand'"),
        ({"extent": 300.0}, "is built for an extent of 2000 mm; persons.shifted.train has 300 mm"),
        ({"extent": 0.0}, "says no extent in mm, which people in space need"),
    ],
)
def test_sides_of_two_kinds(home, capsys, monkeypatch, changes, message, system):
    """Another root, none, or another size on one side. RootNet asks for the same keypoint, whatever its set calls a
    root."""
    monkeypatch.setitem(DATASETS, "persons.shifted", other_skeleton(home, "persons.shifted", **changes))
    known = bool(system) and "root" in changes
    assert main(["train", "space.yaml", "strategy=source_only", *system]) == (0 if known else 2)
    assert known or message in capsys.readouterr().err


def test_a_source_without_a_root_is_refused_by_both(home, capsys, monkeypatch):
    monkeypatch.setitem(DATASETS, "persons.plain", other_skeleton(home, "persons.plain", root=None))
    for words, name in (([], "PoseNet"), (ROOT, "RootNet")):
        assert main(["train", "space.yaml", "strategy=source_only", *words]) == 2
        assert f"{name} " in (error := capsys.readouterr().err)
        assert "has none: pelvis, left_hand, right_hand. Both sides need the same root" in error


def test_a_set_beside_the_source_is_named_first(home, capsys):
    content = SPACE | {"beside": {"train": 4}}
    with pytest.raises(ValueError, match=r"beside is a second labelled set beside the source; say beside.name=NAME"):
        build(content)
    with pytest.raises(ValueError, match=r"say beside.name=NAME"):
        build(SPACE | {"beside": None}, ["beside.train=3"])
