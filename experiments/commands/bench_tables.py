"""Large annotation files: what the first and the later openings of a set take, and what a worker holds of it.

Sets are written in their raw layouts, record by record. Each opening is a process of its own, of which the highest
memory is that above what Python and the imports took. `python -m keyshift.experiments.commands.bench_tables 1300000
2000000` runs it at the size of InterHand2.6M's train split and of SURREAL's (20 GB of disk for half an hour).
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from ...datasets.bodies.skeletons import SMPL24
from ...datasets.bodies.surreal import CAMERA, columns, surreal
from ...datasets.bodies.surreal import Options as SurrealOptions
from ...datasets.hands.interhand import interhand
from ...datasets.reading.people import PictureOptions, PictureSet, project
from ..runs.progress import Reporter

CAMERAS, FRAMES = 80, 100
"""Of a pose of InterHand2.6M; of a clip of SURREAL."""
POSES = 50
"""Different ones: their numbers are as long as real ones, and are not computed a million times."""
READ = 10_000
"""Records that a worker reads."""
MODULE = "keyshift.experiments.commands.bench_tables"
Rows = list[tuple[str, str, str]]


def write_interhand(root: Path, count: int) -> None:
    """`count` pictures of one hand."""
    rng, folder = np.random.default_rng(0), root / "annotations/train"
    folder.mkdir(parents=True)
    _picture(root / "images/train/Capture0/0000_hand/cam400000/image0.jpg")
    kinds = "right", "left"
    valid = [json.dumps([[int(first == (k < 21))] for k in range(42)]) for first in (True, False)]
    with open(folder / "InterHand2.6M_train_data.json", "w") as file:
        file.write('{"images": [')
        for i in range(count):
            name = f"Capture{i // 50_000}/0000_hand/cam4{i % CAMERAS:05d}/image{i // CAMERAS}.jpg"
            file.write(
                f'{", " if i else ""}{{"id": {i}, "file_name": "{name}", "width": 512, "height": 334, "capture": '
                f'{i // 50_000}, "subject": 3, "seq_name": "0000_hand", "camera": "4{i % CAMERAS:05d}", "frame_idx": '
                f"{i // CAMERAS}}}"
            )
        file.write('], "annotations": [')
        boxes = rng.uniform(20, 300, (POSES, 4)).tolist()
        for i in range(count):
            file.write(
                f'{", " if i else ""}{{"id": {i}, "image_id": {i}, "bbox": {boxes[i % POSES]}, "joint_valid": '
                f'{valid[i % 2]}, "hand_type": "{kinds[i % 2]}", "hand_type_valid": 1}}'
            )
        file.write("]}")
    captures = range(-(-count // 50_000))
    lens: dict[str, Any] = {"campos": [0.0, 0.0, -1000.0], "camrot": np.eye(3).tolist(), "focal": [1200.5, 1201.5]}
    lens["princpt"] = [255.5, 166.5]
    group = {field: {f"4{n:05d}": value for n in range(CAMERAS)} for field, value in lens.items()}
    (folder / "InterHand2.6M_train_camera.json").write_text(json.dumps({str(c): group for c in captures}))
    worlds = [json.dumps(pose) for pose in rng.uniform(-90, 90, (POSES, 42, 3)).tolist()]
    with open(folder / "InterHand2.6M_train_joint_3d.json", "w") as file:
        for c in captures:
            file.write(f'{", " if c else "{"}"{c}": {{')
            frames = range(c * 50_000 // CAMERAS, (min((c + 1) * 50_000, count) - 1) // CAMERAS + 1)
            file.write(
                ", ".join(f'"{f}": {{"world_coord": {worlds[f % POSES]}, "joint_valid": {valid[0]}}}' for f in frames)
            )
            file.write("}")
        file.write("}")


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(path)


def _bodies() -> np.ndarray:
    """(POSES, 24, 3) mm before the camera, with a trunk of half a metre."""
    points = np.random.default_rng(0).uniform(-400, 400, (POSES, 24, 3))
    points[..., 2] += 7000
    neck, pelvis = (SMPL24.keypoints.index(name) for name in ("neck", "pelvis"))
    points[:, neck] = points[:, pelvis] - [0, 500, 0]
    return points


def write_surreal_lists(root: Path, count: int) -> None:
    """`count` pictures in two lists."""
    matrix = json.dumps([[600.0, 0.0, 160.0], [0.0, 600.0, 120.0], [0.0, 0.0, 1.0]])
    points, order = _bodies(), np.argsort(columns("smpl"))
    keypoints = project(points, np.tile(CAMERA, (POSES, 1)))
    values = [
        f'"keypoint2d": {json.dumps(k[order].tolist())}, "keypoint3d": {json.dumps((p[order] / 1000).tolist())}, '
        f'"intrinsic_matrix": {matrix}}}'
        for k, p in zip(keypoints, points, strict=True)
    ]
    _picture(root / "train/run0/01_00000_c0001_0.jpg")
    for run, start in enumerate((0, count // 2)):
        with open(root / f"train/run{run}.json", "w") as file:
            file.write("[")
            for i in range(start, (count // 2, count)[run]):
                name = f'{", " if i > start else ""}{{"name": "01_{i // FRAMES:05d}_c0001_{i % FRAMES}.jpg", '
                file.write(name + values[i % POSES])
            file.write("]")


def write_surreal_clips(root: Path, count: int) -> None:
    """The _info.mat of clips with `count` frames in all."""
    body = _bodies()[np.arange(FRAMES) % POSES][:, np.argsort(columns("smpl"))] / 1000
    world = np.stack([-body[..., 2], body[..., 1], -body[..., 0]], -1)  # with the camera at the origin
    flat = project(body * 1000, np.tile(CAMERA, (FRAMES, 1))).round()
    first = root / "first.mat"
    content = {"joints2D": flat.transpose(2, 1, 0), "joints3D": world.transpose(2, 1, 0)}
    scipy.io.savemat(first, {**{k: v.astype(np.float32) for k, v in content.items()}, "camLoc": np.zeros((3, 1))})
    data = first.read_bytes()
    for clip in range(count // FRAMES):
        folder = root / f"train/run{clip % 3}/{clip // 30:02d}_01"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{clip // 30:02d}_01_c{clip // 3 % 10 + 1:04d}_info.mat").write_bytes(data)
    (root / "train/run0/00_01/00_01_c0001.mp4").touch()


SETS: dict[str, tuple[Callable[[Path, int], None], Callable[[str], PictureSet]]] = {
    "InterHand2.6M": (write_interhand, lambda root: interhand(PictureOptions(root=root), "train")),
    "SURREAL, lists": (write_surreal_lists, lambda root: surreal(SurrealOptions(root=root), "train")),
    "SURREAL, clips": (write_surreal_clips, lambda root: surreal(SurrealOptions(root=root, stride=1), "train")),
}


def rows(hands: int = 10_000, bodies: int = 10_000) -> Rows:
    """First and second opening of each set, and a worker that reads some of it."""
    made: Rows = []
    for name, (write, _) in SETS.items():
        count = hands if name == "InterHand2.6M" else bodies
        with tempfile.TemporaryDirectory() as folder:
            root, cache = Path(folder) / "root", Path(folder) / "cache"
            root.mkdir()
            write(root, count)
            size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
            title = f"{name}, {count:,} records of {size / 1e6:,.0f} MB"
            for opening, wanted in (("first", ""), ("second", "under 1 s")):
                seconds, busy, memory = _child("open", name, root, cache)
                value = f"{seconds:.2f} s ({busy:.2f} s of a core), {memory:.0f} MB"
                made.append((f"{title}: {opening} opening", value, wanted))
            pickled, private, shared = _child("work", name, root, cache)
            worker = f"{pickled:,.0f} bytes pickled, {private:.0f} MB of its own, {shared:.0f} MB of shared pages"
            made.append((f"{title}: a worker that reads {min(READ, count):,}", worker, "flat"))
    return made


def _child(what: str, name: str, root: Path, cache: Path) -> list[float]:
    command = [sys.executable, "-m", MODULE, what, name, str(root)]
    environment = {**os.environ, "KEYSHIFT_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return [float(value) for value in done.stdout.split()]


def _memory(field: str) -> float:
    """MB of this process, as Linux counts `field`."""
    with open("/proc/self/status") as file:
        return next(float(line.split()[1]) / 1024 for line in file if line.startswith(f"{field}:"))


def _open(name: str, root: str) -> None:
    """Prints the seconds that an opening takes, those of a core, and by how many MB it raises the highest memory."""
    before, start, busy = _memory("VmHWM"), time.perf_counter(), time.process_time()
    SETS[name][1](root)
    print(time.perf_counter() - start, time.process_time() - busy, _memory("VmHWM") - before)


def _work(name: str, root: str) -> None:
    """Prints what `_worker` does of a dataset that it gets pickled."""
    data = pickle.dumps(SETS[name][1](root))
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_worker, args=(data, there))
    process.start()
    print(len(data), *here.recv())
    process.join()


def _worker(data: bytes, answer: Connection) -> None:
    fields, image = ("RssAnon", "RssFile"), np.zeros((240, 320, 3), np.uint8)
    before = [_memory(field) for field in fields]
    dataset = pickle.loads(data)
    for index in np.random.default_rng(0).integers(0, len(dataset), READ):
        dataset.item(int(index), image)
    answer.send([_memory(field) - value for field, value in zip(fields, before, strict=True)])


def main(words: list[str]) -> None:
    if words[0] in ("open", "work"):
        (_open if words[0] == "open" else _work)(*words[1:])
    else:
        Reporter().table("tables", ["what", "value", "claim"], [list(row) for row in rows(*map(int, words))])


if __name__ == "__main__":
    main(sys.argv[1:])
