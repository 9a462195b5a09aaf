"""Each dataset's options stand beside it: what they are, what they refuse, and what it takes to add a dataset."""

import json
import os
from dataclasses import FrozenInstanceError, dataclass, fields

import cv2
import numpy as np
import pytest

from keyshift.datasets import catalog
from keyshift.datasets.catalog import DATASETS, Data, open_dataset, options_of
from keyshift.datasets.depth.center_task import CenterTask
from keyshift.datasets.options import Options, listed, option, plain_options
from keyshift.datasets.reading.origin import FolderOptions, MissingData, Origin
from keyshift.datasets.reading.people import PictureOptions, PictureSet, table
from keyshift.datasets.reading.prepared import given
from keyshift.datasets.skeleton import Skeleton
from keyshift.experiments.commands.data_check import check
from keyshift.experiments.commands.data_show import show
from keyshift.experiments.runs.progress import Reporter

RENDERED = {"train": 2000, "test": 500, "size": 128, "scenes": 0}
VIDEOS = {"video": 0, "speed": 1.0, "smeared": 0.0, "exposure": 1.5, "passing": 0.0}
HANDS = RENDERED | VIDEOS | {"hands": None, "crops": None}
DEPTH = {"centers": None, "joints": "all"}
DIALS = dict.fromkeys(("camera", "sensor", "occlusion", "anatomy", "poses"), 0.0)
PUBLIC = {"root": None, **DEPTH, "cube": None}
PICTURES = {"root": None, "boxes": None, "crops": None, "keypoints": None, "rename": None}
LABELS = PICTURES | {"block": 20, "split": None, "labels": None, "skeleton": None, "white": None}
SEEN = {"random": 50, "every": 1, "motion": None, "takes": 48, "test_takes": 12, "longest": 8.0}
WANTED = {
    **dict.fromkeys(
        ("mocap.lab", "mocap.field", "mocap.ceiling"),
        SEEN | {"rate": 25.0, "noise": 1.0, "intrinsics": True, "held_out": 4, "half": None, "scenes": 0},
    ),
    **dict.fromkeys(("hands.studio", "hands.webcam"), HANDS),
    "hands.photo": HANDS | {"root": None},
    **dict.fromkeys(
        (name for name in DATASETS if name.startswith("depth_") and "." in name), RENDERED | DEPTH | {"cube": None}
    ),
    "hands.shifted": HANDS | DIALS | dict.fromkeys(("light", "skin", "clutter", "framing"), 0.0),
    **dict.fromkeys(
        ("depth_hands.shifted", "depth_bodies.shifted"),
        RENDERED | DEPTH | {"cube": None} | DIALS | {"toward": "time_of_flight"},
    ),
    **dict.fromkeys(
        ("people.lab", "people.wild"),
        VIDEOS
        | {"train": 1000, "test": 250, "size": 384, "scenes": 0, "focal": None, "zoom": 1.0, "crops": None}
        | {"joints": "h36m17", "motion": None, "photos": None},
    ),
    "hand_snap": {"root": None, "block": 20},
    **dict.fromkeys(("rhd", "interhand", "onehand10k", "panoptic_hands", "mpii"), PICTURES),
    "posetrack": PICTURES | {"detections": None},
    "coco": PICTURES | {"middles": False},
    "crowdpose": PICTURES | {"held": "test"},
    "ochuman": PICTURES | {"form": "coco"},
    "h3d": PICTURES | {"split": None},
    "freihand": PICTURES | {"block": 20, "split": None, "version": None},
    "surreal": PICTURES | {"shoulders": "smpl", "split": None, "stride": None},
    "human36m": PICTURES
    | {
        "protocol": 2,
        "stride": None,
        "split": None,
        "counts": "entries",
        "thorax": False,
        "chain": False,
        "actions": None,
    },
    "human36m_2d": {
        "root": None,
        "random": 50,
        "every": 1,
        "detections": "cpn_ft_h36m_dbb",
        "scores": None,
        "actions": None,
    },
    "muco": PICTURES | {"apart": 500.0, "depth_range": None, "held": 20},
    "mupots": PICTURES | {"valid": True, "split": None},
    "threedpw": PICTURES | {"split": None},
    "mpi_inf_3dhp": PICTURES | {"stride": None},
    "lsp": PICTURES | {"split": None},
    "lspet": PICTURES | {"block": 20, "split": None},
    "coco_json": LABELS | {"images": None, "category": None, "edges_from": None},
    "deeplabcut": LABELS,
    "yolo_pose": LABELS | {"category": None},
    "pictures": {"root": None, "boxes": None, "block": 20, "stride": None, "duplicates": None, "skeleton": None}
    | {"white": None, "focal": None, "camera": None, "crops": None},
    "sequences2d": {"root": None, "random": 50, "every": 1, "focal": None, "camera": None, "skeleton": None, "gap": 10},
    **dict.fromkeys(("nyu", "hands2017", "itop_front", "itop_top"), PUBLIC),
    "icvl": PUBLIC | {"rotated": True},
    "msra": PUBLIC | {"subject": 0},
    "depth_folder": PUBLIC | {"block": 20, "skeleton": None, "camera": None, "near": None, "far": None},
}
"""Runs, prepared folders and pretrained weights of version 0.1.0 count on these defaults."""


@pytest.mark.parametrize("name", DATASETS)
def test_every_set_takes_its_own_options(name):
    kind = DATASETS[name].Options
    assert plain_options(kind()) == WANTED[name]
    assert options_of(name, WANTED[name], "here") == kind()
    assert all(about for _, _, _, about in listed(kind)), "an option that is not explained"
    assert given(kind()) == {}
    with pytest.raises(FrozenInstanceError):
        kind().root = "elsewhere"


def test_what_the_entries_declare():
    assert {name for name, data in DATASETS.items() if data.depth} == {
        *(name for name in DATASETS if name.startswith("depth_")),
        *("nyu", "icvl", "msra", "hands2017", "itop_front", "itop_top"),
    }
    assert {name for name, data in DATASETS.items() if not data.labelled} == {
        *("pictures", "depth_folder", "sequences2d")
    }
    rendered = {name for name, data in DATASETS.items() if data.origin is None}
    assert rendered == {name for name in DATASETS if "." in name}
    assert all(issubclass(data.Options, FolderOptions) for data in DATASETS.values() if data.origin is not None)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "hands.webcam",
            {"boxes": "whole"},
            "here: target.boxes=whole is no option of hands.webcam, which takes train, test",
        ),
        ("hands.studio", {"root": "x"}, "target.root=x is no option of hands.studio"),
        (
            "rhd",
            {"joints": "center"},
            "target.joints=center is no option of rhd, which takes root, boxes, crops, keypoints, rename.",
        ),
        (
            "freihand",
            {"versoin": "gs"},
            "which takes root, boxes, crops, keypoints, rename, block, split, version. Did you mean target.version?",
        ),
        (
            "freihand",
            {"version": "green"},
            "target.version='green' is not known; choose one of gs, hom, sample",
        ),
        ("freihand", {"boxes": "face"}, "target.boxes='face' is not known; choose one of truth, tllib, whole"),
        ("freihand", {"block": 0}, "target.block=0 must be at least 1"),
        ("freihand", {"block": "many"}, "here: target.block: "),
        ("freihand", {"split": "random"}, "target.split='random' is not known; choose one of frames"),
        ("surreal", {"shoulders": "colar"}, "choose one of smpl, collar. Did you mean collar?"),
        ("surreal", {"stride": 0}, "target.stride=0 must be at least 1"),
        ("human36m", {"protocol": 3}, "target.protocol=3 is not known; choose one of 1, 2"),
        ("pictures", {"duplicates": 300}, "target.duplicates=300.0 must be at least 0, at most 255"),
        ("msra", {"subject": 9}, "target.subject=9 must be at least 0, at most 8"),
        ("nyu", {"joints": "mean"}, "target.joints='mean' is not known; choose one of all, center"),
        ("nyu", {"cube": [1, 2]}, "target.cube=[1, 2] must have 3 entries"),
        ("nyu", {"cube": -1}, "target.cube=-1 must be at least 1"),
        ("depth_folder", {"skeleton": "dog"}, "target.skeleton='dog' is not known; choose one of hand21, "),
        ("hands.studio", {"train": 0}, "target.train=0 must be at least 1"),
        ("hands.studio", {"size": 8}, "target.size=8 must be at least 16, at most 4096"),
        ("depth_hands.ideal", {"scenes": -1}, "target.scenes=-1 must be at least 0"),
        ("hands.shifted", {"light": 1.5}, "target.light=1.5 must be at least 0, at most 1"),
        ("depth_hands.shifted", {"light": 0.5}, "target.light=0.5 is no option of depth_hands.shifted"),
        ("depth_bodies.shifted", {"toward": "ideal"}, "choose one of structured_light, time_of_flight"),
        ("hand_snab", {}, "no dataset 'hand_snab'; known: "),
    ],
)
def test_what_is_refused(name, content, sentence):
    with pytest.raises(ValueError) as error:  # noqa: PT011 the sentence is compared below
        options_of(name, content, "here", "target.")
    assert sentence in str(error.value)


def test_how_much_is_rendered_may_stay_where_another_set_takes_the_place():
    amount = {"train": 3000, "test": 400, "size": 64, "scenes": 7}
    assert options_of("hand_snap", amount | {"block": 10}, "here") == DATASETS["hand_snap"].Options(block=10)
    assert options_of("hands.studio", amount, "here").scenes == 7


def test_a_set_is_opened_with_its_own_options(tmp_path):
    with pytest.raises(TypeError, match="rhd is opened with PictureOptions, not Options"):
        open_dataset("rhd", DATASETS["hands.studio"].Options(), "train")
    options = DATASETS["hands.studio"].Options(train=3, size=32)
    with pytest.raises(ValueError, match="part='val' is not known"):
        open_dataset("hands.studio", options, "val")


def test_missing_sets_are_told_with_what_prepares_them(tmp_path):
    options = options_of("lspet", {"block": 10, "split": "frames"}, "here")
    with pytest.raises(
        MissingData, match=r"lspet needs root=FOLDER\. .* prepare lspet root=FOLDER block=10 split=frames$"
    ):
        open_dataset("lspet", options, "train")
    options = options_of("lspet", {"root": str(tmp_path / "none")}, "here")
    with pytest.raises(MissingData, match=r"there is no .*none\. lspet is Leeds .* prepare lspet root=.*none$"):
        open_dataset("lspet", options, "train")
    options = options_of("coco_json", {"labels": ["none.json", "none.json"], "block": 3, "root": "x"}, "here")
    command = rf"keyshift data check coco_json root=x block=3 'labels=\[\"{os.getcwd()}/none.json\", "
    with pytest.raises(MissingData, match=rf"there is no none\.json\. coco_json reads .* Then: {command}"):
        open_dataset("coco_json", options, "train")


def test_identities_are_those_that_pretrained_weights_are_named_by(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path))
    wanted = {
        ("hands.studio", "train"): '{"name": "hands.studio", "style": "studio", "seed": 0, "first": 0, "count": 2000, '
        '"size": 128, "version": 5, "backgrounds": null}',
        (
            "hands.webcam",
            "test",
        ): '{"name": "hands.webcam", "style": "webcam", "seed": 0, "first": 1000000, "count": 500, '
        '"size": 128, "version": 5, "backgrounds": null}',
        (
            "depth_hands.ideal",
            "train",
        ): '{"name": "depth_hands.ideal", "seed": 0, "first": 0, "count": 2000, "size": 128, '
        '"version": 2, "centers": null, "cube": [240.0, 240.0, 240.0]}',
    }
    for (name, part), identity in wanted.items():
        assert json.dumps(open_dataset(name, DATASETS[name].Options(), part).identity) == identity
    options = options_of("depth_bodies.time_of_flight", {"centers": "threshold", "joints": "center"}, "here")
    center = open_dataset("depth_bodies.time_of_flight", options, "test")
    assert isinstance(center, CenterTask)
    assert json.dumps(center.identity) == (
        '{"name": "depth_bodies.time_of_flight", "seed": 0, "first": 1000000, "count": 500, "size": 128, "version": 2, '
        '"centers": "threshold", "cube": [1900.0, 1900.0, 1900.0], "joints": "center"}'
    )


def write_depth(root):
    """Eight frames of a ball before a wall."""
    yy, xx = np.mgrid[:48, :64]
    for i in range(8):
        depth = np.where((xx - 30) ** 2 + (yy - 24) ** 2 < 81, 600 + i, 1500).astype(np.uint16)
        cv2.imwrite(str(root / f"{i}.png"), depth)
    (root / "camera.yaml").write_text("fx: 100\nfy: 100\ncx: 32\ncy: 24\nunit: mm\ncube: 250\n")
    return {"root": str(root), "block": 4}


def test_sets_without_labels_take_the_other_sides_skeleton(tmp_path):
    content = write_depth(tmp_path)
    other = Skeleton("ball", ("middle", "top"))
    options = options_of("depth_folder", content, "here")
    assert open_dataset("depth_folder", options, "train", other).skeleton == other
    assert open_dataset("depth_folder", options, "train").skeleton.name == "hand21"
    options = options_of("depth_folder", content | {"skeleton": "itop15"}, "here")
    assert open_dataset("depth_folder", options, "train", other).skeleton.name == "itop15"
    options = options_of("depth_folder", content | {"joints": "center"}, "here")
    center = open_dataset("depth_folder", options, "train", Skeleton("center", ("center",)))
    assert center.dataset.skeleton.name == "hand21"  # whose mean a centre is


ARM = Skeleton("arm", ("shoulder", "elbow", "wrist"), edges=((0, 1), (1, 2)))


@dataclass(frozen=True)
class ArmOptions(PictureOptions):
    """What a new set's file holds: its options, its origin and its opener."""

    bend: float = option(0.5, "how far the elbow is out of line, share of the arm", low=0, high=1)


ORIGIN = Origin("arms", "do as you like", "https://arms.example", "pictures/")


def arms(options: ArmOptions, part: str) -> PictureSet:
    numbers = range(6) if part == "train" else range(6, 9)
    known = np.ones(3, bool)
    rows = [
        {"picture": f"{i}.png", "id": f"arm{i}", "sequence": f"s{i}", "frame": i, "annotated": known, "visible": known}
        | {"keypoints": np.array([[20, 10], [20 + 20 * options.bend, 30], [20, 50]]) + i}
        for i in numbers
    ]
    return PictureSet(f"arms.{part}", options.folder, table(options.folder, ARM, rows), {"part": part}, ORIGIN)


def test_a_new_set_is_an_options_class_an_opener_and_one_line(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for i in range(9):
        cv2.imwrite(str(tmp_path / f"{i}.png"), rng.integers(0, 255, (64, 64, 3), np.uint8))
    monkeypatch.setitem(catalog.DATASETS, "arms", Data(arms, ArmOptions, ORIGIN))  # the line
    options = options_of("arms", {"root": str(tmp_path), "bend": 0.25}, "here")
    assert open_dataset("arms", options, "train")[0].keypoints[1].tolist() == [25, 30]
    assert given(options) == {"bend": 0.25}
    with pytest.raises(ValueError, match=r"bend=2\.0 must be at least 0, at most 1"):
        options_of("arms", {"bend": 2}, "here")
    with pytest.raises(MissingData, match=r"arms needs root=FOLDER\. .* prepare arms root=FOLDER bend=0\.75"):
        open_dataset("arms", ArmOptions(bend=0.75), "train")
    assert check("arms", [f"root={tmp_path}", "bend=0.75"], Reporter())
    printed = " ".join(capsys.readouterr().out.split())
    assert "arms: arms licence: do as you like; from https://arms.example" in printed
    assert "samples │ 6 │ 3" in printed
    show("arms", [f"root={tmp_path}", "part=test"], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()
    with pytest.raises(ValueError, match=r"bent=1 is no option of arms, which takes .*\. Did you mean bend"):
        check("arms", [f"root={tmp_path}", "bent=1"], Reporter())


def test_options_are_not_shared_by_copying():
    """An option that several sets have with one meaning is one field, which they inherit."""
    kinds = {data.Options for data in DATASETS.values()}
    for key in ("root", "boxes", "block", "train", "centers", "joints", "cube"):
        abouts = {one.metadata["about"] for kind in kinds for one in fields(kind) if one.name == key}
        assert len(abouts) <= 2, (key, abouts)
    assert all(issubclass(kind, Options) for kind in kinds)
