"""Poses in mm from the root through `predict` and `scores`, against plain numpy; and the reference's own numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring import people_metrics
from keyshift.adapt.scoring.evaluation import agreement, check_mirrored, predict, scores
from keyshift.adapt.scoring.people import PredictedPeople
from keyshift.adapt.scoring.predictions import Predictions
from keyshift.adapt.scoring.resampling import block_totals
from keyshift.adapt.scoring.selection import MM
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.bodies.skeletons import H36M17
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.reading.sequences import Recording, SequenceOptions, Sequences
from keyshift.datasets.sample import BODY_MM
from keyshift.datasets.views import WithoutLabels
from keyshift.models.output import Poses

CPU, CAMERA, SIZE = torch.device("cpu"), np.array([900.0, 905.0, 500.0, 400.0]), (200, 160)


class Guesser(torch.nn.Module):
    """Answers the truth with an error that its place in the set draws, and says what it was shown."""

    single, space, root, reads = True, BODY_MM, 0, ("keypoints2d",)
    input_size = SIZE

    def __init__(self, data):
        super().__init__()
        self.data, self.shown = data, set()

    def answer(self, row):
        truth = self.data[row].keypoints
        return truth + np.random.default_rng([row, 5]).normal(0, 60, truth.shape)

    def forward(self, sample):
        self.shown |= set(sample.inputs)
        return sample

    def decode(self, sample, _):
        points = torch.from_numpy(np.stack([self.answer(int(row)) for row in sample.row])).float()
        return Poses.of_crops(points, torch.ones(points.shape[:2]))

    def root_distance(self, votes):
        return None


def recording(name, frames, gap=0):
    rng = np.random.default_rng(frames)
    points = (rng.uniform(-700, 700, (frames, 17, 3)) + np.array([0, 0, 4000])).astype(np.float32)
    flat = points[..., :2] / points[..., 2:] * CAMERA[:2] + CAMERA[2:]
    keypoints = np.concatenate([flat, np.ones((frames, 17, 1))], -1).astype(np.float32)
    numbers = np.arange(frames) + (np.arange(frames) >= 3) * gap
    return Recording(name, keypoints, (1000, 800), points, CAMERA, numbers)


@pytest.fixture
def data():
    pieces = [recording("a", 6, gap=5), recording("b", 4)]
    return Sequences("walks.test", H36M17, pieces, SequenceOptions(random=3), {})


def predicted(data, model=None, batch=4):
    batches = EvaluationBatches(data, batch, SIZE)
    return predict(model or Guesser(data), (batches[i] for i in range(len(batches))), CPU)


def test_scores_against_numpy(data):
    model = Guesser(data)
    truth = np.stack([data[i].keypoints for i in range(len(data))]).astype(np.float64)
    guess = np.stack([model.answer(i) for i in range(len(data))])
    guess = guess - guess[:, :1]
    made = scores(predicted(data, model), H36M17, 0.1)
    assert made["mm"] == pytest.approx(np.linalg.norm(guess - truth, axis=-1).mean(), rel=1e-5)
    scale = (guess * truth).sum((1, 2)) / (guess * guess).sum((1, 2))
    assert made["n_mm"] == pytest.approx(np.linalg.norm(scale[:, None, None] * guess - truth, axis=-1).mean(), rel=1e-5)
    away = []
    for one, other in zip(guess, truth, strict=True):
        a, b = one - one.mean(0), other - other.mean(0)
        u, s, v = np.linalg.svd(a.T @ b)
        sign = np.array([1, 1, np.sign(np.linalg.det(u @ v))])
        away.append(np.linalg.norm(a @ (u * sign @ v) * (s * sign).sum() / (a * a).sum() - b, axis=-1).mean())
    assert made["pa_mm"] == pytest.approx(np.mean(away), rel=1e-5)
    follow = [0, 1, 3, 4, 6, 7, 8]  # frames 3 to 5 of the first have a gap before them, and sequences end
    moves = [np.linalg.norm((guess[i + 1] - guess[i]) - (truth[i + 1] - truth[i]), axis=-1).mean() for i in follow]
    assert made["velocity_mm"] == pytest.approx(np.mean(moves), rel=1e-5)
    assert made["joints"]["pelvis"] == 0
    place = np.stack([data[i].points[:1] for i in range(len(data))])
    true = (truth + place)[..., :2] / (truth + place)[..., 2:] * CAMERA[:2] + CAMERA[2:]
    assert predicted(data, model).in_picture(torch.from_numpy(truth)).numpy() == pytest.approx(true, abs=1e-2)
    answered = np.stack([model.answer(i) for i in range(len(data))]) + place
    pixels = answered[..., :2] / answered[..., 2:] * CAMERA[:2] + CAMERA[2:]
    assert made["epe"] == pytest.approx(np.linalg.norm(pixels - true, axis=-1).mean(), rel=1e-4)


def test_takes_of_the_same_are_one_block(data):
    named = [replace(one, name=f"walk#take{i}") for i, one in enumerate(data.recordings)]
    takes = Sequences("walks.test", H36M17, [*named, recording("other", 5)], SequenceOptions(random=0), {})
    totals, counts = block_totals(predicted(takes), MM)
    assert counts.tolist() == [5 * 17, 10 * 17], "by name: other, walk"
    errors = predicted(takes).errors().numpy()
    np.testing.assert_allclose(totals, [errors[10:].sum(), errors[:10].sum()])


def test_no_answer_is_made_of_labels(data):
    model = Guesser(data)
    predicted(data, model)
    assert model.shown == {"keypoints2d", "random2d", "lens"}


def test_predictions_are_kept(data, tmp_path):
    made = predicted(data)
    made.save(tmp_path / "predictions.npz")
    kept = Predictions.load(tmp_path / "predictions.npz")
    assert kept.root == 0
    assert torch.equal(kept.frame, made.frame)
    assert torch.equal(kept.place, made.place)
    assert scores(kept, H36M17, 0.1) == scores(made, H36M17, 0.1)
    assert scores(made.select(torch.arange(6)), H36M17, 0.1)["velocity_mm"] > 0
    old = scores(replace(kept, frame=None), H36M17, 0.1)
    assert np.isnan(old["velocity_mm"])


def test_without_a_camera_nothing_is_measured_in_the_picture(data):
    bare = [replace(one, camera=np.zeros(4)) for one in data.recordings]
    data = Sequences("walks.test", H36M17, bare, SequenceOptions(random=0), {})
    made = scores(predicted(data), H36M17, 0.1)
    assert np.isnan(made["epe"])
    assert made["mm"] > 0
    blind = scores(predicted(WithoutLabels(data), Guesser(data)), H36M17, 0.1)
    assert np.isnan(blind["mm"])
    assert np.isnan(blind["velocity_mm"])


class Flat(Guesser):
    """Lifts by the 2D keypoints alone: x and y of the input, and a z that is each keypoint's own."""

    apart = 1.0

    def decode(self, sample, _):
        here = sample.inputs["keypoints2d"][:, 0, :, :2]
        here = here - here[:, :1]
        points = torch.cat([10 * here, 3 * here[..., :1] ** 2 + self.apart * torch.arange(17)[:, None]], -1)
        return Poses.of_crops(points, torch.ones(points.shape[:2]))


def test_mirror_images_are_averaged(data):
    model, batches = Flat(data), EvaluationBatches(data, 10, SIZE)
    plain = predict(model, [batches[0]], CPU)
    both = predict(model, [batches[0]], CPU, mirror=H36M17.flip)
    torch.testing.assert_close(both.points[..., :2], plain.points[..., :2], atol=1e-2, rtol=0)
    here = plain.points[..., 0] / 10
    wanted = 3 * here**2 + (torch.arange(17) + torch.tensor(H36M17.flip)) / 2
    torch.testing.assert_close(both.points[..., 2], wanted, atol=0.5, rtol=1e-3)
    check_mirrored(model)


def test_two_warps_agree_where_the_answer_turns_with_them(data):
    model = Flat(data)
    augmentation = Augmentation(mirror=0.5, area=[1.0, 1.0])
    batch = TrainingBatches(data, "target", 3, 8, SIZE, augmentation, labels=False, views=2)[0]
    both = (torch.linalg.det(view.to_file[:, :, :3]) < 0 for view in (batch, batch.views[0]))
    assert len(set(map(bool, torch.logical_xor(*both)))) == 2, "some views are mirrored alone, and some are not"
    assert agreement(model, [batch], H36M17.flip, CPU) == 1
    model.apart = 200.0  # which no mirror image does
    assert agreement(model, [batch], H36M17.flip, CPU) < 0.9


def test_poses_from_the_root_stand_nowhere():
    poses = Poses.of_crops(torch.zeros(1, 17, 3), torch.ones(1, 17))
    with pytest.raises(ValueError, match="poses from the root stand nowhere"):
        PredictedPeople.of(poses, torch.ones(1, 4), BODY_MM)


def test_the_references_numbers(golden):
    arrays = golden.load("anatomy3d")
    truth = golden.normal("pose", (2, 5, 17, 3), 300.0).flatten(0, 1)
    noise = golden.normal("pose.jitter", (2, 5, 17, 3)).flatten(0, 1)
    guess, mask = truth + 40 * noise, torch.ones(10, 17, dtype=torch.bool)
    track, frame = torch.zeros(10, dtype=torch.int64), torch.arange(10)
    made = {
        "mpjpe": people_metrics.mpjpe(guess, truth, mask, None),
        "n_mpjpe": people_metrics.n_mpjpe(guess, truth, mask, None),
        "p_mpjpe": people_metrics.pa_mpjpe(guess, truth, mask),
        "velocity": people_metrics.mpjve(guess, truth, mask, None, track, frame),
    }
    for name, value in made.items():
        golden.compare(arrays, f"metric.{name}", value)
