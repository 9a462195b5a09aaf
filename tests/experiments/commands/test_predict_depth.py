"""A depth network whose answers are known, the nearest and the farthest in its cube, through `keyshift predict`."""

import json

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from keyshift.datasets.own.kind import check_kind
from keyshift.datasets.skeleton import Skeleton
from keyshift.experiments.cli import main
from keyshift.experiments.commands.predict import predict
from keyshift.experiments.commands.result_files import read_frames
from keyshift.experiments.config import build, plain
from keyshift.experiments.runs.progress import Reporter
from keyshift.models.output import Grid, Poses, Votes
from keyshift.models.pose_model import DepthModel, reach_of
from keyshift.models.saved import MODELS, save_checkpoint, save_model

PAIR = Skeleton("pair", ("left_near", "right_far"), ((0, 1),), ((0, 1),), {"all": (0, 1)})
ONE = Skeleton("center", ("center",), groups={"all": (0,)})
CAMERA = {"fx": 100.0, "fy": 110.0, "cx": 31.5, "cy": 23.5, "unit": "mm", "cube": 240}
NEAR, FAR = 560.0, 610.0


class Ends(DepthModel):
    """Keypoint 0 is the middle of what is nearest, keypoint 1 of what is farthest within the cube; with one keypoint
    alone it is the nearest."""

    def __init__(self, keypoints=2, options=None):
        super().__init__(keypoints, options or self.Options(input_size=[64, 64]))
        width, height = self.input_size
        self.grid = Grid((height, width), (1.0, 1.0), (0.5, 0.5), self.depth_axis(width))

    def features(self, sample):
        return sample.image

    def votes(self, features, sample, head=None):
        shown = features < reach_of(sample)
        near = torch.where(shown, -features, -1e4)
        far = torch.where(shown, features, -1e4)
        maps = torch.cat([near, far][: self.keypoints], 1)
        x, y = (self.grid.axis(dim, features) for dim in (0, 1))
        place = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)
        place = place.expand(len(features), -1, -1)
        where = torch.cat([place, features.flatten(1).unsqueeze(-1)], -1).unsqueeze(2)
        return Votes(self.grid, maps.flatten(2).transpose(1, 2), where)

    def decode(self, votes, sample):
        return Poses.of_crops(votes.mean(), votes.confidence())

    def loss(self, votes, sample):
        return {}

    def counted(self, sample):
        return sample.annotated

    def new_head(self, layers=None):
        return torch.nn.Identity()


def frame(shift=0):
    """(48, 64) mm: discs about (22 + shift, 22) at NEAR and (36 + shift, 26) at FAR before a wall, and where these
    discs are, in OpenCV's pixels and mm."""
    y, x = np.mgrid[:48, :64]
    depth = np.full((48, 64), 1500.0)
    spots = ((36 + shift, 26, FAR), (22 + shift, 22, NEAR))
    for px, py, z in spots:
        depth[(x - px) ** 2 + (y - py) ** 2 <= 25] = z
    return depth, np.array(spots[::-1])


def in_space(points, camera=CAMERA):
    """mm in the camera's frame of OpenCV's pixels and mm."""
    x = (points[:, 0] - camera["cx"]) / camera["fx"] * points[:, 2]
    y = (points[:, 1] - camera["cy"]) / camera["fy"] * points[:, 2]
    return np.stack([x, y, points[:, 2]], 1)


def write_frames(root, names=("0.png", "1.png"), **changes):
    """A user's folder; frame k is shifted by k pixels."""
    root.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        depth = frame(k)[0]
        if path.suffix == ".npy":
            np.save(path, (depth / 1000 if changes.get("unit") == "m" else depth).astype(np.float32))
        else:
            cv2.imwrite(str(path), depth.astype(np.uint16))
    said = {key: value for key, value in (CAMERA | changes).items() if value is not None}
    (root / "camera.yaml").write_text(yaml.safe_dump(said))
    return root


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with the run `run`, trained on cubes of 240 mm, and where the network is one that can be loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(MODELS, "ends", Ends)
    make_run(tmp_path / "run")
    return tmp_path


def make_run(folder, skeleton=PAIR, cube=240.0, **content):
    folder.mkdir(parents=True)
    said = {"source": {"name": "depth_hands.ideal"}, "target": {"name": "depth_folder"}, "strategy": "source_only"}
    config = plain(build(said | {"model": {"name": "a2j"}} | content))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "identity.json").write_text(json.dumps({"source_train": {"name": "rendered", "cube": [cube] * 3}}))
    options = Ends.Options(input_size=[64, 64], depth_reach=120.0)
    save_model(folder / "weights-000002.pt", Ends(len(skeleton), options), skeleton, 2)
    save_checkpoint(folder / "checkpoint.pt", {"selection": {"steps": {"last": 2}}})
    return folder


def run(home, paths, *words, **options):
    output = home / "out.json"
    predicted = predict(home / "run", paths, output, Reporter(), words=words, overwrite=True, **options)
    return predicted, json.loads(output.read_text())


def uvd(home, paths, *words):
    """The frames of the text form."""
    output = home / "out.txt"
    predict(home / "run", paths, output, Reporter(), words=words, overwrite=True, format="uvd")
    return read_frames(output, 2)


def refused(home, message, *words, paths=None, **options):
    with pytest.raises(ValueError, match=message):
        run(home, paths or [home / "frames"], *words, **options)


@pytest.mark.parametrize(
    ("names", "changes", "words"),
    [
        (["0.png", "1.png"], {}, []),
        (["0.npy", "1.npy"], {"unit": "m"}, ["centers=threshold"]),
        (["0.png", "1.png"], {"cx": 32.0, "cy": 24.0, "pixel_centers": 0.5}, []),
        (["0.png", "1.png"], {"cube": None}, []),
        (["day/0.png", "day/1.npy"], {}, ["cube=200"]),
    ],
    ids=["png", "metres", "corner", "cube of the run", "folders"],
)
def test_joints_lie_where_the_frames_say_in_pixels_and_in_space(home, names, changes, words):
    write_frames(home / "frames", names, **changes)
    predicted, content = run(home, [home / "frames"], *words, draw=home / "drawn")
    camera = np.array(content["info"]["camera"])
    np.testing.assert_allclose(camera, [100, 110, 31.5, 23.5])
    assert (content["info"]["centers"], content["info"]["crop"]) == ("threshold", "exact")
    text = uvd(home, [home / "frames"], *words)
    assert text.names == names
    for k, entry in enumerate(content["annotations"]):
        truth = frame(k)[1]
        pixels = np.reshape(entry["keypoints"], (-1, 3))[:, :2]
        np.testing.assert_allclose(pixels, truth[:, :2], atol=0.35)
        mm = np.array(entry["keypoints_mm"])
        np.testing.assert_allclose(mm, in_space(truth), atol=2.5)
        np.testing.assert_allclose(mm[:, 2], truth[:, 2], atol=0.05)
        np.testing.assert_allclose(mm[:, :2] / mm[:, 2:] * camera[:2] + camera[2:], pixels, atol=2e-3)
        np.testing.assert_allclose(text.values[k], np.column_stack([pixels, mm[:, 2]]), atol=2e-3)
        assert entry["cube"] == ([200] * 3 if words == ["cube=200"] else [240] * 3)
        left, top, width, _ = entry["bbox"]
        assert width == pytest.approx(entry["cube"][0] * 100 / entry["center"][2], abs=0.01)
        assert left + width / 2 == pytest.approx(entry["center"][0] + 0.5, abs=0.01)
        assert top < 22 < top + entry["bbox"][3]
    assert predicted.points3d.shape == (2, 2, 3)
    drawn = sorted((home / "drawn").rglob("*.png"))
    assert len(drawn) == 2
    picture = cv2.imread(str(drawn[0])).astype(int)
    assert picture.shape == (48, 64, 3)
    assert (picture.max(-1) - picture.min(-1)).max() > 60, "the skeleton is in colour"
    assert (picture[0, 0] == picture[0, 0, 0]).all(), "the depth is grey"


def test_answers_are_the_same_whatever_the_batch_and_the_threads(home):
    write_frames(home / "frames", [f"{k}.png" for k in range(9)])
    _, one = run(home, [home / "frames"], batch=1, workers=1)
    _, many = run(home, [home / "frames"], batch=4, workers=3)
    for a, b in zip(one["annotations"], many["annotations"], strict=True):
        np.testing.assert_allclose(a["keypoints_mm"], b["keypoints_mm"], atol=1e-2)


def test_mirrored_frames_keep_their_names(home):
    write_frames(home / "frames", ["0.png"])
    _, content = run(home, [home / "frames"], mirror=True)
    # what is nearest is called left in the mirrored frame that the network sees, so that in the frame it is right
    np.testing.assert_allclose(content["annotations"][0]["keypoints_mm"], in_space(frame()[1])[::-1], atol=2.5)


def test_single_frames_folders_and_every_other_one(home):
    write_frames(home / "frames", ["a/0.png", "a/1.png", "a/2.png", "b/3.png", "b/4.png"])

    def names(*paths, **options):
        return [image["file_name"] for image in run(home, [home / "frames" / p for p in paths], **options)[1]["images"]]

    assert names("a/1.png") == ["a/1.png"]
    assert names("b") == ["b/3.png", "b/4.png"]
    assert names("b/4.png", "a") == ["a/0.png", "a/1.png", "a/2.png", "b/4.png"]
    assert names(".", stride=2) == ["a/0.png", "a/2.png", "b/3.png"]
    (home / "frames/b/notes.txt").write_text("no frame")
    refused(home, "notes.txt holds no depth frame", paths=[home / "frames/a", home / "frames/b/notes.txt"])
    refused(home, "stride=0 must be at least 1", stride=0)


def centers_csv(path, rows):
    path.write_text("\n".join(["file,x,y,z", *rows, ""]))
    return path


def test_centres_of_a_file_of_boxes_and_of_a_network(home):
    frames = write_frames(home / "frames")
    other = centers_csv(home / "mine.csv", ["0.png,30,24,600", "1.png,31,24,600"])
    _, content = run(home, [frames], f"centers={other}")
    assert [entry["center"] for entry in content["annotations"]] == [[30, 24, 600], [31, 24, 600]]
    assert content["info"]["centers"] == "mine.csv"
    _, one = run(home, [frames / "1.png"], f"centers={centers_csv(home / 'one.csv', ['1.png,31,24,600'])}")
    assert one["annotations"][0]["center"] == [31, 24, 600]
    centers_csv(frames / "centers.csv", ["0.png,29,24,600", "1.png,31,24,600"])
    (frames / "camera.yaml").write_text(yaml.safe_dump(CAMERA | {"centers": "centers.csv"}))
    assert run(home, [frames])[1]["annotations"][0]["center"] == [29, 24, 600]
    assert run(home, [frames], "centers=threshold")[1]["info"]["centers"] == "threshold"
    (frames / "boxes.csv").write_text("file,left,top,right,bottom\n0.png,30,0,64,48\n1.png,30,0,64,48\n")
    (frames / "camera.yaml").write_text(yaml.safe_dump(CAMERA | {"boxes": "boxes.csv"}))
    _, content = run(home, [frames])
    assert content["info"]["centers"] == "threshold within boxes.csv"
    assert content["annotations"][0]["center"][2] == pytest.approx(FAR, abs=0.1), "the near disc is outside of the box"
    make_run(home / "finder", ONE)
    cv2.imwrite(str(frames / "2.png"), np.full((48, 64), 9000, np.uint16))
    (frames / "camera.yaml").write_text(yaml.safe_dump(CAMERA))
    _, content = run(home, [frames], f"centers={home / 'finder'}")
    assert content["info"]["centers"] == str(home / "finder")
    for k, entry in enumerate(content["annotations"]):
        np.testing.assert_allclose(entry["center"], frame(k)[1][0], atol=0.5)
    assert [entry["file_name"] for entry in content["without_center"]] == ["2.png"]
    with pytest.raises(ValueError, match="its network predicts left_near"):
        run(home, [frames], f"centers={home / 'run'}")
    make_run(home / "later", target={"name": "depth_folder", "centers": str(home / "finder"), "cube": 200})
    predict(home / "later", [frames], home / "later.json", Reporter())
    content = json.loads((home / "later.json").read_text())
    assert content["info"]["centers"] == str(home / "finder"), "as the run says"
    assert content["annotations"][0]["cube"] == [200] * 3


def test_a_network_of_centres_answers_with_centres(home):
    make_run(home / "finder", ONE)
    predict(home / "finder", [write_frames(home / "frames")], home / "out.json", Reporter())
    content = json.loads((home / "out.json").read_text())
    assert content["annotations"][0]["cube"] == [360] * 3, "it looks in a larger cube"
    np.testing.assert_allclose(content["annotations"][0]["keypoints_mm"], in_space(frame()[1][:1]), atol=2.5)


def test_frames_without_a_centre_are_listed_with_the_reason(home, capsys):
    frames = write_frames(home / "frames", [f"{k}.png" for k in range(6)])
    cv2.imwrite(str(frames / "1.png"), np.zeros((48, 64), np.uint16))
    cv2.imwrite(str(frames / "2.png"), np.full((48, 64), 9000, np.uint16))
    (frames / "3.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(frames / "4.png")
    predicted, content = run(home, [frames], draw=home / "drawn")
    assert [image["file_name"] for image in content["images"]] == ["0.png", "5.png"]
    assert [entry["file_name"] for entry in content["without_center"]] == ["2.png"]
    assert "between 100 and 2000 mm: returns lie between 9000" in content["without_center"][0]["reason"]
    assert [entry["file_name"] for entry in content["unreadable"]] == ["1.png", "3.png", "4.png"]
    assert len(list((home / "drawn").iterdir())) == 2
    said = capsys.readouterr()
    assert "without center: 2.png: nothing of" in said.err
    assert "1 have no usable centre; all are listed as without_center" in said.err
    assert uvd(home, [frames]).names == ["0.png", "5.png"]
    assert "1 have no usable centre; --format coco lists all as without_center" in capsys.readouterr().err
    assert len(predicted.unlocated) == 1
    centers = centers_csv(home / "c.csv", ["0.png,,,", *(f"{k}.png,5,5,700" for k in range(1, 6))])
    refused(home, "none of the 6 depth frames can be read; the first", f"centers={centers}")
    only = [home / "frames/0.png", home / "frames/5.png"]
    centers = centers_csv(home / "c.csv", ["0.png,,,", "5.png,30,24,600"])
    _, content = run(home, only, f"centers={centers}")
    assert "its centre in the CSV file is empty" in content["without_center"][0]["reason"]
    centers = centers_csv(home / "c.csv", ["0.png,300,24,600", "5.png,30,24,600"])
    _, content = run(home, only, f"centers={centers}")
    assert "outside the image of 64 x 48" in content["without_center"][0]["reason"]


def test_what_differs_from_training_is_said(home, capsys):
    frames = write_frames(home / "frames", cube=[200, 220, 240])
    run(home, [frames])
    assert "200 x 220 x 240 mm; the network was trained on cubes of 240 x 240 x 240 mm" in capsys.readouterr().out
    run(home, [frames], "cube=240", "crop=awr", "near=200", "far=900")
    out = capsys.readouterr().out
    assert "crop=awr; the network was trained on frames cut by crop=exact" in out
    assert "trained on cubes" not in out
    assert "around" not in out
    make_run(home / "cut", strategy="mean_teacher", target={"name": "depth_folder", "centers": "gone/centers"})
    predict(home / "cut", [frames], home / "cut.json", Reporter())
    assert "centers=threshold; the network was trained on frames cut around centers=gone/centers" in (
        capsys.readouterr().out
    )


def test_a_camera_file_elsewhere_and_frames_below_the_one_that_is_there(home):
    frames = write_frames(home / "frames")
    (frames / "camera.yaml").rename(home / "kinect.yaml")
    refused(home, r"no .*frames/camera.yaml: write one with fx, fy, cx, cy, unit, cube .* camera=FILE")
    _, content = run(home, [frames], f"camera={home / 'kinect.yaml'}")
    assert content["info"]["camera"] == [100, 110, 31.5, 23.5]


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (["cube=300"], {}, r"depth_reach=120 does not cover the cubes .* 150 mm .* choose cube=240 or less"),
        (["cbe=200"], {}, "cbe=200 is no option of depth_folder, which takes .* Did you mean cube"),
        (["root=x"], {}, "root=x: predict takes PATH"),
        (["skeleton=hand21"], {}, "the model says what it predicts"),
        (["crop=a2"], {}, "crop='a2' is not known"),
        (["near=900", "far=800"], {}, "near=900.0 and far=800.0"),
        (["centers=nowhere.csv"], {}, "cannot read nowhere.csv"),
        (["camera=nowhere.yaml"], {}, "no nowhere.yaml"),
        ([], {"boxes": "whole"}, "boxes=whole: .*run reads depth"),
        ([], {"duplicates": 2.0}, "duplicates=2.0: .*run reads depth"),
        ([], {"nms": "pose"}, "nms=pose: .*run reads depth"),
        ([], {"box_score": 0.1}, "box_score=0.1: .*run reads depth"),
    ],
)
def test_bad_words_are_named_before_anything_is_read(home, words, options, message):
    write_frames(home / "frames")
    refused(home, message, *words, **options)
    assert not (home / "out.json").exists()


def test_weights_without_their_run_are_told_how_frames_were_cut(home):
    frames = write_frames(home / "frames")
    (home / "run/weights-000002.pt").rename(home / "bare.pt")
    with pytest.raises(ValueError, match="say crop=exact"):
        predict(home / "bare.pt", [frames], home / "out.json", Reporter())
    predict(home / "bare.pt", [frames], home / "out.json", Reporter(), words=["crop=exact"])


def test_words_stand_anywhere_on_the_command_line(home, capsys):
    write_frames(home / "frames")
    words = ["predict", "run", "cube=200", "frames", "--output", "a.json", "near=150"]
    assert main(words) == 0
    assert json.loads((home / "a.json").read_text())["annotations"][0]["cube"] == [200] * 3
    assert main(words) == 2
    assert "a.json exists; pass --overwrite" in capsys.readouterr().err
    assert main(["predict", "run", "frames", "--format", "uvd"]) == 0
    assert read_frames(home / "predictions.txt", 2).names == ["0.png", "1.png"]
    assert main(["predict", "run", "frames", "--format", "uvd", "--output", "b.json"]) == 2
    assert "name of a .txt file" in capsys.readouterr().err


def rgb(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)


def grey16(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), 700, np.uint16)).save(path)


def test_pictures_for_a_model_of_depth_and_depth_for_one_of_pictures(tmp_path):
    rgb(tmp_path / "photos/0.png")
    rgb(tmp_path / "jpegs/a/0.jpg")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/clip.mp4").write_bytes(b"video")
    for place in ("photos", "jpegs", "videos", "photos/0.png", "videos/clip.mp4"):
        with pytest.raises(ValueError, match=r"^RUN reads depth, and .* holds none .* camera.yaml"):
            check_kind("RUN", True, tmp_path / place)
        check_kind("RUN", False, tmp_path / place)
    frames = write_frames(tmp_path / "frames")
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays/0.npy", np.zeros((4, 4)))
    for place in ("frames", "frames/0.png", "arrays"):
        with pytest.raises(ValueError, match=r"^RUN reads pictures, and .* holds depth frames"):
            check_kind("RUN", False, tmp_path / place)
        check_kind("RUN", True, tmp_path / place)
    grey16(tmp_path / "infrared/0.png")  # 16-bit grey alone is either
    rgb(frames / "colour/0.jpg")
    (tmp_path / "both").mkdir()
    rgb(tmp_path / "both/colour/0.png")
    grey16(tmp_path / "both/depth/0.png")
    (tmp_path / "nothing").mkdir()
    rgb(tmp_path / "features/0.jpg")
    rgb(tmp_path / "more/z.png")
    for k in range(20):
        np.save(tmp_path / f"features/{k}.npy", np.zeros(3))
        np.save(tmp_path / f"more/{k}.npy", np.zeros(3))
    for place in ("infrared", "both", "nothing", "features", "more"):
        for depth in (True, False):
            check_kind("RUN", depth, tmp_path / place)
    check_kind("RUN", True, frames)


def test_depth_frames_for_a_model_of_pictures_are_refused_by_predict(home, brightest):
    write_frames(home / "frames")
    save_model(home / "pictures.pt", brightest(), Skeleton("rgb", ("a", "b", "c")), 1)
    with pytest.raises(ValueError, match=r"pictures.pt reads pictures, and .*frames holds depth frames"):
        predict(home / "pictures.pt", [home / "frames"], home / "out.json", Reporter())
    rgb(home / "photos/0.png")
    for output, options in (("out.json", {"words": ["cube=200"]}), ("out.txt", {"format": "uvd"})):
        with pytest.raises(ValueError, match=r"pictures.pt reads pictures, and takes --boxes"):
            predict(home / "pictures.pt", [home / "photos"], home / output, Reporter(), **options)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"cx": 320.0, "cy": 240.0}, "the principal point (320, 240) is outside of the frames of 64 x 48"),
        ({"fx": 1.9, "fy": 1.9}, "field of view"),
    ],
)
def test_a_camera_that_cannot_be_that_of_the_frames_is_said_before(home, changes, problem, capsys):
    write_frames(home / "frames", centers="centers.csv", **changes)
    (home / "frames/centers.csv").write_text("file,x,y,z\n0.png,29,24,580\n1.png,30,24,580\n")
    main(["predict", "run", "frames"])
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("PROBLEM: ") == bool(problem)
    assert problem in shown
