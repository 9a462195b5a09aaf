"""`keyshift predict` of people in the camera's space: boxes, RootNet, PoseNet, from pictures to absolute 3D poses.

Moon, Chang and Lee, ICCV 2019: a joint's depth is the root's, from RootNet, and the joint's own from PoseNet; it is
back-projected with that depth through the picture's camera (mks0601/3DMPPE_POSENET_RELEASE @ dd025c5, demo/demo.py).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...adapt.scoring.evaluation import with_mirror
from ...datasets.loading import collate
from ...datasets.options import Options, make, option
from ...datasets.reading.boxes import FILES
from ...datasets.reading.detections import Detections, write_roots
from ...datasets.reading.intrinsics import CameraOptions, parse_focal
from ...datasets.reading.people import digest
from ...datasets.sample import Unlabeled, to_space, transform
from ...datasets.words import command_words
from ..report.people_views import StageDrawing
from ..runs.chain import Chain, is_chain, read_chain
from ..runs.chain_inputs import WHOLE, PeopleInputs, Rejected, open_people
from ..runs.chain_networks import Network, Networks, open_networks
from ..runs.chain_smoothing import smoothed, tracks_of, videos
from ..runs.device import choose_device
from ..runs.prediction_files import Gathering, Person, Predicted, check_outputs, draw_all
from ..runs.prediction_formats import writer
from ..runs.prediction_inputs import read_ahead
from ..runs.progress import Reporter
from .predict import NAMED, check_mirror, named, report_unreadable, trained_white

FORMATS = ("coco", "results", "deeplabcut")
"""Forms that hold several people in a picture."""


@dataclass(frozen=True)
class ChainOptions(Options):
    """The words of the command for chains."""

    skeleton: str | None = option(
        None, "what the joints of a released PoseNet are that has neither 18 nor 21: a known name or a YAML"
    )


class Looked(NamedTuple):
    """How a chain is asked."""

    flip_test: bool = False
    mirror: bool = False
    batch: int = 32
    workers: int | None = None


def predict_chain(
    model: Path,
    paths: Sequence[Path],
    output: Path,
    reporter: Reporter,
    *,
    words: Sequence[str] = (),
    root: Path | None = None,
    boxes: str | None = None,
    focal: str | None = None,
    camera: str | None = None,
    draw: Path | None = None,
    flip_test: bool = False,
    smooth_root: int | None = None,
    stride: int | None = None,
    duplicates: float | None = None,
    white: int | str | None = None,
    mirror: bool = False,
    batch: int = 32,
    workers: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    format: str = "coco",
) -> Predicted:
    """Write `output`, a COCO keypoint file with absolute 3D poses in mm, for everyone in the pictures, folders and
    videos `paths`; of a RootNet alone the file of boxes and roots that PoseNet reads. Returns what it holds.

    `model` is a chain's folder, or a PoseNet, a RootPoseNet or a RootNet: a run folder, a weights file or a released
    checkpoint; people of a RootNet alone have no points, but `rows["root3d"]`. `root` is a RootNet, or a file of roots.
    `boxes` is a detector of torchvision, a file, or whole. `focal` and `camera` are those of CameraOptions.
    `smooth_root` is an odd number of frames; the other options are those of `predict`. Boxes of which nothing can be
    cut, and pictures without anyone, are counted, and listed in the JSON. Raises ValueError for bad input, before
    anything is written, and where there is nobody at all.
    """
    write = writer(format, output)
    chain = settle(model, root, boxes, focal, camera)
    roots = chain.root if chain.root is not None and chain.root.suffix.lower() in FILES else None
    options = make(ChainOptions, command_words(words), "the command line")
    network = None if roots is not None else chain.root
    networks = open_networks(chain.pose, network, roots is not None, options.skeleton)
    looked = Looked(flip_test, mirror, batch, workers)
    check_asked(networks, looked, smooth_root, draw, format, reporter)
    check_boxes(chain.boxes, roots)
    seen_as = trained_white(networks.each[-1].weights) if white is None else white
    lens = CameraOptions(None if chain.focal is None else list(chain.focal), chain.camera)
    inputs = open_people(paths, networks, chain.boxes, roots, lens, stride, duplicates, seen_as)
    if smooth_root is not None and not videos(inputs.names):
        raise ValueError(f"--smooth-root {smooth_root}: there is no video among {len(inputs.names)} pictures")
    inputs.said = about(networks, roots, looked, smooth_root)
    check_outputs(inputs, output, draw, overwrite)
    reporter.say(inputs.intrinsics.note)
    predicted = answer_all(networks, inputs, choose_device(device), reporter, looked)
    report_unreadable(predicted, format)
    report_people(predicted, inputs, format == "coco" and networks.pose is not None)
    if smooth_root is not None:
        predicted = smooth(predicted, inputs, smooth_root)
    if networks.pose is None:
        write_roots(output, roots_of(predicted, inputs))
    else:
        write(output, predicted, inputs, networks.skeleton, networks.pose.weights, networks.pose.model.input_size)
    reporter.say(f"{output}: {len(predicted)} people in {int(predicted.readable.sum())} pictures")
    if draw is not None:
        tracks = tracks_of(inputs.names, predicted.rows["place"], predicted.rows["root3d"])
        drawing = StageDrawing(inputs.names, networks.skeleton, tracks)
        draw_all(draw, predicted, inputs, networks.skeleton, reporter, drawing)
    return predicted


def settle(model: Path, root: Path | None, boxes: str | None, focal: str | None, camera: str | None) -> Chain:
    """The chain that the command line means; what it says goes before what a folder says."""
    said = read_chain(model) if is_chain(model) else Chain(model)
    if focal is not None or camera is not None:
        said = replace(said, camera=camera, focal=None if focal is None else tuple(parse_focal(focal)))
    if root is not None:
        given = root.suffix.lower() in FILES  # roots come with their boxes
        said = replace(said, root=root, boxes=None if given else said.boxes)
    return said if boxes is None else replace(said, boxes=boxes)


def check_boxes(boxes: str | None, roots: Path | None) -> None:
    """Raises ValueError where nothing, or two things, say where people are."""
    if boxes is None and roots is None:
        raise ValueError(
            "say where people are: --boxes FILE (.csv or .json), or a detector of torchvision such as --boxes "
            f"maskrcnn_resnet50_fpn; --boxes {WHOLE} where each picture shows one person and nothing else"
        )
    if boxes is not None and roots is not None:
        raise ValueError(f"--boxes {boxes}: {roots} holds the boxes that its roots are of; leave --boxes out")


def check_asked(
    networks: Networks, looked: Looked, smooth_root: int | None, draw: Path | None, format: str, reporter: Reporter
) -> None:
    """Raises ValueError for what a chain cannot be asked."""
    if looked.batch < 1 or (looked.workers is not None and looked.workers < 1):
        raise ValueError(f"batch={looked.batch} and workers={looked.workers} must be at least 1")
    if smooth_root is not None and (smooth_root < 3 or smooth_root % 2 == 0):
        raise ValueError(f"--smooth-root {smooth_root}: expected an odd number of frames, 3 or more")
    if format not in FORMATS:
        raise ValueError(f"format={format} holds one person in a picture; of people in space {', '.join(FORMATS)}")
    if networks.pose is None:
        asked = {"--draw": draw is not None, "--flip-test": looked.flip_test, f"--format {format}": format != "coco"}
        for name in (name for name, given in asked.items() if given):
            raise ValueError(f"{name}: a RootNet alone writes roots, a JSON of boxes; name a PoseNet, and it as --root")
        return
    skeleton = networks.skeleton
    if looked.mirror:
        check_mirror(networks.pose.weights, skeleton, reporter)
    lone = [skeleton.keypoints[k] for k in skeleton.unpaired]
    if looked.flip_test and lone and skeleton.flip_pairs:
        raise ValueError(
            f"--flip-test: {', '.join(lone)} are of one side by name and have no partner; predict without it"
        )


def about(networks: Networks, roots: Path | None, looked: Looked, smooth_root: int | None) -> dict[str, Any]:
    """What the JSON says of how it was made."""

    def one(network: Network) -> dict[str, Any]:
        width, height = network.model.input_size
        file = {"file": network.weights.name, "sha256": digest(network.weights), "input_size": [width, height]}
        return {"network": network.kind, **file, "root": network.root, "extent_mm": network.model.extent}

    chain: dict[str, Any] = {}
    if networks.pose is not None:
        chain["pose"] = one(networks.pose)
    if networks.root is not None:
        chain["root"] = one(networks.root)
    elif roots is not None:
        chain["root"] = {"file": str(roots)}
    said: dict[str, Any] = {"chain": chain, "flip_test": looked.flip_test}
    if smooth_root is not None:
        said["smoothing"] = {"root": "median of its distance over each person's track", "frames": smooth_root}
    return said


def answer_all(
    networks: Networks, inputs: PeopleInputs, device: torch.device, reporter: Reporter, looked: Looked
) -> Predicted:
    """The chain's answers for everyone in every picture, `batch` people at a time."""
    for network in networks.each:
        network.model.to(device)
    gathering = Gathering(inputs, len(networks.skeleton), True)
    chain = Asked(networks, inputs, device, looked.flip_test, gathering)
    with reporter.stage("predict", len(inputs.names)) as show:
        size = networks.each[-1].model.input_size
        ahead = read_ahead(inputs, size, networks.skeleton, looked.mirror, 2 * looked.batch, looked.workers)
        for people in gathering.in_batches(ahead, looked.batch, show):
            chain.answer(people)
    return gathering.predicted()


class Asked(NamedTuple):
    """A chain at work, and where its answers go."""

    networks: Networks
    inputs: PeopleInputs
    device: torch.device
    flip_test: bool
    gathering: Gathering

    @torch.no_grad()
    def answer(self, people: Sequence[Person]) -> None:
        """One batch of people through all networks. Raises ArithmeticError for answers that are not finite."""
        samples = [collate([crops[k] for _, crops in people], False) for k in range(len(self.networks.each))]
        detected = self.detected(people)
        columns: dict[str, np.ndarray] = {
            "place": np.array([place for place, _ in people]),
            "box": np.stack([crops[-1].item.box for _, crops in people]),
            "score": np.concatenate([one.scores for one in detected]),
        }
        roots = np.concatenate([one.roots for one in detected if one.roots is not None] or [np.zeros((0, 3))])
        if self.networks.root is not None:
            roots = self.roots(self.networks.root, samples[0])
        if self.networks.pose is None:
            columns |= {"points": np.zeros((len(people), 1, 2)), "confidence": np.ones((len(people), 1))}
        else:
            poses, roots = self.poses(self.networks.pose, samples[-1], roots)
            columns |= poses
        columns["root3d"] = roots
        broken = ~np.all([np.isfinite(v.reshape(len(v), -1)).all(1) for v in columns.values()], 0)
        if broken.any():
            name = people[int(broken.argmax())][1][0].item.id
            raise ArithmeticError(f"the chain's answers for {name} are not finite: a network's weights are broken")
        ahead = roots[:, 2] > 0
        for row in np.flatnonzero(~ahead).tolist():
            reason = f"RootNet tells a root behind the camera, at z = {roots[row, 2]:.0f} mm"
            one = Rejected(detected[row].boxes[0], float(detected[row].scores[0]), reason)
            self.inputs.rejected.setdefault(people[row][1][0].item.id, []).append(one)
        self.gathering.add(**{name: values[ahead] for name, values in columns.items()})

    def detected(self, people: Sequence[Person]) -> list[Detections]:
        """What was known of each person before."""
        known = []
        for place, crops in people:
            width, height = self.gathering.sizes[place].tolist()
            one, row = (
                self.inputs.detections(self.inputs.names[place], width, height),
                slice(crops[0].row, crops[0].row + 1),
            )
            known.append(Detections(one.boxes[row], one.scores[row], None if one.roots is None else one.roots[row]))
        return known

    def roots(self, network: Network, sample: Unlabeled) -> np.ndarray:
        """(B, 3) mm in the camera's frame."""
        moved = sample.to(self.device)
        points = network.model.decode(network.model(moved), moved).points
        return in_space(sample, points, None)[:, 0]

    def poses(self, network: Network, sample: Unlabeled, roots: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The columns of each person's pose, and the roots (B, 3) mm; those of the network where none are known."""
        model, flip, moved = network.model, network.skeleton.flip, sample.to(self.device)
        votes = model(moved)
        poses = model.decode(votes, moved)
        if not len(roots):
            roots = in_space(sample, votes.extra["root"].mean(), None)[:, 0]
        del votes  # a second volume is as large
        if self.flip_test:
            poses = with_mirror(poses, model, moved, flip)
        points = transform(sample.to_file.double(), poses.points.cpu().double())[..., :2].numpy()
        made = {
            "points": points,
            "confidence": poses.confidence.float().clamp_min(0).cpu().numpy(),
            "points3d": in_space(sample, poses.points, roots[:, 2]),
        }
        mirrored = torch.linalg.det(sample.to_file[:, :2, :2]) < 0
        if bool(mirrored.any()):  # what looks like a left wrist is a right one
            made = {name: values[:, flip] for name, values in made.items()}
        return made, roots


def in_space(sample: Unlabeled, points: Tensor, depths: np.ndarray | None) -> np.ndarray:
    """Points (B, K, 3) px, px and mm of the input as mm in the camera's frame; `depths` (B,) mm are where z is counted
    from, if it is not the camera."""
    placed = transform(sample.to_file.double(), points.cpu().double())
    if depths is not None:
        placed[..., 2] += torch.from_numpy(depths)[:, None]
    return to_space(placed, sample.camera.double()).numpy()


def smooth(predicted: Predicted, inputs: PeopleInputs, frames: int) -> Predicted:
    """The people with their distances smoothed over `frames` frames of their videos, each joint along its own ray, and
    the number of their track."""
    rows = predicted.rows
    tracks = tracks_of(inputs.names, rows["place"], rows["root3d"])
    depths = smoothed(rows["place"], tracks, rows["root3d"][:, 2], inputs.names, frames)
    made = np.zeros(len(rows), np.dtype([*rows.dtype.descr, ("track", np.int64)]))
    for name in predicted.columns:
        made[name] = rows[name]
    made["track"] = tracks
    made["root3d"] *= (depths / rows["root3d"][:, 2])[:, None]
    if "points3d" in predicted.columns:
        z = rows["points3d"][..., 2:] + (depths - rows["root3d"][:, 2])[:, None, None]
        cameras = np.array([inputs.intrinsics.of(inputs.names[p], *predicted.sizes[p].tolist()) for p in rows["place"]])
        placed = np.concatenate([rows["points"], z], -1).astype(np.float64)
        made["points3d"] = to_space(torch.from_numpy(placed), torch.from_numpy(cameras)).numpy()
    return replace(predicted, rows=made)


def roots_of(predicted: Predicted, inputs: PeopleInputs) -> Mapping[str, Detections]:
    """Processed boxes with roots, by picture."""
    groups = (
        (inputs.names[place], predicted.rows[slice(*predicted.first[place : place + 2])])
        for place in range(len(inputs.names))
    )
    return {name: Detections(rows["box"], rows["score"], rows["root3d"]) for name, rows in groups if len(rows)}


def report_people(predicted: Predicted, inputs: PeopleInputs, listed: bool) -> None:
    """The boxes of which nothing was made and the pictures without anyone, on stderr, and whether the output lists all.
    Raises ValueError where no picture can be read, and where nobody is left."""
    pictures, lost = len(inputs.names), predicted.unreadable
    if not predicted.readable.any():
        raise ValueError(f"none of the {len(lost)} pictures can be read; the first: {named(*lost[0])}")
    rejected = [(name, one) for name in inputs.names for one in inputs.rejected.get(name, ())]
    for name, one in rejected[:NAMED]:
        print(f"left out: the box {one.box.round(1).tolist()} of {name}: {one.reason}", file=sys.stderr)
    if not len(predicted):
        raise ValueError(f"nobody in {pictures} pictures: of {len(rejected)} boxes none can be used")
    if rejected:
        where = "; all are listed as rejected" if listed else ""
        print(f"{len(rejected)} boxes were left out{where}", file=sys.stderr)
    places = np.flatnonzero(predicted.readable)
    nobody = int((np.diff(predicted.first)[places] == 0).sum())
    if nobody:
        print(f"{nobody} of {len(places)} pictures show nobody", file=sys.stderr)
