"""Boxes of samples as another detector would give them: pose-guided proposals, for labelled samples in training.

A detector's boxes differ from the truth in a way that depends on the pose: an arm that is held out is cut off more
often than one that hangs down. RMPE (Fang et al., ICCV 2017, section 3.4) takes the offsets of detected boxes from true
ones for each kind of pose, and draws boxes from their distribution; AlphaPose (Fang et al., TPAMI 2022) draws from one
for all poses (its DPG). Here the offsets of the detector that cuts a *target* are measured on labelled source pictures,
so that the source's crops in training are what the target's are, without a label of the target.

A person's true box is that of the annotated keypoints, AROUND_JOINTS / AROUND_BOXES times as large, in the picture:
labelled boxes differ from set to set, and many sets have none. Offsets (left, top, right, bottom) are those of a
detected box from it, over its width and height. Crops are cut around what is drawn as around any detector's box.

Poses are compared by the places of their keypoints, after each was moved and scaled to the mean pose; RMPE aligns
torsos instead, which not every skeleton has. They are not turned: whoever lies has other offsets than whoever stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .cameras import size_of
from .reading.annotations import BadAnnotation, entries, mapping, need_file, numbers, read_json
from .reading.files import from_home, write_json
from .reading.people import AROUND_BOXES, AROUND_JOINTS, square
from .sample import Item

FORMAT = "keyshift proposals 1"
CONTENT = "format", "keypoints", "mean_pose", "atoms", "patch_share"
"""Without which a file is refused."""
PUBLISHED = "dpg"
"""What AlphaPose's own offsets are called."""
SHARE = 0.5
"""Of a skeleton's keypoints, how many tell where a person is."""
SLIMMEST = 0.25
"""Least of a true box's sides, as a share of its longer one: joints on a line have no width."""
FEWEST = 10
"""People from whom an atom's mean and deviation are taken."""
ATOMS = 8
"""How many there are at most, unless another number is asked for."""
ROUNDS = 10
"""In which poses are aligned to their mean."""
DIGITS = 6
"""To which aligned poses, of mean square 1, are the same."""
Array = np.ndarray


@dataclass(frozen=True)
class Proposals:
    """How a detector's boxes differ from the true ones, for each of A atoms: kinds of poses of K keypoints."""

    keypoints: tuple[str, ...]
    """Empty where offsets do not depend on the pose."""
    middle: Array
    """(K, 2) the mean pose: of centre 0, and of mean square 1."""
    poses: Array
    """(A, K, 2) the atoms, aligned to it."""
    mean: Array
    """(A, 4) of the offsets of left, top, right and bottom, in widths and heights of the true box."""
    std: Array
    """(A, 4)"""
    people: tuple[int, ...] = ()
    """How many each atom was measured on."""
    patch_share: float = 0.3
    """Of the boxes drawn, so many are random parts of the true one: u times as wide and as high, u uniform from 1 -
    patch_share to 1. 0: none are."""
    smallest: float = 5.0
    """Least width and height of a box, file pixels."""

    def atoms(self, keypoints: Array, annotated: Array) -> Array:
        """The atom (N,) that each pose (N, K, 2) with joints (N, K) known is nearest to, over those joints."""
        if not self.keypoints:
            return np.zeros(len(keypoints), np.int64)
        poses = aligned(keypoints, annotated, self.middle)
        away = np.square(poses[:, None] - self.poses).sum(-1) * annotated[:, None]
        return np.asarray(away.sum(-1).argmin(1))

    def draw(self, box: Array, atom: int, size: Array, rng: np.random.Generator) -> Array:
        """A detector's box (4,) of somebody whose true one is `box` (4,), in a picture of which (4,) left, top, right
        and bottom are shown."""
        side, scale = box[2:] - box[:2], rng.random()
        if scale > 1 - self.patch_share:
            low = box[:2] + rng.random(2) * (1 - scale) * side
            drawn = np.concatenate([low, low + scale * side])
        else:
            drawn = box + rng.normal(self.mean[atom], self.std[atom]) * np.tile(side, 2)
        drawn = inside(drawn, size)
        middle, half = (drawn[:2] + drawn[2:]) / 2, np.maximum((drawn[2:] - drawn[:2]) / 2, self.smallest / 2)
        return np.concatenate([middle - half, middle + half])

    def ordered(self, keypoints: Sequence[str], origin: str) -> Proposals:
        """The same for poses whose keypoints are in another order. Raises ValueError, naming both sides, for others."""
        if not self.keypoints:
            return self
        if sorted(keypoints) != sorted(self.keypoints):
            raise ValueError(
                f"{origin} was measured on boxes around {', '.join(self.keypoints)}; this run has "
                f"{', '.join(keypoints)}. Measure them on the run's own source: keyshift proposals EXPERIMENT"
            )
        order = [self.keypoints.index(name) for name in keypoints]
        return replace(self, keypoints=tuple(keypoints), middle=self.middle[order], poses=self.poses[:, order])


DPG = Proposals(
    keypoints=(),
    middle=np.zeros((0, 2)),
    poses=np.zeros((1, 0, 2)),
    mean=np.array([[-0.0142, 0.0043, 0.0154, -0.0013]]),
    std=np.array([[0.1158, 0.068, 0.1337, 0.0711]]),
    patch_share=0.15,
    smallest=2.0,
)
"""AlphaPose's, of people on COCO, whatever their pose. There the least box lies a pixel or more within the picture."""


def true_boxes(keypoints: Array, annotated: Array, shown: Array) -> tuple[Array, Array]:
    """The boxes (N, 4) of people with keypoints (N, K, 2) of which some (N, K) are annotated, in pictures of which
    (N, 4) are shown, and whether they tell where somebody is (N,): for that half of the keypoints must be known, and
    the box must not lie beside the picture."""
    known = annotated[..., None]
    low, high = np.where(known, keypoints, np.inf).min(1), np.where(known, keypoints, -np.inf).max(1)
    enough = annotated.sum(1) >= max(SHARE * annotated.shape[1], 2)
    low, high = np.where(enough[:, None], low, 0.0), np.where(enough[:, None], high, 0.0)
    half = (high - low) / 2
    half = np.maximum(half, SLIMMEST * half.max(1, keepdims=True)) * AROUND_JOINTS / AROUND_BOXES
    middle = (low + high) / 2
    boxes = inside(np.concatenate([middle - half, middle + half], 1), shown)
    return boxes, enough & (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)


def inside(boxes: Array, shown: Array) -> Array:
    """Boxes (..., 4), their sides in order and cut at those of what is shown (..., 4)."""
    low, high = np.minimum(boxes[..., :2], boxes[..., 2:]), np.maximum(boxes[..., :2], boxes[..., 2:])
    first, last = shown[..., :2], shown[..., 2:]
    return np.concatenate([np.clip(low, first, last), np.clip(high, first, last)], -1)


def aligned(keypoints: Array, annotated: Array, middle: Array) -> Array:
    """Poses (N, K, 2) moved and scaled so that the known joints of each (N, K) have the centre and the spread that the
    same joints have in the pose `middle` (K, 2), which stands for those that are not known."""
    known = annotated[..., None]
    count = np.maximum(known.sum(1, keepdims=True), 1)
    own, wanted = (points - (points * known).sum(1, keepdims=True) / count for points in (keypoints, middle[None]))
    spreads = [(np.square(points) * known).sum((1, 2), keepdims=True) for points in (own, wanted)]
    scale = np.sqrt(spreads[1] / np.maximum(spreads[0], 1e-12))
    return np.where(known, own * scale + (middle * known).sum(1, keepdims=True) / count, middle)


def mean_pose(keypoints: Array, annotated: Array) -> Array:
    """The pose (K, 2) that poses (N, K, 2) have in the mean when they are aligned to it: generalised Procrustes of
    places and sizes, without turns, over the known joints (N, K)."""
    known = annotated[..., None]
    middle = np.zeros(keypoints.shape[1:])
    count = np.maximum(known.sum(1, keepdims=True), 1)
    own = keypoints - (keypoints * known).sum(1, keepdims=True) / count
    poses = own / np.sqrt(np.maximum((np.square(own) * known).sum((1, 2), keepdims=True) / count, 1e-12))
    for _ in range(ROUNDS):
        middle = (poses * known).sum(0) / np.maximum(known.sum(0), 1)
        middle = middle - middle.mean(0)
        middle = middle / np.sqrt(np.maximum(np.square(middle).sum(-1).mean(), 1e-12))
        poses = aligned(keypoints, annotated, middle)
    return middle


def measure(
    keypoints: Array,
    annotated: Array,
    boxes: Array,
    detected: Array,
    names: Sequence[str],
    atoms: int | None = None,
    seed: int = 0,
) -> Proposals:
    """The offsets of detected boxes (N, 4) from the true `boxes` (N, 4) of people with keypoints (N, K, 2), of which
    some (N, K) are known, by their atoms.

    `atoms` None: as many as have FEWEST people each, up to ATOMS and to the number of different poses. Raises
    ValueError where there are too few people or poses.
    """
    from sklearn.cluster import KMeans  # a second to import, and training does not need it

    if len(keypoints) < FEWEST * (atoms or 1):
        raise ValueError(
            f"{len(keypoints)} people with a detected box are too few for {atoms or 1} atoms, of {FEWEST} or more each"
        )
    middle = mean_pose(keypoints, annotated)
    poses = aligned(keypoints, annotated, middle).reshape(len(keypoints), -1).round(DIGITS)
    distinct = len(np.unique(poses, axis=0))
    if atoms and atoms > distinct:
        raise ValueError(
            f"{len(keypoints)} people have {distinct} different poses, fewer than {atoms} atoms; ask for fewer"
        )
    offsets = (detected - boxes) / np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    for count in [atoms] if atoms else range(min(ATOMS, len(keypoints) // FEWEST, distinct), 0, -1):
        centers = KMeans(count, n_init=10, random_state=seed).fit(poses).cluster_centers_.reshape(count, -1, 2)
        made = Proposals(tuple(names), middle, centers, np.zeros((count, 4)), np.zeros((count, 4)))
        atom = made.atoms(keypoints, annotated)
        people = np.bincount(atom, minlength=count)
        if people.min() >= FEWEST:
            mean, std = (np.stack([f(offsets[atom == k], 0) for k in range(count)]) for f in (np.mean, np.std))
            return replace(made, mean=mean, std=std, people=tuple(map(int, people)))
    raise ValueError(
        f"of {len(keypoints)} people, {atoms} atoms leave {people.min()} to one of them, and its mean and deviation "
        f"need {FEWEST}. Ask for fewer atoms, or give more people"
    )


def proposed(item: Item, proposals: Proposals, rng: np.random.Generator) -> Item:
    """A labelled sample with a box that is drawn from `proposals`; with its own where too few keypoints are known."""
    keypoints, annotated = item.keypoints[None, :, :2].astype(np.float64), item.annotated[None]
    shown = shown_of(item)
    boxes, usable = true_boxes(keypoints, annotated, shown[None])
    if not usable[0]:
        return item
    box = proposals.draw(boxes[0], int(proposals.atoms(keypoints, annotated)[0]), shown, rng)
    return replace(item, box=square(box, AROUND_BOXES).astype(np.float32))


def shown_of(item: Item) -> Array:
    """(4,) left, top, right and bottom of what a sample's stored picture shows of its file; without a picture, of the
    camera's."""
    if item.to_file is None or not item.image.size:
        return np.concatenate([np.zeros(2), size_of(item)])
    height, width = item.image.shape[-3:-1]
    corners = np.array([[0, 0, 1], [width, height, 1]]) @ item.to_file.T
    return np.concatenate([corners.min(0), corners.max(0)])


def open_proposals(name: str, keypoints: Sequence[str]) -> Proposals:
    """Those of PUBLISHED, or of a file that `save_proposals` wrote, for a skeleton's keypoints. Raises ValueError for
    another file, and for one of other keypoints."""
    if name == PUBLISHED:
        return DPG
    path = need_file(from_home(name), f"proposals= takes {PUBLISHED}, or a file that keyshift proposals wrote")
    content = mapping(read_json(path), path, "", "the content", CONTENT)
    if content["format"] != FORMAT:
        raise BadAnnotation(path, "", "format", content["format"], repr(FORMAT), "Make it anew: keyshift proposals")
    names = entries(content["keypoints"], path, "", "keypoints")
    atoms = entries(content["atoms"], path, "", "atoms")
    if not names or not atoms:
        raise BadAnnotation(
            path, "", "keypoints or atoms", [], "one or more of each", "Make it anew: keyshift proposals"
        )
    rows = [mapping(row, path, f"atom {k}", "the atom", ("pose", "mean", "std")) for k, row in enumerate(atoms)]

    def table(key: str, shape: tuple[int, ...]) -> Array:
        return np.stack([numbers(row[key], shape, path, f"atom {k}", key) for k, row in enumerate(rows)])

    std = table("std", (4,))
    if (std < 0).any():
        raise BadAnnotation(path, f"atom {int((std < 0).any(1).argmax())}", "std", std.min(), "deviations from 0 on")
    patch_share = float(numbers(content["patch_share"], (), path, "", "patch_share"))
    if not 0 <= patch_share <= 1:
        raise BadAnnotation(path, "", "patch_share", patch_share, "a share from 0, of no patches, to 1")
    return Proposals(
        tuple(map(str, names)),
        numbers(content["mean_pose"], (len(names), 2), path, "", "mean_pose"),
        table("pose", (len(names), 2)),
        table("mean", (4,)),
        std,
        patch_share=patch_share,
        smallest=float(numbers(content.get("smallest", Proposals.smallest), (), path, "", "smallest")),
    ).ordered(keypoints, str(path))


def save_proposals(path: Path, proposals: Proposals, about: dict[str, object]) -> None:
    """Write what `open_proposals` reads, whole or not at all; `about` is what it was measured on."""
    columns = zip(proposals.people, proposals.poses, proposals.mean, proposals.std, strict=True)
    atoms = [
        {"people": people, "mean": mean.tolist(), "std": std.tolist(), "pose": pose.tolist()}
        for people, pose, mean, std in columns
    ]
    content = {"keypoints": list(proposals.keypoints), "mean_pose": proposals.middle.tolist(), "atoms": atoms}
    dials = {"patch_share": proposals.patch_share, "smallest": proposals.smallest}
    write_json(path, {"format": FORMAT, **about, **dials, **content})
