"""keyshift evaluate: score the selected weights of a run on its test sets, or a file of predictions."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .words import path, word


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        metavar="RUN",
        type=path,
        nargs="?",
        help="a run folder; or what predict wrote: FILE.json LABELS.json, people in pictures against a COCO keypoint "
        "JSON; FILE.json posetrack, against PoseTrack's labels; or FILE.json NAME, people in space against a "
        "labelled set",
    )
    parser.add_argument(
        "--root", metavar="RUN", type=path, help="beside a run of pose_net one of root_net: which part loses what"
    )
    parser.add_argument(
        "--boxes",
        metavar="FILE",
        type=word,
        help="with --root: a file of boxes, or a detector (default: the set's own)",
    )
    parser.add_argument(
        "--by", choices=("sequence", "action"), help="a row for each sequence, or action of Human3.6M, too"
    )
    parser.add_argument(
        "--refocus",
        metavar="F,F",
        help="of a run of root_net: its test samples by cameras of so many times the focal length, 0.7,1,1.5",
    )
    parser.add_argument(
        "--predictions", metavar="FILE", type=path, help="instead of RUN: one frame a line, u v d a joint"
    )
    parser.add_argument("--truth", metavar="FILE", type=path, help="the labels of the same frames, in the same form")
    parser.add_argument("--dataset", metavar="NAME", help="whose camera and joints: nyu, icvl, msra, hands2017 or itop")
    parser.add_argument(
        "--space", metavar="SPACE", help="uvd (px, px, mm), or mm in space: xyz (hands2017), xyz-up (y up), xyz-up-back"
    )
    parser.add_argument("--unit", help="of lengths: mm (default), cm, m or the mm in one")
    parser.add_argument("--truth-space", metavar="SPACE", help="of the truth where it is another than the predictions'")
    parser.add_argument("--truth-unit", metavar="UNIT", help="of the truth where it is another")
    parser.add_argument("--camera", metavar="F", help="f, or fx,fy, or fx,fy,cx,cy: instead of the dataset's")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="for example selection=source target.root=FOLDER"
    )


def run(arguments: Namespace) -> None:
    from ..runs.progress import Reporter

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
            from ..commands.evaluate_chain import evaluate_chain

            evaluate_chain(a.folder, a.root, a.overrides, Reporter(), a.boxes)
        elif a.refocus is not None:
            from ..commands.evaluate_focal import evaluate_focal

            evaluate_focal(a.folder, a.overrides, factors_of(a.refocus), Reporter())
        elif a.folder.suffix.lower() == ".json" and len(a.overrides) == 1 and a.overrides[0].lower().endswith(".json"):
            from ..commands.evaluate_pictures import evaluate_pictures

            if a.by is not None:
                raise ValueError("--by is of a run's test sets, or of people in space; leave it out")
            evaluate_pictures(a.folder, path(a.overrides[0]), Reporter())
        elif a.folder.suffix.lower() == ".json" and a.overrides[:1] == ["posetrack"]:
            from ..commands.evaluate_posetrack import evaluate_posetrack

            if a.by is not None:
                raise ValueError("--by is of a run's test sets, or of people in space; leave it out")
            evaluate_posetrack(a.folder, a.overrides[1:], Reporter())
        elif a.folder.suffix.lower() == ".json":
            from ..commands.evaluate_people import evaluate_people

            evaluate_people(a.folder, a.overrides, Reporter(), a.by)
        else:
            from ..commands.evaluate import evaluate

            evaluate(a.folder, a.overrides, Reporter(), a.by)
    elif a.folder is None and not missing and not a.overrides:
        from ..commands.evaluate_files import evaluate_files

        forms = (a.space, a.unit, a.truth_space, a.truth_unit, a.camera)
        evaluate_files(a.predictions, a.truth, a.dataset, Reporter(), *forms)
    else:
        raise ValueError(
            "evaluate takes RUN, or a JSON of `keyshift predict` and LABELS.json or a DATASET, or --predictions FILE "
            "--truth FILE --dataset NAME together; missing: "
            f"{', '.join(missing) or 'nothing, but RUN stands beside them'}"
        )


def factors_of(text: str) -> list[float]:
    """Numbers with commas between them. Raises ValueError for anything else."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--refocus {text}: numbers with commas between them, such as 0.7,1,1.5") from None
