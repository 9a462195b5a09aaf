"""keyshift train: train one strategy with one seed, or continue a run folder."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from .words import Command, add_experiment, all_options, settings


def add(parser: Command) -> None:
    add_experiment(parser)
    parser.add_argument("--overwrite", action="store_true", help="delete the run folder first")
    parser.last = all_options


def run(arguments: Namespace) -> None:
    config, folder = settings(arguments)
    from ..commands.train import train
    from ..runs.progress import Reporter

    folder = folder or Path("runs") / f"{config.name}-{config.strategy}-seed{config.seed}"
    if list(folder.glob("*-seed*/config.yaml")):
        raise ValueError(f"{folder} is a comparison; continue it with: keyshift compare {folder}")
    train(config, folder, Reporter(), arguments.overwrite)
