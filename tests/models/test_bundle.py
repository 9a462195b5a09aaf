"""The file beside an exported network that answers pictures without keyshift: people decoded in the network, and made
of its maps outside it."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass, replace

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from keyshift.datasets.loading import collate, crop, empty_item
from keyshift.datasets.options import option
from keyshift.datasets.reading.people import square
from keyshift.datasets.sample import transform
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.bundle import answers_alone, joined, runtime_of
from keyshift.models.export import to_onnx, to_program
from keyshift.models.output import Grid, Poses, Votes
from keyshift.models.pose_model import Outside, PoseModel
from keyshift.models.systems.dekr import DEKR
from keyshift.models.systems.higher_hrnet import HigherHRNet

PAIR = Skeleton("pair", ("red", "below"), edges=((0, 1),), groups={"all": (0, 1)})
MAKER = '''"""Text that is left out."""
from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter

from keyshift.models import output


def peaks(maps: np.ndarray, least: float) -> np.ndarray:
    """(P, 2) cells, y and x."""
    return np.argwhere((maximum_filter(maps, 5) == maps) & (maps > least))


def people_of(outputs: Any, about: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Red dots, and 4 px below each the other keypoint."""
    red = outputs["red"][0]
    cells = peaks(red, about["least"])
    points = cells[:, None, ::-1] + 0.5 + np.array([[0.0, 0.0], [0.0, 4.0]])
    score = red[cells[:, 0], cells[:, 1]]
    return points, np.stack([score, score / 2], 1), score
'''


@pytest.fixture
def maker(tmp_path):
    """The module that makes people, loaded from a file as modules of systems are."""
    path = tmp_path / "makes_people.py"
    path.write_text(MAKER)
    spec = importlib.util.spec_from_file_location("makes_people", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["makes_people"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["makes_people"]


class Reddest(PoseModel):
    """A person is a red dot; who stands where is read from the map by numpy."""

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        input_size: list[int] = option([48, 32], "width, height", size=2)
        threshold: float = option(0.2, "redness of a person")

    single = False

    def __init__(self, keypoints, options):
        super().__init__(keypoints, options)
        width, height = self.input_size
        self.grid = Grid((height, width), (1.0, 1.0), (0.5, 0.5))

    def features(self, sample):
        return sample.image[:, :1].float() / 255

    def votes(self, features, sample, head=None):
        return Votes.from_maps(self.grid, features.expand(-1, self.keypoints, -1, -1))

    def outputs(self, votes, sample):
        return {"red": votes.maps[:, 0]}

    def notes(self):
        return {"people": {"least": self.options.threshold}}

    def decode(self, votes, sample):
        given = self.outputs(votes, sample)["red"].numpy()
        each = [self.outside.maker({"red": one[None]}, self.notes()["people"]) for one in given]
        whole = (np.concatenate(parts) for parts in zip(*each, strict=True))
        points, confidence, score = (torch.from_numpy(part).float() for part in whole)
        index = torch.arange(len(given)).repeat_interleave(torch.tensor([len(own[2]) for own in each]))
        return Poses(points, confidence, index, score)

    def loss(self, votes, sample):
        return {}

    def counted(self, sample):
        return sample.annotated

    def new_head(self, layers=None):
        return torch.nn.Identity()


@pytest.fixture
def outside(maker):
    return type("Outside", (Reddest,), {"outside": Outside(maker.people_of, (maker,), ("red",))})


PICTURES = {"two": (90, 50, [(20, 12), (70, 31)]), "nobody": (30, 40, []), "wide": (400, 20, [(11, 10), (330, 9)])}
PICTURES |= {"line": (37, 1, [(18, 0.5)])}


def picture(width, height, dots):
    """(H, W, 3) noise of little red and red dots in it."""
    rng, (y, x) = np.random.default_rng(width), np.mgrid[:height, :width] + 0.5
    image = rng.integers(0, 40, (height, width, 3)).astype(float)
    for px, py in dots:
        image[..., 0] += 200 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (max(width, height) / 40) ** 2))
    return image.clip(0, 255).astype(np.uint8)


def answered(model, image):
    """The people of a picture as keyshift cuts and reads it, by score: points, confidence, score."""
    box = square(np.array([0.0, 0, image.shape[1], image.shape[0]]), 1.0)
    item = replace(empty_item("one", model.keypoints, False), image=image, box=box)
    sample = collate([crop(item, model.input_size, None, None, range(model.keypoints))], labels=False)
    with torch.no_grad():
        poses = model.decode(model(sample), sample)
    return transform(sample.to_file[poses.image_index], poses.points).numpy(), poses.confidence, poses.score


def alone(folder, names):
    """What the written file prints of pictures, by picture, and what it says on stderr; keyshift is not there."""
    code = "import sys, runpy; sys.modules['keyshift'] = sys.modules['torch'] = None; "
    code += "runpy.run_path('model.py', run_name='__main__')"
    run = subprocess.run([sys.executable, "-c", code, *names], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    people = {}
    for line in run.stdout.splitlines():
        person = json.loads(line)
        people.setdefault(person["file"], []).append(person)
    return people, run.stderr


def test_people_are_made_outside_by_the_written_file_as_keyshift_makes_them(outside, tmp_path):
    model = outside(2, outside.Options())
    folder = tmp_path / "there"
    folder.mkdir()
    agreement = to_onnx(model, (48, 32), folder / "model.onnx", PAIR)
    assert agreement.most < 1e-6
    (folder / "model.py").write_text(runtime_of(outside, "model.onnx", "model.py"))
    for name, form in PICTURES.items():
        cv2.imwrite(str(folder / f"{name}.png"), picture(*form)[..., ::-1])
    (folder / "broken.png").write_bytes(b"no picture")
    people, said = alone(folder, [*(f"{name}.png" for name in PICTURES), "broken.png"])
    assert said == "nobody.png: nobody\nbroken.png: cannot be read\n"
    assert len(people["two.png"]) == 2
    assert people.keys() == {"two.png", "wide.png", "line.png"}
    for name, form in PICTURES.items():
        points, confidence, score = answered(model, picture(*form))
        own = people.get(f"{name}.png", [])
        assert len(own) == len(score)
        for place, person in enumerate(own):
            assert list(person["keypoints"]) == ["red", "below"]
            wanted = np.column_stack([points[place], confidence[place]])
            np.testing.assert_allclose(list(person["keypoints"].values()), wanted, atol=2e-3)
            assert person["score"] == pytest.approx(float(score[place]), abs=1e-4)
            assert min(np.hypot(*(points[place, 0] - dot)) for dot in form[2]) < max(form[:2]) / 40


def system(name):
    """A small network of the name that sees someone in noise."""
    torch.manual_seed(0)
    options = {"backbone": "small", "input_size": [64, 64], "channels": 8}
    if name == "higher_hrnet":
        model = HigherHRNet(2, HigherHRNet.Options(**options, blocks=1))
        last = {model.head.final_layers[0]: 4.0, model.head.final_layers[1]: 0.5}
    else:
        model = DEKR(2, DEKR.Options(**options, people=5))
        last = {model.head.head_heatmap[1]: 150.0, model.head.offset_final_layer: 0.5}
    for layer, std in last.items():
        torch.nn.init.normal_(layer.weight, std=std)
    if name == "higher_hrnet":
        torch.nn.init.constant_(model.head.final_layers[1].bias, 1.4)
    noise = replace(model.empty(), inputs={"image": torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)})
    with torch.no_grad():
        for _ in range(30):  # batch norm makes the features of noise neither vanish nor grow
            model.train()(noise)
    return model.eval()


@pytest.mark.parametrize(("name", "decode"), [("higher_hrnet", "outside"), ("dekr", "the model's own")])
def test_systems_that_find_everyone_answer_alone_as_in_pytorch(tmp_path, name, decode):
    """HigherHRNet gives maps and candidates, of which its own grouping makes people outside; DEKR gives people."""
    model = system(name)
    to_onnx(model, (64, 64), tmp_path / "model.onnx", PAIR)
    (tmp_path / "model.py").write_text(runtime_of(type(model), "model.onnx", "model.py"))
    rng = np.random.default_rng(1)
    for number, size in enumerate([(64, 64), (90, 40), (31, 77)]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 256, (*size, 3), np.uint8))
    people, _ = alone(tmp_path, ["0.png", "1.png", "2.png"])
    assert sum(map(len, people.values())) > 3, "else this tests nothing"
    for number in range(3):
        image = cv2.imread(str(tmp_path / f"{number}.png"))[..., ::-1]
        points, confidence, score = answered(model, image)
        own = people.get(f"{number}.png", [])
        assert [person["score"] for person in own] == pytest.approx(score.tolist(), abs=2e-4)
        wanted = np.concatenate([points, confidence[..., None]], -1)
        np.testing.assert_allclose([list(person["keypoints"].values()) for person in own], wanted, atol=5e-3)
    notes = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).get_modelmeta().custom_metadata_map
    assert json.loads(notes["decode"]) == decode
    assert ("people" in notes) == (decode == "outside")


def test_the_file_says_how_people_are_made(outside, tmp_path):
    model = outside(2, outside.Options())
    to_onnx(model, (48, 32), tmp_path / "model.onnx", PAIR)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    notes = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    assert notes["decode"] == "outside"
    assert notes["people"] == {"least": 0.2}
    assert notes["grid"] == {"shape": [32, 48], "stride": [1.0, 1.0], "origin": [0.5, 0.5]}
    assert notes["threshold"] == 0.2
    assert "whole picture" in notes["crop"]["how"]
    assert (notes["input"]["width"], notes["input"]["height"]) == (48, 32)
    assert [output.name for output in session.get_outputs()] == ["red"]
    to_program(model, (48, 32), tmp_path / "model.pt2", PAIR)
    image = torch.randint(0, 256, (3, 3, 32, 48), dtype=torch.uint8)
    (red,) = torch.export.load(tmp_path / "model.pt2").module()(image)
    torch.testing.assert_close(red, image[:, 0].float() / 255)


def test_maps_that_an_exported_network_changes_are_noticed(outside, monkeypatch, tmp_path):
    monkeypatch.setattr("keyshift.models.export.SURE", -1.0)
    with pytest.raises(ArithmeticError, match="its outputs are off by up to"):
        to_onnx(outside(2, outside.Options()), (48, 32), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_modules_become_one_file(maker):
    text = joined([maker, square])
    assert "left out" not in text
    assert "keyshift" not in text
    assert text.index("from scipy.ndimage import maximum_filter") < text.index("def peaks") < text.index("def square")
    there: dict = {}
    exec(text, there)
    assert there["square"](np.array([0.0, 0, 10, 20]), 1.0).tolist() == [-5, 0, 15, 20]


def test_who_has_such_a_file(outside, toys):
    assert answers_alone(outside(2, outside.Options()))
    assert answers_alone(toys.BottomUp(3, toys.BottomUp.Options()))
    assert not answers_alone(toys.TopDown(3, toys.TopDown.Options()))
    assert not answers_alone(toys.Lifter(3, toys.Lifter.Options()))
