"""People in space, flat over the images that they stand in: what metrics of several people are computed from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...datasets.sample import BODY_MM, CAMERA_MM, PIXELS, to_pixels, to_space
from ...models.output import Poses
from .matching import SMALLEST, SPAN_MM, match_within


@dataclass(frozen=True)
class PredictedPeople:
    """Q people as they were predicted. Raises ValueError where the parts do not fit together."""

    points: Tensor
    """(Q, K, 3) mm in the camera's frame."""
    image_index: Tensor
    """(Q,) int64, the image; any numbers, in any order."""
    score: Tensor
    """(Q,)"""
    keypoints: Tensor | None = None
    """(Q, K, 2) file pixels; who matches in the picture needs them."""

    def __post_init__(self) -> None:
        n, k = _people(self.points)
        _check(self, {"image_index": (n,), "score": (n,), "keypoints": (n, k, 2)})

    @classmethod
    def of(cls, poses: Poses, camera: Tensor, space: str) -> PredictedPeople:
        """Poses in file pixels and mm, or in mm, as `space` says, seen by cameras (B, 4), one for each image."""
        cameras = camera[poses.image_index]
        if space == BODY_MM:
            raise ValueError(
                "poses from the root stand nowhere: people in space need a system that says where they are"
            )
        if space == PIXELS:
            raise ValueError("poses in pixels have no depth: people in space need a 3D system")
        if not (cameras[:, :2] > 0).all():
            image = int(poses.image_index[(cameras[:, :2] > 0).all(1).int().argmin()])
            raise ValueError(
                f"image {image} has no camera, fx and fy are {camera[image, :2].tolist()}: people in space need both, "
                "in file pixels; let the dataset give them"
            )
        points = poses.points if space == CAMERA_MM else to_space(poses.points, cameras)
        flat = to_pixels(points, cameras) if space == CAMERA_MM else poses.points
        return cls(points, poses.image_index, poses.score, flat[..., :2])

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class LabelledPeople:
    """P people as they are labelled. Raises ValueError where the parts do not fit together."""

    points: Tensor
    """(P, K, 3) mm in the camera's frame; of joints that are not annotated anything finite."""
    annotated: Tensor
    """(P, K) bool"""
    valid: Tensor
    """(P,) bool: whether the set counts the person. Others are neither missed nor found."""
    image_index: Tensor
    """(P,) int64, numbered as the predictions'."""
    keypoints: Tensor | None = None
    """(P, K, 2) file pixels."""

    def __post_init__(self) -> None:
        n, k = _people(self.points)
        _check(self, {"annotated": (n, k), "valid": (n,), "image_index": (n,), "keypoints": (n, k, 2)})

    def __len__(self) -> int:
        return len(self.points)


def match_in_space(predicted: PredictedPeople, truth: LabelledPeople) -> Tensor:
    """For each labelled person the predicted one, by the similarity of their joints in mm (`matching`): (P,), -1 for
    nobody, and for those that are not valid."""
    return match_within(
        predicted.points,
        predicted.image_index,
        predicted.score,
        truth.points,
        truth.annotated & truth.valid.unsqueeze(1),
        truth.image_index,
        SMALLEST * SPAN_MM,
    )


def _people(points: Tensor) -> tuple[int, int]:
    if points.dim() != 3 or points.shape[2] != 3:
        raise ValueError(f"points are of shape {tuple(points.shape)}: people in space need (people, joints, 3)")
    return points.shape[0], points.shape[1]


def _check(people: object, shapes: dict[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        value = getattr(people, name)
        if value is not None and value.shape != shape:
            raise ValueError(
                f"{type(people).__name__}: {name} is of shape {tuple(value.shape)}; the points ask for {shape}"
            )
