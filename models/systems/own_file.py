"""The Python file that holds a network of yours: read, compared by its SHA-256, and run to build the module."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ...datasets.reading.files import from_home


def read_file(file: str, sha256: str | None = None) -> tuple[Path, bytes]:
    """The absolute path and the content of `file`. Raises ValueError where it is missing, or not of that SHA-256.

    Files of installed packages are refused: their content is known to everyone, and a checkpoint made by someone else
    could call what is in them.
    """
    if not file:
        raise ValueError("model.file is not set: name the Python file that holds your network")
    path = from_home(file).resolve()
    if _installed(path):
        raise ValueError(f"{path} is of an installed package; import what you need of it in a file of your own")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ValueError(f"no file {path} that can be read, which holds the network; put it there") from error
    digest = hashlib.sha256(source).hexdigest()
    if sha256 is not None and digest != sha256:
        raise ValueError(
            f"{path} has changed: these weights were trained with SHA-256 {sha256[:12]}..., now it is "
            f"{digest[:12]}.... It is not run. Put the earlier file back, or train again with this one and "
            "delete these weights"
        )
    return path, source


def build_module(path: Path, source: bytes, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """`name(**arguments)` of the file at `path`, whose content is `source`. Raises ValueError naming both."""
    title = f"{name or 'the object'} of {path}"
    try:
        json.dumps(arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{title}: arguments must be plain data, numbers, words, lists, mappings: {error}") from error
    with _importable(path.parent):
        with named(f"{path} does not run"):
            maker: Any = getattr(_module(path, source), name, None)
        if not _makes_module(maker):
            raise ValueError(
                f"{title} must be a class derived from torch.nn.Module, or a function annotated `-> nn.Module`; "
                + (f"the file has no {name!r}" if maker is None else f"found {maker!r}")
            )
        with named(f"{title} cannot be built with arguments={dict(arguments)}"):
            module = maker(**arguments)
    if not isinstance(module, nn.Module):
        raise ValueError(f"{title} gave a {type(module).__name__}; expected a torch.nn.Module")
    return module


def _module(path: Path, source: bytes) -> ModuleType:
    """The bytes that were checked, run once as a module of a name that no other file has; no cached .pyc is read."""
    name = f"keyshift_own_{hashlib.sha256(str(path).encode() + source).hexdigest()[:16]}"
    if name not in sys.modules:
        loader = SourceFileLoader(name, str(path))
        spec = importlib.util.spec_from_file_location(name, path, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            exec(loader.source_to_code(source, str(path)), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _makes_module(maker: Any) -> bool:
    """Asked before it is called, so that a checkpoint cannot have a file's other functions called."""
    if inspect.isfunction(maker):
        with named(f"the annotations of {maker.__name__} cannot be read"):
            maker = inspect.signature(maker, eval_str=True).return_annotation
    return inspect.isclass(maker) and issubclass(maker, nn.Module)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Within it, files of `folder` can be imported by name. They leave sys.modules after it, so that the files of
    another network may have the same names."""
    before = set(sys.modules)
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            where = Path(getattr(sys.modules[name], "__file__", None) or "/")
            if folder in where.parents and not _installed(where) and not name.startswith("keyshift"):
                del sys.modules[name]


@contextmanager
def named(what: str) -> Iterator[None]:
    """Whatever code of the user's raises becomes a ValueError that says `what`."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ValueError(f"{what}: {type(error).__name__}: {error}") from error


def _installed(path: Path) -> bool:
    library = Path(sysconfig.get_path("stdlib")).resolve()
    return library in path.parents or bool({"site-packages", "dist-packages"} & set(path.parts))
