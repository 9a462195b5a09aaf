"""Files of other tools are named, with what to export there."""

import json

import h5py
import numpy as np
import pytest

from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.own.foreign import WORDS, refuse_foreign

SHAPE = {"label": "nose", "points": [[1, 2]], "shape_type": "point"}
REGION = {"shape_attributes": {"name": "point", "cx": 1, "cy": 2}, "region_attributes": {}}
JSONS = {
    "labelme": {"version": "5.0", "shapes": [SHAPE], "imagePath": "a.jpg", "imageHeight": 10, "imageWidth": 10},
    "via": {"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": [REGION], "file_attributes": {}}},
    "via project": {"_via_settings": {}, "_via_img_metadata": {}, "_via_attributes": {}},
    "label studio": [{"id": 1, "annotations": [{"result": []}], "data": {"image": "/data/upload/a.jpg"}}],
    "via project, new": {"project": {}, "config": {}, "attribute": {}, "file": {}, "metadata": {}, "view": {}},
    "label studio, least": [{"id": 1, "img": "a.jpg", "kp-1": [{"x": 1, "y": 2, "keypointlabels": ["nose"]}]}],
    "sleap, json": {"version": "2.0.0", "skeletons": [], "nodes": [], "videos": [], "labels": [], "tracks": []},
    "label studio, small": [{"image": "a.jpg", "id": 1, "annotator": 1, "annotation_id": 3, "kp": []}],
    "supervisely": {"description": "", "tags": [], "size": {"height": 1, "width": 1}, "objects": []},
    "datumaro": {"info": {}, "categories": {}, "items": []},
    "openpose": {"version": 1.3, "people": [{"pose_keypoints_2d": []}]},
    "labelbox": [{"data_row": {"id": "a", "external_id": "a.jpg"}, "projects": {}}],
    "labelbox, old": [{"ID": "a", "External ID": "a.jpg", "Labeled Data": "https://a", "Label": {"objects": []}}],
    "v7": {
        "version": "2.0",
        "item": {"name": "a.jpg"},
        "annotations": [{"name": "nose", "keypoint": {"x": 1, "y": 2}}],
    },
    "superannotate": {"metadata": {"name": "a.jpg"}, "instances": [{"type": "template", "points": []}]},
    "mmpose": {"meta_info": {"num_keypoints": 1}, "instance_info": [{"frame_id": 0, "instances": []}]},
    "mmpose, of a picture": [{"keypoints": [[1.0, 2.0]], "keypoint_scores": [0.9], "bbox": [[1, 2, 3, 4]]}],
    "boxes": {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "segmentation": []}],
        "categories": [{"id": 1, "name": "dog"}],
    },
}
TEXTS = {
    "cvat.xml": '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version></annotations>',
    "voc.xml": "<annotation><folder>a</folder></annotation>",
    "via.csv": "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes\na.jpg,1,{},1,0,{}",
    "old via.csv": "#filename,file_size,file_attributes,region_count\n",
    "dlc.csv": "scorer,A,A\nbodyparts,nose,nose\ncoords,x,y\n",
    "yolo.txt": "0 0.5 0.5 0.1 0.1 0.2 0.3 2",
    "dlc.yaml": "Task: a\nscorer: A\nbodyparts:\n- nose\n",
    "yolo.yml": "kpt_shape: [3, 3]\ntrain: a\n",
    "labels.slp": "any bytes",
    "labels.pkg.slp": "any bytes",
    "clip_full.pickle": "any bytes",
    "export.zip": "any bytes",
}


def refused(file, name="coco_json"):
    with pytest.raises(ValueError, match="is not read by") as error:
        open_dataset(name, options_of(name, {"labels": str(file)}, "the test"), "train")
    assert str(file) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", JSONS)
def test_jsons(tmp_path, kind):
    (tmp_path / "a.json").write_text(json.dumps(JSONS[kind]))
    assert refused(tmp_path / "a.json").endswith(WORDS[kind.partition(",")[0].partition(" project")[0]])
    assert kind in ("boxes", "supervisely") or refused(tmp_path / "a.json", "deeplabcut")
    with pytest.raises(ValueError, match="is not read by coco_json"):
        open_dataset("coco_json", options_of("coco_json", {"root": str(tmp_path)}, "the test"), "train")


@pytest.mark.parametrize("name", TEXTS)
def test_other_files(tmp_path, name):
    (tmp_path / name).write_text(TEXTS[name])
    message = refused(tmp_path / name)
    assert ("deeplabcut" in message) == (name[:3] in ("dlc", "cli", "lab") or "via" in name)
    assert ("yolo_pose" in message) == (name[:3] in ("yol", "lab", "cva", "voc"))


@pytest.mark.parametrize(("keys", "kind"), [(["tracks", "node_names"], "sleap"), (["df_with_missing"], "dlc h5")])
def test_arrays(tmp_path, keys, kind):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for key in keys:
            file[key] = np.zeros(3)
    for name in ("coco_json", "deeplabcut"):
        assert refused(tmp_path / "a.h5", name).endswith(WORDS[kind])


@pytest.mark.parametrize("name", ["coco_json", "deeplabcut", "yolo_pose"])
@pytest.mark.parametrize("file", ["cvat.xml", "labels.slp"])
def test_folders_of_them(tmp_path, name, file):
    (tmp_path / file).write_text(TEXTS[file])
    with pytest.raises(ValueError, match=f"{file} is not read by {name}"):
        open_dataset(name, options_of(name, {"root": str(tmp_path)}, "the test"), "train")


def test_a_project_whose_csvs_are_gone(tmp_path):
    (tmp_path / "labeled-data/one").mkdir(parents=True)
    with h5py.File(tmp_path / "labeled-data/one/CollectedData_A.h5", "w") as file:
        file["df_with_missing"] = np.zeros(3)
    with pytest.raises(ValueError, match="Use the CSV of the same name"):
        open_dataset("deeplabcut", options_of("deeplabcut", {"root": str(tmp_path)}, "the test"), "train")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("a.json", text) for text in ("", "[", "3", "[]", "{}", "[1]", '{"images": 1, "annotations": 2}')),
        *(
            ("a.xml", "<html>"),
            ("a.csv", "a,b"),
            ("a.txt", "hello"),
            ("a.yaml", "a: ["),
            ("a.h5", "none"),
            ("a.mat", ""),
        ),
    ],
)
def test_of_others_nothing_is_said(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    refuse_foreign(tmp_path / name, "coco_json")
    refuse_foreign(tmp_path / "none.json", "coco_json")


def test_what_a_set_reads_itself_is_not_refused(tmp_path):
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    refuse_foreign(tmp_path / "dlc.csv", "deeplabcut")
    refuse_foreign(tmp_path / "yolo.yml", "yolo_pose")


def test_the_folder_of_a_project_s_videos_is_known(tmp_path):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip/CollectedData_A.csv").write_text("scorer,A,A\nbodyparts,nose,nose\ncoords,x,y\n")
    with pytest.raises(ValueError, match=r"CollectedData_A.csv is not read by coco_json.* the dataset deeplabcut"):
        open_dataset("coco_json", options_of("coco_json", {"root": str(tmp_path)}, "test"), "train")
