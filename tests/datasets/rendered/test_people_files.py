"""Rendered people on disk, read back by the loaders of the public sets whose layout they have."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.rendered.people import Options, RenderedPeople, render_scene
from keyshift.datasets.rendered.people_files import write_scenes
from keyshift.datasets.rendered.person_anatomy import PERSON, PLACE
from keyshift.experiments.cli import main

FEW = Options(size=96, scenes=5, train=5, test=5, joints="all", crops="truth")


@pytest.mark.parametrize(("layout", "name"), [("muco", "muco"), ("mupots", "mupots")])
def test_what_is_written_is_read_back(tmp_path: Path, layout: str, name: str) -> None:
    done: list[int] = []
    write_scenes(tmp_path / "raw", "wild", FEW, "train", layout, done.append)
    assert done == [1, 2, 3, 4, 5]
    words = {"root": str(tmp_path / "raw")} | ({"apart": None, "held": None} if layout == "muco" else {"valid": False})
    read = open_dataset(name, options_of(name, words, "test"), "train")
    own = RenderedPeople("wild", FEW, "train", tmp_path / "cache")
    known = {tuple(np.round(own[i].keypoints[0], 2)): own[i] for i in range(len(own))}
    assert len(read) >= len(own) - 2  # a person whose box is outside the picture cannot be cut
    order = [PLACE[joint] for joint in read.skeleton.keypoints]
    for row in range(len(read)):
        item = read[row]
        root = item.keypoints[read.skeleton.keypoints.index("pelvis")]
        same = known[tuple(np.round(root, 2).astype(np.float32))]
        np.testing.assert_array_equal(item.image, same.image)
        np.testing.assert_allclose(item.keypoints, same.keypoints[order], atol=1e-3)
        assert item.points is not None
        assert same.points is not None
        np.testing.assert_allclose(item.points, same.points[order], atol=1e-2)
        np.testing.assert_array_equal(item.visible, same.visible[order])
        np.testing.assert_allclose(item.camera, same.camera, rtol=1e-6)
    assert set(read.skeleton.keypoints) <= set(PERSON.keypoints)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    few = replace(FEW, train=1)
    write_scenes(tmp_path, "lab", few, "train")
    with pytest.raises(ValueError, match="is there already"):
        write_scenes(tmp_path, "lab", few, "train")
    with pytest.raises(ValueError, match="choose one of muco, mupots"):
        write_scenes(tmp_path, "lab", few, "train", "voc")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["people.lab", "train=2", "size=64", "layout=mupots", "--output", str(tmp_path)]
    assert main(["data", "write", *words]) in (0, None)
    assert capsys.readouterr().out.strip().endswith("MuPoTS-3D.json")
    assert len(list(tmp_path.rglob("*.png"))) == 2


def test_as_coco_whole_pictures_are_what_was_rendered(tmp_path: Path) -> None:
    """Pictures, cameras and people come back; joints outside the picture are not labelled there, and no label counts
    in the few pixels of someone who is hidden."""
    few = replace(FEW, joints="coco17", crops="whole", scenes=4, train=8, size=64)
    file = write_scenes(tmp_path / "raw", "wild", few, "train", "coco")
    words = {"labels": [str(file), str(file)], "crops": "whole"}
    read = open_dataset("coco_json", options_of("coco_json", words, "test"), "train")
    own = RenderedPeople("wild", few, "train", tmp_path / "cache")
    assert read.skeleton == own.skeleton == COCO17
    assert len(read) == len(own) == 8
    lost = 0
    for row in range(len(own)):
        item, same, scene = read[row], own[row], render_scene("wild", few, row)
        np.testing.assert_array_equal(item.image, same.image)
        inside = ((same.keypoints >= 0) & (same.keypoints < 64)).all(-1)
        annotated = same.annotated & inside
        np.testing.assert_array_equal(item.annotated, annotated)
        np.testing.assert_array_equal(item.visible, same.visible & annotated)
        np.testing.assert_array_equal(item.keypoints[annotated], same.keypoints[annotated])
        np.testing.assert_allclose(item.bounds, same.bounds, atol=1e-4)
        np.testing.assert_array_equal(item.area, same.area)
        assert not item.crowd.any()
        assert same.points is not None
        np.testing.assert_array_equal(item.camera, same.camera)
        bare = ~same.annotated.any(1)
        hidden = np.isin(scene.owner, np.flatnonzero(bare))
        lost += int(bare.sum())
        if bare.any():
            np.testing.assert_array_equal(item.inputs["mask"] == 0, hidden)
    assert lost > 0, "nobody is hidden: choose other scenes"


def test_the_words_of_coco(tmp_path: Path) -> None:
    file = write_scenes(tmp_path, "wild", replace(FEW, scenes=3, train=12), "train", "coco")
    content = json.loads(file.read_text())
    assert content["categories"][0]["keypoints"] == list(COCO17.keypoints)
    for person in content["annotations"]:
        joints = np.reshape(person["keypoints"], (17, 3))
        assert person["num_keypoints"] == (joints[:, 2] > 0).sum()
        assert (joints[joints[:, 2] == 0] == 0).all()
        assert person["area"] == sum(person["segmentation"]["counts"][1::2])
        assert (person["num_keypoints"] > 0) <= (person["area"] >= 24)
    assert {image["width"] for image in content["images"]} == {96}
