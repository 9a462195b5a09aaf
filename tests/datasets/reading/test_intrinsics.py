import json

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.options import BadOption
from keyshift.datasets.reading.intrinsics import FOCAL, CameraOptions, open_intrinsics, parse_focal
from keyshift.datasets.reading.video import write_video

EQUIVALENT = 0xA405
FLAT = {"fx": 600, "fy": 610, "cx": 310, "cy": 245}


def photograph(path, size=(360, 240), equivalent=None, turn=1):
    exif = Image.Exif()
    if equivalent is not None:
        exif[0x0112] = turn
        exif.get_ifd(0x8769)[EQUIVALENT] = equivalent
        exif[0x8769] = 0
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, (90, 80, 70)).save(path, exif=exif)


def calibration(tmp_path, content, name="camera.json"):
    (tmp_path / name).write_text(json.dumps(content))
    return CameraOptions(camera=str(tmp_path / name))


@pytest.fixture
def folder(tmp_path):
    """Two photographs with EXIF, the second turned, one picture without, and a video."""
    root = tmp_path / "pictures"
    photograph(root / "a.jpg", equivalent=50)
    photograph(root / "b.jpg", equivalent=100, turn=6)
    photograph(root / "c.png")
    write_video(root / "clip.mp4", [np.full((48, 64, 3), 10 * k, np.uint8) for k in range(3)], 10)
    return root


NAMES = ["a.jpg", "b.jpg", "c.png", "clip.mp4#0", "clip.mp4#2"]


def test_what_command_lines_say():
    assert parse_focal("1450") == [1450]
    assert parse_focal("1450, 1460.5,960,-3e1") == [1450, 1460.5, 960, -30]
    for text in ("", "wide", "1,2", "1,2,3", "1;2;3;4"):
        with pytest.raises(ValueError, match=r"expected F, or FX,FY,CX,CY, in px"):
            parse_focal(text)
    with pytest.raises(BadOption, match="must be F, or FX,FY,CX,CY"):
        CameraOptions(focal=[1.0, 2.0])
    with pytest.raises(BadOption, match="both state the camera"):
        CameraOptions(focal=[1500.0], camera="exif")


def test_stated_focal_lengths(folder):
    one = open_intrinsics(CameraOptions(focal=[400.0]), folder, NAMES)
    assert one.of("a.jpg", 360, 240).tolist() == [400, 400, 180, 120]
    assert one.of("b.jpg", 240, 360).tolist() == [400, 400, 120, 180]
    assert "400 px, principal point the picture's middle" in one.note
    four = open_intrinsics(CameraOptions(focal=[400.0, 410, 179.5, 119.5]), folder, ["a.jpg"])
    assert four.of("a.jpg", 360, 240).tolist() == [400, 410, 180, 120]
    assert four.about() == {
        **{"from": "focal", "note": four.note, "focal": [400, 410], "principal_point": [179.5, 119.5], "size": None}
    }
    assert not four.assumed("a.jpg")
    json.dumps([one.about(), four.about()])


@pytest.mark.parametrize(
    ("focal", "match"),
    [
        ([0.0], "focal=0, for a.jpg .and of 3 more of 4.: a focal length of 0 is no camera's"),
        ([-1500.0], "a focal length of -1500"),
        ([float("nan")], "finite numbers"),
        ([4.2], "4.2 px .* not mm"),
        ([35.0], r"not mm.*35 mm is"),
        ([1e6], "times the longer side"),
        ([400.0, 400, 5000, 120], r"focal=400,400,5000,120, for a.jpg.*\(5000, 120\) is far outside"),
    ],
)
def test_impossible_cameras_are_refused(folder, focal, match):
    with pytest.raises(ValueError, match=match):
        open_intrinsics(CameraOptions(focal=focal), folder, [*NAMES[:2], "c.png", "clip.mp4#0"])


def test_a_principal_point_of_another_size_is_doubted(folder):
    with pytest.warns(UserWarning, match=r"far from the middle of 1 of 1 pictures, the first a.jpg of 360 x 240"):
        open_intrinsics(CameraOptions(focal=[400.0, 400, 320, 239]), folder, ["a.jpg"])


def test_a_calibration_is_scaled_to_pictures_of_its_shape(tmp_path, folder):
    options = calibration(tmp_path, FLAT | {"width": 640, "height": 480})
    cameras = open_intrinsics(options, folder, ["clip.mp4#0", "clip.mp4#1"])
    assert cameras.of("clip.mp4#1", 64, 48) == pytest.approx([60, 61, 31.05, 24.55])
    assert cameras.about()["file"] == options.camera
    assert cameras.about()["size"] == [640, 480]
    with pytest.raises(
        ValueError, match=r"camera.json, for a.jpg: .*640 x 480, and this one has 360 x 240, which is of"
    ):
        open_intrinsics(options, folder, ["clip.mp4#0", "a.jpg"])
    with pytest.raises(ValueError, match=r"x.jpg: the camera is that of pictures of 640 x 480.*the picture is turned"):
        cameras.of("x.jpg", 480, 640)


def test_distortion_is_said_to_be_unused(tmp_path, folder):
    options = calibration(tmp_path, FLAT | {"width": 640, "height": 480, "k1": 0.1})
    with pytest.warns(UserWarning, match=r"camera.json: it states the distortion of a lens, which is not used"):
        open_intrinsics(options, folder, ["clip.mp4#0"])


def test_a_camera_for_each_picture(tmp_path, folder):
    content = {"a.jpg": [400, 400, 179.5, 119.5], "clip.mp4": [60, 60, 31.5, 23.5], "b.jpeg": [400, 400, 119.5, 179.5]}
    options = calibration(tmp_path, content)
    cameras = open_intrinsics(options, folder, ["a.jpg", "clip.mp4#0", "clip.mp4#2"])
    assert cameras.of("a.jpg", 360, 240).tolist() == [400, 400, 180, 120]
    assert cameras.of("clip.mp4#2", 64, 48).tolist() == [60, 60, 32, 24]
    assert "one for each picture" in cameras.note
    with pytest.raises(ValueError, match=r"no camera for 2 of 5 pictures, the first b.jpg \(did you mean b.jpeg\?\)"):
        open_intrinsics(options, folder, NAMES)
    with pytest.raises(ValueError, match=r"new.jpg: no camera is known. Give focal=F in px"):
        cameras.of("new.jpg", 360, 240)


def test_exif_alone_refuses_pictures_that_do_not_tell(folder):
    cameras = open_intrinsics(CameraOptions(camera="exif"), folder, ["a.jpg", "b.jpg"])
    assert cameras.of("a.jpg", 360, 240) == pytest.approx([500, 500, 180, 120], rel=1e-5)
    assert cameras.of("b.jpg", 240, 360) == pytest.approx([1000, 1000, 120, 180], rel=1e-5)
    assert cameras.about()["from"] == "exif"
    match = (
        r"camera=exif: 2 of 4 pictures and videos tell no camera, the first c.png: it has no EXIF. Give focal=F in px"
    )
    with pytest.raises(ValueError, match=match):
        open_intrinsics(CameraOptions(camera="exif"), folder, NAMES)


def test_without_a_word_exif_where_it_tells_and_the_stated_default_elsewhere(folder):
    cameras = open_intrinsics(CameraOptions(), folder, NAMES)
    assert cameras.of("a.jpg", 360, 240)[0] == pytest.approx(500, rel=1e-5)
    assert cameras.of("c.png", 360, 240).tolist() == [FOCAL, FOCAL, 180, 120]
    assert [cameras.assumed(name) for name in NAMES] == [False, False, True, True, True]
    assert "2 of 4 pictures is that of their EXIF" in cameras.note
    assert "2 of 4 pictures and videos tell no camera, the first c.png: it has no EXIF: for these" in cameras.note
    assert cameras.about()["assumed_focal"] == FOCAL
    alone = open_intrinsics(CameraOptions(), folder, ["c.png"])
    assert alone.note == (
        "no camera is known (c.png: it has no EXIF): a focal length of 1500 px is assumed, and the principal point is "
        "the middle; depths are right for that focal length, and scale with the true one: Z_true = Z * f_true / 1500"
    )
    assert alone.about()["from"] == "assumed"
    every = open_intrinsics(CameraOptions(), folder, ["a.jpg", "b.jpg"])
    assert "assumed" not in every.note
    assert "assumed_focal" not in every.about()


def test_sizes_may_be_given_and_broken_pictures_are_passed_over(folder):
    (folder / "broken.jpg").write_bytes(b"broken")
    options = CameraOptions(focal=[400.0])
    given = open_intrinsics(options, folder, ["broken.jpg"], [(360, 240)])
    assert given.of("broken.jpg", 360, 240).tolist() == [400, 400, 180, 120]
    assert open_intrinsics(options, folder, ["broken.jpg"]).note == given.note
    assert open_intrinsics(CameraOptions(), folder, ["broken.jpg"]).assumed("broken.jpg")
