"""Files that are written whole or not at all, and folders that one process holds at a time."""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


def from_home(path: str | os.PathLike[str]) -> Path:
    """`path` with the home folder in place of a leading ~ or ~USER; a folder that is called ~x stays what it is."""
    return Path(os.path.expanduser(path))


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it and rename it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))


def write_json(path: Path, data: Any) -> None:
    """Strict JSON: a number that is not finite becomes null."""
    write_text(path, json.dumps(_finite(data), indent=1, allow_nan=False) + "\n")


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


@contextmanager
def only_one(folder: Path, wait: bool = False, otherwise: str = "wait until it is done") -> Iterator[None]:
    """Hold `folder`, made where it is missing, against other processes; the end of this one frees it, however it ends.

    Raises ValueError where another process holds it, which ends with what to do `otherwise`; or waits, with `wait`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            raise ValueError(f"another process is working in {folder}; {otherwise}") from error
        yield
