"""What strategies need to know before they can be run from the registry."""

import pytest
import torch

from keyshift.adapt.methods.ssa import SSA, Moments


@pytest.fixture(autouse=True)
def source_is_known(monkeypatch):
    """SSA has statistics of a source, of which there is none in most tests: unit features."""
    begin = SSA.__init__

    def known(strategy, *args, **kwargs):
        begin(strategy, *args, **kwargs)
        channels = len(strategy.mean)
        strategy.know(Moments(torch.zeros(channels), torch.eye(channels)))

    monkeypatch.setattr(SSA, "__init__", known)
