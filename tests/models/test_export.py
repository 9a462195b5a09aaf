import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from keyshift.datasets.sample import Unlabeled
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.export import EXTRA, Decoded, check, examples, to_onnx, to_program
from keyshift.models.systems.a2j import A2J
from keyshift.models.systems.awr import AWR
from keyshift.models.systems.pose_resnet import PoseResNet

FACE = Skeleton("face", ("nose", "left_eye", "right_eye", "chin"), ((0, 1), (0, 2), (0, 3)), ((1, 2),))


def pose_resnet():
    torch.manual_seed(0)
    return PoseResNet(4, "small", input_size=(64, 32), heatmap_size=(16, 8), channels=16).eval()


def a2j():
    torch.manual_seed(0)
    return A2J(4, "small", input_size=(32, 32), channels=16, head_layers=1).eval()


def awr():
    torch.manual_seed(0)
    return AWR(4, "small", input_size=(32, 32), channels=16).eval()


def onnx_session(path):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def answers(model, image, reach=None):
    """What PyTorch answers, without the module that is exported: votes and points."""
    nothing = torch.zeros(0)
    sample = Unlabeled(image, (), (), nothing, nothing, nothing, nothing, reach)
    with torch.no_grad():
        votes = model(sample)
        return votes, *model.decode(votes, sample)


def test_onnx_answers_as_pytorch(tmp_path):
    model = pose_resnet()
    to_onnx(model, (64, 32), tmp_path / "model.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    session = onnx_session(tmp_path / "model.onnx")
    for count in (1, 5):
        image = torch.randint(0, 256, (count, 3, 32, 64), dtype=torch.uint8)
        keypoints, confidence = session.run(None, {"image": image.numpy()})
        _, points, sure = answers(model, image)
        np.testing.assert_allclose(keypoints, points.numpy(), atol=1e-3)
        np.testing.assert_allclose(confidence, sure.numpy(), atol=1e-5)


@pytest.mark.parametrize("make", [a2j, awr])
def test_depth_networks_answer_as_pytorch(tmp_path, make):
    model = make()
    to_onnx(model, (32, 32), tmp_path / "model.onnx")
    to_program(model, (32, 32), tmp_path / "model.pt2")
    session = onnx_session(tmp_path / "model.onnx")
    program = torch.export.load(tmp_path / "model.pt2").module()
    for count in (1, 3):
        image, reach = 150 * torch.rand(count, 1, 32, 32), torch.full((count,), 120.0)
        keypoints, _ = session.run(None, {"image": image.numpy(), "reach": reach.numpy()})
        points = answers(model, image, reach)[1]
        assert keypoints.shape == (count, 4, 3)
        np.testing.assert_allclose(keypoints, points.numpy(), atol=1e-3)
        with torch.no_grad():
            torch.testing.assert_close(program(image, reach)[0], points, atol=1e-3, rtol=0)


@pytest.mark.parametrize("decode", ["mean", "peak"])
def test_the_decoding_that_is_asked_for_is_in_the_file(tmp_path, decode):
    model = pose_resnet()
    to_program(model, (64, 32), tmp_path / "model.pt2", FACE, decode)
    image = torch.randint(0, 256, (2, 3, 32, 64), dtype=torch.uint8)
    with torch.no_grad():
        keypoints = torch.export.load(tmp_path / "model.pt2").module()(image)[0]
    votes = answers(model, image)[0]
    weight = votes.maps.double().flatten(2).softmax(-1)  # the formulas written out
    cells = torch.stack(torch.meshgrid(4 * torch.arange(16) + 2.0, 4 * torch.arange(8) + 2.0, indexing="xy"), -1)
    cells = cells.flatten(0, 1).double()
    wanted = weight @ cells if decode == "mean" else cells[weight.argmax(-1)]
    torch.testing.assert_close(keypoints, wanted.float(), atol=1e-3, rtol=0)


def test_the_file_says_how_to_use_it(tmp_path):
    to_onnx(pose_resnet(), (64, 32), tmp_path / "model.onnx", FACE, "mean", {"data": {"mine": "MIT"}})
    to_program(pose_resnet(), (64, 32), tmp_path / "model.pt2", FACE, "mean", {"data": {"mine": "MIT"}})
    found = onnx_session(tmp_path / "model.onnx").get_modelmeta().custom_metadata_map
    told = {key: json.loads(value) for key, value in found.items()}
    assert told["keypoints"] == list(FACE.keypoints)
    assert told["edges"] == [[0, 1], [0, 2], [0, 3]]
    assert told["flip_pairs"] == [[1, 2]]
    assert told["input"] == {"width": 64, "height": 32, "layout": "NCHW", "channels": "RGB", "dtype": "uint8"}
    assert told["crop"]["padding"] == 1.25
    assert told["decode"] == "mean"
    assert told["data"] == {"mine": "MIT"}
    assert "+0.5" in told["pixels"]
    extra = {EXTRA: ""}
    torch.export.load(tmp_path / "model.pt2", extra_files=extra)
    assert json.loads(extra[EXTRA]) == told


def test_a_program_runs_without_keyshift(tmp_path):
    model = pose_resnet()
    to_program(model, (64, 32), tmp_path / "model.pt2")
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt2"]
    image = torch.randint(0, 256, (3, 3, 32, 64), dtype=torch.uint8)
    torch.save(image, tmp_path / "image.pt")
    code = (
        "import sys; sys.modules['keyshift'] = None\nimport torch\n"
        "network = torch.export.load('model.pt2').module()\nimage = torch.load('image.pt')\n"
        "torch.save([network(image[:1]), network(image)], 'answers.pt')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    for count, (points, sure) in zip((1, 3), torch.load(tmp_path / "answers.pt"), strict=True):
        _, wanted, confidence = answers(model, image[:count])
        torch.testing.assert_close(points, wanted, atol=1e-3, rtol=0)
        torch.testing.assert_close(sure, confidence, atol=1e-5, rtol=0)


def test_training_mode_is_given_back_and_statistics_stay(tmp_path):
    model = pose_resnet().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    to_program(model, (64, 32), tmp_path / "model.pt2")
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with pytest.raises(ValueError, match="decode='median'"):
        to_program(model, (64, 32), tmp_path / "other.pt2", decode="median")


def run_with(model, change):
    """A run as an exported file would give it, with points that `change` spoils."""
    decoded = Decoded(model, "peak")

    def run(given):
        with torch.no_grad():
            points, confidence = decoded(*given)
        return change(points.clone()).numpy(), confidence.numpy()

    return lambda: check(decoded, run, examples(model, (64, 32)))


def test_a_file_that_answers_otherwise_is_refused():
    def far(points):
        points[-1, -1, 0] += 4
        return points

    model = pose_resnet()
    with torch.no_grad():
        run_with(model, lambda points: points)()
        with pytest.raises(ArithmeticError, match=r"of 4 keypoints 1 are off .* up to 4 px"):
            run_with(model, far)()
        with pytest.raises(ArithmeticError, match="PyTorch"):
            run_with(model, lambda points: points[:, :2])()
        with pytest.raises(ArithmeticError, match="off"):
            run_with(model, lambda points: points * float("nan"))()
        model.head.weight[-1] = 0  # the last keypoint's map is flat: every cell is its peak
        run_with(model, far)()


def test_nothing_is_left_where_the_check_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("keyshift.models.export.CLOSE", -1.0)
    for write, name in ((to_onnx, "model.onnx"), (to_program, "model.pt2")):
        with pytest.raises(ArithmeticError, match="does not answer as PyTorch"):
            write(pose_resnet(), (64, 32), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
