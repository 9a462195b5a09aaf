"""Labels for the report of `adapt`: which files they are read from."""

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.skeleton import Skeleton
from keyshift.experiments.runs.check import LABELLED, open_labels

SKELETON = Skeleton("toy", ("nose", "left_ear"))


def labelled(folder, count):
    """Pictures, and a DeepLabCut CSV of them beside their folder."""
    lines = ["scorer,me,me,me,me", "bodyparts,nose,nose,Left_Ear,Left_Ear", "coords,x,y,x,y"]
    (folder / "pictures").mkdir()
    for k in range(count):
        Image.new("RGB", (40, 30)).save(folder / f"pictures/{k:02d}.png")
        lines.append(f"{k:02d}.png,{k / 2},7,20,{k / 3:.2f}")
    (folder / "labels.csv").write_text("\n".join([*lines, ""]))
    return folder / "labels.csv", folder / "pictures"


def test_a_csv_of_deeplabcut(tmp_path):
    labels = open_labels(*labelled(tmp_path, LABELLED), SKELETON)
    assert labels.missing == []
    assert labels.table.skeleton.keypoints == SKELETON.keypoints
    np.testing.assert_allclose(labels.table.people.keypoints[4], [(2.5, 7.5), (20.5, 1.83)])
    assert len(labels.table) == LABELLED


def test_few_pictures_are_scored_and_said_to_be_few(tmp_path):
    with pytest.warns(UserWarning, match=f"labels 3 pictures .* fewer than {LABELLED} are little to judge by"):
        labels = open_labels(*labelled(tmp_path, 3), SKELETON)
    assert len(labels.table) == 3


def test_labels_of_no_picture_that_can_be_read(tmp_path):
    labels, pictures = labelled(tmp_path, 3)
    for picture in pictures.iterdir():
        picture.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"labels no picture of .*pictures that can be read"):
        open_labels(labels, pictures, SKELETON)


@pytest.mark.parametrize("name", ["data.yaml", "0.txt"])
def test_labels_that_are_not_read_here(tmp_path, name):
    (tmp_path / name).write_text("kpt_shape: [2, 3]")
    with pytest.raises(ValueError, match="expected a COCO keypoint JSON, or a CSV of DeepLabCut"):
        open_labels(tmp_path / name, tmp_path, SKELETON)
