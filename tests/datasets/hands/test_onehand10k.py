"""OneHand10K in its raw layout, written from rendered hands; and real hands of mmpose's conversion, as raw lines."""

import functools
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.hands.onehand10k import onehand10k
from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.reading.people import PictureOptions
from keyshift.datasets.rendered.hands import render as render_anew

render = functools.cache(render_anew)
SIZE = 64


def opened(root, part, **options):
    return onehand10k(PictureOptions(root=str(root), **options), part)


def line(name, width, height, joints):
    return ",".join(map(str, [name, width, height, 1, *(int(v) for v in np.ravel(joints))]))


def write_set(root, part="Train", count=4):
    """The joints as the file tells them, (count, 21, 2) pixel indices, -1 where hidden; and the pictures."""
    made = render("studio", 3, range(count), SIZE)
    (root / part / "source").mkdir(parents=True)
    joints = np.floor(made.keypoints.numpy())
    joints = np.where(((joints >= 0) & (joints < SIZE)).all(-1, keepdims=True), joints, -1)
    joints[0, 3] = joints[1, 7:] = -1
    lines = [line(f"{i}.jpg", SIZE, SIZE, joints[i]) for i in range(count)]
    for i in range(count):
        Image.fromarray(made.image[i].numpy()).save(root / part / f"source/{i}.jpg", quality=95)
    (root / part / "label_joint.txt").write_text("\r\n".join(lines) + "\r\n")
    return joints, made


def test_rows_are_hands_as_rendered(tmp_path):
    joints, made = write_set(tmp_path)
    data = opened(tmp_path, "train")
    assert len(data) == 4
    for i in range(4):
        item = data[i]
        known = (joints[i] >= 0).all(1)
        assert item.annotated.tolist() == known.tolist()
        assert item.visible.tolist() == known.tolist()
        np.testing.assert_allclose(item.keypoints[known], joints[i][known] + 0.5)
        # the middle of the pixel that the joint falls into
        assert np.abs(item.keypoints[known] - made.keypoints[i].numpy()[known]).max() <= 0.5
        assert np.abs(item.image.astype(int) - made.image[i].numpy()).mean() < 4
        assert not item.mirrored
    assert len({data[i].sequence for i in range(4)}) == 4
    assert data.identity["boxes"] == "truth"


def test_parts_are_the_publishers(tmp_path):
    write_set(tmp_path)
    write_set(tmp_path, "Test", 2)
    train, test = (opened(tmp_path, part) for part in ("train", "test"))
    assert (len(train), len(test)) == (4, 2)
    assert not set(train.people.ids) & set(test.people.ids)
    assert not {train.path(i) for i in range(4)} & {test.path(i) for i in range(2)}
    with pytest.raises(ValueError, match="part='val'"):
        opened(tmp_path, "val")
    with pytest.raises(ValueError, match="boxes='mask'"):
        opened(tmp_path, "train", boxes="mask")


def test_a_hand_without_joints_is_left_out(tmp_path):
    write_set(tmp_path)
    path = tmp_path / "Train/label_joint.txt"
    path.write_text(path.read_text() + line("9.jpg", SIZE, SIZE, [-1] * 42) + "\n\n")
    assert len(opened(tmp_path, "train")) == 4


GOOD = list(range(42))
BROKEN = {
    "columns": ("0.jpg,64,64,1,3,4", "line 1: the line is 'of 6 columns', expected 46"),
    "blanks": (line("0.jpg", 64, 64, GOOD).replace(",", " "), "of 1 columns"),
    "fraction": (line("0.jpg", 64, 64, GOOD).replace(",5,", ",5.5,"), "whole numbers"),
    "word": (line("0.jpg", 64, 64, GOOD).replace(",5,", ",five,"), "five"),
    "huge": (line("0.jpg", 64, 64, GOOD).replace(",5,", f",{10**30},"), "line 1: the numbers"),
    "digits": (line("0.jpg", 64, 64, GOOD).replace(",5,", f",{'9' * 5000},"), "line 1: a column"),
    "path": (line("../../0.jpg", 64, 64, GOOD), "line 1: the name"),
    "size": (line("0.jpg", 0, 64, GOOD), "width,height,hands"),
    "far": (line("0.jpg", 64, 64, [*GOOD[:-1], 500]), "x and y"),
    "twice": (f"{line('0.jpg', 64, 64, GOOD)}\n{line('0.jpg', 64, 64, GOOD)}", "line 2: the name"),
    "turned": (line("0.jpg", 64, 30, GOOD), r"outside the picture in 6 of 21 joints"),
    "negative": (line("0.jpg", 64, 64, [-7, *GOOD[1:]]), "-1 for a joint"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_malformed_files_are_named(tmp_path, case):
    write_set(tmp_path)
    text, match = BROKEN[case]
    (tmp_path / "Train/label_joint.txt").write_text(text)
    with pytest.raises(BadAnnotation, match=match) as error:
        opened(tmp_path, "train")
    assert "label_joint.txt" in str(error.value)


def test_missing_undecodable_and_empty_files(tmp_path):
    with pytest.raises(ValueError, match=r"Train/label_joint\.txt"):
        opened(tmp_path, "train")
    write_set(tmp_path)
    path = tmp_path / "Train/label_joint.txt"
    path.write_bytes(b"\xff\xfe0.jpg")
    with pytest.raises(BadAnnotation, match="UTF-8"):
        opened(tmp_path, "train")
    path.write_text("")
    with pytest.raises(ValueError, match="no usable sample"):
        opened(tmp_path, "train")


def test_real_hands(shared, tmp_path):
    sample = shared / "data/mmpose_samples/onehand10k"
    content = json.loads((sample / "test_onehand10k.json").read_text())
    (tmp_path / "Train/source").mkdir(parents=True)
    lines = []
    for image, hand in zip(content["images"], content["annotations"], strict=True):
        shutil.copy(sample / image["file_name"], tmp_path / "Train/source")
        joints = np.array(hand["keypoints"]).reshape(21, 3)
        lines.append(line(image["file_name"], image["width"], image["height"], joints[:, :2] - (joints[:, 2:] == 0)))
    (tmp_path / "Train/label_joint.txt").write_text("\n".join(lines))
    data = opened(tmp_path, "train")
    for i, image in enumerate(content["images"]):
        item = data[i]
        assert item.image.shape[:2] == (image["height"], image["width"])
        known = np.array(content["annotations"][i]["keypoints"]).reshape(21, 3)[:, 2] > 0
        assert item.annotated.tolist() == known.tolist()
    # the last picture is an open hand, all of it seen, the forefinger bent: the others run away from the wrist
    item = data[3]
    assert item.annotated.all()
    away = np.linalg.norm(item.keypoints - item.keypoints[0], axis=1)[1:].reshape(5, 4)
    assert (np.diff(away, axis=1)[[0, 2, 3, 4]] > 0).all()
    assert np.linalg.norm(item.keypoints[[5, 9, 13, 17]] - item.keypoints[1], axis=1).argmin() == 0
