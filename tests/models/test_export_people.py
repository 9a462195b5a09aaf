"""Systems that see people in space, as one file that needs no keyshift."""

import json

import numpy as np
import pytest
import torch

from keyshift.datasets.sample import Unlabeled
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.export import Decoded, metadata, to_onnx
from keyshift.models.systems.pose_net import PoseNet
from keyshift.models.systems.root_net import RootNet

STICK = Skeleton("stick", ("pelvis", "head"), edges=((0, 1),), root=0, extent=2000.0)


def root_net():
    torch.manual_seed(0)
    model = RootNet(1, RootNet.Options(backbone="small", input_size=[32, 32], channels=8)).know(STICK)
    torch.nn.init.constant_(model.head.depth[-1].bias, 1.0)  # as far as k says, of which a float's steps are 1e-4 mm
    return model.eval()


def test_root_net_is_exported_with_k_and_answers_as_pytorch(tmp_path):
    import onnxruntime

    model = root_net()
    to_onnx(model, (32, 32), tmp_path / "root.onnx", STICK.select(("pelvis",)))
    session = onnxruntime.InferenceSession(str(tmp_path / "root.onnx"), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["image", "k"]
    image = np.random.default_rng(0).integers(0, 255, (2, 3, 32, 32), np.uint8)
    near, far = (session.run(None, {"image": image, "k": np.float32([k, 2 * k])})[0] for k in (2500.0, 5000.0))
    assert np.allclose(far[..., 2], 2 * near[..., 2], rtol=1e-4)
    assert 1000 < near[0, 0, 2] < 4000
    with torch.no_grad():
        ours = Decoded(model)(torch.from_numpy(image), torch.tensor([2500.0, 5000.0]))[0]
    assert np.allclose(ours.numpy(), near, rtol=1e-4)
    notes = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert notes["k"].startswith("(B,) mm: extent * sqrt(fx * fy / area)")
    assert notes["extent"] == 2000


def test_the_file_says_what_z_is_and_how_boxes_become_crops():
    pose = PoseNet(2, PoseNet.Options(backbone="small", input_size=[32, 32], channels=8, depth_cells=8)).know(STICK)
    for model, words in ((root_net(), "z in mm from the camera"), (pose, "z in mm from the skeleton's root")):
        notes = metadata(model, (32, 32), STICK)
        assert words in notes["pixels"]
        assert "within the picture" in notes["crop"]["how"]
        assert notes["inputs"] == list(model.reads)
    assert "k" not in metadata(pose, (32, 32), STICK)


@pytest.mark.parametrize("k", [0.0, 3000.0])
def test_a_sample_without_a_camera_has_no_number_that_is_none(k):
    model = root_net()
    nothing = torch.zeros(0)
    inputs = {"image": torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "k": torch.tensor([k])}
    sample = Unlabeled(inputs, ("",), ("",), nothing, torch.zeros(1, 4), nothing, nothing, space=model.space)
    assert model.decode(model(sample), sample).points.isfinite().all()
