"""What is done to a command, and when: at a moment from outside, or before its n-th write from inside."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import signal
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
FULL, LIMIT, TRACKER, DATA = "disk full", "file limit", "tracker gone", "data gone"
KINDS = (*SIGNALS, FULL, LIMIT, TRACKER, DATA)
AWAY = ".away"
"""Ends the name of a folder that is gone."""
WRITES = {"os.rename": (0, 1), "os.remove": (0,), "os.mkdir": (0,), "os.rmdir": (0,), "os.truncate": (0,)}
"""Python's audit events of what changes a folder, beside `open`, and which of their arguments are paths."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Fault:
    kind: str
    after: float | None = None
    """Seconds from where the command begins; or, where None,"""
    write: int = 0
    """before which write, from 0 (of LIMIT: the most bytes of a file, that of what is printed too)."""
    folder: str = ""
    """What goes away."""


def _flag(place: int) -> Any:
    """Whether a byte of `Seen` is set."""
    return property(lambda seen: bool(seen.shared[place]), lambda seen, value: seen.shared.__setitem__(place, value))


class Seen:
    """What a command's process tells of itself, in memory that it shares with the one that started it."""

    size = 16

    def __init__(self, shared: mmap.mmap) -> None:
        self.shared = shared

    def clear(self) -> None:
        self.shared[:] = bytes(self.size)

    @property
    def writes(self) -> int:
        return int(struct.unpack_from("q", self.shared)[0])

    @writes.setter
    def writes(self, count: int) -> None:
        struct.pack_into("q", self.shared, 0, count)

    struck = _flag(8)
    """Whether the fault has come."""
    ready = _flag(9)
    """Whether the command begins."""
    over = _flag(10)
    """Whether the command has ended, of which the process is left."""


def strike(fault: Fault, process: int) -> None:
    """A signal to the process, or a folder that is gone."""
    if fault.kind in SIGNALS:
        os.kill(process, SIGNALS[fault.kind])
    else:
        os.rename(fault.folder, fault.folder + AWAY)


def arm(fault: Fault | None, seen: Seen, folder: Path) -> None:
    """Count this process's writes below `folder`, and let `fault` come before the one that it names.

    A full disk stays full: from then on no file can be opened for writing, and no folder made.
    """
    root, busy = str(folder), False

    def inside(path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        return os.path.abspath(os.fsdecode(path)).startswith(root)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if busy or not (opened or event in WRITES):
            return
        paths = [arguments[place] for place in WRITES.get(event, (0,))]
        if not any(map(inside, paths)):
            return
        busy = True  # what is done here is no write of the command's
        number, seen.writes = seen.writes, seen.writes + 1
        try:
            if fault is None or fault.after is not None or fault.kind == LIMIT:
                return
            if fault.kind == FULL and number >= fault.write and (opened or event == "os.mkdir"):
                seen.struck = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(paths[0]))
            if fault.kind != FULL and number == fault.write:
                seen.struck = True
                strike(fault, os.getpid())
        finally:
            busy = False

    if fault is not None and fault.kind == LIMIT:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.write, fault.write))
    sys.addaudithook(hook)
    seen.ready = True
