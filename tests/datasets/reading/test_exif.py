import warnings

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.reading.exif import NoLens, lens_of, read_lens, read_lenses
from keyshift.datasets.reading.images import read_image

FOCAL, EQUIVALENT, WIDTH, HEIGHT, PER_UNIT, PER_UNIT_Y, UNIT, TURN = (
    *(0x920A, 0xA405, 0xA002, 0xA003, 0xA20E, 0xA20F, 0xA210),
    0x0112,
)
DIAGONAL = np.hypot(36, 24)


def photograph(path, size, tags, turn=None):
    """A picture with such EXIF tags; gives its path."""
    exif = Image.Exif()
    if turn is not None:
        exif[TURN] = turn
    exif.get_ifd(0x8769).update(tags)
    exif[0x8769] = 0  # where, which Pillow writes
    Image.new("RGB", size, (90, 80, 70)).save(path, exif=exif)
    return path


def test_the_35_mm_equivalent_gives_film_and_picture_one_diagonal_field_of_view(tmp_path):
    lens = read_lens(photograph(tmp_path / "film.jpg", (360, 240), {EQUIVALENT: 50}))
    assert lens.at(360, 240) == pytest.approx([500, 500, 180, 120], rel=1e-5)  # 36 mm are 360 px
    camera = read_lens(photograph(tmp_path / "phone.jpg", (400, 300), {EQUIVALENT: 26})).at(400, 300)
    degrees = 2 * np.arctan(DIAGONAL / 2 / 26)
    assert 2 * np.arctan(np.hypot(400, 300) / 2 / camera[0]) == pytest.approx(degrees, rel=1e-5)
    assert camera[0] == camera[1]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("turn", [None, 1, 3, 6, 8])
def test_the_sensor_counts_pixels_of_the_stored_rows_and_turns_with_the_picture(tmp_path, name, turn):
    tags = {FOCAL: 4.5, PER_UNIT: 400 / 0.6, PER_UNIT_Y: 300 / 0.5, UNIT: 3}  # a sensor of 6 x 5 mm
    path = photograph(tmp_path / name, (400, 300), tags, turn)
    height, width = read_image(path).shape[:2]
    lens, sideways = read_lens(path), turn in (6, 8)
    assert lens.size == (width, height) == ((300, 400) if sideways else (400, 300))
    fx, fy = 4.5 / 6 * 400, 4.5 / 5 * 300
    wanted = [fy, fx, 150, 200] if sideways else [fx, fy, 200, 150]
    assert lens.at(width, height) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(("unit", "mm"), [(2, 25.4), (3, 10), (4, 1), (5, 0.001), (None, 25.4)])
def test_units_of_the_sensor(unit, mm):
    tags = {FOCAL: 50, PER_UNIT: 100 * mm} | ({} if unit is None else {UNIT: unit})  # 100 px a mm
    assert lens_of(tags, (3600, 2400)).at(3600, 2400) == pytest.approx([5000, 5000, 1800, 1200])


def test_pictures_that_were_made_smaller_are_scaled(tmp_path):
    """Both ways of telling, and both sizes that a camera writes."""
    taken = {WIDTH: 4000, HEIGHT: 3000}
    sensor = {FOCAL: 4.5, PER_UNIT: 4000 / 6, PER_UNIT_Y: 4000 / 6, UNIT: 4}
    whole = lens_of(sensor | taken, (4000, 3000)).at(4000, 3000)
    assert whole[:2] == pytest.approx(3000)
    small = read_lens(photograph(tmp_path / "a.jpg", (400, 300), sensor | taken)).at(400, 300)
    assert small == pytest.approx([300, 300, 200, 150], rel=1e-4)
    odd = lens_of(sensor | taken, (401, 301)).at(401, 301)
    assert odd == pytest.approx([3000 * 401 / 4000, 3000 * 301 / 3000, 200.5, 150.5])
    film = lens_of({EQUIVALENT: 27} | taken, (400, 300)).at(400, 300)
    assert film[:2] == pytest.approx(27 / DIAGONAL * 500, rel=1e-5)
    turned = lens_of(sensor | taken | {PER_UNIT_Y: 4400 / 6}, (300, 400)).at(300, 400)  # its pixels were, EXIF was not
    assert turned == pytest.approx([330, 300, 150, 200])


@pytest.mark.parametrize(
    ("tags", "match"),
    [
        ({}, "no focal length"),
        ({EQUIVALENT: 0}, "no focal length"),
        ({FOCAL: 4.2}, "4.2 mm, and neither the 35 mm equivalent nor the sensor"),
        ({FOCAL: 4.2, PER_UNIT: 600, UNIT: 1}, "4.2 mm, and neither"),
        ({FOCAL: 4.2, PER_UNIT: 0, UNIT: 3}, "4.2 mm, and neither"),
        ({FOCAL: "?", EQUIVALENT: float("nan")}, "no focal length"),
        ({EQUIVALENT: 26, WIDTH: 4000, HEIGHT: 2000}, "cut to 400 x 300 after it was taken, at 4000 x 2000"),
        ({FOCAL: 0.1, PER_UNIT: 100, UNIT: 4}, "EXIF is wrong: a focal length of 10 px .* not mm"),
        ({EQUIVALENT: 60000}, "EXIF is wrong: .* times the longer side"),
    ],
)
def test_what_tells_nothing_says_why(tags, match):
    with pytest.raises(NoLens, match=match):
        lens_of(tags, (400, 300))


def test_pictures_without_exif_videos_and_broken_files(tmp_path):
    photograph(tmp_path / "good.jpg", (36, 24), {EQUIVALENT: 50})
    Image.new("RGB", (36, 24)).save(tmp_path / "plain.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe1 broken")
    whole = (tmp_path / "good.jpg").read_bytes()
    names = ["good.jpg", "plain.png", "broken.jpg", "clip.mp4", "gone.jpg", "good.jpg"]
    lenses, reasons = read_lenses(tmp_path, names)
    assert list(lenses) == ["good.jpg"]
    assert reasons["plain.png"] == "it has no EXIF"
    assert reasons["clip.mp4"] == "a video has no EXIF"
    assert all("cannot be read" in reasons[name] for name in ("broken.jpg", "gone.jpg"))
    rng, bytes_ = np.random.default_rng(0), np.frombuffer(whole, np.uint8)
    for _ in range(200):
        spoilt = bytes_.copy()
        spoilt[rng.integers(2, min(len(bytes_), 200), 3)] = rng.integers(0, 256, 3)
        (tmp_path / "spoilt.jpg").write_bytes(spoilt.tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow says what is wrong
            lenses, reasons = read_lenses(tmp_path, ["spoilt.jpg"])
        assert len(lenses) + len(reasons) == 1
