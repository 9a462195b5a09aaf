"""People in space in batches: k of every crop, z of every keypoint, and a camera that goes with the crop."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.cameras import Cameras
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches, collate, crop, empty_like
from keyshift.datasets.reading.box_chain import chained
from keyshift.datasets.sample import PIXELS_AND_MM, ROOT_MM, distance_measure
from keyshift.datasets.skeleton import Skeleton
from keyshift.datasets.views import Extended, Flat, InSpace, Selected, View, WithoutLabels

DEMO = {
    (139.41, 102.25, 222.39, 241.57): 9976.306273,
    (287.17, 61.52, 74.88, 165.61): 14579.916165,
    (540.04, 48.81, 99.96, 223.36): 10793.308149,
    (372.58, 170.84, 266.63, 217.19): 9035.124045,
    (0.5, 43.74, 90.1, 220.09): 10954.402300,
}
"""Boxes of PoseNet's demonstration picture, 640x392 at a focal length of 1500 px, and the k that its code makes of
them."""
TURNED = Augmentation(rotation=60, area=[0.5, 1.6], mirror=0.5)


class Changed(View):
    """Items with other fields."""

    def __init__(self, dataset, **fields):
        super().__init__(dataset)
        self.fields = fields

    def __getitem__(self, index):
        return replace(self.dataset[index], **self.fields)


@pytest.mark.parametrize("size", [(256, 256), (192, 256), (64, 32)])
@pytest.mark.parametrize("box", DEMO)
def test_k_of_a_crop_is_the_references(persons, box, size):
    """Of the square about its processed box, to a thousandth of a mm. In an input that is no square more than the box
    is seen, and k is of that."""
    x, y, w, h = box
    cut = chained(np.array([x, y, x + w, y + h]), 640, 392)
    picture, camera = np.zeros((392, 640, 3), np.uint8), np.array([1500.0, 1500.0, 320.0, 196.0])
    data = InSpace(Changed(persons(1), image=picture, box=cut, camera=camera), rooted=False)
    made = crop(data[0], size, None, None, data.skeleton.flip)
    seen = max(size) / min(size)
    assert float(made.inputs["k"]) == pytest.approx(DEMO[box] / np.sqrt(seen), abs=1e-3)
    batch = collate([made], labels=True)
    assert batch.inputs["k"].dtype == torch.float32
    assert float(batch.inputs["k"]) == pytest.approx(DEMO[box] / np.sqrt(seen), abs=2e-3)


def input_camera(sample, row):
    """fx, fy, the skew between them, cx and cy of the camera by which the input of a crop is seen: 2x3 that takes
    X/Z, Y/Z and 1 to pixels of the input."""
    fx, fy, cx, cy = sample.camera[row].double().numpy()
    to_file = np.delete(sample.to_file[row].double().numpy(), 2, axis=-1)[:2]  # without z, which a crop leaves alone
    to_input = np.linalg.inv(np.vstack([to_file, [0, 0, 1]]))
    return (to_input @ np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))[:2]


@pytest.mark.parametrize("rooted", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (48, 64)])
def test_the_camera_goes_with_every_crop(persons, rooted, size):
    """Points in mm, seen through the transformed camera, are the keypoints in the input; k is of that camera too,
    whatever is turned, mirrored and zoomed; z is that of the points."""
    data = InSpace(persons(24), rooted)
    batches = TrainingBatches(data, "source", 0, 12, size, TURNED, labels=True, views=3)
    mirrored, zooms = set(), []
    for step in range(2):
        for sample in (batches[step], *batches[step].views):
            assert sample.space == (ROOT_MM if rooted else PIXELS_AND_MM)
            assert sample.to_file.shape == (12, 3, 4)
            for row in range(12):
                points, keypoints = sample.points[row].double().numpy(), sample.keypoints[row].double().numpy()
                camera = input_camera(sample, row)
                rays = np.concatenate([points[:, :2] / points[:, 2:], np.ones((3, 1))], 1)
                assert np.abs(rays @ camera.T - keypoints[:, :2]).max() < 0.05
                z = points[:, 2] - (points[0, 2] if rooted else 0)
                np.testing.assert_allclose(keypoints[:, 2], z, atol=1e-3)
                turned = np.linalg.det(camera[:, :2]) < 0
                mirrored.add(bool(turned))
                original = data.dataset[int(sample.row[row])].points
                np.testing.assert_allclose(points, original[[0, 2, 1] if turned else [0, 1, 2]], atol=1e-3)
                # k: where a square of 2 m fills as many pixels as the input has
                area_at_one_mm = 2000.0**2 * abs(np.linalg.det(camera[:, :2]))
                k = np.sqrt(area_at_one_mm / (size[0] * size[1]))
                assert float(sample.inputs["k"][row]) == pytest.approx(k, rel=1e-4)
                zooms.append(k)
            assert sample.deep.all()
            assert (sample.inputs["extent"] == 2000).all()
    assert mirrored == {True, False}
    assert max(zooms) > 1.3 * min(zooms)


def test_another_focal_length_changes_k_and_not_the_distance(persons):
    """The same scene taken with twice the focal length, cut to the same person: k and keypoints stay. Cut to the same
    pixels: half of the scene, and k doubles."""
    data = InSpace(persons(6), rooted=False)
    plain = TrainingBatches(data, "s", 0, 6, (32, 32), Augmentation(rotation=0, area=[1, 1]), True)[0]
    twice = Cameras(focal=[2.0, 2.0])
    other = TrainingBatches(data, "s", 0, 6, (32, 32), Augmentation(rotation=0, area=[1, 1]), True, cameras=twice)[0]
    torch.testing.assert_close(other.camera[:, :2], 2 * plain.camera[:, :2])
    torch.testing.assert_close(other.inputs["k"], plain.inputs["k"], rtol=1e-4, atol=0)
    torch.testing.assert_close(other.keypoints, plain.keypoints, atol=0.01, rtol=1e-4)
    item = data[0]
    nearer = replace(item, camera=item.camera * [2, 2, 1, 1])
    ks = [float(crop(one, (32, 32), None, None, [0, 2, 1]).inputs["k"]) for one in (item, nearer)]
    assert ks[1] == pytest.approx(2 * ks[0])
    assert distance_measure(np.array([4.0, 9.0, 0, 0]), 36.0, 2000.0) == pytest.approx(2000.0)


def test_what_is_not_known_is_not_deep(toys, persons):
    """Sets without points, persons without a root, points behind the camera: z is 0 there, and does not count."""
    flat = InSpace(toys.Sketches(toys.Sketches.Options(), "train"), rooted=True)
    sample = EvaluationBatches(flat, 4, (32, 32))[0]
    assert not sample.deep.any()
    assert sample.points is None
    assert (sample.keypoints[..., 2] == 0).all()
    assert (sample.inputs["k"] == 0).all()
    assert sample.gives == {"image", "k", "extent"}
    rootless = np.array([False, True, True])
    for rooted, deep in ((True, [False] * 3), (False, [False, True, True])):
        item = InSpace(Changed(persons(2), annotated=rootless, visible=rootless), rooted)[0]
        assert item.deep.tolist() == deep
        assert (item.keypoints[~item.deep, 2] == 0).all()
    points = persons(2)[0].points.copy()
    points[1] = 0
    assert InSpace(Changed(persons(2), points=points), rooted=False)[0].deep.tolist() == [True, False, True]
    points[0, 2] = -1
    assert not InSpace(Changed(persons(2), points=points), rooted=True)[0].deep.any()


def test_several_people_in_a_picture(persons):
    """(P, K): each counts from his own root, and those of a mirrored picture change sides."""
    one, two = persons(2)[0], persons(2)[1]
    people = {n: np.stack([getattr(one, n), getattr(two, n)]) for n in ("keypoints", "visible", "annotated", "points")}
    people["annotated"][1, 0] = False
    crowd = InSpace(Changed(persons(1), **people), rooted=True)
    mirrored = Augmentation(rotation=30, mirror=1.0)
    sample = TrainingBatches(crowd, "s", 0, 1, (32, 32), mirrored, True)[0]
    assert sample.keypoints.shape == (2, 3, 3)
    assert sample.deep.tolist() == [[True] * 3, [False] * 3]
    z = one.points[[0, 2, 1], 2] - one.points[0, 2]
    np.testing.assert_allclose(sample.keypoints[0, :, 2], z, atol=1e-3)
    assert (sample.keypoints[1, :, 2] == 0).all()
    assert sample.image_index.tolist() == [0, 0]
    gone = WithoutLabels(crowd)[0]
    assert gone.keypoints.shape == (0, 3, 3)
    assert gone.deep.shape == (0, 3)
    assert gone.space == ROOT_MM


def test_no_label_is_left_in_a_target(persons):
    item = WithoutLabels(InSpace(persons(2), rooted=True))[1]
    assert not item.keypoints.any()
    assert not item.deep.any()
    assert item.points is None
    made = TrainingBatches(InSpace(persons(8), True), "t", 0, 4, (32, 32), TURNED, labels=False, views=2)[0]
    other = TrainingBatches(
        InSpace(Changed(persons(8), points=np.ones((3, 3)), keypoints=np.ones((3, 2))), True),
        *("t", 0, 4, (32, 32), TURNED),
        labels=False,
        views=2,
    )[0]
    for one, same in ((made, other), (made.views[0], other.views[0])):
        assert one.inputs.keys() == {"image", "extent", "k"}
        assert all(torch.equal(one.inputs[name], same.inputs[name]) for name in one.inputs)
        assert one.space == ROOT_MM


def test_what_stands_for_an_unreadable_picture_has_an_extent(persons):
    """Scores divide z by it."""
    item = InSpace(persons(2), rooted=True)[0]
    empty = empty_like("x", item)
    assert (float(empty.inputs["extent"]), empty.space, empty.deep.any()) == (2000, ROOT_MM, False)
    sample = collate([crop(one, (32, 32), None, None, [0, 2, 1]) for one in (item, empty)], labels=True)
    assert sample.inputs["k"].isfinite().all()
    flat = Flat(InSpace(persons(2), rooted=True))[0]
    nothing = empty_like("x", flat)
    assert (nothing.deep, nothing.space, nothing.annotated.any()) == (None, ROOT_MM, False)
    pair = collate([crop(one, (32, 32), None, None, [0, 2, 1]) for one in (flat, nothing)], labels=True)
    assert (pair.deep, pair.keypoints.shape) == (None, (2, 3, 3))


def test_views_over_people_in_space_keep_what_is_deep(persons):
    data = InSpace(Changed(persons(2), annotated=np.array([True, False, True])), rooted=True)
    assert Selected(data, ("right_hand", "pelvis"))[0].deep.tolist() == [True, True]
    assert Selected(data, ("left_hand",))[0].deep.tolist() == [False]
    more = Extended(data, Skeleton("more", ("head", "right_hand", "left_hand", "pelvis")))[0]
    assert more.deep.tolist() == [False, True, False, True]
    np.testing.assert_allclose(more.points[[1, 2, 3]], persons(2)[0].points[[2, 1, 0]])
    assert not more.points[0].any()


@pytest.mark.parametrize(
    ("skeleton", "rooted", "message"),
    [
        ({"extent": 0.0}, False, r"persons.plain.train: its skeleton 'persons' .* says no extent in mm, which people"),
        ({"root": None}, True, r"says no root, which people in space need: a pelvis or wrist"),
        ({"root": None, "extent": 0.0}, True, r"says no extent in mm and no root"),
    ],
)
def test_skeletons_that_say_too_little(persons, skeleton, rooted, message):
    with pytest.raises(ValueError, match=message):
        InSpace(View(persons(1), skeleton=replace(persons.skeleton, **skeleton)), rooted)
    InSpace(View(persons(1), skeleton=replace(persons.skeleton, root=None)), rooted=False)


def test_depth_frames_are_no_pictures(balls):
    data = View(balls(1), skeleton=replace(balls.skeleton, root=0, extent=300.0))
    with pytest.raises(ValueError, match="people in space are read from pictures with 2D keypoints"):
        InSpace(data, rooted=False)[0]
