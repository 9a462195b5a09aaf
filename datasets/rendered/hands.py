"""Rendered hands: articulated hands in three styles, as pictures with exact joints, depth and visibility.

Everything is a function of (style, seed, index), bit for bit on one device, whatever else is rendered beside it. Blocks
of 20 neighbouring indices show one subject (bones, flesh and skin); poses, views, light and scenes are drawn anew for
each index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..options import option
from ..sample import Item
from ..skeleton import HAND
from .backgrounds import digest, list_pictures
from .cache import CachedSet
from .hand_flesh import CLOTH, OWNS, SEGMENT, SPLIT
from .hand_scene import BLOCK, STYLES, Style, draw_scene
from .options import RenderedOptions
from .raycast import Cones, cast_rays, raycast
from .shading import background, develop, shade

VERSION = 5
"""Raise it when any pixel or label changes: cached sets of another version are rendered anew."""
CHUNK = 24
"""Images rendered at once; their bits do not depend on it."""
STORED = ("image", "camera", "points", "keypoints", "visible")
Array = np.ndarray


@dataclass(frozen=True)
class Render:
    """B rendered hands."""

    image: Tensor
    """(B, S, S, 3) uint8 RGB."""
    depth: Tensor
    """(B, S, S) float32 mm along the optical axis, 0 where nothing is hit."""
    camera: Tensor
    """(B, 4) float32 fx, fy, cx, cy in pixels."""
    points: Tensor
    """(B, 21, 3) float32 mm in the camera's frame."""
    keypoints: Tensor
    """(B, 21, 2) float32 pixels: the exact projection of `points`."""
    visible: Tensor
    """(B, 21) bool: in the frame, and the first surface on the joint's own ray is the joint's own surroundings."""
    right: Tensor
    """(B,) bool: a right hand."""
    gesture: tuple[str, ...]
    """The family that each pose was drawn from."""


def render(
    style: str | Style,
    seed: int,
    indices: Sequence[int],
    size: int = 128,
    device: torch.device | str = "cpu",
    backgrounds: str | Path | None = None,
    cull: bool = True,
) -> Render:
    """Render hands by index; the same bits for (style, seed, index) in any company on one device.

    `backgrounds` is the folder of pictures that the style "photo" puts behind its hands. `cull=False` meets every cone
    with every pixel in one broadcast: the plain form, equal, slower, and with about 60 MB an image.
    """
    look = _style(style)
    pictures = list_pictures(backgrounds) if look.photos else ()
    scenes = [draw_scene(look, seed, int(index), size, pictures) for index in indices]
    parts = [_render(scenes[i : i + CHUNK], size, device, cull) for i in range(0, len(scenes), CHUNK)]
    joined = {
        name: torch.cat([part[name] for part in parts])
        for name in ("image", "depth", "camera", "points", "keypoints", "visible", "right")
    }
    return Render(**joined, gesture=tuple(str(scene["gesture"]) for scene in scenes))


def _style(name: str | Style) -> Style:
    if isinstance(name, Style):
        return name
    if name not in STYLES:
        raise ValueError(f"there is no style of rendered hands named {name!r}; choose one of {', '.join(STYLES)}")
    return STYLES[name]


def _render(scenes: list[dict[str, Any]], size: int, device: torch.device | str, cull: bool) -> dict[str, Tensor]:
    """Cast, shade and develop one chunk of scenes."""
    arrays = {name: np.stack([scene[name] for scene in scenes]) for name in scenes[0] if name != "gesture"}
    exact = torch.from_numpy(arrays["points"] / arrays["points"][..., 2:])[..., :2]
    seen = torch.from_numpy(arrays["camera"])
    keypoints = exact * seen[:, None, :2] + seen[:, None, 2:]
    scene = {
        name: torch.from_numpy(value.astype(np.float32) if value.dtype == np.float64 else value).to(device)
        for name, value in arrays.items()
    }
    scene["finger"] = torch.from_numpy(np.where(SEGMENT >= 0, SEGMENT % 3 + 1, 0)).to(device)
    scene["cloth"] = torch.from_numpy(CLOTH.astype(np.float32)).to(device)
    cones = Cones(scene["a"], scene["b"], scene["radii"][..., 0].contiguous(), scene["radii"][..., 1].contiguous())
    hits = raycast(cones, scene["camera"], size, cull)
    image = develop(shade(background(scene, size), hits, scene), scene)

    rays = exact.to(torch.float32).to(device)
    _, cone, share = cast_rays(cones, rays[..., 0].contiguous(), rays[..., 1].contiguous())
    cone, hit = cone.clamp(min=0), cone >= 0
    split = torch.from_numpy(SPLIT.astype(np.float32)).to(device)[cone]
    # 0, 1 or 2: the first, middle or last part of the cone; where both meet, the last.
    part = torch.where(share >= split[..., 1], 2, torch.where(share < split[..., 0], 0, 1))
    own = torch.from_numpy(OWNS).to(device)[part, cone, torch.arange(21, device=device)]
    keypoints = keypoints.to(torch.float32).to(device)
    inside = ((keypoints >= 0) & (keypoints < size)).all(-1)
    return {
        "image": image,
        "depth": hits.depth,
        "camera": scene["camera"],
        "points": scene["points"],
        "keypoints": keypoints,
        "visible": own & hit & inside,
        "right": scene["right"],
    }


@dataclass(frozen=True)
class PhotoOptions(RenderedOptions):
    """The options of the style that puts the user's own pictures behind its hands."""

    root: str | None = option(None, "folder of the pictures that stand behind the hands")


def rendered_hands(options: RenderedOptions, part: str, style: str | Style) -> RenderedHands:
    """The part of a style, in the cache that the environment names."""
    count, first = options.scenes_of(part)
    backgrounds = options.root if isinstance(options, PhotoOptions) else None
    return RenderedHands(style, count, options.scenes, options.size, first, backgrounds)


class RenderedHands(CachedSet):
    """A `PoseDataset` of `count` rendered hands, from index `first` on.

    The set is rendered once, on the CPU, when its first item is asked for, into memory maps under `cache` (see
    `cache.cache_root`). Items of one sequence are neighbouring indices of one subject; they are independent renders,
    not a movement in time. The box is the whole picture. Every joint in the frame is annotated, hidden ones too.

    Raises ValueError for an unknown style, an empty set, or "photo" without a folder of readable pictures.
    """

    skeleton = HAND

    def __init__(
        self,
        style: str | Style,
        count: int,
        seed: int,
        size: int = 128,
        first: int = 0,
        backgrounds: str | Path | None = None,
        cache: str | Path | None = None,
    ) -> None:
        look = _style(style)
        if count < 1 or first < 0 or size < 16:
            raise ValueError(f"rendered hands need count >= 1, first >= 0, size >= 16; got {count}, {first}, {size}")
        self.style, self.seed, self.size, self.first = look, seed, size, first
        self.backgrounds = Path(backgrounds) if look.photos and backgrounds is not None else None
        pictures = list_pictures(self.backgrounds) if look.photos else ()
        identity = {
            "name": f"hands.{look.name}",
            "style": look.name,
            "seed": seed,
            "first": first,
            "count": count,
            "size": size,
            "version": VERSION,
            "backgrounds": digest(pictures) if look.photos else None,
        }
        dials = {} if look.dials is None else {"dials": dict(look.dials)}
        super().__init__(identity | dials, count, cache)

    def chunks(self) -> Iterator[dict[str, Array]]:
        for start in range(self.first, self.first + self.count, CHUNK):
            numbers = range(start, min(start + CHUNK, self.first + self.count))
            made = render(self.style, self.seed, numbers, self.size, "cpu", self.backgrounds)
            yield {name: getattr(made, name).numpy() for name in STORED}

    def __getitem__(self, index: int, /) -> Item:
        self.check(index)
        arrays, number, size = self.arrays(), self.first + index, self.size
        keypoints = np.array(arrays["keypoints"][index])
        return Item(
            image=np.array(arrays["image"][index]),
            box=np.array([0, 0, size, size], dtype=np.float32),
            id=f"{self.name}/{self.seed}/{number:05d}",
            sequence=f"{self.name}/{self.seed}/subject{number // BLOCK:04d}",
            frame=number,
            camera=np.array(arrays["camera"][index]),
            keypoints=keypoints,
            visible=np.array(arrays["visible"][index]),
            annotated=np.asarray(((keypoints >= 0) & (keypoints < size)).all(-1)),
            points=np.array(arrays["points"][index]),
        )
