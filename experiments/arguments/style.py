"""keyshift style: train the network that UniFrame's style transfer needs, for a pair of domains."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from .words import add_experiment, path, settings, word


def add(parser: ArgumentParser) -> None:
    add_experiment(parser)
    parser.add_argument("--weights", metavar="FILE", type=word, help="torchvision's vgg19 (default: a random encoder)")
    parser.add_argument("--channels", metavar="N", type=int, help="of a random encoder's first level (default: 64)")
    parser.add_argument("--steps", metavar="N", type=int, help="updates (default: 20000)")
    parser.add_argument("--batch", metavar="N", type=int, help="pictures of each domain in an update (default: 8)")
    parser.add_argument("--rate", metavar="R", type=float, help="Adam's (default: 1e-4)")
    parser.add_argument("--weight", metavar="W", type=float, help="of the style loss (default: 0.1)")
    parser.add_argument("--output", metavar="FOLDER", type=path, help="default: runs/style-EXPERIMENT")
    parser.add_argument("--overwrite", action="store_true", help="delete what was trained there first")


def run(arguments: Namespace) -> None:
    config, _ = settings(arguments)
    from ..commands.style import StyleOptions, train_style
    from ..runs.progress import Reporter

    names = ("weights", "channels", "steps", "batch", "rate", "weight")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    folder = arguments.output or Path("runs") / f"style-{config.name}"
    train_style(config, StyleOptions(**given), folder, Reporter(), arguments.overwrite)
