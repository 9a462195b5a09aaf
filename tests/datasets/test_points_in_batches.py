"""Sets with 3D in their raw layouts: what reaches a batch are points in mm and a camera that shows them where the
keypoints are, the same in each view of a crop and by whatever boxes it was cut."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.sample import to_pixels, transform

_spec = spec_from_file_location("raw_pictures", Path(__file__).with_name("raw_pictures.py"))
raw = sys.modules.setdefault("raw_pictures", module_from_spec(_spec))
if not hasattr(raw, "WRITERS"):
    _spec.loader.exec_module(raw)
SETS = {
    **dict.fromkeys(("human36m", "mpi_inf_3dhp_train", "mpi_inf_3dhp_test", "surreal_lists", "surreal_clips"), "body"),
    **dict.fromkeys(("muco", "mupots", "threedpw"), "body"),
    **dict.fromkeys(("rhd", "freihand", "interhand"), "hand"),
}
LONGEST = {"body": (300, 700), "hand": (15, 140)}
"""mm that the longest bone of most people or hands has, at the least and at the most."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """opened(name, ...) -> the set, with all its pictures; written once."""
    made = {}

    def open_set(name, **options):
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            made[name] = raw.WRITERS[name](root), root
            data = raw.opened(*made[name])
            absent = {p for i, p in enumerate(data.people.pictures) if not data.path(i).exists()}
            raw.pictures(data.root, *absent, size=(64, 48))
        one, root = made[name]
        return raw.opened(raw.RawSet(one.options | options, one.files, one.part), root)

    return open_set


def check(sample, data):
    """Points through the camera are the keypoints in file pixels, in the rows of the set and the order of the view."""
    back = transform(sample.to_file[sample.image_index].double(), sample.keypoints.double())
    shown = to_pixels(sample.points.double(), sample.camera[sample.image_index].double())[..., :2]
    rows = sample.row.tolist()
    turned = torch.det(sample.to_file[:, :, :2].double()) < 0
    seen = sample.annotated & (sample.points[..., 2] > 0)
    assert seen.any(1).all()
    assert (back - shown).abs()[seen].max() < 0.05
    for image, row in enumerate(rows):
        order = data.skeleton.flip if turned[image] else list(range(len(data.skeleton)))
        wanted = torch.from_numpy(data[row].points[order]).float()
        assert torch.equal(sample.points[image], wanted)
        assert torch.equal(sample.camera[image], torch.from_numpy(data[row].camera))
    return set(turned.tolist())


@pytest.mark.parametrize("name", SETS)
def test_points_project_onto_keypoints_in_every_view(opened, name):
    data = opened(name)
    turned = Augmentation(rotation=40, mirror=0.5)
    batch = TrainingBatches(data, "source", 0, 6, (48, 48), turned, labels=True, views=3)[0]
    sides = set()
    for sample in (batch, *batch.views):
        sides |= check(sample, data)
    assert sides == {True, False}
    check(EvaluationBatches(data, 4, (48, 48))[0], data)
    ends = np.array(data.skeleton.edges)
    bones = np.linalg.norm(data.people.points[:, ends[:, 0]] - data.people.points[:, ends[:, 1]], axis=-1)
    known = data.people.annotated[:, ends].all(-1)
    low, high = LONGEST[SETS[name]]
    longest = np.where(known, bones, 0).max(1)
    assert low < np.median(longest) < high, "millimetres"


@pytest.mark.parametrize("name", ["mpi_inf_3dhp_train", "mpi_inf_3dhp_test", "human36m", "muco", "mupots", "threedpw"])
@pytest.mark.parametrize("boxes", ["truth", "tllib", "whole"])
def test_any_box_shows_the_same_points(opened, name, boxes):
    data, plain = opened(name, boxes=boxes), opened(name)
    sample, other = (EvaluationBatches(one, 4, (64, 64))[0] for one in (data, plain))
    check(sample, data)
    assert torch.equal(sample.points, other.points)
    assert data.identity["boxes"] == boxes
    if plain.identity["boxes"] != boxes:
        assert not torch.allclose(sample.keypoints, other.keypoints)
