"""Strategies without a source: their gains are over the given model, and no source is looked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Strategy
from keyshift.experiments.report import data as report_data
from keyshift.experiments.report import page as report
from keyshift.experiments.report.words import basis, finding, number, others
from keyshift.experiments.runs.results import collect

Make = Callable[..., tuple[Path, Any]]


@pytest.fixture
def make(make_comparison: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Path, Any]]:
    """Writes a comparison with the results of its own predictions; `alone` is a strategy without a source."""
    kind = type("Alone", (Strategy,), {"title": "Alone", "about": "no source", "needs": frozenset({"target"})})
    monkeypatch.setitem(STRATEGIES, "alone", kind)

    def compare(*strategies: str, without_source: bool = False, depth: bool = False) -> tuple[Path, Any]:
        folder, dataset = make_comparison(strategies, count=40, depth=depth)
        if without_source:
            for file in folder.glob("*/result.json"):
                result = json.loads(file.read_text())
                del result["selected"]["source"]
                file.write_text(json.dumps(result | {"source": None}))
            identity = json.loads((folder / "identity.json").read_text())
            (folder / "identity.json").write_text(json.dumps({k: v for k, v in identity.items() if "target" in k}))
            (folder / "config.yaml").write_text("name: new_camera\nsource: null\ntarget: {name: fake_hands}\n")
        results = collect(folder, list(strategies), [0, 1, 2], 0.1)
        (folder / "results.json").write_text(json.dumps(results))
        return folder, dataset

    return compare


def test_a_comparison_without_a_source(make: Make) -> None:
    folder, dataset = make("given", "alone", "oracle", without_source=True)
    comparison = report_data.read(folder)
    text = report.write(folder, dataset).read_text("utf-8").replace("\u00a0", " ")
    assert finding(comparison).startswith("Alone closes ")
    assert "of the gap between the given model and oracle over 3 seeds" in finding(comparison)
    assert basis(comparison).startswith("Gain is measured against the given model and needs it;")
    assert "from the given model to fake_hands" in text
    for absent in ("source_only", "bn_control", "source PCK", "held-out source", "gain over given", "(labelled)"):
        assert absent not in text
    gain = json.loads((folder / "results.json").read_text())["summary"]["alone"]["gain"]
    assert f"+{number(100 * gain['mean'], 1)} [" in text
    drawn = report.gallery(comparison, dataset)
    assert drawn is not None
    assert drawn.strategies == ("given", "alone")


def test_each_gain_is_over_its_own_base(make: Make) -> None:
    folder, dataset = make("given", "source_only", "bn_control", "regda", "alone", "oracle")
    comparison, text = report_data.read(folder), report.write(folder, dataset).read_text("utf-8")
    summary = json.loads((folder / "results.json").read_text())["summary"]
    assert finding(comparison).startswith("RegDA closes ")
    assert "between source_only and oracle" in finding(comparison)
    (sentence,) = others(comparison)
    assert "between the given model and oracle" in sentence
    assert "that of strategies without a source (alone) against the given model" in basis(comparison)
    assert text.count("<small>over given</small>") == 1
    assert "gain over given" in text
    for name in ("source_only", "regda", "alone"):
        assert f'<td class="n">+{number(100 * summary[name]["gain_over_given"]["mean"], 1)} [' in text


def test_a_gain_over_the_given_model_without_a_gap(make: Make) -> None:
    folder, _ = make("given", "alone", without_source=True)
    said = finding(report_data.read(folder)).replace("\u00a0", " ")
    assert said.startswith("Alone gains +")
    assert "of PCK over the given model over 3 seeds; what share of the gap that closes is undefined" in said


def test_without_the_given_model_a_gain_is_undefined(make: Make) -> None:
    folder, dataset = make("source_only", "alone")
    said = finding(report_data.read(folder))
    assert "without the given model in the comparison its gain is undefined" in said
    assert report.write(folder, dataset).is_file()


def test_the_control_is_held_against_the_same_base(make: Make) -> None:
    folder, _ = make("given", "source_only", "bn_control", "alone", "oracle")
    summary = json.loads((folder / "results.json").read_text())["summary"]
    said = finding(report_data.read(folder)).replace("\u00a0", " ")
    change = number(100 * summary["bn_control"]["gain_over_given"]["mean"], 1, sign=True)
    assert f"; bn_control alone changes it by {change} points [" in said


def test_depth_without_a_source(make: Make) -> None:
    folder, dataset = make("given", "alone", without_source=True, depth=True)
    said = finding(report_data.read(folder)).replace("\u00a0", " ")
    assert said.startswith("Alone lowers the mean error by ")
    assert "against the given model over 3 seeds" in said
    assert report.write(folder, dataset).is_file()


def test_results_of_another_version_name_no_base(make: Make) -> None:
    folder, dataset = make("source_only", "regda", "oracle")
    results = json.loads((folder / "results.json").read_text())
    for row in results["summary"].values():
        del row["base"], row["gain_over_given"]
    (folder / "results.json").write_text(json.dumps(results))
    comparison = report_data.read(folder)
    assert comparison.bases == {"source_only"}
    assert "between source_only and oracle" in finding(comparison)
    assert "gain over given" not in report.write(folder, dataset).read_text("utf-8")


def test_the_given_model_takes_no_updates(make: Make) -> None:
    folder, _ = make("given", "source_only", "alone")
    (folder / "given-seed0" / "metrics.jsonl").write_text("")
    comparison = report_data.read(folder)
    assert set(report.updates(comparison)) == {"source_only", "alone"}
    assert report.total_seconds(comparison) is not None
