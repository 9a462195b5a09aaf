"""`keyshift bench faults`: commands are interrupted at random moments, go on, and must end as undisturbed ones do."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..faults.campaign import Campaign, Tally
from ..faults.injection import KINDS
from ..faults.world import CASES
from ..runs.progress import Reporter

COUNT = 300


def faults(reporter: Reporter, count: int = COUNT, seed: int = 0) -> bool:
    """Make at least `count` interruptions and print what came of them; whether nothing differed and nothing was lost.
    What was left by commands that ended otherwise is kept, and it is said where."""
    place = Path(tempfile.mkdtemp(prefix="keyshift-faults-"))
    tallies = Campaign(place, count, seed, reporter.say, CASES).run()
    wrong = [(name, line) for name, one in tallies.items() for line in (*one.differed, *one.lost)]
    for name, line in wrong:
        reporter.say(f"{name}: {line}")
    reporter.table(f"faults, seed {seed}", ["command", *KINDS, "all", "ends", "differed", "lost"], rows(tallies))
    if wrong:
        reporter.say(f"kept in {place}")
        return False
    shutil.rmtree(place)
    return True


def rows(tallies: dict[str, Tally]) -> list[list[str]]:
    """A row a command, and one of all: interruptions by kind, ends that were compared, and what came of them."""
    numbers = {
        name: [*(one.made[kind] for kind in KINDS), one.made.total(), one.ends, len(one.differed), len(one.lost)]
        for name, one in tallies.items()
    }
    numbers["all"] = [sum(column) for column in zip(*numbers.values(), strict=True)]
    return [[name, *map(str, row)] for name, row in numbers.items()]
