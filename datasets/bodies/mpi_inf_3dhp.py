"""MPI-INF-3DHP of Mehta et al., 3DV 2017: eight people before a green screen, six in scenes for the test.

Raw layout. Train: S{1..8}/Seq{1,2}/annot.mat (annot2, annot3: a cell a camera of (frames, 56) px and (frames, 84) mm in
that camera's frame, x right, y down, z forward; 28 joints), camera.calibration (text; intrinsics of 14 cameras) and
imageSequence/video_{camera}.avi, or imageFrames/video_{camera}/frame_%06d.jpg, numbered from 1, where frames have been
extracted. The 17 joints of the test are taken (`JOINTS`), and the eight cameras at the height of a chest, as in the
publisher's script and the literature; the others hang from the ceiling. Test: mpi_inf_3dhp_test_set/TS{1..6}/
annot_data.mat (MATLAB 7.3, HDF5: annot2 (frames, 1, 17, 2), annot3 (frames, 1, 17, 3), valid_frame) and
imageSequence/img_%06d.jpg. Frames that are not valid are left out. univ_annot3, a body of one size, is not read.

Cameras of the test are fitted to annot2 and annot3, a camera for each of TS1 to TS6, since the documented ones do not
hold: on published samples (open-mmlab/mmpose @ 759b39c) the fit agrees to 0.01 px, the documented one with TS1 as well
(1500.17, 1500.84, 1017.39, 1043.03), but is 6 px off with TS2. Hips and spine of annot2 are 1 to 2 px beside the
projection of annot3 everywhere, and take no part in the fit. The lens of TS5 and TS6 bends; their annot2 do not say it.

Pixel origin: the corner, nothing is shifted: the documented cameras state the axis as an offset from the middle of the
picture, 2048 / 2 counted from the corner. Nothing says which joints are hidden, and joints outside the picture are
annotated too: `visible` is `annotated`, all. There are no boxes of the whole person: crops are from the true joints.

Parts: S1 to S8 train, every 10th frame by default, as others do; TS1 to TS6 test, every frame. A `sequence` is what one
camera recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..options import option
from ..reading.annotations import BadAnnotation, mapping, need_all, need_file, numbers, probe_mats, read_mat
from ..reading.cameras import in_front
from ..reading.origin import Origin
from ..reading.people import People, PictureOptions, PictureSet, digest
from ..reading.splits import check_part
from .skeletons import MPI3DHP17

if TYPE_CHECKING:
    import h5py

ORIGIN = Origin(
    "MPI-INF-3DHP of Mehta, Rhodin, Casas, Fua, Sotnychenko, Xu and Theobalt, 3DV 2017",
    "non-commercial research",
    "https://vcai.mpi-inf.mpg.de/3dhp-dataset/",
    "S{1..8}/Seq{1,2}/ with annot.mat, camera.calibration, imageSequence/video_{0,1,2,4,5,6,7,8}.avi or imageFrames/; "
    "mpi_inf_3dhp_test_set/TS{1..6}/ with annot_data.mat, imageSequence/img_%06d.jpg",
)
JOINTS = [7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6]
"""The 17 joints of the test among the 28 of annot.mat."""
CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
STRIDES = {"train": 10, "test": 1}
LOOSE = ("right_hip", "left_hip", "spine")
OFF = 2.0
"""px: annot2 whose median joint is farther from the fitted camera's picture of annot3 is not of the same people."""
LARGEST_ARRAY = 50_000_000


@dataclass(frozen=True)
class Recording:
    """What one camera saw: frames (T,) from 0, keypoints (T, 17, 2) px, points (T, 17, 3) mm, camera (4,)."""

    name: str
    picture: str
    """With a place for the frame's number."""
    first: int
    """What the pictures' numbers count from."""
    frames: np.ndarray
    keypoints: np.ndarray
    points: np.ndarray
    camera: np.ndarray


@dataclass(frozen=True)
class Options(PictureOptions):
    """The options of MPI-INF-3DHP."""

    stride: int | None = option(
        None, f"every how many-th frame; null: the {STRIDES['train']}th to train, each to test", low=1, high=1e6
    )


def mpi_inf_3dhp(options: Options, part: str) -> PictureSet:
    """One sample a frame of a camera. `root` holds S1 to S8 or mpi_inf_3dhp_test_set; for the test it may be that
    folder.

    Raises ValueError for missing files (all of them named) and malformed ones.
    """
    check_part(part)
    step, home = options.stride or STRIDES[part], options.folder
    if part == "train":
        folders = [home / f"S{person}/Seq{number}" for person in range(1, 9) for number in (1, 2)]
        files = [folder / name for folder in folders for name in ("annot.mat", "camera.calibration")]
        need_all([*files, *(_video(folder, camera) for folder in folders for camera in CAMERAS)], ORIGIN.layout)
        probe_mats([folder / "annot.mat" for folder in folders])
        recordings = [recording for folder in folders for recording in _trained(folder, home, step)]
    else:
        inner = home / "mpi_inf_3dhp_test_set"
        files = [(inner if inner.is_dir() else home) / f"TS{number}/annot_data.mat" for number in range(1, 7)]
        need_all(files, ORIGIN.layout)
        recordings = [_tested(file, home, step) for file in files]
    about = {"part": part, "stride": step, "sha256": digest(*files)}
    return PictureSet(
        f"mpi_inf_3dhp.{part}", home, _people(recordings, home), about, ORIGIN, options.boxes, fallback="truth"
    )


def _people(recordings: Sequence[Recording], home: Path) -> People:
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(recording, name) for recording in recordings])
        for name in ("frames", "keypoints", "points")
    }
    known = np.ones(joined["keypoints"].shape[:2], bool)
    shots = [(recording, int(frame)) for recording in recordings for frame in recording.frames]
    return People(
        file=str(home),
        skeleton=MPI3DHP17,
        pictures=[one.picture.format(frame + one.first) for one, frame in shots],
        ids=[f"mpi_inf_3dhp/{one.name}/{frame:06d}" for one, frame in shots],
        sequences=[f"mpi_inf_3dhp/{one.name}" for one, _ in shots],
        annotated=known,
        visible=known,
        camera=np.repeat([one.camera for one in recordings], [len(one.frames) for one in recordings], axis=0),
        **joined,
    )


def _video(folder: Path, camera: int) -> Path:
    """The folder of extracted frames where there is one, else the video."""
    frames = folder / f"imageFrames/video_{camera}"
    return frames if frames.is_dir() else folder / f"imageSequence/video_{camera}.avi"


def _trained(folder: Path, home: Path, step: int) -> Iterator[Recording]:
    file, name = folder / "annot.mat", folder.relative_to(home).as_posix()
    names = ("annot2", "annot3")
    content = mapping(read_mat(file, probed=True, variable_names=names), file, "", "the content", names)
    cameras = _calibration(folder / "camera.calibration")
    for camera in CAMERAS:
        flat, space = (_cell(content[f"annot{dims}"], camera, dims, file)[::step] for dims in (2, 3))
        if len(flat) != len(space):
            count = f"of {len(flat)} frames"
            raise BadAnnotation(file, f"camera {camera}", "annot2", count, f"{len(space)}, as annot3")
        video = _video(folder, camera)
        picture = video.relative_to(home).as_posix()
        extracted = not picture.endswith(".avi")
        picture += "/frame_{:06d}.jpg" if extracted else "#{}"
        frames = np.arange(len(flat)) * step
        in_front(space, file, [f"camera {camera}, frame {frame}" for frame in frames])
        yield Recording(f"{name}/video_{camera}", picture, int(extracted), frames, flat, space, cameras[camera])


def _cell(cells: Any, camera: int, dims: int, file: Path) -> np.ndarray:
    """(T, 17, dims) of a camera's cell."""
    listed = np.ravel(cells)
    if listed.dtype != object or len(listed) <= camera:
        form = f"of shape {np.shape(cells)} and kind {listed.dtype}"
        raise BadAnnotation(file, "", f"annot{dims}", form, f"cells of at least {camera + 1} cameras")
    flat = numbers(listed[camera], (None, 28 * dims), file, f"camera {camera}", f"annot{dims}")
    return flat.reshape(-1, 28, dims)[:, JOINTS]


def _calibration(file: Path) -> dict[int, np.ndarray]:
    """(4,) fx, fy, cx, cy of each of CAMERAS, from the lines `name N` and `intrinsic` (16 numbers, row by row)."""
    cameras: dict[int, np.ndarray] = {}
    camera = None
    for line in need_file(file, ORIGIN.layout).read_bytes().decode("utf-8", "replace").splitlines():
        word, *rest = line.split() or [""]
        if word == "name":
            camera = next((camera for camera in CAMERAS if rest == [str(camera)]), None)
        if word == "intrinsic" and camera is not None:
            cameras[camera] = _intrinsic(rest, file, f"camera {camera}")
    missing = [str(camera) for camera in CAMERAS if camera not in cameras]
    if missing:
        wanted = "lines `name N` and `intrinsic` of each camera"
        raise BadAnnotation(file, "", "the content", f"without cameras {', '.join(missing)}", wanted)
    return cameras


def _intrinsic(words: Sequence[str], file: Path, place: str) -> np.ndarray:
    try:
        listed = [float(word) for word in words]
    except ValueError:
        raise BadAnnotation(file, place, "intrinsic", words, "16 numbers") from None
    matrix = numbers(listed, (16,), file, place, "intrinsic").reshape(4, 4)
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or abs(matrix[0, 1]) > 1e-3:
        raise BadAnnotation(file, place, "intrinsic", words, "positive focal lengths and no skew")
    return matrix[[0, 1, 0, 1], [0, 1, 2, 2]]


def _tested(file: Path, home: Path, step: int) -> Recording:
    arrays = _hdf5(file, ("annot2", "annot3", "valid_frame"))
    flat, space = (
        numbers(arrays[f"annot{dims}"], (None, 1, len(MPI3DHP17), dims), file, "", f"annot{dims}")[:, 0]
        for dims in (2, 3)
    )
    valid = numbers(np.ravel(arrays["valid_frame"]), (None,), file, "", "valid_frame")
    if not len(flat) == len(space) == len(valid):
        counts = f"of {len(flat)}, {len(space)} and {len(valid)} frames"
        raise BadAnnotation(file, "", "annot2, annot3, valid_frame", counts, "one number of frames")
    frames = np.flatnonzero(valid)
    in_front(space[frames], file, [f"frame {frame}" for frame in frames])
    camera = fitted(flat[frames], space[frames], file)
    folder = file.parent.relative_to(home).as_posix()
    kept = frames[::step]
    picture = f"{folder}/imageSequence/img_{{:06d}}.jpg"
    return Recording(file.parent.name, picture, 1, kept, flat[kept], space[kept], camera)


def fitted(keypoints: np.ndarray, points: np.ndarray, file: Path) -> np.ndarray:
    """(4,) fx, fy, cx, cy that project points (T, 17, 3) onto keypoints (T, 17, 2), least squares.

    Raises BadAnnotation where no camera does.
    """
    firm = [k for k, name in enumerate(MPI3DHP17.keypoints) if name not in LOOSE]
    ratio = (points[:, firm, :2] / points[:, firm, 2:]).reshape(-1, 2)
    pixels = keypoints[:, firm].reshape(-1, 2)
    lines = [
        np.linalg.lstsq(np.stack([ratio[:, i], np.ones(len(ratio))], 1), pixels[:, i], rcond=None)[0] for i in (0, 1)
    ]
    focal, middle = np.array(lines).T
    off = np.linalg.norm(ratio * focal + middle - pixels, axis=-1)
    if not len(off) or focal.min() <= 0 or np.median(off) > OFF:
        place = f"{np.median(off):.1f} px beside it" if len(off) else "of no valid frame"
        raise BadAnnotation(file, "", "annot2", place, "the picture of annot3 in one camera")
    return np.concatenate([focal, middle])


def _hdf5(file: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of a MATLAB 7.3 file. Nothing outside the file is followed."""
    import h5py

    try:
        with h5py.File(file, "r") as content:
            return {name: _array(content, name) for name in names}
    except Exception as error:  # HDF5 raises whatever the bytes lead it to
        reason = f"{type(error).__name__}: {error}"
        raise BadAnnotation(file, "", "the content", reason, f"MATLAB 7.3 with {', '.join(names)}") from error


def _array(content: h5py.File, name: str) -> np.ndarray:
    import h5py

    if not isinstance(content.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is not there")
    data = content[name]
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual or data.size > LARGEST_ARRAY:
        raise ValueError(f"{name} is no array of its own, or too large")
    return np.asarray(data[()])
