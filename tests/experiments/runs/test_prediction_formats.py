"""Predictions in other tools' forms: what is written is read back by our own readers, with the same numbers."""

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.own.deeplabcut import Options as CsvOptions
from keyshift.datasets.own.deeplabcut import deeplabcut
from keyshift.datasets.own.labels import Options as CocoOptions
from keyshift.datasets.own.labels import coco_json
from keyshift.datasets.skeleton import Skeleton
from keyshift.experiments.runs.prediction_files import Gathering
from keyshift.experiments.runs.prediction_formats import FORMATS, ending, image_ids, row_titles, writer
from keyshift.experiments.runs.prediction_inputs import Inputs

TOY = Skeleton("toy", ("nose", "left_ear", "right_ear"), ((0, 1),), ((1, 2),))
WEIGHTS = Path(__file__)
"""Of whose content the COCO form writes the sum down."""


def predicted(names, people, root=Path()):
    """`people[p]` answers for picture p, in file pixels with centres at +0.5; -1: it cannot be read."""
    inputs, rng = Inputs(root, names), np.random.default_rng(0)
    gathering = Gathering(inputs, len(TOY), True)
    for place, count in enumerate(people):
        gathering.sizes[place] = (60, 40) if count >= 0 else (0, 0)
        for _ in range(count):
            points = rng.uniform(1, 30, (1, 3, 2)).round(3).astype(np.float32)
            confidence = rng.uniform(0.1, 1, (1, 3)).astype(np.float32)
            box = np.array([[1.0, 2.0, 31.0, 32.0]])
            gathering.add(
                place=np.array([place]), box=box, points=points, confidence=confidence, score=confidence.mean(1)
            )
    return gathering.predicted(), inputs


def written(tmp_path, form, names, people, title="out"):
    answers, inputs = predicted(names, people, tmp_path)
    path = tmp_path / f"{title}{ending(form)}"
    writer(form, path)(path, answers, inputs, TOY, WEIGHTS, (64, 64))
    return answers, path


def pictures(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40)).save(root / name)


def read_back(form, path, root):
    """The table that our own readers make of a file, both parts."""
    (root / "toy.yaml").write_text("keypoints: [nose, left_ear, right_ear]")
    options = {"root": str(root), "skeleton": str(root / "toy.yaml"), "labels": [str(path), str(path)]}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*taken for labels")
        one = (
            deeplabcut(CsvOptions(**options), "test")
            if form == "deeplabcut"
            else coco_json(CocoOptions(**options), "test")
        )
    return one.people


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "uvd"])
@pytest.mark.parametrize("people", [[1, 1, 1], [2, 0, 3], [1, -1, 1]], ids=["one", "several", "unreadable"])
def test_round_trip(tmp_path, form, people):
    names = ["a/1.png", "a/2.png", "b c/ü, 3.png"]
    pictures(tmp_path, names)
    answers, path = written(tmp_path, form, names, people)
    table = read_back(form, path, tmp_path)
    assert list(table.pictures) == [names[place] for place in answers.rows["place"]]
    np.testing.assert_allclose(table.keypoints, answers.points, atol=2e-3)
    assert table.annotated.all()
    if form != "deeplabcut":
        np.testing.assert_allclose(table.boxes, answers.boxes, atol=1e-3)


def test_results_are_what_cocos_evaluation_takes(tmp_path):
    answers, path = written(tmp_path, "results", ["000000397133.jpg", "000000000785.jpg"], [1, 2])
    listed = json.loads(path.read_text())
    assert [entry["image_id"] for entry in listed] == [397133, 785, 785]
    first = listed[0]
    assert (first["category_id"], first["file_name"]) == (1, "000000397133.jpg")
    triples = np.reshape(first["keypoints"], (3, 3))
    np.testing.assert_allclose(triples[:, :2] + 0.5, answers.points[0], atol=1e-3)
    assert (triples[:, 2] == 2).all()
    assert first["score"] == pytest.approx(answers.score[0], abs=1e-5)
    _, path = written(tmp_path, "results", ["a.png"], [0], "none")
    assert json.loads(path.read_text()) == []


def test_pictures_without_numbers_are_counted():
    assert image_ids(["7.jpg", "x/12.png"]) == [7, 12]
    assert image_ids(["7.jpg", "x/7.png"]) == [1, 2]
    assert image_ids(["7.jpg", "x.png"]) == [1, 2]
    assert image_ids(["clip.mp4#0", "clip.mp4#5"]) == [1, 2]


def cells(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_the_csv_is_deeplabcuts(tmp_path):
    answers, path = written(tmp_path, "deeplabcut", ["a.png", "b.png"], [1, 0])
    lines = cells(path)
    assert [line[0] for line in lines] == ["scorer", "bodyparts", "coords", "a.png", "b.png"]
    assert lines[1][1:] == [name for name in TOY.keypoints for _ in range(3)]
    assert lines[2][1:] == ["x", "y", "likelihood"] * 3
    assert float(lines[3][1]) == pytest.approx(answers.points[0, 0, 0] - 0.5, abs=1e-3)
    assert float(lines[3][3]) == pytest.approx(answers.confidence[0, 0], abs=1e-5)
    assert lines[4][1:] == [""] * 9


def test_several_people_are_individuals(tmp_path):
    _, path = written(tmp_path, "deeplabcut", ["a.png", "b.png"], [1, 2])
    lines = cells(path)
    assert [line[0] for line in lines[:4]] == ["scorer", "individuals", "bodyparts", "coords"]
    assert lines[1][1:] == ["individual1"] * 9 + ["individual2"] * 9
    assert lines[4][10:] == [""] * 9


def test_rows_of_one_video_are_its_frames(tmp_path):
    assert row_titles(["clip.mp4#0", "clip.mp4#5"]) == ["0", "5"]
    assert row_titles(["a.mp4#0", "b.mp4#0"]) == ["a.mp4#0", "b.mp4#0"]
    assert row_titles(["a.mp4#0", "b.png"]) == ["a.mp4#0", "b.png"]
    (tmp_path / "clip.mp4").write_bytes(b"a video that is not looked at here")
    answers, path = written(tmp_path, "deeplabcut", ["clip.mp4#0", "clip.mp4#5"], [1, 1], "clip-keyshift")
    table = read_back("deeplabcut", path, tmp_path)
    assert table.pictures == ["clip.mp4#0", "clip.mp4#5"]
    np.testing.assert_allclose(table.keypoints, answers.points, atol=2e-3)


def test_unknown_forms_and_foreign_endings_are_refused():
    with pytest.raises(ValueError, match="format='yolo' is not known; choose one of coco, results, deeplabcut"):
        writer("yolo", Path("a.json"))
    with pytest.raises(ValueError, match=r"cannot write a\.json: expected the name of a \.csv file"):
        writer("deeplabcut", Path("a.json"))


def test_answers_in_a_plane_have_no_text_of_depth(tmp_path):
    with pytest.raises(ValueError, match="answers in a plane, and the text holds a depth"):
        written(tmp_path, "uvd", ["a.png"], [1])
    assert not (tmp_path / "out.txt").exists()
