"""A network of crops that is given whole pictures says so; one of whole pictures, or of crops as large, does not."""

import json
import warnings

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.views import Selected
from keyshift.experiments.runs.progress import Reporter
from keyshift.experiments.runs.subjects import Subjects, compare_whole, keep, recall, subjects_of

TRAINED = Subjects(part=0.3, low=0.6, middle=0.7, high=0.8)


@pytest.fixture
def labelled(tmp_path):
    """labelled(side): 20 pictures of 200 x 100 with a triangle in a box of that side, 0.8 of it wide."""

    def make(side, boxes=None):
        images, people = [], []
        for n in range(20):
            Image.new("L", (200, 100)).save(tmp_path / f"{n}.jpg")
            images.append({"id": n, "file_name": f"{n}.jpg"})
            left, top, wide = 5.0 + n, 5.0, 0.8 * side
            points = [
                [left + 0.1 * side, top + side / 2],
                [left + 0.1 * side + wide, top + side / 2],
                [left + side / 2, top],
            ]
            flat = [x for point in points for x in (*point, 2)]
            people.append(
                {"id": n, "image_id": n, "category_id": 1, "keypoints": flat, "bbox": [left, top, side, side]}
            )
        names = ["left_foot", "right_foot", "head"]
        content = {"images": images, "annotations": people, "categories": [{"id": 1, "keypoints": names}]}
        (tmp_path / "labels.json").write_text(json.dumps(content))
        said = {"labels": str(tmp_path / "labels.json"), "block": 5, "boxes": boxes}
        return open_dataset("coco_json", options_of("coco_json", said, "test"), "train")

    return make


def test_what_crops_hold_is_measured_and_kept(labelled, tmp_path):
    subjects = subjects_of(labelled(50))
    assert (subjects.part, subjects.middle) == (0.3125, 0.64)  # 50 * 1.25 of 200; 40 of 62.5
    keep(tmp_path, subjects)
    assert recall(tmp_path) == subjects
    assert recall(tmp_path / "nowhere") is None
    assert recall(None) is None
    whole = subjects_of(labelled(50, "whole"))
    assert (whole.part, whole.middle) == (1, 0.2)
    alone = subjects_of(Selected(labelled(50), ("head", "left_foot")))
    assert alone.middle == pytest.approx(25 / 62.5)


@pytest.mark.parametrize(
    ("spans", "warned"),
    [
        (np.linspace(0.1, 0.3, 20), True),  # small people
        (np.linspace(1.0, 1.1, 20), True),
        (np.linspace(0.3, 1.3, 20), True),  # guesses, about as large as the people it knows
        (np.linspace(0.6, 0.8, 20), False),  # crops
        (np.linspace(0.65, 0.9, 20), False),  # crops with less around them
    ],
)
def test_whole_pictures_for_a_network_of_crops(spans, warned, capsys):
    words = "in which people fill 70% .60% to 80%. of a crop's side"
    if warned:
        with pytest.warns(UserWarning, match=words):
            compare_whole(TRAINED, spans, "--boxes FILE", Reporter())
        assert capsys.readouterr().out == ""
    else:
        compare_whole(TRAINED, spans, "--boxes FILE", Reporter())
        out = " ".join(capsys.readouterr().out.split())
        assert out.startswith("note: the network was trained on crops in which people fill 70% (60% to 80%)")
        assert "give --boxes FILE" in out


@pytest.mark.parametrize("subjects", [None, Subjects(1.0, 0.1, 0.2, 0.3), Subjects(0.9, 0.6, 0.7, 0.8)])
def test_networks_of_whole_pictures_and_unknown_ones_are_left_in_peace(subjects, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare_whole(subjects, np.linspace(0.01, 1, 20), "", Reporter())
        compare_whole(TRAINED, np.linspace(0.01, 1, 3), "", Reporter())  # too few to tell
    assert capsys.readouterr().out == ""
