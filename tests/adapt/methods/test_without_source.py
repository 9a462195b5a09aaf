"""Strategies that see no source: what each does to a network that was trained on plain dots, on shifted ones."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch

from keyshift.adapt.methods.distil import Distil
from keyshift.adapt.methods.maps import MAPS
from keyshift.adapt.methods.mean_teacher_free import MeanTeacherFree
from keyshift.adapt.methods.self_training import SelfTraining
from keyshift.adapt.scoring.evaluation import everyone, predict, scores
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.models.export import to_onnx
from keyshift.models.exported import Exported
from keyshift.models.systems.pose_resnet import PoseResNet

CPU, SIZE, AUGMENTATION = torch.device("cpu"), (32, 32), Augmentation(rotation=20)


def build(kind, model, skeleton, rate=1e-3, **options):
    optimization = Optimization("adam", rate, {}, 0.0, gamma=0.0)
    return kind(deepcopy(model), skeleton, optimization, options=kind.Options(**options)).train()


def target_of(strategy, target):
    return everyone(strategy.predictor, target, 32, SIZE, AUGMENTATION, CPU)


def run(strategy, target, steps):
    """So many updates on the dataset, with its rounds; gives the score on other samples of the same style."""
    batches = TrainingBatches(target, "target", 0, 8, SIZE, AUGMENTATION, False, strategy.views["target"])
    optimizers, length = strategy.optimizers(), strategy.round_length()
    for step in range(steps):
        torch.manual_seed(step)
        if length and step % length == 0:
            strategy.begin_round(target_of(strategy, target))
        for losses, names in strategy.step(None, batches[step]):
            strategy.zero_grad()
            sum(losses.values()).backward()
            for name in names:
                optimizers[name][0].step()
        strategy.after_step()
    return score(strategy.predictor, type(target))


def score(model, kind):
    test = EvaluationBatches(kind(48, "shifted", first=1000), 48, SIZE)[0]
    return scores(predict(model, [test], CPU), kind.skeleton, 0.1)["pck"]


@pytest.fixture(scope="module")
def given():
    """make(dots): a network trained on plain dots, once."""
    made = []

    def make(dots):
        if not made:
            torch.manual_seed(0)
            small = PoseResNet.Options(
                backbone="small", input_size=[32, 32], heatmap_size=[8, 8], channels=16, sigma=1.0
            )
            made.append(PoseResNet(3, small).train())
            batches = TrainingBatches(dots(64), "source", 0, 8, SIZE, AUGMENTATION, True)
            optimizer = torch.optim.Adam(made[0].parameters(), 3e-3)
            for step in range(80):
                source = batches[step]
                optimizer.zero_grad()
                sum(made[0].loss(made[0](source), source).values()).backward()
                optimizer.step()
        return made[0]

    return make


def test_teachers_without_a_source_gain_on_the_target(dots, given):
    start, target = given(dots), dots(64, "shifted")
    before = score(start, dots)
    after = run(build(MeanTeacherFree, start, dots.skeleton, decay=0.97), target, 30)
    assert after > before + 0.1, (before, after)
    after = run(build(MAPS, start, dots.skeleton, decay=0.97, sigma=1.0, easy=0.3, every=20), target, 30)
    assert after > before + 0.1, (before, after)


def test_maps_takes_samples_that_are_right_and_splits_anew(dots, given):
    target, length = dots(64, "shifted"), 20
    strategy = build(MAPS, given(dots), dots.skeleton, easy=0.25, growth=0.25, every=length)
    first = target_of(strategy, target)
    strategy.begin_round(target_of(strategy, target))
    truth = torch.stack([torch.from_numpy(target[i].keypoints) for i in range(64)])
    away = (first.predict().points - truth).norm(dim=-1).mean(1)
    easy = torch.zeros(64, dtype=torch.bool)
    easy[strategy.bank.confidence[:, 0] > 0] = True
    assert easy.sum() == 16
    assert strategy.share == 0.25
    assert away[easy].mean() < away[~easy].mean()
    strategy.begin_round(target_of(strategy, target))
    assert strategy.bank.confidence.sum(0).tolist() == [32] * 3
    frozen = build(MAPS, given(dots), dots.skeleton, easy=0.25, growth=0.25, resplit=False)
    for _ in range(2):
        frozen.begin_round(target_of(frozen, target))
        assert frozen.bank.confidence.sum(0).tolist() == [16] * 3


def test_self_training_learns_its_surest_labels_and_keeps_its_statistics(dots, given):
    start, target = given(dots), dots(64, "shifted")
    strategy = build(SelfTraining, start, dots.skeleton, 3e-2, masked=0.5)
    first = target_of(strategy, target).predict()
    before = {name: value.clone() for name, value in strategy.model.named_buffers()}
    assert strategy.optimizers()["model"][0].param_groups[0]["lr"] == pytest.approx(3e-3)
    run(strategy, target, 30)
    for name, value in strategy.model.named_buffers():
        assert torch.equal(value, before[name])
    sure = strategy.bank.confidence > 0
    assert sure.float().mean() == pytest.approx(0.5, abs=0.02)
    assert first.confidence[sure].min() > first.confidence[~sure].max()
    torch.testing.assert_close(strategy.bank.points, first.points)

    def missed(model):
        strategy.model = model
        with torch.no_grad():
            ((losses, _),) = strategy.step(None, TrainingBatches(target, "test", 0, 32, SIZE, AUGMENTATION, False)[0])
        return float(losses["heatmap"])

    after, before = missed(strategy.model), missed(start)
    assert after < 0.95 * before, (before, after)


def results(dots, names=False):
    """What another model says of 64 shifted dots: the truth, and joint 2 wrong and unsure; a list, or a COCO file with
    other columns."""
    order = [2, 0, 1] if names else [0, 1, 2]
    entries, images = [], []
    for row in range(64):
        item = dots(64, "shifted")[row]
        points = item.keypoints.copy()
        points[2] = 1.0
        scores = np.array([0.9, 0.8, 0.1])[order].tolist()
        values = [v for (x, y), s in zip(points[order] - 0.5, scores, strict=True) for v in (x, y, 2 if names else s)]
        images.append({"id": row, "file_name": item.id})
        entries.append({"image_id": row, "keypoints": values, "score": 0.9})
        entries[-1] |= {"keypoint_scores": scores} if names else {"file_name": item.id}
    keypoints = [dots.skeleton.keypoints[k] for k in order]
    return {"images": images, "annotations": entries, "categories": [{"keypoints": keypoints}]} if names else entries


@pytest.mark.parametrize("names", [False, True])
def test_distil_learns_what_a_file_says_and_is_sure_of(dots, given, tmp_path, names):
    file, target = tmp_path / "results.json", dots(64, "shifted")
    file.write_text(json.dumps(results(dots, names)))
    start = given(dots)
    strategy = build(Distil, start, dots.skeleton, 3e-3, labels=str(file), least=0.5)
    strategy.begin_round(target_of(strategy, target))
    assert strategy.bank.confidence.tolist() == [[1, 1, 0]] * 64
    truth = torch.stack([torch.from_numpy(target[i].keypoints) for i in range(64)]).float()
    torch.testing.assert_close(strategy.bank.points[:, :2], truth[:, :2])
    if not names:
        before = score(start, dots)
        assert run(strategy, target, 30) > before + 0.1


def test_distil_takes_labels_from_an_exported_network(dots, given, tmp_path):
    pytest.importorskip("onnxruntime")
    start, target = given(dots), dots(8, "shifted")
    about = {"cut": {"crop": "a2j", "cube": None}}
    to_onnx(start.eval(), SIZE, tmp_path / "large.onnx", dots.skeleton, about=about)
    assert Exported(tmp_path / "large.onnx", dots.skeleton.keypoints).crop == "a2j"  # by which depth would be cut
    strategy = build(Distil, start.train(), dots.skeleton, labels=str(tmp_path / "large.onnx"))
    wanted = target_of(strategy, target)
    strategy.begin_round(wanted)
    torch.testing.assert_close(strategy.bank.points, wanted.predict().points, atol=1e-2, rtol=0)
    with pytest.raises(ValueError, match=r"large.onnx has keypoints red, green, blue; the model has red, nose: nose "):
        Exported(tmp_path / "large.onnx", ("red", "nose"))


def test_what_distil_cannot_read_is_named(dots, given, tmp_path, toys):
    start, target, file = given(dots), dots(64, "shifted"), tmp_path / "results.json"
    with pytest.raises(ValueError, match=r"no file .*nothing.json: labels= takes a COCO results file"):
        build(Distil, start, dots.skeleton, labels=str(tmp_path / "nothing.json"))
    file.write_text(json.dumps(results(dots)))
    strategy = build(Distil, start, dots.skeleton, labels=str(file))
    with pytest.raises(ValueError, match=r"none of its pictures .dots.shifted/0, .* is one of dots.plain"):
        strategy.begin_round(target_of(strategy, dots(64)))
    sequences = toys.Sequences(toys.Sequences.Options(), "train")
    with pytest.raises(ValueError, match=r"holds points in a picture, .* asks for camera mm: give an ONNX"):
        strategy.labels(everyone(start, sequences, 4, SIZE, AUGMENTATION, CPU))
    lacking = results(dots, names=True)
    lacking["categories"][0]["keypoints"][0] = "nose"
    file.write_text(json.dumps(lacking))
    for refused in (
        lambda: strategy.begin_round(target_of(strategy, target)),
        lambda: build(Distil, start, dots.skeleton, labels=str(file)),
    ):
        with pytest.raises(ValueError, match=r"keypoints nose, red, green; the model has red, green, blue: blue would"):
            refused()
    short = results(dots)
    short[3]["keypoints"] = [1, 2, 3]
    file.write_text(json.dumps(short))
    with pytest.raises(ValueError, match=r"entry 3: keypoints is 3 numbers, 1 keypoints, expected x, y, v"):
        strategy.begin_round(target_of(strategy, target))
    nameless = results(dots)
    del nameless[3]["image_id"], nameless[3]["file_name"]
    file.write_text(json.dumps(nameless))
    with pytest.raises(ValueError, match=r"entry 3: image_id is missing, expected image_id, or the picture's"):
        strategy.begin_round(target_of(strategy, target))
    file.write_text("[]")
    with pytest.raises(ValueError, match="holds no prediction"):
        strategy.begin_round(target_of(strategy, target))
    file.write_text(json.dumps(results(dots)))
    sure = build(Distil, start, dots.skeleton, labels=str(file), least=0.95)
    with pytest.raises(ValueError, match=r"as sure as distil.least=0.95, the surest: 0.9\. Lower it"):
        sure.begin_round(target_of(sure, target))
    file.write_text(json.dumps(results(dots)[:60]))
    with pytest.warns(UserWarning, match=r"no prediction for 4 of 64 samples"):
        strategy.begin_round(target_of(strategy, target))
