"""`keyshift data write`: rendered people on disk, in the layout of a public set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...datasets.options import Options, option
from ...datasets.reading.splits import PARTS
from ...datasets.rendered.people import Options as PeopleOptions
from ...datasets.rendered.people_files import LAYOUTS, write_scenes
from ...datasets.rendered.people_styles import STYLES
from .data_words import read_words


@dataclass(frozen=True)
class WriteOptions(Options):
    """Of the command, beside the dataset's."""

    part: str = option("train", "which part is written; the option of its name says how many pictures", choices=PARTS)
    layout: str = option("muco", "as which public set", choices=tuple(LAYOUTS))


def write(name: str, words: list[str], folder: Path) -> Path:
    """Write the scenes of dataset `name` to `folder`; the answer is the annotation file.

    `words` are key=value of the dataset's options and of WriteOptions. Raises ValueError for a set that is not of
    rendered people.
    """
    known = [f"people.{style}" for style in STYLES]
    if name not in known:
        raise ValueError(f"{name} cannot be written as pictures with an annotation file; {' and '.join(known)} can")
    own, options = read_words(name, words, WriteOptions)
    assert isinstance(options, PeopleOptions)
    return write_scenes(folder, name.partition(".")[2], options, own.part, own.layout)
