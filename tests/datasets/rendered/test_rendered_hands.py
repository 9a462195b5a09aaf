"""Rendered hands: labels against geometry, anatomy, and bits that do not depend on company."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from keyshift.datasets.rendered import hands as rendered_hands
from keyshift.datasets.rendered.hand_anatomy import (
    GESTURES,
    LIMITS,
    RADII,
    SEGMENTS,
    dip_range,
    forward,
    sample_pose,
    sample_subject,
    spread_limit,
)
from keyshift.datasets.rendered.hand_flesh import OWNS, PARTS, SPLIT
from keyshift.datasets.rendered.hand_scene import BLOCK
from keyshift.datasets.rendered.hands import Render, RenderedHands, render
from keyshift.datasets.rendered.raycast import Cones, cast_rays

pytestmark = pytest.mark.usefixtures("one_thread")
TENSORS = ("image", "depth", "camera", "points", "keypoints", "visible", "right")
TIPS = [4, 8, 12, 16, 20]


@pytest.fixture(scope="module")
def many() -> dict[str, Render]:
    return {style: render(style, seed=5, indices=range(80), size=64) for style in ("studio", "webcam")}


@pytest.mark.parametrize("style", ["studio", "webcam"])
def test_the_same_bits_in_any_company(style: str) -> None:
    together = render(style, 3, range(13), size=40)
    order = [7, 12, 0, 3, 3]
    mixed = render(style, 3, order, size=40)
    for place, index in enumerate(order):
        alone = render(style, 3, [index], size=40)
        for name in TENSORS:
            assert torch.equal(getattr(together, name)[index], getattr(alone, name)[0]), (name, index)
            assert torch.equal(getattr(mixed, name)[place], getattr(alone, name)[0]), (name, index)


def test_seed_style_and_index_each_change_the_picture() -> None:
    base = render("studio", 0, [0], size=48).image
    for other in (render("studio", 1, [0], 48), render("webcam", 0, [0], 48), render("studio", 0, [1], 48)):
        assert (base != other.image).float().mean() > 0.3


@pytest.mark.parametrize("style", ["studio", "webcam"])
def test_culled_and_plain_are_equal(style: str) -> None:
    culled, plain = render(style, 1, range(3), 48), render(style, 1, range(3), 48, cull=False)
    for name in TENSORS:
        assert torch.equal(getattr(culled, name), getattr(plain, name)), name


def test_keypoints_are_the_projection_of_the_points_and_stay_in_the_frame(many: dict[str, Render]) -> None:
    for made in many.values():
        camera = made.camera[:, None].double()
        points = made.points.double()
        projected = points[..., :2] / points[..., 2:] * camera[..., :2] + camera[..., 2:]
        torch.testing.assert_close(projected, made.keypoints.double(), rtol=0, atol=2e-3)
        assert ((made.keypoints > 0) & (made.keypoints < 64)).all()
        extent = (made.keypoints.amax(1) - made.keypoints.amin(1)).amax(-1)
        assert (extent > 0.45 * 64).all()
        assert (extent < 0.9 * 64).all()


def test_depth_agrees_with_visibility(many: dict[str, Render]) -> None:
    """Before a visible joint lies its own flesh, a thickness or somewhat more where a bone is tilted; a hidden joint
    lies deeper than that, or nearly so."""
    thickness = torch.tensor([21.0, 18.0, *RADII.ravel()[1:]], dtype=torch.float32)
    for made in many.values():
        row, column = (made.keypoints[..., i].long() for i in (1, 0))
        surface = made.depth[torch.arange(len(row))[:, None], row, column]
        assert (surface > 0).float().mean() > 0.98  # the pixel's centre is not quite the joint's ray
        before = made.points[..., 2] - surface
        seen, hidden = made.visible & (surface > 0), ~made.visible & (surface > 0)
        assert (before[seen] > 0.5 * thickness.expand_as(before)[seen]).float().mean() > 0.99
        assert (before[seen] < 2.2 * thickness.expand_as(before)[seen]).float().mean() > 0.97
        assert before[seen].quantile(0.995) < 45
        assert (before[hidden] > 0.9 * thickness.expand_as(before)[hidden]).float().mean() > 0.96
        assert before[hidden].median() > 2.5 * before[seen].median()
        assert 0.3 < made.visible.float().mean() < 0.95


def test_bones_keep_their_length_within_a_subject_and_are_human(many: dict[str, Render]) -> None:
    for made in many.values():
        chains = made.points[:, 1:].view(-1, 5, 4, 3)
        lengths = (chains[:, :, 1:] - chains[:, :, :-1]).norm(dim=-1)
        for start in range(0, 80, BLOCK):
            block = lengths[start : start + BLOCK]
            torch.testing.assert_close(block, block[:1].expand_as(block), rtol=0, atol=1e-3)
        ratio = lengths / torch.tensor(SEGMENTS, dtype=torch.float32)
        assert (ratio > 0.75).all()
        assert (ratio < 1.28).all()
        assert ratio[::BLOCK].mean((1, 2)).std() > 0.01
        to_middle = (made.points[:, 9] - made.points[:, 0]).norm(dim=-1)
        assert (to_middle > 75).all()
        assert (to_middle < 108).all()


def test_angles_stay_within_the_limits() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        angles, _ = sample_pose(rng, sample_subject(rng))
        assert (angles >= LIMITS[:, 0] - 1e-9).all()
        assert (angles <= LIMITS[:, 1] + 1e-9).all()
        fingers = angles[:16].reshape(4, 4)
        low, high = dip_range(fingers[:, 2])
        assert (fingers[:, 3] >= low - 1e-9).all()
        assert (fingers[:, 3] <= high + 1e-9).all()
        assert (np.abs(fingers[:, 1]) <= spread_limit(fingers[:, 0]) + np.deg2rad(15)).all()


def test_forward_bends_each_joint_by_its_angle() -> None:
    """The angle between neighbouring bones, measured on the joints, is the flexion that was asked for."""
    rng = np.random.default_rng(1)
    subject = sample_subject(rng)
    angles, _ = sample_pose(rng, subject)
    chains = forward(subject, angles).joints[1:].reshape(5, 4, 3)
    bones = np.diff(chains, axis=1)
    bones /= np.linalg.norm(bones, axis=-1, keepdims=True)
    bends = np.arccos((bones[:, 1:] * bones[:, :-1]).sum(-1).clip(-1, 1))
    np.testing.assert_allclose(bends[1:], np.abs(angles[:16].reshape(4, 4)[:, 2:]), atol=1e-6)
    np.testing.assert_allclose(bends[0], np.abs(angles[19:21]), atol=1e-6)


def test_a_finger_that_points_at_the_camera_hides_its_own_knuckle() -> None:
    """Along the bone's axis the first surface is the far joint's; the exact rule is checked on the cones themselves."""
    axis = torch.tensor([[[0.0, 0, 500]]]), torch.tensor([[[0.0, 0, 540]]])
    _, cone, share = cast_rays(Cones(*axis, *torch.full((2, 1, 1), 8.0)), torch.zeros(1, 1), torch.zeros(1, 1))
    finger = PARTS.index("index_0")
    assert cone[0, 0] == 0
    assert share[0, 0] < SPLIT[finger, 0]
    assert OWNS[0, finger, 5]
    assert not OWNS[0, finger, 6]
    assert OWNS[2, finger, 6]


def reach(points: Tensor, joint: int) -> Tensor:
    """Distance of a joint from the wrist over the wrist's distance to the middle finger's knuckle."""
    return (points[:, joint] - points[:, 0]).norm(dim=-1) / (points[:, 9] - points[:, 0]).norm(dim=-1)


def test_all_gestures_hands_and_sides_occur(many: dict[str, Render]) -> None:
    for made in many.values():
        points = made.points
        tips = torch.stack([reach(points, joint) for joint in TIPS[1:]], 1)
        fists = (tips < 1.15).all(1)
        opened = (tips > 1.45).all(1)
        pointing = (tips[:, 0] > 1.6) & (tips[:, 1:] < 1.2).all(1)
        pinching = (points[:, 4] - points[:, 8]).norm(dim=-1) < 20
        for kind in (fists, opened, pointing, pinching & ~fists):
            assert 2 <= int(kind.sum()) < 70
        across = torch.linalg.cross(points[:, 5] - points[:, 0], points[:, 17] - points[:, 0], dim=-1)
        back = (across[:, 2] < 0) == made.right  # where the back of the hand faces the camera
        assert 0.25 < back.float().mean() < 0.75
        assert 0.25 < made.right.float().mean() < 0.75
    names = {name for made in many.values() for name in made.gesture}
    assert names >= set(GESTURES) - {"three", "four", "gun", "call", "thumb_up"}


def test_left_hands_are_mirrored_right_hands(many: dict[str, Render]) -> None:
    """Seen from the back with the fingers up, a right hand's thumb is on the left."""
    made = many["studio"]
    wrist, index, little, thumb = (made.points[:, k] for k in (0, 5, 17, 1))
    palm = torch.linalg.cross(index - wrist, little - wrist, dim=-1)
    palmar = ((thumb - wrist) * palm).sum(-1) > 0  # the thumb's root lies before the palm
    assert torch.equal(palmar, made.right)


def test_styles_differ(many: dict[str, Render]) -> None:
    def rough(made: Render) -> Tensor:
        image = made.image.float()
        return (image[:, 1:] - image[:, :-1]).abs().mean((1, 2, 3))

    assert rough(many["webcam"]).median() > 2 * rough(many["studio"]).median()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n, value in enumerate((40, 200)):
        cv2.imwrite(str(folder / f"{n}.png"), np.full((90, 120, 3), value, np.uint8))
    (folder / "note.txt").write_text("not a picture")
    return folder


def test_photo_puts_the_users_pictures_behind_the_hands(pictures: Path, tmp_path: Path) -> None:
    made = render("photo", 0, range(6), 48, backgrounds=pictures)
    border = torch.stack([made.image[i][made.depth[i] == 0].float().mean() for i in range(6)])
    assert border.max() - border.min() > 40
    first = RenderedHands("photo", 2, 0, 32, backgrounds=pictures, cache=tmp_path)
    cv2.imwrite(str(pictures / "1.png"), np.full((90, 120, 3), 90, np.uint8))
    second = RenderedHands("photo", 2, 0, 32, backgrounds=pictures, cache=tmp_path)
    assert first.identity["backgrounds"] != second.identity["backgrounds"]


def test_errors_name_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="webcam"):
        render("sketch", 0, [0])
    with pytest.raises(ValueError, match="root=FOLDER"):
        render("photo", 0, [0])
    with pytest.raises(ValueError, match="not a folder"):
        render("photo", 0, [0], backgrounds=tmp_path / "none")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken\.png"):
        render("photo", 0, [0], backgrounds=tmp_path)
    with pytest.raises(ValueError, match="count"):
        RenderedHands("studio", 0, 0, cache=tmp_path)


def test_items_are_what_render_gives(tmp_path: Path) -> None:
    data = RenderedHands("webcam", 10, seed=2, size=48, first=18, cache=tmp_path)
    made = render("webcam", 2, range(18, 28), 48)
    assert len(data) == 10  # more than are rendered at once
    assert data.name == "hands.webcam"
    for i in range(10):
        item = data[i]
        np.testing.assert_array_equal(item.image, made.image[i].numpy())
        np.testing.assert_array_equal(item.keypoints, made.keypoints[i].numpy())
        np.testing.assert_array_equal(item.visible, made.visible[i].numpy())
        assert item.points is not None
        assert item.points.shape == (21, 3)
        assert item.annotated.all()
        assert item.box.tolist() == [0, 0, 48, 48]
    assert data[0].id == "hands.webcam/2/00018"
    assert data[0].frame == 18
    assert data[1].sequence != data[2].sequence
    assert data[0].sequence == data[1].sequence
    for wrong in (-1, 10):
        with pytest.raises(IndexError, match="0 to 9"):
            data[wrong]


def test_the_cache_is_written_once_and_survives_pickling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RenderedHands("studio", 30, 0, 32, cache=tmp_path)
    assert not list(tmp_path.iterdir())  # nothing is rendered before it is asked for
    item = first[29]
    monkeypatch.setattr(rendered_hands, "render", lambda *_: pytest.fail("rendered again"))
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(again[29].image, item.image)
    np.testing.assert_array_equal(RenderedHands("studio", 30, 0, 32, cache=tmp_path)[29].image, item.image)
    assert len(pickle.dumps(first)) < 4000


def test_a_killed_rendering_leaves_no_half_cache(tmp_path: Path) -> None:
    class Killed(RenderedHands):
        def chunks(self) -> Iterator[dict[str, np.ndarray]]:
            yield next(super().chunks())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Killed("studio", 14, 0, 32, cache=tmp_path)[0]
    assert not list(tmp_path.iterdir())
    assert RenderedHands("studio", 14, 0, 32, cache=tmp_path)[13].image.any()


def test_the_loser_of_a_race_uses_the_winners_cache(tmp_path: Path) -> None:
    class Overtaken(RenderedHands):
        def chunks(self) -> Iterator[dict[str, np.ndarray]]:
            yield from super().chunks()
            RenderedHands("studio", 3, 0, 32, cache=tmp_path)[0]

    assert Overtaken("studio", 3, 0, 32, cache=tmp_path)[2].image.any()
    assert len(list(tmp_path.iterdir())) == 1
