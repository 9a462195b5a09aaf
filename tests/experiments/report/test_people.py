"""Pictures with several people: a row of predictions is a person, and some people are missed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from keyshift.datasets.sample import CAMERA_MM, Item
from keyshift.experiments.report import data as report_data
from keyshift.experiments.report import page as report

Make = Callable[..., tuple[Path, Any]]
CROWD = (2, 0, 1, 3, 1, 0, 2, 1)
"""People in each picture."""
ROWS = np.repeat(np.arange(len(CROWD)), CROWD)


class Crowd:
    """The pictures of a set of hands, each with as many of them as CROWD says, side by side."""

    def __init__(self, hands: Any) -> None:
        self.hands, self.name, self.identity, self.skeleton = hands, hands.name, hands.identity, hands.skeleton

    def __len__(self) -> int:
        return len(CROWD)

    def __getitem__(self, index: int, /) -> Item:
        item, count = self.hands[index], CROWD[index]
        shift = np.arange(count)[:, None, None] * np.array([12.0, 0.0])
        keypoints = item.keypoints[None] * 0.6 + shift
        visible, annotated = (np.repeat(value[None], count, 0) for value in (item.visible, item.annotated))
        return replace(item, keypoints=keypoints, visible=visible, annotated=annotated)


@pytest.fixture
def crowd(make_comparison: Make) -> Callable[..., tuple[Path, Crowd]]:
    """Writes a comparison over Crowd; `missed` names for each strategy the people that it does not see."""

    def make(missed: dict[str, list[int]], **config: Any) -> tuple[Path, Crowd]:
        folder, hands = make_comparison(tuple(missed), seeds=(0,), count=len(CROWD), **config)
        crowd = Crowd(hands)
        items = [crowd[i] for i in range(len(crowd))]
        truth = np.concatenate([item.keypoints for item in items])
        for place, (name, rows) in enumerate(missed.items()):
            rng = np.random.default_rng(place)
            matched = ~np.isin(np.arange(len(truth)), rows)
            moved = truth + rng.normal(0, 3 - place, truth.shape)
            np.savez(
                folder / f"{name}-seed0" / "predictions.npz",
                points=(moved * matched[:, None, None]).astype(np.float32),
                confidence=np.ones(truth.shape[:2]),
                truth=truth.astype(np.float32),
                annotated=np.concatenate([item.annotated for item in items]),
                visible=np.concatenate([item.visible for item in items]),
                side=np.full(len(truth), 92.0),
                camera=np.zeros((len(truth), 4), np.float32),
                sequence=np.array([items[row].sequence for row in ROWS]),
                id=np.array([items[row].id for row in ROWS]),
                row=ROWS,
                matched=matched,
                space="pixels",
                invented=0,
            )
        hands.read.clear()
        return folder, crowd

    return make


def captions(folder: Path, dataset: Any) -> dict[str, list[str]]:
    drawn = report.gallery(report_data.read(folder), dataset)
    assert drawn is not None
    return {title: [f"{int(s.id[-4:])}{s.person}" for s in samples] for title, samples in drawn.groups.items()}


def test_people_are_samples_and_those_who_were_missed_stand_apart(crowd: Any) -> None:
    folder, dataset = crowd({"source_only": [0], "regda": [3, 6]})
    with np.load(folder / "regda-seed0" / "predictions.npz") as p:
        error = np.linalg.norm(p["points"] - p["truth"], axis=-1) / 92
        mean = np.array([e[a].mean() for e, a in zip(error, p["annotated"], strict=True)])
        mean[[3, 6]] = np.inf
    numbers = [int(np.sum(ROWS[:i] == ROWS[i])) + 1 for i in range(len(ROWS))]
    names = [f"{r}, person {n} of {CROWD[r]}" if CROWD[r] > 1 else f"{r}" for r, n in zip(ROWS, numbers, strict=True)]
    shown = captions(folder, dataset)
    order = np.argsort(mean, kind="stable")
    assert shown["Best"] == [names[i] for i in order[:6]]
    assert shown["Worst"] == [names[i] for i in order[:8][::-1][:6]]
    assert shown["Missed"] == [names[3], names[6]] == ["3, person 1 of 3", "4"]
    assert set(shown) == {"Best", "Worst", "Missed", "Most changed"}
    assert names[0] not in shown["Most changed"]
    text = report.write(folder, dataset).read_text("utf-8")
    assert text.count("<br>missed</p>") >= 2
    assert "truth, missed by regda" in text
    assert "nan" not in text.split("<style>")[0]


def test_people_in_space_have_a_table_of_their_own(make_comparison: Make) -> None:
    folder, hands = make_comparison(("source_only", "regda"), seeds=(0, 1), count=4, depth=True)
    assert "People in space" not in report.write(folder, hands).read_text("utf-8")
    results = json.loads((folder / "results.json").read_text())
    for seed, value in (("0", 61.0), ("1", 63.0)):
        results["strategies"]["regda"][seed]["target"] |= {"pa_mm": value, "pck_150mm": 0.75}
    (folder / "results.json").write_text(json.dumps(results))
    text = report.write(folder, hands).read_text("utf-8")
    table = text.partition("<h3>People in space</h3>")[2].partition("</table>")[0]
    cells = [cell.strip() for cell in table.replace("</td>", "").split('<td class="n">')[1:]]
    assert [cell.partition("<")[0].strip() for cell in cells] == ["–", "–", "62.0", "75.0"]
    assert "<b>PA-MPJPE</b>: the mean error after" in text


def pictures(folder: Path, dataset: Any) -> dict[str, np.ndarray]:
    """The last panel of each sample, by its caption."""
    drawn = report.gallery(report_data.read(folder), dataset)
    assert drawn is not None
    panels = {f"{s.id}{s.person}": s.panels[-1].picture for samples in drawn.groups.values() for s in samples}
    jpegs = {name: base64.b64decode((uri or "").split(",")[1]) for name, uri in panels.items()}
    return {name: cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for name, jpeg in jpegs.items()}


def blue(picture: np.ndarray) -> int:
    """How many pixels have the adapted strategy's colour."""
    wanted = np.array([0xB2, 0x72, 0x00])
    return int((np.abs(picture.astype(int) - wanted).max(-1) < 60).sum())


def test_a_missed_person_is_drawn_by_the_truth_alone(crowd: Any) -> None:
    folder, dataset = crowd({"regda": [8]})
    shown = pictures(folder, dataset)
    alone, seen = shown["cam0/frame0006, person 2 of 2"], shown["cam0/frame0002"]
    assert blue(seen) > 300
    assert blue(alone) < 0.5 * blue(seen)  # the other person's, thin
    assert (np.abs(alone.astype(int) - 255).max(-1) < 40).sum() > 200


def test_the_person_of_a_sample_stands_out_among_the_others(crowd: Any) -> None:
    folder, dataset = crowd({"regda": []})
    shown = pictures(folder, dataset)
    first, second = (shown.get(f"cam0/frame0000, person {n} of 2") for n in (1, 2))
    pair = [p for p in (first, second) if p is not None]
    assert pair
    assert all(blue(p) > 300 for p in pair)
    if len(pair) == 2:
        assert not np.array_equal(*pair)


def test_missed_joints_are_misses_in_the_curve(crowd: Any) -> None:
    folder, _ = crowd({"source_only": [], "regda": [0, 1, 2, 3, 4]})
    chart = report.threshold_chart(report_data.read(folder))
    with np.load(folder / "regda-seed0" / "predictions.npz") as p:
        error = np.linalg.norm(p["points"] - p["truth"], axis=-1) / 92
        error[~p["matched"]] = 1e9
        naive = np.mean([(error[p["annotated"]] <= t).mean() for t in np.linspace(0, 0.2, 2001)])
    assert chart is not None
    assert float(chart.notes["regda"].split()[1]) == pytest.approx(naive, abs=2e-3)
    assert naive < 0.6


def test_predictions_of_another_crowd_are_refused(crowd: Any) -> None:
    folder, dataset = crowd({"regda": []})
    file = folder / "regda-seed0" / "predictions.npz"
    with np.load(file) as stored:
        arrays = dict(stored)
    for change in ({"row": np.where(ROWS == 2, 1, ROWS)}, {"row": ROWS + 1}):
        np.savez(file, **(arrays | change))
        with pytest.raises(ValueError, match=r"is 'cam0/frame\d+', but the predictions|do not hold the same samples"):
            report.gallery(report_data.read(folder), dataset)
    for picture in (0, 4):  # the dataset has someone there
        kept = np.flatnonzero(ROWS - picture)
        people = {n: value[kept] for n, value in arrays.items() if value.shape[:1] == ROWS.shape}
        np.savez(file, **(arrays | people))
        with pytest.raises(ValueError, match="do not hold the same samples"):
            report.gallery(report_data.read(folder), dataset)


def test_points_in_the_camera_s_frame_are_drawn_where_they_are_seen(crowd: Any) -> None:
    folder, _ = crowd({"regda": []})
    file = folder / "regda-seed0" / "predictions.npz"
    before = report_data.predictions(file.parent)
    with np.load(file) as stored:
        arrays = dict(stored)
    camera = np.array([400.0, 420.0, 48.0, 50.0])
    for name in ("points", "truth"):
        flat = arrays[name].astype(float)
        arrays[name] = np.dstack([(flat - camera[2:]) * 700 / camera[:2], np.full(flat.shape[:2], 700.0)])
    np.savez(file, **(arrays | {"camera": np.tile(camera, (len(ROWS), 1)), "space": CAMERA_MM}))
    after = report_data.predictions(file.parent)
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(after.points, before.points, atol=1e-3)
    np.testing.assert_allclose(after.pixels, before.pixels, atol=1e-3)
    np.savez(file, **(arrays | {"camera": np.zeros((len(ROWS), 4)), "space": CAMERA_MM}))
    blind = report_data.predictions(file.parent)
    assert blind is not None
    assert np.isnan(blind.points).all()
    assert np.isfinite(blind.errors).all()


def test_keypoints_without_pictures_are_drawn_on_a_plain_ground(crowd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, dataset = crowd({"regda": []})
    read = Crowd.__getitem__
    bare = np.zeros((0, 0, 3), np.uint8)
    monkeypatch.setattr(Crowd, "__getitem__", lambda self, index: replace(read(self, index), image=bare))
    shown = pictures(folder, dataset)
    assert shown
    assert all(blue(picture) > 300 for picture in shown.values())


def test_the_table_counts_missed_and_invented_people(crowd: Any) -> None:
    folder, dataset = crowd({"source_only": [], "regda": []})
    results = json.loads((folder / "results.json").read_text())
    results["strategies"]["regda"]["0"]["target"] |= {"missed": 3, "invented": 2}
    (folder / "results.json").write_text(json.dumps(results))
    text = report.write(folder, dataset).read_text("utf-8")
    assert "people missed" in text
    assert "3.0 <small>2.0</small>" in text
    assert "The joints of missed people are misses" in text


def test_people_whom_nobody_labelled_are_drawn(crowd: Any) -> None:
    """Of systems that find people, in pictures of whoever is shown; AP judges them, PCK their joints."""
    folder, dataset = crowd({"source_only": [0], "regda": [3, 6]}, threshold=0.1)
    plain = report.gallery(report_data.read(folder), dataset)
    assert plain is not None
    assert not plain.invented
    for name in ("source_only", "regda"):
        file = folder / f"{name}-seed0" / "predictions.npz"
        with np.load(file) as stored:
            arrays = dict(stored)
        count = len(arrays["points"])
        strangers = np.array([[[2.0, 2.0], *[[60.0, 60.0]] * 20]] * len(CROWD))
        answers = {
            "points": np.concatenate([arrays["points"], strangers]),
            "score": np.ones(count + len(CROWD)),
            "row": np.concatenate([arrays["row"], np.arange(len(CROWD))]),
            "invented": np.arange(count + len(CROWD)) >= count,
            "picture": np.arange(len(CROWD)),
            "sequence": np.array(["clip0"] * len(CROWD)),
            "sigmas": np.full(21, 0.07),
            "own_area": np.array(True),
        }
        extents = {"area": np.full(count, 900.0), "bounds": np.zeros((count, 4)), "crowd": np.zeros(count, bool)}
        np.savez(file, **arrays, **extents, **{f"found.{key}": value for key, value in answers.items()})
    results = json.loads((folder / "results.json").read_text())
    for runs in results["strategies"].values():
        for run in runs.values():
            run["target"] |= {"ap": 0.4, "ap50": 0.625, "ap_medium": None, "missed": 0, "invented": 8}
            run["source"] |= {"ap": 0.5}
            run["oks"] = "fall-offs (sigmas) are made up"
            for chosen in run["selected"].values():
                chosen["target"]["ap"] = 0.4
    (folder / "results.json").write_text(json.dumps(results | {"metric": "ap"}))
    shown = report.gallery(report_data.read(folder), dataset)
    assert shown is not None
    assert shown.invented

    def yellow(gallery: Any) -> int:
        uri = gallery.groups["Best"][0].panels[-1].picture
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
        blue, green, red = picture.astype(int).transpose(2, 0, 1)
        return int(((red > 200) & (green > 170) & (blue < 90)).sum())

    assert yellow(shown) > 50 > yellow(plain)
    text = report.write(folder, dataset).read_text("utf-8")
    for part in (
        "target OKS-AP",
        "62.5",
        "PCK by joint",
        "found, and labelled by nobody",
        "are made up",
        "precision over",
    ):
        assert part in text
    assert "AP medium" not in text
    assert "<small>8.0</small>" in text
