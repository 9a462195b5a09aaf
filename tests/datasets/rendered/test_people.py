"""Rendered people: labels against geometry, bits that do not depend on company, and boxes."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.options import BadOption
from keyshift.datasets.reading.people import square
from keyshift.datasets.rendered.people import (
    CUT,
    SLOPPY,
    TRUNK,
    Options,
    RenderedPeople,
    Scene,
    others,
    render_scene,
    rendered_people,
    style_of,
)
from keyshift.datasets.rendered.people_scene import PARTS, draw_scene
from keyshift.datasets.rendered.people_stage import people_in
from keyshift.datasets.rendered.people_styles import BLOCK, STYLES
from keyshift.datasets.rendered.person_anatomy import PERSON, PLACE
from keyshift.datasets.rendered.person_flesh import OWNS

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = Options(size=128, scenes=3, train=12, test=4)
ARRAYS = ("image", "depth", "owner", "camera", "points", "keypoints", "visible", "seen", "body", "pixels")


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    return {style: [render_scene(style, SMALL, index) for index in range(12)] for style in STYLES}


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> RenderedPeople:
    return RenderedPeople("wild", replace(SMALL, joints="all"), cache=tmp_path_factory.mktemp("cache"))


def test_keypoints_are_the_projection_of_the_points(scenes: dict[str, list[Scene]]) -> None:
    for scene in (*scenes["lab"], *scenes["wild"]):
        points, camera = scene.points.astype(np.float64), scene.camera.astype(np.float64)
        projected = points[..., :2] / points[..., 2:] * camera[:2] + camera[2:]
        np.testing.assert_allclose(projected, scene.keypoints, atol=0.01)
        assert (points[..., 2] > 300).all()


def naive_first(drawn: dict[str, np.ndarray], ray: np.ndarray) -> tuple[int, float]:
    """The cone that a ray (u, v, 1) meets first and where along its axis, by a fine march along the ray and the
    exact distance to each cone as the hull of its spheres, taken at 200 places of the axis."""
    share = np.linspace(0, 1, 200)
    centre = drawn["a"][:, None] + share[:, None] * (drawn["b"] - drawn["a"])[:, None]
    radius = drawn["radii"][:, :1] + share * (drawn["radii"][:, 1:] - drawn["radii"][:, :1])
    dd, along = ray @ ray, centre @ ray
    root = along**2 - dd * ((centre**2).sum(-1) - radius**2)
    enter = np.where((root >= 0) & (radius > 0), (along - np.sqrt(np.maximum(root, 0))) / dd, np.inf)
    enter = np.where(enter > 0, enter, np.inf)
    cone, place = np.unravel_index(enter.argmin(), enter.shape)
    return (int(cone), float(share[place])) if np.isfinite(enter[cone, place]) else (-1, 0.0)


def test_visibility_against_a_naive_ray_test(scenes: dict[str, list[Scene]]) -> None:
    """Every joint's ray against every sphere of every cone; where the answer hangs on a millimetre they may differ."""
    same, hidden = [], []
    for style in STYLES:
        for index in range(4):
            scene = scenes[style][index]
            drawn = draw_scene(style_of(style), SMALL.scenes, index, SMALL.size, STYLES[style].focal)
            for slot in range(len(scene.points)):
                for k, point in enumerate(drawn["points"][slot]):
                    cone, share = naive_first(drawn, point / point[2])
                    u, v = scene.keypoints[slot, k]
                    inside = 0 <= u < SMALL.size and 0 <= v < SMALL.size
                    own = cone >= 0 and cone // PARTS == slot
                    naive = inside and own and OWNS[int(share >= 0.5), cone % PARTS, k]
                    same.append(naive == scene.visible[slot, k])
                    hidden.append(not naive)
    assert np.mean(same) > 0.985
    assert 0.15 < np.mean(hidden) < 0.8


def test_a_person_behind_another_is_hidden(scenes: dict[str, list[Scene]]) -> None:
    """Where a joint's pixel shows what stands before it, the joint is hidden, but for outlines that cross the pixel."""
    covered, wrong = 0, 0
    for scene in (*scenes["lab"], *scenes["wild"]):
        for slot in range(len(scene.points)):
            inside = ((scene.keypoints[slot] >= 0) & (scene.keypoints[slot] < SMALL.size)).all(-1)
            x, y = scene.keypoints[slot][inside].astype(int).T
            shown = scene.owner[y, x]
            before = (shown >= 0) & (shown != slot) & (scene.depth[y, x] < scene.points[slot][inside, 2] - 250)
            covered += before.sum()
            wrong += (scene.visible[slot][inside] & before).sum()
    assert covered > 30
    assert wrong < 0.03 * covered


def test_the_same_bits_in_any_order_and_process(scenes: dict[str, list[Scene]]) -> None:
    for index in (7, 2, 7):
        again = render_scene("wild", SMALL, index)
        for name in ARRAYS:
            assert np.array_equal(getattr(again, name), getattr(scenes["wild"][index], name)), name
    code = (
        "import sys, hashlib, torch; torch.set_num_threads(2)\n"
        "from keyshift.datasets.rendered.people import Options, render_scene\n"
        "s = render_scene('wild', Options(size=128, scenes=3), 2)\n"
        "print(hashlib.sha256(s.image.tobytes() + s.points.tobytes() + s.visible.tobytes()).hexdigest())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    own = scenes["wild"][2]
    assert (
        told.stdout.strip()
        == hashlib.sha256(own.image.tobytes() + own.points.tobytes() + own.visible.tobytes()).hexdigest()
    )


def test_seed_style_and_index_each_change_the_scene(scenes: dict[str, list[Scene]]) -> None:
    base = scenes["wild"][0].image
    for other in (scenes["wild"][1], scenes["lab"][0], render_scene("wild", replace(SMALL, scenes=4), 0)):
        assert (base != other.image).mean() > 0.3


def test_zoom_changes_the_focal_length_alone(scenes: dict[str, list[Scene]]) -> None:
    for index in range(3):
        plain, zoomed = scenes["wild"][index], render_scene("wild", replace(SMALL, zoom=1.5), index)
        np.testing.assert_array_equal(plain.points, zoomed.points)
        np.testing.assert_allclose(zoomed.camera, plain.camera * [1.5, 1.5, 1, 1], rtol=1e-6)
        middle = SMALL.size / 2
        np.testing.assert_allclose(zoomed.keypoints - middle, 1.5 * (plain.keypoints - middle), atol=1e-2)
    wide = render_scene("lab", replace(SMALL, zoom=0.5), 0)
    small = cv2.resize(scenes["lab"][0].owner.astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA) > -0.5
    assert ((wide.owner[32:96, 32:96] >= 0) == small).mean() > 0.98


def test_focal_lengths_are_those_asked_for() -> None:
    for index in range(4):
        made = draw_scene(STYLES["wild"], 0, index, 128, (0.9, 1.0))
        assert 0.9 * 128 <= made["camera"][0] <= 128
    views = {tuple(draw_scene(STYLES["lab"], 0, index, 64, (1.2, 1.2))["view_place"]) for index in range(30)}
    assert 1 < len(views) <= 4


def test_boxes_contain_the_people(scenes: dict[str, list[Scene]]) -> None:
    for scene in (*scenes["lab"], *scenes["wild"]):
        for slot in range(len(scene.points)):
            low, high = scene.keypoints[slot].min(0), scene.keypoints[slot].max(0)
            assert (scene.body[slot, :2] < low + 0.5).all()
            assert (scene.body[slot, 2:] > high - 0.5).all()
            rows, columns = np.nonzero(scene.owner == slot)
            assert scene.pixels[slot] == len(rows)
            if len(rows) >= 24:
                tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                np.testing.assert_array_equal(scene.seen[slot], tight)
                assert (scene.seen[slot] >= scene.body[slot] - 1.5)[:2].all()
                assert (scene.seen[slot] <= scene.body[slot] + 1.5)[2:].all()


def test_people_stand_on_the_floor_and_apart(scenes: dict[str, list[Scene]]) -> None:
    """The lowest flesh of whoever does not jump touches the floor, seen back from the camera's frame."""
    for index in range(8):
        made = draw_scene(STYLES["lab"], 3, index, 64, (1.2, 1.2))
        for slot in range(len(made["points"])):
            rows = slice(slot * PARTS, (slot + 1) * PARTS)
            heights = []
            for i, ends in enumerate((made["a"][rows], made["b"][rows])):
                world = ends @ made["view_turn"] + made["view_place"]
                there = made["radii"][rows, i] > 0
                heights.append((world[:, 1] - made["radii"][rows, i])[there].min())
            np.testing.assert_allclose(min(heights), 0, atol=1e-6)
    for scene in scenes["wild"]:
        roots = scene.points[:, 0]
        for i in range(len(roots)):
            for j in range(i):
                assert np.linalg.norm(roots[i] - roots[j]) > 250


def test_bones_keep_their_lengths_among_scenes_of_the_same_subjects() -> None:
    legs = [
        np.linalg.norm(np.diff(draw_scene(STYLES["lab"], 1, i, 64, (1.2, 1.2))["points"][0, 1:4], axis=0), axis=1)
        for i in (0, 5, BLOCK - 1, BLOCK)
    ]
    np.testing.assert_allclose(legs[1], legs[0])
    np.testing.assert_allclose(legs[2], legs[0])
    assert np.abs(legs[3] - legs[0]).max() > 1


def test_items_are_people_with_their_neighbours(wild: RenderedPeople) -> None:
    count = sum(people_in(STYLES["wild"], SMALL.scenes, index) for index in range(12))
    assert len(wild) == count > 12
    pictures: dict[str, list[int]] = {}
    for row in range(len(wild)):
        item = wild[row]
        pictures.setdefault(item.sequence, []).append(row)
        assert item.image.shape == (128, 128, 3)
        assert item.keypoints.shape == (29, 2)
        assert item.points is not None
        np.testing.assert_allclose(item.box[2] - item.box[0], item.box[3] - item.box[1], rtol=1e-5)
        assert item.annotated.all()
        assert (item.visible <= ((item.keypoints >= 0) & (item.keypoints < 128)).all(-1)).all()
    for rows in pictures.values():
        for row in rows:
            told = wild[row].inputs["others"]
            assert told.shape == (8, 3)
            assert told[:, 2].sum() == len(rows) - 1
            assert not told[len(rows) - 1 :].any()
            middles = [(wild[o].box[:2] + wild[o].box[2:]) / 2 for o in rows if o != row]
            np.testing.assert_allclose(told[: len(middles), :2], np.array(middles).reshape(-1, 2), atol=1e-3)


def test_whole_pictures_have_all_their_people(wild: RenderedPeople, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of whom hardly anything is seen are there, and nothing of them is annotated."""
    whole = RenderedPeople("wild", replace(SMALL, joints="all", crops="whole"), cache=wild._folder.parent)
    assert len(whole) == 12
    assert whole.identity != wild.identity
    pixels = whole.arrays()["pixels"]
    least, hidden = int(np.median(pixels[pixels > 0])), 0
    monkeypatch.setattr("keyshift.datasets.rendered.people.LEAST", least)
    for row in range(12):
        item, people = whole[row], [i for i in range(len(wild)) if wild.rows[i, 0] == row]
        assert item.box.tolist() == [0, 0, 128, 128]
        assert not item.inputs
        assert item.points is not None
        assert len(item.keypoints) == len(people)
        for slot, one in enumerate(wild[i] for i in people):
            assert one.id == f"{item.id}/{slot}"
            for name in ("keypoints", "visible", "points"):
                np.testing.assert_array_equal(getattr(item, name)[slot], getattr(one, name))
            seen = pixels[row, slot] >= least
            assert (item.annotated[slot] == seen).all()
            hidden += not seen
        np.testing.assert_array_equal(item.image, wild[people[0]].image)
    assert hidden > 2


def test_the_dataset_is_what_single_scenes_are(wild: RenderedPeople, scenes: dict[str, list[Scene]]) -> None:
    for row in range(len(wild)):
        scene, slot = wild.rows[row]
        item = wild[row]
        assert np.array_equal(item.image, scenes["wild"][scene].image)
        assert np.array_equal(item.keypoints, scenes["wild"][scene].keypoints[slot])


def test_sets_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path))
    options = options_of("people.lab", {"train": 2, "test": 1, "size": 64, "crops": "truth"}, "test")
    for part in ("train", "test"):
        dataset = open_dataset("people.lab", options, part)
        assert dataset.skeleton.keypoints == PERSON.keypoints[:17]
        item = dataset[0]
        assert item.points is not None
        assert item.points.shape == (17, 3)
        assert dataset.identity["boxes"] == "truth"
        with pytest.raises(IndexError, match="has items 0 to"):
            dataset[len(dataset)]


def test_a_poor_detector_misses_what_sticks_out_of_the_trunk(wild: RenderedPeople, tmp_path: Path) -> None:
    """Half of it in the mean, the same at each call, and crops are cut around it."""
    options = replace(SMALL, joints="all", crops="poor", train=12)
    poor = RenderedPeople("wild", options, cache=Path(wild._folder).parent)
    boxes, seen = poor.own_boxes(), wild.own_boxes()
    assert poor._folder == wild._folder
    np.testing.assert_array_equal(boxes, RenderedPeople("wild", options, cache=tmp_path).own_boxes())
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    missed = []
    for row in range(len(poor)):
        item, side = wild[row], np.tile(seen[row, 2:] - seen[row, :2], 2)
        np.testing.assert_allclose(poor[row].box, square(boxes[row], 1.25), rtol=1e-5)
        trunk = item.keypoints[[PLACE[name] for name in TRUNK]]
        tight = np.concatenate([trunk.min(0), trunk.max(0)]).clip(seen[row, [0, 1, 0, 1]], seen[row, [2, 3, 2, 3]])
        missed.append((boxes[row] - seen[row] - CUT * (tight - seen[row])) / side)
    assert np.abs(np.mean(missed)) < 0.02
    assert np.std(missed) == pytest.approx(SLOPPY, rel=0.25)


def test_a_folder_of_pictures_stands_behind_the_people(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((60, 80, 3), (40, 200, 90), np.uint8))
    scene = render_scene("wild", replace(SMALL, photos=str(tmp_path)), 0)
    room = scene.image[scene.owner < 0].astype(float)
    assert (room[:, 1] > room[:, 2]).mean() > 0.95
    assert (room[:, 1] > room[:, 0]).mean() > 0.9
    with pytest.raises(ValueError, match="is not a folder"):
        RenderedPeople("wild", replace(SMALL, photos=str(tmp_path / "gone")))


def test_options_are_checked() -> None:
    with pytest.raises(BadOption, match=r"focal=\[2.0, 1.0\] must be \[lowest, highest\]"):
        Options(focal=[2.0, 1.0])
    with pytest.raises(ValueError, match="choose one of lab, wild"):
        rendered_people(Options(), "train", "zoo")
    with pytest.raises(ValueError, match="part"):
        rendered_people(Options(), "middle", "lab")


def test_others_of_one_person_are_nobody() -> None:
    assert not others(np.array([[0, 0, 2, 2.0]]), 0).any()
    told = others(np.array([[0, 0, 2, 2.0], [4, 0, 6, 8]]), 0)
    np.testing.assert_array_equal(told[0], [5, 4, 1])
    assert PLACE["pelvis"] == 0
