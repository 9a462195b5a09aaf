"""`data check`, `data prepare` and `data show` on a small set in the catalog."""

import functools
import json
import os
import re
import shutil
import threading
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from keyshift.datasets import catalog
from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.catalog import Data, open_dataset, options_of
from keyshift.datasets.depth.options import DepthOptions
from keyshift.datasets.reading.images import read_image
from keyshift.datasets.reading.origin import Download, Origin
from keyshift.datasets.reading.people import PictureOptions, PictureSet, digest, table
from keyshift.datasets.reading.prepared import Prepared
from keyshift.datasets.reading.splits import SAME, SplitOptions
from keyshift.datasets.skeleton import Skeleton
from keyshift.datasets.views import as_clips
from keyshift.experiments.commands.data_check import check
from keyshift.experiments.commands.data_prepare import prepare
from keyshift.experiments.commands.data_show import Shown, SideBySide, of_people, show, with_legend
from keyshift.experiments.report.drawing import counted
from keyshift.experiments.runs.progress import Reporter

ARM = Skeleton("arm", ("shoulder", "elbow", "wrist"), edges=((0, 1), (1, 2)))
ORIGIN = Origin("a toy", "do as you like", "https://toy.example", "labels.json and pictures/")


@dataclass(frozen=True)
class ToyOptions(SplitOptions, PictureOptions):
    pass


def toy(options: ToyOptions, part: str) -> PictureSet:
    path = options.folder / "labels.json"
    rows = [
        {**row, "keypoints": row["keypoints"], "annotated": row["known"], "visible": row["seen"]}
        for row in json.loads(path.read_text())
        if row["part"] == part
    ]
    about = {"part": part, "split": options.split, "sha256": digest(path)}
    return PictureSet(f"toy.{part}", options.folder, table(path, ARM, rows), about, ORIGIN, options.boxes)


def write(root, rows):
    (root / "labels.json").write_text(json.dumps(rows))


@pytest.fixture
def rows():
    """Twelve arms, of which four test; of each the elbow is hidden."""
    made = []
    for i in range(12):
        x = 20.0 + i
        made.append(
            {"part": "train" if i < 8 else "test", "picture": f"pictures/{i}.png", "id": f"arm{i}"}
            | {"sequence": f"s{i // 2}", "frame": i, "box": [5, 5, 75, 75], "mirrored": i % 2 == 1}
            | {"keypoints": [[x, 10], [x, 30], [x, 50]], "known": [True] * 3, "seen": [True, False, True]}
        )
    return made


@pytest.fixture
def root(tmp_path, rows, monkeypatch):
    monkeypatch.setitem(catalog.DATASETS, "toy", Data(toy, ToyOptions, ORIGIN))
    folder, rng = tmp_path / "raw", np.random.default_rng(0)
    (folder / "pictures").mkdir(parents=True)
    for i in range(12):
        coarse = rng.integers(0, 255, (8, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"pictures/{i}.png"), cv2.resize(coarse, (80, 90), interpolation=cv2.INTER_CUBIC))
    write(folder, rows)
    return folder


def printed(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_a_sound_set_has_no_problem(root, capsys):
    assert check("toy", [f"root={root}"], Reporter())
    text = printed(capsys)
    for words in (
        f"root: {root}",
        "licence: do as you like; from https://toy.example",
        "layout: labels.json and pictures/",
        "arm, 3 keypoints: shoulder, elbow, wrist",
        "samples │ 8 │ 4",
        "sequences │ 4 │ 2",
        "80x90 │ 80x90",
        "shoulder │ 8 │ 8 │ 4 │ 4",
        "elbow │ 8 │ 0 │ 4 │ 0",
        "no problem found",
    ):
        assert words in text, words
    assert "note:" not in text


def spoil(root, rows, what):
    train, test = rows[0], rows[9]
    if what == "unreadable":
        for name in (train["picture"], test["picture"]):
            (root / name).write_bytes((root / name).read_bytes()[:300])
    elif what == "sequence":
        test["sequence"] = train["sequence"]
    elif what == "same picture":
        shutil.copy(root / train["picture"], root / test["picture"])
    elif what == "box":
        test["box"] = [100, 5, 170, 75]
    elif what == "outside":
        for row in rows[:3]:
            row["keypoints"] = [[500, 10], [500, 30], [500, 50]]
    elif what == "twice":
        rows[1]["id"] = train["id"]
    write(root, rows)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("unreadable", ["train, unreadable: cannot read the image", "0.png", "9.png", "2 problems"]),
        ("sequence", ["1 sequences stand in train and in test (s0): a leak", "1 problems"]),
        ("same picture", ["1 pictures, by their pixels, stand in train and in test", "1 problems"]),
        ("box", ["test: 1 boxes do not touch their picture (arm9); correct them", "1 problems"]),
        ("outside", ["train: 9 of 24 joints lie outside their pictures", "joints outside the picture │ 9 │ 0"]),
        ("twice", ["train: 1 ids stand twice (arm0)"]),
    ],
)
def test_problems_are_named(root, rows, capsys, what, words):
    spoil(root, rows, what)
    assert not check("toy", [f"root={root}"], Reporter())
    text = printed(capsys)
    for word in words:
        assert word in text, (word, text)


def test_a_test_set_that_says_its_parts_are_the_same_has_no_problem(root, monkeypatch, capsys):
    def both(options, part):
        made = toy(options, "train")
        made.identity["split"] = SAME
        return made

    monkeypatch.setitem(catalog.DATASETS, "toy", Data(both, ToyOptions, ORIGIN))
    assert check("toy", [f"root={root}"], Reporter())
    text = printed(capsys)
    assert "note: train and test are the same pictures: a leak where this set is a source" in text
    assert "stand in train and in test" not in text


def test_leaks_that_were_asked_for_and_bare_samples_are_noted(root, rows, capsys):
    for row in rows[8:]:
        row["known"] = [False] * 3
    rows[0]["known"] = [False] * 3
    write(root, rows)
    assert check("toy", [f"root={root}", "boxes=truth", "split=frames"], Reporter())
    text = printed(capsys)
    assert "note: boxes=truth: crops are cut by the true joints, a leak" in text
    assert "note: split=frames" in text
    assert "note: train: 1 samples have no annotated joint" in text
    assert "note: test has no labels" in text


def test_pictures_of_one_block_are_no_leak_and_empty_ones_are_named(tmp_path, capsys):
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 30, 3), 50 * i, np.uint8))
    assert check("pictures", [f"root={tmp_path}"], Reporter())
    text = printed(capsys)
    assert "skeleton= is not told: hand21 is taken" in text
    assert "pictures │ 2 │ 1" in text
    assert "train visible" not in text, "a table of zeros says nothing"
    (tmp_path / "below").mkdir()
    (tmp_path / "below/empty.jpg").touch()
    with pytest.warns(UserWarning, match="1 empty"):
        assert not check("pictures", [f"root={tmp_path}", "skeleton=coco17"], Reporter())
    text = printed(capsys)
    assert f"PROBLEM: unreadable, and in neither part: {tmp_path}/below/empty.jpg: the file is empty" in text
    assert "1 problems" in text
    assert "hand21" not in text


def test_dark_pictures_and_broken_videos_are_problems(tmp_path, capsys):
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 30), 1200 * (i + 1), np.uint16))
    (tmp_path / "cut.mp4").write_bytes(b"no index")
    with pytest.warns(UserWarning, match="left out 1 videos"):
        assert not check("pictures", [f"root={tmp_path}", "skeleton=coco17"], Reporter())
    text = printed(capsys)
    assert f"PROBLEM: unreadable, and in neither part: cannot read the video {tmp_path}/cut.mp4" in text
    assert "PROBLEM: 3 of 3 pictures that were looked at are of 16 bit" in text
    assert "their highest level is 3600 of 65535" in text
    (tmp_path / "cut.mp4").unlink()
    for white in ("auto", "4095", "65535"):
        assert check("pictures", [f"root={tmp_path}", "skeleton=coco17", f"white={white}"], Reporter())


def test_sizes_that_labels_declare_are_those_of_the_pictures(tmp_path, capsys):
    turned, rng = Image.Exif(), np.random.default_rng(0)
    turned[0x0112] = 6
    for i in range(4):
        picture = Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8))
        picture.save(tmp_path / f"{i}.jpg", **({"exif": turned} if i in (1, 2) else {}))
    person = {"image_id": 0, "category_id": 1, "bbox": [5, 5, 40, 40], "keypoints": [10, 10, 2, 20, 20, 2]}
    made = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 80, "height": 60} for i in range(4)],
        "annotations": [person | {"id": i, "image_id": i % 4} for i in range(8)],
        "categories": [{"id": 1, "name": "stick", "keypoints": ["a", "b"]}],
    }
    words = [f"labels={tmp_path / 'labels.json'}", "block=3"]
    (tmp_path / "labels.json").write_text(json.dumps(made))
    assert not check("coco_json", words, Reporter())
    text = printed(capsys)
    assert (
        "PROBLEM: train: 2 pictures are not of the size that the labels declare, the first 1.jpg: "
        "80x60 there, 60x80 as it is shown" in text
    )
    assert "EXIF" in text
    assert "1 problems" in text
    for i in (1, 2):
        made["images"][i] |= {"width": 60, "height": 80}
    (tmp_path / "labels.json").write_text(json.dumps(made))
    assert check("coco_json", words, Reporter())


def write_file(folder, name, pictures, seed, video=None):
    """A label file of one person a picture, numbered from 0 as tools do."""
    rng, images, people = np.random.default_rng(seed), [], []
    for n, picture in enumerate(pictures):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).save(folder / picture)
        images.append({"id": n, "file_name": picture, **({} if video is None else {"video_id": video})})
        points = rng.uniform(5, 50, (3, 2))
        flat = [float(x) for point in points for x in (*point, 2)]
        people.append({"id": n, "image_id": n, "category_id": 1, "keypoints": flat, "bbox": [2, 2, 52, 52]})
    names = {"id": 1, "name": "stick", "keypoints": ["a", "b", "c"]}
    (folder / name).write_text(json.dumps({"images": images, "annotations": people, "categories": [names]}))
    return str(folder / name)


def two_files(folder, second, seed=1, video=None):
    first = write_file(folder, "train.json", ["0.png", "1.png"], 0, video)
    other = write_file(folder, "valid.json", second, seed, video)
    return [f"labels=[{first},{other}]"]


def test_two_files_number_their_entries_each_for_itself(tmp_path, capsys):
    assert check("coco_json", two_files(tmp_path, ["2.png", "3.png"]), Reporter())
    assert "no problem found" in printed(capsys)
    assert check("coco_json", two_files(tmp_path, ["2.png", "3.png"], video=0), Reporter()), "numbered recordings"
    assert not check("coco_json", two_files(tmp_path, ["2.png", "3.png"], video="garden"), Reporter())
    assert "1 sequences stand in train and in test (garden): a leak. Take them out" in printed(capsys)
    assert not check("coco_json", two_files(tmp_path, ["2.png", "3.png"], seed=0), Reporter())
    text = printed(capsys)
    assert "2 pictures, by their pixels, stand in train and in test" in text
    assert "split" not in text.partition("PROBLEM")[2]
    assert not check("coco_json", two_files(tmp_path, ["0.png", "1.png"]), Reporter()), "the same pictures"


def test_one_part_alone(root, rows, capsys):
    spoil(root, rows, "box")
    assert check("toy", [f"root={root}", "part=train"], Reporter())
    text = printed(capsys)
    assert "samples │ 8 │ │ pictures" in text
    assert not check("toy", [f"root={root}", "part=test"], Reporter())
    text = printed(capsys)
    assert "samples │ 4 │ │ pictures" in text
    assert "PROBLEM: test: 1 boxes do not touch their picture (arm9)" in text
    with pytest.raises(ValueError, match="part='val' is not known; choose one of train, test"):
        check("toy", [f"root={root}", "part=val"], Reporter())


def test_notes_do_not_fail_a_check(tmp_path, capsys):
    words = two_files(tmp_path, ["2.png", "3.png"])
    turned = Image.Exif()
    turned[0x0112] = 3
    picture = Image.open(tmp_path / "0.png").copy()
    picture.save(tmp_path / "0.png", exif=turned)
    assert check("coco_json", words, Reporter())
    assert "note: train: 1 of 2 pictures looked at are turned by their EXIF tag" in printed(capsys)


def test_rendered_and_depth_sets_are_checked(tmp_path, monkeypatch, balls, capsys):
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path))
    assert check("hands.studio", ["train=24", "test=3", "size=32"], Reporter())
    assert "wrist │ 24" in printed(capsys)

    class Broken(balls):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            if index % 3 == 0:
                item.image[:] = 0
            return item

    def opened(options, part):
        return Broken(9, first=0 if part == "train" else 100)

    monkeypatch.setitem(catalog.DATASETS, "balls", Data(opened, DepthOptions))
    check("balls", [], Reporter())
    assert "unusable depth frames │ 3 │ 3" in printed(capsys)


def test_an_unusable_option_is_refused(root):
    takes = "is no option of toy, which takes root, boxes, crops, keypoints, rename, split, part"
    with pytest.raises(ValueError, match=rf"rot=.* {takes}\. Did you mean root"):
        check("toy", [f"rot={root}"], Reporter())
    with pytest.raises(ValueError, match=f"the command line: stride=3 {takes}"):
        check("toy", [f"root={root}", "stride=3"], Reporter())
    with pytest.raises(ValueError, match="'boxes' is not of the form key=value"):
        check("toy", [f"root={root}", "boxes"], Reporter())
    with pytest.raises(ValueError, match=f"did you mean root={root}"):
        check("toy", [str(root)], Reporter())
    with pytest.raises(ValueError, match=r"prt=test is no option .*Did you mean part\?"):
        check("toy", [f"root={root}", "prt=test"], Reporter())
    with pytest.raises(ValueError, match="part='val' is not known; choose one of train, test"):
        show("toy", [f"root={root}", "part=val"], root.parent / "toy.png")
    with pytest.raises(ValueError, match="size=8 must be at least 16"):
        prepare("toy", [f"root={root}", "size=8"], Reporter())
    assert check("toy", [f"root={root}", "train=3"], Reporter())  # how much is rendered means nothing here


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_prepared_once_and_used(root, capsys):
    output = prepare("toy", [f"root={root}", "boxes=whole"], Reporter())
    assert output == root.parent / "raw-prepared" / "toy"
    text = printed(capsys)
    assert "GB to write" in text
    assert f"target.name=toy target.root={output} target.boxes=whole" in text
    dataset = Prepared(output, "test")
    assert len(dataset) == 4
    assert dataset.identity["prepared"] == 256
    assert dataset[1].mirrored
    before = content(output)
    assert sorted(before) == [".lock", "prepared.json"] + [
        f"{part}/{name}" for part in ("test", "train") for name in ("images.npy", "labels.npy", "names.jsonl")
    ]
    about = json.loads(before["prepared.json"])
    assert (about["name"], about["options"], about["size"]) == ("toy", {"boxes": "whole"}, 256)
    assert (about["licence"], about["home"]) == (ORIGIN.licence, ORIGIN.home)
    prepare("toy", [f"root={root}", "boxes=whole"], Reporter())
    assert "finished already: nothing to do" in printed(capsys)
    assert content(output) == before
    prepare("toy", [f"root={root}", "boxes=whole", "size=32", f"output={root.parent / 'small'}"], Reporter())
    assert Prepared(root.parent / "small", "train")[0].image.shape == (46, 46, 3)


def test_what_was_prepared_otherwise_is_prepared_by_the_command_that_the_error_gives(root):
    output = prepare("toy", [f"root={root}", "size=32"], Reporter())
    asked = {"boxes": "whole", "split": "frames"}
    with pytest.raises(ValueError, match="boxes is None there and 'whole' here, split is") as error:
        open_dataset("toy", options_of("toy", asked | {"root": str(output)}, "here"), "train")
    command = str(error.value).rpartition("keyshift data prepare ")[2]
    assert command == "toy root=RAW output=FOLDER boxes=whole split=frames size=32"
    name, *words = command.replace("RAW", str(root)).replace("FOLDER", str(root.parent / "other")).split()
    root = str(prepare(name, words, Reporter()))
    assert len(open_dataset("toy", options_of("toy", asked | {"root": root}, "here"), "train")) == 8


def test_own_labels_are_prepared_beside_their_pictures(tmp_path):
    (tmp_path / "photos").mkdir()
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"photos/{i}.jpg"), np.full((30, 40, 3), 60 * i, np.uint8))
    people = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [2, 2, 20, 20], "keypoints": [9, 9, 2]} for i in range(4)
    ]
    labels = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(4)],
        "annotations": people,
        "categories": [{"id": 1, "name": "dot", "keypoints": ["dot"]}],
    }
    (tmp_path / "photos/labels.json").write_text(json.dumps(labels))
    output = prepare("coco_json", [f"labels={tmp_path / 'photos/labels.json'}", "block=1", "size=32"], Reporter())
    assert output == tmp_path / "photos-prepared/coco_json"
    assert len(Prepared(output, "train")) == 3


def test_another_set_options_or_annotations_are_not_mixed(root, rows):
    output = root.parent / "out"
    words = [f"root={root}", f"output={output}", "size=32"]
    prepare("toy", words, Reporter())
    with pytest.raises(ValueError, match=r"size is 32 there and 48 here; choose another folder .* --overwrite"):
        prepare("toy", [*words[:2], "size=48"], Reporter())
    with pytest.raises(ValueError, match="boxes is None there and 'truth' here"):
        prepare("toy", [*words, "boxes=truth"], Reporter())
    rows[2]["keypoints"][0] = [33.0, 3.0]
    write(root, rows)
    with pytest.raises(ValueError, match=r"the raw set has changed since .* train: sha256 is"):
        prepare("toy", words, Reporter())
    prepare("toy", words, Reporter(), overwrite=True)
    assert Prepared(output, "train")[2].keypoints[0].tolist() == [33.0, 3.0]
    with pytest.raises(ValueError, match="is prepared already"):
        prepare("toy", [f"root={output}"], Reporter())
    with pytest.raises(ValueError, match="holds the raw set"):
        prepare("toy", [f"root={root}", f"output={root.parent}"], Reporter(), overwrite=True)
    (root.parent / "mine").mkdir()
    (root.parent / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds something else"):
        prepare("toy", [f"root={root}", f"output={root.parent / 'mine'}"], Reporter(), overwrite=True)
    assert (root.parent / "mine/thesis.txt").exists()


def test_stopped_anywhere_the_command_goes_on_to_the_same_bytes(root, monkeypatch):
    wanted = content(prepare("toy", [f"root={root}", "size=32", f"output={root.parent / 'whole'}"], Reporter()))
    sync = os.fsync
    for stop in range(0, 16, 3):
        calls = []

        def stopped(number, calls=calls, stop=stop):
            calls.append(number)
            if len(calls) == stop + 1:
                raise KeyboardInterrupt
            sync(number)

        monkeypatch.setattr(os, "fsync", stopped)
        words = [f"root={root}", "size=32", f"output={root.parent / f'at{stop}'}"]
        try:
            prepare("toy", words, Reporter())
            assert stop == 15
        except KeyboardInterrupt:
            (root.parent / f"at{stop}/.prepared.json.1.tmp").write_text("of a writer that was killed")
            assert content(prepare("toy", words, Reporter())) == wanted
    assert len(calls) == 14  # a mark before and one after; of each part three files, a mark, two headers


def test_killed_while_it_overwrites_the_command_overwrites_again(root, monkeypatch):
    words = [f"root={root}", "size=32"]
    wanted = content(prepare("toy", words, Reporter()))

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare("toy", words, Reporter(), overwrite=True)
    assert content(prepare("toy", words, Reporter(), overwrite=True)) == wanted


def test_a_disk_that_is_too_small_is_told_before(root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(ValueError, match=r"0\.00 GB to write .* 0\.00 GB free .* make room"):
        prepare("toy", [f"root={root}"], Reporter())
    assert not (root.parent / "raw-prepared").exists()


def test_what_cannot_be_prepared(root, rows):
    with pytest.raises(ValueError, match="is rendered"):
        prepare("hands.studio", [], Reporter())
    with pytest.raises(ValueError, match="gives depth"):
        prepare("nyu", [f"root={root}"], Reporter())
    with pytest.raises(ValueError, match="toy needs root=FOLDER"):
        prepare("toy", [], Reporter())
    spoil(root, rows, "unreadable")
    (root / rows[1]["picture"]).unlink()
    with pytest.raises(ValueError, match="more than 1 % of the pictures are unreadable"):
        prepare("toy", [f"root={root}"], Reporter())


def test_a_public_set_is_downloaded_once_its_licence_is_accepted(root, tmp_path, monkeypatch, capsys):
    shutil.make_archive(str(tmp_path / "served" / "toy"), "zip", root)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "served")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        origin = Origin(
            *("a toy", "non-commercial", "https://toy.example", "labels.json and pictures/"),
            (Download(f"http://127.0.0.1:{server.server_port}/toy.zip"),),
        )
        monkeypatch.setitem(catalog.DATASETS, "toy", Data(toy, ToyOptions, origin))
        words = [f"root={tmp_path / 'fetched'}", "size=32", f"output={tmp_path / 'out'}"]
        with pytest.raises(ValueError, match=r"non-commercial; https://toy.example\): pass --accept-licence"):
            prepare("toy", words, Reporter())
        assert not (tmp_path / "fetched").exists()
        assert not (tmp_path / "out").exists()
        prepare("toy", words, Reporter(), accept=True)
        prepare("toy", words, Reporter())  # it is there: nothing to accept
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    wanted = prepare("toy", [f"root={root}", "size=32", f"output={tmp_path / 'other'}"], Reporter())
    for name in ("images.npy", "labels.npy", "names.jsonl"):
        assert (wanted / "train" / name).read_bytes() == (tmp_path / "out/train" / name).read_bytes()
    assert "licence: non-commercial; read and accept it at https://toy.example" in printed(capsys)


def test_a_root_that_holds_something_is_never_downloaded_into(root, monkeypatch):
    origin = Origin("a toy", "free", "home", "labels.json", (Download("http://127.0.0.1:9/toy.zip"),))
    monkeypatch.setitem(catalog.DATASETS, "toy", Data(toy, ToyOptions, origin))
    prepare("toy", [f"root={root}", "size=32"], Reporter())
    assert not (root / "downloads").exists()


def test_show_tells_what_is_seen_hidden_and_unknown(root, rows, tmp_path):
    rows[0]["known"] = [True, True, False]
    (root / rows[3]["picture"]).unlink()
    write(root, rows)
    show("toy", [f"root={root}"], tmp_path / "toy.png")
    picture = read_image(tmp_path / "toy.png")
    shown = Shown(toy(ToyOptions(root=str(root)), "train"))
    captions = [shown[i].id for i in range(4)]
    assert captions == ["arm0", "mirrored arm1", "arm2", "UNREADABLE"]
    assert len(shown.items) == 3
    sheet = np.zeros((10, 100, 3), np.uint8)
    table = with_legend(sheet, shown)
    assert table.shape[0] == 10 + (3 + 2) * 20
    assert picture.shape[1] > 8 * 192
    # the same legend with every joint seen looks another way
    shown.items = [shown[2]] * 3
    assert (with_legend(sheet, shown) != table).any()


def test_clips_are_shown_frame_by_frame(root, rows, tmp_path):
    for number in range(3):
        Image.new("RGB", (64, 48), (60 * number,) * 3).save(root / f"arm_{number}.png")
    rows[0]["picture"] = "arm_1.png"
    write(root, rows[:1])
    shown = Shown(as_clips(toy(ToyOptions(root=str(root)), "train"), 3))
    frames = SideBySide(shown, 3)
    items = [frames[index] for index in range(3)]
    assert [item.id for item in items] == ["-1 arm0", "+0 arm0", "+1 arm0"]
    assert [item.image.mean() for item in items] == [0, 60, 120]
    assert [item.annotated.all() for item in items] == [False, True, False]
    assert len(shown.items) == 1
    show("toy", [f"root={root}", "frames=3"], tmp_path / "toy.png")
    assert read_image(tmp_path / "toy.png").shape[1] > 3 * 192


def scenes_with_a_crowd(folder):
    """A COCO file in two parts: picture 0 of each shows two people, one without keypoints and a crowd, 1 nobody."""
    joints = np.concatenate([np.arange(34.0).reshape(17, 2) * 1.5 + 8, np.full((17, 1), 2.0)], 1).ravel().tolist()
    person = {"category_id": 1, "image_id": 0, "keypoints": joints, "bbox": [6, 6, 54, 54], "area": 900}
    bare = person | {"keypoints": [0] * 51, "num_keypoints": 0, "bbox": [70, 10, 20, 30]}
    crowd = bare | {"iscrowd": 1, "bbox": [40, 60, 50, 20]}
    names = list(COCO17.keypoints)
    for part, grey in (("train", 60), ("test", 90)):
        (folder / part).mkdir(parents=True)
        listed = [{"id": n, "file_name": f"{n}.png", "width": 100, "height": 80} for n in range(2)]
        people = [one | {"id": n} for n, one in enumerate((person, person | {"bbox": [5, 5, 60, 60]}, bare, crowd))]
        content = {"images": listed, "annotations": people, "categories": [{"id": 1, "name": "p", "keypoints": names}]}
        (folder / part / "labels.json").write_text(json.dumps(content))
        for n in range(2):
            cv2.imwrite(str(folder / part / f"{n}.png"), np.full((80, 100, 3), grey + n, np.uint8))
    return folder


def test_whole_pictures_are_shown_with_everyone(tmp_path):
    """Boxes white and red, what is masked in red, counts in the captions, and shares of the labelled people."""
    root = scenes_with_a_crowd(tmp_path / "set")
    show("coco_json", [f"root={root}", "crops=whole", "part=test"], tmp_path / "sheet.png")
    sheet = read_image(tmp_path / "sheet.png").astype(int)
    assert sheet.shape[1] > 2 * 320
    tile = sheet[10:330, 10:330]
    scale = 320 / 100
    inside = tile[int(65 * scale), int(80 * scale)]  # of the crowd
    assert inside[0] > inside[1] + 60, "what is masked is red"
    assert tile[int(45 * scale), int(95 * scale)].tolist() == [90] * 3, "the picture is as it is elsewhere"
    assert tile[300, 160].tolist() == [70] * 3, "and the tile below it is empty"
    edge = tile[round(6 * scale), int(30 * scale)]
    assert edge.min() > 200, "boxes of labelled people are white"
    options = options_of("coco_json", {"root": str(root), "crops": "whole"}, "test")
    shown = Shown(open_dataset("coco_json", options, "test"))
    assert [counted(shown[i]) for i in range(2)] == ["2 people, 1 unlabelled, 1 crowd: ", "0 people: "]
    annotated, visible, words = of_people(shown.items, 17)
    assert (annotated.shape, visible.all(), words) == ((2, 17), True, "2 people in ")
    assert of_people([], 17)[0].shape == (0, 17)


def test_whole_pictures_are_checked(tmp_path, capsys):
    root = scenes_with_a_crowd(tmp_path / "set")
    assert check("coco_json", [f"root={root}", "crops=whole"], Reporter())
    out = capsys.readouterr().out
    assert re.search(r"labelled people\W+2\W+2\b", out)
    assert re.search(r"nose\W+2\W+2\W+2\W+2\b", out)
    for part in ("train", "test"):
        assert f"note: {part}: 1 pictures show nobody; whoever is found there is invented" in out
    assert "alone" not in out


def test_a_crowd_alone_is_not_nobody(tmp_path, capsys):
    """Who finds one of a crowd invents nobody."""
    root = scenes_with_a_crowd(tmp_path / "set")
    for part in ("train", "test"):
        content = json.loads((root / part / "labels.json").read_text())
        content["annotations"][3]["image_id"] = 1
        (root / part / "labels.json").write_text(json.dumps(content))
    assert check("coco_json", [f"root={root}", "crops=whole"], Reporter())
    out = " ".join(capsys.readouterr().out.split())
    for part in ("train", "test"):
        assert f"note: {part}: 1 pictures show crowds or people without keypoints alone; whoever is found else" in out
    assert "show nobody" not in out


def test_whole_pictures_are_prepared_and_used(tmp_path):
    root = scenes_with_a_crowd(tmp_path / "set")
    folder = prepare("coco_json", [f"root={root}", "crops=whole", "size=64", f"output={tmp_path / 'out'}"], Reporter())
    options = options_of("coco_json", {"root": str(folder), "crops": "whole"}, "test")
    data = open_dataset("coco_json", options, "test")
    assert isinstance(data, Prepared)
    assert [len(data[i].keypoints) for i in range(2)] == [4, 0]
    assert data[0].crowd.tolist() == [False, False, False, True]
    with pytest.raises(ValueError, match="crops is 'whole' there and None here"):
        open_dataset("coco_json", options_of("coco_json", {"root": str(folder)}, "test"), "test")
