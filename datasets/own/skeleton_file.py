"""Skeletons that come from outside: names as label tools write them, a COCO category, a YAML file, and whether the
names agree with the geometry.

Names are brought to one vocabulary (datasets/bodies/skeletons.py, `HAND`), because two datasets are paired by name:
case, spaces and camel case go, sides stand in front (`LShoulder`, `shoulder_l`, `Left Shoulder` are left_shoulder),
fingers are counted from the wrist (`forefinger1` is index_mcp, `pinky_finger4` little_tip). MediaPipe's thumb (CMC,
MCP, IP, TIP) moves one place down, to HAND's. A name that is not understood keeps its meaning and loses only its
spelling.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..bodies.skeletons import COCO17, H36M17, LSP14, MPI3DHP17, MPII16, SMPL24, body
from ..reading.annotations import BadAnnotation, entries, mapping, need_file
from ..reading.files import from_home
from ..reading.people import People
from ..skeleton import FINGERS, HAND, Skeleton

KNOWN = {known.name: known for known in (COCO17, MPII16, LSP14, H36M17, SMPL24, MPI3DHP17, HAND)}
_SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}
_SAME = {
    **dict.fromkeys(("root", "root_pelvis", "mid_hip", "midhip", "hips_center"), "pelvis"),
    **{"upper_neck": "neck", "top_head": "head_top", "headtop": "head_top", "top_of_head": "head_top"},
}
_FINGER = re.compile(r"(thumb|forefinger|index|middle|ring|pinky|little)(?:_?finger)?_?([1-4]|cmc|mcp|pip|ip|dip|tip)")
_FINGERS = {"forefinger": "index", "pinky": "little"}
_JOINTS = {"1": "mcp", "2": "pip", "3": "dip", "4": "tip"}
_ANATOMY = {"thumb_cmc": "thumb_mcp", "thumb_mcp": "thumb_pip", "thumb_ip": "thumb_dip"}
_FIELDS = ("name", "keypoints", "edges", "flip_pairs")


def canonical(names: Sequence[str]) -> tuple[str, ...]:
    """`names` in the vocabulary of this package, in their order."""
    made = [_canonical(name) for name in names]
    if any(name.endswith(("thumb_cmc", "thumb_ip")) for name in made):
        made = [re.sub(r"thumb_\w+$", lambda match: _ANATOMY.get(match[0], match[0]), name) for name in made]
    return tuple(made)


def _canonical(name: str) -> str:
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    words = [word for word in re.split(r"[\W_]+", apart.lower()) if word]
    side = ""
    for place in (0, -1):
        if len(words) > 1 and words[place] in _SIDES:
            side = _SIDES[words.pop(place)] + "_"
            break
    rest = "_".join(words)
    finger = _FINGER.fullmatch(rest)
    if finger:
        rest = f"{_FINGERS.get(finger[1], finger[1])}_{_JOINTS.get(finger[2], finger[2])}"
    return side + _SAME.get(rest, rest) or name


def from_names(name: str, names: Sequence[str], edges: Sequence[tuple[int, int]] = ()) -> Skeleton:
    """The skeleton of canonical `names`: a known one, in their order, where they are its names; else one called `name`
    with these edges, or those of its body parts, and with the pairs left_x, right_x."""
    for known in KNOWN.values():
        if set(names) == set(known.keypoints):
            return known if tuple(names) == known.keypoints else known.select(tuple(names))
    made = body(name, names)
    return replace(made, edges=tuple(edges)) if edges else made


def of_category(category: dict[str, Any], file: Path, entry: str) -> Skeleton:
    """The skeleton that a COCO category describes by `keypoints` and `skeleton`.

    COCO counts the ends of an edge from 1; where one is 0 they are all taken as counted from 0; 1.0 and "1" are 1. If
    one then lies outside the keypoints, the file's edges are dropped with a warning and follow from the names. Raises
    BadAnnotation.
    """
    names = _names(category["keypoints"], file, entry)
    listed = []
    for edge in entries(category.get("skeleton") or [], file, entry, "skeleton"):
        ends = [end for end in map(_end, edge) if end is not None] if isinstance(edge, list) else []
        if len(ends) != 2 or len(edge) != 2:
            raise BadAnnotation(file, entry, "skeleton", edge, "pairs of keypoint numbers")
        listed.append(ends)
    base = 0 if any(0 in edge for edge in listed) else 1
    edges = [(a - base, b - base) for a, b in listed]
    if any(not 0 <= end < len(names) for edge in edges for end in edge):
        shown = f"{file}, {entry}: skeleton refers to keypoints outside 1 to {len(names)}"
        warnings.warn(f"{shown}; its edges are ignored, those drawn follow from the names", stacklevel=2)
        edges = []
    title = category.get("name")
    return from_names(f"{title if isinstance(title, str) else 'own'}{len(names)}", names, edges)


def _end(value: Any) -> int | None:
    """The number of a keypoint, which some tools write as 1.0 or "1"; None where it is none."""
    text = isinstance(value, str) and len(value) < 10 and value.isdecimal()
    exact = type(value) is int or (isinstance(value, float) and value.is_integer())
    return int(value) if text or exact else None


def _names(value: Any, file: Path, entry: str) -> tuple[str, ...]:
    listed = entries(value, file, entry, "keypoints")
    for name in listed:
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise BadAnnotation(file, entry, "keypoints", name, "the names of keypoints")
    names = canonical(listed)
    if not names or len(set(names)) < len(names):
        count = Counter(names)
        twice = [old for old, name in zip(listed, names, strict=True) if count[name] > 1]
        raise BadAnnotation(file, entry, "keypoints", twice, "different names of keypoints, at least one")
    return names


def skeleton_of(source: str) -> Skeleton:
    """The skeleton of a known name, or of a YAML file that holds a mapping of

        name: dog
        keypoints: [nose, left_paw, right_paw]        in the order of the labels
        edges: [[nose, left_paw], [nose, right_paw]]  by name; without them they follow from the names
        flip_pairs: [[left_paw, right_paw]]           by name; without them left_x pairs with right_x

    Raises ValueError naming what is wrong.
    """
    if source in KNOWN:
        return KNOWN[source]
    path = from_home(source)
    if path.suffix.lower() not in (".yaml", ".yml"):
        near = difflib.get_close_matches(str(source), KNOWN, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"skeleton={source!r} is not known; choose one of {', '.join(KNOWN)}, or a .yaml file.{hint}")
    return _from_yaml(need_file(path, "skeleton= takes a known name or a YAML file with name, keypoints, edges"))


def _from_yaml(path: Path) -> Skeleton:
    try:
        text = path.read_text("utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ValueError("aliases are not allowed")  # a few of them can stand for gigabytes
        content = yaml.load(text, yaml.BaseLoader)  # every scalar a text: a joint may be called `on` or `1`
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        raise BadAnnotation(path, "", "the content", f"{type(error).__name__}: {error}", "YAML in UTF-8") from error
    mapping(content, path, "", "the content", ("keypoints",))
    for key in content:
        if key not in _FIELDS:
            raise BadAnnotation(path, "", "a key", key, f"only {', '.join(_FIELDS)}")
    names = _names(content["keypoints"], path, "")
    listed = enumerate(content["keypoints"])
    place = {name: k for k, name in enumerate(names)} | {name: k for k, name in listed}  # as it is spelled there
    pairs: dict[str, Any] = {
        key: _pairs(content[key], place, path, key) for key in ("edges", "flip_pairs") if key in content
    }
    made = from_names(str(content.get("name", path.stem)), names)
    mirrored = [k for ends in pairs.get("flip_pairs", ()) for k in ends]
    if len(set(mirrored)) < len(mirrored):
        raise BadAnnotation(path, "", "flip_pairs", content["flip_pairs"], "every keypoint in one pair at most")
    return replace(made, **pairs)


def _pairs(value: Any, place: dict[str, int], path: Path, key: str) -> tuple[tuple[int, int], ...]:
    made = []
    for pair in entries(value, path, "", key):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            raise BadAnnotation(path, "", key, pair, "pairs of keypoint names")
        a, b = (place.get(name, place.get(_canonical(name))) for name in pair)
        if a is None or b is None or a == b:
            raise BadAnnotation(path, "", key, pair, f"two of {', '.join(place)}")
        made.append((a, b))
    return tuple(made)


def describe(skeleton: Skeleton) -> str:
    """Names, edges and flip pairs in words, three lines: what was read out of a file, to be looked at."""

    def words(pairs: Sequence[tuple[int, int]], between: str) -> str:
        return ", ".join(f"{skeleton.keypoints[a]}{between}{skeleton.keypoints[b]}" for a, b in pairs) or "none"

    return (
        f"{skeleton.name}, {len(skeleton)} keypoints: {', '.join(skeleton.keypoints)}\n"
        f"edges: {words(skeleton.edges, ' - ')}\n"
        f"change places in a mirrored picture: {words(skeleton.flip_pairs, ' and ')}"
    )


def order_doubts(people: People) -> list[str]:
    """Where names contradict the geometry of most samples, in words; empty where nothing does.

    Fingers: the joint named tip is nearer to the wrist than the one named base, and the first bone shorter than the
    last; fists do the former, never the latter. Limbs: the joint between two others (knee, elbow, hip) is farther from
    one of them than they are from each other. In 3D where the table has it. Sides are not judged: a picture alone does
    not tell which way a body faces.
    """
    place = {name: k for k, name in enumerate(people.skeleton.keypoints)}
    where = people.keypoints if people.points is None else people.points

    def apart(a: str, b: str) -> np.ndarray:
        gap: np.ndarray = np.linalg.norm(where[:, place[a]] - where[:, place[b]], axis=-1)
        return gap

    def mostly(wrong: np.ndarray, *names: str) -> str:
        known = people.annotated[:, [place[name] for name in names]].all(1)
        count = int((wrong & known).sum())
        return f"{count} of {known.sum()} samples" if 2 * count > known.sum() else ""

    doubts = []
    for side in ("", "left_", "right_"):
        for finger in FINGERS:
            chain = [f"{side}wrist", *(f"{side}{finger}_{joint}" for joint in ("mcp", "pip", "dip", "tip"))]
            if place.keys() >= set(chain):
                wrist, base, pip, dip, tip = chain
                nearer = mostly(apart(tip, wrist) < apart(base, wrist), *chain)
                if nearer and mostly(apart(base, pip) < apart(dip, tip), *chain):
                    doubts.append(f"{side}{finger} is named base to tip but runs tip to base in {nearer}")
        for ends in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"), ("shoulder", "hip", "knee")):
            first, middle, last = (side + joint for joint in ends)
            if place.keys() >= {first, middle, last}:
                span = np.maximum(apart(first, middle), apart(middle, last))
                outside = mostly(apart(first, last) < span, first, middle, last)
                if outside:
                    doubts.append(f"{middle} does not lie between {first} and {last} in {outside}")
    return doubts
