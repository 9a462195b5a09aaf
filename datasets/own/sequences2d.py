"""2D keypoints over time that keyshift itself predicted, without labels: to lift into space, and to adapt lifters to.

    keyshift predict MODEL clip.mp4 --boxes ...   writes predictions.json, which root= names; of a folder all its .json

What one person did in a video, or in a folder of frames, is a recording: people are told apart by their `track_id`;
where the file has none, each picture must show one person. A keypoint that was not found (confidence 0), and all of a
person who is missing for up to `gap` frames, lie between those before and after, with confidence 0; where someone is
missing for longer, a new recording begins. Keypoints are those of `skeleton`, by name; what stands for a body's joint
that the 2D model does not have is in datasets/bodies/middles.py.

Cameras: `focal` or `camera` (datasets/reading/intrinsics.py); else what the file says of its pictures, else none.

Split: every fifth recording tests; of fewer than five the last fifth of each. `frame` is the number in the video.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..bodies.middles import joints_like
from ..options import option
from ..reading.annotations import BadAnnotation, Words, entries, mapping, need_file, numbers, read_json, whole
from ..reading.intrinsics import CameraOptions, open_intrinsics
from ..reading.listing import by_path, walk
from ..reading.origin import FolderOptions, Origin
from ..reading.people import digest
from ..reading.sequences import Recording, SequenceOptions, Sequences
from ..reading.splits import EVERY, by_end, by_group, check_part
from ..reading.video import file_of, is_frame
from ..skeleton import Skeleton
from .skeleton_file import of_category, skeleton_of

ORIGIN = Origin(
    "2D keypoints that keyshift predicted",
    "yours",
    "your disk",
    "FILE.json as `keyshift predict` writes it, or a folder of them",
)
Array = np.ndarray
USUAL_GAP = 10


@dataclass(frozen=True)
class Options(CameraOptions, SequenceOptions, FolderOptions):
    """The options of 2D keypoints that were predicted; `root` is a file that `keyshift predict` wrote, or a folder."""

    skeleton: str | None = option(None, "which keypoints: a skeleton's name, or a YAML file; null: the source's")
    gap: int = option(USUAL_GAP, "frames in a row in which a person may be missing", low=0)


@dataclass(frozen=True)
class Person:
    """What one person did, as a file of predictions has it."""

    recording: Recording
    track: int
    """-1 where the file tells nobody apart."""
    pictures: Array
    """(T,) the places of the frames in the file's list of pictures."""
    there: Array
    """(T,) bool: the file has the person in that frame; else all keypoints lie between others."""


@dataclass(frozen=True)
class PredictedFile:
    """A file that `keyshift predict` wrote."""

    path: Path
    skeleton: Skeleton
    """Which keypoints the people have here."""
    info: dict[str, Any]
    images: list[dict[str, Any]]
    """As they stand there."""
    people: list[Person]
    """In the order in which they come."""
    made: dict[str, tuple[str, ...]]
    """Which keypoints are made of which others."""
    lacking: list[str]
    """Which there is nothing for."""
    camera: str
    """Where the cameras are from, for people."""


def own_sequences(options: Options, part: str, default_skeleton: Skeleton | None = None) -> Sequences:
    """The recordings of `root`. `default_skeleton` says which keypoints where the options do not. Raises ValueError for
    files that are no predictions of keyshift, and where nobody is in them."""
    check_part(part)
    skeleton = default_skeleton if options.skeleton is None else skeleton_of(options.skeleton)
    files = _files(options.folder)
    read = [read_predictions(file, options, skeleton) for file in files]
    kinds = sorted({", ".join(file.skeleton.keypoints) for file in read})
    if len(kinds) > 1:
        raise ValueError(f"root={options.root}: files of several skeletons ({'; '.join(kinds)}): say skeleton=")
    several = len(files) > 1
    recordings = [
        replace(
            person.recording, name=f"{file.path.stem}/{person.recording.name}" if several else person.recording.name
        )
        for file in read
        for person in file.people
    ]
    if not recordings:
        raise ValueError(f"root={options.root}: nobody is in these predictions")
    for file in read:
        _say_joints(file)
    chosen, name = read[0].skeleton, f"sequences2d.{part}"
    about = {"name": name, "part": part, "skeleton": chosen.name, "gap": options.gap}
    about |= {"focal": options.focal, "camera": options.camera, "sha256": digest(*files)}
    return Sequences(name, chosen, _part(recordings, part), options, about)


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    files = [root / name for name in sorted(walk(root), key=by_path) if name.lower().endswith(".json")]
    if not files:
        raise ValueError(f"root={root}: no .json of `keyshift predict` lies there")
    return files


def _say_joints(file: PredictedFile) -> None:
    if file.lacking:
        warnings.warn(
            f"{file.path}: there is nothing for {', '.join(file.lacking)}: these stand in the middle of the others, "
            "with confidence 0",
            stacklevel=3,
        )


def _part(recordings: list[Recording], part: str) -> list[Recording]:
    if len(recordings) >= EVERY:
        return [recordings[index] for index in by_group([one.name for one in recordings], part)]
    kept = ((one, by_end(range(len(one)), part)) for one in recordings)
    return [_some(one, rows) for one, rows in kept]


def _some(recording: Recording, rows: Array) -> Recording:
    frames = np.arange(len(recording)) if recording.frames is None else recording.frames
    return replace(recording, keypoints2d=recording.keypoints2d[rows], frames=frames[rows])


def read_predictions(path: Path, options: Options, skeleton: Skeleton | None = None) -> PredictedFile:
    """What `keyshift predict` wrote in its form coco, as recordings of the keypoints of `skeleton`, its own where that
    is None. Raises BadAnnotation, a ValueError, naming entry and field."""
    content = read_json(need_file(path, "2D keypoints are a JSON that `keyshift predict` wrote"))
    content = mapping(content, path, "", "the content", ("images", "annotations", "categories"))
    own = skeleton_in(content, path)
    wanted = own if skeleton is None else skeleton
    images = [
        mapping(one, path, f"image {number}", "the image", ("id", "file_name", "width", "height"))
        for number, one in enumerate(entries(content["images"], path, "", "images"))
    ]
    seen = _people(content, images, len(own), path)
    _, made, lacking = joints_like(np.zeros((0, len(own), 3)), own.keypoints, wanted.keypoints)
    info = mapping(content.get("info", {}), path, "", "info")
    cameras, said = _cameras(options, info, images)
    people = []
    listed: dict[str, list[int]] = defaultdict(list)
    for place, image in enumerate(images):
        listed[_recording(image)].append(place)
    times = np.array([_number(image, place) for place, image in enumerate(images)])
    for (recording, track, size), rows in seen.items():
        parts = _unbroken(rows, np.array(listed[recording]), times, options.gap)
        for part, (places, keypoints, there) in enumerate(parts):
            name = recording.rstrip("/") or "."
            name += f"/{track}" * (track >= 0) + f".{part}" * (part > 0)
            whole_person = joints_like(keypoints, own.keypoints, wanted.keypoints)[0]
            one = Recording(name, whole_person, size, camera=cameras[places[0]], frames=times[places])
            people.append(Person(one, track, places, there))
    people.sort(key=lambda person: (int(person.pictures[0]), person.track))
    return PredictedFile(path, wanted, info, images, people, made, lacking, said)


def skeleton_in(content: dict[str, Any], path: Path) -> Skeleton:
    """That of the only category with keypoints."""
    listed = entries(content["categories"], path, "", "categories")
    named = [
        one for one in (mapping(one, path, "categories", "the category") for one in listed) if one.get("keypoints")
    ]
    if len(named) != 1:
        raise BadAnnotation(path, "", "categories", Words(f"{len(named)} with keypoints"), "one with keypoints")
    return of_category({**named[0], "skeleton": []}, path, "the category")


Key = tuple[str, int, tuple[int, int]]
"""The video or folder, the track, and the pictures' width and height."""


def _people(
    content: dict[str, Any], images: list[dict[str, Any]], count: int, path: Path
) -> dict[Key, dict[int, Array]]:
    """{whose: {place of the picture: keypoints (K, 3)}}. Raises ValueError where one has two poses in a picture."""
    places = {image["id"]: place for place, image in enumerate(images)}
    people: dict[Key, dict[int, Array]] = defaultdict(dict)
    for number, value in enumerate(entries(content["annotations"], path, "", "annotations")):
        where, fields = f"annotation {number}", ("image_id", "keypoints", "keypoint_scores")
        entry = mapping(value, path, where, "the person", fields)
        if entry["image_id"] not in places:
            raise BadAnnotation(path, where, "image_id", entry["image_id"], "the id of an entry of images")
        place = places[entry["image_id"]]
        joints = numbers(entry["keypoints"], (3 * count,), path, where, "keypoints").reshape(-1, 3)
        sure = numbers(entry["keypoint_scores"], (count,), path, where, "keypoint_scores")
        size = numbers([images[place]["width"], images[place]["height"]], (2,), path, f"image {place}", "width, height")
        track = whole(entry["track_id"], path, where, "track_id") if "track_id" in entry else -1
        whose = people[_recording(images[place]), track, (int(size[0]), int(size[1]))]
        if place in whose:
            name = images[place]["file_name"]
            raise ValueError(
                f"{path}: {name} shows several people, and nothing says who is who: predict with --tracks"
                if track < 0
                else f"{path}: {name} has two people of track {track}"
            )
        whose[place] = np.concatenate([joints[:, :2] + 0.5, np.maximum(sure, 0)[:, None]], 1)
    return people


def _recording(image: dict[str, Any]) -> str:
    name = str(image["file_name"])
    return file_of(name) if is_frame(name) else name.rpartition("/")[0] + "/"


def _number(image: dict[str, Any], place: int) -> int:
    """That of a frame in its video; a picture's place in the file."""
    name = str(image["file_name"])
    return int(name.rpartition("#")[2]) if is_frame(name) else place


def _unbroken(rows: dict[int, Array], listed: Array, times: Array, gap: int) -> Iterator[tuple[Array, Array, Array]]:
    """Of a person, who is seen at some of the places `listed` of a recording, the parts between which they are missing
    for more than `gap` frames: (places (T,), keypoints (T, K, 3), seen there (T,)). `times` (P,) are the frames'."""
    seen = np.searchsorted(listed, sorted(rows))
    for part in np.split(seen, np.flatnonzero(np.diff(seen) > gap + 1) + 1):
        places = listed[part[0] : part[-1] + 1]
        nothing = np.zeros_like(rows[int(listed[part[0]])])
        keypoints = np.stack([rows.get(int(place), nothing) for place in places])
        yield places, between(keypoints, times[places].astype(np.float64)), np.isin(places, listed[part])


def between(keypoints: Array, times: Array) -> Array:
    """(T, K, 3) with the places of keypoints of confidence 0 on the line from the last one that was found to the next,
    at `times` (T,); before the first and behind the last, on these; of those never found, in the frame's middle."""
    count, known = len(keypoints), keypoints[..., 2] > 0
    row = np.arange(count)[:, None]
    last = np.maximum.accumulate(np.where(known, row, -1), 0)
    following = np.minimum.accumulate(np.where(known, row, count)[::-1], 0)[::-1]
    first, second = np.where(last < 0, following, last), np.where(following == count, last, following)
    ever = known.any(0)
    first, second = (np.where(ever, index, row) for index in (first, second))
    share = (times[:, None] - times[first]) / np.maximum(times[second] - times[first], 1e-9)
    column = np.arange(keypoints.shape[1])
    start, end = keypoints[first, column, :2], keypoints[second, column, :2]
    points = start + (end - start) * share[..., None]
    if not ever.all():
        points[:, ~ever] = (points[:, ever] if ever.any() else points).mean(1, keepdims=True)
    return np.concatenate([points, keypoints[..., 2:]], -1)


def _cameras(options: Options, info: dict[str, Any], images: Sequence[dict[str, Any]]) -> tuple[Array, str]:
    """(P, 4) the pictures' cameras, pixel centres at +0.5, zeros where unknown, and where they are from."""
    if (options.focal is None and options.camera is None) or not images:
        own = [image.get("camera") for image in images]
        cameras = np.array([np.zeros(4) if one is None else np.add(one, (0, 0, 0.5, 0.5)) for one in own])
        known = int((cameras[:, :2] > 0).all(1).sum()) if len(own) else 0
        said = "the cameras are those of the predictions" if known else "no camera is known"
        return cameras.reshape(-1, 4), said
    names, sizes = zip(
        *((str(one["file_name"]), (int(one["width"]), int(one["height"]))) for one in images), strict=True
    )
    intrinsics = open_intrinsics(options, Path(str(info.get("root", "."))), names, sizes)
    return np.stack([intrinsics.of(name, *size) for name, size in zip(names, sizes, strict=True)]), intrinsics.note
