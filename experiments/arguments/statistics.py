"""keyshift statistics: mean and covariance of a run's source features, for strategy ssa."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .words import OVERRIDES, path


def add(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN", type=path, help="a run folder whose source can be opened")
    parser.add_argument("--output", metavar="FILE", type=path, help="default: RUN/statistics.pt")
    parser.add_argument("--overwrite", action="store_true", help="write over the file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES)


def run(arguments: Namespace) -> None:
    from ..commands.statistics import statistics
    from ..runs.progress import Reporter

    statistics(arguments.model, arguments.output, arguments.overrides, Reporter(), arguments.overwrite)
