"""Reading other people's annotation files: every surprise in them is one error that names file, entry and field.

Nothing here executes what a file says, follows a name out of its root, or writes.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import reprlib
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

MOST = 24
"""Missing files that an error lists."""
LARGEST = 1e6
"""No pixel, millimetre or focal length of a real annotation is larger."""


class Words(str):
    """What is said of something found, rather than what was found."""


class _Short(reprlib.Repr):
    """`repr` that no nesting, length or sharing of parts makes long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 30
        self.maxstring = self.maxother = 200

    def repr_ndarray(self, array: np.ndarray, level: int) -> str:
        return f"objects of shape {array.shape}" if array.dtype.hasobject else repr(array)

    def repr_int(self, number: int, level: int) -> str:
        return repr(number) if number.bit_length() < 10_000 else f"a number of {number.bit_length()} bits"


_SHORT = _Short()


class BadAnnotation(ValueError):
    """An annotation file that is not what its format says."""

    def __init__(
        self,
        file: str | Path,
        entry: object,
        field: str,
        value: object,
        expected: str,
        remedy: str = "Correct the file or remove the entry",
    ) -> None:
        shown = value if isinstance(value, Words) else _SHORT.repr(value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        place = f", {entry}" if entry != "" else ""
        super().__init__(f"{file}{place}: {field} is {shown}, expected {expected}. {remedy}")

    def __reduce__(self) -> Any:
        """As from a process that reads annotations for another one."""
        return _again, self.args


def _again(text: str) -> BadAnnotation:
    error = BadAnnotation.__new__(BadAnnotation)
    error.args = (text,)
    return error


def need_file(path: Path, what: str) -> Path:
    """`path`, which must be a file. Raises ValueError saying `what` was looked for."""
    if not path.is_file():
        raise ValueError(f"no file {path}: {what}")
    return path


def need_all(paths: Iterable[Path], what: str) -> None:
    """Raises ValueError listing those of `paths` that are not there."""
    gone = [str(path) for path in paths if not path.exists()]
    if gone:
        shown = ", ".join(gone[:MOST]) + (f" and {len(gone) - MOST} more" if len(gone) > MOST else "")
        raise ValueError(f"missing: {shown}. Expected {what}; get these files, or set root to the folder above them")


def unique(ids: Sequence[str], file: str | Path) -> None:
    """Raises BadAnnotation naming the first of `ids` that stands there twice."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise BadAnnotation(file, name, "the entry", Words("there twice"), "one of each")
        seen.add(name)


def unreadable(path: Path, error: Exception, expected: str) -> BadAnnotation:
    """What is raised for a file that its reader could not read."""
    return BadAnnotation(path, "", "the content", Words(f"{type(error).__name__}: {error}"), expected)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises BadAnnotation for one that is truncated, no JSON, or wrongly encoded."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:  # errors of decoding are ValueErrors
        raise unreadable(path, error, "whole UTF-8 JSON") from error


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, every scalar of it a text. Raises BadAnnotation."""
    try:
        text = path.read_text("utf-8-sig").replace("%YAML:", "%YAML ", 1)  # OpenCV's spelling of the first line
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ValueError("aliases are not allowed")  # a few of them can stand for gigabytes
        return yaml.load(text, yaml.BaseLoader)  # else a joint that is called `on` or `1` would be none
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        raise unreadable(path, error, "YAML in UTF-8") from error


_READ_ALL = """
import sys, warnings, scipy.io
warnings.simplefilter("ignore")
for path in sys.stdin.buffer.read().split(b"\\0"):
    try:
        scipy.io.loadmat(path.decode(sys.getfilesystemencoding(), "surrogateescape"))
    except Exception:
        pass
    print(flush=True)
"""


def probe_mats(paths: Sequence[Path]) -> None:
    """Raises BadAnnotation for the first of many MATLAB files on which scipy's reader dies instead of raising.

    It does so on some broken files that are not compressed; here in a process of its own.
    """
    command = [sys.executable, "-I", "-c", _READ_ALL]
    done = subprocess.run(command, input=b"\0".join(map(os.fsencode, paths)), capture_output=True, check=False)
    if done.returncode:
        path = paths[min(done.stdout.count(b"\n"), len(paths) - 1)]
        raise BadAnnotation(path, "", "the content", Words("such that its reader breaks off"), "a MATLAB file")


def read_mat(path: Path, probed: bool = False, **arguments: Any) -> dict[str, Any]:
    """The variables of a MATLAB file (up to version 7). Raises BadAnnotation for anything else.

    `probed`: `probe_mats` has seen it among others, which is faster than one by one.
    """
    import scipy.io

    if not probed and path.is_file():
        probe_mats((path,))
    try:
        return dict(scipy.io.loadmat(path, **arguments))
    except Exception as error:  # scipy raises whatever the bytes lead it to
        raise unreadable(path, error, "a MATLAB file") from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz, which may hold no objects. Raises BadAnnotation for anything else."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # numpy and zipfile raise whatever the bytes lead them to
        raise unreadable(path, error, "a .npz of arrays") from error


_SAFE = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")} | {
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
}


class _OnlyArrays(pickle._Unpickler):  # the one in C makes room for the highest number of its memo: a byte, gigabytes
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_pickle(path: Path) -> Any:
    """A pickle of dicts, lists, numbers, texts and numpy arrays; nothing else in it is ever called.

    Raises BadAnnotation for a broken pickle and for one that asks for anything else.
    """
    try:
        return _OnlyArrays(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except Exception as error:  # a pickle's bytes can lead to any error
        raise unreadable(path, error, "a pickle of numpy arrays") from error


def read_objects(path: Path) -> dict[str, Any]:
    """The content of a .npz of arrays and, as pickles of one each, of dicts and lists of them; nothing else in it is
    ever called. Raises BadAnnotation for anything else."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy"): _content(archive.read(name)) for name in archive.namelist()}
    except Exception as error:  # zipfile, numpy and a pickle's bytes can lead to any error
        raise unreadable(path, error, "a .npz of numpy arrays") from error


def _content(data: bytes) -> Any:
    """An array as numpy's format keeps it; the object of one that holds a single one."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0) or not np.lib.format.read_array_header_1_0(file)[2].hasobject:
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)
    array = _OnlyArrays(file, encoding="latin1").load()  # it stands behind the header
    return array.item() if isinstance(array, np.ndarray) and array.shape == () else array


def numbers(value: Any, shape: Sequence[int | None], file: str | Path, entry: object, field: str) -> np.ndarray:
    """`value` as float64 of `shape` (None: any length), finite and no larger than LARGEST. Raises BadAnnotation."""
    wanted = f"finite numbers of shape ({', '.join('N' if n is None else str(n) for n in shape)})"
    lengths = _lengths(value, len(shape) + 1)
    if isinstance(value, list | tuple | np.ndarray) and not _fits(lengths, shape):  # first: it may ask for gigabytes
        raise BadAnnotation(file, entry, field, Words(f"of shape {lengths}"), wanted)
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "iuf" and array.size:
            raise ValueError
        with np.errstate(invalid="ignore"):  # a signalling NaN; it is refused below
            array = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadAnnotation(file, entry, field, value, wanted) from error
    if not _fits(array.shape, shape):
        raise BadAnnotation(file, entry, field, Words(f"of shape {array.shape}"), wanted)
    if not (np.abs(array) <= LARGEST).all():  # false for NaN too
        raise BadAnnotation(file, entry, field, value, f"{wanted}, none above {LARGEST:g}")
    return array


def stacked(
    values: Sequence[Any], shape: tuple[int, ...], file: str | Path, names: Sequence[str], field: str
) -> np.ndarray:
    """`numbers` of many entries, (N, *shape), of which errors say the name; at once, because a million one by one take
    half a minute."""
    if not len(values):
        return np.zeros((0, *shape))
    try:
        return numbers(values, (len(values), *shape), file, "", field)
    except BadAnnotation:
        each = zip(values, names, strict=True)
        return np.stack([numbers(value, shape, file, name, field) for value, name in each])


def _lengths(value: Any, most: int) -> tuple[int, ...]:
    """The shape of nested lists by the first of each, no deeper than `most`."""
    if isinstance(value, list | tuple) and most:
        return (len(value), *(_lengths(value[0], most - 1) if value else ()))
    return value.shape if isinstance(value, np.ndarray) else ()


def _fits(lengths: Sequence[int], shape: Sequence[int | None]) -> bool:
    return len(lengths) == len(shape) and all(n in (None, m) for n, m in zip(shape, lengths, strict=True))


def whole(value: Any, file: str | Path, entry: object, field: str) -> int:
    """`value`, which must be a whole number. Raises BadAnnotation."""
    exact = isinstance(value, int | np.integer) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not exact or abs(int(value)) > 2**62:
        raise BadAnnotation(file, entry, field, value, "a whole number")
    return int(value)


def mapping(value: Any, file: str | Path, entry: object, field: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    """`value`, which must be a mapping that has `keys`. Raises BadAnnotation."""
    if not isinstance(value, dict):
        raise BadAnnotation(file, entry, field, value, "a mapping")
    for key in keys:
        if key not in value:
            raise BadAnnotation(file, entry, key, Words("missing"), f"one of the fields {', '.join(keys)}")
    return value


def entries(value: Any, file: str | Path, entry: object, field: str) -> list[Any]:
    """`value`, which must be a list. Raises BadAnnotation."""
    if not isinstance(value, list):
        raise BadAnnotation(file, entry, field, value, "a list")
    return value


_NO_NAME, _SURROGATE = re.compile(r"[\\\x00-\x1f]"), re.compile("[\ud800-\udfff]")


def picture_name(value: Any, file: str | Path, entry: object, field: str = "file_name") -> str:
    """A picture's path below its root, with forward slashes. Raises BadAnnotation for anything that leads out of it."""
    if not isinstance(value, str) or not value.strip():
        raise BadAnnotation(file, entry, field, value, "a picture's path below the root")
    path = PurePosixPath(value)
    drive = len(value) > 1 and value[1] == ":"
    if path.is_absolute() or ".." in path.parts or drive or _NO_NAME.search(value):
        raise BadAnnotation(file, entry, field, value, "a path below the root, without .. and with forward slashes")
    if len(value.encode("utf-8", "surrogatepass")) > 1000 or _SURROGATE.search(value):
        raise BadAnnotation(file, entry, field, value, "a file name")
    return str(path)
