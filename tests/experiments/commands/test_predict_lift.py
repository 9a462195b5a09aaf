"""From a video's 2D predictions to people in space: files as `keyshift predict` writes them, and a lifter whose answers
are known."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from keyshift.datasets.bodies.skeletons import COCO17, H36M17
from keyshift.datasets.options import option
from keyshift.datasets.own.sequences2d import Options, between, own_sequences, read_predictions
from keyshift.datasets.reading.video import frames, write_video
from keyshift.datasets.sample import BODY_MM
from keyshift.experiments.cli import main
from keyshift.experiments.commands.predict import predict
from keyshift.experiments.runs.progress import Reporter
from keyshift.models.output import Grid, Poses, Votes
from keyshift.models.pose_model import PoseModel
from keyshift.models.saved import MODELS, save_model

CAMERA = np.array([900.0, 900.0, 320.0, 240.0])
FAR = 10.0


class Flat(PoseModel):
    """Everyone stands flat before the camera, 1 px of the input being 10 mm, and leans: z is FAR times the window's
    step in x at the joint, which asks for the right window."""

    reads, space, frames = ("keypoints2d",), BODY_MM, 3

    @dataclass(frozen=True)
    class Options(PoseModel.Options):
        input_size: list[int] = option([64, 48], "width, height", size=2)

    def __init__(self, keypoints, options):
        super().__init__(keypoints, options)
        self.grid = Grid((4, 4), (1.0, 1.0), (0.5, 0.5))
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def know(self, skeleton):
        self.root = skeleton.root
        return self

    def features(self, sample):
        return self.answer(sample.inputs["keypoints2d"])

    def answer(self, window):
        points = torch.cat([10 * window[:, 1, :, :2], FAR * (window[:, 2] - window[:, 0])[..., :1]], -1)
        return points - points[:, self.root, None]

    def votes(self, features, sample, head=None):
        return Votes(self.grid, torch.zeros(len(features), 1, self.keypoints), features[:, None])

    def decode(self, votes, sample):
        return Poses.of_crops(votes.where[:, 0], votes.confidence())

    def loss(self, votes, sample):
        return {}

    def counted(self, sample):
        return sample.annotated

    def new_head(self, layers=None):
        return torch.nn.Identity()

    def example(self, name, batch):
        return torch.zeros(batch, 3, self.keypoints, 3)


@pytest.fixture
def lifter(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(MODELS, "flat", Flat)
    save_model(tmp_path / "lifter.pt", Flat(17, Flat.Options()), H36M17, 1)
    return tmp_path / "lifter.pt"


def pose(t, who=0):
    """(17, 2) px of a body of COCO in a picture of 640x480 at time t."""
    rng = np.random.default_rng([5, who])
    return np.add(rng.uniform(-60, 60, (17, 2)), (200 + 150 * who + 3 * t, 240))


def file_of(path, people, video="clip.mp4", skeleton=COCO17, size=(640, 480), stride=1, times=True):
    """A file of predictions: `people` {track: {frame: (points (K, 2), confidence (K,))}}; track -1: none said."""
    last = max(frame for shown in people.values() for frame in shown)
    images = [
        {"id": n + 1, "file_name": f"{video}#{n * stride}", "width": size[0], "height": size[1], "frame": n * stride}
        | ({"time": n / 10} if times else {})
        for n in range(last + 1)
    ]
    rows = [(frame, track, *shown[frame]) for track, shown in people.items() for frame in shown]
    annotations = [
        {
            "id": number + 1,
            "image_id": frame + 1,
            "category_id": 1,
            "keypoints": np.concatenate([points - 0.5, 2 * (sure[:, None] > 0)], 1).ravel().tolist(),
            "keypoint_scores": sure.tolist(),
            "bbox": [0, 0, 1, 1],
            "score": float(sure.mean()),
        }
        | ({"track_id": track} if track >= 0 else {})
        for number, (frame, track, points, sure) in enumerate(sorted(rows, key=lambda row: row[:2]))
    ]
    category = {"id": 1, "name": "body", "keypoints": list(skeleton.keypoints), "skeleton": []}
    content = {
        "info": {"root": str(path.parent)},
        "images": images,
        "annotations": annotations,
        "categories": [category],
    }
    path.write_text(json.dumps(content))
    return path


def run(model, path, output, **options):
    predicted = predict(model, [path], output, Reporter(), **options)
    return predicted, json.loads(output.read_text())


ALL = np.ones(17)


def test_people_of_a_video_in_space(lifter, tmp_path):
    people = {who: {t: (pose(t, who), ALL) for t in range(who, 8)} for who in (0, 1)}
    path = file_of(tmp_path / "predictions.json", people)
    _, content = run(lifter, path, tmp_path / "space.json", batch=3)
    entries = content["annotations"]
    assert [(one["image_id"] - 1, one["track_id"]) for one in entries] == [
        (t, who) for t in range(8) for who in (0, 1) if t >= who
    ]
    assert content["categories"][0]["keypoints"] == list(H36M17.keypoints)
    assert content["info"]["root"] == "pelvis"
    place = {name: k for k, name in enumerate(COCO17.keypoints)}
    for one in entries:
        who, t = one["track_id"], one["image_id"] - 1
        body, made = pose(t, who), np.array(one["keypoints_from_root_mm"])
        pelvis = body[[place["left_hip"], place["right_hip"]]].mean(0)
        shown = {"nose": body[place["nose"]], "neck": body[[place["left_shoulder"], place["right_shoulder"]]].mean(0)}
        for name, pixel in shown.items():
            wanted = (pixel - pelvis) / 10 * 10  # 640 px of the picture are 64 of the input, each 10 mm
            np.testing.assert_allclose(made[H36M17.keypoints.index(name), :2], wanted, atol=0.01)
        assert np.abs(made[H36M17.root]).max() == 0
        np.testing.assert_allclose(made[:, 2], 0, atol=1e-2)  # all joints move alike
        assert "keypoints_mm" not in one  # no camera is known
    assert [image["time"] for image in content["images"]] == [n / 10 for n in range(8)]


def test_where_people_stand_follows_from_the_camera(lifter, tmp_path, monkeypatch):
    """Of a body whose picture is made from points in space: the answer is told, and so the root is found again."""
    rng = np.random.default_rng(2)
    body = rng.normal(0, 300, (6, 17, 3))
    body -= body[:, H36M17.root, None]
    root = np.stack([np.linspace(-500, 500, 6), np.full(6, 100.0), np.linspace(3000, 4000, 6)], 1)
    space = body + root[:, None]
    pixels = space[..., :2] / space[..., 2:] * CAMERA[:2] + CAMERA[2:]
    path = file_of(tmp_path / "predictions.json", {0: {t: (pixels[t], ALL) for t in range(6)}}, skeleton=H36M17)
    told = iter(torch.from_numpy(body).float())
    monkeypatch.setattr(Flat, "answer", lambda self, window: torch.stack([next(told) for _ in window]))
    focal = ",".join(map(str, [*CAMERA[:2], *(CAMERA[2:] - 0.5)]))
    assert main(["predict", str(lifter), str(path), "--focal", focal, "--output", str(tmp_path / "out.json")]) == 0
    content = json.loads((tmp_path / "out.json").read_text())
    for t, one in enumerate(content["annotations"]):
        np.testing.assert_allclose(one["root_mm"], root[t], atol=0.5)
        np.testing.assert_allclose(one["keypoints_mm"], space[t], atol=0.5)
    np.testing.assert_allclose(content["images"][0]["camera"], [*CAMERA[:2], *(CAMERA[2:] - 0.5)])


def test_who_is_missing_stands_between_and_is_marked(lifter, tmp_path):
    shown = {t: (pose(t), ALL.copy()) for t in range(30) if t not in (4, 5) and not 10 <= t < 22}
    shown[7][1][:5] = 0  # the head was not found
    shown[7][0][:5] = 0
    path = file_of(tmp_path / "predictions.json", {3: shown})
    file = read_predictions(path, Options())
    assert [one.recording.name for one in file.people] == ["clip.mp4/3", "clip.mp4/3.1"]
    first = file.people[0].recording
    assert first.frames.tolist() == list(range(10))
    np.testing.assert_allclose(first.keypoints2d[..., :2], [pose(t) for t in range(10)], atol=1e-9)
    assert (first.keypoints2d[[4, 5], :, 2] == 0).all()
    assert (first.keypoints2d[7, :5, 2] == 0).all()
    assert (first.keypoints2d[7, 5:, 2] == 1).all()
    _, content = run(lifter, path, tmp_path / "out.json")
    marked = [one["image_id"] - 1 for one in content["annotations"] if one.get("interpolated")]
    assert marked == [4, 5]
    assert [one["image_id"] - 1 for one in content["annotations"]] == [*range(10), *range(22, 30)]


def test_times_that_vary_and_keypoints_that_never_come():
    points = np.zeros((5, 3, 3))
    points[[0, 4], 0] = [[10, 20, 0.5], [50, 60, 0.7]]
    points[2, 1] = [7, 8, 1.0]
    made = between(points, np.array([0.0, 1.0, 4.0, 7.0, 8.0]))
    np.testing.assert_allclose(made[:, 0, 0], [10, 15, 30, 45, 50])
    np.testing.assert_allclose(made[:, 1, :2], [[7, 8]] * 5)
    np.testing.assert_allclose(made[:, 2, 0], (made[:, 0, 0] + 7) / 2)
    np.testing.assert_array_equal(made[..., 2], points[..., 2])


def test_a_long_window_is_lifted_as_a_whole_where_the_system_can(lifter, tmp_path, monkeypatch):
    """`lift` sees the same pixels of the input as windows do, and the lens."""
    path = file_of(tmp_path / "predictions.json", {0: {t: (pose(t**1.5), ALL) for t in range(12)}})
    windows, _ = run(lifter, path, tmp_path / "windows.json", focal="900")
    seen = {}

    def lift(self, keypoints2d, lens=None):
        seen["lens"] = lens.tolist()
        edges = torch.cat([keypoints2d[:1], keypoints2d, keypoints2d[-1:]])
        return self.answer(edges.unfold(0, 3, 1).movedim(-1, 1))

    monkeypatch.setattr(Flat, "lift", lift, raising=False)
    whole, _ = run(lifter, path, tmp_path / "whole.json", focal="900")
    np.testing.assert_allclose(whole.rows["lifted"], windows.rows["lifted"], atol=1e-3)
    assert np.abs(np.diff(windows.rows["lifted"][:, 5, 2])).max() > 0  # the windows differ
    np.testing.assert_allclose(seen["lens"], [90, 90, 32, 24])


def test_drawn_beside_the_video(lifter, tmp_path):
    write_video(tmp_path / "clip.mp4", np.zeros((6, 480, 640, 3), np.uint8), 10)
    path = file_of(tmp_path / "predictions.json", {0: {t: (pose(t), ALL) for t in range(6)}})
    run(lifter, path, tmp_path / "space.json", draw=tmp_path / "drawn")
    drawn = list(frames(tmp_path / "drawn/clip.mp4"))
    assert len(drawn) == 6
    assert drawn[0].shape[1] > 640 * drawn[0].shape[0] / 480  # the picture and the views
    (tmp_path / "clip.mp4").unlink()
    run(lifter, path, tmp_path / "again.json", draw=tmp_path / "grey")  # without the video, people alone are drawn
    assert [one.shape for one in frames(tmp_path / "grey/clip.mp4")] == [one.shape for one in drawn]


def test_what_is_no_file_of_predictions(lifter, tmp_path):
    def refused(message, path, **options):
        with pytest.raises(ValueError, match=message):
            run(lifter, path, tmp_path / "out.json", **options)

    path = file_of(tmp_path / "one.json", {-1: {0: (pose(0), ALL), 1: (pose(1), ALL)}})
    assert len(run(lifter, path, tmp_path / "single.json")[0]) == 2
    content = json.loads(path.read_text())
    content["annotations"][1]["image_id"] = 1
    (tmp_path / "two.json").write_text(json.dumps(content))
    refused(
        "clip.mp4#0 shows several people, and nothing says who is who: predict with --tracks", tmp_path / "two.json"
    )
    (tmp_path / "nobody.json").write_text(json.dumps(content | {"annotations": []}))
    refused("nobody is in these predictions", tmp_path / "nobody.json")
    del content["annotations"][0]["keypoint_scores"]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    refused("keypoint_scores", tmp_path / "labels.json")
    refused(r"reads keypoints2d, and lifts them into space: give the JSON that keyshift predict wrote", tmp_path)
    refused("stride=2: .* lifts 2D keypoints, and takes --focal", path, stride=2)
    mice = file_of(
        tmp_path / "mice.json",
        {0: {0: (np.zeros((2, 2)), np.ones(2))}},
        skeleton=type(COCO17)("mouse", ("snout", "tail_base")),
    )
    refused("none can be had of snout, tail_base", mice)
    assert not (tmp_path / "out.json").exists()
    with pytest.raises(ValueError, match="is what is read"):
        predict(lifter, [path], path, Reporter(), overwrite=True)


def test_what_predict_wrote_of_two_people_goes_into_space(lifter, tmp_path, monkeypatch):
    """From end to end: a video of two people, boxes for each frame, 2D keypoints with tracks, then poses."""

    class Grid17(PoseModel):
        """Keypoints stand on a line across the crop, wherever that is."""

        @dataclass(frozen=True)
        class Options(PoseModel.Options):
            input_size: list[int] = option([32, 32], "width, height", size=2)

        frames = 3

        def __init__(self, keypoints, options):
            super().__init__(keypoints, options)
            self.grid = Grid((4, 4), (8.0, 8.0), (4.0, 4.0))

        def features(self, sample):
            return sample.image

        def votes(self, features, sample, head=None):
            steps = torch.linspace(4, 28, self.keypoints)
            where = torch.stack([steps, steps.flip(0)], -1).expand(len(features), 1, -1, -1)
            return Votes(self.grid, torch.zeros(where.shape[:-1]), where)

        def decode(self, votes, sample):
            return Poses.of_crops(votes.where[:, 0], votes.confidence())

        def new_head(self, layers=None):
            return torch.nn.Identity()

        loss = counted = None

    monkeypatch.setitem(MODELS, "grid17", Grid17)
    save_model(tmp_path / "flat.pt", Grid17(17, Grid17.Options()), COCO17, 1)
    scene = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    write_video(tmp_path / "clip.mp4", [scene] * 10, 10)
    boxes = {f"clip.mp4#{t}": [[2 + 2 * t, 10, 22 + 2 * t, 40], [42 - 2 * t, 12, 62 - 2 * t, 42]] for t in range(10)}
    del boxes["clip.mp4#5"]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    words = ["predict", str(tmp_path / "flat.pt"), str(tmp_path / "clip.mp4"), "--boxes", str(tmp_path / "boxes.json")]
    with pytest.warns(UserWarning, match="no box for 1 of 10"):
        assert main([*words, "--output", str(tmp_path / "flat.json")]) == 0
    words = [
        "predict",
        str(lifter),
        str(tmp_path / "flat.json"),
        "--focal",
        "60",
        "--output",
        str(tmp_path / "out.json"),
    ]
    assert main(words) == 0
    content = json.loads((tmp_path / "out.json").read_text())
    entries = content["annotations"]
    assert [(one["image_id"], one["track_id"]) for one in entries] == [
        (t + 1, who) for t in range(10) for who in (0, 1)
    ]
    assert [one["image_id"] for one in entries if one.get("interpolated")] == [6, 6]
    assert all(len(one["keypoints_mm"]) == 17 for one in entries)
    assert [image["time"] for image in content["images"]] == [t / 10 for t in range(10)]
    tracked = {who: [one["bbox"][0] for one in entries if one["track_id"] == who] for who in (0, 1)}
    assert (np.diff(tracked[0]) > 0).all()  # each goes on their way, also while they cross
    assert (np.diff(tracked[1]) < 0).all()


def test_a_dataset_of_predictions(tmp_path):
    for name, count in (("a", 3), ("b", 4)):
        people = {who: {t: (pose(t, who), ALL) for t in range(10)} for who in range(count)}
        file_of(tmp_path / f"{name}.json", people, video=f"{name}.mp4")
    train, test = (own_sequences(Options(root=str(tmp_path)), part, H36M17) for part in ("train", "test"))
    names = {part: [one.name for one in data.recordings] for part, data in (("train", train), ("test", test))}
    assert names == {
        "train": ["a/a.mp4/0", "a/a.mp4/1", "a/a.mp4/2", "b/b.mp4/0", "b/b.mp4/2", "b/b.mp4/3"],
        "test": ["b/b.mp4/1"],
    }
    item = test.clips(5)[3]
    assert (item.sequence, item.frame, item.inputs["keypoints2d"].shape) == ("b/b.mp4/1", 3, (5, 17, 3))
    assert not item.annotated.any()
    assert train.skeleton == H36M17
    one = Options(root=str(tmp_path / "a.json"))
    halves = [own_sequences(one, part, COCO17) for part in ("train", "test")]
    assert [len(half) for half in halves] == [24, 6]
    assert halves[1][0].frame == 8
    np.testing.assert_allclose(halves[0][0].inputs["keypoints2d"][0, :, :2], pose(0, 0))
