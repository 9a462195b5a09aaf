"""Annotation tables that are parsed once: large annotation files are read chunk by chunk into columns on the disk
(columns.py), and from then on opened as memory maps.

    CACHE/tables/NAME-HASH/             of a set's files and of the options that its table depends on
        .lock                           held while the table is parsed; who comes then waits
        STATE/about.json                what columns there are, warnings of the parser, its words for `identity`
        STATE/keypoints.bin, ids.text   the columns

STATE is a hash of the files' sizes and times and of this package's code that reads them: with a changed annotation file
or another version the table is parsed anew, and the old one goes. A folder is renamed to STATE when all of it is
written, so that a parser that is killed leaves nothing that is taken for a table. Files of less than `LARGE` bytes are
parsed into memory each time, and so are large ones, with a warning, where the cache cannot be written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..rendered.cache import cache_root
from .columns import Texts, Writer, mapped
from .files import only_one, write_json
from .people import COLUMNS, People, digest, together
from .prepared import skeleton_of
from .regions import region_of, text_of

LARGE = 1 << 22
"""Bytes of annotation files, in all, from which their table is kept."""
LONG = 1 << 27
"""Bytes from which it is said that they are read, which takes a minute and more."""
ABOUT = "about.json"
Parse = Callable[[dict[str, Any]], Iterable[People]]
"""Gives a table in pieces, in the order of its rows; what else is to be said of it, plain data, it writes into the dict
that it is given. Called again, it does the same."""


def read_table(
    name: str, files: Sequence[str | Path], choice: dict[str, Any], parse: Parse
) -> tuple[People, dict[str, Any]]:
    """The table that `parse` makes of `files`, and what else it says, with a digest of the files as `sha256`.

    `choice` is plain data: all that the table depends on besides the files and `name`, the set and its part. Raises
    what `parse` raises.
    """
    states = [os.stat(file) for file in files]
    size = sum(state.st_size for state in states)
    if size < LARGE:
        return _parsed(files, parse)
    what = json.dumps([name, *map(os.path.abspath, files), choice])
    place = cache_root() / "tables" / f"{name}-{_hash(what)}"
    folder = place / _hash(json.dumps([_code(), *((state.st_size, state.st_mtime_ns) for state in states)]))
    kept = _opened(folder)
    if kept is None:
        try:
            with only_one(place, wait=True):
                kept = _opened(folder)  # another process may have written it meanwhile
                if kept is None:
                    if size > LONG:
                        print(
                            f"{name}: {size / 1e9:.1f} GB of annotations are read once, into {place}", file=sys.stderr
                        )
                    _write(place, folder, files, parse)
                    kept = _opened(folder)
        except OSError as error:
            warnings.warn(
                f"{error}: the table of {files[0]} cannot be kept in {place}. It is parsed into memory now, and each "
                "time that it is opened: make room there, or set KEYSHIFT_CACHE to a folder on another disk",
                stacklevel=3,
            )
    if kept is None:
        return _parsed(files, parse)
    for text in kept[2]:
        warnings.warn(text, stacklevel=3)
    return kept[:2]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _code() -> str:
    """A name for the code that reads sets."""
    total, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        if path.parent.name != "rendered":
            total.update(path.read_bytes())
    return total.hexdigest()


def _parsed(files: Sequence[str | Path], parse: Parse) -> tuple[People, dict[str, Any]]:
    about: dict[str, Any] = {}
    people = together(list(parse(about)))
    return people, about | {"sha256": digest(*files)}


def _write(place: Path, folder: Path, files: Sequence[str | Path], parse: Parse) -> None:
    """Parse into `folder`, which then is the only one in `place`. A table without rows is not written."""
    for old in place.iterdir():
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
    part, about = place / "part", dict[str, Any]()
    part.mkdir()
    try:
        with ExitStack() as stack, warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            writer = stack.enter_context(Writer(part))
            first, count = None, 0
            for people in parse(about):
                columns = {name: getattr(people, name) for name in COLUMNS}
                columns = {name: column for name, column in columns.items() if column is not None}
                for name, column in columns.items():
                    writer.add(name, [text_of(one) for one in column] if name == "unlabelled" else column)
                first = first or (people, columns)
                if columns.keys() != first[1].keys():
                    raise RuntimeError(f"pieces of {files[0]} have {[*columns]} and {[*first[1]]}")
                count += len(people)
            writer.sync()
        if first is None or not count:
            return
        people, columns = first
        content = {
            "count": count,
            "file": people.file,
            "skeleton": asdict(people.skeleton),
            "columns": {
                name: [one.dtype.str, *one.shape[1:]] if isinstance(one, np.ndarray) else writer.ends[name]
                for name, one in columns.items()
            },
            "about": about | {"sha256": digest(*files)},
            "warnings": [str(one.message) for one in said],
        }
        write_json(part / ABOUT, content)
        os.rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _opened(folder: Path) -> tuple[People, dict[str, Any], list[str]] | None:
    """The table, what else it says, and the warnings of its parser; None where it is not there, or not whole."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads((folder / ABOUT).read_bytes())
        count = content["count"]
        columns: dict[str, Any] = {
            name: Texts(folder / f"{name}.text", count, form, region_of if name == "unlabelled" else str)
            if isinstance(form, int)
            else mapped(folder / f"{name}.bin", form[0], (count, *form[1:]))
            for name, form in content["columns"].items()
        }
        skeleton = skeleton_of(content["skeleton"], folder / ABOUT)
        return People(content["file"], skeleton, **columns), content["about"], content["warnings"]
    return None
