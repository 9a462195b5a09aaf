"""keyshift nms: fit how predict --nms tells one person from two, on labelled pictures."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from .words import path


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "predictions", metavar="PREDICTIONS", type=path, help="what predict wrote without --nms (.json)"
    )
    parser.add_argument("labels", metavar="LABELS", type=path, help="a COCO keypoint JSON of the same pictures")
    parser.add_argument("--output", metavar="FILE", type=path, default=Path("nms.yaml"), help="default: nms.yaml")
    parser.add_argument("--overwrite", action="store_true", help="write over the file")


def run(arguments: Namespace) -> None:
    from ..commands.nms import fit_nms
    from ..runs.progress import Reporter

    fit_nms(arguments.predictions, arguments.labels, arguments.output, Reporter(), arguments.overwrite)
