"""InterHand2.6M in its raw layout, written from rendered hands; and the real sample, by its geometry."""

import functools
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.hands.interhand import interhand
from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.reading.people import PictureOptions, project
from keyshift.datasets.rendered.hands import render as render_anew
from keyshift.datasets.skeleton import FINGERS, HAND

render = functools.cache(render_anew)
SIZE = 64
JOINTS = [*(f"{finger}_{j}" for finger in FINGERS for j in ("tip", "dip", "pip", "mcp")), "wrist"]
"""The file's order within a hand, by HAND's names."""


def opened(root, part, **options):
    return interhand(PictureOptions(root=str(root), **options), part)


def rotation(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def annotation(number, valid, kind):
    return {
        **{"id": number, "image_id": number + 100, "bbox": [0.0, 0.0, 1.0, 1.0], "hand_type": kind},
        **{"joint_valid": valid.astype(int).reshape(42, 1).tolist(), "hand_type_valid": 1},
    }


def write_set(root, part="test", count=4):
    """`count` pictures of one hand by one camera each, and a picture of interacting hands: the third joined to a hand
    beside it. Gives what is rendered."""
    made = render("studio", 3, range(count), SIZE)
    folder = root / "annotations" / part
    folder.mkdir(parents=True)
    data, cameras, joints = {"images": [], "annotations": []}, {}, {}
    for i in range(count):
        right, camera = bool(made.right[i]), made.camera[i].double().numpy()
        turn, position = rotation(i), np.array([100.0 * i, -50.0, 30.0])
        order = [HAND.keypoints.index(name) for name in JOINTS]
        world = np.ones((2, 21, 3))
        valid = np.zeros((2, 21), bool)
        here = int(not right)
        world[here] = made.points[i].double().numpy()[order] @ turn + position
        valid[here] = True
        if i == 2:
            world[1 - here] = world[here] + turn.T @ np.array([5.0, 0.0, 0.0])
            valid[1 - here, 3:8] = True
        if i == 3:
            valid[here, 20] = False
        name = f"Capture{i % 2}/0007_thumbup/cam40{i}/image{i}.jpg"
        (root / "images" / part / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made.image[i].numpy()).save(root / "images" / part / name, quality=95)
        info = {"id": i + 100, "file_name": name, "width": SIZE, "height": SIZE, "capture": i % 2, "subject": 0}
        data["images"].append({**info, "seq_name": "0007_thumbup", "camera": f"40{i}", "frame_idx": 10 * i})
        kind = "interacting" if i == 2 else "right" if right else "left"
        data["annotations"].append(annotation(i, valid.reshape(-1), kind))
        group = cameras.setdefault(str(i % 2), {"campos": {}, "camrot": {}, "focal": {}, "princpt": {}})
        values = {"campos": position, "camrot": turn, "focal": camera[:2], "princpt": camera[2:] - 0.5}
        for field, value in values.items():
            group[field][f"40{i}"] = value.tolist()
        pose = {"world_coord": world.reshape(42, 3).tolist(), "joint_valid": valid.reshape(42, 1).tolist()}
        joints.setdefault(str(i % 2), {})[str(10 * i)] = {**pose, "hand_type": kind, "hand_type_valid": True}
    for what, content in (("data", data), ("camera", cameras), ("joint_3d", joints)):
        (folder / f"InterHand2.6M_{part}_{what}.json").write_text(json.dumps(content))
    return made


def test_rows_are_hands_as_rendered(tmp_path):
    made = write_set(tmp_path)
    people = opened(tmp_path, "test").people
    own = [r for r in range(len(people)) if people.annotated[r].sum() > 5]
    assert len(own) == 4
    assert len(people) == 5
    for i, r in enumerate(own):
        known = people.annotated[r]
        np.testing.assert_allclose(people.points[r][known], made.points[i].numpy()[known], atol=0.01)
        np.testing.assert_allclose(people.keypoints[r][known], made.keypoints[i].numpy()[known], atol=0.01)
        np.testing.assert_allclose(people.camera[r], made.camera[i].numpy(), atol=1e-3)
        assert people.mirrored[r] == bool(made.right[i])
        assert people.frames[r] == 10 * i
        assert people.sequences[r] == f"Capture{i % 2}/0007_thumbup"
    assert set(made.right.tolist()) == {True, False}


def test_interacting_hands_are_two_rows_without_the_other_ones_joints(tmp_path):
    made = write_set(tmp_path)
    people = opened(tmp_path, "test").people
    rows = [r for r, name in enumerate(people.ids) if name.startswith("interhand/test/2/")]
    assert [people.ids[r].rpartition("/")[2] for r in rows] == ["right", "left"]
    other = rows[int(bool(made.right[2]))]
    # joints 3 to 7 of the file: the thumb's base and the forefinger from tip to base
    assert [HAND.keypoints[k] for k in np.flatnonzero(people.annotated[other])] == [
        *("thumb_mcp", "index_mcp", "index_pip", "index_dip", "index_tip")
    ]
    known = people.annotated[other]
    shifted = made.points[2].numpy() + np.array([5.0, 0.0, 0.0])
    np.testing.assert_allclose(people.points[other][known], shifted[known], atol=0.01)
    assert not people.keypoints[other][~known].any()
    np.testing.assert_allclose(
        project(people.points[other], people.camera[other])[known], people.keypoints[other][known], atol=1e-6
    )


def test_items_parts_and_boxes(tmp_path):
    made = write_set(tmp_path)
    write_set(tmp_path, "train", 2)
    test, train = (opened(tmp_path, part) for part in ("test", "train"))
    assert np.abs(test[0].image.astype(int) - made.image[0].numpy()).mean() < 4
    assert not {test.path(i) for i in range(len(test))} & {train.path(i) for i in range(len(train))}
    assert test.identity["boxes"] == "truth"
    assert opened(tmp_path, "test", boxes="whole")[0].box.tolist() == [0, 0, SIZE, SIZE]
    with pytest.raises(ValueError, match="part='val'"):
        opened(tmp_path, "val")
    with pytest.raises(ValueError, match="boxes='file'"):
        opened(tmp_path, "test", boxes="file")


def test_the_layout_of_the_first_release(tmp_path):
    write_set(tmp_path)
    (tmp_path / "annotations/test").rename(tmp_path / "annotations/all")
    assert len(opened(tmp_path, "test")) == 5


def wrong(content, *steps, value):
    for step in steps[:-1]:
        content = content[step]
    content[steps[-1]] = value


BROKEN = {
    "valid": ("data", ("annotations", 1, "joint_valid"), [[1]] * 41, "annotation 1: joint_valid"),
    "image": ("data", ("annotations", 1, "image_id"), 7, "annotation 1: image_id is 7"),
    "twice": ("data", ("annotations", 1, "id"), 0, "annotation 0: id is 'there twice'"),
    "type": ("data", ("annotations", 1, "hand_type"), ["left"], "right, left or interacting"),
    "path": ("data", ("images", 1, "file_name"), "../../secret.jpg", "image 101: file_name"),
    "frame": ("data", ("images", 1, "frame_idx"), 11, "11 of capture 1, asked for by annotation 1"),
    "capture": ("data", ("images", 1, "capture"), "1", "image 101: capture"),
    "camera": ("data", ("images", 1, "camera"), "999", "999 of capture 1, asked for by annotation 1: campos|999 is"),
    "camera number": ("data", ("images", 1, "camera"), 401, "image 101: camera is 401"),
    "two images": ("data", ("images", 1, "id"), 100, "image 100: id is 'there twice'"),
    "lists": ("data", ("images",), {"a": 1}, "images"),
    "mirror": ("camera", ("1", "camrot", "401"), np.diag([1, 1, -1]).tolist(), "expected a rotation"),
    "NaN": ("camera", ("1", "focal", "401"), [float("nan"), 1.0], "401 of capture 1, .*focal"),
    "behind": ("camera", ("1", "campos", "401"), [9e4, 9e4, 9e4], "joints before the camera"),
    "short": ("joint_3d", ("1", "10", "world_coord"), [[1, 2, 3]] * 41, "10 of capture 1, .*world_coord"),
    "huge": ("joint_3d", ("1", "10", "world_coord"), [[1, 2, 10**400]] * 42, "world_coord"),
    "none": ("joint_3d", ("1",), None, "a mapping"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_malformed_files_are_named(tmp_path, case):
    write_set(tmp_path, count=2)
    what, steps, value, match = BROKEN[case]
    path = tmp_path / f"annotations/test/InterHand2.6M_test_{what}.json"
    content = json.loads(path.read_text())
    wrong(content, *steps, value=value)
    path.write_text(json.dumps(content))
    with pytest.raises(BadAnnotation, match=match):
        opened(tmp_path, "test")


def test_missing_and_truncated_files(tmp_path):
    with pytest.raises(ValueError, match="annotations/test"):
        opened(tmp_path, "test")
    write_set(tmp_path, count=1)
    path = tmp_path / "annotations/test/InterHand2.6M_test_joint_3d.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadAnnotation, match="whole UTF-8 JSON"):
        opened(tmp_path, "test")
    path.unlink()
    with pytest.raises(ValueError, match="joint_3d"):
        opened(tmp_path, "test")


def test_the_real_samples_points_in_its_own_cameras(shared, tmp_path):
    """World joints to each camera and into its picture joint by joint, as the publisher's text says it."""
    folder = published(shared, tmp_path)
    data, cameras, joints = (
        json.loads((folder / f"InterHand2.6M_test_{what}.json").read_text()) for what in ("data", "camera", "joint_3d")
    )
    shots = {
        one["id"]: image for one in data["annotations"] for image in data["images"] if one["image_id"] == image["id"]
    }
    people = opened(tmp_path, "test").people
    for row, name in enumerate(people.ids):
        image, side = shots[int(name.split("/")[2])], name.rpartition("/")[2]
        lens = {field: np.array(values[image["camera"]]) for field, values in cameras[str(image["capture"])].items()}
        world = np.array(joints[str(image["capture"])][str(image["frame_idx"])]["world_coord"])
        for k, joint in enumerate(HAND.keypoints):
            x, y, z = lens["camrot"] @ (world[JOINTS.index(joint) + 21 * (side == "left")] - lens["campos"])
            np.testing.assert_allclose(people.points[row, k], [x, y, z], atol=1e-6)
            index = np.array([x, y]) / z * lens["focal"] + lens["princpt"]  # pixels, from the middle of the first
            np.testing.assert_allclose(people.keypoints[row, k], index + 0.5, atol=1e-6)
        np.testing.assert_allclose(people.camera[row], [*lens["focal"], *(lens["princpt"] + 0.5)])


def published(shared, root):
    """The published sample in the raw layout below `root`; the folder of its annotations."""
    sample, folder = shared / "data/mmpose_samples/interhand2.6m", root / "annotations/test"
    (root / "images/test").mkdir(parents=True)
    folder.mkdir(parents=True)
    for picture in sample.glob("*.jpg"):
        shutil.copy(picture, root / "images/test")
    for what in ("data", "camera", "joint_3d"):
        shutil.copy(sample / f"test_interhand2.6m_{what}.json", folder / f"InterHand2.6M_test_{what}.json")
    return folder


def curl(points):
    """Which side of the palm the fingers bend to: the sign differs between left and right hands."""
    normal = np.cross(points[..., 5, :] - points[..., 0, :], points[..., 17, :] - points[..., 0, :])
    bend = points[..., [8, 12, 16], :] - points[..., [5, 9, 13], :]
    return (bend * normal[..., None, :]).sum((-1, -2)) / np.linalg.norm(normal, axis=-1)


def test_the_real_sample(shared, tmp_path):
    folder = published(shared, tmp_path)
    data = opened(tmp_path, "test")
    people = data.people
    sides = [name.rpartition("/")[2] for name in people.ids]
    assert sides == ["right", "left", "right", "left", "left", "right"]
    assert people.annotated.all()
    content = json.loads((folder / "InterHand2.6M_test_data.json").read_text())
    boxes = {a["id"]: a["bbox"] for a in content["annotations"]}
    for number, (x, y, width, height) in boxes.items():
        rows = [r for r, name in enumerate(people.ids) if name.split("/")[2] == str(number)]
        joints = people.keypoints[rows].reshape(-1, 2) - 0.5  # the file's own coordinates
        low, high = joints.min(0), joints.max(0)
        np.testing.assert_allclose((low + high) / 2, [x + width / 2, y + height / 2], atol=1e-3)
        np.testing.assert_allclose((high - low) * 1.2, [width, height], atol=1e-3)
    points = people.points
    for finger in range(5):
        chain = points[:, [0, *range(4 * finger + 1, 4 * finger + 5)]]
        bones = np.linalg.norm(np.diff(chain, axis=1), axis=-1)
        assert (bones[:, 0] > (60 if finger else 25)).all()
        assert (bones[:, 1:] > 12).all()
        assert (bones[:, 1:] < 55).all()
    knuckles = np.linalg.norm(points[:, 1, None] - points[:, [5, 9, 13, 17]], axis=-1)
    assert (np.diff(knuckles, axis=1) > 0).all()  # the thumb's base is nearest to the forefinger
    made = render("studio", 3, range(40), 16)
    side = np.sign(np.median(curl(made.points.double().numpy()) * np.where(made.right.numpy(), 1, -1)))
    ours = curl(points) * np.where(people.mirrored, 1, -1) * side
    assert (ours[[0, 1, 4, 5]] > 100).all()  # the praying hands, 2 and 3, are straight
    for i in range(len(data)):
        item = data[i]
        height, width = item.image.shape[:2]
        assert (item.keypoints > 0).all()
        assert (item.keypoints < [width, height]).all()
        assert 300 < item.points[0, 2] < 2000
        # joints lie on skin, which is brighter than the dark room about them
        x, y = item.keypoints[[0, 5, 9, 13, 17]].astype(int).T
        assert item.image[y, x].mean() > item.image.mean()
