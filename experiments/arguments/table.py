"""keyshift table: finished comparisons beside each other, as Markdown."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .words import path


def add(parser: ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", metavar="RUN", type=path, help="folders of keyshift compare")
    parser.add_argument("--against", metavar="STRATEGY", help="by how much this one is better than each other, instead")


def run(arguments: Namespace) -> None:
    from ..commands.table import duel, table

    print(duel(arguments.folders, arguments.against) if arguments.against else table(arguments.folders))
