"""People of motion capture, or made-up motion, seen by cameras: parts, recordings, labels, and what options do."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from keyshift.datasets.catalog import DATASETS, open_dataset, options_of
from keyshift.datasets.loading import EvaluationBatches
from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.rendered.mocap import STYLES, Options, mocap
from keyshift.datasets.sample import BODY_MM, block_of
from keyshift.datasets.views import as_clips, cameras_of

CHAIN = {
    "Hips": ("", (0, 0, 0)),
    "Spine": ("Hips", (0, 12, 0)),
    "Chest": ("Spine", (0, 15, 0)),
    "Neck": ("Chest", (0, 22, 0)),
    "Head": ("Neck", (0, 10, 0)),
    **{f"{s}Arm": ("Chest", (x * 18, 20, 0)) for s, x in (("Left", 1), ("Right", -1))},
    **{f"{s}ForeArm": (f"{s}Arm", (x * 28, 0, 0)) for s, x in (("Left", 1), ("Right", -1))},
    **{f"{s}Hand": (f"{s}ForeArm", (x * 25, 0, 0)) for s, x in (("Left", 1), ("Right", -1))},
    **{f"{s}UpLeg": ("Hips", (x * 9, 0, 0)) for s, x in (("Left", 1), ("Right", -1))},
    **{f"{s}Leg": (f"{s}UpLeg", (0, -40, 0)) for s, x in (("Left", 1), ("Right", -1))},
    **{f"{s}Foot": (f"{s}Leg", (0, -42, 0)) for s, x in (("Left", 1), ("Right", -1))},
}
"""A rig of plain joints: parent and offset."""
FEW = Options(takes=4, test_takes=2, longest=1.0, random=3)


def write(path, frames=20, unit=1.0, seconds=1 / 30, bend=30.0):
    """A clip in which the left arm swings by `bend` degrees while the person walks along z."""
    lines, moving = ["HIERARCHY"], []

    def add(name, deep):
        pad, (_, offset) = "  " * deep, CHAIN[name]
        lines.append(f"{pad}{'JOINT' if deep else 'ROOT'} {name}")
        lines.append(f"{pad}{{")
        lines.append(f"{pad}OFFSET {' '.join(str(unit * value) for value in offset)}")
        lines.append(
            pad + ("CHANNELS 3 Xrotation Yrotation Zrotation" if deep else "CHANNELS 3 Xposition Yposition Zposition")
        )
        moving.append(name)
        for child, (parent, _) in CHAIN.items():
            if parent == name:
                add(child, deep + 1)
        lines.append(f"{pad}}}")

    add("Hips", 0)
    lines.append(f"MOTION\nFrames: {frames}\nFrame Time: {seconds:.6f}")
    for t in range(frames):
        values = dict.fromkeys(moving, (0.0, 0.0, 0.0))
        values["Hips"] = (0.0, 85 * unit, 2.0 * unit * t)
        values["LeftArm"] = (0.0, 0.0, bend * np.sin(2 * np.pi * t / 20))
        lines.append(" ".join(f"{value:.5f}" for name in moving for value in values[name]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def clips(tmp_path):
    for number in range(8):
        write(tmp_path / f"set{number % 2}" / f"clip{number}.bvh", bend=20.0 + 5 * number)
    return str(tmp_path)


@pytest.mark.parametrize("style", STYLES)
def test_samples_are_what_lifters_read(style):
    data = as_clips(mocap(replace(FEW, noise=0), "train", style), 3)
    assert data.skeleton.root == 0
    for index in (0, 7, len(data) - 1):
        item = data[index]
        assert item.space == BODY_MM
        flat = item.points[:, :2] / item.points[:, 2:] * item.camera[:2] + item.camera[2:]
        seen = item.inputs["keypoints2d"][1, :, 2] > 0
        np.testing.assert_allclose(item.inputs["keypoints2d"][1, seen, :2], flat[seen], atol=0.02)
        np.testing.assert_allclose(item.keypoints, item.points - item.points[0], atol=1e-3)
        assert np.ptp(item.keypoints[:, 1]) > 700, "mm, of someone who may bend"
        assert item.annotated.all()
    batch = EvaluationBatches(data, 4, (256, 256))[0]
    assert batch.inputs["lens"].shape == (4, 4)
    assert {"keypoints2d", "random2d", "random3d", "lens"} == set(batch.inputs)


def test_a_style_is_a_domain():
    lab, field = (mocap(FEW, "train", style) for style in ("lab", "field"))

    def off(data):
        seen = [(one.keypoints2d, one.points, one.camera) for one in data.recordings]
        shares = []
        for found, points, camera in seen:
            flat = points[..., :2] / points[..., 2:] * camera[:2] + camera[2:]
            known = found[..., 2] > 0
            shares.append(np.linalg.norm(found[..., :2] - flat, axis=-1)[known].mean() / np.ptp(flat, axis=1).max())
        return np.mean(shares)

    assert off(lab) < 0.01 < 0.02 < off(field)
    focal = [one.camera[0] / max(one.size) for one in field.recordings]
    assert np.ptp(focal) > 0.1
    assert np.ptp([one.camera[0] for one in lab.recordings]) < 20


def test_recordings_are_functions_of_the_options():
    once, again, other = (mocap(replace(FEW, scenes=seed), "train", "field") for seed in (0, 0, 1))
    for a, b in zip(once.recordings, again.recordings, strict=True):
        np.testing.assert_array_equal(a.keypoints2d, b.keypoints2d)
    assert once.identity == again.identity != other.identity
    assert not np.array_equal(once.recordings[0].keypoints2d, other.recordings[0].keypoints2d)
    more = mocap(replace(FEW, takes=6), "train", "field")
    np.testing.assert_array_equal(more.recordings[3].points, once.recordings[3].points)
    assert len(pickle.dumps(once)) < 1_000_000


def test_clips_part_by_their_paths(clips):
    options = replace(FEW, motion=clips, takes=12, test_takes=4)
    train, test = (mocap(options, part, "lab") for part in ("train", "test"))
    names = [{block_of(one.name) for one in data.recordings} for data in (train, test)]
    assert names[1] == {"mocap/set0/clip6", "mocap/set1/clip7"}
    assert len(names[0]) == 6
    halves = [
        {block_of(one.name) for one in mocap(replace(options, half=h), "train", "lab").recordings} for h in (0, 1)
    ]
    assert halves[0] | halves[1] == names[0]
    assert not halves[0] & halves[1]
    assert {block_of(one.name) for one in mocap(replace(options, half=1), "test", "lab").recordings} == names[1]


def test_recordings_of_a_clip_are_one_block_of_sequences(clips):
    data = mocap(replace(FEW, motion=clips, takes=12), "train", "lab")
    same = [one for one in data.recordings if block_of(one.name) == "mocap/set0/clip0"]
    assert [one.name for one in same] == ["mocap/set0/clip0#take0", "mocap/set0/clip0#take6"]
    assert len({data[i].id for i in range(len(data))}) == len(data)
    first, second = (data[i].inputs["random2d"] for i in (0, 6 * len(data.recordings[0])))
    assert not np.array_equal(first, second), "random frames are of the own recording"
    shapes = [one.points[0] - one.points[0, 0] for one in same]
    lengths = [np.linalg.norm(shape[2] - shape[1]) for shape in shapes]
    assert abs(lengths[0] - lengths[1]) > 1, "another person"


def test_neither_unit_nor_rate_matters(tmp_path):
    for name, unit, rate in (("cm", 1.0, 30), ("inch", 0.3937, 30), ("fast", 1.0, 120)):
        for number in range(2):
            write(tmp_path / name / f"{number}.bvh", unit=unit, frames=20 * rate // 30, seconds=1 / rate)
    cm, inch, fast = (
        mocap(replace(FEW, motion=str(tmp_path / name), takes=1), "train", "lab").recordings[0]
        for name in ("cm", "inch", "fast")
    )
    np.testing.assert_allclose(inch.points, cm.points, atol=0.1)
    assert len(cm) == 16  # 19 / 30 s at 25 a second
    assert len(fast) == 17  # 79 / 120 s
    tall = np.ptp(cm.points[:, :, 1], axis=1)
    assert (tall > 1300).all()
    assert (tall < 2100).all()


def test_long_clips_are_shown_in_part(tmp_path):
    for number in range(2):
        write(tmp_path / f"{number}.bvh", frames=200)
    data = mocap(replace(FEW, motion=str(tmp_path), longest=2.0, rate=10.0), "train", "field")
    assert {len(one) for one in data.recordings} <= {20, 21}
    assert len({one.points[0].tobytes() for one in data.recordings}) == 4


def test_an_unknown_camera_is_zeros():
    data = mocap(replace(FEW, intrinsics=False), "train", "field")
    assert not cameras_of(data).any()
    assert not EvaluationBatches(data, 4, (256, 256))[0].inputs["lens"].any()


def test_folders_and_clips_that_do_not_do_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"is not a folder"):
        mocap(replace(FEW, motion=str(tmp_path / "gone")), "train", "lab")
    write(tmp_path / "one.bvh")
    with pytest.raises(ValueError, match="1 samples in 1 groups leave no test part"):
        mocap(replace(FEW, motion=str(tmp_path)), "test", "lab")
    (tmp_path / "two.bvh").write_text((tmp_path / "one.bvh").read_text().replace("LeftForeArm", "Flipper"))
    with pytest.raises(BadAnnotation, match=r"two\.bvh.*left_elbow"):
        mocap(replace(FEW, motion=str(tmp_path)), "train", "lab")


def test_registered(clips):
    for style in STYLES:
        options = options_of(f"mocap.{style}", {"takes": 2, "random": 0, "motion": clips, "every": 4}, "a test")
        data = open_dataset(f"mocap.{style}", options, "train")
        assert data.name == f"mocap.{style}.train"
        assert [data[i].frame for i in range(3)] == [0, 4, 8]
    with pytest.raises(ValueError, match=r"mocap.lab, which takes .* Did you mean noise"):
        options_of("mocap.lab", {"noises": 2}, "a test")
    assert DATASETS["mocap.lab"].Options is Options


def test_shared_clips(shared):
    folder = shared / "data" / "mocap_bvh"
    if not folder.is_dir():
        pytest.skip("no motion capture beside the checkout")
    train, test = (mocap(Options(motion=str(folder), test_takes=8), part, "lab") for part in ("train", "test"))
    assert len({block_of(one.name) for one in train.recordings}) == 14
    assert len({block_of(one.name) for one in test.recordings}) == 4
    assert len(train) > 4000
    for one in train.recordings:
        assert (one.keypoints2d[..., 2] > 0).mean() > 0.9, one.name
        assert 3000 < one.points[:, 0, 2].mean() < 8000
