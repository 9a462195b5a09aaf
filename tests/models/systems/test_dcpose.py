"""DCPose: its parts, labels and losses against plain loops; what is frozen and what is not; its two stages and the
weights that lead from one to the other; that it learns, and what three frames are for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import deform_conv2d

from keyshift.adapt.scoring.evaluation import everyone, predict, scores, with_mirror
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.skeleton import Skeleton
from keyshift.datasets.views import View
from keyshift.models.export import to_onnx, to_program
from keyshift.models.output import Grid, Votes
from keyshift.models.parts.hrnet import HRNETS, Form
from keyshift.models.parts.rsb import Chain, ResidualSteps
from keyshift.models.saved import load_model, save_model
from keyshift.models.systems import dcpose
from keyshift.models.systems.dcpose import DCPose, in_turn, load_reference

SMALL = {"backbone": "small", "input_size": [32, 32], "sigma": 1.0, "channels": 16, "fused": 16}
DOTS = Skeleton("dots", ("red", "green", "blue"))
ROUGH = ("backbone.", "upsampling.", "rough.")
CPU = torch.device("cpu")


def build(keypoints=3, seed=0, **options):
    torch.manual_seed(seed)
    return DCPose(keypoints, DCPose.Options(**SMALL | options))


def shaken(model):
    """With weights and statistics that say something, also where they are zeros at first."""
    torch.manual_seed(1)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.add_(0.1 * torch.randn_like(value).abs() if "var" in name else 0.1 * torch.randn_like(value))
    return model


def given(tmp_path, **options):
    """A file of a single-frame network, and what it holds."""
    model = shaken(build(stage="rough", seed=5, **options))
    save_model(tmp_path / "rough.pt", model, DOTS, 0)
    return tmp_path / "rough.pt", model


def clips(labeled, count=2, keypoints=3, width=32, height=32, frames=3):
    torch.manual_seed(2)
    image = torch.randint(0, 256, (count, frames, 3, height, width), dtype=torch.uint8)
    points = torch.rand(count, keypoints, 2) * torch.tensor([width, height])
    sample = labeled(image, points)
    return replace(sample, inputs={"image": image, "margins": torch.tensor([[1.0, 3.0]]).repeat(count, 1)})


def data(toys, part="train", count=32, style="plain"):
    return toys.Clips(toys.Clips.Options(train=count, test=count), part, style)


# Parts


@pytest.mark.parametrize("backbone", ["hrnet_w48", "hrnet_w32"])
def test_the_published_sizes(backbone):
    with torch.device("meta"):
        model = DCPose(17, DCPose.Options(backbone=backbone))
    sizes = {name: sum(p.numel() for p in child.parameters()) for name, child in model.named_children()}
    if backbone == "hrnet_w48":
        assert sizes.pop("backbone") + sizes.pop("rough") == 63_595_745
        assert sizes == {
            "upsampling": 0,
            "difference": 99_670,
            "support": 43_249,
            "fusion": 125_124,
            "head": 881_280 + 440_640 + 13_090,
        }
    assert model.grid == Grid((96, 72), (4.0, 4.0), (2.0, 2.0))
    assert model.reads == ("image", "margins")
    assert not model.options.frozen  # it has learned nothing
    assert DCPose(17, DCPose.Options(backbone="small", reference=True)).grid.origin == (0.5, 0.5)


@torch.no_grad()
@pytest.mark.parametrize(("inputs", "outputs", "width"), [(8, 8, 3), (12, 5, 4), (2, 3, 1)])
def test_residual_steps_as_written_out(inputs, outputs, width):
    """Each o is a 3x3 convolution of the part's step before it, plus the same step of the part before."""
    block = shaken(ResidualSteps(inputs, outputs)).eval().double()
    maps = torch.randn(2, inputs, 5, 4, dtype=torch.double)
    c = {name.removeprefix("conv_bn_relu2_"): layer for name, layer in block.named_children()}
    x = block.conv_bn_relu1(maps).split(width, 1)
    assert len(x) == 4
    o11 = c["1_1"](x[0])
    o21 = c["2_1"](x[1] + o11)
    o22 = c["2_2"](o21)
    o31 = c["3_1"](x[2] + o21)
    o32 = c["3_2"](o31 + o22)
    o33 = c["3_3"](o32)
    o41 = c["4_1"](x[3] + o31)
    o42 = c["4_2"](o41 + o32)
    o43 = c["4_3"](o42 + o33)
    o44 = c["4_4"](o43)
    wanted = block.conv_bn_relu3(torch.cat([o11, o22, o33, o44], 1))
    wanted = wanted + (maps if inputs == outputs else block.downsample(maps))
    torch.testing.assert_close(block(maps), wanted.clamp_min(0))
    assert (wanted > 0).any()
    assert (wanted < 0).any()


def test_the_first_block_of_a_chain_changes_the_channels():
    chain = Chain(6, 4, 3)
    assert [isinstance(block.downsample, nn.Identity) for block in chain.layers] == [False, True, True]
    assert chain(torch.randn(2, 6, 3, 3)).shape == (2, 4, 3, 3)


@torch.no_grad()
def test_what_the_branches_see_of_the_frames():
    """Keypoint by keypoint: differences from the neighbours, and the frames themselves, those of a neighbour weighed by
    how far the other one is."""
    model, seen = build().eval(), {}
    for name in ("difference", "support", "fusion"):
        getattr(model, name).register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
    maps = torch.randn(2, 3, 3, 8, 8)
    margins = torch.tensor([[1.0, 2.0], [4.0, 1.0]])
    parts = model.temporal(maps, margins)
    for b, (wp, wn) in enumerate([(2 / 3, 1 / 3), (1 / 5, 4 / 5)]):
        previous, current, following = maps[b]
        for k in range(3):
            a, z = current[k] - previous[k], current[k] - following[k]
            wanted = torch.stack([a, a * wp, z, z * wn])
            torch.testing.assert_close(seen["difference"][b, 4 * k : 4 * k + 4], wanted)
            wanted = torch.stack([current[k], previous[k] * wp, following[k] * wn])
            torch.testing.assert_close(seen["support"][b, 3 * k : 3 * k + 3], wanted)
    assert torch.equal(parts.rough, maps[:, 1])
    assert torch.equal(seen["fusion"], torch.cat([parts.difference, parts.support], 1))
    assert in_turn(torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 1, 1)).flatten().tolist() == [0, 1, 0, 1]


@torch.no_grad()
def test_the_answer_is_the_mean_of_modulated_deformable_convolutions():
    """Torchvision's operator, the masks as they come; and at first, where all taps stand and weigh 1, the support."""
    model = shaken(build(dilations=[1, 4])).eval().double()
    features = torch.randn(2, 3 + 3 + 16, 8, 8, dtype=torch.double)
    support, fused, wanted = features[:, 3:6], features[:, 6:], 0
    for step, offsets, masks, warp in zip((1, 4), model.head.offsets, model.head.masks, model.head.warps, strict=True):
        around = {"padding": step, "dilation": step}
        offset = nn.functional.conv2d(fused, offsets.weight, **around)
        mask = nn.functional.conv2d(fused, masks.weight, **around)
        assert offset.shape[1] == 2 * mask.shape[1] == 2 * 3 * 9
        wanted += deform_conv2d(support, offset, warp.weight, warp.bias, mask=mask, **around) / 2
    torch.testing.assert_close(model.head(features), wanted)
    fresh = build().new_head()
    for masks in fresh.masks:
        nn.init.zeros_(masks.weight)
    assert not fresh(features.float()).any()
    torch.testing.assert_close(fresh.warps[1](support.float(), torch.zeros(2, 54, 8, 8)), support.float())


@torch.no_grad()
def test_frames_pass_the_network_below_together_and_alike(labeled):
    """In one call; the middle frame's heatmaps are those that the single-frame network gives by itself."""
    model, calls = shaken(build()).eval(), []
    sample = clips(labeled)
    model.backbone.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    rough = model(sample).extra["rough"]
    assert calls == [6]
    alone = build(stage="rough").eval()
    state = model.state_dict()
    own = {k: v for k, v in state.items() if k.startswith(ROUGH[:2])}
    alone.load_state_dict(own | {f"head.{end}": state[f"rough.{end}"] for end in ("weight", "bias")})
    torch.testing.assert_close(alone(sample).maps / 20, rough)
    assert torch.equal(alone(sample).maps, alone(sample.window(1, 0)).maps)  # pictures, or the middle of clips
    black = replace(
        sample, inputs={**sample.inputs, "image": sample.image * torch.tensor([0, 1, 1]).byte().view(3, 1, 1, 1)}
    )
    assert torch.equal(alone(black).maps, alone(sample).maps)
    assert not torch.allclose(model(black).maps, model(sample).maps)
    later = replace(sample, inputs={**sample.inputs, "margins": sample.inputs["margins"].flip(1)})
    assert not torch.allclose(model(later).maps, model(sample).maps)
    lost = replace(sample, inputs={**sample.inputs, "margins": torch.zeros(2, 2)})  # of what could not be read
    assert model(lost).maps.isfinite().all()


# Labels, losses, reading


POINTS = torch.tensor(
    [
        [[9.4, 12.0], [-45.0, 8.0], [60.0, 60.0]],  # a patch of sigma 3 reaches from the latter into the map
        [[30.2, 31.9], [0.1, 0.2], [26.2, 4.0]],
    ]
)
KNOWN = torch.tensor([[True, True, True], [True, False, True]])


def naive_loss(maps, points, known, sigma, reference):
    """Keypoint by keypoint the error of maps (B, K, rows, columns), in float64."""
    total, (batch, joints, rows, columns) = 0.0, maps.shape
    reach, (j, i) = int(3 * sigma), torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    for k in range(joints):
        for b in range(batch):
            x, y = ((points[b, k].double() - (0.5 if reference else 2.0)) / 4).tolist()
            if reference:
                x, y = int(x + 0.5), int(y + 0.5)
                inside = -reach <= x < columns + reach and -reach <= y < rows + reach
            else:
                inside = -0.5 <= x < columns - 0.5 and -0.5 <= y < rows - 0.5
            target = torch.exp(-((i - x).double() ** 2 + (j - y).double() ** 2) / (2 * sigma**2))
            if reference:
                target = target * ((i - x).abs() <= reach) * ((j - y).abs() <= reach)
            if inside and known[b, k]:
                error = (maps[b, k] - target).square()
                total = total + (error.mean() if reference else error.sum()) / batch / joints
    return total


@pytest.mark.parametrize("reference", [True, False])
@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_losses_and_gradients_as_by_loops(labeled, reference, sigma):
    model = shaken(build(reference=reference, sigma=sigma, rough_loss=0.5))
    sample = replace(clips(labeled), keypoints=POINTS, annotated=KNOWN)
    features = model.features(sample).detach().requires_grad_()
    votes = model.votes(features, sample)
    losses = model.loss(votes, sample)
    maps = (votes.maps.detach().double() / 20).requires_grad_()
    rough = features.detach()[:, :3].double().requires_grad_()
    wanted = [naive_loss(one, POINTS, KNOWN, sigma, reference) for one in (maps, rough)]
    assert losses["heatmap"].item() == pytest.approx(wanted[0].item(), rel=1e-5)
    assert losses["rough"].item() == pytest.approx(0.5 * wanted[1].item(), rel=1e-5)
    ours = torch.autograd.grad(losses["heatmap"], votes.logits, retain_graph=True)[0]
    theirs = torch.autograd.grad(wanted[0], maps)[0] / 20
    torch.testing.assert_close(ours.mT.unflatten(2, (8, 8)).double(), theirs, rtol=1e-4, atol=1e-9)
    ours = torch.autograd.grad(losses["rough"], features)[0][:, :3]
    torch.testing.assert_close(ours.double(), 0.5 * torch.autograd.grad(wanted[1], rough)[0], rtol=1e-4, atol=1e-9)
    assert model.counted(sample)[1].tolist() == [True, False, True]
    assert model.counted(sample)[0].tolist() == [True, False, reference and sigma == 3]


def test_the_published_patch_is_19_cells_wide(labeled):
    model = build(reference=True, sigma=3.0, input_size=[160, 128])
    target = model.grid.target(torch.tensor([[[80.5, 64.5]]]), 3.0, model.cut)[0, 0]
    assert (target > 0).sum() == 19 * 19
    assert (target.argmax().item() // 40, target.argmax().item() % 40) == (16, 20)


def test_reading_moves_a_quarter_of_a_cell_as_published():
    maps = torch.zeros(1, 2, 8, 8)
    maps[0, 0, 4, 3], maps[0, 0, 4, 4], maps[0, 0, 3, 3] = 0.8, 0.5, 0.2
    maps[0, 1, 0, 5] = 0.3  # at the border: the cell
    model = build(2, reference=True)
    poses = model.decode(Votes.from_maps(model.grid, 20 * maps), None)
    assert poses.points[0].tolist() == [[4 * 3.25 + 0.5, 4 * 3.75 + 0.5], [20.5, 0.5]]
    torch.testing.assert_close(poses.confidence[0], torch.tensor([0.8, 0.3]))


# What stays, and what learns


def stays(before, after):
    """Of the single-frame network whether parameters are the same, and whether statistics are."""
    names = [name for name in before if name.startswith(ROUGH)]
    assert names
    kinds = {True: [], False: []}
    for name in names:
        kinds["running" in name or "tracked" in name].append(torch.equal(before[name], after[name]))
    return all(kinds[False]), all(kinds[True])


def copied(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("options", "learns", "moves"),
    [({}, False, False), ({"drift": True}, False, True), ({"frozen": False}, True, True)],
)
def test_a_given_network_is_frozen_with_its_statistics(tmp_path, labeled, options, learns, moves):
    """Unless the reference's drift is asked for, or it is to learn."""
    path, rough = given(tmp_path)
    model = build(weights=str(path), **options).train()
    state = model.state_dict()
    for name, value in rough.state_dict().items():
        assert torch.equal(state[name.replace("head.", "rough.")], value)
    groups = model.groups()
    assert bool(groups["backbone"]) == bool(groups["rough"]) == learns
    assert groups["head"]
    assert model.options.frozen != learns
    before, sample = copied(model), clips(labeled)
    optimizer, _ = Optimization("sgd", 0.1, {}).optimizer(groups)
    losses = model.loss(model(sample), sample)
    assert ("rough" in losses) == learns
    sum(losses.values()).backward()
    optimizer.step()
    assert stays(before, model.state_dict()) == (not learns, not moves)
    assert not torch.equal(before["head.warps.0.weight"], model.state_dict()["head.warps.0.weight"])
    assert all(p.grad is None for p in model.backbone.parameters()) != learns
    model.eval().train()
    assert model.backbone.training == (moves or learns)
    assert model.fusion.training


@pytest.mark.parametrize("name", suited(["image"]))
def test_no_strategy_touches_what_is_frozen(tmp_path, toys, iterate, name):
    """Neither by gradients, nor by averages, nor by statistics, which some move whatever is frozen by a policy."""
    model = shaken(build(weights=str(given(tmp_path)[0]), dilations=[1, 2]))
    strategy = STRATEGIES[name](model, toys.DOTS, Optimization("adam", 1e-2, {}, 0.0)).train()
    cut = (32, 32), Augmentation(rotation=20, mirror=0.0)
    sides = {"source": ("plain", True), "target": ("shifted", strategy.labelled_target)}
    batches = {
        domain: TrainingBatches(data(toys, style=style), domain, 0, 4, *cut, labels, strategy.views[domain])
        for domain, (style, labels) in sides.items()
    }
    before, optimizers = copied(strategy.predictor), strategy.optimizers()
    strategy.begin_round(everyone(strategy.predictor, data(toys, style="shifted"), 16, *cut, CPU))
    for step in range(2):
        pair = (batches[side][step] if side in strategy.needs or side == "target" else None for side in batches)
        iterate(strategy, *pair, optimizers)
    after = strategy.predictor.state_dict()
    assert stays(before, after) == (True, True)
    assert all(value.isfinite().all() for value in after.values())
    moved = [key for key in before if not torch.equal(before[key], after[key])]
    assert bool(moved) == (name != "given")


def test_statistics_are_mixed_around_what_is_frozen(tmp_path, toys):
    from keyshift.adapt.batch_norm import mix, norms_of, seen_on

    model = build(weights=str(given(tmp_path)[0]))
    seen = seen_on(model, [EvaluationBatches(data(toys), 8, (32, 32))[0]], CPU)
    mixed = mix(model, seen, 0.5)
    assert stays(copied(model), mixed.state_dict()) == (True, True)
    name = "fusion.layers.0.conv_bn_relu1.bn.running_mean"
    torch.testing.assert_close(mixed.state_dict()[name], (model.state_dict()[name] + seen.state_dict()[name]) / 2)
    assert 0 < len(norms_of(model)) < len(norms_of(build()))


def test_a_run_that_goes_on_may_free_it(tmp_path):
    """What the options of the run say counts, not what the file was trained with; null leaves it."""
    save_model(tmp_path / "full.pt", build(weights=str(given(tmp_path)[0])), DOTS, 0)
    options = DCPose.Options(**SMALL)

    def resumed(**changes):
        return load_model(tmp_path / "full.pt")[0].resumed(replace(options, **changes))

    assert resumed().held
    assert not resumed().groups()["backbone"]
    assert not resumed(frozen=False).held
    assert resumed(frozen=False).groups()["backbone"]
    drifting = resumed(drift=True)
    assert not drifting.held
    assert not drifting.groups()["backbone"]
    assert drifting.resumed(replace(options, frozen=False)).groups()["backbone"]
    assert drifting.resumed(replace(options, frozen=True)).held
    with pytest.raises(ValueError, match=r"is of model.stage=full, not rough: say model.stage=full, or build a full"):
        resumed(stage="rough")
    with pytest.raises(ValueError, match=r"model.adapters=2 lets the single-frame network learn, model.frozen=true"):
        resumed(adapters=2)
    adapted = resumed(frozen=False, adapters=2)
    assert 0 < len(adapted.groups()["backbone"]) < len(list(adapted.backbone.parameters()))


# Weights


def tiny_hrnet(monkeypatch):
    monkeypatch.setitem(HRNETS, "hrnet_w18_small", Form(4, 1, (1, 1, 1), "none/none.none"))
    return {"backbone": "hrnet_w18_small", "input_size": [64, 32]}


def test_weights_of_the_published_pose_hrnet(tmp_path, monkeypatch):
    """Its body, and where it has as many keypoints its heatmaps: then it is frozen."""
    small = tiny_hrnet(monkeypatch)
    source = shaken(build(stage="rough", **small))
    body = {key.removeprefix("backbone."): value for key, value in source.state_dict().items() if "backbone" in key}
    pose = body | {f"final_layer.{end}": source.state_dict()[f"head.{end}"] for end in ("weight", "bias")}
    torch.save({"state_dict": {f"module.{key}": value for key, value in pose.items()}}, tmp_path / "pose.pth")
    torch.save(body, tmp_path / "body.pth")
    model = build(weights=str(tmp_path / "pose.pth"), **small)
    assert torch.equal(model.rough.weight, source.head.weight)
    assert all(torch.equal(model.backbone.state_dict()[key], value) for key, value in body.items())
    assert model.held
    others = build(5, weights=str(tmp_path / "pose.pth"), **small)
    body_alone = build(weights=str(tmp_path / "body.pth"), **small)
    for one in (others, body_alone):
        assert all(torch.equal(one.backbone.state_dict()[key], value) for key, value in body.items())
        assert not one.held
        assert one.groups()["backbone"]
    with pytest.raises(ValueError, match=r"gives no heatmaps of 5 keypoints, so that random ones would stay"):
        build(5, weights=str(tmp_path / "pose.pth"), frozen=True, **small)
    rough = build(stage="rough", weights=str(tmp_path / "pose.pth"), **small)
    assert torch.equal(rough.head.weight, source.head.weight)
    assert rough.groups()["backbone"]


def test_a_released_checkpoint_of_any_size(monkeypatch):
    small = tiny_hrnet(monkeypatch)
    model = shaken(build(5, **small, dilations=[3, 6, 9, 12, 15]))
    lists = {
        "offsets": ("offsets_list", "0."),
        "masks": ("masks_list", "0."),
        "warps": ("modulated_deform_conv_list", "deform_conv."),
    }
    begins = {
        "backbone.": "rough_pose_estimation_net.",
        "rough.": "rough_pose_estimation_net.final_layer.",
        "difference.": "diff_temporal_fuse.",
        "support.": "support_temporal_fuse.",
        "fusion.": "offset_mask_combine_conv.",
    }
    state = {}
    for key, value in model.state_dict().items():
        part, number, end = (key.split(".") + [""] * 2)[1:4]
        if key.startswith("head."):
            key = f"{lists[part][0]}.{number}.{lists[part][1]}{end}"
        else:
            begin = next(begin for begin in begins if key.startswith(begin))
            key = begins[begin] + key.removeprefix(begin)
        state[key] = value
    monkeypatch.setitem(HRNETS, "hrnet_w4", HRNETS["hrnet_w18_small"])
    read = load_reference(state, (64, 32))
    assert read.keypoints == 5
    assert read.options.backbone == "hrnet_w4"
    assert read.options.fused == 16
    assert all(torch.equal(read.state_dict()[key], value) for key, value in model.state_dict().items())
    with pytest.raises(
        ValueError, match=r"not a DCPose checkpoint: found 1 entries such as \['a'\]; expected rough_pose"
    ):
        load_reference({"a": torch.ones(1)})


def test_weights_that_do_not_fit(tmp_path):
    path = str(given(tmp_path)[0])
    with pytest.raises(ValueError, match=r"model.weights=.*rough.pt: its single-frame network does not fit: .*rough"):
        build(4, weights=path)
    model = build(weights=path)
    assert model.know(DOTS) is model
    other = Skeleton("others", ("blue", "green", "red"))
    with pytest.raises(ValueError, match=r"rough.pt answers red, green, blue; here they are blue, green, red"):
        model.know(other)
    with pytest.raises(ValueError, match=r"model.frozen=true is of model.stage=full"):
        build(stage="rough", frozen=True)
    with pytest.raises(ValueError, match=r"model.input_size 36x32 must be a multiple of the backbone's stride 8"):
        build(input_size=[36, 32])
    (tmp_path / "text.pt").write_text("nothing")
    with pytest.raises(ValueError, match=r"text.pt: it is a text, which begins with 'nothing'"):
        build(weights=str(tmp_path / "text.pt"))
    assert DCPose.Options(frozen=True).freezes == "frozen=true"
    assert DCPose.Options(frozen=True, weights="file").freezes == DCPose.Options().freezes == ""


@torch.no_grad()
@pytest.mark.parametrize(
    "options", [{}, {"stage": "rough"}, {"dilations": [2], "head_layers": 2, "input_size": [24, 40]}]
)
def test_it_is_saved_and_built_again(tmp_path, labeled, options):
    model = shaken(build(**options)).eval()
    save_model(tmp_path / "model.pt", model, DOTS, 0)
    again, skeleton = load_model(tmp_path / "model.pt")
    assert skeleton == DOTS
    sample = clips(labeled, width=model.input_size[0], height=model.input_size[1])
    assert torch.equal(again.eval()(sample).logits, model(sample).logits)
    assert again.options == model.options


def test_what_is_frozen_stays_so_in_a_file(tmp_path):
    model = build(weights=str(given(tmp_path)[0]))
    save_model(tmp_path / "model.pt", model, DOTS, 0)
    again = load_model(tmp_path / "model.pt")[0].train()
    assert again.held == model.held == ("backbone", "upsampling", "rough")
    assert not again.backbone.training


# Use


def test_what_a_set_lacks_is_said(toys):
    class NoMargins(View):
        def __getitem__(self, index):
            return replace(self.dataset[index], inputs={})

    sample = EvaluationBatches(NoMargins(data(toys)), 2, (32, 32))[0]
    with pytest.raises(
        ValueError, match=r"DCPose reads image and margins; walks gives image. Choose a system and data"
    ):
        build().check(sample, "walks")
    scenes = EvaluationBatches(toys.Scenes(toys.Scenes.Options(), "train"), 2, (32, 32))[0]
    with pytest.raises(ValueError, match="DCPose reads image and margins; scenes gives image"):
        build().check(scenes, "scenes")
    build().check(EvaluationBatches(data(toys), 2, (32, 32))[0], "walks")
    rough = build(stage="rough")
    for one in (sample, scenes):
        rough.check(one, "either")
    assert (rough.reads, rough.frames) == (("image",), 0)


@pytest.mark.parametrize("keypoints", [1, 2])
def test_few_keypoints(labeled, keypoints):
    model, sample = build(keypoints).train(), clips(labeled, keypoints=keypoints)
    votes = model(sample)
    assert votes.maps.shape == (2, keypoints, 8, 8)
    sum(model.loss(votes, sample).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("stage", ["full", "rough"])
def test_heads_have_one_form(labeled, stage, layers):
    model, sample = build(stage=stage), clips(labeled)
    other = model.new_head(layers)
    features = model.features(sample)
    assert tuple(features.shape[1:]) == model.feature_shape()
    votes = model.votes(features, sample, other)
    assert votes.maps.shape == (2, 3, 8, 8)
    votes.logits.square().sum().backward()
    assert all(p.grad is not None for p in other.parameters())
    model.restart_head(layers)
    assert model(sample).maps.shape == (2, 3, 8, 8)


def test_mirror_images(labeled, toys):
    """The mean of what is said of both; of a clip all frames are mirrored, and their order stays."""
    model, sample = shaken(build()).eval(), clips(labeled)
    with torch.no_grad():
        poses = model.decode(model(sample), sample)
        both = with_mirror(poses, model, sample, [1, 0, 2])
        image = sample.image.flip(-1)
        there = model.decode(model(replace(sample, inputs={**sample.inputs, "image": image})), sample)
    points = there.points[:, [1, 0, 2]] * torch.tensor([-1.0, 1.0]) + torch.tensor([32.0, 0.0])
    torch.testing.assert_close(both.points, (poses.points + points) / 2)
    assert not torch.equal(both.points, poses.points)


@torch.no_grad()
@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("stage", ["full", "rough"])
def test_it_is_exported(tmp_path, labeled, monkeypatch, stage):
    """For any number of clips onnxruntime answers what PyTorch does, with offsets that move. Chains are of one block,
    for exporters take as long as there are layers."""
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(dcpose, "Chain", lambda inputs, outputs, _: Chain(inputs, outputs, 1))
    model = shaken(build(stage=stage, dilations=[1, 3])).eval()
    to_program(model, (32, 32), tmp_path / "model.pt2", DOTS)
    to_onnx(model, (32, 32), tmp_path / "model.onnx", DOTS)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    assert ("margins" in texts) == (stage == "full")
    for count in (1, 3):
        sample = clips(labeled, count)
        if stage == "rough":
            sample = sample.window(1, 0)
        poses = model.decode(model(sample), sample)
        points, confidence = session.run(None, {name: sample.inputs[name].numpy() for name in model.reads})
        np.testing.assert_allclose(points, poses.points, atol=1e-2)
        np.testing.assert_allclose(confidence, poses.confidence, atol=1e-4)


# Learning


class Dark(View):
    """The middle frame is black."""

    def __getitem__(self, index):
        item = self.dataset[index]
        image = item.image.copy()
        image[1] = 0
        return replace(item, image=image)


def learned(toys, steps, rate, view=lambda one: one, seed=0, **options):
    """The network after `steps` of 8 clips."""
    model = build(seed=seed, **options).train()
    batches = TrainingBatches(view(data(toys)), "source", seed, 8, (32, 32), Augmentation(rotation=20), labels=True)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate)
    for step in range(steps):
        sample = batches[step]
        loss = sum(model.loss(model(sample), sample).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def pck(toys, model, view=lambda one: one):
    """At a tenth of the side, on new clips."""
    test = EvaluationBatches(view(data(toys, "test", 48)), 48, (32, 32))[0]
    return scores(predict(model, [test], CPU), toys.DOTS, 0.1)["pck"]


@pytest.mark.usefixtures("shallow")
def test_both_stages_learn_and_three_frames_see_what_one_does_not(tmp_path, toys):
    """The single-frame network learns dots, and where they are dark it is lost. Over it, frozen, the whole finds them
    by the frames around."""
    rough = learned(toys, 90, 1e-2, stage="rough")
    assert pck(toys, rough) > 0.7
    assert pck(toys, rough, Dark) < 0.4
    save_model(tmp_path / "rough.pt", rough, DOTS, 90)
    model = learned(toys, 80, 3e-3, Dark, weights=str(tmp_path / "rough.pt"), dilations=[1, 2])
    assert pck(toys, model, Dark) > 0.6


@pytest.mark.usefixtures("shallow")
def test_all_of_it_learns_from_nothing(toys):
    """The rough heatmaps too, by a loss of their own."""
    before = build(dilations=[1, 2]).eval()
    after = learned(toys, 70, 3e-3, dilations=[1, 2]).eval()
    sample = EvaluationBatches(data(toys, "test"), 32, (32, 32))[0]
    with torch.no_grad():
        errors = [{n: float(v) for n, v in model.loss(model(sample), sample).items()} for model in (before, after)]
    for name in ("heatmap", "rough"):
        assert errors[1][name] < 0.9 * errors[0][name], errors
