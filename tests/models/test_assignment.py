"""Who answers for whom, against every choice tried."""

from itertools import permutations

import torch

from keyshift.models.parts.assignment import assigned


def test_the_cheapest_of_all_choices():
    torch.manual_seed(0)
    cost = torch.randn(3, 2, 3, 5)
    columns = assigned(cost)
    for person in range(3):
        for layer in range(2):
            table = cost[person, layer]
            best = min(permutations(range(5), 3), key=lambda choice: sum(table[k, q] for k, q in enumerate(choice)))
            assert columns[person, layer].tolist() == list(best)


def test_a_cost_that_is_not_finite_is_the_highest():
    nan, inf = torch.nan, torch.inf
    cost = torch.tensor([[[nan, 100.0, 3.0], [inf, nan, 1.0]], [[-inf, 5.0, 6.0], [nan, 6.0, 8.0]]])
    assert assigned(cost.bfloat16()).tolist() == [[1, 2], [2, 1]]
    assert len(set(assigned(torch.full((1, 2, 3), nan)).flatten().tolist())) == 2


def test_costs_of_no_people():
    assert assigned(torch.zeros(0, 2, 3, 5)).shape == (0, 2, 3)
