"""keyshift report: finished comparisons merged into one page."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from .words import path


def add(parser: ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", metavar="RUN", type=path, help="folders of keyshift compare")
    parser.add_argument(
        "--output", metavar="FILE", type=path, default=Path("runs/report.html"), help="the page (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="write over the file")


def run(arguments: Namespace) -> None:
    from ..commands.report import report

    report(arguments.folders, arguments.output, arguments.overwrite)
