"""Motion carried over from BVH rigs to rendered persons."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.reading.bvh import read_bvh
from keyshift.datasets.rendered.motion import mapping, motion_files, motion_stance, motions, read_motion
from keyshift.datasets.rendered.people import Options, RenderedPeople, render_scene, render_video
from keyshift.datasets.rendered.people_video import Captured
from keyshift.datasets.rendered.person_anatomy import PLACE, SIDES, sample_person
from keyshift.datasets.rendered.video import Video

RIG = {
    "Hips": ("", (0, 0, 0)),
    "Spine": ("Hips", (0, 10, 0)),
    "Spine1": ("Spine", (0, 15, 0)),
    "Neck": ("Spine1", (0, 25, 0)),
    "Head": ("Neck", (0, 10, 0)),
    **{f"{s}Shoulder": ("Spine1", (x * 5, 24, 0)) for s, x in (("Left", 1), ("Right", -1))},
    **{f"{s}Arm": (f"{s}Shoulder", (x * 13, 0, 0)) for s, x in (("Left", 1), ("Right", -1))},
    **{f"{s}ForeArm": (f"{s}Arm", (x * 28, 0, 0)) for s, x in (("Left", 1), ("Right", -1))},
    **{f"{s}Hand": (f"{s}ForeArm", (x * 25, 0, 0)) for s, x in (("Left", 1), ("Right", -1))},
    **{f"{s}UpLeg": ("Hips", (x * 9, 0, 0)) for s, x in (("Left", 1), ("Right", -1))},
    **{f"{s}Leg": (f"{s}UpLeg", (0, -40, 0)) for s, x in (("Left", 1), ("Right", -1))},
    **{f"{s}Foot": (f"{s}Leg", (0, -42, 0)) for s, x in (("Left", 1), ("Right", -1))},
    **{f"{s}ToeBase": (f"{s}Foot", (0, -5, 14)) for s, x in (("Left", 1), ("Right", -1))},
}
"""Name: parent and offset in cm; a T pose that looks along z, y up."""


def write(
    path: Path, turns: dict[str, tuple[float, float, float]], z_up: bool = False, names=lambda name: name
) -> Path:  # type: ignore[no-untyped-def]
    """A clip of the T pose and of one frame with `turns` (degrees about x, y, z)."""
    lines, values = ["HIERARCHY"], []

    def add(name: str, deep: int) -> None:
        x, y, z = RIG[name][1]
        pad = "  " * deep
        lines.append(f"{pad}{'JOINT' if deep else 'ROOT'} {names(name)}")
        lines.append(f"{pad}{{")
        lines.append(f"{pad}OFFSET {x} {-z if z_up else y} {y if z_up else z}")
        lines.append(f"{pad}CHANNELS 3 Xrotation Yrotation Zrotation")
        a, b, c = turns.get(name, (0, 0, 0))
        values.extend([a, -c, b] if z_up else [a, b, c])
        for child, (parent, _) in RIG.items():
            if parent == name:
                add(child, deep + 1)
        lines.append(f"{pad}}}")

    add("Hips", 0)
    lines += ["MOTION", "Frames: 2", "Frame Time: 0.04", " ".join("0" for _ in values), " ".join(map(str, values))]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("z_up", [False, True])
def test_bones_point_as_the_rigs_do(tmp_path: Path, z_up: bool) -> None:
    turns = {"LeftUpLeg": (-90.0, 0.0, 0.0), "LeftLeg": (60.0, 0.0, 0.0), "RightArm": (0.0, 0.0, 80.0)}
    motion = read_motion(write(tmp_path / "a.bvh", turns, z_up))
    person = sample_person(np.random.default_rng(0))
    for frame in (0, 1):
        stance = motion_stance(person, motion, frame)
        world = stance.pose.joints @ stance.root.T
        ways = {"left_hip": (0, -1, 0), "left_knee": (0, -1, 0), "right_shoulder": (-1, 0, 0), "right_hip": (0, -1, 0)}
        if frame:
            ways["left_hip"] = (0, 0, 1)  # the thigh forward, the shin 60 degrees back from it
            ways["left_knee"] = (0, -np.sin(np.deg2rad(60)), np.cos(np.deg2rad(60)))
            ways["right_shoulder"] = (-np.cos(np.deg2rad(80)), -np.sin(np.deg2rad(80)), 0)
        after = {"hip": ("knee", "thigh"), "knee": ("ankle", "shank"), "shoulder": ("elbow", "upper_arm")}
        for start, way in ways.items():
            side, joint = start.split("_")
            end, bone = after[joint]
            line = world[PLACE[f"{side}_{end}"]] - world[PLACE[start]]
            np.testing.assert_allclose(line, person.body.lengths[bone] * np.array(way), atol=1e-6)
        np.testing.assert_allclose(stance.root, np.eye(3), atol=1e-9)
        # The sole is nearly level: the toes were 20 degrees below the ankle, ours lie 18.
        heel, toe = (getattr(stance.pose, name)[0] @ stance.root.T for name in ("heels", "balls"))
        assert abs(heel[1] - toe[1]) < 15


def test_the_heads_turn_is_counted_from_its_mean(tmp_path: Path) -> None:
    motion = read_motion(write(tmp_path / "a.bvh", {"Head": (0.0, 60.0, 0.0)}))
    looks = [motion.skull[frame] @ [0, 0, 1] for frame in (0, 1)]
    np.testing.assert_allclose(looks[0], [-np.sin(np.deg2rad(30)), 0, np.cos(np.deg2rad(30))], atol=1e-9)
    np.testing.assert_allclose(looks[1], [np.sin(np.deg2rad(30)), 0, np.cos(np.deg2rad(30))], atol=1e-9)


def test_a_jump_lifts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bvh", {})
    text = path.read_text().replace("CHANNELS 3", "CHANNELS 4 Yposition", 1)
    rest, frames = text.rsplit("0.04\n", 1)
    first = frames.split("\n")[0]
    path.write_text(rest + "0.04\n" + "".join(f"{y} {first}\n" for y in (0, 0, 0, 41)))
    path.write_text(path.read_text().replace("Frames: 2", "Frames: 4"))
    motion = read_motion(path)
    np.testing.assert_allclose(motion.lift, [0, 0, 0, 0.5], atol=1e-9)
    person = sample_person(np.random.default_rng(0))
    leg = person.body.lengths["thigh"] + person.body.lengths["shank"]
    np.testing.assert_allclose(motion_stance(person, motion, 3).lift, leg / 2)
    assert motion_stance(person, motion, 0).lift == 0


def test_joints_that_cannot_be_mapped_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bvh", {}, names=lambda name: {"LeftForeArm": "Flipper", "Head": "Top"}.get(name, name))
    with pytest.raises(BadAnnotation, match=r"a\.bvh, HIERARCHY: the rig is without head, left_elbow, .*head as one"):
        read_motion(path)
    with pytest.raises(BadAnnotation, match="Flipper"):
        read_motion(path)


def test_names_are_read_with_prefixes_and_in_any_case(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bvh", {}, names=lambda name: f"mixamorig:{name.upper()}")
    clip = read_bvh(path)
    assert {clip.names[joint] for joint in mapping(clip).values()} >= {"mixamorig:LEFTARM", "mixamorig:RIGHTTOEBASE"}


def test_people_take_the_poses_of_clips(tmp_path: Path) -> None:
    write(tmp_path / "a.bvh", {"LeftArm": (0.0, 0.0, 70.0)})
    options = Options(size=64, motion=str(tmp_path), train=1)
    thigh = []
    for index in range(4):
        points = render_scene("lab", options, index).points[0].astype(np.float64)
        arm = points[PLACE["right_wrist"]] - points[PLACE["right_shoulder"]]
        leg = points[PLACE["right_ankle"]] - points[PLACE["right_hip"]]
        thigh.append(arm @ leg / np.linalg.norm(arm) / np.linalg.norm(leg))
    np.testing.assert_allclose(thigh, 0, atol=1e-4)  # the T pose: the right arm is square to the straight leg
    plain, moved = (RenderedPeople("lab", o, cache=tmp_path) for o in (replace(options, motion=None), options))
    assert moved.identity["motion"] not in plain.identity.values()
    with pytest.raises(ValueError, match="is not a folder"):
        RenderedPeople("lab", replace(options, motion=str(tmp_path / "gone")))


def test_folders_without_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"hold no \.bvh file"):
        motion_files(tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        motion_files(tmp_path / "gone")


def test_shared_clips_are_carried_over(shared: Path) -> None:
    """Three kinds of rigs: every bone points as the rig's does, in all axes and units."""
    folder = shared / "data" / "mocap_bvh"
    if not folder.is_dir():
        pytest.skip("no motion capture beside the checkout")
    person = sample_person(np.random.default_rng(0))
    clips = motions(str(folder))
    assert len(clips) == 18
    for motion in clips:
        clip = read_bvh(motion.file)
        joints, (places, _) = mapping(clip), clip.forward()
        for frame in (0, len(clip) // 2):
            stance = motion_stance(person, motion, frame)
            world = stance.pose.joints @ stance.root.T
            ours, theirs = [], []
            for side in SIDES:
                for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")):
                    ours.append(world[PLACE[f"{side}_{end}"]] - world[PLACE[f"{side}_{start}"]])
                    theirs.append(places[frame, joints[f"{side}_{end}"]] - places[frame, joints[f"{side}_{start}"]])
            a, b = (np.array(v) / np.linalg.norm(v, axis=1, keepdims=True) for v in (ours, theirs))
            # The angles between bones do not depend on which axis is up.
            np.testing.assert_allclose(a @ a.T, b @ b.T, atol=1e-6)
        assert (motion.pelvis[:, 1, 1] > 0.5).mean() > 0.9


def slow_clip(path: Path) -> Path:
    """An arm that comes down by 80 degrees within half a second."""
    text = write(path, {"LeftArm": (0.0, 0.0, -80.0)}).read_text()
    path.write_text(text.replace("Frame Time: 0.04", "Frame Time: 0.5"))
    return path


def test_videos_play_clips_at_their_rate(tmp_path: Path) -> None:
    """At 25 frames a second, between the clip's frames too; at its end they stand still."""
    clips, person = (read_motion(slow_clip(tmp_path / "a.bvh")),), sample_person(np.random.default_rng(0))

    def lowered(act: Captured, time: float) -> float:
        joints = act.stance(time).pose.joints
        arm = joints[PLACE["left_elbow"]] - joints[PLACE["left_shoulder"]]
        return float(np.rad2deg(np.arccos(arm[0] / np.linalg.norm(arm))))

    for speed in (1.0, 2.0):
        act = Captured(np.random.default_rng(1), person, Video(5, speed, 0.0, 0.0, 0.0), clips)
        shares = np.clip((act.start + speed * np.arange(30) * 0.04) / 0.5, 0, 1)
        assert 0 <= act.start <= 0.5 - 4 * speed * 0.04
        made = [lowered(act, time) for time in range(30)]
        way = np.stack([1 - shares + shares * np.cos(np.deg2rad(80)), shares * np.sin(np.deg2rad(80))])
        np.testing.assert_allclose(made, np.rad2deg(np.arctan2(way[1], way[0])), atol=0.5)
        assert made[-1] == made[-2] > made[0]


def test_videos_of_a_folder_of_clips(tmp_path: Path) -> None:
    slow_clip(tmp_path / "a.bvh")
    made = render_video("lab", Options(size=64, motion=str(tmp_path), video=4), 0)
    elbows = np.stack([scene.points[:, PLACE["left_elbow"]] for scene in made])
    knees = np.stack([scene.points[:, PLACE["left_knee"]] for scene in made])
    assert (np.linalg.norm(np.diff(elbows, axis=0), axis=-1) > 10).all()
    assert np.linalg.norm(np.diff(knees, axis=0), axis=-1).max() < 1


def test_the_own_clips_move_smoothly(shared: Path) -> None:
    folder = shared / "data/mocap_bvh/bandai_namco"
    if not folder.is_dir():
        pytest.skip("no motion capture beside the checkout")
    for number in range(2):
        made = render_video("lab", Options(size=64, motion=str(folder), video=8), number)
        points = np.stack([scene.points for scene in made]).astype(float)
        steps, changes = (np.linalg.norm(np.diff(points, order, axis=0), axis=-1) for order in (1, 2))
        assert 0.5 < steps.mean() < 80
        assert steps.max() < 400
        assert changes.mean() < 0.5 * steps.mean()
