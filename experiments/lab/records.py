"""What is known of a run's checkpoints, in a file beside them: the truth on the target's test part, and label-free
scores, each computed once for a weights file. A checkpoint is a step or, of its mixture with the given weights, step
and share.

{"about": {"pair", "half", "kind", "candidate", "strategy", "seed", "said"},
 "checkpoints": {STEP or STEP@SHARE: {"weights", "given": SHA-256, "pictures", "truth": (see truth.py),
                                       "scores": {NAME: number}}}}

The given model of a pair and a seed has such a file too; its only step is 0. What could not be measured is null.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from ...datasets.reading.files import only_one, write_json

GIVEN, RUN = "given.json", "scores.json"
"""Below a laboratory's folder: PAIR/seedN/given.json and PAIR/seedN/CANDIDATE/scores.json."""


class Checkpoint(NamedTuple):
    step: int
    share: float = 1.0
    """Of the way from the given weights to those of the step."""

    def __str__(self) -> str:
        return f"{self.step}" if self.share == 1 else f"{self.step}@{self.share}"

    @classmethod
    def named(cls, name: str) -> Self:
        step, _, share = name.partition("@")
        return cls(int(step), float(share or 1))


@dataclass
class Record:
    path: Path
    about: dict[str, Any] = field(default_factory=dict)
    checkpoints: dict[Checkpoint, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Empty where there is no file yet."""
        if not path.is_file():
            return cls(path)
        content = json.loads(path.read_text("utf-8"))
        return cls(
            path, content["about"], {Checkpoint.named(name): entry for name, entry in content["checkpoints"].items()}
        )

    def save(self) -> None:
        write_json(
            self.path,
            {"about": self.about, "checkpoints": {str(one): entry for one, entry in self.checkpoints.items()}},
        )

    def entry(self, checkpoint: Checkpoint, identity: Mapping[str, Any]) -> dict[str, Any]:
        """What is known of a checkpoint; nothing where what was known is of another `identity`."""
        entry = self.checkpoints.get(checkpoint, {})
        if {key: entry.get(key) for key in identity} != identity:
            entry = {**identity, "scores": {}}
            self.checkpoints[checkpoint] = entry
        return entry

    def has(self, checkpoints: Collection[Checkpoint], scores: Collection[str]) -> bool:
        """Whether truth and all `scores` of all `checkpoints` are known."""
        entries = [self.checkpoints.get(one, {"scores": {}}) for one in checkpoints]
        return all("truth" in entry and set(scores) <= set(entry["scores"]) for entry in entries)


def forget(output: Path, scores: Collection[str]) -> None:
    """Drop the values of `scores` from all records, so that they are computed anew. Raises Busy where another process
    is working."""
    for given in sorted(output.glob(f"*/seed*/{GIVEN}")) if scores else ():
        with only_one(given.parent):
            for record in map(Record.load, (given, *given.parent.glob(f"*/{RUN}"))):
                for entry in record.checkpoints.values():
                    entry["scores"] = {name: value for name, value in entry["scores"].items() if name not in scores}
                record.save()
