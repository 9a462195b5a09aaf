import cv2
import numpy as np
import pytest

from keyshift.datasets.depth.center import (
    NoCenter,
    UnusableDepth,
    check_center,
    check_depth,
    find_center,
)
from keyshift.datasets.reading.images import UnreadableImage
from keyshift.datasets.rendered.hands import render

CAMERA = np.array([300.0, 310.0, 64.0, 60.0])
CUBE = np.full(3, 250.0)


def to_space(place, camera=CAMERA):
    x, y, z = np.moveaxis(np.asarray(place, np.float64), -1, 0)
    return np.stack([(x - camera[2]) / camera[0] * z, (y - camera[3]) / camera[1] * z, z], -1)


def disc(z, x, y, radius, shape=(120, 128)):
    """A frame with one flat disc; x, y, radius in pixels."""
    yy, xx = np.mgrid[: shape[0], : shape[1]] + 0.5
    return np.where((xx - x) ** 2 + (yy - y) ** 2 < radius**2, z, 0).astype(np.float32)


def layers(*frames):
    """The nearest return of each pixel."""
    stack = np.where(np.stack(frames) > 0, np.stack(frames), np.inf).min(0)
    return np.where(np.isfinite(stack), stack, 0).astype(np.float32)


@pytest.fixture(scope="module")
def hands():
    """[(depth, camera, points)]: hands with forearms before a wall 400 mm behind them, 128 pixels."""
    made = render("studio", 0, range(24), 128)
    out = []
    for depth, camera, points in zip(made.depth.numpy(), made.camera.numpy(), made.points.numpy(), strict=True):
        out.append((np.where(depth > 0, depth, points[:, 2].mean() + 400), camera.astype(np.float64), points))
    return out


def distances(hands, change=lambda depth: depth, **options):
    """(N,) mm between the centre and the mean joint, and (N, K) which joints are in the cube around the centre."""
    centers = np.stack([to_space(find_center(change(d), c, CUBE, **options), c) for d, c, _ in hands])
    joints = np.stack([points for *_, points in hands])
    return np.linalg.norm(centers - joints.mean(1), axis=1), (np.abs(joints - centers[:, None]) <= 125).all(-1)


def test_rendered_hands_before_a_wall(hands):
    far, inside = distances(hands)
    assert far.mean() < 35
    assert far.max() < 65
    assert inside.mean() > 0.99
    naive = [np.linalg.norm(to_space([64, 64, d[d > 0].mean()], c) - p.mean(0)) for d, c, p in hands]
    assert np.mean(naive) > 4 * far.mean()


def test_noise_specks_and_flying_pixels_change_little(hands):
    rng = np.random.default_rng(0)

    def disturb(depth):
        noisy = depth + rng.normal(0, 4, depth.shape)
        lone = rng.random(depth.shape) < 0.02
        noisy = np.where(lone, rng.uniform(100, 1900, depth.shape), noisy)
        noisy = np.where(rng.random(depth.shape) < 0.02, 0, noisy)
        noisy[3:6, 3:6] = 200  # 4 mm2 a pixel: less than a speck
        return noisy.astype(np.float32)

    far, inside = distances(hands, disturb)
    assert far.mean() < 35
    assert inside.mean() > 0.99


def test_the_frame_of_nyu(shared):
    folder = shared / "data/hand_depth_labels"
    bgr = cv2.imread(str(folder / "nyu_frame/depth_1_0000001.png"), cv2.IMREAD_UNCHANGED).astype(np.float32)
    depth, camera = bgr[..., 1] * 256 + bgr[..., 0], np.array([588.03, 587.07, 320.5, 240.5])
    text = folder / "groundtruth/nyu/nyu_test_groundtruth_label.txt"
    joints = to_space(np.loadtxt(text, max_rows=1).reshape(14, 3) + np.array([0.5, 0.5, 0]), camera)
    for cube in (250.0, 300.0):
        center = to_space(find_center(depth, camera, cube), camera)
        assert np.linalg.norm(center - joints.mean(0)) < 25
        assert (np.abs(joints - center) < cube / 2).all()


def test_golden_disc():
    """All there is is one flat disc: its middle, exactly, in our pixels."""
    center = find_center(disc(500, 70.5, 40.5, 12), CAMERA, CUBE)
    np.testing.assert_allclose(center, [70.5, 40.5, 500], atol=1e-6)
    assert center.dtype == np.float64


def test_the_centre_is_the_mean_of_the_points_of_its_cube():
    """Against the plain definition, on a slanted surface larger than the cube."""
    xx = np.broadcast_to(np.arange(128) + 0.5, (120, 128))
    depth = (1800 + 2 * np.abs(xx - 80)).astype(np.float32)
    center = to_space(find_center(depth, CAMERA, 500.0))
    yy, xx = np.mgrid[:120, :128] + 0.5
    points = to_space(np.stack([xx, yy, depth], -1)).reshape(-1, 3)
    inside = (np.abs(points - center) <= 250).all(1)
    assert 500 < inside.sum() < len(points) / 2
    np.testing.assert_allclose(center, points[inside].mean(0), atol=1)


def test_the_nearest_object_is_taken_and_the_wall_behind_does_not_pull():
    hand, face, wall = disc(500, 30, 40, 10), disc(700, 90, 70, 20), np.full((120, 128), 590, np.float32)
    alone = find_center(hand, CAMERA, CUBE)
    np.testing.assert_allclose(find_center(layers(hand, face), CAMERA, CUBE), alone, atol=0.5)
    # the wall lies within the cube, but is another surface
    np.testing.assert_allclose(find_center(layers(hand, wall), CAMERA, CUBE), alone, atol=0.5)


def test_a_box_chooses_another_object():
    frame = layers(disc(500, 30, 40, 10), disc(700, 90.5, 70.5, 20))
    center = find_center(frame, CAMERA, CUBE, box=np.array([65, 45, 115, 95]))
    np.testing.assert_allclose(center, [90.5, 70.5, 700], atol=0.5)
    half = find_center(frame, CAMERA, CUBE, box=np.array([90.0, 0, 128, 120]))
    assert half[0] > 95  # pixels left of the box do not count


def test_the_limits_choose_another_object():
    frame = layers(disc(500, 30, 40, 10), disc(700, 90.5, 70.5, 20))
    assert find_center(frame, CAMERA, CUBE, near=600)[2] == pytest.approx(700)
    assert find_center(frame, CAMERA, CUBE, far=600)[2] == pytest.approx(500)


def test_specks_are_measured_in_metric_area():
    # 9 pixels: 24 mm2 at 500 mm, and 8 cm2 at 2900 mm
    near, wide = np.zeros((120, 128), np.float32), np.zeros((120, 128), np.float32)
    near[50:53, 50:53], wide[50:54, 50:54] = 500, 2900
    with pytest.raises(NoCenter, match="5 cm2"):
        find_center(near, CAMERA, CUBE)
    assert find_center(wide, CAMERA, CUBE, far=3000.0)[2] == pytest.approx(2900)
    hand = disc(700, 90.5, 70.5, 20)
    np.testing.assert_allclose(find_center(layers(near, hand), CAMERA, CUBE), [90.5, 70.5, 700], atol=0.5)
    with pytest.raises(NoCenter, match="320 cm2"):  # a body's speck is larger
        find_center(hand, CAMERA, 2000.0)


def test_an_arm_that_reaches_towards_the_camera_is_cut_at_its_near_end():
    """A slanted arm from 400 to 900 mm: without a cube its mean lies at 650."""
    length = np.linspace(0, 1, 200)
    arm = layers(*(disc(400 + 500 * t, 30 + 70 * t, 60, 7) for t in length))
    x, _, z = find_center(arm, CAMERA, CUBE)
    assert 400 < z < 540
    assert x < 55


@pytest.mark.parametrize("turn", range(4))
def test_an_arm_that_goes_out_of_the_picture_is_left_out(turn):
    """A palm of 80 mm at the end of a forearm of 50 mm, which is nearer to the camera and leaves by any border."""
    frame = np.zeros((120, 120), np.float32)
    frame[:80, 50:75] = np.linspace(520, 600, 80, dtype=np.float32)[:, None]  # 600 mm: 2 mm a pixel
    palm = disc(600, 62.5, 80.5, 20, frame.shape)
    camera = np.array([300.0, 300.0, 60.0, 60.0])
    frame = np.rot90(np.where(palm > 0, palm, frame), turn)
    where = np.argwhere(np.rot90(palm, turn) > 0).mean(0)[::-1] + 0.5
    center = find_center(np.ascontiguousarray(frame), camera, CUBE)
    assert np.linalg.norm(center[:2] - where) * 2 < 30
    # a cube for bodies keeps the arm
    whole = find_center(np.ascontiguousarray(frame), camera, 500.0)
    assert np.linalg.norm(whole[:2] - where) * 2 > 45


def test_missing_returns_may_be_nan():
    frame = disc(500, 70.5, 40.5, 12)
    holes = np.where(frame == 0, np.nan, frame)
    np.testing.assert_array_equal(find_center(holes, CAMERA, CUBE), find_center(frame, CAMERA, CUBE))


@pytest.mark.parametrize(
    ("depth", "options", "match"),
    [
        (np.zeros((120, 128), np.float32), {}, "no depth was returned in the frame of 128 x 120"),
        (disc(3000, 60, 60, 30), {}, "between 100 and 2000 mm: returns lie between 3000 and 3000 mm"),
        (disc(0.5, 60, 60, 30), {}, "looks like metres: unit: m"),
        (disc(500, 60, 60, 20), {"box": [0, 0, 20, 20]}, r"in the box \[0, 0, 20, 20\]"),
    ],
)
def test_nothing_there(depth, options, match):
    with pytest.raises(NoCenter, match=match) as caught:
        find_center(depth, CAMERA, CUBE, **options)
    assert isinstance(caught.value, UnreadableImage)  # what training skips and counts


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"depth": np.zeros((4, 4, 3))}, r"\(4, 4, 3\)"),
        ({"camera": [300, -300, 1, 1]}, "fx and fy above 0"),
        ({"cube": 0.0}, "edges in mm"),
        ({"cube": [200, np.nan, 200]}, "edges in mm"),
        ({"near": 500, "far": 400}, "near=500"),
        ({"box": [10, 10, 10, 20]}, "not empty"),
        ({"box": [10, 10, np.nan, 20]}, "not empty"),
    ],
)
def test_senseless_searches_are_named(change, match):
    with pytest.raises(ValueError, match=match):
        find_center(**({"depth": disc(500, 60, 60, 20), "camera": CAMERA, "cube": CUBE} | change))


def spoiled(value):
    frame = disc(500, 60, 60, 20)
    frame[0, 0] = value
    return frame


@pytest.mark.parametrize(
    ("depth", "match"),
    [
        (np.zeros((4, 4, 3), np.float32), r"shape \(4, 4, 3\)"),
        (np.zeros((0, 4), np.float32), r"shape \(0, 4\)"),
        (np.ones((4, 4), np.uint8), "uint8; expected"),
        (spoiled(np.nan), "1 of 15360 depths are NaN"),
        (spoiled(np.inf), "NaN or infinite"),
        (spoiled(-np.inf), "NaN or infinite"),
        (spoiled(-3), "down to -3 mm"),
        (np.zeros((4, 4), np.float32), "all are 0"),
        (disc(0.8, 60, 60, 20), "looks like metres: unit: m"),
    ],
)
def test_unusable_frames_are_named(depth, match):
    with pytest.raises(UnusableDepth, match=f"frame 7.*{match}"):
        check_depth(depth, "frame 7")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"center": [60, np.nan, 500]}, "the centre is"),
        ({"center": [60, 60, 0]}, "z mm above 0"),
        ({"center": [60, 60, -500]}, "z mm above 0"),
        ({"center": [60, 60]}, "the centre is"),
        ({"center": [129, 60, 500]}, r"outside the image of 128 x 120"),
        ({"center": [60, -1, 500]}, "outside the image"),
        ({"cube": [250, 0, 250]}, "three edges in mm"),
        ({"cube": [250, 250, np.inf]}, "three edges in mm"),
        ({"cube": 250.0}, "three edges in mm"),
        ({"camera": [0, 300, 64, 60]}, "fx and fy above 0"),
        ({"center": [60, 60, 800]}, "between 500 and 500 mm"),
        ({"center": [2, 2, 500], "cube": [20, 20, 20]}, "no returns"),
    ],
)
def test_unusable_centres_are_named(change, match):
    good = {"center": [60, 60, 500], "cube": CUBE, "camera": CAMERA, "depth": disc(500, 60, 60, 20)}
    check_depth(good["depth"], "frame 7")
    check_center(**good, shape=(120, 128), name="frame 7")
    with pytest.raises(UnusableDepth, match=f"frame 7.*{match}"):
        check_center(**(good | change), shape=(120, 128), name="frame 7")
