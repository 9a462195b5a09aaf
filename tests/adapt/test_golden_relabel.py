"""What methods that label anew share, against the numbers of the reference code and against slow second writings."""

import numpy as np
import pytest
import torch

from keyshift.adapt.relabel import averaged_maps, consensus, joints_mse, kept, read_maps, target_maps, threshold


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.load("strategy_ccssl")


def frames(arrays):
    return sorted({int(name[5]) for name in arrays.files if name.startswith("frame")})


def given_maps(golden, arrays, frame):
    passes, (joints, height, width) = len(arrays[f"frame{frame}.warps"]), arrays[f"frame{frame}.average.shape"]
    name = f"maps{frame}"
    noise = 0.05 * golden.draw(name).standard_normal((passes, joints, height, width))
    place = 10 + 44 * golden.uniform(f"{name}.place", (joints, 2))
    high = 0.2 + 0.8 * golden.uniform(f"{name}.height", (passes, joints, 1, 1))
    yy, xx = np.mgrid[:height, :width]
    away = (xx - place[:, 0, None, None]) ** 2 + (yy - place[:, 1, None, None]) ** 2
    maps = (noise + high * np.exp(-away / 8)).astype(np.float32)
    maps[:, 3] = -np.abs(maps[:, 3]) - 1
    return torch.from_numpy(maps)


def average(golden, arrays, frame):
    zoom, angle = torch.from_numpy(arrays[f"frame{frame}.warps"]).unbind(1)
    return averaged_maps(given_maps(golden, arrays, frame), zoom * 200 / 256, angle)


def test_averages_and_keypoints_of_maps(golden, arrays):
    """Of the first frame; the others' keypoints are chained, and compared with their flow."""
    for frame in frames(arrays):
        value, name = average(golden, arrays, frame).double().numpy(), f"frame{frame}.average"
        assert value.shape == tuple(arrays[f"{name}.shape"])
        mean, deviation, low, high = arrays[f"{name}.stats"]
        assert (
            np.abs([value.mean() - mean, value.std() - deviation, value.min() - low, value.max() - high]).max() < 5e-3
        )
        value = value[tuple(slice(None, None, step) for step in arrays[f"{name}.step"])]
        assert np.abs(value - arrays[name]).max() < 1e-5  # the recipe asks for 5e-3
    keypoints = read_maps(average(golden, arrays, 0)).numpy()
    assert np.array_equal(keypoints[:, :2], arrays["frame0.keypoints"][:, :2])
    assert np.abs(keypoints[:, 2] - arrays["frame0.keypoints"][:, 2]).max() < 1e-5


def test_targets(arrays):
    for frame in frames(arrays):
        shape = tuple(int(n) for n in arrays[f"frame{frame}.average.shape"][1:])
        maps = target_maps(torch.from_numpy(arrays[f"frame{frame}.keypoints"][:, :2]), shape).flatten(1)
        assert np.array_equal(maps.argmax(1), arrays[f"frame{frame}.target.argmax"])
        assert np.abs(maps.sum(1).numpy() - arrays[f"frame{frame}.target.sum"]).max() < 2e-5


def test_selection(golden, arrays):
    confidence = torch.from_numpy(golden.uniform("selection.confidence", arrays["selection.kept"].shape[1:])).float()
    for k, epoch in enumerate(arrays["selection.epochs"]):
        dropped = max(1 - 0.02 * (int(epoch) + 10), 0.2)
        assert threshold(confidence, dropped).item() == pytest.approx(arrays["selection.threshold"][k], rel=1e-6)
        assert np.array_equal(kept(confidence, dropped), arrays["selection.kept"][k])


def test_loss(golden, arrays):
    shape = arrays["loss.weighted.grad_output"].shape
    output = golden.normal("loss.output", shape, 0.3).requires_grad_()
    target = golden.normal("loss.target", shape, 0.3)
    weight = torch.from_numpy(golden.uniform("loss.weight", (*shape[:2], 1)) > 0.4).float()
    loss = joints_mse(output, target, weight)
    golden.compare(arrays, "loss.weighted", loss)
    golden.compare(arrays, "loss.weighted.grad_output", torch.autograd.grad(loss, output)[0])
    golden.compare(arrays, "loss.fewer_joints", joints_mse(output, target, weight, 4))


def test_the_highest_place_of_the_passes():
    """Against a search over a fine grid: clusters, a pass that stands apart, one that is not sure."""
    torch.manual_seed(0)
    centre = 20 + 20 * torch.rand(1, 4, 3, 2)
    points = centre + 1.5 * torch.randn(5, 4, 3, 2)
    points[2] += torch.tensor([9.0, -7.0])
    confidence = torch.rand(5, 4, 3)
    radius = torch.tensor([2.0, 3.0, 1.0, 1.5]).view(4, 1, 1)
    place, height = consensus(points, confidence, radius)
    axis = torch.arange(5, 55, 0.1)
    cells = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).flatten(0, 1)
    for person in range(4):
        for k in range(3):
            away = torch.cdist(cells, points[:, person, k]) / radius[person, 0]
            total = (confidence[:, person, k] * torch.exp(-away.square() / 2)).mean(1)
            assert height[person, k] == pytest.approx(total.max().item(), rel=2e-3)
            assert (place[person, k] - cells[total.argmax()]).norm() < 0.3


def test_passes_that_agree_say_what_averaged_maps_say():
    """One place seen in five known warps: the reference's average peaks at its cell, ours stands there."""
    zoom, angle = torch.tensor([1.0, 1.2, 0.9, 1.1, 0.8]), torch.tensor([0.0, 20.0, -35.0, 8.0, 50.0])
    place, heights = torch.tensor([40.0, 27.0]), torch.tensor([0.9, 0.8, 0.5, 0.7, 0.6])
    seen = (place + 0.5 - 32) / zoom[:, None] - 0.5 + 32  # undo the zoom, then the turn
    x, y = (seen - 32).unbind(-1)
    c, s = torch.deg2rad(angle).cos(), torch.deg2rad(angle).sin()
    seen = torch.stack([c * x + s * y, c * y - s * x], -1) + 32
    axis = torch.arange(64.0)
    away = (axis - seen[:, :1])[:, None, :].square() + (axis - seen[:, 1:])[:, :, None].square()
    maps = heights[:, None, None] * torch.exp(-away / 8)
    x, y, height = read_maps(averaged_maps(maps[:, None], zoom, angle))[0].tolist()
    assert abs((x - 1) / 4 - 40) <= 1
    assert abs((y - 1) / 4 - 27) <= 1
    point, confidence = consensus(place.expand(5, 1, 1, 2), heights.view(5, 1, 1), torch.full((1, 1, 1), 2.0))
    torch.testing.assert_close(point[0, 0], place)
    assert confidence.item() == pytest.approx(heights.mean().item(), abs=1e-6)
    assert height == pytest.approx(confidence.item(), rel=0.1)  # its maps are up to a cell apart: sizes are rounded


def test_ties():
    same = torch.ones(2, 3)
    assert not kept(same, 0.5).any()
    assert kept(same, 0.5, ties=True).all()
    assert kept(torch.tensor([0.0, 0.0, 0.0, 1.0]), 0.2, ties=True).tolist() == [False, False, False, True]
