"""The command line. `--help` imports neither torch nor mlflow: a command's file is read where the command is named,
and what is heavy is imported where it is used."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .arguments.words import Command, Problems

COMMANDS = {  # each has its file in arguments/
    "train": "train one strategy with one seed, or continue a run folder",
    "compare": "train strategies x seeds, write results.json and report.html",
    "style": "train the network that UniFrame's style transfer needs, for a pair of domains",
    "evaluate": "score the selected weights of a run on its test sets, or a file of predictions",
    "adapt": "adapt a model to your own unlabelled pictures, video or depth frames",
    "prior": "learn from labels which poses there are, for strategy=post without a source",
    "proposals": "how a detector's boxes differ from the true ones, for proposals=FILE",
    "predict": "keypoints of pictures, videos and depth frames as one COCO file",
    "nms": "fit how predict --nms tells one person from two, on labelled pictures",
    "export": "a trained model as one file with decoding inside",
    "data": "look at datasets",
    "bench": "measure speed as ratios in one run",
    "statistics": "mean and covariance of a run's source features, for strategy ssa",
    "rescore": "let DEKR learn how good its poses are, to correct people's scores",
    "sync": "bring MLflow up to date with run folders",
    "options": "list the options of runs, models, strategies and datasets",
    "strategies": "list the strategies: kind, needs, cost; or print the pages of some",
    "table": "finished comparisons beside each other, as Markdown",
    "report": "finished comparisons merged into one page: ranks over pairs, gains, cost",
    "lab": "try candidates on domain pairs with known truth, and score every checkpoint",
    "runs": "list runs",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit status 0, 2 for bad input, 130 after Ctrl-C, 1 where training itself failed or a
    check found problems."""
    try:
        with plain_warnings():
            arguments = parse(sys.argv[1:] if argv is None else argv)
            arguments.run(arguments)
            sys.stdout.flush()
    except KeyboardInterrupt as stop:
        print(f"keyshift: {stop}; the same command goes on" if str(stop) else "keyshift: interrupted", file=sys.stderr)
        return 130
    except Problems:
        return 1
    except BrokenPipeError:  # the reader of a pipe has seen enough; at exit Python would write the rest once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except ArithmeticError as error:
        print(f"keyshift: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        from .failures import line_of

        line = line_of(error)
        if line is None or os.environ.get("KEYSHIFT_DEBUG"):
            raise
        print(f"keyshift: error: {line}", file=sys.stderr)
        return 2
    return 0


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings are one line for a person, once for each text, without the place in the code that gives them."""
    before, seen = warnings.formatwarning, set[str]()

    def line(message: Warning | str, *_: Any, **__: Any) -> str:
        text = " ".join(str(message).split())
        first = text not in seen
        seen.add(text)
        return f"keyshift: warning: {text}\n" if first else ""

    warnings.formatwarning = line
    try:
        yield
    finally:
        warnings.formatwarning = before


def parse(words: list[str]) -> argparse.Namespace:
    """Options may stand before, between and behind the key=value words."""
    top = parser(words)
    arguments, rest = top.parse_known_args(words)
    several = isinstance(getattr(arguments, "experiment", None), list)
    foreign = [word for word in rest if word.startswith("-") or not ("=" in word or several)]
    if foreign or (rest and not hasattr(arguments, "overrides")):
        import difflib

        from .tracking.addresses import masked

        command = command_of(top, words)
        known = re.findall(r"--[\w-]+", command.format_usage())
        near = [difflib.get_close_matches(word.partition("=")[0], known, 1) for word in foreign]
        meant = "".join(f". Did you mean {names[0]}?" for names in near[:1] if names)
        command.error(masked(f"unrecognized arguments: {' '.join(foreign or rest)}{meant}"))
    if rest:
        arguments.overrides += rest
    return arguments


def command_of(parser: argparse.ArgumentParser, words: list[str]) -> argparse.ArgumentParser:
    """The parser of the command, and of its action, that `words` name."""
    for word in words:
        below = [a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        parser = below[0].get(word, parser) if below else parser
    return parser


def parser(words: list[str]) -> argparse.ArgumentParser:
    """With the arguments of the commands that are among `words`."""
    top = argparse.ArgumentParser(
        prog="keyshift", description="Adapt keypoint models to new domains without target labels."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND", parser_class=Command)
    for name, text in COMMANDS.items():
        made = commands.add_parser(name, help=text, description=text)
        if name in words:
            command = importlib.import_module(f"{__package__}.arguments.{name}")
            command.add(made)
            made.set_defaults(run=command.run)
    return top


if __name__ == "__main__":
    sys.exit(main())
