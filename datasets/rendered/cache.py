"""A cache of rendered arrays: a folder of .npy memory maps, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..reading.files import from_home, naming

Arrays = dict[str, np.ndarray]


def cache_root(cache: str | Path | None = None) -> Path:
    """`cache` if given, else $KEYSHIFT_CACHE, else ~/.cache/keyshift."""
    return from_home(cache or os.environ.get("KEYSHIFT_CACHE") or "~/.cache/keyshift")


def cache_folder(root: Path, identity: dict[str, Any]) -> Path:
    """The folder of what `identity` names: its name and a hash of the whole."""
    text = json.dumps(identity, sort_keys=True)
    return root / f"{identity['name']}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def fill(folder: Path, identity: dict[str, Any], count: int, chunks: Callable[[], Iterable[Arrays]]) -> None:
    """Write the arrays of `chunks` (along the first dimension, `count` rows in all) unless the folder is there.

    They are written to a hidden sibling that is renamed at the end, so that a killed process leaves no half cache;
    where two processes race, the first to finish wins and the other uses its result.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    part = Path(tempfile.mkdtemp(prefix=f".part-{folder.name}-", dir=folder.parent))
    try:
        with naming(folder):
            _write(part, count, chunks())
            (part / "identity.json").write_text(json.dumps(identity, indent=1, sort_keys=True) + "\n")
        part.chmod(0o755)
        os.rename(part, folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(part: Path, count: int, chunks: Iterable[Arrays]) -> None:
    maps: dict[str, np.memmap] = {}
    done = 0
    for arrays in chunks:
        for name, array in arrays.items():
            if name not in maps:
                path = part / f"{name}.npy"
                maps[name] = np.lib.format.open_memmap(
                    path, mode="w+", dtype=array.dtype, shape=(count, *array.shape[1:])
                )
                _reserve(path)
            maps[name][done : done + len(array)] = array
        done += len(next(iter(arrays.values())))
    if done != count:
        raise ValueError(f"the cache {part.name} was promised {count} rows and got {done}")
    for values in maps.values():
        values.flush()


def _reserve(path: Path) -> None:
    """Take the file's whole room on the disk: where it is missing, writing into a memory map kills the process."""
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed more than a day ago left behind."""
    for old in folder.parent.glob(f".part-{folder.name}-*"):
        try:
            stale = old.stat().st_mtime < time.time() - 86400
        except OSError:  # another process has just finished with it
            continue
        if stale:
            shutil.rmtree(old, ignore_errors=True)


def open_arrays(folder: Path) -> Arrays:
    """The arrays of a folder as read-only memory maps, by name."""
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}


class CachedSet:
    """`count` rows of arrays that are rendered when the first is asked for; a base of rendered datasets.

    `chunks` gives them, and must be a function of `identity` alone.
    """

    def __init__(self, identity: dict[str, Any], count: int, cache: str | Path | None = None) -> None:
        self.name, self.identity, self.count = str(identity["name"]), identity, count
        self._folder = cache_folder(cache_root(cache), identity)
        self._arrays: Arrays | None = None

    def chunks(self) -> Iterator[Arrays]:
        raise NotImplementedError

    def arrays(self) -> Arrays:
        """All rows as memory maps, rendered first where they are not cached."""
        if self._arrays is None:
            fill(self._folder, self.identity, self.count, self.chunks)
            self._arrays = open_arrays(self._folder)
        return self._arrays

    def __getstate__(self) -> dict[str, Any]:
        """Memory maps stay behind: a worker process opens its own."""
        return {**self.__dict__, "_arrays": None}

    def __len__(self) -> int:
        return self.count

    def check(self, index: int) -> None:
        if not 0 <= index < self.count:
            raise IndexError(f"{self.name} has items 0 to {self.count - 1}, not {index}")
