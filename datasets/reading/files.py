"""Files that are written whole or not at all, and folders that one process holds at a time."""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


def from_home(path: str | os.PathLike[str]) -> Path:
    """`path` with the home folder in place of a leading ~ or ~USER; a folder that is called ~x stays what it is."""
    return Path(os.path.expanduser(path))


class _Output:
    """A binary file that keeps the first error of the system: libraries raise others in its place."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it and rename it into place. Raises the OSError of what the
    system refuses, with the path in it."""
    temporary = _temporary(path)
    with naming(path):
        try:
            with open(temporary, "wb") as file:
                output = _Output(file)
                try:
                    write(output)  # type: ignore[arg-type]
                except Exception:
                    if output.error is not None:
                        raise output.error from None
                    raise
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system that name no file, or the temporary one that `path` is written by, name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or str(error.filename) == str(_temporary(path))):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


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
        except BlockingIOError as error:
            raise ValueError(f"another process is working in {folder}; {otherwise}") from error
        yield
