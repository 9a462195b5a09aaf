"""Li & Chan against second implementations in loops, written from the paper's formulas, and its known numbers."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.scoring.evaluation import everyone, predict, scores
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.bodies.skeletons import COCO17, H36M17
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.mixed import Mixed
from keyshift.datasets.skeleton import HAND, Skeleton
from keyshift.datasets.tree import parents as tree
from keyshift.datasets.views import InSpace, Selected
from keyshift.models.export import to_onnx
from keyshift.models.saved import MODELS, load_model, save_model
from keyshift.models.systems import li_chan
from keyshift.models.systems.li_chan import (
    LiChan,
    LiChan3D,
    absolute,
    ancestry,
    detection_error,
    local_response,
    regression_error,
    relative,
    window_count,
    windows,
)

CPU, SIZE = torch.device("cpu"), (32, 32)
SYSTEMS = ("li_chan", "li_chan_3d")
FOREST = Skeleton("forest", ("a", "b", "c", "d", "e"), edges=((3, 1), (1, 2), (4, 0)), root=1, extent=2000.0)
SMALL = {"backbone": "small", "input_size": list(SIZE), "channels": 8, "hidden": [32, 48], "window": 8, "step": 8}
"""A network that takes milliseconds."""


@pytest.fixture
def tiny(toys, monkeypatch):
    monkeypatch.setattr(li_chan, "build_backbone", lambda *_: toys.Tiny())


def build(name, skeleton, **options):
    torch.manual_seed(0)
    kind = MODELS[name]
    return kind(len(skeleton), kind.Options(**SMALL | options)).know(skeleton)


def seen(name, data):
    return InSpace(data, True) if name == "li_chan_3d" else Selected(data, data.skeleton.keypoints)


def batches(name, data, count=4, batch=8, **cut):
    augmentation = Augmentation(**{"rotation": 20, "area": [0.8, 1.2], "color": 0, "blur": 0} | cut)
    made = TrainingBatches(seen(name, data), "source", 0, batch, SIZE, augmentation, labels=True)
    return [made[step] for step in range(count)]


# Formulas


@pytest.mark.parametrize("skeleton", [H36M17, HAND, COCO17, FOREST])
def test_steps_go_from_parent_to_child_and_add_up_to_joints(skeleton):
    parents, count = tree(skeleton), len(skeleton)
    joints = torch.randn(3, count, 3, dtype=torch.float64)
    wanted = joints.clone()
    for i in range(3):
        for k in range(count):
            if parents[k] >= 0:
                wanted[i, k] = joints[i, k] - joints[i, parents[k]]
    steps = relative(joints, torch.tensor(parents))
    torch.testing.assert_close(steps, wanted)
    summed = torch.zeros_like(joints)
    for i in range(3):
        for k in range(count):
            at = k
            while at >= 0:
                summed[i, k] += steps[i, at]
                at = parents[at]
    torch.testing.assert_close(absolute(steps, ancestry(parents).double()), summed)
    torch.testing.assert_close(summed, joints)


@pytest.mark.parametrize(
    ("length", "window", "step", "count"), [(112, 10, 10, 12), (112, 30, 10, 10), (64, 8, 8, 8), (8, 10, 10, 1)]
)
def test_windows_are_as_many_as_the_paper_has(length, window, step, count):
    assert window_count(length, window, step) == count
    last = step * (count - 1)
    assert last + window >= length
    assert count == 1 or last - step + window < length


@pytest.mark.parametrize(("window", "step"), [(10, 10), (30, 10), (7, 5)])
def test_a_joint_lies_in_windows(window, step):
    """Rows are y; the borders, a joint outside of the picture, one in the last window's rest."""
    size = (112, 64)
    points = torch.rand(2, 6, 2) * torch.tensor([130.0, 80.0]) - 9
    points[0, :4] = torch.tensor([[0.0, 0.0], [10.0, 20.0], [-0.01, 5.0], [113.0, 63.0]])
    inside = windows(points, size, window, step)
    columns, rows = (math.ceil((side - window) / step) + 1 for side in size)
    assert inside.shape == (2, 6, rows, columns)
    for i in range(2):
        for k in range(6):
            x, y = points[i, k].tolist()
            for row in range(rows):
                for column in range(columns):
                    wanted = 0 <= x - step * column < window and 0 <= y - step * row < window
                    assert inside[i, k, row, column] == wanted


@pytest.mark.parametrize(("side", "alpha", "beta"), [(5, 0.0025, 0.75), (3, 0.7, 0.5)])
def test_responses_are_normalised_within_a_map(side, alpha, beta):
    maps = 5 * torch.randn(2, 3, 6, 7)
    wanted, reach = torch.zeros_like(maps), side // 2
    for b, c, y, x in np.ndindex(*maps.shape):
        total = 0.0
        for v in range(max(y - reach, 0), min(y + reach + 1, 6)):
            for u in range(max(x - reach, 0), min(x + reach + 1, 7)):
                total += float(maps[b, c, v, u]) ** 2
        wanted[b, c, y, x] = maps[b, c, y, x] / (1 + alpha / side**2 * total) ** beta
    torch.testing.assert_close(local_response(maps, side, alpha, beta), wanted)
    other = maps.clone()
    other[:, 1:] *= 3
    torch.testing.assert_close(local_response(other, side, alpha, beta)[:, 0], wanted[:, 0])


def test_errors_are_sums_over_joints_and_windows():
    steps, wanted, known = torch.randn(3, 4, 3), torch.randn(3, 4, 3), torch.rand(3, 4, 3) > 0.3
    logits, inside, counted = 3 * torch.randn(3, 4, 2, 5), torch.rand(3, 4, 2, 5) > 0.8, torch.rand(3, 4) > 0.3
    regression = detection = 0.0
    for i in range(3):
        for k in range(4):
            for axis in range(3):
                if known[i, k, axis]:
                    regression += float(steps[i, k, axis] - wanted[i, k, axis]) ** 2 / 3
            for row in range(2):
                for column in range(5):
                    p = 1 / (1 + math.exp(-float(logits[i, k, row, column])))
                    if counted[i, k]:
                        detection -= math.log(p if inside[i, k, row, column] else 1 - p) / 3
    assert float(regression_error(steps, wanted, known)) == pytest.approx(regression, rel=1e-5)
    assert float(detection_error(logits, inside, counted)) == pytest.approx(detection, rel=1e-5)


# The network


def test_the_papers_sizes():
    model = LiChan3D(17, LiChan3D.Options(reference=True))
    image = torch.zeros(1, 3, 112, 112)
    first = F.relu(model.backbone.conv1(image))
    assert first.shape == (1, 32, 104, 104)
    second = model.backbone.conv2(li_chan.pooled(first))
    assert second.shape == (1, 64, 48, 48)
    assert model.backbone(image).shape == (1, 64, 24, 24)
    assert model.maps[0](model.backbone(image)).shape == (1, 64, 20, 20)
    assert model.feature_shape() == (64, 10, 10)
    layers = [[m for m in part if isinstance(m, torch.nn.Linear)] for part in (model.head, model.detection)]
    assert [[m.out_features for m in part] for part in layers] == [[1024, 2048, 51], [1024, 2048, 2448]]
    assert layers[0][0].in_features == 6400
    assert [[type(m).__name__ for m in part] for part in (model.head, model.detection)] == [
        ["Flatten", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear"]
    ] * 2
    assert model.head[3].p == model.detection[3].p == 0.25
    assert float(model.backbone.conv1.weight.detach().std()) == pytest.approx(5e-5, rel=0.1)
    assert float(model.head[1].weight.detach().std()) == pytest.approx(1e-3, rel=0.01)
    assert model.unit[2] == 1200


def convolved(maps, conv):
    """Valid convolution, by its windows."""
    weight, bias = (value.detach().double().numpy() for value in (conv.weight, conv.bias))
    seen = np.lib.stride_tricks.sliding_window_view(maps, weight.shape[2:], (2, 3))
    return np.einsum("bcyxvu,ocvu->boyx", seen, weight) + bias[:, None, None]


def strongest(maps):
    """3 x 3 cells at every second one; the last may stand over the border."""
    rows, columns = (math.ceil((side - 3) / 2) + 1 for side in maps.shape[2:])
    out = np.zeros((*maps.shape[:2], rows, columns))
    for y, x in np.ndindex(rows, columns):
        out[:, :, y, x] = maps[:, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3].max((2, 3))
    return out


def normalised(maps):
    padded, total = np.pad(maps**2, ((0, 0), (0, 0), (2, 2), (2, 2))), np.zeros_like(maps)
    for v, u in np.ndindex(5, 5):
        total += padded[:, :, v : v + maps.shape[2], u : u + maps.shape[3]]
    return maps / (1 + 0.0025 / 25 * total) ** 0.75


def layered(maps, part):
    """The branch's linear layers, ReLU between them."""
    rows, linear = maps.reshape(len(maps), -1), [m for m in part if isinstance(m, torch.nn.Linear)]
    for i, layer in enumerate(linear):
        rows = rows @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
        rows = np.maximum(rows, 0) if i + 1 < len(linear) else rows
    return rows


def test_the_papers_network_against_a_second_one(labeled):
    """From pixels to joints, windows and both errors, in double precision. Weights are large enough to be seen."""
    torch.manual_seed(0)
    options = LiChan3D.Options(input_size=[44, 40], hidden=[20, 30], channels=6, window=12, step=10, reference=True)
    model = LiChan3D(5, options).know(FOREST).eval().requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.normal_(layer.bias, std=0.1)
    model.backbone.conv1.weight.data /= 20
    image = torch.randint(0, 256, (2, 3, 40, 44), dtype=torch.uint8)
    z = torch.rand(2, 5, 1) * 600 - 300
    sample = labeled(image, torch.cat([torch.rand(2, 5, 2) * 40, z], -1))
    votes = model(sample)

    pixels = image.double().numpy() - 255 * np.array([0.485, 0.456, 0.406])[:, None, None]
    maps = strongest(np.maximum(convolved(pixels, model.backbone.conv1), 0))
    maps = strongest(normalised(np.maximum(convolved(maps, model.backbone.conv2), 0)))
    maps = strongest(convolved(maps, model.maps[0]))
    steps = np.tanh(layered(maps, model.head)).reshape(2, 5, 3)
    assert np.abs(steps).mean() > 0.1
    logits = layered(maps, model.detection).reshape(2, 5, 4, 5)
    torch.testing.assert_close(votes.extra["detections"], torch.from_numpy(logits).float(), atol=1e-4, rtol=1e-4)

    joints, regression, detection, parents = np.zeros((2, 5, 3)), 0.0, 0.0, (-1, -1, 1, 1, 0)
    truth = sample.keypoints.double().numpy()
    for i in range(2):
        for k in (0, 1, 2, 3, 4):
            start = joints[i, parents[k]] if parents[k] >= 0 else np.array([22.0, 20.0, 0.0])
            mm = 1200 * steps[i, k]
            joints[i, k] = start + mm * np.array([40 / 2000, 40 / 2000, 1])
            from_mm = truth[i, k] - (truth[i, parents[k]] if parents[k] >= 0 else [22, 20, 0])
            from_mm *= [2000 / 40, 2000 / 40, 1]  # the box of 2 m fits the shorter side
            regression += ((steps[i, k] - from_mm / 1200) ** 2).sum() / 2
            for row, column in np.ndindex(4, 5):
                there = 0 <= truth[i, k, 0] - 10 * column < 12 and 0 <= truth[i, k, 1] - 10 * row < 12
                detection += np.log1p(np.exp(logits[i, k, row, column] * (-1 if there else 1))) / 2
    poses = model.decode(votes, sample)
    torch.testing.assert_close(poses.points, torch.from_numpy(joints).float(), atol=2e-2, rtol=1e-4)
    losses = {key: float(value) for key, value in model.loss(votes, sample).items()}
    assert losses == pytest.approx({"regression": regression / 2, "detection": detection / 2}, rel=1e-3)


def both(model, sample):
    """E_r and E_d without their shares, and the maps that both branches read."""
    maps = model.features(sample).detach().requires_grad_()
    votes = model.votes(maps, sample)
    losses, share = model.loss(votes, sample), model.options.detection
    return losses["regression"] / (1 - share), losses["detection"] / share, maps


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_the_convolutions_receive_the_average_of_both_gradients(tiny, dots, share):
    """Each branch is moved by its own error whole; dropout is off, so that passes can be compared."""
    (sample,) = batches("li_chan", dots(8), 1)
    model = build("li_chan", dots.skeleton, detection=share, dropout=0.0)
    regression, detection, maps = both(model.eval(), sample)  # nothing is halved
    apart = [torch.autograd.grad(e, maps)[0] for e in ((1 - share) * regression, share * detection)]
    own = torch.autograd.grad((1 - share) * both(model, sample)[0], model.head[-1].weight)[0]
    for part in (model, model.head, model.detection):
        part.training = True  # batch norm goes on as in evaluation
    regression, detection, maps = both(model, sample)
    phi = (1 - share) * regression + share * detection
    average, head = torch.autograd.grad(phi, (maps, model.head[-1].weight))
    torch.testing.assert_close(average, (apart[0] + apart[1]) / 2)
    torch.testing.assert_close(head, own)
    assert all(float(one.abs().max()) > 1e-6 for one in (*apart, own))


def test_a_pass_without_labels_moves_the_convolutions_whole(tiny, dots):
    """As mean teacher's consistency does, beside a labelled pass whose gradients are averaged."""
    source, target = batches("li_chan", dots(16), 2)
    model = build("li_chan", dots.skeleton, dropout=0.0).eval()

    def at_features(labelled):
        maps = model.features(target).detach().requires_grad_()
        votes = model.votes(maps, target)
        losses = model.loss(model(source), source) if labelled else {}
        return torch.autograd.grad(votes.mean().square().mean() + sum(losses.values()), maps)[0]

    whole = at_features(labelled=False)
    assert float(whole.abs().max()) > 1e-4
    for part in (model, model.head, model.detection):
        part.training = True  # batch norm goes on as in evaluation
    for labelled in (False, True):
        torch.testing.assert_close(at_features(labelled), whole)


def gradients(model, sample):
    model.train().zero_grad()
    sum(model.loss(model(sample), sample).values()).backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().max() > 0)}


def test_each_way_to_train_moves_its_own_parts(tiny, dots):
    (sample,) = batches("li_chan", dots(8), 1)
    first, second, alone = (build("li_chan", dots.skeleton, detection=share) for share in (0.5, 1.0, 0.0))
    parts = [{name.partition(".")[0] for name in gradients(model, sample)} for model in (first, second, alone)]
    assert parts == [
        {"backbone", "maps", "head", "detection"},
        {"backbone", "maps", "detection"},
        {"backbone", "maps", "head"},
    ]
    assert set(second.loss(second(sample), sample)) == {"detection"}
    votes = alone(sample)
    assert set(alone.loss(votes, sample)) == {"regression"}
    assert not votes.extra
    further = first.votes(first.features(sample), sample, first.new_head(2))
    assert not further.extra
    assert set(first.loss(further, sample)) == {"regression"}


# What is not known


@pytest.mark.parametrize("name", SYSTEMS)
@torch.no_grad()
def test_a_joint_that_is_not_known_teaches_nothing(tiny, persons, name):
    """Neither itself nor the steps to its children."""
    (sample,) = batches(name, persons(8), 1)
    model = build(name, persons.skeleton).eval()
    annotated = sample.annotated.clone()
    annotated[:4, 0] = annotated[4, 2] = False  # of some the root, of one a hand
    known = replace(sample, annotated=annotated)
    moved = replace(known, keypoints=known.keypoints + 30 * ~annotated[..., None])
    votes = model(sample)
    losses, other = model.loss(votes, known), model.loss(votes, moved)
    assert losses == other
    steps, parents, wanted = model.steps(votes.mean()), tree(persons.skeleton), 0.0
    truth = model.steps(sample.keypoints)
    for i in range(8):
        for k in range(3):
            if annotated[i, k] and (parents[k] < 0 or annotated[i, parents[k]]):
                wanted += float((steps[i, k] - truth[i, k]).square().sum()) / 8
    assert float(losses["regression"]) == pytest.approx(wanted / 2, rel=1e-5)
    assert wanted > 0


@torch.no_grad()
def test_distances_are_learned_from_samples_that_have_them(tiny, persons, toys):
    """Of a batch with those of a 2D set: a step's z is known where both ends' are, its x and y wherever they are."""
    flat = toys.Sketches(toys.Sketches.Options(train=16), "train")
    (sample,) = batches("li_chan_3d", Mixed(persons(16), flat), 1, 16)
    model = build("li_chan_3d", persons.skeleton).eval()
    deep = sample.deep.clone()
    deep[0, 0] = False
    sample = replace(sample, deep=deep)
    assert 0 < deep.sum() < deep.numel()
    known = model.known(sample)
    for i in range(16):
        for k, parent in enumerate(tree(persons.skeleton)):
            ends = [k] if parent < 0 else [k, parent]
            both_known = all(sample.annotated[i, e] for e in ends)
            assert known[i, k].tolist() == [both_known] * 2 + [both_known and all(deep[i, e] for e in ends)]
    votes, z = model(sample), torch.zeros_like(sample.keypoints)
    z[..., 2] = 500.0 * ~deep
    other = replace(sample, keypoints=sample.keypoints + z)
    assert model.loss(votes, other) == model.loss(votes, sample)


# Learning


def trained(model, made, updates=120, rate=2e-3):
    optimizer, sums = torch.optim.Adam(model.train().parameters(), rate), []
    for step in range(updates):
        torch.manual_seed(step)
        sample = made[step % len(made)]
        losses = model.loss(model(sample), sample)
        optimizer.param_groups[0]["lr"] = rate if step < 2 * updates // 3 else rate / 10
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        sums.append({key: float(value.detach()) for key, value in losses.items()})
    return sums


def reached(model, name, data):
    sample = EvaluationBatches(seen(name, data), 64, SIZE)[0]
    return scores(predict(model, [sample], CPU), data.skeleton, 0.1), sample


@pytest.fixture(scope="module")
def learned(toys, dots, persons):
    """learned(system, share of detection): a network after 120 updates, and its losses in each; trained once."""
    made = {}

    def learn(name, share):
        if (name, share) not in made:
            data = dots(160) if name == "li_chan" else persons(160)
            model = build(name, data.skeleton, detection=share)
            made[name, share] = model, trained(model, batches(name, data, 10, 16))
        return made[name, share]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(li_chan, "build_backbone", lambda *_: toys.Tiny())
        yield learn


@pytest.mark.parametrize("share", [0.02, 0.0])
def test_it_learns_in_the_plane(learned, dots, share):
    """On other samples joints are nearer than their mean place."""
    model, sums = learned("li_chan", share)
    assert all(sums[-1][key] < 0.5 * sums[0][key] for key in sums[0])
    result, sample = reached(model, "li_chan", dots(64, first=1000))
    assert result["epe"] < 0.7 * float((sample.keypoints - sample.keypoints.mean(0)).norm(dim=-1).mean())


def test_it_learns_in_space(learned, persons):
    """The pose, in mm from the root, is nearer than the mean pose; detections say in which window joints are."""
    model, _ = learned("li_chan_3d", 0.02)
    result, sample = reached(model, "li_chan_3d", persons(64, first=1000))
    poses = sample.points - sample.points[:, :1]
    assert result["mm"] < 0.7 * float((poses - poses.mean(0)).norm(dim=-1).mean())
    with torch.no_grad():
        logits = model.eval()(sample).extra["detections"]
    inside = windows(sample.keypoints[..., :2], SIZE, 8, 8)
    assert logits.shape == inside.shape == (64, 3, 4, 4)
    assert float(logits[inside].mean()) > float(logits[~inside].mean()) + 1


def test_detection_first_then_regression_from_its_convolutions(learned, tiny, dots, tmp_path):
    """Of a file of the first run the shared layers alone are taken; what is built again from a checkpoint asks for no
    file."""
    first, _ = learned("li_chan", 0.02)
    save_model(tmp_path / "first.pt", first, dots.skeleton, 120)
    second = build("li_chan", dots.skeleton, detection=0.0, weights=str(tmp_path / "first.pt"))
    fresh = build("li_chan", dots.skeleton, detection=0.0)
    for key, value in second.state_dict().items():
        shared = key.startswith(("backbone.", "maps."))
        assert torch.equal(value, (first if shared else fresh).state_dict()[key]), key
    assert not any(key.startswith("detection.") for key in second.state_dict())
    in_space = build("li_chan_3d", replace(dots.skeleton, root=0), weights=str(tmp_path / "first.pt"))
    assert torch.equal(in_space.maps.weight, first.maps.weight)
    (tmp_path / "second").mkdir()
    save_model(tmp_path / "second/model.pt", second, dots.skeleton, 1)
    (tmp_path / "first.pt").unlink()
    again = load_model(tmp_path / "second/model.pt")[0]
    assert again.options.weights is None
    assert torch.equal(again.maps.weight, first.maps.weight)


def test_files_that_do_not_fit_are_refused(tiny, dots, tmp_path):
    save_model(tmp_path / "first.pt", build("li_chan", dots.skeleton), dots.skeleton, 1)
    with pytest.raises(ValueError, match=r"first.pt has other convolutions than model.backbone: .*maps.weight \(8, 24"):
        build("li_chan", dots.skeleton, channels=9, weights=str(tmp_path / "first.pt"))
    for weights in ("IMAGENET1K_V1", str(tmp_path / "none.pt")):
        with pytest.raises(ValueError, match="have published no weights; name a weights file of this system"):
            LiChan(3, LiChan.Options(weights=weights))
    with pytest.raises(ValueError, match=r"model.input_size 39x39 does not pass model.backbone=paper: "):
        LiChan(3, LiChan.Options(input_size=[39, 39]))
    with pytest.raises(ValueError, match=r"model.hidden=\[\] must name"):
        LiChan(3, LiChan.Options(hidden=[]))
    with pytest.raises(ValueError, match=r"model.reference=true is of model.backbone=paper, not of small"):
        LiChan(3, LiChan.Options(backbone="small", reference=True))


# As every system


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_file_keeps_what_it_takes(tiny, persons, tmp_path, name):
    hands = replace(persons.skeleton, extent=300.0, root=1)
    model = build(name, hands).eval()
    model.restart_head(2)
    model.eval()
    save_model(tmp_path / "model.pt", model, hands, 5)
    again, skeleton = load_model(tmp_path / "model.pt")
    again.eval()
    assert asdict(again.options) == asdict(model.options) | {"weights": None}
    assert (again.grid, again.unit, again.root) == (model.grid, model.unit, model.root)
    assert torch.equal(again.ancestors, model.ancestors)
    assert again.ancestors.sum() > 3
    if name == "li_chan_3d":
        assert again.extent == skeleton.extent == 300
        assert again.unit[2] == pytest.approx(180)
        assert again.notes() == {
            "z": "mm along the optical axis, counted from the skeleton's root",
            "extent": 300,
            "root": 1,
        }
    sample = model.empty()
    with torch.no_grad():
        torch.testing.assert_close(again(sample).mean(), model(sample).mean())


def test_in_space_it_asks_for_a_root_and_the_datas_extent(tiny, persons, dots):
    with pytest.raises(ValueError, match=r"Li & Chan in 3D needs a root; skeleton 'dots' has none"):
        LiChan3D.learns(dots.skeleton)
    sample = EvaluationBatches(seen("li_chan_3d", persons(2)), 2, SIZE)[0]
    build("li_chan_3d", persons.skeleton).check(sample, "persons")
    with pytest.raises(ValueError, match=r"LiChan3D is built for an extent of 300 mm; persons has 2000 mm"):
        build("li_chan_3d", replace(persons.skeleton, extent=300.0)).check(sample, "persons")


OPTIONS = {"regda": RegDA.Options(head_layers=2, sigma=1.0), "mean_teacher": MeanTeacher.Options(decay=0.9, sigma=1.0)}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("strategy", suited(["image"]))
def test_every_strategy_in_half_precision(tiny, persons, iterate, name, strategy):
    """Two updates with mirrored views: losses are finite, and what moves is the network."""
    data = {d: seen(name, persons(8, style)) for d, style in (("source", "plain"), ("target", "shifted"))}
    turned, optimization = Augmentation(rotation=20, mirror=0.5), Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)
    model = build(name, persons.skeleton)
    torch.manual_seed(0)
    made = STRATEGIES[strategy](model, persons.skeleton, optimization, options=OPTIONS.get(strategy)).train()
    labels = {"source": True, "target": made.labelled_target}
    given = {d: TrainingBatches(data[d], d, 0, 4, SIZE, turned, labels[d], made.views[d]) for d in data}
    before = {k: v.clone() for k, v in made.predictor.state_dict().items()}
    made.begin_round(everyone(made.predictor, data["target"], 8, SIZE, turned, CPU))
    optimizers = made.optimizers()
    for step in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            iterate(made, given["source"][step], given["target"][step], optimizers)
    after = made.predictor.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(before[key], after[key]) for key in before) == (strategy != "given")


@torch.no_grad()
def test_places_keep_their_digits_in_half_precision(tiny, persons):
    """A step in bf16 would be 1/256 of the crop, 8 mm; the sum along the tree is no product of matrices either."""
    (sample,) = batches("li_chan_3d", persons(8), 1)
    model = build("li_chan_3d", persons.skeleton).eval()
    features = model.features(sample).bfloat16().float()
    exact = model.votes(features, sample).where
    with torch.autocast("cpu", torch.bfloat16):
        half = model.votes(features.bfloat16(), sample).where
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("name", SYSTEMS)
def test_one_file_answers_as_pytorch(tmp_path, name):
    """With the paper's own convolutions, whose pooling stands over borders and whose responses are normalised."""
    import onnxruntime

    skeleton = replace(FOREST, root=1)
    kind = MODELS[name]
    torch.manual_seed(0)
    model = kind(5, kind.Options(input_size=[48, 40], hidden=[16, 24])).know(skeleton).eval()
    for part in (model.head, model.maps):
        for layer in part:
            if hasattr(layer, "weight"):
                torch.nn.init.kaiming_normal_(layer.weight)
    to_onnx(model, (48, 40), tmp_path / "model.onnx", skeleton)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        image = torch.randint(0, 256, (count, 3, 40, 48), dtype=torch.uint8)
        sample = replace(model.empty(), inputs={"image": image}, id=("",) * count)
        with torch.no_grad():
            points = model.decode(model(sample), sample).points
        keypoints, confidence = session.run(None, {"image": image.numpy()})
        np.testing.assert_allclose(keypoints, points.numpy(), atol=1e-2)
        assert confidence.tolist() == [[1.0] * 5] * count
    assert float(points.std(0).max()) > 0.1
