"""What the report reads: a comparison folder, tolerant of nulls, missing strategies and runs without predictions."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ...adapt.scoring import evaluation
from ...adapt.scoring.selection import Headline
from ...datasets.sample import BODY_MM
from ..runs.results import base_of
from ..tracking.addresses import masked
from . import registry
from .looks import Look, looks

RULES = {
    "last": "the last checkpoint of each run",
    "source": "the best checkpoint on held-out source labels",
    "target_score": "the best checkpoint by a target score that needs no labels",
    "oracle": "the best checkpoint on the target test labels",
}
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
    """{strategy: {seed: result}}, in the registry's order, seeds in numeric order."""
    summary: dict[str, Any]

    @cached_property
    def looks(self) -> dict[str, Look]:
        return looks(list(self.runs))

    @property
    def name(self) -> str:
        return str(self.config.get("name") or self.folder.resolve().name)

    @property
    def adapted(self) -> str | None:
        """The strategy that the report is about: the first that adapts."""
        return next((name for name in self.runs if registry.adapts(name)), None)

    def base(self, strategy: str) -> str:
        """What its gain is over: source_only or given, in the comparison or not."""
        stored = (self.summary.get(strategy) or {}).get("base")
        return str(stored) if stored else base_of(strategy, self.runs)

    @property
    def bases(self) -> set[str]:
        """What the gains are over, of all strategies but these bases themselves."""
        return {self.base(name) for name in self.runs if self.base(name) != name}

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
        numbers = [dig(result, *path) for result in self.runs.get(strategy, {}).values()]
        return [number for number in numbers if number is not None]

    def mean(self, strategy: str, *path: str) -> float | None:
        values = self.values(strategy, *path)
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Predictions:
    """predictions.npz of a run; N labelled people, K keypoints."""

    points: np.ndarray
    """(N, K, 2) in the picture, file px; NaN where it is not known where that would be."""
    truth: np.ndarray
    annotated: np.ndarray
    visible: np.ndarray
    errors: np.ndarray
    """(N, K) distances as fractions of the crop's side, or of 3D points in mm; infinite for missed people."""
    pixels: np.ndarray
    """(N, K) distances in the picture, file px."""
    id: tuple[str, ...]
    row: np.ndarray
    """(N,) the sample of the dataset that the person stands in."""
    matched: np.ndarray
    """(N,) bool: not missed."""
    invented: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 2)))
    """(Q, K, 2) file px: people whom nobody labelled."""
    invented_in: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """(Q,) the samples that they were found in."""
    rooted: tuple[np.ndarray, np.ndarray] | None = None
    """(N, K, 3) mm from the root, predicted and true, of systems that answer so."""

    @property
    def counted(self) -> np.ndarray:
        """(N, K) bool: annotated, of missed people too."""
        return self.annotated & ~np.isnan(self.errors)

    @property
    def measured(self) -> np.ndarray:
        """(N, K) bool: annotated, at a distance from the truth that is a number."""
        return self.annotated & np.isfinite(self.errors)

    @property
    def missed(self) -> np.ndarray:
        """(N,) bool: of the people with an annotated keypoint."""
        return ~self.matched & self.annotated.any(1)


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
    config = yaml.safe_load(text) or {}
    headline = Headline.named(str(results.get("metric") or "pck"))
    if headline.key == "ap":  # results.json names the threshold of PCK where that is what is judged by
        headline = replace(headline, threshold=dig(config, "threshold"))
    runs = {name: dict(sorted((seeds or {}).items(), key=_seed)) for name, seeds in results["strategies"].items()}
    return Comparison(
        folder=folder,
        config=config,
        config_text=masked(text),
        environment=_json(folder / "environment.json"),
        identity=_json(folder / "identity.json"),
        headline=headline,
        # The day of the results, not of the writing: a report that is written again stays the same.
        date=datetime.fromtimestamp(file.stat().st_mtime, UTC).strftime("%Y-%m-%d"),
        runs={name: runs[name] for name in sorted(runs, key=registry.place)},
        summary=results.get("summary") or {},
    )


def predictions(run: Path) -> Predictions | None:
    """None where a run left no predictions."""
    file = run / "predictions.npz"
    if not file.is_file():
        return None
    stored = evaluation.Predictions.load(file)
    points, truth = (stored.in_picture(values).numpy() for values in (stored.points, stored.truth))
    return Predictions(
        points=points,
        truth=truth,
        annotated=stored.annotated.numpy(),
        visible=stored.visible.numpy(),
        errors=stored.errors().numpy(),
        pixels=np.where(np.isfinite(points).all(-1), stored.pixels().numpy(), np.nan),
        id=stored.id,
        row=stored.row.numpy(),
        matched=stored.matched.numpy(),
        **_invented(stored),
        rooted=(stored.points.numpy(), stored.truth.numpy()) if stored.space == BODY_MM else None,
    )


def _invented(stored: evaluation.Predictions) -> dict[str, np.ndarray]:
    """Of systems that find people those whom nobody labelled."""
    if stored.answers is None:
        return {}
    alone = stored.answers.invented
    return {"invented": stored.answers.points[alone].numpy(), "invented_in": stored.answers.row[alone].numpy()}


def curves(run: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{metric: (steps, values)} of metrics.jsonl; of a step that was logged twice the later value counts."""
    logged: dict[str, dict[int, float]] = {}
    file = run / "metrics.jsonl"
    for line in file.read_text("utf-8").splitlines() if file.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:  # a run that was killed while it wrote leaves half a line
            continue
        for name in record.get("metrics") or {}:
            value = dig(record, "metrics", name)
            if value is not None:
                logged.setdefault(name, {})[int(record["step"])] = value
    return {name: _arrays(points) for name, points in logged.items()}


def dig(tree: Any, *path: str) -> float | None:
    """The finite number at `path` of nested dicts, None where there is none."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    number = isinstance(tree, int | float) and not isinstance(tree, bool) and math.isfinite(tree)
    return float(tree) if number else None


def _arrays(points: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
    steps = np.array(sorted(points))
    return steps, np.array([points[int(step)] for step in steps])


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def _seed(item: tuple[str, Any]) -> tuple[int, str]:
    return (int(item[0]), "") if item[0].isdecimal() else (2**62, item[0])
