"""Clips: pictures of a set with the ones before and after them, as systems of videos read them.

The middle frame of a clip is the sample that it was, with its labels and its box; the others are what stands beside it
on the disk, labelled or not (reading/neighbours.py). `margins` say how many frames lie from each to the next. Where a
video or series ends, where a picture cannot be read or has another size, and where there is a cut, the last frame
stands again with a margin of 1, as at the ends of videos in DCPose (Liu et al., CVPR 2021; its published settings take
the very next frames, whatever the distance is that they name).

A clip's frames are kept until the next one is asked for: clips in the order of their video decode each frame once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import cv2
import numpy as np

from .reading.images import UnreadableImage
from .reading.listing import evenly
from .reading.neighbours import Neighbours
from .reading.video import is_frame
from .sample import Item
from .views import View

if TYPE_CHECKING:
    from .reading.people import PictureSet

SMALL = 32
"""Side in pixels of what cuts are told by: noise is averaged away, and so is what moves within the picture."""
AROUND = 9
"""Side of the square in which levels are compared with their surroundings: light, and how much of it, does not count,
and whoever walks in counts by the area alone."""
SHIFT = 4
"""So many pixels a camera may swing from one frame to the next."""
ALIKE = 0.4
"""Least correlation of frames of one shot. Of photographs that have nothing in common 1 % have more. Of photographs
and the same moved by up to an eighth, turned and zoomed 99.7 % have more, 96 % if they are noisy, blurred and up to
twice as bright or dark besides, 88 % if someone in black or white fills a fifth of the second one. All frames of the
real videos that were at hand have 0.84 and more."""
FLAT = 4.0
"""Grey levels of deviation in a square, below which there is little to see in it."""
NOTHING = 2.0
"""Grey levels of deviation below which a picture shows nothing."""
LOOKED_AT = 10
"""Pictures by which photographs are told from the frames of a video, where files are numbered."""


def grey(picture: np.ndarray) -> np.ndarray:
    """(SMALL, SMALL) float32, of a picture (H, W, 3) or (H, W) uint8."""
    levels = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if picture.ndim == 3 else picture
    return cv2.resize(levels, (SMALL, SMALL), interpolation=cv2.INTER_AREA).astype(np.float32)


def is_cut(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two pictures that follow each other, (H, W, 3) uint8 or their `grey` versions, are of two shots.

    The middle of each is looked for in the other, up to SHIFT away in each direction, and compared by correlation. A
    flash is no cut, but one that leaves nothing but white is.
    """
    one, other = (picture if picture.shape == (SMALL, SMALL) else grey(picture) for picture in (first, second))
    shown = one.std() >= NOTHING, other.std() >= NOTHING
    if not all(shown):
        return any(shown)
    one, other = relief(one), relief(other)
    middle = slice(SHIFT, -SHIFT)
    pairs = ((one, other[middle, middle]), (other, one[middle, middle]))
    return bool(max(cv2.matchTemplate(*pair, cv2.TM_CCOEFF_NORMED).max() for pair in pairs) < ALIKE)


def relief(levels: np.ndarray) -> np.ndarray:
    """How levels (H, W) float32 stand out from the square around each, in deviations there."""
    mean, square = (cv2.blur(values, (AROUND, AROUND)) for values in (levels, levels * levels))
    spread: np.ndarray = np.sqrt(np.maximum(square - mean * mean, 0))
    return (levels - mean) / (spread + FLAT)


class Frame(NamedTuple):
    image: np.ndarray
    """(H, W, 3) uint8"""
    grey: np.ndarray


Read = Callable[[str], np.ndarray]


class Window:
    """The frames around one picture after another, those of one shot. They are kept until the next picture is asked
    for: in the order of a video each frame is read once."""

    def __init__(self, root: Path, frames: int) -> None:
        self.half, self.neighbours = frames // 2, Neighbours(root)
        self.held: dict[str, Frame | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Pictures stay behind: a worker process reads its own."""
        return {**self.__dict__, "held": {}}

    def around(self, name: str, read: Read) -> tuple[list[Frame], np.ndarray]:
        """The clip of the picture `name`, which is in the middle, and its margins (T - 1,). `read` gives the picture
        (H, W, 3) of a name, and raises UnreadableImage."""
        before, after = (self.neighbours.from_here(name, step, self.half) for step in (-1, 1))
        frames = self.read(read, name, [*(one for one, _ in reversed(before)), name, *(one for one, _ in after)])
        middle = frames[name]
        assert middle is not None
        earlier, back = self.shot(middle, before, frames)
        later, ahead = self.shot(middle, after, frames)
        return [*reversed(earlier), middle, *later], np.array([*reversed(back), *ahead], np.float32)

    def read(self, read: Read, middle: str, names: Sequence[str]) -> dict[str, Frame | None]:
        """The pictures by name, read in their order; None for those that cannot be read. Raises UnreadableImage where
        the middle one cannot."""
        held, frames = self.held, dict[str, Frame | None]()
        for name in names:
            if held.get(name) is None and (name == middle or name not in held):
                try:
                    image = read(name)
                except UnreadableImage:
                    if name == middle:
                        raise
                    frames[name] = None
                    continue
                frames[name] = Frame(image, grey(image))
            else:
                frames[name] = held[name]
        self.held = frames  # at once, as several threads may read
        return frames

    def shot(
        self, middle: Frame, steps: Sequence[tuple[str, int]], frames: dict[str, Frame | None]
    ) -> tuple[list[Frame], list[int]]:
        """The frames on one side of the middle one, the nearest first, as long as they are of its shot, and their
        margins; then the last one again."""
        shown, margins = [middle], list[int]()
        for name, margin in steps:
            frame = frames[name]
            if frame is None or frame.image.shape != middle.image.shape or is_cut(shown[-1].grey, frame.grey):
                break
            shown.append(frame)
            margins.append(margin)
        lacking = self.half - len(margins)
        return [*shown[1:], *[shown[-1]] * lacking], [*margins, *[1] * lacking]


class Clips(View):
    """A picture set in clips of `frames` frames. Raises ValueError where nothing of it follows anything: no picture has
    one beside it, or more than half of those that are looked at have nothing in common with what is."""

    def __init__(self, dataset: PictureSet, frames: int) -> None:
        super().__init__(dataset, frames=frames)
        self.window = Window(dataset.root, frames)
        followed = [name for name in dict.fromkeys(dataset.people.pictures) if self.beside(name)]
        some = evenly([name for name in followed if not is_frame(name)], LOOKED_AT)
        apart = sum(map(self.stands_alone, some))
        if not followed or 2 * apart > len(some):
            shown = f"{apart} of {len(some)} that were looked at have nothing in common with the one beside them"
            why = shown if followed else "none has one beside it"
            raise ValueError(
                f"{dataset.name} gives no clips of {frames} frames, for of its pictures {why}. Clips are of videos, "
                "and of folders of frames with numbers in their names: choose such a set, or a system and a strategy "
                "that read single pictures"
            )

    @property
    def pictures(self) -> PictureSet:
        return cast("PictureSet", self.dataset)

    def clips(self, frames: int) -> Clips:
        return Clips(self.pictures, frames)

    def beside(self, name: str) -> str | None:
        """The picture before or after one; None where there is none, and for a video that is broken."""
        with suppress(UnreadableImage):
            near = [one for step in (-1, 1) for one, _ in self.window.neighbours.from_here(name, step, 1)]
            return near[0] if near else None
        return None

    def stands_alone(self, name: str) -> bool:
        """Whether a picture, which can be read, is of no shot with the one beside it."""
        with suppress(UnreadableImage):
            first, second = self.pictures.read(name), self.pictures.read(str(self.beside(name)))
            return first.shape != second.shape or is_cut(first, second)
        return False

    def __getitem__(self, index: int, /) -> Item:
        frames, margins = self.window.around(self.pictures.picture(index), self.pictures.read)
        item = self.pictures.item(index, frames[len(frames) // 2].image)
        image = np.stack([frame.image for frame in frames])
        return replace(item, image=image, inputs={**item.inputs, "margins": margins})
