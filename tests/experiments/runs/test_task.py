"""What a task refuses and says before anything is written: mirroring without the pairs of sides."""

import warnings
from dataclasses import replace

import pytest

from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.own.skeleton_file import from_names
from keyshift.datasets.skeleton import HAND, pair
from keyshift.experiments.config import build
from keyshift.experiments.runs.task import at_once, check_frozen, check_mirroring
from keyshift.models.saved import MODELS

LONE = from_names("dog", ("nose", "left_paw", "right_paw", "left_ear"))


def check(skeleton, *overrides):
    """The warnings, in words."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_mirroring(build({}, list(overrides)), skeleton)
    return [str(one.message) for one in caught]


@pytest.mark.parametrize("skeleton", [COCO17, HAND, from_names("cow", ("nose", "withers", "tail_1", "tail_2", "rump"))])
def test_pairs_and_middles_are_no_alarm(skeleton):
    assert check(skeleton, "augmentation.mirror=0.5") == []


@pytest.mark.parametrize(
    "skeleton",
    [
        LONE,
        from_names("gait", ("LASI", "RASI", "LKNE", "RKNE", "RBAK")),
        COCO17.select(("nose", "left_eye", "right_eye", "left_ear")),
        pair(COCO17, from_names("side", ("nose", "left_eye", "left_hip")))[0],
    ],
)
def test_mirroring_without_a_partner_is_refused_unless_it_is_asked_for(skeleton):
    names = ", ".join(skeleton.keypoints[k] for k in skeleton.unpaired)
    with pytest.raises(ValueError, match=f"mirror=0.5: .* {names}; flip_pairs in a YAML .*mirror_unpaired=true"):
        check(skeleton, "augmentation.mirror=0.5")
    for overrides in ((), ("augmentation.mirror=0.5", "augmentation.mirror_unpaired=true")):
        (said,) = check(skeleton, *overrides)
        assert names in said
    assert check(replace(skeleton, unpaired=()), "augmentation.mirror=0.5") == []


@pytest.mark.parametrize(
    ("names", "words"),
    [(("0", "1", "2"), "0 to 2"), (("kpt-3", "kpt-4", "kpt-5"), "kpt_3 to kpt_5"), (("lump", "rump"), "lump and rump")],
)
def test_names_that_tell_nothing_are_said_where_pictures_are_mirrored(names, words):
    assert check(from_names("own", names)) == []
    (said,) = check(from_names("own", names), "augmentation.mirror=0.5")
    assert words in said


@pytest.mark.parametrize(
    ("name", "options", "keypoints", "count"),
    [
        ("pose_net", {}, 18, 28),
        ("root_pose_net", {"depth_cells": 16, "input_size": [64, 64]}, 17, 64),
        ("pose_net", {"depth_cells": 1024, "input_size": [512, 512]}, 21, 1),
        ("root_net", {}, 1, 64),
        ("pose_resnet", {}, 21, 64),
    ],
)
def test_volumes_are_evaluated_few_at_a_time(name, options, keypoints, count):
    """18 volumes of 64^3 are 19 MB a person: 28 people have half a GB."""
    kind = MODELS[name]
    assert at_once(kind, kind.Options(**options), keypoints) == count


@pytest.mark.parametrize(
    "words",
    [
        ["model.adapters=4"],
        ["model.name=rmpe", "model.adapters=4"],
        ["model.name=rmpe", "model.parallel=true"],
        ["model.name=prtr", "model.frozen=true"],
        ["model.name=rmpe", "model.network={name: prtr, frozen: true}"],
    ],
)
def test_random_weights_are_not_frozen(words):
    value = words[-1].partition("=")[2]
    option = "model.network.frozen=true" if "{" in value else words[-1]
    with pytest.raises(ValueError, match=rf"{option} freezes weights that are random: say model.weights or start"):
        check_frozen(build({}, words))
    for more in ("model.weights=weights.pt", "start=weights.pt"):
        check_frozen(build({}, [*words, more]))


def test_published_weights_of_the_network_inside_may_be_frozen():
    """A parallel branch is a whole network, and they are a backbone's."""
    words = ["model.name=rmpe", "model.network={name: prtr, frozen: true, weights: IMAGENET1K_V1}"]
    check_frozen(build({}, [*words, "model.adapters=4"]))
    with pytest.raises(ValueError, match=r"model.parallel=true freezes weights that are random"):
        check_frozen(build({}, [*words, "model.parallel=true"]))
