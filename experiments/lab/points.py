"""points.csv: one row for each checkpoint of each run in a laboratory's folder, and for each mixture of a run's last
one with the given weights.

pair, half, kind        of the domain pair; half a or b
candidate, strategy     what was tried, and the strategy that it is
seed, step              of the run; updates at the checkpoint
share                   of the way from the given weights to the checkpoint's; 1 is the checkpoint itself
last                    1 for the last checkpoint of its run, itself
gain, gain_se           points by which the checkpoint is better than the given model on the target's test part, and the
                        standard error of that over blocks of frames
truth_before, _after    percent of keypoints within the pair's threshold, on the target's test part: share of the crop's
                        side, of 3D points of the cube's edge; the given model and the checkpoint
mm_before, _after       mean error of 3D points, mm
source_before, _after   percent within the threshold on the held-out source that scores look at
before.NAME, after.NAME label-free scores of the given model and of the checkpoint, the highest is best

What was not measured is empty.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...datasets.reading.files import write_text
from .records import GIVEN, RUN, Checkpoint, Record
from .truth import gain, points

Row = dict[str, Any]
ABOUT = ("pair", "half", "kind", "candidate", "strategy", "seed")
MEASURED = ("gain", "gain_se", "truth_before", "truth_after", "mm_before", "mm_after", "source_before", "source_after")


def collect(output: Path) -> list[Row]:
    """The rows of what lies in a laboratory's folder."""
    rows = []
    for group in sorted(output.glob(f"*/seed*/{GIVEN}")):
        before = Record.load(group).checkpoints[Checkpoint(0)]
        for path in sorted(group.parent.glob(f"*/{RUN}")):
            rows += list(rows_of(Record.load(path), before))
    return rows


def rows_of(run: Record, before: dict[str, Any]) -> Iterator[Row]:
    """Of the checkpoints that were judged beside the given model that `before` is about."""
    known = {one: e for one, e in run.checkpoints.items() if "truth" in e and e["given"] == before["weights"]}
    last = Checkpoint(max((one.step for one in known), default=0))
    for one, after in sorted(known.items()) if "truth" in before else ():
        sides = {"before": before, "after": after}
        difference, error = gain(before["truth"], after["truth"])
        row = {key: run.about[key] for key in ABOUT} | {**one._asdict(), "last": int(one == last)}
        row |= {"gain": difference, "gain_se": error}
        row |= {f"truth_{side}": points(entry["truth"]) for side, entry in sides.items()}
        row |= {f"mm_{side}": entry["truth"]["mm"] for side, entry in sides.items()}
        source = {side: entry["truth"]["source"] for side, entry in sides.items()}
        row |= {f"source_{side}": None if share is None else 100 * share for side, share in source.items()}
        yield row | {f"{side}.{n}": value for side, entry in sides.items() for n, value in entry["scores"].items()}


def write_points(path: Path, rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [name for name in names if "." not in name] + sorted(name for name in names if "." in name)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({n: f"{v:.6g}" if isinstance(v, float) else v for n, v in row.items()} for row in rows)
    write_text(path, buffer.getvalue())


def read_points(path: Path) -> list[Row]:
    """What `write_points` wrote, numbers as numbers, NaN where nothing was measured. Raises ValueError for another
    file."""
    with open(path, newline="", encoding="utf-8") as file:
        rows: list[Row] = [dict(row) for row in csv.DictReader(file)]
    words = ABOUT[:-1]
    for row in rows:
        lacking = [name for name in (*ABOUT, "step", "share", "last", *MEASURED) if name not in row]
        if lacking:
            raise ValueError(f"{path} is no file of points: it lacks {', '.join(lacking)}; keyshift lab writes one")
        row |= {name: float(value) if value else math.nan for name, value in row.items() if name not in words}
        row |= {name: int(row[name]) for name in ("seed", "step", "last")}
    return rows


def score_names(rows: Sequence[Row]) -> list[str]:
    """The scores that any of the rows has."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name.removeprefix("after.") for name in names if name.startswith("after.")]
