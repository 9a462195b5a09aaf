"""What keyshift puts together: each part does what it claims and can be turned off."""

from dataclasses import replace

import pytest
import torch

from keyshift.adapt.consistency import carried
from keyshift.adapt.methods.keyshift import Keyshift
from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.sample import transform
from keyshift.models.systems.awr import AWR, normalized
from keyshift.models.systems.pose_resnet import PoseResNet

ADAM = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)
OFF = {"weight": 1.0, "looks": 1, "restyled": 0.0, "occluded": 0.0}


def build(skeleton, kind=Keyshift, **options):
    torch.manual_seed(0)
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    model = PoseResNet(3, PoseResNet.Options(backbone="small", channels=16, sigma=1.0, **sizes))
    return kind(model, skeleton, ADAM, options=kind.Options(**options)).train()


@pytest.fixture
def sides(dots, batches):
    def of(strategy):
        return batches(dots, strategy, "plain", "source")[0], batches(dots, strategy, "shifted", "target")[0]

    return of


def test_without_its_parts_a_mean_teacher_is_left(dots, sides):
    """Whose Gaussians are those that heatmaps learn from."""
    plain, own = build(dots.skeleton, MeanTeacher, decay=0.99, sigma=1.0), build(dots.skeleton, **OFF)
    (losses, _), (wanted, _) = (next(one.step(*sides(one))) for one in (own, plain))
    assert losses.keys() == {"heatmap", "target_heatmap"}
    torch.testing.assert_close(losses["heatmap"], wanted["heatmap"])
    torch.testing.assert_close(losses["target_heatmap"], wanted["consistency"])


def test_each_picture_is_restyled_by_itself_and_labels_stay(dots, sides):
    strategy = build(dots.skeleton)
    source, target = sides(strategy)
    torch.manual_seed(0)
    half, every = strategy.restyle(source, target).image, build(dots.skeleton, restyled=1.0).restyle(source, target)
    never = build(dots.skeleton, restyled=1e-9).restyle(source, target).image
    changed = (half != never).flatten(1).any(1)
    assert 0 < changed.sum() < len(source)
    torch.testing.assert_close(half[changed], every.image[changed])
    assert torch.equal(every.keypoints, source.keypoints)


def test_the_teacher_answers_with_the_mean_of_its_views(dots, sides):
    """In the first, by a loop over views in the file's frame; where views are far apart they are trusted less."""
    strategy = build(dots.skeleton, looks=3, floor=0.5)
    strategy.teacher.eval()
    _, target = sides(strategy)
    views, in_file, cells = [target, *target.views[:-1]], [], []
    for view in views:
        poses = strategy.teacher.decode(strategy.teacher(view), view)
        in_file.append(transform(view.to_file, poses.points))
        there = carried(poses, view, target, dots.skeleton.flip).points
        cells.append(strategy.model.grid.to_cells(there))
    mean = torch.stack(cells).mean(0)
    variance = torch.stack([(one - mean).square().sum(-1) for one in cells]).mean(0)
    answer, own = strategy.taught(target), strategy.teacher.decode(strategy.teacher(target), target)
    torch.testing.assert_close(
        transform(target.to_file, answer.points), torch.stack(in_file).mean(0), atol=1e-2, rtol=1e-3
    )
    torch.testing.assert_close(answer.confidence, own.confidence * 0.5 / (variance + 0.5), atol=1e-4, rtol=1e-3)


def test_offsets_learn_from_the_teacher_as_from_labels_and_keep_their_millimetres(balls, batches):
    """AWR's maps at the teacher's keypoints, those that are trusted; depth has no style."""
    torch.manual_seed(0)
    model = AWR(3, AWR.Options(backbone="small", input_size=[32, 32], channels=16))
    strategy = Keyshift(model, balls.skeleton, ADAM, options=Keyshift.Options(restyled=1.0, masked=0.3)).train()
    source, target = batches(balls, strategy, "plain", "source")[0], batches(balls, strategy, "shifted", "target")[0]
    assert strategy.restyle(source, target) is source
    losses, _ = next(strategy.step(source, target))
    view = target.views[-1]
    poses = carried(strategy.taught(target), target, view, balls.skeleton.flip)
    votes = model(view)
    keep = strategy.trusted(poses, votes)
    assert 0 < keep.sum() < keep.numel()
    wanted = AWR.target(
        model, (poses.points - model.cube(view)[1][:, None]) / model.cube(view)[0][:, None], normalized(view)
    )
    dense = model.dense_loss(votes.extra["raws"][-1], wanted, keep)
    torch.testing.assert_close(losses["target_dense"], 3.0 * dense)


def test_a_square_is_covered_unless_that_is_off(dots, sides):
    for rate in (1.0, 0.0):
        strategy = build(dots.skeleton, occluded=rate)
        _, target = sides(strategy)
        poses = strategy.taught(target)
        shown = strategy.shown(target, replace(poses, points=torch.full_like(poses.points, 16.0)))
        assert torch.equal(shown.image, target.image) == (rate == 0)
