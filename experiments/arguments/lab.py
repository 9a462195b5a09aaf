"""keyshift lab: try candidates on domain pairs with known truth, and score every checkpoint."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from .words import Problems, numbers, path, word, words


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        type=word,
        help="plans (YAML) laid over one another: lab_pairs lab_candidates",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of all runs, and of one pair's: PAIR.target.root=FOLDER"
    )
    listed: dict[str, Any] = {"type": words, "default": []}
    parser.add_argument("--pairs", metavar="NAME,...", help="only these", **listed)
    parser.add_argument("--candidates", metavar="NAME,...", help="only these", **listed)
    parser.add_argument("--seeds", metavar="N,...", help="only these", type=numbers, default=[])
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="processes that share the work (default: 1)")
    parser.add_argument("--output", metavar="FOLDER", type=path, default=Path("runs/lab"), help="default: runs/lab")
    parser.add_argument("--rescore", metavar="SCORE,...", help="compute these scores anew", **listed)
    parser.add_argument(
        "--unscored", action="store_true", help="judge by truth alone; a later call computes the scores"
    )
    parser.add_argument("--collect", action="store_true", help="train nothing: write points.csv of what there is")
    parser.add_argument("--table", action="store_true", help="train nothing: print what the points say, as Markdown")
    parser.add_argument(
        "--against", metavar="CANDIDATE", help="train nothing: by how much it is better than each other, as Markdown"
    )
    parser.add_argument(
        "--fit", action="store_true", help="train nothing: fit the rule of adapt to the points, and print its rates"
    )


def run(arguments: Namespace) -> None:
    from ..commands.lab import fit, lab, print_duel, print_table, write
    from ..lab.plan import read_plan
    from ..lab.records import forget
    from ..runs.progress import Reporter

    a = arguments
    files, typed = ([one for one in a.files if ("=" in one) == said] for said in (False, True))
    plan = read_plan(files, [*typed, *a.overrides]).chosen(a.pairs, a.candidates, a.seeds)
    if a.fit:
        return fit(plan, a.output, Reporter())
    if a.against:
        return print_duel(plan, a.output, a.against)
    if a.collect or a.table:
        print_table(a.output) if a.table else write(a.output, Reporter())
        return
    forget(a.output, a.rescore)
    if not lab(replace(plan, scored=not a.unscored), a.output, a.jobs, Reporter()):
        raise Problems
