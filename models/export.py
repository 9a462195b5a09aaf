"""A trained network as one file that needs no keyshift: uint8 images in, keypoints and confidences out.

ONNX for onnxruntime and others, or torch's ExportedProgram for torch alone. Decoding is inside, the batch is free, and
what a reader must know (keypoint names, sizes, how to crop) travels in the file. Before a file takes its place it
answers as PyTorch does, or it is not written.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from importlib.metadata import version
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..datasets.reading.files import naming, temporary_of
from ..datasets.reading.people import AROUND_BOXES
from ..datasets.sample import BODY_MM, CAMERA_MM, IN_MM, ROOT_MM, Unlabeled
from ..datasets.skeleton import Skeleton
from .half import halved
from .output import Poses, Votes
from .pose_model import PoseModel

DECODINGS = ("mean", "peak")
PRECISIONS = ("fp32", "fp16")
CLOSE = 1e-3
"""Pixels (z: mm) that an exported network may differ from PyTorch by."""
CLOSE_IN_SPACE = 1e-5
"""Of pictures' points with a z this share of their largest coordinate more: a float's steps at 4 m are 2e-4 mm."""
TIE = 1e-4
"""Two strongest candidates nearer than this share of the largest logit: either of them is the peak."""
SURE = 1e-4
"""How far confidences may differ, and scores above 1 as a share of them."""
EXTRA = "keyshift.json"
"""The name under which torch's exported program keeps what `metadata` says."""
OUTPUTS_OF_MANY = ("keypoints", "confidence", "image_index", "score")
"""Of a system that finds several people: the image that each stands in, and how sure the system is of them; of others
the first two."""
RESAMPLED = "bilinear, black outside the picture, after an area average where it shrinks by a factor of two or more"
"""What datasets/augment.py does to a picture."""
COLOURS = re.compile(r"\x1b\[[\d;]*m")
Run = Callable[[tuple[Tensor, ...]], Sequence[np.ndarray]]


class OtherAnswers(ArithmeticError):
    """An exported network does not answer as PyTorch does."""


class BadExport(ValueError):
    """What was asked for cannot be written."""


class Agreement(NamedTuple):
    """How far an exported network's keypoints are from PyTorch's on the examples that it is checked with, in px (points
    in space: mm); of outputs that people are made of outside it, as a share of their largest number."""

    mean: float
    most: float


class Decoded(nn.Module):
    """The inputs that the network `reads`, in that order -> keypoints (P, K, D), confidence (P, K); of a network that
    finds several people also image_index (P,) and score (P,), else P = B. Where people are made `outside` it gives what
    they are made of.

    Images are (B, 3, H, W) uint8 and keypoints pixels of them; of depth (B, 1, H, W) float32 mm from the crop's centre
    with reach (B,), z in mm from the centre. `decode` is "mean" or "peak" of the votes, None the model's own way.
    Raises ValueError for anything else, and for several people read otherwise than in the model's own way.
    """

    def __init__(self, model: PoseModel, decode: str | None = None) -> None:
        super().__init__()
        if decode not in (None, *DECODINGS):
            raise ValueError(f"decode={decode!r} is not known; choose one of {', '.join(DECODINGS)}, or leave it out")
        if decode is not None and not model.single:
            raise ValueError(f"decode={decode!r}: a system that finds several people is read in its own way")
        self.model, self.decoding, self.reads, self.single = model.plain(), decode, model.reads, model.single
        self.space, self.outside = model.space, model.outside

    def votes(self, *inputs: Tensor) -> tuple[Votes, Unlabeled]:
        nothing = torch.zeros(0)
        named = dict(zip(self.reads, inputs, strict=True))
        camera = named.get("camera", nothing)
        sample = Unlabeled(named, (), (), nothing, camera, nothing, nothing, space=self.space)
        return self.model(sample), sample

    def decode(self, votes: Votes, sample: Unlabeled) -> Poses:
        if self.decoding is None:
            return self.model.decode(votes, sample)
        points = votes.mean() if self.decoding == "mean" else votes.peak()
        return Poses.of_crops(points, votes.confidence())

    def answers(self, votes: Votes, sample: Unlabeled) -> dict[str, Tensor]:
        """What the file gives, by name: poses, or what they are made of outside."""
        if self.outside is not None:
            return self.model.outputs(votes, sample)
        poses = self.decode(votes, sample)
        parts = (poses.points, poses.confidence, poses.image_index, poses.score)
        return dict(zip(OUTPUTS_OF_MANY[: 2 if self.single else 4], parts, strict=False))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.answers(*self.votes(*inputs)).values())


def to_onnx(
    model: PoseModel,
    size: tuple[int, int],
    path: Path,
    skeleton: Skeleton | None = None,
    decode: str | None = None,
    about: Mapping[str, Any] | None = None,
    opset: int | None = None,
    precision: str = "fp32",
) -> Agreement:
    """Write `model`, on whatever device it is, for images of `size` (width, height). Needs the [export] extra.

    `opset` is ONNX's, None torch's own choice. With `precision` fp16 weights and layers are of half precision; what is
    read, decoded and given stays fp32 (see half.py). `metadata` is in the file's metadata_props, each value as JSON.
    The file at `path` is written whole or not at all. Raises ImportError without the extra, ValueError of one line for
    a network that cannot be exported, and OtherAnswers where onnxruntime does not answer as PyTorch does; fp16 may
    differ, and how far is what this returns.
    """
    import onnx
    import onnxruntime
    import onnxscript  # noqa: F401  torch's exporter needs it, and says so less clearly

    inputs = next(examples(model, size, (2,)))
    with _exporting(model, decode, path) as (decoded, temporary):
        given = decoded.answers(*decoded.votes(*inputs))
        program = torch.onnx.export(
            traced(decoded, inputs),
            dynamo=True,
            verbose=False,
            input_names=list(model.reads),
            output_names=list(given),
            opset_version=opset,
        )
        assert program is not None
        written = program.model.opset_imports[""]
        if opset not in (None, written):
            raise BadExport(f"opset={opset}: torch writes it with opset {written} alone; leave it out, or say another")
        notes = metadata(model, size, skeleton, decode, about)
        notes |= {} if precision == "fp32" else {"precision": precision}
        program.model.metadata_props.update({key: json.dumps(value) for key, value in notes.items()})
        program.save(str(temporary), external_data=False)
        if precision == "fp16":
            onnx.save(halved(onnx.load(temporary)), temporary)
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        return check(
            decoded,
            lambda read: session.run(None, {k: v.numpy() for k, v in zip(model.reads, read, strict=True)}),
            examples(model, size),
            exact=precision == "fp32",
        )


def to_program(
    model: PoseModel,
    size: tuple[int, int],
    path: Path,
    skeleton: Skeleton | None = None,
    decode: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> Agreement:
    """Write `model`, on whatever device it is, as a torch ExportedProgram (.pt2), which `torch.export.load` reads.

    `metadata` is in its extra file `keyshift.json`. Whole or not at all; raises ValueError and OtherAnswers as
    `to_onnx` does.
    """
    inputs = next(examples(model, size, (2,)))
    with _exporting(model, decode, path) as (decoded, temporary):
        program = traced(decoded, inputs)
        notes = json.dumps(metadata(model, size, skeleton, decode, about))
        written = BytesIO()  # to a file torch's writer hides what the system refuses
        torch.export.save(program, written, extra_files={EXTRA: notes})
        temporary.write_bytes(written.getvalue())
        loaded = torch.export.load(temporary).module()
        return check(decoded, lambda given: [answer.numpy() for answer in loaded(*given)], examples(model, size))


def traced(decoded: Decoded, inputs: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """The network as a program for any batch. Raises what torch's exporter raises.

    torch has two ways to trace. `len(image)` in a network of yours is a fixed number to the first, not to the second.
    """
    batch = torch.export.Dim("batch")
    shapes = (tuple({0: batch} for _ in inputs),)  # of `forward`s one parameter, *inputs
    try:
        return torch.export.export(decoded, inputs, dynamic_shapes=shapes)
    except Exception as error:
        try:
            return torch.export.export(decoded, inputs, dynamic_shapes=shapes, strict=True)
        except Exception:
            raise error from error.__cause__


@contextmanager
def _exporting(model: PoseModel, decode: str | None, path: Path) -> Iterator[tuple[Decoded, Path]]:
    """The network in evaluation mode, and a temporary file that becomes `path` where nothing goes wrong. Whatever the
    exporters raise becomes a ValueError of one line."""
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    decoded, mode = Decoded(model if on_cpu else deepcopy(model).cpu(), decode), model.training
    try:
        with (
            naming(path),
            _folder(temporary_of(path)) as folder,
            _quiet(),
            torch.no_grad(),
        ):
            temporary = folder / f"model{path.suffix}"
            try:
                yield decoded.eval(), temporary
                temporary.replace(path)
            except (OtherAnswers, BadExport, OSError):
                raise
            except Exception as error:
                raise ValueError(f"{_title(model)} cannot be exported: {_reason(error)}") from error
    finally:
        model.train(mode)


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """A folder that is there for a while."""
    path.mkdir(exist_ok=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn about their own internals, log them, and print whole programs where they fail."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _title(model: PoseModel) -> str:
    """The system's name; of an own network also its file's."""
    return str(getattr(model, "title", type(model).__name__))


def _reason(error: BaseException) -> str:
    """The first line of what is at the bottom of an exporter's error, which begins with advice to its developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in COLOURS.sub("", str(error)).splitlines()]
    return ": ".join([type(error).__name__, *[line for line in lines if line][:1]])


def metadata(
    model: PoseModel,
    size: tuple[int, int],
    skeleton: Skeleton | None = None,
    decode: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a reader without keyshift must know, as plain data; `about` adds to it."""
    width, height = size
    depth, pictures = "reach" in model.reads, "image" in model.reads
    notes: dict[str, Any] = {"keyshift": version("keyshift"), "inputs": list(model.reads)}
    if pictures:
        channels = "depth in mm from the crop's centre, `reach` in the void" if depth else "RGB"
        layout = {"layout": "NTCHW", "frames": model.frames} if model.frames else {"layout": "NCHW"}
        notes["input"] = {"width": width, "height": height, **layout, "channels": channels}
        notes["input"] |= {"dtype": "float32" if depth else "uint8"}
    if depth:
        notes["crop"] = {
            "how": "a cube around a centre (x px, y px, z mm): what its face covers there, cube x focal length / z "
            "pixels, scaled so that it just fits into the input, centred, nearest neighbour; mm less z, and reach "
            "where nothing returned or the cube ends; reach is half the cube's edge along z, mm"
        }
    elif pictures and model.single and model.in_space():
        notes["crop"] = {
            "padding": AROUND_BOXES,
            "how": "the person's or hand's box, from the middle of its first pixel to that of its last, within the "
            "picture; about its middle a square whose side is `padding` times its longer side; scaled so that it just "
            f"fits into the input, {RESAMPLED}",
        }
    elif pictures and model.single:
        notes["crop"] = {
            "padding": AROUND_BOXES,
            "how": "a square about the middle of the person's or hand's box, its side `padding` times the box's longer "
            f"side; scaled so that it just fits into the input, centred, {RESAMPLED}",
        }
    elif pictures:
        notes["crop"] = {
            "how": "the square about the whole picture, its side the picture's longer side; scaled so that it just "
            f"fits into the input, centred, {RESAMPLED}"
        }
    pixels = "keypoints are x, y in pixels of the input; its top left corner is 0, 0 and pixel centres stand at +0.5"
    notes["pixels"] = pixels + ("; z in mm from the crop's centre" if depth else "")
    if model.space == ROOT_MM:
        notes["pixels"] += "; z in mm from the skeleton's root, along the optical axis"
    elif "k" in model.reads:
        notes["pixels"] += "; z in mm from the camera, along the optical axis"
    if model.space == CAMERA_MM:
        notes["pixels"] = "keypoints are x, y, z in mm in the camera's frame"
    elif model.space == BODY_MM:
        notes["pixels"] = "keypoints are x, y, z in mm along the camera's axes, counted from the skeleton's root"
    if "keypoints2d" in model.reads:
        notes["keypoints2d"] = (
            f"(B, T, K, 3): x, y in pixels of an input of {width}x{height}, its top left corner 0, 0, and a confidence"
        )
    if not model.single:
        notes |= of_everyone(model)
    notes |= model.notes()
    notes["decode"] = "outside" if model.outside else decode or "the model's own"
    if skeleton is not None:
        notes |= {
            "skeleton": skeleton.name,
            "keypoints": list(skeleton.keypoints),
            "edges": [list(edge) for edge in skeleton.edges],
            "flip_pairs": [list(pair) for pair in skeleton.flip_pairs],
        }
    return notes | dict(about or {})


def of_everyone(model: PoseModel) -> dict[str, Any]:
    """What `metadata` says of a system that finds several people: the cells of its maps, and how high that must be what
    it takes for someone or for a part of someone (a query, a centre, a candidate), which is not the person's score."""
    grid, threshold = getattr(model, "grid", None), getattr(model.options, "threshold", None)
    parts = ("shape", "stride", "origin")
    cells = {} if grid is None else {"grid": {name: list(getattr(grid, name)) for name in parts}}
    return cells | ({} if threshold is None else {"threshold": threshold})


def examples(
    model: PoseModel, size: tuple[int, int], batches: tuple[int, ...] = (1, 3)
) -> Iterator[tuple[Tensor, ...]]:
    """What the model reads, for each of the batch sizes: of pictures noise, then smooth ones with edges; what is
    neither picture nor reach the model gives itself."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size[1], : size[0]] / max(size)
    for batch in batches:
        waves = rng.uniform(2, 20, (batch, 3, 3, 1, 1))
        smooth = 0.5 + 0.5 * np.sin(waves[:, :, 0] * x + waves[:, :, 1] * y + waves[:, :, 2])
        discs = np.hypot(x - rng.uniform(0.2, 0.8, (batch, 1, 1, 1)), y - 0.5) < 0.25
        for picture in (rng.random(smooth.shape), np.where(discs, smooth, 0.3 * smooth)):
            inputs: dict[str, Tensor] = {"image": torch.from_numpy((255 * picture).astype(np.uint8))}
            if model.frames:  # all but the middle one a little darker
                inputs = {"image": (inputs["image"][:, None] * _fading(model.frames)).to(torch.uint8)}
            if "reach" in model.reads:
                reach = torch.linspace(100, 150, batch)
                mm = torch.from_numpy((2 * picture[:, :1] - 1).astype(np.float32)) * reach.view(-1, 1, 1, 1)
                image = torch.where(torch.from_numpy(~np.asarray(discs)), reach.view(-1, 1, 1, 1), mm)
                inputs = {"image": image, "reach": reach}
            yield tuple(inputs[name] if name in inputs else model.example(name, batch) for name in model.reads)


def _fading(frames: int) -> Tensor:
    """(T, 1, 1, 1) factors of a clip's pictures, 1 in the middle."""
    return (1 - 0.1 * (torch.arange(frames) - frames // 2).abs() / frames).view(-1, 1, 1, 1)


def check(decoded: Decoded, run: Run, inputs: Iterator[tuple[Tensor, ...]], exact: bool = True) -> Agreement:
    """How far `run` is from `decoded`. Raises OtherAnswers for answers of another shape or that are not finite, and
    where they are to be `exact` for others than `decoded`'s, save for peaks that are ties."""
    distances, outside = [], decoded.outside
    for read in inputs:
        votes, sample = decoded.votes(*read)
        answers = [torch.from_numpy(np.asarray(part)) for part in run(read)]
        given = decoded.answers(votes, sample)
        wanted = list(given.values())
        if [part.shape for part in answers] != [part.shape for part in wanted]:
            shapes, ours = (" and ".join(str(tuple(part.shape)) for part in parts) for parts in (answers, wanted))
            raise OtherAnswers(f"the exported network gives {shapes}, PyTorch {ours}")
        if not exact and not all(part.isfinite().all() for part in answers):
            raise OtherAnswers("the exported network's answers are not finite: its numbers are too large for fp16")
        if outside is not None:
            compared = [(a, b) for name, a, b in zip(given, answers, wanted, strict=True) if name in outside.compared]
            distances.append(check_maps(compared, exact))
            continue
        wanted = wanted if decoded.single else in_order(wanted, answers)
        if exact:
            check_exact(decoded, votes, sample, (answers[0] - wanted[0]).abs().amax(-1), answers, wanted)
        distances.append((answers[0] - wanted[0]).norm(dim=-1).flatten())
    every = torch.cat(distances)
    return Agreement(float(every.mean()), float(every.max())) if len(every) else Agreement(0.0, 0.0)


def check_maps(pairs: Sequence[tuple[Tensor, Tensor]], exact: bool) -> Tensor:
    """How far each output of which people are made is from PyTorch's, as a share of its largest number: (N,). Raises
    OtherAnswers where that is more than SURE and they are to be `exact`."""
    away = torch.stack([(a - b).abs().max() / b.abs().max().clamp_min(1e-6) for a, b in pairs])
    if exact and not bool((away <= SURE).all()):
        raise OtherAnswers(
            f"the exported network does not answer as PyTorch: its outputs are off by up to {float(away.max()):.2g} of "
            "their largest number. Try another version of torch, onnx or onnxruntime"
        )
    return away


def in_order(wanted: list[Tensor], answers: Sequence[Tensor]) -> list[Tensor]:
    """PyTorch's people in the order of the exported network's: of people of one image with equal scores either may be
    the first. As they are, where they are not the same people."""
    if not len(answers[0]):
        return wanted
    tied = (wanted[3][:, None] - answers[3]).abs() <= SURE * answers[3].abs().clamp_min(1)
    away = (wanted[0][:, None] - answers[0]).abs().amax((2, 3))
    order = torch.where(tied & (wanted[2][:, None] == answers[2]), away, torch.inf).argmin(0)
    same = len(order.unique()) == len(order)
    return [part[order] for part in wanted] if same else wanted


def check_exact(
    decoded: Decoded, votes: Votes, sample: Unlabeled, away: Tensor, answers: Sequence[Tensor], wanted: Sequence[Tensor]
) -> None:
    """Raises OtherAnswers where keypoints are `away` (P, K) from PyTorch's, save for ties, or other answers differ."""
    points = wanted[0]
    share = CLOSE_IN_SPACE if sample.space in (*IN_MM, ROOT_MM) or "k" in decoded.reads else 0.0
    wrong = ~(away <= CLOSE + share * points.abs().amax(-1))
    if decoded.single:
        wrong &= ~(_tied(votes.logits) & (points == votes.peak()).all(-1))
    elif not torch.equal(answers[2], wanted[2]):
        raise OtherAnswers("the exported network finds its people in other images than PyTorch")
    sure = zip(answers[1::2], wanted[1::2], strict=True)
    unsure = sum(int((~((answer - ours).abs() <= SURE * ours.abs().clamp_min(1))).sum()) for answer, ours in sure)
    if wrong.any() or unsure:
        raise OtherAnswers(
            f"the exported network does not answer as PyTorch: of {wrong.numel()} keypoints {int(wrong.sum())} "
            f"are off by more than {CLOSE:g}, by up to {float(away.max()):g} px or mm; {unsure} confidences by "
            f"more than {SURE:g}. Try another version of torch, onnx or onnxruntime"
        )


def _tied(logits: Tensor) -> Tensor:
    """Whether the two strongest of (B, N, K) are as good as equal: (B, K)."""
    if logits.shape[1] == 1:
        return torch.zeros(logits[:, 0].shape, dtype=torch.bool)
    best = logits.float().topk(2, dim=1).values
    return best[:, 0] - best[:, 1] <= TIE * logits.float().abs().amax(1)
