"""Columns of annotation tables that lie on the disk. A pickle, as a loader's worker gets it, holds the files' names and
not what is in them; all processes of a machine share the same pages, which it can take back.

They are numpy's memory maps and not Arrow's: a column of keypoints is (N, K, 2) numbers, and its map is that array,
which is indexed, sliced and computed with as one in memory. Arrow packs booleans into bits and its lists are flat, so
that each look at a row would convert it, for one dependency more. Texts are bytes one after the other with the place
where each ends, as in Arrow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

FEW = 1 << 16
"""So many rows are taken into memory where they are chosen; of more it is remembered which."""
BLOCK = 1 << 14
"""Texts that are read at once, where one goes through all."""


class Mapped(np.memmap):
    """A whole array as it lies in a file, read-only. Parts of it, and what is computed, are pickled as other arrays."""

    place: tuple[Any, ...] | None = None

    def __array_finalize__(self, source: Any) -> None:
        super().__array_finalize__(source)
        self.place = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (mapped, self.place) if self.place else self.view(np.ndarray).__reduce_ex__(protocol)


def mapped(path: Path, kind: str, shape: tuple[int, ...]) -> Mapped:
    """The array in a file that holds nothing else. Raises ValueError where it is too short, OSError."""
    array: Mapped = Mapped(path, np.dtype(kind), "r", shape=shape)
    array.place = path, kind, shape
    return array


class Picked(np.lib.mixins.NDArrayOperatorsMixin):
    """Rows (None: all) and, in a certain order, keypoints (None: as they are) of a `Mapped` array, taken when they are
    asked for. What numpy does with it, it does with all of it, in memory."""

    def __init__(self, source: Mapped, rows: np.ndarray | None, order: list[int] | None = None) -> None:
        self.source, self.rows, self.order = source, rows, order
        k = source.shape[1:2] if order is None else (len(order),)
        self.shape = (len(source if rows is None else rows), *k, *source.shape[2:])
        self.dtype = source.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        first, *rest = index if isinstance(index, tuple) else (index,)
        rows = np.array(self.source[first if self.rows is None else self.rows[first]])
        axes: list[Any] = [slice(None)] * (rows.ndim - self.source.ndim + 1)
        rows = rows if self.order is None else rows[(*axes, self.order)]
        return rows[(*axes, *rest)]

    def __iter__(self) -> Iterator[Any]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **more: Any) -> Any:
        return getattr(ufunc, method)(*(one[:] if isinstance(one, Picked) else one for one in inputs), **more)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(name)
        return getattr(self[:], name)

    def pick(self, rows: np.ndarray) -> Picked:
        return Picked(self.source, rows if self.rows is None else self.rows[rows], self.order)

    def choose(self, order: list[int]) -> Picked:
        return Picked(self.source, self.rows, order if self.order is None else [self.order[k] for k in order])


class Texts(Sequence[Any]):
    """Texts, or what `decode` makes of them, in two files: their bytes one after the other, and where each ends."""

    def __init__(
        self, path: Path, count: int, size: int, decode: Callable[[str], Any] = str, rows: np.ndarray | None = None
    ) -> None:
        self.bytes, self.ends = mapped(path, "u1", (size,)), mapped(path.with_suffix(".ends"), "<i8", (count,))
        self.place, self.decode, self.rows = (path, count, size), decode, rows

    def __reduce__(self) -> Any:
        return Texts, (*self.place, self.decode, self.rows)

    def __len__(self) -> int:
        return len(self.ends if self.rows is None else self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._listed(*index.indices(len(self)))
        row = range(len(self))[index] if self.rows is None else int(self.rows[index])
        return self.decode(self.bytes[self.ends[row - 1] if row else 0 : self.ends[row]].tobytes().decode())

    def _listed(self, start: int, stop: int, step: int) -> list[Any]:
        if step != 1 or self.rows is not None or start >= stop:
            return [self[row] for row in range(start, stop, step)]
        first = int(self.ends[start - 1]) if start else 0
        ends = (self.ends[start:stop] - first).tolist()
        data = self.bytes[first : first + ends[-1]].tobytes()
        return [self.decode(data[a:b].decode()) for a, b in zip([0, *ends], ends, strict=False)]

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), BLOCK):
            yield from self[start : start + BLOCK]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def pick(self, rows: np.ndarray) -> Texts:
        return Texts(*self.place, self.decode, rows if self.rows is None else self.rows[rows])


Column = Any
"""An array, `Mapped` or `Picked`; a list or `Texts`."""


def pick(column: Column, rows: np.ndarray) -> Column:
    """The `rows`, (M,) whole numbers, of a column; of one on the disk without reading them, where they are many."""
    if not on_disk(column) or len(rows) <= FEW:
        return np.array(column[rows]) if hasattr(column, "dtype") else [column[row] for row in rows]
    return Picked(column, rows) if isinstance(column, Mapped) else column.pick(rows)


def choose(column: Column, order: Sequence[int]) -> Column:
    """A column (N, K, ...) with keypoint `order[k]` as its k-th; of one on the disk without reading it, if it is
    long."""
    if not on_disk(column) or len(column) <= FEW:
        return column[:, order]
    if list(order) == list(range(column.shape[1])):
        return column
    return Picked(column, None, list(order)) if isinstance(column, Mapped) else column.choose(list(order))


def on_disk(column: Column) -> bool:
    """Whether a column was read from a table, and so has been looked through when that was written."""
    return isinstance(column, Picked | Texts) or (isinstance(column, Mapped) and column.place is not None)


class Writer:
    """Columns that are written chunk by chunk into a folder: see `tables`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, BinaryIO] = {}
        self.ends: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files.values():
            with suppress(OSError):  # of what is not written any more
                file.close()

    def sync(self) -> None:
        for file in self.files.values():
            file.flush()
            os.fsync(file.fileno())

    def file(self, name: str) -> BinaryIO:
        if name not in self.files:
            self.files[name] = open(self.folder / name, "wb")  # noqa: SIM115 `close` closes it
        return self.files[name]

    def add(self, name: str, values: np.ndarray | Sequence[str]) -> None:
        if isinstance(values, np.ndarray):
            self.file(f"{name}.bin").write(np.ascontiguousarray(values).data.cast("B") if values.size else b"")
            return
        encoded = [value.encode() for value in values]
        ends = self.ends.get(name, 0) + np.cumsum([len(value) for value in encoded], dtype=np.int64)
        self.ends[name] = int(ends[-1]) if len(ends) else self.ends.get(name, 0)
        self.file(f"{name}.text").write(b"".join(encoded))
        self.file(f"{name}.ends").write(ends.astype("<i8").tobytes())
