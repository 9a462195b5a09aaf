"""Which pictures follow each other: frames of one video, and files of one folder whose names are numbered alike.

Names are numbered alike where they differ in one number alone: shot_0007.jpg and shot_0008.jpg, of which the margin is
1; where 0008 is missing, 0007 and 0009 follow each other with a margin of 2. Of names with several numbers
(0007_cam2.jpg) the one counts that makes the fewest series in the folder, the last one of equals. Names without any
number follow each other in their order. Files that no label tells of count as well as others: they are in the folder.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from .images import PICTURES
from .video import count_frames, file_of, is_frame

FAR = 30
"""From this margin on pictures do not show one movement: about a second of a usual video."""


class Neighbours:
    """The pictures below `root` that stand before and after one. A folder is listed once, when it is asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders: dict[str, dict[str, tuple[list[tuple[str, int]], int]]] = {}

    def from_here(self, name: str, step: int, most: int) -> list[tuple[str, int]]:
        """Up to `most` pictures in the direction of `step`, 1 or -1, the nearest first, each with its margin from the
        one before. Raises UnreadableImage for a video that is none."""
        if is_frame(name):
            video, number = file_of(name), int(name.rpartition("#")[2])
            end = count_frames(self.root / video)
            frames = [number + step * (k + 1) for k in range(most)]
            return [(f"{video}#{frame}", 1) for frame in frames if 0 <= frame < end]
        folder, _, file = name.rpartition("/")
        if folder not in self.folders:
            self.folders[folder] = self._listed(folder)
        series, place = self.folders[folder].get(file, ([], 0))
        return _near(series, place, step, most, f"{folder}/" if folder else "")

    def _listed(self, folder: str) -> dict[str, tuple[list[tuple[str, int]], int]]:
        """The series (name, number) that each picture of a folder is in, and its place there."""
        path = self.root / folder
        names = [name for name in os.listdir(path) if not name.startswith(".")] if path.is_dir() else []
        pictures = (name for name in names if name.lower().endswith(PICTURES))
        return {name: (one, place) for one in series_of(pictures) for place, (name, _) in enumerate(one)}


def _near(series: list[tuple[str, int]], place: int, step: int, most: int, folder: str) -> list[tuple[str, int]]:
    chosen: list[tuple[str, int]] = []
    while len(chosen) < most and 0 <= place + step < len(series):
        margin = abs(series[place + step][1] - series[place][1])
        if margin >= FAR:
            break
        place += step
        chosen.append((folder + series[place][0], max(margin, 1)))
    return chosen


def series_of(names: Iterable[str]) -> list[list[tuple[str, int]]]:
    """File names as series, each in its order: (name, number), the place where names have no number."""
    kinds: dict[tuple[str, ...], list[tuple[str, tuple[int, ...]]]] = defaultdict(list)
    for name in sorted(names):
        stem, suffix = os.path.splitext(name)
        parts = re.split(r"([0-9]+)", stem)
        kinds[(*parts[::2], suffix) if len(parts) > 1 else ()].append((name, tuple(map(int, parts[1::2]))))
    plain = [(name, place) for place, (name, _) in enumerate(kinds.pop((), []))]
    return [*([plain] if plain else []), *(one for members in kinds.values() for one in _numbered(members))]


def _numbered(members: list[tuple[str, tuple[int, ...]]]) -> list[list[tuple[str, int]]]:
    """Names that have the same words between their numbers, parted by all of these but one."""
    fields = range(len(members[0][1]))
    others = [{(*numbers[:k], *numbers[k + 1 :]) for _, numbers in members} for k in fields]
    counted = max(fields, key=lambda k: (-len(others[k]), k))
    series: dict[tuple[int, ...], list[tuple[str, int]]] = defaultdict(list)
    for name, numbers in members:
        series[(*numbers[:counted], *numbers[counted + 1 :])].append((name, numbers[counted]))
    return [sorted(one, key=lambda pair: pair[1]) for one in series.values()]
