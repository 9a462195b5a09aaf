"""What the system refuses (no room, no rights, no memory), in one line for the user; defects of ours are none of it."""

from __future__ import annotations

import errno
import os
import re

from .tracking.addresses import masked

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Errors that count though a library raises its own for them."""
REMEDIES = {
    errno.ENOSPC: "make room, and the same command goes on",
    errno.EDQUOT: "make room within your quota, and the same command goes on",
    errno.EFBIG: "raise the limit on a file's size (ulimit -f), and the same command goes on",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a file or folder that you may read or write, or change its rights",
    errno.EPERM: "choose a file or folder that you may read or write, or change its rights",
    errno.ENOTDIR: "one of the folders in this path is a file; choose another path",
    errno.EISDIR: "this is a folder; name a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links lead in a circle; name the file itself",
    errno.EIO: "the disk does not answer as it should; look at it before you go on",
    errno.ESTALE: "the network's disk was lost; mount it again, and the same command goes on",
    errno.EMFILE: "raise the limit on open files (ulimit -n), or use fewer workers",
}
MEMORY = (
    "lower the batch (batch=, predict: --batch), the number of workers or the input's size, or close other programs"
)
NO_MEMORY = re.compile(r"out of memory|can't allocate memory|cannot allocate memory|insufficient memory", re.I)
PEER = re.compile(
    r"gloo.*(Connection (closed|reset)|Timed out|Broken pipe)|NCCL.*(remote|timeout|timed out)", re.I | re.S
)
"""What torch says of the processes of one run."""
WORKER = re.compile(r"DataLoader worker .*(killed by signal: [\w ]+|exited unexpectedly)")


def line_of(error: Exception) -> str | None:
    """What bad input, the system, or an installation that does not fit together is refused with; None for a defect."""
    if isinstance(error, ValueError):
        return masked(str(error))
    if "torchvision::nms" in str(error):
        return (
            "torch and torchvision do not belong together (operator torchvision::nms does not exist). Install both "
            "from the same index: pip install --force-reinstall torch torchvision"
        )
    said = failure(error)
    return said if said is None else masked(said)


def failure(error: BaseException) -> str | None:
    """One line on what the system refused; None where `error` is none of that.

    Errors that a library hides behind its own, or a reading process sends as a text, count as well.
    """
    text = str(error)
    if isinstance(error, MemoryError) or (not isinstance(error, OSError | ValueError) and NO_MEMORY.search(text)):
        asked = re.search(r"allocate ([\d.]+ ?\w+)|allocate (\d+) bytes", text)
        return f"there is not enough memory{f' ({asked[0]})' if asked else ''}: {MEMORY}"
    if worker := WORKER.search(text):
        return (
            f"a process that reads data ended ({worker[1]}), most likely for want of memory: set workers=0 or fewer "
            "workers, or give the machine more shared memory (docker run --shm-size=4g)"
        )
    if isinstance(error, RuntimeError) and PEER.search(text):
        return (
            "another process of this run has ended, so this one ends too; where it said why, that stands nearby. The "
            "same command goes on from the last checkpoint"
        )
    for cause in _chain(error):
        if isinstance(cause, OSError) and (cause is error or cause.errno in DISK):
            return _line(cause)
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """The error and those that it was raised for, but not for bad input, whose message is made for its reader."""
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in chain and not isinstance(step, ValueError):
        chain.append(step)
        step = step.__cause__ or (None if step.__suppress_context__ else step.__context__)
    return chain


def _line(error: OSError) -> str:
    number = error.errno
    sent = re.findall(r"\[Errno (\d+)\] ([^\n]*)", str(error))
    if number is None and sent:  # of another process, as a text
        number, said = int(sent[-1][0]), sent[-1][1]
    elif number is None:
        said = " ".join(str(error).split()) or type(error).__name__
    else:
        names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        said = ": ".join([" -> ".join(map(_short, names)), error.strerror or str(error)][not names :])
    return f"{said}; {REMEDIES[number]}" if number in REMEDIES else said


def _short(name: str) -> str:
    return name if len(name) <= 300 else f"{name[:140]}…{name[-140:]} ({len(name)} characters)"
