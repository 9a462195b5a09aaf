"""RMPE: any network inside answers in the crop's frame; what a parallel branch teaches, and where it is kept."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from keyshift.adapt.batch_norm import mix, seen_on
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.options import make
from keyshift.datasets.sample import transform
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.export import to_onnx, to_program
from keyshift.models.parts.spatial_transformer import in_pixels, inverse, lattice
from keyshift.models.pose_model import normalize
from keyshift.models.saved import MODELS, load_model, save_model
from keyshift.models.systems.pose_resnet import PoseResNet
from keyshift.models.systems.prtr import PRTR
from keyshift.models.systems.rmpe import RMPE, centred

RGB = Skeleton("rgb", ("red", "green", "blue"))
SIZE = (32, 32)
INSIDE = {
    "pose_resnet": {"backbone": "small", "heatmap_size": [8, 8], "channels": 16, "sigma": 1.0},
    "fast_pose": {"backbone": "small", "sigma": 1.0},
    "a2j": {"backbone": "small", "channels": 16, "depth_reach": 150.0},
    "dsnt": {"backbone": "small", "heatmap_size": [8, 8], "channels": 16},
    "prtr": {
        **{"backbone": "small", "width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 2, "hidden": 24},
        **{"queries": 6, "matching": 1.0},
    },
    "li_chan": {"backbone": "small", "channels": 8, "hidden": [16], "detection": 0.0},
}
THETA = torch.tensor([[0.8, -0.2, 0.1], [0.15, 0.7, -0.2]])


def build(name="pose_resnet", **options):
    torch.manual_seed(0)
    inside = {"name": name} | INSIDE[name]
    form = {"network": inside, "localisation": "small", "input_size": list(SIZE)}
    return RMPE(3, RMPE.Options(**form | options))


def turned(model, theta=THETA):
    """A network whose localisation says theta of every picture."""
    with torch.no_grad():
        model.localisation.linear.bias.copy_(theta.flatten())
    return model


def items(make_set, labeled, count=4):
    """A batch of crops as they are."""
    each = [make_set(count)[i] for i in range(count)]
    image = torch.stack([torch.from_numpy(item.image).permute(2, 0, 1) for item in each])
    return labeled(image, torch.stack([torch.from_numpy(item.keypoints).float() for item in each]))


def depth(model, count=4):
    draw = torch.Generator().manual_seed(0)
    image = 200 * torch.rand(count, 1, *SIZE[::-1], generator=draw) - 80
    inputs = {"image": image.clamp_max(100.0), "reach": torch.full((count,), 100.0)}
    return replace(model.empty(), inputs=inputs)


@pytest.fixture
def sample(dots, labeled):
    return items(dots, labeled)


@torch.no_grad()
@pytest.mark.parametrize("name", INSIDE)
def test_at_first_it_is_the_network_inside(name, sample):
    model = build(name).eval()
    sample = depth(model) if name == "a2j" else sample
    ours, theirs = model(sample), model.inner(sample)
    assert ours.grid == theirs.grid
    assert torch.allclose(ours.logits, theirs.logits, rtol=1e-4, atol=1e-4 * float(theirs.logits.abs().max()))
    if theirs.where is not None:
        assert torch.allclose(ours.where, theirs.where, atol=2e-3)
    for key in theirs.extra:
        assert torch.allclose(ours.extra[key], theirs.extra[key], atol=1e-3)
    points, wanted = (one.decode(one(sample), sample).points for one in (model, model.inner))
    assert torch.allclose(points, wanted, atol=1e-2)


class Reader(PoseResNet):
    """Its logits are what the picture shows in the middle of each cell: red, green and blue."""

    def features(self, sample):
        return sample.image[:, :, 1::4, 1::4] / 2 + sample.image[:, :, 2::4, 2::4] / 2

    def votes(self, features, sample, head=None):
        return super().votes(features, sample, nn.Identity())


@pytest.mark.parametrize("theta", [THETA, torch.eye(2, 3), torch.tensor([[1.0, 0.0, 0.2], [0.0, 1.0, -0.3]])])
def test_what_is_seen_comes_back_to_where_it_is(monkeypatch, labeled, theta):
    """Of a picture that rises evenly the network inside sees another one, and its maps are the picture's again."""
    monkeypatch.setitem(MODELS, "pose_resnet", Reader)
    model = turned(build(), theta).eval()
    y, x = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    ramps = torch.stack([x, y, 30 - 0.3 * x - 0.6 * y])
    sample = labeled(ramps[None] + 5, torch.zeros(1, 3, 2))
    with torch.no_grad():
        maps = model(sample).maps[0]
    cells = model.inner.grid.axis(0, ramps)
    wanted = torch.stack([cells.expand(8, 8), cells[:, None].expand(8, 8), 30 - 0.3 * cells - 0.6 * cells[:, None]])
    seen = transform(in_pixels(theta[None], SIZE), model_corners())[0]
    assert (seen - model_corners()[0]).abs().max() > 3 or torch.equal(theta, torch.eye(2, 3))
    places = lattice(model.inner.grid, theta[None])
    where = transform(inverse(in_pixels(theta[None], SIZE)), places)[0]
    seen_cells = ((where >= 2) & (where <= 30)).all(-1)
    seen_cells &= ((places[0] >= 3) & (places[0] <= 29)).all(-1)  # what is seen is the picture, not black
    assert seen_cells.sum() >= 12
    assert torch.allclose(maps[:, seen_cells] - 5, wanted[:, seen_cells], atol=0.01)


def model_corners():
    return torch.tensor([[[0.5, 0.5], [31.5, 31.5]]])


@torch.no_grad()
def test_outside_is_black_of_bytes_and_of_floats(sample):
    """A style that restyles gives floats; where the picture ends, both are black."""
    model = turned(build(), torch.tensor([[1.5, 0.0, 0.4], [0.0, 1.4, 0.0]])).eval()
    floats = replace(sample, inputs={"image": normalize(sample.image)})
    shown = [model.shown(one, model.theta(one)).image for one in (sample, floats)]
    assert torch.allclose(*shown, atol=1e-5)
    black = normalize(torch.zeros(1, 3, 1, 1, dtype=torch.uint8))
    assert torch.allclose(shown[0][:, :, :2], black.expand(4, 3, 2, 32), atol=1e-5)
    assert not torch.allclose(shown[0][:, :, 16], black[:, :, 0].expand(4, 3, 32), atol=0.5)


def test_the_loss_teaches_the_localisation_and_the_network(sample):
    model = turned(build()).train()
    nn.init.normal_(model.localisation.linear.weight, std=0.01)
    loss = model.loss(model(sample), sample)
    assert set(loss) == {"heatmap"}
    sum(loss.values()).backward()
    for name, group in model.groups().items():
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in group if p.dim() > 1), name
    assert set(model.groups()) == {"backbone", "upsampling", "head", "localisation"}
    owned = [id(p) for group in model.groups().values() for p in group]
    assert sorted(owned) == sorted(id(p) for p in model.parameters())
    assert model.head is model.inner.head


def test_theta_learns_by_its_exact_gradient(sample):
    """Against differences of the loss: through the picture, and through the way back."""
    torch.manual_seed(2)
    model = turned(build()).eval()
    nn.init.normal_(model.head.weight, std=0.5)
    bias = model.localisation.linear.bias
    loss = sum(model.loss(model(sample), sample).values())
    (gradient,) = torch.autograd.grad(loss, bias)
    for number in (0, 2, 4, 5):
        values = []
        for step in (-2e-3, 2e-3):
            there = deepcopy(model)
            with torch.no_grad():
                there.localisation.linear.bias[number] += step
                values.append(float(sum(there.loss(there(sample), sample).values())))
        assert float(gradient[number]) == pytest.approx((values[1] - values[0]) / 4e-3, rel=0.1, abs=0.02)


def test_features_that_are_cut_off_teach_no_theta(sample):
    model = turned(build()).train()
    votes = model.votes(model.features(sample).detach(), sample, model.new_head())
    votes.logits.sum().backward()
    assert all(p.grad is None for p in model.localisation.parameters())


def naive_centred(points, known, width, height):
    answer = []
    for person, seen in zip(points.tolist(), known.tolist(), strict=True):
        xs, ys = ([p[axis] for p, one in zip(person, seen, strict=True) if one] for axis in (0, 1))
        wide, high = max(1.3 * (max(xs) - min(xs)), 5), max(1.3 * (max(ys) - min(ys)), 5)
        scale = min(width / wide, height / high)
        x, y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
        answer.append([[(p[0] - x) * scale + width / 2, (p[1] - y) * scale + height / 2, *p[2:]] for p in person])
    return torch.tensor(answer)


def test_labels_of_a_person_in_the_middle():
    torch.manual_seed(0)
    points, known = 40 * torch.rand(5, 4, 3) - 5, torch.rand(5, 4) > 0.3
    known[0], known[1] = True, torch.tensor([True, False, False, False])  # one keypoint has no box
    assert torch.allclose(centred(points, known, (48, 64)), naive_centred(points, known, 48, 64), atol=1e-4)
    assert centred(points, known & False, (48, 64)).isfinite().all()


@pytest.fixture
def taught(tmp_path):
    """taught(**options): a network with a parallel branch, from a file of a trained one."""

    def make_one(**options):
        torch.manual_seed(5)
        trained = PoseResNet(3, PoseResNet.Options(**INSIDE["pose_resnet"], input_size=list(SIZE)))
        nn.init.normal_(trained.head.weight, std=0.3)
        for norm in (one for one in trained.modules() if isinstance(one, nn.BatchNorm2d)):
            norm.running_mean.normal_()
        save_model(tmp_path / "trained.pt", trained, RGB, 1)
        return trained.eval(), build(weights=str(tmp_path / "trained.pt"), parallel=True, **options)

    return make_one


def test_the_parallel_branch_is_a_frozen_copy_that_teaches_the_localisation_alone(taught, sample):
    trained, model = taught()
    turned(model.train())
    nn.init.normal_(model.localisation.linear.weight, std=0.01)
    with torch.no_grad():
        picture = model.shown(sample, model.theta(sample))
        assert torch.allclose(model.parallel(picture).logits, trained(picture).logits, atol=1e-3)
        wanted = trained.loss(
            trained(picture), replace(picture, keypoints=naive_centred(sample.keypoints, sample.annotated, *SIZE))
        )
    losses = model.loss(model(sample), sample)
    assert set(losses) == {"heatmap", "parallel"}
    assert float(losses["parallel"].detach()) == pytest.approx(float(wanted["heatmap"]), rel=1e-3)
    losses["parallel"].backward()
    taught_parts = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught_parts == {name for name, _ in model.named_parameters() if name.startswith("localisation.")}
    assert not any(p.requires_grad for p in model.parallel.parameters())


def test_nothing_moves_the_parallel_branch(taught, sample, iterate):
    """Neither training, nor what settles batch norm's statistics; and a state has it to the bit."""
    _, model = taught()
    before = {key: value.clone() for key, value in model.parallel.state_dict().items()}
    mixed = mix(model, seen_on(model, [sample.without_labels()] * 2, torch.device("cpu")), 0.5)
    optimization = Optimization("adam", 1e-2, {}, 0.0, gamma=0.0)
    strategy = RegDA(model, RGB, optimization, options=RegDA.Options(head_layers=1)).train()
    iterate(strategy, sample, sample.without_labels(), strategy.optimizers())
    for one in (model, mixed):
        assert all(torch.equal(value, before[key]) for key, value in one.parallel.state_dict().items())
    pairs = zip(model.inner.parameters(), mixed.inner.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)
    again, other = RegDA(taught()[1], RGB, optimization, options=RegDA.Options(head_layers=1)), strategy.state_dict()
    nn.init.zeros_(again.model.parallel.head.weight)
    again.load_state_dict(other)
    assert all(torch.equal(value, other[key]) for key, value in again.state_dict().items())


@pytest.mark.usefixtures("shallow")
def test_files_of_it(taught, sample, tmp_path):
    """A checkpoint keeps the parallel branch and needs no other file; what is exported has none."""
    pytest.importorskip("onnxruntime")
    model = turned(taught()[1].eval())
    save_model(tmp_path / "model.pt", model, RGB, 3)
    (tmp_path / "trained.pt").unlink()
    again = load_model(tmp_path / "model.pt")[0].eval()
    assert again.architecture == model.architecture
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    with torch.no_grad():
        assert torch.equal(again(sample).logits, model(sample).logits)
    plain = model.plain()
    assert plain.parallel is None
    assert not any(key.startswith("parallel") for key in plain.state_dict())
    assert model.parallel is not None
    assert to_onnx(model, SIZE, tmp_path / "model.onnx", RGB, "mean").most < 1e-3


@pytest.mark.usefixtures("shallow")
def test_candidates_for_each_cell_are_exported(tmp_path):
    model = turned(build("a2j")).eval()
    torch.manual_seed(1)
    for head in (one for one in model.head.modules() if isinstance(one, nn.Conv2d)):
        nn.init.normal_(head.weight, std=0.05)
    assert to_program(model, SIZE, tmp_path / "model.pt2", RGB).most < 1e-3


def pretrained(size=32, count=200):
    """Pictures of three dots in a triangle that fills them, (B, 3, H, W), and where they are."""
    draw = torch.Generator().manual_seed(0)
    corner = torch.tensor([[-0.35, 0.3], [0.35, 0.3], [0.0, -0.35]]) * size
    return corner + torch.randn(count, 3, 2, generator=draw) + size / 2


def picture(points, size=32):
    """Red, green and blue dots."""
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    away = (points[..., 0, None, None] - x) ** 2 + (points[..., 1, None, None] - y) ** 2
    return (255 * torch.exp(-away / 8)).to(torch.uint8)


def learn(model, part, loss, steps, rate, sample):
    optimizer = torch.optim.Adam(part.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model.loss(model(sample), sample)).backward()
        optimizer.step()


def test_the_localisation_learns_to_centre_people(labeled, tmp_path):
    """People as a trained network knows them stand in a corner, at 70 % of their size. After some updates of the
    localisation alone they are seen nearer to the middle, and larger, in pictures that it has not seen too."""
    torch.manual_seed(0)
    points = pretrained()
    trained = PoseResNet(3, PoseResNet.Options(**INSIDE["pose_resnet"], input_size=list(SIZE)))
    learn(trained.train(), trained, lambda one: one["heatmap"], 60, 3e-3, labeled(picture(points[:32]), points[:32]))
    save_model(tmp_path / "trained.pt", trained, RGB, 60)
    model = build(weights=str(tmp_path / "trained.pt"), parallel=True).train()
    draw = torch.Generator().manual_seed(1)
    away = 0.7 * points[40:] + 32 * 0.15 + torch.tensor([4.0, -4.0]) + torch.randn(160, 1, 2, generator=draw)
    learn(model, model.localisation, lambda one: one["parallel"], 40, 1.5e-3, labeled(picture(away[:32]), away[:32]))
    test = labeled(picture(away[64:]), away[64:])
    with torch.no_grad():
        theta = model.eval().theta(test)
    there = in_pixels(theta, SIZE)
    middle = (away[64:].amax(1) + away[64:].amin(1)) / 2
    looked = transform(there, torch.full((len(test), 1, 2), 16.0))[:, 0]
    assert (middle - 16).norm(dim=-1).mean() > 5
    assert (middle - looked).norm(dim=-1).mean() < 2.5
    scale = torch.linalg.det(theta[:, :, :2]).abs().sqrt().mean()
    assert 0.55 < scale < 0.9


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"name": "pose_resnte"}, r"model.network.name='pose_resnte' is not known; .* Did you mean pose_resnet\?"),
        ({"name": "rmpe"}, "model.network.name='rmpe' is not known"),
        ({"name": "pose_net"}, "model.network.name='pose_net' is not known"),
        ({"name": "pose_resnet", "sgma": 1}, r"unknown key model.network.sgma. Did you mean model.network.sigma\?"),
        ({"name": "pose_resnet", "channels": 0}, "model.network.channels=0 must be at least 1"),
        ({"name": "pose_resnet", "adapters": 3}, "model.network.adapters is said outside: model.adapters=3"),
        ({}, "model.network.name=None is not known"),
    ],
)
def test_networks_that_it_does_not_go_around(network, message):
    with pytest.raises(ValueError, match=message):
        make(RMPE.Options, {"network": network}) and RMPE(3, RMPE.Options(network=network))


def test_what_cannot_be_brought_back_is_refused():
    with pytest.raises(ValueError, match=r"li_chan: .* the detections of .* say model.network.detection=0, or another"):
        build("li_chan", network={"name": "li_chan"} | INSIDE["li_chan"] | {"detection": 0.5})
    with pytest.raises(ValueError, match=r"model.network.name='awr' is not known; choose one of") as refused:
        build(network={"name": "awr"})
    offered = set(str(refused.value).partition("choose one of ")[2].replace(".", "").split(", "))
    assert offered == {*INSIDE, "vitpose"}  # each of INSIDE is tried here; vitpose is a map of another library

    class Tagged(PoseResNet):
        def votes(self, features, sample, head=None):
            return replace(super().votes(features, sample, head), extra={"tags": features})

    model = build()
    model.inner.__class__ = Tagged
    with pytest.raises(ValueError, match=r"Tagged's votes hold tags besides, which cannot be moved"):
        model(model.empty())


def spoken(model):
    """Its classes say something, and its places are apart."""
    nn.init.normal_(model.head.class_embed.weight, std=0.5)
    nn.init.normal_(model.head.kpt_embed.layers[-1].weight, std=0.5)
    return model


def test_what_queries_say_in_every_layer_comes_back(sample):
    """Their places, as shares of the input, by theta, which is of coordinates from -1 to 1 in the middle of pixels;
    what they say they are stays."""
    model = spoken(turned(build("prtr"))).eval()
    with torch.no_grad():
        ours = model(sample)
        theirs = model.inner(model.shown(sample, model.theta(sample)))
    assert torch.equal(ours.extra["logs"], theirs.extra["logs"])
    places = theirs.extra["places"]
    for index in ((0, 0, 1), (2, 1, 4), (3, 1, 0)):
        x, y = (2 * (32 * float(share) - 0.5) / 31 - 1 for share in places[index])
        for axis, (a, b, c) in enumerate(THETA.tolist()):
            wanted = ((a * x + b * y + c + 1) / 2 * 31 + 0.5) / 32
            assert float(ours.extra["places"][index][axis]) == pytest.approx(wanted, abs=1e-4)
    last = 32 * ours.extra["places"][:, -1, :, None]
    assert torch.allclose(last, ours.where, atol=1e-3)
    assert (ours.where - theirs.where).abs().max() > 2


@pytest.mark.usefixtures("shallow")
def test_queries_and_the_localisation_learn_and_are_exported(sample, tmp_path):
    pytest.importorskip("onnxruntime")
    one_layer = {"name": "prtr"} | INSIDE["prtr"] | {"decoder_layers": 1}  # exporters take as long as there are layers
    model = spoken(turned(build("prtr", network=one_layer))).train()
    losses = model.loss(model(sample), sample)
    assert set(losses) == {"classes", "places"}
    (gradient,) = torch.autograd.grad(losses["places"], model.localisation.linear.bias)
    assert (gradient.abs() > 1e-3).all()
    first = float(sum(losses.values()).detach())
    learn(model, model, lambda one: sum(one.values()), 60, 3e-3, sample)
    with torch.no_grad():
        assert float(sum(model.loss(model(sample), sample).values())) < 0.5 * first
    assert to_onnx(model.eval(), SIZE, tmp_path / "model.onnx", RGB).most < 1e-3
    plain = model.plain()
    assert (plain.inner.one_to_one, model.inner.one_to_one) == (False, True)
    save_model(tmp_path / "model.pt", model, RGB, 3)
    with torch.no_grad():
        votes = load_model(tmp_path / "model.pt")[0].eval()(sample)
        assert torch.equal(votes.extra["places"], model(sample).extra["places"])


@pytest.mark.parametrize("name", ["regda", "mean_teacher", "keyshift"])
def test_strategies_adapt_it_around_queries(sample, tmp_path, iterate, name):
    """From a trained network's file, and with a parallel branch of that."""
    torch.manual_seed(0)
    inside = PRTR(3, PRTR.Options(**INSIDE["prtr"], input_size=list(SIZE)))
    save_model(tmp_path / "trained.pt", inside, RGB, 1)
    model = turned(build("prtr", weights=str(tmp_path / "trained.pt"), parallel=True))
    kind = STRATEGIES[name]
    model.train()
    assert set(model.loss(model(sample), sample)) == {"classes", "places", "parallel"}
    options = make(kind.Options, {"head_layers": 3} if name == "regda" else {})
    strategy = kind(model, RGB, Optimization("adam", 1e-3, {}, 0.0, gamma=0.0), options=options).train()
    before = deepcopy(strategy.model.state_dict())
    target = sample.without_labels()
    pair = (
        replace(one, views=(one,) * (kind.views[side] - 1)) for side, one in (("source", sample), ("target", target))
    )
    pair, optimizers = tuple(pair), strategy.optimizers()
    for _ in range(2):
        iterate(strategy, *pair, optimizers)
    moved = {key.split(".")[0] for key, value in strategy.model.state_dict().items() if not value.equal(before[key])}
    assert moved == {"inner", "localisation"}
    assert all(value.isfinite().all() for value in strategy.model.state_dict().values())


def test_files_that_do_not_fit(taught, tmp_path):
    taught()
    with pytest.raises(ValueError, match=r"has channels=16; the network inside channels=8: say what was trained"):
        build(
            weights=str(tmp_path / "trained.pt"),
            network={"name": "pose_resnet"} | INSIDE["pose_resnet"] | {"channels": 8},
        )
    with pytest.raises(ValueError, match=r"finds red, green, blue; the data has a, b, c"):
        build(weights=str(tmp_path / "trained.pt")).know(Skeleton("abc", ("a", "b", "c")))
    with pytest.raises(ValueError, match=r"no checkpoint at"):
        build(weights=str(tmp_path / "nothing.pt"))


def test_a_fresh_head(taught, sample):
    model = build()
    model.restart_head(2)
    assert (model.options.head_layers, len(model.head)) == (2, 4)
    assert model.architecture["head_layers"] == 2
    RMPE(3, make(RMPE.Options, model.architecture)).load_state_dict(model.state_dict())
    with pytest.raises(ValueError, match="keeps a head of 1 layers; a fresh one has 2"):
        taught()[1].restart_head(2)


def test_adapters_stand_in_the_network_inside(sample):
    model = build().with_adapters(2)
    assert model.options.adapters == 2
    assert not model.inner.backbone.stem[0].parametrizations.weight.original.requires_grad
    rebuilt = RMPE(3, make(RMPE.Options, model.architecture)).with_adapters(2)
    rebuilt.load_state_dict(model.state_dict())
    with torch.no_grad():
        merged = model.eval().plain()
        assert torch.allclose(merged(sample).logits, model(sample).logits, atol=1e-5)
