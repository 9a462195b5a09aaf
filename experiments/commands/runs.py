"""Run folders on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from ...adapt.scoring.selection import Headline
from ..tracking.records import lines


def run_folders(runs: Path) -> list[Path]:
    """Runs and comparisons directly below `runs`, the newest last; the cache of pretrained weights is none."""
    folders = [path.parent for path in runs.glob("*/config.yaml")]
    return sorted(folders, key=lambda folder: (folder / "config.yaml").stat().st_mtime)


def print_runs(runs: Path) -> None:
    from ..runs.progress import Reporter

    if not runs.is_dir():
        raise ValueError(f"no folder {runs}; runs are written to runs/ where keyshift is started")
    reporter = Reporter()
    columns = ["run", "data", "strategies", "state", "target"]
    reporter.table(str(runs), columns, [_row(folder) for folder in run_folders(runs)])


def _row(folder: Path) -> list[str]:
    try:
        config = _read(folder / "config.yaml")
    except ValueError as error:
        return [folder.name, "–", "–", f"unreadable: {error}", "–"]
    data, single = _data(folder, config), f"{config.get('strategy', '–')} seed {config.get('seed', 0)}"
    parts = sorted(folder.glob("*-seed*/config.yaml"))
    if (folder / "results.json").exists():
        results = json.loads((folder / "results.json").read_text())
        summary, headline = results["summary"], Headline.named(results["metric"])
        scores = ", ".join(f"{name} {_number(value['target']['mean'], headline)}" for name, value in summary.items())
        return [folder.name, data, ", ".join(summary), "finished", scores]
    if (folder / "result.json").exists():
        target = json.loads((folder / "result.json").read_text())["target"] or {}
        judged = Headline.among(target)
        score = "–" if judged is None else _number(target[judged.key], judged)
        return [folder.name, data, single, "finished", score]
    if (folder / "adapt.json").exists():
        return [folder.name, data, single, "finished", _adapted(json.loads((folder / "adapt.json").read_text()))]
    if (folder / "online.json").exists():
        return [folder.name, data, single, "finished", "online"]
    if parts:
        done = len(list(folder.glob("*-seed*/result.json")))
        return [folder.name, data, ", ".join(config.get("strategies") or ["–"]), f"{done} runs finished", "–"]
    step = max((line["step"] for line in lines(folder)), default=0)  # a full disk may have cut the last one
    return [folder.name, data, single, f"step {step} of {config.get('steps', '?')}", "–"]


def _adapted(outcome: dict[str, Any]) -> str:
    """What `keyshift adapt` shipped, and the score of labels that were given to check it."""
    shipped = "adapted" if outcome["adapted"] else "not adapted"
    if not outcome.get("check"):
        return shipped
    headline = Headline.named(outcome["check"]["metric"])
    return f"{shipped}, {_number(outcome['check']['after'][headline.key], headline)}"


def _read(path: Path) -> dict[str, Any]:
    """The configuration as it stands there, so that runs of every version are listed. Raises ValueError for no
    mapping."""
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(content, dict):
        raise ValueError(f"expected a mapping, found a {type(content).__name__}")
    return content


def _data(folder: Path, config: dict[str, Any]) -> str:
    """Source and target by name; a run that opened no source goes from the given model."""
    source, target = (str((config.get(side) or {}).get("name", "–")) for side in ("source", "target"))
    if "target" in config and config["target"] is None:
        return source
    identity = folder / "identity.json"
    if identity.is_file() and "source_train" not in json.loads(identity.read_text()):
        source = "given model"
    return f"{source} -> {target}"


def _number(value: float | None, headline: Headline) -> str:
    """With its unit where runs of another metric may stand beside: 0.478, 23.41 mm."""
    return "–" if value is None else headline.bare(value) + (f" {headline.unit}" if headline.scale == 1 else "")
