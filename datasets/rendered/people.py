"""Rendered people: scenes of one to four articulated persons before one camera, with exact 2D and 3D joints.

Everything is a function of (style, seed, index), bit for bit on one kind of processor, whatever else is rendered beside
it. One item is one person; the picture is the whole scene's, and its box is around what the camera sees of the person.
With `crops=whole` one item is the picture with all its people; their areas are the pixels that are seen of them. With
`video=16` scenes are videos of 16 frames in which the people move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..bodies.skeletons import COCO17
from ..options import BadOption, option
from ..reading.others import others
from ..reading.people import AROUND_BOXES, square
from ..sample import Item
from ..skeleton import Skeleton
from . import motion
from .backgrounds import digest, list_pictures
from .cache import CachedSet
from .hand_scene import generator
from .people_scene import PARTS, draw_scene
from .people_shading import paint_room, people_surface
from .people_stage import people_in
from .people_styles import BLOCK, MOST, STYLES, PeopleStyle
from .people_video import Exposed, Film
from .person_anatomy import PERSON, PLACE
from .person_flesh import OWNS
from .raycast import Cones, Hits, cast_rays, raycast
from .several import LEAST, in_order, padded, seen_boxes
from .shading import develop, shade
from .video import Filmed, VideoOptions

VERSION = 1
"""Raise it when any pixel or label changes: cached sets of another version are rendered anew."""
LARGER = 6.0
"""A person against a hand, as the shading knows it."""
BLEND = 16.0
"""mm within which surfaces flow into each other."""
WHOLE = "whole"
BOXES = {"seen": "seen", "truth": "body", "poor": "seen", WHOLE: "seen"}
"""What a `Scene` calls the boxes of people for each value of `crops`; of `poor` ones, those that they are made of."""
TRUNK = ("pelvis", "right_hip", "left_hip", "spine", "neck", "nose", "head_top", "left_shoulder", "right_shoulder")
CUT, SLOPPY = 0.5, 0.05
"""Of a poor detector: the share of what sticks out of the trunk's box that it misses, and the standard deviation of its
sides, in widths and heights of the person."""
JOINTS = {"h36m17": PERSON.select(PERSON.keypoints[:17]), "all": PERSON, "coco17": COCO17}
Array = np.ndarray


@dataclass(frozen=True)
class Options(VideoOptions):
    """The options of rendered people."""

    train: int = option(1000, "pictures of the part that trains; each person in them is a sample", low=1)
    test: int = option(250, "pictures of the part that tests", low=1)
    size: int = option(384, "side of a whole picture in pixels", low=64, high=4096)
    focal: list[float] | None = option(
        None,
        "focal lengths, lowest and highest, as shares of the picture's width; null: the style's own",
        low=0.2,
        high=10,
        size=2,
    )
    zoom: float = option(
        1.0, "factor of every focal length; of the same scenes nothing else changes", low=0.05, high=20
    )
    crops: str | None = option(
        None,
        "what crops are made from: seen, around the visible pixels of the person, as a detector would; truth, around "
        "all of the body, hidden or beyond the border too (leaks on a target); poor, seen by a detector, simulated, "
        "that misses half of what sticks out of the trunk, and is not exact; whole, none: a sample is a whole picture "
        "with all its people, for systems that find them; null: whole where the system that reads finds people, else "
        "seen",
        choices=tuple(BOXES),
    )
    joints: str = option("h36m17", "Human3.6M's 17 joints, all 29, or COCO's 17", choices=tuple(JOINTS))
    motion: str | None = option(
        None, "folder of BVH clips whose poses people take, in videos one after the other; null: the style's own poses"
    )
    photos: str | None = option(None, "folder of pictures that stand behind the people; null: drawn rooms")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.focal is not None and self.focal[0] > self.focal[1]:
            raise BadOption(f"focal={self.focal} must be [lowest, highest]")

    @property
    def cut(self) -> str:
        """`crops` where it is said, else what null means to systems of one person."""
        return self.crops or "seen"


@dataclass(frozen=True)
class Scene:
    """A rendered scene of P people, nothing about it hidden."""

    image: Array
    """(S, S, 3) uint8 RGB."""
    depth: Array
    """(S, S) float32 mm along the optical axis, 0 where no person or thing is."""
    owner: Array
    """(S, S) int8: whose surface each pixel shows: 0 to P - 1, MOST things, -1 the room."""
    camera: Array
    """(4,) float32 fx, fy, cx, cy."""
    points: Array
    """(P, 29, 3) float32 mm in the camera's frame, in the order of `PERSON`."""
    keypoints: Array
    """(P, 29, 2) float32 pixels: the exact projection of `points`."""
    visible: Array
    """(P, 29) bool: in the frame, and the first surface on the joint's own ray is the joint's own surroundings."""
    seen: Array
    """(P, 4) float32 left, top, right, bottom of the person's visible pixels; the body's box where there are few."""
    body: Array
    """(P, 4) float32 around all of the body, hidden or beyond the border too."""
    pixels: Array
    """(P,) int64 how many pixels of the person are seen."""


def style_of(name: str | PeopleStyle) -> PeopleStyle:
    """Raises ValueError for a style that is not known."""
    if isinstance(name, PeopleStyle):
        return name
    if name not in STYLES:
        raise ValueError(f"there is no style of rendered people named {name!r}; choose one of {', '.join(STYLES)}")
    return STYLES[name]


def render_scene(style: str | PeopleStyle, options: Options, index: int, device: torch.device | str = "cpu") -> Scene:
    """Scene `index` of a style with the seed, size, camera and background of `options`."""
    drawn = draw_scene(style_of(style), options.scenes, index, options.size, *_shots(style, options))
    light, hits, cones = _light(drawn, options.size, device)
    return _developed(drawn, light, hits, cones, options.size)


def render_scenes(style: str | PeopleStyle, options: Options, indices: Iterable[int]) -> Iterator[Scene]:
    """Scenes in the order of `indices`."""
    return in_order(lambda index: render_scene(style, options, index), indices)


def render_video(
    style: str | PeopleStyle, options: Options, number: int, device: torch.device | str = "cpu"
) -> list[Scene]:
    """The frames of video `number`, as `render_scene`. Raises ValueError where `options` are of no videos."""
    if options.moving is None:
        raise ValueError("video=0 is no video: say how many frames it has, for example video=16")
    size, shots = options.size, _shots(style, options)
    film = Film(style_of(style), options.scenes, number, size, *shots, options.moving)
    return [_exposed(frame, size, device) for frame in film.frames()]


def _exposed(frame: Exposed, size: int, device: torch.device | str) -> Scene:
    """The mean of the light of all instants, all else as in the middle one."""
    lit = [_light(drawn, size, device) for drawn in frame.instants]
    middle = len(lit) // 2
    light = torch.stack([one for one, *_ in lit]).mean(0)
    return _developed(frame.instants[middle] | {"key": frame.key}, light, *lit[middle][1:], size)


def _shots(
    style: str | PeopleStyle, options: Options
) -> tuple[tuple[float, float], float, tuple[str, ...], tuple[motion.Motion, ...]]:
    """Focal lengths, zoom, pictures behind people, and clips."""
    focal = style_of(style).focal if options.focal is None else (options.focal[0], options.focal[1])
    pictures = list_pictures(options.photos) if options.photos is not None else ()
    clips = motion.motions(options.motion) if options.motion is not None else ()
    return focal, options.zoom, pictures, clips


def _light(drawn: dict[str, Any], size: int, device: torch.device | str) -> tuple[Tensor, Hits, Cones]:
    """(1, 3, S, S) the light that falls into the camera, where it comes from, and the cones of all flesh and things."""
    scene = {name: _tensor(value)[None].to(device) for name, value in drawn.items()}
    cones = Cones(scene["a"], scene["b"], *(scene["radii"][..., i].contiguous() for i in (0, 1)))
    hits = raycast(cones, scene["camera"], size, blend=BLEND)
    return shade(paint_room(scene, size), hits, scene, people_surface, 1 / LARGER), hits, cones


def _developed(drawn: dict[str, Any], light: Tensor, hits: Hits, cones: Cones, size: int) -> Scene:
    lens = ("blur", "vignette", "gain", "veil", "key", "noise")
    image = develop(light, {name: _tensor(drawn[name])[None].to(light.device) for name in lens})
    cone = hits.cone[0].cpu().numpy()
    owner = np.where(cone >= 0, drawn["owner"][cone.clip(min=0)], -1).astype(np.int8)
    points = drawn["points"]
    keypoints = points[..., :2] / points[..., 2:] * drawn["camera"][:2] + drawn["camera"][2:]
    body = body_boxes(drawn, len(points))
    seen, pixels = seen_boxes(owner, body)
    return Scene(
        image[0].cpu().numpy(),
        hits.depth[0].cpu().numpy(),
        owner,
        drawn["camera"].astype(np.float32),
        points.astype(np.float32),
        keypoints.astype(np.float32),
        visible(cones, points) & ((keypoints >= 0) & (keypoints < size)).all(-1),
        seen,
        body,
        pixels,
    )


def _tensor(value: Array) -> Tensor:
    return torch.from_numpy(value.astype(np.float32) if value.dtype == np.float64 else value)


def visible(cones: Cones, points: Array) -> Array:
    """(P, 29) whether the first surface on the ray of each joint of `points` (P, 29, 3) belongs to it (see `OWNS`)."""
    rays = torch.from_numpy((points[..., :2] / points[..., 2:]).astype(np.float32)).view(1, -1, 2).to(cones.a.device)
    _, cone, share = (values[0].cpu().numpy() for values in cast_rays(cones, rays[..., 0], rays[..., 1]))
    people, joints = len(points), points.shape[1]
    person, part = np.divmod(cone, PARTS)
    own = (cone >= 0) & (person == np.repeat(np.arange(people), joints))
    belongs = OWNS[(share >= 0.5).astype(int), part, np.tile(np.arange(joints), people)]
    return (own & belongs).reshape(people, joints)


def body_boxes(drawn: dict[str, Any], people: int) -> Array:
    """(P, 4) px around all cones of each person, by the square around each end's outline."""
    rows = slice(0, people * PARTS)
    ends = np.stack([drawn["a"][rows], drawn["b"][rows]], 1)
    radii = drawn["radii"][rows]
    z = np.maximum(ends[..., 2], 100.0)
    middle = ends[..., :2] / z[..., None] * drawn["camera"][:2] + drawn["camera"][2:]
    reach = np.where(radii > 0, radii / z * drawn["camera"][0], -np.inf)[..., None]
    low = (middle - reach).reshape(people, -1, 2).min(1)
    high = (middle + reach).reshape(people, -1, 2).max(1)
    return np.concatenate([low, high], -1).astype(np.float32)


def poor_boxes(seen: Array, keypoints: Array, rng: np.random.Generator) -> Array:
    """What a poor detector makes of the boxes (P, 4) of people with keypoints (P, 29, 2)."""
    trunk = keypoints[:, [PERSON.keypoints.index(name) for name in TRUNK]]
    tight = np.concatenate([trunk.min(1), trunk.max(1)], 1).clip(seen[:, [0, 1, 0, 1]], seen[:, [2, 3, 2, 3]])
    side = np.tile(seen[:, 2:] - seen[:, :2], 2)
    moved = seen + CUT * (tight - seen) + SLOPPY * side * rng.standard_normal(seen.shape)
    low, high = np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])
    return np.concatenate([low, np.maximum(high, low + 2)], 1)


def rendered_people(options: Options, part: str, style: str | PeopleStyle) -> RenderedPeople:
    """The part of a style, in the cache that the environment names."""
    return RenderedPeople(style, options, part)


class RenderedPeople(Filmed, CachedSet):
    """A `PoseDataset` of the people in the scenes of a part, or in the frames of its videos.

    Scenes are rendered once, on the CPU, when the first item is asked for, into memory maps under `cache` (see
    `cache.cache_root`). Every joint is annotated, hidden ones and those beyond the border too. `inputs["others"]`
    (8, 3) tells where the other people of the picture are: x and y of the middle of their boxes, and 1. In whole
    pictures nothing is annotated of people of whom fewer than LEAST pixels are seen.

    Raises ValueError for an unknown style or part, and for photos without a folder of readable pictures.
    """

    skeleton: Skeleton

    def __init__(
        self, style: str | PeopleStyle, options: Options, part: str = "train", cache: str | Path | None = None
    ) -> None:
        self.style, self.options, self.video = style_of(style), options, options.moving
        count, self.first = options.scenes_of(part)
        self.skeleton = JOINTS[options.joints]
        self.order = [PLACE[name] for name in self.skeleton.keypoints]
        pictures = list_pictures(options.photos) if options.photos is not None else ()
        seed = options.scenes
        identity = {
            **{"name": f"people.{self.style.name}", "seed": seed, "first": self.first, "count": count},
            **{"size": options.size, "version": VERSION},
        }
        if options.focal is not None:
            identity["focal"] = list(options.focal)
        if options.zoom != 1:
            identity["zoom"] = options.zoom
        if options.motion is not None:
            identity["motion"] = motion.digest(options.motion)
        if pictures:
            identity["photos"] = digest(pictures)
        if self.video is not None:
            identity |= self.video.named
        super().__init__(identity, count, cache)
        self.identity = self.identity | {"boxes": options.cut, "joints": options.joints}
        counts = [people_in(self.style, seed, self.scene_of(scene)[0]) for scene in range(count)]
        slots = self.ordered([(scene, slot) for scene, people in enumerate(counts) for slot in range(people)])
        self.rows = np.array(list(enumerate(counts)) if options.cut == WHOLE else slots)
        """The scene of an item, and which of its people it is; of whole pictures how many these are."""

    def chunks(self) -> Iterator[dict[str, Array]]:
        for made in self.scenes():
            people = {name: getattr(made, name) for name in ("points", "keypoints", "visible", "seen", "body")}
            arrays = {"image": made.image, "camera": made.camera, "pixels": padded(made.pixels, MOST)}
            arrays |= {name: padded(value, MOST) for name, value in people.items()}
            yield {name: value[None] for name, value in arrays.items()}

    def scenes(self) -> Iterator[Scene]:
        """All scenes, or the frames of all videos."""
        if self.video is None:
            return render_scenes(self.style, self.options, range(self.first, self.first + self.count))
        videos = in_order(partial(render_video, self.style, self.options), self.videos())
        return islice(chain.from_iterable(videos), self.count)

    def _names(self, row: int) -> dict[str, Any]:
        """The id, sequence and frame of a picture; the sequence of the lab's are the scenes of the same subjects."""
        number, frame = self.scene_of(row)
        whole = f"{self.name}/{self.options.scenes}"
        if self.video is not None:
            video = f"{whole}/video{number:06d}"
            return {"id": f"{video}/{frame:04d}", "sequence": video, "frame": frame}
        picture = f"{whole}/{number:07d}"
        block = f"{whole}/subjects{number // BLOCK:06d}"
        return {"id": picture, "sequence": block if self.style.fixed else picture, "frame": number}

    def __len__(self) -> int:
        return len(self.rows)

    def boxes(self, scene: int) -> Array:
        """(P, 4) px of the people of a scene of this part, as the option `crops` says."""
        arrays, people = self.arrays(), int((self.rows[:, 0] == scene).sum())
        boxes = np.array(arrays[BOXES[self.options.cut]][scene][:people], np.float64)
        if self.options.cut != "poor":
            return boxes
        rng = generator(f"people.{self.style.name}", self.options.scenes, 64, self.unique(scene))
        return poor_boxes(boxes, np.array(arrays["keypoints"][scene][:people], np.float64), rng)

    def own_boxes(self) -> Array | None:
        """(N, 4) px of all samples; of whole pictures None."""
        if self.options.cut == WHOLE:
            return None
        boxes = [self.boxes(scene) for scene in range(self.count)]
        return np.stack([boxes[scene][slot] for scene, slot in self.rows])

    def __getitem__(self, index: int, /) -> Item:
        if not 0 <= index < len(self.rows):
            raise IndexError(f"{self.name} has items 0 to {len(self.rows) - 1}, not {index}")
        scene, slot = self.rows[index]
        if self.options.cut == WHOLE:
            side, pixels = self.options.size, np.array(self.arrays()["pixels"][scene, :slot])
            whole = self._item(int(scene), slice(0, slot), np.array([0.0, 0.0, side, side]))
            return replace(
                whole,
                annotated=whole.annotated & (pixels >= LEAST)[:, None],
                area=pixels.astype(np.float64),
                bounds=np.array(self.arrays()["seen"][scene, :slot], np.float64),
                crowd=np.zeros(slot, bool),
            )
        boxes = self.boxes(int(scene))
        one = self._item(int(scene), int(slot), square(boxes[slot], AROUND_BOXES))
        sequence = one.sequence if self.video is None else f"{one.sequence}/{slot}"
        inputs = {**one.inputs, "others": others(boxes, int(slot))}
        return replace(one, id=f"{one.id}/{slot}", sequence=sequence, inputs=inputs)

    def _item(self, scene: int, who: int | slice, box: Array) -> Item:
        """One person of a scene, or several, in a box of its picture."""
        arrays = self.arrays()
        image, margins = self.shown(arrays["image"], scene)
        keypoints, visible, points = (arrays[name][scene, who] for name in ("keypoints", "visible", "points"))
        return Item(
            image=image,
            box=box.astype(np.float32),
            **self._names(scene),
            camera=np.array(arrays["camera"][scene]),
            keypoints=np.array(keypoints[..., self.order, :]),
            visible=np.array(visible[..., self.order]),
            annotated=np.ones((*keypoints.shape[:-2], len(self.order)), bool),
            points=np.array(points[..., self.order, :]),
            inputs=margins,
        )
