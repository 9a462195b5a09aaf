"""Networks of many forms leave as files that answer as they do; what no exporter can trace is one line."""

import pytest
import torch

from keyshift.models.export import to_onnx, to_program
from keyshift.models.systems.own import OwnModel

NETS = '''
import torch
import torch.nn.functional as F
from torch import nn

def sequence(keypoints: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, keypoints, 1))

class Reused(nn.Module):
    """One layer that is called three times; no batch norm."""

    def __init__(self, keypoints):
        super().__init__()
        self.stem, self.again = nn.Conv2d(3, 8, 7, 4, 3), nn.Conv2d(8, 8, 3, 1, 1)
        self.norm, self.final = nn.GroupNorm(2, 8), nn.Conv2d(8, keypoints, 1)

    def forward(self, image):
        features = self.stem(image)
        for _ in range(3):
            features = F.silu(self.norm(self.again(features))) + features
        return self.final(features)

class Levels(nn.Module):
    """Dicts between its parts, views, sizes that are asked for, and resizing."""

    def __init__(self, keypoints):
        super().__init__()
        self.high, self.low = nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.scale, self.final = nn.Parameter(torch.ones(8)), nn.Conv2d(16, keypoints, 1)

    def levels(self, image):
        high = self.high(image).relu()
        return {"high": high, "low": self.low(high)}

    def forward(self, image):
        levels = self.levels(image)
        b, c, h, w = levels["high"].shape
        low = F.interpolate(levels["low"], size=(h, w), mode="bilinear", align_corners=False)
        low = (low.permute(0, 2, 3, 1) * self.scale).reshape(b, h * w, c).transpose(1, 2).view(b, c, h, w)
        return self.final(torch.cat([levels["high"], low], 1))

class Attention(nn.Module):
    """A transformer over patches, and points from its tokens."""

    def __init__(self, keypoints):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.place = nn.Parameter(torch.randn(1, 16, 16) * 0.02)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.points = nn.LayerNorm(16), nn.Linear(16, 2 * keypoints)

    def forward(self, image):
        tokens = self.patches(image).flatten(2).transpose(1, 2) + self.place
        return self.points(self.norm(self.encoder(tokens)).mean(1)).unflatten(1, (-1, 2))

class Pair(nn.Module):
    def __init__(self, keypoints):
        super().__init__()
        self.responses, self.offsets = nn.Conv2d(8, keypoints, 1), nn.Conv2d(8, 2 * keypoints, 1)

    def forward(self, features):
        return self.responses(features), self.offsets(features)

class Tuple(nn.Module):
    def __init__(self, keypoints):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, 4, 1), Pair(keypoints)

    def forward(self, image):
        return self.head(self.body(image).relu_())

class Branching(nn.Module):
    """What its values are decides what it does: nothing that can be traced."""

    def __init__(self, keypoints):
        super().__init__()
        self.body, self.final = nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, keypoints, 1)

    def forward(self, image):
        features = self.body(image)
        if features.sum().item() > 0:
            features = features * 2
        return self.final(features)
'''
FORMS = {
    "sequence": {},
    "Reused": {},
    "Levels": {},
    "Attention": {"gives": "coordinates", "unit": "unit"},
    "Tuple": {"gives": "offsets"},
}


def make(name, folder, **options):
    file = folder / "nets.py"
    file.write_text(NETS)
    torch.manual_seed(0)
    said = {"file": str(file), "object": name, "arguments": {"keypoints": 3}, "input_size": [32, 32]} | options
    return OwnModel(3, OwnModel.Options(**said))


@pytest.mark.parametrize(("name", "options"), FORMS.items(), ids=FORMS)
def test_each_form_of_a_network_is_exported(name, options, tmp_path):
    model = make(name, tmp_path, **options)
    to_program(model, (32, 32), tmp_path / "model.pt2")
    pytest.importorskip("onnxruntime")
    to_onnx(model, (32, 32), tmp_path / "model.onnx")
    assert {path.suffix for path in tmp_path.iterdir() if path.is_file()} == {".py", ".pt2", ".onnx"}


@pytest.mark.parametrize("write", [to_program, to_onnx])
def test_what_cannot_be_traced_is_one_line(write, tmp_path):
    model = make("Branching", tmp_path)
    with pytest.raises(ValueError, match=r"^Branching of \S+nets.py cannot be exported: \w+") as error:
        write(model, (32, 32), tmp_path / f"model{'.onnx' if write is to_onnx else '.pt2'}")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert not list(tmp_path.glob("model*"))
