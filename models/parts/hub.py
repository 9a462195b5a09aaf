"""Libraries of the extra `backbones`, and files of the Hugging Face hub: from its cache, or downloaded."""

from __future__ import annotations

import importlib
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...datasets.options import choose
from ...datasets.reading.files import from_home

SECONDS = 10
"""That the hub has to answer in."""


def library(name: str, wanted: str) -> Any:
    """The module `name`. Raises ValueError, saying what is `wanted` from it, where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{wanted} needs {name} ({error}): pip install 'keyshift[backbones]'") from error


def weights_file(weights: str, published: Mapping[str, str]) -> Path:
    """A local file, or the file of published weights by their tag, whose repositories are given. Raises ValueError for
    files that are none, unknown tags and impossible downloads."""
    path = from_home(weights)
    if path.is_file():
        return path
    if path.suffix or "/" in weights:
        raise ValueError(f"model.weights={weights}: no such file. Give a state_dict's path, a tag of timm's or null")
    choose("model.weights", weights, list(published))
    library("huggingface_hub", f"model.weights={weights}")
    return hub_file(published[weights], "model.safetensors")


def hub_file(repository: str, file: str) -> Path:
    """A file of a repository such as usyd-community/vitpose-base-simple. Raises ValueError where it cannot be
    downloaded, with its address and the option by which to give a copy of it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, file, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    address = f"https://huggingface.co/{repository}/resolve/main/{file}"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=SECONDS):
            pass  # the hub's own client tries for a minute where there is no network
        return Path(hf_hub_download(repository, file))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cannot download {address} ({error}). Download it elsewhere and give its path as model.weights, or start "
            "from random weights with model.weights=null"
        ) from error
