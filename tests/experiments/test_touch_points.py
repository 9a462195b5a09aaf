"""The table of touch points in CONTRIBUTING: a system, a strategy, a dataset, a label-free score is one class or
function and one line in its registry. With no more than that it works through the command line."""

import json
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from keyshift.adapt.scoring.label_free import SCORES
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.trainer import Trainer
from keyshift.datasets.catalog import DATASETS, Data
from keyshift.datasets.skeleton import HAND
from keyshift.experiments.cli import main
from keyshift.experiments.config import load
from keyshift.experiments.runs import shipping
from keyshift.experiments.runs.job import Job
from keyshift.models.saved import MODELS, load_checkpoint, load_model

SHORT = {
    "batch": 4,
    "pretrain_steps": 3,
    "steps": 4,
    "evaluate_every": 2,
    "checkpoint_every": 2,
    "log_every": 1,
    "seeds": 1,
    "tracking": "off",
    "pretrain": {"name": "adam", "rate": 0.01},
    "optimization": {"name": "adam", "rate": 0.005},
}
FEW = {"train": 12, "test": 8}
SCENES = {
    "name": "toys",
    "source": {"name": "scenes.plain", **FEW},
    "target": {"name": "scenes.shifted", **FEW},
    "model": {"name": "bottom_up", "channels": 8, "threshold": 0.5},
}
SEQUENCES = {
    "name": "lifted",
    "source": {"name": "sequences.plain", **FEW},
    "target": {"name": "sequences.shifted", **FEW},
    "model": {"name": "lifter", "channels": 8},
}
HANDS = {
    "name": "hands",
    "source": {"name": "hands.studio", "train": 12, "test": 4, "size": 32},
    "target": {"name": "hands.webcam", "train": 12, "test": 4, "size": 32},
    "model": {"name": "pose_resnet", "backbone": "small", "input_size": [32, 32], "heatmap_size": [8, 8]},
}


@pytest.fixture
def home(tmp_path, monkeypatch, no_export):
    """An empty folder to work in; ONNX takes seconds and is tested in tests/models/test_export.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    for content in (SCENES, SEQUENCES, HANDS):
        Path(f"{content['name']}.yaml").write_text(yaml.safe_dump(content | SHORT))
    return tmp_path


def write_pictures(toys, folder, count=30):
    Path(folder).mkdir()
    scenes = toys.Scenes(toys.Scenes.Options(train=count), "train", "shifted")
    for i in range(count):
        cv2.imwrite(f"{folder}/{i:03d}.png", scenes[i].image[..., ::-1])


def results(folder):
    return json.loads(Path(folder, "results.json").read_text())


def weights(folder):
    return load_checkpoint(Path(folder) / "checkpoint.pt")["strategy"]


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def logged(folder):
    return [json.loads(line)["metrics"] for line in Path(folder, "metrics.jsonl").read_text().splitlines()]


def no_opener(*_):
    raise AssertionError("this dataset is not to be opened")


# What it takes to add one


@pytest.mark.parametrize(
    ("registry", "lines", "words"),
    [
        (MODELS, {"bottom_up": "SYSTEMS"}, ["model.name=bottom_up"]),
        (STRATEGIES, {"surer": "METHODS"}, ["strategy=surer"]),
        (STRATEGIES, {"relabel": "METHODS"}, ["strategy=relabel"]),
        (DATASETS, {"scenes.shifted": "SETS"}, ["target.name=scenes.shifted"]),
        (SCORES, {"constant": None}, ["score=constant"]),
    ],
    ids=["system", "strategy", "rounds", "dataset", "score"],
)
def test_one_line_is_enough(home, toys, monkeypatch, capsys, registry, lines, words):
    ((name, entries),) = lines.items()
    train = ["train", "hands.yaml", *words]
    assert main(train) == 2  # before
    assert name in capsys.readouterr().err
    entry = (lambda *_: 0.25) if entries is None else getattr(toys, entries)[name]
    monkeypatch.setitem(registry, name, entry)
    if registry is DATASETS:  # whose dots have other names than hands have
        monkeypatch.setattr(toys.Scenes, "skeleton", HAND.select(HAND.keypoints[:3]))
        monkeypatch.setitem(MODELS, "bottom_up", toys.BottomUp)
        train += ["model.name=bottom_up"]
    assert main(train) == 0
    (run,) = Path("runs").glob("hands-*")
    assert registry is not SCORES or logged(run)[-1]["target/score"] == 0.25
    assert main([*train, "steps=5"]) == 2
    assert "steps was 4, now 5" in capsys.readouterr().err


def test_options_of_what_was_added_are_listed(home, registered, capsys):
    assert main(["options", "bottom_up", "surer", "scenes.plain"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in ("model bottom_up", "people of a picture", "strategy surer", "of the entropy", "pictures to train on"):
        assert part in text
    assert main(["options", "--markdown"]) == 0
    text = capsys.readouterr().out
    assert "## model bottom_up" in text
    assert "| threshold | 0.3 | at least 0, at most 1 | of a person's score |" in text


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.treshold=0.5", "unknown key model.treshold. Did you mean model.threshold?"),
        ("model.threshold=2", "model.threshold=2.0 must be at least 0, at most 1"),
        ("model.most=none", "model.most"),
        ("surer.wieght=1", "unknown key surer.wieght. Did you mean surer.weight?"),
        ("surer.weight=-1", "surer.weight=-1.0 must be at least 0"),
        ("relabel.lenght=3", "Did you mean relabel.length?"),
        ("target.sise=64", "Did you mean target.size?"),
        ("model.name=bottomup", "Did you mean bottom_up?"),
        ("strategies=[srer]", "Did you mean surer?"),
        ("source.name=scenes.plane", "Did you mean scenes.plain?"),
    ],
)
def test_wrong_options_are_refused_with_the_nearest(home, registered, capsys, word, message):
    assert main(["compare", "toys.yaml", word]) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


# Several people in a picture


def test_people_are_compared(home, registered, capsys):
    words = ["compare", "toys.yaml", "strategies=[source_only,regda,mean_teacher,surer]"]
    assert main(words) == 0
    out = capsys.readouterr().out
    written = results("runs/toys")
    assert set(written["strategies"]) == {"given", "source_only", "regda", "mean_teacher", "surer"}
    summary = written["summary"]
    assert {name: row["base"] for name, row in summary.items()} == {
        "given": "given",
        "surer": "given",  # it has no source
        **dict.fromkeys(("source_only", "regda", "mean_teacher"), "source_only"),
    }
    target = {name: runs["0"]["target"]["ap"] for name, runs in written["strategies"].items()}
    assert written["metric"] == "ap"
    assert summary["surer"]["gain"]["mean"] == pytest.approx(target["surer"] - target["given"])
    assert summary["regda"]["gain"]["mean"] == pytest.approx(target["regda"] - target["source_only"])
    assert all(
        {"missed", "invented", "ap50", "ar"} <= set(runs["0"]["target"]) for runs in written["strategies"].values()
    )
    assert "missed" in out
    assert "is over" in out
    page = Path("runs/toys/report.html").read_text()
    for text in (out, page):
        assert "OKS-AP" in text
        assert "0.072 for all keypoints" in text
    for name in (*summary, "Surer", "Mean teacher", "People in pictures", "AP50", "precision over recall", "PCK@0.1"):
        assert name in page
    assert Path("runs/toys/regda-seed0/predictions.png").stat().st_size > 1000
    stamps = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.pt")}
    assert main(words) == 0  # what is finished is kept
    assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.pt")} == stamps
    capsys.readouterr()
    assert main(["evaluate", "runs/toys/regda-seed0"]) == 0
    out = capsys.readouterr().out
    run = written["strategies"]["regda"]["0"]["target"]
    row = next(line for line in out.splitlines() if "regda-seed0" in line)
    assert [cell.strip() for cell in row.split("│")[2:7]] == [
        *(f"{run['ap']:.4f}", f"{run['auc']:.4f}", f"{run['epe']:.2f}"),
        *(str(run.get("missed", 0)), str(run.get("invented", 0))),
    ]
    assert main(["evaluate", "runs/toys"]) == 0
    assert main(["runs"]) == 0
    assert "toys" in capsys.readouterr().out


@pytest.mark.parametrize("strategy", ["relabel", "surer"])
def test_a_killed_run_goes_on_to_the_same_weights(home, registered, monkeypatch, strategy):
    train = ["train", "toys.yaml", f"strategy={strategy}", "relabel.length=3"]
    assert main([*train, "output=runs/whole"]) == 0
    after = Trainer.after

    def interrupted(self, done, stop):
        return after(self, done, stop or (done == 2 and self.folder.name == "broken"))

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "after", interrupted)
        assert main([*train, "output=runs/broken"]) == 130
    assert load_checkpoint(Path("runs/broken/checkpoint.pt"))["step"] == 2
    assert not Path("runs/broken/result.json").exists()
    assert main(["train", "runs/broken"]) == 0
    same(weights("runs/whole"), weights("runs/broken"))


def test_a_run_is_adapted_to_own_pictures(home, registered, monkeypatch, capsys):
    monkeypatch.setattr(shipping, "CHANCE", 0.0)  # a toy of four updates and few pictures is trained on all the same
    monkeypatch.setattr(shipping, "FEWEST", 1)
    write_pictures(registered, "wild")
    assert main(["train", "toys.yaml", "strategy=source_only", "output=runs/given"]) == 0
    adapt = ["adapt", "runs/given", "--target", "wild", "target.block=5"]
    assert main([*adapt, "--output", "runs/adapted"]) == 0
    outcome = json.loads(Path("runs/adapted/adapt.json").read_text())
    assert outcome["strategy"] == "keyshift"
    assert 0 <= outcome["after"]["consistency"] <= 1
    model, skeleton = load_model(Path("runs/adapted/model.pt"))
    assert type(model) is registered.BottomUp
    assert skeleton.keypoints == registered.DOTS.keypoints
    assert "data:image/jpeg" in Path("runs/adapted/report.html").read_text()
    assert all("target/score" in metrics for metrics in logged("runs/adapted") if "source/pck" in metrics)
    assert main([*adapt, "--strategy", "relabel", "--output", "runs/relabelled"]) == 0


def test_weights_alone_are_adapted_without_a_source(home, registered, monkeypatch, capsys):
    """Neither asked for nor opened: every other dataset would raise."""
    write_pictures(registered, "wild")
    assert main(["train", "toys.yaml", "strategy=source_only", "output=runs/given"]) == 0
    (path,) = Path("runs/given").glob("weights-000004.pt")
    path.rename("given.pt")
    for name, entry in DATASETS.items():
        if name != "pictures":
            monkeypatch.setitem(DATASETS, name, Data(no_opener, entry.Options))
    short = [f"{key}={value}" for key, value in SHORT.items() if not isinstance(value, dict) and key != "seeds"]
    short.remove("pretrain_steps=3")
    adapt = ["adapt", "given.pt", "--target", "wild", "target.block=5", *short]
    assert main([*adapt, "--strategy", "mean_teacher"]) == 2
    assert "say --source EXPERIMENT" in capsys.readouterr().err
    assert main([*adapt, "--strategy", "surer", "--output", "runs/adapted"]) == 0
    assert json.loads(Path("runs/adapted/adapt.json").read_text())["before"]["classifier"] is None
    assert set(json.loads(Path("runs/adapted/identity.json").read_text())) == {"target_train", "target_test"}
    assert load_model(Path("runs/adapted/model.pt"))[0].options.channels == 8


def test_a_comparison_from_given_weights_opens_no_source(home, registered, monkeypatch, capsys):
    assert main(["train", "toys.yaml", "strategy=source_only", "output=runs/given"]) == 0
    monkeypatch.setitem(DATASETS, "scenes.plain", Data(no_opener, registered.Scenes.Options))
    capsys.readouterr()
    words = ["compare", "toys.yaml", "start=runs/given", "output=runs/free"]
    assert main([*words, "strategies=[surer]"]) == 0
    out = capsys.readouterr().out
    assert "gain over given" in out
    assert "a given model -> scenes.shifted" in out
    written = results("runs/free")
    assert list(written["strategies"]) == ["given", "surer"]
    assert all(run["source"] is None for runs in written["strategies"].values() for run in runs.values())
    assert written["summary"]["surer"]["base"] == "given"
    assert written["summary"]["surer"]["gain"]["mean"] is not None
    assert written["summary"]["given"]["gain"]["mean"] is None
    (path,) = Path("runs/given").glob("weights-000004.pt")
    own = {name.removeprefix("model."): value for name, value in weights("runs/free/given-seed0").items()}
    same(own, load_model(path)[0].state_dict())
    assert main(["evaluate", "runs/free"]) == 0
    assert main(["evaluate", "runs/free/surer-seed0"]) == 0


# Keypoints alone


def test_sequences_are_lifted_and_judged_in_mm(home, registered, capsys):
    assert main(["compare", "lifted.yaml", "strategies=[source_only,mean_teacher,surer,relabel,oracle]"]) == 0
    out = capsys.readouterr().out
    written = results("runs/lifted")
    assert written["metric"] == "mm"
    assert "mean error in mm" in out
    mm = {name: runs["0"]["target"]["mm"] for name, runs in written["strategies"].items()}
    assert all(0 < value < 5000 for value in mm.values())
    gain = written["summary"]["mean_teacher"]["gain"]["mean"]
    assert gain == pytest.approx(mm["source_only"] - mm["mean_teacher"])  # what it takes off the error
    assert Path("runs/lifted/report.html").stat().st_size > 10_000
    capsys.readouterr()
    assert main(["evaluate", "runs/lifted/surer-seed0"]) == 0
    assert f"{mm['surer']:.3f}" in capsys.readouterr().out


def test_what_reads_no_pictures_is_told_so(home, registered, capsys):
    write_pictures(registered, "wild", 6)
    assert main(["train", "lifted.yaml", "strategy=source_only", "output=runs/lifted"]) == 0
    capsys.readouterr()
    assert main(["adapt", "runs/lifted", "--target", "wild", "--strategy", "surer"]) == 2
    assert "Lifter reads keypoints2d; pictures.train gives image" in capsys.readouterr().err
    assert main(["predict", "runs/lifted", "wild"]) == 2
    assert re.search(r"keyshift: error: .*keypoints2d.*\n$", capsys.readouterr().err)


def test_a_clip_is_trained_on(home, registered, capsys):
    words = ["source.name=clips.plain", "target.name=clips.shifted", "model.name=clip_net"]
    assert main(["compare", "toys.yaml", *words, "strategies=[source_only,relabel]", "output=runs/clips"]) == 0
    assert "is finished" not in capsys.readouterr().out
    assert main(["compare", "runs/clips"]) == 0
    assert "runs/clips is finished: nothing is trained" in capsys.readouterr().out
    assert results("runs/clips")["metric"] == "pck@0.1"


def write_film(toys, folder, count=20):
    """Frames of a walk before one wall, and a label file of every second one."""
    clips, start = toys.Clips(toys.Clips.Options(train=1), "train"), np.array([[10.0, 10], [20, 10], [15, 20]])
    Path(folder).mkdir()
    images, annotations = [], []
    for i in range(count):
        points = start + 0.2 * i
        cv2.imwrite(f"{folder}/f{i:03d}.png", clips.picture([points], np.random.default_rng(0))[..., ::-1])
        if i % 2:
            images.append({"id": i, "file_name": f"f{i:03d}.png"})
            flat = np.concatenate([points - 0.5, np.full((3, 1), 2)], 1).ravel().tolist()
            annotations.append({"id": i, "image_id": i, "category_id": 1, "keypoints": flat, "bbox": [0, 0, 32, 32]})
    categories = [{"id": 1, "name": "dots", "keypoints": list(toys.DOTS.keypoints)}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    Path(f"{folder}.json").write_text(json.dumps(content))


def test_frames_of_your_own_are_read_in_clips_on_both_sides(home, registered, monkeypatch, capsys):
    write_film(registered, "film")
    shown, features = [], registered.ClipNet.features

    def look(self, sample):
        shown.append((sample.id, tuple(sample.image.shape[1:]), sample.inputs["margins"].tolist()))
        return features(self, sample)

    monkeypatch.setattr(registered.ClipNet, "features", look)
    source = ["source.name=coco_json", "source.labels=film.json", "source.root=film", "source.block=2"]
    words = [*source, "target.name=pictures", "target.root=film", "model.name=clip_net"]
    assert main(["compare", "toys.yaml", *words, "strategies=[relabel]", "output=runs/film"]) == 0
    assert {shape for _, shape, _ in shown if len(shape) == 4} == {(3, 3, 32, 32)}
    seen = {name for names, shape, margins in shown for name, one in zip(names, margins, strict=True) if one == [1, 1]}
    assert {"1", "3", "f004.png", "f005.png"} <= seen
    Path("photos").mkdir()
    for i in range(12):
        cv2.imwrite(f"photos/{i}.png", np.random.default_rng(i).integers(0, 255, (40, 40, 3), np.uint8))
    assert main(["compare", "toys.yaml", *words, "target.root=photos", "strategies=[relabel]", "output=runs/no"]) == 2
    error = capsys.readouterr().err
    assert "ClipNet reads clips of 3 frames; pictures.train gives no clips of 3 frames, for of its pictures" in error
    assert not Path("runs/no").exists()


# What does not fit


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["source.name=sequences.plain"],
            "BottomUp reads image; sequences.plain.train gives camera and keypoints2d",
        ),
        (["model.name=lifter"], "Lifter reads keypoints2d; scenes.plain.train gives image"),
        (
            ["model.name=pose_resnet", "model.backbone=small", "model.input_size=[32,32]", "model.heatmap_size=[8,8]"],
            "PoseResNet answers each picture with one person; scenes.plain.train gives pictures of several",
        ),
        (["model.name=clip_net"], "ClipNet reads clips of 3 frames; scenes.plain.train gives single frames"),
        (["target.name=clips.shifted"], "BottomUp reads single frames; clips.shifted.train gives clips of 3 frames"),
        (["model.name=nosuch"], "model.name='nosuch' is not known"),
        (["target.name=hands.webcam", "target.size=32"], "share no keypoint name"),
    ],
)
def test_both_sides_are_named_where_they_do_not_fit(home, registered, capsys, words, message):
    assert main(["compare", "toys.yaml", *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


def test_pictures_with_points_in_the_camera_are_no_pixels(home, registered, capsys, monkeypatch):
    """A system that answers in pixels of a picture is not trained on labels in mm."""

    class Spatial(registered.Sequences):
        def __getitem__(self, index):
            return replace(super().__getitem__(index), image=self.picture([], np.random.default_rng(0)))

    monkeypatch.setitem(DATASETS, "spatial", Data(Spatial, Spatial.Options))
    assert main(["compare", "toys.yaml", "source.name=spatial"]) == 2
    assert "BottomUp answers in pixels; spatial.plain.train has camera mm" in capsys.readouterr().err


# Elsewhere


ELSEWHERE = """
import importlib.util, pickle, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("toys", sys.argv[1])
toys = sys.modules["toys"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toys)
toys.register(lambda registry, name, entry: registry.__setitem__(name, entry))
import torch
torch.set_num_threads(int(sys.argv[2]))
from keyshift.experiments.runs import conclusion
conclusion.to_onnx = lambda *_: None
from keyshift.experiments.runs.engine import Engine
from keyshift.experiments.runs.folder import locked
from keyshift.experiments.runs.progress import Reporter
for path in sys.argv[3:]:
    job, reporter = pickle.loads(Path(path).read_bytes()), Reporter()
    with locked(Path(job.folder)), Engine(job.task(), Path(job.folder), reporter) as engine:
        engine.do(job)
"""


def test_jobs_are_done_elsewhere_with_the_same_weights(home, registered, toys):
    """As plain data to another process, that has never seen this one's configuration. What needs no source is scored on
    the source there too where others of its comparison need one."""
    every = ["relabel.length=3", "surer.weight=0.5"]
    every += ["precision=32-true", "channels_last=true"]  # what is left open would be settled here and there
    assert main(["train", "toys.yaml", "strategy=source_only", "output=runs/given"]) == 0
    for strategy, words in ("relabel", every), ("surer", [*every, "start=runs/given"]):
        words = [f"strategies=[source_only,{strategy}]", *words]
        assert main(["compare", "toys.yaml", *words, f"output=runs/here/{strategy}"]) == 0
        job = Job.of(load("toys.yaml", words), strategy, 0, Path(f"runs/there/{strategy}/{strategy}-seed0"))
        Path(f"{strategy}.pickle").write_bytes(pickle.dumps(job))
        json.dumps(job.config)  # plain data
    command = [sys.executable, "-c", ELSEWHERE, toys.__file__, str(torch.get_num_threads())]
    subprocess.run([*command, "relabel.pickle", "surer.pickle"], check=True, timeout=120)
    for strategy in ("relabel", "surer"):
        here, there = (Path(f"runs/{place}/{strategy}/{strategy}-seed0") for place in ("here", "there"))
        same(weights(here), weights(there))
        before, after = (json.loads((folder / "result.json").read_text()) for folder in (here, there))
        assert before["target"] == after["target"]
        assert before["source"] == after["source"]
