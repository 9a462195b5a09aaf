"""Agreement over known views against loops, whom it trusts, and that this helps on a toy shift."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.adapt.methods.view_filter import ViewFilter
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.views import agreed, by_view, stacked
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.sample import swaps, transform
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.output import Grid, Poses

TURNED = Augmentation(rotation=30, mirror=0.5)


def test_the_mean_and_its_agreement_are_a_loops():
    torch.manual_seed(0)
    grid = Grid((8, 8), (4.0, 2.0), (2.0, 1.0), Grid((8,), (10.0,), (0.0,)))
    points, seen = 30 * torch.rand(5, 3, 4, 3), torch.rand(5, 3) > 0.4
    seen[0] = True
    mean, agreement = agreed(points, seen, grid, 0.5)
    for p in range(3):
        for k in range(4):
            there = [points[v, p, k].double().numpy() for v in range(5) if seen[v, p]]
            middle = np.mean(there, 0)
            variance = np.mean([(((x - middle) / [4, 2, 10]) ** 2).sum() for x in there])
            wanted = 0.5 / (variance + 0.5) * len(there) / 5
            np.testing.assert_allclose(mean[p, k].numpy(), middle, rtol=1e-5)
            assert agreement[p, k].item() == pytest.approx(wanted, rel=1e-4)


def test_people_are_found_again_in_other_views(dots):
    """Two people of the first picture change places in the second view; the third lacks one, and shows a stranger."""
    sample = EvaluationBatches(dots(2), 2, (32, 32))[0].without_labels()
    one, two, alone = (torch.tensor([[5.0, 5], [9, 5], [5, 9]]) + shift for shift in (0, 16, 8))
    rows = [(one, 0), (two, 0), (alone, 1), (two + 1, 2), (one + 1, 2), (alone, 3), (two - 1, 4), (alone, 4)]
    points, image_index = torch.stack([p for p, _ in rows]), torch.tensor([i for _, i in rows])
    score = torch.linspace(0.9, 0.5, len(rows))
    poses = Poses(points, torch.ones(len(rows), 3), image_index, score)
    first, placed, seen = by_view(poses, 3, sample, single=False)
    assert first.image_index.tolist() == [0, 0, 1]
    assert seen.tolist() == [[True] * 3, [True] * 3, [False, True, False]]
    assert torch.equal(placed[1], torch.stack([one + 1, two + 1, alone]))
    assert torch.equal(placed[2, 1], two - 1)


@pytest.fixture
def asked(toys):
    """A strategy of four views whose keypoints 1 and 2 change names in a mirror, and a batch for it."""
    torch.manual_seed(0)
    skeleton = Skeleton("pair", toys.DOTS.keypoints, flip_pairs=((1, 2),))
    model = toys.TopDown(3, toys.TopDown.Options(channels=8))
    options = ViewFilter.Options(teacher_views=4, masked_first=0.8, masked=0.2, opening=10)
    strategy = ViewFilter(model, skeleton, Optimization("adam", 1e-2, {}, 0.0), options=options).eval()
    assert strategy.views == {"source": 1, "target": 5}
    data = toys.Scenes(toys.Scenes.Options(), "train", "shifted")
    return strategy, TrainingBatches(data, "target", 0, 6, (32, 32), TURNED, False, 5)[0]


def test_views_meet_in_the_first_one(asked):
    """One view at a time, by the file: mirrored or not, in one pass of all or in four."""
    strategy, target = asked
    views = [target, *target.views[:-1]]
    poses = strategy.taught(target)
    there = []
    for view in views:
        with torch.no_grad():
            own = strategy.teacher.decode(strategy.teacher(view), view)
        points = transform(view.to_file, own.points).double().numpy()
        mirrored = (swaps(view) ^ swaps(target)).numpy()
        points[mirrored] = points[mirrored][:, [0, 2, 1]]
        linear, shift = target.to_file[:, :, :2].double().numpy(), target.to_file[:, :, 2].double().numpy()
        there.append(np.stack([np.linalg.solve(m, (p - s).T).T for m, p, s in zip(linear, points, shift, strict=True)]))
        if view is not target:
            assert 0 < mirrored.sum() < 6
    np.testing.assert_allclose(poses.points.numpy(), np.mean(there, 0), atol=2e-3)
    variance = (((np.stack(there) - np.mean(there, 0)) / 2) ** 2).sum(-1).mean(0)
    np.testing.assert_allclose(poses.confidence.numpy(), 0.25 / (variance + 0.25), atol=2e-3)
    assert len(stacked(views)) == 24


def test_the_threshold_opens(asked):
    strategy, target = asked
    with torch.no_grad():
        votes = strategy.model(target)
    points, agreement = torch.full((6, 3, 2), 16.0), torch.linspace(0.05, 1, 18).view(6, 3)
    poses = replace(Poses.of_crops(points, agreement), points=points)
    for update, kept in ((0, 4), (5, 9), (10, 14), (99, 14)):
        strategy.averaged.fill_(update)
        weights = strategy.trusted(poses, votes)
        assert torch.equal(weights, torch.where(agreement >= agreement.flatten()[-kept], agreement, 0.0))


def test_where_views_agree_the_teacher_is_right(toy_shift):
    """On the shifted target, whose labels only the test knows: the kept err less than those left out. And it helps."""
    options = ViewFilter.Options(decay=0.9, sigma=1.0, teacher_views=4, opening=20)
    strategy = toy_shift.adapt(ViewFilter, options, updates=0)
    strategy.teacher.eval()
    batches = [toy_shift.batch(step, "target", True, 5) for step in range(8)]
    near, errors = [], []
    for batch in batches:
        poses = strategy.taught(batch)
        near.append(poses.confidence)
        errors.append((poses.points - batch.keypoints).norm(dim=-1))
    near, errors = torch.cat(near), torch.cat(errors)
    sure = near >= near.median()
    assert errors[sure].mean() < 0.7 * errors[~sure].mean()
    assert toy_shift.pck(ViewFilter, options) > toy_shift.pck(STRATEGIES["source_only"]) + 0.05
