"""keyshift data: look at datasets."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from .words import Problems, path

OVERRIDES = "the dataset's options, for example root=FOLDER boxes=whole part=test (keyshift options NAME)"


def add(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, act: Callable[[Namespace], None], text: str) -> ArgumentParser:
        made = actions.add_parser(name, help=text, description=text)
        made.set_defaults(act=act)
        made.add_argument("name", metavar="NAME", help="for example hands.studio, freihand, coco_json")
        made.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES)
        return made

    show = action("show", _show, "write a contact sheet with keypoints drawn")
    show.add_argument("--output", metavar="FILE", type=path, help="the picture to write (default NAME.png)")
    show.add_argument("--overwrite", action="store_true", help="write over the picture")
    write = action("write", _write, "write rendered people as pictures and an annotation file")
    write.add_argument("--output", metavar="FOLDER", type=path, required=True, help="the folder to write to")
    action("check", _check, "read every annotation and picture; count, and list what is wrong")
    prepare = action("prepare", _prepare, "download where it can be; keep the crops as fast arrays")
    prepare.add_argument(
        "--accept-licence", action="store_true", help="you have read the dataset's licence and accept it"
    )
    prepare.add_argument("--overwrite", action="store_true", help="delete what was prepared before")


def run(arguments: Namespace) -> None:
    arguments.act(arguments)


def _show(arguments: Namespace) -> None:
    from ..commands.data_show import show

    path = arguments.output or Path(f"{arguments.name}.png")
    if path.exists() and not arguments.overwrite:
        raise ValueError(f"{path} exists; pass --overwrite or --output FILE")
    show(arguments.name, arguments.overrides, path)
    print(path)


def _write(arguments: Namespace) -> None:
    from ..commands.data_write import write

    print(write(arguments.name, arguments.overrides, arguments.output))


def _check(arguments: Namespace) -> None:
    from ..commands.data_check import check
    from ..runs.progress import Reporter

    if not check(arguments.name, arguments.overrides, Reporter()):
        raise Problems


def _prepare(arguments: Namespace) -> None:
    from ..commands.data_prepare import prepare
    from ..runs.progress import Reporter

    prepare(arguments.name, arguments.overrides, Reporter(), arguments.accept_licence, arguments.overwrite)
