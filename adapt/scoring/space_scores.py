"""Scores of people in space beside the headline `mm`, by the system that answered: MRPE is the headline of systems
that answer with the root alone, MPJPE counted from the root that of the others.

`mm`, `pa_mm`, `n_mm` and the protocols count the root's own error, which is 0, as the references do; 3DPCK does not,
as MuPoTS-3D and MPI-INF-3DHP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from ...datasets.bodies.skeletons import H36M18
from ...datasets.sample import BODY_MM, PIXELS_AND_MM, ROOT_MM, to_space
from ...datasets.skeleton import Skeleton
from . import human36m, metrics, people_metrics

if TYPE_CHECKING:
    from .evaluation import Predictions


@dataclass(frozen=True)
class Named:
    """How a score is shown."""

    title: str
    unit: str
    meaning: str
    """After the title: ..., in a sentence."""

    def show(self, value: float | None, decimals: int = 1) -> str:
        """The bare number, shares in percent; a dash where there is none."""
        if value is None or value != value:
            return "–"
        return f"{(100 if self.unit == '%' else 1) * value:.{decimals}f}"

    @property
    def heading(self) -> str:
        return f"{self.title}, {self.unit}"


SHOWN = {
    "mrpe": Named("MRPE", "mm", "the mean distance of roots from the true ones, in the camera's frame"),
    "mrpe_x": Named("MRPE x", "mm", "the same to the right alone"),
    "mrpe_y": Named("MRPE y", "mm", "the same downwards alone"),
    "mrpe_z": Named("MRPE z", "mm", "the same along the optical axis alone"),
    "absolute_mm": Named("absolute MPJPE", "mm", "the mean distance of joints in the camera's frame"),
    "pa_mm": Named("PA-MPJPE", "mm", "the mean error after the rotation, shift and scale that fit best"),
    "n_mm": Named("N-MPJPE", "mm", "the mean error from the root after the scale that fits best"),
    "velocity_mm": Named(
        "MPJVE", "mm a frame", "the mean error of joints' moves from a frame to the next, from the root"
    ),
    "pck_150mm": Named("3DPCK", "%", "the share of joints within 150 mm, counted from the root, which is left out"),
    "auc_150mm": Named("3D AUC", "%", "the mean of 3DPCK over thresholds from 0 to 150 mm"),
    "protocol1_mm": Named("protocol 1", "mm", "Human3.6M's as PoseNet computes it: aligned by turning and shifting"),
    "protocol2_mm": Named("protocol 2", "mm", "Human3.6M's: the 17 joints counted from the pelvis"),
}
"""The scores that `space_scores` may give, in the order in which they are shown."""


def space_scores(predictions: Predictions, skeleton: Skeleton) -> dict[str, float]:
    """Some of `SHOWN` of answers in pixels and mm to pictures, mm and shares; nothing of other answers.

    Of roots alone MRPE's axes; of poses counted from the root the aligned errors and 3DPCK, and Human3.6M's protocols
    where its 17 joints are among the skeleton's; where all of them is mm also the error of their velocities; of systems
    that say the root's distance too MRPE and the absolute error, the root standing where they see the root's keypoint.
    Raises ValueError for pixels without cameras.
    """
    seen = predictions.annotated & predictions.matched[:, None]
    if predictions.space == ROOT_MM:
        points, truth = (predictions.in_space(p) for p in (predictions.points, predictions.truth))
        return _poses(points, truth, seen, predictions.root, skeleton) | _absolute(predictions, seen)
    if predictions.space == BODY_MM:
        parts = predictions.points, predictions.truth, seen, predictions.counted_from
        return _poses(*parts, skeleton) | {"velocity_mm": _velocity(predictions, seen)}
    if predictions.space == PIXELS_AND_MM and len(skeleton) == 1 and skeleton.root == 0:
        roots, true = (predictions.in_space(p)[:, 0] for p in (predictions.points, predictions.truth))
        return _axes(roots, true, seen[:, 0])
    return {}


def h36m_points(points: Tensor, skeleton: Skeleton) -> Tensor | None:
    """Values (N, K, ...) of the skeleton as those (N, 18, ...) of `human36m`; None where it lacks one of the 17. A
    thorax that it lacks is made up of points, and of a mask (N, K) bool known where both shoulders are."""
    names = [name for name in H36M18.keypoints if name in skeleton.keypoints]
    if [*names, "thorax"][: human36m.JOINTS + 1] != list(H36M18.keypoints):
        return None
    chosen = points[:, [skeleton.keypoints.index(name) for name in names]]
    if len(names) > human36m.JOINTS:
        return chosen
    if points.dtype == torch.bool:
        return torch.cat([chosen, chosen[:, human36m.SHOULDERS].all(1, keepdim=True)], 1)
    return human36m.with_thorax(chosen)


def pose_errors(points: Tensor, truth: Tensor, mask: Tensor, root: int, skeleton: Skeleton) -> dict[str, float]:
    """MPJPE from the root as `mm`, and all that is said of poses (N, K, 3) mm beside it."""
    return {"mm": float(people_metrics.mpjpe(points, truth, mask, root))} | _poses(points, truth, mask, root, skeleton)


def _velocity(predictions: Predictions, seen: Tensor) -> float:
    """MPJVE over frames that follow each other in their sequence, as far as the predictions hold them."""
    some = seen.any(1)  # of frames that could not be read nothing says when they were
    if predictions.frame is None or not some.any():
        return float("nan")
    names = [name for name, known in zip(predictions.sequence, some.tolist(), strict=True) if known]
    track = people_metrics.numbered(names, seen[some])[1]
    points, truth, mask = (values[some] for values in (predictions.points, predictions.truth, seen))
    frame = predictions.frame[some]
    return float(people_metrics.mpjve(points, truth, mask, predictions.counted_from, track, frame))


def _poses(points: Tensor, truth: Tensor, mask: Tensor, root: int | None, skeleton: Skeleton) -> dict[str, Any]:
    errors = people_metrics.root_errors(points, truth, root)
    joints, limit = people_metrics.rooted(mask, root, count_root=False), people_metrics.THRESHOLD
    values: dict[str, Any] = {
        "pa_mm": people_metrics.pa_mpjpe(points, truth, mask),
        "n_mm": people_metrics.n_mpjpe(points, truth, mask, root),
        "pck_150mm": metrics.pck(errors, joints, limit),
        "auc_150mm": metrics.auc(errors, joints, limit),
    }
    here, there, known = (h36m_points(v, skeleton) for v in (points, truth, mask))
    if here is not None and there is not None and known is not None:
        for protocol in (1, 2):
            values[f"protocol{protocol}_mm"] = human36m.mean_error(here, there, known, protocol)
    return {name: float(value) for name, value in values.items()}


def _absolute(predictions: Predictions, seen: Tensor) -> dict[str, float]:
    if predictions.own_depth is None or predictions.depth is None:
        return {}
    points = placed(predictions.points, predictions.own_depth, predictions.camera)
    truth = placed(predictions.truth, predictions.depth, predictions.camera)
    root = predictions.root
    flat = predictions.points[:, root : root + 1, :2]
    own = placed(functional.pad(flat, (0, 1)), predictions.own_depth, predictions.camera)[:, 0]
    error = people_metrics.mpjpe(points, truth, seen, None)
    return root_errors(own, truth[:, root], seen[:, root]) | {"absolute_mm": float(error)}


def root_errors(roots: Tensor, truth: Tensor, mask: Tensor) -> dict[str, float]:
    """MRPE and its axes of roots (N, 3) mm, of which those of the mask (N,) count."""
    return {"mrpe": float(people_metrics.mrpe(roots, truth, mask))} | _axes(roots, truth, mask)


def _axes(roots: Tensor, truth: Tensor, mask: Tensor) -> dict[str, float]:
    axes = people_metrics.mrpe_axes(roots, truth, mask).tolist()
    return {f"mrpe_{axis}": value for axis, value in zip("xyz", axes, strict=True)}


def placed(points: Tensor, depth: Tensor | None, camera: Tensor) -> Tensor:
    """Points (N, K, 3) in file px and mm from the camera, or from a root that is `depth` (N,) mm away: (N, K, 3) mm in
    the camera's frame. Of samples without labels the camera (N, 4) may be unknown: nothing of those counts."""
    if depth is not None:
        points = torch.cat([points[..., :2], points[..., 2:] + depth[:, None, None]], -1)
    return to_space(points, torch.where((camera[:, :2] > 0).all(1, keepdim=True), camera, 1.0))
