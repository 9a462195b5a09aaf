"""The samples that the report shows: best, worst, missed and most changed, with prediction and truth drawn on the crop.

A sample is a labelled person: of a set of crops the crop, of pictures with several people one of them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np

from ...datasets.reading.images import UnreadableImage
from ...datasets.sample import Item, PoseDataset
from .data import Comparison, Predictions, predictions
from .drawing import DARK, OUTSIDE, WHITE, Colour, blur, draw, inset, shown_box, to_tile, view

EACH = 6
TILE = 288
QUALITY = 82
LOOKED_AT = 10
"""About as many samples in which the predictions have no one are looked at, whether anyone is there."""
INVENTED: Colour = (255, 214, 10)
"""People whom nobody labelled."""
THIN = 0.4
"""The weight of the lines of the other people in a picture."""


@dataclass(frozen=True)
class Panel:
    strategy: str
    error: float | None
    """Mean distance over annotated joints, as a share of the crop's side or in mm; None of a missed person."""
    pixels: float | None
    """Mean distance in the picture, file px; None of a missed person, and where it is not known."""
    picture: str | None
    """JPEG as a data URI; None where pictures are left out."""

    @property
    def missed(self) -> bool:
        return self.error is None


@dataclass(frozen=True)
class Sample:
    id: str
    person: str
    """Which one of several in the picture, in words; else empty."""
    panels: tuple[Panel, ...]

    @property
    def change(self) -> float | None:
        before, after = self.panels[0].error, self.panels[-1].error
        return None if len(self.panels) < 2 or before is None or after is None else after - before


@dataclass(frozen=True)
class Gallery:
    seed: str
    strategies: tuple[str, ...]
    """Before and after, or one alone."""
    groups: dict[str, list[Sample]]
    invented: bool = False
    """Whether any strategy has found people whom nobody labelled."""

    @property
    def crowded(self) -> bool:
        """Whether any picture holds several people."""
        return any(sample.person for samples in self.groups.values() for sample in samples)


def gallery(comparison: Comparison, dataset: PoseDataset) -> Gallery | None:
    """Samples by their error under the adapted strategy, beside what its gain is over; None without predictions.

    Raises ValueError when the predictions are not of this dataset.
    """
    chosen = _chosen(comparison)
    if chosen is None:
        return None
    seed, shown = chosen
    first = next(iter(shown.values()))
    _check_samples(shown, dataset)
    errors = {name: _per_person(p.errors, p) for name, p in shown.items()}
    pixels = {name: _per_person(p.pixels, p) for name, p in shown.items()}
    groups = {title: [int(i) for i in places] for title, places in _picked(list(errors.values())).items()}
    wanted = {int(first.row[i]) for places in groups.values() for i in places}
    pictures = {row: dataset[row] for row in sorted(wanted)} if comparison.pictures != "none" else {}
    for places in groups.values():
        for i in places:
            if int(first.row[i]) in pictures:
                _check(pictures[int(first.row[i])], dataset, first, i)

    def sample(i: int) -> Sample:
        panels = []
        for name, p in shown.items():
            item, colour = pictures.get(int(p.row[i])), _rgb(comparison.looks[name].colour)
            picture = _picture(item, p, i, dataset, colour, comparison.pictures == "blurred") if item else None
            panels.append(Panel(name, _finite(errors[name][i]), _finite(pixels[name][i]), picture))
        return Sample(first.id[i], _person(first, i), tuple(panels))

    drawn = {title: [sample(i) for i in places] for title, places in groups.items()}
    return Gallery(seed, tuple(shown), drawn, any(len(p.invented) for p in shown.values()))


def _chosen(comparison: Comparison) -> tuple[str, dict[str, Predictions]] | None:
    """The first seed that both strategies have, else the first of one alone."""
    adapted = comparison.adapted
    base = "source_only" if adapted is None else comparison.base(adapted)
    wanted = [name for name in (base, adapted) if name in comparison.runs]
    wanted = wanted or list(comparison.runs)[:1]
    for names in (wanted, wanted[-1:], wanted[:1]):
        for seed in comparison.runs[names[0]] if names else ():
            stored = {name: predictions(comparison.run(name, seed)) for name in names}
            present = {name: p for name, p in stored.items() if p is not None}
            if len(present) == len(names):
                return seed, present
    return None


def _check_samples(shown: dict[str, Predictions], dataset: PoseDataset) -> None:
    """Raises ValueError where the strategies were not judged on the same people, or not on those of the dataset: none
    stands in a sample that it does not have, and where a sample has no one in the predictions it has no one there."""
    first = next(iter(shown.values()))
    same = all(p.id == first.id and np.array_equal(p.row, first.row) for p in shown.values())
    empty = np.setdiff1d(np.arange(len(dataset)), first.row)
    looked_at = empty[:: max(1, len(empty) // LOOKED_AT)]
    if same and (first.row < len(dataset)).all() and not _has_people(dataset, looked_at):
        return
    counts = ", ".join(f"{name} has {len(p.id)}" for name, p in shown.items())
    raise ValueError(
        f"predictions and the dataset {dataset.name!r} ({len(dataset)} samples) do not hold the same samples "
        f"in the same order: {counts}. Was the comparison run on another target test set?"
    )


def _has_people(dataset: PoseDataset, rows: Iterable[int]) -> bool:
    """Whether any of these samples holds a labelled person, as every crop does."""
    for row in rows:
        with suppress(UnreadableImage):
            points = dataset[int(row)].keypoints
            if points.ndim == 2 or len(points):
                return True
    return False


def _per_person(distances: np.ndarray, p: Predictions) -> np.ndarray:
    """(N,) mean distance over the annotated joints; infinite for missed people, NaN where no joint is annotated or no
    distance is known."""
    known = p.measured & np.isfinite(distances)
    count = known.sum(1)
    mean = np.where(known, distances, 0).sum(1) / np.maximum(count, 1)
    return np.where(p.missed, np.inf, np.where(count > 0, mean, np.nan))


def _picked(errors: list[np.ndarray]) -> dict[str, np.ndarray]:
    """{heading: indices}; samples without an annotated joint are left out."""
    after = errors[-1]
    labelled = ~np.isnan(errors).any(0)
    seen, missed = np.flatnonzero(labelled & np.isfinite(after)), np.flatnonzero(labelled & np.isinf(after))
    order = seen[np.argsort(after[seen], kind="stable")]
    picked = {"Best": order[:EACH], "Worst": order[::-1][:EACH], "Missed": missed[:EACH]}
    if len(errors) > 1:
        both = np.flatnonzero(np.isfinite(errors).all(0))
        change = np.abs(after[both] - errors[0][both])
        picked["Most changed"] = both[np.argsort(-change, kind="stable")][:EACH]
    return {title: places for title, places in picked.items() if len(places) or (title != "Missed" and not len(missed))}


def _check(item: Item, dataset: PoseDataset, p: Predictions, i: int) -> None:
    if item.id != p.id[i]:
        raise ValueError(
            f"sample {p.row[i]} of dataset {dataset.name!r} is {item.id!r}, but the predictions at this place are of "
            f"{p.id[i]!r}: the comparison was run on another target test set, or in another order"
        )
    if len(dataset.skeleton) != p.points.shape[1]:
        raise ValueError(
            f"dataset {dataset.name!r} has {len(dataset.skeleton)} keypoints, the predictions have "
            f"{p.points.shape[1]}: pass the target test set reduced to the keypoints that both domains share"
        )


def _person(p: Predictions, i: int) -> str:
    """Which of the people in its picture, counted from 1; empty where it is alone."""
    people = np.flatnonzero(p.row == p.row[i])
    return f", person {int(np.searchsorted(people, i)) + 1} of {len(people)}" if len(people) > 1 else ""


def _picture(item: Item, p: Predictions, i: int, dataset: PoseDataset, colour: Colour, hide: bool) -> str:
    """The crop as JPEG: truth in white beneath, the prediction in the strategy's colour; others in the picture thin."""
    edges, box = dataset.skeleton.edges, shown_box(item)
    picture = view(item, TILE) if item.image.size else np.full((TILE, TILE, 3), OUTSIDE, np.uint8)
    picture = blur(picture) if hide else picture
    others = [int(j) for j in np.flatnonzero(p.row == p.row[i]) if j != i]
    for person, weight in [(other, THIN) for other in others] + [(i, 1.0)]:
        truth, points = (to_tile(value[person], box, TILE) for value in (p.truth, p.points))
        known, hidden = p.annotated[person], ~p.visible[person]
        picture = draw(picture, truth, edges, WHITE, known=known, hidden=hidden, halo=DARK, weight=weight)
        if p.matched[person]:
            picture = draw(picture, points, edges, colour, halo=WHITE, weight=0.85 * weight)
    for stranger in p.invented[p.invented_in == p.row[i]]:
        picture = draw(picture, to_tile(stranger, box, TILE), edges, INVENTED, weight=0.85 * THIN)
    if p.rooted is not None and p.matched[i]:
        for pose, shade in ((p.rooted[1][i], WHITE), (p.rooted[0][i], colour)):
            picture = inset(picture, pose, edges, shade)
    return as_uri(picture)


def as_uri(picture: np.ndarray) -> str:
    """An RGB picture as a JPEG in a data URI."""
    ok, jpeg = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert ok
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _rgb(colour: str) -> Colour:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
