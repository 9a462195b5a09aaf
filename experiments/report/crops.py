"""The samples that the report shows: best, worst and most changed, with prediction and truth drawn on the crop."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from ...datasets.sample import Item, PoseDataset
from .charts import looks
from .data import Comparison, Predictions, predictions
from .drawing import DARK, WHITE, Colour, blur, draw, to_tile, view

EACH = 6
TILE = 288
QUALITY = 82


@dataclass(frozen=True)
class Panel:
    strategy: str
    error: float
    """Mean distance over annotated joints, as a share of the crop's side or in mm."""
    pixels: float
    """Mean distance in the picture, file px."""
    picture: str | None
    """JPEG as a data URI; None where pictures are left out."""


@dataclass(frozen=True)
class Sample:
    id: str
    panels: tuple[Panel, ...]

    @property
    def change(self) -> float | None:
        return self.panels[-1].error - self.panels[0].error if len(self.panels) > 1 else None


@dataclass(frozen=True)
class Gallery:
    seed: str
    strategies: tuple[str, ...]
    """Before and after, or one alone."""
    groups: dict[str, list[Sample]]


def gallery(comparison: Comparison, dataset: PoseDataset) -> Gallery | None:
    """Samples by their error under the adapted strategy, beside source_only; None without predictions.

    Raises ValueError when the predictions are not of this dataset.
    """
    chosen = _chosen(comparison)
    if chosen is None:
        return None
    seed, shown = chosen
    first = next(iter(shown.values()))
    if any(len(p.id) != len(dataset) or p.id != first.id for p in shown.values()):
        counts = ", ".join(f"{name} has {len(p.id)}" for name, p in shown.items())
        raise ValueError(
            f"predictions and the dataset {dataset.name!r} ({len(dataset)} samples) do not hold the same samples "
            f"in the same order: {counts}. Was the comparison run on another target test set?"
        )
    errors = {name: _per_sample(p.errors, p.counted) for name, p in shown.items()}
    pixels = {name: _per_sample(p.pixels, p.counted) for name, p in shown.items()}
    groups = {title: [int(i) for i in places] for title, places in _picked(list(errors.values())).items()}
    pictures = {i: dataset[i] for places in groups.values() for i in places} if comparison.pictures != "none" else {}
    for i, item in pictures.items():
        _check(item, dataset, first, i)

    def sample(i: int) -> Sample:
        panels = []
        for name, p in shown.items():
            item, colour = pictures.get(i), _rgb(looks([name])[name].colour)
            picture = _picture(item, p, i, dataset, colour, comparison.pictures == "blurred") if item else None
            panels.append(Panel(name, float(errors[name][i]), float(pixels[name][i]), picture))
        return Sample(first.id[i], tuple(panels))

    return Gallery(seed, tuple(shown), {title: [sample(i) for i in places] for title, places in groups.items()})


def _chosen(comparison: Comparison) -> tuple[str, dict[str, Predictions]] | None:
    """The first seed that both strategies have, else the first of one alone."""
    wanted = [name for name in ("source_only", comparison.adapted) if name in comparison.runs]
    wanted = wanted or list(comparison.runs)[:1]
    for names in (wanted, wanted[-1:], wanted[:1]):
        for seed in comparison.runs[names[0]] if names else ():
            found = {name: predictions(comparison.run(name, seed)) for name in names}
            present = {name: p for name, p in found.items() if p is not None}
            if len(present) == len(names):
                return seed, present
    return None


def _per_sample(errors: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(N,) mean error over the counted joints; NaN where a sample has none."""
    count = counted.sum(1)
    total = np.where(counted, errors, 0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _picked(errors: list[np.ndarray]) -> dict[str, np.ndarray]:
    """{heading: indices}; samples without an annotated joint are left out."""
    after = errors[-1]
    known = np.flatnonzero(np.isfinite(sum(errors)))
    order = known[np.argsort(after[known], kind="stable")]
    picked = {"Best": order[:EACH], "Worst": order[::-1][:EACH]}
    if len(errors) > 1:
        change = np.abs(after - errors[0])[known]
        picked["Most changed"] = known[np.argsort(-change, kind="stable")][:EACH]
    return picked


def _check(item: Item, dataset: PoseDataset, p: Predictions, index: int) -> None:
    if item.id != p.id[index]:
        raise ValueError(
            f"sample {index} of dataset {dataset.name!r} is {item.id!r}, but the predictions at this place are of "
            f"{p.id[index]!r}: the comparison was run on another target test set, or in another order"
        )
    if len(dataset.skeleton) != p.points.shape[1]:
        raise ValueError(
            f"dataset {dataset.name!r} has {len(dataset.skeleton)} keypoints, the predictions have "
            f"{p.points.shape[1]}: pass the target test set reduced to the keypoints that both domains share"
        )


def _picture(item: Item, p: Predictions, i: int, dataset: PoseDataset, colour: Colour, hide: bool) -> str:
    """The crop as JPEG: truth in white beneath, the prediction in the strategy's colour."""
    edges, picture = dataset.skeleton.edges, view(item, TILE)
    picture = blur(picture) if hide else picture
    truth, points = (to_tile(value[i], item.box, TILE) for value in (p.truth, p.points))
    picture = draw(picture, truth, edges, WHITE, known=p.annotated[i], hidden=~p.visible[i], halo=DARK)
    return as_uri(draw(picture, points, edges, colour, halo=WHITE, weight=0.85))


def as_uri(picture: np.ndarray) -> str:
    """An RGB picture as a JPEG in a data URI."""
    ok, jpeg = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert ok
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def _rgb(colour: str) -> Colour:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
