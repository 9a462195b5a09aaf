"""`keyshift evaluate FILE.json posetrack`: files of predictions against PoseTrack's labels."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.bodies.posetrack import SLOTS
from keyshift.datasets.bodies.skeletons import POSETRACK15
from keyshift.experiments.cli import main
from keyshift.experiments.commands.evaluate_posetrack import evaluate_posetrack
from keyshift.experiments.runs.progress import Reporter

_file = Path(__file__).parents[2] / "datasets/bodies/test_posetrack.py"
_spec = importlib.util.spec_from_file_location("labels_of_posetrack", _file)
labels = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(labels)
CORNER = [75.0, 45.0]
"""In the region of the frames number 2 that is to be ignored."""


@dataclass
class Answers:
    """What a network that knows the labels would have written."""

    images: list
    annotations: list
    names: tuple = POSETRACK15.keypoints

    def write(self, path):
        entries = [{"id": n, **one} for n, one in enumerate(self.annotations)]
        categories = [{"id": 1, "name": "person", "keypoints": list(self.names)}]
        path.write_text(json.dumps({"images": self.images, "annotations": entries, "categories": categories}))
        return path

    def add(self, image, points, score, **more):
        joints = [[*xy, 2] for xy in np.asarray(points, float).tolist()]
        scores = [score] * len(joints)
        self.annotations.append(
            {"image_id": image, "keypoints": np.ravel(joints).tolist(), "keypoint_scores": scores, "score": score}
            | more
        )


@pytest.fixture
def root(tmp_path):
    labels.write_set(tmp_path / "set")
    return tmp_path / "set"


def known(names=POSETRACK15.keypoints):
    made = Answers([], [], names)
    order = [SLOTS.keypoints.index(name) for name in names]
    for n, (video, left) in enumerate(labels.VIDEOS.items()):
        content = labels.content("val", video, left, first=n)
        made.images += [{key: one[key] for key in ("id", "file_name", "width", "height")} for one in content["images"]]
        for one in content["annotations"]:
            joints = np.array(one["keypoints"]).reshape(17, 3)[order]
            if joints[:, 2].any():
                made.add(one["image_id"], joints[:, :2], 0.9)
                made.annotations[-1]["keypoints"] = np.where(joints[:, 2:] > 0, joints, 0).ravel().tolist()
                made.annotations[-1]["keypoints"][2::3] = (2 * joints[:, 2]).tolist()
    return made


def scored(answers, root, *words):
    return evaluate_posetrack(answers.write(root.parent / "found.json"), [f"root={root}", *words], Reporter())


def test_the_labels_themselves(root, capsys):
    path = known().write(root.parent / "found.json")
    assert main(["evaluate", str(path), "posetrack", f"root={root}"]) == 0
    said = capsys.readouterr().out
    assert "12 people found, 14 labelled in 6 pictures" in said
    assert "100.0" in said
    assert "MOTA" in said
    made = scored(known(), root)
    assert made["map"] == 1
    assert set(made["ap"].values()) == {1.0}


def test_surer_inventions_count_and_those_in_ignored_regions_do_not(root):
    answers = known()
    answers.add(10002, [CORNER] * 15, 1.0)
    assert scored(answers, root)["map"] == 1
    answers.add(10003, [[5, 5]] * 15, 1.0)  # a frame without labels
    assert scored(answers, root)["map"] == 1
    answers.add(10001, [[90, 60]] * 15, 1.0)
    made = scored(answers, root)
    # at each right one, all sure alike and below the false one: n / (n + 1), highest at the end
    assert made["ap"]["neck"] == pytest.approx(12 / 13)
    assert made["ap"]["nose"] == pytest.approx(6 / 7)
    assert made["parts"]["head"] == pytest.approx((2 * 12 / 13 + 6 / 7) / 3)


def test_a_detectors_score_weighs(root):
    answers = known()
    answers.add(10001, [[90, 60]] * 15, 1.0, box_score=0.5)
    assert scored(answers, root)["map"] == 1


def test_posetracks_own_form(root):
    answers = known(tuple(SLOTS.keypoints))
    answers.names = tuple("head_bottom" if name == "neck" else name for name in answers.names)
    for one in answers.annotations:
        one["scores"] = one.pop("keypoint_scores")
        one["track_id"] = 3
    assert scored(answers, root)["map"] == 1


def test_people_are_written_for_the_published_tool(root, capsys):
    answers = known()
    for number, one in enumerate(answers.annotations[:2]):
        one["track_id"] = 7 + number
    made = scored(answers, root, f"write={root.parent / 'own'}")
    assert "2 files, the first 000342_mpii_relpose.json" in capsys.readouterr().out
    file = root.parent / "own/000342_mpii_test.json"
    written, labelled = json.loads(file.read_text()), json.loads((root / f"annotations/val/{file.name}").read_text())
    assert written["images"] == labelled["images"]
    assert written["categories"][0]["keypoints"] == labelled["categories"][0]["keypoints"]
    assert [one["track_id"] for one in written["annotations"][:2]] == [7, 8]
    assert [one["track_id"] for one in written["annotations"][2:]] == [9, 10] * 2
    truth = [one for one in labelled["annotations"] if any(one["keypoints"])]
    for one, wanted in zip(written["annotations"], truth, strict=True):
        assert one["image_id"] == wanted["image_id"]
        np.testing.assert_allclose(one["keypoints"], wanted["keypoints"], atol=1e-3)
        np.testing.assert_allclose(one["scores"], 0.9 * np.array(wanted["keypoints"][2::3]))
    again = evaluate_posetrack(file, [f"root={root}"], Reporter())
    assert again["parts"]["head"] == pytest.approx(0.5)  # it is one video of two
    assert made["map"] == 1
    with pytest.raises(ValueError, match=r"000342_mpii_relpose.json exists: remove it, or choose another folder"):
        scored(answers, root, f"write={root.parent / 'own'}")


def test_who_is_missed(root):
    answers = known()
    answers.images, answers.annotations = answers.images[:5], answers.annotations[:6]
    made = scored(answers, root)
    assert made["parts"]["head"] == pytest.approx(0.5)  # of the other video some joints are in the ignored corner


def test_what_does_not_fit_is_named(root):
    answers = known()
    del answers.annotations[2]["keypoint_scores"]
    with pytest.raises(ValueError, match=r"annotation 2.*keypoint_scores or scores.*a score of each joint"):
        scored(answers, root)
    answers = known(POSETRACK15.keypoints[:14])
    with pytest.raises(ValueError, match=r"and not right_ankle, which posetrack.test counts"):
        scored(answers, root)
    answers = known()
    for image in answers.images:
        image["file_name"] = "other/" + image["file_name"].replace("/", "_")
    with pytest.raises(ValueError, match=r"none of its pictures .* is labelled by posetrack.test"):
        scored(answers, root)
    with pytest.raises(ValueError, match="nosuch=1 is no option of posetrack"):
        scored(known(), root, "nosuch=1")
