"""Tiny sets in the exact raw layouts of the public depth datasets, and the truth that a loader must return.

The cameras are written out here from the datasets' papers, not taken from the package, so that a wrong one is seen.
"""

from dataclasses import dataclass

import cv2
import h5py
import numpy as np
import scipy.io

CAMERAS = {  # fx, fy, u0, v0 in the datasets' own pixels, width, height
    "nyu": (588.03, 587.07, 320, 240, 640, 480),
    "icvl": (240.99, 240.96, 160, 120, 320, 240),
    "msra": (241.42, 241.42, 160, 120, 320, 240),
    "hands2017": (475.065948, 475.065857, 315.944855, 245.287079, 640, 480),
    "itop": (1 / 0.0035, 1 / 0.0035, 160, 120, 320, 240),
}
NYU_JOINTS = [0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32]
GESTURES = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "I", "IP", "L", "MP", "RP", "T", "TIP", "Y"]


@dataclass
class Truth:
    """What a set holds: points mm with y down, uvd in the datasets' pixels, depth mm, all by row of the list."""

    points: np.ndarray
    uvd: np.ndarray
    depth: np.ndarray
    centers: np.ndarray
    """(N, 3) mm, y down: near the middle of the joints."""


def project(points, name):
    fx, fy, u0, v0, *_ = CAMERAS[name]
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([x / z * fx + u0, y / z * fy + v0, z], -1)


def draw(name, count, joints, seed=0, spread=60.0, away=500.0):
    """`count` frames: joints about a middle, a round blob of depth around it, nothing elsewhere."""
    rng = np.random.default_rng(seed)
    *_, width, height = CAMERAS[name]
    middle = rng.uniform(-40, 40, (count, 1, 3)) + np.array([0, 0, away])
    points = middle + rng.uniform(-spread, spread, (count, joints, 3))
    centers = points.mean(1) + rng.uniform(-10, 10, (count, 3))
    depth = np.zeros((count, height, width))
    rows, columns = np.mgrid[:height, :width]
    for i, (u, v, z) in enumerate(project(middle[:, 0], name)):
        near = (rows - v) ** 2 + (columns - u) ** 2 < 30**2
        depth[i][near] = np.round(z + rng.uniform(-spread, spread, near.sum()))
    return Truth(points, project(points, name), depth, centers)


def up(points):
    return points * [1, -1, 1]


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row + "\n" for row in rows))


def words(values, digits=4, between=" "):
    return between.join(f"{value:.{digits}f}" for value in np.ravel(values))


def write_centers(path, centers, invalid=()):
    """V2V's text, in the axes and units that `centers` has."""
    write_lines(path, ["invalid" if i in invalid else words(c, 6) for i, c in enumerate(centers)])


def write_grey(path, depth):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), depth.astype(np.uint16))


def write_nyu(root, split="train", count=4, pictures=(0, 1, 2, 3), seed=0, cameras=3):
    """Only `pictures` are drawn, so that the second person's frames can be had cheaply."""
    truth = draw("nyu", len(pictures), 36, seed, away=700)
    others = draw("nyu", 1, 36, seed + 1)
    points, uvd = np.repeat(others.points, count, 0), np.repeat(others.uvd, count, 0)
    points[list(pictures)], uvd[list(pictures)] = truth.points, truth.uvd
    folder = root / split
    folder.mkdir(parents=True)
    wrong = np.full_like(points, 7.0)  # the other cameras must not be read
    stack = [[up(points), *[wrong] * (cameras - 1)], [uvd, *[wrong] * (cameras - 1)]]
    scipy.io.savemat(folder / "joint_data.mat", {"joint_xyz": np.array(stack[0]), "joint_uvd": np.array(stack[1])})
    for row, depth in zip(pictures, truth.depth, strict=True):
        image = np.zeros((*depth.shape, 3), np.uint8)
        image[..., 0], image[..., 1], image[..., 2] = depth % 256, depth // 256, 77  # blue, green, a red to be ignored
        assert cv2.imwrite(str(folder / f"depth_1_{row + 1:07d}.png"), image)
    centers = points.mean(1)
    centers[list(pictures)] = truth.centers
    write_centers(root / f"center_{split}_refined.txt", up(centers))
    return Truth(points[:, NYU_JOINTS], uvd[:, NYU_JOINTS], truth.depth, centers)


def write_icvl(root, split="train", seed=0):
    names = {
        "train": [
            "201403121135/image_0000.png",
            "22-5/201403121135/image_0000.png",
            "0/b/image_0001.png",
            "-90/c/i.png",
        ],
        "test": ["test_seq_1/image_0000.png", "test_seq_1/image_0001.png", "test_seq_2/image_0000.png"],
    }[split]
    truth = draw("icvl", len(names), 16, seed)
    lines = [f"{name} {words(uvd, 3)} " for name, uvd in zip(names, truth.uvd, strict=True)]
    if split == "train":
        write_lines(root / "Training/labels.txt", lines)
    else:
        write_lines(root / "Testing/test_seq_1.txt", [*lines[:2], ""])  # the published lists end in an empty line
        write_lines(root / "Testing/test_seq_2.txt", [*lines[2:], ""])
    for name, depth in zip(names, truth.depth, strict=True):
        write_grey(root / ("Training" if split == "train" else "Testing") / "Depth" / name, depth)
    write_centers(root / f"center/center_{split}_refined.txt", truth.centers)
    return truth


def write_patch(path, depth):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.nonzero(depth)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    head = np.array([depth.shape[1], depth.shape[0], left, top, right, bottom], "<i4")
    path.write_bytes(head.tobytes() + depth[top:bottom, left:right].astype("<f4").tobytes())


def write_msra(root, subject=3, extra=0):
    """One frame for each gesture of each of the nine, `extra` more in P1/9; truth by person."""
    truths = {}
    for person in range(9):
        counts = [1 + extra * (person == 1 and gesture == "9") for gesture in GESTURES]
        truth = draw("msra", sum(counts), 21, person, spread=40, away=350)
        truths[person] = truth
        row = 0
        for gesture, count in zip(GESTURES, counts, strict=True):
            folder, chosen = root / f"P{person}" / gesture, slice(row, row + count)
            joints = truth.points[chosen] * [1, -1, -1]
            write_lines(folder / "joint.txt", [str(count), *(words(joint, 6) for joint in joints)])
            for number, depth in enumerate(truth.depth[chosen]):
                write_patch(folder / f"{number:06d}_depth.bin", depth)
            row += count
    train = np.concatenate([t.centers for p, t in truths.items() if p != subject])
    write_centers(root / f"center/center_train_{subject}_refined.txt", up(train))
    write_centers(root / f"center/center_test_{subject}_refined.txt", up(truths[subject].centers))
    return truths


def write_hands2017(root, split="train", annotated=True, seed=0):
    truth = draw("hands2017", 3, 21, seed)
    names = [f"image_D{i + 1:08d}.png" for i in range(3)]
    folder = root / ("training" if split == "train" else "frame")
    rows = [f"{name}\t{words(points, 4, chr(9))}\t" for name, points in zip(names, truth.points, strict=True)]
    if split == "train":
        write_lines(folder / "Training_Annotation.txt", rows)
    else:
        write_lines(folder / "BoundingBox.txt", [f"{name}\t10.0\t20.0\t200.0\t210.0" for name in names])
        if annotated:
            write_lines(folder / "test_annotation_frame.txt", ["frame/images/" + row for row in rows])
    for name, depth in zip(names, truth.depth, strict=True):
        write_grey(folder / "images" / name, depth)
    write_centers(root / f"center_{split}_refined.txt", truth.centers)
    return truth


def write_itop(root, split="train", view="side", seed=0, count=5, valid=(0, 2, 3)):
    """float16 metres, so that the truth is rounded to it."""
    truth = draw("itop", count, 15, seed, spread=600, away=3000)
    metres = (up(truth.points) / 1000).astype(np.float16)
    truth.points = up(metres.astype(np.float64) * 1000)
    truth.uvd = project(truth.points, "itop")
    truth.depth = (truth.depth / 1000).astype(np.float16).astype(np.float64) * 1000
    flags = np.isin(np.arange(count), valid).astype(np.uint8)
    metres[flags == 0] = 0  # what an unchecked frame holds means nothing
    root.mkdir(parents=True, exist_ok=True)
    ids = np.array([f"{4 + i % 2:02d}_{i + 98:05d}" for i in range(count)], "S8")
    with h5py.File(root / f"ITOP_{view}_{split}_labels.h5", "w") as file:
        file["id"], file["is_valid"] = ids, flags
        file["visible_joints"] = ((np.arange(15) + np.arange(count)[:, None]) % 5 > 0).astype(np.int16)
        file["real_world_coordinates"] = metres
        file["image_coordinates"] = truth.uvd[..., :2].astype(np.int16)
    with h5py.File(root / f"ITOP_{view}_{split}_depth_map.h5", "w") as file:
        file["id"], file["data"] = ids, (truth.depth / 1000).astype(np.float16)
    invalid = np.flatnonzero(flags == 0)
    write_centers(root / f"center/center_{split}.txt", up(truth.centers) / 1000, invalid)
    return truth
