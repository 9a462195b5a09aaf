"""`keyshift predict`: a trained model's keypoints for any pictures, videos and depth frames, as one COCO file."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ...datasets.loading import Crop, collate
from ...datasets.options import plain_options
from ...datasets.own.kind import check_kind
from ...datasets.reading.boxes import SCORE
from ...datasets.reading.video import is_frame
from ...datasets.sample import IN_MM, PIXELS_AND_MM, Unlabeled, to_space, transform
from ...datasets.skeleton import Skeleton
from ...models.output import Poses
from ...models.pose_model import PoseModel
from ...models.saved import load_model
from ..runs.device import choose_device
from ..runs.folder import identity_of, locate
from ..runs.people_nms import Picking, check_nms
from ..runs.prediction_clips import OrderedInputs, in_order
from ..runs.prediction_files import Gathering, Predicted, check_outputs
from ..runs.prediction_formats import writer
from ..runs.prediction_inputs import Held, Inputs, one_ahead, open_inputs, read_ahead
from ..runs.prediction_passing import Painter, Passing
from ..runs.progress import Callback, Reporter
from ..runs.subjects import compare_whole, recall
from ..runs.tracks import Following
from .predict_depth import Trained, open_depth, training_of
from .predict_lift import check_lifter, predict_lift, predictions_file

NAMED = 10
"""Files without an answer that are named on the terminal; all are in COCO's JSON."""
KINDS = ("pictures", "depth frames")
CUT_BY = ("center", "cube")


class Opened(NamedTuple):
    """A trained network and what it takes to use it."""

    model: PoseModel
    skeleton: Skeleton
    size: tuple[int, int]
    """Width and height of its input."""
    trained: Trained | None = None
    """How depth frames were cut for it; None for a network of pictures, and where a weights file lies outside its run.
    """


def open_model(path: Path) -> Opened:
    """The network of a run folder or weights file, in evaluation mode on the CPU. Raises ValueError as `locate` does,
    and for a corrupt or foreign file."""
    weights, run = locate(path)
    model, skeleton = load_model(weights)
    trained = training_of(run) if "reach" in model.reads and run is not None else None
    return Opened(model.merged().eval(), skeleton, model.input_size, trained)


def trained_white(model: Path) -> int | None:
    """The level that was white in the pictures of 16 bit that a run adapted to, or was trained on."""
    identity = identity_of(locate(model)[1])
    level = (identity.get("target_train") or identity.get("source_train") or {}).get("white")
    return level if isinstance(level, int) else None


def check_model(path: Path, model: PoseModel, boxes: str | None) -> None:
    """Raises ValueError for a system that reads other things than pictures, clips of them or depth frames, or does not
    answer in their pixels, and for boxes where it finds people itself."""
    name, wanted = type(model).__name__, None
    if set(model.reads) - {"reach", "margins"} != {"image"}:
        wanted = f"reads {' and '.join(model.reads)}, and predict gives pictures, clips and depth frames alone"
    elif model.space in IN_MM:
        wanted = f"answers in {model.space}, and predict writes pixels"
    if wanted is not None:
        raise ValueError(f"{path}: {name} {wanted}; score it on data that fits: keyshift evaluate RUN")
    if not model.single:
        check_no_boxes(str(path), boxes)


def check_no_boxes(model: str, boxes: str | None, option: str = "boxes") -> None:
    """Raises ValueError for boxes that are given to a model that finds people itself."""
    if boxes not in (None, "whole"):
        raise ValueError(
            f"{option}={boxes}: {model} finds the people of a whole picture itself, and reads no boxes; leave them out"
        )


def check_mirror(path: Path, skeleton: Skeleton, reporter: Reporter) -> None:
    """Raises ValueError where some keypoints change places in a mirrored picture, and of others it is not known. A
    network that knows one side alone is what mirroring is for; names stay then."""
    lone = ", ".join(skeleton.keypoints[k] for k in skeleton.unpaired)
    if lone and skeleton.flip_pairs:
        raise ValueError(
            f"--mirror: of the keypoints of {path}, {lone} are of one side by name and have no partner, so their names "
            "would be wrong. Predict without --mirror; a network trained with flip_pairs in its skeleton= can do it"
        )
    if lone:
        reporter.say(f"--mirror: these names stay, although the picture is mirrored: {lone}")


def predict(
    model: Path,
    paths: Sequence[Path],
    output: Path,
    reporter: Reporter,
    *,
    words: Sequence[str] = (),
    boxes: str | None = None,
    draw: Path | None = None,
    stride: int | None = None,
    duplicates: float | None = None,
    white: int | str | None = None,
    mirror: bool = False,
    batch: int = 32,
    workers: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    format: str = "coco",
    box_score: float | None = None,
    nms: str | None = None,
    tracks: bool | None = None,
    focal: str | None = None,
    camera: str | None = None,
) -> Predicted:
    """Write `output`, a COCO keypoint file unless `format` says otherwise, for the pictures, folders and videos
    `paths`, or for depth frames where the model reads depth; returns what it holds.

    `boxes`, `stride`, `duplicates` and `white` are those of datasets/own/pictures.py; without `white` it is that of the
    run's own pictures. `words` are key=value for depth frames (see `open_depth`). `draw` is a folder for drawings.
    `mirror` shows pictures mirrored to the network: right hands to one that knows left ones. `format` is a key of
    FORMATS in experiments/runs/prediction_formats.py. `box_score` is the least of boxes that are used (default: SCORE
    of datasets/reading/boxes.py); `nms` puts the answers for one person together, as `nms_of` in
    experiments/runs/people_nms.py reads it. `focal` and `camera` are those of CameraOptions, for a lifter, which takes
    what this wrote of a video as its only path (predict_lift.py). `tracks` says whether people keep numbers over the
    frames of a video and the pictures of a folder; None: where there are videos, and several people can be in a
    picture. Files that cannot be read are listed on stderr and in COCO's JSON. Raises ValueError for bad input, before
    anything is written, and where no picture at all can be read.
    """
    write = writer(format, output)
    opened, processor = open_model(model), choose_device(device)
    if batch < 1 or (workers is not None and workers < 1):
        raise ValueError(f"batch={batch} and workers={workers} must be at least 1")
    if "keypoints2d" in opened.model.reads:
        path = predictions_file(model, paths)
        check_lifter(model, opened.model, opened.skeleton)
        takes = f"{model} lifts 2D keypoints, and takes --focal, --camera, --draw and --batch"
        of_pictures: dict[str, object] = {"boxes": boxes, "box_score": box_score, "nms": nms, "tracks": tracks}
        of_pictures |= {"stride": stride, "duplicates": duplicates, "white": white, "mirror": mirror or None}
        refuse(takes, **of_pictures, format="uvd" if format == "uvd" else None, **words_of(words))
        network, weights = opened.model.to(processor), locate(model)[0]
        return predict_lift(
            *(network, opened.skeleton, path, output, write, weights, reporter),
            focal=focal,
            camera=camera,
            draw=draw,
            batch=batch,
            overwrite=overwrite,
        )
    refuse(f"{model} is no lifter, PoseNet or RootNet, which read a camera", focal=focal, camera=camera)
    check_model(model, opened.model, boxes)
    if mirror:
        check_mirror(model, opened.skeleton, reporter)
    depth = "reach" in opened.model.reads
    for path in paths[:NAMED]:
        if path.exists():
            check_kind(str(model), depth, path)
    inputs: Inputs
    chosen = None
    if depth:
        takes = "reads depth, and takes --stride and key=value of depth_folder"
        of_people: dict[str, object] = {"boxes": boxes, "box_score": box_score, "nms": nms, "tracks": tracks}
        refuse(f"{model} {takes}", **of_people, duplicates=duplicates, white=white)
        network = opened.model.to(processor)
        inputs = open_depth(paths, words, network, opened.skeleton, opened.trained, stride, processor, reporter)
    else:
        takes = "reads pictures, and takes --boxes, --box-score, --nms, --stride, --duplicates and --white"
        of_depth = "uvd" if format == "uvd" else None
        refuse(f"{model} {takes}", format=of_depth, **words_of(words))
        several = boxes not in (None, "whole") or not opened.model.single
        least = check_box_score(box_score, boxes)
        chosen = None if nms is None else check_nms(nms, several, opened.skeleton)
        seen_as = trained_white(model) if white is None else white
        inputs = open_inputs(paths, boxes, stride, duplicates, seen_as, least)
        if tracks is None:
            tracks = several and any(map(is_frame, inputs.names))
        if tracks or opened.model.frames:
            inputs = in_order(inputs, opened.model.frames)
    check_outputs(inputs, output, draw, overwrite)
    skeleton, crops = opened.skeleton, opened.model.single
    picking = None if chosen is None else Picking(str(nms), chosen, crops, skeleton)
    following = Following(inputs, skeleton) if tracks and isinstance(inputs, OrderedInputs) else None
    with ExitStack() as stack:
        painter = None
        if draw is not None:
            inputs.held = None if depth else Held()
            painter = stack.enter_context(Painter(draw, inputs, skeleton))
        passing = Passing(inputs, len(skeleton), crops, picking, following, painter)
        predicted = answer_all(opened, inputs, processor, reporter, mirror, batch, workers, passing)
        if boxes is None and opened.model.single:
            doubt_whole(model, predicted, reporter)
        lost = predicted.unreadable + predicted.unlocated
        if not predicted.readable.any():
            raise ValueError(f"none of the {len(lost)} {KINDS[depth]} can be read; the first: {named(*lost[0])}")
        report_unreadable(predicted, format)
        if picking is not None:
            inputs.said = inputs.said | {"nms": plain_options(picking.options)}
            reporter.say(picking.said())
        write(output, predicted, inputs, skeleton, locate(model)[0], opened.size)
        reporter.say(f"{output}: {len(predicted)} people in {int(predicted.readable.sum())} {KINDS[depth]}")
    return predicted


def doubt_whole(model: Path, predicted: Predicted, reporter: Reporter) -> None:
    """`compare_whole` for pictures of which nobody said that they are to be taken whole."""
    spans = np.ptp(predicted.points, 1).max(1) / (predicted.boxes[:, 2] - predicted.boxes[:, 0])
    remedy = "--boxes FILE, or a detector's name; where they are such crops, say --boxes whole"
    compare_whole(recall(locate(model)[1]), spans, remedy, reporter)


def check_box_score(least: float | None, boxes: str | None) -> float:
    """The least score of boxes. Raises ValueError for one without boxes, and one that no score can be."""
    if least is not None and boxes in (None, "whole"):
        raise ValueError(f"--box-score {least:g} is of boxes: say --boxes FILE, or a detector's name")
    if least is not None and not 0 <= least <= 1:
        raise ValueError(f"--box-score {least:g} must be at least 0 and at most 1")
    return SCORE if least is None else least


def words_of(words: Sequence[str]) -> dict[str, str]:
    """{key: value} of words key=value."""
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def refuse(why: str, **options: object) -> None:
    """Raises ValueError that says why for an option that is given."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name}={value}: {why}")


def named(name: str, reason: str) -> str:
    """The reason, which begins with the file's name or path as it is, or after its name."""
    return reason if reason.partition(": ")[0].endswith(name) else f"{name}: {reason}"


def report_unreadable(predicted: Predicted, format: str) -> None:
    """The first files without an answer and their number on stderr, and where all are listed."""
    listed = "all are listed" if format == "coco" else "--format coco lists all"
    for what, files in (("unreadable", predicted.unreadable), ("without center", predicted.unlocated)):
        for name, reason in files[:NAMED]:
            print(f"{what}: {named(name, reason)}", file=sys.stderr)
    if predicted.unreadable:
        print(f"{len(predicted.unreadable)} could not be read; {listed} as unreadable", file=sys.stderr)
    if predicted.unlocated:
        print(f"{len(predicted.unlocated)} have no usable centre; {listed} as without_center", file=sys.stderr)


class Asked(NamedTuple):
    """A batch that the network is asked about, and its answers on the CPU, which are there once it is `ready`."""

    crops: list[tuple[int, Crop]]
    """Each with its picture's place."""
    sample: Unlabeled
    poses: Poses
    ready: torch.cuda.Event | None

    def wait(self) -> None:
        if self.ready is not None:
            self.ready.synchronize()


def answer_all(
    opened: Opened,
    inputs: Inputs,
    device: torch.device,
    reporter: Reporter,
    mirror: bool,
    batch: int,
    workers: int | None = None,
    passing: Passing | None = None,
) -> Predicted:
    """The model's answers for everyone in every picture, as `passing` makes people of them. Threads read pictures and
    put the next batch together while the network is at one, and a GPU is given that before anybody looks at the answers
    of the one before."""
    model, before = opened.model.to(device), deque[Asked]()
    if passing is None:
        passing = Passing(inputs, len(opened.skeleton), model.single)
    gathering = passing.candidates

    def batches(show: Callback) -> Iterator[tuple[list[tuple[int, Crop]], Unlabeled]]:
        ahead = read_ahead(inputs, opened.size, opened.skeleton, mirror, 2 * batch, workers)
        for people in gathering.in_batches(ahead, batch, show):
            crops = [(place, crop) for place, (crop,) in people]
            sample = collate([crop for _, crop in crops], labels=False)
            yield crops, sample.pin_memory() if device.type == "cuda" else sample

    def take(asked: Asked) -> None:
        asked.wait()
        gather(asked.poses, asked.sample, asked.crops, model.single, opened.skeleton, gathering)
        passing.up_to(asked.crops[-1][0])

    with reporter.stage("predict", len(inputs.names)) as show:
        for crops, sample in one_ahead(batches(show)):
            before.append(Asked(crops, sample, *answer(model, sample, device)))
            if len(before) > 1:
                take(before.popleft())
        for asked in before:
            take(asked)
        passing.up_to(len(inputs.names))
    return passing.predicted()


@torch.no_grad()
def answer(model: PoseModel, sample: Unlabeled, device: torch.device) -> tuple[Poses, torch.cuda.Event | None]:
    """The network's answers for one batch, on the CPU; of a GPU, which is not waited for, they are there with the
    event."""
    gpu = device.type == "cuda"
    moved = sample.to(device, non_blocking=gpu)
    poses = model.decode(model(moved), moved).each(lambda tensor: tensor.to("cpu", non_blocking=gpu))
    return poses, torch.cuda.current_stream(device).record_event() if gpu else None


def gather(
    poses: Poses,
    sample: Unlabeled,
    crops: Sequence[tuple[int, Crop]],
    single: bool,
    skeleton: Skeleton,
    gathering: Gathering,
) -> None:
    """The answers for a batch of crops, into `gathering`; `single`: one for each. Raises ArithmeticError for answers
    that are not finite."""
    poses = poses.each(torch.Tensor.cpu)
    image_index, score = poses.image_index.numpy(), poses.score.float().numpy()
    joints = {"confidence": poses.confidence.float().numpy(), **in_file(poses, sample)}
    if crops[0][1].item.mirrored:  # what looks like a left wrist is a right one
        joints = {name: values[:, skeleton.flip] for name, values in joints.items()}
    points, confidence = joints["points"], joints["confidence"]
    broken = ~(np.isfinite(points).all((1, 2)) & np.isfinite(confidence).all(1) & np.isfinite(score))
    if broken.any():
        name = crops[image_index[broken.argmax()]][1].item.id
        raise ArithmeticError(f"the model's answers for {name} are not finite: its weights are broken")
    places = np.array([place for place, _ in crops])[image_index]
    if single:
        box = np.stack([crop.item.box for _, crop in crops])[image_index]
        score = confidence.astype(np.float64).mean(1)  # which poses.score is, to fewer digits
    else:
        box = np.concatenate([points.min(1), points.max(1)], 1)
    cuts = {}
    if sample.space == PIXELS_AND_MM:
        cuts = {name: np.stack([getattr(crop.item, name) for _, crop in crops])[image_index] for name in CUT_BY}
    gathering.add(place=places, box=box, score=score, **joints, **cuts)


def in_file(poses: Poses, sample: Unlabeled) -> dict[str, np.ndarray]:
    """The people's `points` (P, K, 2) in file pixels and, of depth with a z, `points3d` (P, K, 3) in mm in the camera's
    frame."""
    placed = transform(sample.to_file[poses.image_index], poses.points)
    if sample.space != PIXELS_AND_MM or placed.shape[-1] == 2:
        return {"points": placed[..., :2].float().numpy()}
    points3d = to_space(placed, sample.camera[poses.image_index])
    return {"points": placed[..., :2].float().numpy(), "points3d": points3d.float().numpy()}
