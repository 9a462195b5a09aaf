"""What a depth run says of its data before it starts."""

import warnings

import numpy as np
import pytest
import yaml

from keyshift.datasets.depth.sets import NYU
from keyshift.datasets.own.depth_folder import DepthFolder, Options
from keyshift.datasets.views import View
from keyshift.experiments.config import load
from keyshift.experiments.runs.task import say_doubts, say_settings


@pytest.fixture
def frames(tmp_path):
    """A folder of eight frames of 64 x 48 in blocks of two."""
    folder = tmp_path / "frames"
    folder.mkdir()
    yy, xx = np.mgrid[:48, :64]
    for number in range(8):
        np.save(folder / f"{number}.npy", np.where((xx - 30) ** 2 + (yy - 24) ** 2 < 150, 600, 1500).astype(np.uint16))
    return folder


def said(frames, *words, cube=(300, 300, 300), **camera):
    lines = {"fx": 60.0, "fy": 60.0, "cx": 32.0, "cy": 24.0, "unit": "mm", "cube": 250} | camera
    (frames / "camera.yaml").write_text(yaml.safe_dump(lines))
    target = [DepthFolder(Options(root=str(frames), block=2), part, NYU) for part in ("train", "test")]
    source = View(target[0], "nyu.train", cube=[cube])
    source.identity["name"] = "nyu"
    config = load("a2j_ideal_to_structured_light", list(words))
    opened = dict(zip(("source_train", "target_train", "target_test"), (source, *target), strict=True))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        say_doubts(opened.values())
        say_settings(config, opened)
    return "\n".join(str(one.message) for one in caught)


def test_another_cube_than_the_references_is_warned_of_once(frames):
    text = said(frames, "crop=a2j")
    assert text.count("crop=a2j cuts nyu as its reference does only with the reference's cube of 220, 220, 300") == 1
    assert "here it is 300, 300, 300. For the reference's: source.cube=[220,220,300]" in text
    assert said(frames, "crop=a2j", cube=(220, 220, 300)) == ""
    assert said(frames) == ""


def test_a_calibration_of_another_size_is_said_once(frames):
    text = said(frames, fx=588.0, fy=587.0, cx=320.0, cy=240.0)
    assert len(text.splitlines()) == 1
    assert "the principal point (320, 240) is outside of the frames of 64 x 48" in text
