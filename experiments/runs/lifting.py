"""Poses in space of what `keyshift predict` wrote of videos: people's 2D keypoints through a lifter, one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...adapt.lifting import rays, rooted
from ...datasets.augment import crop_matrix
from ...datasets.loading import EvaluationBatches, lens
from ...datasets.own.sequences2d import Person, PredictedFile
from ...datasets.reading.images import UnreadableImage
from ...datasets.reading.sequences import SequenceOptions, Sequences
from ...datasets.reading.video import USUAL_RATE
from ...datasets.sample import CAMERA_MM, transform
from ...datasets.skeleton import Skeleton
from ...models.pose_model import PoseModel
from .prediction_files import Predicted, row_type
from .prediction_inputs import Inputs

DARK = 40
"""The grey of frames that are not there to be drawn on."""
IN_SPACE = (
    "keypoints_from_root_mm are x, y, z in mm along the camera's axes, x right, y down, z forward, counted from the "
    "keypoint `root`; keypoints_mm and root_mm are the same counted from the camera, where the camera is known and the "
    "place follows: the root is the one of which all keypoints, with their confidences as weights, are seen nearest to "
    "their 2D places; camera is fx, fy, cx, cy in pixels that count as those of keypoints. Of those who are "
    "interpolated the 2D keypoints of the frame lie between others"
)


@dataclass
class LiftInputs(Inputs):
    """The pictures of a file of predictions, which need not be there."""

    file: PredictedFile = field(kw_only=True)
    cameras: np.ndarray = field(kw_only=True)
    """(P, 4), zeros where unknown."""

    def __post_init__(self) -> None:
        self.place = {name: place for place, name in enumerate(self.names)}

    def picture(self, place: int, rows: np.ndarray) -> np.ndarray:
        try:
            return super().picture(place, rows)
        except UnreadableImage:
            image = self.file.images[place]
            return np.full((int(image["height"]), int(image["width"]), 3), DARK, np.uint8)

    def about(self) -> dict[str, Any]:
        return {"predictions": str(self.file.path), "camera": self.file.camera, "space": IN_SPACE, **self.said}

    def about_picture(self, name: str, size: Sequence[int]) -> dict[str, Any]:
        place = self.place[name]
        image, camera = self.file.images[place], self.cameras[place]
        said = {"time": image["time"]} if "time" in image else {}
        return said | ({"camera": (camera - (0, 0, 0.5, 0.5)).round(4).tolist()} if camera[0] > 0 else {})

    def time(self, name: str) -> float | None:
        return None  # `about_picture` says what the file says

    def frame_rate(self, video: str) -> float:
        try:
            return super().frame_rate(video)
        except UnreadableImage:
            return USUAL_RATE


def inputs_of(file: PredictedFile) -> LiftInputs:
    """What is written and drawn of the pictures of a file of predictions."""
    names, cameras = [str(image["file_name"]) for image in file.images], np.zeros((len(file.images), 4))
    for person in file.people:
        cameras[person.pictures] = person.recording.camera
    return LiftInputs(Path(str(file.info.get("root", "."))), names, file=file, cameras=cameras)


def lift_all(
    model: PoseModel, skeleton: Skeleton, file: PredictedFile, batch: int, show: Callable[[int, dict[str, float]], None]
) -> Predicted:
    """Everyone in space, in the order of the pictures: `lifted` mm from the root, and where it is known `points3d` and
    `root3d` mm in the camera's frame, else zeros. `show` is told how many frames of people are done."""
    columns = ("lifted", "points3d", "root3d", "track", "interpolated")
    parts, done = [], 0
    for person in file.people:
        lifted = poses_of(model, skeleton, person, batch)
        roots = places_of(lifted, person)
        rows = np.zeros(len(lifted), row_type(len(skeleton), columns))
        keypoints = person.recording.keypoints2d
        rows["place"], rows["track"], rows["interpolated"] = person.pictures, person.track, ~person.there
        rows["points"], rows["confidence"] = keypoints[..., :2], keypoints[..., 2]
        rows["box"] = np.concatenate([keypoints[..., :2].min(1), keypoints[..., :2].max(1)], 1)
        rows["score"], rows["lifted"] = rows["confidence"].mean(1), lifted
        rows["root3d"], rows["points3d"] = roots, lifted + roots[:, None]
        rows["points3d"][roots[:, 2] <= 0] = 0.0
        parts.append(rows)
        done += len(rows)
        show(done, {})
    everyone = np.concatenate(parts)
    sizes = np.array([[int(image["width"]), int(image["height"])] for image in file.images], np.int64)
    return Predicted(sizes, everyone[np.argsort(everyone["place"], kind="stable")], False, [])


@torch.no_grad()
def poses_of(model: PoseModel, skeleton: Skeleton, person: Person, batch: int) -> np.ndarray:
    """(T, K, 3) mm from the root of one person: by the system's own form for whole sequences, `lift`, where it has one,
    else by a window around each frame. Raises ArithmeticError for answers that are not finite."""
    device = next(model.parameters()).device
    recording, lift = person.recording, getattr(model, "lift", None)
    if lift is not None:
        matrix = crop_matrix(np.array([0, 0, *recording.size], np.float64), model.input_size)
        affine = torch.from_numpy(matrix[None, :2])
        keypoints = torch.from_numpy(recording.keypoints2d)
        keypoints = torch.cat([transform(affine, keypoints[None, ..., :2])[0], keypoints[..., 2:]], -1).float()
        seen_by = torch.from_numpy(lens(recording.camera, matrix))
        answer: Tensor = lift(keypoints.to(device), seen_by.to(device))
    else:
        windows = Sequences(recording.name, skeleton, [recording], SequenceOptions(), {}).clips(max(model.frames, 1))
        batches = EvaluationBatches(windows, batch, model.input_size)
        answers = []
        for number in range(len(batches)):
            sample = batches[number].without_labels().to(device)
            answers.append(model.decode(model(sample), sample).points)
        answer = torch.cat(answers)
        if model.space == CAMERA_MM:
            answer = answer - answer[:, skeleton.root, None]
    if not bool(answer.isfinite().all()):
        raise ArithmeticError(f"the model's answers for {recording.name} are not finite: its weights are broken")
    return answer.double().cpu().numpy()


def places_of(lifted: np.ndarray, person: Person) -> np.ndarray:
    """(T, 3) mm in the camera's frame where the roots of poses (T, K, 3) stand; zeros where the camera is not known, or
    the 2D keypoints do not say it."""
    camera = person.recording.camera
    if not (camera[:2] > 0).all():
        return np.zeros((len(lifted), 3))
    keypoints = torch.from_numpy(person.recording.keypoints2d).double()
    cameras = torch.from_numpy(camera).double().expand(len(lifted), 4)
    sure = keypoints[..., 2].clamp_min(0)
    weight = torch.where(sure.sum(1, keepdim=True) > 0, sure, 1.0)  # all of a frame that lies between others
    roots, known = rooted(torch.from_numpy(lifted), rays(keypoints[..., :2], cameras), weight)
    made: np.ndarray = torch.where(known[:, None], roots, 0.0).numpy()
    return made
