from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from keyshift.adapt.scoring import selection
from keyshift.adapt.scoring.evaluation import Predictions
from keyshift.experiments.report import charts as report_charts
from keyshift.experiments.report import data as report_data
from keyshift.experiments.report import drawing
from keyshift.experiments.report import page as report
from keyshift.experiments.report.looks import looks
from keyshift.experiments.report.words import finding, number, others, seconds

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
Make = Callable[..., tuple[Path, Any]]


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def jpegs(self) -> list[str]:
        return [a["src"] or "" for tag, a in self.tags if tag == "img" and "image/jpeg" in (a["src"] or "")]


def page(folder: Path, dataset: Any) -> Page:
    return Page(report.write(folder, dataset).read_text("utf-8"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    results = json.loads((folder / "results.json").read_text())
    change(results)
    (folder / "results.json").write_text(json.dumps(results))


def said(folder: Path) -> str:
    return finding(report_data.read(folder)).replace("\u00a0", " ")


def set_summary(folder: Path, name: str, gain: tuple[float, float, float], share: Any = None) -> None:
    entry = {"target": {"mean": 0.6, "std": 0.01}, "gain": {"mean": gain[0], "interval": gain[1:]}}
    edit(folder, lambda r: r["summary"].update({name: entry | {"gap_closed": share}}))


# The page as a whole


def test_page_holds_every_part_in_order_and_needs_nothing_else(comparison: tuple[Path, Any]) -> None:
    folder, dataset = comparison
    file = report.write(folder, dataset)
    html = file.read_text("utf-8")
    parsed = Page(html)
    assert file == folder / "report.html"
    assert file.stat().st_size < 4e6
    assert [p.name for p in folder.iterdir() if "report" in p.name] == ["report.html"]
    order = [html.index(f'id="{part}"') for part in ("strategies", "rules", "joints", "training", "samples", "method")]
    assert order == sorted(order)
    assert not [tag for tag, _ in parsed.tags if tag in ("script", "iframe", "object")]
    links = [a[k] or "" for _, a in parsed.tags for k in ("src", "href") if k in a]
    assert links
    assert all(link.startswith("data:") for link in links)
    assert "http" not in re.sub(r'"data:[^"]*"', "", html).replace("http-equiv", "")
    assert all(a.get("alt") for tag, a in parsed.tags if tag == "img")
    assert ("html", {"lang": "en"}) in parsed.tags
    assert not re.search(r"\b(nan|inf|None)\b", parsed.text)


def test_same_input_gives_the_same_page(make_comparison: Make) -> None:
    folder, dataset = make_comparison(("source_only", "regda"), seeds=(0,), count=6)
    assert report.write(folder, dataset).read_bytes() == report.write(folder, dataset).read_bytes()


def test_a_failed_write_leaves_the_old_page(make_comparison: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, dataset = make_comparison(("regda",), seeds=(0,), count=4)
    (folder / "report.html").write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        report.write(folder, dataset)
    assert (folder / "report.html").read_text() == "old"
    assert [p.name for p in folder.iterdir() if "report" in p.name] == ["report.html"]


def test_tables_say_what_the_results_say(make_comparison: Make) -> None:
    folder, dataset = make_comparison(("source_only", "regda", "oracle"), count=12)
    results = json.loads((folder / "results.json").read_text())
    runs = results["strategies"]["regda"].values()
    text = page(folder, dataset).text
    for what, scale, decimals in (("pck", 100, 1), ("epe", 1, 2)):
        assert number(scale * float(np.mean([r["target"][what] for r in runs])), decimals) in text
    gain = results["summary"]["regda"]["gain"]
    low, high = (number(100 * end, 1) for end in gain["interval"])
    assert f"+{number(100 * gain['mean'], 1)} [{low}, {high}]" in text
    oracle_rule = np.mean([r["selected"]["target_score"]["target"]["pck"] for r in runs])
    assert f"{number(100 * oracle_rule, 1)} % step 260" in text
    assert "uses target labels; for comparison only" in text


@pytest.mark.parametrize(
    "strategies",
    [("source_only", "regda"), ("source_only",), ("regda",), ("oracle",), ("source_only", "novel_1", "_novel$2")],
    ids=" ".join,
)
def test_missing_and_unknown_strategies(make_comparison: Make, strategies: tuple[str, ...]) -> None:
    folder, dataset = make_comparison(strategies, seeds=(7,), count=8)
    parsed = page(folder, dataset)
    assert all(name in parsed.text for name in strategies)
    assert parsed.jpegs
    assert not re.search(r"\b(nan|inf|None)\b", parsed.text)


def test_nulls_anywhere_are_dashes(comparison: tuple[Path, Any]) -> None:
    folder, dataset = comparison

    def hollow(tree: Any) -> Any:
        return {k: hollow(v) for k, v in tree.items()} if isinstance(tree, dict) else None

    def empty(results: dict[str, Any]) -> None:
        results["strategies"] = hollow(results["strategies"])
        results["strategies"]["regda"]["1"] = None
        results["summary"] = {"regda": None, "oracle": hollow(results["summary"]["oracle"])}

    edit(folder, empty)
    parsed = page(folder, dataset)
    assert "–" in parsed.text
    assert "No claim: the gain has no interval" in parsed.text
    assert not re.search(r"\b(nan|inf|None)\b", parsed.text)


def test_runs_that_left_nothing_but_results(comparison: tuple[Path, Any]) -> None:
    folder, dataset = comparison
    for file in [*folder.glob("*/predictions.npz"), *folder.glob("*/metrics.jsonl"), *folder.glob("*.yaml")]:
        file.unlink()
    assert "No run left predictions" in page(folder, dataset).text


def test_an_unfinished_comparison_is_refused(tmp_path: Path, comparison: tuple[Path, Any]) -> None:
    folder, dataset = comparison
    with pytest.raises(FileNotFoundError, match="finished `keyshift compare` folder"):
        report.write(tmp_path, dataset)
    edit(folder, lambda r: r.update(schema=2))
    with pytest.raises(ValueError, match="schema 2"):
        report.write(folder, dataset)


def test_hostile_names_are_text(make_comparison: Make) -> None:
    evil = "<script>alert('x')</script>\"><img src=http://e.vil onerror=x>"
    strategies = ("source_only", "<b>$x^2$'\"")
    folder, dataset = make_comparison(strategies[:1], seeds=(0,), count=6, prefix=evil, name=evil)
    edit(folder, lambda r: r["strategies"].update({strategies[1]: r["strategies"]["source_only"]}))
    edit(folder, lambda r: r["strategies"]["source_only"]["0"]["target"]["joints"].update({"<i>日\x00$": 0.5}))
    parsed = page(folder, dataset)
    assert evil in parsed.text
    assert strategies[1] in parsed.text
    assert not [tag for tag, _ in parsed.tags if tag in ("script", "b>$x^2$'\"")]
    assert not [a for _, a in parsed.tags if "onerror" in a or "e.vil" in (a.get("src") or "")]


def test_passwords_of_servers_are_not_mailed_around(make_comparison: Make) -> None:
    folder, dataset = make_comparison(
        ("source_only",), seeds=(0,), count=4, tracking={"uri": "https://me:hunter2@host/x"}
    )
    (folder / "environment.json").write_text(json.dumps({"proxy": "http://me:hunter2@proxy"}))
    text = page(folder, dataset).text
    assert "hunter2" not in text
    assert "https://***@host/x" in text


def test_a_comparison_of_version_0_1_0(shared: Path, tmp_path: Path) -> None:
    stored = shared / "cases" / "run_0_1_0" / "pictures"
    if not stored.is_dir():
        pytest.skip("no run folder of version 0.1.0 among the shared values")
    folder = shutil.copytree(stored, tmp_path / "pictures", ignore=shutil.ignore_patterns("*.pt"))
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("pictures: all", "pictures: none"))
    parsed = page(folder, range(16))
    results = json.loads((folder / "results.json").read_text())
    for name, runs in results["strategies"].items():
        assert f"{name} {number(100 * runs['0']['target']['pck'], 1)} %" in parsed.text.replace("\u00a0", " ")
    gain = results["summary"]["regda"]["gain"]["mean"]
    # one seed has no interval, and without an oracle there is no share
    assert f" {number(100 * gain, 1, sign=True)} – " in parsed.text
    assert (
        "Gain is measured against source_only and needs it; the share closed is gain over the gap from source_only"
        in (parsed.text)
    )
    assert "gain over given" not in parsed.text


# The finding


def test_finding_of_a_clear_gain_names_share_interval_seeds_control_and_rule(comparison: tuple[Path, Any]) -> None:
    folder, _ = comparison
    set_summary(folder, "regda", (0.1, 0.08, 0.13), {"mean": 0.41, "interval": [0.33, 0.52]})
    set_summary(folder, "bn_control", (0.03, 0.01, 0.04), {"mean": 0.12, "interval": [0.04, 0.2]})
    assert said(folder) == (
        "RegDA closes 41 % [33, 52] of the gap between source_only and oracle over 3 seeds; bn_control alone closes "
        "12 % [4, 20] (checkpoints by the rule “last”: the last checkpoint of each run)."
    )


def test_finding_says_when_the_control_does_as_much(comparison: tuple[Path, Any]) -> None:
    folder, _ = comparison
    set_summary(folder, "bn_control", (0.5, 0.4, 0.6), {"mean": 1.1, "interval": [0.9, 1.3]})
    assert "bn_control alone closes 110 % [90, 130], which is no less" in said(folder)


def test_finding_claims_nothing_from_an_interval_with_zero(comparison: tuple[Path, Any]) -> None:
    folder, _ = comparison
    set_summary(folder, "regda", (0.012, -0.005, 0.029), {"mean": 0.2, "interval": [-0.1, 0.5]})
    assert said(folder).startswith("No gain can be claimed: RegDA changes PCK by +1.2 points [−0.5, 2.9]")
    assert "includes zero" in said(folder)
    set_summary(folder, "regda", (0.01, 0.0, 0.02), {"mean": 0.2, "interval": [0.0, 0.5]})
    assert said(folder).startswith("No gain can be claimed")


def test_finding_of_a_loss(comparison: tuple[Path, Any]) -> None:
    folder, _ = comparison
    set_summary(folder, "regda", (-0.05, -0.07, -0.02))
    assert said(folder).startswith("RegDA is worse than source_only by 5.0 points [2.0, 7.0] of PCK over 3 seeds")


def test_finding_without_a_defined_gap(make_comparison: Make) -> None:
    folder, _ = make_comparison(("source_only", "regda", "oracle"), count=6)
    set_summary(folder, "regda", (0.05, 0.02, 0.07))
    assert "undefined, because its own interval includes zero" in said(folder)
    edit(folder, lambda r: r["strategies"].pop("oracle"))
    assert "undefined, because there is no oracle run" in said(folder)


def test_finding_of_one_seed_makes_no_claim(make_comparison: Make) -> None:
    folder, _ = make_comparison(seeds=(3,), count=6)
    assert said(folder).startswith("One seed: no claim. RegDA reaches ")
    assert "bn_control" not in said(folder)


def test_page_of_one_seed_does_not_speak_of_several(make_comparison: Make) -> None:
    parsed = page(*make_comparison(("source_only", "regda"), seeds=(3,), count=6))
    assert "With one seed an interval covers the choice of frames only" in parsed.text
    assert "Means over seeds" not in parsed.text
    assert "Whiskers" not in parsed.text


def test_finding_without_references_or_adaptation(make_comparison: Make) -> None:
    folder, _ = make_comparison(("bn_control", "novel", "mean_teacher"), count=6)
    assert re.match(r"Mean teacher reaches .* without source_only .* undefined", said(folder))
    assert others(report_data.read(folder))[0].startswith("novel reaches")
    edit(folder, lambda r: [r["strategies"].pop(name) for name in ("novel", "mean_teacher")])
    assert said(folder).startswith("No adaptation strategy was compared")


def test_rule_comes_from_the_config_or_the_numbers(make_comparison: Make) -> None:
    folder, _ = make_comparison(("source_only", "regda"), count=6)

    def by_oracle(results: dict[str, Any]) -> None:
        for run in (run for seeds in results["strategies"].values() for run in seeds.values()):
            run["target"]["pck"] = run["selected"]["oracle"]["target"]["pck"] = 0.5

    edit(folder, by_oracle)
    assert report_data.read(folder).rule == "oracle"
    assert "which no one has without target labels" in said(folder)
    (folder / "config.yaml").write_text("selection: source")
    assert report_data.read(folder).rule == "source"


def test_rules_are_those_of_model_selection() -> None:
    assert list(report_data.RULES) == list(selection.RULES)


# Reading and numbers


def test_metrics_of_a_killed_and_resumed_run(tmp_path: Path) -> None:
    lines = [
        '{"step": 20, "time": 2.0, "metrics": {"a": 1.0, "b": null, "c": NaN}}',
        '{"step": 10, "time": 1.0, "metrics": {"a": 5}}',
        '{"step": 20, "time": 9.0, "metrics": {"a": 3.0}}',
        '{"step": 30, "metr',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    logged = report_data.curves(tmp_path)
    assert list(logged) == ["a"]
    np.testing.assert_array_equal(logged["a"][0], [10, 20])
    np.testing.assert_array_equal(logged["a"][1], [5, 3])


def test_numbers_have_true_signs_and_no_negative_zero() -> None:
    assert (number(-0.001, 1), number(-1.25, 1), number(2, 1, sign=True)) == ("0.0", "−1.2", "+2.0")
    assert [seconds(s).replace("\u00a0", " ") for s in (0.0512, 1.5, 600, 7200)] == [
        "51.2 ms",
        "1.5 s",
        "10 min",
        "2.0 h",
    ]


def test_mean_line_uses_steps_that_all_seeds_have() -> None:
    a = (np.array([10, 20, 30]), np.array([1.0, 2.0, 3.0]))
    b = (np.array([20, 30, 40]), np.array([4.0, 5.0, 6.0]))
    x, y = report_charts.mean_line([a, b])
    np.testing.assert_array_equal(x, [20, 30])
    np.testing.assert_array_equal(y, [3, 4])


def test_looks_stay_with_their_strategy() -> None:
    few, many = looks(["regda"]), looks(["x", "oracle", "regda", "y"])
    assert few["regda"] == many["regda"]
    assert len(set(many.values())) == 4


def test_long_curves_are_thinned() -> None:
    long = (np.arange(50_000), np.random.default_rng(0).random(50_000))
    chart = report_charts.lines("t", {"regda": [long, long]}, ("step", "loss"), looks(["regda"]))
    assert len(chart.picture) < 60_000


def test_threshold_legend_holds_the_area(make_comparison: Make) -> None:
    folder, _ = make_comparison(("regda",), seeds=(0,), count=10)
    chart = report.threshold_chart(report_data.read(folder))
    stored = np.load(folder / "regda-seed0" / "predictions.npz")
    error = np.linalg.norm(stored["points"] - stored["truth"], axis=-1) / stored["side"][:, None]
    fine = np.linspace(0, 0.2, 2001)
    naive = np.mean([(error[stored["annotated"]] <= t).mean() for t in fine])
    assert chart is not None
    assert float(chart.notes["regda"].split()[1]) == pytest.approx(naive, abs=2e-3)


# Pictures


def test_samples_are_the_extremes_of_the_adapted_strategy(make_comparison: Make) -> None:
    folder, dataset = make_comparison(("source_only", "regda"), seeds=(0, 1), count=30)
    drawn = report.gallery(report_data.read(folder), dataset)
    assert drawn is not None
    assert drawn.strategies == ("source_only", "regda")

    def naive(name: str) -> list[float]:
        p = np.load(folder / f"{name}-seed0" / "predictions.npz")
        error = np.linalg.norm(p["points"] - p["truth"], axis=-1) / p["side"][:, None]
        return [float(e[a].mean()) for e, a in zip(error, p["annotated"], strict=True)]

    before, after = naive("source_only"), naive("regda")
    order = sorted(range(30), key=after.__getitem__)
    change = sorted(range(30), key=lambda i: -abs(after[i] - before[i]))
    shown = {title: [int(s.id[-4:]) for s in samples] for title, samples in drawn.groups.items()}
    assert shown == {"Best": order[:6], "Worst": order[::-1][:6], "Most changed": change[:6]}
    assert drawn.groups["Best"][0].panels[1].error == pytest.approx(min(after))


def test_pictures_can_be_blurred_or_left_out(make_comparison: Make) -> None:
    folder, dataset = make_comparison(("source_only", "regda"), seeds=(0,), count=8)
    detail = {}
    for choice in ("all", "blurred"):
        (folder / "config.yaml").write_text(f"report: {{pictures: {choice}}}")
        jpeg = base64.b64decode(page(folder, dataset).jpegs[0].split(",")[1])
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        detail[choice] = np.abs(cv2.Laplacian(picture[:40, :40].astype(float), cv2.CV_64F)).mean()
    assert detail["blurred"] < 0.5 * detail["all"]
    dataset.read.clear()
    (folder / "config.yaml").write_text("report: {pictures: none}")
    parsed = page(folder, dataset)
    assert not parsed.jpegs
    assert "Pictures are left out" in parsed.text
    assert dataset[0].id in parsed.text
    assert dataset.read == [0], "pictures: none must not read the images"


@pytest.mark.parametrize("choice", ["blur", "null", "false"])
def test_an_unknown_choice_of_pictures_is_refused(make_comparison: Make, choice: str) -> None:
    folder, dataset = make_comparison(("source_only",), seeds=(0,), count=4)
    (folder / "config.yaml").write_text(f"report: {{pictures: {choice}}}")
    with pytest.raises(ValueError, match="choose one of all, blurred, none"):
        report.write(folder, dataset)


def test_predictions_of_another_dataset_are_refused(make_comparison: Make) -> None:
    folder, dataset = make_comparison(("source_only", "regda"), seeds=(0,), count=8)
    dataset.prefix = "other"
    with pytest.raises(ValueError, match=r"'other\d+', but the predictions .* 'cam0/frame\d+'"):
        report.write(folder, dataset)
    dataset.count = 7
    with pytest.raises(ValueError, match=r"\(7 samples\) do not hold the same samples"):
        report.write(folder, dataset)


def test_samples_without_annotation_are_not_shown(make_comparison: Make) -> None:
    folder, dataset = make_comparison(("regda",), seeds=(0,), count=3)
    file = folder / "regda-seed0" / "predictions.npz"
    with np.load(file) as stored:
        arrays = dict(stored)
    arrays["annotated"][1:] = False
    np.savez(file, **arrays)
    drawn = report.gallery(report_data.read(folder), dataset)
    assert drawn is not None
    assert [s.id for s in drawn.groups["Worst"]] == ["cam0/frame0000"]
    arrays["annotated"][:] = False
    np.savez(file, **arrays)
    assert "No sample has an annotated joint" in page(folder, dataset).text


# Depth


def error_in_mm(folder: Path, run: str) -> np.ndarray:
    """(N, K), NaN where a joint is not annotated."""
    with np.load(folder / run / "predictions.npz") as p:
        rows = []
        for i, (fx, fy, cx, cy) in enumerate(p["camera"].astype(float)):
            here, there = (
                np.array([[(x - cx) / fx * z, (y - cy) / fy * z, z] for x, y, z in p[name][i].astype(float)])
                for name in ("points", "truth")
            )
            rows.append(np.where(p["annotated"][i], np.sqrt(((here - there) ** 2).sum(1)), np.nan))
    return np.stack(rows)


def test_page_of_depth_speaks_of_mm_alone(make_comparison: Make) -> None:
    folder, dataset = make_comparison(count=24, depth=True)
    html = report.write(folder, dataset).read_text("utf-8")
    charts = [base64.b64decode(svg).decode() for svg in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", html)]
    assert len(charts) >= 6
    written = "\n".join([re.sub(r'"data:[^"]*"', "", html), *charts])
    assert not re.search("pck|crop's side|of points", written, re.IGNORECASE)
    assert "points</" not in html
    parsed = Page(html)
    for part in (
        "target mean error",
        "mean error, mm",
        "mm less [interval]",
        "Frames whose worst joint is within",
        "lower is better",
    ):
        assert part in written or part in parsed.text, part
    results = json.loads((folder / "results.json").read_text())
    mean, gain = (results["summary"]["regda"][what]["mean"] for what in ("target", "gain"))
    assert gain > 0
    assert f"{mean:.1f} mm" in parsed.text
    assert f"+{gain:.1f} [{number(gain - 1.5, 1)}, {number(gain + 2, 1)}]" in parsed.text
    assert parsed.jpegs
    assert not re.search(r"\b(nan|inf|None)\b", parsed.text)


def test_findings_of_depth(make_comparison: Make) -> None:
    folder, _ = make_comparison(("source_only", "bn_control", "regda"), count=6, depth=True)
    set_summary(folder, "bn_control", (1.0, 0.5, 1.5))
    set_summary(folder, "regda", (8.6, 7.04, 10.1))
    assert said(folder).startswith(
        "RegDA lowers the mean error by 8.6 mm [7.0, 10.1] against source_only over 3 seeds; what share of the gap "
        "that closes is undefined, because there is no oracle run; bn_control alone changes it by −1.0 mm [−1.5, "
        "−0.5] ("
    )
    set_summary(folder, "regda", (1.2, -0.5, 2.9))
    assert said(folder).startswith(
        "No gain can be claimed: RegDA changes the mean error by −1.2 mm [−2.9, 0.5] against source_only over 3 seeds"
    )
    set_summary(folder, "regda", (-5, -7, -2))
    assert said(folder).startswith(
        "RegDA is worse than source_only by 5.0 mm [2.0, 7.0] of mean error over 3 seeds; bn_control alone changes it"
    )


def test_finding_of_depth_with_one_seed(make_comparison: Make) -> None:
    folder, _ = make_comparison(("source_only", "regda"), seeds=(3,), count=6, depth=True)
    assert re.match(
        r"One seed: no claim. RegDA reaches a mean error of [\d.]+ mm on the target against [\d.]+ mm of source_only",
        said(folder),
    )


def test_curve_of_depth_counts_frames_by_their_worst_joint(make_comparison: Make) -> None:
    folder, _ = make_comparison(("regda",), seeds=(0,), count=12, depth=True)
    chart = report.threshold_chart(report_data.read(folder))
    worst = np.nanmax(error_in_mm(folder, "regda-seed0"), 1)
    naive = np.mean([(worst <= t).mean() for t in np.linspace(0, 80, 4001)])
    assert 0.02 < naive < 0.98
    assert chart is not None
    assert float(chart.notes["regda"].split()[1]) == pytest.approx(naive, abs=2e-3)


def test_samples_of_depth_are_chosen_and_told_in_mm(make_comparison: Make) -> None:
    folder, dataset = make_comparison(("source_only", "regda"), seeds=(0,), count=20, depth=True)
    drawn = report.gallery(report_data.read(folder), dataset)
    error = np.nanmean(error_in_mm(folder, "regda-seed0"), 1)
    assert drawn is not None
    assert [int(s.id[-4:]) for s in drawn.groups["Best"]] == np.argsort(error)[:6].tolist()
    assert drawn.groups["Best"][0].panels[1].error == pytest.approx(error.min(), rel=1e-4)


def test_bars_of_an_error_end_with_the_longest(make_comparison: Make) -> None:
    folder, _ = make_comparison(("source_only", "regda"), count=6, depth=True)
    rows = {row["name"]: row["bar"] for row in report.strategy_rows(report_data.read(folder))}
    results = json.loads((folder / "results.json").read_text())["summary"]
    assert rows["source_only"] == 100
    assert rows["regda"] == pytest.approx(
        100 * results["regda"]["target"]["mean"] / results["source_only"]["target"]["mean"], abs=0.1
    )


def test_a_metric_of_another_version_is_refused(make_comparison: Make) -> None:
    folder, dataset = make_comparison(("regda",), seeds=(0,), count=4)
    edit(folder, lambda r: r.update(metric="oks"))
    with pytest.raises(ValueError, match="'oks' is not known: results have pck@THRESHOLD, mm or ap"):
        report.write(folder, dataset)


def test_near_is_bright_and_nothing_is_black() -> None:
    depth = np.array([[0, 100, 450, 600, 750, 3000]], np.float32)
    grey = drawing.depth_picture(depth, (450, 750))
    assert grey.shape == (1, 6, 3)
    assert grey[0, :, 0].tolist() == [0, 255, 255, 172, 90, 90]


def of_crops(points: np.ndarray, annotated: np.ndarray) -> Predictions:
    """One person in each sample, found at `points`."""
    count, known = len(points), torch.from_numpy(annotated)
    return Predictions(
        points=torch.from_numpy(points),
        confidence=torch.ones(known.shape),
        truth=torch.from_numpy(points),
        annotated=known,
        visible=known,
        side=torch.ones(count),
        camera=torch.zeros(count, 4),
        sequence=("",) * count,
        id=("",) * count,
        row=torch.arange(count),
        matched=torch.ones(count, dtype=torch.bool),
    )


def test_pictures_of_depth_crop_around_a_box_beyond_the_frame(make_comparison: Make) -> None:
    _, dataset = make_comparison(("regda",), seeds=(0,), count=5, depth=True)
    item = dataset[3]
    assert item.box[0] < 0
    tile = drawing.view(item, 300)
    assert (tile[150, 0] == drawing.OUTSIDE).all()
    wrist = drawing.to_tile(item.keypoints[:1], item.box, 300)[0].astype(int)
    assert tile[wrist[1], wrist[0], 0] > 130
    assert (tile[20, 150] == 0).all()
    predictions = of_crops(item.keypoints[None].repeat(5, 0), np.ones((5, 21), bool))
    sheet = drawing.prediction_sheet(dataset, predictions, columns=4, tile=64)
    assert sheet.shape == (128, 256, 3)
    assert drawing.contact_sheet(dataset, 2, tile=64).dtype == np.uint8


def test_the_sheet_leaves_out_what_may_be_unreadable(make_comparison: Make) -> None:
    _, dataset = make_comparison(("regda",), seeds=(0,), count=5)
    points, annotated = np.ones((5, 21, 2)), np.zeros((5, 21), bool)
    empty = drawing.prediction_sheet(dataset, of_crops(points, annotated), columns=2, tile=32)
    annotated[3, 0] = True
    sheet = drawing.prediction_sheet(dataset, of_crops(points, annotated), columns=2, tile=32)
    assert dataset.read == [3]
    assert empty.shape == sheet.shape == (32, 64, 3)
    assert (empty == 255).all()


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    quiet = "disable-quic no-first-run disable-background-networking disable-component-update disable-sync"
    for flag in ["headless", "no-sandbox", "disable-gpu", *quiet.split()]:
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.mark.skipif(not (CHROMIUM.exists() and DRIVER.exists()), reason="needs Debian's chromium and chromium-driver")
@pytest.mark.parametrize("width", [1400, 390])
def test_page_in_a_browser(make_comparison: Make, browser: Any, width: int) -> None:
    long = "a_rather_long_name_without_a_break_" * 4
    folder, dataset = make_comparison(
        ("source_only", "bn_control", "regda", "oracle"), count=20, name=long, prefix=long
    )
    file = report.write(folder, dataset)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("performance")  # what the browser asked for at its own start is no matter of the page
    browser.get(file.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    wide, inner = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert inner == width
    assert wide <= inner
    drawn = browser.execute_script("return [...document.images].map(i => i.complete && i.naturalWidth)")
    assert len(drawn) > 36
    assert all(drawn)
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked
    assert all(url.startswith(("file:", "data:")) for url in asked)
