import importlib.util
import json
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.hands.freihand import Options, freihand
from keyshift.datasets.reading.annotations import BadAnnotation

_spec = importlib.util.spec_from_file_location("raw_hands", Path(__file__).parents[1] / "raw_hands.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_hands"] = raw
_spec.loader.exec_module(raw)

COUNT = 10


def opened(root, part, **options):
    return freihand(Options(root=str(root), **options), part)


def write(root, matrices, points, images=None):
    """`images` (4, N, H, W, 3) by version gs, hom, sample, auto; None: without pictures, as far as a set can be."""
    (root / "training/rgb").mkdir(parents=True)
    (root / "training_K.json").write_text(json.dumps(matrices))
    (root / "training_xyz.json").write_text(json.dumps(points))
    for number, image in enumerate([] if images is None else images.reshape(-1, *images.shape[2:])):
        Image.fromarray(image).save(root / f"training/rgb/{number:08d}.jpg", quality=100, subsampling=0)


@pytest.fixture(scope="module")
def made():
    return raw.rendered(COUNT, 64)


@pytest.fixture
def root(made, tmp_path):
    tint = np.array([[0, 0, 0], [60, 0, 0], [0, 60, 0], [0, 0, 60]])[:, None, None, None]
    images = np.clip(made.image.astype(int) // 2 + tint, 0, 255).astype(np.uint8)
    write(tmp_path, [raw.matrix(c).tolist() for c in made.camera], (made.points / 1000).tolist(), images)
    return tmp_path


def photo_and_version(item):
    return item.frame % COUNT, item.frame // COUNT


@pytest.mark.parametrize("version", [None, "all", "gs", "hom", "sample", "auto"])
def test_round_trip(root, made, version):
    seen = {}
    for part in ("train", "test"):
        data = opened(root, part, block=2, version=version)
        assert data.name == f"freihand.{part}"
        for item in (data[i] for i in range(len(data))):
            photo, place = photo_and_version(item)
            assert version in (None, "all", ("gs", "hom", "sample", "auto")[place])
            tint = np.array([[0, 0, 0], [60, 0, 0], [0, 60, 0], [0, 0, 60]])[place]
            np.testing.assert_allclose(item.image.mean((0, 1)), (made.image[photo] // 2 + tint).mean((0, 1)), atol=2)
            raw.check_hand(item, made, photo)
            assert item.mirrored
            seen.setdefault(part, set()).add((photo, place, item.sequence))
    assert len(seen["train"] | seen["test"]) == COUNT * (4 if version in (None, "all") else 1)
    assert not {s for *_, s in seen["train"]} & {s for *_, s in seen["test"]}
    assert {photo for photo, *_ in seen["test"]} == {8, 9}  # neighbours, in all their versions


def test_split_of_the_reference(root):
    listed = [(v, p) for v in ("gs", "auto", "sample", "hom") for p in range(COUNT)]
    random.Random(42).shuffle(listed)
    photos = []
    for part, wanted in (("test", listed[:8]), ("train", listed[8:])):
        data = opened(root, part, block=2, split="frames")
        pictures = [(("gs", "hom", "sample", "auto")[n // COUNT], n % COUNT) for n in data.people.frames]
        assert pictures == wanted
        assert data.identity["split"] == "frames"
        photos.append({n % COUNT for n in data.people.frames})
    assert photos[0] & photos[1]  # the leak that the docstring names


def test_published_samples(shared, tmp_path):
    """Real pictures under the numbers that they have among 32 560: the same hand four times, first before green."""
    folder, total, away = shared / "data/mmpose_samples/freihand", 32560, 0.5
    content = json.loads((folder / "test_freihand.json").read_text())
    hands = {h["image_id"]: np.reshape(h["keypoints"], (21, 3))[:, :2] for h in content["annotations"]}
    points = [np.full((21, 3), away).tolist()] * total
    for number, uv in hands.items():
        points[number % total] = np.insert((uv - 112) / 400 * away, 2, away, axis=1).tolist()
    write(tmp_path, [[[400.0, 0, 112], [0, 400.0, 112], [0, 0, 1]]] * total, points)
    for number in hands:
        os.symlink(folder / f"{number:08d}.jpg", tmp_path / f"training/rgb/{number:08d}.jpg")
    os.symlink(folder / "00000355.jpg", tmp_path / "training/rgb/00000000.jpg")
    data = opened(tmp_path, "train")
    for photo in (355, 17620):
        items = [data[row] for row in np.flatnonzero(data.people.frames % total == photo)]
        assert sorted(item.frame // total for item in items) == [0, 1, 2, 3]
        for item in items:
            np.testing.assert_allclose(item.keypoints, hands[item.frame], atol=1e-6)
        first = min(items, key=lambda item: item.frame)
        away_from = np.hypot(*(np.mgrid[:224, :224][::-1, ..., None] + 0.5 - hands[photo].T[:, None, None])).min(-1)
        for item in items:
            hand, ground = (
                np.corrcoef(*(shown.image[where].mean(-1) for shown in (first, item)))[0, 1]
                for where in (away_from < 6, away_from > 40)
            )
            assert hand > 0.7
            assert (ground < 0.5) == (item is not first)


def change(name, edit):
    def apply(root):
        file = root / f"training_{name}.json"
        content = json.loads(file.read_text())
        edit(content)
        file.write_text(json.dumps(content))

    return apply


MALFORMED = {
    "shorter": (change("xyz", lambda c: c.pop()), "training_xyz.json: the list is 'of length 9', expected 10"),
    "joint": (change("xyz", lambda c: c[3].pop()), "photograph 3: the entry is .*(20, 3)"),
    "text": (change("xyz", lambda c: c[3].__setitem__(0, "abc")), "photograph 3: the entry"),
    "nan": (change("K", lambda c: c[4][0].__setitem__(0, float("nan"))), "training_K.json, photograph 4"),
    "huge": (change("K", lambda c: c[4][0].__setitem__(0, 10**400)), "training_K.json, photograph 4"),
    "skew": (change("K", lambda c: c[4][0].__setitem__(1, 3)), "entry 4, from 0: K"),
    "focal": (change("K", lambda c: c[4][0].__setitem__(0, 0)), "entry 4, from 0: K"),
    "behind": (change("xyz", lambda c: c[2][5].__setitem__(2, 0)), "photograph 2: z is .*1 mm or more"),
    "aside": (change("xyz", lambda c: c[2][5].__setitem__(0, 5000)), "freihand/00000002: keypoints"),
    "mapping": (lambda root: (root / "training_K.json").write_text("{}"), "the content is .*a list"),
    "encoding": (lambda root: (root / "training_K.json").write_bytes(b"[\xff\xfe]"), "whole UTF-8 JSON"),
    "truncated": (lambda root: (root / "training_xyz.json").write_text("[[[0.1, 0.2"), "whole UTF-8 JSON"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(root, name):
    spoil, message = MALFORMED[name]
    spoil(root)
    with pytest.raises(BadAnnotation, match=message):
        opened(root, "train", block=2)


def test_refusals(root, tmp_path):
    for options, message in (
        ({"part": "val"}, "part='val'"),
        ({"version": "green"}, "version='green' is not known; choose one of gs, hom, sample, auto, all"),
        ({"split": "photos"}, "split='photos'"),
        ({"block": 0}, "block=0"),
        ({"block": 50}, "leave no test part"),
        ({"boxes": "hand"}, "boxes='hand'"),
        ({"root": str(tmp_path / "none")}, "no file .*training_K.json: FreiHAND needs"),
    ):
        with pytest.raises(ValueError, match=message):
            opened(**{"root": root, "part": "test", "block": 2, **options})
    for file in (root / "training/rgb").glob("*"):
        file.unlink()
    with pytest.raises(ValueError, match="no picture"):
        opened(root, "train", block=2)
    (root / "training_K.json").write_text("[]")
    (root / "training_xyz.json").write_text("[]")
    with pytest.raises(ValueError, match="leave no train part"):
        opened(root, "train", block=2)
