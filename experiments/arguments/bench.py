"""keyshift bench: measure speed as ratios in one run."""

from __future__ import annotations

from argparse import Namespace

from .words import Command, Problems


def add(parser: Command) -> None:
    parser.add_argument(
        "what", nargs="*", metavar="WHAT", help="which, of those below (default: all but compile and faults)"
    )
    parser.add_argument("--count", type=int, default=300, metavar="N", help="of faults: interruptions (default: 300)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of faults: what they are drawn by")
    parser.last = all_benches


def run(arguments: Namespace) -> None:
    from ..commands.bench import bench

    if not bench(arguments.what, arguments.count, arguments.seed):
        raise Problems


def all_benches() -> str:
    from ..commands.benches import ALONE, BENCHES, FAULTS

    short = [name for name in BENCHES if name not in ALONE]
    return (
        f"WHAT: {', '.join(short)}; where they are named, for they take minutes: compile; {FAULTS}: commands are "
        "interrupted, go on, and are compared"
    )
