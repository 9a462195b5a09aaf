"""Every picture set in its raw layout, by way of `prepare`: labels come back exactly, and crops where they were."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.loading import crop
from keyshift.datasets.reading.prepared import Prepared

_spec = spec_from_file_location("raw_pictures", Path(__file__).with_name("raw_pictures.py"))
raw = sys.modules.setdefault("raw_pictures", module_from_spec(_spec))
if not hasattr(raw, "WRITERS"):
    _spec.loader.exec_module(raw)
SETS = [name for name in raw.WRITERS if not name.startswith(("skeleton", "boxes"))]


@pytest.mark.filterwarnings("ignore:.*(taken for labels|belong to no animal)")
@pytest.mark.parametrize("name", SETS)
def test_prepared_as_raw(name, tmp_path):
    (tmp_path / "root").mkdir()
    made = raw.WRITERS[name](tmp_path / "root")
    data = raw.opened(made, tmp_path / "root")
    absent = {p for i, p in enumerate(data.people.pictures) if not data.path(i).exists()}
    raw.pictures(data.root, *absent, size=(64, 48))
    tests = raw.beside("test_prepared")
    kept = Prepared(tests.made(data, tmp_path / "out", 32), "train")
    assert len(kept) == len(data) > 0
    assert kept.skeleton == data.skeleton
    for index in range(len(data)):
        item, other = data[index], kept[index]
        tests.same(item, other)
        assert item.annotated.any()
        flip = data.skeleton.flip
        ours, theirs = (crop(one, (32, 32), None, None, flip) for one in (item, other))
        assert np.abs(ours.keypoints - theirs.keypoints).max() < 1e-3
        assert np.abs(ours.to_file - theirs.to_file).max() < 1e-6
        if item.points is not None and (item.camera[:2] > 0).all() and "coco" not in name:
            seen = item.annotated & (item.points[:, 2] > 0)
            focal, middle = item.camera[:2].astype(float), item.camera[2:].astype(float)
            projected = item.points[seen, :2] / item.points[seen, 2:] * focal + middle
            assert np.abs(projected - item.keypoints[seen]).max() < 0.05, "points, camera and keypoints belong together"
