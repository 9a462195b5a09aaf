"""Scores of published result files: texts with one frame a line, against a text of the true joints.

A line holds three numbers for each joint, separated by spaces, tabs or commas, and may begin with the image's name
(whatever is not a number). The numbers are u v d, pixels whose first centre is (0, 0) and mm along the optical axis
(xinghaochen/awesome-hand-pose-estimation @ e297a6e, evaluation/), or x y z in mm in the camera's frame, as HANDS 2017
writes them. Three zeros in the truth are a joint that nobody annotated.
"""

from __future__ import annotations

import difflib
from array import array
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...adapt.scoring import depth_metrics, metrics
from ...datasets.depth.sets import DEPTH_SETS, DepthSet
from ...datasets.sample import to_space
from ..runs.progress import Reporter

SPACES = {"uvd": "u v d in pixels and mm", "xyz": "x y z in mm in the camera's frame, z forward"}
WRITTEN_IN_XYZ = ("hands2017",)
SUCCESS = (10, 20, 30, 40, 50, 80)
"""mm."""
SMALLEST_DEPTH = 20.0
"""mm. Files whose depths are all smaller are taken to be in metres."""


@dataclass
class Frames:
    """What a text holds."""

    path: Path
    names: list[str]
    """One a line, or none at all."""
    values: np.ndarray
    """(N, K, 3) float64."""

    def where(self, frame: int | np.integer) -> str:
        return f"{self.path}, line {frame + 1}"


def evaluate_files(
    predictions: Path, truth: Path, dataset: str, reporter: Reporter, space: str | None = None
) -> dict[str, Any]:
    """Print and return the scores of the text `predictions` against the text `truth`.

    `dataset` is a key of DEPTH_SETS, `space` "uvd" or "xyz" (default: xyz for hands2017, else uvd). Frames are paired
    by name where both texts have names, else by line. Errors are mm, shares lie in [0, 1], what nothing counts for is
    NaN. Raises ValueError with file and line for anything else than the format above.
    """
    if dataset not in DEPTH_SETS:
        raise ValueError(f"no depth dataset {dataset!r}; known: {', '.join(DEPTH_SETS)}.{_near(dataset)}")
    space = space or ("xyz" if dataset in WRITTEN_IN_XYZ else "uvd")
    if space not in SPACES:
        raise ValueError(f"space={space!r} is not known; expected one of {', '.join(SPACES)}")
    depth_set = DEPTH_SETS[dataset]
    predicted, true = (read_frames(Path(path), len(depth_set.skeleton)) for path in (predictions, truth))
    annotated = check_truth(true, space, depth_set)
    check_predictions(predicted)
    order = pair_frames(predicted, true)
    points, wanted = (in_space(v, space, depth_set) for v in (predicted.values[order], true.values))
    scores = score(metrics.distances(points, wanted), torch.from_numpy(annotated), depth_set)
    reporter.say(f"{predictions} on {dataset}: {len(points)} frames, read as {SPACES[space]}")
    print_scores(scores, reporter)
    return {"dataset": dataset, "space": space, "frames": len(points), **scores}


def _near(dataset: str) -> str:
    near = difflib.get_close_matches(dataset.lower(), DEPTH_SETS, 1, 0.5)
    return f" Did you mean {near[0]}?" if near else ""


def score(errors: Tensor, mask: Tensor, depth_set: DepthSet) -> dict[str, Any]:
    """All scores of errors (N, K) mm as plain numbers."""
    joints, hits = metrics.mean_per_joint(errors, mask), depth_metrics.accuracy_per_joint(errors, mask)
    success = depth_metrics.worst_joint_curve(errors, mask, torch.tensor(SUCCESS, dtype=torch.float64))
    names, groups = depth_set.skeleton.keypoints, depth_set.skeleton.groups
    return {
        "mean_error": float(metrics.mean(errors, mask)),
        "success": dict(zip(map(str, SUCCESS), success.tolist(), strict=True)),
        "auc": float(depth_metrics.worst_joint_auc(errors, mask)),
        "awr_auc": float(depth_metrics.awr_auc(errors, mask)),
        "map_10cm": float(depth_metrics.mean_average_precision(errors, mask)),
        "joints": dict(zip(names, joints.tolist(), strict=True)),
        "joints_10cm": dict(zip(names, hits.tolist(), strict=True)),
        "groups": metrics.group_means(joints, groups),
        "groups_10cm": metrics.group_means(hits, groups),
    }


def print_scores(scores: dict[str, Any], reporter: Reporter) -> None:
    """Shares are printed in percent, the two areas as they are published: between 0 and 1."""
    rows = [["mean error, mm", f"{scores['mean_error']:.2f}"]]
    rows += [[f"frames with no joint beyond {t} mm, %", f"{100 * s:.2f}"] for t, s in scores["success"].items()]
    rows += [["AUC of that, 0 to 80 mm", f"{scores['auc']:.4f}"], ["AWR's AUC, 0 to 50 mm", f"{scores['awr_auc']:.4f}"]]
    rows += [["mAP@10cm, %", f"{100 * scores['map_10cm']:.2f}"]]
    reporter.table("all joints", ["", "score"], rows)
    for part in ("joints", "groups"):
        near = scores[f"{part}_10cm"]
        rows = [[name, f"{error:.2f}", f"{100 * near[name]:.2f}"] for name, error in scores[part].items()]
        reporter.table(part, [part[:-1], "error, mm", "within 10 cm, %"], rows)


def in_space(values: np.ndarray, space: str, depth_set: DepthSet) -> Tensor:
    """(N, K, 3) of a file to mm in the camera's frame."""
    points = torch.from_numpy(values)
    if space == "xyz":
        return points
    camera = torch.tensor([depth_set.camera], dtype=points.dtype)
    return to_space(points[None] + points.new_tensor([0.5, 0.5, 0]), camera)[0]


def pair_frames(predicted: Frames, true: Frames) -> np.ndarray:
    """(N,) the line of `predicted`, from 0, that belongs to each line of `true`."""
    if predicted.names and true.names:
        place = {name: line for line, name in enumerate(predicted.names)}
        _refuse_missing(true, place, predicted.path)
        _refuse_missing(predicted, dict.fromkeys(true.names, 0), true.path)
        return np.array([place[name] for name in true.names])
    if len(predicted.values) != len(true.values):
        raise ValueError(
            f"{predicted.path} has {len(predicted.values)} frames, {true.path} has {len(true.values)}: both must hold "
            "the same frames in the same order, or a name on every line"
        )
    return np.arange(len(true.values))


def _refuse_missing(frames: Frames, known: dict[str, int], where: Path) -> None:
    missing = [(line, name) for line, name in enumerate(frames.names) if name not in known]
    if missing:
        line, name = missing[0]
        raise ValueError(
            f"{frames.where(line)}: {where} has no frame {_short(name)} ({len(missing)} such): both files must name "
            "the same frames, written the same"
        )


def check_truth(truth: Frames, space: str, depth_set: DepthSet) -> np.ndarray:
    """(N, K) bool: the joints that are annotated. Raises ValueError where depths or the frame cannot be."""
    annotated: np.ndarray = (truth.values != 0).any(-1)
    _refuse(truth, annotated & (truth.values[..., 2] <= 0), "true depths must be above 0 (three zeros: not annotated)")
    _refuse_metres(truth)
    seen = truth.values[annotated][:, :2]
    outside: np.ndarray = ((seen < 0) | (seen >= depth_set.size)).any(-1)
    if space == "uvd" and 2 * outside.sum() > len(outside):
        raise ValueError(
            f"{truth.path}: {outside.sum()} of {len(outside)} joints lie outside of the {depth_set.size[0]} x "
            f"{depth_set.size[1]} frame; expected {SPACES['uvd']}. For {SPACES['xyz']}, say space=xyz"
        )
    return annotated


def check_predictions(frames: Frames) -> None:
    """Raises ValueError where depths cannot be."""
    _refuse(frames, frames.values[..., 2] <= 0, "predicted depths must be above 0")
    _refuse_metres(frames)


def _refuse(frames: Frames, bad: np.ndarray, rule: str) -> None:
    if bad.any():
        frame, joint = np.argwhere(bad)[0]
        values = " ".join(f"{v:g}" for v in frames.values[frame, joint])
        raise ValueError(f"{frames.where(frame)}: joint {joint + 1} is {values}; {rule}, in mm along the optical axis")


def _refuse_metres(frames: Frames) -> None:
    deepest = frames.values[..., 2].max()
    if 0 < deepest < SMALLEST_DEPTH:
        raise ValueError(f"{frames.path}: no depth exceeds {deepest:g}; expected mm, is this metres? Multiply by 1000")


def read_frames(path: Path, joints: int) -> Frames:
    """The frames of a text of `joints` joints a line. Raises ValueError with file and line."""
    if not path.is_file():
        raise ValueError(f"no file {path}; expected a text with one frame a line")
    names: list[str] = []
    values, blank = array("d"), 0
    try:
        # Lines end at \n alone: ICVL's lists end them with \r\r\n.
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for line, text in enumerate(file, 1):
                words = text.replace(",", " ").split()
                if not words:
                    blank = blank or line
                    continue
                if blank:
                    raise ValueError(f"{path}, line {blank}: the line is empty; expected {3 * joints} numbers")
                _read_line(words, 3 * joints, line, names, values, f"{path}, line {line}")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text: {error}; expected one frame a line") from error
    if not values:
        raise ValueError(f"{path} is empty; expected one frame a line, {3 * joints} numbers each")
    frames = Frames(path, names, np.frombuffer(values).reshape(-1, joints, 3))
    _refuse_repeated(frames)
    return frames


def _read_line(words: list[str], count: int, line: int, names: list[str], values: array[float], where: str) -> None:
    named = _number(words[0]) is None
    if line > 1 and named != bool(names):
        has, lacks = ("begins with", "does not") if named else ("does not begin with", "does")
        raise ValueError(
            f"{where} {has} a name ({_short(words[0])}), the first line {lacks}; expected one on each line or on none"
        )
    if named:
        names.append(words.pop(0))
    if len(words) != count:
        after = f" after the name {_short(names[-1])}" if named else ""
        raise ValueError(f"{where}: found {len(words)} numbers{after}, expected {count} ({count // 3} joints x 3)")
    _append(words, values, where)


def _append(words: list[str], values: array[float], where: str) -> None:
    try:
        numbers = list(map(float, words))
    except ValueError:
        numbers = [nan]
    if not all(map(isfinite, numbers)) or "_" in "".join(words):
        bad = next(word for word in words if (number := _number(word)) is None or not isfinite(number))
        raise ValueError(f"{where}: {_short(bad)} is no finite number; expected {len(words)} of them")
    values.extend(numbers)


def _number(word: str) -> float | None:
    """None for what is none; Python alone would read 1_0 as 10."""
    try:
        return None if "_" in word else float(word)
    except ValueError:
        return None


def _refuse_repeated(frames: Frames) -> None:
    first: dict[str, int] = {}
    for line, name in enumerate(frames.names):
        if first.setdefault(name, line) != line:
            raise ValueError(f"{frames.where(line)}: {_short(name)} stands on line {first[name] + 1} already")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
