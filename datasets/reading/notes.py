"""What a reader takes otherwise than it is written: counted, and said in one warning each."""

from __future__ import annotations

import warnings
from pathlib import Path


class Notes:
    """What was met in a file: how often, and where first."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.met: dict[str, tuple[int, str]] = {}

    def add(self, what: str, first: str, count: int = 1) -> None:
        """`what`, in words that go on from "3 of 9 annotations, the first 17,"."""
        if count:
            before, first = self.met.get(what, (0, first))
            self.met[what] = before + count, first

    def warn(self, total: int, kind: str) -> None:
        """One warning for each, of `total` entries of a `kind`; then they are forgotten."""
        for what, (count, first) in self.met.items():
            warnings.warn(f"{self.file}: {count} of {total} {kind}, the first {first}, {what}", stacklevel=4)
        self.met.clear()
