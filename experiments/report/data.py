"""What the report reads: a comparison folder, tolerant of nulls, missing strategies and runs without predictions."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ...adapt.scoring import evaluation
from ...adapt.scoring.selection import Headline

RULES = {
    "last": "the last checkpoint of each run",
    "source": "the best checkpoint on held-out source labels",
    "target_score": "the best checkpoint by a target score that needs no labels",
    "oracle": "the best checkpoint on the target test labels",
}
REFERENCES = ("source_only", "bn_control", "oracle")
"""Strategies that adaptation is measured against; every other one adapts."""
PREFERRED = ("regda", "mean_teacher")
PICTURES = ("all", "blurred", "none")


@dataclass(frozen=True)
class Comparison:
    folder: Path
    config: dict[str, Any]
    config_text: str
    environment: dict[str, Any]
    identity: dict[str, Any]
    headline: Headline
    date: str
    runs: dict[str, dict[str, dict[str, Any]]]
    """{strategy: {seed: result}}: source_only first, oracle last, seeds in numeric order."""
    summary: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.config.get("name") or self.folder.resolve().name)

    @property
    def adapted(self) -> str | None:
        """The strategy that the report is about: regda, mean_teacher, else the first that adapts."""
        adapting = [name for name in self.runs if name not in REFERENCES]
        return next((name for name in PREFERRED if name in adapting), adapting[0] if adapting else None)

    @property
    def rule(self) -> str:
        """The selection rule behind the results: the config's, else the one whose numbers they are."""
        for key in ("selection", "select"):
            if self.config.get(key) in RULES:
                return str(self.config[key])
        results = [result for seeds in self.runs.values() for result in seeds.values()]
        for rule in RULES:
            key = self.headline.key
            pairs = [(dig(r, "target", key), dig(r, "selected", rule, "target", key)) for r in results]
            if pairs and all(used is not None and used == chosen for used, chosen in pairs):
                return rule
        return "last"

    @property
    def pictures(self) -> str:
        report = self.config.get("report") or {}
        choice = report.get("pictures", "all") if isinstance(report, dict) else report
        if choice not in PICTURES:
            raise ValueError(f"config report.pictures is {choice!r}; choose one of {', '.join(PICTURES)}")
        return str(choice)

    def run(self, strategy: str, seed: str) -> Path:
        return self.folder / f"{strategy}-seed{seed}"

    def values(self, strategy: str, *path: str) -> list[float]:
        """The numbers at `path` of each seed's result, nulls left out."""
        found = [dig(result, *path) for result in self.runs.get(strategy, {}).values()]
        return [value for value in found if value is not None]

    def mean(self, strategy: str, *path: str) -> float | None:
        values = self.values(strategy, *path)
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Predictions:
    """predictions.npz of a run; N samples, K keypoints."""

    points: np.ndarray
    """(N, K, 2), or of depth (N, K, 3): file px and mm."""
    truth: np.ndarray
    annotated: np.ndarray
    visible: np.ndarray
    errors: np.ndarray
    """(N, K) distances as fractions of the crop's side, or of depth in mm."""
    pixels: np.ndarray
    """(N, K) distances in the picture, file px."""
    id: tuple[str, ...]

    @property
    def counted(self) -> np.ndarray:
        """(N, K) bool: annotated, with a finite error."""
        return self.annotated & np.isfinite(self.errors)


def read(folder: Path) -> Comparison:
    """Raises FileNotFoundError without results.json, ValueError for a schema or a metric of another version."""
    file = folder / "results.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: a report is made of a finished `keyshift compare` folder")
    results = _json(file)
    if results.get("schema") != 1:
        raise ValueError(f"{file} has schema {results.get('schema')!r}, this keyshift reads schema 1")
    if not results.get("strategies"):
        raise ValueError(f"{file} holds no strategy: there is nothing to report")
    text = (folder / "config.yaml").read_text("utf-8") if (folder / "config.yaml").is_file() else ""
    runs = {name: dict(sorted((seeds or {}).items(), key=_seed)) for name, seeds in results["strategies"].items()}
    return Comparison(
        folder=folder,
        config=yaml.safe_load(text) or {},
        config_text=without_passwords(text),
        environment=_json(folder / "environment.json"),
        identity=_json(folder / "identity.json"),
        headline=Headline.named(str(results.get("metric") or "pck")),
        # The day of the results, not of the writing: a report that is written again stays the same.
        date=datetime.fromtimestamp(file.stat().st_mtime, UTC).strftime("%Y-%m-%d"),
        runs={name: runs[name] for name in sorted(runs, key=_place)},
        summary=results.get("summary") or {},
    )


def predictions(run: Path) -> Predictions | None:
    """None where a run left no predictions."""
    file = run / "predictions.npz"
    if not file.is_file():
        return None
    stored = evaluation.Predictions.load(file)
    return Predictions(
        points=stored.points.numpy(),
        truth=stored.truth.numpy(),
        annotated=stored.annotated.numpy(),
        visible=stored.visible.numpy(),
        errors=stored.errors().numpy(),
        pixels=stored.pixels().numpy(),
        id=stored.id,
    )


def curves(run: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{metric: (steps, values)} of metrics.jsonl; of a step that was logged twice the later value counts."""
    found: dict[str, dict[int, float]] = {}
    file = run / "metrics.jsonl"
    for line in file.read_text("utf-8").splitlines() if file.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:  # a run that was killed while it wrote leaves half a line
            continue
        for name in record.get("metrics") or {}:
            value = dig(record, "metrics", name)
            if value is not None:
                found.setdefault(name, {})[int(record["step"])] = value
    return {name: _arrays(points) for name, points in found.items()}


def dig(tree: Any, *path: str) -> float | None:
    """The finite number at `path` of nested dicts, None where there is none."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    number = isinstance(tree, int | float) and not isinstance(tree, bool) and math.isfinite(tree)
    return float(tree) if number else None


def without_passwords(text: str) -> str:
    """A report is mailed around: tracking servers' `user:password@` is not."""
    return re.sub(r"(://)[^/\s@'\"]+@", r"\1***@", text)


def _arrays(points: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
    steps = np.array(sorted(points))
    return steps, np.array([points[int(step)] for step in steps])


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def _seed(item: tuple[str, Any]) -> tuple[int, str]:
    return (int(item[0]), "") if item[0].isdecimal() else (2**62, item[0])


def _place(name: str) -> int:
    return {"source_only": 0, "bn_control": 1, "oracle": 3}.get(name, 2)
