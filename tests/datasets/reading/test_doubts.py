"""Labels that do not fit their pictures are told with their count and cause; right ones are left in peace."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.doubts import doubts
from keyshift.datasets.reading.headers import read_header
from keyshift.datasets.reading.people import People, PictureSet

UPRIGHT = np.array(
    [
        *([0, -9], [1, -10], [-1, -10], [2, -9], [-2, -9], [4, -6], [-4, -6], [5, -2], [-5, -2], [6, 2], [-6, 2]),
        *([2, 2], [-2, 2], [2, 7], [-2, 7], [2, 11], [-2, 11]),
    ],
    float,
)
"""A standing figure of COCO's joints."""


def figures(count, size=(200, 150), seed=0, turned=False):
    """People of different size, place and pose in pictures of `size`."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(2.5, 5, (count, 1, 1)) * min(size) / 150
    shape = UPRIGHT + rng.normal(0, 0.8, (count, 17, 2))
    if turned:
        shape = shape[..., ::-1] * [1, -1]
    low, high = (shape * scale).min(1), (shape * scale).max(1)
    middle = -low + 6 + rng.uniform(0, 1, (count, 2)) * (np.array(size) - 12 - (high - low))
    joints = np.clip(shape * scale + middle[:, None], 1, np.array(size) - 1.0)
    boxes = np.concatenate([joints.min(1) - 4, joints.max(1) + 4], 1)
    return joints, boxes


def table(joints, boxes=None, annotated=None, skeleton=COCO17):
    count = len(joints)
    names = [f"{n}.jpg" for n in range(count)]
    annotated = np.ones(joints.shape[:2], bool) if annotated is None else annotated
    return People("labels", skeleton, names, names, names, np.arange(count), joints, annotated, annotated, boxes)


@pytest.fixture
def told(tmp_path):
    """told(people, size, tag, declared) -> {problem or note: texts} of a set whose pictures are grey."""

    def look(people, size=(200, 150), tag=1, declared=None):
        exif = Image.Exif()
        exif[0x0112] = tag
        stored = size[::-1] if tag >= 5 else size
        for name in set(people.pictures):
            Image.new("L", stored, 128).save(tmp_path / name, exif=exif)
        shown = None if declared is None else lambda: dict.fromkeys(people.pictures, declared)
        listed = doubts(PictureSet("toy", tmp_path, people, {}, declared=shown))
        return [doubt.text for doubt in listed if doubt.problem], [doubt.text for doubt in listed if not doubt.problem]

    return look


@pytest.mark.parametrize("count", [1, 4, 8, 20, 60])
@pytest.mark.parametrize("turned", [False, True], ids=["upright", "lying"])
@pytest.mark.parametrize("size", [(200, 150), (150, 200), (640, 480)])
def test_right_labels_are_no_doubt(told, count, turned, size):
    for seed in range(3):
        people = table(*figures(count, size, seed, turned))
        assert told(people, size) == ([], [])
        few = np.random.default_rng(seed).random(people.annotated.shape) < 0.5
        assert told(replace(people, annotated=few), size) == ([], []), "half of the joints"


def test_people_who_are_cut_off_are_no_doubt(told):
    """Legs below the picture are labelled there by some sets, and boxes with a margin leave it."""
    joints, boxes = figures(20)
    margin = np.tile(boxes[:, 2:] - boxes[:, :2], 2) * [-0.3, -0.3, 0.3, 0.3]
    assert told(table(joints, boxes + margin)) == ([], [])
    assert told(table(joints + np.array([0, 30]), boxes + np.array([0, 30, 0, 30]))) == ([], [])


def test_a_subject_that_does_not_move_is_no_doubt(told):
    joints, boxes = figures(1)
    assert told(table(joints.repeat(12, 0), boxes.repeat(12, 0))) == ([], [])
    same = figures(12)[0]
    same[:, 0] = (100, 75)  # pictures that are cut around one joint
    same[:, 0] += np.random.default_rng(0).normal(0, 1, (12, 2)).round()
    assert told(table(same)) == ([], [])


SIZE = np.array([200.0, 150.0])
WHOLE = np.tile(SIZE, 2)


def corners(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def centred(boxes):
    side = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([boxes[:, :2] + side / 2, boxes[:, 2:] + side / 2], 1)


BROKEN = {
    "shares": (lambda j, b: (j / SIZE, b / WHOLE), ["keypoints of 8 of 8 people", "shares of the picture"]),
    "shares and half a pixel": (lambda j, b: (j / SIZE + 0.5, None), ["keypoints of 8 of 8 people", "shares"]),
    "from -1 to 1": (lambda j, b: (2 * j / SIZE - 1, None), ["keypoints of 8 of 8 people", "shares"]),
    "percent": (lambda j, b: (100 * j / SIZE, 100 * b / WHOLE), ["percent of the picture"]),
    "boxes as shares": (lambda j, b: (j, b / WHOLE), ["the 8 boxes looked at", "shares of the picture (0 to 1)"]),
    "boxes as YOLO": (lambda j, b: (j, centred(b) / WHOLE), ["shares of the picture (0 to 1), as the middle"]),
    "boxes as percent": (lambda j, b: (j, 100 * b / WHOLE), ["the 8 boxes", "percent of the picture"]),
    "corners": (lambda j, b: (j, corners(b)), ["the 8 boxes", "left, top, right and bottom where left, top, width"]),
    "centred": (lambda j, b: (j, centred(b)), ["the 8 boxes", "the middle (x, y), width and height"]),
    "boxes y before x": (lambda j, b: (j, b[:, [1, 0, 3, 2]]), ["the 8 boxes", "y before x"]),
    "boxes of twice the size": (lambda j, b: (j, 2 * b), ["the 8 boxes", "of a picture 2 times as large"]),
    "boxes of half the size": (lambda j, b: (j, b / 2), ["the 8 boxes", "of a picture 0.5 times as large"]),
    "pictures made smaller": (lambda j, b: (3 * j, 3 * b), ["of 136 joints lie outside", "made smaller"]),
    "boxes of others": (
        lambda j, b: (j, b[::-1] + np.array([60, 0, 60, 0])),
        ["boxes hold not one of their person's joints"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_told_with_its_cause(told, name):
    change, words = BROKEN[name]
    joints, boxes = change(*figures(8))
    problems, _ = told(table(joints, boxes))
    assert problems, name
    for word in words:
        assert any(word in problem for problem in problems), (word, problems)


def test_percent_of_large_pictures(told):
    joints, boxes = figures(20, (1280, 960))
    size = np.array([1280.0, 960.0])
    problems, _ = told(table(100 * joints / size, 100 * boxes / np.tile(size, 2)), (1280, 960))
    assert len(problems) == 1
    assert "percent of the picture" in problems[0]


@pytest.mark.parametrize(("size", "count"), [((640, 480), 6), ((160, 120), 16), ((1920, 1080), 8), ((480, 640), 40)])
@pytest.mark.parametrize("unit", [100, 1000])
def test_parts_of_pictures_in_few_people(told, size, count, unit):
    size = (size[0] * unit // 100, size[1] * unit // 100)
    joints, boxes = figures(count, size)
    problems, _ = told(table(unit * joints / size, unit * boxes / np.tile(size, 2)), size)
    assert len(problems) == 1
    assert ("percent" if unit == 100 else "thousandths") + " of the picture and must be pixels" in problems[0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [(640, 480), (1920, 1080), (200, 160)])
def test_people_at_the_corner_are_no_doubt(told, size, seed):
    """A camera that sees one person, or a screen, always near its upper left corner."""
    joints, boxes = figures(12, (100, 100), seed)
    people = joints - joints.mean(1, keepdims=True) + (52, 50)
    assert told(table(people, None), size) == ([], [])
    shift = np.array([25, 60])
    assert told(table(joints + shift, boxes + np.tile(shift, 2)), size)[0] == []


@pytest.mark.parametrize("count", [4, 8, 20])
def test_y_before_x_of_points_that_fill_their_pictures(told, count):
    """A few lie outside as they are read, none once x and y are exchanged, and then all sides have as much room."""
    size, seeds = np.array([64, 48]), range(6)
    doubted = 0
    for seed in seeds:
        joints = np.random.default_rng(seed).uniform(0.1, 0.9, (count, 17, 2)) * size
        boxes = np.concatenate([joints.min(1) - 2, joints.max(1) + 2], 1)
        assert told(table(joints, boxes), (64, 48)) == ([], [])
        problems, _ = told(table(joints[..., ::-1].copy(), boxes[:, [1, 0, 3, 2]]), (64, 48))
        doubted += any("with x and y exchanged" in problem for problem in problems)
    assert doubted >= 5


def test_people_who_are_cut_off_below_are_not_exchanged(told):
    for seed in range(6):
        joints, boxes = figures(12, (480, 480), seed)
        assert told(table(joints, boxes), (640, 420))[0] == []


@pytest.mark.parametrize("margin", [0.1, 0.3, 0.8])
def test_boxes_that_leave_their_pictures_around_their_joints_are_no_doubt(told, margin):
    for seed, count in enumerate((3, 4, 8, 20)):
        joints = np.random.default_rng(seed).uniform(0.05, 0.95, (count, 17, 2)) * (64, 48)
        low, high = joints.min(1), joints.max(1)
        room = margin * (high - low)
        assert told(table(joints, np.concatenate([low - room, high + room], 1)), (64, 48)) == ([], [])


@pytest.mark.parametrize("recordings", [1, 3])
def test_a_point_of_a_scene_that_stands_still_is_a_note(told, recordings):
    joints, _ = figures(24)
    joints[:, 0] = np.array([[30, 20], [90, 70], [150, 40]])[np.arange(24) % recordings]
    joints[::6, 0] += 1
    problems, notes = told(table(joints, None))
    assert problems == []
    assert "hardly ever move: nose" in notes[0]


def test_joints_that_were_moved_into_their_pictures_are_no_placeholders(told):
    joints, _ = figures(24, (200, 150))
    moved = np.clip(joints - np.array([90, 60]), 0, (200, 150))
    assert told(table(moved))[0] == []


@pytest.mark.parametrize("boxed", [True, False])
@pytest.mark.parametrize("size", [(200, 120), (120, 200)])
def test_y_before_x(told, size, boxed):
    joints, boxes = figures(12, size, turned=size[0] > size[1])
    problems, _ = told(table(joints[..., ::-1].copy(), boxes[:, [1, 0, 3, 2]] if boxed else None), size)
    assert len(problems) == 1
    assert "would lie inside with x and y exchanged" in problems[0]


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.5, 0.5), (-0.5, -0.5), (33.0, 47.0), (100.0, 0.0)])
def test_placeholders(told, place):
    joints, boxes = figures(12)
    joints[::2, 9:11] = place
    problems, _ = told(table(joints, boxes))
    assert "at exactly the same place" in problems[0]
    assert "left_wrist in 6 of 12 people, right_wrist in 6 of 12 people" in problems[0]
    assert ("the picture's corner" in problems[0]) == (max(place) < 1)


def test_people_at_one_place(told):
    joints, boxes = figures(12)
    joints[:3] = 0.5
    problems, _ = told(table(joints, boxes))
    assert "3 of 12 people have all their joints at one place (0.jpg, 1.jpg, 2.jpg)" in problems[0]


@pytest.mark.parametrize(
    ("move", "words"),
    [
        ((300, 0), "far outside the picture"),
        ((0, -200), "far outside the picture"),
        ((1.2, 0), "far outside their person's box"),
    ],
)
def test_one_joint_that_is_wrong(told, move, words):
    joints, boxes = figures(12, (640, 480))
    far = np.array(move) * (np.ptp(joints, axis=1) if abs(move[0]) < 10 > abs(move[1]) else 3)
    joints[:, 3] = joints[:, 3] + far if words.endswith("picture") else joints.mean(1) + far
    boxes = np.concatenate([np.delete(joints, 3, 1).min(1) - 4, np.delete(joints, 3, 1).max(1) + 4], 1)
    inside = ((joints[:, 3] > 0) & (joints[:, 3] < (640, 480))).all(1)
    people = table(joints, boxes) if words.endswith("picture") else table(joints, boxes).select(inside)
    problems, _ = told(people, (640, 480))
    assert len(problems) == 1
    assert f"joints lie {words}" in problems[0]
    assert f"left_ear in {len(people)} of {len(people)} people" in problems[0]


@pytest.mark.parametrize(("tag", "back"), [(6, lambda j: np.stack([j[..., 1], 200 - j[..., 0]], -1)), (8, None)])
def test_labels_of_the_stored_picture(told, tag, back):
    joints, _ = figures(12)
    back = back or (lambda j: np.stack([150 - j[..., 1], j[..., 0]], -1))
    problems, notes = told(table(back(joints)), tag=tag)
    assert "if they were those of the picture as it is stored: 12 pictures are turned by an EXIF tag" in problems[0]
    assert "12 of 12 pictures looked at are turned by their EXIF tag" in notes[0]
    problems, notes = told(table(joints), tag=tag)
    assert problems == []
    assert "12 of 12" in notes[0]
    assert told(table(joints), tag=tag, declared=(200, 150)) == ([], []), "the labels know"
    problems, _ = told(table(back(joints)), tag=tag, declared=(150, 200))
    assert "12 pictures are not of the size that the labels declare" in problems[0]
    assert "their EXIF tag turns these pictures" in problems[0]


def test_declared_sizes_of_another_resolution(told):
    joints, boxes = figures(8)
    problems, _ = told(table(2 * joints, 2 * boxes), declared=(400, 300))
    assert len(problems) == 1
    assert (
        "8 pictures are not of the size that the labels declare, the first 0.jpg: 400x300 there, 200x150" in problems[0]
    )
    assert "another resolution" in problems[0]


def test_headers(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("jpg", "png", "webp", "tiff"):
        Image.new("RGB", (40, 30)).save(tmp_path / f"a.{suffix}", exif=exif)
        assert read_header(tmp_path, f"a.{suffix}") == (30, 40, 6), suffix
    (tmp_path / "b.jpg").write_bytes(b"none")
    assert read_header(tmp_path, "b.jpg") is None
    assert read_header(tmp_path, "nowhere.jpg") is None
