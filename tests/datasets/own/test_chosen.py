"""Keypoints that are chosen and renamed: labels, skeleton, pairs and edges follow; crops do not change."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.options import Options
from keyshift.datasets.own.chosen import renamed
from keyshift.datasets.own.pictures import Options as PictureOptions
from keyshift.datasets.skeleton import Skeleton
from keyshift.experiments.commands.data_check import check
from keyshift.experiments.commands.data_prepare import prepare
from keyshift.experiments.commands.data_words import read_words
from keyshift.experiments.runs.progress import Reporter

_spec = importlib.util.spec_from_file_location("raw_coco", Path(__file__).parents[1] / "raw_coco.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_coco"] = raw
_spec.loader.exec_module(raw)


@pytest.fixture
def root(tmp_path):
    raw.write(tmp_path / "set", raw.content(raw.annotation(1, 0), raw.annotation(2, 1), raw.annotation(3, 2)))
    return tmp_path / "set"


def opened(root, part="train", name="coco_json", **options):
    return open_dataset(name, options_of(name, {"root": str(root), "block": 1, **options}, "the test"), part)


def test_the_order_is_as_given(root):
    whole, some = opened(root), opened(root, keypoints=["right_wrist", "nose", "left_wrist"])
    assert some.skeleton.keypoints == ("right_wrist", "nose", "left_wrist")
    assert some.skeleton.flip_pairs == ((2, 0),)
    assert some.skeleton.sigmas == (0.062, 0.026, 0.062)
    np.testing.assert_array_equal(some[0].keypoints, whole[0].keypoints[[10, 0, 9]])
    assert (some.skeleton, some.people.skeleton) == (some.skeleton, some.skeleton)
    assert some.identity["keypoints"] == "right_wrist, nose, left_wrist"


def test_names_are_taken_as_label_tools_spell_them(root):
    assert opened(root, keypoints=["RWrist", "Left Eye"]).skeleton.keypoints == ("right_wrist", "left_eye")


@pytest.mark.parametrize("boxes", [None, "truth", "tllib", "whole"])
def test_crops_stay_what_they_were(root, boxes):
    whole, some = (opened(root, boxes=boxes, keypoints=names) for names in (None, ["nose"]))
    np.testing.assert_array_equal(some[0].box, whole[0].box)


def test_people_without_any_of_them_are_left_out(tmp_path):
    made = raw.content(*(raw.annotation(n, n, keypoints=raw.joints(nose=2 * (n != 0))) for n in range(4)))
    raw.write(tmp_path, made)
    some = opened(tmp_path, keypoints=["nose"])
    assert [len(opened(tmp_path)), len(some)] == [3, 2]
    assert some.people.annotated.all()


def test_new_names_bring_pairs_and_known_skeletons():
    toy = Skeleton("toy", ("a", "b", "c", "d"), ((0, 1), (1, 2)), ((2, 3),), {"all": (0, 1, 2, 3)})
    made = renamed(toy, {"a": "left_eye", "b": "right_eye"}, "toy")
    assert made.keypoints == ("left_eye", "right_eye", "c", "d")
    assert made.flip_pairs == ((2, 3), (0, 1))
    assert made.edges == toy.edges
    assert renamed(toy, {"c": "left_eye", "a": "right_eye"}, "toy").flip_pairs == ((2, 3),), "c has its pair already"
    swapped = renamed(toy, {"a": "b", "b": "a"}, "toy")
    assert swapped.keypoints == ("b", "a", "c", "d")
    joints = Skeleton("own", tuple(f"j{k}" for k in range(17)))
    assert renamed(joints, {f"j{k}": name for k, name in enumerate(COCO17.keypoints)}, "own") == COCO17


def test_keypoints_are_chosen_by_their_new_names(root):
    some = opened(root, rename={"nose": "mouth"}, keypoints=["mouth", "left_eye"])
    assert some.skeleton.keypoints == ("mouth", "left_eye")
    np.testing.assert_array_equal(some[0].keypoints, opened(root)[0].keypoints[:2])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"keypoints": ["left_wirst"]}, r"has no keypoint 'left_wirst'; it has nose, .*Did you mean left_wrist\?"),
        ({"keypoints": ["nose", "nose"]}, "must be different names, at least one"),
        ({"keypoints": []}, "must be different names, at least one"),
        ({"keypoints": ["nose"], "rename": {"nose": "mouth"}}, "has no keypoint 'nose'; it has mouth"),
        ({"rename": {"nosee": "mouth"}}, r"rename: .* has no keypoint 'nosee'; it has .*Did you mean nose\?"),
        ({"rename": {"nose": "left_eye"}}, "would give left_eye twice; rename the other one too"),
        ({"rename": {"left_eye": "x", "LEye": "y"}}, "would give left_eye twice"),
    ],
)
def test_what_cannot_be_chosen_is_said(root, options, match):
    with pytest.raises(ValueError, match=match):
        opened(root, **options)


def test_on_the_command_line(root, capsys):
    words = [f"root={root}", "block=1", "keypoints=[nose,left_eye]", "rename={right_eye: tail}"]
    _, options = read_words("coco_json", words, Options)
    assert options.keypoints == ["nose", "left_eye"]
    assert options.rename == {"right_eye": "tail"}
    check("coco_json", words, Reporter())
    out = capsys.readouterr().out
    assert "2 keypoints: nose, left_eye" in out
    assert "left_wrist" not in out


def test_a_prepared_set_holds_all_and_gives_some(root, tmp_path):
    output = tmp_path / "prepared"
    words = [f"root={root}", f"output={output}", "size=32", "block=1", "keypoints=[nose]"]
    prepare("coco_json", words, Reporter())
    raw_one, kept = opened(root, keypoints=["left_eye"]), opened(output, keypoints=["left_eye"], rename={"nose": "x"})
    assert len(opened(output).skeleton) == 17
    assert kept.skeleton.keypoints == ("left_eye",)
    np.testing.assert_array_equal(kept[0].keypoints, raw_one[0].keypoints)
    assert opened(output, rename={"nose": "x"}).skeleton.keypoints[0] == "x"


def test_sets_without_labels_do_not_take_them():
    assert not {"keypoints", "rename"} & vars(PictureOptions()).keys()
