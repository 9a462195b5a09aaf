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
TRUTH: dict[str, tuple[np.ndarray, np.ndarray]] = {}
"""By picture: (P, 17, 3) mm, and the camera (4,)."""


def projected(sample, row):
    """(P, 17, 3) what is true of a crop's picture, as its input has it: px, px and mm from the camera."""
    points, camera = (torch.from_numpy(values) for values in TRUTH[sample.id[row]])
    return transform(invert(sample.to_file[row, None].double()), to_pixels(points, camera[None])[None])[0]


def nearest(sample):
    """(B, 17, 3) the same of the person in each crop, whose middle is nearest to its own."""
    middle = torch.tensor(sample.image.shape[:1:-1]) / 2
    people = [projected(sample, row) for row in range(len(sample))]
    return torch.stack([one[(one[..., :2].mean(1) - middle).norm(dim=-1).argmin()] for one in people]).float()


class TruePose(PoseNet):
    """A PoseNet that is never wrong."""

    def votes(self, features, sample, head=None):
        points = nearest(sample)
        points[..., 2] = points[..., 2] - points[:, self.root, None, 2]
        return Votes(self.grid, torch.zeros(len(points), 1, points.shape[1]), points[:, None])


def true_root(sample):
    """(B, 1, 3) the true root, at a depth that goes with the focal length that the sample says, as in RootNet."""
    points = nearest(sample)[:, :1]
    true = torch.tensor(np.array([TRUTH[name][1] for name in sample.id]))
    points[..., 2] *= (sample.camera[:, :2].prod(1) / true[:, :2].prod(1)).sqrt().view(-1, 1)
    return points


class TrueRoot(RootNet):
    def votes(self, features, sample, head=None):
        return Votes(self.grid, torch.zeros(len(sample), 1, 1), true_root(sample)[:, None])


class TrueBoth(RootPoseNet):
    def votes(self, features, sample, head=None):
        root = Votes(self.root_grid, torch.zeros(len(sample), 1, 1), true_root(sample)[:, None])
        return Votes(
            *(getattr(TruePose.votes(self, features, sample), name) for name in ("grid", "logits", "where")),
            {"root": root},
        )


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """Three rendered pictures, the truth, and boxes around the people in them."""
    for name, kind in {"pose_net": TruePose, "root_net": TrueRoot, "root_pose_net": TrueBoth}.items():
        monkeypatch.setitem(MODELS, name, kind)
    TRUTH.clear()
    (tmp_path / "in").mkdir()
    results, cameras = [], {}
    for number in range(3):
        scene, name = render_scene("lab", Options(size=SIZE), number), f"{number}.png"
        Image.fromarray(scene.image).save(tmp_path / "in" / name)
        TRUTH[name] = scene.points[:, :17].astype(np.float64), scene.camera.astype(np.float64)
        cameras[name] = [*scene.camera[:2].tolist(), *(scene.camera[2:] - 0.5).tolist()]
        results += [result(name, box, 0.95 - 0.01 * k) for k, box in enumerate(scene.body)]
    (tmp_path / "boxes.json").write_text(json.dumps(results))
    (tmp_path / "cameras.json").write_text(json.dumps(cameras))
    torch.manual_seed(0)
    save_model(tmp_path / "pose.pt", TruePose(17, PoseNet.Options(**SMALL, depth_cells=8)).know(H36M17), H36M17, 1)
    save_model(tmp_path / "both.pt", TrueBoth(17, PoseNet.Options(**SMALL, depth_cells=8)).know(H36M17), H36M17, 1)
    save_model(tmp_path / "root.pt", TrueRoot(1, RootNet.Options(**SMALL)).know(H36M17), H36M17.select(("pelvis",)), 1)
    return tmp_path


def result(name, box, score):
    left, top, right, bottom = map(float, box)
    return {"file_name": name, "category_id": 1, "bbox": [left, top, right - left, bottom - top], "score": score}


def ask(folder, *inputs, output="out.json", model="pose.pt", root="root.pt", boxes="boxes.json", **options):
    options["root"] = None if root is None else folder / root
    options["boxes"] = None if boxes is None else str(folder / boxes)
    if not {"camera", "focal"} & options.keys():
        options["camera"] = str(folder / "cameras.json")
    paths = [folder / one for one in inputs or ("in",)]
    return predict_chain(folder / model, paths, folder / output, Reporter(), **options)


def read(path):
    """The JSON, and its annotations by picture."""
    content = json.loads(path.read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    people = {name: [] for name in names.values()}
    for entry in content["annotations"]:
        people[names[entry["image_id"]]].append(entry)
    return content, people


def errors(people, key="keypoints_mm", joints=slice(None)):
    """mm between everyone in the file and the truth, in the order of the boxes."""
    made, true = [], []
    for name, entries in people.items():
        made += [np.reshape(entry[key], (-1, 3)) for entry in entries]
        true += list(TRUTH[name][0][:, joints])
    return np.linalg.norm(np.array(made) - np.array(true), axis=-1)


def test_absolute_points_come_back_from_picture_to_json(scenes, capsys):
    predicted = ask(scenes, batch=2)
    content, people = read(scenes / "out.json")
    assert errors(people).max() < 1.0
    assert errors(people, "root_mm", slice(0, 1)).max() < 1.0
    for name, entries in people.items():
        points, camera = TRUTH[name]
        for number, (entry, person) in enumerate(zip(entries, points, strict=True)):
            there = person[:, :2] / person[:, 2:] * camera[:2] + camera[2:]
            np.testing.assert_allclose(np.reshape(entry["keypoints"], (-1, 3))[:, :2] + 0.5, there, atol=0.02)
            assert entry["score"] == pytest.approx(0.95 - 0.01 * number)
    assert len(predicted) == len(content["annotations"]) == sum(len(points) for points, _ in TRUTH.values())
