"""Tables by action: a row for each, and their mean, as Human3.6M's numbers are published."""

import pytest
import torch

from keyshift.adapt.scoring.predictions import Predictions
from keyshift.datasets.bodies.skeletons import H36M17
from keyshift.datasets.sample import BODY_MM
from keyshift.experiments.commands.evaluate_groups import mean_of, print_groups


class Table:
    def table(self, title, columns, rows):
        self.columns, self.rows = columns, rows


def test_the_mean_of_actions_is_not_that_of_frames():
    sequences = ["human36m/S9/02_01/1"] * 3 + ["human36m/S9/14_01/1"]
    truth = torch.randn(4, 17, 3, generator=torch.Generator().manual_seed(0)) * 200
    truth = truth - truth[:, :1]
    points = truth.clone()
    points[:3, 1:] += torch.tensor([30.0, 0, 0])
    points[3, 1:] += torch.tensor([0.0, 0, 90.0])
    known = torch.ones(4, 17, dtype=torch.bool)
    made = Predictions(
        points=points,
        confidence=known.float(),
        truth=truth,
        annotated=known,
        visible=known,
        side=torch.ones(4),
        camera=torch.zeros(4, 4),
        sequence=tuple(sequences),
        id=tuple("abcd"),
        row=torch.arange(4),
        matched=known[:, 0],
        space=BODY_MM,
        root=0,
        place=torch.zeros(4, 3),
        frame=torch.tensor([0, 1, 2, 0]),
    )
    shown = Table()
    by_name = print_groups("run", made, H36M17, 0.1, "action", shown)
    assert list(by_name) == ["Directions", "Walking"]
    rows = {row[0]: row for row in shown.rows}
    assert list(rows) == ["Directions", "Walking", "mean of actions", "all"]
    assert [rows[name][1] for name in rows] == ["3", "1", "", "4"]
    place = shown.columns.index("mean error in mm")
    means = {name: float(row[place]) for name, row in rows.items()}
    share = 16 / 17  # the root is always right
    assert means["mean of actions"] == pytest.approx(60 * share, abs=0.01)
    assert means["all"] == pytest.approx(45 * share, abs=0.01)
    velocity = shown.columns.index("MPJVE, mm a frame")
    assert [row[velocity] for row in shown.rows] == ["0.0", "–", "0.0", "0.0"]


def test_what_has_no_number_is_left_out_of_the_mean():
    scored = [{"mm": 1.0, "epe": float("nan"), "joints": {}}, {"mm": 3.0, "epe": 5.0, "joints": {}}]
    assert mean_of(scored) == {"mm": 2.0, "epe": 5.0}
