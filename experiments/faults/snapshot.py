"""What a folder holds, to the bit, but for times: a digest of each file, by which two ends are compared."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...models.saved import load_checkpoint

TIMES = ("time", "seconds", "second")
"""Keys with such a word in them are of the clock."""
CLOCK = re.compile(r"[\d.,]+\s(?:ms|s|min|h)\b")
"""Times in pages."""
LEFT_OUT = (".lock", ".mlflow-id", "mlflow.json")
"""Locks, and what the mirror notes for itself."""
STORES = (".db", ".lock", ".db-journal", ".db-wal", ".db-shm")


def snapshot(folder: Path) -> dict[str, str]:
    """A digest by relative path of each file below `folder`; of MLflow stores one of their points."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): digest for path in files if (digest := digest_of(path))}


def digest_of(path: Path) -> str:
    """Empty of what is not compared. A file that cannot be read as what it is called has the reason as its digest."""
    if path.name in LEFT_OUT or "__pycache__" in path.parts or "mlartifacts" in path.parts:
        return ""
    if path.suffix == ".db":
        return "\n".join(points(path))
    if path.name.endswith(STORES):
        return ""
    reader = READERS.get(path.suffix, Path.read_bytes)
    try:
        return hashlib.sha256(reader(path)).hexdigest()
    except Exception as error:  # whatever half a file leads its reader to
        return f"broken: {type(error).__name__}: {error}"


def broken(folder: Path) -> list[str]:
    """Files below `folder` that are there by their names and cannot be read. Last lines may be cut, and arrays that are
    being prepared are read when all is there."""
    return [name for name, digest in snapshot(folder).items() if digest.startswith("broken: ")]


def differences(expected: dict[str, str], there: dict[str, str]) -> tuple[list[str], list[str]]:
    """What is lost, and what differs or is there besides."""
    lost = sorted(expected.keys() - there.keys())
    other = [name for name in expected.keys() & there.keys() if expected[name] != there[name]]
    return lost, sorted([*other, *(f"{name} (left behind)" for name in there.keys() - expected.keys())])


def plain_bytes(value: Any) -> bytes:
    """Nested plain data with tensors and arrays, to the bit."""
    if isinstance(value, torch.Tensor):
        value = value.contiguous().view(torch.uint8).numpy() if value.dtype == torch.bfloat16 else value.numpy()
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    if isinstance(value, dict):
        return b"{" + b",".join(repr(key).encode() + b":" + plain_bytes(one) for key, one in value.items()) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(map(plain_bytes, value)) + b"]"
    return repr(value).encode()


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if not any(word in str(key) for word in TIMES)}
        return {key: without_times(one) for key, one in kept.items()}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def _lines(path: Path) -> bytes:
    """A last line that was cut does not count: whoever reads or continues the file passes it over."""
    lines = path.read_text("utf-8").split("\n")[:-1]
    return plain_bytes([without_times(json.loads(line)) for line in lines])


def _arrays(path: Path) -> bytes:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        return plain_bytes({name: arrays[name] for name in arrays.files})


READERS: dict[str, Callable[[Path], bytes]] = {
    ".json": lambda path: plain_bytes(without_times(json.loads(path.read_text("utf-8")))),
    ".jsonl": _lines,
    ".npz": _arrays,
    ".pt": lambda path: plain_bytes(load_checkpoint(path)),
    ".html": lambda path: CLOCK.sub("", path.read_text("utf-8")).encode(),
}


def points(store: Path) -> Iterator[str]:
    """The points of an MLflow store, one a line, but for times; those that are there twice are marked so."""
    named = "JOIN tags t ON r.run_uuid = t.run_uuid WHERE t.key = 'mlflow.runName'"
    states = f"SELECT t.value, r.status FROM runs r {named}"
    query = f"SELECT r.run_uuid, t.value, r.key, r.step, r.value FROM metrics r {named}"
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        yield from sorted(f"{name} is {status}" for name, status in connection.execute(states))
        rows = [row for row in connection.execute(query) if not any(word in row[2] for word in TIMES)]
    places = Counter((run, key, step) for run, _, key, step, _ in rows)
    for run, name, key, step, value in sorted(rows, key=lambda row: repr(row[1:])):
        yield f"{name} {key} {step} {value!r}" + (" twice" if places[run, key, step] > 1 else "")
