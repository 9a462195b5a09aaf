"""Some of a dataset's keypoints, in an order of one's own and by other names: `keypoints=[...] rename={old: new}`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..reading.people import PictureSet
from ..sample import PoseDataset
from ..skeleton import Skeleton
from ..views import Selected
from .skeleton_file import KNOWN, canonical, from_names


def chosen(
    dataset: PoseDataset, keypoints: Sequence[str] | None = None, rename: Mapping[str, str] | None = None
) -> PoseDataset:
    """`dataset` with the keypoints of `rename` called anew, and of those that it then has `keypoints` alone, in that
    order; None: all. Of a picture set people without any of them are left out; crops stay what they were.

    Names are those of the dataset's skeleton, or spelled as label tools do. Raises ValueError for unknown names, with
    the nearest, and for names that would stand twice.
    """
    if keypoints is None and not rename:
        return dataset
    skeleton = renamed(dataset.skeleton, rename or {}, dataset.name)
    names = (
        skeleton.keypoints if keypoints is None else _known(keypoints, skeleton.keypoints, "keypoints", dataset.name)
    )
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{dataset.name}: keypoints={list(keypoints or [])} must be different names, at least one")
    made = skeleton.select(names)
    order = [skeleton.keypoints.index(name) for name in names]
    if isinstance(dataset, PictureSet):
        return dataset.chosen(made, order)
    return Selected(dataset, tuple(dataset.skeleton.keypoints[k] for k in order), made)


def renamed(skeleton: Skeleton, names: Mapping[str, str], title: str) -> Skeleton:
    """`skeleton` with other names, and what follows from them: a known skeleton, or pairs left_x, right_x beside those
    that it has."""
    if not names:
        return skeleton
    old = _known(list(names), skeleton.keypoints, "rename", title)
    fresh = dict(zip(old, canonical(list(names.values())), strict=True))
    made = tuple(fresh.get(name, name) for name in skeleton.keypoints)
    twice = sorted({name for name in made if made.count(name) > 1} | {name for name in old if old.count(name) > 1})
    if twice:
        raise ValueError(f"{title}: rename={dict(names)} would give {', '.join(twice)} twice; rename the other one too")
    spelled = dict(zip(old, names.values(), strict=True))  # capitals tell sides too
    known = from_names(skeleton.name, [spelled.get(name, name) for name in skeleton.keypoints])
    if known.name in KNOWN:
        return known
    paired = {k for pair in skeleton.flip_pairs for k in pair}
    pairs = (*skeleton.flip_pairs, *(pair for pair in known.flip_pairs if not paired & set(pair)))
    unpaired = tuple(sorted(set(known.unpaired).difference(*pairs)))
    return replace(skeleton, keypoints=made, flip_pairs=pairs, unpaired=unpaired)


def _known(names: Sequence[str], known: Sequence[str], option: str, title: str) -> tuple[str, ...]:
    """`names` as they stand among `known`."""
    made = []
    for name in names:
        spelled = name if name in known else canonical([name])[0]
        if spelled not in known:
            near = difflib.get_close_matches(spelled, known, 1, 0.4)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ValueError(f"{option}: {title} has no keypoint {name!r}; it has {', '.join(known)}.{hint}")
        made.append(spelled)
    return tuple(made)
