import pickle

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.depth.center import NoCenter, UnusableDepth, check_center, find_center
from keyshift.datasets.own.depth_folder import DepthFolder, Options
from keyshift.datasets.reading.images import UnreadableImage
from keyshift.datasets.skeleton import Skeleton

PAIR = Skeleton("pair", ("tip", "root"), edges=((0, 1),))
LINES = {"fx": 100.0, "fy": 110.0, "cx": 31.5, "cy": 23.5, "unit": "mm", "cube": 250}


def opened(root, part="train", **options):
    return DepthFolder(Options(root=str(root), **options), part, PAIR)


def frame(number=0):
    """(48, 64) whole mm: a disc of 9 pixels around (20 + number % 20, 24) at 600 mm before a wall at 1500 mm."""
    yy, xx = np.mgrid[:48, :64]
    return np.where((xx - 20 - number % 20) ** 2 + (yy - 24) ** 2 < 81, 600, 1500).astype(np.uint16)


def write_camera(root, **changes):
    root.mkdir(parents=True, exist_ok=True)
    lines = {key: value for key, value in (LINES | changes).items() if value is not None}
    (root / "camera.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))


def write_set(root, names=("a.png",), make=frame, **changes):
    write_camera(root, **changes)
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            Image.fromarray(make(number)).save(path)
        else:
            np.save(path, make(number))
    return root


def numbered(count, folder=""):
    return [f"{folder}{i}.npy" for i in range(count)]


def test_an_item(tmp_path):
    item = opened(write_set(tmp_path, ["hands/left/a.png"]))[0]
    assert item.image.dtype == np.float32
    np.testing.assert_array_equal(item.image, frame().astype(np.float32))
    # OpenCV's (20, 24) is our (20.5, 24.5), its principal point (31.5, 23.5) our (32, 24)
    np.testing.assert_allclose(item.camera, [100, 110, 32, 24])
    np.testing.assert_allclose(item.center, [20.5, 24.5, 600], atol=1e-3)
    np.testing.assert_allclose(item.cube, [250, 250, 250])
    half = np.array([125 * 100 / 600, 125 * 110 / 600])
    np.testing.assert_allclose(item.box, [*(item.center[:2] - half), *(item.center[:2] + half)])
    check_center(item.center, item.cube, item.camera, item.image.shape, item.image, item.id)
    assert (item.id, item.sequence, item.frame, item.points) == ("hands/left/a.png", "hands/left/000", 0, None)
    assert not item.annotated.any()
    assert not item.visible.any()
    np.testing.assert_array_equal(item.keypoints, np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("name", "make", "unit"),
    [
        ("a.png", frame, "mm"),
        ("a.npy", frame, "mm"),
        ("a.NPY", lambda i: frame(i).astype(np.float32), "mm"),
        ("a.npy", lambda i: frame(i).astype(">f8"), "mm"),
        ("a.npy", lambda i: (frame(i) / 1000).astype(np.float32), "m"),
        ("a.npy", lambda i: frame(i) / 1000, "m"),
    ],
)
def test_every_way_to_store_a_frame_reads_the_same(tmp_path, name, make, unit):
    write_camera(tmp_path, unit=unit)
    with (tmp_path / name).open("wb") as file:
        np.save(file, make(0)) if name != "a.png" else Image.fromarray(make(0)).save(file, "PNG")
    image = opened(tmp_path)[0].image
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, frame(), atol=1e-3)


@pytest.mark.parametrize(
    ("unit", "steps"), [(0.25, 4), ("0.2 mm", 5), (0.1, 10), ("cm", 0.1), ("um", 1000), (1, 1), ("metres", 0.001)]
)
def test_a_step_of_the_files_in_any_unit(tmp_path, unit, steps):
    write_set(tmp_path, ["a.npy"], lambda i: frame(i) * np.float32(steps), unit=unit)
    item = opened(tmp_path)[0]
    np.testing.assert_allclose(item.image, frame(), rtol=1e-6)
    np.testing.assert_allclose(item.center, [20.5, 24.5, 600], atol=1e-3)


@pytest.mark.parametrize(
    ("steps", "unit", "match"),
    [
        (4, "mm", r"says unit: mm, the likely cause .* unit: 0\.25 \(RealSense L515: 600 to 1500 mm\).*near and far"),
        (5, "mm", r"0\.2 \(TUM RGB-D, 5000 a metre: 600 to 1500 mm\)"),
        (10, "mm", r"0\.1 \(RealSense D405, 10000 a metre: 600 to 1500 mm\)"),
        (1, 0.1, r"between 60 and 150 mm\. camera.yaml says unit: 0\.1, .* in range would be unit: mm \("),
    ],
)
def test_returns_out_of_range_name_the_unit_before_near_and_far(tmp_path, steps, unit, match):
    write_set(tmp_path, make=lambda i: frame(i) * np.uint16(steps), unit=unit, near=200)
    with pytest.raises(NoCenter, match=match):
        opened(tmp_path)[0]


def test_other_causes_are_named_where_returns_are_in_range(tmp_path):
    write_set(tmp_path, make=lambda _: np.pad(np.full((2, 2), 500, np.uint16), 20))
    with pytest.raises(NoCenter, match=r"between 500 and 500 mm\. Set near and far, or give") as caught:
        opened(tmp_path)[0]
    assert "unit:" not in str(caught.value)
    write_camera(tmp_path, fx=900, fy=900, cx=320, cy=240)
    with pytest.raises(NoCenter, match=r"camera\.yaml: the principal point \(320, 240\) is outside"):
        opened(tmp_path)[0]


def test_a_centre_in_another_unit_names_it(tmp_path):
    (tmp_path / "centers.csv").write_text("file,x,y,z\na.png,20,24,600\n")
    data = opened(write_set(tmp_path, make=lambda i: frame(i) * np.uint16(4), centers="centers.csv"))
    with pytest.raises(
        UnusableDepth, match=r"a\.png: nothing returned from within the cube .* with unit: 0\.25 the two"
    ):
        data[0]


def test_pixel_centers_of_the_calibration(tmp_path):
    (tmp_path / "centers.csv").write_text("file,x,y,z\na.png,20,24,600\n")
    corner = opened(write_set(tmp_path, pixel_centers=0.5, centers="centers.csv"))[0]
    np.testing.assert_allclose(corner.camera, [100, 110, 31.5, 23.5])
    np.testing.assert_allclose(corner.center, [20, 24, 600])
    opencv = opened(write_set(tmp_path, centers="centers.csv"))[0]
    np.testing.assert_allclose(opencv.center, [20.5, 24.5, 600])
    # the same point in space either way
    for a, b in ((corner, opencv),):
        np.testing.assert_allclose(a.center[:2] - a.camera[2:], b.center[:2] - b.camera[2:])


def test_missing_returns_of_float_frames(tmp_path):
    def holes(number):
        depth = frame(number).astype(np.float32)
        depth[0, :3] = np.nan, np.inf, -np.inf
        return depth

    image = opened(write_set(tmp_path, ["a.npy"], holes))[0].image
    assert image[0, :3].tolist() == [0, 0, 0]
    assert (image.ravel()[3:] == frame().ravel()[3:]).all()


def test_nested_folders_are_sequences_in_order_of_their_numbers(tmp_path):
    names = ["b/10.npy", "b/9.png", "b/c/2.npy", "b/c/x.png", "top.png", "a b/frame_2.npy", "a b/frame_10.npy"]
    write_set(tmp_path, names)
    (tmp_path / "b/notes.txt").write_text("not a frame")
    data, held = opened(tmp_path), opened(tmp_path, "test")
    assert held.files == ["a b/frame_2.npy", "a b/frame_10.npy"], "a folder is held out as a whole"
    order = ["top.png", "b/9.png", "b/10.npy", "b/c/2.npy", "b/c/x.png"]
    items = [data[i] for i in range(len(data))]
    assert [item.id for item in items] == order
    assert [item.frame for item in items] == [0, 0, 1, 0, 1]
    assert [item.sequence for item in items] == ["./000", *["b/000"] * 2, *["b/c/000"] * 2]
    for item in items:
        assert item.center[0] == pytest.approx(20.5 + names.index(item.id), abs=1e-3)


def test_splits_are_blocks_of_frames(tmp_path):
    write_set(tmp_path, [*numbered(45, "a/"), *numbered(5, "b/")])
    train, test = (opened(tmp_path, part) for part in ("train", "test"))
    assert [train.frames[i] for i in range(len(train))] == [*range(20), *range(40, 45), *range(5)]
    assert test.files == [f"a/{i}.npy" for i in range(20, 40)]
    assert sorted(train.files + test.files) == sorted([*numbered(45, "a/"), *numbered(5, "b/")])
    of_train, of_test = ({data[i].sequence for i in range(len(data))} for data in (train, test))
    assert of_train == {"a/000", "a/002", "b/000"}
    assert of_test == {"a/001"}
    assert (train.name, test.name) == ("depth_folder.train", "depth_folder.test")


def test_frames_too_few_for_blocks_are_held_out_by_folder_or_at_the_end(tmp_path):
    write_set(tmp_path / "two", [*numbered(15, "a/"), *numbered(20, "b/")])
    assert opened(tmp_path / "two", "train").files == numbered(15, "a/")
    assert opened(tmp_path / "two", "test").files == numbered(20, "b/")
    assert len(opened(tmp_path / "two", "test", block=15)) == 5
    for count, held in ((2, 1), (8, 2), (20, 4)):
        write_set(tmp_path / f"{count}", numbered(count, ""))
        assert opened(tmp_path / f"{count}", "train").files == numbered(count, "")[: count - held]
        assert opened(tmp_path / f"{count}", "test").files == numbered(count, "")[count - held :]
    write_set(tmp_path / "one", numbered(1, ""))
    assert opened(tmp_path / "one", "train").files == opened(tmp_path / "one", "test").files == numbered(1, "")


def test_boxes_say_where_to_look(tmp_path):
    def two(_):
        depth = frame(0)
        depth[10:20, 45:60] = 800
        return depth

    # OpenCV's columns 45 to 59 and rows 10 to 19
    (tmp_path / "boxes.csv").write_text("file,left,top,right,bottom\r\na.png,45,10,60,20\r\n")
    with_box = opened(write_set(tmp_path, ["a.png"], two, boxes="boxes.csv"))
    np.testing.assert_allclose(with_box[0].center, [52.5, 15, 800], atol=0.2)
    assert opened(write_set(tmp_path, ["a.png"], two))[0].center[2] == pytest.approx(600)


def test_centres_come_from_the_file_the_argument_or_the_frame(tmp_path):
    (tmp_path / "centers.csv").write_text("\ufefffile, x, y, z\n\na.png, 22, 25, 610\n", encoding="utf-8")
    other = tmp_path / "others" / "list.csv"
    other.parent.mkdir()
    other.write_text("file,x,y,z\na.png,19,23,590\n")
    root = write_set(tmp_path / "set")
    (tmp_path / "centers.csv").rename(root / "centers.csv")
    write_camera(root, centers="centers.csv")
    made = [opened(root, centers=source) for source in (None, str(other), "threshold")]
    np.testing.assert_allclose(made[0][0].center, [22.5, 25.5, 610])
    np.testing.assert_allclose(made[1][0].center, [19.5, 23.5, 590])
    np.testing.assert_allclose(
        made[2][0].center, find_center(frame().astype(np.float32), made[2].setup.camera, 250.0), atol=1e-9
    )
    assert len({str(data.identity) for data in made}) == 3


def test_near_and_far(tmp_path):
    write_set(tmp_path, near=700)
    assert opened(tmp_path)[0].center[2] == pytest.approx(1500)
    write_camera(tmp_path, near=100)
    assert opened(tmp_path)[0].center[2] == pytest.approx(600)
    write_camera(tmp_path, near=200, far=500)
    with pytest.raises(NoCenter, match=r"a\.png: nothing .* 200 and 500 mm: returns lie between 600 and 1500"):
        opened(tmp_path)[0]


def test_labels_are_for_the_report(tmp_path):
    table = "file,tip_x,tip_y,tip_z,root_x,root_y,root_z\nb.npy,10,20,500,,,\na.png,11,21,510,12,22,520\n"
    root = write_set(tmp_path, ["a.png", "b.npy", "c.npy", "d.npy"], labels="labels.csv", cube="[200, 210, 220]")
    (root / "labels.csv").write_text(table)
    data = opened(root)
    np.testing.assert_allclose(data[0].keypoints, [[11.5, 21.5, 510], [12.5, 22.5, 520]])
    np.testing.assert_allclose(data[0].points[0], [(11.5 - 32) / 100 * 510, (21.5 - 24) / 110 * 510, 510])
    assert [data[i].annotated.tolist() for i in range(3)] == [[True, True], [True, False], [False, False]]
    assert all(np.isfinite([*data[i].keypoints.ravel(), *data[i].points.ravel()]).all() for i in range(3))
    np.testing.assert_allclose(data[1].cube, [200, 210, 220])
    np.testing.assert_allclose(data[0].center[:2], [20.5, 24.5], atol=1e-3)  # not from the labels


def test_identity_follows_the_content(tmp_path):
    write_set(tmp_path, numbered(4))
    first = opened(tmp_path)
    assert first.identity == pickle.loads(pickle.dumps(opened(tmp_path))).identity
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(again[2].image, first[2].image)
    np.save(tmp_path / "1.npy", frame(1) + np.uint16(1))
    assert opened(tmp_path).identity["sha256"] != first.identity["sha256"]
    write_camera(tmp_path, cube=300)
    assert opened(tmp_path).identity["sha256"] != first.identity["sha256"]
    with pytest.raises(IndexError):
        first[3]


def constant(value, kind):
    return lambda _: np.full((48, 64), value, kind)


@pytest.mark.parametrize(
    ("name", "make", "unit", "match"),
    [
        ("a.png", constant(0, np.uint16), "mm", "all are 0"),
        ("a.npy", constant(np.nan, np.float32), "mm", "all 3072 are NaN"),
        ("a.npy", constant(-5, np.float32), "mm", "down to -5; they must be positive"),
        (
            "a.npy",
            lambda i: frame(i) / 1000,
            "mm",
            r"below 1\.5 mm with unit: mm.* in range: unit: m \(.* 600 to 1500 mm",
        ),
        ("a.npy", constant(600.0, np.float32), "m", r"above 600 m with unit: m in camera.* in range: unit: mm \("),
        ("a.png", frame, 0.001, r"below 1\.5 mm with unit: um in .*mm in a step.* in range: unit: mm "),
        ("a.png", frame, 5000, r"cannot be metres \(unit: 5000\).* 0\.2 where 5000 steps are a metre"),
        ("a.png", frame, "m", "cannot be metres"),
        (
            "a.npy",
            lambda i: np.stack([frame(i)] * 3, -1),
            "mm",
            r"found \(48, 64, 3\) of uint16: colour, or points x y z",
        ),
        ("a.npy", lambda i: np.stack([frame(i)] * 4), "mm", r"found \(4, 48, 64\) of uint16: several frames"),
        ("a.npy", lambda i: frame(i) > 700, "mm", "found .* of bool"),
        ("a.npy", lambda _: np.zeros((0, 4), np.float32), "mm", r"found \(0, 4\)"),
        ("a.npy", lambda _: np.array([[{}]]), "mm", "Object arrays cannot be loaded"),
        (
            "a.png",
            lambda _: np.zeros((48, 64, 3), np.uint8),
            "mm",
            r"16-bit single-channel expected; found 3 x 8-bit \(RGB\)",
        ),
        ("a.png", constant(60, np.uint8), "mm", r"found 1 x 8-bit \(L\)"),
    ],
)
def test_frames_that_cannot_be_used_are_named(tmp_path, name, make, unit, match):
    data = opened(write_set(tmp_path, [f"deep/{name}"], make, unit=unit))
    with pytest.raises(UnusableDepth, match=f"deep/{name}.*{match}") as caught:
        data[0]
    assert isinstance(caught.value, UnreadableImage)


@pytest.mark.parametrize("name", ["a.png", "a.npy"])
def test_broken_files_are_named(tmp_path, name):
    path = write_set(tmp_path, [name]) / name
    path.write_bytes(path.read_bytes()[:100])
    data = opened(tmp_path)
    for content in (path.read_bytes(), b"", b"nonsense"):
        path.write_bytes(content)
        with pytest.raises(UnusableDepth, match=f"cannot read the depth .*{name}"):
            data[0]
    path.unlink()
    with pytest.raises(UnusableDepth, match=f"cannot read the depth .*{name}"):
        data[0]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"fx": None, "unit": None}, "camera.yaml: missing fx, unit"),
        ({"pixel_center": 0.5}, r"unknown key 'pixel_center' \(did you mean pixel_centers\?\)"),
        ({"units": "mm", "unit": None}, r"did you mean unit\?"),
        ({"qqq": 1}, "unknown key 'qqq'; known: fx"),
        ({"unit": "inch"}, r"camera\.yaml: unit='inch' must be mm, cm, m or um, or the mm in a step: 0\.25"),
        ({"unit": 0}, "unit=0 must be"),
        ({"unit": "[1]"}, r"unit=\[1\] must be"),
        ({"width": 64}, "width and height, .* stand together"),
        (
            {"width": 640, "height": 480},
            "is of 64 x 48, the calibration .* of 640 x 480. .* multiply .* by 0.1 and write",
        ),
        ({"width": 64, "height": 64}, "is of 64 x 48, .* of 64 x 64. Write the calibration of these frames"),
        ({"pixel_centers": 1}, "pixel_centers=1 must be"),
        ({"fx": -588}, "fx=-588 must be above 0"),
        ({"fy": -587.07}, r"fy=-587\.07 must be above 0 \(a minus in papers means y up: leave it out\)"),
        ({"fy": "wide"}, "fy='wide' is not a finite number"),
        ({"cx": ".nan"}, "cx=nan is not a finite number"),
        ({"cube": "[200, 200]"}, "one edge or three"),
        ({"cube": 0}, "cube=0 must be above 0"),
        ({"cube": "true"}, "cube=True is not a finite number"),
        ({"near": 900, "far": 800}, "near=900.0 and far=800.0"),
        ({"near": 0.1, "far": 2}, "far=2 is in mm, whatever the unit of the files; in metres, write 2000"),
        ({"cube": 0.25}, "cube=0.25 is in mm: the edge around a hand is about 250"),
        ({"boxes": "boxes.csv"}, r"boxes: there is no file .*boxes\.csv"),
        ({"centers": "../centers.csv"}, "leads out of the dataset's folder"),
        ({"labels": "/etc/passwd"}, "leads out of the dataset's folder"),
        ({"unit": "[mm"}, r"cannot read .*camera\.yaml"),
        ({"unit": "!!python/object/apply:os.getcwd []"}, r"cannot read .*camera\.yaml"),
    ],
)
def test_a_wrong_camera_is_named(tmp_path, changes, match):
    write_set(tmp_path / "set", **changes)
    (tmp_path / "centers.csv").write_text("file,x,y,z\na.png,1,1,1\n")
    with pytest.raises(ValueError, match=match):
        opened(tmp_path / "set")


def test_what_else_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no .*camera\.yaml: write one with fx, fy, cx, cy, unit, cube"):
        opened(tmp_path / "nowhere")
    write_camera(tmp_path)
    with pytest.raises(ValueError, match=r"no depth frame .*there is no other file"):
        opened(tmp_path)
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ValueError, match=r"no depth frame .*there is 1 \.jpg. Export raw depth as 16-bit grey PNG"):
        opened(tmp_path)
    write_set(tmp_path)
    with pytest.raises(ValueError, match="part='val'"):
        opened(tmp_path, "val")
    with pytest.raises(ValueError, match="block=0"):
        opened(tmp_path, block=0)
    with pytest.raises(ValueError, match="cannot read truth"):
        opened(tmp_path, centers="truth")
    (tmp_path / "camera.yaml").write_text("just words")
    with pytest.raises(ValueError, match=r"camera\.yaml: found str"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("kind", "text", "match"),
    [
        ("centers", "", r"centers\.csv, line 1: expected file,x,y,z; found nothing"),
        ("centers", "a.png,1,2,3\n", "line 1: expected file,x,y,z; found a.png,1,2,3"),
        ("centers", "file,x,y,z\na.png,1,2\n", r"centers\.csv, line 2: found 2 cells .*expected 3"),
        ("centers", "file,x,y,z\n\nb.png,1,2,3\na.png,1,two,3\n", "line 4: could not convert.*'two'"),
        ("centers", "file,x,y,z\na.png,1,2,0\n", "line 2: x,y,z = 1,2,0; expected"),
        ("centers", "file,x,y,z\na.png,1,nan,600\n", "line 2: x,y,z = 1,nan,600"),
        ("centers", "file,x,y,z\na.png,1,,600\n", "line 2: x,y,z = 1,,600; expected 3 finite"),
        ("centers", "file,x,y,z\naa.png,1,2,600\n", r"line 2: no frame 'aa\.png', did you mean a\.png\?"),
        ("centers", "file,x,y,z\na.png,1,2,600\na.png,1,2,600\n", r"line 3: a second line for a\.png"),
        ("centers", "file,x,y,z\na.png,1,2,600\n", r"no line for 1 of 1 frames, the first b\.png"),
        ("centers", "file,x,y,z\n../a.png,1,2,600\n", "line 2: .* leads out"),
        ("centers", "file,x,y,z\n/a.png,1,2,600\n", "line 2: .* leads out"),
        ("centers", 'file,x,y,z\n"a.png,1,2,600\n', r"cannot read .*centers\.csv"),
        ("centers", b"file,x,y,z\n\xff\xfe,1,2,3\n", r"cannot read .*centers\.csv"),
        ("boxes", "file,left,top,right,bottom\na.png,5,5,5,9\n", r"boxes\.csv, line 2: .*right > left"),
        ("boxes", "file,left,top,right,bottom\na.png,5,9,6,8\n", "bottom > top"),
        ("boxes", "file,left,top,right,bottom\na.png,5,1,inf,8\n", "4 finite numbers"),
        ("labels", "file,root_x,root_y,root_z,tip_x,tip_y,tip_z\n", "expected file,tip_x,tip_y,tip_z,root_x"),
        (
            "labels",
            "file,tip_x,tip_y,tip_z,root_x,root_y,root_z\na.png,1,2,600,1,2,\n",
            r"labels\.csv, line 2: root_x,root_y,root_z = 1,2,; expected 3 finite numbers",
        ),
    ],
)
def test_a_wrong_table_is_named(tmp_path, kind, text, match):
    root = write_set(tmp_path, ["a.png", "b.png"], **{kind: f"{kind}.csv"})
    (root / f"{kind}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=match):
        opened(root), opened(root, "test")


@pytest.mark.parametrize(
    ("kind", "text", "match"),
    [
        ("centers", "file,x,y,z\na.png,,,\nb.png,20,24,600\n", "a.png: its centre .* is empty"),
        (
            "boxes",
            "file,left,top,right,bottom\na.png,,,,\nb.png,0,0,64,48\n",
            "a.png: its box .* is empty",
        ),
        ("boxes", "file,left,top,right,bottom\na.png,90,0,95,9\nb.png,0,0,64,48\n", "a.png: no depth was returned in"),
    ],
)
def test_a_frame_where_nothing_is_is_unusable(tmp_path, kind, text, match):
    root = write_set(tmp_path, ["a.png", "b.png"], **{kind: f"{kind}.csv"})
    (root / f"{kind}.csv").write_text(text)
    data = opened(root)
    with pytest.raises(UnusableDepth, match=match):
        data[0]
    assert opened(root, "test")[0].center[2] == pytest.approx(600)
