"""What a sample is: one item as a dataset reads it, and the batches that models and strategies see.

Coordinates are (x, y[, z]), x first. In images they are pixels with pixel centres at +0.5: the top left corner of
the image is (0, 0), the middle of the first pixel (0.5, 0.5). z and 3D points are millimetres in the camera's frame,
x right, y down, z forward. A camera is (fx, fy, cx, cy) in file pixels under the same convention.

A depth sample's keypoints are (x px, y px, z mm). In the file z is the distance along the optical axis; in the model's
input it is counted from the crop's centre, and grows and shrinks with the crop as x and y do. A picture's may have a z
too, for systems that see people in the camera's space: along the optical axis, counted from the camera or from the
skeleton's root, and the same in the file and in the input.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from .constants import constants
from .skeleton import Skeleton

Batch = TypeVar("Batch", bound="Unlabeled")
PIXELS, PIXELS_AND_MM, CAMERA_MM = "pixels", "pixels and mm", "camera mm"
ROOT_MM, BODY_MM = "pixels and mm from the root", "mm from the root"
"""What coordinates are: (x, y) px of the input; (x px, y px, z mm from the crop's centre, or of pictures from the
camera); mm in the camera's frame; (x px, y px, z mm from the skeleton's root); mm along the camera's axes from the
skeleton's root."""
IN_MM = (CAMERA_MM, BODY_MM)
"""Of these what is mm along all axes: no affine of the picture moves it."""
SEQUENCES = ("keypoints2d", "random2d", "random3d")
"""Inputs that hold poses (T, K, 3) of other frames: keypoints select, order and mirror them as they do the labels."""
MOVED = {"keypoints2d", "random2d", "others"}
"""Of what a dataset gives besides, by name, what is places in the picture and moves with it."""
MASK = "mask"
"""What a whole picture's sample says besides where not all people in it are labelled: (H, W) uint8, 1 where labels
count and 0 where there are people without. It is a label, moves with the picture, and is 1 beyond its border."""
TAKE = "#take"
"""Stands in the name of a sequence before the number of a recording that shows what others show too, by another camera
or another person: they are no independent evidence."""
PEOPLE = ("area", "bounds", "crowd")
"""Fields that tell of the people of a whole picture what evaluation needs besides, all of them or none."""


@dataclass(frozen=True)
class Item:
    """One crop, picture or clip as a dataset reads it from its files, in file pixels."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB, (T, H, W, 3) of a clip, or (H, W) float32 depth: mm along the optical axis, 0 where nothing
    returned. Of size 0 where the set has keypoints alone."""
    box: np.ndarray
    """(4,) left, top, right, bottom of the square crop, file pixels. Input data, never made from target labels
    unless the dataset says `boxes=truth`."""
    id: str
    sequence: str
    """Frames of one sequence are neighbours in time; intervals resample whole sequences."""
    frame: int
    camera: np.ndarray
    """(4,) fx, fy, cx, cy in file pixels; NaN-free, zeros where unknown."""
    keypoints: np.ndarray
    """(K, 2) file pixels; of a depth sample (K, 3), x and y in file pixels, z in mm; `in_camera` (K, 3) mm. Of a
    picture of P people (P, K, D), P may be 0."""
    visible: np.ndarray
    """(K,) or (P, K) bool: the camera sees the keypoint."""
    annotated: np.ndarray
    """(K,) or (P, K) bool: the position is known, seen or hidden. Losses and metrics count these."""
    points: np.ndarray | None = None
    """(K, 3) or (P, K, 3) mm in the camera's frame, where the dataset has them."""
    center: np.ndarray | None = None
    """(3,) of a depth sample: the middle of what is looked at, x and y in file pixels, z in mm."""
    cube: np.ndarray | None = None
    """(3,) of a depth sample: edges in mm of the box around it, along x, y and z."""
    to_file: np.ndarray | None = None
    """(2, 3) from pixels of `image` to the file's, where `image` is a part of it kept at another scale."""
    mirrored: bool = False
    """The network sees the crop mirrored: a right hand that is to look like a left one."""
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What else a system may read, by name. `keypoints2d` (T, K, 3), x and y in file pixels and a confidence, is moved
    as the picture is, and so are `random2d` (R, K, 3), the same of other frames of the video, and `others` (O, 3): x
    and y of the middles of other people's boxes in file pixels and 1, zeros where there is nobody. `random3d` (R, K, 3)
    are labels of those other frames, as `keypoints` are of this one. `margins` (T - 1,) are the steps, in frames of the
    video, from each frame of a clip to the next. The rest goes on as it is."""
    in_camera: bool = False
    """Keypoints are mm in the camera's frame, not pixels."""
    rooted: bool = False
    """The z of a picture's keypoints is counted from the skeleton's root; all of it where they are `in_camera`."""
    deep: np.ndarray | None = None
    """(K,) or (P, K) bool, of a picture's keypoints with a z: it is known. None: wherever they are annotated."""
    area: np.ndarray | None = None
    """(P,) of a whole picture's people, file px squared: what is seen of them, as COCO's segments have it. People of
    whom no keypoint is annotated stand among these, since whoever finds them invents nobody."""
    bounds: np.ndarray | None = None
    """(P, 4) left, top, right, bottom of their boxes, file px."""
    crowd: np.ndarray | None = None
    """(P,) bool: it is many people under one label."""

    @property
    def space(self) -> str:
        """What the coordinates of `keypoints` are in the model's input."""
        if self.in_camera:
            return BODY_MM if self.rooted else CAMERA_MM
        if self.depth or self.keypoints.shape[-1] == 3:
            return ROOT_MM if self.rooted else PIXELS_AND_MM
        return PIXELS

    @property
    def depth(self) -> bool:
        """Whether the image is depth, cut by a cube around a centre."""
        return self.cube is not None


def block_of(sequence: str) -> str:
    """What intervals resample as a whole: a sequence, and with it the other takes of the same."""
    return sequence.partition(TAKE)[0]


def there(name: str, moved: np.ndarray) -> np.ndarray:
    """Places of the input `name` after they were moved: of `others`, what is nobody stays zeros."""
    return moved * (moved[..., 2:] > 0) if name == "others" else moved


class PoseDataset(Protocol):
    """A picklable map-style dataset. `identity` is plain data that names exactly what it holds."""

    name: str
    skeleton: Skeleton
    identity: dict[str, Any]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Item: ...


@dataclass(frozen=True)
class Unlabeled:
    """A batch of B samples without labels: it has no field in which a label could travel."""

    inputs: dict[str, Tensor]
    """What systems read, by name: `image` (B[, T], 3, H, W) uint8 or float, of depth (B, 1, H, W) float32 mm from the
    crop's centre, `reach` in the void; `reach` (B,) of depth, half the cube's edge along z in mm of the input;
    `keypoints2d` (B, T, K, 3) px of the input and a confidence, with `lens` (B, 4), the camera's fx, fy, cx, cy in px
    of the input, zeros where it is unknown; `margins` (B, T - 1) of clips, frames of the video from each to the next;
    `others` (B, O, 3), where other people are, px of the input and 1, zeros for nobody; of pictures with a z `extent`
    (B,) mm, the edge of the square that holds a whole person or hand, and `k` (B,) mm (see `distance_measure`), 0 where
    the camera is unknown; and whatever a dataset gives besides."""
    id: tuple[str, ...]
    sequence: tuple[str, ...]
    frame: Tensor
    """(B,) int64."""
    camera: Tensor
    """(B, 4)."""
    to_file: Tensor
    """(B, D, D+1): maps points of the model's input to the file's; undoes crop and augmentation, scaled depth too."""
    side: Tensor
    """(B,) the crop's side in file pixels, the length that PCK is normalised by."""
    row: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    """(B,) int64, the sample's place in its dataset: where a bank of pseudo labels keeps it."""
    space: str = PIXELS
    """What the coordinates of points in the model's input are: PIXELS, PIXELS_AND_MM, CAMERA_MM, ROOT_MM or BODY_MM."""
    views: tuple[Unlabeled, ...] = ()
    """The same samples under other known warps."""

    def __len__(self) -> int:
        return len(self.id)

    @property
    def image(self) -> Tensor:
        return self.inputs["image"]

    @property
    def gives(self) -> set[str]:
        """The names of what a system can read of it."""
        return {*self.inputs, *(["camera"] if bool((self.camera[:, :2] > 0).all()) else [])}

    def window(self: Batch, start: int, frames: int) -> Batch:
        """The batch with `frames` frames of its clips or 2D keypoints, from that of number `start` on; 0: that one as
        single pictures. Its views likewise."""
        chosen = slice(start, start + max(frames, 1))
        names: list[str] = [name for name in ("image", "keypoints2d") if name in self.inputs]
        cut = {name: self.inputs[name][:, chosen] for name in names}
        if "margins" in self.inputs:
            cut["margins"] = self.inputs["margins"][:, start : start + max(frames, 1) - 1]
        if frames == 0 and "image" in cut:
            cut["image"] = cut["image"][:, 0]
        views = tuple(view.window(start, frames) for view in self.views)
        return replace(self, inputs={**self.inputs, **cut}, views=views)

    def to(self: Batch, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch with every tensor on `device`."""
        return self.each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: Batch) -> Batch:
        """The hook by which torch's loader pins a batch."""
        return self.each(lambda tensor: tensor.pin_memory())

    def each(self: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same batch with every tensor changed, those of its views too."""

        def changed(value: Any) -> Any:
            if isinstance(value, Tensor):
                return change(value)
            if isinstance(value, dict):
                return {name: changed(one) for name, one in value.items()}
            if isinstance(value, tuple) and value and isinstance(value[0], Unlabeled):
                return tuple(view.each(change) for view in value)
            return value

        return replace(self, **{f.name: changed(getattr(self, f.name)) for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Labeled(Unlabeled):
    """A batch with labels, flat over P people; a batch of crops is the case P = B."""

    keypoints: Tensor
    """(P, K, D) as `space` says; a keypoint outside the frame keeps its place."""
    visible: Tensor
    """(P, K) bool: the camera sees the keypoint."""
    annotated: Tensor
    """(P, K) bool: the position is known, seen or hidden; losses and metrics count these."""
    image_index: Tensor
    """(P,) int64: the image that a person stands in."""
    points: Tensor | None = None
    """(P, K, 3) mm in the frame of the file's camera, where the set has them; crop and augmentation do not move them,
    but in a mirrored view keypoints change places here as they do in `keypoints`."""
    deep: Tensor | None = None
    """(P, K) bool, of keypoints with a z: it is known. None: wherever they are annotated."""
    area: Tensor | None = None
    """(P,) px squared of the file, whole pictures alone: what is seen of a person. None: it is not known."""
    bounds: Tensor | None = None
    """(P, 4) left, top, right, bottom of the person's box, px of the file, whole pictures alone."""
    crowd: Tensor | None = None
    """(P,) bool: it is many people under one label."""

    @property
    def whole(self) -> Tensor:
        """Which keypoints are known in all their coordinates: (P, K) bool."""
        return self.annotated if self.deep is None else self.annotated & self.deep

    def without_labels(self) -> Unlabeled:
        return Unlabeled(**{f.name: getattr(self, f.name) for f in fields(Unlabeled)})


def check_reads(reader: str, reads: Collection[str], giver: str, gives: Collection[str]) -> None:
    """Raises ValueError, naming both sides, where a system does not get what it reads, or reads a depth image (one with
    a `reach`) as a picture."""
    if set(reads) <= set(gives) and ("reach" in reads) == ("reach" in gives):
        return
    given, wanted = (" and ".join(sorted(names)) or "nothing" for names in (gives, reads))
    hint = " (an image with a reach is depth)" if "reach" in {*reads, *gives} else ""
    raise ValueError(f"{reader} reads {wanted}; {giver} gives {given}{hint}. Choose a system and data that fit")


def inside(points: Tensor, sample: Unlabeled, image_index: Tensor) -> Tensor:
    """Whether points (P, K, D) of the model's input lie in what the input shows, the picture and of depth the cube:
    (P, K) bool. In mm along all axes all do."""
    if sample.space in IN_MM:
        return torch.ones(points.shape[:2], dtype=torch.bool, device=points.device)
    height, width = sample.image.shape[-2:]
    seen = (points[..., :2] >= 0).all(-1) & (points[..., 0] < width) & (points[..., 1] < height)
    if "reach" not in sample.inputs or points.shape[-1] == 2:
        return seen
    return seen & (points[..., 2].abs() <= sample.inputs["reach"][image_index, None])


def countable(truth: Tensor, sample: Unlabeled, image_index: Tensor) -> Tensor:
    """Whether true keypoints (P, K, D) count in metrics: (P, K) bool. A picture's crop says what can be seen; a depth
    frame's cube, and a box of people in space, only where to look, so that a joint beyond it is missed."""
    if sample.space == PIXELS:
        return inside(truth, sample, image_index)
    return torch.ones(truth.shape[:2], dtype=torch.bool, device=truth.device)


def z_edge(sample: Unlabeled) -> Tensor:
    """(B,) mm: the edge along z that answers are compared by, of depth the cube's, of pictures the `extent`."""
    return sample.inputs["extent"] if "extent" in sample.inputs else 2 * sample.inputs["reach"]


def distance_measure(camera: Any, area: Any, extent: Any) -> Any:
    """k in mm: how far away a square of edge `extent` mm is whose picture has `area` square pixels, where the camera
    (..., 4) looks straight at it: extent * sqrt(fx fy / area). Arrays of numpy, or tensors.

    Moon, Chang and Lee, ICCV 2019, equation 2; mks0601/3DMPPE_ROOTNET_RELEASE @ 735ce21, data/dataset.py.
    """
    return extent * (camera[..., 0] * camera[..., 1] / area) ** 0.5


def carry(points: Tensor, start: Unlabeled, goal: Unlabeled, flip: list[int], image_index: Tensor) -> Tensor:
    """Points (P, K, D) of the people in images (P,) from one view's coordinates to another view of the same images.

    Where exactly one of the views is mirrored, keypoints change places by the permutation `flip`.
    """
    there = transform(invert(goal.to_file)[image_index], transform(start.to_file[image_index], points))
    return renamed(there, flip, swaps(start, goal)[image_index])


def from_file(points: Tensor, goal: Unlabeled, flip: list[int], image_index: Tensor) -> Tensor:
    """The same from the file's coordinates and names to a view's."""
    return renamed(transform(invert(goal.to_file)[image_index], points), flip, swaps(goal)[image_index])


def swaps(view: Unlabeled, other: Unlabeled | None = None) -> Tensor:
    """Where keypoints have other names in `view` than in `other`, a view of the same images, or than in the file: where
    exactly one of the two is mirrored, (B,) bool."""
    mirrored = torch.linalg.det(view.to_file[:, :, :-1]) < 0
    return mirrored if other is None else mirrored ^ swaps(other)


def renamed(values: Tensor, flip: list[int], where: Tensor) -> Tensor:
    """Values (P, K, ...) of keypoints, changed in place by the permutation `flip` of the people `where` (P,)."""
    return torch.where(
        where.view(-1, *(1,) * (values.dim() - 1)), values[:, constants(flip, values, torch.int64)], values
    )


def known_ends(points: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest coordinates (..., D) of points (..., K, D), of those that are known (..., K); inf and
    -inf where none is."""
    where = known.unsqueeze(-1)
    return torch.where(where, points, torch.inf).amin(-2), torch.where(where, points, -torch.inf).amax(-2)


def transform(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply affines (B, D, D+1) to points (B, ..., D); of depth also to (x, y) alone."""
    dims = points.shape[-1]
    lead = (len(matrix),) + (1,) * (points.dim() - 2)
    linear, shift = matrix[:, :dims, :dims], matrix[:, :dims, -1]
    turned = (points.unsqueeze(-2) * linear.view(*lead, dims, dims)).sum(-1)
    return turned + shift.view(*lead, dims)


def to_space(points: Tensor, camera: Tensor) -> Tensor:
    """(B, ..., 3) x and y in file pixels and z in mm to mm in the camera's frame; camera (B, 4)."""
    lead = (len(camera),) + (1,) * (points.dim() - 2)
    focal, middle = camera[:, :2].reshape(*lead, 2), camera[:, 2:].reshape(*lead, 2)
    return torch.cat([(points[..., :2] - middle) / focal * points[..., 2:], points[..., 2:]], -1)


def to_pixels(points: Tensor, camera: Tensor) -> Tensor:
    """The inverse of `to_space`."""
    lead = (len(camera),) + (1,) * (points.dim() - 2)
    focal, middle = camera[:, :2].reshape(*lead, 2), camera[:, 2:].reshape(*lead, 2)
    return torch.cat([points[..., :2] / points[..., 2:] * focal + middle, points[..., 2:]], -1)


def invert(matrix: Tensor) -> Tensor:
    """The inverse affines of (B, D, D+1), in the same form."""
    dims = matrix.shape[-2]
    linear = torch.linalg.inv(matrix[..., :dims])
    shift = (linear * matrix[..., dims:].transpose(-1, -2)).sum(-1, keepdim=True)  # exact under autocast too
    return torch.cat([linear, -shift], dim=-1)
