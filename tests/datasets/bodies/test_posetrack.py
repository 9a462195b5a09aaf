"""PoseTrack in its layouts, and the real sample: joints, tracks, heads, regions to ignore, detected boxes, clips."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.bodies.posetrack import SLOTS
from keyshift.datasets.bodies.skeletons import POSETRACK15
from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.views import as_clips

_spec = importlib.util.spec_from_file_location("raw_pictures", Path(__file__).parents[1] / "raw_pictures.py")
raw = sys.modules.setdefault("raw_pictures", importlib.util.module_from_spec(_spec))
if not hasattr(raw, "WRITERS"):
    _spec.loader.exec_module(raw)
VIDEOS = {"000342_mpii_test": 0, "000342_mpii_relpose": 40}
"""Two that share a vid_id, and where their people stand."""
LABELLED = (1, 2, 4)
WIDE, HIGH = 96, 64


def opened(root, part="test", **words):
    return open_dataset("posetrack", options_of("posetrack", {"root": str(root)} | words, "test"), part)


def person(track, left, top=10, lacking=()):
    """Who stands in a box of 34 x 20 px, without the joints `lacking`."""
    joints = np.stack([left + 2.0 * np.arange(17), top + 20.0 * (np.arange(17) % 6) / 5, np.ones(17)], 1)
    joints[[3, 4, *(SLOTS.keypoints.index(name) for name in lacking)]] = 0
    return {
        **{"track_id": track, "keypoints": joints.ravel().tolist(), "bbox": [left, top, 34, 20], "iscrowd": 0},
        **{"bbox_head": [left + 1, top, 6, 8], "category_id": 1, "scores": []},
    }


def content(half, video, left, labelled=LABELLED, first=0):
    """A file of a video of five frames; in the second labelled one someone has no labelled joint, and people in a
    corner are to be ignored."""
    images, annotations = [], []
    for frame in range(5):
        known = frame in labelled
        number = 10000 * (1 + first) + frame
        image = {"file_name": f"images/{half}/{video}/{frame:06d}.jpg", "id": number, "frame_id": number}
        image |= {"is_labeled": known, "vid_id": "000342", "nframes": 5, "width": WIDE, "height": HIGH}
        if frame == 2:
            image |= {"ignore_regions_x": [[60, 90, 90, 60], [1, 2]], "ignore_regions_y": [[40, 40, 60, 60], [1, 2]]}
        elif frame == 4:
            image |= {"ignore_regions_x": [60, 90, 90], "ignore_regions_y": [40, 40, 60]}
        images.append(image)
        if known:
            people = [person(0, left + frame), person(1, left + 10 + frame, 30, ("nose", "left_ankle"))]
            if frame == 2:
                people.append({**person(2, 4), "keypoints": [0] * 51, "num_keypoints": 0})
            annotations += [{**one, "image_id": number, "id": 100 * number + n} for n, one in enumerate(people)]
    names = ["head_bottom" if name == "neck" else name for name in SLOTS.keypoints]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "keypoints": names}]}


def write_set(root, halves=("train", "val"), apart=True):
    """The layout of 2018, or with one file a part that of 2017 in COCO's form."""
    for half in halves:
        made = [content(half, video, left, first=n) for n, (video, left) in enumerate(VIDEOS.items())]
        folder = root / "annotations" / half if apart else root / "jsons"
        folder.mkdir(parents=True, exist_ok=True)
        if apart:
            for video, one in zip(VIDEOS, made, strict=True):
                (folder / f"{video}.json").write_text(json.dumps(one))
        else:
            whole = made[0] | {name: made[0][name] + made[1][name] for name in ("images", "annotations")}
            (folder / f"posetrack_{half}.json").write_text(json.dumps(whole))
        raw.pictures(root, *(image["file_name"] for one in made for image in one["images"]), size=(WIDE, HIGH))


@pytest.mark.parametrize("apart", [True, False], ids=["2018", "2017"])
def test_people_in_both_layouts(tmp_path, apart):
    write_set(tmp_path, apart=apart)
    train, test = opened(tmp_path, "train"), opened(tmp_path)
    assert len(train) == len(test) == 12  # three labelled frames of two people in two videos
    assert {name.rpartition("/")[0] for name in train.people.pictures} == {f"images/train/{video}" for video in VIDEOS}
    people = test.people
    assert people.skeleton == POSETRACK15
    assert sorted(set(people.sequences)) == [f"images/val/{video}" for video in sorted(VIDEOS)]
    assert sorted(set(people.frames.tolist())) == list(LABELLED)
    assert people.tracks.tolist() == [0, 1] * 6
    row = people.ids.index("1000101")
    item, wanted = test[row], person(1, 11, 30)
    joints = np.array(wanted["keypoints"]).reshape(17, 3)
    for k, name in enumerate(POSETRACK15.keypoints):
        known = name not in ("nose", "left_ankle")
        assert item.annotated[k] == item.visible[k] == known
        if known:
            np.testing.assert_allclose(item.keypoints[k], joints[SLOTS.keypoints.index(name), :2] + 0.5)
    np.testing.assert_allclose(people.heads[row], [12, 30, 18, 38])
    np.testing.assert_allclose(people.boxes[row], [11, 30, 45, 50])
    assert (item.sequence, item.frame) == ("images/val/000342_mpii_test", 1)
    assert test.identity["boxes"] == "joints"
    assert opened(tmp_path, boxes="truth").identity["boxes"] == "truth"


def test_whole_pictures_ignore_regions_and_know_people_without_joints(tmp_path):
    write_set(tmp_path)
    data = opened(tmp_path, crops="whole")
    assert len(data) == 6
    assert all(int(Path(data.picture(i)).stem) in LABELLED for i in range(6))  # others are not labelled
    items = {data[i].id: data[i] for i in range(6)}
    second = items["images/val/000342_mpii_test/000002.jpg"]
    assert second.annotated.any(1).tolist() == [True, True, False, False]
    assert second.crowd.tolist() == [False, False, False, True]
    mask = second.inputs["mask"]
    assert (mask[42:58, 62:88] == 0).all()
    assert mask[:8].all()
    np.testing.assert_allclose(second.bounds[3], [60.5, 40.5, 90.5, 60.5])
    assert items["images/val/000342_mpii_test/000001.jpg"].inputs["mask"].all()
    third = items["images/val/000342_mpii_test/000004.jpg"].inputs["mask"]  # its region is not in a list of its own
    assert third[42, 80] == 0
    assert third[58, 62] == 1


def test_unlabelled_frames_stand_in_clips(tmp_path):
    write_set(tmp_path)
    for video in VIDEOS:
        for frame in range(5):
            level = 40 * frame
            raw.Image.new("RGB", (WIDE, HIGH), (level,) * 3).save(tmp_path / f"images/val/{video}/{frame:06d}.jpg")
    clips = as_clips(opened(tmp_path), 3)
    shown = {(clips[i].frame, tuple(round(float(image.mean()) / 40) for image in clips[i].image)) for i in range(12)}
    assert shown == {(1, (0, 1, 2)), (2, (1, 2, 3)), (4, (3, 4, 4))}
    assert clips[0].inputs["margins"].tolist() == [1, 1]


def test_a_detectors_boxes(tmp_path):
    write_set(tmp_path)
    boxes = [
        {"image_id": 10001, "bbox": [2, 12, 30, 18], "score": 0.9},
        {"image_id": 10001, "bbox": [60, 2, 20, 20], "score": 0.5},
        {"image_id": 10001, "bbox": [3, 12, 30, 18], "score": 0.3},
        {"image_id": 10001, "bbox": [12, 31, 30, 18], "score": 0.1},
        {"image_id": 10002, "bbox": [12, 31, 30, 18], "score": 0.8},
        {"image_id": 10000, "bbox": [12, 31, 30, 18], "score": 0.8},  # in a frame without labels
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([{**box, "category_id": 1} for box in boxes]))
    with pytest.warns(UserWarning, match=r"1 boxes of a score below 0.2|no box for 4 of 6 pictures"):
        data = opened(tmp_path, detections=str(path))
    assert data.people.tracks.tolist() == [0, -1, -1, 1]
    assert data.people.annotated.any(1).tolist() == [True, False, False, True]
    np.testing.assert_allclose(data.people.boxes[0], [2, 12, 32, 30])
    assert data.identity["boxes"] == "file"
    assert len(data.identity["boxes_from"]) == 64
    for i in range(4):
        assert data[i].keypoints.shape == (15, 2)
    truth = opened(tmp_path)
    same = truth.people.ids.index("1000100")
    np.testing.assert_array_equal(data[0].keypoints, truth[same].keypoints)
    path.write_text(json.dumps([boxes[-1] | {"category_id": 1}]))
    with (
        pytest.warns(UserWarning, match="no box for 6 of 6"),
        pytest.raises(ValueError, match=r"no box of a score of 0.2 in the 6 labelled pictures"),
    ):
        opened(tmp_path, detections=str(path))
    for words in ({"boxes": "truth"}, {"crops": "whole"}):
        with pytest.raises(ValueError, match=r"says how people are cut out: leave out (boxes=truth|crops=whole)"):
            opened(tmp_path, detections=str(path), **words)
    with pytest.raises(ValueError, match=r"no file .*nowhere.json: detections= takes a .json or .csv file of boxes"):
        opened(tmp_path, detections="nowhere.json")


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no labels in .*annotations/val, nor posetrack_val.json, .*layout is"):
        opened(tmp_path)
    write_set(tmp_path)
    file = tmp_path / "annotations/val/000342_mpii_test.json"
    whole = json.loads(file.read_text())
    changes = {
        "bbox_head": lambda made: made["annotations"][0].update(bbox_head=[1, 2, 3]),
        "track_id": lambda made: made["annotations"][0].update(track_id="a"),
        "file_name": lambda made: made["images"][1].update(file_name="images/val/000342_mpii_test/one.jpg"),
        "ignore_regions": lambda made: made["images"][2].update(ignore_regions_x=[[1, 2, 3]]),
    }
    for field, change in changes.items():
        made = json.loads(json.dumps(whole))
        change(made)
        file.write_text(json.dumps(made))
        with pytest.raises(BadAnnotation, match=field):
            opened(tmp_path, crops="whole")


def test_joints():
    assert POSETRACK15.keypoints[:4] == ("nose", "neck", "head_top", "left_shoulder")
    assert POSETRACK15.flip == [0, 1, 2, *(k + 1 if k % 2 else k - 1 for k in range(3, 15))]
    assert len(POSETRACK15.sigmas) == 15


@pytest.fixture
def sample(shared, tmp_path):
    """The real one in the layout of 2018; the same for both parts."""
    folder = shared / "data/mmpose_samples/posetrack18"
    shutil.copytree(folder / "images", tmp_path / "images")
    for half in ("train", "val"):
        shutil.copytree(folder / "annotations/val", tmp_path / f"annotations/{half}")
    return tmp_path, folder


def test_the_sample(sample):
    root, folder = sample
    data = opened(root)
    assert len(data) == 14
    neck, head, nose = (POSETRACK15.keypoints.index(name) for name in ("neck", "head_top", "nose"))
    middles = (data.people.heads[:, :2] + data.people.heads[:, 2:]) / 2
    reach = np.linalg.norm(data.people.heads[:, 2:] - data.people.heads[:, :2], axis=1)
    for i in range(14):
        item = data[i]
        assert item.image.shape == (1080, 1920, 3)
        if item.annotated[[neck, head]].all() and not item.id.startswith("1003418"):  # who lies there
            assert item.keypoints[head, 1] < item.keypoints[neck, 1]
        if item.annotated[nose]:
            assert np.linalg.norm(item.keypoints[nose] - middles[i]) < reach[i]
    assert len(set(zip(data.people.pictures, data.people.tracks.tolist(), strict=True))) == 14
    shutil.rmtree(root / "annotations")
    shutil.copy(folder / "annotations/test_posetrack18_val.json", root / "posetrack18_val.json")
    together = opened(root)
    np.testing.assert_array_equal(np.sort(together.people.keypoints, 0), np.sort(data.people.keypoints, 0))


def test_the_samples_detections(sample):
    root, folder = sample
    with pytest.warns(UserWarning, match=r"92 boxes of a score below 0.2"):
        data = opened(root, detections=str(folder / "annotations/test_posetrack18_human_detections.json"))
    assert len(data) == 278 - 92
    assert data.people.annotated.any(1).sum() == 13
