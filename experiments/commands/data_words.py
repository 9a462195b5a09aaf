"""The words key=value of `keyshift data ACTION NAME`: some are the command's own, the others the dataset's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ...datasets.catalog import options_of
from ...datasets.options import Options, make
from ...datasets.words import command_words

ORIGIN = "the command line"
Own = TypeVar("Own", bound=Options)


def read_words(
    name: str, words: Sequence[str], own: type[Own], usual: Mapping[str, Any] | None = None
) -> tuple[Own, Options]:
    """The command's `own` options, and those of the dataset `name`, over `usual` ones.

    Raises ValueError for a word that is no key=value, and for unknown keys and wrong values of either.
    """
    for word in words:
        if "=" not in word and Path(word).exists():
            raise ValueError(f"{word!r} is not of the form key=value; did you mean root={word}?")
    content = command_words(words)
    apart = [one.name for one in fields(own)]
    of_command = {key: value for key, value in content.items() if key in apart}
    of_dataset = {key: value for key, value in content.items() if key not in apart}
    return make(own, of_command, ORIGIN), options_of(name, {**(usual or {}), **of_dataset}, ORIGIN, beside=apart)
