"""BVH motion capture files: hierarchy, channels, frames, and forward kinematics over all frames at once.

Channels stand in any order, on any joint; angles are degrees, and a joint's rotations are multiplied in the order in
which its channels are listed (the first is the outermost). Position channels of a joint replace its OFFSET, as
MotionBuilder writes and Blender reads them. Lengths stay in the file's unit, axes the file's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .annotations import BadAnnotation, Words

Array = np.ndarray
ROTATIONS = ("xrotation", "yrotation", "zrotation")
POSITIONS = ("xposition", "yposition", "zposition")
END = "_end"
"""After the name of a joint: its end site."""


@dataclass(frozen=True)
class Clip:
    """A motion of J joints, end sites among them, over F frames."""

    file: str
    names: tuple[str, ...]
    """(J) parents before their children; an end site is called as its parent with `_end` after it."""
    parents: tuple[int, ...]
    """(J) index of each joint's parent, -1 of the root."""
    offsets: Array
    """(J, 3)"""
    channels: tuple[tuple[str, ...], ...]
    """(J) of `ROTATIONS` and `POSITIONS`, in the file's order."""
    frame_time: float
    """Seconds."""
    motion: Array
    """(F, C) the channels' values in the order of joints."""

    def __len__(self) -> int:
        return len(self.motion)

    def forward(self) -> tuple[Array, Array]:
        """Positions (F, J, 3) and rotations to the world (F, J, 3, 3) of all joints in all frames."""
        count = len(self)
        places, turns = np.zeros((count, len(self.names), 3)), np.zeros((count, len(self.names), 3, 3))
        column = 0
        for joint, (parent, channels) in enumerate(zip(self.parents, self.channels, strict=True)):
            values = self.motion[:, column : column + len(channels)]
            column += len(channels)
            local, turn = np.tile(self.offsets[joint], (count, 1)), np.tile(np.eye(3), (count, 1, 1))
            for name, value in zip(channels, values.T, strict=True):
                if name in POSITIONS:
                    local[:, POSITIONS.index(name)] = value
                else:
                    turn = turn @ about(ROTATIONS.index(name), np.deg2rad(value))
            if parent < 0:
                places[:, joint], turns[:, joint] = local, turn
            else:
                places[:, joint] = places[:, parent] + (turns[:, parent] @ local[..., None])[..., 0]
                turns[:, joint] = turns[:, parent] @ turn
        return places, turns


def about(axis: int, angle: Array) -> Array:
    """(F, 3, 3) rotations about x, y or z by (F,) radians."""
    made = np.zeros((len(angle), 3, 3))
    p, q = (axis + 1) % 3, (axis + 2) % 3
    made[:, axis, axis] = 1
    made[:, p, p] = made[:, q, q] = np.cos(angle)
    made[:, q, p] = np.sin(angle)
    made[:, p, q] = -made[:, q, p]
    return made


@dataclass
class _Parsed:
    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[Array] = field(default_factory=list)
    channels: list[tuple[str, ...]] = field(default_factory=list)


class _Lines:
    """The words of a file, line by line; every complaint names the file and the line."""

    def __init__(self, path: Path) -> None:
        self.path, self.at = path, 0
        try:
            self.lines = path.read_text("utf-8-sig", errors="strict").splitlines()
        except UnicodeDecodeError as error:
            raise BadAnnotation(path, "", "the content", Words(str(error)), "a BVH file, which is text") from error

    def next(self, expected: str) -> list[str]:
        """The words of the next line that has any."""
        while self.at < len(self.lines):
            words = self.lines[self.at].split()
            self.at += 1
            if words:
                return words
        raise BadAnnotation(self.path, f"line {self.at}", "the content", Words("at its end"), expected)

    def bad(self, what: str, value: object, expected: str) -> BadAnnotation:
        return BadAnnotation(self.path, f"line {self.at}", what, value, expected)

    def need(self, word: str) -> list[str]:
        """The rest of the next line, which starts with `word`."""
        words = self.next(repr(word))
        if words[0].lower() != word.lower():
            raise self.bad("the line", Words(repr(" ".join(words))), repr(word))
        return words[1:]

    def numbers(self, words: list[str], count: int, what: str) -> Array:
        """(count,) finite numbers."""
        try:
            values = np.array([float(word) for word in words])
        except ValueError as error:
            raise self.bad(what, " ".join(words), f"{count} numbers") from error
        if len(values) != count or not np.isfinite(values).all():
            shown = Words(f"{len(values)} numbers") if len(values) != count else " ".join(words)
            raise self.bad(what, shown, f"{count} finite numbers")
        return values


def read_bvh(path: str | Path) -> Clip:
    """The clip of a file. Raises BadAnnotation, naming file and line, for what is no whole BVH."""
    lines, parsed = _Lines(Path(path)), _Parsed()
    lines.need("HIERARCHY")
    name = " ".join(lines.need("ROOT"))
    if not name:
        raise lines.bad("the line", Words("'ROOT'"), "ROOT and the joint's name")
    _joint(lines, parsed, name)
    lines.need("MOTION")
    count = lines.numbers(lines.need("Frames:"), 1, "the number of frames")[0]
    if count < 1 or count != int(count):
        raise lines.bad("the number of frames", count, "a whole number of at least 1")
    words = lines.need("Frame")
    if not words or words[0].lower() != "time:":
        raise lines.bad("the line", Words(repr("Frame " + " ".join(words))), "'Frame Time:' and seconds")
    seconds = float(lines.numbers(words[1:], 1, "the frame time")[0])
    if seconds <= 0:
        raise lines.bad("the frame time", seconds, "seconds above 0")
    width = sum(len(channels) for channels in parsed.channels)
    motion = np.empty((int(count), width))
    for frame in range(int(count)):
        motion[frame] = lines.numbers(lines.next(f"{int(count)} frames, not {frame}"), width, f"frame {frame}")
    rest = [line for line in lines.lines[lines.at :] if line.strip()]
    if rest:
        lines.at += 1
        raise lines.bad("the content", Words(f"{len(rest)} more lines"), f"{int(count)} frames, as the header says")
    return Clip(
        str(path),
        tuple(parsed.names),
        tuple(parsed.parents),
        np.stack(parsed.offsets),
        tuple(parsed.channels),
        seconds,
        motion,
    )


def _joint(lines: _Lines, parsed: _Parsed, name: str) -> None:
    """What stands between the braces of the root, and all below it."""
    stack, pending = [-1], [name]
    while True:
        lines.need("{")
        own = len(parsed.names)
        parsed.names.append(pending.pop())
        parsed.parents.append(stack[-1])
        parsed.offsets.append(lines.numbers(lines.need("OFFSET"), 3, "OFFSET"))
        parsed.channels.append(() if parsed.names[-1].endswith(END) else _channels(lines))
        stack.append(own)
        words = lines.next("JOINT, End Site or }")
        while words[0] == "}":
            stack.pop()
            if len(stack) == 1:
                return
            words = lines.next("JOINT, End Site or }")
        kind = words[0].lower()
        if kind == "joint" and len(words) > 1:
            pending.append(" ".join(words[1:]))
            if pending[-1] in parsed.names:
                raise lines.bad("the joint's name", pending[-1], "a name that no other joint has")
        elif kind == "end":
            pending.append(parsed.names[stack[-1]] + END)
        else:
            raise lines.bad("the line", Words(repr(" ".join(words))), "JOINT with a name, End Site or }")


def _channels(lines: _Lines) -> tuple[str, ...]:
    words = lines.need("CHANNELS")
    names = tuple(word.lower() for word in words[1:])
    count = lines.numbers(words[:1], 1, "the number of channels")[0]
    unknown = [name for name in names if name not in (*ROTATIONS, *POSITIONS)]
    if count != len(names) or unknown or len(set(names)) != len(names):
        raise lines.bad(
            "CHANNELS", Words(repr(" ".join(words))), "their number, then each of Xposition to Zrotation at most once"
        )
    return names
