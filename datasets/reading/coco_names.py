"""Names of pictures as exporters write them: with backslashes, from the disk of someone else, as an address."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .annotations import BadAnnotation, picture_name
from .notes import Notes
from .video import file_of

SOME = 50
"""Pictures of which one must be where its name says; else all are looked for."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^/]*/*")
_ABROAD = re.compile(r"(?:[A-Za-z]:|~)?/+|[A-Za-z]:|(?:\./+)*(?:\.\./+)+")
"""What leads out of the root: a drive, the file system's root, a home, the folder above."""


def picture_names(values: Sequence[Any], file: Path, root: Path | None, notes: Notes) -> list[str]:
    """The paths of pictures below `root`, with forward slashes, for the `file_name` of each image of a COCO file.

    Of a path from elsewhere, or where no picture is in its place, the longest end is taken that lies below the root;
    the folders before it are the same for all of one folder. Without a root names must be right as they are. Raises
    BadAnnotation for what leads out of the root all the same, and where two pictures would become one.
    """
    if root is None:
        return [picture_name(value, file, f"image {number}") for number, value in enumerate(values)]
    slashed = [value.replace("\\", "/") if isinstance(value, str) else value for value in values]
    inner = [_inner(value) if isinstance(value, str) else value for value in slashed]
    names = [picture_name(value, file, f"image {number}") for number, value in enumerate(inner)]
    lost = not any(os.path.isfile(root / file_of(name)) for name in names[:SOME])
    cuts, owners = dict[str, int](), dict[str, str]()
    for number, name in enumerate(names):
        elsewhere = inner[number] != slashed[number]
        if elsewhere or lost:
            parts = name.split("/")
            cut = _cut(name, root, cuts)
            names[number] = "/".join(parts[len(parts) - 1 if cut is None and elsewhere else cut or 0 :])
        if names[number] != name or elsewhere:
            owner = owners.setdefault(names[number], slashed[number])
            if owner != slashed[number]:
                wanted = f"another picture than {owner!r}: both would be {names[number]} below {root}"
                remedy = "Set root to the folder above both"
                raise BadAnnotation(file, f"image {number}", "file_name", values[number], wanted, remedy)
            first = f"{values[number]} as {names[number]}"
            notes.add(f"have a file_name from elsewhere, of which the end is taken below {root}", first)
        elif slashed[number] != values[number]:
            notes.add("have a file_name with backslashes, which are taken for slashes", values[number])
    return names


def _inner(name: str) -> str:
    """A name without what leads out of the root; addresses also without what is asked of their server."""
    address = _ADDRESS.match(name)
    if "?d=" in name:  # a labelling tool's address of a file on its disk
        name = unquote(name.partition("?d=")[2]).replace("\\", "/")
    elif address:
        name = unquote(name[address.end() :].partition("?")[0])
    return _ABROAD.sub("", name, count=1) if _ABROAD.match(name) else name


def _cut(name: str, root: Path, cuts: dict[str, int]) -> int | None:
    """How many folders before the longest end of `name` that is a file below `root`; where there is none, as for others
    of its folder, or None. `cuts` remembers folders."""
    parts = name.split("/")
    parent = "/".join(parts[:-1])
    for cut in dict.fromkeys((cuts.get(parent, 0), *range(len(parts)))):
        if os.path.isfile(root / file_of("/".join(parts[cut:]))):
            cuts[parent] = cut
            return cut
    return cuts.get(parent)
