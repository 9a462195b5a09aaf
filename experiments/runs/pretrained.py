"""Where pretrained weights lie: in a folder named by a hash of all that they depend on, or where an earlier version put
the same ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ...models.saved import load_checkpoint
from ..config import build, of_pretraining, read


def pretrained_folder(cache: Path, about: dict[str, Any], source: dict[str, Any]) -> Path:
    """The folder in `cache` for weights that `about` describes (configuration, seed, keypoints), learned from the
    dataset whose identity is `source`."""
    wanted = _text(about, source)
    folder = cache / f"{hashlib.sha256(wanted.encode()).hexdigest()[:12]}-seed{about['seed']}"
    if folder.exists():
        return folder
    earlier = sorted(path.parent for path in cache.glob(f"*-seed{about['seed']}/done"))
    return next((path for path in earlier if _earlier(path) == wanted), folder)


def _earlier(folder: Path) -> str | None:
    """What a folder of an earlier version holds, as `pretrained_folder` describes it, with the defaults of options that
    are newer; None where that cannot be said.

    A configuration of 0.1.0 says neither the keypoints nor what the file of a user's network held: its weights do.
    """
    said, state = read(folder / "config.yaml"), {}
    try:
        if "keypoints" not in said:
            state = load_checkpoint(max(folder.glob("weights-*.pt")), ("architecture", "keypoints"))
        keypoints = list(said.pop("keypoints", None) or state["keypoints"])
        seed = int(said.pop("seed"))
        about = of_pretraining(build(said, origin=str(folder))) | {"seed": seed, "keypoints": keypoints}
        source = json.loads((folder / "identity.json").read_text())["source_train"]
    except (ValueError, KeyError, OSError):  # it cannot be used, and something else is trained
        return None
    if "sha256" in state.get("architecture", {}):
        about["model"]["sha256"] = state["architecture"]["sha256"]
    return _text(about, source)


def _text(about: dict[str, Any], source: dict[str, Any]) -> str:
    return json.dumps([about, source], sort_keys=True, default=str)
