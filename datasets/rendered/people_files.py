"""Rendered people on disk, in the layouts of two public sets: pictures, and a JSON file of everything that is known.

    muco     MuCo-3DHP.json and augmented_set/0000000.png: 21 joints, each person of each picture
    mupots   MuPoTS-3D.json and MultiPersonTestSet/TS1/img_000000.png: 17 joints; scene i is picture i // 20 of
             recording i % 20 + 1, and is_valid is 0 of people of whom fewer than LEAST pixels are seen

Both as mks0601/3DMPPE_POSENET_RELEASE @ dd025c5 has them (see bodies/muco.py and bodies/mupots.py). Boxes are those of
the option `crops`, x, y, width and height; PNG keeps the pictures' bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from ..bodies.skeletons import MPI3DHP17, MUCO21
from ..reading.files import write_whole
from .people import BOXES, LEAST, Options, Scene, render_scenes, style_of
from .people_styles import PeopleStyle
from .person_anatomy import PLACE

RECORDINGS = 20
LAYOUTS = {
    "muco": ("MuCo-3DHP.json", MUCO21, lambda index: f"augmented_set/{index:07d}.png", ""),
    "mupots": (
        "MuPoTS-3D.json",
        MPI3DHP17,
        lambda index: f"TS{index % RECORDINGS + 1}/img_{index // RECORDINGS:06d}.png",
        "MultiPersonTestSet/",
    ),
}
"""By name: the annotation file, the joints, what a picture is called by its number, and the folder of the pictures."""


def write_scenes(
    folder: str | Path,
    style: str | PeopleStyle,
    options: Options,
    part: str,
    layout: str = "muco",
    progress: Callable[[int], object] = lambda done: None,
) -> Path:
    """Render the scenes of a part into `folder`; the answer is the annotation file. `progress` hears how many are done.

    Raises ValueError for a layout or style that is not known, and where the annotation file is there already.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout!r} is not known; choose one of {', '.join(LAYOUTS)}")
    name, skeleton, named, below = LAYOUTS[layout]
    file = Path(folder) / name
    if file.exists():
        raise ValueError(f"{file} is there already; choose another folder, or remove it")
    count, first = options.scenes_of(part)
    content: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    order = [PLACE[joint] for joint in skeleton.keypoints]
    for index, scene in enumerate(render_scenes(style_of(style), options, range(first, first + count))):
        picture = named(index)
        path = Path(folder) / below / picture
        path.parent.mkdir(parents=True, exist_ok=True)
        made, png = cv2.imencode(".png", scene.image[:, :, ::-1])
        assert made
        path.write_bytes(png.tobytes())
        content["images"].append(_image(scene, index, picture))
        for slot in range(len(scene.points)):
            number = len(content["annotations"])
            content["annotations"].append(_person(scene, slot, index, number, order, BOXES[options.cut]))
        progress(index + 1)
    write_whole(file, lambda output: output.write(json.dumps(content).encode()))
    return file


def _image(scene: Scene, index: int, picture: str) -> dict[str, Any]:
    camera = scene.camera.tolist()
    height, width = scene.image.shape[:2]
    return {
        **{"id": index, "file_name": picture, "width": width, "height": height},
        **{"f": camera[:2], "c": camera[2:], "intrinsic": camera},
    }


def _person(scene: Scene, slot: int, index: int, number: int, order: list[int], boxes: str) -> dict[str, Any]:
    left, top, right, bottom = getattr(scene, boxes)[slot].tolist()
    return {
        **{"id": number, "image_id": index, "bbox": [left, top, right - left, bottom - top]},
        "keypoints_cam": scene.points[slot, order].tolist(),
        "keypoints_img": scene.keypoints[slot, order].tolist(),
        "keypoints_vis": scene.visible[slot, order].astype(int).tolist(),
        "is_valid": int(scene.pixels[slot] >= LEAST),
    }
