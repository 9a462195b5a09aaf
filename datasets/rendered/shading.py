"""Turns ray-cast surfaces into pictures: light, skin, background and camera, batched in torch.

Colours are (B, 3, S, S) floats from 0 to 1. Like the ray caster, this uses only additions, products, quotients, square
roots and integer hashes, so that a picture's bits do not depend on the batch that it is made in.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from .raycast import Hits

BLUR = ((0, 1), (1, 0), (0, 1), (1, 0), (1, 1), (1, -1))
"""The passes [w, 1 - 2w, w] of the blur: equal weights defocus, unequal ones smear as motion does."""

Scene = dict[str, Tensor]
"""What one batch of pictures looks like, by name, first dimension B."""


def hash32(x: Tensor) -> Tensor:
    """A well mixed int32 of an int32 (Wellons' lowbias32, with logical shifts)."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * -2073254261
    return x ^ ((x >> 16) & 0xFFFF)


def pixel_noise(key: Tensor, size: int) -> Tensor:
    """(B, 3, size, size) noise of mean 0 and deviation 1, a function of each image's int32 key (B,).

    Each colour is the sum of two bytes of one hash; neighbouring colours share a byte, as demosaicing mixes them.
    """
    pixel = torch.arange(size * size, dtype=torch.int32, device=key.device)
    bits = hash32(hash32(pixel)[None] + key[:, None])
    parts = [(bits >> shift) & 0xFF for shift in (0, 8, 16, 24)]
    total = torch.stack([first + second for first, second in pairwise(parts)], 1)
    # Two uniform bytes have mean 255 and variance 2 (256² - 1) / 12.
    return ((total - 255).to(torch.float32) * (1 / 104.51)).view(len(key), 3, size, size)


def background(scene: Scene, size: int) -> Tensor:
    """A gradient with soft texture, and the scene's shapes (boxes, ellipses, stripes) painted over it.

    Clutter is painted at half the size and enlarged: what stands behind the hand is out of focus.
    """
    device = scene["wall"].device
    full = (torch.arange(size, dtype=torch.float32, device=device) + 0.5) / size
    if not scene["grain"].shape[-1]:
        return _enlarge(scene["wall"], full)
    half = -(-size // 2)
    axis = torch.arange(half, dtype=torch.float32, device=device) / (half - 1)
    image = _enlarge(scene["wall"], axis) + _enlarge(scene["grain"], axis)
    x, y = axis[None, None, :], axis[None, :, None]
    for shape, colour in zip(scene["shapes"].unbind(1), scene["shape_colours"].unbind(1), strict=True):
        cx, cy, cos, sin, wide, high, kind, stripes = (value[:, None, None] for value in shape.unbind(1))
        dx, dy = x - cx, y - cy
        p, q = (dx * cos + dy * sin) * wide, (dy * cos - dx * sin) * high
        square = torch.maximum(p.abs(), q.abs())
        inside = 1 - torch.where(kind > 0.5, p * p + q * q, square)
        wave = (p * stripes) - (p * stripes).floor()
        mask = (inside * 14).clamp(0, 1) * (1 - 0.6 * (wave > 0.5))
        image = image + mask[:, None] * (colour[:, :, None, None] - image)
    return _enlarge(image, full)


def _enlarge(grid: Tensor, axis: Tensor) -> Tensor:
    """Bilinear enlargement of (B, 3, g, g) to one value for each pair of `axis` (0 to 1)."""
    count = grid.shape[-1]
    place = axis * (count - 1)
    low = place.floor().clamp(max=count - 2)
    share = place - low
    first = low.to(torch.int64)
    rows = grid[:, :, first] * (1 - share)[:, None] + grid[:, :, first + 1] * share[:, None]
    return rows[..., first] * (1 - share) + rows[..., first + 1] * share


Surface = Callable[[Tensor, Tensor, Tensor, Tensor, Scene], tuple[Tensor, Tensor]]
"""Colour (M, 3) and gloss (M,) of surface points by point (M, 3) mm, normal (M, 3), cone (M,), scene's index (M,)."""


def shade(image: Tensor, hits: Hits, scene: Scene, surface: Surface, scale: float = 1.0) -> Tensor:
    """Paint the hit pixels over the background; `surface` says what is to be seen there. `scale` is a hand's size
    against that of what is shown: how far shadows reach."""
    closed = occlusion(hits.depth * scale)
    index, row, column = (hits.cone >= 0).nonzero(as_tuple=True)
    camera = scene["camera"][index]
    z, cone = hits.depth[index, row, column], hits.cone[index, row, column]
    normal, closed = hits.normal[index, row, column], closed[index, row, column]
    x = ((column + 0.5) - camera[:, 2]) / camera[:, 0] * z
    y = ((row + 0.5) - camera[:, 3]) / camera[:, 1] * z
    point = torch.stack([x, y, z], 1)

    albedo, gloss = surface(point, normal, cone, index, scene)
    light = scene["ambient"][index] * (1 - closed * 0.75)[:, None] * (0.8 - 0.2 * normal[:, 1:2])
    view = -point / _length(point)
    for lamp in range(2):
        direction, colour = scene["light"][index, lamp], scene["light_colour"][index, lamp]
        wrap = scene["wrap"][index]
        facing = ((_dot(normal, direction) + wrap) / (1 + wrap)).clamp(min=0)
        lit = facing
        if lamp == 0:
            shadow = _shadow(point * scale, direction, index, camera, hits.depth * scale)
            lit = facing * (1 - scene["shadow"][index] * shadow)
        half = direction + view
        shine = (_dot(normal, half) / _length(half)[:, 0]).clamp(min=0)
        shine = _power16(shine) * gloss * lit
        light = light + lit[:, None] * colour
        albedo = albedo + shine[:, None] * colour * 0.5
    colour = albedo * light
    flat = image.permute(0, 2, 3, 1).contiguous()
    flat[index, row, column] = colour
    return flat.permute(0, 3, 1, 2).contiguous()


def _dot(p: Tensor, q: Tensor) -> Tensor:
    return p[..., 0] * q[..., 0] + p[..., 1] * q[..., 1] + p[..., 2] * q[..., 2]


def _length(p: Tensor) -> Tensor:
    return _dot(p, p).sqrt().clamp(min=1e-6)[..., None]


def _power16(x: Tensor) -> Tensor:
    x = x * x
    x = x * x
    x = x * x
    return x * x


def hands_surface(hands: Scene) -> Surface:
    """The surface of pictures that have as many hands each; `hands` are flat, those of the first picture first, and so
    are their cones."""
    cones = hands["a"].shape[1]

    def surface(point: Tensor, normal: Tensor, cone: Tensor, index: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
        several = len(hands["a"]) // len(scene["camera"])
        owner, part = torch.div(cone, cones, rounding_mode="floor"), cone % cones
        return _hand_surface(point, normal, part, index * several + owner, hands)

    return surface


def _hand_surface(point: Tensor, normal: Tensor, cone: Tensor, index: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
    """Colour (M, 3) and gloss (M,) of surface points: skin with mottling, creases and nails, or cloth."""
    start, along = scene["a"][index, cone], scene["b"][index, cone] - scene["a"][index, cone]
    back, radius = scene["back"][index, cone], scene["radius"][index, cone]
    from_start = point - start
    square = _dot(along, along).clamp(min=1e-6)
    share = _dot(from_start, along) / square
    length = square.sqrt()
    dorsal = _dot(normal, back)
    finger = scene["finger"][cone]

    skin = scene["skin"][index]
    palm = _dot(normal, scene["palm"][index])
    # Palms and the soft side of fingers are paler and redder than the back of the hand.
    soft = torch.where(finger > 0, -dorsal, palm).clamp(0, 1)[:, None]
    skin = skin + soft * (scene["palm_skin"][index] - skin)
    turn = scene["turn"][index]
    local = point - scene["wrist"][index]
    local = torch.stack([_dot(turn[:, :, i], local) for i in range(3)], 1)
    mottle = value_noise(local * 0.09, scene["key"][index]) + 0.6 * value_noise(local * 0.4, scene["key"][index] + 77)
    skin = skin * (1 + scene["mottle"][index][:, None] * mottle[:, None])
    # A crease at both ends of each phalanx, deeper on the soft side.
    edge = torch.minimum(share, 1 - share).abs() * length
    last = finger == 3
    edge = torch.where(last, share.abs() * length, edge)
    crease = (1 - edge / 1.4).clamp(min=0) * (finger > 0) * dorsal.abs() * torch.where(dorsal < 0, 0.24, 0.13)
    tip = (share * last).clamp(0, 1)
    flush = torch.stack([tip * 0.04, -tip * 0.05, -tip * 0.03], 1)
    skin = (skin + flush * skin) * (1 - crease)[:, None]

    across = from_start - along * share[:, None]
    height = _dot(across, back)
    side = (_dot(across, across) - height * height).clamp(min=0).sqrt() / radius
    nail = last & (share > 0.42) & (share < 1.22) & (side < 0.74) & (dorsal > 0.25)
    skin = torch.where(nail[:, None], skin * 0.55 + scene["nail"][index] * 0.45, skin)

    cloth = (scene["cloth"][cone] > 0)[:, None]
    weave = share * length * scene["weave"][index, 0]
    weave = ((weave - weave.floor()) > 0.5) * scene["weave"][index, 1]
    colour = torch.where(cloth, scene["paint"][index, cone] * (1 - weave + 0.12 * mottle)[:, None], skin)
    gloss = torch.where(cloth[:, 0], 0.0, scene["gloss"][index] * torch.where(nail, 3.0, 1.0))
    return colour, gloss


def value_noise(place: Tensor, key: Tensor) -> Tensor:
    """Smooth noise in [-1, 1] at places (M, 3), with one lattice for each int32 key (M,)."""
    cell = place.floor()
    share = place - cell
    share = share * share * (3 - 2 * share)
    x, y, z = cell.to(torch.int32).unbind(1)
    sx, sy, sz = share.unbind(1)
    rows = []
    for dz in (0, 1):
        for dy in (0, 1):
            base = hash32((y + dy) * 668265263 + (z + dz) * 374761393 + key) + x
            first, second = (hash32(base + dx) & 0xFFFF for dx in (0, 1))
            rows.append(first * (1 - sx) + second * sx)
    near = rows[0] * (1 - sy) + rows[1] * sy
    far = rows[2] * (1 - sy) + rows[3] * sy
    return (near * (1 - sz) + far * sz) * (2 / 65535) - 1


def occlusion(depth: Tensor) -> Tensor:
    """How closed in each pixel is (B, S, S), 0 to 1: how many of the pixels around it are surfaces before it."""
    reach = max(1, depth.shape[-1] // 32)
    total = torch.zeros_like(depth)
    for dy, dx in ((0, 2), (2, 0), (0, -2), (-2, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        other = torch.roll(depth, (dy * reach, dx * reach), (1, 2))
        gap = depth - other
        total = total + (gap * (1 / 14)).clamp(0, 1) * ((other > 0) & (gap < 60))
    return total * (depth > 0) * (1 / 6)


def _shadow(point: Tensor, direction: Tensor, index: Tensor, camera: Tensor, depth: Tensor) -> Tensor:
    """Share (M,) of the steps towards the lamp that lie behind a surface that the camera sees."""
    size = depth.shape[-1]
    hidden = torch.zeros_like(point[:, 0])
    for step in (5.0, 9.0, 14.0, 20.0, 28.0, 38.0, 50.0):
        x, y, z = (point + direction * step).unbind(1)
        column = (camera[:, 0] * x / z + camera[:, 2]).to(torch.int64).clamp(0, size - 1)
        row = (camera[:, 1] * y / z + camera[:, 3]).to(torch.int64).clamp(0, size - 1)
        gap = z - depth[index, row, column]
        hidden = torch.maximum(hidden, ((gap - 1) * 0.4).clamp(0, 1) * (gap < 34))
    return hidden


def develop(image: Tensor, scene: Scene) -> Tensor:
    """The camera: blur, vignette, exposure and white balance, soft colour and noise; (B, S, S, 3) uint8 out."""
    size = image.shape[-1]
    for weight, (dy, dx) in zip(scene["blur"].unbind(1), BLUR, strict=False):
        image = image + weight[:, None, None, None] * (neighbours(image, dy, dx) - 2 * image)
    axis = (torch.arange(size, dtype=torch.float32, device=image.device) + 0.5) * (2 / size) - 1
    falloff = (axis * axis)[None, :, None] + (axis * axis)[None, None, :]
    image = image * (1 - scene["vignette"][:, None, None] * falloff)[:, None]
    image = image * scene["gain"][:, :, None, None]
    image = image + scene["veil"][:, None, None, None] * (0.55 - image)
    noise = pixel_noise(scene["key"], size)
    image = image + noise * (scene["noise"][:, None, None, None] * (0.35 + image.clamp(0, 1).sqrt()))
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def neighbours(image: Tensor, dy: int, dx: int) -> Tensor:
    """The sum of the pixels on both sides of each, the picture's border repeated."""
    high, wide = image.shape[-2:]
    edge = torch.nn.functional.pad(image, (abs(dx), abs(dx), abs(dy), abs(dy)), mode="replicate")
    top, left = abs(dy), abs(dx)
    near = edge[..., top - dy : top - dy + high, left - dx : left - dx + wide]
    return near + edge[..., top + dy : top + dy + high, left + dx : left + dx + wide]
