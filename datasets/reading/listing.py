"""Files below a folder, in the order that people count in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path


def walk(root: Path) -> Iterator[str]:
    """Paths of files below `root`, with forward slashes; hidden ones are passed over, links followed, each folder once.
    Raises ValueError for a folder that cannot be listed."""

    def refuse(error: OSError) -> None:
        raise ValueError(f"cannot list {error.filename}: {error.strerror}") from error

    seen = set()
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        below = Path(folder).relative_to(root).as_posix()
        yield from (name if below == "." else f"{below}/{name}" for name in files if not name.startswith("."))


def by_path(name: str) -> tuple[list[tuple[str, int]], list[tuple[str, int]], str]:
    """A key that sorts paths folder by folder, numbers in them by value: 9 before 10."""
    return _by_value(name.rpartition("/")[0]), _by_value(name), name


def _by_value(text: str) -> list[tuple[str, int]]:
    return [(word, int(digits or 0)) for word, digits in re.findall(r"(\D*)([0-9]*)", text)]


def evenly(names: Sequence[str], count: int) -> list[str]:
    """At most `count` of the names, evenly over them."""
    step = max(len(names) / count, 1.0)
    return [names[int(k * step)] for k in range(min(count, len(names)))]
