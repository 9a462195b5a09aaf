"""A small comparison folder as experiments write it (made of random numbers), the dataset it speaks of, and a network
whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from keyshift.adapt.scoring import rule as rules
from keyshift.datasets.options import option
from keyshift.datasets.sample import Item
from keyshift.datasets.skeleton import HAND, Skeleton
from keyshift.experiments.runs import precision
from keyshift.models.output import Grid, Poses, Votes
from keyshift.models.pose_model import PoseModel
from keyshift.models.saved import MODELS

NOISE = {"source_only": 0.16, "bn_control": 0.13, "regda": 0.08, "mean_teacher": 0.09, "oracle": 0.05}
WORST = 0.2
"""Noise of the given model, beside the levels of those that are trained."""
RULES = ("last", "source", "target_score", "oracle")


@pytest.fixture(autouse=True)
def toy_rule(tmp_path_factory: Any, monkeypatch: Any) -> rules.Rule:
    """A rule that reads agreement alone: 0.1 more is a gain of 6.4 points, and 0.02 more the least that ships."""
    counts = {"all": 40, "shipped": 20, "worse": 10, "harm": 0, "better": 20, "missed": 4}
    found = {"pairs": ["a", "b", "c"], "count": 120, "points": counts, "runs": counts | {"lost": 0.5}}
    systems = ["image, one person", "image, several people", "image and reach, one person", "keypoints2d, one person"]
    lab = {
        f"pair{i}": {"kind": "light", "scores": {"agreement": i / 4}, "gains": {"mean_teacher": i}} for i in range(4)
    }
    basis = {"found": found, "shown": found | {"pairs": ["d", "e"]}, "dry": 1.5, "systems": systems}
    made = rules.Rule(["agreement"], [0.1], [[1.0]], [1.5], 3.0, -0.5, 0.5, 0.8, 0.3, basis, lab)
    file = tmp_path_factory.mktemp("rule") / "rule.json"
    made.save(file)
    monkeypatch.setattr(rules, "RULE", file)
    return made


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: Any) -> None:
    """Runs that leave their precision open compute in float32 on every machine."""
    monkeypatch.setattr(precision, "share_of_time", lambda device: 1.0)


@pytest.fixture
def no_export(monkeypatch: Any) -> None:
    """No run writes its network as ONNX, which takes seconds each time; tests/experiments/test_cli.py has one that
    does."""
    monkeypatch.setattr("keyshift.experiments.runs.conclusion.to_onnx", lambda *_: None)


@pytest.fixture(scope="session")
def small_demo() -> tuple[str, ...]:
    """Words that make of the demo a run of few pictures and a tiny network."""
    data = (f"{side}.{key}" for side in ("source", "target") for key in ("train=12", "test=6", "size=32"))
    model = ("backbone=small", "input_size=[32,32]", "heatmap_size=[8,8]", "channels=8")
    rest = ("batch=4", "pretrain_steps=2", "pretrain.milestones=[]", "tracking=off")
    return (*data, *(f"model.{key}" for key in model), *rest)


class FakeHands:
    """Coloured stick hands on a noisy background: deterministic, and made when asked."""

    def __init__(self, count: int = 40, prefix: str = "cam0/frame", size: int = 96) -> None:
        self.name, self.count, self.prefix, self.size = "fake_hands", count, prefix, size
        self.identity: dict[str, Any] = {"name": self.name, "count": count, "seed": 0, "digest": "sha256:0123abcd"}
        self.skeleton: Skeleton = HAND
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> Item:
        self.read.append(index)
        rng = np.random.default_rng(index)
        points = self._hand(rng)
        image = cv2.resize(rng.integers(40, 190, (6, 6, 3), dtype=np.uint8), (self.size, self.size))
        image = np.ascontiguousarray(np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8))
        for a, b in HAND.edges:
            ends = [tuple(int(v) for v in points[k]) for k in (a, b)]
            cv2.line(image, ends[0], ends[1], (226, 178, 150), 7, cv2.LINE_AA)
        seen, annotated = rng.random(21) > 0.15, rng.random(21) > 0.05
        box = np.array([2, 2, self.size - 2, self.size - 2], float)
        item_id = f"{self.prefix}{index:04d}"
        return Item(image, box, item_id, f"clip{index // 10}", index, np.zeros(4), points, seen & annotated, annotated)

    def _hand(self, rng: np.random.Generator) -> np.ndarray:
        turn, wrist = rng.uniform(-0.5, 0.5), np.array([self.size * 0.5, self.size * 0.85])
        points = [wrist]
        for finger in range(5):
            angle = turn + (finger - 2) * 0.3 - np.pi / 2
            reach = np.array([0.34, 0.47, 0.57, 0.65]) * (0.8 if finger in (0, 4) else 1) * self.size
            reach[1:] -= rng.uniform(0, 0.06) * self.size
            points += [wrist + r * np.array([np.cos(angle), np.sin(angle)]) for r in reach]
        return np.stack(points)


class FakeDepth(FakeHands):
    """The same hands as a depth camera sees them, before a wall, cut by a cube that reaches beyond the frame."""

    def __getitem__(self, index: int, /) -> Item:
        flat = super().__getitem__(index)
        rng = np.random.default_rng([index, 1])
        depth = 600 + rng.uniform(-60, 60, 21)
        image = np.full((self.size, self.size), 1400, np.float32)
        image[:8] = 0
        for a, b in HAND.edges:
            ends = [tuple(int(v) for v in flat.keypoints[k]) for k in (a, b)]
            cv2.line(image, ends[0], ends[1], float(depth[[a, b]].mean()), 7)
        middle, half = self.size / 2, 150 * 200 / 600
        return replace(
            flat,
            image=image,
            box=np.array([middle - half, middle - half, middle + half, middle + half]),
            camera=np.array([200.0, 210.0, middle + 0.5, middle - 1.5]),
            keypoints=np.column_stack([flat.keypoints, depth]),
            center=np.array([middle, middle, 600.0]),
            cube=np.full(3, 300.0),
        )


def in_space(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """(N, K, 3) px, px and mm to mm."""
    fx, fy, cx, cy = (camera[:, i, None] for i in range(4))
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([(x - cx) * z / fx, (y - cy) * z / fy, z], -1)


def scores_mm(error: np.ndarray, pixels: np.ndarray, annotated: np.ndarray) -> dict[str, Any]:
    known = np.where(annotated, error, np.nan)
    joints = dict(zip(HAND.keypoints, np.nanmean(known, 0).tolist(), strict=True))
    groups = {name: float(np.nanmean(known[:, list(members)])) for name, members in HAND.groups.items()}
    mean, epe = float(np.nanmean(known)), float(pixels[annotated].mean())
    return {"mm": mean, "epe": epe, "auc": None, "map": None, "groups": groups, "joints": joints}


def scores(error: np.ndarray, annotated: np.ndarray, side: np.ndarray) -> dict[str, Any]:
    right = np.where(annotated, error <= 0.1, np.nan)
    joints = dict(zip(HAND.keypoints, np.nanmean(right, 0).tolist(), strict=True))
    groups = {name: float(np.nanmean(right[:, list(members)])) for name, members in HAND.groups.items()}
    epe = float((error * side[:, None])[annotated].mean())
    return {"pck": float(np.nanmean(right)), "epe": epe, "auc": None, "groups": groups, "joints": joints}


def write_run(run: Path, strategy: str, seed: int, dataset: FakeHands) -> dict[str, Any]:
    """A run folder; returns its result."""
    run.mkdir()
    rng = np.random.default_rng([seed, *strategy.encode()])
    items = [dataset[i] for i in range(len(dataset))]
    truth = np.stack([item.keypoints for item in items])
    annotated = np.stack([item.annotated for item in items])
    side = np.array([item.box[2] - item.box[0] for item in items])
    level = WORST if strategy == "given" else NOISE.get(strategy, 0.1)
    noise = rng.normal(0, 1, truth.shape) * (level * rng.uniform(0.15, 1.3, (len(items), 1, 1)) * side[:, None, None])
    points = truth + noise
    camera = np.stack([item.camera for item in items])
    depth = {"camera": camera.astype(np.float32)} if truth.shape[-1] == 3 else {}
    np.savez(
        run / "predictions.npz",
        points=points.astype(np.float32),
        confidence=rng.random(annotated.shape),
        truth=truth.astype(np.float32),
        annotated=annotated,
        visible=np.stack([item.visible for item in items]),
        side=side,
        sequence=np.array([item.sequence for item in items]),
        id=np.array([item.id for item in items]),
        **depth,
    )
    key = "mm" if depth else "pck"
    if depth:
        error = np.linalg.norm(in_space(points, camera) - in_space(truth, camera), axis=-1)
        target = scores_mm(error, np.linalg.norm(noise[..., :2], axis=-1), annotated)
        source = {**target, "mm": 0.6 * target["mm"], "epe": target["epe"] / 2}
    else:
        target = scores(np.linalg.norm(noise, axis=-1) / side[:, None], annotated, side)
        source = {**target, "pck": min(0.97, target["pck"] + 0.2), "epe": target["epe"] / 2}
    selected = {
        rule: {"step": 300 - 20 * i, "target": {**target, key: target[key] - 0.01 * (i % 3)}}
        for i, rule in enumerate(RULES)
    }
    with (run / "metrics.jsonl").open("w") as file:
        for step in range(10, 301, 10):
            fade = np.exp(-step / 90)
            metrics: dict[str, Any] = {"loss/supervised": 1.4 * fade + 0.2 + 0.05 * rng.random(), "rate/features": 0.01}
            if strategy not in ("source_only", "oracle"):
                metrics["loss/adversary"] = 0.6 + 0.3 * fade + 0.04 * rng.random()
            if step % 50 == 0:
                rise = {"pck": (1 - fade, 1 - 0.9 * fade), "mm": (1 + fade, 1 + 0.9 * fade)}[key]
                metrics |= {f"source/{key}": source[key] * rise[0], f"target/{key}": target[key] * rise[1]}
                metrics |= {"target/epe": None, "target/score": 0.5 + 0.4 * (1 - fade) + 0.02 * rng.random()}
            file.write(json.dumps({"step": step, "time": 1.7636e9 + step, "metrics": metrics}) + "\n")
    result = {"target": target, "source": source, "selected": selected, "seconds_per_iteration": 0.05 + level / 10}
    (run / "result.json").write_text(json.dumps(result))
    return result


def summary(strategies: dict[str, dict[str, Any]], several: bool) -> dict[str, Any]:
    key, sign = (
        ("mm", -1) if any("mm" in r["target"] for runs in strategies.values() for r in runs.values()) else ("pck", 1)
    )
    wide = 1.0 if key == "pck" else 50.0  # intervals in mm are as wide as in points
    means = {name: float(np.mean([r["target"][key] for r in runs.values()])) for name, runs in strategies.items()}
    low, high = means.get("source_only"), means.get("oracle")
    rows: dict[str, Any] = {}
    for name, runs in strategies.items():
        spread = float(np.std([r["target"][key] for r in runs.values()])) if several else None
        gain = None if low is None or name == "source_only" else sign * (means[name] - low)
        share = None if gain is None or low is None or high is None else gain / (sign * (high - low))
        rows[name] = {
            "target": {"mean": means[name], "std": spread},
            "gain": {"mean": gain, "interval": None if gain is None else [gain - 0.03 * wide, gain + 0.04 * wide]},
            "gap_closed": {"mean": share, "interval": None if share is None else [share - 0.08, share + 0.1]},
        }
    return rows


@pytest.fixture
def make_comparison(tmp_path: Path) -> Callable[..., tuple[Path, FakeHands]]:
    """Writes a comparison folder: make(strategies, seeds, count, prefix, depth, config) -> (folder, dataset)."""

    def make(
        strategies: tuple[str, ...] = tuple(NOISE),
        seeds: tuple[int, ...] = (0, 1, 2),
        count: int = 40,
        prefix: str = "cam0/frame",
        depth: bool = False,
        **config: Any,
    ) -> tuple[Path, FakeHands]:
        folder, dataset = tmp_path / "run", (FakeDepth if depth else FakeHands)(count, prefix)
        folder.mkdir()
        results = {
            name: {str(seed): write_run(folder / f"{name}-seed{seed}", name, seed, dataset) for seed in seeds}
            for name in strategies
        }
        dataset.read.clear()
        whole = {
            "name": "fake_pair",
            "source": {"name": "rendered_studio", "root": "cache"},
            "target": {"name": "fake_hands", "root": "cache"},
            "steps": 300,
            "batch": 16,
            "seeds": list(seeds),
            **config,
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
        (folder / "environment.json").write_text(json.dumps({"keyshift": "0.1.0", "torch": "2.11", "device": "cpu"}))
        roles = ("source_train", "source_test", "target_train", "target_test")
        (folder / "identity.json").write_text(json.dumps(dict.fromkeys(roles, dataset.identity)))
        document = {
            "schema": 1,
            "metric": "mm" if depth else "pck@0.1",
            "strategies": results,
            "summary": summary(results, several=len(seeds) > 1),
        }
        (folder / "results.json").write_text(json.dumps(document))
        return folder, dataset

    return make


@pytest.fixture
def comparison(make_comparison: Callable[..., tuple[Path, FakeHands]]) -> tuple[Path, FakeHands]:
    """(folder, dataset): five strategies, three seeds."""
    return make_comparison(count=24)


class Brightest(PoseModel):
    """Keypoint k is where colour k is brightest."""

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        input_size: list[int] = option([64, 64], "width, height", size=2)

    def __init__(self, keypoints=3, options=None):
        super().__init__(keypoints, options or self.Options())
        width, height = self.input_size
        self.grid = Grid((height, width), (1.0, 1.0), (0.5, 0.5))

    def features(self, sample):
        return sample.image.float()

    def votes(self, features, sample, head=None):
        return Votes.from_maps(self.grid, features)

    def decode(self, votes, sample):
        return Poses.of_crops(Votes(votes.grid, votes.logits / 16).mean(), votes.confidence())

    def loss(self, votes, sample):
        return {}

    def counted(self, sample):
        return sample.annotated

    def new_head(self, layers=None):
        return torch.nn.Identity()


@pytest.fixture
def brightest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Brightest]:
    """The class, among the models that can be loaded."""
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(MODELS, "brightest", Brightest)
    return Brightest
