"""Leeds Sports Pose and its extended training set: people doing sports, 14 joints.

Johnson and Everingham, BMVC 2010 (LSP) and CVPR 2011 (LSPET). The publisher's layouts: images/im0001.jpg to im2000.jpg
beside joints.mat with `joints` (3, 14, 2000), and images/im00001.jpg to im10000.jpg beside joints.mat with `joints`
(14, 3, 10000); rows x, y, flag.

The flag means two things. LSP annotates every joint and flags the hidden ones (7 % of them); LSPET flags the labelled
ones (88 %), and the position of the others means nothing. Which corner pixels are counted from is documented nowhere;
the files are MATLAB's, so pixels are taken as counted from 1: -0.5. Neither set has boxes: LSPET's pictures are rough
crops of one person of about 150 px, and LSP's show little else, so crops are whole pictures.

Splits. LSP: its authors train on the first 1000 pictures and test on the others; `split=frames` gives all 2000 in both
parts, as TLLib @ c4aa59e does (its LSP is a target whose labels are not trained on): a LEAK for every method that
trains on the part "train". LSPET has no test part: blocks of consecutive pictures, even ones train, odd ones test.
TLLib adds a pelvis and a thorax without weight; here the 14 joints are themselves and pair by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..options import option
from ..reading.annotations import BadAnnotation, Words, need_file, numbers, picture_name, read_mat
from ..reading.origin import Origin
from ..reading.people import People, PictureOptions, PictureSet, digest
from ..reading.splits import BlockOptions, SplitOptions, by_shuffle, check_part
from .skeletons import LSP14

ORIGIN = Origin(
    "Leeds Sports Pose, Johnson and Everingham, BMVC 2010",
    "research; the photographs are Flickr users'",
    "http://sam.johnson.io/research/lsp.html",
    "images/im0001.jpg to im2000.jpg, joints.mat",
)
EXTENDED = Origin(
    "Leeds Sports Pose Extended Training, Johnson and Everingham, CVPR 2011",
    "research; the photographs are Flickr users'",
    "http://sam.johnson.io/research/lspet.html",
    "images/im00001.jpg to im10000.jpg, joints.mat",
)
COUNT = 2000
"""Pictures of LSP; the first half trains."""


@dataclass(frozen=True)
class LspOptions(PictureOptions):
    """The options of LSP."""

    split: str | None = option(
        None, "frames: all pictures in both parts, as TLLib does, a leak; null: the authors'", choices=("frames",)
    )


@dataclass(frozen=True)
class LspetOptions(SplitOptions, BlockOptions, PictureOptions):
    """The options of LSPET."""


def lsp(options: LspOptions, part: str) -> PictureSet:
    """The set below `root`. Raises ValueError for missing files, BadAnnotation for a malformed one."""
    check_part(part)
    folder, split = options.folder, options.split
    file = need_file(folder / "joints.mat", f"it belongs to {ORIGIN.layout}")
    joints = _joints(file, (3, len(LSP14), COUNT)).transpose(2, 1, 0)
    flagged = _flags(file, joints[..., 2])
    names = [f"im{number:04d}" for number in range(1, COUNT + 1)]
    people = _people(file, [f"images/{name}.jpg" for name in names], names, joints, np.ones_like(flagged), ~flagged)
    if split is None:
        people = people.select(np.arange(COUNT)[: COUNT // 2] if part == "train" else np.arange(COUNT)[COUNT // 2 :])
    about = {"part": part, "split": split or "authors", "sha256": digest(file)}
    return PictureSet(f"lsp.{part}", folder, people, about, ORIGIN, options.boxes)


def lspet(options: LspetOptions, part: str) -> PictureSet:
    """The set below `root`. Raises ValueError for missing files and parts that stay empty, BadAnnotation for a
    malformed file."""
    check_part(part)
    folder, block, split = options.folder, options.block, options.split
    file = need_file(folder / "joints.mat", f"it belongs to {EXTENDED.layout}")
    joints = _joints(file, (len(LSP14), 3, None)).transpose(2, 0, 1)
    names = sorted(path.name for path in folder.glob("images/*.jpg"))
    if len(names) != len(joints):
        raise BadAnnotation(
            file,
            "",
            "the number of people",
            len(joints),
            f"one for each of the {len(names)} pictures in {folder / 'images'}, in the order of their names",
        )
    labelled = _flags(file, joints[..., 2])
    number = np.arange(len(names))
    blocks = [f"{n // block:05d}" for n in number]
    pictures = [picture_name(f"images/{name}", file, "") for name in names]
    people = _people(file, pictures, blocks, joints, labelled, labelled)
    if split == "frames":
        chosen = by_shuffle(len(names), part)
    else:
        chosen = np.flatnonzero(number // block % 2 == (part == "test"))
    if not len(chosen):
        raise ValueError(f"{folder}: blocks of {block} of {len(names)} pictures leave no {part} part: set block lower")
    about = {"part": part, "split": split or "blocks", "block": block, "sha256": digest(file)}
    return PictureSet(f"lspet.{part}", folder, people.select(chosen), about, EXTENDED, options.boxes)


def _joints(file: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    content = read_mat(file)
    if "joints" not in content:
        raise BadAnnotation(file, "", "joints", Words("missing"), "a matrix of that name")
    return numbers(content["joints"], shape, file, "", "joints")


def _flags(file: Path, flags: np.ndarray) -> np.ndarray:
    wrong = np.argwhere((flags != 0) & (flags != 1))
    if len(wrong):
        picture, joint = wrong[0]
        flag = float(flags[picture, joint])
        raise BadAnnotation(file, f"picture {picture + 1}, {LSP14.keypoints[joint]}", "the flag", flag, "0 or 1")
    return flags.astype(bool)


def _people(
    file: Path,
    pictures: list[str],
    sequences: list[str],
    joints: np.ndarray,
    annotated: np.ndarray,
    visible: np.ndarray,
) -> People:
    """`joints` (N, 14, 3), of which x and y count pixels from 1."""
    ids = [Path(name).stem for name in pictures]
    frames = np.arange(len(ids))
    return People(str(file), LSP14, pictures, ids, sequences, frames, joints[..., :2] - 0.5, annotated, visible)
