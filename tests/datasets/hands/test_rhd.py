import importlib.util
import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.hands.rhd import ORDER, rhd, usable
from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.reading.people import PictureOptions

_spec = importlib.util.spec_from_file_location("raw_hands", Path(__file__).parents[1] / "raw_hands.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_hands"] = raw
_spec.loader.exec_module(raw)

FOLDERS = {"train": "training", "test": "evaluation"}


def opened(root, part, **options):
    return rhd(PictureOptions(root=str(root), **options), part)


def to_file(left, right):
    """Two hands (21, n) in HAND's order as the 42 rows of the file: wrist, then every finger from tip to base."""
    rows = [0, *(k for base in (1, 5, 9, 13, 17) for k in reversed(range(base, base + 4)))]
    return np.concatenate([left[rows], right[rows]]).astype(np.float32)


def entry(points, seen, camera):
    """Of two hands (2, 21, 3) mm and (2, 21) bool."""
    uv = [np.concatenate([raw.project(p, camera), s[:, None]], 1) for p, s in zip(points, seen, strict=True)]
    matrix = raw.matrix(camera).astype(np.float32)
    return {"uv_vis": to_file(*uv), "xyz": to_file(*points / 1000), "K": matrix}


def write(root, part, entries, images=()):
    folder = root / FOLDERS[part]
    (folder / "color").mkdir(parents=True)
    with open(folder / f"anno_{FOLDERS[part]}.pickle", "wb") as file:
        pickle.dump(entries, file, protocol=2)
    for number, image in zip(entries, images, strict=False):
        Image.fromarray(image).save(folder / "color" / f"{number:05d}.png")


def write_rendered(root, part, first=0):
    """Three pictures of one rendered hand; the other is far away, but in the third one beside it and seen as well."""
    made = raw.rendered(3, 320, first)
    entries, truth = {}, {}
    for i, number in enumerate((7, 123456, 20)):
        own = int(made.right[i])
        points, seen = np.stack([made.points[i]] * 2), np.zeros((2, 21), bool)
        seen[own, : (17, 21, 21)[i]] = True
        points[1 - own] += [9000.0, 0, 0]
        truth[number, ("left", "right")[own]] = i, made.points[i], seen[own]
        if i == 2:
            points[own] += [-150.0, 0, 900]
            points[1 - own] = points[own] + [300.0, 30, 0]
            seen[1 - own] = True
            truth[number, ("left", "right")[own]] = i, points[own], seen[own]
            truth[number, ("left", "right")[1 - own]] = i, points[1 - own], seen[1 - own]
        entries[number] = entry(points, seen, made.camera[i])
    write(root, part, entries, made.image)
    return made, truth


def test_round_trip(tmp_path):
    root = tmp_path / "RHD_published_v2"
    ids = set()
    for first, part in ((0, "train"), (3, "test")):
        made, truth = write_rendered(root, part, first)
        data = opened(tmp_path, part)
        assert data.name == f"rhd.{part}"
        assert data.identity["sha256"] == opened(root, part).identity["sha256"]
        assert len(data) == len(truth) == 4
        for item in (data[i] for i in range(4)):
            i, points, seen = truth[item.frame, item.id.rpartition("/")[2]]
            np.testing.assert_array_equal(item.image, made.image[i])
            np.testing.assert_allclose(item.points, points, atol=0.1)
            np.testing.assert_allclose(item.keypoints, raw.project(points, made.camera[i]), atol=0.05)
            np.testing.assert_allclose(item.keypoints, raw.project(item.points, item.camera), atol=0.05)
            np.testing.assert_array_equal(item.visible, seen)
            assert item.annotated.all()
            assert item.mirrored == item.id.endswith("right")
            raw.check_order(item.points)
            side = 1.5 * np.ptp(item.keypoints, axis=0).max()
            np.testing.assert_allclose(item.box[2:] - item.box[:2], side)
            np.testing.assert_allclose((item.box[2:] + item.box[:2]) / 2, np.sum(_ends(item.keypoints), 0) / 2)
        ids |= set(data.people.ids)
        assert len(set(data.people.sequences)) == 3
    assert len(ids) == 8


def _ends(points):
    return points.min(0), points.max(0)


def test_published_samples(shared, tmp_path):
    """Real pictures, labels put back into the raw layout: K's axis at 160 gives the published pixels, so their origin
    is the picture's corner, and hands named left and right are so by their geometry."""
    folder = shared / "data/mmpose_samples/rhd"
    content = json.loads((folder / "test_rhd.json").read_text())
    cameras = {image["id"]: image["cam_param"] for image in content["images"]}
    entries, rights = {}, {}
    for hand in content["annotations"]:
        number, right = hand["image_id"], hand["hand_type"] == "right"
        camera, blank = cameras[number], np.zeros((21, 3))
        own = np.array(hand["keypoints"]), np.array(hand["joint_cam"]) / 1000
        uv, xyz = (np.concatenate([blank, rows] if right else [rows, blank]) for rows in own)
        entries[number] = {"uv_vis": uv, "xyz": xyz, "K": raw.matrix([*camera["focal"], *camera["princpt"]])}
        rights[number] = right
    write(tmp_path, "train", entries)
    for number in entries:
        os.symlink(folder / f"{number:05d}.png", tmp_path / f"training/color/{number:05d}.png")
    data = opened(tmp_path, "train")
    assert len(data) == 3
    for item in (data[i] for i in range(3)):
        assert item.image.shape == (320, 320, 3)
        np.testing.assert_allclose(item.camera[2:], 160)
        off = item.keypoints - raw.project(item.points, item.camera)
        assert np.abs(off).max() < 0.1
        assert np.abs(off.mean(0)).max() < 0.02
        raw.check_order(item.points)
        assert item.mirrored == rights[item.frame]
        wrist, index, little = item.points[[0, 5, 17]]
        palm = np.cross(index - wrist, little - wrist)
        curl = (item.points[[8, 12, 16, 20]] - item.points[[5, 9, 13, 17]]) @ palm
        assert (curl > 0).all() if item.mirrored else (curl < 0).all()


def naive(own, other, seen):
    """The reference's rule, hand by hand."""
    left, top = own.min(0)
    right, bottom = own.max(0)
    side = min(round(1.5 * max(right - left, bottom - top)), 320)
    square = []
    for low, high in ((left, right), (top, bottom)):
        start = round((low + high) / 2 - side / 2)
        start = 0 if start < 0 else start
        start = 320 - side if start + side - 1 >= 320 else start
        square.append((start, start + side - 1))
    if side - 1 <= 64 or seen.sum() <= 16:
        return False
    shared = 1.0
    for (low, high), first, last in zip(square, other.min(0), other.max(0), strict=True):
        shared *= max(min(high, last) - max(low, first) + 1, 0)
    return shared / side**2 < 0.3


def test_the_rule_of_the_reference():
    rng = np.random.default_rng(0)
    count = 2000
    middle = rng.uniform(-40, 360, (count, 2, 1, 2))
    uv = middle + rng.uniform(0, 150, (count, 2, 1, 1)) * rng.uniform(-0.5, 0.5, (count, 2, 21, 2))
    uv[:50, 0] = uv[:50, 0, :1]  # all joints in one place
    seen = np.arange(21) < rng.integers(15, 22, (count, 2, 1))
    used = usable(uv, seen)
    wanted = [[naive(*two[[h, 1 - h]], flags[h]) for h in (0, 1)] for two, flags in zip(uv, seen, strict=True)]
    np.testing.assert_array_equal(used, wanted)
    assert 0.1 < used.mean() < 0.6
    parted = uv.copy()
    parted[:, 1] = 5000
    assert usable(parted, seen)[:, 0].sum() > used[:, 0].sum() + 20  # overlaps decide, not size and visibility alone
    assert ORDER[:6] == [0, 4, 3, 2, 1, 8]


def good():
    made = raw.rendered(1, 128)
    points = np.stack([made.points[0], made.points[0] + [9000.0, 0, 0]])
    return entry(points, np.stack([np.ones(21, bool), np.zeros(21, bool)]), made.camera[0])


class Evil:
    def __reduce__(self):
        return os.getcwd, ()


MALFORMED = {
    "a list": (lambda e: [e], "(?s)the content is .*expected a mapping"),
    "call": (lambda e: {1: Evil()}, "getcwd"),
    "key": (lambda e: {"1": e}, "a picture's number is '1'"),
    "negative": (lambda e: {-1: e}, "a picture's number is -1"),
    "entry": (lambda e: {1: [e]}, "picture 1: the entry is"),
    "missing": (lambda e: {3: {k: v for k, v in e.items() if k != "K"}}, "picture 3: K is missing"),
    "rows": (lambda e: {3: {**e, "xyz": e["xyz"][:21]}}, r"picture 3: xyz is .*\(21, 3\)"),
    "nan": (lambda e: {3: {**e, "xyz": e["xyz"] * np.nan}}, "picture 3: xyz"),
    "objects": (lambda e: {3: {**e, "uv_vis": e["uv_vis"].astype(object)}}, "picture 3: uv_vis"),
    "flag": (lambda e: {3: {**e, "uv_vis": e["uv_vis"] * 2}}, "picture 3: uv_vis is .*visibility 0 or 1"),
    "behind": (lambda e: {3: {**e, "xyz": -e["xyz"]}}, "picture 3: xyz is 'behind the camera'"),
    "far": (lambda e: {3: {**e, "xyz": e["xyz"] + 5000}}, "rhd/training/00003/left: points"),
    "skew": (lambda e: {3: {**e, "K": e["K"] + 0.1}}, "entry 0, from 0: K"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(tmp_path, name):
    change, message = MALFORMED[name]
    write(tmp_path, "train", change(good()))
    with pytest.raises(BadAnnotation, match=message):
        opened(tmp_path, "train")


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*anno_training.pickle: RHD needs RHD_published_v2"):
        opened(tmp_path, "train")
    with pytest.raises(ValueError, match="part='val'"):
        opened(tmp_path, "val")
    write(tmp_path, "train", {1: good()})
    with pytest.raises(ValueError, match="no picture"):
        opened(tmp_path, "train")
    with pytest.raises(ValueError, match="boxes='face'"):
        opened(tmp_path, "train", boxes="face")
    file = tmp_path / "training/anno_training.pickle"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(BadAnnotation, match="a pickle of numpy arrays"):
        opened(tmp_path, "train")
    write(tmp_path, "test", {})
    with pytest.raises(ValueError, match="no usable sample"):
        opened(tmp_path, "test")
