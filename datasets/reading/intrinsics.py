"""The cameras of any pictures and videos: stated in px, from a calibration file, from EXIF, or an assumed one.

    focal: [1450]                       px; the principal point is the picture's middle
    focal: [1450, 1450, 959.5, 539.5]   fx, fy, cx, cy; the first pixel's centre at 0, as OpenCV and ROS write them
    camera: calibration.yaml            a file (calibration_file.py): scaled where pictures were made smaller or larger
    camera: exif                        each photograph's own (exif.py); pictures that do not tell it are refused
    camera: assumed, or nothing         EXIF where it tells a focal length; else FOCAL px, and the middle

A depth from RootNet goes with the focal length: k = sqrt(fx fy area in mm / area in px). With an assumed one depths are
right for that focal length, and Z_true = Z * f_true / FOCAL (the authors' answer to users without a camera:
3DMPPE_ROOTNET_RELEASE, issues 2, 19, 36, 37); a root's x and y in mm do not depend on it.

What is given is fx, fy, cx, cy in px of the file as it is shown, turned by its EXIF tag, pixel centres at +0.5.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..depth.calibration import Size
from ..options import BadOption, Options, option
from .calibration_file import read_calibration
from .exif import read_lenses
from .files import from_home
from .headers import read_headers
from .pinhole import Pinhole, impossible, off_centre
from .video import file_of

FOCAL = 1500.0
"""px: the focal length that is assumed where none is known."""
EXIF = "exif"
ASSUME = "assumed"
CONSEQUENCE = (
    f"a focal length of {FOCAL:g} px is assumed, and the principal point is the middle; depths are right for that "
    f"focal length, and scale with the true one: Z_true = Z * f_true / {FOCAL:g}"
)
REMEDY = (
    "Give focal=F in px (F_mm * the picture's width / the sensor's width in mm), or camera=FILE, a calibration file; "
    f"without either, {FOCAL:g} px are assumed for pictures that do not tell theirs"
)


@dataclass(frozen=True)
class CameraOptions(Options):
    """Base of the options of all that look at pictures of unknown cameras."""

    focal: list[float] | None = option(
        None, "the camera in px: [F], the principal point in the middle; or [FX, FY, CX, CY], first pixel's centre at 0"
    )
    camera: str | None = option(
        None,
        f"null, assumed: EXIF where it tells, else {FOCAL:g} px; exif: that alone; or a calibration file",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.focal is not None and len(self.focal) not in (1, 4):
            raise BadOption(f"focal={self.focal} must be F, or FX,FY,CX,CY, in px")
        if self.focal is not None and self.camera is not None:
            raise BadOption(f"focal={self.focal} and camera={self.camera} both state the camera: give one of them")


def parse_focal(text: str) -> list[float]:
    """The option `focal` of a command line, "1450" or "1450,1450,959.5,539.5". Raises ValueError."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 4):
        raise ValueError(f"focal={text}: expected F, or FX,FY,CX,CY, in px")
    return values


@dataclass(frozen=True)
class Intrinsics:
    """The cameras of pictures and of the frames of videos."""

    origin: str
    """focal, file, exif, or assumed for all pictures."""
    note: str
    """Where the cameras are from and what follows from that, for people."""
    common: Pinhole | None = None
    """Of those that are not in `own`; None: they have none."""
    own: Mapping[str, Pinhole] = field(default_factory=dict)
    """By picture, or by the video of frames."""
    file: Path | None = None

    def of(self, name: str, width: int, height: int) -> np.ndarray:
        """(4,) fx, fy, cx, cy of the picture or frame `name`, of that size as it is shown. Raises ValueError for one
        that has no camera, or is of another shape than its camera."""
        camera = self._pinhole(name)
        if camera is None:
            raise ValueError(f"{name}: no camera is known. {REMEDY}")
        try:
            return camera.at(width, height)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    def assumed(self, name: str) -> bool:
        """Whether the focal length of the picture is not known, and FOCAL stands for it."""
        return self._pinhole(name) is ASSUMED

    def about(self) -> dict[str, Any]:
        """Plain data for a JSON file beside predictions. Principal points are the users', the first pixel's centre at
        0."""
        data: dict[str, Any] = {"from": self.origin, "note": self.note}
        if self.file is not None:
            data["file"] = str(self.file)
        if self.common is ASSUMED:
            data["assumed_focal"] = FOCAL
        elif self.common is not None:
            point = None if self.common.cx is None or self.common.cy is None else (self.common.cx, self.common.cy)
            data["focal"] = [self.common.fx, self.common.fy]
            data["principal_point"] = "middle" if point is None else [value - 0.5 for value in point]
            data["size"] = None if self.common.size is None else list(self.common.size)
        return data

    def _pinhole(self, name: str) -> Pinhole | None:
        return self.own.get(name) or self.own.get(file_of(name)) or self.common


ASSUMED = Pinhole(FOCAL, FOCAL)


def open_intrinsics(
    options: CameraOptions, root: Path, names: Sequence[str], sizes: Sequence[Size] | None = None
) -> Intrinsics:
    """The cameras of the pictures and frames `names` below `root`, whose `sizes` are (width, height) as they are shown;
    None: they are read, without decoding pictures.

    Raises ValueError for a camera that cannot be that of its picture (0, negative, in mm, a principal point far
    outside, another shape), and for pictures without one, saying how many and which first; pictures that cannot be read
    are passed over. Warns of lens distortion, which is not used, and of a principal point far from the middle.
    """
    if sizes is None:
        headers = read_headers(root, names)
        shown = {name: (headers[name].width, headers[name].height) for name in names if name in headers}
    else:
        shown = dict(zip(names, sizes, strict=True))
    if options.focal is not None:
        return _stated(options.focal, shown)
    if options.camera not in (None, ASSUME, EXIF):
        assert options.camera is not None
        return _of_file(from_home(options.camera), shown)
    return _of_exif(root, shown, need_all=options.camera == EXIF)


def _stated(focal: Sequence[float], shown: Mapping[str, Size]) -> Intrinsics:
    one = len(focal) == 1
    camera = Pinhole(focal[0], focal[0]) if one else Pinhole(focal[0], focal[1], focal[2] + 0.5, focal[3] + 0.5)
    middle = "the picture's middle" if one else f"({focal[2]:g}, {focal[3]:g})"
    lengths = f"{focal[0]:g} px" if camera.fx == camera.fy else f"{camera.fx:g} x {camera.fy:g} px"
    note = f"the camera is the one given: focal length {lengths}, principal point {middle}"
    stated = Intrinsics("focal", note, camera)
    _check(stated, shown, f"focal={','.join(f'{value:g}' for value in focal)}", 0.5)
    return stated


def _of_file(path: Path, shown: Mapping[str, Size]) -> Intrinsics:
    calibration = read_calibration(path)
    each = "" if calibration.common is not None else ", one for each picture"
    note = f"the camera is that of {path}{each}"
    stated = Intrinsics("file", note, calibration.common, calibration.pictures, path)
    lacking = [name for name in shown if stated._pinhole(name) is None]
    if lacking:
        near = difflib.get_close_matches(lacking[0], calibration.pictures, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(
            f"{path}: no camera for {len(lacking)} of {len(shown)} pictures, the first {lacking[0]}{hint}. Add them by "
            "their paths below the root, or give one camera for all"
        )
    used = {name: stated._pinhole(name) for name in shown}
    if any(camera is not None and camera.distorted for camera in used.values()):
        warnings.warn(
            f"{path}: it states the distortion of a lens, which is not used: towards the border points and depths are "
            "off. Undistort the pictures first (cv2.undistort) where that matters",
            stacklevel=4,
        )
    _check(stated, shown, str(path), calibration.shift)
    return stated


def _of_exif(root: Path, shown: Mapping[str, Size], need_all: bool) -> Intrinsics:
    lenses, reasons = read_lenses(root, map(file_of, shown))
    total = len(lenses) + len(reasons)
    if reasons:
        first, why = next(iter(reasons.items()))
        kinds = f"{len(reasons)} of {total} pictures and videos tell no camera, the first {first}: {why}"
        if need_all:
            raise ValueError(f"camera=exif: {kinds}. {REMEDY}")
    known = (
        f"the focal length of {len(lenses)} of {total} pictures is that of their EXIF, the principal point the middle"
    )
    if not lenses and not need_all:
        cause = f" ({first}: {why})" if total == 1 else f" ({kinds})" if total else ""
        return Intrinsics("assumed", f"no camera is known{cause}: {CONSEQUENCE}", ASSUMED)
    if not reasons:
        return Intrinsics(EXIF, known, own=lenses)
    return Intrinsics(EXIF, f"{known}; {kinds}: for these {CONSEQUENCE}", ASSUMED, lenses)


def _check(stated: Intrinsics, shown: Mapping[str, Size], source: str, shift: float) -> None:
    """Raises ValueError for the first picture that its camera cannot be of, with how many there are; warns of
    principal points far from the middle where no size says that they are meant so."""
    problems: dict[str, str] = {}
    off: list[str] = []
    checked: dict[tuple[Pinhole | None, Size], str] = {}
    for name, size in shown.items():
        camera = stated._pinhole(name)
        if (camera, size) not in checked:
            checked[camera, size] = _problem(camera, size, shift)
        problem = checked[camera, size]
        if problem:
            problems[name] = problem
        elif camera is not None and camera.size is None and off_centre(camera.at(*size), size):
            off.append(name)
    if problems:
        first, problem = next(iter(problems.items()))
        others = f" (and of {len(problems) - 1} more of {len(shown)})" if len(problems) > 1 else ""
        raise ValueError(f"{source}, for {first}{others}: {problem}")
    if off:
        width, height = shown[off[0]]
        warnings.warn(
            f"{source}: the principal point is far from the middle of {len(off)} of {len(shown)} pictures, the first "
            f"{off[0]} of {width} x {height}. Is it of another size? A file that says the width and height of its "
            "pictures is scaled to others",
            stacklevel=5,
        )


def _problem(camera: Pinhole | None, size: Size, shift: float) -> str:
    if camera is None:
        return ""
    try:
        return impossible(camera.at(*size), size, shift, stated=camera.size is not None)
    except ValueError as error:
        return str(error)
