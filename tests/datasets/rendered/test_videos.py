"""Rendered videos: smooth and human motion, labels that are exact in each frame, and clips that keep to their video."""

import hashlib
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from itertools import chain, groupby, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches, loader
from keyshift.datasets.options import BadOption
from keyshift.datasets.rendered.hand_anatomy import LIMITS, dip_range, spread_limit
from keyshift.datasets.rendered.hand_flesh import OWNS, SPLIT
from keyshift.datasets.rendered.hand_picture import render_drawn
from keyshift.datasets.rendered.hand_scene import STYLES, draws_of, generator
from keyshift.datasets.rendered.hand_video import GESTURE, MovingHand, draw_video
from keyshift.datasets.rendered.hands import Group, Options, RenderedHands, render_group, render_video, rendered_hands
from keyshift.datasets.rendered.shading import background
from keyshift.datasets.rendered.shifted import HandOptions, hand_style
from keyshift.datasets.rendered.video import Bars, Video, drifting, instants, panned, stepped
from keyshift.datasets.views import Selected, as_clips

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE, FRAMES = 64, 12
PLAIN = Options(video=FRAMES).moving
HARD = Options(video=FRAMES, smeared=0.5, passing=1.0).moving
LABELS = ("camera", "points", "keypoints")


@pytest.fixture(scope="module")
def plain() -> dict[str, list[list[Group]]]:
    return {
        style: [render_video(style, 1, number, PLAIN, SIZE) for number in range(4)] for style in ("studio", "webcam")
    }


@pytest.fixture(scope="module")
def hard() -> dict[str, list[list[Group]]]:
    return {
        style: [render_video(style, 1, number, HARD, SIZE) for number in range(4)] for style in ("studio", "webcam")
    }


def points_of(video: list[Group]) -> np.ndarray:
    return np.stack([frame.points[0] for frame in video]).astype(np.float64)


def test_hands_move_smoothly(plain: dict[str, list[list[Group]]]) -> None:
    """At 25 frames a second a fast fingertip makes 1 m/s, and changes its speed little from one frame to the next."""
    steps, changes = [], []
    for points in (points_of(video) for made in plain.values() for video in made):
        steps.append(np.linalg.norm(np.diff(points, axis=0), axis=-1))
        changes.append(np.linalg.norm(np.diff(points, 2, axis=0), axis=-1))
    assert np.max(steps) < 45
    assert np.max(changes) < 22
    assert np.mean(changes) < 0.3 * np.mean(steps)
    assert 2 < np.mean(steps) < 15
    tips, wrists = np.mean(steps, (0, 1))[[8, 12, 16]], np.mean(steps, (0, 1))[0]
    assert (tips > wrists).all()


def test_speed_says_how_fast_they_move() -> None:
    def mean_step(speed: float) -> float:
        videos = [render_video("studio", 1, n, replace(PLAIN, speed=speed), 16) for n in range(6)]
        return float(np.mean([np.linalg.norm(np.diff(points_of(video), axis=0), axis=-1) for video in videos]))

    slow, usual, fast = (mean_step(speed) for speed in (0.25, 1.0, 2.0))
    assert 3 < usual / slow < 5.5
    assert 1.5 < fast / usual < 2.5
    assert mean_step(0.0) == 0


def test_angles_stay_within_the_limits_between_poses() -> None:
    video, look = Video(200, 2.0, 0.0, 0.0, 0.0), STYLES["webcam"]
    for number in range(4):
        draws = draws_of("test", 0, number, True)
        hand = MovingHand(generator("test", 0, 1, number), draws, look, video, None)
        angles = hand.angles(np.arange(0, 200, 0.7))
        assert (angles >= LIMITS[:, 0] - 1e-9).all()
        assert (angles <= LIMITS[:, 1] + 1e-9).all()
        for fingers in angles[:, :16].reshape(-1, 4, 4):
            low, high = dip_range(fingers[:, 2])
            assert (fingers[:, 3] >= low - 1e-9).all()
            assert (fingers[:, 3] <= high + 1e-9).all()
            assert (np.abs(fingers[:, 1]) <= spread_limit(fingers[:, 0]) + np.deg2rad(15)).all()
        assert np.ptp(angles[:, [0, 2, 4, 6]], axis=0).min() > np.deg2rad(40)  # all fingers bend and straighten
        arrived = hand.angles((np.arange(3, 6) - hand.start) * GESTURE / video.speed - 8.0)
        assert np.abs(arrived - hand.keys[3:6]).max() < np.deg2rad(25)


def test_one_hand_before_one_scene(plain: dict[str, list[list[Group]]]) -> None:
    for style, videos in plain.items():
        for video in videos:
            bones = np.linalg.norm(np.diff(points_of(video)[:, 1:].reshape(FRAMES, 5, 4, 3), axis=2), axis=-1)
            np.testing.assert_allclose(bones, np.broadcast_to(bones[:1], bones.shape), atol=1e-3)
            assert len({bool(frame.right[0]) for frame in video}) == 1
            assert len({frame.camera[0] for frame in video}) == 1
            sways = np.linalg.norm(np.diff([frame.camera[2:] for frame in video], axis=0), axis=-1).max()
            assert sways == 0 if style == "studio" else 0.01 < sways < 0.05 * SIZE
        for first, second in pairwise(videos[0] if style == "studio" else []):
            behind = (first.depth == 0) & (second.depth == 0)
            assert np.abs(first.image[behind].astype(int) - second.image[behind]).mean() < 2
    different = {tuple(np.round(np.diff(video[0].points[0, 5:9, 2]), 1)) for video in plain["studio"]}
    assert len(different) == 4


def test_hands_fill_the_picture_and_stay_in_it(plain: dict[str, list[list[Group]]]) -> None:
    keypoints = np.stack([frame.keypoints[0] for made in plain.values() for video in made for frame in video])
    assert (keypoints > -2).all()
    assert (keypoints < SIZE + 2).all()
    extents = np.ptp(keypoints, axis=1).max(-1) / SIZE
    assert 0.45 < extents.mean() < 0.8
    assert extents.max() < 0.95


def test_labels_are_exact_in_each_frame(hard: dict[str, list[list[Group]]]) -> None:
    """Keypoints are projections, and of the flesh that the middle of the exposure shows, visible joints lie a
    thickness behind the surface."""
    depths: list[float] = []
    for frame in (one for made in hard.values() for video in made for one in video):
        points, camera = frame.points[0].astype(np.float64), frame.camera.astype(np.float64)
        np.testing.assert_allclose(
            points[:, :2] / points[:, 2:] * camera[:2] + camera[2:], frame.keypoints[0], atol=2e-3
        )
        inside = ((frame.keypoints[0] >= 0) & (frame.keypoints[0] < SIZE)).all(-1)
        assert not (frame.visible[0] & ~inside).any()
        column, row = frame.keypoints[0][frame.visible[0]].astype(int).T
        surface = frame.depth[row, column]
        depths += list((points[frame.visible[0], 2] - surface)[surface > 0])
    assert len(depths) > 500
    assert (np.array(depths) > 1).mean() > 0.97
    assert (np.array(depths) < 45).mean() > 0.97


def naive_visible(hand: dict[str, np.ndarray], joint: int) -> bool:
    """Whether the first of 400 spheres along each cone that the joint's ray meets is its own surroundings'."""
    share, ray = np.linspace(0, 1, 400), hand["points"][joint] / hand["points"][joint, 2]
    centre = hand["a"][:, None] + share[:, None] * (hand["b"] - hand["a"])[:, None]
    radius = hand["radii"][:, :1] + share * (hand["radii"][:, 1:] - hand["radii"][:, :1])
    along = centre @ ray
    root = along**2 - ray @ ray * ((centre**2).sum(-1) - radius**2)
    enter = np.where((root >= 0) & (radius > 0), along - np.sqrt(np.maximum(root, 0)), np.inf)
    cone, place = np.unravel_index(np.where(enter > 0, enter, np.inf).argmin(), enter.shape)
    part = 2 if share[place] >= SPLIT[cone, 1] else 0 if share[place] < SPLIT[cone, 0] else 1
    return bool(np.isfinite(enter[cone, place]) and OWNS[part, cone, joint])


def test_visibility_against_a_naive_ray_test(hard: dict[str, list[list[Group]]]) -> None:
    same = []
    for style in ("studio", "webcam"):
        drawn = draw_video(STYLES[style], 1, 0, SIZE, (), HARD)
        for frame, exposed in zip(hard[style][0], drawn, strict=True):
            assert len(exposed) % 2 == 1
            (hand,) = exposed[len(exposed) // 2][1]
            inside = ((frame.keypoints[0] >= 0) & (frame.keypoints[0] < SIZE)).all(-1)
            naive = [naive_visible(hand, joint) for joint in range(21)]
            same += list((naive & inside) == frame.visible[0])
    assert np.mean(same) > 0.98


def sharpness(image: np.ndarray) -> float:
    return float(
        np.abs(np.diff(image.astype(float), axis=0)).mean() + np.abs(np.diff(image.astype(float), axis=1)).mean()
    )


def test_smeared_frames_keep_their_labels() -> None:
    """Each frame is smeared or sharp by itself; sharp ones keep their bits; smeared ones are the mean of what is to be
    seen around their time, so that an outline moves by no more than the hand does."""
    smeared = replace(PLAIN, smeared=0.5)
    sharp, mixed = ([render_video("studio", 2, n, video, SIZE) for n in range(4)] for video in (PLAIN, smeared))
    blurred = []
    for one, other in zip(chain.from_iterable(sharp), chain.from_iterable(mixed), strict=True):
        for name in (*LABELS, "visible", "depth"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        blurred.append((one.image != other.image).any())
        if blurred[-1]:
            assert sharpness(other.image) < sharpness(one.image)
    assert 0.25 < np.mean(blurred) < 0.75
    lengths = np.array([smeared.length("x", 0, 0, frame) for frame in range(200)])
    assert 0.35 < (lengths == 0).mean() < 0.65
    assert lengths[lengths > 0].min() >= smeared.exposure / 2
    assert smeared.exposure / 2 < lengths.max() <= smeared.exposure


def test_a_smeared_frame_is_the_mean_of_its_time() -> None:
    """Of the pictures that a shutter without any width would take; noise and rounding are each picture's own."""
    smeared = Video(3, 1.0, 1.0, 2.0, 0.0)
    exposed = draw_video(STYLES["studio"], 3, 0, SIZE, (), smeared)[1]
    assert len(exposed) > 1
    mean = np.mean([render_drawn([drawn], SIZE)[0]["image"][0].numpy().astype(float) for drawn in exposed], axis=0)
    made = render_video("studio", 3, 0, smeared, SIZE)[1].image
    assert np.abs(made - mean).mean() < 2
    assert np.abs(made - mean).max() < 12


def test_what_a_bar_hides_neighbours_show() -> None:
    """Of the joints that are hidden by bars alone, most are seen in the frame before or after, and half of all bars'
    time something is hidden at all."""
    passing = replace(PLAIN, passing=1.0)
    hidden, again = 0, 0
    for n in range(8):
        free, barred = (render_video("studio", 4, n, video, 32) for video in (PLAIN, passing))
        for one, other in zip(free, barred, strict=True):
            np.testing.assert_array_equal(one.points, other.points)
        seen = np.stack([frame.visible[0] for frame in barred])
        covered = np.stack([frame.visible[0] for frame in free]) & ~seen
        around = np.zeros_like(seen)
        around[1:] |= seen[:-1]
        around[:-1] |= seen[1:]
        hidden += covered.sum()
        again += (covered & around).sum()
    assert hidden > 0.1 * 8 * FRAMES * 21
    assert again > 0.7 * hidden


def test_bars_pass_by_more_than_their_width() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = rng.normal(0, 40, (3, 21, 3)) + np.array([0, 0, 500])
        bars = Bars(rng, 0.7, points)
        a, b, radii = bars.at(0.0)
        later = bars.at(1e-3)[0]
        pace = np.linalg.norm(later - a, axis=-1) / 1e-3
        assert (pace[bars.there] > 2 * radii[bars.there, 0]).all()
        assert ((radii > 0).all(1) == bars.there).all()
        assert (np.maximum(a[:, 2], b[:, 2]) + radii[:, 0] < points[..., 2].min() + 20).all()


def test_a_swaying_camera_takes_the_scene_with_it() -> None:
    (around, _) = draw_video(STYLES["webcam"], 5, 0, SIZE, (), Video(1, 1.0, 0.0, 0.0, 0.0))[0][0]
    behind = {name: around[name] for name in ("wall", "grain", "shapes", "shape_colours")}

    def painted(scene: dict[str, np.ndarray]) -> np.ndarray:
        batch = {name: torch.from_numpy(value)[None].float() for name, value in scene.items()}
        return background(batch, SIZE)[0].numpy()

    still, moved = painted(behind), painted(panned(behind, np.array([8 / SIZE, -4 / SIZE])))
    aligned = moved[:, 4:-16, 20:-8] - still[:, 8:-12, 12:-16]
    shifted = moved[:, 4:-16, 20:-8] - still[:, 4:-16, 20:-8]
    assert np.abs(aligned).mean() < 0.4 * np.abs(shifted).mean()


def test_videos_before_a_folder_of_pictures_and_with_dials(tmp_path: Path) -> None:
    """The picture behind stays the same one, and dials move videos as they do pictures."""
    cv2.imwrite(str(tmp_path / "a.png"), np.full((60, 80, 3), (40, 200, 90), np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((60, 80, 3), (200, 40, 90), np.uint8))
    for number in range(3):
        made = render_video("photo", 0, number, replace(PLAIN, frames=4), 32, backgrounds=tmp_path)
        greens = [frame.image[frame.depth == 0].astype(int).mean(0)[1] for frame in made]
        assert np.ptp(greens) < 12
    near, far = (hand_style(HandOptions(camera=camera, occlusion=0.0)) for camera in (0.0, 1.0))
    still, swaying = (render_video(style, 0, 0, replace(PLAIN, frames=4), 32) for style in (near, far))
    assert np.ptp([frame.camera[2] for frame in still]) == 0 < np.ptp([frame.camera[2] for frame in swaying])
    hidden = [
        np.mean([frame.visible for n in range(3) for frame in render_video(style, 0, n, PLAIN, 24)])
        for style in (near, hand_style(HandOptions(occlusion=1.0)))
    ]
    assert hidden[1] < hidden[0] - 0.05


def test_the_same_bits_in_any_company_and_process(hard: dict[str, list[list[Group]]], tmp_path: Path) -> None:
    few, many = (
        RenderedHands("webcam", count, 1, SIZE, cache=tmp_path, video=HARD) for count in (FRAMES + 3, 2 * FRAMES)
    )
    for row in range(len(few)):
        for name in ("image", *LABELS, "visible"):
            np.testing.assert_array_equal(getattr(few[row], name), getattr(many[row], name))
            if name not in ("image", "camera"):
                own = getattr(hard["webcam"][row // FRAMES][row % FRAMES], name)[0]
                np.testing.assert_array_equal(getattr(few[row], name), own)
    code = (
        "import hashlib, torch; torch.set_num_threads(2)\n"
        "from keyshift.datasets.rendered.hands import Options, render_video\n"
        f"v = render_video('webcam', 1, 2, Options(video={FRAMES}, smeared=0.5, passing=1.0).moving, {SIZE})\n"
        "print(hashlib.sha256(b''.join(f.image.tobytes() + f.points.tobytes() for f in v)).hexdigest())"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    own = b"".join(frame.image.tobytes() + frame.points.tobytes() for frame in hard["webcam"][2])
    assert answer.stdout.strip() == hashlib.sha256(own).hexdigest()


def test_a_sequence_is_a_video_and_its_frames_follow_each_other(tmp_path: Path) -> None:
    options = Options(video=5, train=12, test=7, size=32)
    parts = {
        part: RenderedHands("studio", count, 0, 32, first, cache=tmp_path, video=options.moving)
        for part, (count, first) in ((part, options.scenes_of(part)) for part in ("train", "test"))
    }
    sequences: set[str] = set()
    for part, lengths in (("train", [5, 5, 2]), ("test", [5, 2])):
        items = [parts[part][row] for row in range(len(parts[part]))]
        groups = [list(group) for _, group in groupby(items, key=lambda item: item.sequence)]
        assert [len(group) for group in groups] == lengths
        for group in groups:
            assert [item.frame for item in group] == list(range(len(group)))
            assert group[0].sequence not in sequences
            sequences.add(group[0].sequence)
            for one, other in pairwise(group):
                assert np.abs(one.keypoints - other.keypoints).mean() < 4
        assert len({item.id for item in items}) == len(items)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> RenderedHands:
    return RenderedHands("studio", 7, 0, 32, cache=tmp_path_factory.mktemp("cache"), video=Options(video=5).moving)


def test_clips_keep_to_their_video(short: RenderedHands) -> None:
    """Of five frames: at both ends of a video, and at the end of the shorter last one, the last frame stands again."""
    clips = as_clips(short, 5)
    rows = {
        0: [0, 0, 0, 1, 2],
        1: [0, 0, 1, 2, 3],
        2: [0, 1, 2, 3, 4],
        4: [2, 3, 4, 4, 4],
        5: [5, 5, 5, 6, 6],
        6: [5, 5, 6, 6, 6],
    }
    for row, wanted in rows.items():
        clip = clips[row]
        assert clip.image.shape == (5, 32, 32, 3)
        np.testing.assert_array_equal(clip.image, np.stack([short[one].image for one in wanted]))
        assert clip.inputs["margins"].tolist() == [1.0] * 4
        np.testing.assert_array_equal(clip.keypoints, short[row].keypoints)
        assert (clip.id, clip.frame, clip.sequence) == (short[row].id, short[row].frame, short[row].sequence)
    assert len(clips) == len(short)
    assert clips.identity != short.identity
    assert short[0].image.ndim == 3
    assert as_clips(short, 1)[3].inputs["margins"].shape == (0,)
    assert pickle.loads(pickle.dumps(clips))[2].image.shape == (5, 32, 32, 3)
    for wrong in (-1, 7):
        with pytest.raises(IndexError, match="0 to 6"):
            clips[wrong]


def test_batches_of_clips_whatever_the_workers(short: RenderedHands) -> None:
    view = as_clips(Selected(short, short.skeleton.keypoints[:4]), 3)
    batches = TrainingBatches(view, "target", 0, 4, (32, 32), Augmentation(), labels=True)
    for number, batch in enumerate(loader(batches, range(2), workers=1)):
        here = batches[number]
        assert batch.image.shape == (4, 3, 3, 32, 32)
        assert batch.inputs["margins"].shape == (4, 2)
        assert batch.keypoints.shape == (4, 4, 2)
        assert torch.equal(batch.image, here.image)
        assert torch.equal(batch.keypoints, here.keypoints)


def test_videos_of_several_hands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path))
    options = Options(video=3, train=8, size=48, hands=[0, 3])
    single, whole = (rendered_hands(replace(options, crops=crops), "train", "studio") for crops in ("seen", "whole"))
    counts = [len(whole[row].keypoints) for row in range(8)]
    assert counts[:3] == [counts[0]] * 3
    assert counts[3:6] == [counts[3]] * 3
    assert len(single) == sum(counts)
    assert len(set(counts)) > 1
    items = [single[row] for row in range(len(single))]
    lengths = [len(list(group)) for _, group in groupby(items, key=lambda item: item.sequence)]
    assert lengths == [3] * counts[0] + [3] * counts[3] + [2] * counts[6]
    for one, other in pairwise(items):
        if one.sequence == other.sequence:
            assert other.frame == one.frame + 1
            assert np.abs(one.keypoints - other.keypoints).mean() < 4
    row = next(row for row in range(len(items)) if items[row].frame == 0)
    clip = as_clips(single, 3)[row]
    np.testing.assert_array_equal(clip.image[[0, 2]], np.stack([items[row].image, items[row + 1].image]))
    assert as_clips(whole, 3)[0].image.shape == (3, 48, 48, 3)
    assert as_clips(whole, 3)[0].keypoints.shape == (counts[0], 21, 2)


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"smeared=0.5 is of videos: .* video=16"):
        Options(smeared=0.5)
    with pytest.raises(BadOption, match=r"speed=2.0 is of videos"):
        Options(speed=2.0)
    with pytest.raises(ValueError, match=r"pictures do not follow each other.*source.video=16"):
        as_clips(RenderedHands("studio", 3, 0, 32, cache=tmp_path), 3)
    with pytest.raises(ValueError, match="odd number"):
        as_clips(RenderedHands("studio", 3, 0, 32, cache=tmp_path, video=PLAIN), 2)


def test_without_videos_sets_are_what_they_were(tmp_path: Path) -> None:
    """Their identity names no video, and pictures are those of `render_group`."""
    still = RenderedHands("webcam", 2, 0, 32, cache=tmp_path)
    assert set(still.identity) == {"name", "style", "seed", "first", "count", "size", "version", "backgrounds"}
    np.testing.assert_array_equal(still[1].image, render_group("webcam", 0, 1, 32).image)
    assert RenderedHands("webcam", 2, 0, 32, cache=tmp_path, video=PLAIN)._folder != still._folder


def test_tracks_go_through_mixtures_of_their_values() -> None:
    values = np.random.default_rng(0).normal(size=(9, 4))
    places = np.linspace(0, 5, 501)
    moved, drifted = stepped(values, places), drifting(values, places)
    np.testing.assert_allclose(moved[::100], values[:6], atol=1e-12)
    np.testing.assert_allclose(drifted[::100], (values[:6] + 4 * values[1:7] + values[2:8]) / 6, atol=1e-12)
    for made in (moved, drifted):
        assert (made >= values.min(0) - 1e-12).all()
        assert (made <= values.max(0) + 1e-12).all()
        accelerations = np.diff(made, 2, axis=0) / 0.01**2
        assert np.abs(np.diff(accelerations, axis=0)).max() < 0.06 * np.abs(accelerations).max() + 1  # no jumps
    np.testing.assert_allclose(drifting(np.ones((6, 2)), np.array([0.0, 2.0])), 1)


def test_an_exposure_has_its_frame_in_the_middle() -> None:
    assert instants(4.0, 0.0, 10.0).tolist() == [4.0]
    for length, pixels in ((0.5, 0.1), (1.0, 6.0), (2.0, 100.0)):
        times = instants(4.0, length, pixels)
        assert len(times) % 2 == 1
        assert times[len(times) // 2] == 4.0
        assert times[-1] - times[0] == pytest.approx(length)
    assert len(instants(0, 1.0, 1.0)) < len(instants(0, 1.0, 8.0)) < len(instants(0, 1.0, 100.0)) == 13
