"""Rendered videos of people: smooth and human motion, exact labels, and one sequence for each person."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from keyshift.datasets.options import BadOption
from keyshift.datasets.rendered.people import Options, RenderedPeople, Scene, render_video
from keyshift.datasets.rendered.people_files import write_scenes
from keyshift.datasets.rendered.people_scene import PARTS
from keyshift.datasets.rendered.people_stage import people_in
from keyshift.datasets.rendered.people_styles import STYLES
from keyshift.datasets.rendered.people_video import SETTLED, Actor, Film, Posing, Striding
from keyshift.datasets.rendered.person_anatomy import PERSON_LIMITS, PLACE, sample_person
from keyshift.datasets.rendered.person_clothes import sample_outfit
from keyshift.datasets.rendered.person_flesh import OWNS
from keyshift.datasets.rendered.person_poses import FAMILIES
from keyshift.datasets.rendered.video import Video
from keyshift.datasets.views import as_clips

pytestmark = pytest.mark.usefixtures("one_thread")
FRAMES = 6
SMALL = Options(size=96, scenes=3, train=2 * FRAMES + 2, test=FRAMES, video=FRAMES)
HARD = replace(SMALL, smeared=0.5, passing=1.0)
LONG = Video(20, 1.0, 0.0, 0.0, 0.0)
LABELS = ("points", "visible")


@pytest.fixture(scope="module")
def videos() -> dict[str, list[list[Scene]]]:
    return {style: [render_video(style, SMALL, number) for number in range(3)] for style in STYLES}


def acting(family: str, seed: int, video: Video = LONG) -> Actor:
    rng = np.random.default_rng(seed)
    person = sample_person(rng)
    going = family in ("walk", "run")
    act = Striding(rng, person, video, family == "run") if going else Posing(rng, person, video, family)
    return Actor(person, sample_outfit(rng, (0, 1)), act, 0.4, np.zeros(2))


def joints_of(actor: Actor, times: np.ndarray) -> np.ndarray:
    standing = [actor.at(time) for time in times]
    return np.stack([one.world(one.stance.pose.joints) for one in standing])


@pytest.mark.parametrize("family", FAMILIES)
def test_everybody_moves_smoothly(family: str) -> None:
    """mm a frame: the foot of a runner makes 13 m/s, hands of others 6 m/s, and none jumps; shorter steps in time are
    shorter in space."""
    fast = family == "run"
    for seed in range(3):
        actor = acting(family, seed)
        coarse, fine = (joints_of(actor, np.arange(0, 20, step)) for step in (1.0, 0.25))
        steps, changes = (np.linalg.norm(np.diff(coarse, order, axis=0), axis=-1) for order in (1, 2))
        assert steps.max() < (650 if fast else 280)
        assert changes.max() < (300 if fast else 110)
        assert changes.mean() < 0.5 * steps.mean()
        assert np.linalg.norm(np.diff(fine, axis=0), axis=-1).max() < 0.4 * steps.max()
        assert steps.max() > 2
        if family in SETTLED:
            feet = coarse[:, [PLACE[f"{side}_ankle"] for side in ("left", "right")]]
            assert np.linalg.norm(np.diff(feet, axis=0), axis=-1).max() < 12


@pytest.mark.parametrize("family", ["stand", "gesture", "kneel", "lie"])
def test_angles_stay_within_the_limits_between_poses(family: str) -> None:
    act = acting(family, 1).act
    angles = np.stack([act.stance(time).angles for time in np.arange(0, 20, 0.5)])
    assert (angles >= PERSON_LIMITS[:, 0] - 1e-9).all()
    assert (angles <= PERSON_LIMITS[:, 1] + 1e-9).all()
    assert np.ptp(angles, axis=0).max() > np.deg2rad(3)


def test_who_walks_goes_where_they_face_and_stays_about() -> None:
    for frames, straight in ((20, True), (200, False)):
        actor = acting("walk", 2, replace(LONG, frames=frames))
        pelvis = joints_of(actor, np.arange(frames))[:, PLACE["pelvis"]][:, [0, 2]]
        ways = np.diff(pelvis, axis=0)
        facing = np.stack([actor.at(time + 0.5).turn[[0, 2], 2] for time in range(frames - 1)])
        along = (ways * facing).sum(-1) / np.linalg.norm(ways, axis=-1) / np.linalg.norm(facing, axis=-1)
        assert along.min() > 0.95
        assert np.abs(pelvis).max() < 2500
        went = np.linalg.norm(ways, axis=-1)
        assert 15 < went.mean() < 70
        assert (np.linalg.norm(pelvis[-1] - pelvis[0]) > 0.9 * went.sum()) == straight
        feet = joints_of(actor, np.arange(frames))[:, [PLACE["left_ankle"], PLACE["right_ankle"]], 1]
        assert np.ptp(feet, axis=0).min() > 60  # both feet are lifted


def test_labels_are_exact_in_each_frame(videos: dict[str, list[list[Scene]]]) -> None:
    for scene in (one for made in videos.values() for video in made for one in video):
        points, camera = scene.points.astype(np.float64), scene.camera.astype(np.float64)
        projected = points[..., :2] / points[..., 2:] * camera[:2] + camera[2:]
        np.testing.assert_allclose(projected, scene.keypoints, atol=0.02)
        for slot in range(len(points)):  # what is seen of a joint is the person's own surface, near the joint
            seen = scene.visible[slot]
            x, y = scene.keypoints[slot][seen].astype(int).T
            if scene.pixels[slot] > 200 and seen.sum() > 10:
                assert (scene.owner[y, x] == slot).mean() > 0.6
                gap = points[slot][seen, 2] - scene.depth[y, x]
                assert np.abs(np.median(gap[scene.owner[y, x] == slot])) < 160


def naive_first(drawn: dict[str, np.ndarray], ray: np.ndarray) -> tuple[int, float]:
    """The cone that a ray (u, v, 1) meets first and where along its axis, by 200 spheres of each."""
    share = np.linspace(0, 1, 200)
    centre = drawn["a"][:, None] + share[:, None] * (drawn["b"] - drawn["a"])[:, None]
    radius = drawn["radii"][:, :1] + share * (drawn["radii"][:, 1:] - drawn["radii"][:, :1])
    along = centre @ ray
    root = along**2 - ray @ ray * ((centre**2).sum(-1) - radius**2)
    enter = np.where((root >= 0) & (radius > 0), along - np.sqrt(np.maximum(root, 0)), np.inf)
    enter = np.where(enter > 0, enter, np.inf)
    cone, place = np.unravel_index(enter.argmin(), enter.shape)
    return (int(cone), float(share[place])) if np.isfinite(enter[cone, place]) else (-1, 0.0)


def test_visibility_against_a_naive_ray_test_with_bars_before() -> None:
    look, same = STYLES["wild"], []
    drawn = Film(look, 3, 1, 96, look.focal, 1.0, (), (), HARD.moving).frames()
    for scene, frame in list(zip(render_video("wild", HARD, 1), drawn, strict=True))[:2]:
        middle = frame.instants[len(frame.instants) // 2]
        for slot in range(len(scene.points)):
            for k, point in enumerate(middle["points"][slot]):
                cone, share = naive_first(middle, point / point[2])
                inside = ((scene.keypoints[slot, k] >= 0) & (scene.keypoints[slot, k] < 96)).all()
                own = cone >= 0 and cone // PARTS == slot
                same.append((inside and own and OWNS[int(share >= 0.5), cone % PARTS, k]) == scene.visible[slot, k])
    assert np.mean(same) > 0.97


def test_bars_and_exposure_change_what_is_seen_and_no_point() -> None:
    hidden = again = 0
    for number in range(3):
        plain, hard = render_video("lab", SMALL, number), render_video("lab", HARD, number)
        for one, other in zip(plain, hard, strict=True):
            np.testing.assert_array_equal(one.points, other.points)
        seen = np.stack([scene.visible for scene in hard])
        covered = np.stack([scene.visible for scene in plain]) & ~seen
        around = np.zeros_like(seen)
        around[1:] |= seen[:-1]
        around[:-1] |= seen[1:]
        hidden += covered.sum()
        again += (covered & around).sum()
    assert hidden > 40
    assert again > 0.6 * hidden


def walks(number: int) -> bool:
    points = np.stack([scene.points[:, 0] for scene in render_video("lab", replace(SMALL, size=64), number)])
    return bool(np.linalg.norm(np.diff(points, axis=0), axis=-1).mean() > 25)


def test_smeared_frames_are_softer() -> None:
    soft = replace(SMALL, smeared=1.0, exposure=3.0)
    number = next(n for n in range(20) if walks(n))
    sharp, smeared = (render_video("lab", options, number)[2] for options in (SMALL, soft))
    for name in ("points", "visible", "depth", "owner"):
        np.testing.assert_array_equal(getattr(sharp, name), getattr(smeared, name))
    inside = cv2.dilate((sharp.owner >= 0).astype(np.uint8), np.ones((5, 5))) > 0
    edges = [np.abs(cv2.Laplacian(scene.image, cv2.CV_64F))[inside].mean() for scene in (sharp, smeared)]
    assert edges[1] < 0.9 * edges[0]


def test_the_same_bits_in_any_process(videos: dict[str, list[list[Scene]]]) -> None:
    code = (
        "import hashlib, torch; torch.set_num_threads(2)\n"
        "from keyshift.datasets.rendered.people import Options, render_video\n"
        f"v = render_video('wild', Options(size=96, scenes=3, video={FRAMES}), 2)\n"
        "print(hashlib.sha256(b''.join(s.image.tobytes() + s.points.tobytes() for s in v)).hexdigest())"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    own = b"".join(scene.image.tobytes() + scene.points.tobytes() for scene in videos["wild"][2])
    assert answer.stdout.strip() == hashlib.sha256(own).hexdigest()


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> RenderedPeople:
    return RenderedPeople("wild", replace(SMALL, joints="all"), cache=tmp_path_factory.mktemp("cache"))


def test_a_sequence_is_one_person_of_a_video(wild: RenderedPeople, videos: dict[str, list[list[Scene]]]) -> None:
    items = [wild[row] for row in range(len(wild))]
    counts = [people_in(STYLES["wild"], SMALL.scenes, number) for number in range(3)]
    groups = [list(group) for _, group in groupby(items, key=lambda item: item.sequence)]
    assert [len(group) for group in groups] == [FRAMES] * (counts[0] + counts[1]) + [2] * counts[2]
    assert len({item.id for item in items}) == len(items)
    boxes = wild.own_boxes()
    for group in groups:
        assert [item.frame for item in group] == list(range(len(group)))
        for one, other in pairwise(group):
            assert one.points is not None
            assert other.points is not None
            assert np.linalg.norm(one.points[0] - other.points[0]) < 250
    for row, item in enumerate(items):
        scene, slot = wild.rows[row]
        shown = videos["wild"][scene // FRAMES][scene % FRAMES]
        np.testing.assert_array_equal(item.image, shown.image)
        np.testing.assert_array_equal(item.keypoints, shown.keypoints[slot])
        np.testing.assert_array_equal(boxes[row], shown.seen[slot])
        assert item.inputs["others"][:, 2].sum() == len(shown.points) - 1


def test_clips_keep_to_their_video(wild: RenderedPeople) -> None:
    clips = as_clips(wild, 3)
    for row in range(len(wild)):
        clip, (scene, _) = clips[row], wild.rows[row]
        start, end = scene // FRAMES * FRAMES, min(scene // FRAMES * FRAMES + FRAMES, wild.count) - 1
        wanted = [max(scene - 1, start), scene, min(scene + 1, end)]
        np.testing.assert_array_equal(clip.image, np.stack([wild.arrays()["image"][one] for one in wanted]))
        assert clip.inputs["margins"].tolist() == [1.0, 1.0]
        assert clip.inputs["others"].shape == (8, 3)
        np.testing.assert_array_equal(clip.box, wild[row].box)
    whole = as_clips(RenderedPeople("wild", replace(SMALL, crops="whole"), cache=wild._folder.parent), 5)
    assert whole[0].image.shape == (5, 96, 96, 3)
    assert whole[0].keypoints.shape[1:] == (17, 2)
    assert len(whole) == SMALL.train


def test_the_camera_of_the_lab_stands_still(videos: dict[str, list[list[Scene]]]) -> None:
    for style, moved in (("lab", False), ("wild", True)):
        for video in videos[style]:
            assert len({frame.camera[0] for frame in video}) == 1
            assert (np.ptp([frame.camera[2:] for frame in video], axis=0).max() > 0.01) == moved
    for first, second in pairwise(videos["lab"][0]):
        behind = cv2.dilate(((first.owner >= 0) | (second.owner >= 0)).astype(np.uint8), np.ones((7, 7))) == 0
        behind[60:] = False  # shadows move on the floor
        assert np.abs(first.image[behind].astype(int) - second.image[behind]).mean() < 2


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"passing=0.5 is of videos: .* video=16"):
        Options(passing=0.5)
    with pytest.raises(ValueError, match="video=16"):
        render_video("lab", Options(), 0)
    with pytest.raises(ValueError, match="pictures do not follow each other"):
        as_clips(RenderedPeople("lab", replace(SMALL, video=0), cache=tmp_path), 3)
    with pytest.raises(ValueError, match="leave video=0"):
        write_scenes(tmp_path / "out", "lab", SMALL, "train")


def test_without_videos_sets_are_what_they_were(tmp_path: Path) -> None:
    still = RenderedPeople("lab", replace(SMALL, video=0), cache=tmp_path)
    assert set(still.identity) == {"name", "seed", "first", "count", "size", "version", "boxes", "joints"}
