"""PRTR from end to end: crops of everyone, losses against loops, and pictures that do not depend on their batch."""

from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.scoring.evaluation import predict, scores
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.models.export import to_onnx
from keyshift.models.output import Poses
from keyshift.models.parts import pyramid
from keyshift.models.parts.box_losses import box_losses
from keyshift.models.pose_model import normalize
from keyshift.models.saved import load_model, save_model
from keyshift.models.systems.prtr import class_losses, matched, place_losses
from keyshift.models.systems.prtr_people import PRTRPeople, person_boxes

SMALL = {"levels": 2, "width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 2, "hidden": 24}
SMALL |= {"people": 5, "queries": 4, "cells": 4}
CPU, SIZE = torch.device("cpu"), (32, 32)


@pytest.fixture(autouse=True)
def backbone(toys, monkeypatch):
    monkeypatch.setattr(pyramid, "build_backbone", lambda *_: toys.Tiny())


def build(keypoints=3, scattered=True, **options):
    """A small network, its people `scattered` all over the picture, who begin in its middle otherwise."""
    torch.manual_seed(0)
    model = PRTRPeople(keypoints, PRTRPeople.Options(input_size=list(SIZE), backbone="small", **(SMALL | options)))
    if scattered:
        torch.nn.init.normal_(model.person_box.layers[-1].weight)
    return model


def scenes(toys, style="plain", part="train", **options):
    return toys.Scenes(toys.Scenes.Options(**options), part, style)


def batch(toys, count=6, **options):
    return EvaluationBatches(scenes(toys, **options), count, SIZE)[0]


def only(sample, image):
    """One picture of a batch with its people."""
    mine = sample.image_index == image
    people = {name: getattr(sample, name)[mine] for name in ("keypoints", "visible", "annotated")}
    one = replace(sample, inputs={"image": sample.image[image, None]}, id=sample.id[image : image + 1], **people)
    return replace(one, image_index=torch.zeros(int(mine.sum()), dtype=torch.int64))


# Pictures


def test_a_picture_is_answered_and_learned_from_as_if_alone(toys):
    """The published notebook reads the classes of a batch's last sample for all, and takes batches of one alone."""
    model, sample = build().eval(), batch(toys, 7)
    assert set(torch.bincount(sample.image_index, minlength=7).tolist()) == {0, 1, 2, 3}
    votes = model(sample)
    alone = [model(only(sample, image)) for image in range(7)]
    torch.testing.assert_close(votes.logits, torch.cat([one.logits for one in alone]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(votes.where, torch.cat([one.where for one in alone]), atol=1e-4, rtol=1e-4)
    assert (votes.logits[0] - votes.logits[-1]).abs().max() > 1e-2  # else this would test nothing
    losses = model.loss(votes, sample)
    each = [model.loss(one, only(sample, image)) for image, one in enumerate(alone)]
    for name, value in losses.items():
        torch.testing.assert_close(value, torch.stack([one[name] for one in each]).mean(), atol=1e-5, rtol=1e-4)


def test_people_are_cut_from_all_levels_joined_and_then_weighed(toys):
    """As the paper does it: levels sampled for each person, behind one another, and one 1x1 convolution."""
    model, sample = build().eval(), batch(toys, 2)
    levels = model.backbone(normalize(sample.image))
    assert [level.shape[-1] for level in levels] == [16, 8]
    boxes = torch.rand(2, 5, 4)
    weight = torch.cat([layer.weight for layer in model.cut_projections], 1)
    bias = torch.stack([layer.bias for layer in model.cut_projections]).sum(0)
    u = torch.linspace(-1.25, 1.25, 4)
    for b in range(2):
        for n, (x, y, width, height) in enumerate(boxes[b].tolist()):
            down, across = torch.meshgrid(height * u + 2 * y - 1, width * u + 2 * x - 1, indexing="ij")
            places = torch.stack([across, down], -1)[None]
            each = [F.grid_sample(one[b, None], places, padding_mode="border", align_corners=False) for one in levels]
            wanted = F.conv2d(torch.cat(each, 1), weight, bias)[0].flatten(1).T
            torch.testing.assert_close(model.crops(levels, boxes)[b, n], wanted, atol=1e-5, rtol=1e-4)


def test_places_in_a_crop_have_positions_of_their_own():
    """Row and column are told apart, by the fixed half and by the learned one."""
    model = build()
    where = model.positions()
    assert where.shape == (16, 16)
    for half in (where[:, :8], where[:, 8:]):
        apart = torch.cdist(half, half) + torch.eye(16)
        assert apart.min() > 1e-2
    rows, columns = model.places
    torch.testing.assert_close(where.view(4, 4, 16)[2, 3, 8:], torch.cat([rows[2], columns[3]]))


# Losses


def test_a_persons_box_is_around_what_counts():
    points = torch.tensor([[[10.0, 6.0], [20.0, 10.0], [90.0, -4.0]], [[1.0, 1.0], [4.0, 30.0], [3.0, 20.0]]])
    counted = torch.tensor([[True, True, False], [False, True, False]])
    boxes = person_boxes(points, counted, (40, 32)) * torch.tensor([40.0, 32.0, 40.0, 32.0])
    # 1.2 times 10 x 4 px about (15, 8); one keypoint: 0.05 * 40 px about it, cut at the border
    torch.testing.assert_close(boxes, torch.tensor([[15.0, 8.0, 12.0, 4.8], [4.0, 30.0, 2.0, 2.0]]))
    cut = person_boxes(torch.tensor([[[0.0, 16.0], [10.0, 16.0]]]), torch.ones(1, 2, dtype=torch.bool), (40, 32))
    torch.testing.assert_close(cut[0] * 40, torch.tensor([5.5, 20.0, 11.0, 2.5]))  # from 0 to 11 of -1 to 11


def test_keypoints_learn_in_the_crops_of_the_matched_queries(toys):
    """Person by person, by PRTR's own losses in the labelled person's crop."""
    model, sample = build().eval(), batch(toys, 12)
    points = sample.keypoints.clone()
    points[0, 1] = torch.tensor([50.0, 5.0])  # beyond the picture: it does not count
    annotated = sample.annotated.clone()
    annotated[3] = False  # nobody
    sample = replace(sample, keypoints=points, annotated=annotated)
    votes = model(sample)
    losses, counted = model.loss(votes, sample), model.counted(sample)
    assert not counted[0, 1]
    known = torch.tensor([i for i in range(len(points)) if counted[i].any()])
    assert 3 not in known
    boxes = person_boxes(points[known], counted[known], SIZE)
    images = sample.image_index[known]
    wanted, person, query = box_losses(votes.extra["persons"], votes.extra["boxes"], boxes, images)
    classes = away = 0.0
    for p, q in zip(person.tolist(), query.tolist(), strict=True):
        x, y, width, height = (boxes[p] * 32).tolist()
        corner, sides = torch.tensor([x - 0.625 * width, y - 0.625 * height]), 1.25 * torch.tensor([width, height])
        logs, places = (votes.extra[name][images[p], q][None] for name in ("logs", "points"))
        places, truth = (places - corner) / sides, ((points[known[p]] - corner) / sides)[None]
        mask = counted[known[p]][None]
        taken = matched(logs, places, truth, mask, 5.0)
        classes = classes + class_losses(logs, taken, mask).sum() / 12
        away = away + 5 * place_losses(places, taken, truth, mask).sum() / 12
    wanted |= {"classes": classes, "places": away}
    assert losses.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(losses[name], value, atol=1e-5, rtol=1e-4)


def test_gradient_of_keypoints_reaches_boxes_and_the_backbone(toys):
    model, sample = build(), batch(toys)
    losses = model.loss(model(sample), sample)
    (losses["classes"] + losses["places"]).backward()
    for part in (
        model.backbone,
        model.person_box,
        model.person_queries,
        model.cut_projections,
        model.places,
        model.head,
    ):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
    assert max(p.grad.abs().max() for p in model.person_box.parameters()) > 1e-4


def test_the_classes_loss_alone_reaches_the_boxes_by_what_crops_show(toys):
    model, sample = build(), batch(toys)
    model.loss(model(sample), sample)["classes"].backward()
    assert max(p.grad.abs().max() for p in model.person_box.parameters()) > 1e-5


def test_pictures_of_nobody(toys):
    model, sample = build(), batch(toys)
    nobody = {name: getattr(sample, name)[:0] for name in ("keypoints", "visible", "annotated", "image_index")}
    losses = model.loss(model(sample), sample)
    empty = model.loss(model(sample), replace(sample, **nobody))
    assert empty.keys() == losses.keys()
    assert empty["person"] > 0
    assert all(empty[name] == 0 for name in empty if name != "person")
    sum(empty.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.head.parameters())


# Votes and decoding


def test_all_queries_of_all_people_vote(toys):
    model, sample = build().eval(), batch(toys)
    votes = model(sample)
    assert votes.logits.shape == (6, 20, 3)
    assert votes.where.shape == (6, 20, 1, 2)
    torch.testing.assert_close(votes.log_density().exp().sum((-2, -1)), torch.ones(6, 3), atol=1e-4, rtol=1e-4)
    person, logs = votes.extra["persons"][:, -1, :, 0], votes.extra["logs"][:, :, -1]
    for b, n, q in ((0, 0, 0), (2, 3, 1), (5, 4, 3)):
        torch.testing.assert_close(votes.logits[b, 4 * n + q], person[b, n] + logs[b, n, q, :3])


def answers(persons, logs, points):
    extra = {"persons": persons[:, None], "logs": logs[:, :, None], "points": points[:, :, None]}
    return type("Said", (), {"extra": extra})()


def test_who_is_likelier_than_the_threshold_is_decoded_with_the_own_queries():
    """A picture of two people, one of nobody; in an export each keypoint takes its likeliest query."""
    model = build(keypoints=2, people=2, queries=2, threshold=0.6)
    person = torch.tensor([[0.7, 0.9], [0.2, 0.6]])
    sure = torch.tensor([[[0.6, 0.3, 0.1], [0.5, 0.1, 0.4]], [[0.1, 0.8, 0.1], [0.7, 0.2, 0.1]]])
    points = torch.arange(16.0).view(2, 2, 2, 2)
    said = answers(torch.stack([person, 1 - person], -1).log(), sure.log().expand(2, -1, -1, -1), points)
    poses = model.decode(said, None)
    assert isinstance(poses, Poses)
    assert poses.image_index.tolist() == [0, 0]
    torch.testing.assert_close(poses.score, torch.tensor([0.7, 0.9]))
    torch.testing.assert_close(poses.points, points[0, [[0], [1]], [[1, 0], [1, 0]]])
    torch.testing.assert_close(poses.confidence, torch.tensor([[0.5, 0.3], [0.7, 0.8]]))
    alone = model.plain().decode(said, None)
    torch.testing.assert_close(alone.points, points[0, [[0], [1]], [[0, 0], [1, 0]]])
    torch.testing.assert_close(alone.confidence, torch.tensor([[0.6, 0.3], [0.7, 0.8]]))
    assert model.one_to_one
    nobody = answers(said.extra["persons"][:, 0].flip(-1)[1:], sure.log()[None], points[1:])
    empty = build(keypoints=2, people=2, queries=2, threshold=0.9).decode(nobody, None)
    assert (len(empty), empty.points.shape, empty.confidence.shape) == (0, (0, 2, 2), (0, 2))


def test_a_fresh_head_answers_afresh_in_the_same_boxes(toys):
    model, sample = build().eval(), batch(toys)
    features = model.features(sample)
    before, after = model.votes(features, sample), model.votes(features, sample, model.new_head(2).eval())
    assert torch.equal(before.extra["boxes"], after.extra["boxes"])
    assert not torch.equal(before.where, after.where)


# Use


def trained(model, data, count, rate=2e-3):
    batches = TrainingBatches(data, "source", 0, 16, SIZE, Augmentation(10, [0.95, 1.0], 0, 0), True)
    optimizer = torch.optim.Adam(model.train().parameters(), rate)
    for step in range(count):
        losses = model.loss(model(batches[step]), batches[step])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


def test_it_learns_where_people_and_their_keypoints_are(toys):
    test = EvaluationBatches(scenes(toys, part="test", test=50), 50, SIZE)[0]
    larger = {"width": 32, "heads": 4, "hidden": 64, "people": 4}
    model = build(scattered=False, matching=1.0, threshold=0.5, **larger)
    before = scores(predict(model, [test], CPU), toys.DOTS, 0.1)
    after = scores(predict(trained(model, scenes(toys, train=256), 200), [test], CPU), toys.DOTS, 0.1)
    assert after["pck"] > 0.6 > before["pck"] + 0.4
    assert 3 * after["missed"] < before["missed"]


@pytest.mark.parametrize("name", suited(["image"]))
def test_two_updates_of_every_strategy_in_half_precision(toys, two_updates, name):
    """What moves is the network."""
    optimization = Optimization("adam", 1e-3, {}, 0.0, gamma=0.0)
    options = RegDA.Options(warmup=5) if name == "regda" else None
    strategy = STRATEGIES[name](build(threshold=0.3), toys.DOTS, optimization, "target", options).train()
    data = {"source": scenes(toys), "target": scenes(toys, "shifted")}
    changed, _ = two_updates(strategy, data, SIZE, Augmentation(rotation=20))
    assert bool(changed) == (name != "given")


def test_a_file_of_it(toys, tmp_path):
    model = trained(build(head_layers=2), scenes(toys), 2).eval()
    save_model(tmp_path / "model.pt", model, toys.DOTS, 2)
    again, _ = load_model(tmp_path / "model.pt")
    assert asdict(again.eval().options) == asdict(model.options)
    sample = batch(toys)
    with torch.no_grad():
        torch.testing.assert_close(again(sample).where, model(sample).where)
        torch.testing.assert_close(again(sample).logits, model(sample).logits)


def test_onnxruntime_answers_as_pytorch(toys, tmp_path):
    """Of pictures with other numbers of people, and of one of which nobody is likely enough."""
    import onnxruntime

    model = trained(build(decoder_layers=1), scenes(toys, train=64), 20).eval()
    sample = batch(toys, 5)
    with torch.no_grad():
        votes = model(sample)
        person = votes.extra["persons"][:, -1, :, 0].exp()
        model.options = replace(model.options, threshold=float(person.amax(1).sort().values[1:3].mean()))
        poses = model.plain().decode(votes, sample)
    assert len(set(poses.counts(5))) > 1
    assert 0 in poses.counts(5)
    to_onnx(model, SIZE, tmp_path / "people.onnx", toys.DOTS)
    session = onnxruntime.InferenceSession(str(tmp_path / "people.onnx"), providers=["CPUExecutionProvider"])
    points, confidence, image_index, score = session.run(None, {"image": sample.image.numpy()})
    np.testing.assert_array_equal(image_index, poses.image_index)
    np.testing.assert_allclose(points, poses.points, atol=1e-3)
    np.testing.assert_allclose(confidence, poses.confidence, atol=1e-4)
    np.testing.assert_allclose(score, poses.score, atol=1e-4)
    assert "likeliest query by itself" in session.get_modelmeta().custom_metadata_map["queries"]


@pytest.mark.parametrize("size", [64, 112])
def test_dinov2_below_it(size):
    """Its stride is 14; inputs are multiples of 16 as below other systems."""
    pytest.importorskip("timm")
    options = {**SMALL, "backbone": "timm:vit_small_patch14_dinov2", "input_size": [size, size], "levels": 2}
    model = PRTRPeople(3, PRTRPeople.Options(**options)).eval()
    with torch.no_grad():
        assert model(model.empty()).logits.isfinite().all()
    with pytest.raises(ValueError, match=r"model.input_size 56x56 must be a multiple of 16, the backbone's stride"):
        PRTRPeople(3, PRTRPeople.Options(**options | {"input_size": [56, 56]}))


def test_what_does_not_fit():
    with pytest.raises(ValueError, match=r"model.queries=2: 3 keypoints need as many queries, or more"):
        build(queries=2)
    with pytest.raises(ValueError, match=r"model.input_size 30x32 must be a multiple of 4, the backbone's stride"):
        PRTRPeople(3, PRTRPeople.Options(input_size=[30, 32], backbone="small", **SMALL))
    with pytest.raises(ValueError, match=r"model.width=18 must be a multiple of 4"):
        build(width=18)
    about = {one.name: one.metadata["about"] for one in fields(PRTRPeople.Options)}
    assert "a multiple of 4" in about["width"]
