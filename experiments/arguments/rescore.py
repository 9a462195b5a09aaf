"""keyshift rescore: let DEKR learn how good its poses are, to correct people's scores."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .words import OVERRIDES, path


def add(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN", type=path, help="a run folder whose source can be opened")
    parser.add_argument("--output", metavar="FILE", type=path, help="default: RUN/rescored.pt")
    parser.add_argument("--overwrite", action="store_true", help="write over the file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES)


def run(arguments: Namespace) -> None:
    from ..commands.rescore import rescore
    from ..runs.progress import Reporter

    rescore(arguments.model, arguments.output, arguments.overrides, Reporter(), arguments.overwrite)
