"""What seems wrong with a dataset, seen within seconds: in its tables, and in the headers of some of its files.

`keyshift data check` says all of it, a run too before it starts. A new check is a function and a line in CHECKS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .mixed import Mixed
from .own.depth_problems import camera_problems
from .own.skeleton_file import order_doubts
from .reading.doubts import Doubt, looked_at, of_pictures
from .reading.people import PictureSet
from .sample import PoseDataset
from .views import innermost


def of_names(dataset: PoseDataset, most: int) -> Iterator[Doubt]:
    """Names of keypoints that contradict where these are."""
    if isinstance(dataset, PictureSet):
        for doubt in order_doubts(looked_at(dataset.people, most)):
            yield Doubt(f"{doubt}; see whether skeleton= fits the labels")


def of_camera(dataset: PoseDataset, most: int) -> Iterator[Doubt]:
    """A calibration, unit or place of depth frames that cannot be theirs."""
    yield from map(Doubt, camera_problems(dataset))


def of_notes(dataset: PoseDataset, most: int) -> Iterator[Doubt]:
    """What a picture set says of itself, where its cameras are from say."""
    if isinstance(dataset, PictureSet):
        for note in dataset.said:
            yield Doubt(note, problem=False)


CHECKS: tuple[Callable[[PoseDataset, int], Iterable[Doubt]], ...] = (of_pictures, of_names, of_camera, of_notes)
"""Functions of the dataset beneath all views, and of how many of its files may be opened; they give nothing for a
dataset that is not theirs to judge."""
SOME = 300
"""Files that are opened before a run starts."""


def doubts(dataset: PoseDataset, most: int = SOME) -> list[Doubt]:
    """All that the CHECKS say about a dataset, of a mixed one about both of its sets."""
    inner = innermost(dataset)
    if isinstance(inner, Mixed):
        return list(dict.fromkeys([*doubts(inner.first, most), *doubts(inner.second, most)]))
    return [doubt for check in CHECKS for doubt in check(inner, most)]


def gathered(sets: Iterable[tuple[str, PoseDataset]], most: int = SOME) -> dict[Doubt, str]:
    """What the CHECKS say about named sets, each once, and of which of them."""
    names: dict[Doubt, list[str]] = {}
    for name, dataset in sets:
        for doubt in doubts(dataset, most):
            names.setdefault(doubt, []).append(name)
    return {doubt: ", ".join(dict.fromkeys(of)) for doubt, of in names.items()}
