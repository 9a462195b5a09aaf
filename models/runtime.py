"""Everyone in pictures by a network that `keyshift export` wrote for whole pictures: numpy, OpenCV and onnxruntime.

`keyshift export` writes this beside such a network, with what it takes of keyshift, so that it needs no keyshift.
Pictures are cut exactly as keyshift cuts them: the square about the whole picture fits into the network's input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..datasets.augment import crop_matrix, warp
from ..datasets.reading.people import square


class People(NamedTuple):
    """The P people of one picture, in the order in which the network gives them."""

    points: np.ndarray
    """(P, K, 2) x and y in pixels, whose centres stand at +0.5: the picture's top left corner is 0, 0."""
    confidence: np.ndarray
    """(P, K)"""
    score: np.ndarray
    """(P,)"""


Outputs = Mapping[str, np.ndarray]
"""What the network gives, by name, each (1, ...)."""
Maker = Callable[[Outputs, Mapping[str, Any]], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Makes what `People` holds of outputs, in pixels of the input, by what the file's metadata say under `people`."""


class Everyone:
    """`Everyone("model.onnx")(picture)`: the people of a picture (H, W, 3) uint8 RGB. `about` is what the file says of
    itself. Where people are made outside the network, `maker` makes them."""

    def __init__(self, network: str | Path, maker: Maker | None = None) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
        notes = self.session.get_modelmeta().custom_metadata_map
        self.about = {key: json.loads(text) for key, text in notes.items()}
        self.names, self.maker = [output.name for output in self.session.get_outputs()], maker

    def __call__(self, picture: np.ndarray) -> People:
        width, height = self.about["input"]["width"], self.about["input"]["height"]
        matrix = crop_matrix(square(np.array([0.0, 0.0, picture.shape[1], picture.shape[0]]), 1.0), (width, height))
        image = np.ascontiguousarray(warp(picture, matrix, (width, height)).transpose(2, 0, 1)[None])
        outputs = dict(zip(self.names, self.session.run(None, {"image": image}), strict=True))
        if self.maker is None:
            people = People(outputs["keypoints"], outputs["confidence"], outputs["score"])
        else:
            people = People(*self.maker(outputs, self.about["people"]))
        return people._replace(points=(people.points - matrix[:2, 2]) / matrix[0, 0])


def print_people(network: Path, maker: Maker | None, pictures: Sequence[str]) -> None:
    """A line of JSON for each person in each picture file, keypoints by name as x, y and confidence; pictures of
    nobody, and files that are none, are told on stderr."""
    everyone = Everyone(network, maker)
    for name in pictures:
        picture = cv2.imread(name, cv2.IMREAD_COLOR)
        people = None if picture is None else everyone(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        if people is None or not len(people.score):
            print(f"{name}: {'cannot be read' if people is None else 'nobody'}", file=sys.stderr)
            continue
        for points, confidence, score in zip(*people, strict=True):
            each = np.column_stack([points, confidence]).round(3).tolist()
            keypoints = dict(zip(names_of(everyone.about, len(each)), each, strict=True))
            print(json.dumps({"file": name, "score": round(float(score), 5), "keypoints": keypoints}))


def names_of(about: Mapping[str, Any], count: int) -> list[str]:
    """The keypoints' names, or numbers where the file does not say them."""
    return about.get("keypoints") or [str(number) for number in range(count)]
