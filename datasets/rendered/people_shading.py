"""The room that rendered people stand in, with their shadows on the floor, and how skin and clothes look.

As `shading`, only with additions, products, quotients, square roots and integer hashes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .person_clothes import CHECKS, EYE, SHOE, SKIN, STRIPES, UPRIGHT
from .shading import Scene, background, neighbours, value_noise

FOLDS = 0.013
"""Per mm: how fine folds of cloth are."""


def paint_room(scene: Scene, size: int) -> Tensor:
    """(1, 3, S, S): floor, walls and ceiling of a scene's room, or its photo, with the shadows of people. All but the
    photo is painted at half the size and enlarged, as what is a little out of focus."""
    half = -(-size // 2)
    camera, turn, place = scene["camera"][0] / 2, scene["view_turn"][0], scene["view_place"][0]
    centre = torch.arange(half, dtype=torch.float32, device=camera.device) + 0.5
    u, v = (centre - camera[2]) / camera[0], (centre - camera[3]) / camera[1]
    # The rows of `turn` are the camera's axes in the world.
    ways = [turn[0, i] * u[None, :] + turn[1, i] * v[:, None] + turn[2, i] for i in range(3)]
    bounds = scene["bounds"][0]
    steps = []
    for i in range(3):
        wall = torch.where(ways[i] > 0, bounds[1, i], bounds[0, i]) - place[i]
        steps.append(wall / torch.where(ways[i].abs() < 1e-6, torch.full_like(ways[i], 1e-6), ways[i]))
    step = torch.minimum(torch.minimum(steps[0], steps[1]), steps[2])
    floor = (step == steps[1]) & (ways[1] < 0)
    x, z = place[0] + step[floor] * ways[0][floor], place[2] + step[floor] * ways[2][floor]
    dark = torch.ones_like(step)
    dark[floor] = 1 - (0.25 + 0.5 * scene["shadow"][0]) * floor_shadow(scene, x, z)
    if "photo" in scene:
        return scene["photo"] * _twice(dark[None, None], size)
    image = _walls(scene, steps, step, half)
    image[0, :, floor] = _floor(scene, x, z)
    image = image * dark
    for way in ((0, 1), (1, 0)):  # edges of floor and walls are not stairs
        image = image + 0.25 * (neighbours(image, *way) - 2 * image)
    return _twice(image, size)


def _twice(image: Tensor, size: int) -> Tensor:
    """(1, C, h, h) enlarged to twice its sides, and cut to (1, C, size, size): three quarters of the nearer pixel and
    one of the next."""
    for axis in (-1, -2):
        count = image.shape[axis]
        edge = image.narrow(axis, 0, 1), image.narrow(axis, count - 1, 1)
        before = torch.cat([edge[0], image.narrow(axis, 0, count - 1)], axis)
        after = torch.cat([image.narrow(axis, 1, count - 1), edge[1]], axis)
        both = torch.stack([0.75 * image + 0.25 * before, 0.75 * image + 0.25 * after], axis)
        image = both.flatten(axis - 1 if axis == -1 else -3, axis if axis == -1 else -2)
    return image[..., :size, :size].contiguous()


def _walls(scene: Scene, steps: list[Tensor], step: Tensor, size: int) -> Tensor:
    walls = scene["walls"][0]
    image = walls[2][:, None, None] * (step == steps[1]) + walls[0][:, None, None] * (step == steps[2])
    image = (image + walls[1][:, None, None] * ((step == steps[0]) & (step != steps[1]) & (step != steps[2])))[None]
    if scene["grain"].shape[-1]:
        plain = background({**scene, "wall": scene["wall"] + walls[0][None, :, None, None]}, size)
        image = image + (plain - walls[0][None, :, None, None])
    return image


def _floor(scene: Scene, x: Tensor, z: Tensor) -> Tensor:
    """(3, M) the colours of places on the floor: plain, tiles, seams or boards."""
    kind, tile, c, s = scene["tiles"][0]
    p, q = (c * x - s * z) / tile, (s * x + c * z) / tile
    wave_p, wave_q = p - p.floor(), q - q.floor()
    checks = (wave_p > 0.5) ^ (wave_q > 0.5)
    seams = (wave_p < 0.05) | (wave_q < 0.05)
    boards = wave_p < 0.06
    chosen = torch.stack([torch.zeros_like(checks), checks, seams, boards])[int(kind)]
    image = torch.where(chosen[None], scene["floor_second"][0][:, None], scene["floor"][0][:, None])
    spots = torch.stack([x, torch.zeros_like(x), z], -1).clamp(-3e5, 3e5)
    rough = value_noise(spots * 0.0021, scene["key"].expand(len(spots)))
    return image * (1 + scene["rough"][0] * rough)


def floor_shadow(scene: Scene, x: Tensor, z: Tensor) -> Tensor:
    """How much of the lamp people hide from places (M,) on the floor, 0 to 1: softer the higher the part is."""
    sun, casters = scene["sun"][0], scene["casters"][0]
    dark = torch.zeros_like(x)
    if not len(x):
        return dark
    for row in casters:
        (ax, ay, az), (bx, by, bz), radius = row[:3], row[3:6], row[6]
        ax, az = ax - sun[0] / sun[1] * ay, az - sun[2] / sun[1] * ay
        bx, bz = bx - sun[0] / sun[1] * by, bz - sun[2] / sun[1] * by
        wide, deep = bx - ax, bz - az
        share = ((x - ax) * wide + (z - az) * deep) / (wide * wide + deep * deep).clamp(min=1.0)
        share = share.clamp(0, 1)
        dx, dz = x - ax - share * wide, z - az - share * deep
        soft = 30 + 0.22 * (ay + share * (by - ay)).clamp(min=0)
        edge = (radius + soft - (dx * dx + dz * dz).sqrt()) / (2 * soft)
        dark = torch.maximum(dark, edge.clamp(0, 1) * radius / (radius + 0.35 * soft))
    return dark


def people_surface(point: Tensor, normal: Tensor, cone: Tensor, index: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
    """Colour (M, 3) and gloss (M,) of surface points of people and things; see `shading.Surface`."""
    offset = point - scene["origin"][index, cone]
    t = _dot(offset, scene["along"][index, cone])
    s = _dot(offset, scene["aside"][index, cone])
    material = torch.where(t < 0, scene["low"][index, cone], scene["high"][index, cone])
    owner = scene["owner"][index, cone]
    colour, second = scene["palette"][index, owner, material], scene["seconds"][index, owner, material]
    kind, period = scene["patterns"][index, owner, material], scene["periods"][index, owner, material]
    across, upright = ((value / period) - (value / period).floor() > 0.5 for value in (t, s))
    other = ((kind == STRIPES) & across) | ((kind == UPRIGHT) & upright) | ((kind == CHECKS) & (across ^ upright))
    colour = torch.where(other[:, None], second, colour)
    bare = material == SKIN
    # Folds run along the limb more than across it.
    place = torch.stack([t * 0.5, s, owner * 917.0 + cone * 3.7], 1) * FOLDS
    folds = value_noise(place, scene["key"][index])
    colour = colour * (1 + torch.where(bare, 0.03, 0.13) * folds)[:, None]
    gloss = torch.where(bare, 0.3, torch.where((material == EYE) | (material == SHOE), 0.5, 0.06))
    return colour, gloss


def _dot(p: Tensor, q: Tensor) -> Tensor:
    return p[..., 0] * q[..., 0] + p[..., 1] * q[..., 1] + p[..., 2] * q[..., 2]
