"""What commands share: kinds of words, and the configuration that words name."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

OVERRIDES = "configuration, for example steps=500 target.root=FOLDER (all keys: keyshift options)"


class Command(ArgumentParser):
    """The help ends with what `last` answers, read where it stands when it is printed."""

    last: Callable[[], str] | None = None

    def format_help(self) -> str:
        return super().format_help() + (f"\n{self.last()}\n" if self.last else "")


class Problems(Exception):
    """What was looked at is not as it should be; it has been said."""


def word(text: str) -> str:
    """A word of the command line that names something. An empty one, as a shell makes it of a variable that is not
    set, would name the folder that one stands in."""
    if not text:
        raise ArgumentTypeError("it is empty: a variable that is not set?")
    return text


def path(text: str) -> Path:
    return Path(word(text))


def words(text: str) -> list[str]:
    """Between commas."""
    return [one for one in text.split(",") if one]


def numbers(text: str) -> list[int]:
    return [int(one) for one in words(text)]


def add_experiment(parser: ArgumentParser, **several: Any) -> None:
    text = "a YAML, a shipped experiment's name, or a run folder"
    parser.add_argument("experiment", metavar="EXPERIMENT", help=text, **several)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES)


def all_options() -> str:
    from ..commands.options import help_text

    return f"key=value:\n{help_text()}"


def settings(arguments: Namespace) -> tuple[Any, Path | None]:
    """The configuration, and the run folder where one was named."""
    from ..config import load, load_folder, shipped

    overrides = [o for o in arguments.overrides if not o.startswith("output=")]
    outputs = [Path(o.removeprefix("output=")) for o in arguments.overrides if o.startswith("output=")]
    folder = Path(arguments.experiment)
    elsewhere = bool(outputs) and arguments.experiment in shipped()  # a shipped name, though a run lies here under it
    if not elsewhere and (
        (folder / "config.yaml").is_file() or (folder.is_dir() and arguments.experiment not in shipped())
    ):
        if outputs:
            raise ValueError(f"{folder} is a run folder and is continued where it is: output= cannot move it")
        return load_folder(folder, overrides), folder
    return load(arguments.experiment, overrides), outputs[-1] if outputs else None
