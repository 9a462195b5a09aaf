"""keyshift bench: measure speed as ratios in one run."""

from __future__ import annotations

from argparse import Namespace

from .words import Command


def add(parser: Command) -> None:
    parser.add_argument("what", nargs="*", metavar="WHAT", help="which, of those below (default: all)")
    parser.last = all_benches


def run(arguments: Namespace) -> None:
    from ..commands.bench import bench

    bench(arguments.what)


def all_benches() -> str:
    from ..commands.bench import BENCHES

    return f"WHAT: {', '.join(BENCHES)}"
