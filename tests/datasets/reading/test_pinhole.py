import numpy as np
import pytest

from keyshift.datasets.reading.pinhole import Pinhole, impossible, off_centre, same_shape

SIZE = (1920, 1080)


def test_a_scaled_picture_shows_a_point_where_the_scaled_camera_projects_it():
    """Edges scale: half the size, half of every coordinate with pixel centres at +0.5."""
    camera, point = Pinhole(1500, 1520, 970.5, 530.5, SIZE), np.array([200.0, -100, 3000])

    def projected(size):
        numbers = camera.at(*size)
        return point[:2] / point[2] * numbers[:2] + numbers[2:]

    assert projected((960, 540)) == pytest.approx(projected(SIZE) / 2)
    assert projected((3840, 2160)) == pytest.approx(projected(SIZE) * 2)
    assert projected((1280, 720)) == pytest.approx(projected(SIZE) / 1.5)


def test_the_middle_is_that_of_each_picture():
    assert Pinhole(900, 900).at(640, 481).tolist() == [900, 900, 320, 240.5]
    assert Pinhole(900, 910, size=(640, 480)).turned().at(480, 640).tolist() == [910, 900, 240, 320]


def test_shapes():
    assert same_shape((4000, 3000), (401, 301))  # to the nearest pixel, either way
    assert same_shape((401, 301), (4000, 3000))
    assert same_shape((4032, 3024), (500, 375))
    assert not same_shape((4000, 3000), (3990, 3000))
    assert not same_shape((640, 480), (480, 640))
    camera = Pinhole(600, 600, 320, 240, (640, 480))
    with pytest.raises(ValueError, match=r"of 640 x 480, and this one has 480 x 640: the picture is turned"):
        camera.at(480, 640)
    with pytest.raises(
        ValueError, match=r"of 640 x 480, and this one has 640 x 360, which is of another shape: was it"
    ):
        camera.at(640, 360)


IMPOSSIBLE = {
    "zero": ((0, 0, 960, 540), "a focal length of 0 is no camera's: px above 0"),
    "negative": ((-1500, -1500, 960, 540), "a focal length of -1500 is no camera's"),
    "up": ((1500, -1500, 960, 540), "a minus in papers means y up"),
    "nan": ((np.nan, 1500, 960, 540), "finite numbers of px"),
    "endless": ((np.inf, np.inf, 960, 540), "finite numbers of px"),
    "phone": ((4.2, 4.2, 960, 540), r"field of view of 179 degrees.*px of these pictures are expected, not mm"),
    "film": (
        (35, 35, 960, 540),
        r"by 1920 / the longer side of the sensor.*equivalent, by 50.91 \(then 35 mm is 1782 px",
    ),
    "absurd": ((200000, 200000, 960, 540), "104 times the longer side"),
    "two": ((1500, 700, 960, 540), "differ by more than a factor of two"),
    "corner": ((0.8, 1.4, 0.5, 0.5), "in the picture's corner.*multiply fx and cx by 1920, fy and cy by 1080"),
    "outside": ((1500, 1500, 5760, 540), r"\(5760, 540\) is far outside a picture of 1920 x 1080"),
    "above": ((1500, 1500, 960, -1200), r"\(960, -1200\) is far outside"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_no_camera_can_be(name):
    camera, match = IMPOSSIBLE[name]
    problem = impossible(np.array(camera, float), SIZE, 0.0)
    with pytest.raises(ValueError, match=match):
        raise ValueError(problem)


def test_real_cameras_are_possible():
    for focal, size in (
        (1145.05, (1000, 1002)),
        (1500, (640, 392)),
        (290, (640, 480)),
        (20000, (1920, 1080)),
        (60, (64, 48)),
    ):
        assert impossible(Pinhole(focal, focal).at(*size), size) == ""
    cut_out = np.array([600.0, 600, -50, 700])
    assert "far outside" in impossible(cut_out, (200, 300))
    assert impossible(cut_out, (200, 300), stated=True) == ""
    assert off_centre(np.array([600.0, 600, -50, 700]), (200, 300))
    assert not off_centre(np.array([1149.7, 1147.6, 508.8, 508.1]), (1000, 1002))
