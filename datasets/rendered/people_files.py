"""Rendered people on disk, in the layouts of public sets: pictures, and a JSON file of everything that is known.

    muco     MuCo-3DHP.json and augmented_set/0000000.png: 21 joints, each person of each picture
    mupots   MuPoTS-3D.json and MultiPersonTestSet/TS1/img_000000.png: 17 joints; scene i is picture i // 20 of
             recording i % 20 + 1, and is_valid is 0 of people of whom fewer than LEAST pixels are seen
    coco     labels.json and 000000000000.png: COCO's 17 joints, 2 where they are seen, 1 hidden, 0 outside the picture,
             and of people of whom fewer than LEAST pixels are seen (num_keypoints 0); outlines as run lengths of the
             seen pixels, and area their number. Besides what COCO has: cam_param, joint_cam and, where subjects stay
             the same for some pictures, seq_name (see reading/coco_file.py). It is read by `coco_json`

The first two as mks0601/3DMPPE_POSENET_RELEASE @ dd025c5 has them (see bodies/muco.py and bodies/mupots.py). Boxes are
those of the option `crops`, x, y, width and height; PNG keeps the pictures' bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..bodies.skeletons import COCO17, MPI3DHP17, MUCO21
from ..reading.files import write_whole
from ..reading.regions import run_lengths
from ..skeleton import Skeleton
from .people import BOXES, LEAST, Options, Scene, render_scenes, style_of
from .people_styles import BLOCK, PeopleStyle
from .person_anatomy import PLACE

RECORDINGS = 20
Names = dict[str, Any]


class Layout(NamedTuple):
    """How a public set lies on disk."""

    file: str
    """The annotation file."""
    skeleton: Skeleton
    picture: Callable[[int], str]
    """What a picture is called by its number."""
    below: str
    """The folder of the pictures."""
    image: Callable[[Scene, int, str], Names]
    """An entry of `images`, of a scene, its number and its picture."""
    person: Callable[[Scene, int, list[int], str], Names]
    """An entry of `annotations`, of a scene, a person's place in it, the joints' places, and which boxes are theirs."""
    categories: tuple[Names, ...] = ()


def write_scenes(
    folder: str | Path,
    style: str | PeopleStyle,
    options: Options,
    part: str,
    layout: str = "muco",
    progress: Callable[[int], object] = lambda done: None,
) -> Path:
    """Render the scenes of a part into `folder`; the answer is the annotation file. `progress` hears how many are done.

    Raises ValueError for a layout or style that is not known, for videos, and where the annotation file is there.
    """
    if options.video:
        raise ValueError(f"video={options.video}: scenes alone are written in others' layouts; leave video=0")
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout!r} is not known; choose one of {', '.join(LAYOUTS)}")
    form, look = LAYOUTS[layout], style_of(style)
    file = Path(folder) / form.file
    if file.exists():
        raise ValueError(f"{file} is there already; choose another folder, or remove it")
    count, first = options.scenes_of(part)
    content: dict[str, list[Names]] = {"images": [], "annotations": []}
    if form.categories:
        content["categories"] = list(form.categories)
    order = [PLACE[joint] for joint in form.skeleton.keypoints]
    for index, scene in enumerate(render_scenes(look, options, range(first, first + count))):
        picture = form.picture(index)
        path = Path(folder) / form.below / picture
        path.parent.mkdir(parents=True, exist_ok=True)
        made, png = cv2.imencode(".png", scene.image[:, :, ::-1])
        assert made
        path.write_bytes(png.tobytes())
        block = {"seq_name": f"subjects{(first + index) // BLOCK:06d}"} if look.fixed and layout == "coco" else {}
        content["images"].append({**form.image(scene, index, picture), **block})
        for slot in range(len(scene.points)):
            named = {"id": len(content["annotations"]), "image_id": index}
            content["annotations"].append({**named, **form.person(scene, slot, order, BOXES[options.cut])})
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


def _person(scene: Scene, slot: int, order: list[int], boxes: str) -> Names:
    return {
        "bbox": _box(scene, slot, boxes),
        "keypoints_cam": scene.points[slot, order].tolist(),
        "keypoints_img": scene.keypoints[slot, order].tolist(),
        "keypoints_vis": scene.visible[slot, order].astype(int).tolist(),
        "is_valid": int(scene.pixels[slot] >= LEAST),
    }


def _box(scene: Scene, slot: int, boxes: str) -> list[float]:
    left, top, right, bottom = getattr(scene, boxes)[slot].tolist()
    return [left, top, right - left, bottom - top]


def _coco_image(scene: Scene, index: int, picture: str) -> Names:
    height, width = scene.image.shape[:2]
    fx, fy, cx, cy = scene.camera.tolist()
    camera = {"focal": [fx, fy], "princpt": [cx - 0.5, cy - 0.5]}
    return {"id": index, "file_name": picture, "width": width, "height": height, "cam_param": camera}


def _coco_person(scene: Scene, slot: int, order: list[int], boxes: str) -> Names:
    """Keypoints and the camera are counted in indices of pixels there."""
    points = scene.keypoints[slot, order].astype(np.float64)
    inside = ((points >= 0) & (points < scene.image.shape[1::-1])).all(1)
    flags = np.where(inside, 1 + scene.visible[slot, order], 0) * (scene.pixels[slot] >= LEAST)
    joints = np.concatenate([np.where(flags[:, None] > 0, points - 0.5, 0), flags[:, None]], 1)
    return {
        **{"category_id": 1, "iscrowd": 0, "bbox": _box(scene, slot, boxes), "area": int(scene.pixels[slot])},
        **{"keypoints": joints.ravel().tolist(), "num_keypoints": int((flags > 0).sum())},
        "segmentation": run_lengths(scene.owner == slot),
        "joint_cam": scene.points[slot, order].tolist(),
    }


_EDGES = [[a + 1, b + 1] for a, b in COCO17.edges]
LAYOUTS = {
    "muco": Layout("MuCo-3DHP.json", MUCO21, lambda index: f"augmented_set/{index:07d}.png", "", _image, _person),
    "mupots": Layout(
        "MuPoTS-3D.json",
        MPI3DHP17,
        lambda index: f"TS{index % RECORDINGS + 1}/img_{index // RECORDINGS:06d}.png",
        "MultiPersonTestSet/",
        _image,
        _person,
    ),
    "coco": Layout(
        "labels.json",
        COCO17,
        lambda index: f"{index:012d}.png",
        "",
        _coco_image,
        _coco_person,
        ({"id": 1, "name": "person", "keypoints": list(COCO17.keypoints), "skeleton": _EDGES},),
    ),
}
"""By name."""
