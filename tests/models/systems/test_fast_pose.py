"""FastPose: sizes of the published networks, and labels, loss, decoding and input against loops over their formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.resnet import Bottleneck

from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.export import to_onnx
from keyshift.models.heatmaps import quarter_on
from keyshift.models.output import Grid, Votes
from keyshift.models.pose_model import normalize
from keyshift.models.saved import load_model, save_model
from keyshift.models.systems.fast_pose import Deformed, FastPose, less_mean, squeeze
from keyshift.models.systems.pose_resnet import PoseResNet

RGB = Skeleton("rgb", ("red", "green", "blue"))


def tiny(keypoints=3, **options):
    torch.manual_seed(0)
    return FastPose(
        keypoints, FastPose.Options(**{"backbone": "small", "input_size": [40, 32], "sigma": 1.0} | options)
    )


def pictures(count=2, width=40, height=32):
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=draw)


@pytest.mark.parametrize(
    ("backbone", "parameters", "entries"),
    [("se_resnet50", 40_577_745, 348), ("se_resnet101", 59_569_873, 654), ("se_resnet152", 75_213_521, 960)],
)
def test_published_sizes(backbone, parameters, entries):
    """Parameters as counted in the published networks; entries of a ResNet-50's state as well."""
    with torch.device("meta"):
        model = FastPose(17, FastPose.Options(backbone=backbone))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(model.state_dict()) == entries
    shapes = [tuple(layer.weight.shape) for layer in model.upsampling if isinstance(layer, nn.Conv2d)]
    assert shapes == [(1024, 512, 3, 3), (512, 256, 3, 3)]
    assert model.head.weight.shape == (17, 128, 3, 3)
    assert model.grid == Grid((64, 48), (4.0, 4.0), (2.0, 2.0))
    assert float(model.options.sigma) == 2.0


def test_any_backbone_goes_below_the_same_head():
    image = pictures(1, 64, 64)
    for backbone, channels in (("small", 48), ("se_resnet18", 32), ("resnet18", 32), ("timm:test_vit", None)):
        if backbone.startswith("timm"):
            pytest.importorskip("timm")
        model = FastPose(5, FastPose.Options(backbone=backbone, input_size=[64, 64])).eval()
        assert channels in (None, model.channels)
        with torch.no_grad():
            maps = model.head(model.upsampling(model.backbone(normalize(image))))
        assert maps.shape == (1, 5, 16, 16)


@torch.no_grad()
def test_the_first_block_of_each_level_is_squeezed_and_excited():
    """Behind bn3, before the sum: the channels' means go through two layers and a sigmoid, whose answer scales them."""
    torch.manual_seed(0)
    levels = [nn.Sequential(Bottleneck(32, 8), Bottleneck(32, 8)) for _ in range(4)]
    backbone = nn.Module()
    for number, level in enumerate(levels, 1):
        backbone.add_module(f"layer{number}", level)
    squeeze(backbone)
    assert all(isinstance(level[1].bn3, nn.BatchNorm2d) for level in levels)
    block, image = levels[2][0].eval(), torch.randn(2, 32, 3, 5)
    norm, gate = block.bn3
    inner = torch.relu(block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(image))))))
    features = norm(block.conv3(inner))
    first, second = gate.fc1.weight[:, :, 0, 0].double(), gate.fc2.weight[:, :, 0, 0].double()
    assert first.shape == second.shape == (32, 32)
    wanted = torch.empty(2, 32, 3, 5)
    for b in range(2):
        means = torch.tensor([sum(features[b, c].flatten().tolist()) / 15 for c in range(32)]).double()
        hidden = (first @ means + gate.fc1.bias.double()).clamp_min(0)
        answer = second @ hidden + gate.fc2.bias.double()
        for c in range(32):
            wanted[b, c] = (features[b, c] / (1 + math.exp(-answer[c])) + image[b, c]).clamp_min(0)
    assert torch.allclose(block(image), wanted, atol=1e-5)


def naive_deformed(image, layer):
    """Each tap at its place and what the offsets add, bilinear, nothing outside, times the sigmoid of its weight."""
    count, _, height, width = image.shape
    moved = layer.offset(image)
    rows, columns = moved.shape[-2:]
    answer = torch.zeros(count, layer.out_channels, rows, columns)

    def read(b, y, x):
        top, left, total = math.floor(y), math.floor(x), torch.zeros(image.shape[1])
        for j, i in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            if 0 <= j < height and 0 <= i < width:
                total += (1 - abs(y - j)) * (1 - abs(x - i)) * image[b, :, j, i]
        return total

    for b in range(count):
        for row in range(rows):
            for column in range(columns):
                for tap in range(9):
                    dy, dx = moved[b, 2 * tap, row, column], moved[b, 2 * tap + 1, row, column]
                    y, x = (
                        row * layer.stride[0] + tap // 3 - 1 + float(dy),
                        column * layer.stride[1] + tap % 3 - 1 + float(dx),
                    )
                    weight = 1 / (1 + math.exp(-float(moved[b, 18 + tap, row, column])))
                    answer[b, :, row, column] += weight * (layer.weight[:, :, tap // 3, tap % 3] @ read(b, y, x))
    return answer


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2])
def test_a_deformable_convolution(stride):
    torch.manual_seed(0)
    plain, image = nn.Conv2d(4, 5, 3, stride, 1, bias=False), torch.randn(2, 4, 6, 5)
    layer = Deformed(plain)
    assert torch.allclose(layer(image), plain(image) / 2, atol=1e-6)  # a sigmoid of 0
    nn.init.normal_(layer.offset.weight, std=0.3)
    nn.init.normal_(layer.offset.bias)
    assert torch.allclose(layer(image), naive_deformed(image, layer), atol=1e-5)


def test_the_deformable_variant():
    """27 numbers for the 9 taps in the blocks of the last three levels."""
    with torch.device("meta"):
        model = FastPose(17, FastPose.Options(deformable=True))
    blocks = [block for level in (2, 3, 4) for block in model.backbone.get_submodule(f"layer{level}")]
    assert len(blocks) == 13
    assert all(block.conv2.offset.weight.shape == (27, block.conv2.in_channels, 3, 3) for block in blocks)
    widths = 4 * [128] + 6 * [256] + 3 * [512]
    assert sum(p.numel() for p in model.parameters()) == 40_577_745 + sum(27 * 9 * width + 27 for width in widths)
    with pytest.raises(ValueError, match=r"model.deformable=true is of ResNets; model.backbone='small' is none"):
        tiny(deformable=True)


@torch.no_grad()
def test_the_deformable_variant_is_exported(tmp_path):
    """Taps that move, as after training; what onnxruntime answers is what PyTorch does."""
    onnxruntime = pytest.importorskip("onnxruntime")
    model = tiny(backbone="resnet18", weights=None, input_size=[32, 32], deformable=True).eval()
    moved = [layer for layer in model.modules() if isinstance(layer, Deformed)]
    assert len(moved) == 6
    for layer in moved:
        nn.init.normal_(layer.offset.bias)
    nn.init.normal_(model.head.weight, std=0.1)
    for stage in (f"layer{number}" for number in range(1, 5)):  # exporters take as long as there are blocks
        setattr(model.backbone, stage, getattr(model.backbone, stage)[:1])
    assert sum(isinstance(layer, Deformed) for layer in model.modules()) == 3
    to_onnx(model, (32, 32), tmp_path / "model.onnx", RGB)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 3):
        image = pictures(count, 32, 32)
        sample = replace(model.empty(), inputs={"image": image}, id=("",) * count)
        poses = model.decode(model(sample), sample)
        points, confidence = session.run(None, {"image": image.numpy()})
        np.testing.assert_allclose(points, poses.points, atol=1e-2)
        np.testing.assert_allclose(confidence, poses.confidence, atol=1e-4)
    assert float(confidence.max()) > 0.01


POINTS = torch.tensor(
    [
        [[9.4, 12.0], [-20.0, 8.0], [80.0, 60.0]],  # 80, 60: further from the map's corner than a patch reaches
        [[38.2, 31.9], [0.1, 0.2], [56.2, 4.0]],
    ]
)
KNOWN = torch.tensor([[True, True, True], [True, False, True]])


def naive_reference_loss(maps, points, known, sigma=2.0):
    """Maps (B, K, rows, columns), points in pixels with the first one's middle at 0.5."""
    batch, joints, rows, columns = maps.shape
    total, counted = 0.0, []
    for b in range(batch):
        for k in range(joints):
            x, y = (int((float(p) - 0.5) / 4 + 0.5) for p in points[b, k])
            reach = int(3 * sigma)
            seen = x + reach >= 0 and y + reach >= 0 and x - reach < columns and y - reach < rows
            weight = float(seen and bool(known[b, k]))
            counted.append(weight > 0)
            for j in range(rows):
                for i in range(columns):
                    near = abs(i - x) <= reach and abs(j - y) <= reach
                    target = math.exp(-((i - x) ** 2 + (j - y) ** 2) / (2 * sigma**2)) if near else 0.0
                    total += weight * (float(maps[b, k, j, i]) - target) ** 2
    return 0.5 * total / maps.numel(), counted


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_the_reference_loss(labeled, sigma):
    model = tiny(reference=True, sigma=sigma)
    sample = labeled(pictures(), POINTS, KNOWN)
    votes = model(sample)
    wanted, counted = naive_reference_loss(votes.maps.detach() / 20, POINTS, KNOWN, sigma)
    assert model.loss(votes, sample)["heatmap"].item() == pytest.approx(wanted, rel=1e-5)
    assert model.counted(sample).flatten().tolist() == counted
    assert counted.count(False) > 1


def test_ours_is_exact_and_summed_over_cells(labeled):
    model = tiny()
    sample = labeled(pictures(), POINTS, KNOWN)
    maps = (model(sample).maps / 20).detach()
    total = 0.0
    for b, k in ((0, 0), (1, 0)):  # the others are outside the picture, or not known
        for j in range(8):
            for i in range(10):
                away = (POINTS[b, k] - torch.tensor([4 * i + 2.0, 4 * j + 2.0])) / 4
                total += (float(maps[b, k, j, i]) - math.exp(-float(away.square().sum()) / 2)) ** 2
    assert model.loss(model(sample), sample)["heatmap"].item() == pytest.approx(0.5 * total / 6, rel=1e-5)


def test_decoding_as_the_reference_moves_a_quarter_of_a_cell():
    torch.manual_seed(3)
    maps = torch.rand(6, 40, 8, 10)
    maps[0, 0] = 0.0  # a tie with both neighbours: the cell itself; the first cell
    maps[1, 1, 3, 4], maps[1, 1, 3, 3], maps[1, 1, 3, 5] = 2.0, 0.5, 0.5
    points = quarter_on(Votes.from_maps(Grid((8, 10), (4.0, 4.0), (0.5, 0.5)), 20 * maps))
    corners = 0
    for b in range(6):
        for k in range(40):
            best = int(maps[b, k].flatten().argmax())
            y, x = divmod(best, 10)
            wanted = [float(x), float(y)]
            if 1 < x < 9 and 1 < y < 7:
                right, down = maps[b, k, y, x + 1] - maps[b, k, y, x - 1], maps[b, k, y + 1, x] - maps[b, k, y - 1, x]
                wanted = [x + 0.25 * float(right.sign()), y + 0.25 * float(down.sign())]
            else:
                corners += 1
            assert points[b, k].tolist() == [4 * wanted[0] + 0.5, 4 * wanted[1] + 0.5]
    assert 0 < corners < 240
    model = tiny(reference=True).eval()
    votes = Votes.from_maps(model.grid, 20 * maps)
    poses = model.decode(votes, None)
    assert torch.equal(poses.points, quarter_on(votes))
    assert torch.allclose(poses.confidence, maps.flatten(2).amax(2).clamp_max(1))
    low = Votes.from_maps(model.grid, -20 * maps - 1)
    assert not model.decode(low, None).confidence.any()
    assert torch.equal(tiny().decode(votes, None).confidence, votes.confidence())


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 5), (5, 2)])
def test_small_maps_have_no_quarters(shape):
    torch.manual_seed(4)
    votes = Votes.from_maps(Grid(shape, (4.0, 4.0), (0.5, 0.5)), torch.rand(3, 8, *shape))
    assert torch.equal(quarter_on(votes), votes.peak())


def test_ours_decodes_the_strongest_cell(labeled):
    model = tiny().eval()
    votes = model(labeled(pictures(), POINTS))
    assert torch.equal(model.decode(votes, None).points, votes.peak())


def test_what_the_reference_sees():
    """Bytes and pictures that are normalised as ImageNet's come to the same."""
    image = pictures()
    seen = less_mean(image)
    for channel, mean in enumerate((0.406, 0.457, 0.480)):
        assert torch.allclose(seen[:, channel], image[:, channel].float() / 255 - mean, atol=1e-6)
    assert torch.allclose(less_mean(normalize(image)), seen, atol=1e-6)


@pytest.mark.parametrize("reference", [False, True])
def test_it_learns_and_exports(tmp_path, dots, labeled, reference):
    """A few pictures by heart; what is saved, and what onnxruntime runs, answers the same."""
    pytest.importorskip("onnxruntime")
    items = [dots(6)[i] for i in range(6)]
    image = torch.stack([torch.from_numpy(item.image).permute(2, 0, 1) for item in items])
    sample = labeled(image, torch.stack([torch.from_numpy(item.keypoints).float() for item in items]))
    model = tiny(input_size=[32, 32], reference=reference).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(25):
        loss = model.loss(model(sample), sample)["heatmap"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for norm in (one for one in model.modules() if isinstance(one, nn.BatchNorm2d)):
        norm.momentum = None
        norm.reset_running_stats()
    with torch.no_grad():
        model(sample)
        votes = model.eval()(sample)
    poses = model.decode(votes, sample)
    away = (poses.points - sample.keypoints).norm(dim=-1).max()
    assert away < 2.9 + 1.5 * reference  # half a diagonal of a cell; a quarter of one from a label that is rounded
    assert to_onnx(model, (32, 32), tmp_path / "model.onnx", RGB).most < 1e-3
    save_model(tmp_path / "weights.pt", model, RGB, 25)
    again = load_model(tmp_path / "weights.pt")[0].eval()
    with torch.no_grad():
        assert torch.equal(again(sample).logits, votes.logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": [44, 32]}, "44x32 must be a multiple of the backbone's stride 8"),
        ({"backbone": "se_convnext_tiny"}, "model.backbone='se_convnext_tiny' is not known; choose one of se_resnet18"),
        ({"backbone": "resnet5"}, "model.backbone='resnet5' is not known"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_it_starts_from_weights_of_the_resnet_below(tmp_path):
    """The ResNet's own file; squeeze and excitation start afresh."""
    torch.manual_seed(0)
    resnet = PoseResNet(2, PoseResNet.Options(backbone="resnet18")).backbone
    torch.save(resnet.state_dict(), tmp_path / "resnet18.pth")
    model = FastPose(17, FastPose.Options(backbone="se_resnet18", weights=str(tmp_path / "resnet18.pth")))
    assert torch.equal(model.backbone.layer4[1].conv2.weight, resnet.layer4[1].conv2.weight)
    assert torch.equal(model.backbone.layer2[0].bn2[0].weight, resnet.layer2[0].bn2.weight)
    assert model.architecture["weights"] is None
    assert len(COCO17) == model.keypoints
