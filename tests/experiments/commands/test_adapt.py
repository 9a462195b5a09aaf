"""From own labels and own pictures to an adapted model: the job of someone with a new camera."""

import json
import shutil
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from keyshift.adapt.scoring import rule as rules
from keyshift.adapt.scoring.distance import separability
from keyshift.adapt.scoring.label_free import SCORES
from keyshift.adapt.scoring.rule import Prediction
from keyshift.experiments.cli import main
from keyshift.experiments.commands import adapt as job
from keyshift.experiments.runs import shipping
from keyshift.models.saved import load_model

NET = [
    *("model.backbone=small", "model.input_size=[32,32]", "model.heatmap_size=[16,16]", "model.channels=16"),
    *("model.sigma=1", "batch=16", "pretrain_steps=0", "tracking=off", "augmentation.rotation=20", "threshold=0.1"),
    *("optimization.name=adam", "optimization.rate=0.004", "optimization.weight_decay=0", "optimization.gamma=0"),
    *("optimization.factors.backbone=1", "optimization.factors.upsampling=1", "mean_teacher.decay=0.95"),
    *("keyshift.decay=0.95", "batch_norm=target"),
]


def write_dots(dots, folder, style, count, first):
    """Pictures of dots and their labels, as a user has them."""
    (folder / "pictures").mkdir(parents=True)
    images, annotations = [], []
    for i, item in enumerate(dots(count, style, first=first)[k] for k in range(count)):
        name = f"{i // 8}/{i:03d}.png"
        (folder / "pictures" / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "pictures" / name), item.image[..., ::-1])
        images.append({"id": i, "file_name": name, "width": 32, "height": 32})
        flat = np.column_stack([item.keypoints - 0.5, np.full(3, 2)]).ravel().tolist()
        annotations.append(
            {"id": i, "image_id": i, "category_id": 1, "keypoints": flat, "bbox": [3.2, 3.2, 25.6, 25.6]}
        )
    categories = [{"id": 1, "name": "dots", "keypoints": ["red", "green", "blue"], "skeleton": [[1, 2], [2, 3]]}]
    labels = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "labels.json").write_text(json.dumps(labels))


def without_onnx(patch):
    """Writing ONNX takes seconds, and is tested by itself."""
    for module in ("runs.conclusion", "commands.adapt"):
        patch.setattr(f"keyshift.experiments.{module}.export", lambda *_: None)


@pytest.fixture(scope="module")
def user(tmp_path_factory, dots):
    """user(steps): a folder with own labels, pictures of another style, and a run `given` of so many steps."""

    @cache
    def made(steps):
        folder = tmp_path_factory.mktemp("user")
        write_dots(dots, folder / "lab", "plain", 80, 0)
        write_dots(dots, folder / "wild", "shifted", 64, 1000)
        (folder / "mine.yaml").write_text("name: mine\nstrategy: source_only\n")
        source = ["source.name=coco_json", "source.labels=lab/labels.json", "source.root=lab/pictures"]
        target = ["target.name=pictures", "target.root=wild/pictures", "target.block=8"]
        often = [f"steps={steps}", f"evaluate_every={steps}", f"checkpoint_every={steps}"]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            without_onnx(patch)
            words = ["train", "mine.yaml", *NET, *source, "source.block=8", *target, *often]
            assert main([*words, "output=runs/given"]) == 0
        return folder

    return made


@pytest.fixture
def trained(user, tmp_path, monkeypatch):
    """trained(steps): a copy of that folder to work in."""
    monkeypatch.chdir(tmp_path)
    without_onnx(monkeypatch)
    return lambda steps: shutil.copytree(user(steps), tmp_path, dirs_exist_ok=True)


def adapt(*words, target="wild/pictures"):
    return main(["adapt", "runs/given", "--target", target, "target.block=8", *words])


def test_from_own_labels_to_the_own_camera(trained, capsys):
    trained(80)
    assert adapt("--check", "wild/labels.json", "steps=80", "evaluate_every=40", "checkpoint_every=40") == 0
    outcome = json.loads(Path("runs/adapt-pictures/adapt.json").read_text())
    assert outcome["adapted"]
    before, after = outcome["prediction"]["scores"]["agreement"]
    assert after > before + 0.02
    assert 0 < outcome["prediction"]["low"] < outcome["prediction"]["gain"] < outcome["prediction"]["high"]
    assert outcome["check"]["pictures"] == 64
    low, _ = outcome["check"]["gain"]["interval"]
    assert outcome["check"]["gain"]["mean"] > 0.05
    assert low > 0
    _, skeleton = load_model(job.locate(Path("runs/adapt-pictures"))[0])
    assert skeleton.keypoints == ("red", "green", "blue")
    page = Path("runs/adapt-pictures/report.html").read_text()
    assert "on 64 labelled pictures" in page
    assert page.count("data:image/jpeg") == 16
    assert "domain classifier" in capsys.readouterr().out


def few(*words):
    return adapt("steps=2", "evaluate_every=2", "checkpoint_every=2", "guard=off", *words)


def weights(folder):
    return load_model(Path(folder) / "model.pt")[0].state_dict()


def test_check_labels_reach_nothing_but_the_report(trained):
    trained(4)
    assert few("--output", "runs/a", "--check", "wild/labels.json") == 0
    assert few("--output", "runs/b") == 0
    a, b = weights("runs/a"), weights("runs/b")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert "No labelled target pictures" in Path("runs/b/report.html").read_text()


def scripted(monkeypatch, gains, last=(0.0, 0.0)):
    """Predicted gains of the evaluations, one after another, and that (gain, low) of the checkpoint which is judged; on
    held-out pictures too, if there are two."""
    evaluated, judged = iter(gains), iter(last if isinstance(last, list) else [last])

    def predict(_, __):
        gain, low = next(judged)
        told = {
            "gain": gain,
            "low": low,
            "high": gain + 3,
            "level": 0.8,
            "least": 1.0,
            "pictures": 56,
            "scores": {"agreement": [0.5, 0.6]},
        }
        return Prediction(gain, low, gain + 3, 0.8, 1.0), told

    monkeypatch.setattr(job.Forecaster, "gain", lambda *_: next(evaluated))
    monkeypatch.setattr(job.Forecaster, "predict", predict)
    monkeypatch.setattr(shipping, "CHANCE", 0.0)
    monkeypatch.setattr(job, "SHARES", (1.0,))


def test_stops_where_a_loss_is_predicted_and_ships_what_was_given(trained, monkeypatch, capsys):
    trained(4)
    scripted(monkeypatch, [-4.0, -5.0], (-4.0, -6.0))
    assert adapt("steps=40", "evaluate_every=2", "checkpoint_every=2") == 0
    out = capsys.readouterr().out
    assert "stopped at update 4 of 40: the predicted gain fell to -5.0 points" in out
    assert "not adapted: the given model is shipped unchanged" in out
    given, shipped = load_model(job.locate(Path("runs/given"))[0])[0].state_dict(), weights("runs/adapt-pictures")
    assert all(torch.equal(given[name], shipped[name]) for name in given)


def test_killed_after_it_stopped_itself_a_job_does_not_train_on(trained, monkeypatch, capsys):
    trained(4)
    words = "steps=40", "evaluate_every=2", "checkpoint_every=2"
    scripted(monkeypatch, [-4.0, -5.0], (-4.0, -6.0))  # a third evaluation would fail
    with monkeypatch.context() as patch:
        patch.setattr(job, "best_checkpoint", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
        assert adapt(*words) == 130
    assert adapt(*words) == 0
    assert "stopped at update 4 of 40: the predicted gain fell to -5.0 points" in capsys.readouterr().out


def test_candidates_are_evaluated_four_times_unless_said_otherwise(trained):
    """Whatever the model's own run did, which evaluated at its end."""
    model, target = Path("runs/given"), Path("wild/pictures")
    trained(4)
    for said, often in (([], 1), (["steps=40"], 4), (["steps=40", "evaluate_every=7"], 7), (["steps=2"], 1)):
        config, _ = job.settings(model, target, None, "keyshift", said)
        assert config.evaluate_every == often


def copied(name, count):
    """The first of the target's pictures, in one folder."""
    Path(name).mkdir()
    for path in sorted(Path("wild/pictures").glob("*/*.png"))[:count]:
        shutil.copy(path, Path(name) / path.name)
    return name


def adapted_to(name, *words):
    often = ["steps=2", "evaluate_every=2", "checkpoint_every=2", "guard=off"]
    assert main(["adapt", "runs/given", "--target", name, "--output", f"runs/to-{name}", *often, *words]) == 0
    folder = Path("runs") / f"to-{name}"
    return json.loads((folder / "adapt.json").read_text()), (folder / "report.html").read_text()


def test_nothing_is_claimed_of_few_pictures(trained, capsys):
    trained(1)
    outcome, page = adapted_to(copied("eight", 8))
    assert (outcome["pictures"], outcome["held_out"], outcome["outcome"]) == (6, 2, "too few pictures")
    assert (outcome["ended"], outcome["prediction"]) == ("nothing was trained", None)
    out = capsys.readouterr().out
    for text in (out, page):
        assert "6 pictures to adapt to, 2 held out to judge by" in text
        assert "unchanged, because nothing can be predicted from 6 pictures: the rule asks for 30 or more" in text
    assert page.count("data:image/jpeg") == 2
    identity = json.loads(Path("runs/to-eight/identity.json").read_text())
    assert (identity["target_train"]["count"], identity["target_test"]["count"]) == (6, 2)
    outcome, page = adapted_to(copied("one", 1))
    assert (outcome["pictures"], outcome["held_out"], outcome["outcome"]) == (1, 0, "too few pictures")
    out = capsys.readouterr().out
    assert "1 picture to adapt to, none held out to judge by" in out
    assert "held-out" not in page.split("<main>")[1].lower()


def test_a_model_at_chance_is_not_trained_on(trained, capsys, monkeypatch):
    trained(1)
    monkeypatch.setitem(SCORES, "agreement", lambda _: 0.04)
    outcome, page = adapted_to("wild")
    assert (outcome["adapted"], outcome["updates"]) == (False, 0)
    assert (outcome["outcome"], outcome["ended"]) == ("hardly above chance", "nothing was trained")
    out = capsys.readouterr().out
    for text in (out, page):
        assert "hardly above chance (0.040, under 0.1)" in text
    given, shipped = load_model(job.locate(Path("runs/given"))[0])[0].state_dict(), weights("runs/to-wild")
    assert all(torch.equal(given[name], shipped[name]) for name in given)


@pytest.mark.parametrize(
    ("gains", "last", "updates", "outcome", "said"),
    [
        ([1.0, 3.0], [(4.0, 0.5)], 2, "adapted", "+4.0 points (80 % interval +0.5 to +7.0), above the +1.0"),
        ([5.0, 3.0], [(4.0, 0.5), (1.0, -1.0)], 1, "adapted", "of update 1, the best of those evaluated, is +4.0"),
        (
            [1.0, 3.0],
            [(4.0, 0.5), (-1.0, -3.0)],
            0,
            "worse on held-out",
            "but on 8 pictures held out it is -1.0 points",
        ),
        ([-1.0, -2.0], [(-1.0, -4.0)], 0, "no gain predicted", "of update 1, the best of those evaluated, is -1.0"),
        (
            [0.5, 0.0],
            [(0.5, -1.0)],
            0,
            "too small a gain",
            "under the +1.0 points, from which on the rule ships",
        ),
        ([float("nan")] * 2, [(4.0, 0.5)], 2, "adapted", "of update 2"),
    ],
)
def test_what_is_shipped_and_what_is_said_of_it(trained, capsys, monkeypatch, gains, last, updates, outcome, said):
    trained(1)
    scripted(monkeypatch, gains, last)
    monkeypatch.setattr(job, "FEWEST", 8 if len(last) == 2 else 30)
    result, page = adapted_to("wild", "evaluate_every=1")
    out = capsys.readouterr().out
    assert (result["outcome"], result["updates"]) == (outcome, updates)
    assert result["adapted"] == (outcome == "adapted") == ("adapted by keyshift" in out)
    for text in (out, page.replace("&#39;", "'").replace("&gt;", ">"), result["why"]):
        assert said in text
    assert "all 2 updates were made" in out
    assert ("not measured: only labels can say what was gained" in out) == result["adapted"]
    assert "scores of 56 pictures, given -> candidate: agreement 0.500 -> 0.600" in out
    assert (
        "fitted on 120 models of 3 domain pairs; tried on the 40 runs of 2 other pairs, it shipped 0 of the 10" in out
    )
    assert "The rule was fitted on 120 models" in page


@pytest.mark.parametrize(("strategy", "share"), [("keyshift", 0.5), ("regda", 1.0)])
def test_the_mixture_with_the_highest_predicted_gain_is_shipped(trained, capsys, monkeypatch, strategy, share):
    """Of a head that restarts none is asked for."""
    trained(1)
    judged = [(1.0, 0.1), (5.0, 2.0), (3.0, -1.0), (2.0, 0.5)]
    scripted(monkeypatch, [1.0], judged if strategy == "keyshift" else judged[-1])
    monkeypatch.setattr(job, "SHARES", shipping.SHARES)
    result, page = adapted_to("wild", "--strategy", strategy)
    out = capsys.readouterr().out
    assert (result["updates"], result["share"], result["adapted"]) == (2, share, True)
    places = job.locate(Path("runs/given"))[0], Path("runs/to-wild/weights-000002.pt"), Path("runs/to-wild/model.pt")
    given, last, own = (load_model(place)[0].state_dict() for place in places)
    for name, value in own.items():
        if share == 1:
            assert torch.equal(value, last[name])
        elif value.is_floating_point():
            torch.testing.assert_close(value, (given[name] + last[name]) / 2)
    for text in (out, page):
        assert ("update 2 (0.5 of the way from the given weights to the adapted ones) is shipped" in text) == (
            share < 1
        )
        assert ("at 0.25, +5.0 points at 0.5, +3.0 points at 0.75, +2.0 points at 1" in text) == (share < 1)
    assert result["prediction"]["shares"] == ({"0.25": 1, "0.5": 5, "0.75": 3, "1": 2} if share < 1 else {"1": 2})


def test_without_a_rule_nothing_is_adapted(trained, capsys, monkeypatch, tmp_path):
    trained(1)
    monkeypatch.setattr(rules, "RULE", tmp_path / "rule.json")
    assert few() == 2
    assert (
        "rule.json, by which adapt decides what is shipped: fit one by `keyshift lab FILE --fit`"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("gain", "outcome", "said"),
    [
        (
            [0.1, [0.02, 0.2]],
            "adapted",
            "gains +0.100 [+0.020, +0.200] of PCK@0.1, whose lower end is above 0 at the one",
        ),
        ([0.1, [-0.02, 0.2]], "no gain by labels", "whose lower end is not above 0 at the one-sided level of 97.5 %"),
    ],
)
def test_labels_decide_where_that_is_asked_for(trained, capsys, monkeypatch, gain, outcome, said):
    """And 64 of them do what 29 may not."""
    trained(1)
    scripted(monkeypatch, [1.0], (-4.0, -6.0))
    real = job.judge

    def judged(*words, **named):
        return real(*words, **named) | {"gain": dict(zip(("mean", "interval"), gain, strict=True))}

    monkeypatch.setattr(job, "judge", judged)
    decide = ["--check", "wild/labels.json", "--decide-by-check"]
    assert few(*decide) == 0
    result, out = json.loads(Path("runs/adapt-pictures/adapt.json").read_text()), capsys.readouterr().out
    assert (result["outcome"], result["decided_by"]) == (outcome, "labels")
    assert "the labels of 64 pictures decide (--decide-by-check): by them update 2" in out
    assert said in out
    assert "these labels decided what is shipped, so they are no independent measurement" in out
    assert "the rule, not asked, would predict -4.0 points without labels" in out
    assert few(*decide) == 0, "finished"
    assert few() == 0


def test_too_few_labels_decide_nothing(trained, capsys):
    trained(1)
    assert few("--decide-by-check") == 2
    assert "give them with --check" in capsys.readouterr().err

    def fewer(labels):
        del labels["annotations"][29:]

    with pytest.warns(UserWarning, match="29 pictures"):
        assert few("--check", relabelled(fewer), "--decide-by-check") == 2
    assert "asks for 30 labelled pictures or more, and --check check.json gives 29" in capsys.readouterr().err
    assert not Path("runs/adapt-pictures").exists()
    assert few() == 0
    assert few("--check", "wild/labels.json", "--decide-by-check") == 2
    assert "is finished, and no labels decided" in capsys.readouterr().err


def test_a_dry_run_trains_nothing_and_says_what_to_expect(trained, capsys, monkeypatch):
    trained(80)
    assert few("--dry", "--output", "dry.json") == 0
    out, seen = capsys.readouterr().out, json.loads(Path("dry.json").read_text())
    assert not Path("runs/adapt-pictures").exists()
    assert 0 <= seen["seen"]["agreement on the target"] < seen["seen"]["agreement on the source"]
    assert seen["seen"]["domain classifier (0.5: not to be told apart)"] > 0.6
    assert seen["seen"]["PCK@0.1 on the held-out source"] > 0.1
    nearest = sorted(range(4), key=lambda i: abs(i / 4 - seen["scores"]["agreement"]))[:3]
    assert [row["name"] for row in seen["nearest"]] == [f"pair{i}" for i in nearest]
    assert seen["expected"]["gain"] == pytest.approx(sum(nearest) / 3)
    assert "batch norm's statistics of the target alone: " in out
    assert "expected, not measured: " in out
    assert "such an expectation missed by 1.5 points on average" in out
    assert few("--dry", "--output", "dry.json") == 2
    assert "dry.json is there already" in capsys.readouterr().err
    monkeypatch.setattr(shipping, "CHANCE", 1.1)
    assert few("--dry") == 0
    assert "hardly above chance" in capsys.readouterr().out


def test_a_folder_that_was_begun_on_other_pictures_does_not_go_on(trained, capsys):
    trained(1)
    adapted_to(copied("eight", 8))
    Path("eight/007.png").unlink()
    adapted_to("eight")
    out = capsys.readouterr().out
    assert "runs/to-eight is finished; --overwrite starts anew. Its pictures have changed since" in out
    assert "6 pictures to adapt to, 2 held out" in out
    Path("runs/to-eight/adapt.json").unlink()
    words = ["--target", "eight", "--output", "runs/to-eight"]
    words += ["steps=2", "evaluate_every=2", "checkpoint_every=2", "guard=off"]
    assert main(["adapt", "runs/given", *words]) == 2
    error = capsys.readouterr().err
    assert "runs/to-eight was begun on other pictures" in error
    assert "--overwrite" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "nowhere"], "no target nowhere"),
        (["--strategy", "oracle"], "oracle does not adapt to unlabelled pictures"),
        (["strategy=regda"], "adapt takes --strategy"),
        (["target.root=lab/pictures"], "adapt takes --target"),
        (["--source", "dmeo"], "Did you mean demo"),
        (["--source", "demo"], "the network predicts red, green, blue"),
        (["--strategy", "regad"], "Did you mean regda"),
        (["selection=oracle"], "without target labels"),
        (["report.picturs=none"], "Did you mean report.pictures"),
    ],
)
def test_bad_input(trained, capsys, words, message):
    trained(1)
    assert few(*words) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs/adapt-pictures").exists()


def test_a_finished_folder_answers_for_its_own_job_alone(trained, capsys):
    trained(1)
    assert few() == 0
    before = weights("runs/adapt-pictures")
    assert few("--check", "wild/labels.json") == 0, "labels that came later"
    after, out = weights("runs/adapt-pictures"), capsys.readouterr().out
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert "is finished" in out
    assert "on 64 labelled pictures" in out
    assert "on 64 labelled pictures" in Path("runs/adapt-pictures/report.html").read_text()
    assert few("--strategy", "regda") == 2
    assert few("--target", "lab/pictures") == 2
    assert "holds another run: target.root was 'wild/pictures'" in capsys.readouterr().err


def test_unreadable_pictures_are_left_out(trained, capsys):
    trained(1)
    for i in range(8):
        Path(f"wild/pictures/{i}/{8 * i:03d}.png").write_bytes(b"no picture")
    assert few("--check", "wild/labels.json") == 0
    outcome = json.loads(Path("runs/adapt-pictures/adapt.json").read_text())
    assert len(outcome["unreadable"]) == 8
    assert outcome["check"]["pictures"] == 56
    assert "left out, because they cannot be read: 8 pictures, 0/000.png first" in capsys.readouterr().out


def test_check_is_cut_by_the_targets_boxes(trained):
    """Labels that are the model's own answers are met exactly, whichever way the target is cut."""
    trained(1)
    lines = [f"{i // 8}/{i:03d}.png,4,4,{20 + i % 9},28" for i in range(64)]
    Path("boxes.csv").write_text("\n".join(["file,left,top,right,bottom", *lines]))
    cut = ["--boxes", "boxes.csv"]
    assert main(["predict", "runs/given", "wild/pictures", "--output", "own.json", *cut]) == 0
    assert few("--check", "own.json", "target.boxes=boxes.csv", "steps=1", "evaluate_every=1") == 0
    outcome = json.loads(Path("runs/adapt-pictures/adapt.json").read_text())
    assert outcome["check"]["before"]["pck"] == 1


def relabelled(change):
    """check.json: the wild labels after `change`."""
    labels = json.loads(Path("wild/labels.json").read_text())
    change(labels)
    Path("check.json").write_text(json.dumps(labels))
    return "check.json"


def test_check_labels_of_other_joints(trained, capsys):
    """The joints that labels and network share are scored; the others are named."""
    trained(1)

    def fewer(labels):
        labels["categories"][0] = {"id": 1, "name": "dots", "keypoints": ["tail", "Blue", "red"]}
        for person in labels["annotations"]:
            red, _, blue = (person["keypoints"][3 * k : 3 * k + 3] for k in range(3))
            person["keypoints"] = [9, 9, 0, *blue, *red]

    assert few("--check", relabelled(fewer)) == 0
    outcome = json.loads(Path("runs/adapt-pictures/adapt.json").read_text())
    assert outcome["check"]["missing"] == ["green"]
    joints = outcome["check"]["before"]["joints"]
    assert joints["green"] is None
    assert joints["red"] is not None
    assert "the labels do not hold green" in capsys.readouterr().out
    assert few("--check", "wild/labels.json", "--output", "runs/all") == 0
    every = json.loads(Path("runs/all/adapt.json").read_text())["check"]["before"]["joints"]
    assert (every["red"], every["blue"]) == (joints["red"], joints["blue"])


def test_check_pictures_beside_the_target(trained, capsys):
    trained(1)
    shutil.copytree("wild/pictures/0", "apart/0")
    shutil.copytree("wild/pictures", "apart/again")

    def moved(labels):
        for image in labels["images"]:
            image["file_name"] = f"again/{image['file_name']}"

    shutil.rmtree("wild/pictures/7")
    assert few("--check", relabelled(moved), "--check-root", "apart") == 0
    outcome = json.loads(Path("runs/adapt-pictures/adapt.json").read_text())
    assert outcome["check"]["pictures"] == 64
    assert outcome["check"]["adapted_to"] == 48, "of seven blocks one is held out, and one is elsewhere alone"
    assert "48 of these pictures were adapted to as well" in capsys.readouterr().out


def no_joint(labels):
    labels["categories"][0]["keypoints"] = ["a", "b", "c"]


def other_size(labels):
    for image in labels["images"]:
        image.update(width=64, height=48)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_joint, "there is no joint to score"),
        (
            other_size,
            "64 pictures are not of the size that the labels declare, the first 0/000.png: 64x48 there, 32x32",
        ),
    ],
)
def test_check_labels_that_cannot_be_scored_are_refused_at_once(trained, monkeypatch, capsys, change, message):
    trained(1)
    monkeypatch.setattr(job, "prepare", lambda *_, **__: pytest.fail("nothing slow comes before it"))
    assert few("--check", relabelled(change)) == 2
    assert message in capsys.readouterr().err
    assert few("--check-root", "wild") == 2
    assert "give their labels with --check" in capsys.readouterr().err


OWN = """
from torch import nn


class Net(nn.Module):
    def __init__(self, keypoints):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 7, 2, 3), nn.BatchNorm2d(16), nn.ReLU())
        self.final = nn.Conv2d(16, keypoints, 1)

    def forward(self, image):
        return self.final(self.body(image))
"""


def test_a_trained_network_of_ones_own(trained):
    """Its file, its weights and an experiment that names both: no run of keyshift before."""
    shutil.rmtree(trained(1) / "runs")
    Path("net.py").write_text(OWN)
    space: dict = {}
    exec(OWN, space)
    network = space["Net"](3)
    torch.save(network.state_dict(), "net.pt")
    Path("own.yaml").write_text(
        "source: {name: coco_json, labels: lab/labels.json, root: lab/pictures, block: 8}\n"
        "model: {name: own, input_size: [32, 32], own: {file: net.py, object: Net, arguments: {keypoints: 3}, "
        "weights: net.pt}}\nbatch: 8\ntracking: 'off'\noptimization: {rate: 0.0}\n"
    )
    words = ["steps=2", "evaluate_every=1", "checkpoint_every=1", "target.block=8", "--output", "runs/own"]
    assert main(["adapt", "own.yaml", "--target", "wild/pictures", *words]) == 0
    shipped, _ = load_model(Path("runs/own/model.pt"))
    assert torch.equal(shipped.own_state()["final.weight"], network.final.weight)
    assert main(["adapt", "own.yaml", "--target", "wild/pictures", *words]) == 0, "finished"


def test_pictures_can_be_left_out(trained):
    trained(1)
    assert few("report.pictures=none") == 0
    page = Path("runs/adapt-pictures/report.html").read_text()
    assert "data:image" not in page
    assert "Pictures are left out" in page


def test_domains_that_differ_are_told_apart():
    rng = np.random.default_rng(0)
    groups = [f"{side}{i // 10}" for side in "st" for i in range(100)]
    same, other = rng.normal(0, 1, (100, 8)), rng.normal(0, 1, (100, 8))
    assert 0.3 < separability(same, other, groups) < 0.7
    assert separability(same, other + 3, groups) > 0.95
    assert separability(same, other + 3, ["s"] * 100 + groups[100:]) > 0.95, "one recording: by quarters"
    assert separability(same[:7], other, groups[:7] + groups[100:]) is None


def test_a_recording_is_held_out_as_a_whole():
    """Frames of one recording look alike; a classifier that saw some of them would tell domains apart by that alone."""
    rng = np.random.default_rng(1)
    recordings = rng.normal(0, 5, (40, 4)).repeat(10, 0)
    features = recordings + rng.normal(0, 0.1, recordings.shape)
    assert separability(features[:200], features[200:], [str(i // 10) for i in range(400)]) < 0.75


@pytest.mark.parametrize(
    ("made", "name"),
    [("2024.01.15/a.png", "2024.01.15"), ("cam #2/a.png", "cam #2"), ("clip.v2.mp4", "clip.v2"), (".x/a.png", ".x")],
)
def test_a_folder_gives_its_whole_name_and_a_video_its_stem(tmp_path, made, name):
    (tmp_path / made).parent.mkdir(exist_ok=True)
    (tmp_path / made).touch()
    assert job.name_of(tmp_path / Path(made).parts[0]) == f"adapt-{name}"


def test_a_job_that_names_no_strategy_goes_on_with_that_of_its_folder(trained):
    trained(1)
    given, target = Path("runs/given"), Path("pictures")
    assert job.usual_strategy(target, given, False) == "source_only"
    assert job.usual_strategy(target, given, True) == job.usual_strategy(target, None, False) == "keyshift"
