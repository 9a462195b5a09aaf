"""ViTPose on tiny random networks of transformers' own classes: the same maps, the same names, no download."""

import sys

import pytest
import torch

from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.sample import Unlabeled
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.export import to_program
from keyshift.models.pose_model import normalize
from keyshift.models.saved import load_model, save_model
from keyshift.models.systems.vitpose import SHARPNESS, ViTPose, plain_name

LABELS = ["Nose"] + [
    f"{side}_{part}" for part in ["Eye", "Ear", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle"] for side in "LR"
]
TINY = {"input_size": [48, 64], "width": 16, "layers": 2, "heads": 2}


def tiny(**more):
    torch.manual_seed(0)
    return ViTPose(3, ViTPose.Options(**TINY | more))


def published(folder, simple=True, experts=1):
    """transformers' own network with random weights, as its checkpoint in `folder`."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    form = {"image_size": [64, 48], "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    backbone = transformers.VitPoseBackboneConfig(out_indices=[2], num_experts=experts, part_features=4, **form)
    config = transformers.VitPoseConfig(
        backbone_config=backbone, use_simple_decoder=simple, id2label=dict(enumerate(LABELS))
    )
    network = transformers.VitPoseForPoseEstimation(config).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    network.save_pretrained(folder)
    return network


def sample(width=48, height=64):
    image = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    nothing = torch.zeros(0)
    return Unlabeled({"image": image}, (), (), nothing, nothing, nothing, nothing)


@pytest.mark.parametrize(("simple", "experts"), [(True, 1), (False, 1), (True, 3)])
def test_it_agrees_with_transformers(tmp_path, simple, experts):
    reference = published(tmp_path, simple, experts)
    assert [plain_name(label) for label in LABELS] == list(COCO17.keypoints)
    wanted_names = ("left_wrist", "nose", "right_ankle")
    options = ViTPose.Options(input_size=[48, 64], weights=str(tmp_path))
    model = ViTPose(3, options).know(COCO17.select(wanted_names)).eval()
    index = torch.zeros(2, dtype=torch.long) if experts > 1 else None
    with torch.no_grad():
        heatmaps = reference(normalize(sample().image), dataset_index=index).heatmaps
        maps = model(sample()).maps / SHARPNESS
    rows = [list(COCO17.keypoints).index(name) for name in wanted_names]
    assert (maps - heatmaps[:, rows]).abs().max() < 1e-5 * heatmaps.abs().max()
    peak = torch.stack(torch.unravel_index(heatmaps[:, rows].flatten(2).argmax(2), heatmaps.shape[2:])[::-1], -1)
    away = peak * torch.tensor([47 / 11, 63 / 15]) + 0.5  # unbiased data processing
    assert torch.allclose(model.decode(model(sample()), sample()).points, away, atol=1e-3)
    save_model(tmp_path / "weights.pt", model, COCO17.select(wanted_names), 0)
    for path in tmp_path.glob("*.json"):
        path.unlink()
    again = load_model(tmp_path / "weights.pt")[0].eval()  # without the checkpoint
    assert torch.equal(again(sample()).logits, model(sample()).logits)


def test_keypoints_that_it_does_not_know(tmp_path):
    published(tmp_path)
    model = ViTPose(2, ViTPose.Options(input_size=[48, 64], weights=str(tmp_path)))
    with pytest.warns(UserWarning, match="does not know thumb; they start from random weights"):
        model.know(Skeleton("two", ("thumb", "left_eye")))
    assert model.head.conv.weight[0].abs().max() < 0.01 < model.head.conv.weight[1].abs().max()


def test_it_learns_and_exports(tmp_path, labeled):
    pytest.importorskip("transformers")
    model = tiny(head_layers=2).train()
    points = torch.tensor([[[10.0, 20.0], [30.0, 40.0], [24.0, 50.0]]] * 2)
    batch = labeled(sample().image, points)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = model.loss(model(batch), batch)["heatmap"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert (model.eval().decode(model(batch), batch).points - points).norm(dim=-1).max() < 6
    assert to_program(model, (48, 64), tmp_path / "vitpose.pt2").most < 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": [50, 64]}, "50x64 must be a multiple of ViTPose's patches, 16"),
        ({"weights": "nowhere.safetensors"}, "expected a folder with config.json and model.safetensors, or OWNER/NAME"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_another_size_and_foreign_weights_are_refused(tmp_path):
    published(tmp_path)
    with pytest.raises(ValueError, match=r"reads 48x64: say model.input_size=\[48,64\]"):
        ViTPose(3, ViTPose.Options(weights=str(tmp_path)))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="is no checkpoint of ViTPose"):
        ViTPose(3, ViTPose.Options(weights=str(tmp_path)))


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        ValueError, match=r"model.name=vitpose needs transformers .*pip install 'keyshift\[backbones\]'"
    ):
        tiny()
