"""RegDA's ground false for a network of one keypoint: other people's roots, else everywhere but the truth."""

import torch

from keyshift.adapt.methods.pseudo_labels import ground_false_alone, ground_truth, others_of
from keyshift.datasets.sample import Unlabeled
from keyshift.models.output import Grid, Poses, Votes

GRID = Grid((16, 16), (4.0, 4.0), (2.0, 2.0), Grid((8,), (250.0,), (125.0,)))


def sample(others):
    one = torch.ones(len(others))
    inputs = {"image": torch.zeros(len(others), 3, 64, 64), "others": torch.tensor(others)}
    names = ("",) * len(others)
    return Unlabeled(inputs, names, names, one.long(), one, one, one)


def test_it_stands_where_other_people_are():
    roots = torch.tensor([[[30.0, 30.0, 1000.0]], [[30.0, 30.0, 1000.0]], [[30.0, 30.0, 1000.0]]])
    poses = Poses.of_crops(roots, torch.ones(3, 1))
    votes = Votes(GRID, torch.zeros(3, 256, 1), torch.full((3, 1, 1, 1), 1000.0))
    truth = ground_truth(votes, poses)
    batch = sample(
        [
            [[10.0, 50.0, 1.0], [54.0, 6.0, 1.0]],  # two more people in the crop
            [[0.0, 0.0, 0.0], [10.0, 50.0, 0.0]],  # nobody else in the picture
            [[400.0, 30.0, 1.0], [0.0, 0.0, 0.0]],  # somebody far outside the crop
        ]
    )
    plane, depth = ground_false_alone(truth, others_of(batch, GRID, 2.0))
    first = torch.zeros(16, 16)
    for x, y in ((10.0, 50.0), (54.0, 6.0)):
        for row in range(16):
            for column in range(16):
                away = ((column - (x - 2) / 4) ** 2 + (row - (y - 2) / 4) ** 2) / (2 * 2.0**2)
                first[row, column] += torch.exp(torch.tensor(-away))
    assert torch.allclose(plane[0, 0], first.clamp_max(1), atol=1e-5)
    assert torch.allclose(plane[1:], 1 - truth[0][1:])
    assert torch.allclose(depth, 1 - truth[1])
    assert plane[0, 0, 7, 7] < 0.01
    assert plane[1, 0, 7, 7] < 0.01 < 0.99 < plane[1, 0, 0, 0]


def test_without_boxes_of_others_it_is_everywhere_else():
    truth = (torch.rand(2, 1, 4, 4), torch.rand(2, 1, 6))
    for false, maps in zip(ground_false_alone(truth), truth, strict=True):
        assert torch.allclose(false, 1 - maps)
