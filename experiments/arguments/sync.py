"""keyshift sync: bring MLflow up to date with run folders."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from .words import path


def add(parser: ArgumentParser) -> None:
    parser.add_argument("folders", nargs="*", metavar="RUN", type=path, help="default: every run below runs/")
    parser.add_argument("--tracking", metavar="URI", help="default: the run's own")


def run(arguments: Namespace) -> None:
    from ..commands.runs import run_folders
    from ..tracking.mirror import sync

    folders = arguments.folders or run_folders(Path("runs"))
    if not folders:
        raise ValueError("no run folders below runs/; name one")
    for folder in folders:
        if not (folder / "config.yaml").is_file():
            raise ValueError(f"{folder} is no run folder: it has no config.yaml")
        print(f"{folder}: {sync(folder, arguments.tracking)}")
