"""PRTR: matching, losses and decoding against loops, what unknown keypoints teach, and that it learns."""

from dataclasses import asdict, replace
from itertools import permutations

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring.evaluation import predict, scores
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.models.export import to_onnx
from keyshift.models.parts.hrnet import HRNETS, Form
from keyshift.models.pose_model import IMAGENET_MEAN, IMAGENET_STD, normalize
from keyshift.models.saved import load_model, save_model
from keyshift.models.systems import prtr
from keyshift.models.systems.prtr import (
    PRTR,
    Joined,
    as_bgr,
    class_losses,
    load_reference,
    matched,
    place_losses,
)

SMALL = {"width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 2, "hidden": 24, "queries": 6}
CPU, SIZE = torch.device("cpu"), (32, 32)


@pytest.fixture(autouse=True)
def backbone(toys, monkeypatch):
    monkeypatch.setattr(prtr, "build_backbone", lambda *_: toys.Tiny())


def build(keypoints=3, **options):
    torch.manual_seed(0)
    return PRTR(keypoints, PRTR.Options(**({"input_size": list(SIZE)} | SMALL | options)))


def spoken(people=2, layers=2, queries=5, keypoints=3):
    """What queries say, float64 with gradient: class logits and places; labels, and which of them are known."""
    torch.manual_seed(1)
    logits = 2 * torch.randn(people, layers, queries, keypoints + 1, dtype=torch.float64)
    places, truth = torch.rand(people, layers, queries, 2).double(), torch.rand(people, keypoints, 2).double()
    known = torch.ones(people, keypoints, dtype=torch.bool)
    known[0, 1] = False
    return logits.requires_grad_(), places.requires_grad_(), truth, known


def naive_match(logs, places, truth, known, distance=5.0):
    """The cheapest choice of one layer (Q, ...), of all choices of different queries for the known keypoints."""
    joints = [k for k in range(len(truth)) if known[k]]

    def cost(choice):
        pairs = zip(choice, joints, strict=True)
        return sum(distance * (places[q] - truth[k]).abs().sum().item() - logs[q, k].exp().item() for q, k in pairs)

    return dict(zip(joints, min(permutations(range(len(places)), len(joints)), key=cost), strict=True))


@pytest.mark.parametrize("distance", [5.0, 0.5])
def test_matching_is_the_cheapest_of_all_choices(distance):
    logits, places, truth, known = spoken()
    logs = logits.log_softmax(-1)
    query = matched(logs, places, truth, known, distance)
    for person in range(2):
        for layer in range(2):
            one = logs[person, layer], places[person, layer], truth[person], known[person], distance
            for k, q in naive_match(*one).items():
                assert query[person, layer, k] == q
            assert len(set(query[person, layer].tolist())) == 3


def naive_losses(logits, places, truth, known):
    """The formula of the file's head, one query at a time."""
    people, layers, queries, _ = logits.shape
    keypoints = truth.shape[1]
    classes, away = [], []
    for layer in range(layers):
        entropy = distance = 0.0
        for p in range(people):
            probability = logits[p, layer].softmax(-1)
            taken = naive_match(probability.log(), places[p, layer], truth[p], known[p])
            for q in range(queries):
                own = [k for k, query in taken.items() if query == q]
                if own:
                    entropy = entropy - probability[q, own[0]].log()
                    distance = distance + (places[p, layer, q] - truth[p, own[0]]).abs().sum()
                else:
                    unknown = [k for k in range(keypoints) if not known[p, k]]
                    entropy = entropy - 0.1 * probability[q, [*unknown, keypoints]].sum().log()
        classes.append(entropy / (people * (keypoints + 0.1 * (queries - keypoints))))
        away.append(distance / (people * 2))
    return torch.stack(classes), torch.stack(away)


def test_losses_and_their_gradients_are_those_of_the_formula():
    logits, places, truth, known = spoken()
    query = matched(logits.log_softmax(-1), places, truth, known, 5.0)
    ours = class_losses(logits.log_softmax(-1), query, known), place_losses(places, query, truth, known)
    wanted = naive_losses(logits, places, truth, known)
    weights = torch.tensor([1.0, 2.0]).double()  # layers apart
    gradients = [
        torch.autograd.grad((classes + 5 * away) @ weights, (logits, places), retain_graph=True)
        for classes, away in (ours, wanted)
    ]
    for one, other in zip((*ours, *gradients[0]), (*wanted, *gradients[1]), strict=True):
        torch.testing.assert_close(one, other)


def test_the_systems_loss_is_of_all_layers_in_shares_of_the_input(labeled):
    model = build().eval()
    points = torch.rand(4, 3, 2) * 30 + 1
    sample = labeled(torch.randint(0, 255, (4, 3, 32, 32), dtype=torch.uint8), points)
    votes = model(sample)
    classes, away = naive_losses(*map(votes.extra.get, ("logs", "places")), points / 32, sample.annotated)
    losses = model.loss(votes, sample)
    torch.testing.assert_close(losses["classes"], classes.sum())
    torch.testing.assert_close(losses["places"], 5 * away.sum())


def test_an_unknown_keypoint_teaches_nothing(labeled):
    """Wherever it is written to be, it takes no query; and a query may hold itself for it as well as for none."""
    model = build().eval()
    known = torch.tensor([[True, False, True]]).repeat(2, 1)
    points = torch.rand(2, 3, 2) * 30 + 1
    image = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    sample = labeled(image, points, known)
    losses = []
    for x in (0.0, 16.0, 900.0):
        points = points.clone()
        points[:, 1] = x
        changed = replace(sample, keypoints=points)
        losses.append(model.loss(model(changed), changed))
    assert losses[0] == losses[1] == losses[2]
    votes = model(sample)
    logs = votes.extra["logs"]
    moved = replace(votes, extra=dict(votes.extra, logs=logs[..., [0, 3, 2, 1]]))
    torch.testing.assert_close(model.loss(moved, sample)["classes"], losses[0]["classes"])
    everything = replace(sample, annotated=torch.ones_like(known))
    assert model.loss(moved, everything)["classes"] != model.loss(votes, everything)["classes"]


def test_a_label_outside_of_the_input_counts_as_unknown(labeled):
    model, points = build().eval(), torch.full((1, 3, 2), 16.0)
    points[0, 0, 0] = 40.0
    sample = labeled(torch.zeros(1, 3, 32, 32), points)
    assert model.counted(sample).tolist() == [[False, True, True]]
    unknown = replace(sample, annotated=torch.tensor([[False, True, True]]))
    assert model.loss(model(sample), sample) == model.loss(model(unknown), unknown)


def test_the_reference_matches_unknown_keypoints_to_what_is_written(labeled):
    model = build(reference=True).eval()
    known = torch.tensor([[True, False, True]]).repeat(2, 1)
    points = torch.rand(2, 3, 2) * 30 + 1
    sample = labeled(torch.zeros(2, 3, 32, 32), points, known)
    votes = model(sample)
    logs, places = votes.extra["logs"], votes.extra["places"]
    classes, _ = naive_losses(logs, places, (points - 0.5) / 32, torch.ones_like(known))
    torch.testing.assert_close(model.loss(votes, sample)["classes"], classes.sum())
    query = matched(logs, places, (points - 0.5) / 32, torch.ones_like(known), 5.0)
    chosen = places.gather(2, query[..., None].expand(-1, -1, -1, 2))
    away = ((chosen * 32 + 0.5 - points[:, None]).abs() / 32).mean(-1)[..., known[0]].sum(-1).mean(0)
    torch.testing.assert_close(model.loss(votes, sample)["places"], 5 * away.sum())


def test_a_loss_that_is_not_finite_is_seen_as_one(labeled):
    """Not as an error of the matching: the run says at which step and of which samples."""
    model = build()
    torch.nn.init.constant_(model.head.class_embed.weight, torch.nan)
    sample = labeled(torch.zeros(1, 3, 32, 32), torch.full((1, 3, 2), 16.0))
    losses = model.loss(model(sample), sample)
    assert losses["classes"].isnan()


# Votes and decoding


def test_each_keypoint_takes_a_query_of_its_own(labeled):
    """Of three queries that all look like the first keypoint, two become others; an export takes the likeliest."""
    model = build(queries=3).eval()
    votes = model(labeled(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 2)))
    sure = torch.tensor([[0.6, 0.3, 0.05], [0.5, 0.1, 0.3], [0.4, 0.35, 0.2]])
    where = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    votes = replace(votes, logits=sure.log()[None], where=where[None, :, None])
    poses = model.decode(votes, None)
    best = max(permutations(range(3)), key=lambda choice: sum(sure[q, k].item() for k, q in enumerate(choice)))
    assert best == (0, 2, 1)
    torch.testing.assert_close(poses.points[0], where[list(best)])
    torch.testing.assert_close(poses.confidence[0], sure[list(best), [0, 1, 2]])
    alone = model.plain().decode(votes, None)
    torch.testing.assert_close(alone.points[0], where[[0, 2, 1]])
    torch.testing.assert_close(
        model.plain().decode(replace(votes, logits=sure.log()[None, :, [0, 0, 0]]), None).points, where[[0, 0, 0]][None]
    )
    torch.testing.assert_close(model.decode(votes, None).points, poses.points)  # the network itself is as it was


def test_votes_are_comparable_between_queries(labeled):
    """What is added to all logits of a query, which no loss sees, changes no vote; a query that is none is a low
    one."""
    model = build().eval()
    sample = labeled(torch.randint(0, 255, (1, 3, 32, 32), dtype=torch.uint8), torch.zeros(1, 3, 2))
    before = model(sample)
    with torch.no_grad():
        model.head.class_embed.bias.add_(3.0)
    after = model(sample)
    torch.testing.assert_close(before.logits, after.logits)
    assert before.logits.shape == (1, 6, 3)
    assert before.where.shape == (1, 6, 1, 2)
    with torch.no_grad():
        model.head.class_embed.bias[3] += 20.0
    assert (model(sample).logits < before.logits - 5).all()


def test_a_fresh_head_asks_with_what_was_learned():
    model = build()
    torch.nn.init.normal_(model.head.query_embed.weight)
    fresh = model.new_head(2)
    assert len(fresh.kpt_embed.layers) == 2
    own, given = fresh.state_dict(), model.head.state_dict()
    for key, value in own.items():
        learned = key.startswith(("decoder.", "query_embed."))
        assert torch.equal(value, given[key]) if learned else key.endswith("bias") or not torch.equal(value, given[key])
    assert not {id(p) for p in fresh.parameters()} & {id(p) for p in model.parameters()}


# Released networks


def test_released_resnets_see_channels_in_the_other_order():
    image = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    wanted = (image[:, [2, 1, 0]].float() / 255 - mean) / std
    torch.testing.assert_close(as_bgr(normalize(image)), wanted, atol=1e-5, rtol=1e-5)
    seen = []
    model = build(reference=True)
    assert model.bgr  # its name says resnet50
    model.encode = lambda picture: seen.append(picture)
    model.features(replace(model.empty(), inputs={"image": image.repeat(1, 1, 8, 8)}))
    torch.testing.assert_close(seen[0], wanted.repeat(1, 1, 8, 8), atol=1e-5, rtol=1e-5)
    assert not build(reference=True, backbone="small").bgr


def reference_keys(model):
    """Its state under the reference's keys."""
    mapped = {ours: theirs for theirs, ours in prtr.KEYS.items()}
    state = {}
    for key, value in model.state_dict().items():
        begin = max((begin for begin in mapped if key.startswith(begin)), key=len)
        state[mapped[begin] + key.removeprefix(begin)] = value
    return state


@torch.no_grad()
def test_hrnets_branches_become_one_map(monkeypatch):
    """Against the formula, layer by layer; and the released form's keys and 57,234,004 parameters."""
    tiny = Form(4, 1, (1, 1, 1), "")
    monkeypatch.setitem(HRNETS, "hrnet_tiny", tiny)
    torch.manual_seed(0)
    body = Joined("hrnet_tiny").eval()
    image = torch.randn(2, 3, 64, 32)
    branches = body.branches(image)
    total = body.incre_modules[0](branches[0])
    for i in range(3):
        total = body.incre_modules[i + 1](branches[i + 1]) + body.downsamp_modules[i](total)
    torch.testing.assert_close(body(image), body.final_layer(total))
    assert body(image).shape == (2, 2048, 2, 1)
    model = build(backbone="hrnet_tiny", input_size=[32, 64])
    again = load_reference(reference_keys(model), (32, 64), heads=2)
    assert again.options.backbone == "hrnet_tiny"
    assert not again.options.frozen
    assert not again.bgr
    torch.testing.assert_close(again.features(again.empty()), model.eval().features(model.empty()))
    with torch.device("meta"):
        published = PRTR(17, PRTR.Options(backbone="hrnet_w32"))
    assert sum(p.numel() for p in published.parameters()) == 57_234_004
    names = {key.removeprefix("backbone.0.body.").split(".")[0] for key in reference_keys(published) if "0.body" in key}
    wanted = {"conv1", "bn1", "conv2", "bn2", "layer1", "incre_modules", "downsamp_modules", "final_layer"}
    assert names == wanted | {f"stage{i + 2}" for i in range(3)} | {f"transition{i + 1}" for i in range(3)}


@torch.no_grad()
def test_imagenets_weights_are_of_the_whole_network(tmp_path):
    """timm's network of classification as a second implementation; of a file of the body alone the rest stays."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("hrnet_w18_small_v2").eval()
    state = network.state_dict()
    rest = ("incre_modules.", "downsamp_modules.", "final_layer.")
    body = {key: value for key, value in state.items() if not key.startswith(rest)}
    part = {key: value for key, value in state.items() if not key.startswith(rest[1:])}
    for name, content in (("whole", state), ("body", body), ("part", part)):
        torch.save(content, tmp_path / f"{name}.pt")
    image = torch.rand(2, 3, 64, 96)
    ours = Joined("hrnet_w18_small", str(tmp_path / "whole.pt")).eval()
    torch.testing.assert_close(ours(image), network.forward_features(image), atol=1e-5, rtol=1e-5)
    ours = Joined("hrnet_w18_small", str(tmp_path / "body.pt")).state_dict()
    same = {key for key, value in ours.items() if torch.equal(value, state[key])}
    assert same >= {key for key in body if key in ours}
    assert not any(key.endswith("conv1.weight") for key in same if key.startswith(rest))
    with pytest.raises(ValueError, match=r"not weights of hrnet_w18_small: .* missing: downsamp_modules"):
        Joined("hrnet_w18_small", str(tmp_path / "part.pt"))


def test_other_checkpoints_are_refused():
    with pytest.raises(
        ValueError, match=r"not a PRTR checkpoint: found 1 entries such as \['foreign'\]; expected class"
    ):
        load_reference({"foreign": torch.zeros(1)})


def test_frozen_means_norms_and_first_layers(labeled, toys, monkeypatch):
    class Resnet(toys.Tiny):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1, self.rest = self.layers[0], self.layers[1], self.layers[2:]
            del self.layers

        def forward(self, image):
            return self.rest(self.bn1(self.conv1(image)))

    monkeypatch.setattr(prtr, "build_backbone", lambda *_: Resnet())
    sample = labeled(torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8), torch.rand(2, 3, 2) * 32)
    learns = {}
    for frozen in (True, False):
        model = build(frozen=frozen).train()
        model.freeze_statistics()  # keeps what is frozen so
        model.train()
        before = model.backbone.bn1.running_mean.clone()
        sum(model.loss(model(sample), sample).values()).backward()
        assert torch.equal(before, model.backbone.bn1.running_mean) == frozen
        learns[frozen] = {name for name, p in model.backbone.named_parameters() if p.grad is not None}
        assert model.groups()["backbone"] == [p for p in model.backbone.parameters() if p.requires_grad]
    assert learns == {
        True: {"rest.3.weight", "rest.6.weight"},
        False: {name for name, _ in build().backbone.named_parameters()},
    }


# Use


def trained(model, data, count):
    """After `count` updates on ten batches again and again."""
    drawn = TrainingBatches(data, "source", 0, 16, SIZE, Augmentation(rotation=20), True)
    batches = [drawn[step] for step in range(min(count, 10))]
    rates = [{"params": parts, "lr": 5e-3 if name == "backbone" else 1e-3} for name, parts in model.groups().items()]
    optimizer = torch.optim.Adam(rates)
    model.train()
    for step in range(count):
        sample = batches[step % len(batches)]
        losses = model.loss(model(sample), sample)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    return model


def test_it_learns(dots):
    """On new pictures; chance is below a tenth."""
    model = trained(build(width=64, heads=8, hidden=64, matching=1.0), dots(160), 100)
    test = EvaluationBatches(dots(64, first=1000), 64, SIZE)[0]
    assert scores(predict(model, [test], CPU), dots.skeleton, 0.1)["pck"] > 0.25


@pytest.mark.parametrize("name", suited(["image"]))
def test_two_updates_of_every_strategy_in_half_precision(dots, two_updates, name):
    """What moves is the network."""
    optimization = Optimization("adam", 1e-3, {}, 0.0, gamma=0.0)
    strategy = STRATEGIES[name](build(), dots.skeleton, optimization).train()
    data = {"source": dots(8), "target": dots(8, "shifted")}
    changed, _ = two_updates(strategy, data, SIZE, Augmentation(rotation=20))
    assert bool(changed) == (name != "given")


def test_a_file_of_it(dots, tmp_path):
    model = trained(build(head_layers=2), dots(16), 2).eval()
    save_model(tmp_path / "model.pt", model, dots.skeleton, 2)
    again, _ = load_model(tmp_path / "model.pt")
    assert asdict(again.eval().options) == asdict(model.options)
    sample = EvaluationBatches(dots(4), 4, SIZE)[0]
    with torch.no_grad():
        torch.testing.assert_close(
            again.decode(again(sample), sample).points, model.decode(model(sample), sample).points
        )


def test_onnxruntime_answers_as_pytorch(dots, tmp_path):
    import onnxruntime

    model = trained(build(decoder_layers=1), dots(64), 10).eval()
    to_onnx(model, SIZE, tmp_path / "prtr.onnx", dots.skeleton)
    session = onnxruntime.InferenceSession(str(tmp_path / "prtr.onnx"), providers=["CPUExecutionProvider"])
    sample = EvaluationBatches(dots(5, first=50), 5, SIZE)[0]
    points, confidence = session.run(None, {"image": sample.image.numpy()})
    with torch.no_grad():
        votes = model(sample)
    poses = model.plain().decode(votes, sample)
    np.testing.assert_allclose(points, votes.peak(), atol=1e-3)
    np.testing.assert_allclose(points, poses.points, atol=1e-3)
    np.testing.assert_allclose(confidence, poses.confidence, atol=1e-4)
    notes = session.get_modelmeta().custom_metadata_map
    assert "likeliest query by itself" in notes["queries"]


def test_what_does_not_fit():
    with pytest.raises(ValueError, match=r"model.queries=2: 3 keypoints need as many queries, or more"):
        build(queries=2)
    with pytest.raises(ValueError, match=r"model.input_size 30x32 must be a multiple of 4, the backbone's stride"):
        PRTR(3, PRTR.Options(input_size=[30, 32]))
    with pytest.raises(ValueError, match=r"a transformer's width 18 must be even and a multiple of its 4 heads"):
        build(width=18, heads=4)
