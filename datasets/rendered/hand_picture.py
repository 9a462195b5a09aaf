"""From drawn scenes of hands to pictures with labels: rays, light, the camera, and which joints are seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .hand_flesh import CLOTH, OWNS, PARTS, SEGMENT, SPLIT
from .raycast import Cones, cast_rays, raycast
from .shading import Scene, background, develop, hands_surface, shade

JOINTS = 21
Drawn = tuple[dict[str, Any], list[dict[str, Any]]]
"""What a picture is made from besides its hands, and each of them."""
Fields = dict[str, Tensor]


def render_drawn(
    groups: Sequence[Drawn], size: int, device: torch.device | str = "cpu", cull: bool = True
) -> tuple[Fields, Tensor]:
    """Cast, shade and develop B scenes that have P hands each: what a `hands.Render` holds, (B, P, ...) where it is of
    a hand, and (B, S, S) the cone that each pixel shows, -1 for none, those of the first hand first."""
    light, scene, fields, cone = _shaded(groups, size, torch.device(device), cull)
    return {"image": develop(light, scene), **fields}, cone


def render_exposed(
    frames: Sequence[Sequence[Drawn]], size: int, chunk: int, device: torch.device | str = "cpu"
) -> tuple[Fields, Tensor]:
    """As `render_drawn` for pictures that are each exposed while several scenes, an odd number, follow each other: the
    mean of their light, all else as in the middle one. `chunk` scenes are rendered at once."""
    scenes, counts = [scene for instants in frames for scene in instants], [len(instants) for instants in frames]
    middles = torch.from_numpy(np.cumsum(counts) - 1 - np.array(counts) // 2).to(device)
    parts = [_shaded(scenes[i : i + chunk], size, torch.device(device), True) for i in range(0, len(scenes), chunk)]
    lights, pictures, labels, cones = zip(*parts, strict=True)

    def joined(chunks: Sequence[Fields]) -> Fields:
        return {name: torch.cat([one[name] for one in chunks])[middles] for name in chunks[0]}

    light = torch.stack([one.mean(0) for one in torch.cat(lights).split(counts)])
    return {"image": develop(light, joined(pictures)), **joined(labels)}, torch.cat(cones)[middles]


def _shaded(
    groups: Sequence[Drawn], size: int, device: torch.device, cull: bool
) -> tuple[Tensor, Scene, Fields, Tensor]:
    """The light (B, 3, S, S) that falls into the camera, the pictures' scenes, and all else of `render_drawn`."""
    several = len(groups[0][1])
    scene = _stacked([picture for picture, _ in groups])
    hands = _stacked([hand for _, hands in groups for hand in hands])
    exact = (hands["points"] / hands["points"][..., 2:])[..., :2].view(len(groups), -1, 2)
    keypoints = exact * scene["camera"][:, None, :2] + scene["camera"][:, None, 2:]
    scene, hands = ({name: _single(value).to(device) for name, value in part.items()} for part in (scene, hands))
    hands["finger"] = torch.from_numpy(np.where(SEGMENT >= 0, SEGMENT % 3 + 1, 0)).to(device)
    hands["cloth"] = torch.from_numpy(CLOTH.astype(np.float32)).to(device)

    def of_pictures(values: Tensor) -> Tensor:
        return values.reshape(len(groups), -1, *values.shape[2:]).contiguous()

    ends = (hands["a"], hands["b"], hands["radii"][..., 0], hands["radii"][..., 1])
    cones = Cones(*(of_pictures(values) for values in ends))
    hits = raycast(cones, scene["camera"], size, cull)
    light = shade(background(scene, size), hits, scene, hands_surface(hands))
    keypoints = keypoints.to(torch.float32).to(device)
    inside = ((keypoints >= 0) & (keypoints < size)).all(-1)
    by_hand = (len(groups), several, JOINTS)
    fields = {
        "depth": hits.depth,
        "camera": scene["camera"],
        "points": hands["points"].view(*by_hand, 3),
        "keypoints": keypoints.view(*by_hand, 2),
        "visible": (_own(cones, exact.to(torch.float32).to(device)) & inside).view(by_hand),
        "right": hands["right"].view(len(groups), several),
    }
    return light, scene, fields, hits.cone


def _stacked(scenes: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(np.stack([scene[name] for scene in scenes])) for name in scenes[0] if name != "gesture"
    }


def _single(values: Tensor) -> Tensor:
    return values.float() if values.dtype == torch.float64 else values


def _own(cones: Cones, rays: Tensor) -> Tensor:
    """(B, R) whether the first surface that each ray (B, R, 2) to a joint meets is the joint's own surroundings; R are
    the 21 joints of each of the hands in a picture."""
    _, cone, share = cast_rays(cones, rays[..., 0].contiguous(), rays[..., 1].contiguous())
    cone, hit = cone.clamp(min=0), cone >= 0
    ray = torch.arange(rays.shape[1], device=rays.device)
    hit = hit & (cone // len(PARTS) == ray // JOINTS)
    cone = cone % len(PARTS)
    split = torch.from_numpy(SPLIT.astype(np.float32)).to(rays.device)[cone]
    # 0, 1 or 2: the first, middle or last part of the cone; where both meet, the last.
    part = torch.where(share >= split[..., 1], 2, torch.where(share < split[..., 0], 0, 1))
    return hit & torch.from_numpy(OWNS).to(rays.device)[part, cone, ray % JOINTS]
