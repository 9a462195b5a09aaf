"""AWR: its representation against a naive loop, what learns from which loss, and what is refused."""

import math
import re

import pytest
import torch

from keyshift.datasets.sample import PIXELS_AND_MM, Labeled
from keyshift.models.output import divergence
from keyshift.models.systems.awr import AWR, dense_target, load_reference, normalized

REACH = torch.tensor([100.0, 60.0])
FORMS = ["offset", "heatmap", "pose", "regress"]


def hands(joints=2, size=32, count=2, seed=0):
    """Tilted discs of depth, mm, on nothing; joints at fixed places of each disc and below its surface."""
    draw = torch.Generator().manual_seed(seed)
    yy, xx = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    reach = REACH.repeat(count // 2)
    images, points = [], []
    for far in reach:
        x, y, z = ((torch.rand(3, generator=draw) - 0.5) * 0.2).tolist()
        middle = torch.tensor([(0.5 + x) * size, (0.5 + y) * size])
        inside = (xx - middle[0]) ** 2 + (yy - middle[1]) ** 2 < (0.3 * size) ** 2
        images.append(torch.where(inside, (z + 0.4 * (xx - middle[0]) / size) * far, far))
        turn = 2 * math.pi * torch.arange(joints) / joints
        places = middle + 0.2 * size * torch.stack([turn.cos(), turn.sin()], -1)
        points.append(torch.cat([places, (z + 0.1 * turn.sin()).unsqueeze(-1) * far], -1))
    known = torch.ones(count, joints, dtype=torch.bool)
    return Labeled(
        inputs={"image": torch.stack(images).unsqueeze(1), "reach": reach},
        id=("",) * count,
        sequence=("",) * count,
        frame=torch.arange(count),
        camera=torch.ones(count, 4),
        to_file=torch.eye(4)[:3].repeat(count, 1, 1),
        side=torch.full((count,), float(size)),
        keypoints=torch.stack(points),
        visible=known,
        annotated=known,
        image_index=torch.arange(count),
    )


def changed(sample, **fields):
    return Labeled(**(vars(sample) | fields))


def with_image(sample, image):
    return changed(sample, inputs=sample.inputs | {"image": image})


def small(keypoints=2, size=32, **options):
    torch.manual_seed(0)
    plain = {"backbone": "small", "input_size": [size, size], "channels": 16, "downsample": 4}
    return AWR(keypoints, AWR.Options(**(plain | options)))


def in_cube(points, sample):
    """(x px, y px, z mm) to [-1, 1]."""
    half = sample.image.shape[-1] / 2
    z = points[..., 2:] / sample.inputs["reach"][:, None, None]
    return torch.cat([points[..., :2] / half - 1, z], -1)


def test_dense_target_agrees_with_a_naive_loop():
    sample = hands(joints=3, size=16)
    image, joints, kernel = normalized(sample).double(), in_cube(sample.keypoints, sample).double(), 0.4
    target = dense_target(joints, image.float(), kernel, (8, 8))
    wanted = torch.zeros(2, 12, 8, 8, dtype=torch.float64)
    for b in range(2):
        for r in range(8):
            for c in range(8):
                depth = image[b, 0, 2 * r, 2 * c]
                if depth >= 0.99:
                    continue
                for j in range(3):
                    away = joints[b, j] - torch.tensor([2 * (c + 0.5) / 8 - 1, 2 * (r + 0.5) / 8 - 1, depth])
                    distance = math.sqrt((away**2).sum() + 1e-8)
                    if distance <= kernel:
                        wanted[b, 3 * j : 3 * j + 3, r, c] = away / distance
                        wanted[b, 9 + j, r, c] = 1 - distance / kernel
    torch.testing.assert_close(target.double(), wanted, rtol=1e-5, atol=1e-5)
    assert (wanted != 0).any((2, 3)).all()


def test_decoding_agrees_with_a_naive_loop():
    sample = hands(joints=3, size=32)
    model = small(3)
    raw = 0.3 * torch.randn(2, 12, 8, 8, generator=torch.Generator().manual_seed(1))
    points = model.decode(model.read((raw,), sample), sample).points
    image, wanted = normalized(sample), torch.zeros(2, 3, 3, dtype=torch.float64)
    for b in range(2):
        for j in range(3):
            total = 0.0
            for r in range(8):
                for c in range(8):
                    depth = image[b, 0, 4 * r, 4 * c].double()
                    here = torch.tensor([2 * (c + 0.5) / 8 - 1, 2 * (r + 0.5) / 8 - 1, depth], dtype=torch.float64)
                    if depth < 0.99:
                        closeness, toward = raw[b, 9 + j, r, c].double(), raw[b, 3 * j : 3 * j + 3, r, c].double()
                        here = here + toward * (0.8 - 0.8 * closeness)
                    else:
                        closeness = torch.zeros((), dtype=torch.float64)
                    total = total + torch.exp(30 * closeness)
                    wanted[b, j] += torch.exp(30 * closeness) * here
            wanted[b, j] /= total
    torch.testing.assert_close(in_cube(points, sample).double(), wanted, rtol=0, atol=2e-5)


def test_maps_of_the_truth_decode_to_the_truth():
    sample = hands(joints=4, size=64, count=4)
    for form in ("offset", "pose"):
        model = small(4, size=64, form=form)
        maps = model.target(in_cube(sample.keypoints, sample), normalized(sample))
        poses = model.decode(model.read((maps,), sample), sample)
        torch.testing.assert_close(poses.points, sample.keypoints, rtol=0, atol=1e-3)
        assert poses.confidence.min() >= 0
        assert poses.confidence.max() <= 1


def test_surface_points_stand_on_the_grid():
    sample = hands()
    model = small(form="heatmap")
    votes = model(sample)
    assert votes.where.shape == (2, 64, 1, 3)
    cells = model.grid.marginals()[0].to_cells(votes.where[0, :, 0, :2])
    index = torch.arange(64)
    torch.testing.assert_close(cells, torch.stack([index % 8, index // 8], -1).float(), rtol=0, atol=1e-5)
    torch.testing.assert_close(votes.where[:, :, 0, 2], sample.image[:, 0, ::4, ::4].flatten(1))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_learns_a_toy(form):
    sample = hands(count=16)
    model = small(form=form, dense_weight=10.0, joint_weight=10.0)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    errors, losses = [], []
    for _ in range(40):
        votes = model(sample)
        loss = model.loss(votes, sample)
        assert set(loss) == ({"joint"} if form == "regress" else {"dense", "joint"})
        errors.append(float((votes.mean().detach() - sample.keypoints).norm(dim=-1).mean()))
        losses.append(sum(loss.values()))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    assert errors[-1] < 0.6 * errors[0]


def test_joint_loss_reaches_vectors_and_closeness_of_the_surface_alone():
    sample, model = hands(), small(losses="joint")
    raw = (0.1 * torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))).requires_grad_()
    model.loss(model.read((raw,), sample), sample)["joint"].backward()
    surface = normalized(sample)[:, :, ::4, ::4] < 0.99
    assert surface.any()
    assert not surface.all()
    for part in (raw.grad[:, :6], raw.grad[:, 6:]):
        assert (part[surface.expand_as(part)] != 0).all()
        assert (part[~surface.expand_as(part)] == 0).all()


def test_densities_move_offsets_and_closeness():
    sample, model = hands(), small()
    votes = model(sample)
    assert [d.shape for d in votes.log_densities()] == [(2, 2, 8, 8), (2, 2, 8)]
    for density in votes.log_densities():
        torch.testing.assert_close(density.exp().flatten(2).sum(-1), torch.ones(2, 2), rtol=0, atol=1e-5)
    goal = model.grid.targets(sample.keypoints, 1.0)
    divergence(votes, goal, epsilon=1e-7).backward()
    assert (model.head.weight.grad.flatten(1).abs().amax(1) > 0).all()


def test_what_is_unknown_counts_for_nothing():
    sample = hands(joints=3)
    known = sample.annotated.clone()
    known[0, 1] = known[1, 2] = False
    partly = changed(sample, annotated=known)
    points = sample.keypoints.clone()
    points[~known] = 1e4
    for form in FORMS:
        model = small(3, form=form).eval()
        votes = model(sample)
        one, two = (model.loss(votes, changed(partly, keypoints=p)) for p in (sample.keypoints, points))
        whole, nothing = (model.loss(votes, changed(sample, annotated=a)) for a in (known | True, known & False))
        for name in one:
            torch.testing.assert_close(one[name], two[name], rtol=0, atol=0)
            assert one[name] != whole[name]
            assert nothing[name] == 0


def test_loss_of_the_known_is_the_mean_over_them():
    sample, model = hands(joints=3), small(3).eval()
    votes = model(sample)
    alone = [changed(sample, annotated=sample.annotated & (torch.arange(3) == j)) for j in range(3)]
    parts = [model.loss(votes, s) for s in alone]
    for name, value in model.loss(votes, sample).items():
        torch.testing.assert_close(value, torch.stack([p[name] for p in parts]).mean())


def test_two_people_in_one_image():
    sample, model = hands(count=4), small().eval()
    order = torch.tensor([2, 0, 2])
    flat = changed(
        sample,
        image_index=order,
        **{name: getattr(sample, name)[order] for name in ("keypoints", "visible", "annotated")},
    )
    repeated = [model.loss(model(one), one) for one in (pick(sample, int(i)) for i in order)]
    for name, value in model.loss(model(sample), flat).items():
        torch.testing.assert_close(value, torch.stack([r[name] for r in repeated]).mean())
    assert model.counted(flat).shape == (3, 2)


def pick(sample, index):
    tensors = {k: v[index : index + 1] for k, v in vars(sample).items() if isinstance(v, torch.Tensor)}
    inputs = {name: value[index : index + 1] for name, value in sample.inputs.items()}
    rest = {"inputs": inputs, "id": ("",), "sequence": ("",), "image_index": torch.zeros(1).long()}
    return changed(sample, **(tensors | rest))


def test_what_is_known_inside_the_image_and_the_cube_counts():
    sample, model = hands(), small()
    points = torch.tensor([[[16, 16, 99.0], [16, 16, 101]], [[33, 16, 0], [0, 31, 59]]])
    known = torch.tensor([[True, True], [True, True]])
    counted = model.counted(changed(sample, keypoints=points, annotated=known))
    assert counted.tolist() == [[True, False], [False, True]]
    assert not model.counted(changed(sample, keypoints=points, annotated=~known)).any()


def test_points_are_added_after_the_dense_steps():
    sample, model = hands(), small(dense_steps=2)
    seen = [model.loss(model(sample), sample) for _ in range(3)]
    assert [bool(loss["joint"] > 0) for loss in seen] == [False, False, True]
    assert all(loss["dense"] > 0 for loss in seen)
    again = small(dense_steps=2)
    again.load_state_dict(model.state_dict())
    again.eval()
    assert again.loss(again(sample), sample)["joint"] > 0
    assert again.updates == model.updates == 3
    assert set(small(losses="dense").loss(model(sample), sample)) == {"dense"}
    assert set(small(losses="joint").loss(model(sample), sample)) == {"joint"}


def hourglass(**options):
    torch.manual_seed(0)
    return AWR(2, AWR.Options(backbone="hourglass_2", input_size=[32, 32], channels=8, **options))


def test_every_hourglass_learns_from_its_own_answer():
    sample = hands()
    for every in (True, False):
        model = hourglass(every_stack=every)
        for merge in (*model.backbone.merge_maps, *model.backbone.merge_features):
            torch.nn.init.zeros_(merge.weight)
        sum(model.loss(model(sample), sample).values()).backward()
        assert bool((model.backbone.outputs[0].weight.grad != 0).any()) is every
        assert bool((model.backbone.features[0][1].weight.grad != 0).any()) is every
        assert (model.head.weight.grad != 0).any()
        assert (model.backbone.features[1][1].weight.grad != 0).any()


def test_last_hourglass_alone_teaches_the_first_through_what_it_is_told():
    sample, model = hands(), hourglass(every_stack=False)
    sum(model.loss(model(sample), sample).values()).backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in model.backbone.outputs.parameters())


def test_losses_of_hourglasses_are_added():
    sample, model = hands(), hourglass().eval()
    votes = model(sample)
    each = [model.loss(model.read((raw,), sample), sample) for raw in votes.extra["raws"]]
    for name, value in model.loss(votes, sample).items():
        torch.testing.assert_close(value, each[0][name] + each[1][name])


def test_second_head_reads_the_last_hourglass():
    sample, model = hands(), hourglass().eval()
    features, adversary = model.features(sample), model.new_head(2).eval()
    assert features.shape == (2, 16, 16, 16)
    votes = model.votes(features, sample, adversary)
    assert len(votes.extra["raws"]) == 1
    torch.testing.assert_close(votes.extra["raws"][0], adversary(features[:, 8:]))
    assert len(model(sample).extra["raws"]) == 2
    assert set(model.groups()) == {"backbone", "upsampling", "head"}


@pytest.mark.parametrize("form", FORMS)
def test_architecture_builds_the_same_network(form):
    sample, model = hands(), small(form=form)
    model.restart_head(2)
    again = AWR(2, AWR.Options(**model.architecture))
    again.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(sample).mean(), again.eval()(sample).mean())
    assert sum(isinstance(m, torch.nn.Conv2d) for m in model.head.modules()) == (1 if form == "regress" else 2)


def test_deeper_checkpoints_load_at_their_resolution():
    model = AWR(3, AWR.Options(backbone="resnet50", downsample=4)).eval()
    state = {}
    for key, value in model.state_dict().items():
        part, _, rest = key.partition(".")
        if part == "head":
            state[f"final1.{rest}"], state[f"final2.{rest}"] = value[:9], value[9:]
        elif part != "updates":
            name = key.removeprefix("backbone.").replace("upsampling", "deconv_layers")
            state[re.sub("^bn1", "pre.1", re.sub("^conv1", "pre.0", name))] = value
    again = load_reference(state, input_size=(64, 32), every_stack=False)
    expected = {"backbone": "resnet50", "downsample": 4, "input_size": [64, 32], "every_stack": False}
    assert again.architecture == model.architecture | expected
    for (name, ours), (_, theirs) in zip(again.state_dict().items(), model.state_dict().items(), strict=True):
        assert torch.equal(ours, theirs), name
    del state["layer3.5.conv1.weight"], state["layer4.2.bn1.bias"]
    with pytest.raises(ValueError, match=r"layer3\.5\.conv1\.weight.*layer4\.2\.bn1\.bias"):
        load_reference(state)
    with pytest.raises(ValueError, match=r"\(3, 4, 5, 3\) blocks"):
        load_reference({key: value for key, value in state.items() if not key.startswith("layer3.5.")})


@pytest.mark.parametrize(("name", "parameters"), [("resnet18", 15.379e6), ("resnet50", 34.002e6)])
def test_resnets_have_the_published_size(name, parameters):
    with torch.device("meta"):
        model = AWR(14, AWR.Options(backbone=name))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=1e-4)


def test_small_floats_and_other_layouts():
    sample = hands(count=4)
    model = small().eval()
    exact = model(sample)
    turned = small().eval().to(memory_format=torch.channels_last)(sample)
    torch.testing.assert_close(turned.mean(), exact.mean(), rtol=0, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        votes = model(sample)
        loss = model.loss(votes, sample)
    assert votes.extra["raws"][0].dtype is torch.bfloat16
    assert votes.where.dtype is votes.logits.dtype is loss["dense"].dtype is torch.float32
    torch.testing.assert_close(votes.mean(), exact.mean(), rtol=0, atol=0.5)


def test_input_is_half_cubes_and_background_exactly_one():
    sample = hands()
    image = normalized(with_image(sample, sample.image.clamp(max=50) * 3))
    assert image.max() == 1
    assert image.min() >= -1
    plain = normalized(sample)
    assert (plain[sample.image == sample.inputs["reach"].view(-1, 1, 1, 1)] == 1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet35"}, "Did you mean resnet50"),
        ({"backbone": "hourglass_0"}, "hourglass_0"),
        ({"backbone": "hourglass_1", "form": "regress"}, "form 'regress'"),
        ({"backbone": "hourglass_1", "downsample": 4}, r"downsample=4 .* choose one of \[2\]"),
        ({"weights": "IMAGENET1K_V1"}, "no published weights"),
        ({"backbone": "resnet18", "weights": "IMAGENET1K_V1"}, "starts from random weights"),
        ({"form": "anchor"}, "offset, heatmap, pose, regress"),
        ({"losses": "both"}, "dense, joint, dense_then_joint"),
        ({"form": "regress", "losses": "dense"}, "choose 'joint'"),
        ({"form": "regress", "dense_steps": 5}, "dense_steps=5"),
        ({"losses": "joint", "dense_steps": 5}, "dense_steps=5"),
        ({"kernel": 0.0}, "kernel=0.0"),
        ({"downsample": 3}, r"downsample=3 .* \[1, 2, 4, 8\]"),
        ({"downsample": 16}, r"downsample=16 .* \[1, 2, 4, 8\]"),
        ({"input_size": [36, 32]}, "36x32 must be a multiple of 8"),
        ({"backbone": "hourglass_1", "downsample": 2, "input_size": [48, 32]}, "48x32 must be a multiple of 32"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_foreign_batches_are_refused():
    model, sample = small(), hands()
    with pytest.raises(ValueError, match=r"32x32 .* got 16x32"):
        model(with_image(sample, sample.image[..., :16]))
    with pytest.raises(ValueError, match="AWR reads image and reach; photos gives camera and image"):
        model.check(changed(sample, inputs={"image": sample.image}), "photos")
    model.check(changed(sample, space=PIXELS_AND_MM), "hands")
    votes = model(sample)
    with pytest.raises(KeyError, match="raws"):  # the maps, which marginals do not hold
        model.loss(votes.marginals()[0], sample)
