"""Pictures of several rendered hands: labels against geometry, who hides whom, and samples of both kinds."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.options import BadOption
from keyshift.datasets.reading.people import square
from keyshift.datasets.rendered.hand_flesh import OF_HAND, OWNS, PARTS, SPLIT
from keyshift.datasets.rendered.hand_group import draw_group, hands_in
from keyshift.datasets.rendered.hand_picture import render_drawn
from keyshift.datasets.rendered.hand_scene import BLOCK, STYLES
from keyshift.datasets.rendered.hands import Group, HandGroups, Options, PhotoOptions, render, render_group
from keyshift.datasets.rendered.raycast import Cones, cast_rays
from keyshift.datasets.rendered.several import LEAST
from keyshift.datasets.rendered.shifted import HandOptions, hand_style
from keyshift.datasets.sample import Labeled

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE, SEED, FEW = 96, 3, (2, 4)
LOOKS = {**{name: STYLES[name] for name in ("studio", "webcam")}, "shifted": hand_style(HandOptions(occlusion=1.0))}
SMALL = Options(size=SIZE, scenes=SEED, train=12, test=4, hands=[0, 4])
ARRAYS = ("image", "depth", "owner", "camera", "points", "keypoints", "visible", "right", "seen", "pixels")


@pytest.fixture(scope="module")
def groups() -> dict[str, list[Group]]:
    return {name: [render_group(look, SEED, i, SIZE, FEW) for i in range(12)] for name, look in LOOKS.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> HandGroups:
    return HandGroups("webcam", replace(SMALL, crops="whole"), cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def seen(whole: HandGroups) -> HandGroups:
    return HandGroups("webcam", replace(SMALL, crops="seen"), cache=whole._folder.parent)


def drawn(look: str, index: int) -> tuple[dict, list[dict]]:
    return draw_group(LOOKS[look], SEED, index, SIZE, (), hands_in(LOOKS[look], SEED, index, *FEW))


def test_keypoints_are_the_projection_of_the_points(groups: dict[str, list[Group]]) -> None:
    for group in (one for made in groups.values() for one in made):
        points, camera = group.points.astype(np.float64), group.camera.astype(np.float64)
        projected = points[..., :2] / points[..., 2:] * camera[:2] + camera[2:]
        np.testing.assert_allclose(projected, group.keypoints, atol=2e-3)
        assert (points[..., 2] > 150).all()
        np.testing.assert_allclose(group.camera[2:], SIZE / 2)


def naive_first(hands: list[dict], ray: np.ndarray) -> tuple[int, int, float]:
    """The hand, the cone of it that a ray (u, v, 1) meets first, and where along its axis: by the spheres at 400 places
    of each axis."""
    share, best = np.linspace(0, 1, 400), (-1, -1, 0.0)
    nearest = np.inf
    for slot, hand in enumerate(hands):
        centre = hand["a"][:, None] + share[:, None] * (hand["b"] - hand["a"])[:, None]
        radius = hand["radii"][:, :1] + share * (hand["radii"][:, 1:] - hand["radii"][:, :1])
        along = centre @ ray
        root = along**2 - ray @ ray * ((centre**2).sum(-1) - radius**2)
        enter = np.where((root >= 0) & (radius > 0), (along - np.sqrt(np.maximum(root, 0))) / (ray @ ray), np.inf)
        enter = np.where(enter > 0, enter, np.inf)
        cone, place = np.unravel_index(enter.argmin(), enter.shape)
        if enter[cone, place] < nearest:
            nearest, best = enter[cone, place], (slot, int(cone), float(share[place]))
    return best


def test_visibility_against_a_naive_ray_test(groups: dict[str, list[Group]]) -> None:
    """Every joint's ray against spheres of every cone of every hand; they may differ where it hangs on a millimetre."""
    same, by_others = [], 0
    for look in LOOKS:
        for index in range(3):
            group, (_, hands) = groups[look][index], drawn(look, index)
            for slot, hand in enumerate(hands):
                for joint, point in enumerate(hand["points"]):
                    first, cone, share = naive_first(hands, point / point[2])
                    part = 2 if share >= SPLIT[cone, 1] else 0 if share < SPLIT[cone, 0] else 1
                    inside = ((group.keypoints[slot, joint] >= 0) & (group.keypoints[slot, joint] < SIZE)).all()
                    own = first == slot and OWNS[part, cone, joint]
                    same.append((own and inside) == group.visible[slot, joint])
                    by_others += first not in (-1, slot)
    assert np.mean(same) > 0.985
    assert by_others > 15


def test_hands_hide_each_other_as_each_alone_would(groups: dict[str, list[Group]]) -> None:
    """The picture's depth is the nearest of those of the hands alone, bit for bit, and it is that hand's pixel; a joint
    is seen where it is seen of the hand alone and no other hand's surface lies before that."""
    covered = 0
    for look in LOOKS:
        for index in range(6):
            group, (picture, hands) = groups[look][index], drawn(look, index)
            alone = [render_drawn([(picture, [hand])], SIZE) for hand in hands]
            depths = torch.stack([fields["depth"][0] for fields, _ in alone]).numpy()
            depths = np.where(depths > 0, depths, np.inf)
            nearest = depths.min(0)
            np.testing.assert_array_equal(np.where(nearest < np.inf, nearest, 0), group.depth)
            cones = np.stack([cone[0].numpy() for _, cone in alone])
            first = depths.argmin(0)
            part = np.take_along_axis(cones, first[None], 0)[0]
            owner = np.where((part >= 0) & OF_HAND[part], first, -1)
            np.testing.assert_array_equal(owner, group.owner)
            by_itself = np.stack([fields["visible"][0, 0].numpy() for fields, _ in alone])
            assert (group.visible <= by_itself).all()
            points = np.stack([hand["points"] for hand in hands])
            rays = torch.from_numpy((points[..., :2] / points[..., 2:]).astype(np.float32)).view(-1, 2).T[:, None]
            reached = torch.stack([cast_rays(cones_of(hand), *rays)[0] for hand in hands])
            reached = torch.where(reached > 0, reached, torch.inf).view(len(hands), *points.shape[:2]).numpy()
            before = reached.argmin(0) == np.arange(len(hands))[:, None]
            np.testing.assert_array_equal(group.visible, by_itself & before)
            covered += (by_itself & ~before).sum()
    assert covered > 30


def cones_of(hand: dict) -> Cones:
    a, b, radii = (torch.from_numpy(hand[name].astype(np.float32))[None] for name in ("a", "b", "radii"))
    return Cones(a, b, radii[..., 0].contiguous(), radii[..., 1].contiguous())


def test_a_hand_in_company_looks_as_it_does_alone(groups: dict[str, list[Group]]) -> None:
    """Away from other hands' pixels, but for shadows that they throw."""
    picture, hands = drawn("studio", 0)
    alone = render_drawn([(picture, [hands[0]])], SIZE)[0]["image"][0].numpy().astype(int)
    group = groups["studio"][0]
    others = cv2.dilate(((group.depth > 0) & (group.owner != 0)).astype(np.uint8), np.ones((13, 13))) > 0
    clear = (group.owner == 0) & ~others
    assert clear.sum() > 100
    assert (np.abs(group.image[clear] - alone[clear]).max(-1) == 0).mean() > 0.9


def test_seen_pixels_and_their_boxes(groups: dict[str, list[Group]]) -> None:
    for group in (one for made in groups.values() for one in made):
        for slot in range(len(group.points)):
            rows, columns = np.nonzero(group.owner == slot)
            assert group.pixels[slot] == len(rows)
            if len(rows) >= LEAST:
                tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                np.testing.assert_array_equal(group.seen[slot], tight)
                shown = group.keypoints[slot, 1:][group.visible[slot, 1:]]  # the wrist may be seen on the arm
                assert (shown > group.seen[slot, :2] - 1).all()
                assert (shown < group.seen[slot, 2:] + 1).all()


def test_the_same_bits_in_any_order_and_process(groups: dict[str, list[Group]]) -> None:
    for index in (7, 2, 7):
        again = render_group("webcam", SEED, index, SIZE, FEW)
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(again, name), getattr(groups["webcam"][index], name), name)
    code = (
        "import hashlib, torch; torch.set_num_threads(2)\n"
        "from keyshift.datasets.rendered.hands import render_group\n"
        f"s = render_group('webcam', {SEED}, 2, {SIZE}, {FEW})\n"
        "print(hashlib.sha256(s.image.tobytes() + s.points.tobytes() + s.visible.tobytes()).hexdigest())"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    own = groups["webcam"][2]
    bits = own.image.tobytes() + own.points.tobytes() + own.visible.tobytes()
    assert answer.stdout.strip() == hashlib.sha256(bits).hexdigest()


def test_seed_style_and_index_each_change_the_picture(groups: dict[str, list[Group]]) -> None:
    base = groups["webcam"][0].image
    for other in (groups["webcam"][1], groups["studio"][0], render_group("webcam", SEED + 1, 0, SIZE, FEW)):
        assert (base != other.image).mean() > 0.3


def test_hands_are_right_and_left_of_one_subject_and_of_all_sizes(groups: dict[str, list[Group]]) -> None:
    sides = [side for made in groups.values() for group in made for side in group.right[::2]]
    assert 0.25 < np.mean(sides) < 0.75
    counts, extents = set(), []
    for group in groups["webcam"]:
        assert (group.right[1::2] != group.right[: len(group.right) // 2 * 2 : 2]).all()
        bones = np.linalg.norm(np.diff(group.points[:, 5:9], axis=1), axis=-1)
        np.testing.assert_allclose(bones[0], bones[1], rtol=1e-4)
        counts.add(len(group.points))
        extents += list(np.ptp(group.keypoints, axis=1).max(-1) / SIZE)
    assert counts == {2, 3, 4}
    assert np.quantile(extents, 0.1) < 0.3 < 0.42 < np.quantile(extents, 0.9)
    first, second, next_block = (render_group("studio", SEED, i, 32, FEW).points for i in (0, BLOCK - 1, BLOCK))
    lengths = [np.linalg.norm(points[0, 9] - points[0, 0]) for points in (first, second, next_block)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-5)
    assert lengths[0] != pytest.approx(lengths[2], rel=1e-3)


def test_hands_hardly_ever_go_through_one_another() -> None:
    """The least gap between the flesh of two hands, by their joints as spheres of a finger's thickness."""
    gaps = []
    for index in range(40):
        points = [hand["points"] for hand in drawn("studio", index)[1]]
        for i, one in enumerate(points):
            gaps += [np.linalg.norm(one[:, None] - other, axis=-1).min() for other in points[:i]]
    assert np.quantile(gaps, 0.02) > 10
    assert np.median(gaps) < 200


def test_whole_pictures_have_all_their_hands(whole: HandGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is annotated of those of which hardly anything is seen."""
    assert len(whole) == 12
    pixels = whole.arrays()["pixels"]
    least, unseen, nobody = int(np.median(pixels[pixels > 0])), 0, 0
    monkeypatch.setattr("keyshift.datasets.rendered.hands.LEAST", least)
    for row in range(12):
        item, group = whole[row], render_group("webcam", SEED, row, SIZE, (0, 4))
        hands = len(group.points)
        assert item.keypoints.shape == (hands, 21, 2)
        assert item.box.tolist() == [0, 0, SIZE, SIZE]
        for name in ("image", "camera", "points", "keypoints", "visible"):
            np.testing.assert_array_equal(getattr(item, name), getattr(group, name))
        np.testing.assert_array_equal(item.area, group.pixels)
        np.testing.assert_array_equal(item.bounds, group.seen)
        assert item.crowd is not None
        assert item.crowd.shape == (hands,)
        assert not item.crowd.any()
        inside = ((group.keypoints >= 0) & (group.keypoints < SIZE)).all(-1)
        np.testing.assert_array_equal(item.annotated, inside & (group.pixels >= least)[:, None])
        unseen += (group.pixels < least).sum()
        nobody += hands == 0
    assert unseen > 2
    assert 0 < nobody < 8


def test_pictures_without_hands_show_what_is_behind(whole: HandGroups) -> None:
    row = next(row for row in range(12) if not len(whole[row].keypoints))
    group = render_group("webcam", SEED, row, SIZE, (0, 4))
    assert not group.depth.any()
    assert (group.owner == -1).all()
    assert group.image.std() > 2


def test_crops_are_around_what_is_seen_of_each_hand(whole: HandGroups, seen: HandGroups) -> None:
    assert seen._folder == whole._folder
    assert seen.identity != whole.identity
    assert len(seen) == sum(len(whole[row].keypoints) for row in range(12))
    for row in range(len(seen)):
        item, (scene, slot) = seen[row], seen.rows[row]
        picture = whole[scene]
        assert item.id == f"{picture.id}/{slot}"
        assert item.sequence == picture.sequence
        assert item.area is None
        assert item.bounds is None
        assert picture.bounds is not None
        np.testing.assert_allclose(item.box, square(picture.bounds[slot].astype(float), 1.25), rtol=1e-5)
        for name in ("keypoints", "visible", "points"):
            np.testing.assert_array_equal(getattr(item, name), getattr(picture, name)[slot])
    for dataset in (whole, seen):
        with pytest.raises(IndexError, match="has items 0 to"):
            dataset[len(dataset)]


def test_a_mirrored_picture_keeps_the_names_of_its_keypoints(whole: HandGroups) -> None:
    """A left hand's thumb is a right one's in the mirror, and a thumb."""
    mirrored = Augmentation(rotation=0, mirror=1.0)
    batch = TrainingBatches(whole, "source", 0, 6, (SIZE, SIZE), mirrored, labels=True)[0]
    assert isinstance(batch, Labeled)
    assert batch.area is not None
    assert (torch.linalg.det(batch.to_file[:, :, :2]) < 0).all()
    place = 0
    for image, row in enumerate(batch.row.tolist()):
        item = whole[row]
        matrix = batch.to_file[image].double()
        for slot in range(len(item.keypoints)):
            back = batch.keypoints[place].double() @ matrix[:, :2].T + matrix[:, 2]
            torch.testing.assert_close(back, torch.from_numpy(item.keypoints[slot]).double(), atol=1e-3, rtol=0)
            assert batch.image_index[place] == image
            place += 1
    assert place == len(batch.keypoints) > 0


def test_one_hand_as_a_whole_picture_is_the_picture_of_the_hand(tmp_path: Path) -> None:
    made = render("webcam", SEED, range(3), SIZE)
    options = Options(size=SIZE, scenes=SEED, train=3, crops="whole")
    data = HandGroups("webcam", options, cache=tmp_path)
    cut = HandGroups("webcam", replace(options, crops="seen"), cache=tmp_path)
    for row in range(3):
        item = data[row]
        assert item.keypoints.shape == (1, 21, 2)
        np.testing.assert_array_equal(item.image, made.image[row])
        for name in ("points", "keypoints", "visible"):
            np.testing.assert_array_equal(getattr(item, name)[0], getattr(made, name)[row])
        assert item.annotated.all()
        assert item.area is not None
        assert 200 < item.area[0] < (made.depth[row] > 0).sum()
        assert item.bounds is not None
        crop = cut[row]
        np.testing.assert_allclose(crop.box, square(item.bounds[0].astype(float), 1.25), rtol=1e-5)
        np.testing.assert_array_equal(crop.keypoints, made.keypoints[row])


def test_without_these_options_sets_are_what_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of the caches of version 5 before there were pictures of several hands."""
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path))
    for name, values, folder in (
        ("hands.studio", {"size": 48}, "hands.studio-0c651a1911d1804d"),
        ("hands.shifted", {"size": 48}, "hands.shifted-6b7c8116a3925354"),
    ):
        assert open_dataset(name, options_of(name, values, "test"), "train")._folder.name == folder


def test_sets_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path))
    few = {"train": 2, "test": 2, "size": 32, "hands": [2, 3]}
    for name in ("hands.studio", "hands.shifted"):
        for part in ("train", "test"):
            crops = open_dataset(name, options_of(name, few, "test"), part)
            pictures = open_dataset(name, options_of(name, {**few, "crops": "whole"}, "test"), part)
            assert len(pictures) == 2
            assert 4 <= len(crops) <= 6
            assert crops[0].keypoints.shape == (21, 2)
            assert pictures[0].keypoints.shape[1:] == (21, 2)
            assert 2 <= len(pictures[0].keypoints) <= 3
    assert "1000000" in pictures[0].id


def test_photographs_stand_behind_several_hands(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((60, 80, 3), (40, 200, 90), np.uint8))
    options = PhotoOptions(train=1, size=48, hands=[2, 2], crops="whole", root=str(tmp_path))
    item, depth = (
        HandGroups("photo", options, cache=tmp_path / "cache")[0],
        render_group("photo", 0, 0, 48, (2, 2), tmp_path).depth,
    )
    behind = item.image[depth == 0].astype(float)
    assert (behind[:, 1] > behind[:, 0]).mean() > 0.95
    assert (behind[:, 1] > behind[:, 2]).mean() > 0.95
    with pytest.raises(ValueError, match="root=FOLDER"):
        HandGroups("photo", replace(options, root=None))


def test_options_are_checked() -> None:
    for wrong in ([3, 2], [0, 0]):
        with pytest.raises(BadOption, match=r"must be \[lowest, highest\]"):
            Options(hands=wrong)
    with pytest.raises(BadOption, match="2 entries"):
        Options(hands=[2])
    with pytest.raises(BadOption, match="choose one of seen, whole"):
        Options(crops="truth")
    with pytest.raises(ValueError, match="part"):
        HandGroups("studio", SMALL, "middle")
    assert len(PARTS) == len(OF_HAND)
