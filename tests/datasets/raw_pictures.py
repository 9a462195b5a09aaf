"""Every picture set in its raw layout, tiny, with what its annotation files hold; and the writing of such content.

The sets are those of the loaders' own tests; what those tests write inline is written here.
"""

import functools
import importlib.util
import json
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import scipy.io
import yaml
from PIL import Image

from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.catalog import open_dataset, options_of
from keyshift.datasets.rendered import hands as rendered_hands
from keyshift.datasets.skeleton import HAND

render = functools.cache(rendered_hands.render)


@functools.cache
def beside(name):
    """A module of this folder or a room of it: the tests of one loader hold the writer of its set."""
    (path,) = Path(__file__).parent.rglob(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"raw_of_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    for drawing in (module, getattr(module, "raw", None)):
        if hasattr(drawing, "render"):
            drawing.render = render  # each hand once for all sets
    return module


@dataclass
class RawSet:
    """The name, options and part that open it, and its annotation files below the root by their form."""

    options: dict[str, Any]
    """With the name; the root is not among them."""
    files: dict[str, str]
    part: str = "test"
    content: dict[str, Any] | None = None
    """Of files that cannot be read back as they were written."""


def opened(made: RawSet, root: Path):
    """The set at `root`, by way of the catalog."""
    content = {key: str(root / value) if value in made.files else value for key, value in made.options.items()}
    name = content.pop("name")
    return open_dataset(name, options_of(name, {"root": str(root), **content}, "the test"), made.part)


def structs(value):
    """Lists of mappings as MATLAB's struct arrays, other lists as cells."""
    if isinstance(value, dict):
        return {str(key): structs(member) for key, member in value.items()}
    if not isinstance(value, list):
        return value
    if not value or not all(isinstance(item, dict) for item in value):
        return np.array([*(structs(item) for item in value), None], object)[:-1]
    fields = list(dict.fromkeys(str(key) for item in value for key in item))
    made = np.empty(len(value), [(field, object) for field in fields])
    for i, item in enumerate(value):
        for field in fields:
            made[i][field] = structs(item.get(field, np.zeros((0, 0))))
    return made


def decode(form: str, path: Path) -> Any:
    """What a file holds, as mappings, lists, arrays and plain values; of a text its lines."""
    if form == "json":
        return json.loads(path.read_bytes())
    if form == "pickle":
        return pickle.loads(path.read_bytes())
    if form == "mat":
        return {name: value for name, value in scipy.io.loadmat(path).items() if name[:2] != "__"}
    if form == "hdf5":
        with h5py.File(path) as file:
            return {name: np.asarray(file[name]) for name in file}
    if form == "npz":
        with np.load(path) as arrays:
            return dict(arrays)
    return yaml.safe_load(path.read_text()) if form == "yaml" else path.read_text().splitlines()


def encode(form: str, content: Any) -> bytes:
    """The inverse. Raises whatever the writer raises for content that the form cannot hold."""
    made = BytesIO()
    if form == "json":
        return json.dumps(content).encode()
    if form == "pickle":
        return pickle.dumps(content, protocol=2)
    if form == "mat":
        scipy.io.savemat(made, structs(content), do_compression=True)
    elif form == "hdf5":
        with h5py.File(made, "w") as file:
            for name, value in content.items():
                file[name] = value
    elif form == "npz":
        np.savez(made, **content)
    else:
        text = yaml.safe_dump(content) if form == "yaml" else "\n".join(map(str, content))
        return text.encode("utf-8", "surrogatepass")
    return made.getvalue()


def pictures(root, *names, size=(32, 24)) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (200, 30, 60)).save(root / name)


def hands(count):
    return beside("raw_hands").rendered(count, 64)


def rhd(root):
    tests, made, entries = beside("test_rhd"), hands(3), {}
    for i in range(3):
        points = np.stack([made.points[i], made.points[i] + [9000.0, 0, 0]])
        entries[7 + i] = tests.entry(points, np.array([[True] * 21, [False] * 21]), made.camera[i] * 5)
    tests.write(root, "train", entries, made.image.repeat(5, 1).repeat(5, 2))
    return RawSet({"name": "rhd"}, {"training/anno_training.pickle": "pickle"}, "train")


def h3d(root):
    tests = beside("test_h3d")
    tests.NAMES = [f"part{1 + i // 2}/{i}.png" for i in range(6)]
    pictures(root, *tests.NAMES)
    tests.save(root, tests.listed(hands(6)))
    return RawSet({"name": "h3d"}, {"annotation.json": "json"}, "train")


def freihand(root):
    tests, made = beside("test_freihand"), hands(4)
    images = np.repeat(made.image[None], 4, 0)
    tests.write(root, [tests.raw.matrix(c).tolist() for c in made.camera], (made.points / 1000).tolist(), images)
    files = {"training_K.json": "json", "training_xyz.json": "json"}
    return RawSet({"name": "freihand", "block": 2}, files, "train")


def interhand(root):
    beside("test_interhand").write_set(root)
    names = [f"annotations/test/InterHand2.6M_test_{what}.json" for what in ("data", "camera", "joint_3d")]
    return RawSet({"name": "interhand"}, dict.fromkeys(names, "json"))


def onehand10k(root):
    beside("test_onehand10k").write_set(root)
    return RawSet({"name": "onehand10k"}, {"Train/label_joint.txt": "text"}, "train")


def panoptic_hands(root):
    _, stems = beside("test_panoptic_hands").write_set(root)
    return RawSet(
        {"name": "panoptic_hands"}, {f"hand_labels/manual_train/{stem}.json": "json" for stem in stems}, "train"
    )


def surreal_lists(root):
    beside("test_surreal").write_list(root / "test", count=4)
    return RawSet({"name": "surreal"}, {"test/run0.json": "json"})


def surreal_clips(root):
    file = beside("test_surreal").write_clip(root / "test/run0", frames=2)
    return RawSet({"name": "surreal", "stride": 1}, {file.relative_to(root).as_posix(): "mat"})


def human36m(root):
    files = {}
    for subject in (9, 11):
        beside("test_human36m").write(root, subject, frames=2)
        files |= {f"annotations/Human36M_subject{subject}_{kind}.json": "json" for kind in ("camera", "data")}
        files[f"annotations/Human36M_subject{subject}_joint_3d.json"] = "json"
    return RawSet({"name": "human36m", "stride": 1}, files)


def mpi_inf_3dhp_train(root):
    tests = beside("test_mpi_inf_3dhp")
    tests.FRAMES = 2
    tests.write_train(root)
    for video in root.glob("S*/Seq*/imageSequence/video_*.avi"):
        if not video.stat().st_size:
            (video.parents[1] / "imageFrames" / video.stem).mkdir(parents=True)
    files = {"S1/Seq1/annot.mat": "mat", "S1/Seq1/camera.calibration": "text"}
    return RawSet({"name": "mpi_inf_3dhp"}, files, "train")


def mpi_inf_3dhp_test(root):
    tests = beside("test_mpi_inf_3dhp")
    tests.FRAMES = 5
    tests.write_tests(root)
    return RawSet({"name": "mpi_inf_3dhp"}, {"mpi_inf_3dhp_test_set/TS4/annot_data.mat": "hdf5"})


def muco(root):
    beside("test_muco").write(root, 3)
    return RawSet({"name": "muco", "held": None}, {"MuCo-3DHP.json": "json"}, "train")


def mupots(root):
    beside("test_mupots").write(root, count=3)
    return RawSet({"name": "mupots"}, {"MuPoTS-3D.json": "json"})


def threedpw(root):
    beside("test_threedpw").write(root)
    return RawSet({"name": "threedpw"}, {"3DPW_test.json": "json"})


def lsp(root):
    joints = np.random.default_rng(0).uniform(1, 30, (3, 14, 2000))
    joints[2] = joints[2] > 20
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    pictures(root, "images/im0001.jpg", "images/im1001.jpg", "images/im2000.jpg")
    return RawSet({"name": "lsp"}, {"joints.mat": "mat"})


def lspet(root):
    joints = np.random.default_rng(0).uniform(1, 30, (14, 3, 4))
    joints[:, 2] = joints[:, 2] > 5
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    pictures(root, *(f"images/im{n:05d}.jpg" for n in range(1, 5)))
    return RawSet({"name": "lspet", "block": 1}, {"joints.mat": "mat"})


JOINTS = (np.arange(32.0).reshape(16, 2) + 3).tolist()


def mpii_lists(root):
    person = {"joints": JOINTS, "joints_vis": [1] * 15 + [0], "center": [16.0, 12.0], "scale": 0.1}
    (root / "annot").mkdir()
    (root / "annot/valid.json").write_text(json.dumps([{"image": f"{name}.jpg", **person} for name in "aab"]))
    pictures(root, "images/a.jpg", "images/b.jpg")
    return RawSet({"name": "mpii"}, {"annot/valid.json": "json"})


def mpii_published(root):
    points = [{"id": k, "x": x, "y": y, "is_visible": k % 2} for k, (x, y) in enumerate(JOINTS)]
    person = {"annopoints": {"point": points}, "objpos": {"x": 16, "y": 12}, "scale": 0.1}
    listed = [{"image": {"name": f"{n}.jpg"}, "annorect": [person, person], "vididx": n} for n in range(6)]
    content = {"RELEASE": {"annolist": listed, "img_train": np.ones(6)}}
    name = "annotations/mpii_human_pose_v1_u12_1.mat"
    (root / name).parent.mkdir()
    (root / name).write_bytes(encode("mat", content))
    pictures(root, *(f"images/{n}.jpg" for n in range(6)))
    return RawSet({"name": "mpii"}, {name: "mat"}, content={name: content})


def coco_content(**more):
    triples = np.concatenate([np.arange(34.0).reshape(17, 2) / 2, np.tile([2, 1, 0], 6)[:17, None]], 1)
    person = {"id": 1, "name": "person", "keypoints": list(COCO17.keypoints), "skeleton": [[16, 14], [14, 12]]}
    camera = {"focal": [50.0, 50.0], "princpt": [16.0, 12.0]}
    plain = {"category_id": 1, "bbox": [1, 2, 20, 15], "keypoints": triples.ravel().tolist(), "iscrowd": 0}
    return {
        "images": [{"id": n, "file_name": f"{n}.jpg", "cam_param": camera, **more} for n in range(4)],
        "annotations": [{"id": 10 + n, "image_id": n, "num_keypoints": 11, "is_left": 1, **plain} for n in range(4)],
        "categories": [person],
    }


def coco(root):
    name = "annotations/person_keypoints_val2017.json"
    (root / name).parent.mkdir()
    (root / name).write_text(json.dumps(coco_content()))
    pictures(root, *(f"val2017/{n}.jpg" for n in range(4)))
    return RawSet({"name": "coco"}, {name: "json"})


def crowdpose(root):
    """The second picture shows someone without keypoints besides, the fourth nobody."""
    made = coco_content(crowdIndex=0.25)
    (category,) = made["categories"]
    category["keypoints"] = [*COCO17.keypoints[5:], "head", "neck"]
    for annotation in made["annotations"]:
        annotation["keypoints"] = annotation["keypoints"][:42]
    made["annotations"][3] |= {"image_id": 1, "num_keypoints": 0, "keypoints": [0] * 42, "bbox": [20, 4, 8, 16]}
    (root / "json").mkdir()
    for name in ("train", "val", "test"):
        (root / f"json/crowdpose_{name}.json").write_text(json.dumps(made))
    pictures(root, *(f"images/{n}.jpg" for n in range(4)))
    return RawSet({"name": "crowdpose"}, {"json/crowdpose_test.json": "json"})


def posetrack(root):
    tests = beside("test_posetrack")
    tests.write_set(root, ("val",))
    return RawSet({"name": "posetrack"}, {f"annotations/val/{video}.json": "json" for video in tests.VIDEOS})


def ochuman(root):
    """The publisher's conversion."""
    made = coco_content()
    for annotation in made["annotations"]:
        annotation |= {"segmentation": {"size": [24, 32], "counts": "T3X6d>"}, "area": 300}
    name = "ochuman_coco_format_test_range_0.00_1.00.json"
    (root / name).write_text(json.dumps(made))
    pictures(root, *(f"images/{n}.jpg" for n in range(4)))
    return RawSet({"name": "ochuman"}, {name: "json"})


def ochuman_own(root):
    """The publisher's own form; of the second picture's people one has a box alone."""
    names = [*COCO17.keypoints[5:], *COCO17.keypoints[:5], "head", "neck"]
    joints = [[x, y, x % 4] for x, y in np.arange(38).reshape(19, 2).tolist()]
    person = {"bbox": [1, 2, 21, 17], "keypoints": np.ravel(joints).tolist(), "max_iou": 0.7}
    person |= {"segms": {"outer": [[1, 2, 20, 2, 20, 15]], "inner": [], "width": 32, "height": 24}}
    bare = {"bbox": [8, 4, 16, 20], "keypoints": None, "segms": None, "max_iou": 0.1}
    images = [
        {"image_id": f"{n:06d}", "file_name": f"{n}.jpg", "width": 32, "height": 24}
        | {"annotations": [person, bare] if n == 1 else [person]}
        for n in range(4)
    ]
    made = {"images": images, "keypoint_names": names, "keypoint_visible": {"missing": 0, "vis": 1}}
    (root / "ochuman.json").write_text(json.dumps(made))
    pictures(root, *(f"images/{n}.jpg" for n in range(4)))
    return RawSet({"name": "ochuman", "form": "own"}, {"ochuman.json": "json"}, "train")


def coco_whole(root):
    """Whole pictures: a crowd in run lengths, someone who is an outline, one who is a box, and nobody."""
    made = coco_content(crowdIndex=0.5)
    crowd = {"id": 2, "image_id": 0, "category_id": 1, "iscrowd": 1, "bbox": [1, 2, 8, 6], "area": 48}
    made["annotations"][3] |= {"image_id": 1, "num_keypoints": 0, "keypoints": [0] * 51, "area": 90.5}
    made["annotations"][3]["segmentation"] = [[2, 2, 20, 2, 20, 12, 2, 12], [22, 4, 28, 4, 28, 16]]
    made["annotations"].append(crowd | {"segmentation": {"size": [24, 32], "counts": [26, 300, 442]}})
    made["annotations"].append(crowd | {"id": 3, "segmentation": {"size": [24, 32], "counts": "T3X6d>"}})
    made["annotations"].append(crowd | {"id": 4, "iscrowd": 0, "image_id": 2, "num_keypoints": 0})
    (root / "labels.json").write_text(json.dumps(made))
    pictures(root, *(f"{n}.jpg" for n in range(4)))
    return RawSet({"name": "coco_json", "block": 1, "crops": "whole"}, {"labels.json": "json"})


def coco_json(root):
    made = coco_content(seq_name="walk")
    for n, (image, annotation) in enumerate(zip(made["images"], made["annotations"], strict=True)):
        image["seq_name"] = f"walk{n // 2}"
        annotation["joint_cam"] = np.full((17, 3), 900.0).tolist()
    (root / "labels.json").write_text(json.dumps(made))
    pictures(root, *(f"{n}.jpg" for n in range(4)))
    return RawSet({"name": "coco_json", "block": 1}, {"labels.json": "json"})


def coco_rough(root):
    """As exporters write it that are no good ones."""
    made = coco_content()
    names = ("C:\\set\\a\\0.jpg", "/home/me/set/a/1.jpg", "a\\2.jpg", "https://host/x/a/3.jpg?t=1")
    for n, (image, annotation) in enumerate(zip(made["images"], made["annotations"], strict=True)):
        image["file_name"] = names[n]
        annotation |= {"id": 0, "image_id": str(n), "num_keypoints": 0, "bbox": [None] * 4 if n else [1, 2, 20, 15]}
        annotation["keypoints"][:9] = [-1, -1, -1, None, None, 0, "4.5", "6", "3"]
    made["annotations"][3]["keypoints"] = " ".join(str(x) for x in made["annotations"][0]["keypoints"][9:] + [1] * 9)
    made["categories"] += [{"id": 2, "name": "face", "keypoints": ["nose", "chin"]}, {"id": 3, "name": "box"}]
    (root / "labels.json").write_text(json.dumps(made))
    pictures(root, *(f"a/{n}.jpg" for n in range(4)))
    return RawSet({"name": "coco_json", "block": 1, "category": "person"}, {"labels.json": "json"})


def coco_npz(root):
    rng = np.random.default_rng(0)
    arrays = {"imgname": np.array([f"{n}.jpg" for n in range(4)]), "center": np.full((4, 2), 14.0)}
    arrays |= {"scale": np.full(4, 0.1), "part": rng.uniform(1, 20, (4, 17, 3)), "S": rng.uniform(1, 2, (4, 17, 4))}
    np.savez(root / "labels.npz", **arrays)
    pictures(root, *(f"{n}.jpg" for n in range(4)))
    options = {"name": "coco_json", "block": 1, "labels": "labels.npz", "skeleton": "coco17"}
    return RawSet(options, {"labels.npz": "npz"})


def skeleton(root):
    made = coco_json(root)
    names = [f"LShoulder{k}" for k in range(8)] + [f"RShoulder{k}" for k in range(8)] + ["nose"]
    about = {"name": "dog", "keypoints": names, "edges": [["nose", names[0]]], "flip_pairs": [[names[0], names[8]]]}
    (root / "dog.yaml").write_text(yaml.safe_dump(about))
    return RawSet(made.options | {"skeleton": "dog.yaml"}, {"dog.yaml": "yaml"})


def boxes_csv(root):
    pictures(root, *(f"day/{n}.jpg" for n in range(4)))
    lines = ["file,left,top,right,bottom,score", *(f"day/{n}.jpg,{n},2.5,20,18,0.9" for n in range(4))]
    (root / "boxes.csv").write_text("\n".join(lines))
    return RawSet({"name": "pictures", "boxes": "boxes.csv", "skeleton": "coco17"}, {"boxes.csv": "text"})


def boxes_json(root):
    pictures(root, *(f"day/{n}.jpg" for n in range(4)))
    (root / "boxes.json").write_text(json.dumps({f"day/{n}.jpg": [[n, 2.5, 20, 18]] for n in range(4)}))
    return RawSet({"name": "pictures", "boxes": "boxes.json", "skeleton": "coco17"}, {"boxes.json": "json"})


def boxes_list(root):
    made = boxes_json(root)
    row = {"bbox": [1, 2.5, 20, 18], "score": 0.9, "category_id": 1}
    (root / "boxes.json").write_text(json.dumps([{"file_name": f"day/{n}.jpg", **row} for n in range(4)]))
    return made


def boxes_coco(root):
    made = boxes_json(root)
    content = coco_content()
    for image in content["images"]:
        image["file_name"] = f"day/{image['file_name']}"
    (root / "boxes.json").write_text(json.dumps(content))
    return made


def coco_results(root):
    made = coco_content()
    triples = made["annotations"][0]["keypoints"]
    rows = [{"image_id": f"{n}.jpg", "category_id": 1, "keypoints": triples, "score": n / 4} for n in range(4)]
    (root / "results.json").write_text(json.dumps(rows))
    pictures(root, *(f"{n}.jpg" for n in range(4)))
    options = {"name": "coco_json", "block": 1, "labels": "results.json", "skeleton": "coco17"}
    return RawSet(options, {"results.json": "json"})


def coco_results_numbered(root):
    made = coco_content()
    rows = [{"image_id": n, "category_id": 1, "keypoints": made["annotations"][n]["keypoints"]} for n in range(4)]
    (root / "results.json").write_text(json.dumps(rows))
    (root / "images.json").write_text(json.dumps({key: made[key] for key in ("images", "categories")}))
    pictures(root, *(f"{n}.jpg" for n in range(4)))
    options = {"name": "coco_json", "block": 1, "labels": "results.json", "images": "images.json"}
    return RawSet(options, {"results.json": "json", "images.json": "json"})


def coco_nested(root):
    (root / "annotations").mkdir()
    (root / "annotations/person_keypoints_default.json").write_text(json.dumps(coco_content()))
    pictures(root, *(f"images/default/{n}.jpg" for n in range(4)))
    return RawSet({"name": "coco_json", "block": 1}, {"annotations/person_keypoints_default.json": "json"})


def deeplabcut(root):
    files = {}
    for clip in ("a", "b"):
        name = f"labeled-data/{clip}/CollectedData_me.csv"
        pictures(root, *(f"labeled-data/{clip}/img{n}.png" for n in range(2)))
        lines = ["scorer,me,me,me,me", "bodyparts,nose,nose,tail,tail", "coords,x,y,x,y"]
        lines += [f"labeled-data/{clip}/img{n}.png,{n}.5,2,20,{'' if n else 18}" for n in range(1)]
        lines += [f"labeled-data\\{clip}\\img1.png,1.5,2,,"]
        (root / name).write_text("\n".join(lines))
        files[name] = "text"
    (root / "config.yaml").write_text(yaml.safe_dump({"scorer": "me", "skeleton": [["nose", "tail"]]}))
    return RawSet({"name": "deeplabcut"}, {**files, "config.yaml": "yaml"})


def deeplabcut_animals(root):
    pictures(root, *(f"labeled-data/a/img{n}.png" for n in range(4)))
    lines = ["scorer,,,me,me,me,me,me,me", "individuals,,,m1,m1,m2,m2,single,single"]
    lines += ["bodyparts,,,nose,nose,nose,nose,ball,ball", "coords,,,x,y,x,y,x,y"]
    lines += [f"labeled-data,a,img{n}.png,1,2,20,18,nan,nan" for n in range(4)]
    (root / "CollectedData.csv").write_text("\n".join(lines))
    return RawSet({"name": "deeplabcut", "block": 2}, {"CollectedData.csv": "text"})


def yolo_pose(root):
    about = {"train": "images/train", "val": "images/val.txt", "kpt_shape": [3, 3], "flip_idx": [0, 2, 1]}
    about |= {"names": {0: "dog"}, "kpt_names": {0: ["nose", "left_paw", "right_paw"]}}
    files = {}
    for part, n in (("train", 0), ("train", 1), ("val", 0)):
        pictures(root, f"images/{part}/{n}.jpg")
        file = root / f"labels/{part}/{n}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("0 0.5 0.5 0.4 0.6 0.4 0.3 2 0.6 0.7 1 0 0 0\n0 0.4 0.5 0.4 0.6 0.4 0.3 2 0.6 0.7 1 0.1 0 2")
        files[file.relative_to(root).as_posix()] = "text"
    (root / "images/val.txt").write_text("./images/val/0.jpg\n")
    (root / "data.yaml").write_text(yaml.safe_dump(about))
    return RawSet({"name": "yolo_pose"}, {"data.yaml": "yaml", "images/val.txt": "text", **files})


def depth_frames(root):
    """Your own depth camera's: frames in every form, camera.yaml, and tables of centres and labels."""
    yy, xx = np.mgrid[:24, :32]
    disc = np.where((xx - 16) ** 2 + (yy - 12) ** 2 < 81, 600, 1500).astype(np.uint16)
    names = ["a.npy", "b.npz", "c.png", "d.pgm", "e.tif", "f.npy"]
    np.save(root / "a.npy", disc.astype(np.int32))
    np.savez(root / "b.npz", depth=disc.astype(np.float32))
    for name in ("c.png", "d.pgm", "e.tif"):
        cv2.imwrite(str(root / name), disc)
    np.save(root / "f.npy", disc.astype(np.float16)[..., None])
    about = {"fx": 50.0, "fy": 50.0, "cx": 15.5, "cy": 11.5, "unit": "mm", "cube": [100, 100, 150]}
    tables = {"centers": "centers.csv", "labels": "labels.csv"}
    (root / "camera.yaml").write_text(yaml.safe_dump(about | tables))
    (root / "centers.csv").write_text("\n".join(["file,x,y,z", *(f"{name},15.5,11.5,600" for name in names)]))
    header = ["file", *(f"{joint}_{axis}" for joint in HAND.keypoints for axis in "xyz")]
    rows = [",".join([name, *["14,11,600"] * len(HAND)]) for name in names]
    (root / "labels.csv").write_text("\n".join([",".join(header), *rows]))
    files = {"camera.yaml": "yaml", "centers.csv": "text", "labels.csv": "text"} | dict.fromkeys(names, "bytes")
    return RawSet({"name": "depth_folder", "block": 1, "skeleton": HAND.name}, files)


WRITERS: dict[str, Callable[[Path], RawSet]] = {
    writer.__name__: writer
    for writer in (
        *(rhd, h3d, freihand, interhand, onehand10k, panoptic_hands, surreal_lists, surreal_clips, human36m),
        *(muco, mupots, threedpw),
        *(mpi_inf_3dhp_train, mpi_inf_3dhp_test, lsp, lspet, mpii_lists, mpii_published, coco, coco_json, coco_npz),
        *(skeleton, boxes_csv, boxes_json, boxes_list, boxes_coco, coco_results, coco_results_numbered, coco_nested),
        *(deeplabcut, deeplabcut_animals, yolo_pose, crowdpose, posetrack, ochuman, ochuman_own),
    )
}
ROUGH = {"coco_rough": coco_rough, "coco_whole": coco_whole}
"""Sets that are read with warnings, and whole pictures."""
DEPTH = {"depth_frames": depth_frames}
