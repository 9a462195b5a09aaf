import pickle

import numpy as np
import pytest
import torch

from keyshift.datasets.rendered.depth import SUBJECTS, RenderedDepth, render_depth
from keyshift.datasets.rendered.sensors import (
    BASE,
    SENSORS,
    SUBPIXELS,
    lit_by_projector,
    structured_light,
    time_of_flight,
)
from keyshift.datasets.sample import to_pixels

FACING = np.ones((64, 64))


def plane(distance):
    return np.full((64, 64), float(distance))


def rng(seed=0):
    return np.random.default_rng(seed)


def test_shadow_against_a_loop():
    disparity = 20 + 15 * rng().random((3, 40))
    lit = lit_by_projector(disparity)
    for row in range(3):
        for u in range(40):
            here = u - disparity[row, u]
            blocked = any(other - disparity[row, other] <= here for other in range(u + 1, 40))
            assert lit[row, u] == (not blocked)


def test_a_shadow_lies_left_of_the_nearer_surface_and_is_as_wide_as_the_disparities_differ():
    depth = plane(900)
    depth[:, 40:] = 500
    lit = lit_by_projector(300.0 * BASE / depth)
    assert lit[:, 40:].all()
    width = 300 * BASE / 500 - 300 * BASE / 900
    assert abs((~lit).sum(1) - width).max() <= 1


def test_structured_light_has_steps_that_grow_with_the_square_of_distance():
    spread = {}
    for distance in (600, 1200):
        seen = structured_light(plane(distance), FACING, 300.0, 1.0, rng())
        returned = seen[seen > 0]
        assert len(returned) > 0.9 * seen.size
        steps = 300.0 * BASE / returned * SUBPIXELS
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
        spread[distance] = np.std(returned)
    assert 2.5 < spread[1200] / spread[600] < 6


@pytest.mark.parametrize("measure", [structured_light, time_of_flight])
def test_grazed_surfaces_return_less(measure):
    def missing(cosine):
        return (measure(plane(2000), 0 * FACING + cosine, 300.0, 1.0, rng()) == 0).mean()

    assert missing(0.05) > missing(1.0) + 0.2


def test_time_of_flight_mixes_at_edges_alone():
    depth = plane(700)
    depth[:, 32:] = 500
    seen = time_of_flight(depth, FACING, 200.0, 1.0, rng())
    between = (seen > 540) & (seen < 660)
    assert between[:, 30:34].mean() > 0.2
    assert between[:, :28].mean() == between[:, 36:].mean() == 0


def test_time_of_flight_is_noisier_far_away_and_too_deep_in_hollows():
    noise = [np.std(time_of_flight(plane(z), FACING, 200.0, 1.0, rng())) for z in (400, 900)]
    assert noise[1] > 1.5 * noise[0]
    hollow = plane(600)
    hollow[28:36, 28:36] = 630

    def bias(seed):
        flat, deep = (time_of_flight(d, FACING, 200.0, 1.0, rng(seed)) for d in (plane(630), hollow))
        return (deep - flat)[30:34, 30:34].mean()

    assert np.mean([bias(seed) for seed in range(8)]) > 1


@pytest.mark.parametrize("what", SUBJECTS)
@pytest.mark.parametrize("sensor", SENSORS)
def test_frames_do_not_depend_on_their_company(what, sensor):
    together = render_depth(what, sensor, 3, range(30), 48)
    alone = render_depth(what, sensor, 3, [27], 48)
    for name, values in alone.items():
        np.testing.assert_array_equal(values[0], together[name][27], err_msg=name)
    other = render_depth(what, sensor, 4, [27], 48)
    assert not np.array_equal(other["depth"], alone["depth"])


@pytest.mark.parametrize("what", SUBJECTS)
def test_joints_project_to_their_pixels_and_lie_behind_the_surface(what):
    made = render_depth(what, "ideal", 0, range(24), 96)
    points, camera = (torch.from_numpy(made[name]) for name in ("points", "camera"))
    np.testing.assert_allclose(to_pixels(points, camera).numpy(), made["keypoints"], atol=0.05)
    x, y = made["keypoints"][..., :2].astype(int).clip(0, 95).transpose(2, 0, 1)
    surface = made["exact"][np.arange(24)[:, None], y, x]
    behind = made["keypoints"][..., 2] - surface
    seen = made["visible"]
    assert seen.mean() > 0.6
    assert np.median(behind[seen]) > 0
    assert (behind[seen] < SUBJECTS[what].flesh).all()


def test_centres_are_as_far_off_as_public_ones():
    made = render_depth("hands", "ideal", 0, range(200), 48)
    focal, corner = made["camera"][:, :2], made["camera"][:, 2:]
    center = made["center"]
    space = np.concatenate([(center[:, :2] - corner) / focal * center[:, 2:], center[:, 2:]], 1)
    assert 17 < np.linalg.norm(space - made["points"].mean(1), axis=1).mean() < 25


def test_sensors_have_cameras_and_views_of_their_own():
    cameras = {name: render_depth("hands", name, 0, range(4), 48)["camera"][0, 0] for name in SENSORS}
    assert len(set(cameras.values())) == 3
    assert len({sensor.turn for sensor in SENSORS.values()}) == 3


def test_dataset(tmp_path):
    dataset = RenderedDepth("hands", "structured_light", 10, 0, 64, cache=tmp_path)
    item = dataset[9]
    made = render_depth("hands", "structured_light", 0, range(10), 64)
    np.testing.assert_allclose(item.image, made["depth"][9], atol=0.11)
    np.testing.assert_array_equal(item.keypoints, made["keypoints"][9])
    assert item.cube.tolist() == [240.0] * 3
    again = pickle.loads(pickle.dumps(dataset))[9]
    np.testing.assert_array_equal(again.image, item.image)
    truth = RenderedDepth("hands", "structured_light", 10, 0, 64, centers="truth", cube=200.0, cache=tmp_path)
    np.testing.assert_allclose(truth[9].center, item.keypoints.mean(0), rtol=1e-6)
    assert truth.identity["centers"] == "truth"
    assert truth[9].cube.tolist() == [200.0] * 3
    item = RenderedDepth("hands", "ideal", 5, 0, 64, centers="threshold", cache=tmp_path)[0]
    assert abs(item.center[2] - item.points[:, 2].mean()) < 120
    with pytest.raises(IndexError):
        dataset[10]


def test_errors():
    with pytest.raises(ValueError, match=r"no sensor 'structured'; .*Did you mean structured_light\?"):
        RenderedDepth("hands", "structured", 5, 0)
    with pytest.raises(ValueError, match="no subject 'feet'"):
        RenderedDepth("feet", "ideal", 5, 0)
    with pytest.raises(ValueError, match="count >= 1"):
        RenderedDepth("hands", "ideal", 0, 0)
    with pytest.raises(ValueError, match="centers='file'"):
        RenderedDepth("hands", "ideal", 1, 0, centers="file")
