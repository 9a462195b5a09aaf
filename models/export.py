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
    """images (B, 3, H, W) uint8 -> keypoints (B, K, 2) pixels of the image, confidence (B, K).

    Of a network that reads depth: images (B, 1, H, W) float32 mm from the crop's centre, and reach (B,) -> keypoints
    (B, K, 3), z in mm from the centre.
    """

    def __init__(self, model: PoseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, reach: Tensor | None = None) -> tuple[Tensor, Tensor]:
        nothing = torch.zeros(0)
        sample = Unlabeled(image, (), (), nothing, nothing, nothing, nothing, reach)
        return self.model.decode(self.model(sample), sample)


def to_onnx(model: PoseModel, size: tuple[int, int], path: Path) -> None:
    """Write `model` for images of `size` (width, height), the batch free. Needs the [export] extra.

    Raises ImportError without it. The file at `path` is written whole or not at all.
    """
    import onnxscript  # noqa: F401  torch's exporter needs it, and says so less clearly

    inputs = {"image": torch.zeros(2, 3, size[1], size[0], dtype=torch.uint8)}
    if model.reads == "depth":
        inputs = {"image": torch.zeros(2, 1, size[1], size[0]), "reach": torch.ones(2)}
    batch = torch.export.Dim("batch")
    mode = model.training
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        temporary = Path(folder) / "model.onnx"
        torch.onnx.export(
            Decoded(model).eval(),
            tuple(inputs.values()),
            str(temporary),
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=list(inputs),
            output_names=["keypoints", "confidence"],
            dynamic_shapes=tuple({0: batch} for _ in inputs),
        )
        temporary.replace(path)
    model.train(mode)
