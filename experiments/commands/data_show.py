"""`keyshift data show`: a contact sheet of any dataset, with how often each joint is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ...datasets.catalog import entry_of
from ...datasets.loading import empty_like, first_item
from ...datasets.options import Options, option
from ...datasets.reading.images import UnreadableImage
from ...datasets.reading.splits import PARTS
from ...datasets.rendered.options import RenderedOptions
from ...datasets.sample import Item, PoseDataset
from ...datasets.views import View, as_clips, spread
from ..report.drawing import DARK, PAPER, Colour, contact_sheet, joint_colours, write_picture
from ..runs.centers import open_centered
from .data_words import read_words

COUNT = 16
WHOLE = {"columns": 4, "tile": 320}
"""Whole pictures are shown larger than crops."""
ROW, COLUMN = 20, 390
"""Pixels of a joint's place in the legend."""


@dataclass(frozen=True)
class ShowOptions(Options):
    """Of the command, beside the dataset's."""

    part: str = option("train", "which part is shown", choices=PARTS)
    frames: int | None = option(
        None, "clips of so many frames, an odd number, side by side; null: single pictures", low=1, high=15
    )


def show(name: str, words: list[str], path: Path) -> None:
    """Write COUNT samples of dataset `name` with their keypoints to the picture `path`.

    `words` are key=value of the dataset's options and of ShowOptions.
    """
    few = {"size": 192, "train": COUNT, "test": COUNT} if issubclass(entry_of(name).Options, RenderedOptions) else {}
    own, options = read_words(name, words, ShowOptions, few)
    dataset = open_centered(name, options, own.part)
    if own.frames is None:
        shown = Shown(dataset)
        whole = first_item(dataset).keypoints.ndim == 3
        sheet = contact_sheet(shown, COUNT, **(WHOLE if whole else {}))
    else:
        shown = Shown(spread(as_clips(dataset, own.frames), max(COUNT // own.frames, 1)))
        frames = SideBySide(shown, own.frames)
        sheet = contact_sheet(frames, len(frames), own.frames)
    write_picture(path, with_legend(sheet, shown))


class SideBySide(View):
    """The frames of clips as pictures one after the other; labels are the middle one's."""

    def __init__(self, dataset: PoseDataset, frames: int) -> None:
        super().__init__(dataset)
        self.frames = frames
        self.last: tuple[int, Item] | None = None

    def __len__(self) -> int:
        return self.frames * len(self.dataset)

    def __getitem__(self, index: int, /) -> Item:
        row, place = divmod(index, self.frames)
        if self.last is None or self.last[0] != row:
            self.last = row, self.dataset[row]  # what is shown is counted once
        item, middle = self.last[1], self.frames // 2
        if item.image.ndim != 4:
            raise ValueError(f"{self.name} has no pictures, so that its clips are not shown: leave out frames=")
        steps = np.cumsum([0, *item.inputs["margins"]]) if "margins" in item.inputs else np.arange(self.frames)
        known = item.annotated if place == middle else np.zeros_like(item.annotated)
        name = f"{int(steps[place] - steps[middle]):+d} {item.id}"
        return replace(item, image=item.image[place], annotated=known, inputs={}, id=name)


class Shown(View):
    """A dataset that remembers what was read of it, and whose captions say what is mirrored or cannot be read."""

    def __init__(self, dataset: PoseDataset) -> None:
        super().__init__(dataset)
        self.items: list[Item] = []

    def __getitem__(self, index: int, /) -> Item:
        try:
            item = self.dataset[index]
        except UnreadableImage:
            return empty_like("UNREADABLE", first_item(self.dataset))
        self.items.append(item)
        return replace(item, id=f"mirrored {item.id}") if item.mirrored else item


def with_legend(sheet: np.ndarray, shown: Shown) -> np.ndarray:
    """The sheet (H, W, 3) with a row for each joint below: its colour, its name, and the share of the samples shown, of
    whole pictures of their labelled people, in which it is seen, hidden and unknown."""
    names = shown.skeleton.keypoints
    width = max(sheet.shape[1], COLUMN)
    columns = min(width // COLUMN, len(names))
    rows = -(-len(names) // columns)
    legend = np.full(((rows + 2) * ROW, width, 3), PAPER, np.uint8)
    annotated, visible, people = of_people(shown.items, len(names))
    title = f"{shown.name}: {people}{len(shown.items)} of {len(shown)} samples"
    _write(legend, f"{title}; filled: seen, hollow: hidden, absent: unknown", (8, 0))
    for k, (name, colour) in enumerate(zip(names, joint_colours(len(names)), strict=True)):
        known, seen = annotated[:, k], annotated[:, k] & visible[:, k]
        _joint(legend, (8 + k // rows * COLUMN, (1 + k % rows) * ROW), name, colour, seen, known)
    wide = np.full((sheet.shape[0], width, 3), PAPER, np.uint8)
    wide[:, : sheet.shape[1]] = sheet
    return np.concatenate([wide, legend])


def of_people(items: Sequence[Item], keypoints: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Which keypoints are annotated and visible (N, K) of those whom items show, of whole pictures of the labelled
    people; and in words how many the latter are."""
    none = np.zeros((0, keypoints), bool)
    annotated, visible = (
        np.concatenate([none, *(getattr(item, name).reshape(-1, keypoints) for item in items)])
        for name in ("annotated", "visible")
    )
    if not items or items[0].annotated.ndim == 1:
        return annotated, visible, ""
    known = annotated.any(1)
    return annotated[known], visible[known], f"{known.sum()} people in "


def _joint(
    legend: np.ndarray, at: tuple[int, int], name: str, colour: Colour, seen: np.ndarray, known: np.ndarray
) -> None:
    x, y = at
    cv2.circle(legend, (x + 6, y + ROW // 2), 6, colour, cv2.FILLED, cv2.LINE_AA)
    _write(legend, name[:18], (x + 18, y))
    shares = [float(s.mean()) if len(s) else 0.0 for s in (seen, known & ~seen, ~known)]
    texts = [f"{100 * share:.0f}% {what}" for share, what in zip(shares, ("seen", "hidden", "unknown"), strict=True)]
    for place, text in zip((150, 220, 300), texts, strict=True):
        _write(legend, text, (x + place, y))


def _write(picture: np.ndarray, text: str, at: tuple[int, int]) -> None:
    """Text whose row starts at `at`; OpenCV's font holds ASCII only."""
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(picture, plain, (at[0], at[1] + ROW - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, DARK, 1, cv2.LINE_AA)
