import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.datasets.sample import CAMERA_MM, PIXELS, Unlabeled
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.export import EXTRA, OUTPUTS_OF_MANY, Decoded, check, examples, metadata, to_onnx, to_program
from keyshift.models.output import Grid, Poses, Votes
from keyshift.models.pose_model import PoseModel
from keyshift.models.systems.a2j import A2J
from keyshift.models.systems.awr import AWR
from keyshift.models.systems.dsnt import DSNT, DSNT3D
from keyshift.models.systems.pose_net import PoseNet
from keyshift.models.systems.pose_resnet import PoseResNet
from keyshift.models.systems.root_net import RootNet
from keyshift.models.systems.root_pose_net import RootPoseNet

FACE = Skeleton("face", ("nose", "left_eye", "right_eye", "chin"), ((0, 1), (0, 2), (0, 3)), ((1, 2),))
SMALL = {"backbone": "small", "channels": 16}


def pose_resnet():
    torch.manual_seed(0)
    return PoseResNet(4, PoseResNet.Options(input_size=[64, 32], heatmap_size=[16, 8], **SMALL)).eval()


def a2j():
    torch.manual_seed(0)
    return A2J(4, A2J.Options(input_size=[32, 32], head_layers=1, **SMALL)).eval()


def awr():
    torch.manual_seed(0)
    return AWR(4, AWR.Options(input_size=[32, 32], **SMALL)).eval()


def onnx_session(path):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def answers(model, space=PIXELS, **inputs):
    """What PyTorch answers, without the module that is exported: votes and poses."""
    nothing = torch.zeros(0)
    sample = Unlabeled(inputs, (), (), nothing, nothing, nothing, nothing, space=space)
    with torch.no_grad():
        votes = model(sample)
        return votes, model.decode(votes, sample)


@pytest.mark.usefixtures("shallow")
def test_onnx_answers_as_pytorch(tmp_path):
    model = pose_resnet()
    to_onnx(model, (64, 32), tmp_path / "model.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    session = onnx_session(tmp_path / "model.onnx")
    for count in (1, 5):
        image = torch.randint(0, 256, (count, 3, 32, 64), dtype=torch.uint8)
        keypoints, confidence = session.run(None, {"image": image.numpy()})
        _, poses = answers(model, image=image)
        np.testing.assert_allclose(keypoints, poses.points.numpy(), atol=1e-3)
        np.testing.assert_allclose(confidence, poses.confidence.numpy(), atol=1e-5)


@pytest.mark.parametrize("rectification", ["softmax", "abs", "relu", "sigmoid"])
def test_dsnt_is_exported_with_its_mean_inside(tmp_path, rectification):
    torch.manual_seed(0)
    options = DSNT.Options(input_size=[64, 32], heatmap_size=[16, 8], rectification=rectification, **SMALL)
    model = DSNT(4, options).eval()
    torch.nn.init.normal_(model.head.weight, std=50.0)  # far from flat maps
    to_onnx(model, (64, 32), tmp_path / "model.onnx")
    image = torch.randint(0, 256, (3, 3, 32, 64), dtype=torch.uint8)
    keypoints, confidence = onnx_session(tmp_path / "model.onnx").run(None, {"image": image.numpy()})
    votes, poses = answers(model, image=image)
    weight = votes.maps.double().flatten(2).softmax(-1).unflatten(2, (8, 16))
    x, y = (weight.sum(2) * (4 * torch.arange(16) + 2)).sum(-1), (weight.sum(3) * (4 * torch.arange(8) + 2)).sum(-1)
    np.testing.assert_allclose(keypoints, torch.stack([x, y], -1), atol=1e-3)
    np.testing.assert_allclose(confidence, poses.confidence, atol=1e-5)
    assert np.ptp(keypoints, axis=0).max() > 0.1


@pytest.mark.usefixtures("shallow")
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
        points = answers(model, image=image, reach=reach)[1].points
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
    votes = answers(model, image=image)[0]
    weight = votes.maps.double().flatten(2).softmax(-1)  # the formulas written out
    cells = torch.stack(torch.meshgrid(4 * torch.arange(16) + 2.0, 4 * torch.arange(8) + 2.0, indexing="xy"), -1)
    cells = cells.flatten(0, 1).double()
    wanted = weight @ cells if decode == "mean" else cells[weight.argmax(-1)]
    torch.testing.assert_close(keypoints, wanted.float(), atol=1e-3, rtol=0)


@pytest.mark.usefixtures("shallow")
def test_the_file_says_how_to_use_it(tmp_path):
    to_onnx(pose_resnet(), (64, 32), tmp_path / "model.onnx", FACE, "mean", {"data": {"mine": "MIT"}})
    to_program(pose_resnet(), (64, 32), tmp_path / "model.pt2", FACE, "mean", {"data": {"mine": "MIT"}})
    texts = onnx_session(tmp_path / "model.onnx").get_modelmeta().custom_metadata_map
    notes = {key: json.loads(value) for key, value in texts.items()}
    assert notes["keypoints"] == list(FACE.keypoints)
    assert notes["edges"] == [[0, 1], [0, 2], [0, 3]]
    assert notes["flip_pairs"] == [[1, 2]]
    assert notes["input"] == {"width": 64, "height": 32, "layout": "NCHW", "channels": "RGB", "dtype": "uint8"}
    assert notes["crop"]["padding"] == 1.25
    assert notes["decode"] == "mean"
    assert notes["data"] == {"mine": "MIT"}
    assert "+0.5" in notes["pixels"]
    extra = {EXTRA: ""}
    torch.export.load(tmp_path / "model.pt2", extra_files=extra)
    assert json.loads(extra[EXTRA]) == notes


@pytest.mark.usefixtures("shallow")
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
        _, poses = answers(model, image=image[:count])
        torch.testing.assert_close(points, poses.points, atol=1e-3, rtol=0)
        torch.testing.assert_close(sure, poses.confidence, atol=1e-5, rtol=0)


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


@pytest.mark.usefixtures("shallow")
def test_nothing_is_left_where_the_check_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("keyshift.models.export.CLOSE", -1.0)
    for write, name in ((to_onnx, "model.onnx"), (to_program, "model.pt2")):
        with pytest.raises(ArithmeticError, match="does not answer as PyTorch"):
            write(pose_resnet(), (64, 32), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


class Toy(PoseModel):
    """What the systems below have in common."""

    def features(self, sample):
        return sample.image.float() / 255

    def loss(self, votes, sample):
        return {}

    def counted(self, sample):
        return sample.annotated

    def new_head(self, layers=None):
        return torch.nn.Identity()


class BottomUp(Toy):
    """A person is a peak of redness, keypoint 0; the others stand beside it, at offsets that are read there."""

    single = False
    most, threshold = 4, 0.5

    def __init__(self, keypoints, options):
        super().__init__(keypoints, options)
        width, height = self.input_size
        self.grid = Grid((height, width), (1.0, 1.0), (0.5, 0.5))
        self.head = torch.nn.Conv2d(3, keypoints + 2 * (keypoints - 1), 1)
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.copy_(torch.arange(len(self.head.bias)) - keypoints + 1)  # offsets 1, 2, 3, ...
            self.head.weight[0, 0], self.head.weight[0, 1], self.head.bias[0] = 10, 0.1, -5  # green breaks ties

    def votes(self, features, sample, head=None):
        maps = (self.head if head is None else head)(features)
        return Votes.from_maps(self.grid, maps[:, : self.keypoints], offsets=maps[:, self.keypoints :].flatten(2))

    def decode(self, votes, sample):
        heat = votes.maps[:, 0].sigmoid()
        peaks = torch.where(torch.nn.functional.max_pool2d(heat, 3, 1, 1) == heat, heat, 0.0).flatten(1)
        score, cell = peaks.topk(self.most)
        person = score > self.threshold
        image_index = torch.arange(heat.shape[0]).view(-1, 1).expand(-1, self.most)[person]
        cell, score = cell[person], score[person]
        root = self.grid.to_points(torch.stack([cell % self.grid.shape[1], cell // self.grid.shape[1]], -1).float())
        offsets = votes.extra["offsets"][image_index, :, cell].unflatten(1, (-1, 2))
        points = torch.cat([root.unsqueeze(1), root.unsqueeze(1) + offsets], 1)
        confidence = votes.logits[image_index, cell].sigmoid()
        return Poses(points, confidence, image_index, score)


class Lifter(Toy):
    """A sequence of 2D keypoints to the middle frame's in the camera's frame, 4 m away."""

    reads, space = ("keypoints2d",), CAMERA_MM

    def __init__(self, keypoints, options):
        super().__init__(keypoints, options)
        self.backbone, self.grid = torch.nn.Linear(5 * keypoints * 3, 64), Grid((2,), (1.0,), (0.0,))
        self.head = torch.nn.Linear(64, 3 * keypoints)

    def features(self, sample):
        return self.backbone(sample.inputs["keypoints2d"].flatten(1)).relu()

    def votes(self, features, sample, head=None):
        where = (self.head if head is None else head)(features).view(-1, 1, self.keypoints, 3)
        return Votes(self.grid, torch.zeros_like(where[..., 0]), where + where.new_tensor([0.0, 0.0, 4000.0]))

    def decode(self, votes, sample):
        assert sample.space == CAMERA_MM
        return Poses.of_crops(votes.mean(), votes.confidence())

    def example(self, name, batch):
        draw = torch.Generator().manual_seed(batch)
        return 32 * torch.rand(batch, 5, self.keypoints, 3, generator=draw)


def toy(kind, keypoints=3, size=(24, 16)):
    torch.manual_seed(0)
    return kind(keypoints, kind.Options(input_size=list(size))).eval()


def red_dots(places, size=(24, 16)):
    """Black images with a red dot at each (x, y) of the lists `places`."""
    image = torch.zeros(len(places), 3, size[1], size[0], dtype=torch.uint8)
    for i, people in enumerate(places):
        for x, y in people:
            image[i, 0, y, x] = 255 - x
    return image


@pytest.mark.parametrize("form", ["onnx", "program"])
def test_several_people_and_nobody(tmp_path, form):
    model, path = toy(BottomUp), tmp_path / "model"
    if form == "onnx":
        to_onnx(model, (24, 16), path)
        session = onnx_session(path)
        assert [output.name for output in session.get_outputs()] == list(OUTPUTS_OF_MANY)

        def run(image):
            return [torch.from_numpy(part) for part in session.run(None, {"image": image.numpy()})]
    else:
        to_program(model, (24, 16), path)
        run = torch.export.load(path).module()

    for places in ([[(3, 4), (12, 9)], [], [(5, 11)]], [[]], [[(20, 2)]], [[], [(1, 1), (8, 8), (16, 3), (20, 14)]]):
        image = red_dots(places)
        with torch.no_grad():
            points, confidence, image_index, score = run(image)
        _, poses = answers(model, image=image)
        people = [(i, x, y) for i, ones in enumerate(places) for x, y in ones]  # redder ones, which are first, are left
        assert image_index.tolist() == [i for i, _, _ in people]
        wanted = torch.tensor([(x + 0.5, y + 0.5) for _, x, y in people]).view(-1, 1, 2)
        shifts = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])
        torch.testing.assert_close(points, wanted + shifts, atol=1e-4, rtol=0)
        assert points.shape == (len(people), 3, 2)
        torch.testing.assert_close(confidence, poses.confidence, atol=1e-5, rtol=0)
        torch.testing.assert_close(score, poses.score, atol=1e-5, rtol=0)


def test_a_system_of_several_people_is_read_in_its_own_way(tmp_path):
    with pytest.raises(ValueError, match="decode='peak': a system that finds several people is read in its own way"):
        to_program(toy(BottomUp), (24, 16), tmp_path / "model.pt2", decode="peak")
    notes = metadata(toy(BottomUp), (24, 16))
    assert "whole picture" in notes["crop"]["how"]
    assert "padding" not in notes["crop"]


def test_people_that_an_exported_network_invents_or_moves_are_noticed():
    decoded = Decoded(toy(BottomUp))

    def checked(change):
        with torch.no_grad():
            check(
                decoded,
                lambda given: [part.numpy() for part in change(*decoded(*given))],
                examples(decoded.model, (24, 16)),
            )

    checked(lambda *parts: parts)
    with pytest.raises(ArithmeticError, match="in other images"):
        checked(lambda points, confidence, index, score: (points, confidence, 1 - index.clamp_max(1), score))
    with pytest.raises(ArithmeticError, match="confidences by more than"):
        checked(lambda points, confidence, index, score: (points, confidence, index, score / 2))
    with pytest.raises(ArithmeticError, match=r"gives \(3, 3, 2\) and"):
        checked(lambda *parts: [part[:3] for part in parts])


@pytest.mark.parametrize("form", ["onnx", "program"])
def test_what_reads_keypoints_answers_in_the_cameras_frame(tmp_path, form):
    model = toy(Lifter)
    given = model.example("keypoints2d", 7)
    if form == "onnx":
        to_onnx(model, (24, 16), tmp_path / "model.onnx", about={"trained": "on toys"})
        session = onnx_session(tmp_path / "model.onnx")
        notes = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
        points, confidence = session.run(None, {"keypoints2d": given.numpy()})
        assert notes["inputs"] == ["keypoints2d"]
        assert "mm in the camera's frame" in notes["pixels"]
        assert "24x16" in notes["keypoints2d"]
        assert notes["trained"] == "on toys"
        assert not {"input", "crop"} & set(notes)
    else:
        to_program(model, (24, 16), tmp_path / "model.pt2")
        with torch.no_grad():
            points, confidence = torch.export.load(tmp_path / "model.pt2").module()(given)
    _, poses = answers(model, CAMERA_MM, keypoints2d=given)
    assert poses.points[..., 2].min() > 3900
    np.testing.assert_allclose(points, poses.points, atol=0.01)
    assert confidence.shape == (7, 3)


class Branching(Toy):
    def votes(self, features, sample, head=None):
        if features.mean() > 0.4:  # which an exporter cannot know
            features = features * 2
        return Votes.from_maps(Grid((16, 24), (1.0, 1.0), (0.5, 0.5)), features)

    def decode(self, votes, sample):
        return Poses.of_crops(votes.mean(), votes.confidence())


class Failing(Branching):
    def votes(self, features, sample, head=None):
        return super().votes(features / (1 / (not torch.compiler.is_exporting())), sample)


class Unasked(Lifter):
    example = PoseModel.example


@pytest.mark.parametrize("write", [to_onnx, to_program])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Branching, r"^Branching cannot be exported: [A-Z]\w+: \S+"),
        (Failing, r"^Failing cannot be exported: \w*ZeroDivision\w*: division by zero"),
        (Unasked, r"^Unasked gives no example of its input 'keypoints2d', so that it cannot be exported$"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(tmp_path, write, kind, message, capfd):
    model = toy(kind).train()
    with pytest.raises(ValueError, match=message) as error:
        write(model, (24, 16), tmp_path / "model.onnx")
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    assert model.training
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["bottom_up", "lifter", "clip_net"])
def test_the_systems_of_the_toys_are_exported(tmp_path, toys, name):
    """Whatever they read and however many people they find: each answers as PyTorch does, or there would be no file."""
    kind = toys.SYSTEMS[name]
    torch.manual_seed(0)
    model = kind(3, kind.Options(threshold=0.55)) if name == "bottom_up" else kind(3, kind.Options())
    to_program(model, (32, 32), tmp_path / "model.pt2", toys.DOTS)
    to_onnx(model, (32, 32), tmp_path / "model.onnx", toys.DOTS)
    texts = onnx_session(tmp_path / "model.onnx").get_modelmeta().custom_metadata_map
    notes = {key: json.loads(value) for key, value in texts.items()}
    assert notes["inputs"] == list(kind.reads)
    if name == "clip_net":
        assert (notes["input"]["layout"], notes["input"]["frames"]) == ("NTCHW", 3)


@pytest.mark.parametrize("make", [pose_resnet, awr])
def test_half_precision_is_half_the_size_and_says_how_far_it_is_from_pytorch(tmp_path, make):
    import onnx

    model = make()
    whole = to_onnx(model, model.input_size, tmp_path / "whole.onnx", decode="mean")
    half = to_onnx(model, model.input_size, tmp_path / "half.onnx", decode="mean", precision="fp16")
    assert whole.most < 1e-3
    assert 0 < half.mean <= half.most < 0.5
    assert (tmp_path / "half.onnx").stat().st_size < 0.7 * (tmp_path / "whole.onnx").stat().st_size
    graph = onnx.load(tmp_path / "half.onnx").graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert onnx.TensorProto.FLOAT16 not in kinds.values()
    notes = onnx_session(tmp_path / "half.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(notes["precision"]) == "fp16"
    inputs = next(examples(model, model.input_size))
    given = {name: value.numpy() for name, value in zip(model.reads, inputs, strict=True)}
    points = onnx_session(tmp_path / "half.onnx").run(None, given)[0]
    away = np.linalg.norm(points - Decoded(model, "mean")(*inputs)[0].detach().numpy(), axis=-1)
    assert away.max() <= half.most


@pytest.mark.usefixtures("shallow")
def test_numbers_that_are_too_large_for_half_precision_are_noticed(tmp_path):
    model = pose_resnet()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(200)
    with pytest.raises(ArithmeticError, match="too large for fp16"):
        to_onnx(model, (64, 32), tmp_path / "half.onnx", precision="fp16")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("opset", [18, 21])
def test_the_opset_that_is_asked_for_is_written(tmp_path, opset):
    import onnx

    to_onnx(pose_resnet(), (64, 32), tmp_path / "model.onnx", opset=opset)
    assert [entry.version for entry in onnx.load(tmp_path / "model.onnx").opset_import if not entry.domain] == [opset]


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("opset", [7, 99])
def test_an_opset_that_cannot_be_written_is_refused_in_one_line(tmp_path, opset):
    with pytest.raises(ValueError, match=f"opset={opset}") as refused:
        to_onnx(pose_resnet(), (64, 32), tmp_path / "model.onnx", opset=opset)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


IN_SPACE = {"root_net": RootNet, "pose_net": PoseNet, "root_pose_net": RootPoseNet, "dsnt_3d": DSNT3D}


@pytest.mark.parametrize("name", IN_SPACE)
def test_people_in_space_are_exported(tmp_path, toys, monkeypatch, name):
    """RootNet reads the picture and k; what both in one answer is relative to the root, and the file says so."""
    monkeypatch.setattr("keyshift.models.people.build_backbone", lambda *_: toys.Tiny())
    kind, skeleton = IN_SPACE[name], replace(FACE, root=0, extent=300.0)
    torch.manual_seed(0)
    skeleton = kind.learns(skeleton)
    cells = {} if name == "root_net" else {"depth_cells": 8}
    model = kind(len(skeleton), kind.Options(input_size=[32, 32], **SMALL, **cells)).know(skeleton).eval()
    if "k" in kind.reads:
        branch = model.head if name == "root_net" else model.head["root"]
        torch.nn.init.constant_(branch.depth[0].bias, 1.1)
    to_onnx(model, (32, 32), tmp_path / "model.onnx", skeleton)
    to_program(model, (32, 32), tmp_path / "model.pt2", skeleton)
    session, extra = onnx_session(tmp_path / "model.onnx"), {EXTRA: ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=extra).module()
    assert [given.name for given in session.get_inputs()] == list(kind.reads)
    for count in (1, 4):
        inputs = {"image": torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)}
        if "k" in kind.reads:
            inputs["k"] = torch.linspace(500.0, 4000.0, count)
        poses = answers(model, kind.space, **inputs)[1]
        points, confidence = session.run(None, {key: value.numpy() for key, value in inputs.items()})
        np.testing.assert_allclose(points, poses.points, atol=1e-3, rtol=1e-6)
        np.testing.assert_allclose(confidence, poses.confidence, atol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(program(*inputs.values())[0], poses.points, atol=1e-3, rtol=1e-6)
        if name == "root_net":
            np.testing.assert_allclose(points[:, 0, 2], 1.1 * inputs["k"], rtol=0.02)
    notes = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert json.loads(extra[EXTRA]) == notes
    relative = name != "root_net"
    assert notes["z"].endswith("counted from the skeleton's root" if relative else "counted from the camera")
    assert notes["extent"] == 300
    assert notes["keypoints"] == (list(FACE.keypoints) if relative else ["nose"])
    assert notes.get("root") == (0 if relative else None)
    assert ("k" in notes) == ("k" in kind.reads)
    assert ("distance" in notes) == (name == "root_pose_net")
