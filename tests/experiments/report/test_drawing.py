from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring.evaluation import Predictions
from keyshift.datasets.sample import Item
from keyshift.datasets.skeleton import Skeleton
from keyshift.experiments.report import drawing

RED = (255, 0, 0)
PAIR = Skeleton("pair", ("a", "b"), edges=((0, 1),))


def blank(size: int = 64) -> np.ndarray:
    return np.full((size, size, 3), 128, np.uint8)


class Dots:
    """Items of one lit 4x4 block each, whose only seen keypoint is the block's centre."""

    def __init__(self, count: int) -> None:
        self.name, self.skeleton, self.count = "dots", PAIR, count
        self.identity: dict[str, object] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> Item:
        image = np.zeros((40, 60, 3), np.uint8)
        image[20:24, 30:34] = 255
        points, seen = np.array([[32.0, 22.0], [40.0, 30.0]]), np.array([True, False])
        box = np.array([20.0, 10.0, 44.0, 34.0])
        return Item(image, box, f"日{index}<b>", "s", index, np.zeros(4), points, seen, np.array([True, True]))


@pytest.mark.parametrize("tile", [24, 96, 7])
def test_crop_and_points_agree_at_every_scale(tile: int) -> None:
    item = Dots(1)[0]
    picture = drawing.crop(item.image, item.box, tile).astype(float).mean(-1)
    ys, xs = np.mgrid[:tile, :tile] + 0.5
    centre = np.array([(xs * picture).sum(), (ys * picture).sum()]) / picture.sum()
    expected = drawing.to_tile(item.keypoints[0], item.box, tile)
    np.testing.assert_allclose(centre, expected, atol=0.02 * tile / 24 + 0.02)


def test_crop_beyond_the_border_is_filled_and_keeps_scale() -> None:
    item = Dots(1)[0]
    picture = drawing.crop(item.image, np.array([-20.0, -20.0, 80.0, 80.0]), 50)
    assert picture.shape == (50, 50, 3)
    assert (picture[0, 0] == drawing.OUTSIDE).all()
    assert picture[21, 26].min() > 200


def test_crop_refuses_an_empty_box() -> None:
    with pytest.raises(ValueError, match="right > left"):
        drawing.crop(blank(), np.array([5.0, 5.0, 5.0, 5.0]), 32)


def test_shrinking_averages_instead_of_skipping() -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    image[:, ::2] = 255
    picture = drawing.crop(image, np.array([0.0, 0.0, 256.0, 256.0]), 32)
    np.testing.assert_allclose(picture, 127.5, atol=6)


def test_seen_joints_are_filled_and_hidden_ones_hollow() -> None:
    points, hidden = np.array([[16.0, 16.0], [48.0, 48.0]]), np.array([False, True])
    picture = drawing.draw(blank(), points, (), RED, hidden=hidden, weight=4)
    assert tuple(picture[16, 16]) == RED
    assert tuple(picture[48, 48]) == (128, 128, 128)
    red = (picture == RED).all(-1)
    assert red[40:57, 40:57].any()


def test_drawing_leaves_the_input_and_unknown_joints_alone() -> None:
    picture = blank()
    points, known = np.array([[16.0, 16.0], [48.0, 48.0]]), np.array([True, False])
    drawn = drawing.draw(picture, points, PAIR.edges, RED, known=known)
    assert (picture == 128).all()
    assert tuple(drawn[16, 16]) == RED
    assert (drawn[28:] == 128).all()


def test_an_edge_joins_its_joints() -> None:
    points = np.array([[8.0, 32.0], [56.0, 32.0]])
    assert tuple(drawing.draw(blank(), points, PAIR.edges, RED, weight=2)[32, 32]) == RED


def test_wild_and_undefined_points_do_not_break_the_drawing() -> None:
    points = np.array([[1e12, -1e12], [np.nan, 3.0]])
    drawing.draw(blank(), points, PAIR.edges, RED)


def test_blur_removes_detail_and_keeps_the_mean() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    blurred = drawing.blur(picture)
    assert blurred.std() < 0.1 * picture.std()
    assert abs(blurred.mean() - picture.mean()) < 3


def test_colours_must_fit_the_keypoints() -> None:
    with pytest.raises(ValueError, match="3 colours for 2 keypoints"):
        drawing.draw(blank(), np.ones((2, 2)), (), drawing.joint_colours(3))


def test_joint_colours_are_distinct() -> None:
    assert len(set(drawing.joint_colours(21))) == 21
    assert len(drawing.joint_colours(1)) == 1


def test_contact_sheet_has_a_tile_for_each_sample() -> None:
    sheet = drawing.contact_sheet(Dots(50), count=10, columns=4, tile=48)
    assert sheet.dtype == np.uint8
    rows, columns = 3, 4
    assert sheet.shape[0] >= rows * 48
    assert columns * 48 <= sheet.shape[1] < (columns + 1) * 48


def test_contact_sheet_of_fewer_samples_than_asked() -> None:
    sheet = drawing.contact_sheet(Dots(1), count=24, columns=8, tile=64)
    assert sheet.shape[1] < 2 * 64
    colour = drawing.joint_colours(2)[0]
    assert (sheet == colour).all(-1).any()


def test_contact_sheet_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(ValueError, match="'dots' is empty"):
        drawing.contact_sheet(Dots(0))
    with pytest.raises(ValueError, match="at least 1"):
        drawing.contact_sheet(Dots(1), columns=0)


def item(keypoints: object, image: np.ndarray | None = None, **more: Any) -> Item:
    points = np.asarray(keypoints, float)
    known = np.ones(points.shape[:-1], bool)
    picture = blank(40) if image is None else image
    camera = more.pop("camera", np.zeros(4))
    return Item(picture, np.array([0.0, 0, 40, 40]), "one", "s", 0, camera, points, known, known, **more)


def marked(picture: np.ndarray, points: object) -> list[bool]:
    """Whether each of `points`, px of the item, is drawn on a tile of twice its size in its keypoint's colour."""
    colours = drawing.joint_colours(2)
    pixels = (2 * np.asarray(points)).astype(int).reshape(-1, 2, 2)
    return [tuple(picture[y, x]) == colours[k] for person in pixels for k, (x, y) in enumerate(person)]


TWO = [[[8.0, 8.0], [8.0, 20.0]], [[30.0, 10.0], [30.0, 30.0]]]


def test_everyone_in_a_picture_is_drawn_and_nobody_is_nothing() -> None:
    assert all(marked(drawing.draw_item(item(TWO), (), 80), TWO))
    one = drawing.draw_item(item(TWO[1]), (), 80)
    assert marked(one, TWO) == [False, False, True, True]
    nobody = item(np.zeros((0, 2, 2)))
    assert (drawing.draw_item(nobody, PAIR.edges, 80) == drawing.view(nobody, 80)).all()


def test_a_clip_is_its_middle_frame_and_keypoints_alone_are_grey() -> None:
    clip = np.stack([blank(40) * 0, blank(40), blank(40) * 0])
    assert (drawing.view(item(TWO, clip), 16) == drawing.view(item(TWO, blank(40)), 16)).all()
    alone = drawing.draw_item(item(TWO, np.zeros((0, 0, 3), np.uint8)), (), 80)
    assert all(marked(alone, TWO))
    assert tuple(alone[70, 10]) == drawing.OUTSIDE


def test_points_in_the_cameras_frame_are_drawn_through_its_camera() -> None:
    pixels, depth = np.array(TWO[0]), np.array([[500.0], [800.0]])
    camera = np.array([50.0, 60.0, 20.0, 20.0])
    space = np.concatenate([(pixels - 20) / camera[:2] * depth, depth], 1)
    known = item(space, camera=camera, in_camera=True)
    assert all(marked(drawing.draw_item(known, (), 80), pixels))
    unknown = item(space, in_camera=True)
    assert (drawing.draw_item(unknown, (), 80) == drawing.view(unknown, 80)).all()


class Three:
    """Two people, nobody, one person."""

    name, skeleton = "three", PAIR
    identity: ClassVar[dict[str, object]] = {}
    people = (TWO, np.zeros((0, 2, 2)), TWO[:1])

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int, /) -> Item:
        return item(self.people[index])


def test_a_sheet_of_predictions_shows_who_was_found() -> None:
    points = torch.tensor([*TWO, TWO[0]]) + torch.tensor([0.0, 6.0])
    matched, known = torch.tensor([True, False, True]), torch.ones(3, 2, dtype=torch.bool)
    predictions = Predictions(
        points=points,
        confidence=torch.ones(3, 2),
        truth=torch.tensor([*TWO, TWO[0]]),
        annotated=known,
        visible=known,
        side=torch.full((3,), 40.0),
        camera=torch.zeros(3, 4),
        sequence=("s",) * 3,
        id=("a", "a", "c"),
        row=torch.tensor([0, 0, 2]),
        matched=matched,
    )
    sheet = drawing.prediction_sheet(Three(), predictions, columns=2, tile=80)
    assert sheet.shape == (80, 160, 3)
    assert marked(sheet[:, :80], points[:2].numpy()) == [True, True, False, False]
    assert marked(sheet[:, 80:], points[2:].numpy()) == [True, True]
    for person in TWO:  # the truth of those who were missed is there too
        x, y = (2 * np.array(person[0])).astype(int)
        assert tuple(sheet[y, x]) == drawing.WHITE
