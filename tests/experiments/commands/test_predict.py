"""A network whose answers are known, the brightest red, green and blue of a picture, through `keyshift predict`."""

import json
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import yaml

from keyshift.datasets.own.labels import Options, coco_json
from keyshift.datasets.reading.video import frames, write_video
from keyshift.datasets.sample import CAMERA_MM
from keyshift.datasets.skeleton import HAND, Skeleton
from keyshift.experiments.cli import main
from keyshift.experiments.commands.predict import open_model, predict
from keyshift.experiments.config import Config, plain
from keyshift.experiments.report.people_views import PEOPLE
from keyshift.experiments.runs.progress import Reporter
from keyshift.models.output import Grid, Poses, Votes
from keyshift.models.pose_model import PoseModel
from keyshift.models.saved import MODELS, known_skeleton, load_model, save_checkpoint, save_model
from keyshift.models.systems.a2j import A2J
from keyshift.models.systems.pose_resnet import PoseResNet

RGB = Skeleton("rgb", ("left_dot", "green_dot", "right_dot"), ((0, 1), (1, 2)), ((0, 2),), {"all": (0, 1, 2)})
SIDE = 64
TINY_A2J = A2J.Options(backbone="small", input_size=[32, 32], channels=8, head_layers=1)


@pytest.fixture
def model(tmp_path, brightest):
    save_model(tmp_path / "weights.pt", brightest(), RGB, 1)
    return tmp_path / "weights.pt"


def dots(rng, width, height, points=None):
    """A picture with a red, a green and a blue dot, and where they are: pixel centres at +0.5."""
    if points is None:
        points = rng.uniform(0.25, 0.75, (3, 2)) * (width, height)
    y, x = np.mgrid[:height, :width] + 0.5
    spots = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points]
    return (250 * np.stack(spots, -1)).round().astype(np.uint8), points


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])


def read(path):
    """The JSON, and points (K, 2) by picture as COCO counts them."""
    content = json.loads(path.read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    points = {}
    for entry in content["annotations"]:
        triples = np.reshape(entry["keypoints"], (-1, 3))
        assert (triples[:, 2] == 2).all()
        points.setdefault(names[entry["image_id"]], []).append(triples[:, :2])
    return content, points


def run(model, paths, output, **options):
    return predict(model, paths, output, Reporter(), **options)


def test_points_lie_where_the_picture_says_in_cocos_pixels(model, tmp_path):
    rng = np.random.default_rng(0)
    truth = {}
    for name, size in (("b/2.png", (50, 40)), ("b/10.png", (64, 64)), ("a.png", (33, 61))):
        image, truth[name] = dots(rng, *size)
        write(tmp_path / "in" / name, image)
    run(model, [tmp_path / "in"], tmp_path / "out.json")
    content, points = read(tmp_path / "out.json")
    assert list(points) == ["a.png", "b/2.png", "b/10.png"]  # numbers by value
    for name, expected in truth.items():
        np.testing.assert_allclose(points[name][0] + 0.5, expected, atol=0.12)
    image = next(i for i in content["images"] if i["file_name"] == "b/2.png")
    assert (image["width"], image["height"]) == (50, 40)
    person = next(a for a in content["annotations"] if a["image_id"] == image["id"])
    assert person["bbox"] == [0, -5, 50, 50]
    assert person["score"] == pytest.approx(np.mean(person["keypoint_scores"]), abs=1e-4)
    assert content["categories"][0]["keypoints"] == list(RGB.keypoints)
    assert content["categories"][0]["skeleton"] == [[1, 2], [2, 3]]
    assert content["info"]["version"]
    assert "pixel centres from 0" in content["info"]["pixels"]
    assert "height of the crop" in content["info"]["pixels"]
    assert content["unreadable"] == []


def test_predictions_are_labels_that_keyshift_reads(model, tmp_path):
    rng = np.random.default_rng(1)
    truth = {}
    for k in range(6):
        image, truth[f"{k}.png"] = dots(rng, 60, 48)
        write(tmp_path / "in" / f"{k}.png", image)
    run(model, [tmp_path / "in"], tmp_path / "out.json")
    labels = coco_json(Options(root=str(tmp_path / "in"), labels=[str(tmp_path / "out.json")] * 2), "test")
    assert labels.skeleton.keypoints == RGB.keypoints
    assert labels.skeleton.edges == RGB.edges
    for k in range(6):
        np.testing.assert_allclose(labels[k].keypoints, truth[labels.people.pictures[k]], atol=0.12)


def test_mirrored_pictures_keep_their_names(model, tmp_path):
    image, points = dots(np.random.default_rng(2), 50, 64)
    write(tmp_path / "one.png", image)
    run(model, [tmp_path / "one.png"], tmp_path / "out.json", mirror=True)
    mirrored = read(tmp_path / "out.json")[1]["one.png"][0]
    # the network calls what is red left; it sees the mirrored picture, so red is the picture's right
    np.testing.assert_allclose(mirrored + 0.5, points[::-1], atol=0.12)


def test_mirrored_pictures_where_names_have_no_partner(tmp_path, brightest, capsys):
    image, points = dots(np.random.default_rng(2), 50, 64)
    write(tmp_path / "one.png", image)
    save_model(tmp_path / "some.pt", brightest(), replace(RGB, flip_pairs=((0, 1),), unpaired=(2,)), 1)
    with pytest.raises(ValueError, match="right_dot are of one side by name and have no partner"):
        run(tmp_path / "some.pt", [tmp_path / "one.png"], tmp_path / "out.json", mirror=True)
    one_hand = Skeleton("left", ("left_a", "left_b", "left_c"), unpaired=(0, 1, 2))
    save_model(tmp_path / "left.pt", brightest(), one_hand, 1)
    run(tmp_path / "left.pt", [tmp_path / "one.png"], tmp_path / "out.json", mirror=True)
    np.testing.assert_allclose(read(tmp_path / "out.json")[1]["one.png"][0] + 0.5, points, atol=0.12)
    assert "names stay, although the picture is mirrored: left_a, left_b, left_c" in capsys.readouterr().out


def test_many_pictures_some_of_them_broken(model, tmp_path, capsys):
    rng = np.random.default_rng(3)
    for k in range(300):
        image, _ = dots(rng, *(int(v) for v in rng.integers(20, 90, 2)))
        write(tmp_path / f"in/{k % 3}/{k}.png", image)
    broken = [f"{k % 3}/{k}.png" for k in (0, 77, 150, 151, 299)]
    for k, name in enumerate(broken):
        path = tmp_path / "in" / name
        path.write_bytes([b"", b"no picture", path.read_bytes()[:200]][k % 3])
    run(model, [tmp_path / "in"], tmp_path / "out.json", draw=tmp_path / "drawn")
    content, points = read(tmp_path / "out.json")
    assert sorted(u["file_name"] for u in content["unreadable"]) == sorted(broken)
    assert all(u["reason"] for u in content["unreadable"])
    assert len(points) == len(content["images"]) == len(content["annotations"]) == 295
    assert len(list((tmp_path / "drawn").rglob("*.png"))) == 295
    said = capsys.readouterr().err
    assert "5 could not be read" in said
    assert "0/150.png" in said
    run(model, [tmp_path / "in"], tmp_path / "again.json", workers=1)
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "out.json").read_bytes()
    run(model, [tmp_path / "in"], tmp_path / "other.json", batch=7, workers=3)
    for name, others in read(tmp_path / "other.json")[1].items():
        np.testing.assert_allclose(others, points[name], atol=2e-3)


def test_frames_of_videos_and_several_paths(model, tmp_path):
    rng = np.random.default_rng(4)
    images, truth = zip(*(dots(rng, 64, 48) for _ in range(9)), strict=True)
    (tmp_path / "in/day").mkdir(parents=True)
    write_video(tmp_path / "in/day/clip.mp4", images, 10)
    write(tmp_path / "in/one.jpg", images[0])
    (tmp_path / "in/cut.mp4").write_bytes((tmp_path / "in/day/clip.mp4").read_bytes()[:100])
    paths = [tmp_path / "in/day/clip.mp4", tmp_path / "in"]
    run(model, paths, tmp_path / "out.json", stride=2, draw=tmp_path / "drawn")
    content, points = read(tmp_path / "out.json")
    assert list(points) == [*(f"day/clip.mp4#{k}" for k in (0, 2, 4, 6, 8)), "one.jpg"]
    assert [u["file_name"] for u in content["unreadable"]] == ["cut.mp4"]
    assert content["images"][1] | {"video": "day/clip.mp4", "frame": 2} == content["images"][1]
    for k in (0, 2, 4, 6, 8):
        np.testing.assert_allclose(points[f"day/clip.mp4#{k}"][0] + 0.5, truth[k], atol=2.0)  # MPEG smears colours
    assert len(list(frames(tmp_path / "drawn/day/clip.mp4"))) == 5
    assert (tmp_path / "drawn/one.jpg").is_file()


def test_boxes_of_a_file_say_who_is_where(model, tmp_path):
    rng = np.random.default_rng(5)
    left, first = dots(rng, 50, 50)
    right, second = dots(rng, 50, 50)
    write(tmp_path / "in/two.png", np.concatenate([left, right], 1))
    write(tmp_path / "in/nobody.png", left)
    boxes = {"two.png": [[5, 5, 45, 45], [55, 5, 95, 45]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    with pytest.warns(UserWarning, match="no box for 1 of 2"):
        run(model, [tmp_path / "in"], tmp_path / "out.json", boxes=str(tmp_path / "boxes.json"), draw=tmp_path / "d")
    content, points = read(tmp_path / "out.json")
    assert [image["file_name"] for image in content["images"]] == ["nobody.png", "two.png"]
    assert [a["bbox"] for a in content["annotations"]] == [[0, 0, 50, 50], [50, 0, 50, 50]]
    np.testing.assert_allclose(points["two.png"][0] + 0.5, first, atol=0.12)
    np.testing.assert_allclose(points["two.png"][1] + 0.5, np.add(second, (50, 0)), atol=0.12)
    drawn = cv2.imread(str(tmp_path / "d/two.png"))[..., ::-1].astype(int)
    changed = np.abs(drawn - np.concatenate([left, right], 1)).max(-1) > 60
    assert drawn.shape == (50, 100, 3)
    assert changed[:, :50].any()
    assert changed[:, 50:].any()
    assert not np.abs(cv2.imread(str(tmp_path / "d/nobody.png"))[..., ::-1].astype(int) - left).any()


def test_nothing_of_the_users_is_overwritten(model, tmp_path):
    image, _ = dots(np.random.default_rng(6), 40, 40)
    write(tmp_path / "in/one.png", image)
    before = (tmp_path / "in/one.png").read_bytes()
    output = tmp_path / "out.json"

    def refused(message, **options):
        with pytest.raises(ValueError, match=message):
            run(model, [tmp_path / "in"], **({"output": output} | options))

    for folder in ("in", "in/drawn", "in/../in/a/b"):
        refused("the next run would take the drawings for pictures", draw=tmp_path / folder, overwrite=True)
    with pytest.raises(ValueError, match="one of the pictures to read"):
        run(model, [tmp_path / "in/one.png"], output, draw=tmp_path / "in", overwrite=True)
    refused("expected the name of a .json file", output=tmp_path / "in/one.png", overwrite=True)
    refused("in a folder that exists", output=tmp_path / "nowhere/out.json")
    refused("detector", boxes="mask_rcnn")
    refused("device='tpu'", device="tpu")
    refused("at least 1", batch=0)
    assert not output.exists()
    output.write_text("mine")
    refused("out.json exists; pass --overwrite")
    run(model, [tmp_path / "in"], output, overwrite=True, draw=tmp_path / "drawn")
    refused("one.png exists", output=tmp_path / "more.json", draw=tmp_path / "drawn")
    assert (tmp_path / "in/one.png").read_bytes() == before


def test_bad_input_is_named(model, brightest, tmp_path, monkeypatch):
    output = tmp_path / "out.json"
    (tmp_path / "in").mkdir()
    (tmp_path / "in/one.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"none of the 1 pictures can be read; the first: .*one\.png"):
        run(model, [tmp_path / "in"], output)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no picture or video"):
        run(model, [tmp_path / "in", tmp_path / "empty"], output)
    with pytest.raises(ValueError, match=r"no picture, folder or video .*nowhere"):
        run(model, [tmp_path / "nowhere"], output)
    with pytest.raises(ValueError, match=r"no model .*nowhere"):
        run(tmp_path / "nowhere", [tmp_path / "in"], output)
    image, _ = dots(np.random.default_rng(7), 40, 40)
    write(tmp_path / "in/one.png", image)
    monkeypatch.setattr(brightest, "features", lambda self, sample: sample.image * float("nan"))
    with pytest.raises(ArithmeticError, match=r"one\.png are not finite"):
        run(model, [tmp_path / "in"], output)
    assert not output.exists()


def test_other_forms_are_written_on_request(model, tmp_path, monkeypatch):
    image, _ = dots(np.random.default_rng(0), 50, 40)
    write(tmp_path / "in/one.png", image)
    monkeypatch.chdir(tmp_path)
    for form, file in (("coco", "predictions.json"), ("deeplabcut", "predictions.csv")):
        assert main(["predict", str(model), "in", "--format", form]) == 0
        assert (tmp_path / file).is_file()
    assert main(["predict", str(model), "in", "--format", "results", "--output", "list.json"]) == 0
    (entry,) = json.loads((tmp_path / "list.json").read_text())
    (person,) = json.loads((tmp_path / "predictions.json").read_text())["annotations"]
    assert entry["keypoints"] == person["keypoints"]
    assert main(["predict", str(model), "in", "--format", "yolo"]) == 2
    assert main(["predict", str(model), "in", "--format", "deeplabcut", "--output", "a.json"]) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("in_space", "InSpace answers in camera mm, and predict writes pixels"),
    ],
)
def test_systems_that_do_not_read_pictures_are_refused(registered, monkeypatch, tmp_path, name, message):
    monkeypatch.setitem(MODELS, "in_space", type("InSpace", (registered.BottomUp,), {"space": CAMERA_MM}))
    save_model(tmp_path / "weights.pt", MODELS[name](3, MODELS[name].Options()), RGB, 1)
    with pytest.raises(ValueError, match=rf"weights\.pt: {message}"):
        run(tmp_path / "weights.pt", [tmp_path], tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


class Crowd(PoseModel):
    """Everyone is a peak of redness, left_dot; the green one stands 6 px of the input to its right, the other below."""

    single = False
    shifts = ((0.0, 0.0), (6.0, 0.0), (6.0, 8.0))

    def __init__(self, keypoints, options):
        super().__init__(keypoints, options)
        width, height = self.input_size
        self.grid = Grid((height, width), (1.0, 1.0), (0.5, 0.5))

    def features(self, sample):
        return sample.image.float() / 255

    def votes(self, features, sample, head=None):
        return Votes.from_maps(self.grid, features)

    def decode(self, votes, sample):
        red = votes.maps[:, 0].double()
        red = red + 1e-9 * torch.arange(red[0].numel()).view(red[0].shape)  # two cells alike are one peak
        peak = torch.where((torch.nn.functional.max_pool2d(red, 9, 1, 4) == red) & (red > 0.5), red, 0.0)
        image, y, x = peak.nonzero(as_tuple=True)
        points = torch.stack([x, y], -1)[:, None] + 0.5 + torch.tensor(self.shifts)
        score = peak[image, y, x].float()
        return Poses(points, score[:, None] * torch.tensor([1.0, 0.5, 0.25]), image, score)

    def loss(self, votes, sample):
        return {}

    def counted(self, sample):
        return sample.annotated

    def new_head(self, layers=None):
        return torch.nn.Identity()


@pytest.fixture
def crowd(tmp_path, monkeypatch):
    """make(width, height of the input) -> the weights file of a network that finds everyone in a picture."""
    monkeypatch.setitem(MODELS, "crowd", Crowd)

    def make(*size):
        save_model(tmp_path / "crowd.pt", Crowd(3, Crowd.Options(input_size=list(size))), RGB, 1)
        return tmp_path / "crowd.pt"

    return make


def red_dots(width, height, places, side=1):
    """A dark picture with red dots whose middles are at `places`, px; broader for pictures that are larger."""
    y, x = np.mgrid[:height, :width] + 0.5
    image = np.zeros((height, width, 3))
    for number, (px, py) in enumerate(places):
        spot = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (4 * side**2))
        image[..., 0] = np.maximum(image[..., 0], (250 - 5 * (number % 15)) * spot)
    return image.round().astype(np.uint8)


SCENES = {
    "a/nobody.png": ((60, 44), []),
    "a/two.png": ((64, 64), [(10.5, 12.5), (40.5, 30.5)]),
    "b/1.png": ((192, 96), [(30, 60), (150, 21), (90, 75)]),
    "c/dark.png": ((40, 90), []),
    "d/one.png": ((32, 48), [(12.5, 20.5)]),
}
"""Pictures by size (width, height) and the roots of their people."""


def write_scenes(folder):
    """The people whom a network of 64x64 finds in each picture: (n, 3, 2) px, from the top to the bottom."""
    people = {}
    for name, (size, places) in SCENES.items():
        scale = max(size) / 64
        write(folder / name, red_dots(*size, places, scale))
        ordered = sorted(places, key=lambda place: place[1])
        people[name] = np.reshape(ordered, (-1, 1, 2)) + scale * np.array(Crowd.shifts)
    return people


def test_everyone_in_whole_pictures(crowd, tmp_path):
    people = write_scenes(tmp_path / "in")
    predicted = run(crowd(64, 64), [tmp_path / "in"], tmp_path / "out.json", draw=tmp_path / "drawn")
    content, points = read(tmp_path / "out.json")
    assert [image["file_name"] for image in content["images"]] == list(SCENES)  # nobody's too
    assert set(points) == {name for name, (_, places) in SCENES.items() if places}
    for name, roots in points.items():
        scale = max(SCENES[name][0]) / 64
        np.testing.assert_allclose(np.array(roots) + 0.5, people[name], atol=0.55 * scale)
    assert [len(predicted.people(place)) for place in range(5)] == [0, 2, 3, 0, 1]
    assert predicted.points.shape == (6, 3, 2)
    assert predicted.confidence.shape == (6, 3)
    for row, entry in enumerate(content["annotations"]):
        triples = np.reshape(entry["keypoints"], (-1, 3))[:, :2] + 0.5
        np.testing.assert_allclose(triples, predicted.points[row], atol=1e-3)
        left, top, width, height = entry["bbox"]
        low, high = triples.min(0), triples.max(0)
        np.testing.assert_allclose([left, top, width, height], [*low, *(high - low)], atol=2e-3)
        assert entry["score"] == pytest.approx(predicted.score[row], abs=1e-5)
        assert entry["score"] == pytest.approx(entry["keypoint_scores"][0], abs=1e-5)
        assert entry["keypoint_scores"][2] == pytest.approx(entry["score"] / 4, abs=1e-4)
    assert "tight box of the person's keypoints" in content["info"]["pixels"]
    assert content["info"]["boxes"] == "whole"
    for name, (_, places) in SCENES.items():
        before, after = (cv2.imread(str(folder / name)).astype(int) for folder in (tmp_path / "in", tmp_path / "drawn"))
        changed = np.abs(after - before).max(-1) > 60
        assert changed.any() == bool(places)
        for x, y in people[name].reshape(-1, 2):
            if x < before.shape[1] and y < before.shape[0]:
                assert changed[max(int(y) - 2, 0) : int(y) + 3, max(int(x) - 2, 0) : int(x) + 3].any()


def test_everyone_whatever_the_batch_and_the_boxes_of_people(crowd, tmp_path):
    people = write_scenes(tmp_path / "in")
    whole = run(crowd(64, 64), [tmp_path / "in"], tmp_path / "out.json", boxes="whole")
    for batch in (1, 2, 3):
        run(crowd(64, 64), [tmp_path / "in"], tmp_path / "again.json", batch=batch, workers=1, overwrite=True)
        assert (tmp_path / "again.json").read_bytes() == (tmp_path / "out.json").read_bytes()
    mirrored = run(crowd(64, 64), [tmp_path / "in"], tmp_path / "mirrored.json", mirror=True)
    two = mirrored.points[mirrored.people(1)]
    # what the network calls left_dot is the right one; it is red, and the green one stands to its left
    roots = people["a/two.png"][:, 0]
    np.testing.assert_allclose(two[:, 2], roots, atol=0.55)
    np.testing.assert_allclose(two[:, 1], roots - (6, 0), atol=0.55)
    np.testing.assert_allclose(two[:, 0], np.add(roots, (-6, 8)), atol=0.55)
    assert len(whole) == len(mirrored)


def test_an_input_that_is_no_square(crowd, tmp_path):
    """The square about the whole picture fits into it, as crops do."""
    write(tmp_path / "one.png", red_dots(96, 48, [(30.0, 20.0)], 1.5))
    predicted = run(crowd(96, 64), [tmp_path / "one.png"], tmp_path / "out.json")
    scale = 96 / 64
    np.testing.assert_allclose(predicted.points[0], np.array([30, 20]) + scale * np.array(Crowd.shifts), atol=0.8)


def test_more_people_than_pictures(crowd, tmp_path):
    places = [(8 + 12 * i, 8 + 12 * j) for j in range(9) for i in range(9)]
    for k in range(4):
        write(tmp_path / f"in/{k}.png", red_dots(128, 128, places[: 81 - 20 * k]))
    predicted = run(crowd(128, 128), [tmp_path / "in"], tmp_path / "out.json", batch=3)
    assert [len(predicted.people(place)) for place in range(4)] == [81, 61, 41, 21]
    content = json.loads((tmp_path / "out.json").read_text())
    assert [a["id"] for a in content["annotations"]] == list(range(1, 205))
    assert [a["image_id"] for a in content["annotations"]] == [1] * 81 + [2] * 61 + [3] * 41 + [4] * 21


def test_odd_whole_pictures(crowd, tmp_path, capsys):
    """The longer side of any picture becomes the input's: of one of 4000 px a cell is 31 px, and points are as coarse.
    Grey is read as colour, a line of pixels as a picture; what is no picture is listed, and the others go on."""
    folder, hundred = tmp_path / "in", [(9 + 12 * i, 9 + 12 * j) for j in range(10) for i in range(10)]
    write(folder / "hundred.png", red_dots(128, 128, hundred))
    write(folder / "wide.jpg", red_dots(4000, 300, [(700, 100), (3200, 180)], 40))
    write(folder / "line.png", red_dots(256, 1, [(100, 0.5)], 4))
    cv2.imwrite(str(folder / "grey.png"), red_dots(100, 80, [(40, 30)], 1.5)[..., 0])
    (folder / "text.png").write_text("no picture")
    predicted = run(crowd(128, 128), [folder], tmp_path / "out.json", draw=tmp_path / "drawn")
    content, points = read(tmp_path / "out.json")
    assert {name: len(own) for name, own in points.items()} == {"grey.png": 1, "hundred.png": 100, "wide.jpg": 2}
    assert [image["file_name"] for image in content["images"]] == ["grey.png", "hundred.png", "line.png", "wide.jpg"]
    assert [entry["file_name"] for entry in content["unreadable"]] == ["text.png"]
    np.testing.assert_allclose(points["grey.png"][0][0] + 0.5, (40, 30), atol=1)
    roots = sorted(map(tuple, np.round(np.array(points["hundred.png"])[:, 0] + 0.5).astype(int)))
    np.testing.assert_allclose(roots, sorted(hundred), atol=1)
    for own, place in zip(points["wide.jpg"], [(700, 100), (3200, 180)], strict=True):
        np.testing.assert_allclose(own[0] + 0.5, place, atol=4000 / 128)
    drawn = {path.name: cv2.imread(str(path)).shape[:2] for path in (tmp_path / "drawn").iterdir()}
    assert drawn == {"grey.png": (80, 100), "hundred.png": (128, 128), "line.png": (1, 256), "wide.jpg": (300, 4000)}
    assert len(predicted.people(list(predicted.sizes[:, 0]).index(256))) == 0
    assert "text.png" in capsys.readouterr().err


def test_several_people_in_every_form(crowd, tmp_path):
    people = write_scenes(tmp_path / "in")
    weights = crowd(64, 64)
    run(weights, [tmp_path / "in"], tmp_path / "list.json", format="results")
    entries = json.loads((tmp_path / "list.json").read_text())
    assert [entry["file_name"] for entry in entries] == ["a/two.png"] * 2 + ["b/1.png"] * 3 + ["d/one.png"]
    run(weights, [tmp_path / "in"], tmp_path / "table.csv", format="deeplabcut")
    rows = [line.split(",") for line in (tmp_path / "table.csv").read_text().splitlines()]
    assert rows[1][1::9] == ["individual1", "individual2", "individual3"]
    assert [(row[0], sum(map(bool, row[1:]))) for row in rows[4:]] == [(name, 9 * len(people[name])) for name in SCENES]


def test_nobody_anywhere(crowd, tmp_path, capsys):
    write(tmp_path / "in/dark.png", red_dots(50, 40, []))
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    predicted = run(crowd(64, 64), [tmp_path / "in"], tmp_path / "out.json", draw=tmp_path / "drawn")
    content = json.loads((tmp_path / "out.json").read_text())
    assert (len(predicted), content["annotations"]) == (0, [])
    assert [image["file_name"] for image in content["images"]] == ["dark.png"]
    assert [entry["file_name"] for entry in content["unreadable"]] == ["broken.png"]
    assert (cv2.imread(str(tmp_path / "drawn/dark.png")) == cv2.imread(str(tmp_path / "in/dark.png"))).all()
    assert "0 people in 1 pictures" in capsys.readouterr().out


def test_everyone_in_the_frames_of_a_video(crowd, tmp_path):
    counts = [2, 0, 1]
    images = [red_dots(64, 64, [(14, 16), (44, 40)][:count], 2) for count in counts]
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in/clip.mp4", images, 10)
    predicted = run(crowd(64, 64), [tmp_path / "in"], tmp_path / "out.json", draw=tmp_path / "drawn")
    assert [len(predicted.people(place)) for place in range(3)] == counts
    assert len(list(frames(tmp_path / "drawn/clip.mp4"))) == 3


def test_people_keep_a_number_over_a_video(crowd, tmp_path):
    """The upper one walks to the right and the lower one to the left; both are found from the top to the bottom. Then
    the upper one is lower; a third comes; there is a cut."""
    people = [[(10 + 2 * t, 20 + 2 * t), (50 - 2 * t, 42 - 2 * t), (50, 52)][: 2 + (t > 11)] for t in range(14)]
    images = [red_dots(64, 64, each, 2) for each in [*people, *2 * [[(20, 20)]]]]
    x, y = np.mgrid[:64, :64] / 64
    for number, image in enumerate(images):
        image[..., 2] = 250 * (x if number < len(people) else 1 - y)
    write_video(tmp_path / "clip.mp4", images, 10)
    weights, video = crowd(64, 64), tmp_path / "clip.mp4"
    predicted = run(weights, [video], tmp_path / "out.json", draw=tmp_path / "drawn")
    content, _ = read(tmp_path / "out.json")
    tracks = predicted.rows["track"]
    assert [one["track_id"] for one in content["annotations"]] == tracks.tolist()
    roots = predicted.points[:, 0]
    for place, each in enumerate(people):
        rows = predicted.people(place)
        nearest = [min(range(len(each)), key=lambda k: np.hypot(*(roots[row] - each[k]))) for row in rows]
        assert tracks[rows.start : rows.stop].tolist() == nearest
    assert tracks[-2:].tolist() == [3, 3]
    assert any(tracks[list(predicted.people(place))].tolist() == [1, 0] for place in range(12))  # their order changed
    for place, (first, second) in ((0, people[0]), (11, people[11])):
        picture = list(frames(tmp_path / "drawn/clip.mp4"))[place].astype(int)
        for (x, y), colour in ((first, PEOPLE[0]), (second, PEOPLE[1])):
            seen = picture[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].reshape(-1, 3)
            assert np.abs(seen - colour).sum(1).min() < 120
    run(weights, [video], tmp_path / "table.csv", format="deeplabcut")
    rows = [line.split(",") for line in (tmp_path / "table.csv").read_text().splitlines()]
    assert rows[1][1::9] == ["track0", "track1", "track2", "track3"]
    columns = np.array([[cell != "" for cell in row[1::9]] for row in rows[4:]])
    assert columns.sum(0).tolist() == [14, 14, 2, 2]
    assert abs(float(rows[4][1]) + 0.5 - people[0][0][0]) < 1
    run(weights, [video], tmp_path / "list.json", format="results")
    assert [one["track_id"] for one in json.loads((tmp_path / "list.json").read_text())] == tracks.tolist()
    run(weights, [video], tmp_path / "none.json", tracks=False)
    assert not any("track_id" in one for one in json.loads((tmp_path / "none.json").read_text())["annotations"])


def test_people_who_were_found_are_labels_that_keyshift_reads(crowd, tmp_path):
    people = write_scenes(tmp_path / "in")
    run(crowd(64, 64), [tmp_path / "in"], tmp_path / "out.json")
    labels = coco_json(Options(root=str(tmp_path / "in"), labels=[str(tmp_path / "out.json")] * 2), "test")
    assert len(labels) == 6
    for k in range(6):
        name = labels.people.pictures[k]
        away = np.abs(labels[k].keypoints - people[name]).max((1, 2))
        assert away.min() <= 0.55 * max(SCENES[name][0]) / 64


def test_boxes_are_refused_where_people_are_found(crowd, tmp_path):
    write(tmp_path / "one.png", red_dots(50, 40, []))
    for boxes in ("keypoint_rcnn", "none.csv", "mask_rcnn"):  # before a detector runs
        with pytest.raises(ValueError, match=rf"boxes={boxes}: .*crowd\.pt finds the people of a whole picture itself"):
            run(crowd(64, 64), [tmp_path / "one.png"], tmp_path / "out.json", boxes=boxes)
    assert not (tmp_path / "out.json").exists()


def small(keypoints):
    torch.manual_seed(0)
    return PoseResNet(
        keypoints, PoseResNet.Options(backbone="small", input_size=[32, 32], heatmap_size=[8, 8], channels=8)
    )


def make_run(folder, keypoints=3, skeleton=RGB):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(plain(Config(selection="source"))))
    for step in (2, 4):
        save_model(folder / f"weights-{step:06d}.pt", small(keypoints), skeleton, step)
    save_checkpoint(folder / "checkpoint.pt", {"selection": {"steps": {"last": 4, "source": 2}}})
    return folder


def test_a_run_gives_its_selected_weights(tmp_path):
    folder = make_run(tmp_path / "runs/mine-seed0")
    marked = small(3)
    torch.nn.init.constant_(marked.head.bias, 7.0)
    save_model(folder / "weights-000002.pt", marked, RGB, 2)
    model, skeleton, size, trained = open_model(folder)
    assert (model.head.bias == 7).all()
    assert (skeleton, size, trained, model.training) == (RGB, (32, 32), None, False)
    with pytest.raises(ValueError, match=r"is a comparison; name one of its runs: .*mine-seed0"):
        open_model(tmp_path / "runs")
    (folder / "checkpoint.pt").unlink()
    with pytest.raises(ValueError, match="no checkpoint"):
        open_model(folder)
    save_model(folder / "model.pt", small(3), RGB, 9)  # what an adapted run ships
    assert (open_model(folder).model.head.bias == 0).all()
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(ValueError, match="corrupt"):
        open_model(tmp_path / "text.pt")


def test_older_weights_have_names_alone(tmp_path):
    tips = tuple(name for name in HAND.keypoints if name.endswith(("tip", "dip")))
    save_model(tmp_path / "weights.pt", small(len(tips)), HAND.select(tips), 1)
    state = torch.load(tmp_path / "weights.pt", weights_only=True) | {"keypoints": list(tips)}
    assert state.pop("skeleton")["name"] == "hand21"
    save_checkpoint(tmp_path / "old.pt", state)
    assert open_model(tmp_path / "old.pt").skeleton == HAND.select(tips)
    assert load_model(tmp_path / "old.pt")[1].keypoints == tips
    body = known_skeleton(("left_knee", "left_ankle", "tail", "right_knee"))
    assert body.edges == ((1, 0),)
    assert body.flip_pairs == ((0, 3),)
    paws = {"name": "x", "keypoints": ("nose", "front_left_paw", "front_right_paw", *tips[3:-1], "left_ear")}
    save_checkpoint(tmp_path / "pairs.pt", state | {"skeleton": paws, "keypoints": list(paws["keypoints"])})
    paired = open_model(tmp_path / "pairs.pt").skeleton  # written before these names were pairs
    assert (paired.flip_pairs, paired.unpaired) == (((1, 2),), (len(tips) - 1,))
    save_checkpoint(tmp_path / "broken.pt", state | {"skeleton": {"name": "x", "keypoints": tips, "edges": ((0, 99),)}})
    with pytest.raises(ValueError, match="broken skeleton"):
        open_model(tmp_path / "broken.pt")


def test_a_depth_network_knows_how_its_crops_were_cut_in_its_run_alone(tmp_path):
    network = A2J(3, TINY_A2J)
    save_model(tmp_path / "weights.pt", network, RGB, 1)
    assert open_model(tmp_path / "weights.pt").trained is None
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain(Config(crop="a2j"))))
    trained = open_model(tmp_path / "weights.pt").trained
    assert (trained.crop, trained.cube, trained.centers, trained.usual) == ("a2j", None, None, {})


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_flat(model, tmp_path):
    """The crops of 2000 pictures are 25 MB; they are not kept."""

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4 // 1024

    image, _ = dots(np.random.default_rng(8), 24, 24)
    write(tmp_path / "in/0.png", image)
    run(model, [tmp_path / "in"], tmp_path / "one.json")
    for k in range(1, 2000):
        (tmp_path / f"in/{k}.png").hardlink_to(tmp_path / "in/0.png")
    before = resident()
    run(model, [tmp_path / "in"], tmp_path / "all.json")
    assert resident() - before < 15


def test_the_white_of_a_run_is_taken_for_new_pictures(model, tmp_path, monkeypatch):
    image, _ = dots(np.random.default_rng(0), 40, 40)
    write(tmp_path / "in/a.png", image)
    assert cv2.imwrite(str(tmp_path / "in/b.png"), image[..., ::-1].astype(np.uint16) * 16)
    with pytest.warns(UserWarning, match="1 of 2 pictures .* of 16 bit, and their highest level is [34]"):
        predict(model, [tmp_path / "in"], tmp_path / "dark.json", Reporter())
    predict(model, [tmp_path / "in"], tmp_path / "said.json", Reporter(), white=255 * 16)
    (tmp_path / "config.yaml").touch()  # the weights lie in a run now
    (tmp_path / "identity.json").write_text(json.dumps({"target_train": {"white": 255 * 16}}))
    predict(model, [tmp_path / "in"], tmp_path / "run.json", Reporter())
    for name in ("said.json", "run.json"):
        points = read(tmp_path / name)[1]
        assert np.allclose(points["a.png"], points["b.png"])
    with pytest.raises(ValueError, match="white='bright' must be a level"):
        predict(model, [tmp_path / "in"], tmp_path / "no.json", Reporter(), white="bright")
