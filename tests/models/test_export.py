import numpy as np
import torch

from keyshift.datasets.sample import Unlabeled
from keyshift.models.export import to_onnx
from keyshift.models.pose_resnet import PoseResNet


def test_onnx_answers_as_pytorch(tmp_path):
    import onnxruntime

    torch.manual_seed(0)
    model = PoseResNet(4, "small", input_size=(64, 32), heatmap_size=(16, 8), channels=16).eval()
    to_onnx(model, (64, 32), tmp_path / "model.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        image = torch.randint(0, 256, (count, 3, 32, 64), dtype=torch.uint8)
        keypoints, confidence = session.run(None, {"image": image.numpy()})
        nothing = torch.zeros(0)
        sample = Unlabeled(image, (), (), nothing, nothing, nothing, nothing)
        with torch.no_grad():
            points, sure = model.decode(model(sample), sample)
        np.testing.assert_allclose(keypoints, points.numpy(), atol=1e-3)
        np.testing.assert_allclose(confidence, sure.numpy(), atol=1e-5)


def test_onnx_of_a_depth_network_answers_as_pytorch(tmp_path):
    import onnxruntime

    from keyshift.models.a2j import A2J

    torch.manual_seed(0)
    model = A2J(4, "small", input_size=(32, 32), channels=16, head_layers=1).eval()
    to_onnx(model, (32, 32), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 3):
        image, reach = 150 * torch.rand(count, 1, 32, 32), torch.full((count,), 120.0)
        keypoints, _ = session.run(None, {"image": image.numpy(), "reach": reach.numpy()})
        nothing = torch.zeros(0)
        sample = Unlabeled(image, (), (), nothing, nothing, nothing, nothing, reach)
        with torch.no_grad():
            points = model.decode(model(sample), sample)[0]
        assert keypoints.shape == (count, 4, 3)
        np.testing.assert_allclose(keypoints, points.numpy(), atol=1e-3)
