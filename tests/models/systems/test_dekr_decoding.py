"""How DEKR reads people, against loops that follow the published code person by person."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit
from torch.nn import functional as F

from keyshift.models.output import Grid, Votes
from keyshift.models.systems.dekr_decoding import Reading, kept, people_in, refined, snapped

SHARPNESS = 20.0


def view(heat, center, offsets, scale=1.0, first=0.5):
    grid = Grid(tuple(heat.shape[-2:]), (4 / scale,) * 2, (first,) * 2)
    return Votes.from_maps(grid, SHARPNESS * heat, center=center, offsets=offsets)


def enlarged(maps, ratio):
    """The published `up_interpolate`, of maps (C, h, w)."""
    height, width = maps.shape[-2:]
    size = height * ratio - ratio + 1, width * ratio - ratio + 1
    maps = F.interpolate(maps[None], size, mode="bilinear", align_corners=True)
    return F.pad(maps, (0, ratio - 1, 0, ratio - 1), "replicate")[0]


def by_loops(views, image, reading):
    """[(points (K, 2) px of the reference, scores (K))] of one image, people in the order that they are kept in."""
    scales = [4 / one.grid.stride[0] for one in views]
    order = sorted(range(len(views)), key=lambda place: -scales[place])
    candidates, strongest, total = [], {}, 0
    for place in order:
        center, offsets = (views[place].extra[name][image] for name in ("center", "offsets"))
        ratio = round(4 / scales[place])
        total = total + enlarged(views[place].maps[image] / SHARPNESS, ratio)
        side = sum(center.shape) / 2
        pool = 7 if side > 300 else 5 if side > 200 else 3
        best = F.max_pool2d(center[None, None], pool, 1, pool // 2)[0, 0]
        cells = [
            (-float(center[y, x]), int(y), int(x))
            for y, x in (best == center).nonzero().tolist()
            if center[y, x] > reading.threshold
        ]
        for heat, y, x in sorted(cells)[: reading.people]:
            points = [[ratio * (x - float(o[0, y, x])), ratio * (y - float(o[1, y, x]))] for o in offsets]
            candidates.append((place, -heat, np.array(points, np.float32)))
        strongest[place] = max([heat for one, heat, _ in candidates if one == place], default=1.0)
    heats = [h if p == 0 else h / strongest[p] * strongest[0] * reading.decrease for p, h, _ in candidates]
    poses, average = [points for *_, points in candidates], (total / len(views)).numpy()
    keypoints, (height, width) = len(average), average.shape[1:]
    values = [
        [average[k, int(min(max(math.floor(y), 0), height - 1)), int(min(max(math.floor(x), 0), width - 1))]
         for k, (x, y) in enumerate(pose)]
        for pose in poses
    ]  # fmt: skip
    near = reading.near if reading.near is not None else 0.15 if len(views) > 1 else 0.05
    ignored, keep = set(), []
    for i, pose in enumerate(poses):
        if i in ignored:
            continue
        diagonal = np.hypot(*(pose.max(0) - pose.min(0)))
        group = [
            j
            for j, other in enumerate(poses)
            if i == j or (np.hypot(*(pose - other).T) < near * diagonal).sum() > keypoints // 2
        ]
        leader = max(group, key=lambda j: np.mean(values[j]))
        if leader not in ignored:
            keep.append(leader)
            ignored |= set(group)
    keep = sorted(keep, key=lambda j: -np.mean(values[j]))[: reading.people]
    return [(poses[j], heats[j] * np.array(values[j])) for j in keep], average


def compare(views, reading, images):
    poses = people_in(views, reading, 2.0)
    assert poses.image_index.tolist() == sorted(poses.image_index.tolist())
    for image in range(images):
        own = poses.image_index == image
        wanted, _ = by_loops(views, image, reading)
        assert int(own.sum()) == len(wanted)
        ours = zip(poses.points[own], poses.confidence[own], poses.score[own], strict=True)
        by_score = sorted(((float(s), p, c) for p, c, s in ours), key=lambda one: one[0])
        for (score, points, confidence), (pose, scores) in zip(
            by_score, sorted(wanted, key=lambda one: one[1].mean()), strict=True
        ):
            np.testing.assert_allclose(points.numpy() - views[0].grid.origin[0], pose, atol=2e-4)
            np.testing.assert_allclose(confidence.numpy(), scores.clip(0, 1), atol=1e-5)
            assert score == pytest.approx(scores.mean(), abs=1e-5)
    return poses


def noise(images, keypoints, height, width, seed, spread=3.0):
    rng = torch.Generator().manual_seed(seed)
    heat = torch.rand(images, keypoints, height, width, generator=rng)
    center = torch.rand(images, height, width, generator=rng) - 0.2
    return heat, center, spread * torch.randn(images, keypoints, 2, height, width, generator=rng)


@pytest.mark.parametrize("keypoints", [1, 3, 14, 17])
def test_noise(keypoints):
    for seed in range(6):
        views = [view(*noise(3, keypoints, 11, 14, seed))]
        for near in (None, 0.3, 1.0):
            compare(views, Reading(people=12, near=near), 3)


def crowd(people, seed, copies=3, shape=(48, 64), keypoints=17):
    """Maps of people, each seen from several cells around the centre, all of which say nearly the same."""
    rng = np.random.default_rng(seed)
    heat, center = torch.zeros(1, keypoints, *shape), torch.zeros(1, *shape)
    offsets = torch.zeros(1, keypoints, 2, *shape)
    heat += 0.2 * torch.from_numpy(rng.random(heat.shape)).float()
    for _ in range(people):
        middle = rng.uniform((4, 4), (shape[1] - 4, shape[0] - 4))
        points = middle + rng.normal(0, 5, (keypoints, 2))
        for _ in range(copies):
            x, y = (int(v) for v in (middle + rng.integers(-2, 3, 2)).round())
            center[0, y, x] = rng.uniform(0.3, 1)
            seen = points + rng.normal(0, 0.15, points.shape)
            offsets[0, :, :, y, x] = torch.from_numpy(np.array([x, y]) - seen).float()
    return heat, center, offsets


@pytest.mark.parametrize("people", [0, 1, 2, 10, 30, 100])
def test_crowds(people):
    """Each person is found once, though several cells say it, up to 30 of them."""
    for seed in range(3):
        poses = compare([view(*crowd(people, seed))], Reading(), 1)
        assert len(poses) <= min(people, 30)
        assert (len(poses) >= 0.5 * min(people, 30)) or people == 100


def test_the_order_of_candidates_matters():
    """Three people in a row, each near the next: the first opens a group whose hottest is the second, so the third
    would open one whose hottest is taken, and counts for nothing; in another order the third is a person."""
    line = torch.arange(17.0)[:, None] * torch.tensor([1.0, 1.0])
    poses = torch.stack([line, line + 0.6, line + 1.2])[None]
    heat = torch.tensor([[0.5, 0.9, 0.4]])
    everyone, near = torch.ones(1, 3, dtype=torch.bool), 0.05
    assert kept(poses, heat, everyone, near, 8).tolist() == [[False, True, False]]
    order = [2, 0, 1]
    heat = torch.tensor([[0.95, 0.9, 0.4]])
    assert kept(poses, heat, everyone, near, 8).tolist() == [[True, False, False]]
    assert kept(poses[:, order], heat[:, order], everyone, near, 8).tolist() == [[False, True, True]]


def test_ties():
    """Equal centres beside one another are candidates in the order of cells; equal heat keeps the first."""
    heat, offsets = torch.full((2, 3, 6, 7), 0.5), torch.zeros(2, 3, 2, 6, 7)
    offsets[:, :, 0], offsets[:, :, 1] = torch.arange(3.0)[:, None, None], -2 * torch.arange(3.0)[:, None, None]
    center = torch.zeros(2, 6, 7)
    center[0, 2, 3:5], center[0, 4, 1], center[1] = 0.75, 0.75, 0.25
    for people in (2, 5, 30):
        compare([view(heat, center, offsets)], Reading(people=people), 2)


def test_nobody():
    heat, center, offsets = noise(2, 4, 5, 6, 0)
    poses = people_in([view(heat, center - 2, offsets)], Reading(), 2.0)
    assert poses.points.shape == (0, 4, 2)
    assert poses.confidence.shape == (0, 4)
    assert poses.image_index.dtype == torch.int64
    poses = people_in([view(heat, center - 2, offsets)], Reading(snap=50.0), 2.0)
    assert len(poses) == 0
    poses = people_in([view(heat[:0], center[:0], offsets[:0])], Reading(), 2.0)
    assert len(poses) == 0


def test_several_scales():
    """Half, whole and double; the middle one is the picture's own. Centres of one scale may be missing."""
    for seed in range(4):
        parts = [noise(2, 5, round(8 * scale), round(12 * scale), seed + 10 * n) for n, scale in enumerate((1, 0.5, 2))]
        if seed == 3:
            parts[1] = (parts[1][0], parts[1][1] - 2, parts[1][2])
        views = [view(*part, scale) for part, scale in zip(parts, (1.0, 0.5, 2.0), strict=True)]
        for reading in (Reading(people=8), Reading(people=20, decrease=0.8, near=0.4), Reading(people=500)):
            compare(views, reading, 2)


def snapped_by_loops(points, maps, most, farthest):
    peaks = F.max_pool2d(maps[None], 5, 1, 2)[0] == maps
    moved = points.clone()
    for k in range(points.shape[1]):
        places = [(-float(maps[k, y, x]), y, x) for y, x in peaks[k].nonzero().tolist() if maps[k, y, x] > 0]
        for person in range(len(points)):
            x, y = points[person, k].tolist()
            away = [(math.hypot(x - col, y - row), col, row) for _, row, col in sorted(places)[:most]]
            if away and min(away)[0] < farthest:
                moved[person, k] = torch.tensor(min(away)[1:], dtype=points.dtype)
    return moved


def smooth(images, keypoints, height, width, seed):
    """Maps with several wide peaks each."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    maps = np.zeros((images, keypoints, height, width))
    for image in maps:
        for one in image:
            for _ in range(3):
                cx, cy = rng.uniform(0, (width, height))
                near = rng.uniform(0.3, 1) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * rng.uniform(3, 6) ** 2))
                np.maximum(one, near, out=one)
    return torch.from_numpy(maps).float()


def test_keypoints_move_to_peaks():
    maps = smooth(2, 3, 40, 60, 0)
    image, points = torch.tensor([0, 0, 1, 1, 1]), 40 * torch.rand(5, 3, 2, generator=torch.Generator().manual_seed(1))
    for farthest in (3.0, 12.0, 100.0):
        ours = snapped(points, maps, image, 30, farthest)
        for number in range(2):
            wanted = snapped_by_loops(points[image == number], maps[number], 30, farthest)
            assert torch.equal(ours[image == number], wanted)
    assert not torch.equal(ours, points)
    assert torch.equal(snapped(points, torch.zeros_like(maps), image, 30, 100.0), points)


def gaussian(place, height, x0, y0, width):
    return height * np.exp(-((place[0] - x0) ** 2 + (place[1] - y0) ** 2) / (2 * width**2))


def test_keypoints_move_to_the_middle_of_a_gaussian():
    maps = smooth(2, 3, 40, 60, 2)
    image = torch.tensor([0, 0, 1])
    points = snapped(torch.tensor([[10.0, 10], [30, 20], [50, 35]]).repeat(3, 1, 1), maps, image, 30, 30.0)
    sure = torch.ones(3, 3, dtype=torch.bool)
    sure[2, 1] = False
    ours, moved = refined(points, maps, image, sure, 2.0), 0
    assert torch.equal(ours[2, 1], points[2, 1])
    for person in range(3):
        for k in range(3):
            if not sure[person, k]:
                continue
            x, y = (int(v + 0.5) for v in points[person, k])
            rows, columns = range(max(0, y - 6), min(39, y + 6) + 1), range(max(0, x - 6), min(59, x + 6) + 1)
            places = np.array([(col, row) for row in rows for col in columns]).T
            values = maps[image[person], k].numpy()[places[1], places[0]]
            start = (float(maps[image[person], k, y, x]), x, y, 2.0)
            try:
                _, x0, y0, _ = curve_fit(gaussian, places, values, p0=start, maxfev=300)[0]
            except RuntimeError:
                continue
            if max(abs(x0 - x), abs(y0 - y)) < 6:
                np.testing.assert_allclose(ours[person, k].numpy(), [x0, y0], atol=5e-3)
                moved += 1
    assert moved >= 5


def test_snapping_from_end_to_end():
    """A person whose offsets are a few pixels wrong is drawn to its heatmaps, to less than half a pixel; where no peak
    is near enough, by the Gaussian's middle alone."""
    truth = torch.tensor([[40.0, 30.0], [60.0, 80.0], [90.0, 50.0]])
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    cells = (truth - 2) / 4
    heat = torch.exp(-((x - cells[:, 0, None, None]) ** 2 + (y - cells[:, 1, None, None]) ** 2) / 8)[None]
    center, offsets = torch.zeros(1, 32, 32), torch.zeros(1, 3, 2, 32, 32)
    center[0, 12, 14] = 0.9
    offsets[0, :, :, 12, 14] = torch.tensor([14.0, 12.0]) - cells + 0.9
    views = [view(heat, center, offsets, first=2.0)]
    away = [(people_in(views, Reading(snap=s), 2.0).points[0] - truth).norm(dim=1).max() for s in (0.0, 2.0, 20.0)]
    assert away[0] > 5 > 0.5 > max(away[1:])
