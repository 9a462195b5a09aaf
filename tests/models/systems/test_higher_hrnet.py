"""HigherHRNet: its losses against plain loops, what is read from maps, mirror images and scales, its edges, that it
learns, and that strategies adapt it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch.nn import functional as F

from keyshift.adapt.scoring.evaluation import check_mirrored, predict, scores, with_mirror
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import Loop, Trainer
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.sample import Labeled
from keyshift.models.output import Votes
from keyshift.models.parts.hrnet import HRNETS, Form
from keyshift.models.parts.tag_losses import cells_of, drawn_maps, mask_of, masked_error, tag_losses
from keyshift.models.pose_model import mirrored
from keyshift.models.saved import load_checkpoint, load_model, save_model
from keyshift.models.systems.higher_hrnet import HigherHRNet, candidates, load_reference, multi_scale_size

SMALL = {"loss_weight": 1.0, "backbone": "small", "input_size": [32, 32], "channels": 8, "blocks": 1, "sigma": 1.0}
CPU = torch.device("cpu")
FLIP = [0, 2, 1]


def build(keypoints=3, **options):
    torch.manual_seed(0)
    return HigherHRNet(keypoints, HigherHRNet.Options(**SMALL | options))


def batch(points, annotated, image_index, images=2, size=32, **inputs):
    """A labelled batch of people (P, K, 2) px, in noise."""
    picture = torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8)
    return Labeled(
        inputs={"image": picture, **inputs},
        id=("",) * images,
        sequence=("",) * images,
        frame=torch.arange(images),
        camera=torch.ones(images, 4),
        to_file=torch.eye(3)[:2].repeat(images, 1, 1),
        side=torch.full((images,), float(size)),
        keypoints=points,
        visible=annotated,
        annotated=annotated,
        image_index=image_index,
    )


def crowd(people, keypoints=3, size=32, images=2, **inputs):
    torch.manual_seed(people)
    annotated = torch.rand(people, keypoints) > 0.2
    index = torch.arange(people) * images // max(people, 1)
    return batch(torch.rand(people, keypoints, 2) * (size + 12) - 6, annotated, index, images, size, **inputs)


def learnt(model, sample):
    losses = model.loss(model(sample), sample)
    torch.stack(list(losses.values())).sum().backward()
    assert all(value.isfinite() for value in losses.values())
    return losses


# the paper's network


@pytest.mark.parametrize(("backbone", "count"), [("hrnet_w32", 28_645_331), ("hrnet_w48", 63_827_139)])
def test_the_published_sizes(backbone, count):
    model = HigherHRNet(17, HigherHRNet.Options(backbone=backbone))
    assert sum(p.numel() for p in model.parameters()) == count
    assert (model.grid.shape, model.grid.origin) == ((256, 256), (1.0, 1.0))


@pytest.mark.parametrize("keypoints", [14, 21])
def test_a_released_checkpoint_of_any_skeleton(keypoints, monkeypatch):
    """Of a narrow network of the same form."""
    monkeypatch.setitem(HRNETS, "hrnet_w8", Form(8, 1, (1, 1, 1), ""))
    torch.manual_seed(0)
    model = HigherHRNet(keypoints, HigherHRNet.Options(backbone="hrnet_w8", input_size=[64, 64]))
    state = {k.removeprefix("backbone.").removeprefix("head."): v for k, v in model.state_dict().items()}
    again = load_reference({"state_dict": {f"module.{k}": v for k, v in state.items()}}, [64, 64])
    assert not again.training
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    state.pop("final_layers.1.weight")
    with pytest.raises(ValueError, match=r"not a HigherHRNet checkpoint: .* expected conv1.weight, final_layers"):
        load_reference(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": [36, 32]}, "input_size 36x32 at scale 1 must be a multiple of the backbone's stride 8"),
        ({"input_size": [24, 24], "scales": [1.0, 0.5]}, "input_size 12x12 at scale 0.5"),
        ({"scales": [0.5, 2.0]}, "1 be among them"),
        ({"scales": [1.0, 1.0]}, "must differ"),
        ({"pool": 4}, "model.pool=4 must be odd"),
        ({"push_kind": "hinge"}, "choose"),
    ],
)
def test_what_does_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize("layers", [1, 2])
def test_heads_have_one_form_and_all_of_it_learns(layers):
    model = build(head_layers=layers)
    assert model.feature_shape() == (8, 8, 8)
    another = model.new_head()
    assert another.state_dict().keys() == model.head.state_dict().keys()
    sample = crowd(4)
    assert not torch.equal(model.votes(model.features(sample), sample, another).logits, model(sample).logits)
    learnt(model, sample)
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


# losses


def naive_targets(sample, size, stride, sigma):
    maps = np.zeros((len(sample), sample.keypoints.shape[1], size, size))
    reach = int(3 * sigma) + 1
    for person, image in enumerate(sample.image_index.tolist()):
        for k in range(maps.shape[1]):
            x, y = (int(v / stride) for v in sample.keypoints[person, k].tolist())
            if not sample.annotated[person, k] or not (0 <= x < size and 0 <= y < size):
                continue
            for row in range(max(y - reach, 0), min(y + reach + 1, size)):
                for column in range(max(x - reach, 0), min(x + reach + 1, size)):
                    value = math.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * sigma**2))
                    maps[image, k, row, column] = max(maps[image, k, row, column], value)
    return torch.from_numpy(maps)


def naive_tags(tags, sample, stride, kind):
    """Push and pull of each image, by loops."""
    size, pushes, pulls = tags.shape[-1], [], []
    for image in range(len(sample)):
        means, pull = [], tags.sum() * 0
        for person in (sample.image_index == image).nonzero()[:, 0].tolist():
            own = []
            for k in range(tags.shape[1]):
                x, y = (int(v / stride) for v in sample.keypoints[person, k].tolist())
                if sample.annotated[person, k] and 0 <= x < size and 0 <= y < size:
                    own.append(tags[image, k, y, x])
            if own:
                own = torch.stack(own)
                means.append(own.mean())
                pull = pull + ((own - own.mean()) ** 2).mean()
        push, count = tags.sum() * 0, len(means)
        for a in range(count):
            for b in range(count):
                if a != b:
                    away = means[a] - means[b]
                    push = push + (torch.exp(-(away**2)) if kind == "exp" else (1 - away.abs()).clamp_min(0))
        pushes.append(0.5 * push / (count * (count - 1)) if count > 1 else push)
        pulls.append(pull / count if count else pull)
    return torch.stack(pushes), torch.stack(pulls)


@pytest.mark.parametrize("sigma", [2.0, 1.0, 0.5])
def test_targets_as_by_loops(sigma):
    sample = crowd(9)
    for stride in (2, 4):
        size = 32 // stride
        cells, inside = cells_of(sample.keypoints, (size, size), stride)
        maps = drawn_maps(cells, sample.annotated & inside, sample.image_index, 2, (size, size), sigma)
        torch.testing.assert_close(maps.double(), naive_targets(sample, size, stride, sigma), atol=1e-7, rtol=0)
        assert maps.max() == 1


@pytest.mark.parametrize("kind", ["exp", "max"])
@pytest.mark.parametrize("people", [1, 2, 7])
def test_tags_and_their_gradients_as_by_loops(kind, people):
    sample = crowd(people)
    torch.manual_seed(1)
    ours = torch.randn(2, 3, 8, 8, requires_grad=True)
    theirs = ours.detach().double().requires_grad_()
    cells, inside = cells_of(sample.keypoints, (8, 8), 4)
    pairs = (
        tag_losses(ours, cells, sample.annotated & inside, sample.image_index, kind),
        naive_tags(theirs, sample, 4, kind),
    )
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-6, rtol=1e-6)
    weight = torch.tensor([1.0, 0.3])
    for push, pull in pairs:
        (push @ weight.to(push) + 2 * pull @ weight.to(pull)).backward()
    torch.testing.assert_close(ours.grad.double(), theirs.grad, atol=1e-6, rtol=1e-5)
    assert theirs.grad.any() or people == 1


def test_the_whole_loss_and_its_gradient_as_by_loops():
    """At both resolutions, with a mask, a person of whom nothing counts, and a picture without people."""
    model = build(push=0.5, pull=0.25)
    mask = (torch.rand(3, 32, 32) > 0.4).to(torch.uint8)
    sample = crowd(6, images=3, mask=mask)
    sample = replace(
        sample,
        image_index=torch.tensor([0, 0, 0, 0, 2, 2]),
        annotated=sample.annotated & (torch.arange(6) != 1)[:, None],
    )
    votes = model(sample)
    leaves = {name: votes.extra[name].detach().requires_grad_() for name in ("coarse", "fine", "tags")}
    losses = model.loss(replace(votes, extra={**votes.extra, **leaves}), sample)
    torch.stack(list(losses.values())).sum().backward()
    wide = {name: value.detach().double().requires_grad_() for name, value in leaves.items()}
    wanted = {}
    for name, stride in (("coarse", 4), ("fine", 2)):
        share = mask.double().view(3, 32 // stride, stride, 32 // stride, stride).mean((2, 4))
        error = (wide[name] - naive_targets(sample, 32 // stride, stride, 1.0)) ** 2
        wanted[name] = (error * (share > 0.5)[:, None]).mean()
    push, pull = naive_tags(wide["tags"][:, :, 0], sample, 4, "exp")
    wanted |= {"push": 0.5 * push.mean(), "pull": 0.25 * pull.mean()}
    torch.stack(list(wanted.values())).sum().backward()
    assert losses.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(losses[name].double(), value, atol=1e-7, rtol=1e-5)
    for name, value in wide.items():
        torch.testing.assert_close(leaves[name].grad.double(), value.grad, atol=1e-8, rtol=1e-5)


def test_a_keypoint_less_than_a_cell_outside_is_taken_to_the_border():
    """As int() does, on the left and above alone."""
    points = torch.tensor([[[-3.9, 8.0], [8.0, -4.0], [31.9, 31.9], [32.0, 8.0]]])
    cells, inside = cells_of(points, (8, 8), 4)
    assert inside.tolist() == [[True, False, True, False]]
    assert cells[0].tolist() == [[0, 2], [0, 0], [7, 7], [0, 0]]
    sample = batch(points, torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, dtype=torch.long))
    assert build(4).counted(sample).tolist() == inside.tolist()


# edges


@pytest.mark.parametrize("people", [0, 1, 100])
def test_losses_of_any_number_of_people(people):
    model = build()
    losses = learnt(model, crowd(people))
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    if people == 0:
        assert losses["push"] == losses["pull"] == 0
        assert losses["fine"] > 0  # that nobody is there is learnt
    if people == 100:
        assert losses["push"] > 0


def test_half_precision_leaves_losses_finite():
    model, sample = build(), crowd(5)
    with torch.autocast("cpu", torch.bfloat16):
        votes = model(sample)
        losses = model.loss(votes, sample)
    assert votes.logits.dtype == torch.float32
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert model.decode(votes, sample).points.dtype == torch.float32


def test_a_mask_of_zeros_without_labels_teaches_nothing():
    model, none = build(), torch.zeros(2, 32, 32, dtype=torch.uint8)
    sample = crowd(5, mask=none)
    unlabelled = replace(sample, annotated=torch.zeros_like(sample.annotated))
    assert not model.counted(unlabelled).any()
    for given in (crowd(0, mask=none), unlabelled):
        losses = learnt(model, given)
        assert all(value == 0 for value in losses.values())
        assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)
    assert learnt(model, sample)["pull"] > 0  # tags learn wherever there are labels, as in the reference


def test_masks_count_cells_of_which_more_than_half_counts():
    mask = torch.ones(1, 8, 8, dtype=torch.uint8)
    mask[0, :2, :4] = 0
    mask[0, 4:7, 4:] = 0
    assert mask_of(mask, (2, 2)).tolist() == [[[0.0, 1.0], [1.0, 0.0]]]
    assert mask_of(None, (2, 2)) is None
    maps = torch.full((1, 3, 2, 2), 2.0)
    assert masked_error(maps, maps * 0, mask_of(mask, (2, 2))).item() == 2


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_nothing_give_poses_of_the_right_shape(channels):
    """Grey ones, and where no candidate is high enough."""
    model = build(threshold=10.0).eval()
    sample = crowd(0)
    sample.inputs["image"][:] = 128
    poses = model.decode(model(sample), sample)
    assert poses.points.shape == (0, 3, 2)
    assert poses.confidence.shape == (0, 3)
    assert poses.image_index.shape == poses.score.shape == (0,)
    assert poses.image_index.dtype == torch.int64


# reading people


def painted(model, people, tags, image=0, images=2):
    """Votes of a network that sees people (P, K, 2) px with `tags` exactly: heatmaps are what it is to learn."""
    count = people.shape[1]
    index = torch.full((len(people),), image)
    sample = batch(people, torch.ones(len(people), count, dtype=torch.bool), index, images)
    maps = {}
    for name, stride in (("coarse", 4), ("fine", 2)):
        size = model.grid_of(stride).shape
        cells, inside = cells_of(people, size, stride)
        maps[name] = drawn_maps(cells, inside, index, images, size, model.options.sigma)
    own = torch.zeros(images, count, 1, 8, 8)
    far = torch.full((count, 8, 8), torch.inf)
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    for person, tag in zip(people / 4 - 0.5, tags, strict=True):
        away = (x - person[:, 0, None, None]) ** 2 + (y - person[:, 1, None, None]) ** 2
        own[image, :, 0] = torch.where(away < far, tag, own[image, :, 0])
        far = torch.minimum(away, far)
    heat = (F.interpolate(maps["coarse"], scale_factor=2, mode="bilinear") + maps["fine"]) / 2
    return Votes.from_maps(model.grid, 20 * heat, **maps, heat=(heat,), tags=own), sample


PEOPLE = torch.tensor([[[5.0, 5.0], [6.0, 13.0], [13.0, 7.0]], [[27.0, 25.0], [20.0, 27.0], [26.0, 17.0]]])


@pytest.mark.parametrize("project", [True, False])
def test_people_are_where_they_were_painted(project):
    model = build(project=project)
    votes, sample = painted(model, PEOPLE, [0.0, 5.0], image=1)
    poses = model.decode(votes, sample)
    assert poses.image_index.tolist() == [1, 1]
    order = poses.points[:, 0, 0].argsort()
    assert (poses.points[order] - PEOPLE).abs().max() <= 2  # labels are truncated to cells of four and two pixels
    assert (poses.confidence > 0.5).all()
    assert (poses.confidence <= 1).all()
    torch.testing.assert_close(poses.score, poses.confidence.mean(1))


def test_tags_tell_who_is_who():
    """The same maps with one tag for all are one person less, or a mixture."""
    model = build(refine=False)
    votes, sample = painted(model, PEOPLE, [0.0, 5.0])
    apart = model.decode(votes, sample)
    sides = apart.points[..., 0].sort(0).values
    assert (sides == apart.points[apart.points[:, 0, 0].argsort()][..., 0]).all()
    votes, sample = painted(
        model, PEOPLE.roll(1, 1).where(torch.tensor([0, 1, 0]).bool()[None, :, None], PEOPLE), [0.0, 0.0]
    )
    assert len(model.decode(votes, sample)) == 1  # equal tags overwrite each other


def test_a_missing_keypoint_is_searched_for_or_stands_in_the_middle():
    model = build(refine=True, threshold=0.3)
    votes, sample = painted(model, PEOPLE[:1], [1.0])
    heat = votes.extra["heat"][0].clone()
    heat[0, 2] *= 0.25
    votes = replace(votes, extra={**votes.extra, "heat": (heat,)})
    found = model.decode(votes, sample)
    assert (found.points[0] - PEOPLE[0]).abs().max() <= 2
    assert 0 < found.confidence[0, 2] < 0.3
    assert found.score[0] < found.confidence[0].mean() * 1.0001
    lost = build(refine=False, threshold=0.3).decode(votes, sample)
    assert lost.confidence[0, 2] == 0
    torch.testing.assert_close(lost.points[0, 2], lost.points[0, :2].mean(0))


def test_candidates_as_by_one_square():
    torch.manual_seed(0)
    heat, tags = torch.randn(2, 3, 9, 11), torch.randn(2, 3, 2, 9, 11)
    heat[0, 0] = heat[0, 0].round()  # ties
    peaks = candidates(heat, tags, 5, 6)
    kept = heat * (F.max_pool2d(heat, 5, 1, 2) == heat)
    torch.testing.assert_close(peaks.scores, kept.flatten(2).topk(6).values)
    for b, k, m in np.ndindex(2, 3, 6):
        x, y = peaks.cells[b, k, m]
        assert peaks.scores[b, k, m] == kept[b, k, y, x]
        assert torch.equal(peaks.at[b, k, m], tags[b, k, :, y, x])


# mirror images and scales


def test_mirror_images_average_maps_and_stack_tags():
    model = build().eval()
    sample = crowd(3)
    with torch.no_grad():
        votes, there = model(sample), model(mirrored(sample))
        both = model.with_mirrored(votes, sample, FLIP)
    heat = (votes.extra["heat"][0] + there.extra["heat"][0].flip(-1)[:, FLIP]) / 2
    assert torch.equal(both.extra["heat"][0], heat)
    torch.testing.assert_close(both.maps, 20 * heat)
    assert both.extra["tags"].shape == (2, 3, 2, 8, 8)
    assert torch.equal(both.extra["tags"][:, :, 0], votes.extra["tags"][:, :, 0])
    assert torch.equal(both.extra["tags"][:, 1, 1], there.extra["tags"][:, 2, 0].flip(-1))
    with torch.no_grad():
        other = model.with_mirrored(there, mirrored(sample), FLIP)
    torch.testing.assert_close(other.maps.flip(-1)[:, FLIP], both.maps)


def test_flip_test_of_several_people(toys):
    """Evaluation asks the system itself; people who are mirrored are who they were."""
    model = build(threshold=0.0).eval()
    check_mirrored(model)
    scenes = toys.Scenes(toys.Scenes.Options(test=4), "test", "plain")
    batches = [EvaluationBatches(scenes, 4, (32, 32))[0]]
    plain, twice = (predict(model, batches, CPU, flip) for flip in (None, FLIP))
    with torch.no_grad():
        both = model.with_mirrored(model(batches[0]), batches[0], FLIP)
    assert twice.invented + twice.matched.sum() == len(model.decode(both, batches[0]))
    assert plain.invented + plain.matched.sum() != len(model.decode(both, batches[0]))
    votes, sample = painted(model, PEOPLE, [0.0, 5.0])
    with pytest.raises(ValueError, match="HigherHRNet finds several people"):
        with_mirror(model.decode(votes, sample), model, sample, FLIP)


def test_scales_average_maps_and_leave_tags():
    one, sample = build().eval(), crowd(3)
    several = build(scales=[0.5, 1.0, 2.0]).eval()
    several.load_state_dict(one.state_dict())
    with torch.no_grad():
        plain, votes = one(sample), several(sample)
        assert torch.equal(votes.logits, plain.logits)
        assert torch.equal(votes.extra["tags"], plain.extra["tags"])
        assert [maps.shape[-1] for maps in votes.extra["heat"]] == [16, 8, 32]
        larger = F.interpolate(one.scaled(sample, 1), scale_factor=2.0, mode="bilinear")
        coarse, fine = one.head(one.pictured(larger))
        torch.testing.assert_close(
            votes.extra["heat"][2], (F.interpolate(coarse[:, :3], scale_factor=2, mode="bilinear") + fine) / 2
        )
        wide = [F.interpolate(maps, (32, 32), mode="bilinear") for maps in votes.extra["heat"]]
        torch.testing.assert_close(several.peaks(votes).heat, sum(wide) / 3)
        tags = F.interpolate(
            F.interpolate(plain.extra["tags"][:, :, 0], scale_factor=2.0, mode="bilinear"),
            scale_factor=2.0,
            mode="bilinear",
        )
        torch.testing.assert_close(several.peaks(votes).tags[:, :, 0], tags)
        both = several.with_mirrored(votes, sample, FLIP)
        assert [maps.shape[-1] for maps in both.extra["heat"]] == [16, 8, 32]
    assert len(several.train()(sample).extra["heat"]) == 1


@pytest.mark.parametrize(
    ("size", "scale", "least", "wanted"),
    [
        ((640, 480), 1.0, 1.0, (704, 512)),
        ((640, 427), 1.0, 1.0, (768, 512)),
        ((500, 333), 1.0, 1.0, (768, 512)),
        ((480, 640), 1.0, 1.0, (512, 704)),
        ((640, 480), 2.0, 0.5, (1536, 1024)),
        ((640, 480), 1.0, 0.5, (768, 512)),
        ((640, 480), 0.5, 0.5, (384, 256)),
        ((4000, 1), 1.0, 1.0, (2048000, 512)),
    ],
)
def test_the_published_input_sizes(size, scale, least, wanted):
    """The first three as run; the others by the formula."""
    assert multi_scale_size(*size, scale=scale, least=least) == wanted


# as part of the whole


def test_it_is_saved_and_built_again(tmp_path, toys):
    model = build(push=0.02, scales=[1.0, 2.0]).eval()
    save_model(tmp_path / "model.pt", model, toys.DOTS, 3)
    again, skeleton = load_model(tmp_path / "model.pt")
    assert (type(again), again.options, skeleton) == (HigherHRNet, replace(model.options, weights=None), toys.DOTS)
    sample = crowd(2)
    with torch.no_grad():
        assert torch.equal(again.eval()(sample).logits, model(sample).logits)


def test_maps_and_candidates_are_traced_for_any_batch():
    """Grouping is outside of the graph."""

    class Maps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = build().eval().plain()

        def forward(self, image):
            sample = replace(crowd(0), inputs={"image": image})
            return tuple(self.model.peaks(self.model(sample)))

    maps, shapes = Maps().eval(), ({0: torch.export.Dim("batch")},)
    program = torch.export.export(maps, (crowd(0).image,), dynamic_shapes=shapes).module()
    image = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    for one, other in zip(program(image), maps(image), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["regda", "mean_teacher", "bn_control", "oracle", "keyshift"])
@pytest.mark.parametrize("labelled", [True, False])
def test_strategies_adapt_it(toys, tmp_path, name, labelled):
    """Updates are finite, whether people are in the pictures or nobody; and resumed ones are the same to the bit."""
    from keyshift.adapt.scoring.evaluation import everyone

    def data(style):
        scenes = toys.Scenes(toys.Scenes.Options(train=10), "train", style)
        return scenes if labelled else Empty(scenes)

    def run(folder, steps):
        torch.manual_seed(0)
        strategy = STRATEGIES[name](build(threshold=0.01), toys.DOTS, Optimization("adam", 1e-3, {}, 0.0), "target")
        augmentation = Augmentation(rotation=20, mirror=0.5)
        sides = {"source": (data("plain"), True), "target": (data("shifted"), strategy.labelled_target)}
        cut = 0, 4, (32, 32), augmentation
        batches = {d: TrainingBatches(set_, d, *cut, labels, strategy.views[d]) for d, (set_, labels) in sides.items()}
        folder.mkdir(exist_ok=True)
        loop = Loop(steps, log_every=1, checkpoint_every=1)
        target = data("shifted")
        fabric = Fabric(accelerator="cpu", devices=1)
        trainer = Trainer(
            fabric,
            strategy,
            batches,
            folder,
            loop,
            0,
            target=lambda m: everyone(m, target, 4, (32, 32), augmentation, CPU),
        )
        trainer.fit()
        return load_checkpoint(folder / "checkpoint.pt")["strategy"]

    whole = run(tmp_path / "whole", 2)
    assert all(value.isfinite().all() for value in whole.values())
    run(tmp_path / "broken", 1)
    broken = run(tmp_path / "broken", 2)
    assert all(torch.equal(value, broken[key]) for key, value in whole.items())


class Empty:
    """The same pictures, of nobody."""

    def __init__(self, dataset):
        self.dataset, self.skeleton, self.name, self.identity = (
            dataset,
            dataset.skeleton,
            dataset.name,
            dataset.identity,
        )

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        item = self.dataset[index]
        return replace(item, **{key: getattr(item, key)[:0] for key in ("keypoints", "visible", "annotated")})


def test_it_learns(toys):
    """Whose keypoints are whose, too: tags come apart."""
    model = build(channels=16, input_size=[48, 48], push=0.005).train()
    train, test = (
        toys.Scenes(toys.Scenes.Options(train=64, test=24, size=48), part, "plain") for part in ("train", "test")
    )
    batches = TrainingBatches(train, "source", 0, 8, (48, 48), Augmentation(10, [0.95, 1.0], 0, 0), True)
    plain = [EvaluationBatches(test, 24, (48, 48))[0]]
    untrained = scores(predict(model, plain, CPU), toys.DOTS, 0.1)
    optimizer, pushes = torch.optim.Adam(model.parameters(), 5e-3), []
    for step in range(200):
        sample = batches[step]
        losses = model.loss(model(sample), sample)
        pushes.append(losses["push"].item())
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    after = scores(predict(model, plain, CPU), toys.DOTS, 0.1)
    assert after["pck"] > 0.6 > untrained["pck"] + 0.3
    assert after["missed"] < 8
    assert sum(pushes[-30:]) < 0.6 * sum(pushes[:30])
