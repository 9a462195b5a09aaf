"""CMU's hand_labels in their raw layout, written from rendered hands; and real ones of mmpose's conversion."""

import functools
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.hands.panoptic_hands import panoptic_hands
from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.reading.people import PictureOptions
from keyshift.datasets.rendered.hands import render as render_anew

render = functools.cache(render_anew)
SIZE = 64


def opened(root, part, **options):
    return panoptic_hands(PictureOptions(root=str(root), **options), part)


def write_set(root, part="train", count=4):
    """`count` hands as the publisher lays them out: photographs with several people, and frames of a video."""
    made = render("studio", 3, range(count), SIZE)
    folder = root / f"hand_labels/manual_{part}"
    folder.mkdir(parents=True)
    stems = []
    for i in range(count):
        side = "r" if made.right[i] else "l"
        stems.append(f"0000{i // 2}_0{i % 2}_{side}" if i < 2 else f"ex1_2.flv_00000{i}_{side}")
        flags = np.ones((21, 1))
        flags[3] = i != 0
        points = np.concatenate([made.keypoints[i].double().numpy() - 0.5, flags], 1)
        hand = {"hand_pts": points.tolist(), "is_left": int(not made.right[i]), "hand_box_center": [1.0, 2.0]}
        (folder / f"{stems[i]}.json").write_text(json.dumps(hand))
        Image.fromarray(made.image[i].numpy()).save(folder / f"{stems[i]}.jpg", quality=95)
    return made, stems


def test_rows_are_hands_as_rendered(tmp_path):
    made, stems = write_set(tmp_path)
    data = opened(tmp_path, "train")
    assert [name.rpartition("/")[2] for name in data.people.ids] == stems
    for i in range(4):
        item = data[i]
        assert item.annotated.sum() == (20 if i == 0 else 21)
        assert item.annotated[3] == (i != 0)
        np.testing.assert_allclose(item.keypoints[item.annotated], made.keypoints[i].numpy()[item.annotated], atol=1e-3)
        assert np.abs(item.image.astype(int) - made.image[i].numpy()).mean() < 4
        assert item.mirrored == bool(made.right[i])
    assert data.people.sequences == ["00000", "00000", "ex1_2.flv", "ex1_2.flv"]
    assert set(made.right.tolist()) == {True, False}
    assert data.identity["boxes"] == "truth"


def test_parts_are_the_publishers(tmp_path):
    write_set(tmp_path)
    write_set(tmp_path, "test", 2)
    train, test = (opened(tmp_path, part) for part in ("train", "test"))
    assert (len(train), len(test)) == (4, 2)
    assert not set(train.people.ids) & set(test.people.ids)
    assert not {train.path(i) for i in range(4)} & {test.path(i) for i in range(2)}
    with pytest.raises(ValueError, match="part='val'"):
        opened(tmp_path, "val")
    with pytest.raises(ValueError, match="boxes='center'"):
        opened(tmp_path, "train", boxes="center")


def test_a_hand_without_joints_is_left_out(tmp_path):
    _, stems = write_set(tmp_path)
    path = tmp_path / f"hand_labels/manual_train/{stems[1]}.json"
    path.write_text(json.dumps({"hand_pts": [[0, 0, 0]] * 21, "is_left": True}))
    assert len(opened(tmp_path, "train")) == 3


BROKEN = {
    "short": ("hand_pts", [[1, 2, 1]] * 20, "hand_pts"),
    "flat": ("hand_pts", [1, 2, 1] * 21, "hand_pts"),
    "ragged": ("hand_pts", [[1, 2, 1]] * 20 + [[1, 2]], "hand_pts"),
    "text": ("hand_pts", "1 2 1", "hand_pts"),
    "NaN": ("hand_pts", [[float("nan"), 2, 1]] * 21, "hand_pts"),
    "huge": ("hand_pts", [[10**400, 2, 1]] * 21, "hand_pts"),
    "side": ("is_left", "yes", "is_left is 'yes', expected 0, 1"),
    "no side": ("is_left", None, "is_left"),
    "two": ("is_left", 2, "is_left"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_malformed_files_are_named(tmp_path, case):
    _, stems = write_set(tmp_path)
    path = tmp_path / f"hand_labels/manual_train/{stems[1]}.json"
    field, value, match = BROKEN[case]
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(BadAnnotation, match=match) as error:
        opened(tmp_path, "train")
    assert path.name in str(error.value)


@pytest.mark.parametrize("content", [b"", b'{"hand_pts": [[1', b"[]", b'{"is_left": 1}', b"\xff\xfe", b"[" * 100000])
def test_truncated_and_foreign_files_are_named(tmp_path, content):
    _, stems = write_set(tmp_path)
    path = tmp_path / f"hand_labels/manual_train/{stems[1]}.json"
    path.write_bytes(content)
    with pytest.raises(BadAnnotation, match=path.name):
        opened(tmp_path, "train")


def test_missing_files(tmp_path):
    with pytest.raises(ValueError, match="hand_labels/manual_train"):
        opened(tmp_path, "train")
    write_set(tmp_path)
    for picture in (tmp_path / "hand_labels/manual_train").glob("*.jpg"):
        picture.unlink()
    with pytest.raises(ValueError, match="no picture"):
        opened(tmp_path, "train")


def raw(folder, name, hand):
    joints = np.array(hand["keypoints"]).reshape(21, 3)
    (folder / name).with_suffix(".json").write_text(
        json.dumps({"hand_pts": joints.tolist(), "is_left": name.endswith("_l.jpg")})
    )


def test_real_hands(shared, tmp_path):
    sample = shared / "data/mmpose_samples/panoptic"
    content = json.loads((sample / "test_panoptic.json").read_text())
    folder = tmp_path / "hand_labels/manual_test"
    folder.mkdir(parents=True)
    for image, hand in zip(content["images"], content["annotations"], strict=True):
        shutil.copy(sample / image["file_name"], folder)
        raw(folder, image["file_name"], hand)
    data = opened(tmp_path, "test")
    assert data.people.sequences == ["005880453", "005880453", "ex2_2.flv", "ex2_2.flv"]
    for i, image in enumerate(content["images"]):
        item = data[i]
        assert item.image.shape[:2] == (image["height"], image["width"])
        assert (item.keypoints > 0).all()
        assert (item.keypoints < [image["width"], image["height"]]).all()
        assert item.mirrored == image["file_name"].endswith("_r.jpg")
        assert 40 < item.box[2] - item.box[0] < 120


def test_the_order_in_600_real_labels(shared, tmp_path):
    """Order by geometry: neighbours of a chain are closer than joints of different fingers, on the average hand."""
    labels = shared / "data/hand_cmu_panoptic_labels/annotations/panoptic_test_first600.json"
    content = json.loads(labels.read_text())
    folder = tmp_path / "hand_labels/manual_test"
    folder.mkdir(parents=True)
    for image, hand in zip(content["images"], content["annotations"], strict=True):
        raw(folder, image["file_name"].rpartition("/")[2], hand)
    name = content["images"][0]["file_name"].rpartition("/")[2]
    Image.new("RGB", (8, 8)).save(folder / name)
    people = opened(tmp_path, "test").people
    assert len(people) == 600
    scale = np.ptp(people.keypoints, axis=1).max(-1)[:, None]
    bones = np.linalg.norm(np.diff(people.keypoints[:, 1:].reshape(-1, 5, 4, 2), axis=2), axis=-1).reshape(600, -1)
    knuckles = np.linalg.norm(people.keypoints[:, 1:2] - people.keypoints[:, [5, 9, 13, 17]], axis=-1)
    wrist = np.linalg.norm(people.keypoints[:, :1] - people.keypoints[:, 1:], axis=-1)
    assert np.median(bones / scale, axis=0).max() < 0.35
    assert (np.diff(np.median(knuckles / scale, axis=0)) > 0).all()  # the thumb's base is nearest to the forefinger
    assert np.median(wrist / scale, axis=0).argmin() == 0  # and nearest of all to the wrist
