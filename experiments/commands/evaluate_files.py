"""Scores of published result files against a file of the true joints (result_files.py says in which forms).

Most are u v d (xinghaochen/awesome-hand-pose-estimation @ e297a6e, evaluation/); HANDS 2017 writes x y z in mm. Three
zeros in the truth are a joint that nobody annotated.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...adapt.scoring import depth_metrics, metrics
from ...datasets.depth.sets import DEPTH_SETS, Camera, DepthSet
from ...datasets.depth.unit import mm_of
from ...datasets.sample import to_space
from ..runs.progress import Reporter
from .result_files import SPACES, Form, Frames, read, short

WRITTEN_IN_XYZ = ("hands2017",)
SUCCESS = (10, 20, 30, 40, 50, 80)
"""mm."""
FAR_OFF = 50.0
"""mm of mean error above which it is asked whether the predictions are in another form."""
DEPTHS = 20.0, 1e5
"""mm. Files whose depths are all smaller, or all larger, are taken to be in another unit."""


def evaluate_files(
    predictions: Path,
    truth: Path,
    dataset: str,
    reporter: Reporter,
    space: str | None = None,
    unit: str | None = None,
    truth_space: str | None = None,
    truth_unit: str | None = None,
    camera: str | None = None,
) -> dict[str, Any]:
    """Print and return the scores of the file `predictions` against the file `truth`.

    `dataset` is a key of DEPTH_SETS; `space` is one of SPACES (default: xyz for hands2017, else uvd) and `unit` that of
    lengths; the truth's are the same where they are not given. `camera` is what u v d are projected with instead of
    the set's: f, or fx,fy, or fx,fy,cx,cy. Frames are paired by name where both files have names, else by line. Errors
    are mm, shares lie in [0, 1], what nothing counts for is NaN. Raises ValueError with file and line where it cannot.
    """
    if dataset not in DEPTH_SETS:
        raise ValueError(f"no depth dataset {dataset!r}; known: {', '.join(DEPTH_SETS)}.{_near(dataset)}")
    depth_set = DEPTH_SETS[dataset]
    form = Form(space or ("xyz" if dataset in WRITTEN_IN_XYZ else "uvd"), unit or "mm")
    true_form = Form(truth_space or form.space, truth_unit or form.unit)
    lens = depth_set.camera if camera is None else read_camera(camera, depth_set.camera)
    predicted, true = (
        read(Path(path), len(depth_set.skeleton), own) for path, own in ((predictions, form), (truth, true_form))
    )
    annotated = check_truth(true, true_form.space, depth_set)
    check_predictions(predicted)
    order = pair_frames(predicted, true)
    wanted, mask = in_space(true.values, true_form.space, lens), torch.from_numpy(annotated)
    errors = metrics.distances(in_space(predicted.values[order], form.space, lens), wanted)
    scores = score(errors, mask, depth_set)
    apart = f"; truth: {true_form}" if true_form != form else ""
    reporter.say(f"{predictions} on {dataset}: {len(errors)} frames, read as {form}{apart}")
    if "uvd" in (form.space, true_form.space):
        reporter.say(f"camera fx, fy, cx, cy: {_camera_text(lens)}{'' if camera is None else ', as asked for'}")
    print_scores(scores, reporter)
    if doubt := other_form(predicted, order, form, wanted, mask, scores["mean_error"], lens):
        reporter.say(f"note: {doubt}")
    return {"dataset": dataset, "space": form.space, "frames": len(errors), **scores}


def read_camera(text: str, default: Camera) -> Camera:
    """The camera of "f", "fx,fy" or "fx,fy,cx,cy" in the dataset's pixels (first centre at 0), as ours; what is not
    said is the `default`'s. A minus before fy is y up, as papers write it. Raises ValueError for anything else."""
    try:
        said = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        said = []
    focal = [abs(value) for value in said[:2]]
    if len(said) not in (1, 2, 4) or not np.isfinite(said).all() or min(focal) == 0:
        raise ValueError(f"camera={text!r} must be f, or fx,fy, or fx,fy,cx,cy in pixels; for example 241.42")
    cx, cy = (said[2] + 0.5, said[3] + 0.5) if len(said) == 4 else default[2:]
    return focal[0], focal[-1], cx, cy


def _camera_text(camera: Camera) -> str:
    fx, fy, cx, cy = camera
    return f"{fx:g}, {fy:g}, {cx - 0.5:g}, {cy - 0.5:g}"


def other_form(
    predicted: Frames, order: np.ndarray, form: Form, wanted: Tensor, mask: Tensor, error: float, camera: Camera
) -> str:
    """In which other space the predictions would be much nearer to the truth, where there is one; else ""."""
    raw, unit = form.from_mm(predicted.values[order]), mm_of(form.unit)
    for space in SPACES:
        points = in_space(Form(space, form.unit).to_mm(raw), space, camera)
        near = float(metrics.mean(metrics.distances(points, wanted), mask))
        if error > FAR_OFF and near < error / 4:
            return f"read as {space} (unit {unit:g} mm) {predicted.path} would be {near:.1f} mm off: is space right?"
    return ""


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


def in_space(values: np.ndarray, space: str, camera: Camera) -> Tensor:
    """(N, K, 3) of a file, in mm, to mm in the camera's frame."""
    points = torch.from_numpy(values)
    if space != "uvd":
        return points
    lens = torch.tensor([camera], dtype=points.dtype)
    return to_space(points[None] + points.new_tensor([0.5, 0.5, 0]), lens)[0]


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
            f"{frames.where(line)}: {where} has no frame {short(name)} ({len(missing)} such): both files must name "
            "the same frames, written the same"
        )


def check_truth(truth: Frames, space: str, depth_set: DepthSet) -> np.ndarray:
    """(N, K) bool: the joints that are annotated. Raises ValueError where depths or the frame cannot be."""
    annotated: np.ndarray = (truth.values != 0).any(-1)
    _refuse(truth, annotated & (truth.values[..., 2] <= 0), "true depths must be above 0 (three zeros: not annotated)")
    _refuse_unit(truth, "unit {unit}, or --truth-unit {unit} for the truth alone")
    seen = truth.values[annotated][:, :2]
    outside: np.ndarray = ((seen < 0) | (seen >= depth_set.size)).any(-1)
    if space == "uvd" and 2 * outside.sum() > len(outside):
        raise ValueError(
            f"{truth.path}: {outside.sum()} of {len(outside)} joints lie outside of the {depth_set.size[0]} x "
            f"{depth_set.size[1]} frame; expected {SPACES['uvd']}. For {SPACES['xyz']}, say --space xyz "
            "(--truth-space xyz for the truth alone)"
        )
    return annotated


def check_predictions(frames: Frames) -> None:
    """Raises ValueError where depths cannot be."""
    _refuse(frames, frames.values[..., 2] <= 0, "predicted depths must be above 0")
    _refuse_unit(frames, "unit {unit} (and --truth-unit for the truth where it has another)")


def _refuse(frames: Frames, bad: np.ndarray, rule: str) -> None:
    if bad.any():
        frame, joint = np.argwhere(bad)[0]
        values = " ".join(f"{v:g}" for v in frames.values[frame, joint])
        back = " (all are negative: xyz-up-back?)" if (frames.values[..., 2] <= 0).all() else ""
        raise ValueError(
            f"{frames.where(frame)}: joint {joint + 1} is {values}; {rule}, in mm along the optical axis{back}"
        )


def _refuse_unit(frames: Frames, remedy: str) -> None:
    depths = frames.values[..., 2][frames.values[..., 2] > 0]
    if not len(depths):
        return
    if depths.max() < DEPTHS[0]:
        raise ValueError(
            f"{frames.path}: no depth exceeds {depths.max():g}; expected mm, is this metres? Say --"
            f"{remedy.format(unit='m')}"
        )
    if depths.min() > DEPTHS[1]:
        raise ValueError(
            f"{frames.path}: all depths are above {depths.min() / 1000:g} m; say --{remedy.format(unit='mm')}"
        )
