import warnings

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.reading.levels import LOOKED_AT, dark, evenly, white_of


def shots(folder, *highest, suffix="png", dtype=np.uint16):
    """Pictures with levels from 0 to each of `highest`."""
    folder.mkdir(exist_ok=True)
    for k, level in enumerate(highest):
        values = np.linspace(0, level, 64).reshape(8, 8).astype(dtype)
        Image.fromarray(values).save(folder / f"{k}.{suffix}")
    return [f"{k}.{suffix}" for k in range(len(highest))]


@pytest.mark.parametrize(("highest", "white"), [(1000, 1023), (3616, 4095), (16383, 16383), (200, 255)])
def test_low_levels_are_warned_of_once_with_what_to_do(tmp_path, highest, white):
    names = shots(tmp_path, highest // 2, highest, 40)
    match = (
        rf"3 of 3 pictures .* of 16 bit, and their highest level is {highest} of 65535.*white={white} for .*white=auto"
    )
    with pytest.warns(UserWarning, match=match) as warned:
        assert white_of(None, tmp_path, names) is None
    assert len(warned) == 1
    assert white_of("auto", tmp_path, names) == white
    assert white_of(white, tmp_path, names) == white


@pytest.mark.parametrize(
    ("highest", "suffix", "dtype"),
    [
        ((900, 40000), "png", np.uint16),
        ((200, 255), "png", np.uint8),
        ((0, 0), "png", np.uint16),
        ((255,), "jpg", np.uint8),
    ],
)
def test_no_false_alarm(tmp_path, highest, suffix, dtype):
    names = shots(tmp_path, *highest, suffix=suffix, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert white_of(None, tmp_path, [*names, "clip.mp4#3", "none.png"]) is None
    assert white_of("auto", tmp_path, names) in (None, 65535)


def test_dark_pictures_of_eight_bits_scaled_up_are_no_cameras_of_fewer(tmp_path):
    Image.fromarray(np.full((8, 8), 50 * 257, np.uint16)).save(tmp_path / "a.png")
    assert dark(tmp_path, ["a.png"]) is None


@pytest.mark.parametrize(("lowest", "highest"), [(0, 70_000), (-3, 4000), (0, 2**31 - 1)])
def test_levels_that_cannot_be_read_decide_no_white(tmp_path, lowest, highest):
    names = shots(tmp_path, 1000, 3000)
    Image.fromarray(np.array([[lowest, highest]], np.int32)).save(tmp_path / "odd.tif")
    assert white_of("auto", tmp_path, [*names, "odd.tif"]) == 4095


@pytest.mark.parametrize("white", [0, 65536, -1, "automatic", 4095.5, True])
def test_other_whites_are_refused(tmp_path, white):
    with pytest.raises(ValueError, match="must be a level from 1 to 65535, auto, or null"):
        white_of(white, tmp_path, [])


def test_evenly():
    names = [str(k) for k in range(1000)]
    some = evenly(names, LOOKED_AT)
    assert len(some) == len(set(some)) == LOOKED_AT
    assert {some[0], some[1]} == {"0", "10"}
    assert evenly(names[:5], LOOKED_AT) == names[:5]
    assert evenly([], 3) == []
