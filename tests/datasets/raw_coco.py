"""What the tests of COCO keypoint files share: content of one, person by person, and the writing of it."""

import json

import numpy as np
from PIL import Image

from keyshift.datasets.bodies.skeletons import COCO17

BASE = np.arange(51.0).reshape(17, 3) * 2 + 10
BASE[:, 2] = 2


def joints(**flags) -> list[float]:
    made = BASE.copy()
    for name, flag in flags.items():
        made[COCO17.keypoints.index(name), 2] = flag
    return made.ravel().tolist()


def annotation(number, image, **more):
    plain = {"id": number, "image_id": image, "category_id": 1, "bbox": [10, 12, 100, 80], "keypoints": joints()}
    return {**plain, **more}


def content(*annotations, count=4, categories=None, **image):
    person = {"id": 1, "name": "person", "keypoints": list(COCO17.keypoints), "skeleton": [[16, 14]]}
    return {
        "images": [{"id": n, "file_name": f"{n}.jpg", **image} for n in range(count)],
        "annotations": list(annotations) or [annotation(10 + n, n) for n in range(count)],
        "categories": [person] if categories is None else categories,
    }


def write(root, made, name="labels.json", pictures=True):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(made))
    for image in made["images"] if pictures else []:
        Image.new("RGB", (160, 120)).save(root / image["file_name"])
    return str(root / name)
