"""UDA-Animal's effect on a toy shift, and what each of its losses does, against second writings."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from keyshift.adapt.curriculum import easiest, mixup, smallest, symmetric_divergence
from keyshift.adapt.methods.baselines import SourceOnly
from keyshift.adapt.methods.uda_animal import Goal, Mix, UDAAnimal, curriculum, follow
from keyshift.adapt.refinement import DomainClassifier, Refinement, side_of
from keyshift.adapt.scoring.evaluation import everyone, predict, scores
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.loading import EvaluationBatches
from keyshift.models.output import Grid, Poses, Votes
from keyshift.models.systems.pose_resnet import PoseResNet

ADAM = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)
CPU = torch.device("cpu")


def network():
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    return PoseResNet(3, PoseResNet.Options(backbone="small", channels=16, sigma=1.0, **sizes))


def build(skeleton, model=None, **options):
    torch.manual_seed(0)
    options = UDAAnimal.Options(**{"sigma": 1.0, "decay": 0.9, "epoch": 2} | options)
    return UDAAnimal(model or network(), skeleton, ADAM, options=options).train()


def both(dots, batches, strategy, step=0):
    return batches(dots, strategy, "plain", "source")[step], batches(dots, strategy, "shifted", "target")[step]


def everything(dots, augmentation, model):
    return everyone(model, dots(64, "shifted"), 64, (32, 32), augmentation, CPU)


def test_it_helps_on_a_toy_shift(dots, batches, iterate, augmentation):
    """From a network that the source has taught; with labels made anew at every 10 updates."""
    torch.manual_seed(0)
    pretrained = SourceOnly(network(), dots.skeleton, ADAM).train()
    source, optimizers = batches(dots, pretrained, "plain", "source"), pretrained.optimizers()
    for step in range(60):
        iterate(pretrained, source[step], None, optimizers)
    test = EvaluationBatches(dots(64, "shifted", first=1000), 64, (32, 32))[0]
    before = scores(predict(pretrained.model, [test], CPU), dots.skeleton, 0.1)["pck"]
    strategy = build(dots.skeleton, pretrained.model, round=10, passes=2)
    target, optimizers = batches(dots, strategy, "shifted", "target"), strategy.optimizers()
    for step in range(20):
        if step % strategy.round_length() == 0:
            strategy.begin_round(everything(dots, augmentation, strategy.predictor))
        iterate(strategy, source[60 + step], target[step], optimizers)
    after = scores(predict(strategy.predictor, [test], CPU), dots.skeleton, 0.1)["pck"]
    assert after > before + 0.2, (before, after)


def test_refinement_begins_as_the_identity(dots, batches):
    strategy = build(dots.skeleton)
    answers = strategy.answers(both(dots, batches, strategy)[0], "source")
    for name in ("first", "second"):
        assert torch.equal(getattr(answers, name).logits, answers.coarse.logits)
    for shape in ((5,), (5, 7), (5, 6, 4), (5, 3, 4, 2)):
        features, refinement = torch.randn(4, *shape, requires_grad=True), Refinement(5)
        assert torch.equal(refinement(features), features)
        logits = DomainClassifier(5, 2, side_of(shape))(features)
        assert logits.shape[:2] == (4, 1)
        assert torch.autograd.grad(logits.sum(), features)[0].abs().sum() > 0


def test_which_part_learns_from_which_loss(dots, batches, augmentation):
    """The refined head teaches the coarse one and takes no gradient from it; the teacher teaches the second alone."""
    strategy = build(dots.skeleton)
    strategy.begin_round(everything(dots, augmentation, strategy.predictor))
    strategy.updates += 40
    for _ in range(40):
        strategy.gradient.advance()
    losses, names = next(strategy.step(*both(dots, batches, strategy)))
    assert names == ("model",)
    parts = {"coarse": strategy.model.head, **strategy.refined, "classifier": strategy.classifier}
    learns = {
        "heatmap": {"coarse"},
        "refined heatmap": {"features", "first"},
        "pseudo": {"coarse", "features", "first"},
        "inner": {"coarse"},
        "outer": {"features", "second"},
        "domain": {"features", "classifier"},
    }
    for name, wanted in learns.items():
        reached = set()
        for part, module in parts.items():
            gradients = torch.autograd.grad(
                losses[name], list(module.parameters()), retain_graph=True, allow_unused=True
            )
            if any(g is not None and g.abs().sum() > 0 for g in gradients):
                reached.add(part)
        assert reached == wanted, name


def test_the_smallest_losses_by_a_loop():
    torch.manual_seed(0)
    losses, counted = torch.rand(5, 4), (torch.rand(5, 4) > 0.4).float()
    for count in (1, 3, 4):
        wanted = sum(
            value
            for row, known in zip(losses, counted, strict=True)
            for value in sorted(row[known > 0].tolist())[:count]
        )
        assert smallest(losses, counted, torch.tensor(count)).item() == pytest.approx(wanted / (5 * count), rel=1e-5)
    assert [int(easiest(torch.tensor(e), 5, 3)) for e in (0, 2, 3, 4, 9)] == [5, 5, 4, 3, 3]


def test_the_easiest_keypoints_of_an_image_are_those_near_the_goal():
    grid = Grid((6, 6), (1.0, 1.0), (0.5, 0.5))
    points = torch.tensor([[[2.5, 2.5], [4.5, 1.5]]])
    goal = Goal(grid.targets(points, 1.0), torch.ones(1, 2))
    logits = torch.stack([goal.maps[0][0, 0], goal.maps[0][0, 0]])[None].flatten(2).transpose(1, 2).requires_grad_()
    curriculum(Votes(grid, logits), goal, torch.tensor(1)).backward()
    assert logits.grad[0, :, 0].abs().sum() > 0
    assert (logits.grad[0, :, 1] == 0).all()


def test_what_draws_heads_together_is_the_symmetric_divergence():
    torch.manual_seed(0)
    first, second = (3 * torch.randn(2, 36, 4) for _ in range(2))
    grid = Grid((6, 6), (1.0, 1.0), (0.5, 0.5))
    p, q = (each.transpose(1, 2).flatten(0, 1).log_softmax(-1) for each in (first, second))
    kl = [F.kl_div(a, b, reduction="batchmean", log_target=True) for a, b in ((p, q), (q, p))]
    torch.testing.assert_close(symmetric_divergence(Votes(grid, first), Votes(grid, second)), sum(kl) / 2)


def test_mixed_labels_give_the_mixed_losses_of_both():
    torch.manual_seed(0)
    grid, logits = Grid((6, 6), (1.0, 1.0), (0.5, 0.5)), torch.randn(3, 36, 2, requires_grad=True)
    goals = [Goal(grid.targets(6 * torch.rand(3, 2, 2), 1.0), torch.tensor([[1.0, k]] * 3)) for k in (0, 1)]
    normal = [Goal((g.maps[0] / g.maps[0].sum((2, 3), keepdim=True),), g.counted) for g in goals]
    normal[0].maps[0][:, 1] = 0  # who is not counted is not drawn

    def slope(goal):
        loss = curriculum(Votes(grid, logits), goal, torch.tensor(2))
        return torch.autograd.grad(loss, logits)[0]

    mixed = slope(Mix(0.7).goal(*normal))
    torch.testing.assert_close(mixed, 0.7 * slope(normal[0]) + 0.3 * slope(normal[1]))


def test_mixed_inputs(dots, batches):
    strategy = build(dots.skeleton, mixup=True)
    source, target = both(dots, batches, strategy)
    assert Mix().samples(source, target, ("image",)) == (source, target)
    ours, theirs = Mix(0.75).samples(source, target, ("image",))
    wanted = (0.75 * source.image.float() + 0.25 * target.image.float()).round()
    assert torch.equal(ours.image, wanted.to(torch.uint8))
    assert torch.equal(theirs.image, mixup(target.image, source.image, 0.75))
    partner = torch.arange(8).flip(0)
    ours, theirs = Mix(0.3, partner).samples(source, target, ("image",))
    assert ours is source
    assert torch.equal(theirs.image, mixup(target.image, target.image[partner], 0.3))


@pytest.mark.parametrize("seed", [0, 1])
def test_updates_with_mixup(dots, batches, iterate, augmentation, seed, monkeypatch):
    """By either side of the coin."""
    strategy = build(dots.skeleton, mixup=True)
    strategy.begin_round(everything(dots, augmentation, strategy.predictor))
    partner = torch.randperm(8) if seed else None
    monkeypatch.setattr(Mix, "drawn", staticmethod(lambda target: Mix(0.7, partner)))
    losses, _ = next(strategy.step(*both(dots, batches, strategy)))
    assert ("mixed" in losses) == (partner is None)
    assert all(loss.isfinite() for loss in losses.values())
    iterate(strategy, *both(dots, batches, strategy), strategy.optimizers())


def test_labels_of_a_round(dots, augmentation):
    """The surest 40 %, of five passes; once, or in rounds."""
    strategy = build(dots.skeleton, round=0)
    assert strategy.round_length() > 10**9
    assert build(dots.skeleton, round=7).round_length() == 7
    target, asked = everything(dots, augmentation, strategy.predictor), []
    spied = replace(target, passed=lambda warp: asked.append(warp) or target.passed(warp))
    strategy.begin_round(spied)
    assert asked == [0, 1, 2, 3, 4]
    sure = strategy.bank.confidence
    assert sure.mean().item() == pytest.approx(0.4, abs=0.01)
    assert set(sure.unique().tolist()) == {0.0, 1.0}


def test_a_keypoint_that_was_dropped_teaches_nothing(dots, batches):
    strategy = build(dots.skeleton)
    _, target = both(dots, batches, strategy)
    votes = strategy.model(target)
    poses = Poses.of_crops(votes.peak(), torch.tensor([1.0, 0.0, 1.0]).repeat(8, 1))
    assert strategy.goal(votes, poses).counted.tolist() == [[1.0, 0.0, 1.0]] * 8


def test_the_teacher_follows_slower_and_slower(dots, batches, iterate):
    """By hand: after the first update half of it stays, after the second two thirds."""
    strategy = build(dots.skeleton, decay=0.7)
    optimizers, slow = strategy.optimizers(), [p.clone() for p in strategy.teacher.parameters()]
    for step, decay in enumerate((1 / 2, 2 / 3, 0.7, 0.7)):
        iterate(strategy, *both(dots, batches, strategy, step), optimizers)
        slow = [decay * s + (1 - decay) * p for s, p in zip(slow, strategy.model.parameters(), strict=True)]
        for wanted, own in zip(slow, strategy.teacher.parameters(), strict=True):
            torch.testing.assert_close(own, wanted)
    first = [torch.nn.Linear(2, 2) for _ in range(2)]
    follow(first[:1], first[1:], torch.tensor(0.0))
    torch.testing.assert_close(first[0].weight, first[1].weight)


def test_augmentation_of_the_target_is_carried_to_the_student(dots, batches):
    """The outer goal stands where the teacher sees keypoints, through both views' affines."""
    from keyshift.datasets.sample import carry

    strategy = build(dots.skeleton, masked=0.0)
    _, target = both(dots, batches, strategy)
    (view,) = target.views
    votes = strategy.model(view)
    goal = strategy.taught(target, view, votes)
    with torch.no_grad():
        seen = strategy.teacher(target).peak()  # the refined teacher begins as the coarse one
    there = carry(seen, target, view, dots.skeleton.flip, torch.arange(8))
    wanted = votes.grid.targets(there, 1.0)[0] * votes.grid.contains(there)[..., None, None]
    torch.testing.assert_close(goal.maps[0], wanted)


def test_a_rate_that_falls_to_nothing():
    """The reference's polynomial, by the options that every strategy has."""
    rate = Optimization("adam", 1.0, gamma=-1 / 100, power=-0.9)
    assert [rate.factor(update) for update in (0, 50, 100, 150)] == pytest.approx([1, 0.5**0.9, 0, 0])
