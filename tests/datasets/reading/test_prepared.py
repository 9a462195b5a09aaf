"""Prepared crops against the raw set they were made from, and interrupted writing against uninterrupted."""

import importlib.util
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.hands import hand_snap
from keyshift.datasets.hands.hand_snap import SnapHands
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches, loader
from keyshift.datasets.options import option
from keyshift.datasets.reading import parallel, prepared
from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.reading.images import UnreadableImage
from keyshift.datasets.reading.people import People, PictureOptions, PictureSet
from keyshift.datasets.reading.prepared import Prepared, is_prepared, open_prepared
from keyshift.datasets.reading.preparing import convert, plan
from keyshift.datasets.reading.regions import run_lengths
from keyshift.datasets.rendered.hands import RenderedHands
from keyshift.datasets.skeleton import HAND
from keyshift.datasets.views import crowding_of

_spec = importlib.util.spec_from_file_location("raw_coco", Path(__file__).parents[1] / "raw_coco.py")
raw_coco = importlib.util.module_from_spec(_spec)
sys.modules["raw_coco"] = raw_coco
_spec.loader.exec_module(raw_coco)
COUNT, SIDE = 11, 96


@dataclass(frozen=True)
class ToyOptions(PictureOptions):
    size: int = option(128, "side of pictures, which is no matter of what was prepared")
    labels: Any = option(None, "files")


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return [RenderedHands("studio", COUNT, 0, SIDE, 0, cache=cache)[i] for i in range(COUNT)]


@pytest.fixture
def raw(tmp_path, rendered):
    """Hands somewhere in larger pictures, at several scales; crops reach over the edge, every other is mirrored."""
    root, rng = tmp_path / "raw", np.random.default_rng(0)
    root.mkdir()
    keypoints, boxes = [], []
    for i, item in enumerate(rendered):
        scale, corner = (1, 2, 3)[i % 3], rng.integers(0, 60, 2)
        big = cv2.resize(item.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        image = np.full((SIDE * scale + 60, SIDE * scale + 60, 3), 90, np.uint8)
        image[corner[1] : corner[1] + len(big), corner[0] : corner[0] + len(big)] = big
        image = cv2.GaussianBlur(image, (0, 0), 2.0 * scale)
        cv2.imwrite(str(root / f"{i}.png"), image[..., ::-1])
        keypoints.append(item.keypoints * scale + corner)
        boxes.append([*corner, *(corner + len(big) - rng.integers(0, 9, 2))])
    annotated = rng.random((COUNT, 21)) > 0.2
    people = People(
        file="labels.json",
        skeleton=HAND,
        pictures=[f"{i}.png" for i in range(COUNT)],
        ids=[f'träin "{i}"' for i in range(COUNT)],
        sequences=[f"s{i // 3}\n" for i in range(COUNT)],
        frames=np.arange(COUNT) * 7,
        keypoints=np.array(keypoints, np.float64) + 1e-9,
        annotated=annotated,
        visible=annotated & (rng.random((COUNT, 21)) > 0.3),
        boxes=np.array(boxes, np.float64),
        camera=rng.uniform(100, 200, (COUNT, 4)),
        points=np.array([item.points for item in rendered], np.float64) + 1e-9,
        mirrored=np.arange(COUNT) % 2 == 1,
    )
    return PictureSet("toy.train", root, people, {"part": "train", "sha256": "0" * 64})


def made(dataset, folder, size=64, options=None, **more):
    """What the command does, for one part that is both."""
    about = plan("toy", options or {}, size, {"train": dataset, "test": dataset}, {})
    folder.mkdir(exist_ok=True)
    (folder / "unfinished.json").write_text(json.dumps(about))
    unreadable = convert(dataset, folder / "train", size, **more)
    if not (folder / "test").exists():
        (folder / "test").symlink_to("train")
    for part in about["parts"].values():
        part["unreadable"] = unreadable
    (folder / "prepared.json").write_text(json.dumps(about))
    return folder


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(item, other):
    for field in fields(item):
        if field.name not in ("image", "to_file"):
            a, b = getattr(item, field.name), getattr(other, field.name)
            assert np.array_equal(a, b), field.name


def test_everything_but_the_picture_is_the_raw_sets_exactly(raw, tmp_path):
    folder = made(raw, tmp_path / "out")
    assert is_prepared(folder)
    assert not is_prepared(raw.root)
    assert not is_prepared(None)
    dataset = pickle.loads(pickle.dumps(Prepared(folder, "train")))
    assert (dataset.name, len(dataset), dataset.skeleton) == (raw.name, COUNT, HAND)
    assert dataset.identity == {**raw.identity, "prepared": 64}
    for i in range(COUNT):
        same(raw[i], dataset[i])
        assert dataset[i].image.shape == (92, 92, 3)  # 64 sqrt(2) and 14 whole pixels at either end
        corners = np.array([[0, 0], [92, 92]]) @ dataset[i].to_file[:, :2].T + dataset[i].to_file[:, 2]
        side = (raw[i].box[2:] - raw[i].box[:2]).max()
        np.testing.assert_allclose(corners.mean(0), (raw[i].box[:2] + raw[i].box[2:]) / 2)
        np.testing.assert_allclose(corners[1] - corners[0], side * 92 / 64)
    with pytest.raises(IndexError):
        dataset[COUNT]
    assert len(pickle.dumps(dataset)) < 10_000


def near(one, other, most):
    for name in ("keypoints", "to_file", "camera", "side"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-3, rtol=1e-5)
    assert torch.equal(one.annotated, other.annotated)
    assert torch.equal(one.visible, other.visible)
    assert (one.id, one.sequence) == (other.id, other.sequence)
    off = (one.image.float() - other.image.float()).abs()
    assert off.mean() < most, off.mean()
    # moved by a pixel the same pictures differ by far more, so that a shifted crop would not pass
    moved = (one.image.float()[..., 1:] - other.image.float()[..., :-1]).abs().mean()
    assert moved > 2 * off.mean()


@pytest.mark.parametrize(("size", "most"), [(64, 0.02), (48, 0.8)])
def test_batches_are_those_of_the_raw_set_but_for_a_resampling(raw, tmp_path, size, most):
    dataset = Prepared(made(raw, tmp_path / "out", 64), "train")
    plain = [EvaluationBatches(data, COUNT, (size, size))[0] for data in (raw, dataset)]
    near(*plain, most)
    turns = Augmentation(color=0.0, blur=0.0)  # rotation and crops
    turned = [TrainingBatches(data, "x", 1, COUNT, (size, size), turns, True) for data in (raw, dataset)]
    for step in range(3):
        near(turned[0][step], turned[1][step], 1.0)


def test_workers_open_their_own_maps(raw, tmp_path):
    batches = EvaluationBatches(Prepared(made(raw, tmp_path / "out"), "train"), 6, (32, 32))
    for number, batch in enumerate(loader(batches, range(2), workers=1)):
        assert torch.equal(batch.image, batches[number].image)


def test_real_hands(shared, tmp_path):
    raw = SnapHands(hand_snap.Options(root=str(shared / "data/hand_real_snap")), "test")
    dataset = Prepared(made(raw, tmp_path / "out", 64), "test")
    for i in (0, 70, 159):
        same(raw[i], dataset[i])
    near(*(EvaluationBatches(data, 40, (64, 64))[1] for data in (raw, dataset)), 0.05)


class Stop(Exception):
    pass


def test_interrupted_anywhere_the_files_are_the_same(raw, tmp_path, monkeypatch):
    row = 92 * 92 * 3
    wanted = content(made(raw, tmp_path / "whole") / "train")
    sync, stops = os.fsync, 0
    while True:
        folder = tmp_path / f"at{stops}"
        calls = []

        def interrupted(number, calls=calls, stops=stops):
            calls.append(number)
            if len(calls) > stops:
                raise Stop
            sync(number)

        monkeypatch.setattr(os, "fsync", interrupted)
        try:
            convert(raw, folder, 64, chunk=2 * row)
            break
        except Stop:
            monkeypatch.setattr(os, "fsync", sync)
        with open(folder / "images.npy", "ab") as file:
            file.write(b"torn")
        done = []
        convert(raw, folder, 64, done.append, chunk=3 * row)  # other chunks make no difference
        files = content(folder)
        assert files.keys() - {".progress.json.new"} == wanted.keys()
        assert all(files[name] == wanted[name] for name in ("images.npy", "labels.npy", "names.jsonl"))
        if stops >= 8 and done:  # what two marks say is done is not done again
            assert done[0] >= 5
        stops += 1
    assert stops == 6 * 4 + 2  # six chunks of three files and a mark, two headers


def test_killed_and_gone_on(raw, tmp_path):
    wanted = content(made(raw, tmp_path / "whole") / "train")
    (tmp_path / "raw.pickle").write_bytes(pickle.dumps(raw))
    code = """
import os, pickle, signal, sys
from pathlib import Path
from keyshift.datasets.reading.preparing import convert
raw, folder, last = pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]), int(sys.argv[3])
convert(raw, folder, 64, lambda done: done >= last and os.kill(os.getpid(), signal.SIGKILL), chunk=2 * 92 * 92 * 3)
"""
    words = [sys.executable, "-c", code, str(tmp_path / "raw.pickle"), str(tmp_path / "killed")]
    for last, status in ((4, -signal.SIGKILL), (99, 0)):
        assert subprocess.run([*words, str(last)]).returncode == status
        assert json.loads((tmp_path / "killed/progress.json").read_text())["rows"] == min(last, COUNT)
    assert content(tmp_path / "killed") == wanted


@pytest.fixture
def apart(monkeypatch):
    """However few samples there are, two processes look at them, one sample at once."""
    monkeypatch.setattr(parallel, "MANY", 0)
    monkeypatch.setattr(parallel, "AT_ONCE", 1)
    monkeypatch.setattr(parallel, "cores", lambda: 2)


def test_processes_make_the_same_files(raw, tmp_path, apart, monkeypatch):
    (raw.root / "3.png").write_bytes(b"broken")
    with monkeypatch.context() as patch:
        patch.setattr(parallel, "MANY", COUNT + 1)
        alone = convert(raw, tmp_path / "alone", 64)
    row, done = 92 * 92 * 3, []

    def stop(rows):
        done.append(rows)
        if rows == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(raw, tmp_path / "apart", 64, stop, chunk=2 * row)
    assert convert(raw, tmp_path / "apart", 64, done.append, chunk=2 * row) == alone
    assert [row for row, _ in alone] == [3]
    assert done == [2, 4, 6, 8, 10, COUNT]
    assert content(tmp_path / "apart") == content(tmp_path / "alone")


def test_an_unreadable_picture_is_left_out_and_looked_at_again(raw, tmp_path):
    good = (raw.root / "4.png").read_bytes()
    (raw.root / "4.png").write_bytes(good[:1000])
    folder = made(raw, tmp_path / "out")
    dataset = Prepared(folder, "train")
    assert len(dataset) == COUNT - 1
    assert dataset.identity == {**raw.identity, "prepared": 64, "left_out": [4]}
    same(raw[3], dataset[3])
    same(raw[5], dataset[4])
    same(raw[COUNT - 1], dataset[COUNT - 2])
    ((row, reason),) = json.loads((folder / "prepared.json").read_text())["parts"]["train"]["unreadable"]
    assert row == 4
    assert "4.png" in reason
    assert str(tmp_path) not in reason
    (raw.root / "7.png").unlink()
    with pytest.raises(ValueError, match=r"more than 1 % of the pictures are unreadable.*7\.png"):
        made(raw, tmp_path / "other")
    with pytest.raises(UnreadableImage):
        raw[7]
    # restored, the same folder is brought to the end as if nothing had been wrong
    (raw.root / "4.png").write_bytes(good)
    image = raw[4].image
    cv2.imwrite(str(raw.root / "7.png"), image)
    assert content(made(raw, tmp_path / "other") / "train") == content(made(raw, tmp_path / "fresh") / "train")


def test_depth_and_labels_that_are_no_numbers_are_refused(raw, balls, tmp_path):
    with pytest.raises(ValueError, match="gives depth"):
        convert(balls(4), tmp_path / "out", 32)
    raw.people.keypoints[2, raw.people.annotated[2]] = np.nan
    with pytest.raises(ValueError, match=r'träin "2" of toy.train: keypoints is .*nan'):
        convert(raw, tmp_path / "other", 32)


def test_it_is_opened_as_what_it_was_made_as(raw, tmp_path):
    options = prepared.given(ToyOptions(boxes="truth", labels=["a.json", "b.json"], root="raw", size=64))
    assert options == {"boxes": "truth", "labels": [os.path.abspath("a.json"), os.path.abspath("b.json")]}
    folder = made(raw, tmp_path / "out", options=options)
    assert open_prepared(folder, "test", "toy", options).name == raw.name
    relative = {"boxes": "truth", "labels": ["a.json", "./here/../b.json"]}
    assert open_prepared(folder, "test", "toy", relative).name == raw.name
    for name, other, message in (
        ("other", options, "name is 'toy' there and 'other' here"),
        ("toy", {"labels": ["a.json", "b.json"]}, "boxes is 'truth' there and None here"),
        ("toy", {**options, "split": "frames"}, "split is None there and 'frames' here"),
        (
            "toy",
            {**options, "labels": "a.json"},
            r"labels is \['/.*/a.json', '/.*/b.json'\] there and '/.*/a.json' here",
        ),
        ("toy", {"boxes": "whole"}, r"prepare toy root=RAW output=FOLDER boxes=whole size=64$"),
    ):
        with pytest.raises(ValueError, match=message):
            open_prepared(folder, "train", name, other)
    with pytest.raises(ValueError, match="part='all'"):
        open_prepared(folder, "all", "toy", options)
    about = json.loads((folder / "prepared.json").read_text())
    about["options"] |= {"train": 16, "scenes": 3}  # as 0.1.0 wrote them down, where they were set
    (folder / "prepared.json").write_text(json.dumps(about))
    assert open_prepared(folder, "test", "toy", options).name == raw.name
    (folder / "prepared.json").unlink()
    assert is_prepared(folder)
    with pytest.raises(ValueError, match=r"not finished.* prepare toy root=RAW output=/.*/out boxes=truth"):
        open_prepared(folder, "train", "toy", options)


def cut(path):
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 1)


def grow(path):
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize("harm", [cut, grow, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "names.jsonl"])
def test_damaged_files_are_named(raw, tmp_path, harm, name):
    folder = made(raw, tmp_path / "out")
    harm(folder / "train" / name)
    with pytest.raises(ValueError, match=name):
        Prepared(folder, "train")


def test_damaged_values_are_named(raw, tmp_path):
    folder = made(raw, tmp_path / "out")
    labels = np.load(folder / "train/labels.npy", mmap_mode="r+")
    labels["keypoints"][3] = np.inf
    labels["name_end"][5] = 2**60
    labels.flush()
    dataset = Prepared(folder, "train")
    same(raw[2], dataset[2])
    for row, message in ((3, "keypoints"), (5, "names.jsonl"), (6, "names.jsonl")):
        with pytest.raises(ValueError, match=message):
            dataset[row]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "keyshift prepared 9"),
        ("size", 0),
        ("size", "64"),
        ("parts", []),
        ("parts", {"train": {}, "test": {}}),
        ("skeleton", {"name": "x"}),
        ("skeleton", None),
        ("options", 3),
    ],
)
def test_a_damaged_description_is_named(raw, tmp_path, key, value):
    folder = made(raw, tmp_path / "out")
    about = json.loads((folder / "prepared.json").read_text())
    (folder / "prepared.json").write_text(json.dumps(about | {key: value}))
    with pytest.raises(ValueError, match=r"prepared\.json"):
        open_prepared(folder, "train", "toy", {})
    shutil.copy(raw.root / "0.png", folder / "prepared.json")
    with pytest.raises(ValueError, match=r"prepared\.json"):
        open_prepared(folder, "train", "toy", {})


def pictures_of_people(root):
    """Whole pictures of a COCO file: a crowd, someone without keypoints, nobody."""
    pixels = np.zeros((120, 160), bool)
    pixels[20:60, 100:150] = True
    bare = {"keypoints": [0] * 51, "num_keypoints": 0}
    people = [raw_coco.annotation(n, n % 4, area=100.0 + n, bbox=[10, 12, 100 + n, 80]) for n in range(7)]
    people.append(raw_coco.annotation(20, 1, iscrowd=1, segmentation=run_lengths(pixels), bbox=[100, 20, 50, 40]))
    people.append(raw_coco.annotation(21, 3, **bare, segmentation=[[20, 20, 80, 20, 80, 100]], bbox=[20, 20, 60, 80]))
    content = raw_coco.content(*people, count=6)
    for number, image in enumerate(content["images"]):
        image["crowdIndex"] = number / 8
    file = raw_coco.write(root, content)
    rng = np.random.default_rng(0)
    for number in range(6):
        noise = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (160, 120))
        cv2.imwrite(str(root / f"{number}.jpg"), noise)
    words = {"labels": [file, file], "crops": "whole"}
    return open_dataset("coco_json", options_of("coco_json", words, "test"), "test")


def test_whole_pictures_and_all_that_is_said_of_their_people(tmp_path):
    raw = pictures_of_people(tmp_path / "raw")
    folder = made(raw, tmp_path / "out", 160, {"crops": "whole"})
    data = pickle.loads(pickle.dumps(Prepared(folder, "train")))
    assert len(data) == len(raw) == 6
    assert crowding_of(data).tolist() == crowding_of(raw).tolist() == [n / 8 for n in range(6)]
    for i in range(6):
        item, other = raw[i], data[i]
        same(replace(item, inputs={}), replace(other, inputs={}))
        assert other.inputs["mask"].shape == other.image.shape[:2]
    one, kept = (EvaluationBatches(dataset, 6, (160, 160))[0] for dataset in (raw, data))
    near(one, kept, 0.05)
    assert torch.equal(one.inputs["mask"], kept.inputs["mask"])  # of the size that was prepared for, to the pixel
    for name in ("area", "bounds", "crowd", "image_index"):
        assert torch.equal(getattr(one, name), getattr(kept, name))
    small, other = (EvaluationBatches(dataset, 6, (96, 64))[0] for dataset in (raw, data))
    assert (small.inputs["mask"] != other.inputs["mask"]).float().mean() < 0.01
    assert open_prepared(folder, "test", "toy", {"crops": "whole"}).identity["crops"] == "whole"
    with pytest.raises(ValueError, match="crops is 'whole' there and None here"):
        open_prepared(folder, "test", "toy", {})


def test_whole_pictures_interrupted_are_the_same(tmp_path):
    raw = pictures_of_people(tmp_path / "raw")
    wanted = content(made(raw, tmp_path / "whole", 64) / "train")
    assert {"people.npy", "masks.npy"} <= wanted.keys()
    for stop in range(1, 6):
        folder = tmp_path / f"at{stop}"

        def told(done, stop=stop):
            if done >= stop:
                raise Stop

        with pytest.raises(Stop):
            convert(raw, folder, 64, told, chunk=1)
        for name in ("images", "people", "masks"):
            with open(folder / f"{name}.npy", "ab") as file:
                file.write(b"torn")
        convert(raw, folder, 64, chunk=92 * 92 * 3 * 2)
        assert {name: wanted[name] for name in wanted if "progress" not in name} == {
            name: there for name, there in content(folder).items() if "progress" not in name
        }


def test_pictures_without_people_are_prepared_too(tmp_path):
    (tmp_path / "raw").mkdir()
    for n in range(4):
        cv2.imwrite(str(tmp_path / f"raw/{n}.png"), np.full((20, 30, 3), 40 * n, np.uint8))
    words = {"root": str(tmp_path / "raw"), "skeleton": "coco17", "crops": "whole"}
    raw = open_dataset("pictures", options_of("pictures", words, "test"), "train")
    data = Prepared(made(raw, tmp_path / "out", 32), "train")
    for i in range(len(raw)):
        same(raw[i], data[i])
    assert crowding_of(data) is None


def test_damaged_people_are_named(tmp_path):
    folder = made(pictures_of_people(tmp_path / "raw"), tmp_path / "out", 64)
    file = folder / "train/people.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    with pytest.raises(BadAnnotation, match=r"people.npy"):
        Prepared(folder, "train")
    file.write_bytes(whole)
    labels = np.load(folder / "train/labels.npy")
    labels["people_end"][2] = 400
    np.save(folder / "train/labels.npy", labels)
    with pytest.raises(BadAnnotation, match=r"people_end is \[.*400\], expected places in people.npy"):
        Prepared(folder, "train")[2]
