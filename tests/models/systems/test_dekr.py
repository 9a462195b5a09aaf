"""DEKR beyond its golden values: labels and losses against loops, mirror images and scales, learning, every edge."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.adapt.methods.keyshift import Keyshift
from keyshift.adapt.scoring.evaluation import predict, scores
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.sample import MASK, Labeled
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.export import Decoded, to_onnx
from keyshift.models.parts.adaptive import AdaptBlock
from keyshift.models.saved import load_model, save_model
from keyshift.models.systems import dekr_labels
from keyshift.models.systems.dekr import DEKR

CPU = torch.device("cpu")
SMALL = {"loss_weight": 1.0, "backbone": "small", "channels": 16, "keypoint_channels": 4, "head_layers": 1, "radius": 1}
SMALL |= {"sigma": 1.0, "center_sigma": 1.0, "threshold": 0.1}


def build(keypoints=3, size=(32, 32), **options):
    torch.manual_seed(0)
    return DEKR(keypoints, DEKR.Options(**({"input_size": list(size)} | SMALL | options)))


def batch(points, image_index, images, size=(32, 32), annotated=None, **more):
    """A batch of noise with people (P, K, 2) px."""
    known = torch.ones(points.shape[:2], dtype=torch.bool) if annotated is None else annotated
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (images, 3, size[1], size[0]), dtype=torch.uint8, generator=generator)
    one = torch.ones(images)
    inputs = {"image": picture} | {name: more.pop(name) for name in [MASK] if name in more}
    return Labeled(
        inputs,
        ("",) * images,
        ("",) * images,
        torch.arange(images),
        torch.ones(images, 4),
        more.pop("to_file", torch.eye(2, 3).repeat(images, 1, 1)),
        one,
        torch.arange(images),
        keypoints=points,
        visible=known,
        annotated=known,
        image_index=torch.as_tensor(image_index),
        **more,
    )


def crowd(people, images, keypoints=3, size=32, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, size, (people, 1, 2)) + rng.normal(0, size / 6, (people, keypoints, 2))
    image_index = np.sort(rng.integers(0, images, people))
    known = torch.from_numpy(rng.random((people, keypoints)) > 0.2)
    return batch(torch.from_numpy(points).float(), image_index, images, (size, size), known)


def heatmaps_by_loops(cells, drawn, sigmas, image_index, images, shape):
    heat, covered = np.zeros((images, len(sigmas), *shape)), np.zeros((images, len(sigmas), *shape), bool)
    for person, image in enumerate(image_index):
        for k, sigma in enumerate(sigmas):
            if not drawn[person, k]:
                continue
            x0, y0 = cells[person, k]
            for y in range(max(0, math.floor(y0 - 3 * sigma - 1)), min(math.ceil(y0 + 3 * sigma + 2), shape[0])):
                for x in range(max(0, math.floor(x0 - 3 * sigma - 1)), min(math.ceil(x0 + 3 * sigma + 2), shape[1])):
                    value = math.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma**2))
                    heat[image, k, y, x] = max(heat[image, k, y, x], value)
                    covered[image, k, y, x] = True
    return heat, covered


def owners_by_loops(cells, centers, known, area, image_index, images, radius, shape, published):
    """Whose each cell is: by the smallest area, or as the published code goes through people, keypoints and cells."""
    owner = np.full((images, known.shape[1], *shape), -1)
    kept_area, kept_offset = np.zeros((images, *shape)), np.zeros((images, known.shape[1], 2, *shape))
    for person, image in enumerate(image_index):
        left, top = (int(v) for v in centers[person])
        for k in range(known.shape[1]):
            if not known[person, k]:
                continue
            for x in range(max(left - radius, 0), min(left + radius, shape[1])):
                for y in range(max(top - radius, 0), min(top + radius, shape[0])):
                    before = owner[image, k, y, x]
                    if published:
                        if kept_offset[image, k, :, y, x].any() and kept_area[image, y, x] < area[person]:
                            continue
                        kept_offset[image, k, :, y, x] = (x, y) - cells[person, k]
                        kept_area[image, y, x] = area[person]
                    elif before >= 0 and area[before] < area[person]:
                        continue
                    owner[image, k, y, x] = person
    return owner


@pytest.mark.parametrize("people", [0, 1, 7, 100])
def test_labels(people):
    """Of crowds with keypoints on whole cells, where offsets are exactly 0, and with people of the same area."""
    rng = np.random.default_rng(people)
    images, keypoints, shape = 3, 4, (13, 17)
    centers = rng.uniform(0, (17, 13), (people, 2))
    cells = centers[:, None] + rng.normal(0, 4, (people, keypoints, 2))
    cells[::2] = cells[::2].round()
    known = rng.random((people, keypoints)) > 0.3
    known &= ((cells >= 0) & (cells < (17, 13))).all(-1)
    area, image_index = rng.integers(1, 9, people) / 2.0, np.sort(rng.integers(0, images, people))
    tensors = [torch.from_numpy(np.asarray(part)) for part in (cells, centers, known, area, image_index)]
    place = images, 3, shape
    wanted = [
        owners_by_loops(cells, centers, known, area, image_index, *place, published) for published in (False, True)
    ]
    ours = dekr_labels.owners(*tensors[1:], *place), dekr_labels.owners_by_turns(*tensors, *place)
    for mine, loops in zip(ours, wanted, strict=True):
        np.testing.assert_array_equal(mine.numpy(), loops)
    if people == 100:
        assert (wanted[0] != wanted[1]).any()  # the published turns are another rule
    offsets, weight = dekr_labels.offsets(ours[0], tensors[0], tensors[3])
    for image, k, y, x in np.argwhere(wanted[0] >= 0):
        person = wanted[0][image, k, y, x]
        np.testing.assert_allclose(offsets[image, k, :, y, x], (x, y) - cells[person, k])
        assert weight[image, k, y, x] == pytest.approx(area[person] ** -0.5)
    assert torch.equal(weight > 0, torch.from_numpy(wanted[0] >= 0))
    assert not offsets.movedim(2, -1)[weight == 0].any()
    sigmas = [1.0, 1.5, 0.7, 2.0]
    heat, covered = dekr_labels.heatmaps(*tensors[:1], tensors[2], sigmas, tensors[4], images, shape)
    loops = heatmaps_by_loops(cells, known, sigmas, image_index, images, shape)
    np.testing.assert_allclose(heat.numpy(), loops[0], atol=1e-12)
    np.testing.assert_array_equal(covered.numpy(), loops[1])


def loss_by_loops(model, votes, sample):
    """Heatmap and offset losses (no 0.03), float64, from maps (B, K + 1, H, W) and (B, K, 2, H, W)."""
    maps = torch.cat([votes.maps / 20, votes.extra["center"][:, None]], 1)
    labels = model.labels(sample)
    parts = (part.flatten() for part in (labels.weight, maps, labels.heat))
    heat = sum(w * (m - g) ** 2 for w, m, g in zip(*parts, strict=True))
    total, count = 0, 0
    for image, k, y, x in (labels.near > 0).nonzero().tolist():
        for axis in range(2):
            away = (votes.extra["offsets"] - labels.offsets)[image, k, axis, y, x].abs()
            value = 0.5 * away**2 * 9 if away < 1 / 9 else away - 0.5 / 9
            total, count = total + value * labels.near[image, k, y, x], count + 1
    return heat / maps.numel(), total / max(count, 1)


def test_losses_and_their_gradients():
    model, sample = build().double(), crowd(6, 2)
    sample = replace(sample, keypoints=sample.keypoints.double(), to_file=sample.to_file.double())
    features = model.features(replace(sample, inputs={"image": torch.rand(2, 3, 32, 32).double()}))
    votes = model.votes(features, sample)
    leaves = [
        torch.randn_like(part).double().requires_grad_()
        for part in (votes.logits, votes.extra["center"], votes.extra["offsets"])
    ]
    votes = replace(votes, logits=leaves[0], extra={"center": leaves[1], "offsets": leaves[2]})
    ours, (heat, offset) = model.loss(votes, sample), loss_by_loops(model, votes, sample)
    for name, wanted in (("heatmap", heat), ("offset", 0.03 * offset)):
        torch.testing.assert_close(ours[name].double(), wanted, rtol=1e-6, atol=0)
        mine, theirs = (
            torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True) for loss in (ours[name], wanted)
        )
        for a, b in zip(mine, theirs, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a.double(), b, rtol=1e-6, atol=1e-12)
    assert offset > 0


def test_what_a_person_weighs():
    """The square of the diagonal of the known keypoints' box, px of the input, wherever the person stands and however
    the picture is cut; as published, of the lowest and rightmost ones' places in the file."""
    points = torch.tensor([[[10.0, 10.0], [40.0, 50.0], [90.0, 90.0]]])
    known = torch.tensor([[True, True, False]])
    doubled = torch.tensor([[[2.0, 0.0, 300.0], [0.0, 2.0, 100.0]]])
    for to_file in (torch.eye(2, 3)[None], doubled):
        sample = batch(points, [0], 1, (96, 96), known, to_file=to_file)
        assert build(size=(96, 96)).areas(sample).item() == pytest.approx(30**2 + 40**2)
    published = build(size=(96, 96), reference=True)
    assert published.areas(sample).item() == pytest.approx((380**2 + 200**2) / 4)
    one = batch(points, [0], 1, (96, 96), torch.tensor([[True, False, False]]))
    assert build(size=(96, 96)).areas(one).item() == 8**2  # the window's own size
    assert build(size=(96, 96), radius=4).areas(one).item() == 32**2


def test_people_without_a_centre():
    """Those that are small in the file, where it says so, and those of whom nothing is known; they still have
    heatmaps."""
    points = torch.tensor(
        [[[10.0, 10], [14, 14], [12, 12]], [[20.0, 20], [28, 28], [22, 24]], [[5.0, 5], [6, 6], [7, 7]]]
    )
    known = torch.tensor([[True] * 3, [True] * 3, [False] * 3])
    more = {"area": torch.tensor([50.0, 200.0, 900.0]), "bounds": torch.zeros(3, 4), "crowd": torch.zeros(3).bool()}
    sample = batch(points, [0, 0, 0], 1, (32, 32), known, **more)
    all_of_them, large = build().labels(sample), build(smallest=100.0).labels(sample)
    assert torch.equal(all_of_them.heat[:, :3], large.heat[:, :3])
    assert all_of_them.heat[0, 3].max() > 0.8 < large.heat[0, 3].max()
    assert large.heat[0, 3, 2, 2] < 0.1 < all_of_them.heat[0, 3, 2, 2]
    assert 0 < (large.near > 0).sum() < (all_of_them.near > 0).sum()
    assert all_of_them.heat[0, :, 1, 1].max() < 0.5  # nobody knows of the third


def test_the_published_code_in_detail():
    """Cells stand at every fourth pixel, and keypoints from the 18th on are drawn as wide as centres, centres of fewer
    as keypoints."""
    ours, published = build(14), build(14, reference=True)
    assert ours.grid.origin == (2.0, 2.0)
    assert published.grid.origin == (0.5, 0.5)
    wide = {"sigma": 1.0, "center_sigma": 2.0}
    assert build(14, **wide).sigmas() == [1.0] * 14 + [2.0]
    assert build(14, reference=True, **wide).sigmas() == [1.0] * 15
    assert build(17, reference=True, **wide).sigmas() == [1.0] * 17 + [2.0]
    assert build(19, reference=True, **wide).sigmas() == [1.0] * 17 + [2.0] * 3
    edge = batch(torch.tensor([[[0.2, 16.0], [16.0, 16.0], [30.4, 16.0]]]), [0], 1)
    assert build().counted(edge).tolist() == [[True, True, True]]
    assert build(reference=True).counted(edge).tolist() == [[False, True, True]]


def test_branches_are_groups():
    """All keypoints' blocks at once answer as each by itself."""
    torch.manual_seed(0)
    block, features = AdaptBlock(3, 5).double(), torch.randn(2, 15, 7, 9).double()
    for layer in (block.transform_matrix_conv, block.translation_conv):
        torch.nn.init.normal_(layer.weight, std=0.2)
    whole = block(features)
    for k in range(3):
        one = AdaptBlock(1, 5).double()
        for name, value in block.state_dict().items():
            shared = name in ("regular_matrix", "bn.num_batches_tracked")
            rows = len(value) // 3 if value.dim() else 0
            one.state_dict()[name].copy_(value if shared else value[rows * k : rows * (k + 1)])
        one.bn.running_mean.zero_()
        one.bn.running_var.fill_(1)
        torch.testing.assert_close(one(features[:, 5 * k : 5 * k + 5]), whole[:, 5 * k : 5 * k + 5])


def test_taps_begin_at_the_pixel():
    block, features = AdaptBlock(2, 3), torch.randn(1, 6, 5, 5)
    steps = block.steps(features).unflatten(1, (2, 9, 2))
    taps = torch.tensor([[y, x] for y in (-1.0, 0, 1) for x in (-1.0, 0, 1)])
    assert torch.equal(steps, -taps[None, None, :, :, None, None].expand_as(steps))


def blind(model):
    """The network with random offsets, and heat that is above 0: it sees people everywhere."""
    torch.manual_seed(1)
    for layer in (model.head.offset_final_layer, model.head.head_heatmap[-1]):
        torch.nn.init.normal_(layer.weight, std=0.3)
        torch.nn.init.uniform_(layer.bias, 0.1, 0.6)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("scales", [[1.0], [0.5, 1.0, 2.0]])
def test_mirror_images(scales):
    """The mean over a picture and its mirror image is the same, mirrored, for the mirror image."""
    model, flip = blind(build(size=(64, 48), scales=scales, near=0.3)), [0, 2, 1]
    sample = batch(torch.rand(1, 3, 2), [0], 2, (64, 48))
    there = replace(sample, inputs={"image": sample.image.flip(-1)})
    votes, turned = (model.with_mirrored(model(one), one, flip) for one in (sample, there))
    turns = torch.tensor([-1.0, 1.0])[:, None, None]
    for one, other in zip(*([v, *v.extra["more"]] for v in (votes, turned)), strict=True):
        torch.testing.assert_close(other.maps.flip(-1)[:, flip], one.maps)
        torch.testing.assert_close(other.extra["center"].flip(-1), one.extra["center"])
        torch.testing.assert_close(turns * other.extra["offsets"].flip(-1)[:, flip], one.extra["offsets"])
    poses, turned_poses = model.decode(votes, sample), model.decode(turned, there)
    assert len(poses) == len(turned_poses) > 4
    assert not torch.allclose(model(sample).maps, votes.maps)


def test_evaluation_looks_at_mirror_images(toys):
    """`flip_test` reads people from the maps of both."""
    model = blind(build())
    people = EvaluationBatches(toys.Scenes(toys.Scenes.Options(), "test"), 12, (32, 32))[0]
    plain, both = (predict(model, [people], CPU, mirror) for mirror in (None, toys.DOTS.flip))
    with torch.no_grad():
        votes = model(people)
        wanted = [model.decode(one, people) for one in (votes, model.with_mirrored(votes, people, toys.DOTS.flip))]
    for predictions, poses in zip((plain, both), wanted, strict=True):
        assert int(predictions.matched.sum()) + predictions.invented == len(poses) - unlabelled(poses, people)
    assert not torch.equal(plain.points, both.points)


def unlabelled(poses, sample):
    """How many people were found in pictures of which people, but no keypoint is known: nobody counts there."""
    listed = torch.bincount(sample.image_index, minlength=len(sample))
    known = torch.bincount(sample.image_index[sample.annotated.any(1)], minlength=len(sample))
    return int(((listed > 0) & (known == 0))[poses.image_index].sum())


@torch.no_grad()
def test_mirror_images_as_published():
    """The mirrored picture is moved by three pixels, the last three staying; means are of maps as they come back."""
    model, flip = blind(build(reference=True)), [0, 2, 1]
    sample = batch(torch.rand(1, 3, 2), [0], 1)
    image = sample.image.flip(-1).clone()
    image[:, :, :, :-3] = image[:, :, :, 3:].clone()
    here, there = model(sample), model(replace(sample, inputs={"image": image}))
    merged = model.with_mirrored(here, sample, flip)
    torch.testing.assert_close(merged.maps, (here.maps + there.maps.flip(-1)[:, flip]) / 2)
    columns = torch.arange(8.0)
    for k in range(3):
        pose = columns - here.extra["offsets"][0, k, 0]
        mirrored = (8 - (columns - there.extra["offsets"][0, flip[k], 0]) - 1).flip(-1)
        torch.testing.assert_close(columns - merged.extra["offsets"][0, k, 0], (pose + mirrored) / 2)


@torch.no_grad()
def test_scales():
    """A network that only looks at its own pixel says the same at all scales, in pixels of the input; while it learns
    it looks at one."""
    model = blind(build(size=(64, 32), scales=[2.0, 1.0, 0.5]))
    sample = batch(torch.rand(1, 3, 2), [0], 1, (64, 32))
    votes = model(sample)
    assert [tuple(one.grid.shape) for one in votes.extra["more"]] == [(16, 32), (4, 8)]
    assert [one.grid.stride for one in votes.extra["more"]] == [(2.0, 2.0), (8.0, 8.0)]
    for one in votes.extra["more"]:  # the same picture: its corners lie where they lay
        last = one.grid.to_points(torch.tensor(one.grid.shape[::-1]) - 0.5)
        assert last.tolist() == [64.0, 32.0]
    assert "more" not in model.train()(sample).extra


@torch.no_grad()
@pytest.mark.parametrize(("scale", "side"), [(0.75, 32), (0.1, 8), (1.5, 72)])
def test_scales_at_which_no_cell_is_cut(scale, side):
    """48 px at 0.75 are 36, of which a backbone of stride 8 makes as many cells as of 40."""
    model = build(size=(48, 48), scales=[1.0, scale]).eval()
    sample = batch(torch.rand(1, 3, 2), [0], 1, (48, 48))
    assert model.scaled(sample.image.float(), scale).shape[-2:] == (side, side)
    (more,) = model(sample).extra["more"]
    assert more.grid.shape == (side // 4, side // 4)
    assert more.grid.stride == (48 / side * 4, 48 / side * 4)


def learn(toys, steps=320, size=64):
    model = build(size=(size, size), channels=32, keypoint_channels=8, radius=2).train()
    scenes = {p: toys.Scenes(toys.Scenes.Options(train=64, test=24, size=size), p) for p in ("train", "test")}
    batches = TrainingBatches(scenes["train"], "source", 0, 8, (size, size), Augmentation(10, [0.95, 1.0], 0, 0), True)
    test = [EvaluationBatches(scenes["test"], 24, (size, size))[0]]
    optimizer, results = torch.optim.Adam(model.parameters(), 5e-3), []
    falls = torch.optim.lr_scheduler.MultiStepLR(optimizer, [steps - 60], 0.2)
    for step in range(steps + 1):
        if step in (0, steps):
            results.append(scores(predict(model, test, CPU), toys.DOTS, 0.1))
        sample = batches[step]
        optimizer.zero_grad()
        sum(model.loss(model(sample), sample).values()).backward()
        optimizer.step()
        falls.step()
    return results


@pytest.mark.usefixtures("shallow")
def test_it_learns_scenes(toys):
    before, after = learn(toys)
    assert after["pck"] > 0.7 > before["pck"] + 0.5
    assert after.get("missed", 0) + after.get("invented", 0) <= 8


@pytest.mark.parametrize("name", ["source_only", "bn_control", "regda", "mean_teacher", "oracle", "keyshift"])
def test_strategies(toys, two_updates, name):
    """Two updates in half precision change the network, and everything stays finite."""
    if name not in STRATEGIES:
        pytest.skip(f"there is no {name}")
    options = Keyshift.Options() if name == "keyshift" else None
    strategy = STRATEGIES[name](build(), toys.DOTS, Optimization("adam", 1e-3, {}, 0.0), "target", options).train()
    people = {
        d: toys.Scenes(toys.Scenes.Options(train=8), "train", s)
        for d, s in (("source", "plain"), ("target", "shifted"))
    }
    changed, _ = two_updates(strategy, people, (32, 32), Augmentation(rotation=20, mirror=0.5))
    assert any(key.startswith("head.offset_feature_layers") for key in changed)


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("people", [0, 1, 100])
def test_any_number_of_people(people, reference):
    """Losses are finite, so are their gradients, and what the maps say is read."""
    model, sample = build(reference=reference), crowd(people, 2)
    votes = model(sample)
    losses = model.loss(votes, sample)
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert (losses["offset"] > 0) == (people > 0)
    assert model.decode(votes, sample).points.isfinite().all()


def test_where_labels_do_not_count():
    """Behind the mask heatmaps are free; where all is masked they learn nothing, and the loss stays finite."""
    model, sample = build(), crowd(5, 2)
    mask = torch.ones(2, 32, 32, dtype=torch.uint8)
    mask[0, :, :16], mask[1] = 0, 0
    masked = replace(sample, inputs=sample.inputs | {MASK: mask})
    votes = model(masked)
    weight = model.labels(masked).weight
    assert not weight[0, :, :, :4].any()
    assert (weight[0, :, :, 4:] > 0).all()
    assert not weight[1].any()
    nothing = replace(sample, inputs=sample.inputs | {MASK: torch.zeros_like(mask)})
    losses = model.loss(votes, nothing)
    assert losses["heatmap"] == 0
    assert all(loss.isfinite() for loss in losses.values())
    known = torch.zeros_like(sample.annotated)
    assert model.loss(votes, replace(sample, annotated=known))["offset"] == 0


def test_saved_and_loaded(tmp_path):
    """With the network that judges poses, too."""
    skeleton = Skeleton("arm", ("a", "b", "c"), edges=((0, 1), (1, 2)))
    model = build(rescored=True, scales=[1.0, 0.5], snap=20.0).know(skeleton)
    torch.nn.init.constant_(model.rescoring.l3.bias, 0.5)
    save_model(tmp_path / "model.pt", blind(model), skeleton, 7)
    again, names = load_model(tmp_path / "model.pt")
    sample = batch(torch.rand(1, 3, 2), [0], 2)
    assert names == skeleton
    assert again.options == replace(model.options, weights=None)
    with torch.no_grad():
        first, second = (one.eval().decode(one(sample), sample) for one in (model, again))
        model.rescoring = None
        plain = model.decode(model(sample), sample)
    for mine, theirs in zip(vars(first).values(), vars(second).values(), strict=True):
        assert torch.equal(mine, theirs)
    torch.testing.assert_close(first.score, 0.5 * plain.score)


@pytest.mark.parametrize(("size", "backbone", "step"), [((36, 32), "small", 8), ((32, 34), "hrnet_w18_small", 4)])
def test_sizes_that_do_not_divide(size, backbone, step):
    with pytest.raises(ValueError, match=f"must be a multiple of the backbone's stride, {step},"):
        build(size=size, backbone=backbone)


@pytest.mark.parametrize("scales", [[0.5], [1.0, 0.5, 0.5], []])
def test_scales_that_do_not_go_together(scales):
    with pytest.raises(ValueError, match="must differ, and 1 be among them"):
        build(scales=scales)


@pytest.mark.parametrize("backbone", ["resnet18", "hrnet_w18_small"])
def test_other_backbones(backbone):
    model = build(backbone=backbone, size=(64, 32)).eval()
    assert model.feature_shape()[1:] == (8, 16)
    assert model(model.empty()).extra["center"].shape == (1, 8, 16)


def test_all_parameters_learn():
    model, sample = build(head_layers=2), crowd(5, 2)
    torch.nn.init.normal_(model.head.offset_feature_layers[0].transform_matrix_conv.weight, std=0.1)
    torch.nn.init.normal_(model.head.offset_feature_layers[1].transform_matrix_conv.weight, std=0.1)
    sum(model.loss(model(sample), sample).values()).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@pytest.mark.parametrize("options", [{"scales": [1.0, 2.0]}, {"snap": 75.0}])
def test_what_is_not_exported(options, tmp_path):
    with pytest.raises(ValueError, match=f"DEKR is exported with {next(iter(options))}="):
        to_onnx(build(**options), (32, 32), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("shallow")
def test_onnx_answers_as_pytorch(toys, tmp_path):
    """Reading, grouping and judging inside the file."""
    import onnxruntime

    model, sample = blind(build(near=0.3, people=8, rescored=True)), batch(torch.rand(1, 3, 2), [0], 2)
    model.know(toys.DOTS)
    torch.nn.init.normal_(model.rescoring.l3.weight, std=0.1)
    to_onnx(model, (32, 32), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted = Decoded(model).eval()(sample.image)
    assert len(wanted[0]) > 2
    for mine, theirs in zip(session.run(None, {"image": sample.image.numpy()}), wanted, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-3)
