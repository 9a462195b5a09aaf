"""`keyshift export`: a trained model as one file that runs without keyshift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...models.export import DECODINGS, to_onnx, to_program
from ..runs.folder import locate
from ..runs.progress import Reporter
from .predict import open_model

FORMATS = {"onnx": ".onnx", "torch": ".pt2"}


def export(
    run: Path,
    format: str,
    output: Path | None,
    reporter: Reporter,
    decode: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the model of a run folder or weights file as `format`, onnx or torch; returns the file.

    `output` None: RUN's name in the current folder. `decode`: mean or peak of the votes, None the model's own. The
    file is compared with PyTorch before it takes its place. Raises ValueError for bad input and for a network that
    cannot be exported, ArithmeticError where the comparison fails.
    """
    if format not in FORMATS:
        raise ValueError(f"format={format!r} is not known; choose one of {', '.join(FORMATS)}")
    if decode not in (None, *DECODINGS):
        raise ValueError(f"decode={decode!r} is not known; choose one of {', '.join(DECODINGS)}, or leave it out")
    weights, folder = locate(run)
    suffix = FORMATS[format]
    output = output or Path((weights.stem if run.is_file() else run.resolve().name) + suffix)
    if output.suffix != suffix or not output.parent.is_dir():
        raise ValueError(f"cannot write {output}: expected the name of a {suffix} file in a folder that exists")
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists; pass --overwrite or --output FILE")
    model, skeleton, size, trained = open_model(run)
    about: dict[str, Any] = {"weights": weights.name, "data": licences(folder)}
    if trained is not None:
        about["cut"] = {"crop": trained.crop, "cube": trained.cube}
    try:
        (to_onnx if format == "onnx" else to_program)(model, size, output, skeleton, decode, about)
    except ImportError as error:
        raise ValueError(f"no {error.name} here: it takes pip install 'keyshift[export]'") from error
    reads = (
        f"{size[0]}x{size[1]} {'crops' if model.single else 'pictures'}" if "image" in model.reads else model.reads[0]
    )
    reporter.say(f"{output}: {len(skeleton)} keypoints of {reads}, answers as PyTorch does")
    return output


def licences(run: Path | None) -> dict[str, Any]:
    """What a run says of the licences of the data that its weights were trained on, by data set."""
    identity = run / "identity.json" if run is not None else None
    if identity is None or not identity.is_file():
        return {}
    sets = json.loads(identity.read_text()).values()
    return {str(one["name"]): one.get("licence", "not said") for one in sets if isinstance(one, dict) and "name" in one}
