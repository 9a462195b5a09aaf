"""An ONNX file that `keyshift export` wrote, as a network that answers with poses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..datasets.reading.annotations import need_file
from ..datasets.reading.coco_predictions import places
from ..datasets.sample import Unlabeled, check_reads
from .output import Poses


class Exported(nn.Module):
    """Runs on the CPU, in evaluation mode always. `size` is (width, height) of its input; `wanted` are the keypoints
    that it is to answer with, in this order; `crop` is how depth was cut that it learned from. Needs the [export]
    extra; raises ValueError without it, for a file that is missing or none of ours, and for other keypoints."""

    def __init__(self, path: Path, wanted: Sequence[str]) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError(f"{path}: ONNX files take pip install 'keyshift[export]'") from error
        self.path = need_file(path, "expected a network that `keyshift export` wrote")
        try:
            self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has its own classes
            raise ValueError(
                f"{path} is no ONNX network, as `keyshift export` writes it: {str(error).splitlines()[0]}"
            ) from error
        notes = {k: json.loads(v) for k, v in self.session.get_modelmeta().custom_metadata_map.items()}
        if not {"keypoints", "input", "inputs"} <= set(notes):
            raise ValueError(
                f"{path} says {', '.join(sorted(notes)) or 'nothing'} of itself; expected keypoints, input and inputs, "
                "as `keyshift export` writes for a network that reads pictures"
            )
        self.order = places(tuple(wanted), notes["keypoints"], str(path))
        self.reads: list[str] = notes["inputs"]
        self.size: tuple[int, int] = notes["input"]["width"], notes["input"]["height"]
        self.crop: str = notes.get("cut", {}).get("crop", "exact")

    def forward(self, sample: Unlabeled) -> list[Tensor]:
        check_reads(str(self.path), self.reads, "the target", sample.gives)
        named = {**sample.inputs, "camera": sample.camera}
        answers = self.session.run(None, {name: named[name].numpy() for name in self.reads})
        return [torch.from_numpy(np.asarray(answer)) for answer in answers]

    def decode(self, answers: list[Tensor], sample: Unlabeled) -> Poses:
        """(P, K, D) px of the input, as any system's."""
        points, confidence = (part[:, self.order] for part in answers[:2])
        return Poses(points, confidence, *answers[2:]) if answers[2:] else Poses.of_crops(points, confidence)
