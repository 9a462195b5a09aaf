"""A chain as a folder: which networks find people in the camera's space, and how. `keyshift predict` reads it.

    chain.json    {"pose": "pose.pt", "root": "root.pt", "boxes": "boxes.json", "focal": [1450]}

`pose` is a run folder, a weights file or a released checkpoint of PoseNet, `root` the same of RootNet or a file of
roots; a network that knows both needs no root. `boxes` (a detector's name, a file, whole) and one of `camera` (exif, a
calibration file) and `focal` (px: F, or FX, FY, CX, CY) may be there, and the command line goes before them. Paths are
relative to the folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...datasets.reading.annotations import BadAnnotation, mapping, read_json
from ...datasets.reading.boxes import FILES
from ...datasets.reading.files import from_home, write_json
from ...datasets.reading.intrinsics import EXIF
from ...datasets.reading.weights import read_content
from ...models.saved import MODELS
from .folder import locate

CHAIN = "chain.json"
PATHS = ("pose", "root")
KEYS = (*PATHS, "boxes", "camera", "focal")


@dataclass(frozen=True)
class Chain:
    """The parts of a chain, as the command line names them."""

    pose: Path
    root: Path | None = None
    """None of a network that tells roots itself."""
    boxes: str | None = None
    """A detector of torchvision, a file, or whole."""
    camera: str | None = None
    """exif, or a calibration file."""
    focal: tuple[float, ...] | None = None
    """px: F, or FX, FY, CX, CY with the first pixel's centre at 0."""


def is_chain(folder: Path) -> bool:
    return (folder / CHAIN).is_file()


def sees_people(model: Path) -> bool:
    """Whether MODEL is a chain, or a network of people in the camera's space. What is wrong with one that cannot be
    read, is for whoever opens it to say."""
    if is_chain(model):
        return True
    try:
        content = read_content(locate(model)[0])
    except ValueError:
        return False
    from ...models.people import PersonModel  # these bring torchvision, a second to import
    from .chain_networks import released

    return released(content) is not None or (
        isinstance(content, dict) and issubclass(MODELS.get(content.get("name", ""), object), PersonModel)
    )


def read_chain(folder: Path) -> Chain:
    """The chain of a folder, its paths below it. Raises BadAnnotation, a ValueError, naming file and field."""
    path = folder / CHAIN
    said = mapping(read_json(path), path, "", "the content")
    for key in said:
        if key not in KEYS:
            raise BadAnnotation(path, "", str(key), said[key], f"one of the fields {', '.join(KEYS)}")
    for key in KEYS[:-1]:
        value = said.get(key)
        if not (isinstance(value, str) and value) and (value is not None or key == "pose"):
            raise BadAnnotation(path, "", key, value, "a text")
    paths = {key: folder / from_home(said[key]) for key in PATHS if said.get(key) is not None}
    boxes, camera = said.get("boxes"), said.get("camera")
    if boxes is not None and boxes.lower().endswith(FILES):
        boxes = str(folder / from_home(boxes))
    if camera is not None and camera != EXIF:
        camera = str(folder / from_home(camera))
    return Chain(boxes=boxes, camera=camera, focal=_focal(path, said.get("focal")), **paths)


def _focal(path: Path, value: Any) -> tuple[float, ...] | None:
    values = [value] if isinstance(value, int | float) else value
    if values is None:
        return None
    if (
        not isinstance(values, list)
        or len(values) not in (1, 4)
        or not all(type(one) in (int, float) for one in values)
    ):
        raise BadAnnotation(path, "", "focal", value, "[F], or [FX, FY, CX, CY], in px")
    return tuple(map(float, values))


def write_chain(folder: Path, chain: Chain) -> None:
    """Write the chain into the folder, whole or not at all; one that is there is written over. Paths below the folder
    are written relative to it, others absolute."""

    def inside(path: str | Path) -> str:
        whole = from_home(path).absolute()
        return (
            whole.relative_to(folder.absolute()).as_posix() if whole.is_relative_to(folder.absolute()) else str(whole)
        )

    said: dict[str, Any] = {"pose": inside(chain.pose)}
    if chain.root is not None:
        said["root"] = inside(chain.root)
    if chain.boxes is not None:
        said["boxes"] = inside(chain.boxes) if chain.boxes.lower().endswith(FILES) else chain.boxes
    if chain.camera is not None:
        said["camera"] = chain.camera if chain.camera == EXIF else inside(chain.camera)
    if chain.focal is not None:
        said["focal"] = list(chain.focal)
    write_json(folder / CHAIN, said)
