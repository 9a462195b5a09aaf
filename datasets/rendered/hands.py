"""Rendered hands: articulated hands in three styles, as pictures with exact joints, depth and visibility.

Everything is a function of (style, seed, index), bit for bit on one device, whatever else is rendered beside it. Blocks
of 20 neighbouring indices show one subject (bones, flesh and skin); poses, views, light and scenes are drawn anew for
each index. With `video=16` they are videos of 16 frames, in which a hand moves before one camera and scene.

With `hands=[2, 4]` a picture has two to four of them, each at its own place before one camera, and a sample is one
hand, cut around what the camera sees of it. With `crops=whole` a sample is the picture with all its hands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..options import BadOption, option
from ..reading.people import AROUND_BOXES, square
from ..sample import Item
from ..skeleton import HAND
from .backgrounds import digest, list_pictures
from .cache import CachedSet
from .hand_flesh import OF_HAND, PARTS
from .hand_group import MOST, draw_group, hands_in
from .hand_picture import Drawn, Fields, render_drawn, render_exposed
from .hand_scene import BLOCK, STYLES, Style, draw_scene
from .hand_video import draw_video
from .options import RenderedOptions
from .raycast import at_once
from .several import LEAST, in_order, padded, seen_boxes
from .video import Filmed, Video, VideoOptions

VERSION = 5
"""Raise it when any pixel or label changes: cached sets of another version are rendered anew."""
GROUP_VERSION = 1
"""The same of pictures with several hands."""
CHUNK = 8
"""Images that a processor renders at once; their bits do not depend on it."""
PIXEL_BYTES = 512
"""Of what a GPU keeps of a pixel while it is shaded."""
STORED = ("image", "camera", "points", "keypoints", "visible")
OF_GROUPS = ("points", "keypoints", "visible", "seen", "pixels")
SEEN, WHOLE = "seen", "whole"
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
    look, pictures = _style(style), _pictures(style, backgrounds)
    scenes = [draw_scene(look, seed, int(index), size, pictures) for index in indices]
    groups = [(scene, [scene]) for scene in scenes]
    joined = render_pictures(groups, size, device, cull)
    alone = {name: joined[name][:, 0] for name in ("points", "keypoints", "visible", "right")}
    return Render(**(joined | alone), gesture=tuple(str(scene["gesture"]) for scene in scenes))


def render_pictures(
    groups: Sequence[Drawn], size: int, device: torch.device | str = "cpu", cull: bool = True
) -> Fields:
    """`render_drawn` of any number of scenes, as many at once as the device takes."""
    chunk = at_once(torch.device(device), PIXEL_BYTES * size**2, CHUNK)
    parts = [render_drawn(groups[i : i + chunk], size, device, cull)[0] for i in range(0, len(groups), chunk)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _style(name: str | Style) -> Style:
    if isinstance(name, Style):
        return name
    if name not in STYLES:
        raise ValueError(f"there is no style of rendered hands named {name!r}; choose one of {', '.join(STYLES)}")
    return STYLES[name]


def _pictures(style: str | Style, backgrounds: str | Path | None) -> tuple[str, ...]:
    return list_pictures(backgrounds) if _style(style).photos else ()


@dataclass(frozen=True)
class Group:
    """A rendered picture of P hands, nothing about it hidden; as `Render` where nothing else is said."""

    image: Array
    depth: Array
    owner: Array
    """(S, S) int8: whose surface each pixel shows: 0 to P - 1, -1 what is no hand; arms and sleeves are none."""
    camera: Array
    points: Array
    """(P, 21, 3)"""
    keypoints: Array
    """(P, 21, 2)"""
    visible: Array
    """(P, 21)"""
    right: Array
    """(P,)"""
    seen: Array
    """(P, 4) float32 left, top, right, bottom of the hand's visible pixels; of its joints where there are few."""
    pixels: Array
    """(P,) int64 how many pixels of the hand are seen."""


def render_group(
    style: str | Style,
    seed: int,
    index: int,
    size: int = 128,
    hands: tuple[int, int] | None = None,
    backgrounds: str | Path | None = None,
) -> Group:
    """A picture with as many hands as the pair `hands` says, lowest and highest; None: that of `render`."""
    look, pictures = _style(style), _pictures(style, backgrounds)
    if hands is None:
        scene, count = draw_scene(look, seed, index, size, pictures), 1
        drawn = scene, [scene]
    else:
        count = hands_in(look, seed, index, *hands)
        drawn = draw_group(look, seed, index, size, pictures, count)
    fields, cone = render_drawn([drawn], size)
    return _group(fields, cone, 0, count)


def render_video(
    style: str | Style,
    seed: int,
    number: int,
    video: Video,
    size: int = 128,
    hands: tuple[int, int] | None = None,
    backgrounds: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> list[Group]:
    """The frames of video `number`, as `render_group` for pictures; all of them show as many hands."""
    look, pictures = _style(style), _pictures(style, backgrounds)
    count = None if hands is None else hands_in(look, seed, number, *hands)
    fields, cone = render_exposed(draw_video(look, seed, number, size, pictures, video, count), size, CHUNK, device)
    return [_group(fields, cone, frame, 1 if count is None else count) for frame in range(video.frames)]


def _group(fields: Fields, cones: Tensor, row: int, count: int) -> Group:
    """A rendered picture of `count` hands."""
    made = {name: value[row].cpu().numpy() for name, value in fields.items()}
    made |= {name: made[name][:count] for name in ("points", "keypoints", "visible", "right")}
    hand, part = np.divmod(cones[row].cpu().numpy(), len(PARTS))
    owner = np.where((hand >= 0) & OF_HAND[part], hand, -1).astype(np.int8)
    around = np.concatenate([made["keypoints"].min(1), made["keypoints"].max(1)], -1)
    seen, pixels = seen_boxes(owner, around)
    return Group(**made, owner=owner, seen=seen, pixels=pixels)


@dataclass(frozen=True)
class Options(VideoOptions):
    """The options of rendered hands."""

    hands: list[int] | None = option(
        None,
        "hands in a picture, lowest and highest, each as often; null: one, which fills the picture",
        low=0,
        high=MOST,
        size=2,
    )
    crops: str | None = option(
        None,
        "what crops are made from: seen, around the visible pixels of the hand, as a detector would; whole, none: a "
        "sample is a whole picture with all its hands, for systems that find them; null: whole where the system that "
        "reads finds hands, else seen, but where a picture has one hand (hands=null) the picture",
        choices=(SEEN, WHOLE),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hands is not None and not self.hands[0] <= self.hands[1] > 0:
            raise BadOption(f"hands={self.hands} must be [lowest, highest], and the highest at least 1")


@dataclass(frozen=True)
class PhotoOptions(Options):
    """The options of the style that puts the user's own pictures behind its hands."""

    root: str | None = option(None, "folder of the pictures that stand behind the hands")


def rendered_hands(options: RenderedOptions, part: str, style: str | Style) -> RenderedHands | HandGroups:
    """The part of a style, in the cache that the environment names."""
    if isinstance(options, Options) and (options.hands is not None or options.crops is not None):
        return HandGroups(style, options, part)
    count, first = options.scenes_of(part)
    video = options.moving if isinstance(options, VideoOptions) else None
    return RenderedHands(style, count, options.scenes, options.size, first, _root(options), video=video)


def _root(options: RenderedOptions) -> str | None:
    return options.root if isinstance(options, PhotoOptions) else None


def _identity(
    look: Style,
    count: int,
    seed: int,
    size: int,
    first: int,
    backgrounds: str | Path | None,
    video: Video | None,
) -> dict[str, Any]:
    identity = {
        "name": f"hands.{look.name}",
        "style": look.name,
        "seed": seed,
        "first": first,
        "count": count,
        "size": size,
        "version": VERSION,
        "backgrounds": digest(_pictures(look, backgrounds)) if look.photos else None,
    }
    identity |= {} if look.dials is None else {"dials": dict(look.dials)}
    return identity if video is None else identity | video.named


class RenderedHands(Filmed, CachedSet):
    """A `PoseDataset` of `count` rendered hands, from index `first` on.

    The set is rendered once, on the CPU, when its first item is asked for, into memory maps under `cache` (see
    `cache.cache_root`). Items of one sequence are neighbouring indices of one subject; without `video` they are
    independent renders, not a movement in time, with it a sequence is a video, and `first` counts videos. The box is
    the whole picture. Every joint in the frame is annotated, hidden ones too.

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
        video: Video | None = None,
    ) -> None:
        look = _style(style)
        if count < 1 or first < 0 or size < 16:
            raise ValueError(f"rendered hands need count >= 1, first >= 0, size >= 16; got {count}, {first}, {size}")
        self.style, self.seed, self.size, self.first, self.video = look, seed, size, first, video
        self.backgrounds = Path(backgrounds) if look.photos and backgrounds is not None else None
        super().__init__(_identity(look, count, seed, size, first, self.backgrounds, video), count, cache)

    def chunks(self) -> Iterator[dict[str, Array]]:
        if self.video is not None:
            for frame in _frames(self, self.video, self.style, self.seed, self.size, None, self.backgrounds):
                own = {name: getattr(frame, name)[:1] for name in ("points", "keypoints", "visible")}
                yield {"image": frame.image[None], "camera": frame.camera[None], **own}
            return
        numbers = range(self.first, self.first + self.count)

        def make(start: int) -> Render:
            return render(self.style, self.seed, numbers[start : start + CHUNK], self.size, "cpu", self.backgrounds)

        for made in in_order(make, range(0, self.count, CHUNK)):
            yield {name: getattr(made, name).numpy() for name in STORED}

    def __getitem__(self, index: int, /) -> Item:
        self.check(index)
        arrays, size = self.arrays(), self.size
        keypoints = np.array(arrays["keypoints"][index])
        image, margins = self.shown(arrays["image"], index)
        return Item(
            image=image,
            box=np.array([0, 0, size, size], dtype=np.float32),
            **_names(self, index, self.seed),
            camera=np.array(arrays["camera"][index]),
            keypoints=keypoints,
            visible=np.array(arrays["visible"][index]),
            annotated=np.asarray(((keypoints >= 0) & (keypoints < size)).all(-1)),
            points=np.array(arrays["points"][index]),
            inputs=margins,
        )


def _frames(
    filmed: Filmed,
    video: Video,
    style: Style,
    seed: int,
    size: int,
    hands: tuple[int, int] | None,
    root: str | Path | None,
) -> Iterator[Group]:
    """The frames of all videos of a set."""
    make = partial(render_video, style, seed, video=video, size=size, hands=hands, backgrounds=root)
    return islice(chain.from_iterable(in_order(make, filmed.videos())), filmed.count)


def _names(filmed: Filmed, row: int, seed: int) -> dict[str, Any]:
    """The id, sequence and frame of a picture."""
    number, frame = filmed.scene_of(row)
    if filmed.video is not None:
        sequence = f"{filmed.name}/{seed}/video{number:05d}"
        return {"id": f"{sequence}/{frame:04d}", "sequence": sequence, "frame": frame}
    sequence = f"{filmed.name}/{seed}/subject{number // BLOCK:04d}"
    return {"id": f"{filmed.name}/{seed}/{number:05d}", "sequence": sequence, "frame": number}


class HandGroups(Filmed, CachedSet):
    """A `PoseDataset` of the hands in the pictures of a part, or with `crops=whole` of the pictures with all theirs.

    As `RenderedHands`, but that `visible` counts what other hands hide. Boxes are squares around what is seen of a hand
    without its arm. In whole pictures `area` counts the pixels of that and `bounds` are its box, and nothing is
    annotated of hands of which fewer than LEAST pixels are seen; crops of these are around their joints.

    Raises ValueError for an unknown style or part, and for "photo" without a folder of readable pictures.
    """

    skeleton = HAND

    def __init__(
        self, style: str | Style, options: Options, part: str = "train", cache: str | Path | None = None
    ) -> None:
        self.style, self.options, self.video = _style(style), options, options.moving
        count, self.first = options.scenes_of(part)
        self.backgrounds = _root(options)
        identity = _identity(self.style, count, options.scenes, options.size, self.first, self.backgrounds, self.video)
        # One cache for both kinds of samples.
        super().__init__(identity | {"hands": options.hands or "one", "group": GROUP_VERSION}, count, cache)
        crops = options.crops or SEEN
        self.identity = self.identity | {"crops": crops}
        counts = [self._count(self.scene_of(scene)[0]) for scene in range(count)]
        slots = self.ordered([(scene, slot) for scene, hands in enumerate(counts) for slot in range(hands)])
        self.whole = crops == WHOLE
        self.rows = np.array(list(enumerate(counts)) if self.whole else slots, np.int64).reshape(-1, 2)
        """The picture of an item, and which of its hands it is; of whole pictures how many these are."""

    def _count(self, number: int) -> int:
        hands = self.options.hands
        return 1 if hands is None else hands_in(self.style, self.options.scenes, number, *hands)

    def chunks(self) -> Iterator[dict[str, Array]]:
        hands = None if self.options.hands is None else (self.options.hands[0], self.options.hands[1])
        most = 1 if hands is None else hands[1]
        look, seed, size, root = self.style, self.options.scenes, self.options.size, self.backgrounds
        make = partial(render_group, look, seed, size=size, hands=hands, backgrounds=root)
        pictures = in_order(make, range(self.first, self.first + self.count))
        for made in pictures if self.video is None else _frames(self, self.video, look, seed, size, hands, root):
            arrays = {"image": made.image, "camera": made.camera}
            arrays |= {name: padded(getattr(made, name), most) for name in OF_GROUPS}
            yield {name: value[None] for name, value in arrays.items()}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Item:
        if not 0 <= index < len(self.rows):
            raise IndexError(f"{self.name} has items 0 to {len(self.rows) - 1}, not {index}")
        arrays, scene, slot = self.arrays(), *(int(value) for value in self.rows[index])
        if not self.whole:
            one = self._item(scene, slot, square(np.array(arrays["seen"][scene, slot], np.float64), AROUND_BOXES))
            sequence = one.sequence if self.video is None else f"{one.sequence}/{slot}"
            return replace(one, id=f"{one.id}/{slot}", sequence=sequence)
        who, side = slice(0, slot), self.options.size
        whole = self._item(scene, who, np.array([0, 0, side, side]))
        pixels, bounds = (np.array(arrays[name][scene, who]) for name in ("pixels", "seen"))
        return replace(
            whole,
            annotated=whole.annotated & (pixels >= LEAST)[:, None],
            area=pixels.astype(np.float32),
            bounds=bounds,
            crowd=np.zeros(slot, bool),
        )

    def _item(self, scene: int, who: int | slice, box: Array) -> Item:
        """One hand of a picture, or several, in a box of it."""
        arrays = self.arrays()
        keypoints = np.array(arrays["keypoints"][scene, who])
        image, margins = self.shown(arrays["image"], scene)
        return Item(
            image=image,
            box=box.astype(np.float32),
            **_names(self, scene, self.options.scenes),
            camera=np.array(arrays["camera"][scene]),
            keypoints=keypoints,
            visible=np.array(arrays["visible"][scene, who]),
            annotated=np.asarray(((keypoints >= 0) & (keypoints < self.options.size)).all(-1)),
            points=np.array(arrays["points"][scene, who]),
            inputs=margins,
        )
