"""What is known of a run's checkpoints, in a file beside them: the truth on the target's test part, and label-free
scores, each computed once for a weights file.

{"about": {"pair", "half", "kind", "candidate", "strategy", "seed", "said"},
 "checkpoints": {STEP: {"weights", "given": SHA-256, "pictures", "truth": (see truth.py), "scores": {NAME: number}}}}

The given model of a pair and a seed has such a file too; its only step is 0. What could not be measured is null.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ...datasets.reading.files import only_one, write_json

GIVEN, RUN = "given.json", "scores.json"
"""Below a laboratory's folder: PAIR/seedN/given.json and PAIR/seedN/CANDIDATE/scores.json."""


@dataclass
class Record:
    path: Path
    about: dict[str, Any] = field(default_factory=dict)
    checkpoints: dict[int, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Empty where there is no file yet."""
        if not path.is_file():
            return cls(path)
        content = json.loads(path.read_text("utf-8"))
        return cls(path, content["about"], {int(step): entry for step, entry in content["checkpoints"].items()})

    def save(self) -> None:
        write_json(self.path, {"about": self.about, "checkpoints": self.checkpoints})

    def entry(self, step: int, identity: Mapping[str, Any]) -> dict[str, Any]:
        """What is known of a checkpoint; nothing where what was known is of another `identity`."""
        entry = self.checkpoints.get(step, {})
        if {key: entry.get(key) for key in identity} != identity:
            entry = {**identity, "scores": {}}
            self.checkpoints[step] = entry
        return entry

    def has(self, steps: Collection[int], scores: Collection[str]) -> bool:
        """Whether truth and all `scores` of all `steps` are known."""
        entries = [self.checkpoints.get(step, {"scores": {}}) for step in steps]
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
