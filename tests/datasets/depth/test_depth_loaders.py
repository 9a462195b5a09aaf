import importlib.util
import multiprocessing
import pickle
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from keyshift.datasets.depth import icvl, msra
from keyshift.datasets.depth.files import PublicOptions
from keyshift.datasets.depth.hands2017 import Hands2017
from keyshift.datasets.depth.icvl import IcvlHands
from keyshift.datasets.depth.itop import ItopBodies
from keyshift.datasets.depth.msra import MsraHands
from keyshift.datasets.depth.nyu import NyuHands
from keyshift.datasets.depth.sets import DEPTH_SETS, ICVL, NYU
from keyshift.datasets.reading.images import UnreadableImage

_spec = importlib.util.spec_from_file_location("raw_depth", Path(__file__).parents[1] / "raw_depth.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_depth"] = raw
_spec.loader.exec_module(raw)


def loads(kind, Options=PublicOptions, **more):
    """open(root, part="train", **options), which makes the options beforehand."""

    def opened(root, part="train", **options):
        return kind(Options(root=str(root), **options), part, **more)

    return opened


nyu, hands2017, itop, itop_top = loads(NyuHands), loads(Hands2017), loads(ItopBodies), loads(ItopBodies, view="top")
icvl_hands, msra_hands = loads(IcvlHands, icvl.Options), loads(MsraHands, msra.Options)
LOADERS = {
    "nyu": (raw.write_nyu, nyu),
    "icvl": (raw.write_icvl, icvl_hands),
    "hands2017": (raw.write_hands2017, hands2017),
    "itop": (raw.write_itop, itop),
}


def check_item(item, truth, name, center=None):
    row = item.frame
    fx, fy, u0, v0, width, height = raw.CAMERAS[name]
    assert item.image.dtype == np.float32
    assert item.image.shape == (height, width)
    np.testing.assert_allclose(item.image, truth.depth[row], atol=0.1)
    np.testing.assert_allclose(item.points, truth.points[row], atol=0.1)
    np.testing.assert_allclose(item.keypoints[:, :2], truth.uvd[row, :, :2] + 0.5, atol=0.05)
    np.testing.assert_allclose(item.keypoints[:, 2], truth.uvd[row, :, 2], atol=0.1)
    np.testing.assert_allclose(item.camera, [fx, fy, u0 + 0.5, v0 + 0.5], rtol=1e-6)
    center = truth.centers[row] if center is None else center
    np.testing.assert_allclose(item.center, raw.project(center, name) + np.array([0.5, 0.5, 0]), atol=0.05)
    reach = item.cube[:2] / 2 * [fx, fy] / item.center[2]
    np.testing.assert_allclose(item.box, [*(item.center[:2] - reach), *(item.center[:2] + reach)], atol=1e-3)
    assert item.annotated.all()
    seen = (np.arange(len(item.points)) + row) % 5 > 0 if name == "itop" else np.ones(len(item.points), bool)
    np.testing.assert_array_equal(item.visible, seen)


@pytest.mark.parametrize("name", LOADERS)
def test_round_trip(tmp_path, name):
    write, loader = LOADERS[name]
    for number, split in enumerate(("train", "test")):
        truth = write(tmp_path, split, seed=10 * number)
        data = loader(tmp_path, split)
        items = [data[i] for i in range(len(data))]
        assert len({item.id for item in items}) == len(data) == data.identity["count"]
        for item in items:
            check_item(item, truth, name)
        assert data.name == f"{name}.{split}"
        assert len(data.skeleton) == len(items[0].points)
        with pytest.raises(IndexError):
            data[len(data)]
    other = loader(tmp_path, "train")
    assert other.identity != data.identity
    assert not {other[i].sequence for i in range(len(other))} & {item.sequence for item in items}


@pytest.mark.parametrize("name", LOADERS)
def test_a_pickled_set_is_the_same_set(tmp_path, name):
    write, loader = LOADERS[name]
    write(tmp_path)
    data = loader(tmp_path)
    before = data[1]
    again = pickle.loads(pickle.dumps(data))
    assert again.identity == data.identity
    np.testing.assert_array_equal(again[1].image, before.image)
    np.testing.assert_array_equal(again[1].points, before.points)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("form", ["mat", "uvd", "folder"])
def test_centres_in_every_format(tmp_path, name, form):
    write, loader = LOADERS[name]
    truth = write(tmp_path / "set")
    unit = 1000 if name == "itop" else 1
    pixels = raw.project(truth.centers, name) / [1, 1, unit]
    if form == "mat":
        path = tmp_path / "mine.mat"
        scipy.io.savemat(path, {"centre_pixel": pixels[:, None]})
    else:
        path = tmp_path / ("mine_uvd.txt" if form == "uvd" else "other/center_train.txt")
        flip = [1, -1 if name in ("nyu", "itop") else 1, 1]
        raw.write_centers(path, pixels if form == "uvd" else truth.centers / unit * flip)
    data = loader(tmp_path / "set", centers=path.parent if form == "folder" else path)
    assert data.identity["centers"] == path.name
    assert data.identity["centers_sha256"] != loader(tmp_path / "set").identity["centers_sha256"] or form == "folder"
    for i in range(len(data)):
        check_item(data[i], truth, name)


@pytest.mark.parametrize("name", LOADERS)
def test_centres_from_the_truth_are_named(tmp_path, name):
    write, loader = LOADERS[name]
    truth = write(tmp_path)
    data = loader(tmp_path, centers="truth")
    assert data.identity["centers"] == "truth"
    check_item(data[0], truth, name, center=truth.points[0].mean(0))


@pytest.mark.parametrize("name", LOADERS)
def test_centres_from_the_depth_alone(tmp_path, name, monkeypatch):
    asked = []

    def find_center(depth, camera, cube, far):
        asked.append((depth, camera, cube, far))
        if len(asked) > 1:
            raise UnreadableImage("nothing in range")
        return np.array([100.5, 60.5, 480.0])

    monkeypatch.setattr("keyshift.datasets.depth.files.find_center", find_center)
    write, loader = LOADERS[name]
    truth = write(tmp_path)
    data = loader(tmp_path, centers="threshold", cube=(200, 210, 220))
    assert data.identity["centers"] == "threshold"
    item = data[0]
    np.testing.assert_array_equal(item.center, [100.5, 60.5, 480.0])
    np.testing.assert_array_equal(asked[0][0], truth.depth[0].astype(np.float32))
    np.testing.assert_array_equal(asked[0][2], [200, 210, 220])
    assert asked[0][3] == (5000 if name == "itop" else 2000)  # bodies stand farther than hands
    with pytest.raises(UnreadableImage, match=f"^{name}/.*: nothing in range"):
        data[1]


@pytest.mark.parametrize("name", LOADERS)
def test_invalid_centres(tmp_path, name):
    write, loader = LOADERS[name]
    for split in ("train", "test"):
        truth = write(tmp_path, split)
        path = next(tmp_path.rglob(f"center_{split}*.txt"))
        lines = path.read_text().splitlines()
        lines[2] = "invalid"
        raw.write_lines(path, lines)
        if split == "test":
            with pytest.raises(ValueError, match=rf"{path.name}, line 3: no centre for a test frame \(1 in all\)"):
                loader(tmp_path, split)
        else:
            data = loader(tmp_path, split)
            assert data.identity["invalid_centers"] == 1
            frames = [data[i].frame for i in range(len(data))]
            assert 2 not in frames
            assert {0, 3} <= set(frames) or name == "hands2017"
            for i in range(len(data)):
                check_item(data[i], truth, name)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("broken", ["missing", "short", "words", "number", "behind", "elsewhere", "binary"])
def test_broken_centres_are_named(tmp_path, name, broken):
    write, loader = LOADERS[name]
    write(tmp_path)
    path = next(tmp_path.rglob("center_train*.txt"))
    lines = path.read_text().splitlines()
    match = path.name
    if broken == "missing":
        path.unlink()
        match = f"{path.name}.*centers='threshold'.*centers='truth'"
    elif broken == "short":
        lines, match = lines[:2], f"has 2 centres for {len(lines)} frames"
    elif broken == "words":
        lines[0], match = "1 2", "line 1: found 2 numbers, expected 3"
    elif broken == "number":
        lines[0], match = "1 2 far", "line 1.*'far'"
    elif broken == "behind":
        lines[0], match = "1 2 -300", "not in front"
    elif broken == "elsewhere":
        lines, match = ["3000 2000 4000"] * len(lines), "they belong to other frames|They belong to other frames"
    if broken == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    elif broken != "missing":
        raw.write_lines(path, lines)
    with pytest.raises(ValueError, match=match):
        loader(tmp_path)


def test_centres_at_a_wrong_path(tmp_path):
    raw.write_nyu(tmp_path)
    with pytest.raises(ValueError, match=r"at .*nothing\.txt: looked for center_train_refined\.txt, "):
        nyu(tmp_path, centers=tmp_path / "nothing.txt")


def test_nyu_second_person_has_the_smaller_cube(tmp_path):
    truth = raw.write_nyu(tmp_path, "test", count=2442, pictures=(0, 2439, 2440))
    data = nyu(tmp_path, "test")
    assert [data[i].cube.tolist() for i in (0, 2439, 2440)] == [[300] * 3, [300] * 3, [250] * 3]
    assert [data[i].id for i in (0, 2440)] == ["nyu/test/0000001", "nyu/test/0002441"]
    assert data[2439].sequence != data[2440].sequence
    assert data[2440].sequence.startswith("nyu/test/2/")
    np.testing.assert_array_equal(data[2440].image, truth.depth[2])
    given = nyu(tmp_path, "test", cube=(220, 220, 300))
    assert given[2440].cube.tolist() == [220, 220, 300]
    assert given.identity["cube"] != data.identity["cube"]
    raw.write_nyu(tmp_path, "train", count=2442)
    assert nyu(tmp_path, "train").identity["cube"] == [[300] * 3]


def test_icvl_without_turned_frames(tmp_path):
    truth = raw.write_icvl(tmp_path)
    data = icvl_hands(tmp_path, rotated=False)
    assert [data[i].frame for i in range(len(data))] == [0, 2]
    assert data.identity != icvl_hands(tmp_path).identity
    for i in range(len(data)):
        check_item(data[i], truth, "icvl")
    raw.write_centers(tmp_path / "kept/center_train.txt", truth.centers[[0, 2]])  # centres of those alone are fine too
    check_item(icvl_hands(tmp_path, rotated=False, centers=tmp_path / "kept")[1], truth, "icvl")


def test_hands2017_without_test_annotations(tmp_path):
    truth = raw.write_hands2017(tmp_path, "test", annotated=False)
    data = hands2017(tmp_path, "test")
    item = data[1]
    assert not data.identity["labelled"]
    assert not item.annotated.any()
    assert not item.visible.any()
    np.testing.assert_allclose(item.points, np.tile(truth.centers[1], (21, 1)), atol=0.1)  # nowhere, but finite
    np.testing.assert_array_equal(item.image, truth.depth[1])
    with pytest.raises(ValueError, match="no labels here"):
        hands2017(tmp_path, "test", centers="truth")
    raw.write_hands2017(tmp_path, "test")
    path = tmp_path / "frame/test_annotation_frame.txt"
    raw.write_lines(path, path.read_text().splitlines()[::-1])
    with pytest.raises(ValueError, match="another order"):
        hands2017(tmp_path, "test")


def test_itop_reads_valid_frames_of_each_view(tmp_path):
    sides = {view: raw.write_itop(tmp_path / view, "test", file) for view, file in (("front", "side"), ("top", "top"))}
    data = itop(tmp_path / "front", "test")
    assert [data[i].frame for i in range(len(data))] == [0, 2, 3]
    assert [data[i].id for i in range(3)] == [f"itop/front/test/{n}" for n in ("04/00098", "04/00100", "05/00101")]
    assert data[0].sequence != data[1].sequence
    top = itop_top(tmp_path / "top", "test")
    check_item(top[2], sides["top"], "itop")
    assert top.identity["view"] == "top"
    valid = sides["top"].centers[[0, 2, 3]]  # A2J's files have the valid frames alone
    pixels = raw.project(valid, "itop") / [1, 1, 1000]
    scipy.io.savemat(tmp_path / "itop_top_center_test.mat", {"centre_pixel": pixels[:, None]})
    check_item(itop_top(tmp_path / "top", "test", centers=tmp_path)[2], sides["top"], "itop")
    with pytest.raises(ValueError, match="ITOP_top_test_depth_map"):
        itop_top(tmp_path / "front", "test")


def test_itop_files_are_opened_by_each_process(tmp_path):
    raw.write_itop(tmp_path)
    data = itop(tmp_path)
    wanted = data[1].image
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(data.__getitem__, (1,)).image, wanted)
    opened = data._files.pop(next(iter(data._files)))
    data._files[-1] = opened  # what a forked process sees: its parent's file, under the parent's number
    np.testing.assert_array_equal(data[1].image, wanted)
    assert all(file is not opened for file in data._files.values())


def test_msra_round_trip(tmp_path):
    truths = raw.write_msra(tmp_path / "cvpr15_MSRAHandGestureDB")
    test, train = (msra_hands(tmp_path, part, subject=3) for part in ("test", "train"))
    assert (len(test), len(train)) == (17, 136)
    assert test.identity["version"] == "other"
    assert not {test[i].id for i in range(17)} & {train[i].id for i in range(136)}
    assert test[16].id == "msra/P3/Y/000000"
    for i in range(17):
        check_item(test[i], truths[3], "msra")
    everyone = [truths[p] for p in range(9) if p != 3]
    joined = raw.Truth(
        *(np.concatenate([getattr(t, k) for t in everyone]) for k in ("points", "uvd", "depth", "centers"))
    )
    for i in range(0, 136, 13):
        check_item(train[i], joined, "msra")
    assert train[135].id == "msra/P8/Y/000000"
    cubes = {train[i].id.split("/")[1]: train[i].cube.tolist() for i in range(136)}
    assert cubes == {f"P{p}": [e] * 3 for p, e in enumerate((200, 200, 200, 180, 180, 180, 170, 160, 150)) if p != 3}
    assert msra_hands(tmp_path, "test", cube=200, subject=3)[0].cube.tolist() == [200] * 3
    again = pickle.loads(pickle.dumps(test))
    np.testing.assert_array_equal(again[2].image, test[2].image)
    assert msra_hands(tmp_path, "test", centers="truth", subject=8).identity["subject"] == "P8"


def test_msra_versions(tmp_path, monkeypatch):
    small = {"old": (17,) * 9, "new": (17, 18, *(17,) * 7)}
    assert {name: sum(counts) for name, counts in msra.VERSIONS.items()} == {"old": 76375, "new": 76391}
    monkeypatch.setattr(msra, "VERSIONS", small)
    raw.write_msra(tmp_path / "old")
    truths = raw.write_msra(tmp_path / "new", extra=1)
    assert msra_hands(tmp_path / "old", subject=3).version == "old"
    new = msra_hands(tmp_path / "new", subject=3)
    assert new.identity["version"] == "new"
    assert len(new) == 137
    assert [new[i].id for i in (17 + 8, 17 + 9)] == ["msra/P1/9/000000", "msra/P1/9/000001"]
    np.testing.assert_allclose(new[17 + 9].points, truths[1].points[9], atol=0.1)
    with pytest.raises(
        ValueError, match=r"137 centres for 136 frames.*old .*new .*version 'old', the centres of 'new'"
    ):
        msra_hands(tmp_path / "old", subject=3, centers=tmp_path / "new/center")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda p: p.write_text("2\n" + p.read_text().split("\n", 1)[1]), "line 1 says 2 frames, 1 lines"),
        (lambda p: p.write_text("x\n" + p.read_text().split("\n", 1)[1]), "line 1: found 'x', expected the number"),
        (lambda p: p.write_text(p.read_text().rsplit(" ", 1)[0]), "joint.txt, line 2: found 62 numbers, expected 63"),
        (lambda p: p.write_text(p.read_text().replace("-", "")), "in front of the camera"),
        (lambda p: p.unlink(), r"missing P2/IP/joint.txt\. Expected layout: ROOT/\{P0"),
    ],
)
def test_msra_broken_labels_are_named(tmp_path, change, match):
    raw.write_msra(tmp_path)
    change(tmp_path / "P2/IP/joint.txt")
    with pytest.raises(ValueError, match=match):
        msra_hands(tmp_path, subject=3)


@pytest.mark.parametrize("broken", ["missing", "head", "short", "outside", "nan"])
def test_msra_broken_patches_are_named(tmp_path, broken):
    raw.write_msra(tmp_path)
    path = tmp_path / "P3/1/000000_depth.bin"
    content = bytearray(path.read_bytes())
    if broken == "head":
        content = content[:20]
    elif broken == "short":
        content = content[:-4]
    elif broken == "outside":
        content[16:20] = np.int32(321).tobytes()
    else:
        content[24:28] = np.float32(np.nan).tobytes()
    path.write_bytes(content)
    if broken == "missing":
        path.unlink()
    with pytest.raises(UnreadableImage, match=r"P3/1/000000_depth\.bin"):
        msra_hands(tmp_path, "test", subject=3)[0]


@pytest.mark.parametrize("name", ["nyu", "icvl", "hands2017"])
@pytest.mark.parametrize("broken", ["missing", "truncated", "text", "size", "kind"])
def test_broken_pictures_are_named(tmp_path, name, broken):
    write, loader = LOADERS[name]
    write(tmp_path)
    data = loader(tmp_path)
    place = {"nyu": "train/depth_1_0000002", "icvl": "Training/Depth/22-5/201403121135/image_0000"}
    path = tmp_path / f"{place.get(name, 'training/images/image_D00000002')}.png"
    data[1]
    if broken == "missing":
        path.unlink()
    elif broken == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    elif broken == "text":
        path.write_text("no picture")
    elif broken == "size":
        with Image.open(path) as image:
            image.crop((0, 0, 100, 100)).save(path)
    else:
        Image.new("L", (640, 480) if name != "icvl" else (320, 240)).save(path)
    with pytest.raises(UnreadableImage, match=str(path)):
        data[1]


@pytest.mark.parametrize("name", ["icvl", "hands2017"])
@pytest.mark.parametrize("broken", ["count", "number", "nan", "behind", "up", "absolute", "backslash"])
def test_broken_lists_are_named(tmp_path, name, broken):
    write, loader = LOADERS[name]
    write(tmp_path)
    path = tmp_path / {"icvl": "Training/labels.txt", "hands2017": "training/Training_Annotation.txt"}[name]
    lines = path.read_text().splitlines()
    words = lines[1].split()
    change = {
        "count": (words[:-1], rf"line 2: found {len(words) - 2} numbers, expected {len(words) - 1}"),
        "number": ([*words[:-1], "x"], "line 2: .*'x'"),
        "nan": ([*words[:-1], "nan"], "line 2: a label is not a finite number"),
        "behind": ([*words[:-1], "-5"], f"joint {len(words) // 3 - 1} of frame 1"),
        "up": (["a/../../" + words[0], *words[1:]], "line 2: the file name 'a/../../.* leads out"),
        "absolute": (["/etc/passwd", *words[1:]], "line 2: the file name '/etc/passwd' leads out"),
        "backslash": (["..\\a.png", *words[1:]], "line 2: the file name .* leads out"),
    }
    lines[1], match = " ".join(change[broken][0]), change[broken][1]
    raw.write_lines(path, lines)
    with pytest.raises(ValueError, match=f"{path}.*{match}"):
        loader(tmp_path)


@pytest.mark.parametrize("broken", ["bytes", "name", "shape", "pixels", "nan"])
def test_nyu_broken_labels_are_named(tmp_path, broken):
    raw.write_nyu(tmp_path)
    path = tmp_path / "train/joint_data.mat"
    content = {key: scipy.io.loadmat(path)[key] for key in ("joint_xyz", "joint_uvd")}
    match = "joint_data.mat"
    if broken == "bytes":
        path.write_bytes(b"nonsense")
    elif broken == "name":
        del content["joint_uvd"]
        match = "no array joint_uvd"
    elif broken == "shape":
        content["joint_xyz"] = content["joint_xyz"][..., :21, :]
        match = r"found \(3, 4, 21, 3\)"
    elif broken == "pixels":
        content["joint_xyz"][..., 1] *= -1  # y down already
        match = "px from joint_uvd"
    else:
        content["joint_xyz"][0, 2, 3, 1] = np.nan
        match = "joint 1 of frame 2"
    if broken != "bytes":
        scipy.io.savemat(path, content)
    with pytest.raises(ValueError, match=match):
        nyu(tmp_path)


@pytest.mark.parametrize("broken", ["labels", "depth", "key", "joints", "count", "nan", "id", "far"])
def test_itop_broken_files_are_named(tmp_path, broken):
    raw.write_itop(tmp_path)
    labels, depth = (tmp_path / f"ITOP_side_train_{kind}.h5" for kind in ("labels", "depth_map"))
    match, error = "ITOP_side_train_labels.h5", ValueError
    if broken == "labels":
        labels.write_bytes(b"nonsense")
    elif broken == "depth":
        depth.write_bytes(b"nonsense")
        match, error = "ITOP_side_train_depth_map.h5", UnreadableImage
    else:
        with h5py.File(labels, "r+") as file, h5py.File(depth, "r+") as pictures:
            if broken == "key":
                del file["is_valid"]
            elif broken == "joints":
                joints = file["real_world_coordinates"][()]
                del file["real_world_coordinates"]
                file["real_world_coordinates"] = joints[:, :14]
                match = r"\(5, 14, 3\)"
            elif broken == "count":
                images = pictures["data"][()]
                del pictures["data"]
                pictures["data"] = images[:4]
                match = r"depth_map.h5: data has the shape \(4, 240, 320\)"
            elif broken == "nan":
                file["real_world_coordinates"][2, 3] = np.nan
                match = "joint 3 of frame 2"
            elif broken == "id":
                file["id"][1] = b"nothing"
                match = "b'nothing' is not of the form"
            else:
                pictures["data"][2, 0, 0] = np.inf
                match, error = "frame 2 of .*depth_map.h5", UnreadableImage
    with pytest.raises(error, match=match):
        itop(tmp_path)[1]


@pytest.mark.parametrize("loader", [nyu, icvl_hands, msra_hands, hands2017, itop])
def test_a_missing_set_is_explained(tmp_path, loader):
    with pytest.raises(ValueError, match=r"no .*(et al\. 20\d\d).* at .*: missing .*Expected layout: ROOT/"):
        loader(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        loader(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="'validation' is not known; choose one of train, test"):
        loader(tmp_path, "validation")


@pytest.mark.parametrize("cube", [0, -1, float("nan"), (1, 2), (100, 100, 0)])
def test_bad_cubes_are_refused(tmp_path, cube):
    raw.write_icvl(tmp_path)
    with pytest.raises(ValueError, match=r"cube=.* must (be at least 1|have 3 entries)"):
        icvl_hands(tmp_path, cube=cube)


def test_bad_subject_is_refused(tmp_path):
    with pytest.raises(ValueError, match="subject=9 must be at least 0, at most 8"):
        msra_hands(tmp_path, subject=9)


def labels_of(shared, name):
    """(N, K, 3) u, v, d of the published test labels."""
    path = shared / f"data/hand_depth_labels/groundtruth/{name}/{name}_test_groundtruth_label.txt"
    return np.loadtxt(path).reshape(-1, len(DEPTH_SETS[name].skeleton), 3)


def unproject(uvd, name):
    fx, fy, u0, v0, *_ = raw.CAMERAS[name]
    u, v, d = np.moveaxis(uvd, -1, 0)
    return np.stack([(u - u0) * d / fx, (v - v0) * d / fy, d], -1)


def test_the_real_nyu_frame(shared, tmp_path):
    uvd = labels_of(shared, "nyu")[:1]
    (tmp_path / "test").mkdir()
    shutil.copy(shared / "data/hand_depth_labels/nyu_frame/depth_1_0000001.png", tmp_path / "test")
    world, pixels = np.ones((1, 1, 36, 3)), np.ones((1, 1, 36, 3))
    world[0, :, raw.NYU_JOINTS] = np.moveaxis(raw.up(unproject(uvd, "nyu")), 1, 0)
    pixels[0, :, raw.NYU_JOINTS] = np.moveaxis(uvd, 1, 0)
    scipy.io.savemat(tmp_path / "test/joint_data.mat", {"joint_xyz": world, "joint_uvd": pixels})
    item = nyu(tmp_path, "test", centers="truth")[0]
    columns, rows = item.keypoints[:, :2].astype(int).T
    behind = item.keypoints[:, 2] - item.image[rows, columns]  # joints lie in the flesh
    assert (np.abs(behind) < 25).sum() >= 11
    assert (behind > 0).all()
    assert behind.max() < 40
    mirrored = item.keypoints[:, 2] - item.image[479 - rows, columns]  # with y the wrong way they would be far off
    assert np.abs(mirrored).max() > 300


def test_real_icvl_labels(shared, tmp_path):
    uvd = labels_of(shared, "icvl")
    (tmp_path / "Testing").mkdir()
    shutil.copy(shared / "data/hand_depth_labels/groundtruth/icvl/test_seq_1.txt", tmp_path / "Testing")
    rest = [f"test_seq_2/image_{i:04d}.png {raw.words(row, 3)}" for i, row in enumerate(uvd[702:])]
    raw.write_lines(tmp_path / "Testing/test_seq_2.txt", rest)
    data = icvl_hands(tmp_path, "test", centers="truth")
    assert len(data) == 1596
    assert data.names[701] == b"test_seq_1/image_0701.png"
    wanted = unproject(uvd, "icvl")
    np.testing.assert_allclose(data.points, wanted, atol=0.01)
    palm = np.linalg.norm(data.points - data.points[:, :1], axis=-1).mean(0)
    place = ICVL.keypoints.index
    for finger in ("thumb", "index", "middle", "ring", "little"):
        root, middle, tip = (palm[place(f"{finger}_{joint}")] for joint in ("root", "mid", "tip"))
        assert root < middle < tip
    roots = data.points[:, [place(f"{f}_root") for f in ("thumb", "index", "middle", "ring", "little")]]
    apart = np.linalg.norm(roots[:, :, None] - roots[:, None], axis=-1).mean(0)
    assert (np.diff(apart[4][::-1]) > 0).all()  # from the little finger's root each next one is farther
    assert np.abs(data.points - data.points.mean(1, keepdims=True)).max() < data.cube.max() / 2


def test_order_of_nyu_joints(shared):
    points = unproject(labels_of(shared, "nyu"), "nyu")
    place = NYU.keypoints.index
    palm = np.linalg.norm(points - points[:, [place("palm")]], axis=-1).mean(0)
    for finger in ("thumb", "index", "middle", "ring", "little"):
        assert palm[place(f"{finger}_tip")] > palm[place(f"{finger}_mid")]
    assert palm[place("thumb_root")] < palm[place("thumb_mid")]
    middles = points[:, [place(f"{f}_mid") for f in ("index", "middle", "ring", "little")]]
    apart = np.linalg.norm(middles[:, 3:] - middles, axis=-1).mean(0)
    assert (np.diff(apart) < 0).all()
    fingers = middles[:, 1] - points[:, place("palm")]
    for wrist in ("wrist_back", "wrist_front"):  # the wrist lies on the other side of the palm
        assert ((points[:, place(wrist)] - points[:, place("palm")]) * fingers).sum(-1).mean() < 0


def test_real_itop_labels(shared, tmp_path):
    folder = shared / "data/body_depth_labels_itop/itop_side"
    metres = scipy.io.loadmat(folder / "itop_side_keypoints3D_test.mat")["keypoints3D"]
    count = len(metres)
    ids = np.array([f"{i // 1300:02d}_{i:05d}" for i in range(count)], "S8")
    with h5py.File(tmp_path / "ITOP_side_test_labels.h5", "w") as file:
        file["id"], file["is_valid"], file["real_world_coordinates"] = ids, np.ones(count, np.uint8), metres
        file["visible_joints"] = np.ones((count, 15), np.int16)
    with h5py.File(tmp_path / "ITOP_side_test_depth_map.h5", "w") as file:
        file.create_dataset("data", (count, 240, 320), np.float16, chunks=(1, 240, 320))  # empty, takes no room
    data = itop(tmp_path, "test", centers=folder)  # A2J's own file of centres
    assert len(data) == 4863
    name = data.skeleton.keypoints.index
    y = data.points[..., 1]
    assert (y[:, name("head")] < y[:, name("torso")]).all()  # down is positive
    assert (y[:, name("torso")] < y[:, name("right_foot")]).mean() > 0.99
    x = data.points[..., 0]
    assert (x[:, name("right_shoulder")] < x[:, name("left_shoulder")]).mean() > 0.9  # they face the camera
    item = data[7]
    assert item.keypoints[name("head"), 1] < item.keypoints[name("torso"), 1]
    assert ((item.keypoints[:, :2] > 0) & (item.keypoints[:, :2] < [320, 240])).all()
    away = np.linalg.norm((item.center - item.keypoints.mean(0))[:2])
    assert away < 40
