"""Configurations of version 0.1.0 in today's form. That version saved every option of every dataset, system and
strategy in each run, used or not, and nested a system's options in `model` under its name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ..datasets.catalog import DATASETS
from ..models.saved import MODELS

NESTED = ("a2j", "awr", "own")
"""The systems that it knew besides pose_resnet, each a mapping in `model`."""
SIDES = {"shoulders", "protocol", "duplicates", "subject"}
"""Options that its `source` and `target` always had together, whatever the dataset."""


def today(content: dict[str, Any], system: str = "pose_resnet") -> dict[str, Any]:
    """`content` in today's form, whichever version wrote it; `system` is the one of a `model` that does not say."""
    model, data = content.get("model"), dict(content)
    if isinstance(model, dict):
        whole = all(isinstance(model.get(name), dict) for name in NESTED)
        data["model"] = _model(model, whole, system)
        if whole:
            data |= _averaging(content)
            if content.get("batch_norm") == "target":  # its default, and still that of all its strategies
                data["batch_norm"] = "own"
    for side in ("source", "target"):
        if isinstance(content.get(side), dict) and set(content[side]) >= SIDES:
            data[side] = _known(content[side], DATASETS)
    return data


def _model(model: dict[str, Any], whole: bool, system: str) -> dict[str, Any]:
    name = model.get("name", system)
    own = model.get(name)
    others = [key for key in NESTED if whole or key == name]
    flat = {key: value for key, value in model.items() if key not in others}
    flat |= own if isinstance(own, dict) else {}
    if flat.get("head_layers", 0) is None:  # the system's own number
        del flat["head_layers"]
    return _known(flat, MODELS) if whole else flat


def _known(options: dict[str, Any], registry: Any) -> dict[str, Any]:
    """Without the options of others, which that version refused to have set."""
    entry = registry.get(options.get("name"))
    if entry is None:
        return options
    known = {"name", *(f.name for f in fields(entry.Options))}
    return {key: value for key, value in options.items() if key in known}


def _averaging(content: dict[str, Any]) -> dict[str, Any]:
    """Its mean teacher averaged otherwise, and the runs that it began go on so."""
    if "mean_teacher" not in (content.get("strategy"), *(content.get("strategies") or [])):
        return {}
    return {"mean_teacher": {"averaging": "copied", **(content.get("mean_teacher") or {})}}
