"""A trained network as one ONNX file: uint8 images in, keypoints and confidences out."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from ..datasets.sample import Unlabeled
from .pose_model import PoseModel


class Decoded(nn.Module):
    """images (B, 3, H, W) uint8 -> keypoints (B, K, 2) pixels of the image, confidence (B, K)."""

    def __init__(self, model: PoseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        nothing = torch.zeros(0)
        sample = Unlabeled(image, (), (), nothing, nothing, nothing, nothing)
        return self.model.decode(self.model(sample), sample)


def to_onnx(model: PoseModel, size: tuple[int, int], path: Path) -> None:
    """Write `model` for images of `size` (width, height), the batch free. Needs the [export] extra.

    Raises ImportError without it. The file at `path` is written whole or not at all.
    """
    import onnxscript  # noqa: F401  torch's exporter needs it, and says so less clearly

    image = torch.zeros(2, 3, size[1], size[0], dtype=torch.uint8)
    mode = model.training
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        temporary = Path(folder) / "model.onnx"
        torch.onnx.export(
            Decoded(model).eval(),
            (image,),
            str(temporary),
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=["image"],
            output_names=["keypoints", "confidence"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
        temporary.replace(path)
    model.train(mode)
