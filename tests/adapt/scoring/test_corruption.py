"""Source samples made harder: what is done to each kind, that it says the same each time, and that labels stay."""

import pytest
import torch

from keyshift.adapt.scoring.corruption import DEPTHS, KEYPOINTS, PICTURES, changed, ladder
from keyshift.datasets.loading import EvaluationBatches


def batches(kind, toys, dots, balls):
    if kind == "keypoints":
        make = toys.Sequences
        sets = [make(make.Options(test=8), "test", style) for style in ("plain", "shifted")]
    else:
        sets = [{"pictures": dots, "depth": balls}[kind](8, style) for style in ("plain", "shifted")]
    return [EvaluationBatches(data, 8, (32, 32))[0] for data in sets]


@pytest.mark.parametrize(
    ("kind", "name", "changes"),
    [("pictures", "image", PICTURES), ("depth", "image", DEPTHS), ("keypoints", "keypoints2d", KEYPOINTS)],
)
def test_every_change_of_every_kind(toys, dots, balls, kind, name, changes):
    own, target = batches(kind, toys, dots, balls)
    steps = ladder(own)
    assert [*steps] == ["plain", *changes]
    seen = [own.inputs[name]]
    for step, change in steps.items():
        made = changed(own, target.inputs, change)
        values = made.inputs[name]
        assert values.dtype == own.inputs[name].dtype
        assert values.shape == own.inputs[name].shape
        assert values.float().isfinite().all()
        assert torch.equal(values, changed(own, target.inputs, change).inputs[name])
        assert made.keypoints is own.keypoints
        if step == "plain":
            assert torch.equal(values, own.inputs[name])
        else:
            assert not any(torch.equal(values, other) for other in seen)
        seen.append(values)


def test_steps_towards_the_target_take_what_they_say(dots, toys, balls):
    own, target = batches("pictures", toys, dots, balls)
    mixed, patched = (changed(own, target.inputs, PICTURES[name]).image.float() for name in ("mixed", "patched"))
    assert (mixed - (0.7 * own.image + 0.3 * target.image)).abs().max() <= 1
    of_own, of_target = patched == own.image, patched == target.image
    assert (of_own | of_target).all()
    share = 1 - of_own.all(1).float().mean((1, 2))
    assert 0.05 < share.min() < share.max() < 0.2


def test_pictures_in_grey_are_only_looked_at_as_they_are(labeled):
    assert [*ladder(labeled(torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 2)))] == ["plain"]
