"""`keyshift data show`: a contact sheet of any dataset, with how often each joint is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ...datasets.catalog import entry_of
from ...datasets.loading import empty_item, first_item
from ...datasets.reading.images import UnreadableImage
from ...datasets.sample import Item, PoseDataset
from ..config import build
from ..report.drawing import DARK, PAPER, Colour, contact_sheet, joint_colours, write_picture
from ..runs.run import open_centered

COUNT = 16
ROW, COLUMN = 20, 390
"""Pixels of a joint's place in the legend."""


def show(name: str, overrides: list[str], path: Path) -> None:
    """Write COUNT samples of dataset `name` with their keypoints to the picture `path`.

    Overrides are keys of the configuration's Data, and part=train or part=test.
    """
    part = next((o.removeprefix("part=") for o in overrides if o.startswith("part=")), "train")
    dotted = [f"target.{o}" for o in overrides if not o.startswith("part=")]
    few = {"size": 192, "train": COUNT, "test": COUNT}
    own = {key: value for key, value in few.items() if key in entry_of(name).options}
    config = build({"target": {"name": name, **own}}, dotted)
    if part not in ("train", "test"):
        raise ValueError(f"part={part!r} must be train or test")
    shown = Shown(open_centered(config.target, part, config))
    sheet = contact_sheet(shown, COUNT)
    write_picture(path, with_legend(sheet, shown))


class Shown:
    """A dataset that remembers what was read of it, and whose captions say what is mirrored or cannot be read."""

    def __init__(self, dataset: PoseDataset) -> None:
        self.dataset, self.name, self.identity = dataset, dataset.name, dataset.identity
        self.skeleton = dataset.skeleton
        self.items: list[Item] = []

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int, /) -> Item:
        try:
            item = self.dataset[index]
        except UnreadableImage:
            depth = first_item(self.dataset).cube is not None
            return empty_item("UNREADABLE", len(self.skeleton), depth)
        self.items.append(item)
        return replace(item, id=f"mirrored {item.id}") if item.mirrored else item


def with_legend(sheet: np.ndarray, shown: Shown) -> np.ndarray:
    """The sheet (H, W, 3) with a row for each joint below: its colour, its name, and the share of the samples shown in
    which it is seen, hidden and unknown."""
    names = shown.skeleton.keypoints
    width = max(sheet.shape[1], COLUMN)
    columns = min(width // COLUMN, len(names))
    rows = -(-len(names) // columns)
    legend = np.full(((rows + 2) * ROW, width, 3), PAPER, np.uint8)
    title = f"{shown.name}: {len(shown.items)} of {len(shown)} samples; filled: seen, hollow: hidden, absent: unknown"
    _write(legend, title, (8, 0))
    for k, (name, colour) in enumerate(zip(names, joint_colours(len(names)), strict=True)):
        known = np.array([item.annotated[k] for item in shown.items], bool)
        seen = known & np.array([item.visible[k] for item in shown.items], bool)
        _joint(legend, (8 + k // rows * COLUMN, (1 + k % rows) * ROW), name, colour, seen, known)
    wide = np.full((sheet.shape[0], width, 3), PAPER, np.uint8)
    wide[:, : sheet.shape[1]] = sheet
    return np.concatenate([wide, legend])


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
