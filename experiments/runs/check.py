"""Target pictures and depth frames in `keyshift adapt`: those that cannot be used are left out, and labelled ones
(--check) are opened first, looked at last, and for the report alone."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...adapt.scoring.evaluation import Predictions, scores
from ...adapt.scoring.paired import interval
from ...adapt.scoring.resampling import runs_of
from ...datasets.catalog import open_dataset, options_of
from ...datasets.doubts import doubts
from ...datasets.loading import check_item
from ...datasets.options import plain_options
from ...datasets.own.depth_folder import DepthFolder
from ...datasets.reading.doubts import resized, sizes_differ
from ...datasets.reading.headers import read_headers
from ...datasets.reading.images import UnreadableImage, read_image
from ...datasets.reading.people import WHOLE, People, PictureSet
from ...datasets.reading.video import file_of, is_frame
from ...datasets.sample import PoseDataset
from ...datasets.skeleton import Skeleton
from ...datasets.views import Extended, Flat, InSpace, Rows, Selected, as_clips, innermost
from ...models.pose_model import PoseModel
from .centers import centered
from .conclusion import predicted
from .device import choose_device
from .progress import Reporter
from .task import Task

FEWEST_BLOCKS = 10
"""Into which labelled pictures are cut where no file says which recording each is of."""
LABELLED = 30
"""Fewest labelled pictures of which a number says much."""


def without_unreadable(task: Task, reporter: Reporter) -> tuple[Task, list[str]]:
    """The task without target pictures that cannot be read and depth frames that cannot be cut, and which these are.
    Frames of videos were decoded when the video was opened."""
    parts: dict[str, Any] = {}
    names: list[str] = []
    for part in ("target_train", "target_test"):
        dataset: Any = getattr(task, part)
        table = picture_set(dataset)
        if table is None and not isinstance(innermost(dataset), DepthFolder):
            continue
        with ThreadPoolExecutor() as pool:
            why = list(pool.map(partial(unusable, dataset if table is None else table), range(len(dataset))))
        fine = [reason is None for reason in why]
        names += [reason for reason in why if reason is not None]
        if not any(fine):
            raise ValueError(f"{dataset.name}: not one of {len(fine)} pictures can be read, {names[0]} first")
        if not all(fine):
            parts[part] = Rows(dataset, [row for row, good in enumerate(fine) if good])
    names = sorted(set(names))
    if names:
        reporter.say(f"left out, because they cannot be read: {len(names)} pictures, {names[0]} first")
    return replace(task, **parts), names


@dataclass(frozen=True)
class Labels:
    """The labels of --check, and how their pictures and joints are to those of the run."""

    table: PictureSet
    missing: list[str]
    """Joints that the network predicts and the labels do not hold."""


def open_labels(path: Path, root: Path, skeleton: Skeleton, single: bool = True) -> Labels:
    """The labelled pictures of --check below `root`, looked at as far as it takes no time: before anything else is
    opened; for a network that is not `single` whole ones, with everyone whom the file knows. Raises ValueError for
    labels without a joint of `skeleton`, of no picture that can be read, or of pictures of another size."""
    if path.suffix.lower() in (".yaml", ".yml", ".txt"):
        raise ValueError(f"--check {path}: expected a COCO keypoint JSON, or a CSV of DeepLabCut or Lightning Pose")
    name = "deeplabcut" if path.suffix.lower() == ".csv" else "coco_json"
    folder = root if root.is_dir() else root.parent
    said: dict[str, Any] = {"root": str(folder), "labels": [str(path), str(path)]}
    said |= {"boxes": "whole"} if single else {"crops": WHOLE}
    try:
        table = picture_set(open_dataset(name, options_of(name, said, "--check"), "test"))
        assert table is not None
        block = len(set(table.people.pictures)) // FEWEST_BLOCKS
        if (
            block < plain_options(options_of(name, said, "--check"))["block"]
        ):  # where no recordings are said, enough blocks to judge by
            said["block"] = max(block, 1)
            table = picture_set(open_dataset(name, options_of(name, said, "--check"), "test"))
            assert table is not None
    except ValueError as error:
        raise ValueError(f"--check (its root= is --check-root): {error}") from error
    missing = [name for name in skeleton.keypoints if name not in table.skeleton.keypoints]
    if len(missing) == len(skeleton):
        raise ValueError(
            f"--check {path} labels {', '.join(table.skeleton.keypoints)}, and the network predicts "
            f"{', '.join(skeleton.keypoints)}: there is no joint to score. Rename the labels' joints"
        )
    shared = [table.skeleton.keypoints.index(name) for name in skeleton.keypoints if name not in missing]
    headers = read_headers(table.root, table.people.pictures)
    people = table.people
    there = np.array([name in headers for name in people.pictures])
    known = there & people.annotated[:, shared].any(1)
    check_count(path, table, np.flatnonzero(known))
    table = replace(table, people=people.select(np.flatnonzero(known if single else there)))
    declared = {} if table.declared is None else table.declared()
    wrong = resized(declared, headers)
    if 2 * len(wrong) > len(headers):
        raise ValueError(f"--check {path}: {sizes_differ(declared, headers)[0].text}. --check-root says where they lie")
    for doubt in doubts(table):
        if doubt.problem:
            warnings.warn(f"--check {path}: {doubt.text}", stacklevel=2)
    return Labels(table, missing)


def check_count(path: Path, table: PictureSet, rows: Sequence[int] | np.ndarray) -> None:
    """Raises ValueError where the usable `rows` are of no picture; warns of fewer than LABELLED."""
    say_few(path, len({table.people.pictures[row] for row in rows}), table.root)


def say_few(path: Path, count: int, root: Path) -> None:
    """`check_count` of what are pictures or frames below `root`."""
    if not count:
        raise ValueError(f"--check {path} labels no picture of {root} that can be read")
    if count < LABELLED:
        warnings.warn(
            f"--check {path} labels {count} pictures of {root} that can be read: fewer than {LABELLED} are little to "
            "judge by, as the gain's interval will show",
            stacklevel=3,
        )


def check_deciding(path: Path, dataset: PoseDataset) -> None:
    """Raises ValueError for fewer labelled pictures than may decide what is shipped, and for labels that cannot tell
    what a network of the root alone answers, its distance."""
    if isinstance(dataset, Flat) and len(dataset.skeleton) == 1:
        raise ValueError(
            f"--check {path} tells x and y of the root, and its distance is what is adapted: labels in the picture "
            "cannot decide. Leave --decide-by-check out, and let the labels check alone"
        )
    count = pictures_of(dataset)
    if count < LABELLED:
        raise ValueError(
            f"--decide-by-check asks for {LABELLED} labelled pictures or more, and --check {path} gives {count}: label "
            "more, or leave --decide-by-check out and let the labels check alone"
        )


def pictures_of(dataset: PoseDataset) -> int:
    """How many pictures or frames labelled samples are of."""
    table = picture_set(dataset)
    return len(dataset) if table is None else len(set(table.people.pictures))


def open_check(path: Path, labels: Labels | None, task: Task, frames: int = 0) -> PoseDataset:
    """The labelled pictures cut as the target's are: whole, or by the target's own boxes; of depth frames, whose
    labels are not opened before, by its centres. A system that reads clips of `frames` frames sees them in such. Labels
    of pictures judge x and y alone of a system that sees people in space. Raises ValueError where none can be read."""
    if labels is None:
        return open_depth_check(path, task)
    target = picture_set(task.target[0])
    table = replace(labels.table, white=None if target is None else target.white)
    readable = {table.picture(index) for index in range(len(table)) if reads(table, index)}
    rows = [row for row, name in enumerate(table.people.pictures) if name in readable]
    check_count(path, table, rows)
    boxes = target_boxes(task)
    if boxes is None:
        table = replace(table, people=table.people.select(rows))
    elif set(boxes) & set(table.people.pictures):
        rows = [row for row in rows if table.people.pictures[row] in boxes]
        people = table.people.select(rows)
        cuts = [nearest(boxes[name], people, row) for row, name in enumerate(people.pictures)]
        table = replace(table, boxes=None, people=replace(people, boxes=np.array(cuts).reshape(-1, 4)))
    elif table.people.boxes is not None:
        table = replace(table, boxes=None, people=table.people.select(rows))
    else:
        raise ValueError(f"--check {path}: the target is cut by boxes, and these labels hold none for their pictures")
    extended = Extended(table, task.skeleton)
    flat = as_clips(extended, frames) if frames else extended
    given = task.target[0]
    return Flat(InSpace(flat, given.rooted)) if isinstance(given, InSpace) else flat


def trained_on(labels: Labels, task: Task) -> list[str]:
    """The labelled pictures that are adapted to as well, found by their places and by the content of their files."""
    table, target = labels.table, picture_set(task.target[0])
    if target is None:
        return []
    places, theirs = (
        {
            name: f"{(one.root / file_of(name)).resolve()}{name[len(file_of(name)) :]}"
            for name in set(one.people.pictures)
        }
        for one in (table, target)
    )
    known = set(theirs.values())
    sums = {content(Path(place)) for place in known - set(places.values()) if Path(place).is_file()}
    return [name for name, place in places.items() if place in known or content(Path(place)) in sums]


def content(file: Path) -> bytes:
    """What names the bytes of a file; of one that cannot be read, its name."""
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=16).digest()
    except OSError:
        return os.fsencode(file)


def open_depth_check(path: Path, task: Task) -> PoseDataset:
    """The frames of the target that a labels.csv says joints of."""
    folder = innermost(task.target[0])
    assert isinstance(folder, DepthFolder)

    def open(options: Any) -> PoseDataset:
        return DepthFolder(options, None, folder.skeleton, labels=path)

    device = choose_device(task.config.device)
    dataset = centered(task.target_options, open, device)
    rows = [row for row in range(len(dataset)) if unusable(dataset, row) is None and dataset[row].annotated.any()]
    say_few(path, len(rows), folder.root)
    return Selected(Rows(dataset, rows), task.skeleton.keypoints)


def target_boxes(task: Task) -> dict[str, list[np.ndarray]] | None:
    """The boxes of each target picture; None where pictures are cut whole."""
    boxes: dict[str, list[np.ndarray]] = {}
    for table in map(picture_set, task.target):
        if table is None or table.people.boxes is None or table.cut != "file":
            return None
        for name, box in zip(table.people.pictures, table.people.boxes, strict=True):
            boxes.setdefault(name, []).append(box)
    return boxes


def nearest(boxes: list[np.ndarray], people: People, row: int) -> np.ndarray:
    """The box whose middle is nearest to that of a person's labelled joints: whose box it is, and nothing more, is read
    off the labels."""
    middle = people.keypoints[row][people.annotated[row]].mean(0)
    return min(boxes, key=lambda box: float(np.linalg.norm((box[:2] + box[2:]) / 2 - middle)))


def judge(
    before: PoseModel, after: PoseModel, dataset: PoseDataset, labels: Labels | None, task: Task, device: torch.device
) -> dict[str, Any]:
    """Scores of both models on labelled pictures, which `open_check` made of `labels`, and the gain with its interval
    over blocks of pictures."""
    given, adapted = (predicted(model, task, dataset, device) for model in (before, after))
    flat = isinstance(dataset, Flat)
    if flat:
        given, adapted = given.in_plane(), adapted.in_plane()
    return {
        **compared(given, adapted, task.skeleton, task.config.threshold),
        "pictures": pictures_of(dataset),
        "boxes": dataset.identity.get("boxes"),
        "flat": flat,
        **({} if labels is None else {"missing": labels.missing, "adapted_to": len(trained_on(labels, task))}),
    }


def compared(given: Predictions, adapted: Predictions, skeleton: Skeleton, threshold: float) -> dict[str, Any]:
    """Scores of two models' predictions for the same people, and the gain with its interval of 95 % over blocks."""
    headline = given.headline(threshold)
    runs = [runs_of([own], headline) for own in (given, adapted)]
    blocks = runs[0].shape[1]
    difference, error = runs[1].over(runs[0])
    ends = sorted(headline.sign * end for end in interval(difference, error, blocks))
    return {
        "metric": headline.name,
        "before": scores(given, skeleton, threshold),
        "after": scores(adapted, skeleton, threshold),
        "gain": {"mean": headline.sign * difference, "interval": [None, None] if math.isnan(error) else ends},
        "blocks": blocks,
    }


def labelled_answers(labels: Labels, skeleton: Skeleton, names: list[str], rows: np.ndarray) -> Predictions:
    """The answers `rows` (see `row_type` of prediction_files.py) to whole pictures, `names` by their numbers, for those
    of them that are labelled. Raises ValueError where none is."""
    table, dataset = labels.table, Extended(labels.table, skeleton)
    answers = {names[int(row["place"])]: row for row in rows}
    wanted = [place for place, name in enumerate(table.people.pictures) if name in answers]
    if not wanted:
        raise ValueError(f"--check labels no picture that was answered; its first is {table.people.pictures[0]}")
    own = np.stack([answers[table.people.pictures[place]] for place in wanted])
    items = [dataset[place] for place in wanted]
    truth, annotated, visible = (
        torch.from_numpy(np.stack([getattr(item, name) for item in items]))
        for name in ("keypoints", "annotated", "visible")
    )
    return Predictions(
        points=torch.from_numpy(own["points"].copy()),
        confidence=torch.from_numpy(own["confidence"].copy()),
        truth=truth.float(),
        annotated=annotated,
        visible=visible,
        side=torch.from_numpy(own["box"][:, 2] - own["box"][:, 0]).float(),
        camera=torch.zeros(len(items), 4),
        sequence=tuple(item.sequence for item in items),
        id=tuple(item.id for item in items),
        row=torch.tensor(wanted),
        matched=torch.ones(len(items), dtype=torch.bool),
    )


def picture_set(dataset: PoseDataset) -> PictureSet | None:
    """The picture set beneath a dataset; None where there is none."""
    base = innermost(dataset)
    return base if isinstance(base, PictureSet) else None


def unusable(dataset: PictureSet | PoseDataset, row: int) -> str | None:
    """The picture that cannot be read, or why a depth frame cannot be cut; None for one that can be used."""
    if isinstance(dataset, PictureSet):
        return None if reads(dataset, row) else dataset.picture(row)
    try:
        check_item(dataset[row])
    except UnreadableImage as error:
        return str(error)
    return None


def reads(table: PictureSet, row: int) -> bool:
    """Whether a sample's picture can be decoded and its crop be cut; frames of videos were decoded, when the video was
    opened."""
    if is_frame(table.picture(row)):
        return True
    try:
        height, width = read_image(table.path(row)).shape[:2]
        table.box(row, width, height)
    except UnreadableImage:
        return False
    return True
