"""LSP and LSPET in the publisher's layout: what the flag means in each, who trains and who tests, real geometry."""

import shutil

import numpy as np
import pytest
import scipy.io
from PIL import Image

from keyshift.datasets.bodies.lsp import LspetOptions, LspOptions, lsp, lspet
from keyshift.datasets.bodies.skeletons import LSP14
from keyshift.datasets.own.skeleton_file import order_doubts


def leeds_set(root, part, **options):
    return lsp(LspOptions(root=str(root), **options), part)


def extended_set(root, part, **options):
    return lspet(LspetOptions(root=str(root), **options), part)


def pictures(root, names) -> None:
    (root / "images").mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (40, 30)).save(root / "images" / name)


@pytest.fixture
def leeds(tmp_path):
    """(3, 14, 2000): picture n's joints lie at (n, k) counted from 1; joint n % 14 is hidden."""
    joints = np.zeros((3, 14, 2000))
    joints[0], joints[1] = np.arange(2000), np.arange(14)[:, None]
    joints[2, np.arange(2000) % 14, np.arange(2000)] = 1
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": joints})
    pictures(tmp_path, ["im0001.jpg", "im1001.jpg", "im1018.jpg"])
    return tmp_path


def test_lsp(leeds) -> None:
    train, test = (leeds_set(leeds, part) for part in ("train", "test"))
    assert (len(train), len(test)) == (1000, 1000)
    assert (train.people.pictures[999], test.people.pictures[0]) == ("images/im1000.jpg", "images/im1001.jpg")
    item = test[17]
    np.testing.assert_allclose(item.keypoints, [[1017 - 0.5, k - 0.5] for k in range(14)])
    assert item.annotated.all()
    assert np.flatnonzero(~item.visible).tolist() == [1017 % 14]
    np.testing.assert_allclose(item.box, [0, -5, 40, 35])  # the whole picture
    assert train.identity["licence"].startswith("research")


def test_lsp_as_the_reference_parts_it(leeds) -> None:
    both = [leeds_set(leeds, part, split="frames") for part in ("train", "test")]
    assert [len(part) for part in both] == [2000, 2000]
    assert both[0].identity != both[1].identity
    with pytest.raises(ValueError, match="split='random' is not known; choose one of frames"):
        leeds_set(leeds, "train", split="random")
    with pytest.raises(ValueError, match="part='val'"):
        leeds_set(leeds, "val")


def test_real_lsp_labels(shared, tmp_path) -> None:
    shutil.copy(shared / "data/body_lsp_mpii_labels/lsp/joints.mat", tmp_path)
    pictures(tmp_path, ["im0001.jpg", "im1001.jpg"])
    people = leeds_set(tmp_path, "train", split="frames").people
    assert 0.05 < 1 - people.visible.mean() < 0.1  # hidden ones are few: the flag does not mean visible
    np.testing.assert_allclose(people.keypoints[0, 0], [473.95283019 - 0.5, 552.63152053 - 0.5])
    assert order_doubts(people) == []
    assert facing(people)


def facing(people) -> bool:
    """In most of the real pictures the left shoulder is to the right of the right one: people face the camera, and
    names are not swapped; and the head is above the hips."""
    place = {name: k for k, name in enumerate(LSP14.keypoints)}
    x, y = people.keypoints[..., 0], people.keypoints[..., 1]
    both = people.annotated[:, [place["left_shoulder"], place["right_shoulder"]]].all(1)
    left = (x[:, place["left_shoulder"]] > x[:, place["right_shoulder"]])[both].mean()
    both = people.annotated[:, [place["head_top"], place["left_hip"]]].all(1)
    up = (y[:, place["head_top"]] < y[:, place["left_hip"]])[both].mean()
    return bool(left > 0.6 and up > 0.6)


def write_extended(root, count=10) -> None:
    joints = np.full((14, 3, count), -77.0)
    joints[1:, 0] = np.arange(count) + 1
    joints[1:, 1], joints[:, 2] = 5, 1
    joints[0, 2] = 0  # not labelled
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    pictures(root, [f"im{3 * n + 1:05d}.jpg" for n in range(count)])  # with gaps


def test_lspet(tmp_path) -> None:
    write_extended(tmp_path)
    train, test = (extended_set(tmp_path, part, block=2) for part in ("train", "test"))
    assert train.people.ids == ["im00001", "im00004", "im00013", "im00016", "im00025", "im00028"]
    assert test.people.ids == ["im00007", "im00010", "im00019", "im00022"]
    assert not set(train.people.sequences) & set(test.people.sequences)
    item = test[1]
    assert (item.id, item.annotated.tolist()) == ("im00010", [False] + [True] * 13)
    np.testing.assert_allclose(item.keypoints[1:], [[4 - 0.5, 4.5]] * 13)
    np.testing.assert_allclose(item.keypoints[0], 0)  # what the file has there means nothing
    shuffled = [set(extended_set(tmp_path, part, block=2, split="frames").people.ids) for part in ("train", "test")]
    assert (len(shuffled[0]), len(shuffled[1]), shuffled[0] & shuffled[1]) == (8, 2, set())


def test_real_lspet(shared) -> None:
    root = shared / "data/body_lspet"
    train, test = (extended_set(root, part) for part in ("train", "test"))
    assert (len(train), len(test)) == (260, 240)
    for part in (train, test):
        assert order_doubts(part.people) == []
        assert facing(part.people)
        assert 0.8 < part.people.annotated.mean() < 0.95
    inside = [
        ((item.keypoints >= 0) & (item.keypoints <= item.image.shape[1::-1])).all(1)[item.annotated].mean()
        for item in (test[i] for i in range(0, 240, 10))
    ]
    assert np.mean(inside) > 0.98


def save(root, **arrays) -> None:
    scipy.io.savemat(root / "joints.mat", arrays)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "joints.mat").unlink(), "no file .*joints.mat"),
        (lambda root: (root / "joints.mat").write_bytes(b"MATLAB 5.0"), "a MATLAB file"),
        (lambda root: save(root, points=1), "joints is missing"),
        (lambda root: save(root, joints=np.zeros((3, 14, 10))), r"of shape \(3, 14, 10\)"),
        (lambda root: save(root, joints=np.full((14, 3, 10), np.nan)), "finite numbers"),
        (lambda root: save(root, joints=np.full((14, 3, 10), 1e30)), "none above"),
        (lambda root: save(root, joints=np.full((14, 3, 10), 2.0)), "picture 1, right_ankle: the flag is 2.0"),
        (lambda root: save(root, joints=np.array([["a"]])), "finite numbers"),
        (lambda root: (root / "images/im00001.jpg").unlink(), "is 10, expected one for each of the 9 pictures"),
    ],
)
def test_bad_files(tmp_path, spoil, match) -> None:
    write_extended(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=match):
        extended_set(tmp_path, "train", block=2)


def test_bad_options(tmp_path) -> None:
    write_extended(tmp_path)
    with pytest.raises(ValueError, match="leave no test part"):
        extended_set(tmp_path, "test")
    with pytest.raises(ValueError, match="block=0"):
        extended_set(tmp_path, "train", block=0)
    with pytest.raises(ValueError, match=r"\(14, 3, 10\), expected finite numbers of shape \(3, 14, 2000\)"):
        leeds_set(tmp_path, "train")
