"""keyshift export: a trained model as one file with decoding inside."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .words import path


def add(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=path, help="a run folder, or a weights file")
    parser.add_argument("--format", default="onnx", help="onnx (default) or torch")
    parser.add_argument("--output", metavar="FILE", type=path, help="default: MODEL's name")
    parser.add_argument("--decode", help="mean or peak of the votes (default: the model's own)")
    parser.add_argument("--opset", type=int, metavar="N", help="of onnx (default: what torch chooses)")
    parser.add_argument("--precision", default="fp32", help="of onnx: fp32 (default), or fp16 for half the size")
    parser.add_argument("--overwrite", action="store_true", help="write over the file")


def run(arguments: Namespace) -> None:
    from ..commands.export import export
    from ..runs.progress import Reporter

    a = arguments
    export(a.model, a.format, a.output, Reporter(), a.decode, a.overwrite, a.opset, a.precision)
