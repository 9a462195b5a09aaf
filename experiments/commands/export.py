"""`keyshift export`: a trained model as one file that runs without keyshift."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ...datasets.options import choose
from ...datasets.reading.files import sweep, write_text
from ...datasets.sample import IN_MM
from ...models.bundle import answers_alone, runtime_of
from ...models.export import DECODINGS, PRECISIONS, to_onnx, to_program
from ..runs.folder import identity_of, locate
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
    opset: int | None = None,
    precision: str = "fp32",
) -> Path:
    """Write the model of a run folder or weights file as `format`, onnx or torch; returns the file.

    `output` None: RUN's name in the current folder. `decode`: mean or peak of the votes, None the model's own. `opset`
    and `precision` are of onnx: see to_onnx. The file is compared with PyTorch before it takes its place. Beside ONNX
    of a network that finds several people a .py of that name is written, which answers pictures by it alone. Raises
    ValueError for bad input and for a network that cannot be exported, ArithmeticError where the comparison fails.
    """
    if format not in FORMATS:
        raise ValueError(f"format={format!r} is not known; choose one of {', '.join(FORMATS)}")
    if decode not in (None, *DECODINGS):
        raise ValueError(f"decode={decode!r} is not known; choose one of {', '.join(DECODINGS)}, or leave it out")
    choose("precision", precision, PRECISIONS)
    if format != "onnx" and (opset is not None or precision != "fp32"):
        raise ValueError(f"opset and precision are of --format onnx; leave them out for {format}")
    weights, folder = locate(run)
    suffix = FORMATS[format]
    output = output or Path((weights.stem if run.is_file() else run.resolve().name) + suffix)
    if output.suffix != suffix or not output.parent.is_dir():
        raise ValueError(f"cannot write {output}: expected the name of a {suffix} file in a folder that exists")
    model, skeleton, size, trained = open_model(run)
    code = output.with_suffix(".py") if format == "onnx" and answers_alone(model) else None
    for file in (output, code):
        if file is not None and file.exists() and not overwrite:
            raise ValueError(f"{file} exists; pass --overwrite or --output FILE")
    sweep(output.parent, [file.name for file in (output, code) if file is not None])
    about: dict[str, Any] = {"weights": weights.name, "data": licences(folder)}
    if trained is not None:
        about["cut"] = {"crop": trained.crop, "cube": trained.cube}
    write = partial(to_onnx, opset=opset, precision=precision) if format == "onnx" else to_program
    try:
        agreement = write(model, size, output, skeleton, decode, about)
    except ImportError as error:
        raise ValueError(f"no {error.name} here: it takes pip install 'keyshift[export]'") from error
    reads = (
        f"{size[0]}x{size[1]} {'crops' if model.single else 'pictures'}" if "image" in model.reads else model.reads[0]
    )
    agrees = "answers as PyTorch does"
    if precision == "fp16":
        unit = "mm" if model.space in IN_MM else "px"
        what = f"keypoints are {agreement.mean:.3g} {unit}"
        if model.outside is not None:
            what = f"maps are {agreement.mean:.3g} of their largest number"
        agrees = f"in fp16 its {what} from PyTorch's, at most {agreement.most:.3g}"
    outside = "" if model.outside is None else "; people are made of its maps outside it"
    reporter.say(f"{output}: {len(skeleton)} keypoints of {reads}, {agrees}{outside}")
    if code is not None:
        write_text(code, runtime_of(type(model), output.name, code.name))
        reporter.say(f"{code}: everyone in pictures without keyshift: python {code} PICTURE...")
    return output


def licences(run: Path | None) -> dict[str, Any]:
    """What a run says of the licences of the data that its weights were trained on, by data set."""
    sets = identity_of(run).values()
    return {str(one["name"]): one.get("licence", "not said") for one in sets if isinstance(one, dict) and "name" in one}
