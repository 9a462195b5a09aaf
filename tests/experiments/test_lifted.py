"""Poses lifted from 2D sequences in a whole comparison: mm from the root, with velocities, pictures and a page."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch import nn

from keyshift.datasets.options import option
from keyshift.datasets.sample import BODY_MM
from keyshift.experiments.cli import main
from keyshift.models.output import Grid, Poses, Votes
from keyshift.models.pose_model import PoseModel
from keyshift.models.saved import MODELS

FEW = {"takes": 3, "test_takes": 3, "longest": 0.6, "random": 4}
PAIR = {
    "name": "lifted",
    "source": {"name": "mocap.lab", **FEW},
    "target": {"name": "mocap.field", **FEW},
    "model": {"name": "rooted", "channels": 32},
    "batch": 16,
    "pretrain_steps": 60,
    "steps": 8,
    "evaluate_every": 4,
    "checkpoint_every": 4,
    "log_every": 4,
    "seeds": 1,
    "tracking": "off",
    "pretrain": {"name": "adam", "rate": 0.005},
    "optimization": {"name": "adam", "rate": 0.001},
}


class Rooted(PoseModel):
    """2D keypoints of one frame to mm from the root: plain regression."""

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        input_size: list[int] = option([100, 100], "width, height", low=1, size=2)
        channels: int = option(32, "of the features", low=1)

    reads, space, scale = ("keypoints2d",), BODY_MM, 400.0

    def __init__(self, keypoints, options):
        super().__init__(keypoints, options)
        self.grid = Grid((16, 16), (125.0, 125.0), (-937.5, -937.5), Grid((16,), (125.0,), (-937.5,)))
        self.backbone = nn.Sequential(nn.Linear(2 * keypoints, options.channels), nn.ReLU())
        self.head = self.new_head()

    def know(self, skeleton):
        self.root = skeleton.root
        return self

    def new_head(self, layers=None):
        return nn.Linear(self.options.channels, 3 * self.keypoints)

    def features(self, sample):
        here = sample.inputs["keypoints2d"][:, 0, :, :2]
        here = here - here.mean(1, keepdim=True)
        return self.backbone((here / here.std((1, 2), keepdim=True).clamp_min(1e-3)).flatten(1))

    def votes(self, features, sample, head=None):
        where = (self.head if head is None else head)(features).view(-1, 1, self.keypoints, 3) * self.scale
        where = where - where[:, :, self.root, None]
        return Votes(self.grid, torch.zeros_like(where[..., 0]), where)

    def decode(self, votes, sample):
        return Poses.of_crops(votes.peak(), votes.confidence())

    def counted(self, sample):
        return sample.annotated

    def loss(self, votes, sample):
        away = (votes.mean() - sample.keypoints).abs().mean(-1) / self.scale
        return {"points": (away * self.counted(sample)).mean()}

    def example(self, name, batch):
        return 100 * torch.rand(batch, 1, self.keypoints, 3)


@pytest.fixture
def home(tmp_path, monkeypatch, no_export):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setitem(MODELS, "rooted", Rooted)
    Path("lifted.yaml").write_text(yaml.safe_dump(PAIR))
    return tmp_path


def test_a_comparison_is_judged_by_mpjpe(home, capsys):
    assert main(["compare", "lifted.yaml", "strategies=[source_only,mean_teacher,oracle]", "flip_test=true"]) == 0
    out, page = capsys.readouterr().out, Path("runs/lifted/report.html").read_text()
    written = json.loads(Path("runs/lifted/results.json").read_text())
    assert written["metric"] == "mm"
    for text in (out, page):
        for word in ("PA-MPJPE", "N-MPJPE", "MPJVE", "mm a frame"):
            assert word in text
    for name, runs in written["strategies"].items():
        target = runs["0"]["target"]
        assert 0 < target["pa_mm"] <= target["n_mm"] <= target["mm"] < 2000, name
        assert 0 < target["velocity_mm"] < target["mm"]
        assert target["epe"] > 0, "px of the picture, the root being where the true one is"
        assert written["summary"][name]["target"]["mean"] == pytest.approx(target["mm"])
    own, base = (written["strategies"][name]["0"]["target"]["mm"] for name in ("oracle", "source_only"))
    assert written["summary"]["oracle"]["gain"]["mean"] == pytest.approx(base - own)
    assert page.count("data:image/jpeg") >= 4
    assert main(["evaluate", "runs/lifted/oracle-seed0", "--by", "sequence"]) == 0
    assert "mocap/made-up/test/00" in capsys.readouterr().out


def test_a_killed_run_goes_on_to_the_same_weights(home, monkeypatch):
    from keyshift.adapt.trainer import Trainer
    from keyshift.models.saved import load_checkpoint

    train = ["train", "lifted.yaml", "strategy=mean_teacher", "pretrain_steps=4"]
    assert main([*train, "output=runs/whole"]) == 0
    after = Trainer.after

    def interrupted(self, done, stop):
        return after(self, done, stop or (done == 4 and self.folder.name == "broken"))

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "after", interrupted)
        assert main([*train, "output=runs/broken"]) == 130
    assert main(["train", "runs/broken"]) == 0
    whole, broken = (load_checkpoint(Path(f"runs/{name}/checkpoint.pt"))["strategy"] for name in ("whole", "broken"))
    assert whole.keys() == broken.keys()
    assert all(torch.equal(value, broken[key]) for key, value in whole.items())


def test_sets_are_shown_and_checked(home, capsys):
    words = ["takes=2", "test_takes=2", "longest=0.4", "motion=clips"]
    assert main(["data", "show", "mocap.field", *words[:3], "--output", "sheet.png"]) == 0
    sheet = cv2.imread("sheet.png")
    assert sheet.shape[1] > 700
    corner = sheet[190 - 70 : 190, 190 - 70 : 190]
    assert (np.abs(corner.astype(int) - 70).max(-1) > 60).any(), "how the pose looks from the side"
    assert main(["data", "check", "mocap.field", *words[:3]]) == 0
    assert "no problem found" in capsys.readouterr().out
    assert main(["data", "check", "mocap.field", *words]) == 2
    assert "motion='clips' is not a folder" in capsys.readouterr().err
