"""DeepLabCut's and Lightning Pose's CSV, in the layouts and spellings that they and their users' editors write."""

import json
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from keyshift.datasets.own.deeplabcut import Options, deeplabcut, read_sheet
from keyshift.datasets.own.labels import Options as CocoOptions
from keyshift.datasets.own.labels import coco_json
from keyshift.datasets.reading.annotations import BadAnnotation

HEADER = ["scorer,Ann,Ann,Ann,Ann", "bodyparts,nose,nose,tail,tail", "coords,x,y,x,y"]


def picture(path, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 20, 30)).save(path)


def rows(clip, count, name="labeled-data/{clip}/img{n}.png"):
    return [f"{name.format(clip=clip, n=n)},{n + 1}.25,2,{',' if n == 1 else '20,18'}" for n in range(count)]


def project(root, clips=("one", "two"), count=2, file="CollectedData_Ann.csv", lines=None):
    """PROJECT/labeled-data/CLIP/FILE with its pictures."""
    for clip in clips:
        for n in range(count):
            picture(root / f"labeled-data/{clip}/img{n}.png")
        text = "\n".join([*HEADER, *(rows(clip, count) if lines is None else lines)])
        (root / f"labeled-data/{clip}/{file}").write_text(text)
    return root


def both(**options):
    return [deeplabcut(Options(**options), part) for part in ("train", "test")]


def keypoints(*sets):
    return {one.people.pictures[i]: one[i].keypoints.tolist() for one in sets for i in range(len(one))}


def test_a_project_is_read_from_its_folder(tmp_path):
    project(tmp_path)
    (tmp_path / "config.yaml").write_text("scorer: Ann\nskeleton:\n- [nose, tail]\n- [nose, other]\n- nose\n")
    train, test = both(root=str(tmp_path))
    assert train.people.pictures == ["labeled-data/one/img0.png", "labeled-data/one/img1.png"]
    assert set(test.people.sequences) == {"labeled-data/two"}
    item = train[0]
    np.testing.assert_array_equal(item.keypoints, [[1.75, 2.5], [20.5, 18.5]])  # indices of pixels: +0.5
    np.testing.assert_array_equal(train[1].annotated, [True, False])
    assert train.skeleton.keypoints == ("nose", "tail")
    assert train.skeleton.edges == ((0, 1),)
    assert train.cut == "whole", "which leaks nothing"
    assert keypoints(*both(root=str(tmp_path / "config.yaml"))) == keypoints(train, test)


SPELLINGS = {
    "backslashes": lambda lines: [line.replace("labeled-data/one/", "labeled-data\\one\\") for line in lines],
    "three columns": lambda lines: (
        [line.replace(",", ",,,", 1) for line in lines[:3]] + [line.replace("/", ",") for line in lines[3:]]
    ),
    "only the file name": lambda lines: [line.replace("labeled-data/one/", "") for line in lines],
    "another machine": lambda lines: [line.replace("labeled-data/", "C:\\x\\proj\\labeled-data\\") for line in lines],
    "absolute": lambda lines: [line.replace("labeled-data/", "/home/ann/proj/labeled-data/") for line in lines],
    "up and down": lambda lines: [line.replace("labeled-data/", "../proj/labeled-data/") for line in lines],
    "a renamed folder": lambda lines: [line.replace("/one/", "/first/") for line in lines],
    "semicolons": lambda lines: [line.replace(",", ";") for line in lines],
    "semicolons and decimal commas": lambda lines: [line.replace(",", ";").replace(".25", ",25") for line in lines],
    "tabs": lambda lines: [line.replace(",", "\t") for line in lines],
    "quotes": lambda lines: [",".join(f'"{cell}"' for cell in line.split(",")) for line in lines],
    "NaN": lambda lines: [line.replace(",,", ",NaN,nan") for line in lines],
    "blank lines": lambda lines: [*lines[:3], "", *lines[3:], ",,,,", ""],
    "likelihood": lambda lines: [
        "scorer" + ",Ann" * 6,
        "bodyparts,nose,nose,nose,tail,tail,tail",
        "coords,x,y,likelihood,x,y,likelihood",
        *(",".join([*cells[:3], "0.9", *cells[3:], "0.1"]) for cells in (line.split(",") for line in lines[3:])),
    ],
    "columns in another order": lambda lines: [
        *("scorer,Ann,Ann,Ann,Ann", "bodyparts,nose,tail,tail,nose", "coords,y,x,y,x"),
        *(",".join([name, b, c, d, a]) for name, a, b, c, d in (line.split(",") for line in lines[3:])),
    ],
}


@pytest.mark.filterwarnings("ignore:.*taken for labels")
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_one_content_in_many_spellings(tmp_path, spelling, ending):
    project(tmp_path, ["one"], count=3)
    file = tmp_path / "labeled-data/one/CollectedData_Ann.csv"
    plain = keypoints(*both(root=str(tmp_path), block=1))
    lines = SPELLINGS[spelling](file.read_text().splitlines())
    file.write_bytes(b"\xef\xbb\xbf" * (ending == "\r\n") + ending.join(lines).encode())
    assert len(plain) == 3
    assert keypoints(*both(root=str(tmp_path), block=1)) == plain
    assert keypoints(*both(labels=str(file), block=1)) == plain, "the project is found from the file"


def test_lightning_pose_names_pictures_below_the_project(tmp_path):
    lines = [*HEADER, *rows("one", 3), *rows("two", 3)]
    for clip in ("one", "two"):
        for n in range(3):
            picture(tmp_path / f"labeled-data/{clip}/img{n}.png")
    (tmp_path / "CollectedData.csv").write_text("\n".join(lines))
    (tmp_path / "CollectedData_new.csv").write_text("\n".join([*HEADER, *rows("two", 3)]))
    train, test = both(root=str(tmp_path))
    assert (len(train), len(test)) == (3, 3)
    train, test = both(labels=[str(tmp_path / name) for name in ("CollectedData.csv", "CollectedData_new.csv")])
    assert (len(train), len(test)) == (6, 3)


def test_animals_are_rows_and_points_of_none_are_left_out(tmp_path):
    lines = ["scorer,,,A,A,A,A,A,A", "individuals,,,m1,m1,m2,m2,single,single"]
    lines += ["bodyparts,,,nose,nose,nose,nose,ball,ball", "coords,,,x,y,x,y,x,y"]
    lines += ["labeled-data,one,img0.png,1,2,3,4,5,6", "labeled-data,one,img1.png,,,7,8,,"]
    (project(tmp_path, ["one"]) / "labeled-data/one/CollectedData_Ann.csv").write_text("\n".join(lines))
    with pytest.warns(UserWarning, match="2 columns of points that belong to no animal"):
        train, test = both(root=str(tmp_path), block=1)
    assert train.people.ids == ["labeled-data/one/img0.png:m1", "labeled-data/one/img0.png:m2"]
    assert test.people.ids == ["labeled-data/one/img1.png:m2"]
    assert train.skeleton.keypoints == ("nose",)
    assert train.cut == "truth", "a picture of several cannot be cut whole"


def test_files_of_a_project_need_not_have_the_same_columns(tmp_path):
    project(tmp_path)
    lines = ["scorer,Ann,Ann,Ann,Ann", "bodyparts,ear,ear,nose,nose", "coords,x,y,x,y"]
    lines += [f"labeled-data/two/img{n}.png,7,8,9,10" for n in range(2)]
    (tmp_path / "labeled-data/two/CollectedData_Ann.csv").write_text("\n".join(lines))
    train, test = both(root=str(tmp_path))
    assert train.skeleton.keypoints == ("nose", "tail", "ear")
    assert test[0].keypoints.tolist() == [[9.5, 10.5], [0, 0], [7.5, 8.5]]


def test_the_scorer_of_the_project_is_read(tmp_path):
    project(tmp_path)
    shutil.copy(tmp_path / "labeled-data/one/CollectedData_Ann.csv", tmp_path / "labeled-data/one/CollectedData_Bo.csv")
    with pytest.raises(ValueError, match=r"several CSVs: CollectedData_Ann\.csv, CollectedData_Bo\.csv\. Name yours"):
        both(root=str(tmp_path))
    (tmp_path / "config.yaml").write_text("scorer: Bo\n")
    assert len(both(root=str(tmp_path))[0]) == 2
    (tmp_path / "config.yaml").write_bytes(b"scorer: B\xf6\n")
    with pytest.warns(UserWarning, match="it is not looked at"), pytest.raises(ValueError, match="several CSVs"):
        both(root=str(tmp_path))


def test_a_picture_that_stands_twice_is_one(tmp_path):
    project(tmp_path)
    file = tmp_path / "labeled-data/one/CollectedData_Ann.csv"
    file.write_text("\n".join([*file.read_text().splitlines(), "labeled-data/one/img0.png,9,9,9,9"]))
    with pytest.warns(UserWarning, match="1 rows stand twice, labeled-data/one/img0.png first"):
        train, _ = both(root=str(tmp_path))
    assert train[0].keypoints[0].tolist() == [1.75, 2.5]


def test_numbered_rows_are_frames_of_the_video_of_that_name(tmp_path):
    lines = [*HEADER, *(f"{n},1,2,3,4" for n in range(4))]
    for name in ("clipDLC_resnet50.csv", "other.csv"):
        (tmp_path / name).write_text("\n".join(lines))
    (tmp_path / "clip.mp4").write_bytes(b"a video that is not looked at here")
    train, test = both(labels=str(tmp_path / "clipDLC_resnet50.csv"), block=2)
    assert train.people.pictures == ["clip.mp4#0", "clip.mp4#1"]
    assert test.people.pictures == ["clip.mp4#2", "clip.mp4#3"]
    with pytest.raises(BadAnnotation, match=r"first column is numbers of frames, expected the names of pictures, or"):
        both(labels=str(tmp_path / "other.csv"), block=2)
    (tmp_path / "videos").mkdir()
    (tmp_path / "clip.mp4").rename(tmp_path / "videos/clip.mp4")
    assert both(labels=str(tmp_path / "clipDLC_resnet50.csv"), block=2)[0].people.pictures[0] == "videos/clip.mp4#0"


def test_a_skeleton_is_paired_by_name_or_else_by_place(tmp_path):
    project(tmp_path / "p")
    (tmp_path / "s.yaml").write_text("keypoints: [tail, nose]\nflip_pairs: []\n")
    train, _ = both(root=str(tmp_path / "p"), skeleton=str(tmp_path / "s.yaml"))
    assert train[0].keypoints.tolist() == [[20.5, 18.5], [1.75, 2.5]]
    (tmp_path / "s.yaml").write_text("keypoints: [left_eye, right_eye]\n")
    train, _ = both(root=str(tmp_path / "p"), skeleton=str(tmp_path / "s.yaml"))
    assert train[0].keypoints.tolist() == [[1.75, 2.5], [20.5, 18.5]]
    with pytest.raises(BadAnnotation, match=r"bodyparts is \['nose', 'tail'\], expected the 17 keypoints"):
        both(root=str(tmp_path / "p"), skeleton="coco17")


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["file,x,y", "a.png,1,2"], r"line 1: the header is file,x,y, expected scorer,NAME"),
        ([], "the header is nothing, expected scorer"),
        (["scorer,A,A", "coords,x,y", "a.png,1,2"], r"the header is \['scorer', 'coords'\]"),
        (["scorer,A,A", "bodyparts,nose", "coords,x,y"], r"lines of \[3, 2, 3\] cells"),
        (["scorer,A,A", "bodyparts,nose,nose", "coords,x,z"], "expected x and y of a body part"),
        (["scorer,A,A", "bodyparts,nose,tail", "coords,x,y"], r"nose is \['x'\], expected x and y, each once"),
        ([*HEADER, "a.png,1,2,3"], r"line 4: the line is of 4 cells, expected 5 cells"),
        ([*HEADER, "a.png,1,2,three,4"], r"line 4: x of tail is 'three', expected a number"),
        ([*HEADER, "a.png,1,2,3,"], r"line 4: tail is one of x and y alone, expected both, or neither"),
        ([*HEADER, "a.png,1,2,inf,4"], "finite pixels"),
        ([*HEADER, ",1,2,3,4"], "expected a picture's path"),
    ],
)
def test_what_is_no_such_csv_is_one_exact_error(tmp_path, lines, match):
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(BadAnnotation, match=match):
        both(labels=str(tmp_path / "a.csv"), block=1)


def test_a_csv_of_another_encoding(tmp_path):
    for text in ("scorer,Jörg,Jörg\nbodyparts,a,a\n".encode("latin-1"), "scorer,A".encode("utf-16")):
        (tmp_path / "a.csv").write_bytes(text)
        with pytest.raises(BadAnnotation, match=r"UnicodeDecodeError.*save it as CSV UTF-8"):
            read_sheet(tmp_path / "a.csv")


def test_nothing_outside_the_root_is_named(tmp_path):
    picture(tmp_path / "secret.png")
    project(tmp_path / "p", lines=["../../../secret.png,1,2,3,4", "/etc/other.png,1,2,3,4"])
    with pytest.raises(ValueError, match="no picture"):
        both(root=str(tmp_path / "p"))


def test_a_folder_that_is_no_project_says_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match="holds no PROJECT/labeled-data"):
        both(root=str(tmp_path))
    with pytest.raises(ValueError, match="no folder"):
        both(root=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="deeplabcut needs root=PROJECT"):
        both()


def test_a_published_project_agrees_with_its_coco_file(shared):
    lips = shared / "data/lips_two_sizes"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = both(root=str(lips))
    theirs = [coco_json(CocoOptions(labels=str(lips / "lips.json")), part) for part in ("train", "test")]
    found = {p: k for one in ours for p, k in zip(one.people.pictures, one.people.keypoints, strict=True)}
    labels = {p: k for one in theirs for p, k in zip(one.people.pictures, one.people.keypoints, strict=True)}
    assert len(found) == len(json.loads((lips / "lips.json").read_text())["images"]) == 707
    known = {p: a for one in theirs for p, a in zip(one.people.pictures, one.people.annotated, strict=True)}
    assert max(np.abs(found[p] - labels[p])[known[p]].max() for p in labels) < 0.001
