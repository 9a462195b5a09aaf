"""Local maxima against torch's pooling."""

import pytest
import torch
from torch.nn import functional as F

from keyshift.models.parts.maxima import highest, local_maxima


@pytest.mark.parametrize("side", [1, 3, 5, 7])
@pytest.mark.parametrize("shape", [(2, 3, 9, 6), (1, 1, 1, 4), (2, 7, 7)])
def test_the_same_as_by_pooling(side, shape):
    """Of noise with many ties, above and below 0, and of maps smaller than the square."""
    torch.manual_seed(0)
    maps = torch.randint(-3, 4, shape).float()
    wanted = F.max_pool2d(maps, side, 1, side // 2)
    assert torch.equal(highest(maps, side), wanted)
    assert torch.equal(local_maxima(maps, side), torch.where(wanted == maps, maps, 0.0))
