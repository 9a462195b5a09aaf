"""RootNet, PoseNet, both in one, DSNT on volumes: how they learn, are judged in mm, and what a file of them keeps."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

from keyshift.adapt.scoring.evaluation import Predictions, predict, scores, with_mirror
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.mixed import Mixed
from keyshift.datasets.sample import transform
from keyshift.datasets.views import InSpace, Selected
from keyshift.models import people
from keyshift.models.output import Poses
from keyshift.models.saved import MODELS, load_model, save_model
from keyshift.models.systems.pose_net import PoseNet, reference_flip
from keyshift.models.systems.root_net import RootNet

SYSTEMS = ("root_net", "pose_net", "root_pose_net", "dsnt_3d")
CPU, SIZE = torch.device("cpu"), (32, 32)


@pytest.fixture(autouse=True)
def backbone(toys, monkeypatch):
    monkeypatch.setattr(people, "build_backbone", lambda *_: toys.Tiny())


def build(name, skeleton, **options):
    torch.manual_seed(0)
    kind, skeleton = MODELS[name], MODELS[name].learns(skeleton)
    cells = {} if name == "root_net" else {"depth_cells": 16}
    return kind(len(skeleton), kind.Options(input_size=list(SIZE), channels=16, **cells | options)).know(skeleton)


def seen(name, data):
    keypoints = MODELS[name].learns(data.skeleton).keypoints
    return InSpace(Selected(data, keypoints), MODELS[name].space == "pixels and mm from the root")


def trained(model, batches, updates, rate=1e-2, milestone=1000):
    """The sums of the losses of all updates; after the milestone the rate is a tenth."""
    optimizer, sums = torch.optim.Adam(model.train().parameters(), rate), []
    for step in range(updates):
        sample = batches[step % len(batches)]
        losses = model.loss(model(sample), sample)
        optimizer.param_groups[0]["lr"] = rate if step < milestone else rate / 10
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        sums.append(float(sum(losses.values()).detach()))
    return sums


def training(name, data, batch=16, count=6):
    cut = SIZE, Augmentation(rotation=20, area=[0.8, 1.2], color=0, blur=0)
    batches = TrainingBatches(seen(name, data), "source", 0, batch, *cut, labels=True)
    return [batches[step] for step in range(count)]


@pytest.fixture(scope="module")
def learned(toys, persons):
    """learned(system): a network after 120 updates, and the loss of each; trained once."""
    made = {}

    def learn(name):
        if name not in made:
            model = build(name, persons.skeleton)
            made[name] = model, trained(model, training(name, persons(160), count=10), 120, milestone=80)
        return made[name]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(people, "build_backbone", lambda *_: toys.Tiny())
        yield learn


def held_out(name, persons):
    data = seen(name, persons(64, first=1000))
    return EvaluationBatches(data, 64, SIZE)[0], data.skeleton


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_learns(persons, learned, name):
    """On other samples a root is nearer than k says, and a pose than the mean pose."""
    model, sums = learned(name)
    assert np.mean(sums[-10:]) < 0.6 * np.mean(sums[:10])
    sample, skeleton = held_out(name, persons)
    reached = scores(predict(model, [sample], CPU), skeleton, 0.1)["mm"]
    if name == "root_net":
        assert reached < 0.8 * float((sample.inputs["k"] - sample.points[:, 0, 2]).abs().mean())
    else:
        relative = sample.points - sample.points[:, :1]
        share = 1.0 if name == "root_pose_net" else 0.5  # the backbone of both listens to mm of distance first
        assert reached < share * float((relative - relative.mean(0)).norm(dim=-1).mean())


def naive_in_space(point, camera, z):
    fx, fy, cx, cy = (float(value) for value in camera)
    return np.array([(point[0] - cx) / fx * z, (point[1] - cy) / fy * z, z])


def answered(model, sample):
    """Points (B, K, 3) in file pixels, z as the network says it."""
    model.eval()
    with torch.no_grad():
        points = model.decode(model(sample), sample).points
    return transform(sample.to_file, points).double().numpy()


def test_mrpe_is_the_mean_distance_of_roots_in_the_cameras_frame(persons):
    """Against a loop: back-projection of each root with its own depth."""
    data = seen("root_net", persons(12))
    sample = EvaluationBatches(data, 12, SIZE)[0]
    model = build("root_net", persons.skeleton)
    nn.init.constant_(model.head.depth[0].bias, 1.1)
    errors = []
    for i, (x, y, z) in enumerate(answered(model, sample)[:, 0]):
        errors.append(np.linalg.norm(naive_in_space((x, y), data[i].camera, z) - persons(12)[i].points[0]))
    predictions = predict(model, [sample], CPU)
    assert scores(predictions, data.skeleton, 0.1)["mm"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert predictions.depth is None
    assert 100 < np.mean(errors) < 3000


@pytest.mark.parametrize("name", ["pose_net", "root_pose_net", "dsnt_3d"])
def test_mpjpe_is_relative_to_the_root_at_its_true_distance(persons, name, tmp_path):
    """Against a loop: each joint is back-projected with its own depth, the true root's and what the network says from
    there, and both poses are counted from their own roots."""
    data = seen(name, persons(12))
    sample = EvaluationBatches(data, 12, SIZE)[0]
    sample = replace(sample, annotated=sample.annotated.clone(), deep=sample.deep.clone())
    sample.deep[3, 1] = False  # a joint of which no distance is known does not count
    model = build(name, persons.skeleton)
    trained(model, training(name, persons(32), 8, 4), 4)
    errors = []
    for i, pose in enumerate(answered(model, sample)):
        truth = persons(12)[i].points
        placed = [naive_in_space((x, y), data[i].camera, z + truth[0, 2]) for x, y, z in pose]
        for k in range(3):
            if (i, k) != (3, 1):
                errors.append(np.linalg.norm(placed[k] - placed[0] - (truth[k] - truth[0])))
    predictions = predict(model, [sample], CPU)
    assert len(errors) == 35 == int(predictions.annotated.sum())
    assert scores(predictions, data.skeleton, 0.1)["mm"] == pytest.approx(np.mean(errors), rel=1e-4)
    predictions.save(tmp_path / "predictions.npz")
    again = Predictions.load(tmp_path / "predictions.npz")
    torch.testing.assert_close(again.errors(), predictions.errors())
    assert (again.root, again.space) == (0, "pixels and mm from the root")
    assert (again.own_depth is not None) == (name == "root_pose_net")


def test_the_joint_network_says_both(persons, learned):
    """Its root branch is RootNet: trained alike, and its distance stands beside the predictions."""
    sample, _ = held_out("root_pose_net", persons)
    predictions = predict(learned("root_pose_net")[0], [sample], CPU)
    true = sample.points[:, 0, 2]
    torch.testing.assert_close(predictions.depth, true)
    away = (predictions.own_depth - true).abs().mean()
    assert away < 0.8 * (sample.inputs["k"] - true).abs().mean()


def test_distances_are_learned_from_the_half_that_has_them(persons, toys):
    """Of a batch with samples of a 2D set, by the joint network too; those have no part in what is learned of z."""
    flat = toys.Sketches(toys.Sketches.Options(train=16), "train")
    for name in SYSTEMS:
        (sample,) = training(name, Mixed(persons(16), flat), count=1)
        model = build(name, persons.skeleton).eval()
        losses = model.loss(model(sample), sample)
        assert 0 < sample.deep.sum() < sample.deep.numel()
        unknown = changed(sample, torch.where(sample.deep, 0.0, 500.0))
        for key, value in model.loss(model(unknown), unknown).items():
            torch.testing.assert_close(value, losses[key])
        other = changed(sample, torch.where(sample.deep, 50.0, 0.0))
        after = model.loss(model(other), other)
        assert all(after[key] != losses[key] for key in losses if key != "plane"), name


def changed(sample, z):
    """Other distances: z (P, K) mm are added, to the keypoints' and, of known ones, to the points'."""
    keypoints, points = sample.keypoints.clone(), sample.points.clone()
    keypoints[..., 2] += z
    points[..., 2] += torch.where(sample.deep, z, -500.0)
    return replace(sample, keypoints=keypoints, points=points)


@pytest.mark.parametrize("name", SYSTEMS)
def test_gradients_are_finite_in_half_precision(persons, name):
    model, (sample,) = build(name, persons.skeleton), training(name, persons(8), 8, 1)
    with torch.autocast("cpu", torch.bfloat16):
        votes = model(sample)
        loss = sum(model.loss(votes, sample).values())
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_distance_keeps_its_digits_in_half_precision(persons):
    """bf16 has steps of 16 mm at 4 m and more: gamma is made in float32."""
    model, (sample,) = build("root_net", persons.skeleton).eval(), training("root_net", persons(8), 8, 1)
    nn.init.normal_(model.head.depth[0].weight, std=0.05)
    nn.init.constant_(model.head.depth[0].bias, 1.0)
    with torch.no_grad():
        features = model.features(sample).bfloat16().float()
        exact = model.votes(features, sample).where
        with torch.autocast("cpu", torch.bfloat16):
            half = model.votes(features.bfloat16(), sample).where
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, atol=0.1, rtol=0)
    assert half.flatten().unique().numel() == 8


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_file_keeps_extent_and_root(persons, tmp_path, name):
    hands = replace(persons.skeleton, extent=300.0, root=1)
    model = build(name, hands).eval()
    save_model(tmp_path / "model.pt", model, type(model).learns(hands), 5)
    again, skeleton = load_model(tmp_path / "model.pt")
    assert asdict(again.eval().options) == asdict(model.options) | {"weights": None}
    assert again.extent == skeleton.extent == 300
    assert again.root == model.root
    assert skeleton.root == (0 if name == "root_net" else 1)
    assert again.grid == model.grid
    sample = model.empty()
    with torch.no_grad():
        torch.testing.assert_close(again(sample).mean(), model(sample).mean())


@pytest.mark.parametrize("name", SYSTEMS)
def test_an_extent_that_is_not_the_datas_is_refused(persons, name):
    data = seen(name, persons(2))
    sample = EvaluationBatches(data, 2, SIZE)[0]
    with pytest.raises(ValueError, match=r"is built for an extent of 300 mm; persons has 2000 mm. Choose model.extent"):
        build(name, replace(persons.skeleton, extent=300.0)).check(sample, "persons")
    build(name, persons.skeleton).check(sample, "persons")


def test_without_a_camera_there_is_no_distance(toys, persons):
    flat = toys.Sketches(toys.Sketches.Options(), "train")
    for name in ("root_net", "root_pose_net"):
        sample = EvaluationBatches(seen(name, flat), 2, SIZE)[0]
        with pytest.raises(ValueError, match=r"reads image and camera, fx and fy above 0; sketches gives no camera"):
            build(name, persons.skeleton).check(sample, "sketches")
    for name in ("pose_net", "dsnt_3d"):
        build(name, persons.skeleton).check(EvaluationBatches(seen(name, flat), 2, SIZE)[0], "sketches")


@pytest.mark.parametrize("name", ["root_net", "root_pose_net"])
def test_a_label_whose_camera_is_not_known_teaches_no_distance(persons, name):
    """k is 0 there, and so is any answer: what the label says of z is no loss, x and y are."""
    (sample,) = training(name, persons(8), 8, 1)
    model = build(name, persons.skeleton).eval()
    k = sample.inputs["k"].clone()
    k[:4] = 0
    blind = replace(sample, inputs={**sample.inputs, "k": k})
    losses = model.loss(model(blind), blind)
    rows = torch.arange(8)[:, None] < 4
    nearer = changed(blind, torch.where(rows, -50.0, 0.0).expand_as(blind.deep))
    seen_nearer = changed(blind, torch.where(rows, 0.0, -50.0).expand_as(blind.deep))
    torch.testing.assert_close(model.loss(model(nearer), nearer)["depth"], losses["depth"])
    assert not torch.isclose(model.loss(model(seen_nearer), seen_nearer)["depth"], losses["depth"])
    assert losses["plane"] == model.loss(model(sample), sample)["plane"]


@pytest.mark.parametrize("system", [RootNet, PoseNet])
def test_without_a_root_there_is_nothing_to_learn(dots, system):
    with pytest.raises(ValueError, match=r"has none: red, green, blue\. Both sides need the same root, a pelvis or w"):
        system.learns(dots.skeleton)


def test_inputs_that_do_not_fit_the_stride(persons):
    with pytest.raises(ValueError, match=r"model.input_size 30x32 must be a multiple of the backbone's stride 4"):
        PoseNet(3, PoseNet.Options(input_size=[30, 32]))


# Mirror images


@pytest.mark.parametrize("name", SYSTEMS)
def test_answers_over_mirror_images(persons, name):
    """Against a loop over samples and keypoints."""
    data = seen(name, persons(6))
    sample = EvaluationBatches(data, 6, SIZE)[0]
    model = build(name, persons.skeleton)
    trained(model, training(name, persons(32), 8, 4), 8)
    model.eval()
    with torch.no_grad():
        poses = model.decode(model(sample), sample)
        turned = replace(
            sample, inputs=sample.inputs | {"image": torch.from_numpy(sample.image.numpy()[..., ::-1].copy())}
        )
        other = model.decode(model(turned), turned)
        mean = with_mirror(poses, model, sample, data.skeleton.flip)
    wanted = np.zeros(poses.points.shape)
    partner = {0: 0, 1: 2, 2: 1}
    for i in range(6):
        for k in range(poses.points.shape[1]):
            x, y, z = other.points[i, partner[k]].tolist()
            wanted[i, k] = (poses.points[i, k].numpy() + np.array([32 - x, y, z])) / 2
            sure = (poses.confidence[i, k] + other.confidence[i, partner[k]]) / 2
            assert float(mean.confidence[i, k]) == pytest.approx(float(sure), abs=1e-6)
    np.testing.assert_allclose(mean.points, wanted, atol=1e-3)
    assert not torch.allclose(poses.points, mean.points)
    again = predict(model, [sample], CPU, data.skeleton.flip).points
    torch.testing.assert_close(again, transform(sample.to_file, mean.points))


def test_a_network_that_sees_the_truth_gains_nothing_by_mirror_images():
    """By pixels, exactly; the reference's cells are 3/8 of a cell off, which is 1.5 px."""
    flip = [0, 2, 1]
    grid = PoseNet(3, PoseNet.Options(reference=True)).grid
    points = torch.rand(4, 3, 3) * torch.tensor([200.0, 200.0, 900.0]) + 20
    mirrored = torch.cat([256 - points[:, flip, :1], points[:, flip, 1:]], -1)
    cells, other = grid.to_cells(points), grid.to_cells(mirrored)
    away = reference_flip(cells, other, flip) - cells
    torch.testing.assert_close(away, torch.tensor([-0.375, 0, 0]).expand_as(away), atol=1e-4, rtol=0)
    naive = [(c[0] + 64 - o[0] - 1) / 2 for c, o in zip(cells[1].tolist(), other[1, flip].tolist(), strict=True)]
    assert reference_flip(cells, other, flip)[1, :, 0].tolist() == pytest.approx(naive, abs=1e-4)


def test_flipped_answers_ask_for_one_person_in_pixels(toys):
    model = toys.BottomUp(3, toys.BottomUp.Options(channels=8))
    none = Poses.of_crops(torch.zeros(1, 3, 2), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="flip_test: BottomUp does not answer for one person in a picture's pixels"):
        with_mirror(none, model, model.empty(), [0, 1, 2])
