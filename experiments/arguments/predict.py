"""keyshift predict: keypoints of pictures, videos and depth frames as one COCO file."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from pathlib import Path

from .words import path, word


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=path,
        help="a run folder, or a weights file; of people in space a chain's folder or a released checkpoint too",
    )
    parser.add_argument(
        "paths",
        metavar="PATH",
        type=word,
        nargs="+",
        help="a picture, folder or video; depth frames for a model of depth; for a lifter what predict wrote (.json)",
    )
    parser.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        help="of depth: centers, cube, camera, near, far, crop; of a released PoseNet: skeleton",
    )
    parser.add_argument("--output", metavar="FILE", type=path, help="default: predictions.json, .csv or .txt")
    parser.add_argument(
        "--format",
        default="coco",
        help="coco (default), results (COCO's list), deeplabcut (a CSV), or of depth uvd (a text, u v d a joint)",
    )
    parser.add_argument("--boxes", metavar="BOXES", help="a .csv or .json, or a torchvision detector's name")
    parser.add_argument("--box-score", metavar="S", type=float, help="boxes below it are left out (default: 0.7)")
    parser.add_argument(
        "--nms",
        metavar="NMS",
        help="one answer for each person: pose, rmpe, alphapose, oks, or what keyshift nms wrote",
    )
    parser.add_argument(
        "--tracks",
        action=BooleanOptionalAction,
        help="people keep a number over a video, or a folder of frames (default: in videos of several people)",
    )
    _add_chain(parser)
    parser.add_argument("--draw", metavar="FOLDER", type=path, help="write drawn pictures and videos there")
    parser.add_argument("--stride", type=int, metavar="N", help="every N-th frame")
    parser.add_argument(
        "--duplicates", type=float, metavar="LEVELS", help="skip video frames that differ less than this"
    )
    parser.add_argument(
        "--white",
        metavar="LEVEL",
        help="pictures of 16 bit: their white, or auto (default: that of the run's pictures)",
    )
    parser.add_argument("--mirror", action="store_true", help="show the network mirrored pictures (right hands)")
    parser.add_argument("--batch", metavar="N", type=int, default=32, help="crops at a time (default: 32)")
    parser.add_argument(
        "--workers", metavar="N", type=int, help="threads that read pictures (default: 1 a core, up to 8)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--overwrite", action="store_true", help="write over files that are there")


def _add_chain(parser: ArgumentParser) -> None:
    """What says how people are placed in the camera's space."""
    of = parser.add_argument_group("people in space (PoseNet, RootNet)")
    of.add_argument("--root", metavar="ROOT", type=path, help="a RootNet as MODEL is named, or a file of roots (.json)")
    of.add_argument("--focal", metavar="F", help="focal length in px, or FX,FY,CX,CY")
    of.add_argument(
        "--camera", metavar="FILE", help="a calibration file, or exif (default: EXIF where it tells, else 1500 px)"
    )
    of.add_argument("--flip-test", action="store_true", help="the mean with the answers for mirrored crops")
    of.add_argument("--smooth-root", metavar="FRAMES", type=int, help="of videos: median of each root's distance")


CHAIN = ("root", "focal", "camera", "flip_test", "smooth_root")


def run(arguments: Namespace) -> None:
    from ..commands.predict import predict
    from ..runs.chain import sees_people
    from ..runs.prediction_formats import ending
    from ..runs.progress import Reporter

    options = dict(vars(arguments))
    of_chain = {name: options.pop(name) for name in CHAIN}
    del options["run"]
    if options["white"] is not None and options["white"].isdigit():
        options["white"] = int(options["white"])
    given = options.pop("paths")
    words = [word for word in given if "=" in word and not Path(word).exists()]
    paths = [Path(word) for word in given if word not in words]
    options["words"] = words + options.pop("overrides")
    output = options.pop("output") or Path("predictions" + ending(arguments.format))
    model = options.pop("model")
    if sees_people(model):
        from ..commands.predict_chain import predict_chain

        for name in (name for name in ("nms", "box_score", "tracks") if options.pop(name) is not None):
            raise ValueError(
                f"--{name.replace('_', '-')} is of pictures: {model} places people in space. Predict with a model of "
                "pictures and --nms, and give what that writes as --boxes here"
            )
        predict_chain(model, paths, output, Reporter(), **options, **of_chain)
        return
    options |= {name: of_chain.pop(name) for name in ("focal", "camera")}
    for name in (name for name, value in of_chain.items() if value not in (None, False)):
        option = f"--{name.replace('_', '-')}"
        raise ValueError(f"{option} is of people in space, and {model} is no PoseNet, RootNet or chain of them")
    predict(model, paths, output, Reporter(), **options)
