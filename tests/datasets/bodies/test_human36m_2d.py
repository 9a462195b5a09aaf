"""Human3.6M as 2D keypoints over time, in small files of VideoPose3D's layout."""

import pickle

import numpy as np
import pytest

from keyshift.datasets.bodies.human36m import ACTIONS, action
from keyshift.datasets.bodies.human36m_2d import CAMERAS, KEPT, Options
from keyshift.datasets.bodies.skeletons import H36M17
from keyshift.datasets.catalog import open_dataset
from keyshift.datasets.reading.annotations import BadAnnotation, read_objects, read_pickle
from keyshift.datasets.reading.origin import MissingData
from keyshift.datasets.reading.people import project
from keyshift.datasets.sample import BODY_MM
from keyshift.datasets.views import as_clips

SIZES = ((1000, 1002), (1000, 1000), (1000, 1000), (1000, 1002))


def looking(angle):
    """A camera 5 m away from the origin, 1.5 m high, that looks at it: axes in columns, and its place, m."""
    place = np.array([5 * np.cos(angle), 5 * np.sin(angle), 1.5])
    forward = np.array([0, 0, 1.0]) - place
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward], 1), place


class Made:
    """The content of the three files, of 32 joints, and with it where each camera sees them."""

    def __init__(self, subjects=("S1", "S9"), titles=("Directions 1", "Walking"), frames=6):
        rng = np.random.default_rng(0)
        self.cameras, self.world, self.flat, self.seen, self.scores = {}, {}, {}, {}, {}
        for subject in subjects:
            for number, key in enumerate(CAMERAS):
                axes, place = looking(0.3 + 1.5 * number)
                self.cameras[subject, key] = {
                    **{"R": axes, "T": place[:, None], "f": np.array([[1145.0], [1143.0]])},
                    **{"c": np.array([[512.0], [515.0]]), "w": SIZES[number][0], "h": SIZES[number][1]},
                    **{"k": np.zeros((3, 1)), "p": np.zeros((2, 1)), "name": f"camera{number + 1}", "id": key},
                }
            walks = {title: rng.uniform([-0.6, -0.6, 0.4], [0.6, 0.6, 1.6], (frames, 32, 3)) for title in titles}
            self.world[subject] = {title: walk.astype(np.float32) for title, walk in walks.items()}
            self.flat[subject] = {title: [self.look(subject, title, key) for key in CAMERAS] for title in titles}
            self.scores[subject] = {title: [rng.random((frames + 2, 17)) for _ in CAMERAS] for title in titles}

    def look(self, subject, title, key):
        """(T + 2, 17, 2) px, by a loop."""
        camera, views = self.cameras[subject, key], []
        for pose in self.world[subject][title]:
            for joint in KEPT:
                point = camera["R"].T @ (pose[joint] - camera["T"][:, 0])
                views.append(point)
        points = np.array(views).reshape(-1, 17, 3)
        self.seen[subject, title, key] = 1000 * points
        flat = points[..., :2] / points[..., 2:] * camera["f"][:, 0] + camera["c"][:, 0]
        return np.concatenate([flat, flat[-1:], flat[-1:]]).astype(np.float32)

    def write(self, folder, name="cpn_ft_h36m_dbb"):
        np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=np.array(self.world, object))
        about = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": [[4, 5, 6], [1, 2, 3]]}
        np.savez_compressed(folder / f"data_2d_h36m_{name}.npz", positions_2d=self.flat, metadata=about)
        (folder / "cameras.pkl").write_bytes(pickle.dumps(self.cameras))
        return folder


def opened(folder, part="train", **options):
    return open_dataset("human36m_2d", Options(root=str(folder), **{"random": 4} | options), part)


def test_each_cameras_frames_are_samples(tmp_path):
    made = Made()
    data = opened(made.write(tmp_path))
    assert data.skeleton == H36M17
    assert data.name == "human36m_2d.train"
    assert len(data) == 2 * 4 * 6
    item = data[6 * 5 + 2]
    assert (item.sequence, item.frame, item.space) == ("human36m/S1/14_00/2", 2, BODY_MM)
    points = made.seen["S1", "Walking", CAMERAS[1]][2]
    np.testing.assert_allclose(item.points, points, atol=1e-2)
    np.testing.assert_allclose(item.keypoints, points - points[0], atol=1e-2)
    np.testing.assert_array_equal(item.box, [0, 0, 1000, 1000])
    assert data[0].box[3] == 1002
    np.testing.assert_allclose(project(item.points, item.camera), item.inputs["keypoints2d"][0, :, :2], atol=1e-2)
    assert (item.inputs["keypoints2d"][..., 2] == 1).all()
    assert item.inputs["random2d"].shape == item.inputs["random3d"].shape == (4, 17, 3)
    window = as_clips(data, 5)[0].inputs["keypoints2d"]
    np.testing.assert_array_equal(window[0], window[2])
    assert not np.array_equal(window[3], window[2])


def test_subjects_and_actions(tmp_path):
    folder = Made().write(tmp_path)
    test = opened(folder, "test", actions=["Directions"])
    assert {one.name for one in test.recordings} == {f"human36m/S9/02_01/{view}" for view in (1, 2, 3, 4)}
    assert {action(one.name) for one in test.recordings} == {"Directions"}
    assert {action(one.name) for one in opened(folder).recordings} == {"Directions", "Walking"}
    assert test.identity["actions"] == ["Directions"]
    assert test.identity["sha256"] == opened(folder, "test").identity["sha256"]
    assert len(opened(folder, every=4)) == 2 * 4 * 2


def test_seventeen_joints_other_detections_and_scores(tmp_path):
    made = Made(frames=3)
    for of_actions in made.world.values():
        for title, poses in of_actions.items():
            of_actions[title] = poses[:, KEPT]
    folder = made.write(tmp_path, "gt")
    scores = folder / "score.pkl"
    scores.write_bytes(pickle.dumps(made.scores))
    data = opened(folder, detections="gt", scores=str(scores))
    wanted = made.scores["S1"]["Directions 1"][3][1]
    np.testing.assert_allclose(data[3 * 3 + 1].inputs["keypoints2d"][0, :, 2], wanted, rtol=1e-6)
    np.savez(folder / "score.npz", scores=np.array(made.scores, object))
    again = opened(folder, detections="gt", scores=str(folder / "score.npz"))
    np.testing.assert_array_equal(again[4].inputs["keypoints2d"], data[4].inputs["keypoints2d"])
    assert again.identity != data.identity


class Call:
    def __reduce__(self):
        return (print, ("it was called",))


def test_nothing_but_arrays_is_read(tmp_path, capsys):
    np.savez(tmp_path / "evil.npz", positions_3d=np.array({"S1": Call()}, object))
    with pytest.raises(BadAnnotation, match=r"evil.npz.*a .npz of numpy arrays"):
        read_objects(tmp_path / "evil.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "evil.npz").read_bytes()[:100])
    with pytest.raises(BadAnnotation):
        read_objects(tmp_path / "cut.npz")
    assert "called" not in capsys.readouterr().out
    np.savez(tmp_path / "plain.npz", a=np.arange(3), b={"c": [np.ones(2)]})
    content = read_objects(tmp_path / "plain.npz")
    assert content["a"].tolist() == [0, 1, 2]
    assert content["b"]["c"][0].tolist() == [1, 1]


def other_title(made):
    made.world["S1"]["Dancing"] = made.world["S1"].pop("Walking")


def few_frames(made):
    made.flat["S1"]["Walking"][2] = made.flat["S1"]["Walking"][2][:5]


def three_cameras(made):
    made.flat["S1"]["Walking"].pop()


def no_camera(made):
    del made.cameras["S1", CAMERAS[3]]


def turned(made):
    made.cameras["S1", CAMERAS[0]]["R"] = made.cameras["S1", CAMERAS[0]]["R"].T


def in_millimetres(made):
    made.cameras["S1", CAMERAS[0]]["T"] *= 1000


def other_joints(made):
    made.world["S1"]["Walking"] = made.world["S1"]["Walking"][:, :20]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_title, r"S1: the action is 'Dancing', expected one of Directions"),
        (few_frames, r"S1, Walking, camera 2: the entry is of 5 frames, expected 6 or more, as the poses"),
        (three_cameras, r"S1, Walking: the entry is of 3 cameras, expected 4 cameras"),
        (no_camera, r"cameras.pkl, S1, 60457274: the entry is None, expected a mapping"),
        (turned, r"human36m/S1/02_01/1: the camera's answer is \d+ px away, expected half of the joints"),
        (in_millimetres, r"human36m/S1/02_01/1: the camera's answer is \d+ px away, expected half of the joints"),
        (other_joints, r"S1, Walking: positions_3d is of shape \(6, 20, 3\), expected finite numbers of shape"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    made = Made()
    change(made)
    with pytest.raises(BadAnnotation, match=message):
        opened(made.write(tmp_path))


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(MissingData, match="human36m_2d"):
        opened(tmp_path / "nowhere")
    folder = Made().write(tmp_path)
    (folder / "cameras.pkl").unlink()
    with pytest.raises(ValueError, match=r"missing: .*cameras.pkl"):
        opened(folder)
    with pytest.raises(ValueError, match=r"data_2d_h36m_other.npz"):
        opened(folder, detections="other")
    others = Made(subjects=("S2",)).write(tmp_path)
    with pytest.raises(BadAnnotation, match="subjects of part test"):
        opened(others, "test")


def test_published_cameras_see_a_person_in_their_middle(shared):
    """Of a real file in this form: a person who stands 1 m high over the origin of the world."""
    cameras = read_pickle(shared / "data/mmpose_samples/h36m/cameras.pkl")
    assert len(ACTIONS) == 15
    for subject in (1, 5, 6, 7, 8, 9, 11):
        for number, key in enumerate(CAMERAS):
            camera = cameras[f"S{subject}", key]
            assert (camera["w"], camera["h"]) == SIZES[number]
            point = camera["R"].T @ (np.array([0, 0, 1.0]) - camera["T"][:, 0])
            assert 3 < point[2] < 8
            pixel = point[:2] / point[2] * camera["f"][:, 0] + camera["c"][:, 0]
            assert ((pixel > 100) & (pixel < 900)).all()
