"""The command line. `--help` imports neither torch nor mlflow: everything heavy is imported where it is used."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

DATA_OVERRIDES = "the dataset's options, for example root=FOLDER boxes=whole part=test (keyshift options NAME)"
OVERRIDES = "configuration, for example steps=500 target.root=FOLDER (all keys: keyshift options)"


def word(text: str) -> str:
    """A word of the command line that names something. An empty one, as a shell makes it of a variable that is not
    set, would name the folder that one stands in."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty: a variable that is not set?")
    return text


def path(text: str) -> Path:
    return Path(word(text))


def words(text: str) -> list[str]:
    """Between commas."""
    return [one for one in text.split(",") if one]


def numbers(text: str) -> list[int]:
    return [int(one) for one in words(text)]


class Command(argparse.ArgumentParser):
    """The help ends with what `last` answers, read where it stands when it is printed."""

    last: Callable[[], str] | None = None

    def format_help(self) -> str:
        return super().format_help() + (f"\n{self.last()}\n" if self.last else "")


def all_options() -> str:
    from .commands.options import help_text

    return f"key=value:\n{help_text()}"


def all_benches() -> str:
    from .commands.bench import BENCHES

    return f"WHAT: {', '.join(BENCHES)}"


class Problems(Exception):
    """What was looked at is not as it should be; it has been said."""


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit status 0, 2 for bad input, 130 after Ctrl-C, 1 where training itself failed or a
    check found problems."""
    try:
        with plain_warnings():
            arguments = parse(argv)
            arguments.run(arguments)
            sys.stdout.flush()
    except KeyboardInterrupt as stop:
        print(f"keyshift: {stop}; the same command goes on" if str(stop) else "keyshift: interrupted", file=sys.stderr)
        return 130
    except Problems:
        return 1
    except BrokenPipeError:  # the reader of a pipe has seen enough; at exit Python would write the rest once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except ArithmeticError as error:
        print(f"keyshift: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        line = line_of(error)
        if line is None or os.environ.get("KEYSHIFT_DEBUG"):
            raise
        print(f"keyshift: error: {line}", file=sys.stderr)
        return 2
    return 0


def line_of(error: Exception) -> str | None:
    """What bad input, the system, or an installation that does not fit together is refused with; None for a defect."""
    from .failures import failure
    from .tracking.addresses import masked

    if isinstance(error, ValueError):
        return masked(str(error))
    if "torchvision::nms" in str(error):
        return (
            "torch and torchvision do not belong together (operator torchvision::nms does not exist). Install both "
            "from the same index: pip install --force-reinstall torch torchvision"
        )
    said = failure(error)
    return said if said is None else masked(said)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings are one line for a person, once for each text, without the place in the code that gives them."""
    before, seen = warnings.formatwarning, set[str]()

    def line(message: Warning | str, *_: Any, **__: Any) -> str:
        text = " ".join(str(message).split())
        first = text not in seen
        seen.add(text)
        return f"keyshift: warning: {text}\n" if first else ""

    warnings.formatwarning = line
    try:
        yield
    finally:
        warnings.formatwarning = before


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Options may stand before, between and behind the key=value words."""
    top = parser()
    arguments, rest = top.parse_known_args(argv)
    several = isinstance(getattr(arguments, "experiment", None), list)
    foreign = [word for word in rest if word.startswith("-") or not ("=" in word or several)]
    if foreign or (rest and not hasattr(arguments, "overrides")):
        from .tracking.addresses import masked

        command = command_of(top, sys.argv[1:] if argv is None else argv)
        known = re.findall(r"--[\w-]+", command.format_usage())
        near = [difflib.get_close_matches(word.partition("=")[0], known, 1) for word in foreign]
        meant = "".join(f". Did you mean {names[0]}?" for names in near[:1] if names)
        command.error(masked(f"unrecognized arguments: {' '.join(foreign or rest)}{meant}"))
    if rest:
        arguments.overrides += rest
    return arguments


def command_of(parser: argparse.ArgumentParser, words: list[str]) -> argparse.ArgumentParser:
    """The parser of the command, and of its action, that `words` name."""
    for word in words:
        below = [a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        parser = below[0].get(word, parser) if below else parser
    return parser


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="keyshift", description="Adapt keypoint models to new domains without target labels."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND", parser_class=Command)

    def command(name: str, run: Any, text: str) -> Command:
        made = commands.add_parser(name, help=text, description=text)
        assert isinstance(made, Command)
        made.last = {"train": all_options, "compare": all_options, "adapt": all_options, "bench": all_benches}.get(name)
        made.set_defaults(run=run)
        return made

    _add_training(command)
    _add_using(command)
    _add_data(command)
    _add_others(command)
    return top


def _add_training(command: Callable[[str, Any, str], Command]) -> None:
    """What makes models, and scores them."""
    for name, run, text in (
        ("train", _train, "train one strategy with one seed, or continue a run folder"),
        ("compare", _compare, "train strategies x seeds, write results.json and report.html"),
    ):
        made = command(name, run, text)
        several: dict[str, Any] = {"nargs": "+"} if name == "compare" else {}
        made.add_argument(
            "experiment", metavar="EXPERIMENT", help="a YAML, a shipped experiment's name, or a run folder", **several
        )
        made.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES)
        made.add_argument("--overwrite", action="store_true", help="delete the run folder first")
    made.add_argument("--jobs", metavar="N", type=int, help="runs at once, as processes of this machine")
    made.add_argument("--ray", metavar="ADDRESS", type=word, help="runs at once, by a Ray cluster: address, or auto")
    made.add_argument("--cpus", metavar="N", type=int, help="threads of a run, and CPUs that it has in a Ray cluster")
    made.add_argument("--gpus", metavar="SHARE", type=float, help="of a GPU, that a run has: 0.5, so that two share it")

    made = command("style", _style, "train the network that UniFrame's style transfer needs, for a pair of domains")
    made.add_argument("experiment", metavar="EXPERIMENT", help="a YAML, a shipped experiment's name, or a run folder")
    made.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES)
    made.add_argument("--weights", metavar="FILE", type=word, help="torchvision's vgg19 (default: a random encoder)")
    made.add_argument("--channels", metavar="N", type=int, help="of a random encoder's first level (default: 64)")
    made.add_argument("--steps", metavar="N", type=int, help="updates (default: 20000)")
    made.add_argument("--batch", metavar="N", type=int, help="pictures of each domain in an update (default: 8)")
    made.add_argument("--rate", metavar="R", type=float, help="Adam's (default: 1e-4)")
    made.add_argument("--weight", metavar="W", type=float, help="of the style loss (default: 0.1)")
    made.add_argument("--output", metavar="FOLDER", type=path, help="default: runs/style-EXPERIMENT")
    made.add_argument("--overwrite", action="store_true", help="delete what was trained there first")

    made = command(
        "evaluate", _evaluate, "score the selected weights of a run on its test sets, or a file of predictions"
    )
    made.add_argument(
        "folder",
        metavar="RUN",
        type=path,
        nargs="?",
        help="a run folder; or what predict wrote: FILE.json LABELS.json, people in pictures against a COCO keypoint "
        "JSON; FILE.json posetrack, against PoseTrack's labels; or FILE.json NAME, people in space against a "
        "labelled set",
    )
    made.add_argument(
        "--root", metavar="RUN", type=path, help="beside a run of pose_net one of root_net: which part loses what"
    )
    made.add_argument(
        "--boxes",
        metavar="FILE",
        type=word,
        help="with --root: a file of boxes, or a detector (default: the set's own)",
    )
    made.add_argument(
        "--by", choices=("sequence", "action"), help="a row for each sequence, or action of Human3.6M, too"
    )
    made.add_argument(
        "--refocus",
        metavar="F,F",
        help="of a run of root_net: its test samples by cameras of so many times the focal length, 0.7,1,1.5",
    )
    made.add_argument(
        "--predictions", metavar="FILE", type=path, help="instead of RUN: one frame a line, u v d a joint"
    )
    made.add_argument("--truth", metavar="FILE", type=path, help="the labels of the same frames, in the same form")
    made.add_argument("--dataset", metavar="NAME", help="whose camera and joints: nyu, icvl, msra, hands2017 or itop")
    made.add_argument(
        "--space", metavar="SPACE", help="uvd (px, px, mm), or mm in space: xyz (hands2017), xyz-up (y up), xyz-up-back"
    )
    made.add_argument("--unit", help="of lengths: mm (default), cm, m or the mm in one")
    made.add_argument("--truth-space", metavar="SPACE", help="of the truth where it is another than the predictions'")
    made.add_argument("--truth-unit", metavar="UNIT", help="of the truth where it is another")
    made.add_argument("--camera", metavar="F", help="f, or fx,fy, or fx,fy,cx,cy: instead of the dataset's")
    made.add_argument(
        "overrides", nargs="*", metavar="key=value", help="for example selection=source target.root=FOLDER"
    )

    made = command("adapt", _adapt, "adapt a model to your own unlabelled pictures, video or depth frames")
    made.add_argument(
        "model", metavar="MODEL", type=path, help="a run folder, a weights file, or a YAML with your own network"
    )
    made.add_argument(
        "--target",
        metavar="PATH",
        type=path,
        required=True,
        help="a folder of pictures or depth frames, a video, or a dataset's name",
    )
    made.add_argument("--root", metavar="MODEL", type=path, help="a RootNet: MODEL is a PoseNet, both are adapted")
    made.add_argument(
        "--boxes", metavar="BOXES", help="target.boxes: a .csv or .json, or a torchvision detector's name"
    )
    made.add_argument("--focal", metavar="F", help="target.focal: focal length in px, or FX,FY,CX,CY")
    made.add_argument("--camera", metavar="FILE", help="target.camera: a calibration file, or exif")
    made.add_argument("--source", metavar="EXPERIMENT", help="whose source data to use (default: the model's own run)")
    made.add_argument("--strategy", metavar="NAME", help="default: keyshift, with --online tent")
    made.add_argument(
        "--online", action="store_true", help="one pass in the target's order, answering each batch before learning"
    )
    made.add_argument(
        "--soft-reset", metavar="SHARE", type=float, help="of its weights that each update keeps (0.95; default: all)"
    )
    made.add_argument(
        "--check", metavar="FILE", type=path, help="labels (COCO, DeepLabCut), best of 30 or more, for the report alone"
    )
    made.add_argument(
        "--check-root", metavar="FOLDER", type=path, help="where their pictures lie (default: the target)"
    )
    made.add_argument(
        "--decide-by-check",
        action="store_true",
        help="let the labels of --check decide what is shipped, 30 pictures or more: they check it no longer",
    )
    made.add_argument(
        "--dry", action="store_true", help="train nothing: what is to be expected; --output is a JSON file then"
    )
    made.add_argument("--output", metavar="FOLDER", type=path, help="default: runs/adapt-TARGET")
    made.add_argument("--overwrite", action="store_true", help="delete the folder first")
    made.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES)

    made = command("prior", _prior, "learn from labels which poses there are, for strategy=post without a source")
    made.add_argument("experiment", metavar="NAME", help="an experiment or run, whose source is used, or a dataset")
    made.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of the experiment or dataset, and prior.updates=2000 say"
    )
    made.add_argument("--output", metavar="FILE", type=path, help="default: NAME.prior.pt")
    made.add_argument("--overwrite", action="store_true", help="write over the file")

    made = command("proposals", _proposals, "how a detector's boxes differ from the true ones, for proposals=FILE")
    made.add_argument(
        "experiment",
        metavar="NAME",
        type=word,
        help="an experiment or run, whose source is used, a dataset, or a COCO label file (.json)",
    )
    made.add_argument("overrides", nargs="*", metavar="key=value", help="of the experiment or dataset")
    made.add_argument(
        "--boxes",
        metavar="BOXES",
        type=word,
        help="a .csv or .json, or a torchvision detector's name (default: the set's own boxes)",
    )
    made.add_argument("--atoms", metavar="N", type=int, help="kinds of poses (default: up to 8, as people suffice)")
    made.add_argument("--output", metavar="FILE", type=path, help="default: NAME.proposals.json")
    made.add_argument("--overwrite", action="store_true", help="write over the file")


def _add_using(command: Callable[[str, Any, str], Command]) -> None:
    """What uses a trained model."""
    made = command("predict", _predict, "keypoints of pictures, videos and depth frames as one COCO file")
    made.add_argument(
        "model",
        metavar="MODEL",
        type=path,
        help="a run folder, or a weights file; of people in space a chain's folder or a released checkpoint too",
    )
    made.add_argument(
        "paths",
        metavar="PATH",
        type=word,
        nargs="+",
        help="a picture, folder or video; depth frames for a model of depth; for a lifter what predict wrote (.json)",
    )
    made.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        help="of depth: centers, cube, camera, near, far, crop; of a released PoseNet: skeleton",
    )
    made.add_argument("--output", metavar="FILE", type=path, help="default: predictions.json, .csv or .txt")
    made.add_argument(
        "--format",
        default="coco",
        help="coco (default), results (COCO's list), deeplabcut (a CSV), or of depth uvd (a text, u v d a joint)",
    )
    made.add_argument("--boxes", metavar="BOXES", help="a .csv or .json, or a torchvision detector's name")
    made.add_argument("--box-score", metavar="S", type=float, help="boxes below it are left out (default: 0.7)")
    made.add_argument(
        "--nms",
        metavar="NMS",
        help="one answer for each person: pose, rmpe, alphapose, oks, or what keyshift nms wrote",
    )
    made.add_argument(
        "--tracks",
        action=argparse.BooleanOptionalAction,
        help="people keep a number over a video, or a folder of frames (default: in videos of several people)",
    )
    _add_chain(made)
    made.add_argument("--draw", metavar="FOLDER", type=path, help="write drawn pictures and videos there")
    made.add_argument("--stride", type=int, metavar="N", help="every N-th frame")
    made.add_argument("--duplicates", type=float, metavar="LEVELS", help="skip video frames that differ less than this")
    made.add_argument(
        "--white",
        metavar="LEVEL",
        help="pictures of 16 bit: their white, or auto (default: that of the run's pictures)",
    )
    made.add_argument("--mirror", action="store_true", help="show the network mirrored pictures (right hands)")
    made.add_argument("--batch", metavar="N", type=int, default=32, help="crops at a time (default: 32)")
    made.add_argument("--workers", metavar="N", type=int, default=2, help="threads that read pictures (default: 2)")
    made.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    made.add_argument("--overwrite", action="store_true", help="write over files that are there")

    made = command("nms", _nms, "fit how predict --nms tells one person from two, on labelled pictures")
    made.add_argument("predictions", metavar="PREDICTIONS", type=path, help="what predict wrote without --nms (.json)")
    made.add_argument("labels", metavar="LABELS", type=path, help="a COCO keypoint JSON of the same pictures")
    made.add_argument("--output", metavar="FILE", type=path, default=Path("nms.yaml"), help="default: nms.yaml")
    made.add_argument("--overwrite", action="store_true", help="write over the file")

    made = command("export", _export, "a trained model as one file with decoding inside")
    made.add_argument("model", metavar="MODEL", type=path, help="a run folder, or a weights file")
    made.add_argument("--format", default="onnx", help="onnx (default) or torch")
    made.add_argument("--output", metavar="FILE", type=path, help="default: MODEL's name")
    made.add_argument("--decode", help="mean or peak of the votes (default: the model's own)")
    made.add_argument("--opset", type=int, metavar="N", help="of onnx (default: what torch chooses)")
    made.add_argument("--precision", default="fp32", help="of onnx: fp32 (default), or fp16 for half the size")
    made.add_argument("--overwrite", action="store_true", help="write over the file")


def _add_chain(made: Command) -> None:
    """What says how people are placed in the camera's space."""
    of = made.add_argument_group("people in space (PoseNet, RootNet)")
    of.add_argument("--root", metavar="ROOT", type=path, help="a RootNet as MODEL is named, or a file of roots (.json)")
    of.add_argument("--focal", metavar="F", help="focal length in px, or FX,FY,CX,CY")
    of.add_argument(
        "--camera", metavar="FILE", help="a calibration file, or exif (default: EXIF where it tells, else 1500 px)"
    )
    of.add_argument("--flip-test", action="store_true", help="the mean with the answers for mirrored crops")
    of.add_argument("--smooth-root", metavar="FRAMES", type=int, help="of videos: median of each root's distance")


CHAIN = ("root", "focal", "camera", "flip_test", "smooth_root")


def _add_data(command: Callable[[str, Any, str], Command]) -> None:
    """What looks at datasets."""
    data = command("data", None, "look at datasets").add_subparsers(required=True, metavar="ACTION")

    def action(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        made = data.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        made.add_argument("name", metavar="NAME", help="for example hands.studio, freihand, coco_json")
        made.add_argument("overrides", nargs="*", metavar="key=value", help=DATA_OVERRIDES)
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


def _add_others(command: Callable[[str, Any, str], Command]) -> None:
    """Speed, tracking, and what there is."""
    made = command("bench", _bench, "measure speed as ratios in one run")
    made.add_argument("what", nargs="*", metavar="WHAT", help="which, of those below (default: all)")

    made = command("statistics", _statistics, "mean and covariance of a run's source features, for strategy ssa")
    made.add_argument("model", metavar="RUN", type=path, help="a run folder whose source can be opened")
    made.add_argument("--output", metavar="FILE", type=path, help="default: RUN/statistics.pt")
    made.add_argument("--overwrite", action="store_true", help="write over the file")
    made.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES)

    made = command("rescore", _rescore, "let DEKR learn how good its poses are, to correct people's scores")
    made.add_argument("model", metavar="RUN", type=path, help="a run folder whose source can be opened")
    made.add_argument("--output", metavar="FILE", type=path, help="default: RUN/rescored.pt")
    made.add_argument("--overwrite", action="store_true", help="write over the file")
    made.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES)

    made = command("sync", _sync, "bring MLflow up to date with run folders")
    made.add_argument("folders", nargs="*", metavar="RUN", type=path, help="default: every run below runs/")
    made.add_argument("--tracking", metavar="URI", help="default: the run's own")

    made = command("options", _options, "list the options of runs, models, strategies and datasets")
    made.add_argument("names", nargs="*", metavar="NAME", help="run, or a model, strategy or dataset (default: all)")
    made.add_argument("--markdown", action="store_true", help="as docs/options.md")

    made = command("strategies", _strategies, "list the strategies: kind, needs, cost; or print the pages of some")
    made.add_argument("names", nargs="*", metavar="NAME", help="strategies or kinds (default: a table of all)")
    made.add_argument("--markdown", action="store_true", help="as docs/strategies.md")

    made = command("table", _table, "finished comparisons beside each other, as Markdown")
    made.add_argument("folders", nargs="+", metavar="RUN", type=path, help="folders of keyshift compare")
    made.add_argument("--against", metavar="STRATEGY", help="by how much this one is better than each other, instead")

    made = command("lab", _lab, "try candidates on domain pairs with known truth, and score every checkpoint")
    made.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        type=word,
        help="plans (YAML) laid over one another: lab_pairs lab_candidates",
    )
    made.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of all runs, and of one pair's: PAIR.target.root=FOLDER"
    )
    listed: dict[str, Any] = {"type": words, "default": []}
    made.add_argument("--pairs", metavar="NAME,...", help="only these", **listed)
    made.add_argument("--candidates", metavar="NAME,...", help="only these", **listed)
    made.add_argument("--seeds", metavar="N,...", help="only these", type=numbers, default=[])
    made.add_argument("--jobs", metavar="N", type=int, default=1, help="processes that share the work (default: 1)")
    made.add_argument("--output", metavar="FOLDER", type=path, default=Path("runs/lab"), help="default: runs/lab")
    made.add_argument("--rescore", metavar="SCORE,...", help="compute these scores anew", **listed)
    made.add_argument("--unscored", action="store_true", help="judge by truth alone; a later call computes the scores")
    made.add_argument("--collect", action="store_true", help="train nothing: write points.csv of what there is")
    made.add_argument("--table", action="store_true", help="train nothing: print what the points say, as Markdown")
    made.add_argument(
        "--against", metavar="CANDIDATE", help="train nothing: by how much it is better than each other, as Markdown"
    )
    made.add_argument(
        "--fit", action="store_true", help="train nothing: fit the rule of adapt to the points, and print its rates"
    )

    made = command("runs", _runs, "list runs")
    made.add_argument("folder", metavar="FOLDER", nargs="?", default=Path("runs"), type=path, help="default: runs")


def _settings(arguments: argparse.Namespace) -> tuple[Any, Path | None]:
    """The configuration, and the run folder where one was named."""
    from .config import load, load_folder, shipped

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


def _train(arguments: argparse.Namespace) -> None:
    config, folder = _settings(arguments)
    from .commands.train import train
    from .runs.progress import Reporter

    folder = folder or Path("runs") / f"{config.name}-{config.strategy}-seed{config.seed}"
    if list(folder.glob("*-seed*/config.yaml")):
        raise ValueError(f"{folder} is a comparison; continue it with: keyshift compare {folder}")
    train(config, folder, Reporter(), arguments.overwrite)


def _compare(arguments: argparse.Namespace) -> None:
    a = arguments
    given = [*a.experiment, *a.overrides]
    names = [word for word in given if "=" not in word or Path(word).exists()] or given[:1]
    overrides = [word for word in given if word not in names]
    experiments = []
    for name in names:
        config, folder = _settings(argparse.Namespace(experiment=name, overrides=overrides))
        if len(names) > 1 and folder != Path(name):
            folder = (folder or Path("runs")) / config.name
        folder = folder or Path("runs") / config.name
        if (folder / "checkpoint.pt").exists():
            raise ValueError(f"{folder} is a single run; continue it with: keyshift train {folder}")
        experiments.append((config, folder))
    from .runs.comparison import compare
    from .runs.many import crew_of
    from .runs.progress import Reporter

    reporter = Reporter()
    if not compare(experiments, reporter, a.overwrite, crew_of(a.jobs, a.ray, a.cpus, a.gpus, reporter), a.cpus):
        raise Problems


def _style(arguments: argparse.Namespace) -> None:
    config, _ = _settings(arguments)
    from .commands.style import StyleOptions, train_style
    from .runs.progress import Reporter

    names = ("weights", "channels", "steps", "batch", "rate", "weight")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    folder = arguments.output or Path("runs") / f"style-{config.name}"
    train_style(config, StyleOptions(**given), folder, Reporter(), arguments.overwrite)


def _adapt(arguments: argparse.Namespace) -> None:
    from .commands.adapt import adapt, usual_strategy
    from .runs.progress import Reporter

    a = arguments
    a.overrides += _target_words(a)
    if a.root is not None:
        return _adapt_chain(a)
    strategy = a.strategy or ("tent" if a.online else usual_strategy(a.target, a.output, a.overwrite))
    if a.soft_reset is not None:
        a.overrides.append(f"{strategy}.soft_reset={a.soft_reset}")
    words = a.overrides, a.output, a.overwrite, Reporter()
    if a.online:
        from .commands.adapt_online import adapt_online

        given = {"--source": a.source, "--check-root": a.check_root}
        given |= {"--decide-by-check": a.decide_by_check or None, "--dry": a.dry or None}
        for name in (name for name, value in given.items() if value is not None):
            raise ValueError(f"{name} is not of --online: a stream has no source, and is judged by its own pictures")
        adapt_online(a.model, a.target, strategy, *words, check=a.check)
    else:
        asked = {"check_root": a.check_root, "decide_by_check": a.decide_by_check, "dry": a.dry}
        adapt(a.model, a.target, a.source, strategy, a.check, *words, **asked)


def _target_words(a: argparse.Namespace) -> list[str]:
    """The target's options that have words of their own."""
    said = {"boxes": a.boxes, "focal": None if a.focal is None else f"[{a.focal}]", "camera": a.camera}
    return [f"target.{name}={value}" for name, value in said.items() if value is not None]


def _adapt_chain(a: argparse.Namespace) -> None:
    from .commands.adapt_chain import adapt_chain
    from .runs.progress import Reporter

    for name, value in {"--online": a.online, "--soft-reset": a.soft_reset}.items():
        if value not in (None, False):
            raise ValueError(f"{name} is not of a chain (--root): adapt its networks one by one")
    asked = {"check_root": a.check_root, "decide_by_check": a.decide_by_check, "dry": a.dry}
    models = {"root": a.root, "pose": a.model}
    words = a.overrides, a.output, a.overwrite, Reporter()
    adapt_chain(models, a.target, a.source, a.strategy, a.check, *words, **asked)


def _prior(arguments: argparse.Namespace) -> None:
    from .commands.prior import train_prior
    from .runs.progress import Reporter

    a = arguments
    train_prior(a.experiment, a.overrides, a.output, Reporter(), a.overwrite)


def _proposals(arguments: argparse.Namespace) -> None:
    from .commands.proposals import measure_proposals
    from .runs.progress import Reporter

    a = arguments
    if a.atoms is not None and a.atoms < 1:
        raise ValueError(f"--atoms {a.atoms}: one kind of pose at least")
    measure_proposals(a.experiment, a.overrides, a.boxes, a.output, a.atoms, Reporter(), a.overwrite)


def factors_of(text: str) -> list[float]:
    """Numbers with commas between them. Raises ValueError for anything else."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--refocus {text}: numbers with commas between them, such as 0.7,1,1.5") from None


def _evaluate(arguments: argparse.Namespace) -> None:
    from .runs.progress import Reporter

    a = arguments
    files = {"--predictions": a.predictions, "--truth": a.truth, "--dataset": a.dataset}
    missing = [name for name, value in files.items() if value is None]
    chain = a.root is not None
    if a.boxes is not None and not chain:
        raise ValueError("--boxes is of a chain: say --root RUN, of root_net, beside the run of pose_net")
    if a.by is not None and (chain or a.folder is None):
        raise ValueError(
            "--by is of a run's test sets, or of people that predict wrote; not of --root or --predictions"
        )
    if a.refocus is not None and (chain or a.by is not None or a.folder is None):
        raise ValueError("--refocus is of one run's test sets, without --root, --by and --predictions")
    if a.folder is not None and len(missing) == len(files):
        if chain:
            from .commands.evaluate_chain import evaluate_chain

            evaluate_chain(a.folder, a.root, a.overrides, Reporter(), a.boxes)
        elif a.refocus is not None:
            from .commands.evaluate_focal import evaluate_focal

            evaluate_focal(a.folder, a.overrides, factors_of(a.refocus), Reporter())
        elif a.folder.suffix.lower() == ".json" and len(a.overrides) == 1 and a.overrides[0].lower().endswith(".json"):
            from .commands.evaluate_pictures import evaluate_pictures

            if a.by is not None:
                raise ValueError("--by is of a run's test sets, or of people in space; leave it out")
            evaluate_pictures(a.folder, path(a.overrides[0]), Reporter())
        elif a.folder.suffix.lower() == ".json" and a.overrides[:1] == ["posetrack"]:
            from .commands.evaluate_posetrack import evaluate_posetrack

            if a.by is not None:
                raise ValueError("--by is of a run's test sets, or of people in space; leave it out")
            evaluate_posetrack(a.folder, a.overrides[1:], Reporter())
        elif a.folder.suffix.lower() == ".json":
            from .commands.evaluate_people import evaluate_people

            evaluate_people(a.folder, a.overrides, Reporter(), a.by)
        else:
            from .commands.evaluate import evaluate

            evaluate(a.folder, a.overrides, Reporter(), a.by)
    elif a.folder is None and not missing and not a.overrides:
        from .commands.evaluate_files import evaluate_files

        forms = (a.space, a.unit, a.truth_space, a.truth_unit, a.camera)
        evaluate_files(a.predictions, a.truth, a.dataset, Reporter(), *forms)
    else:
        raise ValueError(
            "evaluate takes RUN, or a JSON of `keyshift predict` and LABELS.json or a DATASET, or --predictions FILE "
            "--truth FILE --dataset NAME together; missing: "
            f"{', '.join(missing) or 'nothing, but RUN stands beside them'}"
        )


def _show(arguments: argparse.Namespace) -> None:
    from .commands.data_show import show

    path = arguments.output or Path(f"{arguments.name}.png")
    if path.exists() and not arguments.overwrite:
        raise ValueError(f"{path} exists; pass --overwrite or --output FILE")
    show(arguments.name, arguments.overrides, path)
    print(path)


def _write(arguments: argparse.Namespace) -> None:
    from .commands.data_write import write

    print(write(arguments.name, arguments.overrides, arguments.output))


def _check(arguments: argparse.Namespace) -> None:
    from .commands.data_check import check
    from .runs.progress import Reporter

    if not check(arguments.name, arguments.overrides, Reporter()):
        raise Problems


def _prepare(arguments: argparse.Namespace) -> None:
    from .commands.data_prepare import prepare
    from .runs.progress import Reporter

    prepare(arguments.name, arguments.overrides, Reporter(), arguments.accept_licence, arguments.overwrite)


def _predict(arguments: argparse.Namespace) -> None:
    from .commands.predict import predict
    from .commands.predict_chain import predict_chain
    from .runs.chain_networks import sees_people
    from .runs.prediction_formats import ending
    from .runs.progress import Reporter

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


def _nms(arguments: argparse.Namespace) -> None:
    from .commands.nms import fit_nms
    from .runs.progress import Reporter

    fit_nms(arguments.predictions, arguments.labels, arguments.output, Reporter(), arguments.overwrite)


def _export(arguments: argparse.Namespace) -> None:
    from .commands.export import export
    from .runs.progress import Reporter

    a = arguments
    export(a.model, a.format, a.output, Reporter(), a.decode, a.overwrite, a.opset, a.precision)


def _bench(arguments: argparse.Namespace) -> None:
    from .commands.bench import bench

    bench(arguments.what)


def _statistics(arguments: argparse.Namespace) -> None:
    from .commands.statistics import statistics
    from .runs.progress import Reporter

    statistics(arguments.model, arguments.output, arguments.overrides, Reporter(), arguments.overwrite)


def _rescore(arguments: argparse.Namespace) -> None:
    from .commands.rescore import rescore
    from .runs.progress import Reporter

    rescore(arguments.model, arguments.output, arguments.overrides, Reporter(), arguments.overwrite)


def _sync(arguments: argparse.Namespace) -> None:
    from .commands.runs import run_folders
    from .tracking.mirror import sync

    folders = arguments.folders or run_folders(Path("runs"))
    if not folders:
        raise ValueError("no run folders below runs/; name one")
    for folder in folders:
        if not (folder / "config.yaml").is_file():
            raise ValueError(f"{folder} is no run folder: it has no config.yaml")
        print(f"{folder}: {sync(folder, arguments.tracking)}")


def _options(arguments: argparse.Namespace) -> None:
    from .commands.options import markdown, print_options
    from .runs.progress import Reporter

    if arguments.markdown:
        print(markdown(), end="")
    else:
        print_options(arguments.names, Reporter())


def _strategies(arguments: argparse.Namespace) -> None:
    from .commands.strategies import markdown, print_strategies
    from .runs.progress import Reporter

    if arguments.markdown:
        print(markdown(), end="")
    else:
        print_strategies(arguments.names, Reporter())


def _table(arguments: argparse.Namespace) -> None:
    from .commands.table import duel, table

    print(duel(arguments.folders, arguments.against) if arguments.against else table(arguments.folders))


def _lab(arguments: argparse.Namespace) -> None:
    from .commands.lab import fit, lab, print_duel, print_table, write
    from .lab.plan import read_plan
    from .lab.records import forget
    from .runs.progress import Reporter

    a = arguments
    files, typed = ([one for one in a.files if ("=" in one) == said] for said in (False, True))
    plan = read_plan(files, [*typed, *a.overrides]).chosen(a.pairs, a.candidates, a.seeds)
    if a.fit:
        return fit(plan, a.output, Reporter())
    if a.against:
        return print_duel(plan, a.output, a.against)
    if a.collect or a.table:
        print_table(a.output) if a.table else write(a.output, Reporter())
        return
    forget(a.output, a.rescore)
    if not lab(replace(plan, scored=not a.unscored), a.output, a.jobs, Reporter()):
        raise Problems


def _runs(arguments: argparse.Namespace) -> None:
    from .commands.runs import print_runs

    print_runs(arguments.folder)


if __name__ == "__main__":
    sys.exit(main())
