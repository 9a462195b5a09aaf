"""The words key=value of `keyshift data ACTION NAME`: some are the command's own, the others the dataset's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ...datasets.catalog import options_of
from ...datasets.options import Options, make

ORIGIN = "the command line"
Own = TypeVar("Own", bound=Options)


def read_words(
    name: str, words: Sequence[str], own: type[Own], usual: Mapping[str, Any] | None = None
) -> tuple[Own, Options]:
    """The command's `own` options, and those of the dataset `name`, over `usual` ones.

    Raises ValueError for a word that is no key=value, and for unknown keys and wrong values of either.
    """
    content = _parsed(words)
    apart = [one.name for one in fields(own)]
    of_command = {key: value for key, value in content.items() if key in apart}
    of_dataset = {key: value for key, value in content.items() if key not in apart}
    return make(own, of_command, ORIGIN), options_of(name, {**(usual or {}), **of_dataset}, ORIGIN)


def _parsed(words: Sequence[str]) -> dict[str, Any]:
    for word in words:
        if "=" not in word:
            raise ValueError(f"{word!r} is not of the form key=value")
    try:
        content = OmegaConf.to_container(OmegaConf.from_dotlist(list(words)))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ValueError(f"{ORIGIN}: {' '.join(words)}: {str(error).splitlines()[0]}") from error
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
