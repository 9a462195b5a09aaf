"""The documentation of strategies, made from the registry."""

from itertools import pairwise

import pytest

from keyshift.adapt.strategies import STRATEGIES
from keyshift.experiments.commands.strategies import page


@pytest.mark.parametrize("name", STRATEGIES)
def test_formulas_are_blocks_of_their_own(name):
    """A line that is indented by four goes on a block or begins one behind a blank line; else Markdown runs it into the
    sentence before."""
    lines = page(name, STRATEGIES[name]).splitlines()
    for before, line in pairwise(lines):
        assert not line.startswith("    ") or not before or before.startswith("    "), line
