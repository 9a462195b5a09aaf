"""Human3.6M in the form of 3DMPPE: a stick figure and published samples, written as the raw files are and read back."""

import importlib.util
import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.bodies.human36m import ACTIONS, Options, action, human36m
from keyshift.datasets.bodies.skeletons import H36M17, MPII16
from keyshift.datasets.reading.annotations import read_arrays, read_json, read_pickle
from keyshift.datasets.skeleton import pair

_spec = importlib.util.spec_from_file_location("raw_bodies", Path(__file__).parents[1] / "raw_bodies.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_bodies"] = raw
_spec.loader.exec_module(raw)

FILES = (
    *("Pelvis", "R_Hip", "R_Knee", "R_Ankle", "L_Hip", "L_Knee", "L_Ankle", "Torso", "Neck", "Nose", "Head"),
    *("L_Shoulder", "L_Elbow", "L_Wrist", "R_Shoulder", "R_Elbow", "R_Wrist"),
)
"""The names of 3DMPPE, in the files' order."""
SAME = {"Torso": "spine", "Head": "head_top", "L": "left", "R": "right"}
NAMES = tuple("_".join(SAME.get(part, part.lower()) for part in name.split("_")) for name in FILES)
CAMERA = np.array([1145.0, 1143.8, 512.5, 515.5])


def opened(root, part, **options):
    return human36m(Options(root=str(root), **options), part)


def rotation(seed):
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    return q * np.sign(np.linalg.det(q))


def write(home, subject, frames=10, views=(1, 2), size=(8, 8), subaction=1):
    """Raw files of one subject, and {picture: points (17, 3) mm in the camera's frame}."""
    turned = {view: (rotation(view), np.array([100.0 * view, -50, 4000])) for view in views}
    data, joints, truth = {"images": [], "annotations": []}, {}, {}
    for view, (turn, shift) in turned.items():
        folder = f"s_{subject:02d}_act_02_subact_{subaction:02d}_ca_{view:02d}"
        (home / "images" / folder).mkdir(parents=True)
        for frame in range(frames):
            world = (raw.figure(NAMES, (10 * frame, 0, 4000), 0.1 * frame) - turned[1][1]) @ turned[1][0]
            points = world @ turn.T + shift
            joints[str(frame)] = world.tolist()
            name, number = f"{folder}/{folder}_{frame + 1:06d}.jpg", len(data["images"])
            truth[f"images/{name}"] = points
            Image.new("RGB", size, (frame, view, 0)).save(home / "images" / name)
            low, high = (raw.seen(points, CAMERA).min(0) - 20, raw.seen(points, CAMERA).max(0) + 20)
            image = {"id": number, "file_name": name, "width": 1000, "height": 1002, "subject": subject}
            indices = {"action_idx": 2, "subaction_idx": subaction, "cam_idx": view, "frame_idx": frame}
            data["images"].append(image | indices)
            data["annotations"].append({"id": number, "image_id": number, "bbox": [*low, *(high - low)]})
    cameras = {
        str(view): {"R": turn.tolist(), "t": shift.tolist(), "f": CAMERA[:2].tolist(), "c": CAMERA[2:].tolist()}
        for view, (turn, shift) in turned.items()
    }
    save(home, subject, camera=cameras, data=data, joint_3d={"2": {str(subaction): joints}})
    return truth


def save(home, subject, **contents):
    (home / "annotations").mkdir(parents=True, exist_ok=True)
    for kind, content in contents.items():
        file = home / f"annotations/Human36M_subject{subject}_{kind}.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))


def broken(home, subject, kind, change):
    """The file `kind` after `change` of its content."""
    file = home / f"annotations/Human36M_subject{subject}_{kind}.json"
    content = json.loads(file.read_text())
    change(content)
    save(home, subject, **{kind: content})


@pytest.fixture
def home(tmp_path):
    for subject in (9, 11):
        write(tmp_path, subject)
    return tmp_path


def test_points_camera_and_names_are_the_files(tmp_path):
    assert H36M17.keypoints == NAMES
    truth = write(tmp_path, 9) | write(tmp_path, 11)
    people = opened(tmp_path, "test", stride=1)
    assert len(people) == len(truth) == 40
    for i in (0, 7, 15, 39):
        raw.check_item(people[i], truth[people.people.pictures[i]], CAMERA)
    first = people[0]
    assert first.keypoints[NAMES.index("left_shoulder"), 0] > first.keypoints[NAMES.index("right_shoulder"), 0] + 50
    assert first.keypoints[NAMES.index("head_top"), 1] < first.keypoints[NAMES.index("pelvis"), 1]
    assert people[15].image[0, 0].tolist()[:2] == pytest.approx([5, 2], abs=6)


def test_boxes_are_the_true_joints_and_say_so(home):
    """Those of the data files are made from the joints too."""
    people = opened(home, "test")
    assert people.identity["boxes"] == "truth"
    middle = (people[0].keypoints.min(0) + people[0].keypoints.max(0)) / 2
    assert np.allclose((people[0].box[:2] + people[0].box[2:]) / 2, middle)


def test_subjects_strides_and_protocols(home):
    for subject in (1, 5, 6, 7, 8):
        write(home, subject, frames=5, views=(1,))
    test, train = opened(home, "test"), opened(home, "train")
    assert [name.split("/")[1] for name in train.people.ids] == ["S1", "S5", "S6", "S7", "S8"]
    assert test.people.frames.tolist() == [0, 5, 0, 5] * 2, "every 5th entry"
    assert len(opened(home, "train", protocol=1)) == 5 + 4
    assert {name.split("/")[1] for name in opened(home, "test", protocol=1).people.ids} == {"S11"}
    assert len(set(test.people.sequences)) == 4, "a subject's camera in an action"
    assert test.identity["protocol"] == 2
    assert test.identity["stride"] == 5


def test_frames_by_their_number_as_in_3dmppe(tmp_path):
    """The reference takes the frames of each recording whose number is a multiple; not every so many-th entry."""
    truth = {}
    for subject in (9, 11):
        truth |= write(tmp_path, subject, frames=70, size=(1, 1))
    counted = opened(tmp_path, "test", counts="frames", stride=64)
    assert counted.people.frames.tolist() == [0, 64] * 4
    for i in range(8):
        raw.check_item(counted[i], truth[counted.people.pictures[i]], CAMERA)
    assert opened(tmp_path, "test", stride=64).people.frames.tolist() == [0, 64, 58] * 2, "every 64th entry of a file"
    assert counted.identity != opened(tmp_path, "test", stride=64).identity
    assert set(opened(tmp_path, "test", counts="frames").people.frames) == set(range(0, 70, 5))


def test_the_recording_that_the_reference_skips(tmp_path):
    for subject in (9, 11):
        write(tmp_path, subject, subaction=2)
    assert {name.removeprefix("human36m/") for name in opened(tmp_path, "test", stride=1).people.sequences} == {
        *("S9/02_02/1", "S9/02_02/2", "S11/02_02/2")
    }


def test_actions_are_read_in_sequences(home):
    assert {action(name) for name in opened(home, "test").people.sequences} == {"Directions"}
    assert [action(f"human36m/S9/{number:02d}_02/4") for number in range(2, 17)] == list(ACTIONS)
    assert ACTIONS[10:] == ("Photo", "Waiting", "Walking", "WalkDog", "WalkTogether")
    for wrong in ("human36m/S9/01_01/1", "human36m/S9/17_01/1", "mupots/TS1", ""):
        with pytest.raises(ValueError, match="no action"):
            action(wrong)


def test_one_action_alone(home):
    """Every other entry of both subjects is made one of Walking, which is number 14."""

    def walk(content):
        for image in content["images"][::2]:
            image["action_idx"] = 14

    for subject in (9, 11):
        broken(home, subject, "data", walk)
        broken(home, subject, "joint_3d", lambda content: content.update({"14": content["2"]}))
    walking = opened(home, "test", stride=1, actions=["Walking"])
    assert len(walking) == 20
    assert {action(name) for name in walking.people.sequences} == {"Walking"}
    both = opened(home, "test", stride=1, actions=["Walking", "Directions"])
    assert list(both.people.ids) == list(opened(home, "test", stride=1).people.ids)
    assert len({str(one.identity) for one in (walking, both, opened(home, "test", stride=1))}) == 3
    with pytest.raises(ValueError, match=r"actions='walking' is not known.* Did you mean Walking"):
        opened(home, "test", actions=["walking"])
    with pytest.raises(ValueError, match="no "):
        opened(home, "test", actions=["Eating"])


def test_the_thorax_is_between_the_shoulders_in_the_world(home):
    plain, more = opened(home, "test"), opened(home, "test", thorax=True)
    assert more.skeleton.keypoints == (*NAMES, "thorax")
    assert more.skeleton.flip_pairs == plain.skeleton.flip_pairs
    assert "thorax" in pair(more.skeleton, MPII16)[0].keypoints
    assert "thorax" not in pair(plain.skeleton, MPII16)[0].keypoints
    ends = [NAMES.index(f"{side}_shoulder") for side in ("left", "right")]
    for i in range(len(plain)):
        item, other = more[i], plain[i]
        raw.check_item(item, np.concatenate([other.points, other.points[ends].mean(0)[None]]), CAMERA)
        np.testing.assert_array_equal(item.keypoints[:17], other.keypoints)
        np.testing.assert_array_equal(item.box, other.box)
    off = [np.abs(more[i].keypoints[17] - plain[i].keypoints[ends].mean(0)).max() for i in range(len(plain))]
    assert max(off) > 1, "the middle in the picture is another one"


def test_crops_by_the_files_boxes_are_the_reference_chains(tmp_path):
    """A picture must have the size that its crop is clipped to."""
    for subject in (9, 11):
        truth = write(tmp_path, subject, frames=2, size=(1000, 1002))
    data = opened(tmp_path, "test", stride=1, chain=True)
    assert data.identity["boxes"] == "joints"
    flat = raw.seen(truth[data.people.pictures[-1]], CAMERA)
    low, high = np.maximum(flat.min(0) - 20, 0), flat.max(0) + 19
    middle, half = (low + high) / 2 + 0.5, (high - low).max() * 1.25 / 2
    np.testing.assert_allclose(data[len(data) - 1].box, [*(middle - half), *(middle + half)], atol=1e-6)
    broken(tmp_path, 11, "data", lambda content: content["annotations"].pop())
    with pytest.raises(ValueError, match="bbox is missing"):
        opened(tmp_path, "test", stride=1, chain=True)


def test_the_reference_draws_its_test(home):
    drawn, every = opened(home, "test", split="frames", stride=1), opened(home, "test", stride=1)
    random.seed(42)
    assert drawn.people.pictures == random.choices(list(every.people.pictures), k=3200)
    assert len(set(drawn.people.ids)) == 3200


def bent(points, camera):
    """(17, 2) px of points (17, 3) mm through a lens with Human3.6M's coefficients k and p."""
    flat = points[:, :2] / points[:, 2:]
    square, (k, p) = (flat**2).sum(1), (camera["k"][:, 0], camera["p"][::-1, 0])
    wider = 1 + k[0] * square + k[1] * square**2 + k[2] * square**3 + flat @ p
    return (flat * wider[:, None] + square[:, None] * p) * camera["f"][:, 0] + camera["c"][:, 0]


def test_published_samples_are_what_they_show(shared, tmp_path):
    """World joints of four published pictures with their cameras, written in the raw form."""
    folder = shared / "data/mmpose_samples/h36m"
    arrays, known = read_arrays(folder / "test_h36m_body3d.npz"), read_pickle(folder / "cameras.pkl")
    truth = {name.rpartition("/")[2]: i for i, name in enumerate(arrays["imgname"].tolist())}
    coco = read_json(folder / "h36m_coco.json")
    for subject in (1, 5, 6, 7, 8):
        data = {"images": []}
        cameras, joints = {}, {}
        for image, label in zip(coco["images"], coco["annotations"], strict=True):
            name = image["file_name"]
            if not name.startswith(f"S{subject}_"):
                continue
            serial, frame = name[:-4].split(".")[1].split("_")
            one = known[f"S{subject}", serial]
            turn = one["R"].T  # the samples' own goes from the camera to the world, as does their T
            shift = -turn @ one["T"] * 1000
            cameras["1"] = {
                key: np.asarray(value).tolist()
                for key, value in {"R": turn, "t": shift[:, 0], "f": one["f"][:, 0], "c": one["c"][:, 0]}.items()
            }
            joints[frame] = (np.array(label["keypoints_3d"]).reshape(17, 4)[:, :3] * 1000).tolist()
            indices = {"action_idx": 2, "subaction_idx": 1, "cam_idx": 1, "frame_idx": int(frame)}
            data["images"].append({"id": 1, "file_name": name, "subject": subject} | indices)
            (tmp_path / "images").mkdir(exist_ok=True)
            shutil.copy(folder / f"S{subject}" / name[:-11] / name, tmp_path / "images" / name)
        save(
            tmp_path,
            subject,
            camera=cameras,
            data=data,
            joint_3d={"2": {"1": {str(int(f)): j for f, j in joints.items()}}},
        )
    people = opened(tmp_path, "train")
    assert len(people) == 4
    facing = {"S1": -1, "S7": 1, "S8": 1}  # towards the camera or away, by the pictures
    for i, picture in enumerate(people.people.pictures):
        name, item = picture.rpartition("/")[2], people[i]
        assert np.abs(item.points - arrays["S"][truth[name]][:, :3] * 1000).max() < 0.1
        off = np.linalg.norm(item.keypoints - arrays["part"][truth[name]][:, :2], axis=1)
        assert off.max() < 4, "the lens bends the published ones"
        one = known[name[:2], name.split(".")[1].partition("_")[0]]
        assert np.abs(bent(item.points, one) - arrays["part"][truth[name]][:, :2]).max() < 0.01
        assert item.image.shape[1] == 1000
        left, right = (item.keypoints[NAMES.index(f"{side}_shoulder"), 0] for side in ("left", "right"))
        assert facing.get(name[:2], 0) * (left - right) >= 0
        assert item.keypoints[NAMES.index("neck"), 1] < item.keypoints[NAMES.index("pelvis"), 1]


def test_options_and_missing_files_are_refused(home):
    for wrong in ({"protocol": 3}, {"stride": 0}, {"split": "subjects"}, {"boxes": "detector"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            opened(home, "test", **wrong)
    with pytest.raises(ValueError, match="val"):
        opened(home, "val")
    with pytest.raises(ValueError, match=r"subject1_camera.json.*subject8_joint_3d.json\. Expected"):
        opened(home, "train")


def swap(key, value):
    def change(content):
        content["images"][5][key] = value

    return change


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("data", swap("file_name", "../../secret.jpg"), "without .."),
        ("data", swap("frame_idx", 99), r"joint_3d.json, action 2, subaction 1, frame 99.*missing"),
        ("data", swap("frame_idx", 0), "there twice"),
        ("data", swap("cam_idx", 7), "cam_idx is 7"),
        ("data", swap("subject", 1), "subject is 1"),
        ("data", swap("id", [1]), "whole number"),
        ("data", lambda content: content.pop("images"), "a list"),
        ("data", lambda content: content["annotations"][5].update(bbox=[0, 0, 10, 10]), r"R X \+ t"),
        ("data", lambda content: content["annotations"][5].update(image_id=3), "one annotation"),
        ("camera", lambda content: content["1"].update(R=[[1, 0, 0]] * 3), "a rotation"),
        ("camera", lambda content: content["1"].update(f=[0, 1]), "positive"),
        ("camera", lambda content: content["1"].update(t=[0, 0, -1e5]), "in front"),
        ("camera", lambda content: content["1"].pop("c"), "c is missing"),
        ("joint_3d", lambda content: content["2"]["1"].update({"5": [[0, 0]] * 17}), "shape"),
        ("joint_3d", lambda content: content["2"]["1"].update({"5": [[0, float("nan"), 0]] * 17}), "finite"),
    ],
)
def test_malformed_files_are_named(home, kind, change, message):
    broken(home, 11, kind, change)
    with pytest.raises(ValueError, match=message) as raised:
        opened(home, "test", stride=1)
    assert "annotations" in str(raised.value)


def test_truncated_files_are_named(home):
    save(home, 11, joint_3d='{"2": {"1": {')
    with pytest.raises(ValueError, match=r"subject11_joint_3d.json"):
        opened(home, "test")
