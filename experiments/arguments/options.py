"""keyshift options: list the options of runs, models, strategies and datasets."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def add(parser: ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="run, or a model, strategy or dataset (default: all)")
    parser.add_argument("--markdown", action="store_true", help="as docs/options.md")


def run(arguments: Namespace) -> None:
    from ..commands.options import markdown, print_options
    from ..runs.progress import Reporter

    if arguments.markdown:
        print(markdown(), end="")
    else:
        print_options(arguments.names, Reporter())
