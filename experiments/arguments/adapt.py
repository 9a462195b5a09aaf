"""keyshift adapt: adapt a model to your own unlabelled pictures, video or depth frames."""

from __future__ import annotations

from argparse import Namespace

from .words import OVERRIDES, Command, all_options, path


def add(parser: Command) -> None:
    parser.add_argument(
        "model", metavar="MODEL", type=path, help="a run folder, a weights file, or a YAML with your own network"
    )
    parser.add_argument(
        "--target",
        metavar="PATH",
        type=path,
        required=True,
        help="a folder of pictures or depth frames, a video, or a dataset's name",
    )
    parser.add_argument("--root", metavar="MODEL", type=path, help="a RootNet: MODEL is a PoseNet, both are adapted")
    parser.add_argument(
        "--boxes", metavar="BOXES", help="target.boxes: a .csv or .json, or a torchvision detector's name"
    )
    parser.add_argument("--focal", metavar="F", help="target.focal: focal length in px, or FX,FY,CX,CY")
    parser.add_argument("--camera", metavar="FILE", help="target.camera: a calibration file, or exif")
    parser.add_argument(
        "--source", metavar="EXPERIMENT", help="whose source data to use (default: the model's own run)"
    )
    parser.add_argument("--strategy", metavar="NAME", help="default: keyshift, with --online tent")
    parser.add_argument(
        "--online", action="store_true", help="one pass in the target's order, answering each batch before learning"
    )
    parser.add_argument(
        "--soft-reset", metavar="SHARE", type=float, help="of its weights that each update keeps (0.95; default: all)"
    )
    parser.add_argument(
        "--check", metavar="FILE", type=path, help="labels (COCO, DeepLabCut), best of 30 or more, for the report alone"
    )
    parser.add_argument(
        "--check-root", metavar="FOLDER", type=path, help="where their pictures lie (default: the target)"
    )
    parser.add_argument(
        "--decide-by-check",
        action="store_true",
        help="let the labels of --check decide what is shipped, 30 pictures or more: they check it no longer",
    )
    parser.add_argument(
        "--dry", action="store_true", help="train nothing: what is to be expected; --output is a JSON file then"
    )
    parser.add_argument("--output", metavar="FOLDER", type=path, help="default: runs/adapt-TARGET")
    parser.add_argument("--overwrite", action="store_true", help="delete the folder first")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES)
    parser.last = all_options


def run(arguments: Namespace) -> None:
    from ..commands.adapt import adapt, usual_strategy
    from ..runs.progress import Reporter

    a = arguments
    a.overrides += _target_words(a)
    if a.root is not None:
        return _adapt_chain(a)
    strategy = a.strategy or ("tent" if a.online else usual_strategy(a.target, a.output, a.overwrite))
    if a.soft_reset is not None:
        a.overrides.append(f"{strategy}.soft_reset={a.soft_reset}")
    words = a.overrides, a.output, a.overwrite, Reporter()
    if a.online:
        from ..commands.adapt_online import adapt_online

        given = {"--source": a.source, "--check-root": a.check_root}
        given |= {"--decide-by-check": a.decide_by_check or None, "--dry": a.dry or None}
        for name in (name for name, value in given.items() if value is not None):
            raise ValueError(f"{name} is not of --online: a stream has no source, and is judged by its own pictures")
        adapt_online(a.model, a.target, strategy, *words, check=a.check)
    else:
        asked = {"check_root": a.check_root, "decide_by_check": a.decide_by_check, "dry": a.dry}
        adapt(a.model, a.target, a.source, strategy, a.check, *words, **asked)


def _target_words(a: Namespace) -> list[str]:
    """The target's options that have words of their own."""
    said = {"boxes": a.boxes, "focal": None if a.focal is None else f"[{a.focal}]", "camera": a.camera}
    return [f"target.{name}={value}" for name, value in said.items() if value is not None]


def _adapt_chain(a: Namespace) -> None:
    from ..commands.adapt_chain import adapt_chain
    from ..runs.progress import Reporter

    for name, value in {"--online": a.online, "--soft-reset": a.soft_reset}.items():
        if value not in (None, False):
            raise ValueError(f"{name} is not of a chain (--root): adapt its networks one by one")
    asked = {"check_root": a.check_root, "decide_by_check": a.decide_by_check, "dry": a.dry}
    models = {"root": a.root, "pose": a.model}
    words = a.overrides, a.output, a.overwrite, Reporter()
    adapt_chain(models, a.target, a.source, a.strategy, a.check, *words, **asked)
