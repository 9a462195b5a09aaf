"""What a rendered hand's scene is: the styles, and one scene drawn for each (style, seed, index).

A style is a domain: "studio" is soft light before plain walls; "webcam" has clutter, other views and lenses, coloured
hard light, sleeves, all skin tones, blur and noise; "photo" is a webcam before the user's own pictures.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .backgrounds import random_crop
from .hand_anatomy import Subject, forward, sample_pose, sample_subject
from .hand_flesh import Flesh, flesh
from .occluders import OCCLUDERS, draw_occluders

Array = np.ndarray
BLOCK = 20
"""Neighbouring indices that show one subject."""
STAGES = (
    "pose",
    "side",
    "sleeve",
    "view",
    "frame",
    "occluders",
    "light",
    "clutter",
    "wall",
    "paint",
    "blur",
    "exposure",
    "noise",
    "motion",
    "sway",
    "passing",
)
Draws = Callable[[str], np.random.Generator]
"""The generator that each of the `STAGES` of a picture or video draws from."""


@dataclass(frozen=True)
class Style:
    """A domain: from which distributions scenes and cameras are drawn. Pairs are (lowest, highest)."""

    name: str
    distance: tuple[float, float]
    """mm from the camera to the hand; short distances give strong perspective."""
    off_axis: float
    """Highest tangent of the angle at which the hand stands off the optical axis."""
    fill: tuple[float, float]
    """Share of the picture that the joints' larger extent takes."""
    turn: tuple[float, float, float]
    """Standard deviations in degrees of yaw (about the hand's axis), pitch and roll around the upright hand."""
    pitch: float
    """Mean pitch in degrees; positive tips the fingers to the camera."""
    any_yaw: float
    """Share of hands seen from any side instead of near the palm or the back."""
    tone: tuple[float, float]
    """Skin tone, 0 light to 1 dark."""
    sleeves: float
    clutter: int
    """Number of shapes behind the hand; 0 is a plain wall."""
    cluttered: float = 1.0
    """Share of pictures with those shapes; the others have a plain wall."""
    photos: bool = False
    tint: float = 0.05
    """How coloured lamps and white balance are."""
    hard: tuple[float, float] = (0.0, 0.2)
    """Hardness of the key light: 0 soft and without shadow, 1 hard."""
    exposure: tuple[float, float] = (0.95, 1.05)
    blur: tuple[float, float] = (0.0, 0.1)
    """Blur in pixels of a picture of 128 pixels."""
    noise: tuple[float, float] = (0.0, 0.004)
    vignette: float = 0.05
    veil: float = 0.0
    """Highest share of stray light, which takes contrast."""
    cut: float = 0.0
    """Share of the picture by which the hand may lie beyond its border."""
    occlusion: float = 0.0
    """Share of the `OCCLUDERS` that stand before the hand."""
    anatomy: float = 0.0
    """How unusual hands are, 0 to 1."""
    poses: float = 0.0
    """How common rare gestures are, 0 to 1."""
    shake: float = 0.0
    """Of videos: standard deviation of the camera's sway, share of the picture."""
    dials: Mapping[str, Any] | None = None
    """What the style is made from, where it is made from numbers: each stage then has a generator of its own, so that
    no number changes what others say."""


_WILD: dict[str, Any] = {
    "distance": (280.0, 560.0),
    "off_axis": 0.2,
    "fill": (0.6, 0.82),
    "turn": (27.0, 24.0, 28.0),
    "pitch": 6.0,
    "any_yaw": 0.08,
    "tone": (0.0, 1.0),
    "sleeves": 0.6,
    "tint": 0.25,
    "hard": (0.2, 1.0),
    "exposure": (0.6, 1.3),
    "blur": (0.3, 1.4),
    "noise": (0.01, 0.045),
    "vignette": 0.2,
    "veil": 0.2,
    "shake": 0.02,
}

STYLES: dict[str, Style] = {
    "studio": Style(
        name="studio",
        distance=(450.0, 650.0),
        off_axis=0.06,
        fill=(0.62, 0.82),
        turn=(24.0, 20.0, 22.0),
        pitch=0.0,
        any_yaw=0.05,
        tone=(0.12, 0.4),
        sleeves=0.0,
        clutter=0,
    ),
    "webcam": Style("webcam", **_WILD, clutter=3),
    "photo": Style("photo", **_WILD, clutter=0, photos=True),
}

TONES = np.array(
    [
        [0.95, 0.78, 0.69],
        [0.9, 0.69, 0.57],
        [0.79, 0.57, 0.44],
        [0.62, 0.42, 0.3],
        [0.43, 0.28, 0.2],
        [0.29, 0.19, 0.14],
    ]
)
"""Reflectance of skin from light to dark, RGB."""
PLAIN = np.array([[3.0, 0], [2, 1], [1, 2], [0, 3]]) / 3
"""Enlarges 2 values to 4 on the line through them."""
OUTSIDE = (9.0, 9.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0)
"""A shape that no picture shows."""


def generator(style: str, seed: int, stream: int, number: int) -> np.random.Generator:
    """A generator of its own for each (style, seed, stream, number): nothing depends on what was drawn before."""
    key = np.array([seed & (2**64 - 1), zlib.crc32(style.encode()) << 8 | stream], dtype=np.uint64)
    counter = np.array([0, 0, number & (2**64 - 1), 0], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def draws_of(name: str, seed: int, index: int, apart: bool) -> Draws:
    """What the stages of a picture draw from: one generator in their order, or one each."""
    if apart:
        return lambda stage: generator(name, seed, 16 + STAGES.index(stage), index)
    rng = generator(name, seed, 2, index)
    return lambda stage: rng


@dataclass(frozen=True)
class Hand:
    """A hand and its arm, turned as the camera sees them, the wrist at the origin; mm."""

    gesture: str
    right: bool
    turn: Array
    """(3, 3) from the hand's frame to the camera's."""
    joints: Array
    """(21, 3)"""
    flesh: Flesh


def draw_hand(draws: Draws, look: Style, subject: Subject, right: bool | None = None) -> Hand:
    """A hand of a subject in a pose of its own; None: a right or a left one."""
    angles, gesture = sample_pose(draws("pose"), subject, look.poses)
    either = bool(draws("side").random() < 0.5)
    right = either if right is None else right
    sleeve = sleeve_of(draws("sleeve"), look)
    pose = forward(subject, angles)
    body = flesh(subject, pose, sleeve)
    mirror = np.array([1.0 if right else -1.0, 1.0, 1.0])
    turn = view(draws("view"), look) * mirror
    a, b, back = (turned(vectors, turn) for vectors in (body.a, body.b, body.back))
    return Hand(gesture, right, turn, turned(pose.joints, turn), Flesh(a, b, body.radii, back))


def draw_scene(look: Style, seed: int, index: int, size: int, pictures: tuple[str, ...]) -> dict[str, Any]:
    """All that one picture is made from, as small arrays."""
    own = generator(look.name, seed, 1, index // BLOCK)
    subject = sample_subject(own, look.anatomy)
    skin = draw_skin(own, look)
    draws = draws_of(look.name, seed, index, look.dials is not None)
    hand = draw_hand(draws, look, subject)
    camera, shift = _frame(draws("frame"), look, hand.joints, size)
    before = draw_occluders(draws("occluders"), look.occlusion, hand.joints + shift)
    around = draw_surroundings(draws, look, size, pictures)
    colours = draw_paint(draws, look)
    return {
        **held(hand, shift, before, around["sleeve"], colours),
        "camera": camera,
        **skin,
        **around,
        **draw_camera(draws, look, size),
    }


def held(hand: Hand, shift: Array, before: tuple[Array, Array, Array], sleeve: Array, colours: Array) -> dict[str, Any]:
    """What a scene holds of a hand whose wrist is at `shift` (3,), with what stands `before` it as `draw_occluders`
    gives it; (3,) the sleeve's colour, (N, 3) the colours of what stands before it."""
    a, b = hand.flesh.a + shift, hand.flesh.b + shift
    b = short_of_camera(a, b)
    clothed = len(a)
    a, b, radii = (np.concatenate(pair) for pair in zip((a, b, hand.flesh.radii), before, strict=True))
    joints = hand.joints + shift
    return {
        "gesture": hand.gesture,
        "right": np.array(hand.right),
        "points": joints,
        "a": a,
        "b": b,
        "radius": radii[:, 1],
        "radii": radii,
        "back": np.concatenate([hand.flesh.back, np.zeros((OCCLUDERS, 3))]),
        "paint": np.concatenate([np.tile(sleeve, (clothed, 1)), colours]),
        "palm": hand.turn[:, 2] * -1.0,
        "turn": hand.turn,
        "wrist": joints[0],
    }


def draw_surroundings(draws: Draws, look: Style, size: int, pictures: tuple[str, ...]) -> dict[str, Array]:
    """The light and what stands behind."""
    light = draw_light(draws("light"), look)
    cluttered = look.cluttered == 1 or bool(draws("clutter").random() < look.cluttered)
    return {**light, **_wall(draws("wall"), look, cluttered, size, pictures)}


def draw_paint(draws: Draws, look: Style) -> Array:
    """(N, 3) colours of what stands before a hand."""
    return draw_colours(draws("paint"), OCCLUDERS) if look.occlusion else np.zeros((OCCLUDERS, 3))


def sleeve_of(rng: np.random.Generator, look: Style) -> float:
    """mm from the wrist to where the sleeve begins; infinite for a bare arm."""
    return rng.uniform(12, 95) if rng.random() < look.sleeves else np.inf


def short_of_camera(a: Array, b: Array) -> Array:
    """The far ends `b` (N, 3) mm of cones from `a`, drawn back where an arm would reach the camera."""
    b, near = b.copy(), np.flatnonzero(b[:, 2] < 110)
    if len(near):
        share = (a[near, 2] - 110) / (a[near, 2] - b[near, 2])
        b[near] = a[near] + share.clip(0.05, 1)[:, None] * (b[near] - a[near])
    return b


def turned(vectors: Array, turn: Array) -> Array:
    """(N, 3) vectors turned by (3, 3), term by term."""
    x, y, z = vectors[:, :1], vectors[:, 1:2], vectors[:, 2:]
    return x * turn[:, 0] + y * turn[:, 1] + z * turn[:, 2]


class Shot(Protocol):
    """Under which light and by what kind of camera something is taken; see `Style`."""

    @property
    def tint(self) -> float: ...
    @property
    def hard(self) -> tuple[float, float]: ...
    @property
    def exposure(self) -> tuple[float, float]: ...
    @property
    def blur(self) -> tuple[float, float]: ...
    @property
    def noise(self) -> tuple[float, float]: ...
    @property
    def vignette(self) -> float: ...
    @property
    def veil(self) -> float: ...


class Look(Protocol):
    """From where something is seen; see `Style`."""

    @property
    def turn(self) -> tuple[float, float, float]: ...
    @property
    def pitch(self) -> float: ...
    @property
    def any_yaw(self) -> float: ...


def view(rng: np.random.Generator, look: Look, both_sides: bool = True) -> Array:
    """(3, 3) from the hand's frame to the camera's: upright, back or palm to the camera, then turned."""
    yaw = 180.0 * (both_sides and rng.random() < 0.5) + look.turn[0] * rng.standard_normal()
    if rng.random() < look.any_yaw:
        yaw = 360 * rng.random()
    pitch = look.pitch + look.turn[1] * rng.standard_normal()
    roll = look.turn[2] * rng.standard_normal()
    (sy, sp, sr), (cy, cp, cr) = np.sin(np.deg2rad([yaw, pitch, roll])), np.cos(np.deg2rad([yaw, pitch, roll]))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_x @ np.diag([1.0, -1.0, -1.0]) @ about_y


def _frame(rng: np.random.Generator, look: Style, joints: Array, size: int) -> tuple[Array, Array]:
    """Stand the hand with `joints` (21, 3) before the camera and crop to it: camera (4,), and the hand's place (3,).

    As in a crop from a larger picture, the principal point need not be in the crop.
    """
    distance = rng.uniform(*look.distance)
    off = look.off_axis * rng.uniform(-1, 1, 2)
    middle = (joints.min(0) + joints.max(0)) / 2
    shift = np.array([off[0], off[1], 1.0]) * distance - middle
    points = joints + shift
    seen = points[:, :2] / points[:, 2:]
    low, high = seen.min(0), seen.max(0)
    fill = rng.uniform(*look.fill)
    focal = fill * size / (high - low).max()
    # The flesh reaches a finger's thickness beyond the joints: a small border stays free.
    room = (1 - fill) / 2 * size - 0.03 * size + look.cut * size
    centre = size / 2 + room * rng.uniform(-1, 1, 2) - focal * (low + high) / 2
    return np.array([focal, focal, *centre]), shift


def draw_skin(rng: np.random.Generator, look: Style) -> dict[str, Array]:
    """Colours of skin, palm and nails of one subject."""
    place = rng.uniform(*look.tone) * (len(TONES) - 1.001)
    low = int(place)
    skin = TONES[low] + (place - low) * (TONES[low + 1] - TONES[low])
    skin = skin * (1 + np.array([0.03, 0.03, 0.05]) * rng.uniform(-1, 1, 3))
    palm = skin + (0.25 + 0.25 * place / 5) * (np.array([0.9, 0.66, 0.56]) - skin)
    nail = np.array([0.96, 0.76, 0.72]) * (0.6 + 0.4 * skin[0])
    gloss = np.array(rng.uniform(0.15, 0.6))
    mottle = np.array(rng.uniform(0.03, 0.08))
    return {"skin": skin, "palm_skin": palm, "nail": nail, "gloss": gloss, "mottle": mottle}


def draw_light(rng: np.random.Generator, look: Shot) -> dict[str, Array]:
    """A key lamp, a fill lamp and the light from all around, and the sleeve's cloth."""
    hard = rng.uniform(*look.hard)
    spread = np.array([[0.9, 0.5, 0.3], [1.0, 0.6, 0.3]])
    ways = np.array([[0.0, -0.6, -0.8], [0.0, 0.2, -1.0]]) + spread * rng.uniform(-1, 1, (2, 3))
    ways = ways / np.sqrt((ways * ways).sum(-1, keepdims=True))
    tint = 1 + look.tint * rng.uniform(-1, 1, (3, 3))
    key, rest = 0.5 + 0.45 * hard, 0.5 - 0.28 * hard
    return {
        "light": ways,
        "light_colour": tint[:2] * np.array([[key], [0.25 * rng.random()]]),
        "ambient": tint[2] * rest,
        "wrap": np.array(0.5 - 0.4 * hard),
        "shadow": np.array(min(1.0, 0.25 + hard)),
        **draw_cloth(rng),
    }


def draw_cloth(rng: np.random.Generator) -> dict[str, Array]:
    """The sleeve's colour, and its stripes: how many a mm and how dark."""
    return {
        "sleeve": rng.uniform(0.05, 0.9, 3) * rng.uniform(0.4, 1),
        "weave": np.array([rng.uniform(0.03, 0.25), rng.choice([0.0, 0.25, 0.5])]),
    }


def _wall(
    rng: np.random.Generator, look: Style, cluttered: bool, size: int, pictures: tuple[str, ...]
) -> dict[str, Array]:
    """What stands behind the hand."""
    shapes, colours, grain = np.zeros((look.clutter, 8)), np.zeros((look.clutter, 3)), np.zeros((3, 0, 0))
    if look.photos:
        wall = np.ascontiguousarray(random_crop(rng, pictures, size).transpose(2, 0, 1))
    elif look.clutter and cluttered:
        wall = rng.uniform(0.1, 0.85) + rng.uniform(-0.25, 0.25, (1, 4, 4)) + rng.uniform(-0.1, 0.1, (3, 4, 4))
        grain = rng.uniform(-0.1, 0.1, (1, 22, 22)) + rng.uniform(-0.03, 0.03, (3, 22, 22))
        angle = rng.uniform(0, np.pi, look.clutter)
        half = np.array([0.05, 0.05]) + np.array([0.4, 0.3]) * rng.random((look.clutter, 2)) ** 2
        centre = rng.uniform(-0.05, 1.05, (look.clutter, 2))
        kind = (rng.random(look.clutter) < 0.5).astype(float)
        stripes = np.where(rng.random(look.clutter) < 0.3, rng.uniform(2, 7, look.clutter), 0.0)
        shapes = np.stack([*centre.T, np.cos(angle), np.sin(angle), 1 / half[:, 0], 1 / half[:, 1], kind, stripes], 1)
        colours = draw_colours(rng, look.clutter)
    else:
        wall = rng.uniform(0.2, 0.85) + rng.uniform(-0.08, 0.08, (3, 1, 1)) + rng.uniform(-0.08, 0.08, (1, 2, 2))
        if look.clutter:  # in the arrays' sizes of cluttered walls
            wall, grain, shapes[:] = PLAIN @ wall @ PLAIN.T, np.zeros((3, 22, 22)), OUTSIDE
    return {"wall": wall, "grain": grain, "shapes": shapes, "shape_colours": colours}


def draw_colours(rng: np.random.Generator, count: int) -> Array:
    """(count, 3) colours of things; some are of a skin's colour: arms, faces, wood."""
    colours = rng.uniform(0.03, 0.95, (count, 1)) + rng.uniform(-0.25, 0.25, (count, 3))
    tone = TONES[rng.integers(0, len(TONES), count)] * rng.uniform(0.6, 1.05, (count, 1))
    return np.where(rng.random((count, 1)) < 0.35, tone, colours)


def draw_camera(draws: Draws, look: Shot, size: int) -> dict[str, Array]:
    """Exposure, white balance, blur and noise."""
    passes = _blur(draws("blur"), look, size)
    rng, noise = draws("exposure"), draws("noise")
    return {
        "gain": rng.uniform(*look.exposure) * (1 + 0.5 * look.tint * rng.uniform(-1, 1, 3)),
        "veil": np.array(look.veil * rng.random()),
        "vignette": np.array(look.vignette * rng.random()),
        "noise": np.array(noise.uniform(*look.noise)),
        "blur": passes,
        "key": np.array(noise.integers(-(2**31), 2**31), dtype=np.int32),
    }


def _blur(rng: np.random.Generator, look: Shot, size: int) -> Array:
    """The weights of the blur's passes."""
    blur = rng.uniform(*look.blur) * size / 128
    # One pass has variance 2w; even a sharp camera has some, which also smooths the outline.
    weight = min(0.33, 0.1 + blur * blur / 8)
    passes = np.full(2, weight)
    if look.blur[1] > 0.5:
        passes = np.minimum(0.33, weight * np.array([1, 1, 1, 1, 0, 0]) + 0.18 * blur * rng.random(6) ** 3)
    return passes
