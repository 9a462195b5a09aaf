"""`keyshift bench predict`: a folder of pictures through `keyshift predict` against the network alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...datasets.sample import Unlabeled
from ...datasets.skeleton import HAND
from ...models.pose_model import PoseModel
from ..runs.prediction_inputs import open_inputs
from ..runs.progress import Reporter
from .predict import Opened, answer_all

SIZE = (640, 480)
"""Of the pictures, px: a webcam's."""


def rows(
    model: PoseModel, count: int, device: str, alternate: Callable[..., dict[str, float]]
) -> list[tuple[str, str, str]]:
    """`count` JPEG files read, cut and answered, against full batches that are there already; on the CPU the network
    has one thread, so that the other cores read."""
    opened, place = Opened(model.to(device).eval(), HAND, model.input_size), torch.device(device)
    threads, batch = torch.get_num_threads(), 32
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), count)
        inputs, quiet = open_inputs([Path(folder)]), Reporter()
        quiet.console.quiet, quiet.live = True, False
        width, height = model.input_size
        image = torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, device=place)
        if device == "cpu":
            torch.set_num_threads(1)
        seconds = alternate(
            {
                "predict": lambda: answer_all(opened, inputs, place, quiet, False, batch),
                "network": lambda: alone(model, image, count),
            },
            rounds=3,
        )
        torch.set_num_threads(threads)
    return [
        (
            "predict on a folder / the network's own rate",
            f"{seconds['network'] / seconds['predict']:.2f}",
            "at least 0.80",
        ),
        ("pictures/s", f"{count / seconds['predict']:.0f}", ""),
    ]


@torch.no_grad()
def alone(model: PoseModel, image: Tensor, count: int) -> None:
    """The network and its decoding on `count` pictures (B, 3, H, W) uint8, a batch at a time."""
    sample = sample_of(image)
    for start in range(0, count, len(image)):
        part = sample if count - start >= len(image) else sample_of(image[: count - start])
        model.decode(model(part), part)


def sample_of(image: Tensor) -> Unlabeled:
    count = len(image)
    return Unlabeled(
        inputs={"image": image},
        id=tuple(map(str, range(count))),
        sequence=("",) * count,
        frame=torch.arange(count, device=image.device),
        camera=torch.zeros(count, 4, device=image.device),
        to_file=torch.eye(3, device=image.device)[:2].repeat(count, 1, 1),
        side=torch.full((count,), float(image.shape[-1]), device=image.device),
    )


def write_pictures(folder: Path, count: int) -> None:
    """JPEG files of SIZE that are about as smooth as photographs are."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        coarse.resize(SIZE, Image.Resampling.BICUBIC).save(folder / f"{number:04d}.jpg", quality=90)
