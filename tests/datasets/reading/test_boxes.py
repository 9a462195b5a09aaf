import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import get_model

from keyshift.datasets.reading import boxes as module
from keyshift.datasets.reading.annotations import BadAnnotation
from keyshift.datasets.reading.boxes import SCORE, detect, detector_names, read_boxes, touching, weights_of

PICTURES = ["a.jpg", "day 1/b.jpg", "clip.mp4#0", "clip.mp4#5"]
EVERYWHERE = {name: [[1.5, 2, 30, 40.25]] for name in PICTURES}


def write(tmp_path, content, name="boxes.csv"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_the_three_forms_say_the_same(tmp_path):
    wanted = {
        "a.jpg": [[1.5, 2, 30, 40.25], [-3, 0, 5, 6]],
        "day 1/b.jpg": [[0, 0, 10, 10]],
        "clip.mp4#5": [[7, 8, 9, 10]],
    }
    rows = [(name, *box) for name, boxes in wanted.items() for box in boxes]
    paths = [
        write(
            tmp_path,
            "\ufefffile,left,top,right,bottom\r\n" + "\r\n".join(",".join(map(str, r)) for r in rows) + "\r\n\r\n",
        ),
        write(
            tmp_path,
            "file, left,top,right,bottom,score\n" + "\n".join(",".join(map(str, (*r, 0.9))) for r in rows),
            "b.CSV",
        ),
        write(tmp_path, wanted | {"clip.mp4#0": []}, "a.json"),
        write(
            tmp_path,
            [
                {"image_id" if k % 2 else "file_name": n, "category_id": 1, "bbox": [x, y, r - x, b - y], "score": 0.8}
                for k, (n, x, y, r, b) in enumerate(rows)
            ],
            "b.json",
        ),
    ]
    for path in paths:
        with pytest.warns(UserWarning, match=r"no box for 1 of 4 pictures, the first clip\.mp4#0; they are left out"):
            boxes = read_boxes(path, PICTURES)
        assert {name: box.tolist() for name, box in boxes.items()} == wanted
        assert all(box.dtype == np.float64 for box in boxes.values())


def test_boxes_of_low_scores_are_left_out_and_counted(tmp_path):
    head = "file,left,top,right,bottom,score\n"
    path = write(tmp_path, f"{head}a.jpg,0,0,9,9,{SCORE}\na.jpg,0,0,5,5,{SCORE - 0.01}\nb.jpg,0,0,5,5,0.1\n")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        boxes = read_boxes(path, ["a.jpg", "b.jpg"])
    assert {name: box.tolist() for name, box in boxes.items()} == {"a.jpg": [[0, 0, 9, 9]]}
    assert any(f"2 boxes of a score below {SCORE} are left out" in str(w.message) for w in warned)
    assert any("no box for 1 of 2 pictures, the first b.jpg" in str(w.message) for w in warned)


def test_a_score_may_be_empty(tmp_path):
    rows = f"a.jpg,0,0,9,9,\na.jpg,0,0,5,5, \nb.jpg,0,0,5,5,{SCORE}\n"
    path = write(tmp_path, f"file,left,top,right,bottom,score\n{rows}")
    boxes = read_boxes(path, ["a.jpg", "b.jpg"])
    assert {name: box.tolist() for name, box in boxes.items()} == {
        "a.jpg": [[0, 0, 9, 9], [0, 0, 5, 5]],
        "b.jpg": [[0, 0, 5, 5]],
    }
    with pytest.raises(BadAnnotation, match="line 2: bottom is ''"):
        read_boxes(write(tmp_path, "file,left,top,right,bottom,score\na.jpg,0,0,9,,1\n"), ["a.jpg"])


def test_others_may_be_named(tmp_path):
    path = write(tmp_path, EVERYWHERE | {"z.png": [[0, 0, 1, 1]], "clip.mp4#7": [[0, 0, 1, 1]]}, "a.json")
    assert set(read_boxes(path, PICTURES, ["z.png", "clip.mp4"])) == set(PICTURES)
    with pytest.raises(BadAnnotation, match=r"clip\.mp4#7.*did you mean clip\.mp4#"):
        read_boxes(path, PICTURES, ["z.png"])


HEAD = "file,left,top,right,bottom,score"
BAD = {
    "empty.csv": ("", "line 1: the header"),
    "header.csv": ("name,left,top,right,bottom\n", r"line 1: the header is 'name,.*expected file,left,top,right"),
    "cells.csv": (f"{HEAD}\na.jpg,1,2,3,4,1\na.jpg,1,2,3\n", "line 3: the line is 'a.jpg,1,2,3', expected 6 cells"),
    "number.csv": (f"{HEAD}\na.jpg,1,two,3,4,1\n", "line 2: top is 'two', expected a number"),
    "nan.csv": (f"{HEAD}\na.jpg,1,nan,3,4,1\n", "line 2: the box"),
    "huge.csv": (f"{HEAD}\na.jpg,1,2,3,1e300,1\n", "line 2: the box"),
    "score.csv": (f"{HEAD}\na.jpg,1,2,3,4,nan\n", "line 2: score"),
    "inverted.csv": (f"{HEAD}\na.jpg,3,2,1,4,1\n", "line 2: the box .*right > left"),
    "unknown.csv": (f"{HEAD}\na.jgp,1,2,3,4,1\n", "line 2: file is 'a.jgp'.*did you mean a.jpg"),
    "traversal.csv": (f"{HEAD}\n../a.jpg,1,2,3,4,1\n", "line 2: file is '../a.jpg', expected a path below the root"),
    "quote.csv": (f'{HEAD}\n"a.jpg,1,2,3,4,1\n', "UTF-8 CSV"),
    "broken.json": ('{"a.jpg": [', "whole UTF-8 JSON"),
    "text.json": ('"a.jpg"', "the content is 'a.jpg', expected a list"),
    "one.json": ({"a.jpg": [1, 2, 3, 4]}, r"a\.jpg, box 0: the box"),
    "three.json": ({"a.jpg": [[1, 2, 3]]}, r"a\.jpg, box 0: the box is of shape \(3,\), expected"),
    "words.json": ({"a.jpg": [["1", "2", "3", "4"]]}, r"a\.jpg, box 0: the box"),
    "mapping.json": ({"a.jpg": {"box": 1}}, r"a\.jpg: the boxes .*expected a list"),
    "number.json": (
        [{"image_id": 397133, "bbox": [1, 2, 3, 4], "score": 1}],
        "entry 0: file is 397133.*a picture's path",
    ),
    "nameless.json": ([{"bbox": [1, 2, 3, 4]}], "entry 0: file is None"),
    "boxless.json": ([{"image_id": "a.jpg"}], "entry 0: bbox is missing"),
    "flat.json": ([{"image_id": "a.jpg", "bbox": [1, 2, 0, 4]}], "entry 0: the box"),
    "list.json": ([[1, 2, 3, 4]], "entry 0: the detection"),
    "scored.json": ([{"image_id": "a.jpg", "bbox": [1, 2, 3, 4], "score": "high"}], "entry 0: score is 'high'"),
    "classes.json": (
        [{"image_id": "a.jpg", "bbox": [1, 2, 3, 4], "category_id": c} for c in (1, 3)],
        "entry 1: category_id is 3, expected one class",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_name_file_line_and_field(tmp_path, name):
    content, match = BAD[name]
    with pytest.raises(BadAnnotation, match=rf"{name}.*{match}"):
        read_boxes(write(tmp_path, content, name), PICTURES)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*none\.csv: boxes= takes a \.csv or \.json file"):
        read_boxes(tmp_path / "none.csv", PICTURES)
    for name in ("latin.csv", "latin.json"):
        (tmp_path / name).write_bytes(b"file,left,top,right,bottom\n\xe4.jpg,1,2,3,4\n")
        with pytest.raises(BadAnnotation, match=name):
            read_boxes(tmp_path / name, PICTURES)


@pytest.fixture
def folder(tmp_path):
    """Four pictures, each with a bright rectangle; (path, {name: (n, 4) where they are})."""
    root, wanted = tmp_path / "pictures", {}
    (root / "day 1").mkdir(parents=True)
    for k, name in enumerate(("a.png", "day 1/b.png", "c.png", "dark.png")):
        image = np.zeros((60, 80 + 10 * k, 3), np.uint8)
        box = (5 + k, 10 + 2 * k, 40 + 3 * k, 50 + k)
        if name != "dark.png":
            image[box[1] : box[3], box[0] : box[2]] = 255
            wanted[name] = [list(map(float, box))]
        Image.fromarray(image).save(root / name)
    return root, wanted


class Bright(torch.nn.Module):
    """A detector as torchvision's are called: the bright rectangle, with a car, a doubtful and a flat box beside it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen += images
        assert not torch.is_grad_enabled()
        assert all(image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1 for image in images)
        return [self.one(image) for image in images]

    def one(self, image):
        y, x = torch.nonzero(image.mean(0) > 0.5, as_tuple=True)
        if not len(x):
            return {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)}
        box = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()
        more = torch.tensor([[0.0, 0, 5, 5], [1, 1, 9, 9], [3, 3, 3, 8]])
        return {
            "boxes": torch.cat([more, box[None]]),
            "labels": torch.tensor([3, 1, 1, 1]),
            "scores": torch.tensor([0.99, SCORE - 0.01, 0.99, SCORE + 0.01]),
        }


@pytest.fixture
def bright(monkeypatch):
    network, loaded = Bright(), []
    monkeypatch.setattr(module, "_load", lambda name: loaded.append(name) or network)
    network.loaded = loaded
    return network


def test_people_above_the_score_are_found_once(folder, bright, tmp_path):
    root, wanted = folder
    names, steps = [*wanted, "dark.png"], []
    for _ in range(2):
        with pytest.warns(UserWarning, match="boxes=ssd300_vgg16: no box for 1 of 4 pictures, the first dark.png"):
            boxes = detect("ssd300_vgg16", root, names, lambda *step: steps.append(step), tmp_path / "cache")
        assert {name: box.tolist() for name, box in boxes.items()} == wanted
    assert bright.loaded == ["ssd300_vgg16"]  # the second time from the cache
    assert len(bright.seen) == 4
    assert steps[-1] == (4, 4)
    assert steps == sorted(set(steps))


def test_less_sure_people_are_found_where_they_are_asked_for(folder, bright, tmp_path):
    root, wanted = folder
    for least, boxes in ((SCORE, 1), (SCORE - 0.05, 2), (SCORE, 1)):
        people = module.detect_people("ssd300_vgg16", root, list(wanted), cache=tmp_path / "cache", least=least)
        scores = [SCORE + 0.01, SCORE - 0.01][:boxes]
        for name, one in people.items():
            assert one.boxes.tolist() == [wanted[name][0], [1, 1, 9, 9]][:boxes]
            np.testing.assert_allclose(one.scores, scores, atol=1e-6)
    assert len(bright.loaded) == 2  # what was found for another score is not taken for this one's
    path = write(tmp_path, f"{HEAD}\na.jpg,0,0,9,9,0.2\na.jpg,0,0,5,5,\na.jpg,1,1,2,2,0.1\n")
    with pytest.warns(UserWarning, match=r"1 boxes of a score below 0\.2"):
        rows = module.read_scored(path, ["a.jpg"], least=0.2)["a.jpg"]
    assert rows.tolist() == [[0, 0, 9, 9, 0.2], [0, 0, 5, 5, 1]]


def test_the_cache_knows_pictures_detector_and_its_own_state(folder, bright, tmp_path):
    root, wanted = folder
    names, cache = list(wanted), tmp_path / "cache"

    def looked(name="ssd300_vgg16", pictures=names):
        before = len(bright.loaded)
        detect(name, root, pictures, cache=cache)
        return len(bright.loaded) > before

    assert looked()
    assert not looked()
    assert looked("retinanet_resnet50_fpn")
    assert looked(pictures=names[:2])
    Image.fromarray(np.full((60, 80, 3), 255, np.uint8)).save(root / "a.png")
    assert looked()
    (file,) = [
        path for path in cache.iterdir() if path.stat().st_mtime == max(p.stat().st_mtime for p in cache.iterdir())
    ]
    box = '"category_id": 1, "bbox": [1, 2, 3, 4]'
    broken = ("{", "{}", '{"a.png": [[1, 2, 3, 4]]}', f'[{{"file_name": "z.png", {box}}}]', '[{"file_name": "a.png"}]')
    for content in broken:
        file.write_text(content)
        assert looked()
        assert not looked()
    assert not list(cache.glob(".part-*"))


def test_pictures_that_cannot_be_read_are_passed_over(folder, bright, tmp_path):
    root, wanted = folder
    (root / "c.png").write_bytes(b"broken")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        boxes = detect("ssd300_vgg16", root, list(wanted), cache=tmp_path)
    assert set(boxes) == {"a.png", "day 1/b.png"}
    assert any("1 pictures cannot be searched for people, the first: cannot read" in str(w.message) for w in warned)


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """Random weights of the smallest detector, biased so that all is a person to it; the file and the network."""
    torch.manual_seed(0)
    network = get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None)
    for layer in network.head.classification_head.module_list:
        layer[-1].bias.data.view(-1, 91)[:, 1] += 20
    path = tmp_path_factory.mktemp("weights") / "ssd lite.pth"
    torch.save(network.state_dict(), path)
    return path, network.eval()


def test_a_detector_with_own_weights(folder, state, tmp_path):
    (root, wanted), (path, network) = folder, state
    names = list(wanted)
    boxes = detect(f"ssdlite320_mobilenet_v3_large:{path}", root, names, cache=tmp_path)
    for name in names:
        image = torch.from_numpy(np.asarray(Image.open(root / name)).copy()).permute(2, 0, 1) / 255
        with torch.no_grad():
            alone = network([image])[0]
        assert len(boxes[name])
        assert (alone["labels"] == 1).all()
        best = alone["boxes"][alone["scores"].argmax()]
        assert np.abs(boxes[name][0] - best.numpy()).max() < 1e-3
        assert (boxes[name] >= 0).all()
        assert (boxes[name][:, 2] <= image.shape[2]).all()
    assert weights_of(f"ssdlite320_mobilenet_v3_large:{path}") != weights_of("ssdlite320_mobilenet_v3_large")


def test_names_and_weights_that_are_refused(folder, state, tmp_path, monkeypatch):
    root, wanted = folder
    foreign, pickled = tmp_path / "foreign.pth", tmp_path / "pickled.pth"
    torch.save({"weight": torch.zeros(3)}, foreign)
    torch.save([Bright()], pickled)
    small = "ssdlite320_mobilenet_v3_large"
    assert {"fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn", small} <= set(
        detector_names()
    )
    for name, match in (
        ("fasterrcnn", "'fasterrcnn' is not known; choose whole.*retinanet_resnet50_fpn.*Did you mean fasterrcnn_"),
        ("resnet50", "is not known"),
        (f"{small}:{tmp_path}/none.pth", "no file"),
        (f"{small}:", "no file"),
        (f"{small}:{foreign}", "not weights of torchvision's ssdlite"),
        (f"{small}:{pickled}", r"not weights of .*it holds an object of \S+Bright.*torch.save\(model.state_dict"),
        (f"{small}:{root}/a.png", "not weights of torchvision's .*it is a picture"),
        (f"fasterrcnn_mobilenet_v3_large_320_fpn:{state[0]}", "not weights of"),
    ):
        with pytest.raises(ValueError, match=match):
            detect(name, root, list(wanted), cache=tmp_path / "cache")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))

    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(ValueError, match=rf"boxes={small}: cannot download https://.*no route.*boxes={small}:PATH"):
        detect(small, root, list(wanted), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_files_at_random_never_raise_anything_else(tmp_path):
    rng = np.random.default_rng(0)
    forms = [
        write(tmp_path, HEAD + "\n" + "".join(f"{name},1,2,30,40,0.9\n" for name in PICTURES)),
        write(tmp_path, EVERYWHERE, "a.json"),
        write(tmp_path, [{"file_name": n, "bbox": [1, 2, 3, 4], "score": 0.9} for n in PICTURES], "b.json"),
    ]
    failed = 0
    for path in forms:
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(150):
            spoilt = whole.copy()
            spoilt[rng.integers(0, len(whole), 2)] = rng.integers(1, 256, 2)
            path.write_bytes(spoilt[: rng.integers(1, 3 * len(whole))].tobytes())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    read_boxes(path, PICTURES)
                except ValueError:
                    failed += 1
    assert failed > 100


def test_columns_of_width_and_height(tmp_path):
    lines = [f"{name},1.5,2,28.5,38.25" for name in PICTURES]
    path = write(tmp_path, "\n".join(["file,left,top,width,height", *lines]))
    assert {name: rows.tolist() for name, rows in read_boxes(path, PICTURES).items()} == EVERYWHERE
    path = write(tmp_path, "\n".join(["file,left,top,right,bottom", "a.jpg,30,20,10,40"]))
    with pytest.raises(BadAnnotation, match=r"says so in its header: left,top,width,height"):
        read_boxes(path, PICTURES)


@pytest.fixture
def people(tmp_path):
    """Right boxes of 12 pictures of 64 x 48, two in the first."""
    rng, boxes = np.random.default_rng(0), {}
    for n in range(12):
        Image.new("RGB", (64, 48)).save(tmp_path / f"{n}.jpg")
        corner = rng.uniform(0, 24, (1 + (n == 0), 2))
        boxes[f"{n}.jpg"] = np.concatenate([corner, corner + rng.uniform(10, 24, corner.shape)], 1)
    return boxes


def test_boxes_beside_their_picture_are_left_out_and_counted(people, tmp_path):
    kept = touching(people, tmp_path, "boxes.csv")
    assert {name: rows.tolist() for name, rows in kept.items()} == {
        name: rows.tolist() for name, rows in people.items()
    }
    broken = {name: rows.copy() for name, rows in people.items()}
    broken["0.jpg"][1] += 5000
    broken["3.jpg"] += 100
    with pytest.warns(
        UserWarning, match=r"2 of 13 boxes do not touch their picture, .* in 0\.jpg, 64x48, and are left"
    ):
        kept = touching(broken, tmp_path, "boxes.csv")
    assert list(kept) == [name for name in people if name != "3.jpg"]
    assert len(kept["0.jpg"]) == 1
    with pytest.raises(ValueError, match="all 13 boxes do not touch their picture"):
        touching({name: rows + 500 for name, rows in people.items()}, tmp_path, "boxes.csv")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b / [64, 48, 64, 48], r"the boxes seem to be shares of the picture \(0 to 1\)"),
        (
            lambda b: np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], 1),
            "left, top, right and bottom where left, top, w",
        ),
        (lambda b: b * 1.7, r"\d+ of 1\d boxes (do not touch|leave)"),
    ],
)
def test_boxes_that_mean_something_else(people, tmp_path, change, words):
    shifted = {name: rows + np.array([12, 8, 12, 8]) for name, rows in people.items()}
    with pytest.warns(UserWarning, match=words):
        touching({name: change(rows) for name, rows in shifted.items()}, tmp_path, "boxes.csv")
