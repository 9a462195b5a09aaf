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
    return next((path for path in earlier if _of_0_1_0(path) == wanted), folder)


def _of_0_1_0(folder: Path) -> str | None:
    """What a folder of version 0.1.0 holds, as `pretrained_folder` describes it; None for one of a later version.

    Its configuration says neither the keypoints nor what the file of a user's network held: its weights do.
    """
    said = read(folder / "config.yaml")
    files = sorted(folder.glob("weights-*.pt"))
    if "keypoints" in said or not files:
        return None
    try:
        state = load_checkpoint(files[-1], ("architecture", "keypoints"))
        config = build({key: value for key, value in said.items() if key != "seed"}, origin=str(folder))
        about = of_pretraining(config) | {"seed": int(said["seed"]), "keypoints": list(state["keypoints"])}
        source = json.loads((folder / "identity.json").read_text())["source_train"]
    except (ValueError, KeyError, OSError):  # it cannot be used, and something else is trained
        return None
    if "sha256" in state["architecture"]:
        about["model"]["sha256"] = state["architecture"]["sha256"]
    return _text(about, source)


def _text(about: dict[str, Any], source: dict[str, Any]) -> str:
    return json.dumps([about, source], sort_keys=True, default=str)
