"""`keyshift predict --nms`: one answer for each person of a picture, out of those for all of its boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ...datasets.bodies.skeletons import oks_sigmas
from ...datasets.options import choose, make, plain_options
from ...datasets.reading.annotations import mapping, need_file, read_yaml
from ...datasets.reading.files import from_home, write_text
from ...datasets.reading.people import AROUND_BOXES
from ...datasets.skeleton import Skeleton
from ...datasets.words import Word
from ...models.output import Poses
from ...models.pose_nms import PRESETS, OksNMS, PoseNMS, one_each

KIND = "nms"
"""The key of a file that says which of PRESETS its options change."""


def nms_of(word: str) -> PoseNMS | OksNMS:
    """What is meant by a key of PRESETS, or by a YAML with `nms`, one of these (default: pose), and options that are
    other than there. Raises ValueError for others."""
    if word in PRESETS:
        return PRESETS[word]
    if not word.lower().endswith((".yaml", ".yml")):
        raise ValueError(f"--nms {word}: expected {', '.join(PRESETS)}, or a .yaml file as keyshift nms writes it")
    path = need_file(from_home(word), "--nms takes a YAML, as keyshift nms writes it")
    read = mapping(read_yaml(path), path, "", "the content")
    content = {key: Word(value) if isinstance(value, str) else value for key, value in read.items()}
    kind = content.pop(KIND, "pose")
    choose(f"{path}: {KIND}", kind, list(PRESETS))
    return make(type(PRESETS[kind]), content, str(path), base=PRESETS[kind])


def write_nms(path: Path, options: PoseNMS) -> None:
    """Write what `nms_of` reads."""
    lines = [f"{name}: {'null' if value is None else value}" for name, value in plain_options(options).items()]
    write_text(path, "\n".join([f"{KIND}: pose", *lines, ""]).replace("True", "true").replace("False", "false"))


def check_nms(word: str, several: bool, skeleton: Skeleton) -> PoseNMS | OksNMS:
    """The options that a word means. Raises ValueError where there is nobody to put together, as of one answer for each
    picture, and for OKS of keypoints without published fall-offs."""
    options = nms_of(word)
    if not several:
        raise ValueError(
            f"--nms {word}: each picture is one crop and has one answer; say where people are with --boxes FILE, or a "
            "detector's name"
        )
    if isinstance(options, OksNMS):
        try:
            oks_sigmas(skeleton)
        except ValueError as error:
            raise ValueError(f"--nms {word}: {error}; --nms pose needs none") from error
    return options


class Picking:
    """One answer for each person, of one picture after the other. A person has the crop of the one whom they were
    picked as; of people found in whole pictures the box is that of the merged keypoints."""

    def __init__(self, word: str, options: PoseNMS | OksNMS, crops: bool, skeleton: Skeleton) -> None:
        self.word, self.options, self.crops = word, options, crops
        self.sigmas = oks_sigmas(skeleton) if isinstance(options, OksNMS) else ()
        self.given = self.made = self.weak = 0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The people of a picture, of the candidates `rows` (see `row_type`) for all of its boxes."""
        if not len(rows):
            return rows
        given, boxes, box_scores = candidates(rows)
        poses, picked, weak = one_each(given, self.options, boxes, box_scores, self.sigmas)
        made = rows[picked.numpy()]
        made["points"], made["confidence"], made["score"] = (
            value.numpy() for value in (poses.points, poses.confidence, poses.score)
        )
        if not self.crops:
            made["box"] = np.concatenate([made["points"].min(1), made["points"].max(1)], 1)
        self.given, self.made, self.weak = self.given + len(rows), self.made + len(made), self.weak + weak
        return made

    def said(self) -> str:
        """What came of the candidates."""
        said = f"--nms {self.word}: {self.given} candidates are {self.made} people"
        if self.weak:
            assert isinstance(self.options, PoseNMS)
            said += (
                f"; {self.weak} more have no keypoint of confidence {self.options.least:g} and are left out (`least` "
                "in --nms FILE)"
            )
        return said


def candidates(rows: np.ndarray) -> tuple[Poses, torch.Tensor, torch.Tensor | None]:
    """What NMS sees of predictions: poses, boxes (P, 4) and the scores of boxes, None of people in whole pictures."""
    poses = Poses(*(torch.from_numpy(rows[name].copy()) for name in ("points", "confidence", "place", "score")))
    known = "box_score" in (rows.dtype.names or ())
    boxes = shrunk(rows["box"]) if known else rows["box"].copy()
    return poses, torch.from_numpy(boxes), torch.from_numpy(rows["box_score"].copy()) if known else None


def shrunk(crops: np.ndarray) -> np.ndarray:
    """(N, 4) squares with the longer sides of the boxes that the crops (N, 4) were made around."""
    middle, half = (crops[:, :2] + crops[:, 2:]) / 2, (crops[:, 2:] - crops[:, :2]) / 2 / AROUND_BOXES
    made: np.ndarray = np.concatenate([middle - half, middle + half], 1)
    return made
