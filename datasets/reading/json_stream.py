"""JSON files of any size read entry by entry: no more of them is in memory than one entry and what is read ahead.

Each entry is decoded by the standard library's own scanner, so that numbers, NaN, texts and errors are those of
`read_json`. ijson, the library for this, takes twice as long (100,000 records of InterHand2.6M's form:
18.7 s, these functions 9.0 s, json.loads 12.6 s and ten times the memory, on a busy machine), and refuses NaN and whole
numbers of more than 64 bits, of which our errors name the entry.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from json.decoder import WHITESPACE  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any, TypeVar

from .annotations import entries, mapping, unreadable

AHEAD = 1 << 20
"""Bytes read at once."""
LONGEST = 1 << 24
"""So many characters behind a mistake are read before it is believed to be one, and not the end of what was read."""
Keys = tuple[str | int, ...]
T = TypeVar("T")


def walk(path: Path, depth: int, ahead: int = AHEAD) -> Iterator[tuple[Keys, Any]]:
    """(keys, value) of all entries of a JSON file, in its order; `keys` lead to it from the top, names in mappings and
    places in lists. Mappings and lists above `depth` are gone into, and come first themselves, as empty ones.

    Raises BadAnnotation, as `read_json`, at the place where the file is broken.
    """
    try:
        with open(path, "rb") as file:
            text = _Text(file, ahead)
            yield from _value(text, (), depth)
            text.end()
    except (ValueError, RecursionError, OSError) as error:
        raise unreadable(path, error, "whole UTF-8 JSON") from error


def lists(path: Path, names: Sequence[str], most: int) -> Iterator[tuple[str, list[Any]]]:
    """(name, entries) of the lists `names` of the mapping that a JSON file holds, `most` of their entries at once; of
    each list at least one piece, which may be empty. Raises BadAnnotation, where one of them is missing too."""
    met: dict[str, Any] = {}
    name, held = "", list[Any]()
    for keys, value in walk(path, 2):
        if not keys:
            mapping(value, path, "", "the content")
        elif len(keys) == 1:
            if name in names:
                yield name, held
            name, held = str(keys[0]), []
            met[name] = entries(value, path, "", name) if name in names else None
        elif name in names:
            held.append(value)
            if len(held) == most:
                yield name, held
                held = []
    if name in names:
        yield name, held
    mapping(met, path, "", "the content", names)


def read_without(path: Path, unread: Collection[str]) -> Any:
    """What `read_json` gives of a mapping of lists of mappings, or of a list of mappings, without the fields `unread`
    of all of these: most of a file may be nothing that is asked for. Raises BadAnnotation."""
    top: Any = None
    inner: Any = None
    for keys, value in walk(path, 2):
        if not keys:
            top = value
            continue
        if isinstance(value, dict):
            value = {key: one for key, one in value.items() if key not in unread}
        holder, key = (top, keys[0]) if len(keys) == 1 else (inner, keys[1])
        inner = value if len(keys) == 1 else inner
        if isinstance(holder, list):
            holder.append(value)
        elif key not in unread:
            holder[key] = value
    return top


def in_pieces(values: Iterable[T], most: int) -> Iterator[list[T]]:
    """Values, `most` at once; at least one piece, which may be empty."""
    left = iter(values)
    piece = list(islice(left, most))
    yield piece
    while piece := list(islice(left, most)):
        yield piece


class _Text:
    """A window of a file's text that moves on."""

    def __init__(self, file: Any, ahead: int) -> None:
        self.file, self.ahead = file, ahead
        first = file.read(ahead)
        self.decoder = codecs.getincrementaldecoder(json.detect_encoding(first))("surrogatepass")
        self.whole = len(first) < ahead
        self.text, self.at = self.decoder.decode(first, self.whole), 0
        self.scan = json.JSONDecoder().raw_decode

    def more(self) -> bool:
        """Read on, twice as much as is still there; False at the file's end."""
        if self.whole:
            return False
        size = max(self.ahead, len(self.text) - self.at)
        data = self.file.read(size)
        self.whole = len(data) < size
        self.text, self.at = self.text[self.at :] + self.decoder.decode(data, self.whole), 0
        return True

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            self.at = WHITESPACE.match(self.text, self.at).end()
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def take(self, wanted: str) -> str:
        """The next character, one of the `wanted` ones."""
        character = self.peek()
        if not character or character not in wanted:
            raise json.JSONDecodeError(f"Expecting one of {' '.join(wanted)}", self.text, self.at)
        self.at += 1
        return character

    def decode(self) -> Any:
        """The next value."""
        self.peek()
        while True:
            try:
                value, end = self.scan(self.text, self.at)
            except json.JSONDecodeError as error:
                if len(self.text) - error.pos > LONGEST or not self.more():
                    raise
                continue
            if end + 2 < len(self.text) or not self.more():  # a number may go on, as 1e+ does
                self.at = end
                return value

    def end(self) -> None:
        if self.peek():
            raise json.JSONDecodeError("Extra data", self.text, self.at)


def _value(text: _Text, keys: Keys, depth: int) -> Iterator[tuple[Keys, Any]]:
    opening = text.peek()
    if len(keys) >= depth or opening not in ("{", "["):
        yield keys, text.decode()
        return
    yield keys, {} if opening == "{" else []
    text.take(opening)
    closing, number = "}" if opening == "{" else "]", 0
    if text.peek() == closing:
        text.take(closing)
        return
    while True:
        key: str | int = number
        if opening == "{":
            if text.peek() != '"':
                raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text.text, text.at)
            key = text.decode()
            text.take(":")
        yield from _value(text, (*keys, key), depth)
        number += 1
        if text.take("," + closing) == closing:
            return
