"""One pass over a small video and folder: what is answered, in which order, and what a killed job leaves."""

import json
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch

from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.tent import Tent
from keyshift.adapt.prior import PosePrior, save_prior
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.loading import EvaluationBatches
from keyshift.datasets.reading.video import write_video
from keyshift.datasets.sample import transform
from keyshift.experiments.cli import main
from keyshift.experiments.commands import adapt_online as job
from keyshift.experiments.commands.predict import predict
from keyshift.experiments.runs import prediction_inputs
from keyshift.experiments.runs.prediction_inputs import Inputs
from keyshift.experiments.runs.progress import Reporter
from keyshift.models.saved import load_checkpoint, load_model, save_model
from keyshift.models.systems.pose_resnet import PoseResNet

COUNT, BATCH = 9, 4
"""The last batch has one picture."""
PLACED = ("tracking=off", "device=cpu", f"batch={BATCH}")


@pytest.fixture
def given(tmp_path, monkeypatch, dots):
    """A network with statistics of its own and no training, and nine pictures."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    model = PoseResNet(3, PoseResNet.Options(backbone="small", channels=16, sigma=1.0, **sizes)).train()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    plain = EvaluationBatches(dots(32), 32, (32, 32))[0]
    with torch.no_grad():
        model(plain)
    save_model(tmp_path / "given.pt", model, dots.skeleton, 1)
    (tmp_path / "camera").mkdir()
    for number in range(COUNT):
        cv2.imwrite(str(tmp_path / f"camera/{number}.png"), dots(COUNT, "shifted")[number].image[..., ::-1])
    return tmp_path / "given.pt"


def adapt(*words, target="camera", output="runs/out"):
    return main(["adapt", "given.pt", "--target", target, "--online", "--output", output, *PLACED, *words])


def points_of(path):
    """File names in their order, and points (N, K, 2)."""
    content = json.loads(path.read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    people = content["annotations"]
    return [names[one["image_id"]] for one in people], np.array([one["keypoints"] for one in people]).reshape(-1, 3, 3)


def test_each_batch_is_answered_before_it_is_learned_from(given, tmp_path, dots, capsys):
    """By a loop that steps Tent itself; the last picture is answered in a batch with the three before it."""
    assert adapt("tent.rate=0.01") == 0
    model, skeleton = load_model(given)
    tent = Tent(model, skeleton, Optimization(), options=Tent.Options(rate=0.01)).train()
    adam, wanted = tent.optimizers()["norms"][0], []
    for rows in (range(4), range(4, 8), range(5, 9)):
        crops = [EvaluationBatches(dots(COUNT, "shifted"), 1, (32, 32))[row] for row in rows]
        batch = EvaluationBatches(dots(4, "shifted", first=rows[0]), 4, (32, 32))[0].without_labels()
        assert torch.equal(batch.image, torch.cat([one.image for one in crops]))
        ((losses, _),) = tent.step(None, batch)
        wanted.append(transform(batch.to_file, tent.poses.points))
        adam.zero_grad()
        losses["entropy"].backward()
        adam.step()
    wanted[-1] = wanted[-1][-1:]
    names, points = points_of(tmp_path / "runs/out/predictions.json")
    assert names == [f"{number}.png" for number in range(COUNT)]
    np.testing.assert_allclose(points[..., :2] + 0.5, torch.cat(wanted), atol=2e-3)
    left, _ = load_model(tmp_path / "runs/out/model.pt")
    for key, value in tent.predictor.state_dict().items():
        torch.testing.assert_close(left.state_dict()[key], value)
    lines = [json.loads(line) for line in (tmp_path / "runs/out/predictions.jsonl").read_text().splitlines()]
    assert [line["file_name"] for line in lines] == names
    content = json.loads((tmp_path / "runs/out/predictions.json").read_text())
    assert [{"file_name": n} | a for n, a in zip(names, content["annotations"], strict=True)] == lines
    assert content["info"]["online"] == {"strategy": "tent", "batch": BATCH}
    predict(given, [tmp_path / "camera"], tmp_path / "plain.json", Reporter(), device="cpu")
    plain = json.loads((tmp_path / "plain.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [image["file_name"] for image in plain["images"]]
    assert plain.keys() == content.keys()
    outcome = json.loads((tmp_path / "runs/out/online.json").read_text())
    apart = np.linalg.norm(points_of(tmp_path / "plain.json")[1][..., :2] - points[..., :2], axis=-1) > 0.05 * 32
    assert outcome["moved"] == pytest.approx(apart.mean())
    assert outcome["moved"] > 0
    assert (outcome["pictures"], outcome["updates"]) == (COUNT, 3)
    said = capsys.readouterr().out
    assert "9 pictures in 3 updates" in said
    assert "no label says which of the two is right" in said
    assert main(["runs"]) == 0
    assert "finished" in capsys.readouterr().out


def test_a_killed_stream_leaves_what_it_answered(given, tmp_path, monkeypatch, capsys):
    left = iter([True, True])

    def killed(*arguments, updates=job.updates):
        if not next(left, False):
            raise KeyboardInterrupt
        return updates(*arguments)

    monkeypatch.setattr(job, "updates", killed)
    assert adapt() == 130
    lines = (tmp_path / "runs/out/predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["file_name"] for line in lines] == [f"{number}.png" for number in range(8)]
    assert not (tmp_path / "runs/out/predictions.json").exists()
    assert adapt() == 2
    assert "a stream passes once: choose another --output, or pass --overwrite" in capsys.readouterr().err
    assert main(["predict", "runs/out", "camera"]) == 2
    assert "holds a stream that did not end, so no model" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert adapt("--overwrite", "--strategy", "bn_online") == 0
    assert len((tmp_path / "runs/out/predictions.jsonl").read_text().splitlines()) == COUNT


class FreeTeacher(MeanTeacher):
    """Without a source, by two views."""

    kind = "source_free"
    needs = frozenset({"target"})

    @dataclass(frozen=True)
    class Options(MeanTeacher.Options):
        pass


def test_a_video_in_its_order_and_softly_reset(given, tmp_path, dots, monkeypatch):
    """A strategy that needs augmented views gets them, and answers plain crops; each update keeps 0 of its weights."""
    monkeypatch.setitem(STRATEGIES, "free_teacher", FreeTeacher)
    frames = [cv2.resize(dots(12, "shifted")[number].image, (64, 64)) for number in range(12)]
    write_video(tmp_path / "clip.mp4", iter(frames), 10.0)
    monkeypatch.setattr(prediction_inputs, "MOST", 1)
    words = ["--strategy", "free_teacher", "--soft-reset", "0", "free_teacher.decay=0"]
    assert adapt(*words, target="clip.mp4") == 0
    names, points = points_of(tmp_path / "runs/out/predictions.json")
    assert names == [f"clip.mp4#{number}" for number in range(12)]
    predict(given, [tmp_path / "clip.mp4"], tmp_path / "plain.json", Reporter(), device="cpu")
    plain = points_of(tmp_path / "plain.json")[1]
    np.testing.assert_allclose(points[:BATCH, :, :2], plain[:BATCH, :, :2], atol=2e-3)  # before the first update
    left, first = load_model(tmp_path / "runs/out/model.pt")[0], load_model(given)[0]
    assert all(torch.equal(a, b) for a, b in zip(left.parameters(), first.parameters(), strict=True))


def test_pictures_are_read_no_further_ahead_than_two_batches(given, tmp_path, monkeypatch):
    for number in range(COUNT, 40):
        (tmp_path / f"camera/{number}.png").write_bytes((tmp_path / "camera/0.png").read_bytes())
    read, answered = [], []
    cut, answers = Inputs.cut, job.Pass.answers

    def reading(self, place, *rest):
        read.append(place)
        return cut(self, place, *rest)

    def answering(self, number, *rest):
        answered.append((len(read), number * BATCH))
        return answers(self, number, *rest)

    monkeypatch.setattr(Inputs, "cut", reading)
    monkeypatch.setattr(job.Pass, "answers", answering)
    assert adapt("--strategy", "bn_online") == 0
    assert len(answered) == 10
    assert all(so_far <= done + 2 * BATCH + 1 for so_far, done in answered)


def test_what_is_refused(given, tmp_path, capsys):
    def refused(*words, **places):
        assert adapt(*words, **places) == 2
        return capsys.readouterr().err

    assert "choose one of" in refused("--strategy", "regda")
    assert "needs a source" in refused("--strategy", "mean_teacher")
    assert "Did you mean tent?" in refused("--strategy", "tant")
    assert "is judged by its own pictures" in refused("--check-root", "camera")
    boxes = "".join(f"{number}.png,0,0,32,32\n" for number in range(COUNT))
    (tmp_path / "boxes.csv").write_text(f"file,left,top,right,bottom\n{boxes}")
    assert "labels are of whole pictures" in refused("--check", "labels.json", "target.boxes=boxes.csv")
    assert "keyshift statistics RUN" in refused("--strategy", "ssa")
    (tmp_path / "one").mkdir()
    (tmp_path / "one/0.png").write_bytes((tmp_path / "camera/0.png").read_bytes())
    (tmp_path / "one/1.png").write_bytes(b"no picture")
    assert "1 of 2 pictures can be read" in refused(target="one")
    assert not (tmp_path / "runs/out").exists()


def test_the_folder_of_a_stream_stays_its_own(given, tmp_path, capsys):
    assert adapt("--strategy", "bn_online") == 0
    left = (tmp_path / "runs/out/model.pt").read_bytes()
    target = ["adapt", "given.pt", "--target", "camera", "--strategy", "bn_online", "--output", "runs/out"]
    for words in ([*target, *PLACED], ["train", "runs/out"]):
        assert main(words) == 2
        assert "runs/out holds what a stream left" in capsys.readouterr().err
    assert (tmp_path / "runs/out/model.pt").read_bytes() == left


def test_one_picture_at_a_time(given, tmp_path):
    """As by a loop over batches of one."""
    assert adapt("--strategy", "bn_online", "batch=1") == 0
    outcome = json.loads((tmp_path / "runs/out/online.json").read_text())
    assert (outcome["pictures"], outcome["updates"]) == (COUNT, COUNT)
    assert len(points_of(tmp_path / "runs/out/predictions.json")[0]) == COUNT


def test_files_are_read_before_anything_is_written(given, tmp_path, capsys):
    """Also where the given model is so poor that nothing would be trained."""
    other = {
        "images": [],
        "annotations": [{"image_id": 0, "keypoints": [1, 2, 1]}],
        "categories": [{"keypoints": ["x"]}],
    }
    (tmp_path / "other.json").write_text(json.dumps(other))
    save_prior(tmp_path / "deep.pt", PosePrior([(0, 1), (1, 2)], 3, 8), load_model(given)[1])
    for strategy, words, text in (
        ("ssa", [], "write the statistics of its features with keyshift statistics RUN"),
        ("ssa", ["ssa.statistics=none.pt"], "no checkpoint at none.pt. Statistics are what keyshift statistics"),
        ("distil", [], "distil needs labels by another model"),
        ("distil", ["distil.labels=other.json"], "other.json has keypoints x; the model has red, green, blue"),
        ("post", ["post.prior=given.pt"], "A prior is what keyshift prior EXPERIMENT writes"),
        ("post", ["post.prior=deep.pt"], "deep.pt is a prior of 3D poses, PoseResNet answers in 2D"),
    ):
        target = ["adapt", "given.pt", "--target", "camera", "--strategy", strategy, "--output", "runs/out"]
        assert main([*target, *PLACED, *words]) == 2
        assert text in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_labels_judge_what_was_answered(given, tmp_path, dots):
    """By PCK of a loop over both files of answers; the fifth picture is not labelled."""
    numbers = [number for number in range(COUNT) if number != 4]
    truth = {number: dots(COUNT, "shifted")[number].keypoints for number in numbers}
    flat = {n: np.column_stack([points - 0.5, np.full(3, 2)]).ravel().tolist() for n, points in truth.items()}
    labels = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 32, "height": 32} for n in numbers],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "keypoints": flat[n]} for n in numbers],
        "categories": [{"id": 1, "name": "dots", "keypoints": ["red", "green", "blue"]}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    with pytest.warns(UserWarning, match="labels 8 pictures"):
        assert adapt("--check", "labels.json", "threshold=0.3") == 0
    check = json.loads((tmp_path / "runs/out/online.json").read_text())["check"]
    predict(given, [tmp_path / "camera"], tmp_path / "plain.json", Reporter(), device="cpu")
    for name, path in (("before", "plain.json"), ("after", "runs/out/predictions.json")):
        points = points_of(tmp_path / path)[1]
        right = [np.linalg.norm(points[n, :, :2] + 0.5 - truth[n], axis=-1) <= 0.3 * 32 for n in numbers]
        assert check[name]["pck"] == pytest.approx(np.mean(right))
    assert check["gain"]["mean"] == pytest.approx(check["after"]["pck"] - check["before"]["pck"])
    assert check["pictures"] == 8


def test_broken_pictures_are_passed_over(given, tmp_path):
    (tmp_path / "camera/2.png").write_bytes(b"no picture")
    assert adapt() == 0
    names, _ = points_of(tmp_path / "runs/out/predictions.json")
    assert names == [f"{number}.png" for number in range(COUNT) if number != 2]
    content = json.loads((tmp_path / "runs/out/predictions.json").read_text())
    assert [entry["file_name"] for entry in content["unreadable"]] == ["2.png"]


def test_ssa_knows_the_source_of_its_run_or_a_file_of_it(tmp_path, monkeypatch, registered, capsys):
    """In a comparison from pretraining by itself; on a given model by the file that the run's statistics are."""
    monkeypatch.chdir(tmp_path)
    for module in ("runs.conclusion", "commands.adapt"):
        monkeypatch.setattr(f"keyshift.experiments.{module}.export", lambda *_: None)
    short = {"steps": 3, "pretrain_steps": 2, "evaluate_every": 3, "checkpoint_every": 3, "batch": 4, "seeds": 1}
    short |= {
        "model.name": "clip_net",
        "model.channels": 8,
        "source.name": "clips.plain",
        "target.name": "clips.shifted",
    }
    words = [*(f"{key}={value}" for key, value in short.items()), "tracking=off", "device=cpu"]
    (tmp_path / "toys.yaml").write_text("name: toys\n")
    assert main(["compare", "toys.yaml", *words, "strategies=[ssa]"]) == 0
    results = json.loads((tmp_path / "runs/toys/results.json").read_text())
    assert set(results["strategies"]) == {"given", "ssa"}
    capsys.readouterr()
    given = "runs/toys/given-seed0"
    free = ["compare", "toys.yaml", *words[:1], *words[2:], f"start={given}", "strategies=[ssa]", "output=runs/free"]
    assert main(free) == 2
    assert "keyshift statistics RUN" in capsys.readouterr().err
    assert main(["statistics", given, "--output", "source.pt"]) == 0
    assert "24 samples of clips.plain.train" in capsys.readouterr().out
    assert main(["statistics", given, "--output", "source.pt"]) == 2
    assert main([*free[:-1], "output=runs/known", "ssa.statistics=source.pt"]) == 0
    ours, theirs = (
        load_checkpoint(tmp_path / f"runs/{name}/ssa-seed0/checkpoint.pt")["strategy"] for name in ("toys", "known")
    )
    for name in ("mean", "variances", "importance"):
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-4, rtol=1e-2)
