"""keyshift prior: learn from labels which poses there are, for strategy=post without a source."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .words import path


def add(parser: ArgumentParser) -> None:
    parser.add_argument("experiment", metavar="NAME", help="an experiment or run, whose source is used, or a dataset")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of the experiment or dataset, and prior.updates=2000 say"
    )
    parser.add_argument("--output", metavar="FILE", type=path, help="default: NAME.prior.pt")
    parser.add_argument("--overwrite", action="store_true", help="write over the file")


def run(arguments: Namespace) -> None:
    from ..commands.prior import train_prior
    from ..runs.progress import Reporter

    a = arguments
    train_prior(a.experiment, a.overrides, a.output, Reporter(), a.overwrite)
