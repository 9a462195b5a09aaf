"""keyshift proposals: how a detector's boxes differ from the true ones, for proposals=FILE."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .words import path, word


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "experiment",
        metavar="NAME",
        type=word,
        help="an experiment or run, whose source is used, a dataset, or a COCO label file (.json)",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the experiment or dataset")
    parser.add_argument(
        "--boxes",
        metavar="BOXES",
        type=word,
        help="a .csv or .json, or a torchvision detector's name (default: the set's own boxes)",
    )
    parser.add_argument("--atoms", metavar="N", type=int, help="kinds of poses (default: up to 8, as people suffice)")
    parser.add_argument("--output", metavar="FILE", type=path, help="default: NAME.proposals.json")
    parser.add_argument("--overwrite", action="store_true", help="write over the file")


def run(arguments: Namespace) -> None:
    from ..commands.proposals import measure_proposals
    from ..runs.progress import Reporter

    a = arguments
    if a.atoms is not None and a.atoms < 1:
        raise ValueError(f"--atoms {a.atoms}: one kind of pose at least")
    measure_proposals(a.experiment, a.overrides, a.boxes, a.output, a.atoms, Reporter(), a.overwrite)
