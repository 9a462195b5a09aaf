"""keyshift runs: list runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from .words import path


def add(parser: ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default=Path("runs"), type=path, help="default: runs")


def run(arguments: Namespace) -> None:
    from ..commands.runs import print_runs

    print_runs(arguments.folder)
