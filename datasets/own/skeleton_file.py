"""Skeletons that come from outside: names as label tools write them, a COCO category, a YAML file, and whether the
names agree with the geometry.

Names are brought to one vocabulary (datasets/bodies/skeletons.py, `HAND`), because two datasets are paired by name:
case, spaces and camel case go, sides stand in front (`LShoulder`, `shoulder_l`, `Left Shoulder` are left_shoulder),
fingers are counted from the wrist (`forefinger1` is index_mcp, `pinky_finger4` little_tip). MediaPipe's thumb (CMC,
MCP, IP, TIP) moves one place down, to HAND's. A name that is not understood keeps its meaning and loses only its
spelling; names that would become one (`Pog` and `Pog'`) stay apart. Which names are a pair of sides, datasets/sides.py
tells from the names as they are spelled.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..bodies.skeletons import COCO17, H36M17, LSP14, MPI3DHP17, MPII16, SMPL24, body
from ..reading.annotations import BadAnnotation, entries, mapping, need_file, numbers, read_yaml
from ..reading.files import from_home
from ..reading.people import People
from ..sides import lettered, sides, unnamed
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
SHORTER = 0.8
"""Edges that are clearly the right ones are so much shorter, on average."""
_FIELDS = ("name", "keypoints", "edges", "flip_pairs", "root", "extent")


def canonical(names: Sequence[str]) -> tuple[str, ...]:
    """`names` in the vocabulary of this package, in their order. Of several that would become one name, the one that is
    spelled most like it does, and the others keep their spelling."""
    rows = lettered(names)
    made = [_canonical(name, k in rows) for k, name in enumerate(names)]
    if any(name.endswith(("thumb_cmc", "thumb_ip")) for name in made):
        made = [re.sub(r"thumb_\w+$", lambda match: _ANATOMY.get(match[0], match[0]), name) for name in made]
    pairs = zip(names, made, strict=True)
    losses = [(sum(not c.isalnum() and c not in " _" for c in old), old != new) for old, new in pairs]
    for new in {new for new, count in Counter(made).items() if count > 1}:
        alike = [k for k, name in enumerate(made) if name == new]
        least = min(losses[k] for k in alike)
        nearest = [k for k in alike if losses[k] == least]
        for k in alike:
            made[k] = new if nearest == [k] else names[k]
    return tuple(made) if len(set(made)) == len(made) else tuple(names)


def _canonical(name: str, row: bool = False) -> str:
    """`row`: a lone l or r in the name is no side."""
    name = unicodedata.normalize("NFC", name)
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    words = [word for word in re.split(r"[\W_]+", apart.lower()) if word]
    side = ""
    for place in (0, -1):
        if len(words) > 1 and words[place] in _SIDES and not (row and len(words[place]) == 1):
            side = _SIDES[words.pop(place)] + "_"
            break
    rest = "_".join(words)
    finger = _FINGER.fullmatch(rest)
    if finger:
        rest = f"{_FINGERS.get(finger[1], finger[1])}_{_JOINTS.get(finger[2], finger[2])}"
    return side + _SAME.get(rest, rest) or name


def from_names(name: str, names: Sequence[str], edges: Sequence[tuple[int, int]] = ()) -> Skeleton:
    """The skeleton of `names` as a tool spells them: a known one, in their order, where they are its names; else one
    called `name` with these edges, or those of its body parts, and with the pairs of sides that the names tell."""
    ours = canonical(names)
    for known in KNOWN.values():
        if set(ours) == set(known.keypoints):
            return known if ours == known.keypoints else known.select(ours)
    made = _with_sides(body(name, ours), names)
    return replace(made, edges=tuple(edges)) if edges else made


def _with_sides(skeleton: Skeleton, spelled: Sequence[str]) -> Skeleton:
    """Its pairs as the names tell in their own spelling, where capitals say more, and else in ours, where `LHip` and
    `right_hip` are a pair."""
    by_name = sides(spelled)
    paired = {k for pair in by_name.pairs for k in pair}
    pairs = (*by_name.pairs, *(pair for pair in skeleton.flip_pairs if paired.isdisjoint(pair)))
    unpaired = set(by_name.single).difference(*pairs)
    return replace(skeleton, flip_pairs=tuple(sorted(pairs)), unpaired=tuple(sorted(unpaired)))


def of_category(category: dict[str, Any], file: Path, entry: str, edges_from: int | None = None) -> Skeleton:
    """The skeleton that a COCO category describes by `keypoints` and `skeleton`.

    COCO counts the ends of an edge from 1; where one is 0 they are all taken as counted from 0, unless `edges_from`
    says it; 1.0 and "1" are 1, and names are ends too. If one then lies outside the keypoints, the file's edges are
    dropped with a warning and follow from the names. Raises BadAnnotation.
    """
    names = _names(category["keypoints"], file, entry)
    listed = _edges(category, names, file, entry)
    base = edges_from if edges_from is not None else 0 if any(0 in edge for edge in listed) else 1
    edges = [(a - base, b - base) for a, b in listed]
    if any(not 0 <= end < len(names) for edge in edges for end in edge):
        shown = f"{file}, {entry}: skeleton refers to keypoints outside {base} to {len(names) - 1 + base}"
        warnings.warn(f"{shown}; its edges are ignored, those drawn follow from the names", stacklevel=2)
        edges = []
    title = category.get("name")
    return from_names(f"{title if isinstance(title, str) else 'own'}{len(names)}", names, edges)


def _edges(category: dict[str, Any], names: Sequence[str], file: Path, entry: str) -> list[list[int]]:
    """The ends of edges, as numbers from 1 or 0; by name from 1."""
    place = {name: k + 1 for k, name in enumerate(names)}
    listed = []
    for edge in entries(category.get("skeleton") or [], file, entry, "skeleton"):
        named = isinstance(edge, list) and all(isinstance(end, str) and end in place for end in edge)
        numbers = [place[end] if named else _end(end) for end in edge] if isinstance(edge, list) else []
        ends = [end for end in numbers if end is not None]
        if len(ends) != 2 or len(edge) != 2:
            raise BadAnnotation(file, entry, "skeleton", edge, "pairs of keypoint numbers")
        listed.append(ends)
    return listed


def doubt_edges(
    category: dict[str, Any], skeleton: Skeleton, keypoints: np.ndarray, annotated: np.ndarray, file: Path
) -> None:
    """Warns where no edge of a category ends at the last keypoint, and edges may so be counted from 0; not where they
    are clearly shorter as they were read. `keypoints` (N, K, 2), `annotated` (N, K)."""
    last = len(skeleton) - 1
    used = {end for edge in skeleton.edges for end in edge}
    if not used or not category.get("skeleton") or skeleton.name in KNOWN or last in used:
        return
    lengths = []
    for shift in (0, 1):
        a, b = np.array(skeleton.edges).T + shift
        known = annotated[:, a] & annotated[:, b]
        lengths.append(np.linalg.norm(keypoints[:, a] - keypoints[:, b], axis=-1)[known].mean() if known.any() else 0.0)
    if lengths[0] < SHORTER * lengths[1]:
        return
    hint = ", and so they would be shorter" if lengths[1] < SHORTER * lengths[0] else ""
    warnings.warn(
        f"{file}: no edge of skeleton ends at the last keypoint, {skeleton.keypoints[last]}. They are counted from 1, "
        f"as COCO does; if the file counts from 0{hint}, set edges_from=0, else edges_from=1",
        stacklevel=3,
    )


def _end(value: Any) -> int | None:
    """The number of a keypoint, which some tools write as 1.0 or "1"; None where it is none."""
    text = isinstance(value, str) and len(value) < 10 and value.isdecimal()
    exact = type(value) is int or (isinstance(value, float) and value.is_integer())
    return int(value) if text or exact else None


def _names(value: Any, file: Path, entry: str) -> list[str]:
    """As they are spelled; whole numbers become texts."""
    listed = entries(value, file, entry, "keypoints")
    listed = [str(name) for name in listed] if all(type(name) is int for name in listed) else listed
    for name in listed:
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise BadAnnotation(file, entry, "keypoints", name, "the names of keypoints")
    twice = [name for name, count in Counter(listed).items() if count > 1]
    if twice or not listed:
        raise BadAnnotation(file, entry, "keypoints", twice, "different names of keypoints, at least one")
    return listed


def skeleton_of(source: str) -> Skeleton:
    """The skeleton of a known name, or of a YAML file that holds a mapping of

        name: dog
        keypoints: [nose, left_paw, right_paw]        in the order of the labels
        edges: [[nose, left_paw], [nose, right_paw]]  by name; without them they follow from the names
        flip_pairs: [[left_paw, right_paw]]           by name, all of them; without them, those that the names tell
        root: nose                                    what 3D poses are counted from; without it, the pelvis or wrist
        extent: 800                                   mm, edge of the square that holds a whole one, for RootNet

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
    content = mapping(read_yaml(path), path, "", "the content", ("keypoints",))
    for key in content:
        if key not in _FIELDS:
            raise BadAnnotation(path, "", "a key", key, f"only {', '.join(_FIELDS)}")
    names = _names(content["keypoints"], path, "")
    place = {name: k for k, name in enumerate(canonical(names))} | {name: k for k, name in enumerate(names)}
    pairs: dict[str, Any] = {
        key: _pairs(content[key], place, path, key) for key in ("edges", "flip_pairs") if key in content
    }
    made = from_names(str(content.get("name", path.stem)), names)
    mirrored = [k for ends in pairs.get("flip_pairs", ()) for k in ends]
    if len(set(mirrored)) < len(mirrored):
        raise BadAnnotation(path, "", "flip_pairs", content["flip_pairs"], "every keypoint in one pair at most")
    if "root" in content:
        root = place.get(str(content["root"]))
        if root is None:
            raise BadAnnotation(path, "", "root", content["root"], f"one of {', '.join(place)}")
        pairs["root"] = root
    if "extent" in content:
        pairs["extent"] = float(numbers(content["extent"], (), path, "", "extent"))
        if pairs["extent"] <= 0:
            raise BadAnnotation(path, "", "extent", content["extent"], "mm above 0")
    return replace(made, **pairs, unpaired=() if "flip_pairs" in pairs else made.unpaired)


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
    """Names, edges and flip pairs in words, three lines: what was read out of a file, to be looked at. Then what names
    leave in doubt."""

    def words(pairs: Sequence[tuple[int, int]], between: str) -> str:
        return ", ".join(f"{skeleton.keypoints[a]}{between}{skeleton.keypoints[b]}" for a, b in pairs) or "none"

    lines = [
        f"{skeleton.name}, {len(skeleton)} keypoints: {', '.join(skeleton.keypoints)}",
        f"edges: {words(skeleton.edges, ' - ')}",
        f"change places in a mirrored picture: {words(skeleton.flip_pairs, ' and ')}",
    ]
    return "\n".join([*lines, *(f"note: {doubt}" for doubt in side_doubts(skeleton))])


REMEDY = "flip_pairs in a YAML file, skeleton=FILE, says which keypoints change places"


def side_doubts(skeleton: Skeleton) -> list[str]:
    """Where the names leave open what changes places in a mirrored picture, in words; empty where they do not."""
    names, paired = skeleton.keypoints, {k for pair in skeleton.flip_pairs for k in pair}
    doubts = []
    if skeleton.unpaired:
        lone = ", ".join(names[k] for k in skeleton.unpaired)
        doubts.append(f"of one side by name and without a partner, wrong in a mirrored picture: {lone}; {REMEDY}")
    alike = [pair for pair in sides(names).alike if paired.isdisjoint(pair)]
    if alike:
        listed = ", ".join(f"{names[a]} and {names[b]}" for a, b in alike)
        doubts.append(f"not taken for sides, though an l and an r are all that differs: {listed}; {REMEDY}")
    numbered = [name for name in unnamed(names) if names.index(name) not in paired]
    if numbered:
        doubts.append(f"names that are numbers tell no sides: {numbered[0]} to {numbered[-1]}; {REMEDY}")
    return doubts


def order_doubts(people: People) -> list[str]:
    """Where names contradict the geometry of most samples, in words; empty where nothing does.

    Fingers: the joint named tip is nearer to the wrist than the one named base, and the first bone shorter than the
    last; fists do the former, never the latter. Limbs: the joint between two others (knee, elbow, hip) is farther from
    one of them than they are from each other, as bent limbs are in some samples and joints without any order in two of
    three: it takes many. In 3D where the table has it. Sides are not judged: a picture alone does not tell which way a
    body faces.
    """
    place = {name: k for k, name in enumerate(people.skeleton.keypoints)}
    where = people.keypoints if people.points is None else people.points

    def apart(a: str, b: str) -> np.ndarray:
        gap: np.ndarray = np.linalg.norm(where[:, place[a]] - where[:, place[b]], axis=-1)
        return gap

    def labelled(names: Sequence[str]) -> np.ndarray:
        return np.asarray(people.annotated[:, [place[name] for name in names]].all(1))

    doubts = []
    for side in ("", "left_", "right_"):
        chains = {
            finger: [f"{side}wrist", *(f"{side}{finger}_{joint}" for joint in ("mcp", "pip", "dip", "tip"))]
            for finger in FINGERS
        }
        nearer, shorter = {}, {}
        for finger, chain in chains.items():
            if place.keys() >= set(chain):
                wrist, base, pip, dip, tip = chain
                known = labelled(chain)
                nearer[finger] = (apart(tip, wrist) < apart(base, wrist))[known]
                shorter[finger] = (apart(base, pip) < apart(dip, tip))[known]
        if all(_hardly_by_chance(wrong.values(), 0.5, 2.2) for wrong in (nearer, shorter)):
            doubts += [
                f"{side}{finger} is named base to tip but runs tip to base in {wrong.sum()} of {len(wrong)} samples"
                for finger, wrong in nearer.items()
                if 2 * wrong.sum() > len(wrong) and 2 * shorter[finger].sum() > len(wrong)
            ]
        for ends in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"), ("shoulder", "hip", "knee")):
            first, middle, last = limb = [side + joint for joint in ends]
            if place.keys() >= set(limb):
                span = np.maximum(apart(first, middle), apart(middle, last))
                outside = (apart(first, last) < span)[labelled(limb)]
                if _hardly_by_chance([outside], 2 / 3, 3.2):
                    count = f"{outside.sum()} of {len(outside)} samples"
                    doubts.append(f"{middle} does not lie between {first} and {last} in {count}")
    return doubts


def _hardly_by_chance(wrong: Iterable[np.ndarray], usual: float, deviations: float) -> bool:
    """Whether far more are wrong than the `usual` share of joints in no order at all, by so many standard
    deviations."""
    every = np.concatenate([np.zeros(0, bool), *wrong])
    count = len(every)
    most = usual * count + deviations * (usual * (1 - usual) * count) ** 0.5
    return count > 0 and bool(every.sum() >= max(0.75 * count, most))
