"""Weights in files of others: found under any key, with any prefix, and read without running what the file says.

Read are what torch.save wrote of tensors and plain data, and safetensors. Of any other file the error says what it is.
"""

from __future__ import annotations

import argparse
import codecs
import json
import pathlib
import pickle
import re
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .files import stand_in

SAVE = "save its weights alone with torch.save(model.state_dict(), FILE)"
WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|module)\.")
"""What torch.compile and DataParallel put into keys, at the front or in the middle."""
DEEPEST = 4
"""Mappings in mappings that are looked into."""
COUNTED = re.compile(r"(?:.*\.)?total_(?:ops|params)")
"""Keys of what a profiler counted."""
AVERAGED = re.compile(r"ema|averag|teacher|swa", re.I)
MAGIC = {
    b"\x89HDF\r\n\x1a\n": f"HDF5, as Keras and TensorFlow write it; in PyTorch {SAVE}",
    b"\x93NUMPY": f"a NumPy array; in PyTorch {SAVE}",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"BZh": "compressed with bzip2: unpack it first",
    b"\xfd7zXZ": "compressed with xz: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"GGUF": "GGUF, a format of language models",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%PDF": "a PDF",
}
SAFE = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U8": torch.uint8, "BOOL": torch.bool},
}
"""The types of safetensors that networks have."""
_SCALAR: Any = np.float64(0).__reduce__()[0]
_ARRAY: Any = np.zeros(0).__reduce__()[0]
HARMLESS: list[Any] = [
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *(np.dtype, *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?"))),
    *(np.ndarray, codecs.encode),
    *(argparse.Namespace, pathlib.PosixPath, datetime, timedelta),
]
"""What training scripts put beside the weights (a best score, a history, times, arguments), and that runs no code."""


def read_content(path: Path) -> Any:
    """What is in a weights file, on the CPU. Raises ValueError, one line whose subject is the file ("it is …"), for a
    file that is missing or no weights."""
    try:
        with open(path, "rb") as file:
            first = file.read(4096)
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror or error}") from error
    if not first:
        raise ValueError("it is empty")
    if first[8:9] == b"{" and struct.unpack("<Q", first[:8])[0] < 1 << 27:
        return _safetensors(path)
    kind = _kind(path, first)
    if kind:
        raise ValueError(f"it is {kind}")
    try:
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file can lead the unpickler to any error
        raise ValueError(f"it {_refused(error, first)}") from error


def _kind(path: Path, first: bytes) -> str:
    """What a file is that holds no weights of torch's; empty where it may."""
    for magic, kind in MAGIC.items():
        if first.startswith(magic):
            return kind
    if other := stand_in(first):
        return other
    if path.suffix.lower() == ".onnx":
        return f"an ONNX graph, which holds no module of PyTorch; there {SAVE}"
    if first.startswith(b"PK"):
        return _zip(path)
    text = first.decode("utf-8", "replace")
    if text.isprintable() or re.fullmatch(r"[\x20-\x7e\s]+", text):
        return f"a text, which begins with {text.strip()[:30]!r}"
    return ""


def _zip(path: Path) -> str:
    """What a zip archive holds, where it is not what torch.save writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return "incomplete: its end is missing; copy or download it anew"
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return f"a TorchScript archive, which is code; load it with torch.jit.load, and {SAVE}"
    if "data.pkl" in inner:
        return ""
    if any("archive_format" in name or name.endswith("serialized_exported_program.json") for name in names):
        return f"an exported program of torch.export; of the module that it was made of {SAVE}"
    if any(name.endswith(".weights.h5") for name in names):
        return f"a model of Keras; in PyTorch {SAVE}"
    if names and all(name.endswith(".npy") for name in names):
        return f"NumPy arrays; in PyTorch {SAVE}"
    return f"a zip archive of {len(names)} files ({', '.join(names[:3])}): unpack it, and name the weights file in it"


def _refused(error: Exception, first: bytes) -> str:
    """Why torch does not read it, without its advice to run what the file says."""
    text = str(error)
    named = re.search(r"GLOBAL ([\w.]+)|global ([\w.]+)|Unsupported (?:class|type) ([\w.]+)", text)
    if named:
        what = next(filter(None, named.groups()))
        return f"holds an object of {what} besides tensors and plain data, and reading that would run code; {SAVE}"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in text:
        return "does not fit into memory"
    reason = next(iter(text.splitlines()), "")
    if isinstance(error, pickle.UnpicklingError | tarfile.TarError) or "weights_only" in text or len(reason) > 200:
        reason = f"it begins with {first[:8]!r}"
    return f"is damaged, or no weights file of PyTorch ({reason or type(error).__name__}); {SAVE}"


def _safetensors(path: Path) -> dict[str, Tensor]:
    """The format is a length, a JSON of (dtype, shape, start, end), and the bytes."""
    try:
        with open(path, "rb") as file:
            about = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
            data = bytearray(file.read())
        state = {}
        for name, entry in about.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                if not 0 <= start <= end <= len(data):
                    raise ValueError(f"{name} ends behind the file")
                flat = torch.frombuffer(data[start:end], dtype=SAFE[entry["dtype"]]) if end > start else torch.empty(0)
                state[name] = flat.reshape(entry["shape"])
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = f"no type {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0][:100]
        raise ValueError(f"it is a damaged safetensors file, or of types that networks have not: {reason}") from error
    return state


def fitting(
    content: Any,
    wanted: Mapping[str, Tensor],
    file: str | Path,
    more: str | tuple[str, ...] = "",
    absent: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Of the content of a weights file the mapping that has the keys and shapes of `wanted`, under its keys.

    Looked for under all keys of the file, with what wraps a key taken away: `module.`, `_orig_mod.`, and any common
    prefix. Keys that begin with `more` may be there besides; those of `wanted` that begin with `absent` may be missing
    all together. Where several fit, trained weights go before their running average, then the outer before the inner;
    that is said in a warning. Raises ValueError, in one line with what is missing, and for values that are not finite.
    """
    fits: dict[str, dict[str, Tensor]] = {}
    best: tuple[int, str, dict[str, Tensor]] | None = None
    for place, state in _mappings(content):
        for words, own in _readings(state, wanted):
            title = " ".join([f"under {place!r}" if place else "at the top", *[words] * bool(words)])
            extra = [key for key in own if key not in wanted and not (more and key.startswith(more))]
            same = sum(key in own and _alike(own[key], value) for key, value in wanted.items())
            spared = () if any(key.startswith(absent) for key in wanted if key in own) else absent
            if not extra and all(
                _alike(own[key], value) if key in own else key.endswith("num_batches_tracked") or key.startswith(spared)
                for key, value in wanted.items()
            ):
                fits.setdefault(title, {key: own[key] for key in wanted if key in own})
            if best is None or same - len(extra) > best[0]:
                best = same - len(extra), title, own
    if not fits:
        raise ValueError(_unfit(content, wanted, best))
    titles = sorted(fits, key=lambda title: bool(AVERAGED.search(title)))  # stable: the outer ones come first
    if len(titles) > 1 and any(_other(fits[titles[0]], fits[title]) for title in titles[1:]):
        warnings.warn(
            f"{file} holds several weights that fit: those {titles[0]} are taken, not those "
            f"{', '.join(titles[1:])}; save those alone to have them",
            stacklevel=3,
        )
    check_finite(fits[titles[0]])
    return fits[titles[0]]


def unwrapped(content: Mapping[str, Any], *anchors: str) -> dict[str, Any]:
    """The mapping in `content` with a key that ends in one of `anchors`, its prefix taken away; else the content."""
    for _, state in _mappings(content):
        state = {WRAPPERS.sub("", key): value for key, value in state.items()}
        for key in state:
            anchor = next((one for one in anchors if key == one or key.endswith(f".{one}")), None)
            if anchor is not None:
                prefix = key.removesuffix(anchor)
                return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return dict(content)


def check_finite(state: Mapping[str, Any]) -> None:
    """Raises ValueError where weights are NaN or infinite, naming the first tensor."""
    broken = [key for key, value in state.items() if isinstance(value, Tensor) and not _finite(value)]
    if broken:
        raise ValueError(
            f"{broken[0]} holds NaN or infinite values, as {len(broken)} of {len(state)} tensors do: their training "
            "had failed; take earlier weights"
        )


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def _mappings(content: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(place, tensors by key) of all mappings that hold tensors, the outer ones first."""
    if isinstance(content, list | tuple):  # of networks; tensors in it have no names
        content = {str(number): entry for number, entry in enumerate(content) if not isinstance(entry, Tensor)}
    if not isinstance(content, Mapping) or depth > DEEPEST:
        return
    tensors = {
        str(key): value.to_dense() if value.layout is not torch.strided else value
        for key, value in content.items()
        if isinstance(value, Tensor) and not COUNTED.fullmatch(str(key))
    }
    if tensors:
        yield place, tensors
    for key, value in content.items():
        yield from _mappings(value, f"{place}.{key}" if place else str(key), depth + 1)


def _readings(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(in words, tensors) in each way that some of the keys could be meant: behind a prefix, or without the one that
    all wanted keys have."""
    anchors = {*list(wanted)[:1], max(wanted, key=len, default="")}
    bare = {WRAPPERS.sub("", key): value for key, value in state.items()}
    for one in [state] if bare.keys() == state.keys() else [state, bare]:
        behind = (key.removesuffix(anchor) for key in one for anchor in anchors if key.endswith(f".{anchor}"))
        prefixes = dict.fromkeys(["", *behind])
        for prefix in prefixes:
            own = {key.removeprefix(prefix): value for key, value in one.items() if key.startswith(prefix)}
            yield f"behind {prefix!r}" if prefix else "", own
        outer = {key.partition(".")[0] for key in wanted}
        if len(outer) == 1:
            name = f"{outer.pop()}."
            yield f"with {name!r} put before its keys", {f"{name}{key}": value for key, value in one.items()}


def _alike(one: Tensor, wanted: Tensor) -> bool:
    """Of one shape, and floats where floats are wanted."""
    return one.shape == wanted.shape and (one.is_floating_point() or not wanted.is_floating_point())


def _other(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return any(key not in other or not torch.equal(value, other[key]) for key, value in one.items())


def _unfit(content: Any, wanted: Mapping[str, Tensor], best: tuple[int, str, dict[str, Tensor]] | None) -> str:
    """What the file holds instead: its keys, and the first differences of what comes nearest."""
    if best is None:
        held = f"the keys {_few(map(str, content))}" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        held = held if not isinstance(content, Mapping) or content else "nothing at all"
        return f"it holds no tensors by name, but {held}; {SAVE}"
    _, title, own = best
    missing = [key for key in wanted if key not in own and not key.endswith("num_batches_tracked")]
    extra = [key for key in own if key not in wanted]
    shapes = [
        f"{key} {tuple(own[key].shape)}, here {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in own and own[key].shape != value.shape
    ]
    whole = [
        f"{key} {str(own[key].dtype).removeprefix('torch.')}"
        for key, value in wanted.items()
        if key in own and own[key].shape == value.shape and not _alike(own[key], value)
    ]
    top = "" if title == "at the top" else f"the file has the keys {_few(map(str, content))}; "
    parts = [f"{len(missing)} are missing: {_few(missing)}"] * bool(missing)
    parts += [f"{len(extra)} are not of the network: {_few(extra)}"] * bool(extra)
    parts += [f"{len(shapes)} have other shapes: {'; '.join(shapes[:2])}"] * bool(shapes)
    parts += [f"{len(whole)} are no floats, as quantized weights are: {_few(whole)}"] * bool(whole)
    return f"{top}what comes nearest stands {title}, {len(own)} tensors: {'; '.join(parts)}"


def _few(keys: Any) -> str:
    names = [key if len(key) <= 60 else f"…{key[-58:]}" for key in keys]
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
