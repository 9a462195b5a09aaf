"""keyshift compare: train strategies x seeds, write results.json and report.html."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from .words import Command, add_experiment, all_options, settings


def add(parser: Command) -> None:
    add_experiment(parser)
    parser.add_argument("--overwrite", action="store_true", help="delete the run folder first")
    parser.last = all_options


def run(arguments: Namespace) -> None:
    config, folder = settings(arguments)
    from ..runs.comparison import compare
    from ..runs.progress import Reporter

    folder = folder or Path("runs") / config.name
    if (folder / "checkpoint.pt").exists():
        raise ValueError(f"{folder} is a single run; continue it with: keyshift train {folder}")
    compare(config, folder, Reporter(), arguments.overwrite)
