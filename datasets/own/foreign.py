"""Label files of other tools that are not read here: which they are, and what to export there instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..reading.annotations import BadAnnotation, read_json, read_yaml

HEAD = 4000
"""Bytes by which a text is known."""
POSE = "COCO keypoints (read by coco_json) or Ultralytics YOLO pose (read by yolo_pose)"
SLEAP = (
    "a file of SLEAP. Export it as COCO, DeepLabCut or Ultralytics, which coco_json, deeplabcut and yolo_pose read: "
    "`sio convert` of the package sleap-io does it"
)
DEEPLABCUT = "DeepLabCut's or Lightning Pose's labels"
CONVERT = "Convert it to COCO keypoints (read by coco_json) or to a DeepLabCut CSV (read by deeplabcut)"
OPEN = "Open {0} with the dataset {1}: {1} root=FOLDER or labels=FILE"
WORDS = {
    "sleap": SLEAP,
    "dlc h5": f"{DEEPLABCUT} as a table of pandas. Use the CSV of the same name that DeepLabCut keeps beside it "
    "(deeplabcut.analyze_videos_converth5_to_csv writes one), with the dataset deeplabcut",
    "dlc": f"{DEEPLABCUT}. {OPEN.format('them', 'deeplabcut')}",
    "yolo": f"a file of Ultralytics YOLO. {OPEN.format('its folder', 'yolo_pose')}",
    "labelme": f"a file of LabelMe or AnyLabeling, of one picture. X-AnyLabeling opens such files and exports {POSE}",
    "via": "a file of the VGG Image Annotator, whose points belong to no animal or person. Write a DeepLabCut CSV of "
    "them (read by deeplabcut), or label with skeletons in CVAT or Label Studio",
    "cvat": "CVAT's own XML. In CVAT export the task, whose points are skeletons, as `COCO Keypoints 1.0` (read by "
    "coco_json) or `Ultralytics YOLO Pose 1.0` (read by yolo_pose)",
    "voc": "Pascal VOC's XML, which has boxes and no keypoints. Where the tool has keypoints, export " + POSE,
    "label studio": "Label Studio's own JSON, in percent of the picture. In Label Studio export `COCO` (read by "
    "coco_json) or `YOLO` (read by yolo_pose) from a project with keypoint labels",
    "supervisely": "Supervisely's own JSON. In Supervisely export the graphs as " + POSE,
    "datumaro": "Datumaro's own JSON. Convert it to coco_person_keypoints: datum convert -f coco_person_keypoints",
    "openpose": "OpenPose's output, predictions of one picture. Label pictures, or bring it into COCO's form",
    "labelbox": f"an export of Labelbox. {CONVERT}",
    "v7": f"Darwin JSON of V7, of one picture. {CONVERT}",
    "superannotate": f"SuperAnnotate's own JSON. {CONVERT}",
    "mmpose": f"predictions of MMPose's inferencer. {CONVERT}",
    "boxes": "a COCO file without keypoints: boxes or outlines alone. Export it as COCO keypoints (in CVAT `COCO "
    "Keypoints 1.0`; a project of keypoint detection in Roboflow); its boxes can be read with predict --boxes FILE",
    "zip": "a ZIP archive. Unpack it, and name the folder",
}
"""What a file is, and what to do, by kind."""
SUFFIXES = {".slp": "sleap", ".pickle": "dlc h5", ".pkl": "dlc h5", ".zip": "zip"}


def refuse_foreign(file: Path, name: str) -> None:
    """Raises ValueError for a file that is known as another tool's, or as one that another dataset than `name` reads,
    with what to do. Says nothing of others."""
    try:
        kind = _kind(file)
    except (OSError, ValueError, RecursionError):  # what is broken is nothing that is known
        return
    own = {"deeplabcut": "dlc", "yolo_pose": "yolo"}.get(name)
    if kind is not None and kind != own:
        raise ValueError(f"{file} is not read by {name}: it is {WORDS[kind]}")


def refuse_foreign_folder(root: Path, name: str) -> None:
    """The same for the files of a folder, and of DeepLabCut's folders below it."""
    for file in sorted([*root.glob("*"), *root.glob("labeled-data/*/*"), *root.glob("*/CollectedData*")]):
        if file.is_file():
            refuse_foreign(file, name)


def _kind(file: Path) -> str | None:
    suffix = file.suffix.lower()
    if not file.is_file() or suffix in SUFFIXES:
        return SUFFIXES.get(suffix)
    if suffix in (".h5", ".hdf5"):
        return _of_arrays(file)
    if suffix == ".json":
        try:
            return _of_json(read_json(file))
        except BadAnnotation:
            return None
    if suffix in (".yaml", ".yml"):
        content = read_yaml(file)
        keys = content.keys() if isinstance(content, dict) else set()
        return "yolo" if keys & {"kpt_shape", "nc"} else "dlc" if keys & {"bodyparts", "scorer"} else None
    with file.open("rb") as opened:
        head = opened.read(HEAD).decode("utf-8-sig", "replace").lstrip()
    return _of_text(head, suffix)


def _of_text(head: str, suffix: str) -> str | None:
    if suffix == ".xml" or head.startswith("<?xml"):
        return "cvat" if "<annotations" in head else "voc" if "<annotation" in head else None
    if suffix == ".csv":
        first = head.lower().lstrip('"#')
        return "dlc" if first.startswith("scorer") else "via" if first.startswith("filename,file_size") else None
    words = head.partition("\n")[0].split()
    return "yolo" if suffix == ".txt" and len(words) > 4 and words[0].isdecimal() else None


def _of_arrays(file: Path) -> str | None:
    import h5py

    try:
        with h5py.File(file) as opened:
            keys = set(opened)
    except Exception:  # HDF5 raises whatever the bytes lead it to
        return None
    return "sleap" if keys & {"node_names", "tracks", "pred_points"} else "dlc h5" if keys else None


def _of_json(content: Any) -> str | None:
    if isinstance(content, list):
        first = content[0] if content and isinstance(content[0], dict) else {}
        studio = {"annotations", "data"}, {"completions", "data"}, {"annotator", "annotation_id"}
        points = [value[0] for value in first.values() if isinstance(value, list) and value]
        if "data_row" in first or {"Labeled Data", "Label"} <= first.keys():
            return "labelbox"
        if {"keypoints", "keypoint_scores"} <= first.keys() and isinstance(first["keypoints"], list):
            return "mmpose" if first["keypoints"] and isinstance(first["keypoints"][0], list) else None
        short = any(isinstance(point, dict) and "keypointlabels" in point for point in points)
        return "label studio" if short or any(keys <= first.keys() for keys in studio) else None
    if not isinstance(content, dict):
        return None
    for kind, keys in (
        ("labelme", {"shapes", "imagePath"}),
        ("via", {"_via_img_metadata"}),
        ("via", {"project", "file", "metadata"}),
        ("datumaro", {"items", "categories"}),
        ("supervisely", {"objects", "size"}),
        ("openpose", {"people", "version"}),
        ("sleap", {"skeletons", "videos", "labels"}),
        ("v7", {"item", "annotations"}),
        ("superannotate", {"metadata", "instances"}),
        ("mmpose", {"meta_info", "instance_info"}),
    ):
        if keys <= content.keys():
            return kind
    values = list(content.values())
    if values and isinstance(values[0], dict) and {"regions", "filename"} <= values[0].keys():
        return "via"
    parts = [content.get(key) for key in ("annotations", "categories")]
    listed = [entry for entries in parts if isinstance(entries, list) for entry in entries]
    if not ("images" in content and isinstance(parts[0], list) and parts[0]):
        return None
    return None if any("keypoints" in entry for entry in listed if isinstance(entry, dict)) else "boxes"
