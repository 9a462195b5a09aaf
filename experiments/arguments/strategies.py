"""keyshift strategies: list the strategies: kind, needs, cost; or print the pages of some."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def add(parser: ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="strategies or kinds (default: a table of all)")
    parser.add_argument("--markdown", action="store_true", help="as docs/strategies.md")


def run(arguments: Namespace) -> None:
    from ..commands.strategies import markdown, print_strategies
    from ..runs.progress import Reporter

    if arguments.markdown:
        print(markdown(), end="")
    else:
        print_strategies(arguments.names, Reporter())
