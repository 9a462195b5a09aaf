"""What seems wrong with a dataset, seen within seconds: in its tables, and in the headers of some of its files.

`keyshift data check` says all of it, a run its problems before it starts. A new check is a function and a line in CHECKS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .reading.doubts import Doubt, of_pictures
from .sample import PoseDataset
from .views import innermost

CHECKS: tuple[Callable[[PoseDataset, int], Iterable[Doubt]], ...] = (of_pictures,)
"""Functions of the dataset beneath all views, and of how many of its files may be opened; they give nothing for a
dataset that is not theirs to judge."""
SOME = 300
"""Files that are opened before a run starts."""


def doubts(dataset: PoseDataset, most: int = SOME) -> list[Doubt]:
    """All that the CHECKS say about a dataset."""
    return [doubt for check in CHECKS for doubt in check(innermost(dataset), most)]
