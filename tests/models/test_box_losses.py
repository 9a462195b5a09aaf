"""DETR's losses against loops: every assignment tried, overlaps by hand."""

from itertools import permutations

import pytest
import torch

from keyshift.models.parts.box_losses import box_losses, match_people


def spoken(pictures=3, layers=2, queries=4):
    torch.manual_seed(0)
    logits = torch.randn(pictures, layers, queries, 2).double().requires_grad_()
    boxes = torch.cat(
        [torch.rand(pictures, layers, queries, 2), 0.1 + 0.5 * torch.rand(pictures, layers, queries, 2)], -1
    )
    truth = torch.cat([torch.rand(5, 2), 0.1 + 0.5 * torch.rand(5, 2)], -1).double()
    return logits, boxes.double().requires_grad_(), truth, torch.tensor([0, 0, 2, 2, 2])


def overlap(one, other):
    """Generalised intersection over union of boxes of middle and sides."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = one, other
    wide = torch.minimum(ax + aw / 2, bx + bw / 2) - torch.maximum(ax - aw / 2, bx - bw / 2)
    high = torch.minimum(ay + ah / 2, by + bh / 2) - torch.maximum(ay - ah / 2, by - bh / 2)
    shared = wide.clamp_min(0) * high.clamp_min(0)
    union = aw * ah + bw * bh - shared
    hull_wide = torch.maximum(ax + aw / 2, bx + bw / 2) - torch.minimum(ax - aw / 2, bx - bw / 2)
    hull_high = torch.maximum(ay + ah / 2, by + bh / 2) - torch.minimum(ay - ah / 2, by - bh / 2)
    hull = hull_wide * hull_high
    return shared / union - (hull - union) / hull


def cheapest(probability, boxes, truth):
    """The query of each person of one picture and layer, of all choices the cheapest."""

    def cost(choice):
        each = [
            5 * (boxes[q] - truth[p]).abs().sum() - 2 * overlap(boxes[q], truth[p]) - probability[q, 0]
            for p, q in enumerate(choice)
        ]
        return sum(each, torch.zeros(())).item()

    return min(permutations(range(len(boxes)), len(truth)), key=cost)


def naive(logits, boxes, truth, image_index):
    """Losses by the formula, one query at a time."""
    pictures, layers, queries, _ = logits.shape
    person = box = generalised = 0.0
    for b in range(pictures):
        own = truth[image_index == b]
        for layer in range(layers):
            probability = logits[b, layer].softmax(-1)
            choice = cheapest(probability, boxes[b, layer], own)
            for q in range(queries):
                none = q not in choice
                person = person - (0.1 if none else 1.0) * probability[q, int(none)].log()
            for p, q in enumerate(choice):
                box = box + 5 * (boxes[b, layer, q] - own[p]).abs().sum()
                generalised = generalised + 2 * (1 - overlap(boxes[b, layer, q], own[p]))
    return torch.stack([person / (1 + 0.1 * (queries - 1)), box, generalised]) / pictures


def test_losses_and_their_gradients_are_those_of_the_formula():
    logits, boxes, truth, image_index = spoken()
    losses, person, query = box_losses(logits.log_softmax(-1), boxes, truth, image_index)
    ours, wanted = torch.stack([*losses.values()]), naive(logits, boxes, truth, image_index)
    torch.testing.assert_close(ours, wanted)
    weights = torch.tensor([1.0, 2.0, 3.0]).double()
    gradients = [torch.autograd.grad(each @ weights, (logits, boxes)) for each in (ours, wanted)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)  # torchvision adds 1e-7 to areas
    assert person.tolist() == [0, 1, 2, 3, 4]
    for b in (0, 2):
        choice = cheapest(logits[b, -1].softmax(-1), boxes[b, -1], truth[image_index == b])
        assert query[image_index == b].tolist() == list(choice)


def test_a_batch_is_the_mean_of_its_pictures():
    logits, boxes, truth, image_index = spoken()
    logs = logits.log_softmax(-1)
    whole = box_losses(logs, boxes, truth, image_index)[0]
    alone = [
        box_losses(
            logs[b, None], boxes[b, None], truth[image_index == b], torch.zeros(int((image_index == b).sum())).long()
        )
        for b in range(3)
    ]
    for name, value in whole.items():
        torch.testing.assert_close(value, torch.stack([losses[name] for losses, *_ in alone]).mean())


def test_nobody_teaches_that_there_is_nobody():
    logits, boxes, truth, image_index = spoken()
    losses, person, query = box_losses(logits.log_softmax(-1), boxes, truth[:0], image_index[:0])
    assert len(person) == len(query) == losses["box"] == losses["overlap"] == 0
    none = -0.1 * logits.log_softmax(-1)[..., 1].sum() / (3 * 1.3)
    torch.testing.assert_close(losses["person"], none)


def test_of_more_people_than_queries_as_many_are_matched():
    logits, boxes, truth, _ = spoken(pictures=1, queries=2)
    person, query = match_people(logits.log_softmax(-1), boxes, truth, torch.zeros(5).long())
    assert person.shape == query.shape == (2, 2)
    for layer in range(2):
        assert len(set(person[layer].tolist())) == 2
        assert sorted(query[layer].tolist()) == [0, 1]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_is_seen_as_one(bad):
    logits, boxes, truth, image_index = spoken()
    boxes = boxes.detach().clone()
    boxes[0, 0] = bad
    assert not box_losses(logits.log_softmax(-1), boxes, truth, image_index)[0]["box"].isfinite()
