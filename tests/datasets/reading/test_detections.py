import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from keyshift.datasets.reading import boxes as detector
from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.reading.boxes import SCORE, detect, detect_people, read_boxes
from keyshift.datasets.reading.detections import Detections, read_detections, write_results, write_roots

PICTURES = ["a.jpg", "day 1/b.jpg"]
PLAIN = [
    {"image_id": "a.jpg", "category_id": 1, "bbox": [1.5, 2, 30, 40.25], "score": 0.9},
    {"image_id": "day 1/b.jpg", "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.3},
    {"image_id": "a.jpg", "category_id": 1, "bbox": [-3, 4, 5, 6], "score": 0.8},
]
ROOTED = [entry | {"root_cam": [10.0 * k, -20, 3000 + k]} for k, entry in enumerate(PLAIN)]
NUMBERED = {"images": [{"id": 7, "file_name": "a.jpg"}, {"id": 0, "file_name": "day 1/b.jpg"}]}
NUMBERS = {"a.jpg": 7, "day 1/b.jpg": 0}


def write(tmp_path, content, name="people.json"):
    path = tmp_path / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def numbered(entries):
    return [entry | {"image_id": NUMBERS[entry["image_id"]]} for entry in entries]


def test_a_detectors_boxes_are_not_extended(tmp_path):
    detected = read_detections(write(tmp_path, PLAIN), PICTURES)
    assert not detected.extended
    assert detected.boxes["a.jpg"].tolist() == [[1.5, 2, 31.5, 42.25], [-3, 4, 2, 10]]
    assert detected.people["a.jpg"].scores.tolist() == [0.9, 0.8]
    assert detected.people["day 1/b.jpg"].scores.tolist() == [0.3]
    assert all(one.roots is None for one in detected.people.values())


def test_boxes_with_roots_are_extended_already(tmp_path):
    detected = read_detections(write(tmp_path, ROOTED), PICTURES)
    assert detected.extended
    assert detected.people["a.jpg"].roots.tolist() == [[0, -20, 3000], [20, -20, 3002]]
    assert detected.people["day 1/b.jpg"].roots.tolist() == [[10, -20, 3001]]
    assert (
        detected.people["a.jpg"].boxes.tolist()
        == read_detections(tmp_path / "people.json", PICTURES).boxes["a.jpg"].tolist()
    )


def test_file_and_reader_may_say_otherwise(tmp_path):
    said = [entry | {"extended": False} for entry in ROOTED]
    assert not read_detections(write(tmp_path, said), PICTURES).extended
    assert read_detections(write(tmp_path, said), PICTURES, extended=True).extended
    assert read_detections(write(tmp_path, [e | {"extended": True} for e in PLAIN]), PICTURES).extended
    assert read_detections(write(tmp_path, PLAIN), PICTURES, extended=True).extended
    unsure = read_detections(write(tmp_path, ROOTED), PICTURES, extended=False)
    assert not unsure.extended
    assert unsure.people["a.jpg"].roots is not None


@pytest.mark.parametrize("entries", [PLAIN, ROOTED])
def test_pictures_by_number(tmp_path, entries):
    wanted = read_detections(write(tmp_path, entries), PICTURES)
    beside = write(tmp_path, NUMBERED, "images.json")
    named = read_detections(write(tmp_path, numbered(entries)), PICTURES, images=beside)
    same_file = read_detections(write(tmp_path, NUMBERED | {"annotations": numbered(entries)}), PICTURES)
    for detected in (named, same_file):
        assert detected.extended == wanted.extended
        assert list(detected.people) == list(wanted.people)
        for name, one in detected.people.items():
            for got, other in zip(one, wanted.people[name], strict=True):
                assert (got is None and other is None) or np.array_equal(got, other)


BAD = {
    "first.json": ([ROOTED[0], PLAIN[1]], "entry 1: root_cam is missing.*a root in all entries.*two files"),
    "later.json": ([PLAIN[0], PLAIN[1], ROOTED[2]], "entry 2: root_cam is there, and not in entries before"),
    "said.json": ([PLAIN[0] | {"extended": True}, PLAIN[1]], "entry 1: extended is None, expected True, as in entries"),
    "word.json": ([PLAIN[0] | {"extended": "yes"}], "entry 0: extended is 'yes', expected true or false"),
    "number.json": (numbered(PLAIN), "entry 0: file is 7, expected a picture's path.*numbers need the COCO file"),
    "behind.json": ([PLAIN[0] | {"root_cam": [0, 0, -3000]}], "entry 0: root_cam .*in front of the camera"),
    "metres.json": (
        [entry | {"root_cam": [0.1, 0.2, 3.5]} for entry in PLAIN],
        r"entry 0: root_cam is \[0.1, 0.2, 3.5\], expected mm, and no root is 100 mm away. Multiply metres by 1000",
    ),
    "flat.json": ([PLAIN[0] | {"root_cam": [0, 0]}], r"entry 0: root_cam is of shape \(2,\)"),
    "nan.json": ([PLAIN[0] | {"root_cam": [0, 0, float("nan")]}], "entry 0: root_cam"),
    "unknown.json": ([PLAIN[0] | {"image_id": "a.jgp"}], "entry 0: file is 'a.jgp'.*did you mean a.jpg"),
    "empty.json": ([PLAIN[0] | {"bbox": [1, 2, 0, 4]}], "entry 0: the box .*right > left"),
    "classes.json": ([PLAIN[0], PLAIN[1] | {"category_id": 3}], "entry 1: category_id is 3, expected one class"),
    "scored.json": ([PLAIN[0] | {"score": "high"}], "entry 0: score is 'high'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_name_the_entry(tmp_path, name):
    content, match = BAD[name]
    with pytest.raises(BadAnnotation, match=rf"{name}.*{match}"):
        read_detections(write(tmp_path, content, name), PICTURES)


def test_numbers_that_name_no_picture(tmp_path):
    images = write(tmp_path, NUMBERED, "images.json")
    with pytest.raises(BadAnnotation, match=r"entry 0: image_id is 8, expected the id of an entry of images"):
        read_detections(write(tmp_path, [PLAIN[0] | {"image_id": 8}]), PICTURES, images=images)
    twice = write(tmp_path, {"images": NUMBERED["images"] + NUMBERED["images"][:1]}, "images.json")
    with pytest.raises(BadAnnotation, match=r"images.json, image 2: id is there twice"):
        read_detections(write(tmp_path, numbered(PLAIN)), PICTURES, images=twice)
    with pytest.raises(ValueError, match=r"no file .*none.json"):
        read_detections(tmp_path / "none.json", PICTURES)


def test_pictures_without_anybody_and_low_scores_are_counted(tmp_path):
    path = write(tmp_path, PLAIN)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        detected = read_detections(path, [*PICTURES, "c.jpg"], least=SCORE)
    said = " ".join(str(one.message) for one in warned)
    assert list(detected.people) == ["a.jpg"]
    assert f"1 boxes of a score below {SCORE} are left out" in said
    assert "no box for 2 of 3 pictures, the first day 1/b.jpg" in said
    with pytest.warns(UserWarning, match="no box for 2 of 2"):
        assert not read_detections(write(tmp_path, []), PICTURES).extended


def test_other_forms_keep_their_scores(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("file,left,top,right,bottom,score\na.jpg,1,2,3,4,0.75\na.jpg,1,2,5,6,\n")
    detected = read_detections(path, ["a.jpg"])
    assert not detected.extended
    assert detected.people["a.jpg"].scores.tolist() == [0.75, 1]
    boxes = read_boxes(write(tmp_path, [PLAIN[0], PLAIN[2]]), ["a.jpg"])
    assert boxes["a.jpg"].tolist() == [[1.5, 2, 31.5, 42.25], [-3, 4, 2, 10]]


def test_boxes_alone_of_a_file_of_extended_ones_are_doubted(tmp_path):
    path = write(tmp_path, [entry | {"score": 0.9} for entry in ROOTED])
    with pytest.warns(UserWarning, match="these boxes are extended already, for PoseNet behind RootNet"):
        assert len(read_boxes(path, PICTURES)["a.jpg"]) == 2


def test_what_is_written_is_read_the_same(tmp_path):
    rng = np.random.default_rng(0)
    people = {}
    for name in PICTURES:
        corner, extent = rng.uniform(-50, 500, (3, 2)), rng.uniform(1, 300, (3, 2))
        people[name] = Detections(
            np.concatenate([corner, corner + extent], 1), rng.random(3), rng.uniform(500, 5000, (3, 3))
        )
    write_roots(tmp_path / "roots.json", people)
    write_roots(tmp_path / "numbered.json", people, NUMBERS)
    for name in ("roots.json", "numbered.json"):
        read = read_detections(tmp_path / name, PICTURES)
        assert read.extended
        for picture, one in read.people.items():
            for got, wanted in zip(one, people[picture], strict=True):
                assert np.abs(got - wanted).max() < 1e-9
    entries = json.loads((tmp_path / "numbered.json").read_text())
    assert [entry["image_id"] for entry in entries] == [7] * 3 + [0] * 3
    assert set(entries[0]) == {"image_id", "file_name", "category_id", "bbox", "score", "root_cam", "extended"}
    assert entries[0]["category_id"] == 1
    rootless = {name: one._replace(roots=None) for name, one in people.items()}
    with pytest.raises(ValueError, match=r"a.jpg has no root for each of its 3 boxes"):
        write_roots(tmp_path / "none.json", rootless)
    assert not (tmp_path / "none.json").exists()
    write_results(tmp_path / "plain.json", rootless)
    assert not read_detections(tmp_path / "plain.json", PICTURES).extended
    write_results(tmp_path / "nobody.json", {})
    assert json.loads((tmp_path / "nobody.json").read_text()) == []


def test_a_detectors_people_are_kept_as_coco_results(tmp_path, monkeypatch):
    """Boxes and scores of the second time, which the cache gives, are those of the first to the last bit."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48), (200, 100, 50)).save(tmp_path / name)
    corner = torch.rand(5, 2, generator=torch.Generator().manual_seed(0)) * 20
    scores = torch.tensor([0.75, 0.95, 0.2, 0.85, 0.99])
    answer = {
        "boxes": torch.cat([corner, corner + 7.3], 1),
        "labels": torch.tensor([1, 1, 1, 1, 3]),
        "scores": scores,
    }
    calls = []

    class Network(torch.nn.Module):
        def forward(self, images):
            calls.extend(images)
            return [answer for _ in images]

    monkeypatch.setattr(detector, "_load", lambda name: Network())
    cache = tmp_path / "cache"
    first, second = (detect_people("ssd300_vgg16", tmp_path, ["a.png", "b.png"], cache=cache) for _ in range(2))
    assert len(calls) == 2
    for name, one in first.items():
        assert np.array_equal(one.boxes, second[name].boxes)
        assert np.array_equal(one.scores, second[name].scores)
        assert one.scores == pytest.approx([0.95, 0.85, 0.75])
        assert one.boxes == pytest.approx(answer["boxes"][[1, 3, 0]].numpy(), abs=1e-5)
    (file,) = cache.iterdir()
    entries = json.loads(file.read_text())
    assert [(e["file_name"], e["category_id"]) for e in entries] == [("a.png", 1)] * 3 + [("b.png", 1)] * 3
    assert entries[0]["bbox"][2:] == pytest.approx([7.3, 7.3], abs=1e-5)
    assert not read_detections(file, ["a.png", "b.png"]).extended  # it can be given as a file too
    boxes = detect("ssd300_vgg16", tmp_path, ["a.png", "b.png"], cache=cache)
    assert all(np.array_equal(boxes[name], one.boxes) for name, one in first.items())
