"""A batched ray caster over round cones (capsules with two radii) in torch, on CPU or GPU.

A ray is (u, v, 1) * z from the origin, so that a hit's parameter is its depth z along the optical axis. The
intersection follows Inigo Quilez, "Round Cone - intersection" (iquilezles.org/articles/intersectors), for rays that are
not of unit length. Only additions, products, quotients and square roots are used: IEEE rounds those the same in vector
and scalar code, so that a pixel's bits do not depend on its place in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TILE = 8
PIECE = 1024
"""Pairs of cone and tile that a processor meets at once: their arrays stay within its cache."""
TILE_BYTES = 64 * TILE * TILE * 4
"""Of what a GPU keeps of such a pair while it is met."""
MISS = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Cones:
    """N round cones in each of B scenes. A cone whose radii are both 0 is absent."""

    a: Tensor
    """(B, N, 3) mm, the centre of the first sphere."""
    b: Tensor
    """(B, N, 3) mm, the centre of the second sphere."""
    ra: Tensor
    """(B, N) mm."""
    rb: Tensor
    """(B, N) mm."""


@dataclass(frozen=True)
class Hits:
    """The first surface that each pixel's ray meets."""

    depth: Tensor
    """(B, S, S) float32 mm along the optical axis, 0 where nothing is hit."""
    cone: Tensor
    """(B, S, S) int64, -1 where nothing is hit."""
    normal: Tensor
    """(B, S, S, 3) unit vectors out of the surface, blended where surfaces meet; 0 where nothing is hit."""


def raycast(cones: Cones, camera: Tensor, size: int, cull: bool = True, blend: float = 4.0) -> Hits:
    """Cast the ray of every pixel centre of a (size, size) picture.

    `camera` is (B, 4) fx, fy, cx, cy in pixels. Normals of surfaces within `blend` mm behind the first are mixed in,
    which hides the seams between overlapping cones. With `cull`, a cone is met only with the tiles of 8 x 8 pixels that
    its outline can touch; without, with every pixel. Both give the same bits.
    """
    table = _table(cones)
    side = -(-size // TILE)
    if cull:
        depth, cone, normal = _cast_tiles(table, camera, side, blend)
    else:
        depth, cone, normal = _cast_all(table, camera, side * TILE, blend)
    return Hits(*(_untile(values, side, size) for values in (depth, cone, normal)))


def at_once(device: torch.device, size: int, cached: int) -> int:
    """How many things a device takes at once of which each asks for `size` bytes: a GPU what fills an eighth of its
    free memory, a processor the few, `cached`, that its cache holds. No bit depends on it."""
    if device.type != "cuda":
        return cached
    return max(cached, torch.cuda.mem_get_info(device)[0] // (8 * size))


def cast_rays(cones: Cones, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cast R free rays (u, v, 1) in each scene, (B, R) each.

    Returns depth (B, R) in mm (0 for none), the cone (B, R) (-1 for none), and how far along that cone's axis the
    surface lies, (B, R) from 0 at the first sphere to 1 at the second.
    """
    table = _table(cones)
    depth = _intersect(table[:, None], u[..., None], v[..., None])
    depth, cone = _unpack(_keys(depth, torch.arange(table.shape[1], device=u.device)).amin(-1))
    rows = torch.gather(table, 1, cone.clamp(min=0)[..., None].expand(-1, -1, table.shape[-1]))
    return depth, cone, _share(rows, u, v, depth)


def _table(cones: Cones) -> Tensor:
    """(B, N, 15) what the intersection needs of each cone: a, b - a, ra, rb, and the products that rays share."""
    a, b, ra, rb = cones.a, cones.b, cones.ra, cones.rb
    # A sphere inside the other adds nothing: the cone is then the larger sphere alone.
    inner = (_dot(b - a, b - a) <= (ra - rb) * (ra - rb)) & (ra != rb)
    a = torch.where((inner & (rb > ra))[..., None], b, a)
    ra = torch.where(inner & (rb > ra), rb, ra)
    ba = torch.where(inner[..., None], torch.zeros_like(a), b - a)
    rb = torch.where(inner, ra, rb)
    rr = ra - rb
    m0, m1, m5 = _dot(ba, ba), -_dot(ba, a), _dot(a, a)
    end = a + ba
    d2 = m0 - rr * rr
    k0 = d2 * m5 - m1 * m1 + m1 * rr * ra * 2 - m0 * ra * ra
    c1, c2 = m5 - ra * ra, _dot(end, end) - rb * rb
    scalars = torch.stack([ra, rb, d2, m1, k0, c1, c2, m1 - ra * rr, rr * ra], -1)
    return torch.cat([a, ba, scalars], -1)


def _dot(p: Tensor, q: Tensor) -> Tensor:
    return p[..., 0] * q[..., 0] + p[..., 1] * q[..., 1] + p[..., 2] * q[..., 2]


def _intersect(table: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """The depth at which rays (u, v, 1) enter cones, inf where they miss; table and rays broadcast."""
    ax, ay, az, bx, by, bz, ra, _, d2, m1, k0, c1, c2, y0, rra = table.unbind(-1)
    m2 = (bx * u + by * v) + bz
    m3 = -((ax * u + ay * v) + az)
    dd = (u * u + v * v) + 1
    k2 = d2 * dd - m2 * m2
    k1 = d2 * m3 - (m1 - rra) * m2
    h = k1 * k1 - k0 * k2
    body = -(h.clamp(min=0).sqrt() + k1) / k2
    y = y0 + body * m2
    body_hit = (h >= 0) & (y > 0) & (y < d2) & (body > 0)
    h1 = m3 * m3 - c1 * dd
    m6 = m3 - m2
    h2 = m6 * m6 - c2 * dd
    first = -(m3 + h1.clamp(min=0).sqrt()) / dd
    second = -(m6 + h2.clamp(min=0).sqrt()) / dd
    inf = torch.full((), torch.inf, dtype=u.dtype, device=u.device)
    first = torch.where((h1 >= 0) & (first > 0), first, inf)
    second = torch.where((h2 >= 0) & (second > 0), second, inf)
    nearest = torch.where(body_hit, body, torch.minimum(first, second))
    return torch.where(ra > 0, nearest, inf)


def _share(row: Tensor, u: Tensor, v: Tensor, depth: Tensor) -> Tensor:
    """Where along the axis (0 to 1) the sphere lies whose surface a ray met at `depth`."""
    m2 = (row[..., 3] * u + row[..., 4] * v) + row[..., 5]
    return ((row[..., 13] + depth * m2) / row[..., 8].clamp(min=1e-9)).clamp(0, 1)


def _keys(depth: Tensor, cone: Tensor) -> Tensor:
    """One int64 that sorts by depth, then by cone: the bits of a positive float sort as the float does."""
    key = (depth.contiguous().view(torch.int32).to(torch.int64) << 16) | cone
    return torch.where(depth < torch.inf, key, MISS)


def _unpack(key: Tensor) -> tuple[Tensor, Tensor]:
    hit = key != MISS
    depth = torch.where(hit, (key >> 16).to(torch.int32).view(torch.float32), 0.0)
    return depth, torch.where(hit, key & 0xFFFF, -1)


def _touched(table: Tensor, camera: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """The (scene, tile, cone) triples where the cone's outline can touch the tile.

    A sphere at (x, y, z) is seen as an ellipse with centre f (x, y) z / (z² - r²) and larger half axis
    f r sqrt(x² + y² + z² - r²) / (z² - r²); the cone's outline lies in the hull of the two discs of that radius.
    """
    ends = torch.stack([table[..., :3], table[..., :3] + table[..., 3:6]], 2)
    radius = table[..., 6:8]
    z = ends[..., 2]
    room = (z * z - radius * radius).clamp(min=1e-3)
    focal = camera[:, None, None, :2]
    middle = focal * (ends[..., :2] * (z / room)[..., None]) + camera[:, None, None, 2:]
    reach = _dot(ends, ends) - radius * radius
    disc = focal.amax(-1) * radius * reach.clamp(min=0).sqrt() / room
    behind = (z <= radius * 1.01 + 1).any(-1)
    absent = (radius <= 0).all(-1) | (z + radius <= 0).all(-1)

    axis = middle[:, :, 1] - middle[:, :, 0]
    length = (axis[..., 0] * axis[..., 0] + axis[..., 1] * axis[..., 1]).sqrt().clamp(min=1e-3)
    axis = axis / length[..., None]
    slope = ((disc[..., 1] - disc[..., 0]) / length).clamp(-0.999, 0.999)
    lean = slope / (1 - slope * slope).sqrt()
    centre = (torch.arange(side, device=table.device, dtype=table.dtype) + 0.5) * TILE
    dx = centre[None, None, None, :] - middle[:, :, 0, 0, None, None]
    dy = centre[None, None, :, None] - middle[:, :, 0, 1, None, None]
    axis_x, axis_y = axis[..., 0, None, None], axis[..., 1, None, None]
    length, lean = length[..., None, None], lean[..., None, None]
    along, across = dx * axis_x + dy * axis_y, dx * axis_y - dy * axis_x
    # The nearest point of the hull is on the disc that the tile's centre sees square to the hull's side.
    share = (torch.minimum((along + across.abs() * lean).clamp(min=0), length)) / length
    off = along - share * length
    start = disc[:, :, 0, None, None]
    bound = start + share * (disc[:, :, 1, None, None] - start) + (TILE * 0.7072 + 0.5)
    near = off * off + across * across <= bound * bound
    near = (near | behind[..., None, None]) & ~absent[..., None, None]
    scene, tile, cone = near.flatten(2).transpose(1, 2).nonzero(as_tuple=True)
    return scene, tile, cone


def _cast_tiles(table: Tensor, camera: Tensor, side: int, blend: float) -> tuple[Tensor, Tensor, Tensor]:
    """First hits by tile: depth and cone (B * side², 64), and the blended normals (B * side², 64, 3)."""
    scene, tile, cone = _touched(table, camera, side)
    u, v = _tile_rays(camera, side)
    place = scene * (side * side) + tile
    best = torch.full((len(camera) * side * side, TILE * TILE), MISS, dtype=torch.int64, device=table.device)
    depth = torch.empty((len(place), TILE * TILE), dtype=table.dtype, device=table.device)
    count = at_once(table.device, TILE_BYTES, PIECE)
    for start in range(0, len(place), count):
        piece = slice(start, start + count)
        rows, spot = table[scene[piece], cone[piece]][:, None, None], place[piece]
        depth[piece] = _intersect(rows, u[spot][:, None, :], v[spot][:, :, None]).flatten(1)
        key = _keys(depth[piece], cone[piece, None])
        best.scatter_reduce_(0, spot[:, None].expand_as(key), key, "amin")
    first, winner = _unpack(best)
    gap = depth - first[place]
    pair, pixel = (gap <= blend).nonzero(as_tuple=True)
    place, scene, cone = place[pair], scene[pair], cone[pair]
    row, column = torch.div(pixel, TILE, rounding_mode="floor"), pixel % TILE
    normal = _normals(table[scene, cone], u[place, column], v[place, row], depth[pair, pixel])
    mixed = _mix(normal, gap[pair, pixel], place * (TILE * TILE) + pixel, best.numel(), blend)
    return first, winner, mixed.view(*best.shape, 3)


def _cast_all(table: Tensor, camera: Tensor, width: int, blend: float) -> tuple[Tensor, Tensor, Tensor]:
    """What `_cast_tiles` answers, from every ray against every cone in one broadcast: the plain form."""
    side = width // TILE
    u, v = _tile_rays(camera, side)
    grid = (len(camera), side * side, TILE, TILE)
    u = u[:, None, :].expand(-1, TILE, -1).reshape(grid).flatten(1)
    v = v[:, :, None].expand(-1, -1, TILE).reshape(grid).flatten(1)
    depth = _intersect(table[:, :, None], u[:, None], v[:, None])
    best = _keys(depth, torch.arange(table.shape[1], device=table.device)[:, None]).amin(1)
    first, winner = _unpack(best)
    gap = depth - first[:, None]
    scene, cone, pixel = (gap <= blend).nonzero(as_tuple=True)
    normal = _normals(table[scene, cone], u[scene, pixel], v[scene, pixel], depth[scene, cone, pixel])
    mixed = _mix(normal, gap[scene, cone, pixel], scene * (width * width) + pixel, best.numel(), blend)
    shape = (len(camera) * side * side, TILE * TILE)
    return first.view(shape), winner.view(shape), mixed.view(*shape, 3)


def _tile_rays(camera: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """u of the columns and v of the rows of each tile, (B * side², 8) each."""
    centre = torch.arange(side * TILE, device=camera.device, dtype=camera.dtype) + 0.5
    u = ((centre - camera[:, 2:3]) / camera[:, 0:1]).view(-1, 1, side, TILE).expand(-1, side, -1, -1)
    v = ((centre - camera[:, 3:4]) / camera[:, 1:2]).view(-1, side, 1, TILE).expand(-1, -1, side, -1)
    return u.reshape(-1, TILE), v.reshape(-1, TILE)


def _mix(normal: Tensor, gap: Tensor, pixel: Tensor, count: int, blend: float) -> Tensor:
    """(count, 3) unit sums of the normals of surfaces that lie `gap` mm behind the first one of their pixel."""
    weight = 1 - gap / max(blend, 1e-6)
    # Sums of integers do not depend on the order in which they are added.
    scaled = (normal * (weight * weight * 65536)[:, None]).round().to(torch.int32)
    total = torch.zeros((count, 3), dtype=torch.int32, device=normal.device)
    total.index_add_(0, pixel, scaled)
    mixed = total.to(normal.dtype)
    return mixed / _dot(mixed, mixed).sqrt().clamp(min=1e-9)[:, None]


def _normals(rows: Tensor, u: Tensor, v: Tensor, depth: Tensor) -> Tensor:
    """Unit normals where rays meet cones at `depth`: away from the centre of the sphere that touches there."""
    share = _share(rows, u, v, depth)[:, None]
    point = torch.stack([u * depth, v * depth, depth], -1)
    normal = point - rows[:, :3] - rows[:, 3:6] * share
    return normal / _dot(normal, normal).sqrt().clamp(min=1e-9)[:, None]


def _untile(values: Tensor, side: int, size: int) -> Tensor:
    """(B * side², 64, ...) by tiles to (B, size, size, ...)."""
    extra = values.shape[2:]
    grid = values.view(-1, side, side, TILE, TILE, *extra).transpose(2, 3)
    return grid.reshape(-1, side * TILE, side * TILE, *extra)[:, :size, :size].contiguous()
