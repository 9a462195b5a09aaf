"""Files that are written whole or not at all, and folders that one process holds at a time."""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    temporary = temporary_of(path)
    with naming(path, temporary):
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


def temporary_of(path: Path) -> Path:
    """Where this process writes what becomes `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def sweep(folder: Path, names: Container[str] | None = None) -> None:
    """Remove what processes that were killed left in `folder`, on the way to files of these `names` (None: to any)."""
    for left in folder.glob(".*.tmp"):
        name, _, process = left.name[1 : -len(".tmp")].rpartition(".")
        if process.isdigit() and (names is None or name in names) and not _alive(int(process)):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


@contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Errors of the system that do not say which file they are about, or name a `temporary` one, say that it is
    `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and str(error.filename) in (str(None), str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def check_place(folder: Path) -> None:
    """Raises ValueError where no file can be written into a folder, which need not be there yet: below a file, or
    where that is not allowed."""
    standing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not standing.is_dir():
        raise ValueError(f"cannot write into {folder}: {standing} is a file; choose another folder")
    if not os.access(standing, os.W_OK):
        raise ValueError(f"cannot write into {folder}: {standing} can only be read; choose another folder")


def check_output(path: Path, overwrite: bool) -> None:
    """Raises ValueError where a file cannot be written: there is one already, or its folder is not there."""
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists; pass --overwrite or --output FILE")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}; make it, or choose another --output")


def stand_in(first: bytes) -> str:
    """What a file is that came in place of the one that was meant, by its first bytes; empty of others."""
    if first.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS instead of the file itself: fetch it with `git lfs pull`"
    if re.match(rb"\s*(<!doctype html|<html|<\?xml|<!--)", first, re.I):
        return "a web page instead of the file itself: download it anew, from the link behind the page"
    return ""


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


class Busy(ValueError):
    """Another process holds the folder."""


@contextmanager
def only_one(folder: Path, wait: bool = False, otherwise: str = "wait until it is done") -> Iterator[None]:
    """Hold `folder`, made where it is missing, against other processes; the end of this one frees it, however it ends.

    Raises Busy where another process holds it, which ends with what to do `otherwise`; or waits, with `wait`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise Busy(f"another process is working in {folder}; {otherwise}") from error
        yield
