"""People in the camera's space through `keyshift predict`, from picture files to JSON."""

import json
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from keyshift.datasets.bodies.skeletons import H36M17, H36M18, MUCO21, body
from keyshift.datasets.reading import boxes as detectors
from keyshift.datasets.reading.box_chain import process_box
from keyshift.datasets.reading.boxes import Detector
from keyshift.datasets.reading.detections import Detections
from keyshift.datasets.reading.video import frames as frames_in
from keyshift.datasets.reading.video import write_video
from keyshift.datasets.rendered.people import Options, render_scene
from keyshift.datasets.sample import invert, to_pixels, transform
from keyshift.datasets.skeleton import HAND
from keyshift.experiments.cli import main
from keyshift.experiments.commands.predict_chain import predict_chain
from keyshift.experiments.report.people_views import Stage, views
from keyshift.experiments.runs import chain_inputs
from keyshift.experiments.runs.chain import Chain, sees_people, write_chain
from keyshift.experiments.runs.chain_inputs import Look
from keyshift.experiments.runs.chain_smoothing import running_median, smoothed, track
from keyshift.experiments.runs.progress import Reporter
from keyshift.models.output import Votes
from keyshift.models.saved import MODELS, save_model
from keyshift.models.systems import pose_net, root_net
from keyshift.models.systems.pose_net import PoseNet
from keyshift.models.systems.pose_resnet import PoseResNet
from keyshift.models.systems.root_net import RootNet
from keyshift.models.systems.root_pose_net import RootPoseNet

SIZE = 96
HALF = np.array([0.5, 0.5, 0, 0])
SMALL = {"backbone": "small", "input_size": [32, 32], "channels": 8}
PELVIS = body("h36m17", ("pelvis",))
TRUTH: dict[str, tuple[np.ndarray, np.ndarray]] = {}
"""By picture: (P, 17, 3) mm, and the camera (4,)."""


def projected(sample, row):
    """(P, 17, 3) what is true of a crop's picture, as its input has it: px, px and mm from the camera."""
    points, camera = (torch.from_numpy(values) for values in TRUTH[sample.id[row]])
    return transform(invert(sample.to_file[row, None].double()), to_pixels(points, camera[None])[None])[0]


def nearest(sample):
    """(B, 17, 3) the same of the person in each crop, whose middle is nearest to its own."""
    middle = torch.tensor(sample.image.shape[:1:-1]) / 2
    people = [projected(sample, row) for row in range(len(sample))]
    return torch.stack([one[(one[..., :2].mean(1) - middle).norm(dim=-1).argmin()] for one in people]).float()


class TruePose(PoseNet):
    """A PoseNet that is never wrong."""

    def votes(self, features, sample, head=None):
        points = nearest(sample)
        points[..., 2] = points[..., 2] - points[:, self.root, None, 2]
        return Votes(self.grid, torch.zeros(len(points), 1, points.shape[1]), points[:, None])


def true_root(sample):
    """(B, 1, 3) the true root, at a depth that goes with the focal length that the sample says, as in RootNet."""
    points = nearest(sample)[:, :1]
    true = torch.tensor(np.array([TRUTH[name][1] for name in sample.id]))
    points[..., 2] *= (sample.camera[:, :2].prod(1) / true[:, :2].prod(1)).sqrt().view(-1, 1)
    return points


class TrueRoot(RootNet):
    def votes(self, features, sample, head=None):
        return Votes(self.grid, torch.zeros(len(sample), 1, 1), true_root(sample)[:, None])


class TrueBoth(RootPoseNet):
    def votes(self, features, sample, head=None):
        root = Votes(self.root_grid, torch.zeros(len(sample), 1, 1), true_root(sample)[:, None])
        return Votes(
            *(getattr(TruePose.votes(self, features, sample), name) for name in ("grid", "logits", "where")),
            {"root": root},
        )


@cache
def rendered(number):
    return render_scene("lab", Options(size=SIZE), number)


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """Three rendered pictures, the truth, and boxes around the people in them."""
    for name, kind in {"pose_net": TruePose, "root_net": TrueRoot, "root_pose_net": TrueBoth}.items():
        monkeypatch.setitem(MODELS, name, kind)
    TRUTH.clear()
    (tmp_path / "in").mkdir()
    results, cameras = [], {}
    for number in range(3):
        scene, name = rendered(number), f"{number}.png"
        Image.fromarray(scene.image).save(tmp_path / "in" / name)
        TRUTH[name] = scene.points[:, :17].astype(np.float64), scene.camera.astype(np.float64)
        cameras[name] = [*scene.camera[:2].tolist(), *(scene.camera[2:] - 0.5).tolist()]
        results += [result(name, box, 0.95 - 0.01 * k) for k, box in enumerate(scene.body)]
    (tmp_path / "boxes.json").write_text(json.dumps(results))
    (tmp_path / "cameras.json").write_text(json.dumps(cameras))
    torch.manual_seed(0)
    save_model(tmp_path / "pose.pt", TruePose(17, PoseNet.Options(**SMALL, depth_cells=8)).know(H36M17), H36M17, 1)
    save_model(tmp_path / "both.pt", TrueBoth(17, PoseNet.Options(**SMALL, depth_cells=8)).know(H36M17), H36M17, 1)
    save_model(tmp_path / "root.pt", TrueRoot(1, RootNet.Options(**SMALL)).know(H36M17), H36M17.select(("pelvis",)), 1)
    return tmp_path


def result(name, box, score):
    left, top, right, bottom = map(float, box)
    return {"file_name": name, "category_id": 1, "bbox": [left, top, right - left, bottom - top], "score": score}


def ask(folder, *inputs, output="out.json", model="pose.pt", root="root.pt", boxes="boxes.json", **options):
    options["root"] = None if root is None else folder / root
    options["boxes"] = str(folder / boxes) if boxes is not None and boxes.endswith(".json") else boxes
    if not {"camera", "focal"} & options.keys():
        options["camera"] = str(folder / "cameras.json")
    paths = [folder / one for one in inputs or ("in",)]
    return predict_chain(folder / model, paths, folder / output, Reporter(), **options)


def read(path):
    """The JSON, and its annotations by picture."""
    content = json.loads(path.read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    people = {name: [] for name in names.values()}
    for entry in content["annotations"]:
        people[names[entry["image_id"]]].append(entry)
    return content, people


def errors(people, key="keypoints_mm", joints=slice(None)):
    """mm between everyone in the file and the truth, in the order of the boxes."""
    made, true = [], []
    for name, entries in people.items():
        made += [np.reshape(entry[key], (-1, 3)) for entry in entries]
        true += list(TRUTH[name][0][:, joints])
    return np.linalg.norm(np.array(made) - np.array(true), axis=-1)


def test_absolute_points_come_back_from_picture_to_json(scenes, capsys):
    predicted = ask(scenes, batch=2)
    content, people = read(scenes / "out.json")
    assert errors(people).max() < 1.0
    assert errors(people, "root_mm", slice(0, 1)).max() < 1.0
    for name, entries in people.items():
        points, camera = TRUTH[name]
        for number, (entry, person) in enumerate(zip(entries, points, strict=True)):
            there = person[:, :2] / person[:, 2:] * camera[:2] + camera[2:]
            np.testing.assert_allclose(np.reshape(entry["keypoints"], (-1, 3))[:, :2] + 0.5, there, atol=0.02)
            assert entry["score"] == pytest.approx(0.95 - 0.01 * number)
    assert len(predicted) == len(content["annotations"]) == sum(len(points) for points, _ in TRUTH.values())


def test_the_json_says_how_it_was_made(scenes, capsys):
    ask(scenes, flip_test=False)
    content, _ = read(scenes / "out.json")
    info = content["info"]
    assert info["chain"]["pose"]["network"] == "TruePose"
    assert info["chain"]["root"] | {"sha256": ""} == {
        **{"network": "TrueRoot", "file": "root.pt", "sha256": "", "input_size": [32, 32], "root": "pelvis"},
        "extent_mm": 2000.0,
    }
    assert info["camera"]["from"] == "file"
    assert "smoothing" not in info
    assert "the detector's" in info["space"]
    image = content["images"][1]
    np.testing.assert_allclose(image["camera"], TRUTH["1.png"][1] - [0, 0, 0.5, 0.5], atol=1e-3)
    assert (content["nobody"], content["rejected"]) == ([], [])
    assert "the camera is that of" in capsys.readouterr().out


def test_depths_go_with_the_focal_length(scenes, capsys):
    made = {}
    for focal in ("120", "240"):
        ask(scenes, focal=focal, output=f"{focal}.json")
        made[focal] = np.array([entry["root_mm"] for entry in read(scenes / f"{focal}.json")[0]["annotations"]])
    np.testing.assert_allclose(made["240"], made["120"] * [1, 1, 2], rtol=1e-5, atol=1e-2)
    assert "camera_assumed" not in (scenes / "240.json").read_text()
    capsys.readouterr()
    ask(scenes, camera=None, output="assumed.json")
    content, people = read(scenes / "assumed.json")
    assert "Z_true = Z * f_true / 1500" in capsys.readouterr().out
    assert "Z_true = Z * f_true / 1500" in content["info"]["camera"]["note"]
    assert content["images"][0]["focal_assumed"]
    for name, entries in people.items():
        points, camera = TRUTH[name]
        for entry, person in zip(entries, points, strict=True):
            assert entry["root_mm"][2] == pytest.approx(person[0, 2] * 1500 / camera[0], rel=1e-4)


def test_a_photograph_tells_its_camera(scenes):
    name = "0.png"
    focal = TRUTH[name][1][0]
    with Image.open(scenes / "in" / name) as picture:
        exif = Image.Exif()
        exif[0x8769] = {0xA405: round(focal * 43.2666 / np.hypot(SIZE, SIZE))}
        picture.save(scenes / "photo.jpg", exif=exif)
    TRUTH["photo.jpg"] = TRUTH.pop(name)
    rows = [result("photo.jpg", box, 1.0) for box in boxes_of(name, scenes)]
    (scenes / "boxes.json").write_text(json.dumps(rows))
    ask(scenes, "photo.jpg", camera="exif")
    content, people = read(scenes / "out.json")
    assert content["info"]["camera"]["from"] == "exif"
    entry = people["photo.jpg"][0]
    told = content["images"][0]["camera"][0]
    assert told == pytest.approx(focal, rel=0.02)
    assert entry["root_mm"][2] == pytest.approx(TRUTH["photo.jpg"][0][0, 0, 2] * told / focal, rel=1e-4)


def boxes_of(name, folder):
    listed = [entry["bbox"] for entry in json.loads((folder / "boxes.json").read_text()) if entry["file_name"] == name]
    return [[x, y, x + w, y + h] for x, y, w, h in listed]


def test_a_root_net_writes_what_a_pose_net_reads(scenes, monkeypatch):
    ask(scenes, model="root.pt", root=None, output="roots.json")
    entries = json.loads((scenes / "roots.json").read_text())
    true = np.concatenate([points[:, 0] for points, _ in TRUTH.values()])
    np.testing.assert_allclose([entry["root_cam"] for entry in entries], true, atol=0.1)
    given = [box for name in TRUTH for box in boxes_of(name, scenes)]
    for entry, (left, top, right, bottom) in zip(entries, given, strict=True):
        expected = process_box(np.array([left, top, right - left, bottom - top]), SIZE, SIZE)
        np.testing.assert_allclose(entry["bbox"], expected + HALF, atol=1e-6)
        assert entry["extended"] is True
    ask(scenes, output="chain.json")
    ask(scenes, root="roots.json", boxes=None, output="roots_chain.json")
    content, people = read(scenes / "roots_chain.json")
    assert errors(people).max() < 1.0
    assert content["annotations"] == read(scenes / "chain.json")[0]["annotations"]  # nothing is extended twice
    assert content["info"]["chain"]["root"]["file"].endswith("roots.json")
    with pytest.raises(ValueError, match=r"roots outside their boxes, the first in .*made with another one"):
        ask(scenes, root="roots.json", boxes=None, focal="1500")


def test_a_network_that_knows_both_needs_no_root(scenes):
    ask(scenes, model="both.pt", root=None)
    assert errors(read(scenes / "out.json")[1]).max() < 1.0


def test_a_folder_is_a_chain(scenes):
    calibrated = Chain(scenes / "pose.pt", scenes / "root.pt", str(scenes / "boxes.json"), str(scenes / "cameras.json"))
    write_chain(scenes, calibrated)
    assert sees_people(scenes)
    assert main(["predict", str(scenes), str(scenes / "in"), "--output", str(scenes / "out.json")]) == 0
    assert errors(read(scenes / "out.json")[1]).max() < 1.0
    words = ["--focal", "240", "--output", str(scenes / "two.json")]
    assert main(["predict", str(scenes), str(scenes / "in"), *words]) == 0
    assert read(scenes / "two.json")[0]["info"]["camera"]["focal"] == [240.0, 240.0]


def test_people_who_cannot_be_cut_out_are_counted_and_listed(scenes, capsys):
    results = json.loads((scenes / "boxes.json").read_text())
    results = [entry for entry in results if entry["file_name"] != "1.png"]
    results.append(result("0.png", (SIZE + 5, 10, SIZE + 30, 40), 0.8))
    results.append(result("0.png", (-30, 10, -2, 40), 0.8))
    (scenes / "boxes.json").write_text(json.dumps(results))
    with pytest.warns(UserWarning, match="no box for 1 of 3 pictures, the first 1.png"):
        ask(scenes)
    content, people = read(scenes / "out.json")
    assert [entry["reason"] for entry in content["rejected"]] == ["outside its picture of 96x96"] * 2
    assert content["rejected"][0] | {"bbox": 0} == {
        **{"file_name": "0.png", "bbox": 0, "score": 0.8, "reason": "outside its picture of 96x96"},
    }
    assert content["nobody"] == ["1.png"]
    assert people["1.png"] == []
    said = capsys.readouterr().err
    assert "2 boxes were left out; all are listed as rejected" in said
    assert "1 of 3 pictures show nobody" in said


def test_a_person_cut_by_the_border_is_answered(scenes):
    (scenes / "boxes.json").write_text(json.dumps([result("0.png", (-20, 30, 40, SIZE + 50), 0.9)]))
    with pytest.warns(UserWarning, match="no box for 2 of 3"):
        ask(scenes)
    assert len(read(scenes / "out.json")[0]["annotations"]) == 1


def test_files_that_cannot_be_read_are_listed(scenes, capsys):
    (scenes / "in" / "3.png").write_bytes((scenes / "in" / "0.png").read_bytes()[:300])
    results = json.loads((scenes / "boxes.json").read_text())
    (scenes / "boxes.json").write_text(json.dumps([*results, result("3.png", (20, 20, 60, 70), 0.9)]))
    ask(scenes, focal="144")
    content, people = read(scenes / "out.json")
    assert [entry["file_name"] for entry in content["unreadable"]] == ["3.png"]
    assert list(people) == ["0.png", "1.png", "2.png"]
    assert "unreadable" in capsys.readouterr().err


def test_a_detector_says_where_people_are_and_how_sure(scenes, monkeypatch):
    """Twice: as it sees them, and as they are kept."""
    asked, shown = [], []

    class Watched(Detector):
        def __init__(self, name, root, pictures, **given):
            asked.append((name, root, list(pictures)))
            super().__init__(name, root, pictures, **given)

        def search(self, pictures):
            shown.extend(pictures)
            boxes = {name: np.array(boxes_of(name, scenes)) for name in pictures}
            seen = {name: Detections(one, np.linspace(0.9, 0.8, len(one))) for name, one in boxes.items()}
            self.people |= seen
            return seen

    monkeypatch.setattr(chain_inputs, "Detector", Watched)
    monkeypatch.setattr(detectors, "_load", lambda name: torch.nn.Identity())
    ask(scenes, boxes="maskrcnn_resnet50_fpn")
    first = read(scenes / "out.json")
    ask(scenes, boxes="maskrcnn_resnet50_fpn", overwrite=True)
    content, people = read(scenes / "out.json")
    assert (content, people) == first
    assert shown == ["0.png", "1.png", "2.png"]
    assert asked == 2 * [("maskrcnn_resnet50_fpn", scenes / "in", shown)]
    assert errors(people).max() < 1.0
    assert people["0.png"][0]["score"] == 0.9
    assert content["info"]["boxes"] == "maskrcnn_resnet50_fpn"


def test_whole_pictures_are_one_persons(scenes):
    ask(scenes, boxes="whole")
    content, people = read(scenes / "out.json")
    assert [entry["bbox"] for entry in content["annotations"]] == [[0, 0, SIZE, SIZE]] * 3
    made = np.array([entry["root_mm"] for entry in content["annotations"]])
    nearest_root = [np.abs(TRUTH[name][0][:, 0] - root).max(1).min() for name, root in zip(people, made, strict=True)]
    assert max(nearest_root) < 0.1


def test_mirrored_pictures_keep_names_and_places(scenes):
    ask(scenes, mirror=True)
    for name, (points, camera) in TRUTH.items():  # what the network calls left there is right
        TRUTH[name] = points[:, H36M17.flip], camera
    assert errors(read(scenes / "out.json")[1]).max() < 1.0


def test_a_root_behind_the_camera_is_listed(scenes, monkeypatch):
    monkeypatch.setitem(TRUTH, "2.png", (TRUTH["2.png"][0] * [1, 1, -1], TRUTH["2.png"][1]))
    ask(scenes)
    content, people = read(scenes / "out.json")
    assert people["2.png"] == []
    assert len(content["annotations"]) > 0
    assert all("behind the camera" in entry["reason"] for entry in content["rejected"])


@pytest.fixture
def video(scenes):
    """A clip of two people who walk apart, whose depths jump now and then, and its boxes."""
    points, camera = np.concatenate([TRUTH["0.png"][0], TRUTH["1.png"][0]])[:2], TRUTH["0.png"][1]
    results = []
    for frame in range(9):
        moved = points + np.array([[[20.0, 0, 10.0]], [[-20.0, 0, 0]]]) * frame
        if frame == 4:
            moved[0] *= 1.1
        name = f"clip.mp4#{frame}"
        TRUTH[name] = moved, camera
        there = moved[..., :2] / moved[..., 2:] * camera[:2] + camera[2:]
        order = (0, 1) if frame % 2 else (1, 0)  # scores do not tell who is who
        results += [result(name, (*there[k].min(0), *there[k].max(0)), 0.9) for k in order]
    write_video(scenes / "clip.mp4", (np.full((SIZE, SIZE, 3), 90, np.uint8) for _ in range(9)), 10, overwrite=True)
    (scenes / "boxes.json").write_text(json.dumps(results))
    return scenes / "clip.mp4"


def test_roots_of_a_video_are_smoothed_where_asked(scenes, video):
    ask(scenes, video.name, focal="144", output="plain.json")
    ask(scenes, video.name, focal="144", output="smooth.json", smooth_root=3)
    plain, smooth = (read(scenes / name)[0] for name in ("plain.json", "smooth.json"))
    assert "smoothing" not in plain["info"]
    assert "track_id" not in plain["annotations"][0]
    assert smooth["info"]["smoothing"]["frames"] == 3
    tracks = np.array([entry["track_id"] for entry in smooth["annotations"]]).reshape(9, 2)
    np.testing.assert_array_equal(tracks, [(1, 0) if frame % 2 else (0, 1) for frame in range(9)])
    walker = [np.array([entry["root_mm"][2] for entry in c["annotations"]]).reshape(9, 2) for c in (plain, smooth)]
    before, after = (np.take_along_axis(z, np.argmax(tracks == 1, 1)[:, None], 1)[:, 0] for z in walker)
    expected = [np.median(before[max(k - 1, 0) : k + 2]) for k in range(9)]
    np.testing.assert_allclose(after, expected, rtol=1e-6)
    assert before[4] / before[3] == pytest.approx(1.1, abs=0.02)
    assert after[4] / after[3] == pytest.approx(1, abs=0.02)
    for one, other in zip(plain["annotations"], smooth["annotations"], strict=True):
        assert one["keypoints"] == other["keypoints"]  # joints move along their rays
        here, there = (np.reshape(entry["keypoints_mm"], (-1, 3)) for entry in (one, other))
        np.testing.assert_allclose(here[:, :2] / here[:, 2:], there[:, :2] / there[:, 2:], atol=1e-5)
        shift = other["root_mm"][2] - one["root_mm"][2]
        np.testing.assert_allclose(there[:, 2] - here[:, 2], shift, atol=2e-3)


def test_roots_alone_are_smoothed_too(scenes, video):
    ask(scenes, video.name, model="root.pt", root=None, focal="144", output="roots.json", smooth_root=3)
    ask(scenes, video.name, focal="144", output="smooth.json", smooth_root=3)
    roots = [entry["root_cam"] for entry in json.loads((scenes / "roots.json").read_text())]
    chain = [entry["root_mm"] for entry in read(scenes / "smooth.json")[0]["annotations"]]
    np.testing.assert_allclose(roots, chain, atol=1e-3)


def test_tracks_and_medians():
    roots = np.array([[0, 0, 3000.0], [0, 0, 6000.0], [0, 0, 6100.0], [50, 0, 3050.0], [0, 0, 3100.0], [900, 0, 9000]])
    frames = np.array([0, 0, 1, 1, 4, 30])
    np.testing.assert_array_equal(track(roots, frames), [0, 1, 1, 0, 0, 2])
    np.testing.assert_array_equal(track(roots[:0], frames[:0]), [])
    line, seen = np.array([1.0, 9, 2, 3, 8]), np.array([0, 1, 2, 4, 5])
    naive = [np.median([v for v, f in zip(line, seen, strict=True) if abs(f - at) <= 1]) for at in seen]
    np.testing.assert_allclose(running_median(line, seen, 3), naive)
    names = ["a.png", "c.mp4#0", "c.mp4#1", "c.mp4#2"]
    depths = smoothed(np.arange(4), np.array([-1, 0, 0, 0]), np.array([5.0, 1, 7, 2]), names, 3)
    np.testing.assert_allclose(depths, [5, 4, 2, 4.5])


def reference_patch(image, box, size):
    """A naive copy of the reference's crop: 3DMPPE_POSENET_RELEASE, data/dataset.py, gen_trans_from_patch_cv."""
    bx, by, bw, bh = box
    x, y, half = bx + bw / 2, by + bh / 2, size / 2
    source = np.array([[x, y], [x, y + bh / 2], [x + bw / 2, y]], np.float32)
    goal = np.array([[half, half], [half, size], [size, half]], np.float32)
    matrix = cv2.getAffineTransform(source, goal)
    return cv2.warpAffine(image.astype(np.float32), matrix, (size, size), flags=cv2.INTER_LINEAR), matrix


@pytest.mark.parametrize("box", [(20.0, 11.0, 60.0, 70.0), (-9.0, 3.0, 90.0, 61.5), (30.2, 40.7, 15.0, 12.0)])
def test_released_networks_see_the_references_pixels(box):
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8), (0, 0), 3)
    look = Look((64, 64), 2000.0, True, [0], True)
    left, top, width, height = box
    cut = look.box(np.array([left, top, left + width, top + height]), 128, 96, False)
    made = look.crop(image, cut, "", np.array([100.0, 100, 64, 48]), 0, False)
    processed = process_box(np.array(box), 128, 96)
    patch, matrix = reference_patch(image, processed, 64)
    np.testing.assert_allclose(made.inputs["image"].transpose(1, 2, 0), patch, atol=2)
    rng = np.random.default_rng(1)
    there = rng.uniform(0, 96, (20, 2))
    ours = np.linalg.inv(np.vstack([made.to_file[:2, [0, 1, 3]], [0, 0, 1]])) @ np.vstack([there.T + 0.5, np.ones(20)])
    theirs = matrix @ np.vstack([there.T, np.ones(20)]) + 0.5
    np.testing.assert_allclose(ours[:2], theirs, atol=0.05)
    cells = rng.uniform(0, 16, (20, 2))  # and the way back from the grid is x / 64 * bw + bx, in pixel indices
    back = (cells * 4 + 0.5) @ made.to_file[:2, :2].T + made.to_file[:2, 3] - 0.5
    np.testing.assert_allclose(back, cells / 16 * processed[2:] + processed[:2], atol=0.05)
    assert made.inputs["k"] == pytest.approx(2000 * 100 / np.sqrt(processed[2] * processed[3]))


def test_the_published_example_has_its_k():
    """The picture, box and k of PoseNet's demo."""
    look = Look((256, 256), 2000.0, True, [0], False)
    box = look.box(np.array([139.41, 102.25, 139.41 + 222.39, 102.25 + 241.57]), 640, 392, False)
    np.testing.assert_allclose(box - 0.5, [99.74875, 72.17875, 400.46125, 372.89125], atol=1e-4)
    made = look.crop(np.zeros((392, 640, 3), np.uint8), box, "", np.array([1500.0, 1500, 320, 196]), 0, False)
    assert made.inputs["k"] == pytest.approx(9976.306273, abs=1e-3)


def released(model, keys, path):
    """The weights under the reference's keys, as its snapshots hold them."""
    names = {ours: theirs for theirs, ours in keys.items()}
    state = {}
    for key, value in model.state_dict().items():
        begin = next((begin for begin in names if key.startswith(begin)), "")
        state[f"module.{names.get(begin, '')}{key.removeprefix(begin)}"] = value
    torch.save({"epoch": 24, "network": state, "optimizer": {}}, path)


RESNET = {"backbone": "resnet18", "input_size": [64, 64], "channels": 8, "reference": True}


@pytest.fixture
def snapshots(scenes, monkeypatch):
    """Released checkpoints of random weights, whose inputs would be too large for a test."""
    monkeypatch.undo()  # the networks of other tests know the truth
    torch.manual_seed(0)
    for joints in (18, 21, 20):
        released(PoseNet(joints, PoseNet.Options(**RESNET)), pose_net.KEYS, scenes / f"snapshot_{joints}.pth.tar")
    root = RootNet(1, RootNet.Options(**RESNET))
    torch.nn.init.zeros_(root.head.depth[0].weight)
    torch.nn.init.constant_(root.head.depth[0].bias, 1.1)  # gamma
    released(root, root_net.KEYS, scenes / "snapshot_19.pth.tar")
    return scenes


@pytest.mark.parametrize("skeleton", [H36M18, MUCO21])
def test_released_checkpoints_are_known_by_their_keys(snapshots, skeleton):
    (snapshots / "boxes.json").write_text(json.dumps([result("0.png", (20, 20, 60, 70), 0.9)]))
    model = f"snapshot_{len(skeleton)}.pth.tar"
    assert sees_people(snapshots / model)
    ask(snapshots, "in/0.png", model=model, root="snapshot_19.pth.tar", flip_test=True)
    content, people = read(snapshots / "out.json")
    assert content["categories"][0]["keypoints"] == list(skeleton.keypoints)
    assert content["info"]["chain"]["pose"]["input_size"] == [256, 256]
    entry, camera = people["0.png"][0], np.array(content["images"][0]["camera"])
    z = np.reshape(entry["keypoints_mm"], (-1, 3))[:, 2]
    assert np.abs(z - entry["root_mm"][2]).max() < 1000.0  # within the volume, which is flat
    there = np.reshape(entry["keypoints_mm"], (-1, 3))[:, :2] / z[:, None] * camera[:2] + camera[2:]
    np.testing.assert_allclose(there, np.reshape(entry["keypoints"], (-1, 3))[:, :2], atol=0.01)
    width = process_box(np.array([20.0, 20, 40, 50]), SIZE, SIZE)[2]
    assert entry["root_mm"][2] == pytest.approx(1.1 * 2000 * camera[0] / width, rel=1e-4)


def test_released_joints_that_are_not_known_are_named(snapshots):
    (snapshots / "boxes.json").write_text(json.dumps([result("0.png", (20, 20, 60, 70), 0.9)]))
    model = {"model": "snapshot_20.pth.tar", "root": "snapshot_19.pth.tar"}
    with pytest.raises(ValueError, match=r"20 joints; known are 18 .h36m18. and 21 .muco21.*skeleton=FILE.yaml"):
        ask(snapshots, "in/0.png", **model)
    names = [*H36M17.keypoints, "thorax", "left_hand", "right_hand"]
    (snapshots / "mine.yaml").write_text(json.dumps({"name": "mine", "keypoints": names}))
    ask(snapshots, "in/0.png", **model, words=[f"skeleton={snapshots / 'mine.yaml'}"])
    assert read(snapshots / "out.json")[0]["categories"][0]["keypoints"] == names
    with pytest.raises(ValueError, match="h36m17 has 17"):
        ask(snapshots, "in/0.png", **model, words=["skeleton=h36m17"], output="b.json")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"root": None},
            r"TruePose answers relative to the pelvis, and nothing says where that is. Give --root",
        ),
        ({"root": "pose.pt"}, "expected a RootNet, and this is TruePose"),
        ({"root": "boxes.json", "boxes": None}, "a file of boxes without roots; give it as --boxes"),
        ({"model": "root.pt"}, "name a PoseNet as MODEL, and it as --root"),
        ({"model": "root.pt", "root": None, "flip_test": True}, "--flip-test: a RootNet alone writes roots"),
        ({"model": "other.pt"}, "root_net, pose_net or root_pose_net, and this is PoseResNet"),
        ({"root": "wrist.pt"}, "relative to the pelvis, and .*wrist.pt tells where the wrist is"),
        ({"model": "rootless.pt"}, "its skeleton 'h36m17' has no root, which z is counted from"),
        ({"boxes": None}, "say where people are: --boxes FILE"),
        ({"boxes": "maskrcnn"}, "maskrcnn' is not known"),
        ({"boxes": "empty.json"}, "nobody in any of 3 pictures, the first 0.png"),
        ({"boxes": "outside.json"}, "nobody in 3 pictures: of 3 boxes none can be used"),
        ({"focal": "0"}, "0 is no camera's"),
        ({"focal": "35mm"}, "expected F, or FX,FY,CX,CY"),
        ({"focal": "5"}, "not mm"),
        ({"focal": "144", "camera": "exif"}, "both state the camera"),
        ({"camera": "exif"}, "camera=exif: 3 of 3 pictures and videos tell no camera"),
        ({"smooth_root": 4}, "expected an odd number of frames"),
        ({"smooth_root": 5}, "no video among 3 pictures"),
        ({"format": "uvd", "output": "out.txt"}, "one person in a picture"),
        ({"words": ["skeleton=h36m17"]}, "says itself what its joints are"),
        ({"words": ["skeletn=h36m17"]}, "Did you mean skeleton"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*no box for")
def test_bad_input_is_refused_before_anything_is_written(scenes, asked, message):
    save_model(scenes / "other.pt", PoseResNet(17, PoseResNet.Options(backbone="small")), H36M17, 1)
    limbs = H36M17.select(H36M17.keypoints[1:])
    save_model(scenes / "rootless.pt", TruePose(16, PoseNet.Options(**SMALL, depth_cells=8)).know(limbs), limbs, 1)
    wrist = HAND.select(("wrist",))
    save_model(scenes / "wrist.pt", TrueRoot(1, RootNet.Options(**SMALL)).know(wrist), wrist, 1)
    (scenes / "empty.json").write_text("{}")
    outside = [result(f"{k}.png", (SIZE + 5, 10, SIZE + 30, 40), 0.8) for k in range(3)]
    (scenes / "outside.json").write_text(json.dumps(outside))
    with pytest.raises(ValueError, match=message):
        ask(scenes, **asked)
    assert not (scenes / asked.get("output", "out.json")).exists()


def test_other_models_take_nothing_of_chains(scenes, capsys):
    save_model(scenes / "other.pt", PoseResNet(17, PoseResNet.Options(backbone="small")), H36M17, 1)
    words = ["predict", str(scenes / "other.pt"), str(scenes / "in"), "--output", str(scenes / "out.json")]
    assert main([*words, "--smooth-root", "5"]) == 2
    assert "--smooth-root is of people in space, and" in capsys.readouterr().err
    for option in ("--nms=pose", "--box-score=0.1"):
        assert main(["predict", str(scenes / "pose.pt"), str(scenes / "in"), option]) == 2
        refused = (
            f"{option.partition('=')[0]} is of pictures: {scenes / 'pose.pt'} places people in space. Predict with"
        )
        assert refused in capsys.readouterr().err
    assert not sees_people(scenes / "other.pt")
    assert not sees_people(scenes / "boxes.json")
    assert not sees_people(scenes / "nothing")


@pytest.mark.filterwarnings("ignore:.*no box for")
def test_pictures_and_videos_are_drawn_with_two_views(scenes, video):
    ask(scenes, "clip.mp4", focal="144", draw=scenes / "drawn")
    frames = list(frames_in(scenes / "drawn" / "clip.mp4"))
    assert len(frames) == 9
    assert frames[0].shape == (600, 600 + 540, 3)
    first, second = (frame[:, 600:].astype(int) for frame in frames[:2])
    assert np.abs(first - second).max() > 60  # someone moves
    (scenes / "boxes.json").write_text(json.dumps([result("0.png", (20, 20, 60, 70), 0.9)]))
    ask(scenes, "in", draw=scenes / "pictures", output="b.json")
    assert sorted(path.name for path in (scenes / "pictures").iterdir()) == ["0.png", "1.png", "2.png"]  # nobody, too


def test_views_have_one_scale_and_lie_where_the_axes_say():
    points = np.array([[[0.0, 0, 3000], [0, 1000, 3000], [1000, 0, 4000]]])
    stage = Stage(np.array([-1500.0, -1500, 0]), np.array([1500.0, 1500, 6000]))
    bare = body("three", ("nose", "neck", "pelvis"))
    picture = views(points, stage, replace(bare, edges=()), [(255, 0, 0)], 600)
    red = (picture[..., 0] > 200) & (picture[..., 1:] < 90).all(-1)
    middles = []
    for half in (red[:300], red[300:]):
        _, _, _, centroids = cv2.connectedComponentsWithStats(half.astype(np.uint8))
        middles.append(sorted(centroids[1:].tolist()))
    side, above = map(np.array, middles)  # (z, y) and (z, x) of: 0 and 1 together in x, 0 and 2 in y
    scale = (side[2, 0] - side[0, 0]) / 1000
    np.testing.assert_allclose(abs(side[0, 1] - side[1, 1]), 1000 * scale, atol=1.5)
    np.testing.assert_allclose(above[1] - above[0], [1000 * scale, 1000 * scale], atol=1.5)
