"""People in the camera's space through `keyshift predict`, from picture files to JSON."""

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from keyshift.datasets.bodies.skeletons import H36M17, H36M18, MUCO21, body
from keyshift.datasets.reading.box_chain import process_box
from keyshift.datasets.reading.video import write_video
from keyshift.datasets.rendered.people import Options, render_scene
from keyshift.datasets.sample import ROOT_MM, invert, to_pixels, transform
from keyshift.datasets.skeleton import HAND
from keyshift.experiments.cli import main
from keyshift.experiments.commands.predict_chain import predict_chain
from keyshift.experiments.runs.chain import Chain, write_chain
from keyshift.experiments.runs.chain_inputs import Look
from keyshift.experiments.runs.chain_networks import sees_people
from keyshift.experiments.runs.chain_smoothing import running_median, smoothed, track
from keyshift.experiments.runs.progress import Reporter
from keyshift.models.output import Votes
from keyshift.models.saved import MODELS, save_model
from keyshift.models.systems.pose_net import PoseNet
from keyshift.models.systems.pose_resnet import PoseResNet
from keyshift.models.systems.root_net import RootNet
from keyshift.models.systems.root_pose_net import RootPoseNet

SIZE = 96
SMALL = {"backbone": "small", "input_size": [32, 32], "channels": 8}
PELVIS = body("h36m17", ("pelvis",))
TRUTH = {}
"""(P, 17, 3) mm by picture."""


def nearest(sample):
    """The true points (B, K, 3) mm of the person in each crop: the one whose root is nearest to its middle."""
    chosen = []
    for row, name in enumerate(sample.id):
        people = torch.from_numpy(TRUTH[name])
        there = transform(invert(sample.to_file.double())[row, None], to_pixels(people, sample.camera[row, None])[None])
        middle = torch.tensor(sample.image.shape[:1:-1]) / 2
        chosen.append(people[(there[0, :, :, :2].mean(1) - middle).norm(dim=-1).argmin()])
    return torch.stack(chosen)


def at(sample, points):
    """Points (B, K, 3) mm in the camera's frame as the input has them: px, px and mm."""
    return transform(invert(sample.to_file.double()), to_pixels(points, sample.camera.double())).float()


class TruePose(PoseNet):
    """A PoseNet that is never wrong."""

    def votes(self, features, sample, head=None):
        points = at(sample, nearest(sample))
        points[..., 2] -= points[:, self.root, None, 2]
        return Votes(self.grid, torch.zeros(len(points), 1, points.shape[1]), points[:, None])


class TrueRoot(RootNet):
    """A RootNet that is never wrong, nor has seen another focal length than 1.5 widths: gamma is Z / k."""

    def votes(self, features, sample, head=None):
        points = at(sample, nearest(sample)[:, :1])
        ratio = sample.inputs["k"] / points[:, 0, 2]
        points[:, 0, 2] = sample.inputs["k"] * self.gamma(sample, ratio)
        return Votes(self.grid, torch.zeros(len(points), 1, 1), points[:, None])

    def gamma(self, sample, ratio):
        key = tuple(sample.id)
        known = GAMMA.setdefault(key, 1 / ratio)
        return known


GAMMA = {}


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """Three rendered pictures, the truth, and boxes around the people in them."""
    TRUTH.clear()
    GAMMA.clear()
    monkeypatch.setitem(MODELS, "pose_net", TruePose)
    monkeypatch.setitem(MODELS, "root_net", TrueRoot)
    (tmp_path / "in").mkdir()
    results, cameras = [], []
    for number in range(3):
        scene = render_scene("lab", Options(size=SIZE), number)
        name = f"{number}.png"
        Image.fromarray(scene.image).save(tmp_path / "in" / name)
        TRUTH[name] = scene.points[:, :17].astype(np.float64)
        cameras.append(scene.camera)
        for left, top, right, bottom in scene.body.tolist():
            results.append({"file_name": name, "bbox": [left, top, right - left, bottom - top], "score": 0.9})
    (tmp_path / "boxes.json").write_text(json.dumps(results))
    rows = {f"{n}.png": {"fx": float(c[0]), "fy": float(c[1]), "cx": float(c[2]) - 0.5, "cy": float(c[3]) - 0.5} for n, c in enumerate(cameras)}
    (tmp_path / "cameras.json").write_text(json.dumps(rows))
    torch.manual_seed(0)
    save_model(tmp_path / "pose.pt", TruePose(17, PoseNet.Options(**SMALL, depth_cells=8)).know(H36M17), H36M17, 1)
    save_model(tmp_path / "root.pt", TrueRoot(1, RootNet.Options(**SMALL)).know(PELVIS), PELVIS, 1)
    return tmp_path


def ask(folder, output="out.json", model="pose.pt", root="root.pt", inputs=("in",), **options):
    if root is not None:
        options["root"] = folder / root
    return predict_chain(folder / model, [folder / one for one in inputs], folder / output, Reporter(), **options)


def test_absolute_points_come_back_from_picture_to_json(scenes):
    pass
