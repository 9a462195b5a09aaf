import numpy as np
import pytest
import scipy.io
from PIL import Image

from keyshift.datasets.hands.hand_snap import Options, SnapHands


def opened(root, part, **options):
    return SnapHands(Options(root=str(root), **options), part)


def write_set(root, count=12):
    """A small set in the published layout; the truth in crop pixels is returned."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-5, 5, (count, 21, 3)) + np.array([0, 0, 50])
    camera = np.tile([900.0, 910.0, 640.0, 360.0], (count, 1))
    box = np.stack([rng.integers(540, 560, count), rng.integers(260, 280, count), *[np.full(count, 200)] * 2], 1)
    (root / "images").mkdir(parents=True)
    names = [f"images/{i:05d}.jpg" for i in range(count)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)).save(root / name)
    scipy.io.savemat(root / "pose_gt.mat", {"pose_gt": points.astype(np.float32)})
    scipy.io.savemat(root / "params.mat", {"cam_param": camera, "bbox": box, "image_path": np.array(names)})
    original = points[..., :2] / points[..., 2:] * camera[:, None, :2] + camera[:, None, 2:]
    return (original - box[:, None, :2]) * 256 / box[:, None, 2:], points * 10


def test_projection_and_units(tmp_path):
    truth, points = write_set(tmp_path / "real_world_testset")
    parts = [opened(tmp_path, part, block=4) for part in ("train", "test")]  # the parent folder will do
    assert sum(map(len, parts)) == 12
    for item in (data[i] for data in parts for i in range(len(data))):
        np.testing.assert_allclose(item.keypoints, truth[item.frame], atol=1e-3)
        np.testing.assert_allclose(item.points, points[item.frame], atol=1e-3)
        fx, fy, cx, cy = item.camera
        again = item.points[:, :2] / item.points[:, 2:] * [fx, fy] + [cx, cy]
        np.testing.assert_allclose(again, item.keypoints, atol=1e-3)
        assert item.image.shape == (256, 256, 3)


def test_blocks_are_kept_on_one_side(tmp_path):
    write_set(tmp_path)
    train, test = (opened(tmp_path, part, block=4) for part in ("train", "test"))
    assert [train[i].frame for i in range(len(train))] == [0, 1, 2, 3, 8, 9, 10, 11]
    assert [test[i].frame for i in range(len(test))] == [4, 5, 6, 7]
    assert not {train[i].sequence for i in range(8)} & {test[i].sequence for i in range(4)}
    assert train.identity != test.identity


@pytest.mark.parametrize("broken", ["image", "missing", "labels", "shape"])
def test_bad_files_are_named(tmp_path, broken):
    write_set(tmp_path)
    if broken == "image":
        path = tmp_path / "images/00003.jpg"
        path.write_bytes(path.read_bytes()[:2000])
        match = "00003.jpg"
    elif broken == "missing":
        (tmp_path / "params.mat").unlink()
        match = "params.mat"
    elif broken == "labels":
        (tmp_path / "pose_gt.mat").write_bytes(b"nonsense")
        match = "cannot read the labels"
    else:
        scipy.io.savemat(tmp_path / "pose_gt.mat", {"pose_gt": np.zeros((12, 20, 3))})
        match = r"\(12, 20, 3\)"
    with pytest.raises(ValueError, match=match):
        opened(tmp_path, "train")


def test_the_real_set(shared):
    parts = [opened(shared / "data/hand_real_snap", part) for part in ("train", "test")]
    assert sum(map(len, parts)) == 340
    points = np.stack([data[i].keypoints for data in parts for i in range(0, len(data), 10)])
    assert points.min() > 0
    assert points.max() < 256
