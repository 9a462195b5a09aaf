"""A dataset of 2D sequences that takes milliseconds: people of five joints whose bones swing, each as long as it is."""

import numpy as np

from keyshift.datasets.reading.sequences import Recording, SequenceOptions, Sequences
from keyshift.datasets.skeleton import Skeleton

WALKER = Skeleton(
    "walker",
    ("pelvis", "left_knee", "left_foot", "right_knee", "right_foot"),
    edges=((0, 1), (1, 2), (0, 3), (3, 4)),
    flip_pairs=((1, 3), (2, 4)),
    groups={"all": (0, 1, 2, 3, 4)},
    root=0,
    extent=2000.0,
)
SIZE = (200, 200)
MM = (450.0, 400.0, 450.0, 400.0)


def walk(rng, frames):
    """(T, 5, 3) mm in the camera's frame: a root that drifts, and four bones that swing, all away from the camera, so
    that 2D keypoints tell how far."""
    time = np.arange(frames)[:, None, None] / 6
    swing = rng.uniform(-1, 1, (1, 4, 3)) * np.sin(time * rng.uniform(0.5, 1, (1, 4, 1)) + rng.uniform(0, 6, (1, 4, 1)))
    along = swing + [0, 1.0, 0] + 0.3 * rng.uniform(-1, 1, (1, 4, 3))
    along[..., 2] = np.abs(along[..., 2])
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    bones = along * np.array(MM)[:, None] * rng.uniform(0.8, 1.2)
    root = rng.uniform(-300, 300, 3) + [0, -300, 4000] + time[:, 0] * rng.uniform(-40, 40, 3)
    left, right = root + bones[:, 0], root + bones[:, 2]
    return np.stack([root, left, left + bones[:, 1], right, right + bones[:, 3]], 1)


def walkers(style="plain", count=6, frames=20, first=0, random=6, every=1):
    """`count` recordings of as many people, seen by one camera; the other style's is longer, and its keypoints lie
    beside their places."""
    shifted, recordings = style == "shifted", []
    camera = np.array([*(2 * [200 * (2.2 if shifted else 1.6)]), 100.0, 100.0])
    for number in range(first, first + count):
        rng = np.random.default_rng([number, 17])
        points = walk(rng, frames)
        flat = points[..., :2] / points[..., 2:] * camera[:2] + camera[2:]
        flat += rng.normal(0, 2.0 if shifted else 0.2, flat.shape)
        seen = np.concatenate([flat, rng.uniform(0.5, 1, (frames, 5, 1))], -1).astype(np.float32)
        recordings.append(Recording(f"{style}/{number}", seen, SIZE, points.astype(np.float32), camera))
    name = f"walkers.{style}"
    about = {"name": name, "count": count, "frames": frames, "first": first}
    return Sequences(name, WALKER, recordings, SequenceOptions(random=random, every=every), about)
