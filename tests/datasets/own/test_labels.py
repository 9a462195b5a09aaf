"""Own labels: what is read, what is inferred, who tests, every malformed file; all real samples."""

import copy
import importlib.util
import json
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.bodies.skeletons import COCO17, H36M17
from keyshift.datasets.own.labels import Options, coco_json, read_spin
from keyshift.datasets.own.skeleton_file import order_doubts, skeleton_of
from keyshift.datasets.reading.coco_file import declared_sizes, read_coco
from keyshift.datasets.reading.people import project
from keyshift.datasets.rendered.hands import RenderedHands
from keyshift.datasets.skeleton import FINGERS, HAND

_spec = importlib.util.spec_from_file_location("raw_coco", Path(__file__).parents[1] / "raw_coco.py")
raw = importlib.util.module_from_spec(_spec)
sys.modules["raw_coco"] = raw
_spec.loader.exec_module(raw)
BASE, annotation, content, joints, write = raw.BASE, raw.annotation, raw.content, raw.joints, raw.write


def opened(root, part="train", **options):
    return coco_json(Options(root=None if root is None else str(root), **options), part)


def open_one(tmp_path, made, part="train", **options):
    return opened(write(tmp_path, made), part, block=1, **options)


def write_hands(root):
    """Rendered hands as mmpose's RHD has them: nested joints, cameras, 3D, names that count the fingers' joints."""
    hands = RenderedHands("studio", 4, 0, 64, 0, cache=root / "cache")
    items = [hands[i] for i in range(4)]
    names = [
        "wrist",
        *(
            f"{f}{j}"
            for f in ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
            for j in (1, 2, 3, 4)
        ),
    ]
    made = content(count=4, categories=[{"id": 1, "name": "hand", "keypoints": names}])
    for n, item in enumerate(items):
        focal, middle = item.camera[:2].tolist(), (item.camera[2:] - 0.5).tolist()
        made["images"][n]["cam_param"] = {"focal": focal, "princpt": middle}
        joints = np.concatenate([item.keypoints - 0.5, item.visible[:, None] + 1.0], 1)
        given = {"keypoints": joints.tolist(), "joint_cam": item.points.tolist()}
        made["annotations"][n] |= given | {"hand_type": "right" if n % 2 else "left"}
    return items, made


def test_rendered_hands_come_back(tmp_path) -> None:
    items, made = write_hands(tmp_path)
    parts = [open_one(tmp_path, made, part) for part in ("train", "test")]
    assert sorted(parts[0].people.pictures + parts[1].people.pictures) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    for data in parts:
        assert data.skeleton == HAND
        assert order_doubts(data.people) == []
        for read in (data[i] for i in range(len(data))):
            item = items[read.frame]
            np.testing.assert_allclose(read.keypoints, item.keypoints, atol=0.05)
            np.testing.assert_allclose(read.points, item.points, atol=0.1)
            np.testing.assert_allclose(project(read.points, read.camera), read.keypoints, atol=0.05)
            assert read.mirrored == bool(read.frame % 2)
            assert (read.visible == item.visible).all()
            assert read.annotated.all()
    turned = copy.deepcopy(made)
    names = turned["categories"][0]["keypoints"]
    turned["categories"][0]["keypoints"] = [names[0], *(names[4 * f + j] for f in range(5) for j in (4, 3, 2, 1))]
    other = open_one(tmp_path, turned)
    assert set(other.skeleton.keypoints) == set(HAND.keypoints)


def test_recordings_stay_together(tmp_path) -> None:
    made = content(count=12)
    for n, image in enumerate(made["images"]):
        image["vid_id"] = n // 3
    parts = [open_one(tmp_path, made, part).people.sequences for part in ("train", "test")]
    assert set(parts[0]) == {"0", "2", "3"}
    assert set(parts[1]) == {"1"}
    made = content(count=12)
    made["images"][5]["file_name"] = "0.jpg"  # the same picture, far from itself in the file
    file = write(tmp_path, made)
    frames = [opened(file, part, block=3).people.frames.tolist() for part in ("train", "test")]
    assert frames == [[0, 1, 2, 5, 6, 7, 8, 9, 10, 11], [3, 4]]
    shuffled = [opened(file, part, block=3, split="frames").people.pictures for part in ("train", "test")]
    assert not set(shuffled[0]) & set(shuffled[1])
    assert len(shuffled[0] + shuffled[1]) == 12


def test_what_labels_and_root_may_be(tmp_path) -> None:
    file = write(tmp_path, content())
    one = opened(file, "train", block=1)
    assert one.identity == opened(str(tmp_path), "train", block=1).identity
    assert one.identity == opened(None, "train", block=1, labels=file).identity
    assert one.name == "coco_json.train"
    elsewhere = write(tmp_path / "elsewhere", content(count=2), pictures=False)
    assert len(opened(str(tmp_path), "train", block=1, labels=elsewhere)) == 1
    both = [opened(str(tmp_path), part, block=1, labels=[file, elsewhere]) for part in ("train", "test")]
    assert [len(data) for data in both] == [4, 2]
    assert both[0].identity["split"] == "files"
    with pytest.raises(ValueError, match="no picture"):
        opened(None, "train", block=1, labels=elsewhere)
    write(tmp_path, content(), "other.json")
    (tmp_path / "empty").mkdir()
    for root, labels, match in [
        (str(tmp_path), None, r"exactly one \*.json, found labels.json, other.json"),
        (str(tmp_path / "none"), None, "no folder"),
        (str(tmp_path / "empty"), None, "found none"),
        (None, None, "labels=FILE"),
        (None, [file], "must be one file or two"),
        (None, 5, "path of a file"),
        (None, [None, file], "path of a file"),
        (None, "none.json", "no file none.json"),
    ]:
        with pytest.raises(ValueError, match=match):
            opened(root, "train", block=1, labels=labels)


def test_bad_options(tmp_path) -> None:
    file = write(tmp_path, content())
    for options, match in [
        ({"part": "val"}, "part='val'"),
        ({"block": 0}, "block=0"),
        ({"split": "random"}, "split='random'"),
        ({"skeleton": "coco"}, "Did you mean coco17"),
        ({"skeleton": "mpii16"}, "x, y, v of the 16 keypoints of mpii16"),
        ({"boxes": "all"}, "boxes='all'"),
        ({"labels": [file, file], "split": "frames"}, "splits one set, but the parts are given"),
        ({"split": "frames", "part": "test"}, "give 5 or more"),
    ]:
        with pytest.raises(ValueError, match=match):
            opened(**{"root": file, "block": 1, **options})
    with pytest.raises(ValueError, match=r"one single picture with people \(0.jpg\)"):
        open_one(tmp_path, content(annotation(1, 0), annotation(2, 0)))


def test_of_one_block_the_last_fifth_of_the_pictures_tests(tmp_path) -> None:
    write(tmp_path, content())
    train, test = (set(opened(tmp_path, part, block=20).people.pictures) for part in ("train", "test"))
    assert len(train) > len(test) == 1
    assert not train & test


def test_a_skeleton_for_a_file_that_names_nothing(tmp_path) -> None:
    made = content(categories=[])
    with pytest.raises(ValueError, match=r"set skeleton to coco17, .* or a YAML"):
        open_one(tmp_path, made)
    assert open_one(tmp_path, made, skeleton="coco17").skeleton == COCO17
    (tmp_path / "own.yaml").write_text(f"keypoints: [{', '.join(f'k{n}' for n in range(17))}]\nedges: [[k0, k1]]")
    own = open_one(tmp_path, made, skeleton=str(tmp_path / "own.yaml"))
    assert (own.skeleton.name, own.skeleton.edges) == ("own", ((0, 1),))
    assert "k16" in own.identity["keypoints"]


def test_categories(tmp_path) -> None:
    person = content()["categories"][0]
    dog = {"id": 2, "name": "dog"}
    made = content(annotation(1, 0), annotation(2, 1), annotation(3, 2, category_id=2), categories=[person, dog])
    with pytest.warns(UserWarning, match="1 of 3 annotations, the first 3, have keypoints and a category without"):
        assert len(open_one(tmp_path, made)) + len(open_one(tmp_path, made, "test")) == 2
    made["categories"][1]["keypoints"] = ["nose"]
    with pytest.raises(ValueError, match=r"\['person', 'dog'\], expected the same keypoints"):
        open_one(tmp_path, made)
    made["categories"][1]["keypoints"] = person["keypoints"]
    assert len(open_one(tmp_path, made)) == 2


def test_files_that_do_not_say_what_is_hidden(tmp_path) -> None:
    ones = dict.fromkeys(COCO17.keypoints, 1)
    data = open_one(tmp_path, content(*(annotation(n, n, keypoints=joints(**ones | {"nose": 0})) for n in range(4))))
    assert data[0].visible.tolist() == data[0].annotated.tolist() == [False] + [True] * 16


def test_boxes_that_are_missing(tmp_path) -> None:
    none = {"bbox": None}
    data = open_one(tmp_path, content(*(annotation(n, n, **none) for n in range(4))))
    assert data.identity["boxes"] == "truth"
    made = content(*(annotation(n, n, **[none, {}, {"bbox": [5, 5, 0, 9]}, {}][n]) for n in range(4)))
    with pytest.warns(UserWarning, match="2 of 4 people, the first 0, have no box"):
        partly = open_one(tmp_path, made)
    assert (partly.identity["boxes"], partly.identity["boxes made of joints"]) == ("file", 2)
    np.testing.assert_allclose(partly[0].box, data[0].box)


def test_people_who_are_boxes_alone(tmp_path) -> None:
    bare = annotation(12, 2)
    del bare["keypoints"]
    hidden = joints(nose=0)
    hidden[:2] = None, None
    others = [annotation(10, 0, keypoints=hidden), annotation(11, 1), annotation(13, 3)]
    lacking = [bare, annotation(14, 0, keypoints=[]), annotation(15, 1, keypoints=None)]
    file = write(tmp_path, content(*lacking, *others))
    with pytest.warns(UserWarning, match="3 of 6 annotations, the first 12, have no keypoints") as warned:
        read = opened(None, labels=[file, file])
    assert len(warned) == 1
    assert read.people.ids == ["10", "11", "13"]
    assert read[0].annotated.tolist() == [False] + [True] * 16
    np.testing.assert_allclose(read[0].keypoints[1], BASE[1, :2] + 0.5)
    with pytest.raises(ValueError, match="annotation 12: keypoints is missing"):
        open_one(tmp_path, content(*lacking))


def test_ids_may_be_hashes(tmp_path) -> None:
    made = content(annotation(2**64 - 1, 2**90), annotation("b", 1), annotation(-5, 2))
    made["images"][0]["id"] = 2**90
    people = opened(None, labels=[write(tmp_path, made)] * 2).people
    assert people.ids == [str(2**64 - 1), "b", "-5"]
    assert people.pictures == ["0.jpg", "1.jpg", "2.jpg"]


def test_declared_sizes(tmp_path) -> None:
    made = content()
    made["images"][1] |= {"width": 160, "height": 120.0}
    made["images"][2] |= {"width": 160, "height": None}
    file = Path(write(tmp_path, made))
    assert declared_sizes(file) == {"1.jpg": (160, 120)}
    assert declared_sizes(file, "below") == {"below/1.jpg": (160, 120)}
    made["images"][1]["width"] = "wide"
    write(tmp_path, made)
    with pytest.raises(ValueError, match="image 1: width and height is 'wide'"):
        declared_sizes(file)


def test_optional_fields_that_some_lack(tmp_path) -> None:
    _, made = write_hands(tmp_path)
    del made["images"][0]["cam_param"]
    made["annotations"][1]["joint_cam"][3][2] = math.nan
    with pytest.warns(UserWarning, match="1 of 4 annotations, the first 11, have no finite joint_cam"):
        data = open_one(tmp_path, made)
    assert data[0].points is None
    assert not data[0].camera.any()
    assert data[1].camera.any()
    made["annotations"][2].pop("hand_type")
    made["annotations"][1]["joint_cam"][3][2] = 500
    with pytest.raises(ValueError, match="annotation 12: hand_type or is_left is missing"):
        open_one(tmp_path, made)
    for row in made["annotations"]:
        row.pop("hand_type", None)
    assert open_one(tmp_path, made).people.mirrored is None
    made["categories"][0]["is_left"] = False
    assert open_one(tmp_path, made).people.mirrored.all()


def change(*path, to):
    """What sets one value deep in a label file; `to` of KeyError removes it."""

    def spoil(made):
        *way, last = path
        for key in way:
            made = made[key]
        if to is KeyError:
            del made[last]
        else:
            made[last] = to

    return spoil


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (change("images", to=KeyError), "images is missing"),
        (change("annotations", to={}), "annotations is {}"),
        (change("categories", to=5), "categories is 5"),
        (change("categories", 0, "id", to=KeyError), "category 0: id is missing"),
        (change("categories", 0, "keypoints", to=KeyError), "set skeleton to"),
        (change("categories", 0, "keypoints", to=["a"] * 17), "different names"),
        (change("images", 1, to="x"), "image 1: the image is 'x'"),
        (change("images", 1, "id", to=0), "image 1: id is 0 again, expected an id of its own"),
        (change("images", 1, "id", to=[1]), "image 1: id"),
        (change("images", 1, "file_name", to=KeyError), "image 1: file_name is missing"),
        (change("images", 1, "file_name", to="a/../1.jpg"), r"without \.\."),
        (change("images", 1, "vid_id", to={}), "video's id is {}"),
        (change("images", 1, "cam_param", to=3), "cam_param is 3"),
        (change("images", 1, "cam_param", to={"focal": [0, 1], "princpt": [1, 1]}), "lengths above 0"),
        (change("annotations", 1, to=7), "annotation 1: the annotation is 7"),
        (change("annotations", 1, "id", to=1.5), "annotation 1: id is 1.5"),
        (change("annotations", 1, "image_id", to=KeyError), "annotation 11: image_id is missing"),
        (change("annotations", 1, "category_id", to=9), "category_id is 9"),
        (change("annotations", 1, "keypoints", to=[1, 2, 2]), "3 numbers.* 17 keypoints of coco17"),
        (change("annotations", 1, "keypoints", to="x"), "annotation 11: keypoints is 'x'"),
        (change("annotations", 1, "keypoints", to=[[1, 2, 2]] * 16), "48 numbers"),
        (change("annotations", 1, "keypoints", 5, to=0.9), "v in keypoints"),
        (change("annotations", 1, "keypoints", 4, to=10**400), "annotation 11: keypoints"),
        (change("annotations", 1, "bbox", to=[1, 2, 3]), "annotation 11: bbox"),
        (change("annotations", 1, "bbox", to=[1, 2, 3, 1e99]), "annotation 11: bbox"),
        (change("annotations", 1, "iscrowd", to="no"), "iscrowd is 'no'"),
        (change("annotations", 1, "hand_type", to="both"), "hand_type is 'both'"),
        (change("annotations", 1, "is_left", to=[0]), "is_left"),
        (change("annotations", to=[]), "no usable sample"),
    ],
)
def test_bad_files(tmp_path, spoil, match) -> None:
    made = content()
    file = write(tmp_path, made)
    spoil(made)
    write(tmp_path, made, pictures=False)
    with pytest.raises(ValueError, match=match):
        opened(file, "train", block=1)


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b'{"images": "\xff"}', b"[" * 100000, b"null"])
def test_no_label_file_at_all(tmp_path, raw) -> None:
    (tmp_path / "x.json").write_bytes(raw)
    with pytest.raises(ValueError, match=r"x.json: the content"):
        opened(str(tmp_path), "train", block=1)


SAMPLES = {  # keypoints, people, skeleton; and the folder below which the pictures lie
    "mmpose_samples/coco/test_coco.json": (17, 12, "coco17", "."),
    "mmpose_samples/crowdpose/test_crowdpose.json": (14, 4, "person14", "."),
    "mmpose_samples/freihand/test_freihand.json": (21, 8, "hand21", "."),
    "mmpose_samples/h36m/h36m_coco.json": (17, 4, "person17", None),
    "mmpose_samples/jhmdb/test_jhmdb_sub1.json": (15, 3, "person15", "."),
    "mmpose_samples/onehand10k/test_onehand10k.json": (21, 4, "hand21", "."),
    "mmpose_samples/panoptic/test_panoptic.json": (21, 4, "hand21", "."),
    "mmpose_samples/rhd/test_rhd.json": (21, 3, "hand21", "."),
    "mmpose_samples/posetrack18/annotations/test_posetrack18_val.json": (17, 14, "person17", ".."),
    "mmpose_samples/mpii/test_mpii_trb.json": (40, 5, "person40", "."),
    "body_studio_coco17/annotations/person_keypoints_train.json": (17, 300, "coco17", "../images"),
    "hand_cmu_panoptic_labels/annotations/panoptic_test_first600.json": (21, 600, "hand21", None),
}


@pytest.mark.parametrize("name", SAMPLES, ids=[name.split("/")[-1] for name in SAMPLES])
def test_real_samples(shared, name) -> None:
    keypoints, count, skeleton, pictures = SAMPLES[name]
    file = shared / "data" / name
    if "crowdpose" in name:  # its edges are COCO's, of which it has not all keypoints
        with pytest.warns(UserWarning, match="outside 1 to 14"):
            people, _ = read_coco(file, None, 1)
        assert "left_hip" in {people.skeleton.keypoints[a] for a, _ in people.skeleton.edges}
    else:
        people, _ = read_coco(file, None, 1)
    assert (len(people.skeleton), len(people), people.skeleton.name) == (keypoints, count, skeleton)
    fingers = [text.split()[0] for text in order_doubts(people)]
    assert fingers == (list(FINGERS) if "rhd" in name else [])
    if people.boxes is not None:  # most joints lie in the box
        inside = (people.keypoints > people.boxes[:, None, :2] - 5) & (people.keypoints < people.boxes[:, None, 2:] + 5)
        assert inside.all(-1)[people.annotated].mean() > 0.9
    if pictures is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [opened(str(file.parent / pictures), part, block=1, labels=str(file)) for part in ("train", "test")]
    assert sum(map(len, parts)) == count
    assert not set(parts[0].people.pictures) & set(parts[1].people.pictures)
    for data in parts:
        item = data[0]
        known = item.keypoints[item.annotated]
        assert (known < np.array(item.image.shape[1::-1]) + 60).all()


def test_the_sample_with_cameras_projects(shared) -> None:
    people, _ = read_coco(shared / "data/mmpose_samples/rhd/test_rhd.json", None, 1)
    assert people.mirrored.tolist() == [False, False, True]
    assert np.abs(project(people.points, people.camera) - people.keypoints).max() < 0.5


@pytest.mark.parametrize(
    ("name", "skeleton"),
    [
        ("h36m/test_h36m_body3d.npz", "h36m17"),
        ("mpi_inf_3dhp/test_3dhp_train.npz", "mpi_inf_3dhp17"),
        ("mpi_inf_3dhp/test_3dhp_test.npz", "mpi_inf_3dhp17"),
    ],
)
def test_spin_files(shared, name, skeleton) -> None:
    file = shared / "data/mmpose_samples" / name
    people, _ = read_spin(file, skeleton_of(skeleton), 1)
    assert order_doubts(people) == []
    place = people.skeleton.keypoints.index
    hips = np.linalg.norm(people.points[:, place("left_hip")] - people.points[:, place("right_hip")], axis=-1)
    assert ((hips > 180) & (hips < 340)).all()  # mm
    assert ((people.keypoints > people.boxes[:, None, :2]) & (people.keypoints < people.boxes[:, None, 2:])).all()
    with pytest.raises(
        ValueError, match="does not name its 17 keypoints: set skeleton to a YAML file or to coco17, h36m17"
    ):
        opened(str(file.parent), "train", block=1, labels=str(file))
    if "h36m" in name:
        parts = [opened(str(file.parent), p, block=1, labels=str(file), skeleton=skeleton) for p in ("train", "test")]
        assert [len(part) for part in parts] == [3, 1]
        item = parts[1][0]
        assert item.image.shape[1] == 1000
        np.testing.assert_allclose(item.box, parts[1].people.boxes[0])  # their boxes have their margin


def spin(**changed):
    plain = {
        "imgname": np.array(["a.jpg", "b.jpg"]),
        "center": np.full((2, 2), 50.0),
        "scale": np.full(2, 0.5),
        "part": np.ones((2, 17, 3)),
        "S": np.ones((2, 17, 4)),
    }
    return {key: value for key, value in {**plain, **changed}.items() if value is not None}


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"part": None}, "part is missing"),
        ({"part": np.ones((2, 16, 3))}, r"of shape \(2, 16, 3\)"),
        ({"part": np.ones(2)}, r"of shape \(2,\)"),
        ({"imgname": np.array([1, 2])}, "list of names"),
        ({"imgname": np.array(["a.jpg", "/etc/b.jpg"])}, "row 1: imgname"),
        ({"imgname": np.array(["a.jpg", {}], object)}, "a .npz of arrays"),
        ({"center": np.full((2, 2), np.nan)}, "center"),
        ({"scale": np.zeros(2)}, "0: the box"),
        ({"S": np.ones((2, 17, 3))}, r"S is of shape \(2, 17, 3\)"),
        ({"S": np.full((2, 17, 4), 9e5)}, "finite pixels and mm"),
        ({"part": np.zeros((2, 17, 3))}, "no usable sample"),
    ],
)
def test_bad_spin_files(tmp_path, changed, match) -> None:
    np.savez(tmp_path / "x.npz", **spin(**changed))
    with pytest.raises(ValueError, match=match):
        opened(str(tmp_path / "x.npz"), "train", block=1, skeleton="h36m17")


def test_spin_without_all_points(tmp_path) -> None:
    np.savez(tmp_path / "x.npz", **spin(S=np.concatenate([np.ones((2, 17, 3)), np.zeros((2, 17, 1))], -1)))
    with pytest.warns(UserWarning, match="3D is left out"):
        people, _ = read_spin(tmp_path / "x.npz", H36M17, 1)
    assert people.points is None


@pytest.mark.parametrize("change", [str.upper, lambda name: name.rpartition(".")[0], lambda name: f" {name}"])
def test_names_that_nearly_are_those_of_the_pictures(tmp_path, change) -> None:
    made = content()
    file = Path(write(tmp_path, made))
    for image in made["images"]:
        folder, slash, name = image["file_name"].rpartition("/")
        image["file_name"] = folder + slash + change(name)
    file.write_text(json.dumps(made))
    with pytest.raises(ValueError, match="differ by case, ending or blanks"):
        opened(None, "train", block=1, labels=str(file))
