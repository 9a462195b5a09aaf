"""Where other people of a picture are: as an input of systems in space, and of no other."""

import cv2
import numpy as np
import torch

from keyshift.adapt.methods.pseudo_labels import others_of
from keyshift.datasets.loading import EvaluationBatches
from keyshift.datasets.mixed import Mixed
from keyshift.datasets.reading.box_chain import chained
from keyshift.datasets.reading.others import others
from keyshift.datasets.reading.people import PictureSet, table
from keyshift.datasets.skeleton import Skeleton
from keyshift.datasets.views import InSpace, Rows, Selected, WithoutLabels
from keyshift.models.output import Grid

STICK = Skeleton("stick", ("pelvis", "head"), edges=((0, 1),), root=0, extent=2000.0)
BOXES = [[-10, 5, 30, 45], [40, 10, 70, 50], [60, 20, 90, 58]]


def people(folder, boxes=True, picture="crowd.png"):
    """Three people in one picture and one in another."""
    rows = []
    for k, (name, box) in enumerate([(picture, box) for box in BOXES] + [("alone.png", [20, 10, 60, 50])]):
        cv2.imwrite(str(folder / name), np.full((60, 100, 3), 90, np.uint8))
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        known = np.ones(2, bool)
        row = {"picture": name, "id": f"{k}", "sequence": name, "frame": k, "annotated": known, "visible": known}
        row |= {"keypoints": np.array([[x, y], [x, y - 10]]), "camera": np.array([100.0, 100, 50, 30])}
        rows.append(row | ({"box": np.array(box, float)} if boxes else {}))
    return PictureSet("crowd", folder, table("labels", STICK, rows), {})


def test_middles_of_all_others_and_nobody_else():
    made = others(np.array(BOXES, np.float32), 1)
    assert made.shape == (8, 3)
    assert made[:2].tolist() == [[10, 25, 1], [75, 39, 1]]
    assert not made[2:].any()
    assert not others(np.array(BOXES[:1]), 0).any()


def test_of_a_crowd_the_nearest():
    boxes = np.array([[x, 0, x + 2, 2] for x in range(0, 240, 20)], float)
    made = others(boxes, 6)
    away = sorted(range(12), key=lambda k: (abs(k - 6), k))[1:9]
    assert made[:, 0].tolist() == [20.0 * k + 1 for k in sorted(away)]


def test_systems_in_space_are_told_and_no_other(tmp_path):
    own = people(tmp_path)
    before = own[1]
    assert not before.inputs
    assert np.allclose(before.box, [36.25 - 5, 5, 73.75 + 5, 55], atol=3)
    seen = InSpace(own, rooted=False)
    item = seen[1]
    assert item.inputs["others"][:2].tolist() == [[10, 25, 1], [75, 39, 1]]
    assert not seen[3].inputs["others"].any()
    assert np.array_equal(item.box, chained(np.array(BOXES[1], float), 100, 60))
    after = own[1]
    assert not after.inputs
    assert np.array_equal(after.box, before.box)


def test_below_other_views_and_beside_another_set(tmp_path):
    own = people(tmp_path)
    seen = InSpace(WithoutLabels(Rows(Selected(own, ("pelvis",)), [2, 0])), rooted=False)
    assert seen[0].inputs["others"][:2].tolist() == [[10, 25, 1], [55, 30, 1]]
    (tmp_path / "b").mkdir()
    mixed = InSpace(Mixed(own, people(tmp_path / "b", boxes=False)), rooted=False)
    assert mixed[0].inputs["others"][0].tolist() == [55, 30, 1]
    assert not mixed[4].inputs["others"].any()


def test_batches_draw_the_others_where_they_stand(tmp_path):
    batch = EvaluationBatches(InSpace(people(tmp_path), rooted=False), 4, (64, 64))[0]
    grid = Grid((16, 16), (4.0, 4.0), (2.0, 2.0))
    drawn = others_of(batch, grid, 1.0)
    assert drawn.shape == (4, 16, 16)
    assert drawn[3].max() == 0
    x, y = batch.inputs["others"][1, 1, :2]  # of the second person the third, within its crop
    assert 0 < x < 64
    cell = drawn[1].flatten().argmax().item()
    assert torch.tensor([cell % 16, cell // 16]).float().mul(4).add(2).sub(torch.tensor([x, y])).abs().max() <= 2


def test_without_boxes_nobody_is_told_of(tmp_path):
    assert "others" not in InSpace(people(tmp_path, boxes=False), rooted=False)[0].inputs
