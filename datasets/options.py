"""Options as data. Whoever owns a thing has one frozen dataclass beside it that derives from `Options`: the only place
where an option is named, typed, defaulted, limited and explained. Configuration, `--help` and docs/options.md read it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from functools import cache
from math import inf
from typing import Any, TypeVar, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .words import Texts, opened, typed

Kind = TypeVar("Kind", bound="Options")
FILE = "file"
"""Tag of options that name a file of the user's, whose content a run depends on."""


class BadOption(ValueError):
    """A value that an option does not take; the message starts with the option's name."""


@dataclass(frozen=True)
class Options:
    """Base of all options. Raises BadOption for a value that is out of range or no choice."""

    def __post_init__(self) -> None:
        for one in fields(self):
            _check(one, getattr(self, one.name))


def option(
    default: Any,
    about: str,
    *,
    low: float = -inf,
    high: float = inf,
    choices: Sequence[Any] = (),
    size: int = 0,
    tags: Sequence[str] = (),
) -> Any:
    """A field with its meaning and limits. `low`, `high` and `choices` hold for each entry of a list; `size` is how
    many entries it has. None is always taken where the type allows it. `tags` are what its owner sorts options by."""
    metadata = {"about": about, "low": low, "high": high, "choices": tuple(choices), "size": size, "tags": tuple(tags)}
    if isinstance(default, list | dict | Options):
        return field(default_factory=lambda: deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def tagged(kind: type, tag: str) -> list[str]:
    """The names of the options with a tag."""
    return [one.name for one in fields(kind) if tag in one.metadata.get("tags", ())]


def make(kind: type[Kind], content: Any, origin: str = "options", prefix: str = "", base: Kind | None = None) -> Kind:
    """`kind` with the values of the mapping `content`, the others as in `base` or by default. Raises ValueError, naming
    `origin` and the key with `prefix`, for unknown keys (with the nearest), wrong types, and values out of range."""
    refuse_unknown(kind, content, origin, prefix)
    values = {one.name: getattr(base, one.name) if base else default_of(one) for one in fields(kind)}
    nested = {
        key: make(type(values[key]), opened(inner), origin, f"{prefix}{key}.", values[key])
        for key, inner in content.items()
        if isinstance(values[key], Options)
    }
    leaves = {key: value for key, value in content.items() if key not in nested}
    try:
        return kind(**values | nested | _converted(kind, base, leaves, f"{origin}: {prefix}"))
    except BadOption as error:
        raise ValueError(f"{prefix}{error}") from error


def _converted(kind: type, base: Options | None, content: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Values in the types of their options; texts are taken as they stand, with `${x}` in them too."""
    annotations = get_type_hints(kind, include_extras=True)
    texts: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for key, value in content.items():
        try:
            value = typed(value, annotations[key])
        except ValueError as error:
            raise ValueError(f"{place}{key}: {error}") from error
        (texts if isinstance(value, str) and annotations[key] in (str, str | None, Any, Texts) else others)[key] = value
    if not others:
        return texts
    try:
        schema = _schema(base) if base else _schema_of(kind)
        made = OmegaConf.to_container(OmegaConf.merge(schema, OmegaConf.create(others)), resolve=False)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "a key"
        raise ValueError(f"{place}{key}: {str(error).splitlines()[0]}") from error
    assert isinstance(made, dict)
    return texts | {key: made[key] for key in others}


def _schema(options: Any) -> Any:
    schema = OmegaConf.structured(options)
    OmegaConf.set_readonly(schema, False)  # what a frozen dataclass is; the schema is a copy
    return schema


_schema_of = cache(_schema)
"""Of a class; it takes milliseconds, and `merge` leaves it as it is."""


def refuse_unknown(kind: type, content: Any, origin: str, prefix: str = "") -> None:
    """Raises ValueError for what is no mapping, and for keys that `kind` does not have."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{origin}: {prefix.rstrip('.') or 'it'} must be a mapping, found {content!r}")
    known = [one.name for one in fields(kind)]
    for key in content:
        if key not in known:
            raise unknown(str(key), known, origin, prefix)


def unknown(key: str, known: Sequence[str], origin: str, prefix: str = "") -> ValueError:
    """The error of a key that is none of `known`, with the nearest."""
    near = difflib.get_close_matches(key, known, 1, 0.4)
    hint = f" Did you mean {prefix}{near[0]}?" if near else f" Known keys: {', '.join(known) or 'none'}."
    return ValueError(f"{origin}: unknown key {prefix}{key}.{hint}")


def choose(key: str, value: Any, known: Sequence[Any]) -> None:
    """Raises BadOption where `value` is none of `known`."""
    if value not in known:
        near = difflib.get_close_matches(str(value), [str(one) for one in known], 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise BadOption(f"{key}={value!r} is not known; choose one of {', '.join(map(str, known))}.{hint}")


def plain_options(options: Any) -> dict[str, Any]:
    """Options as plain data, a copy."""
    return asdict(options)


def default_of(one: Field[Any]) -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


def listed(kind: Any) -> Iterator[tuple[str, str, str, str]]:
    """(name, default, limits, meaning) of each option of a class, for help texts and tables; nested options by dotted
    name. Defaults of an instance are its values."""
    for one in fields(kind):
        default = default_of(one) if isinstance(kind, type) else getattr(kind, one.name)
        if isinstance(default, Options):
            for name, *rest in listed(default):
                yield f"{one.name}.{name}", *rest  # type: ignore[misc]
            continue
        shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        yield one.name, shown, limits(one), one.metadata.get("about", "")


def limits(one: Field[Any]) -> str:
    """In words: the choices, or the range."""
    limit = one.metadata
    if limit.get("choices"):
        return ", ".join(map(str, limit["choices"]))
    low, high = limit.get("low", -inf), limit.get("high", inf)
    parts = [f"at least {low:g}"] * (low > -inf) + [f"at most {high:g}"] * (high < inf)
    return ", ".join(parts)


def _check(one: Field[Any], value: Any) -> None:
    limit = one.metadata
    if not limit or value is None or isinstance(value, Options):
        return
    entries = value if isinstance(value, list | tuple) else [value]
    if limit["size"] and isinstance(value, list | tuple) and len(value) != limit["size"]:
        raise BadOption(f"{one.name}={value} must have {limit['size']} entries: {limit['about']}")
    for entry in entries:
        if limit["choices"]:
            choose(one.name, entry, limit["choices"])
        low, high = limit["low"], limit["high"]
        if (low > -inf or high < inf) and not (isinstance(entry, int | float) and low <= entry <= high):
            raise BadOption(f"{one.name}={value} must be {limits(one)}")
