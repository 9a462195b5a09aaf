"""Whole pictures of any picture set: options, views, batches and augmentation, pictures of odd kinds."""

import importlib.util
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches, first_item
from keyshift.datasets.mixed import Mixed
from keyshift.datasets.reading.regions import run_lengths
from keyshift.datasets.reading.whole_pictures import WholePictures
from keyshift.datasets.sample import MASK, Labeled
from keyshift.datasets.views import WithoutLabels

_spec = importlib.util.spec_from_file_location("raw_coco", Path(__file__).parents[1] / "raw_coco.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_coco"] = raw
_spec.loader.exec_module(raw)
annotation, content, write = raw.annotation, raw.content, raw.write
TURNED = Augmentation(rotation=40, area=[0.5, 1.4], mirror=0.5, color=0.0, blur=0.0)
NONE = {"keypoints": [0] * 51, "num_keypoints": 0}
SIZE = (96, 64)


def opened(root, part="test", **words):
    file = str(root / "labels.json")
    options = options_of("coco_json", {"labels": [file, file], "crops": "whole"} | words, "test")
    return open_dataset("coco_json", options, part)


def crowded(root, count=4, outlines=True):
    """Noise in which one blob of each picture is a crowd; people at random places."""
    rng = np.random.default_rng(count)
    yy, xx = np.mgrid[:120, :160] + 0.5
    people = []
    for n in range(count):
        blob = ((xx - 40 - 15 * n) / 25) ** 2 + ((yy - 70) / 18) ** 2 < 1
        for _ in range(n % 3 + 1):
            joints = np.concatenate([rng.uniform(5, 115, (17, 2)), rng.integers(0, 3, (17, 1))], 1)
            people.append(annotation(len(people), n, keypoints=joints.ravel().tolist(), area=100.0 + len(people)))
        if outlines:
            people.append(annotation(len(people), n, iscrowd=1, segmentation=run_lengths(blob), bbox=[1, 2, 30, 40]))
    write(root, content(*people, count=count))
    for n in range(count):
        noise = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (160, 120))
        Image.fromarray(noise).save(root / f"{n}.jpg", quality=95)
    return opened(root)


def test_a_view_is_one_matrix_for_picture_mask_and_people(tmp_path):
    """Against a naive second implementation: each pixel of the mask by the way back to the file, each keypoint by the
    way there; names change in mirrored views, and what is told in the file's pixels stays."""
    data = crowded(tmp_path)
    batches = TrainingBatches(data, "source", 0, 4, SIZE, TURNED, labels=True, views=3)
    mirrored = set()
    for view in ((batch := batches[0]), *batch.views):
        assert isinstance(view, Labeled)
        assert view.inputs[MASK].shape == (4, 64, 96)
        assert view.inputs[MASK].dtype == torch.uint8
        place = 0
        for image, row in enumerate(view.row.tolist()):
            item, back = data[row], view.to_file[image].double().numpy()
            flipped = np.linalg.det(back[:, :2]) < 0
            mirrored.add(bool(flipped))
            for y in range(0, 64, 3):
                for x in range(0, 96, 3):
                    at = back @ [x + 0.5, y + 0.5, 1]
                    column, line = np.floor(at).astype(int)
                    around = item.inputs[MASK][max(line - 2, 0) : line + 3, max(column - 2, 0) : column + 3]
                    value = int(view.inputs[MASK][image, y, x])
                    if min(column, line) < -3 or column > 162 or line > 122:
                        assert value == 1, "beyond the border labels count"
                    elif around.size and around.min() == around.max() and 2 < column < 157 and 2 < line < 117:
                        assert value == around.min()
            for person in range(len(item.keypoints)):
                for k in range(17):
                    name = COCO17.flip[k] if flipped else k
                    assert view.annotated[place, k] == item.annotated[person, name]
                    assert view.visible[place, k] == item.visible[person, name]
                    point = back @ [*view.keypoints[place, k].tolist(), 1]
                    np.testing.assert_allclose(point, item.keypoints[person, name], atol=1e-3)
                assert view.image_index[place] == image
                assert view.area[place] == item.area[person]
                assert view.bounds[place].tolist() == item.bounds[person].tolist()
                assert view.crowd[place] == item.crowd[person]
                place += 1
        assert place == len(view.keypoints)
    assert mirrored == {True, False}


def test_the_picture_is_whole_and_in_the_middle(tmp_path):
    batch = EvaluationBatches(crowded(tmp_path), 4, SIZE)[0]
    corners = np.array([[0, 0, 1], [160, 0, 1], [160, 120, 1], [0, 120, 1]])
    there = np.linalg.inv(np.vstack([batch.to_file[0].double().numpy(), [0, 0, 1]]))
    np.testing.assert_allclose(
        corners @ there[:2].T, [[16 / 3, 0], [272 / 3, 0], [272 / 3, 64], [16 / 3, 64]], atol=1e-4
    )
    assert (batch.image[:, :, :, :4] == 0).all()
    assert batch.side.tolist() == [160] * 4


def test_nothing_of_labels_is_left(tmp_path):
    data = WithoutLabels(crowded(tmp_path))
    item = data[1]
    assert item.keypoints.shape == (0, 17, 2)
    assert (item.area, item.bounds, item.crowd, item.points) == (None,) * 4
    assert item.inputs[MASK].all()
    batch = TrainingBatches(crowded(tmp_path), "target", 0, 4, SIZE, TURNED, labels=False)[0]
    assert not isinstance(batch, Labeled)
    assert batch.inputs[MASK].all()


def test_an_unreadable_picture_is_a_crowd_that_fills_it(tmp_path):
    """So the batch keeps what its other pictures tell, no label counts there, and nobody who is found is invented."""
    data = crowded(tmp_path)
    (tmp_path / "2.jpg").write_bytes(b"none")
    with pytest.warns(UserWarning, match="left out of the metrics"):
        batch = EvaluationBatches(data, 4, SIZE)[0]
    assert batch.image_index.tolist() == [0, 0, 1, 1, 1, 2, 3, 3]
    broken = batch.image_index == 2
    assert not batch.annotated[broken].any()
    assert batch.crowd[broken].tolist() == [True]
    assert batch.bounds[broken].tolist() == [[0, 0, 16, 16]]
    assert batch.area[broken].tolist() == [256]
    assert len(batch.area) == len(batch.bounds) == len(batch.crowd) == len(batch.keypoints)
    assert not batch.inputs[MASK][2, 1:-1, 17:-17].any()
    first = tmp_path / "first"
    bare = crowded(first, outlines=False)
    (first / "0.jpg").write_bytes(b"none")
    with pytest.warns(UserWarning, match="left out of the metrics"):
        batch = EvaluationBatches(bare, 4, SIZE)[0]
    assert batch.image_index.tolist() == [0, 1, 1, 2, 2, 2, 3]
    assert batch.inputs[MASK][1:].all()


def test_beside_a_set_without_masks(tmp_path, toys):
    people = crowded(tmp_path, count=6)

    class Bare(WholePictures):
        def __getitem__(self, index):
            return replace(super().__getitem__(index), inputs={})

    values = {name: getattr(people, name) for name in ("name", "root", "people", "about", "boxes")}
    mixed = Mixed(Bare(**values), people)
    batch = TrainingBatches(mixed, "source", 0, 12, SIZE, Augmentation(), labels=True)[0]
    assert batch.inputs[MASK].shape == (12, 64, 96)
    first = batch.row < 6
    assert batch.inputs[MASK][first].all()
    assert not batch.inputs[MASK][~first].flatten(1).all(1).any()
    assert batch.area is not None


def test_keypoints_that_are_chosen(tmp_path):
    """Who has none of them is still there: whoever finds this person invents nobody."""
    bare = annotation(1, 0, keypoints=raw.joints(nose=0, left_eye=0))
    write(tmp_path, content(annotation(0, 0), bare, annotation(2, 1), count=2))
    data = opened(tmp_path, keypoints=["left_eye", "nose"])
    assert data.skeleton.keypoints == ("left_eye", "nose")
    assert isinstance(data, WholePictures)
    assert data[0].annotated.tolist() == [[True, True], [False, False]]
    assert len(opened(tmp_path, keypoints=["left_eye", "nose"], crops="person")) == 2


def test_other_sets_by_their_table(tmp_path):
    """A project of DeepLabCut with two animals."""
    folder = tmp_path / "labeled-data/pen"
    folder.mkdir(parents=True)
    columns = [(animal, point, coord) for animal in "ab" for point in ("nose", "tail") for coord in "xy"]
    lines = [["scorer", "", "", *["me"] * 8]]
    lines += [[name, "", "", *(c[k] for c in columns)] for k, name in enumerate(("individuals", "bodyparts", "coords"))]
    both, one = [10, 12, 30, 14, 50, 20, 60, 25], [10, 12, 30, 14, *[""] * 4]
    lines += [["labeled-data", "pen", f"{n}.png", *(one if n % 2 else both)] for n in range(10)]
    (folder / "CollectedData_me.csv").write_text("\n".join(",".join(map(str, line)) for line in lines) + "\n")
    for n in range(10):
        Image.new("RGB", (80, 60), (n, 0, 0)).save(folder / f"{n}.png")
    options = {"root": str(tmp_path), "block": 2}
    data = open_dataset("deeplabcut", options_of("deeplabcut", options | {"crops": "whole"}, "test"), "train")
    assert [len(data[i].keypoints) for i in range(8)] == [2, 1] * 4
    assert data[0].bounds.tolist() == [[10.5, 12.5, 30.5, 14.5], [50.5, 20.5, 60.5, 25.5]]
    np.testing.assert_allclose(data[0].area, [0.53 * 40, 0.53 * 50])
    assert MASK not in data[0].inputs
    crops = open_dataset("deeplabcut", options_of("deeplabcut", options, "test"), "train")
    assert len(crops) == 12


def test_text_files_of_yolo(tmp_path):
    """A person, a box alone and one that is not annotated; an empty file and none show nobody."""
    for folder in ("images/train", "labels/train", "images/val", "labels/val"):
        (tmp_path / folder).mkdir(parents=True)
    lines = ["0 0.5 0.5 0.5 0.5 0.4 0.4 2 0.6 0.6 1", "0 0.25 0.25 0.1 0.2", "0 0.8 0.8 0.2 0.2 0 0 0 0 0 0"]
    texts = {"a": lines, "b": [], "c": lines[:1]}
    for part in ("train", "val"):
        for name in "abcd":
            Image.new("RGB", (100, 80), (len(part), ord(name), 0)).save(tmp_path / f"images/{part}/{name}.png")
            if name in texts:
                (tmp_path / f"labels/{part}/{name}.txt").write_text("\n".join(texts[name]))
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nkpt_shape: [2, 3]\nnames: [dog]\n")
    words = {"root": str(tmp_path), "crops": "whole"}
    train, test = (
        open_dataset("yolo_pose", options_of("yolo_pose", words, "test"), part) for part in ("train", "test")
    )
    assert sorted(train[i].id for i in range(len(train))) == [f"images/train/{name}.png" for name in "abcd"]
    assert sorted(len(test[i].keypoints) for i in range(len(test))) == [0, 0, 1, 3]
    item = train[0]
    assert item.annotated.tolist() == [[True, True], [False, False], [False, False]]
    np.testing.assert_allclose(item.bounds, [[25, 20, 75, 60], [20, 12, 30, 28], [70, 56, 90, 72]])
    assert (item.inputs[MASK][13:27, 21:29] == 0).all()
    assert (item.inputs[MASK][57:71, 71:89] == 0).all()
    assert item.inputs[MASK].sum() > 8000 - 12 * 18 - 22 * 18
    with pytest.warns(UserWarning, match="2 lines are boxes without keypoints|1 lines are boxes without keypoints"):
        crops = open_dataset("yolo_pose", options_of("yolo_pose", {"root": str(tmp_path)}, "test"), "train")
    assert len(crops) == 2


def test_own_pictures(tmp_path):
    write(tmp_path, content(count=10))
    (tmp_path / "labels.json").unlink()
    options = {"root": str(tmp_path), "skeleton": "coco17", "crops": "whole", "block": 2}
    data = open_dataset("pictures", options_of("pictures", options, "test"), "train")
    item = data[0]
    assert (item.keypoints.shape, item.area.shape, item.bounds.shape) == ((0, 17, 2), (0,), (0, 4))
    assert item.box.tolist() == [0, 0, 160, 120]
    assert (len(data), data.said) == (8, ())


@pytest.mark.parametrize("boxes", ["truth", "tllib"])
def test_boxes_cut_people_out(tmp_path, boxes):
    write(tmp_path, content())
    with pytest.raises(ValueError, match=rf"crops=whole .* boxes={boxes} says .* or say crops=person"):
        opened(tmp_path, boxes=boxes)
    assert len(opened(tmp_path, boxes="whole")) == 4
    (tmp_path / "boxes.csv").write_text("file,left,top,right,bottom\n0.jpg,1,2,30,40\n")
    words = {"root": str(tmp_path), "skeleton": "coco17", "crops": "whole", "boxes": str(tmp_path / "boxes.csv")}
    with pytest.raises(ValueError, match=r"boxes=.*boxes.csv says how people are cut out"):
        open_dataset("pictures", options_of("pictures", words, "test"), "train")


def test_a_worker_gets_it_whole(tmp_path):
    data = pickle.loads(pickle.dumps(crowded(tmp_path)))
    assert len(data) == 4
    assert not data[0].inputs[MASK].all()


def test_pictures_of_odd_kinds(tmp_path):
    """No people, a hundred, 4000 px wide, grey, one pixel high, 16 bit: each goes through the batch, and what is where
    in the file is where it was."""
    many = [annotation(n, 1, keypoints=raw.joints(nose=n % 3), bbox=[n, 2, 30, 40]) for n in range(100)]
    names = ["nobody.png", "hundred.png", "wide.png", "grey.png", "line.png", "deep.png"]
    made = content(*many, *(annotation(200 + n, n) for n in range(2, 6)), count=6)
    for image, name in zip(made["images"], names, strict=True):
        image["file_name"] = name
    write(tmp_path, made)
    levels = np.linspace(0, 65535, 160 * 120).reshape(120, 160)
    Image.new("RGB", (4000, 900), (200, 100, 50)).save(tmp_path / "wide.png")
    Image.fromarray((levels // 257).astype(np.uint8)).save(tmp_path / "grey.png")
    Image.new("RGB", (160, 1), (200, 100, 50)).save(tmp_path / "line.png")
    cv2.imwrite(str(tmp_path / "deep.png"), levels.astype(np.uint16))
    data = opened(tmp_path)
    batch = EvaluationBatches(data, 6, SIZE)[0]
    assert [data[i].id for i in range(6)] == names
    assert torch.bincount(batch.image_index, minlength=6).tolist() == [0, 100, 1, 1, 1, 1]
    for person, image in enumerate(batch.image_index.tolist()):
        matrix = batch.to_file[image].double()
        back = batch.keypoints[person].double() @ matrix[:, :2].T + matrix[:, 2]
        truth = data[image].keypoints[int((batch.image_index[:person] == image).sum())]
        np.testing.assert_allclose(back, truth, atol=0.02)
    assert batch.image.shape == (6, 3, 64, 96)
    np.testing.assert_allclose(batch.image[2, :, 32, 48], [200, 100, 50], atol=1)  # the wide one's middle
    assert (batch.image[2, :, :18] == 0).all()  # and above it
    line = batch.image[4, :, :, 48].float()  # 0.6 px high, between two rows of pixels whose middles are 0.5 px away
    # OpenCV 4 takes places to 1/32 px, so that each of the two gets 5/32 rather than a sixth
    np.testing.assert_allclose(line[:, 31:33].T, [[200 / 6, 100 / 6, 50 / 6]] * 2, atol=200 / 64)
    assert line.sum() == line[:, 31:33].sum()
    assert (batch.image[3, 0] == batch.image[3, 1]).all()
    assert (batch.image[3].int() - batch.image[5].int()).abs().max() <= 1


def test_masks_of_many_people(tmp_path):
    """Run lengths of a crowd, and outlines of people of whom nothing else is known, are all left out."""
    yy, xx = np.mgrid[:480, :640]
    blob = ((xx // 7 + yy // 5) % 2 == 0) & (yy > 100)
    angle = np.linspace(0, 6.28, 60)
    ring = np.stack([320 + 200 * np.cos(angle), 200 + 150 * np.sin(angle)], 1).ravel().tolist()
    people = [annotation(0, 0, iscrowd=1, segmentation=run_lengths(blob), bbox=[0, 0, 640, 480])]
    people += [annotation(1 + n, 0, **NONE, segmentation=[ring]) for n in range(20)]
    write(tmp_path, content(annotation(99, 0), *people, count=1))
    Image.new("RGB", (640, 480)).save(tmp_path / "0.jpg")
    data = opened(tmp_path)
    assert first_item(data).inputs[MASK].mean() < 0.6
