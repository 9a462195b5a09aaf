"""Keypoint sets as data: names, edges, flip pairs and groups. Two datasets are paired by keypoint name."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Skeleton:
    """K named keypoints.

    `edges` and `flip_pairs` hold indices; `groups` maps a name to the indices that are averaged under it;
    `sigmas` are the OKS fall-offs per keypoint (COCO's k_i / 2), empty where none are published. `unpaired` are the
    indices of those that are of one side and have no partner here: in a mirrored picture their names are wrong.
    `root` is the index of the keypoint that relative 3D poses are counted from, None where there is none; `extent` the
    edge in mm of the square that holds a whole one (RootNet's real area is its square), 0 where nobody has said it.
    """

    name: str
    keypoints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()
    groups: dict[str, tuple[int, ...]] = field(default_factory=dict)
    sigmas: tuple[float, ...] = ()
    unpaired: tuple[int, ...] = ()
    root: int | None = None
    extent: float = 0.0

    def __post_init__(self) -> None:
        if len(set(self.keypoints)) != len(self.keypoints):
            raise ValueError(f"skeleton {self.name!r} names a keypoint twice: {self.keypoints}")
        used = [k for pair in (*self.edges, *self.flip_pairs) for k in pair]
        used += [k for members in (*self.groups.values(), self.unpaired) for k in members]
        used += [] if self.root is None else [self.root]
        if any(not 0 <= k < len(self.keypoints) for k in used):
            raise ValueError(
                f"skeleton {self.name!r} has {len(self.keypoints)} keypoints but refers to index {max(used)}"
            )

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def flip(self) -> list[int]:
        """The permutation of keypoints that mirroring the image asks for."""
        order = list(range(len(self)))
        for a, b in self.flip_pairs:
            order[a], order[b] = b, a
        return order

    def select(self, names: tuple[str, ...]) -> Skeleton:
        """The same skeleton reduced to `names`, in that order. One of a pair that is left is `unpaired`."""
        place = {self.keypoints.index(name): new for new, name in enumerate(names)}

        def kept(pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
            return tuple((place[a], place[b]) for a, b in pairs if a in place and b in place)

        groups = {name: tuple(place[k] for k in members if k in place) for name, members in self.groups.items()}
        left = [k for pair in self.flip_pairs if not place.keys() >= set(pair) for k in pair]
        return Skeleton(
            self.name,
            names,
            kept(self.edges),
            kept(self.flip_pairs),
            {name: members for name, members in groups.items() if members},
            tuple(self.sigmas[self.keypoints.index(name)] for name in names) if self.sigmas else (),
            tuple(sorted(place[k] for k in (*self.unpaired, *left) if k in place)),
            None if self.root is None else place.get(self.root),
            self.extent,
        )


def pair(source: Skeleton, target: Skeleton) -> tuple[Skeleton, list[str]]:
    """The keypoints both sides have, in the source's order, and the names that only one side has.

    Raises ValueError when no name is shared.
    """
    shared = tuple(name for name in source.keypoints if name in target.keypoints)
    if not shared:
        raise ValueError(
            f"skeletons {source.name!r} and {target.name!r} share no keypoint name. "
            f"Source has {', '.join(source.keypoints)}; target has {', '.join(target.keypoints)}. "
            "Choose a pair of datasets that annotate the same joints."
        )
    left_out = [name for name in (*source.keypoints, *target.keypoints) if name not in shared]
    return source.select(shared), left_out


FINGERS = ("thumb", "index", "middle", "ring", "little")

HAND = Skeleton(
    "hand21",
    ("wrist", *(f"{finger}_{joint}" for finger in FINGERS for joint in ("mcp", "pip", "dip", "tip"))),
    edges=tuple((0 if j == 0 else 4 * f + j, 4 * f + j + 1) for f in range(5) for j in range(4)),
    groups={
        "MCP": (1, 5, 9, 13, 17),
        "PIP": (2, 6, 10, 14, 18),
        "DIP": (3, 7, 11, 15, 19),
        "fingertip": (4, 8, 12, 16, 20),
        "all": tuple(range(21)),
    },
    root=0,
    extent=300.0,
)
"""Wrist, then thumb to little finger from base to tip (the order of FreiHAND, RHD and H3D after reordering).
Anatomists call the thumb's joints CMC, MCP and IP; they stand under the same names as the other fingers'
because the published tables group them so (TLLib, keypoint_detection/util.py)."""
