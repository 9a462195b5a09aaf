"""The ray caster against sphere marching, and the culled form against the plain one."""

import torch
from torch import Tensor

from keyshift.datasets.rendered.raycast import Cones, cast_rays, raycast


def some_cones(scenes: int, count: int, seed: int) -> Cones:
    draw = torch.Generator().manual_seed(seed)
    a = torch.rand(scenes, count, 3, generator=draw) * torch.tensor([160.0, 160, 120]) + torch.tensor([-80.0, -80, 300])
    b = a + 50 * torch.randn(scenes, count, 3, generator=draw)
    ra, rb = 2 + 16 * torch.rand(2, scenes, count, generator=draw)
    return Cones(a, b, ra, rb)


def distance(point: Tensor, a: Tensor, b: Tensor, ra: Tensor, rb: Tensor) -> Tensor:
    """The naive distance (below the true one near the sides) to a round cone: the least over many of its spheres."""
    share = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    return ((point - (a + share * (b - a))).norm(dim=-1) - (ra + share[:, 0] * (rb - ra))).min()


def march(ray: Tensor, cone: tuple[Tensor, ...]) -> float:
    """The depth at which (u, v, 1) meets a cone by stepping along it, inf for a miss."""
    unit = ray / ray.norm()
    travelled = 0.0
    while travelled < 900:
        step = float(distance(unit * travelled, *cone))
        if step < 2e-3:
            return travelled * float(unit[2])
        travelled += step
    return float("inf")


def test_a_cone_is_met_where_sphere_marching_meets_it() -> None:
    cones = some_cones(1, 24, seed=1)
    # One end inside the other, equal ends, and a cone that points at the camera.
    cones.b[0, 0], cones.ra[0, 0], cones.rb[0, 0] = cones.a[0, 0] + 1, 20.0, 5.0
    cones.b[0, 1], cones.ra[0, 1], cones.rb[0, 1] = cones.a[0, 1] - 1, 5.0, 20.0
    cones.rb[0, 2] = cones.ra[0, 2]
    cones.b[0, 3], cones.rb[0, 3] = cones.a[0, 3] * 0.8, cones.ra[0, 3] + 6
    cones.b[0, 4], cones.rb[0, 4] = cones.a[0, 4] * 1.2, cones.ra[0, 4] + 6
    draw = torch.Generator().manual_seed(2)
    hits = 0
    for n in range(24):
        alone = Cones(*(value[:, n : n + 1] for value in (cones.a, cones.b, cones.ra, cones.rb)))
        exact = tuple(value[0, 0].double() for value in (alone.a, alone.b, alone.ra, alone.rb))
        aim = (
            exact[0] + torch.rand(5, 1, generator=draw) * (exact[1] - exact[0]) + 9 * torch.randn(5, 3, generator=draw)
        )
        u, v = (aim[:, 0] / aim[:, 2]).float(), (aim[:, 1] / aim[:, 2]).float()
        depth, cone, _ = cast_rays(alone, u[None], v[None])
        for r in range(5):
            wanted = march(torch.stack([u[r], v[r], torch.tensor(1.0)]).double(), exact)
            if wanted == float("inf"):
                assert cone[0, r] == -1
                assert depth[0, r] == 0
            else:
                hits += 1
                assert cone[0, r] == 0
                assert abs(float(depth[0, r]) - wanted) < 0.15, n
    assert hits > 40


def test_culled_and_plain_give_the_same_bits() -> None:
    cones = some_cones(3, 20, seed=3)
    cones.a[0, 0] = torch.tensor([30.0, 0.0, 5.0])  # reaches behind the camera
    cones.ra[1, 1] = cones.rb[1, 1] = 0.0  # absent
    camera = torch.tensor([[180.0, 180, 37, 30], [300.0, 250, 20, 40], [90.0, 120, -20, 70]])
    culled, plain = raycast(cones, camera, 69, cull=True), raycast(cones, camera, 69, cull=False)
    assert (culled.cone >= 0).float().mean() > 0.2
    assert not (culled.cone[1] == 1).any()
    for name in ("depth", "cone", "normal"):
        assert torch.equal(getattr(culled, name), getattr(plain, name)), name


def test_pixels_are_rays_through_their_centres() -> None:
    cones = some_cones(2, 12, seed=4)
    camera = torch.tensor([[150.0, 140, 25, 20], [120.0, 120, 24, 26]])
    hits = raycast(cones, camera, 48)
    centre = torch.arange(48) + 0.5
    u = ((centre[None, None] - camera[:, 2, None, None]) / camera[:, 0, None, None]).expand(2, 48, 48).flatten(1)
    v = ((centre[None, :, None] - camera[:, 3, None, None]) / camera[:, 1, None, None]).expand(2, 48, 48).flatten(1)
    depth, cone, share = cast_rays(cones, u, v)
    assert torch.equal(depth, hits.depth.flatten(1))
    assert torch.equal(cone, hits.cone.flatten(1))
    assert ((share >= 0) & (share <= 1)).all()


def test_normals_face_the_camera_and_have_unit_length() -> None:
    hits = raycast(some_cones(2, 12, seed=5), torch.tensor([[150.0, 150, 32, 32]] * 2), 64)
    hit = hits.cone >= 0
    torch.testing.assert_close(hits.normal.norm(dim=-1)[hit], torch.ones(int(hit.sum())))
    assert (hits.normal[~hit] == 0).all()
    assert (hits.normal[hit][:, 2] < 0.3).all()
