"""Values as they are written, on a command line or in a YAML, whose types the options that take them decide.

Folders are called 001, 2024_01_15, [cam1] day, null or on; YAML would make a number, a date, an error or a truth value
of them before anyone could ask whether a text was meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, get_args, get_origin

import yaml

NOTHING = ("", "null", "Null", "NULL")
"""Words that mean no value to an option which may have none."""
EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
"""Numbers that YAML 1.1 takes for texts."""


Texts = Annotated[Any, "a text, or a list of texts"]
"""The type of an option that takes either."""


class Word(str):
    """A value that no quotes make a text, exactly as it is written."""

    __slots__ = ()


class Loader(yaml.SafeLoader):
    """Reads every scalar that no quotes make a text as a `Word`, save for null."""


def _scalar(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return Word(node.value) if node.style is None else str(node.value)


for _tag in ("bool", "int", "float", "timestamp", "str"):
    Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _scalar)


def command_words(words: Sequence[str]) -> dict[str, Any]:
    """key=value words as nested data, a.b=c as {a: {b: c}}. Raises ValueError for what is not of that form, and for a
    value beside keys below it."""
    content: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not all(key.split(".")):
            raise ValueError(f"{word!r} is not of the form key=value")
        *groups, last = key.split(".")
        inside = content
        for group in groups:
            inner = opened(inside.get(group))
            if isinstance(inner, Word) and inner not in NOTHING:
                raise _beside(group, inner, word)
            inside[group] = inside = inner if isinstance(inner, dict) else {}
        before, now = inside.get(last), Word(value)
        if isinstance(before, dict) and now not in NOTHING and not isinstance(opened(now), dict):
            raise _beside(last, now, f"{key}.{next(iter(before), '')}")
        inside[last] = before | opened(now) if isinstance(before, dict) and isinstance(opened(now), dict) else now
    return content


def _beside(key: str, value: Word, other: str) -> ValueError:
    return ValueError(
        f"{key}={value} stands beside {other}: {key} has keys of its own; did you mean {key}.name={value}?"
    )


def opened(value: Any) -> Any:
    """A word that YAML takes for a mapping, as that; anything else as it is."""
    if not isinstance(value, Word) or not value.lstrip().startswith("{"):
        return value
    try:
        content = yaml.load(value, Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return value
    return content if isinstance(content, dict) else value


def typed(value: Any, kind: Any = Any) -> Any:
    """`value` with each `Word` in it as `kind`, a type annotation, has it: texts are taken as they stand.

    Raises ValueError for a list or mapping that is no YAML.
    """
    if isinstance(value, dict):
        return {str(key): typed(entry, _inner(kind, dict)) for key, entry in value.items()}
    if isinstance(value, list):
        return [typed(entry, str if kind is Texts else _inner(kind, list)) for entry in value]
    if not isinstance(value, Word):
        return value
    if kind in (str | None, Texts) and value in NOTHING:
        return None
    return str(value) if kind in (str, str | None) else _parsed(value, kind)


def _inner(kind: Any, structure: type) -> Any:
    """The type of the values in a list or mapping, also of one that may be None."""
    kinds = [one for one in (kind, *get_args(kind)) if get_origin(one) is structure]
    return get_args(kinds[0])[-1] if kinds else Any


def _parsed(word: Word, kind: Any) -> Any:
    """What YAML makes of a word; a date stays a text."""
    try:
        structure, plain = yaml.load(word, Loader), yaml.safe_load(word)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if kind is Texts:
            return str(word)
        raise ValueError(f"{str(word)!r} is no YAML: {' '.join(str(error).split())}") from error
    if isinstance(structure, list) or (isinstance(structure, dict) and kind is not Texts):
        return typed(structure, kind)
    if isinstance(plain, str) and EXPONENT.fullmatch(plain):
        plain = float(plain)
    return plain if isinstance(plain, bool | int | float | None) and kind is not Texts else str(word)
