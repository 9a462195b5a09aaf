"""What a chain reads: pictures with people told by boxes, their cameras, and one crop of each person for each network.

A box is clipped to its picture, brought to the network's aspect and enlarged by 1.25 (box_chain.py), unless the file
that it is from says that this was done. Released networks see it half a pixel of their input farther to the right and
the bottom: the reference's warp sets the box's middle on the middle of pixel 128 of 256, and cell j of 64 is the place
left + j / 64 * width, in indices of the file's pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...datasets.loading import Crop, crop, empty_item
from ...datasets.reading.box_chain import process_box
from ...datasets.reading.boxes import FILES, SCORE, Detector, check_detector
from ...datasets.reading.detections import Detected, Detections, read_detections
from ...datasets.reading.files import from_home
from ...datasets.reading.fit import beside
from ...datasets.reading.headers import read_headers
from ...datasets.reading.intrinsics import CameraOptions, Intrinsics, open_intrinsics
from ...datasets.reading.people import project
from ...datasets.sample import ROOT_MM
from ...datasets.skeleton import Skeleton
from .chain_networks import Network, Networks
from .prediction_inputs import Cut, Inputs, Seen, open_inputs

WHOLE = "whole"
IN_SPACE = (
    "keypoints_mm and root_mm are x, y, z in mm in the camera's frame, x right, y down, z forward; camera is fx, fy, "
    "cx, cy in pixels that count as those of keypoints; score is the detector's, 1 where it gives none"
)


class Look(NamedTuple):
    """How a network sees people."""

    size: tuple[int, int]
    """Width and height of its input."""
    extent: float
    """mm"""
    reference: bool
    """A released network's grid."""
    flip: list[int]
    rooted: bool

    @staticmethod
    def of(network: Network) -> Look:
        model = network.model
        return Look(
            model.input_size, model.extent, model.options.reference, network.skeleton.flip, model.space == ROOT_MM
        )

    def box(self, box: np.ndarray, width: int, height: int, extended: bool) -> np.ndarray | None:
        """What is cut out (4,) for a box (4,), both left, top, right, bottom; None where nothing can be."""
        if not extended:
            made = process_box(np.concatenate([box[:2], box[2:] - box[:2]]), width, height, self.size[0] / self.size[1])
            if made is None:
                return None
            box = np.concatenate([made[:2], made[:2] + made[2:]]) + 0.5
        return box

    def crop(
        self, image: np.ndarray, box: np.ndarray, name: str, camera: np.ndarray, person: int, mirror: bool
    ) -> Crop:
        """The picture within what `box` gave; the picture itself is gone."""
        shift = 0.5 * max((box[2:] - box[:2]) / self.size) if self.reference else 0.0
        count = len(self.flip)
        item = replace(
            empty_item(name, count, False),
            image=image,
            box=box - shift,
            camera=camera,
            keypoints=np.zeros((count, 3)),
            rooted=self.rooted,
            mirrored=mirror,
            inputs={"extent": np.array(self.extent)},
        )
        made = crop(item, self.size, None, None, self.flip, row=person)
        return replace(made, item=replace(item, image=np.empty_like(image[:0]), box=box))


class Rejected(NamedTuple):
    """A box of which nothing can be cut."""

    box: np.ndarray
    score: float
    reason: str


@dataclass
class PeopleInputs(Inputs):
    """Pictures and frames with people and cameras."""

    detected: Detected | None = None
    """None: each picture is one person's."""
    intrinsics: Intrinsics = field(default_factory=lambda: Intrinsics("", ""))
    looks: tuple[Look, ...] = ()
    rejected: dict[str, list[Rejected]] = field(default_factory=dict)
    """By picture, of those that were read."""

    def people(self, name: str) -> int:
        return len(self.detections(name, 1, 1).boxes)

    def detections(self, name: str, width: int, height: int) -> Detections:
        if self.detected is None:
            return Detections(np.array([[0.0, 0.0, width, height]]), np.ones(1))
        return self.detected.people.get(name, Detections(np.zeros((0, 4)), np.zeros(0)))

    def add(self, people: dict[str, Detections]) -> None:
        assert self.detected is not None
        self.detected.people.update(people)

    def cut(self, place: int, seen: Seen, size: tuple[int, int], skeleton: Skeleton, mirror: bool) -> Cut:
        """The crops of everyone in a picture, one for each look; `row` of a crop is the person's among
        `detections`."""
        name, image = self.names[place], seen.image
        height, width = image.shape[:2]
        camera = self.intrinsics.of(name, width, height)
        crops, rejected = [], []
        extended = self.detected is None or self.detected.extended
        boxes, scores, _ = self.detections(name, width, height)
        outside = beside(boxes, np.array([width, height]))
        for person, box in enumerate(boxes):
            cut_out = [look.box(box, width, height, extended) for look in self.looks]
            if outside[person] or any(one is None for one in cut_out):
                reason = f"outside its picture of {width}x{height}" if outside[person] else "no pixel is left of it"
                rejected.append(Rejected(box, float(scores[person]), reason))
                continue
            crops.append(
                [
                    look.crop(image, one, name, camera, person, mirror)
                    for look, one in zip(self.looks, cut_out, strict=True)
                    if one is not None
                ]
            )
        if rejected:
            self.rejected[name] = rejected
        return Cut(width, height, crops)

    def camera(self, name: str, size: Sequence[int]) -> list[float]:
        """fx, fy, cx, cy of a picture, pixel centres counted from 0."""
        fx, fy, cx, cy = self.intrinsics.of(name, int(size[0]), int(size[1])).tolist()
        return [round(value, 4) for value in (fx, fy, cx - 0.5, cy - 0.5)]

    def about(self) -> dict[str, Any]:
        return {"boxes": self.boxes_from, "space": IN_SPACE, "camera": self.intrinsics.about()} | self.said

    def about_picture(self, name: str, size: Sequence[int]) -> dict[str, Any]:
        camera: dict[str, Any] = {"camera": self.camera(name, size)}
        return camera | ({"focal_assumed": True} if self.intrinsics.assumed(name) else {})

    def lists(self, nobody: Sequence[str]) -> dict[str, list[Any]]:
        rejected = [
            {
                "file_name": name,
                "bbox": [*box[:2].round(3).tolist(), *(box[2:] - box[:2]).round(3).tolist()],
                "score": round(score, 5),
                "reason": reason,
            }
            for name in self.names
            for box, score, reason in self.rejected.get(name, ())
        ]
        return {"nobody": list(nobody), "rejected": rejected}


def open_people(
    paths: Sequence[Path],
    networks: Networks,
    boxes: str | None,
    roots: Path | None,
    camera: CameraOptions,
    stride: int | None = None,
    duplicates: float | None = None,
    white: int | str | None = None,
) -> PeopleInputs:
    """The pictures and frames of `paths` with their people: of `boxes`, a detector's name, a file, or whole, where each
    picture is one person's; or those of a file of `roots`.

    Raises ValueError for paths, boxes and cameras that cannot be, for roots of other cameras, and where there is nobody
    in any picture.
    """
    by_name = boxes is not None and boxes != WHOLE and not boxes.lower().endswith(FILES)
    if by_name:
        check_detector(str(boxes))
    pictures = open_inputs(paths, None, stride, duplicates, white)
    source, names = str(roots or boxes), pictures.names
    intrinsics = open_intrinsics(camera, pictures.root, names)
    detector = Detector(str(boxes), pictures.root, names, white=pictures.white) if by_name and names else None
    if detector is None:
        detected = _people(pictures, boxes, roots)
    else:
        detected = Detected(detector.finish() if detector.done else {}, extended=False)
        detector = None if detector.done else detector
    nobody = detected is not None and not any(len(one.boxes) for one in detected.people.values())
    if nobody and names and detector is None:
        raise ValueError(f"{source}: nobody in any of {len(names)} pictures, the first {names[0]}")
    if roots is not None and detected is not None:
        check_roots(detected, pictures.root, intrinsics, roots)
    return PeopleInputs(
        pictures.root,
        names,
        boxes_from=source,
        unreadable=pictures.unreadable,
        folders=pictures.folders,
        files=pictures.files,
        detector=detector,
        white=pictures.white,
        detected=detected,
        intrinsics=intrinsics,
        looks=tuple(map(Look.of, networks.each)),
    )


def check_roots(detected: Detected, root: Path, intrinsics: Intrinsics, file: Path) -> None:
    """Raises ValueError where the cameras show more than half of the roots outside their boxes: these were made with
    other cameras."""
    off, first = 0, ""
    for name, header in read_headers(root, detected.people).items():
        one, camera = detected.people[name], intrinsics.of(name, header.width, header.height)
        assert one.roots is not None
        places = project(one.roots, camera)
        outside = ((places < one.boxes[:, :2]) | (places > one.boxes[:, 2:])).any(1)
        off += int(outside.sum())
        first = first or (name if outside.any() else "")
    total = sum(len(one.boxes) for one in detected.people.values())
    if 2 * off > total:
        raise ValueError(
            f"--root {file}: the camera shows {off} of {total} roots outside their boxes, the first in {first}: these "
            f"roots were made with another one. Give the same --focal or --camera as RootNet had"
        )


def _people(inputs: Inputs, boxes: str | None, roots: Path | None) -> Detected | None:
    """None: each picture is one person's. Raises ValueError for a file that lacks roots, and BadAnnotation."""
    if roots is not None:
        detected = read_detections(roots, inputs.names, inputs.files, least=SCORE)
        if any(one.roots is None for one in detected.people.values()):
            raise ValueError(
                f"--root {roots}: a file of boxes without roots; give it as --boxes, and a RootNet as --root"
            )
        return detected
    assert boxes is not None
    return None if boxes == WHOLE else read_detections(from_home(boxes), inputs.names, inputs.files, least=SCORE)
