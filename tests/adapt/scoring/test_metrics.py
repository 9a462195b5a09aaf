import math

import pytest
import torch

from keyshift.adapt.scoring import metrics
from keyshift.adapt.scoring.evaluation import Predictions, agreement, curve, predict, scores
from keyshift.adapt.scoring.selection import MM
from keyshift.datasets.sample import PIXELS_AND_MM, Labeled, Unlabeled
from keyshift.datasets.skeleton import HAND
from keyshift.models.output import Poses


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(30, 21, 2, generator=generator) * 100
    predicted = truth + 12 * torch.randn(30, 21, 2, generator=generator)
    mask = torch.rand(30, 21, generator=generator) > 0.3
    mask[:, 4] = False
    return predicted, truth, mask, torch.rand(30, generator=generator) * 50 + 75


def test_pck_epe_auc_against_loops(case):
    predicted, truth, mask, side = case
    errors = metrics.relative_errors(predicted, truth, side)
    pairs = [(n, k) for n in range(30) for k in range(21) if mask[n, k]]
    away = {p: math.dist(predicted[p].tolist(), truth[p].tolist()) for p in pairs}
    share = {(n, k): away[n, k] / side[n].item() for n, k in pairs}
    assert metrics.epe(predicted, truth, mask).item() == pytest.approx(sum(away.values()) / len(pairs), rel=1e-5)
    for threshold in (0.05, 0.1, 0.2):
        wanted = sum(e <= threshold for e in share.values()) / len(pairs)
        assert metrics.pck(errors, mask, threshold).item() == pytest.approx(wanted)
    per_joint = metrics.pck_per_joint(errors, mask, 0.1)
    assert per_joint[4].isnan()
    for k in (0, 7):
        own = [e <= 0.1 for (n, j), e in share.items() if j == k]
        assert per_joint[k].item() == pytest.approx(sum(own) / len(own))
    thresholds = torch.linspace(0, 0.2, 2001)
    curve = metrics.pck_curve(errors, mask, thresholds)
    assert curve[1000].item() == pytest.approx(metrics.pck(errors, mask, thresholds[1000].item()).item())
    area = torch.trapezoid(curve, thresholds.double()) / 0.2
    assert metrics.auc(errors, mask, 0.2).item() == pytest.approx(area.item(), abs=1e-3)


def test_groups_leave_out_joints_that_never_count(case):
    predicted, truth, mask, side = case
    per_joint = metrics.pck_per_joint(metrics.relative_errors(predicted, truth, side), mask, 0.1)
    groups = metrics.group_means(per_joint, HAND.groups)
    tips = [per_joint[k].item() for k in (8, 12, 16, 20)]  # the thumb's tip is never seen
    assert groups["fingertip"] == pytest.approx(sum(tips) / 4)


def test_nothing_to_score_is_nan(case):
    predicted, truth, mask, side = case
    none = torch.zeros_like(mask)
    errors = metrics.relative_errors(predicted, truth, side)
    assert metrics.pck(errors, none, 0.1).isnan()
    assert metrics.epe(predicted, truth, none).isnan()


def test_length_for_each_keypoint(case):
    predicted, truth, _, side = case
    each = side[:, None].expand(-1, 21)
    torch.testing.assert_close(
        metrics.relative_errors(predicted, truth, each), metrics.relative_errors(predicted, truth, side)
    )


def test_reference_pooling_counts_minus_one_as_a_number():
    groups = {"all": (0, 1)}
    batches = [(torch.tensor([1.0, -1.0]), 3), (torch.tensor([0.5, 0.5]), 1)]
    assert metrics.tllib_pool(batches, groups)["all"] == pytest.approx((0 * 3 + 0.5) / 4)


# Depth: points of x px, y px, z mm


@pytest.fixture
def depth():
    generator = torch.Generator().manual_seed(1)
    near, far = torch.tensor([100.0, 80.0, 500.0]), torch.tensor([220.0, 160.0, 700.0])
    truth = near + (far - near) * torch.rand(40, 21, 3, generator=generator)
    level = torch.rand(40, 1, 1, generator=generator)
    points = truth + level * torch.tensor([9.0, 9.0, 40.0]) * torch.randn(40, 21, 3, generator=generator)
    annotated = torch.rand(40, 21, generator=generator) > 0.2
    annotated[7] = False
    annotated[:, 4] = False
    visible = annotated & (torch.rand(40, 21, generator=generator) > 0.4)
    camera = torch.tensor([475.0, 470.0, 160.5, 120.5]) + 5 * torch.rand(40, 4, generator=generator)
    id = tuple(f"frame{i}" for i in range(40))
    people = {"row": torch.arange(40), "matched": torch.ones(40, dtype=torch.bool), "space": PIXELS_AND_MM}
    return Predictions(points, torch.ones(40, 21), truth, annotated, visible, torch.ones(40), camera, id, id, **people)


def in_space(point, camera):
    (x, y, z), (fx, fy, cx, cy) = point.tolist(), camera.tolist()
    return (x - cx) * z / fx, (y - cy) * z / fy, z


def test_errors_in_mm_against_loops(depth):
    away = {
        (n, k): math.dist(in_space(depth.points[n, k], depth.camera[n]), in_space(depth.truth[n, k], depth.camera[n]))
        for n in range(40)
        for k in range(21)
    }
    errors = depth.errors()
    assert all(errors[place].item() == pytest.approx(e, rel=1e-4, abs=1e-3) for place, e in away.items())
    known = {place: e for place, e in away.items() if depth.annotated[place]}
    seen = [e for place, e in known.items() if depth.visible[place]]
    measured = scores(depth, HAND, 0.1)
    assert measured["mm"] == pytest.approx(sum(known.values()) / len(known), rel=1e-4)
    assert measured["mm_visible"] == pytest.approx(sum(seen) / len(seen), rel=1e-4)
    pixels = [math.dist(depth.points[p][:2].tolist(), depth.truth[p][:2].tolist()) for p in known]
    assert measured["epe"] == pytest.approx(sum(pixels) / len(pixels), rel=1e-4)
    depth.points[0, 0] += torch.tensor([0.0, 0.0, 300.0])
    assert depth.annotated[0, 0]
    known[0, 0] = 300
    shares = [[e < 100 for (_, j), e in known.items() if j == k] for k in range(21) if k != 4]
    near = sum(sum(share) / len(share) for share in shares) / 20
    assert 0.5 < near < 1
    assert scores(depth, HAND, 0.1)["map"] == pytest.approx(near)
    of_joint = [e for (n, k), e in known.items() if k == 8]
    assert measured["joints"][HAND.keypoints[8]] == pytest.approx(sum(of_joint) / len(of_joint), rel=1e-4)
    assert math.isnan(measured["joints"][HAND.keypoints[4]])
    tips = [measured["joints"][HAND.keypoints[k]] for k in (8, 12, 16, 20)]
    assert measured["groups"]["fingertip"] == pytest.approx(sum(tips) / 4)


def test_area_of_depth_is_of_each_frames_worst_joint(depth):
    errors, mask = depth.errors(), depth.annotated
    worst = [max(errors[n, k].item() for k in range(21) if mask[n, k]) for n in range(40) if n != 7]
    steps = [(i + 0.5) / 100 for i in range(8000)]
    area = sum(sum(w <= t for w in worst) / len(worst) for t in steps) / len(steps)
    assert 0.1 < area < 0.9
    assert scores(depth, HAND, 0.1)["auc"] == pytest.approx(area, abs=1e-3)
    within = curve(MM, errors, mask, torch.tensor([20.0, 40.0]))
    assert within.tolist() == [sum(w <= t for w in worst) / 39 for t in (20, 40)]


def test_errors_in_mm_need_a_camera(depth):
    depth.camera[3] = 0
    with pytest.raises(ValueError, match="1 of 40 samples have no camera, 'frame3' first"):
        depth.errors()


def test_predictions_come_back_from_their_file(depth, tmp_path):
    depth.save(tmp_path / "predictions.npz")
    back = Predictions.load(tmp_path / "predictions.npz")
    assert back.id == depth.id
    assert torch.equal(back.errors(), depth.errors())


class Fixed(torch.nn.Module):
    """A model whose answers are given by the batch's first id."""

    single = True

    def __init__(self, **points):
        super().__init__()
        self.points = points

    def forward(self, batch):
        return batch.id[0]

    def decode(self, votes, batch):
        return Poses.of_crops(self.points[votes], torch.ones(self.points[votes].shape[:2]))

    def root_distance(self, votes):
        return None


def a_batch(kind=Unlabeled, name="first", **more):
    zoomed = torch.tensor([[[2.0, 0, 0, 5], [0, 2, 0, 6], [0, 0, 0.5, 700]]])
    inputs = {"image": torch.zeros(1, 1, 100, 80), "reach": torch.tensor([100.0])}
    shape = {"inputs": inputs, "id": (name,), "sequence": ("s",), "frame": torch.zeros(1).long()}
    shape |= {"camera": torch.tensor([[500.0, 500.0, 100.5, 100.5]]), "to_file": zoomed, "side": torch.tensor([200.0])}
    return kind(**shape, row=torch.zeros(1).long(), space=PIXELS_AND_MM, **more)


def test_what_lies_outside_of_the_cube_is_missed_not_left_out():
    points = torch.tensor([[[10.0, 10, 0], [10, 10, 99], [10, 10, -101], [90, 10, 0], [10, 99, 0]]])
    known = torch.ones(1, 5, dtype=torch.bool)
    labels = {"keypoints": points, "visible": known, "annotated": known, "image_index": torch.zeros(1).long()}
    predictions = predict(Fixed(first=points + 1), [a_batch(Labeled, **labels)], torch.device("cpu"))
    assert predictions.annotated.all()
    assert predictions.visible.all()
    assert predictions.truth[0, 1].tolist() == [25.0, 26.0, 749.5]  # in the file
    assert predictions.points[0, 1].tolist() == [27.0, 28.0, 750.0]
    assert predictions.camera.tolist() == [[500.0, 500.0, 100.5, 100.5]]


def test_agreement_of_depth_needs_z_too():
    here = torch.tensor([[[10.0, 10, 0], [10, 10, 50], [40, 40, 0], [40, 40, 99], [40, 40, 0]]])
    there = here + torch.tensor([[0.0, 0, 9], [0, 0, -11], [4.9, 0, 0], [0, 0, 10], [5.1, 0, 0]])
    batch = a_batch(views=(a_batch(name="second"),))
    model = Fixed(first=here, second=there)
    assert agreement(model, [batch], list(range(5)), torch.device("cpu")) == pytest.approx(3 / 5)
