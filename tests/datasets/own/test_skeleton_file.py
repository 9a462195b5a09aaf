"""Names from outside in one vocabulary; skeletons from categories and YAML; names that contradict the geometry."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.datasets.bodies.skeletons import COCO17, MPII16
from keyshift.datasets.own.skeleton_file import (
    KNOWN,
    canonical,
    describe,
    from_names,
    of_category,
    order_doubts,
    skeleton_of,
)
from keyshift.datasets.reading.people import People
from keyshift.datasets.rendered.hands import render
from keyshift.datasets.skeleton import HAND, Skeleton

FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
NUMBERED = ("wrist", *(f"{finger}{joint}" for finger in FINGERS for joint in (1, 2, 3, 4)))
MEDIAPIPE = (
    *("WRIST", "THUMB_CMC", "THUMB_MCP", "THUMB_IP", "THUMB_TIP"),
    *(
        f"{f}_{j}"
        for f in ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
        for j in ("MCP", "PIP", "DIP", "TIP")
    ),
)


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
def test_the_vocabulary_is_its_own(known: Skeleton) -> None:
    assert canonical(known.keypoints) == known.keypoints
    assert skeleton_of(known.name) is known


def test_spellings() -> None:
    for spelled in (
        "LShoulder",
        "lShoulder",
        "l_shoulder",
        "shoulder_l",
        "Left Shoulder",
        "shoulder.L",
        "left-shoulder",
    ):
        assert canonical([spelled]) == ("left_shoulder",)
    assert canonical(["root (pelvis)", "Head Top", "upper neck", "R"]) == ("pelvis", "head_top", "neck", "r")
    assert canonical(NUMBERED) == HAND.keypoints
    assert canonical(MEDIAPIPE) == HAND.keypoints
    assert canonical(["left_thumb4", "belly", "左肩", "???"]) == ("left_thumb_tip", "belly", "左肩", "???")


def test_known_names_bring_their_skeleton_in_the_order_of_the_file(tmp_path) -> None:
    order = np.random.default_rng(0).permutation(len(COCO17))
    names = [COCO17.keypoints[k].replace("_", " ").title() for k in order]
    made = of_category({"name": "person", "keypoints": names, "skeleton": [[1, 2]]}, tmp_path, "")
    assert made.keypoints == tuple(COCO17.keypoints[k] for k in order)
    assert made.sigmas == tuple(COCO17.sigmas[k] for k in order)
    named = {frozenset(made.keypoints[k] for k in edge) for edge in made.edges}
    assert named == {frozenset(COCO17.keypoints[k] for k in edge) for edge in COCO17.edges}


def test_edges_of_a_category(tmp_path) -> None:
    names = ["Nose", "paw L", "paw R"]

    def edges(*listed: list[int]) -> tuple[tuple[int, int], ...]:
        return of_category({"name": "dog", "keypoints": names, "skeleton": list(listed)}, tmp_path, "").edges

    made = of_category({"name": "dog", "keypoints": names}, tmp_path, "")
    assert (made.name, made.keypoints, made.flip_pairs) == ("dog3", ("nose", "left_paw", "right_paw"), ((1, 2),))
    assert edges([1, 2], [3, 1]) == ((0, 1), (2, 0))
    assert edges([0, 1], [2, 0]) == ((0, 1), (2, 0))
    assert edges([1.0, "2"], ["3", 1]) == ((0, 1), (2, 0))
    with pytest.warns(UserWarning, match="outside 1 to 3"):
        assert edges([1, 2], [4, 1]) == ()


@pytest.mark.parametrize(
    ("category", "match"),
    [
        ({"keypoints": ["nose", 3]}, "names of keypoints"),
        ({"keypoints": "nose"}, "a list"),
        ({"keypoints": []}, "at least one"),
        ({"keypoints": ["hip", "nose", "hip"]}, r"\['hip'\], expected different"),
        ({"keypoints": ["a\ud800"]}, "names of keypoints"),
        *(
            ({"keypoints": ["a", "b"], "skeleton": [[1, end]]}, "pairs of keypoint numbers")
            for end in ("b", "-2", "", "9" * 5000, 1.5, float("inf"), True, None, [2])
        ),
        ({"keypoints": ["a", "b"], "skeleton": [[1, 2, 3]]}, "pairs of keypoint numbers"),
        ({"keypoints": ["a", "b"], "skeleton": {"1": 2}}, "a list"),
    ],
)
def test_bad_categories(tmp_path, category, match) -> None:
    with pytest.raises(ValueError, match=match):
        of_category(category, tmp_path / "x.json", "category 1")


def written(tmp_path, text: str) -> str:
    path = tmp_path / "skeleton.yaml"
    path.write_text(text)
    return str(path)


def test_a_yaml(tmp_path) -> None:
    made = skeleton_of(
        written(tmp_path, "name: dog\nkeypoints: [on, Left Paw, paw_r]\nedges: [[on, Left Paw], [on, right_paw]]")
    )
    assert (made.name, made.keypoints) == ("dog", ("on", "left_paw", "right_paw"))
    assert (made.edges, made.flip_pairs) == (((0, 1), (0, 2)), ((1, 2),))
    crossed = skeleton_of(written(tmp_path, "keypoints: [a, b, c]\nflip_pairs: [[c, a]]"))
    assert (crossed.name, crossed.flip, crossed.edges) == ("skeleton", [2, 1, 0], ())
    thumb = skeleton_of(written(tmp_path, f"keypoints: [{', '.join(MEDIAPIPE)}]\nedges: [[THUMB_CMC, THUMB_MCP]]"))
    assert thumb.edges == ((1, 2),)
    assert skeleton_of(written(tmp_path, f"keypoints: [{', '.join(MPII16.keypoints)}]")) == MPII16


@pytest.fixture
def usual_depth():
    """Python's own limit of recursion, which libraries that another test imported may have raised."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("keypoints: [a, b", "YAML in UTF-8"),
        ("- a", "a mapping"),
        ("name: x", "keypoints is missing"),
        ("keypoints: [a, b]\nbones: []", "only name, keypoints, edges, flip_pairs"),
        ("keypoints: [a, a]", "different names"),
        ("keypoints: [a, b]\nedges: [[a, c]]", r"\['a', 'c'\], expected two of a, b"),
        ("keypoints: [a, b]\nedges: [[0, 1]]", "two of a, b"),
        ("keypoints: [a, b]\nedges: [[a, b, a]]", "pairs of keypoint names"),
        ("keypoints: [a, b, c]\nflip_pairs: [[a, b], [b, c]]", "one pair at most"),
        ("keypoints: &x [a, b]\nedges: [*x]", "aliases"),
        ("keypoints: " + "[" * 600 + "]" * 600, "YAML in UTF-8"),
    ],
)
def test_bad_yaml(tmp_path, text, match, usual_depth) -> None:
    with pytest.raises(ValueError, match=match):
        skeleton_of(written(tmp_path, text))


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="Did you mean coco17"):
        skeleton_of("coco18")
    with pytest.raises(ValueError, match=r"no file .*none\.yaml"):
        skeleton_of("/nowhere/none.yaml")


def test_it_is_put_in_words() -> None:
    words = describe(from_names("dog3", ("nose", "left_paw", "right_paw"), ((0, 1),)))
    assert words.splitlines() == [
        "dog3, 3 keypoints: nose, left_paw, right_paw",
        "edges: nose - left_paw",
        "change places in a mirrored picture: left_paw and right_paw",
    ]


@pytest.fixture(scope="module")
def hands() -> People:
    torch.set_num_threads(1)
    points = render("studio", 3, range(12), size=32).points.double().numpy()
    names = [str(n) for n in range(12)]
    known = np.ones((12, 21), bool)
    return People("x", HAND, names, names, names, np.arange(12), points[..., :2], known, known, points=points)


def test_fingers_that_run_the_other_way(hands) -> None:
    turned = [0, *(4 * f + j for f in range(5) for j in (4, 3, 2, 1))]
    for people in (hands, replace(hands, points=None)):
        assert order_doubts(people) == []
    doubts = order_doubts(replace(hands, points=hands.points[:, turned]))
    assert [text.split()[0] for text in doubts] == ["thumb", "index", "middle", "ring", "little"]
    assert doubts[1].endswith("in 11 of 12 samples")  # one is a fist
    hidden = np.array(hands.annotated)
    hidden[:, 1] = False  # nothing is said of a finger that is never annotated
    assert len(order_doubts(replace(hands, points=hands.points[:, turned], annotated=hidden))) == 4


def test_limbs_in_another_order() -> None:
    upright = np.array([[0, 0], [0, 50], [0, 100], [30, 0], [30, -50], [30, 55], [15, -20], [0, -100]], float)
    names = ("left_hip", "left_knee", "left_ankle", "left_wrist", "left_elbow", "x", "neck", "left_shoulder")
    skeleton = Skeleton("legs", names)
    rng = np.random.default_rng(0)

    def people(order, count=40) -> People:
        points = upright[order] + rng.normal(0, 3, (count, 8, 2))
        ids, seen = [str(n) for n in range(count)], np.ones((count, 8), bool)
        return People("x", skeleton, ids, ids, ids, np.arange(count), points, seen, seen)

    assert order_doubts(people(range(8))) == []
    doubts = order_doubts(people([0, 2, 1, 3, 4, 5, 6, 7]))  # knee and ankle named for each other
    assert len(doubts) == 1
    assert "left_knee does not lie between left_hip and left_ankle in 40 of 40" in doubts[0]
    assert order_doubts(people([0, 2, 1, 3, 4, 5, 6, 7], 9)) == [], "bent limbs look so too: a few do not tell"


@pytest.mark.parametrize("count", [4, 9, 20, 60])
@pytest.mark.parametrize("skeleton", [COCO17, HAND], ids=["body", "hand"])
def test_poses_without_any_order_are_no_doubt(skeleton, count) -> None:
    for seed in range(10):
        points = np.random.default_rng([seed, count]).uniform(0, 100, (count, len(skeleton), 2))
        ids, seen = [str(n) for n in range(count)], np.ones((count, len(skeleton)), bool)
        assert order_doubts(People("x", skeleton, ids, ids, ids, np.arange(count), points, seen, seen)) == []


@pytest.mark.parametrize(
    ("names", "ours"),
    [
        (["Pog", "Pog'", "Me"], ("pog", "Pog'", "me")),
        (["Pog'", "Pog''", "Pog"], ("Pog'", "Pog''", "pog")),
        (["A", "a", "b"], ("A", "a", "b")),
        (["x+", "x-", "y"], ("x+", "x-", "y")),
        (["x+", "x-", "x"], ("x+", "x-", "x")),
        (["e", "e\u0301", "E"], ("e", "é", "E")),  # an accent of its own character
        (["LHip", "left_hip", "RHip"], ("LHip", "left_hip", "right_hip")),
        (["index1", "index_mcp", "wrist"], ("index1", "index_mcp", "wrist")),
        (["p.1", "p-1", "p_1"], ("p.1", "p-1", "p_1")),
        (["1", "01", "1'"], ("1", "01", "1'")),
        (["lip_u", "lip_l"], ("lip_u", "lip_l")),  # upper and lower
        (["F_L", "R_L", "F_R", "R_R"], ("left_f", "r_l", "right_f", "r_r")),
    ],
)
def test_names_that_are_spelled_nearly_alike_stay_apart(tmp_path, names, ours) -> None:
    assert canonical(names) == ours
    made = of_category({"name": "x", "keypoints": names, "skeleton": [[1, 2]]}, tmp_path, "")
    assert (made.keypoints, made.edges) == (ours, ((0, 1),))
    listed = ", ".join(f'"{name}"' for name in names)
    yaml = skeleton_of(written(tmp_path, f'keypoints: [{listed}]\nedges: [["{names[0]}", "{names[1]}"]]'))
    assert (yaml.keypoints, yaml.edges) == (ours, ((0, 1),))


def test_pairs_of_names_as_they_are_spelled(tmp_path) -> None:
    def made(*names):
        return of_category({"name": "x", "keypoints": list(names)}, tmp_path, "")

    gait = made("LASI", "RASI", "LPSI", "RPSI", "LBAK")
    assert (gait.keypoints[0], gait.flip_pairs, gait.unpaired) == ("lasi", ((0, 1), (2, 3)), (4,))
    assert made("LShoulder", "shoulder_right", "nose").flip_pairs == ((0, 1),)
    assert made("rig:LeftArm", "rig:RightArm").flip_pairs == ((0, 1),)
    assert made("lip_u", "lip_l").unpaired == ()
    assert made(1, 2, 3).keypoints == ("1", "2", "3")


def test_who_has_no_partner(tmp_path) -> None:
    lone = skeleton_of(written(tmp_path, "keypoints: [nose, left_ear, right_ear, left_paw]"))
    assert (lone.flip_pairs, lone.unpaired) == (((1, 2),), (3,))
    given = skeleton_of(written(tmp_path, "keypoints: [nose, left_ear, right_ear, left_paw]\nflip_pairs: []"))
    assert (given.flip_pairs, given.unpaired) == ((), ())
    assert COCO17.select(("nose", "left_eye", "right_eye", "left_ear")).unpaired == (3,)
    assert lone.select(("left_paw", "right_ear", "nose")).unpaired == (0, 1)
    words = describe(lone).splitlines()
    assert len(words) == 4
    assert "left_paw; flip_pairs in a YAML file" in words[3]
    assert "p1 to p3" in describe(from_names("x", ("p1", "p2", "p3"))).splitlines()[3]
    assert "lump and rump" in describe(from_names("x", ("lump", "rump", "nose"))).splitlines()[3]
    assert len(describe(from_names("x", ("nose", "tail_1", "tail_2", "rear"))).splitlines()) == 3
