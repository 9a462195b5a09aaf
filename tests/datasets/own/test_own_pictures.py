import os
import pickle
import shutil
import time
import warnings
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from keyshift.datasets.bodies.skeletons import COCO17
from keyshift.datasets.own.pictures import Options, own_pictures, unreadable_files
from keyshift.datasets.reading import boxes as detectors
from keyshift.datasets.reading.images import UnreadableImage
from keyshift.datasets.reading.video import write_video
from keyshift.datasets.skeleton import HAND
from keyshift.datasets.views import WithoutLabels


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))


def shot(path, level=0, size=(40, 30), **saving):
    """A picture of one grey level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path, **saving)
    return path


def clip(path, levels, size=(48, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, size)
    for level in levels:
        writer.write(np.full((size[1], size[0], 3), level, np.uint8))
    writer.release()
    return path


@pytest.fixture
def root(tmp_path):
    """25 pictures of two folders and a video of 20 frames between them; levels say which is which."""
    folder = tmp_path / "camera"
    for k in range(1, 16):
        shot(folder / "day 2" / f"IMG_{k}.png", k, size=(40 + k, 30))
    for k in range(10):
        shot(folder / "day 10" / "morning" / f"{k}.jpg", 100 + k)
    clip(folder / "day 3.avi", [150 + 5 * (k // 2) for k in range(20)])
    return folder


def opened(root, part="train", block=5, **options):
    return own_pictures(Options(root=str(root), block=block, **options), part, HAND)


def rows(*sets):
    return [(pictures.people.ids[i], pictures[i]) for pictures in sets for i in range(len(pictures))]


def test_every_picture_and_frame_once_in_order(root):
    train, test = opened(root), opened(root, "test")
    assert train.name == "pictures.train"
    names = dict(rows(train, test))
    assert len(names) == len(train) + len(test) == 45
    wanted = {f"day 2/IMG_{k}.png": k for k in range(1, 16)} | {f"day 10/morning/{k}.jpg": 100 + k for k in range(10)}
    wanted |= {f"day 3.avi#{k}": 150 + 5 * (k // 2) for k in range(20)}
    assert names.keys() == wanted.keys()
    for name, item in names.items():
        assert item.id == name
        assert abs(float(item.image.mean()) - wanted[name]) < 2.5
        height, width = item.image.shape[:2]
        assert np.allclose((item.box[:2] + item.box[2:]) / 2, (width / 2, height / 2))
        assert np.allclose(item.box[2:] - item.box[:2], max(width, height))  # whole
        assert not item.annotated.any()
        assert not item.visible.any()
        assert not item.keypoints.any()
        assert item.keypoints.shape == (21, 2)
        assert not item.camera.any()
    assert names["day 2/IMG_3.png"].image.shape == (30, 43, 3)
    # Numbers by value, a video in its place, frames in time; every fifth block of five tests.
    listed = [name for name in wanted if name.startswith("day 2")]
    order = ["day 3.avi#" + str(k) for k in range(20)] + listed + [f"day 10/morning/{k}.jpg" for k in range(10)]
    blocks = [order[k : k + 5] for k in range(0, 45, 5)]
    assert list(test.people.ids) == blocks[4]
    assert list(train.people.ids) == [name for k, block in enumerate(blocks) if k != 4 for name in block]


def test_sequences_are_blocks_of_one_folder_or_video(root):
    for part in ("train", "test"):
        people = opened(root, part, 4).people
        blocks = {}
        for name, sequence, frame in zip(people.ids, people.sequences, people.frames, strict=True):
            blocks.setdefault(sequence, []).append((name.rpartition("#" if "#" in name else "/")[0], int(frame)))
        for sequence, members in blocks.items():
            assert len({origin for origin, _ in members}) == 1
            frames = [frame for _, frame in members]
            assert frames == list(range(frames[0], frames[0] + len(frames)))
            assert len(frames) <= 4
            assert frames[0] == 4 * int(sequence.rpartition("/")[2])
    sequences = [set(opened(root, part, 4).people.sequences) for part in ("train", "test")]
    assert not sequences[0] & sequences[1]


@pytest.mark.parametrize(
    ("count", "held"), [(1, 1), (2, 1), (3, 1), (8, 2), (20, 4), (23, 5), (79, 16), (99, 19), (100, 20)]
)
def test_of_few_pictures_the_last_fifth_is_held_out(tmp_path, count, held):
    for k in range(count):
        shot(tmp_path / f"{k}.png", size=(8, 8))
    train, test = (list(opened(tmp_path, part, 20).people.ids) for part in ("train", "test"))
    everything = [f"{k}.png" for k in range(count)]
    assert test == everything[count - held :]
    assert train == (everything if count == 1 else everything[: count - held])


def test_a_clip_beside_pictures_is_held_out_or_trained_on_as_a_whole(root):
    (root / "day 10/morning/0.jpg").replace(root / "still.jpg")
    for folder in ("day 2", "day 10"):
        shutil.rmtree(root / folder)
    train, test = (set(opened(root, part, 20).people.ids) for part in ("train", "test"))
    assert (train, test) == ({f"day 3.avi#{k}" for k in range(20)}, {"still.jpg"}) or (test, train) == (
        {f"day 3.avi#{k}" for k in range(20)},
        {"still.jpg"},
    )


def test_one_file_is_a_root_too(root):
    video = opened(root / "day 3.avi", block=20)
    assert list(video.people.ids) == [f"day 3.avi#{k}" for k in range(16)]
    assert list(opened(root / "day 3.avi", "test", block=20).people.ids) == [f"day 3.avi#{k}" for k in range(16, 20)]
    assert abs(float(video[15].image.mean()) - 185) < 2.5
    picture = opened(root / "day 2" / "IMG_3.png")
    assert list(picture.people.ids) == ["IMG_3.png"]
    assert picture[0].image.shape == (30, 43, 3)


def test_stride_and_duplicates(root):
    thin = opened(root, block=100, stride=4)
    everything = [*thin.people.ids, *opened(root, "test", 100, stride=4).people.ids]
    assert sorted(everything) == sorted(
        [*(f"day 2/IMG_{k}.png" for k in (1, 5, 9, 13)), *(f"day 10/morning/{k}.jpg" for k in (0, 4, 8))]
        + [f"day 3.avi#{k}" for k in range(0, 20, 4)]
    )
    sparse = opened(root / "day 3.avi", block=100, duplicates=2.5)
    assert list(sparse.people.ids) == [f"day 3.avi#{k}" for k in range(0, 16, 2)]
    assert list(sparse.people.frames) == list(range(0, 16, 2))
    with pytest.raises(ValueError, match=r"duplicates=2\.0 is for videos, and there is none"):
        opened(root / "day 2", duplicates=2.0)
    for name in ("day 2", "day 3.avi"):
        with pytest.raises(ValueError, match="stride=0 must be at least 1"):
            opened(root / name, stride=0)


def test_formats_and_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    shot(tmp_path / "a.JPG", 50, exif=exif)
    for suffix in ("jpeg", "png", "bmp", "webp", "tif", "TIFF"):
        shot(tmp_path / f"b.{suffix}", 50)
    Image.fromarray(np.full((30, 40), 50 * 257, np.uint16)).save(tmp_path / "deep.png")
    pictures, held = opened(tmp_path, block=20), opened(tmp_path, "test", block=20)
    assert len(pictures) + len(held) == 8
    for name, item in [*rows(pictures), *rows(held)]:
        assert item.image.shape == ((40, 30, 3) if name == "a.JPG" else (30, 40, 3))
        assert abs(float(item.image.mean()) - 50) < 2


def test_what_is_passed_over_and_what_is_counted(tmp_path):
    shot(tmp_path / "good" / "a.png")
    for name in (".hidden.png", ".thumbnails/a.png", "__MACOSX/._a.png", "good/__MACOSX/a.png"):
        shot(tmp_path / name)
    (tmp_path / "notes.txt").write_text("notes")
    assert list(opened(tmp_path).people.ids) == ["good/a.png"]  # without a word
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "empty 2.mp4").touch()
    (tmp_path / "phone.HEIC").write_bytes(b"x")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.png")
    shot(tmp_path / "good" / "back\\slash.png")
    shot(tmp_path / "good" / "line\nfeed.png")
    with pytest.warns(UserWarning, match="left out") as warned:
        pictures = opened(tmp_path)
    text = str(warned[0].message)
    for part in (
        "2 empty, the first 'empty 2.mp4'",
        "1 of types that are not read (1 .heic): convert those that are wanted",
        "the first 'phone.HEIC'",
        "1 that cannot be opened, the first 'gone.jpg'",
        "1 that are no files, the first 'pipe.png'",
        "2 of names with",
    ):
        assert part in text
    assert list(pictures.people.ids) == ["good/a.png"]
    assert list(unreadable_files(tmp_path)) == ["empty 2.mp4", "empty.jpg"]


def test_roots_without_pictures(tmp_path):
    with pytest.raises(ValueError, match=r"none: no such folder or file"):
        opened(tmp_path / "none")
    with pytest.raises(ValueError, match=r"no picture or video; expected \.jpg.*; found no files"):
        opened(tmp_path)
    for name in ("a.heic", "b.heic", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"found 2 \.heic, 1 \.txt \(2 of types that are not read .*convert"):
        opened(tmp_path)
    with pytest.raises(ValueError, match=r"found 1 \.txt"):
        opened(tmp_path / "c.txt")


def test_links_are_followed_and_loops_end(tmp_path):
    outside = tmp_path / "outside"
    shot(outside / "a.png")
    root = tmp_path / "root"
    shot(root / "b.png")
    (root / "linked").symlink_to(outside)
    (root / "again").symlink_to(root)
    (outside / "back").symlink_to(root)
    (root / "self").symlink_to("self")
    assert sorted(opened(root, block=1).people.ids) + sorted(opened(root, "test", 1).people.ids) == [
        "b.png",
        "linked/a.png",
    ]


def test_broken_pictures_surface_when_read_and_broken_videos_at_once(tmp_path):
    shot(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert len(opened(tmp_path)) == 1
    with pytest.raises(UnreadableImage, match=r"b\.png"):
        opened(tmp_path, "test")[0]
    (tmp_path / "c.mp4").write_bytes(b"no video")
    with pytest.warns(
        UserWarning, match=r"left out 1 videos that are broken or have no pictures, the first 'c\.mp4' \(cannot read"
    ):
        assert len(opened(tmp_path)) == 1
    assert list(unreadable_files(tmp_path)) == ["c.mp4"]
    with pytest.raises(UnreadableImage, match=r"cannot read the video .*c\.mp4"):
        opened(tmp_path / "c.mp4")


def test_ten_thousand_files_are_listed_fast(tmp_path):
    first = shot(tmp_path / "0" / "0.png")
    for k in range(1, 10_000):
        path = tmp_path / str(k // 1000) / f"{k}.png"
        if not k % 1000:
            path.parent.mkdir()
        os.link(first, path)
    start = time.process_time()
    pictures = opened(tmp_path, block=20)
    assert time.process_time() - start < 3
    assert len(pictures) == 8000
    assert list(pictures.people.ids[:3]) == ["0/0.png", "0/1.png", "0/2.png"]


def test_skeletons(root, tmp_path):
    assert opened(root, skeleton="coco17").skeleton == COCO17
    assert opened(root, skeleton="coco17")[0].keypoints.shape == (17, 2)
    (tmp_path / "mine.yaml").write_text("name: dog\nkeypoints: [nose, left_paw, right_paw]\n")
    assert opened(root, skeleton=str(tmp_path / "mine.yaml")).skeleton.keypoints == ("nose", "left_paw", "right_paw")
    with pytest.raises(ValueError, match="say what to look for with skeleton="):
        own_pictures(Options(root=str(root)), "train")
    with pytest.raises(ValueError, match="coco71"):
        opened(root, skeleton="coco71")


def test_options_that_are_refused(root):
    for options, match in (
        ({"boxes": "truth"}, "boxes=truth: these pictures have no labels"),
        ({"boxes": "tllib"}, "have no labels"),
        ({"boxes": "hwole"}, "choose whole, a .csv or .json file, or a detector.*Did you mean whole"),
        ({"boxes": "fasterrcnn_resnet_50_fpn"}, "Did you mean fasterrcnn_resnet50_fpn"),
        ({"boxes": "none.csv"}, "no file none.csv"),
        ({"part": "valid"}, "part='valid'"),
        ({"block": 0}, "block=0"),
    ):
        with pytest.raises(ValueError, match=match):
            opened(root, **options)


def test_boxes_of_a_file(root, tmp_path):
    lines = ["file,left,top,right,bottom", "day 2/IMG_2.png,5,5,15,25", "day 2/IMG_2.png,20,4,40.5,10"]
    lines += ["day 2/IMG_1.png,0,0,10,20", "day 3.avi#0,1,2,9,8", "day 3.avi#13,1,2,9,8"]
    path = tmp_path / "boxes.csv"
    path.write_text("\n".join(lines))
    with pytest.warns(UserWarning, match=r"boxes\.csv: no box for 38 of 40 pictures, the first day 3\.avi#1;"):
        train = opened(root, boxes=str(path))
    with pytest.warns(UserWarning, match="no box for 3 of 5 pictures"):
        test = opened(root, "test", boxes=str(path))
    assert list(train.people.ids) == ["day 3.avi#0", "day 3.avi#13"]
    assert list(test.people.ids) == ["day 2/IMG_1.png", "day 2/IMG_2.png/0", "day 2/IMG_2.png/1"]
    assert test.people.sequences == ["day 2/000"] * 3
    both = dict(rows(train, test))
    box = both["day 2/IMG_2.png/1"].box  # square about the middle, 1.25 times the longer side
    assert np.allclose((box[:2] + box[2:]) / 2, (30.25, 7))
    assert np.allclose(box[2:] - box[:2], 1.25 * 20.5)
    thin = _silent(root, "train", boxes=str(path), stride=4)  # pictures that are not taken may stand in the file
    assert list(thin.people.ids) == ["day 3.avi#0"]
    path.write_text("file,left,top,right,bottom\nday 2/IMG_77.png,0,0,5,5\n")
    with pytest.raises(ValueError, match=r"line 2: file is 'day 2/IMG_77\.png'"):
        opened(root, boxes=str(path))
    path.write_text("file,left,top,right,bottom\n")
    with pytest.raises(ValueError, match=r"not one box in the 40 pictures"):
        _silent(root, "train", boxes=str(path))


def _silent(root, part, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return opened(root, part, **options)


class Bright(torch.nn.Module):
    """A detector of the part of a picture that is brighter than its rest."""

    def forward(self, images):
        return [self.one(image.mean(0)) for image in images]

    def one(self, grey):
        y, x = torch.nonzero(grey > grey.min() + 0.2, as_tuple=True)
        boxes = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()[None] if len(x) else torch.zeros(0, 4)
        return {"boxes": boxes, "labels": torch.ones(len(boxes)).long(), "scores": torch.ones(len(boxes))}


def test_boxes_of_a_detector(root, monkeypatch):
    image = np.zeros((50, 60, 3), np.uint8)
    image[10:30, 20:50] = 255
    Image.fromarray(image).save(root / "day 2" / "IMG_9.png")
    monkeypatch.setattr(detectors, "_load", lambda name: Bright())
    with pytest.warns(UserWarning, match="boxes=ssd300_vgg16: no box for 11 of 12 pictures"):
        pictures = opened(root / "day 2", block=100, boxes="ssd300_vgg16")
    assert list(pictures.people.ids) == ["IMG_9.png"]
    assert pictures.people.boxes.tolist() == [[20, 10, 50, 30]]
    assert pictures.identity["boxes"] == "file"
    assert pictures.identity["boxes_from"].startswith("ssd300_vgg16 ssd300_vgg16_coco-")


def test_identity_is_portable_and_names_what_matters(root, tmp_path):
    def identity(folder=root, part="train", **options):
        return _silent(folder, part, **options).identity

    first = identity()
    assert first == identity()
    os.utime(root / "day 2" / "IMG_1.png", (0, 0))
    moved = tmp_path / "moved"
    root.rename(moved)
    assert identity(moved) == first
    assert str(tmp_path) not in repr(first)
    assert first["boxes"] == "whole"
    assert first["licence"] == "yours"
    (tmp_path / "boxes.csv").write_text("file,left,top,right,bottom\nday 3.avi#0,0,0,9,9\n")
    others = [
        identity(moved, "test"),
        identity(moved, block=6),
        identity(moved, stride=2),
        identity(moved, duplicates=1.0),
        identity(moved, skeleton="coco17"),
        identity(moved, boxes=str(tmp_path / "boxes.csv")),
    ]
    shot(moved / "day 2" / "IMG_1.png", 77, size=(99, 98))
    others.append(identity(moved))
    assert len({repr(sorted(one.items())) for one in [first, *others]}) == 8


def test_it_is_picklable_and_labels_are_none(root):
    pictures = pickle.loads(pickle.dumps(opened(root)))
    assert np.array_equal(pictures[3].image, opened(root)[3].image)
    assert not WithoutLabels(pictures)[0].annotated.any()


def test_all_that_is_left_out_is_counted_by_kind(tmp_path):
    shot(tmp_path / "a.png")
    write_video(tmp_path / "clip.mp4", [np.zeros((32, 48, 3), np.uint8)] * 3, 25)
    (tmp_path / "clip.MTS").write_bytes(b"cut")
    for name in ("1.heic", "2.HEIC", "x.braw", "song.mp3", "noise", "poster.svg"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("labels.json", "boxes.csv", "notes.txt", "Thumbs.db", ".DS_Store", "desktop.ini", "clip.SRT", "g.npy"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.warns(UserWarning, match="left out") as warned:
        names = [*opened(tmp_path, block=20).people.ids, *opened(tmp_path, "test", 20).people.ids]
    assert sorted(names) == ["a.png", *(f"clip.mp4#{k}" for k in range(3))]
    text = str(warned[0].message)
    assert "1 videos that are broken or have no pictures, the first 'clip.MTS'" in text
    kinds = text[text.index("6 of types that are not read (") :].partition("(")[2].partition(")")[0]
    assert sorted(kinds.split(", ")) == ["1 .braw", "1 .mp3", "1 .svg", "1 without suffix", "2 .heic"]


@pytest.mark.parametrize("suffix", [".mts", ".M2TS", ".vob", ".ogv", ".wmv", ".flv", ".3gp", ".ts"])
def test_videos_of_cameras_are_read(tmp_path, suffix):
    shot(tmp_path / "a.png")
    write_video(tmp_path / "b.mp4", [np.full((32, 48, 3), 80, np.uint8)] * 4, 25)
    (tmp_path / "b.mp4").rename(tmp_path / f"b{suffix}")  # FFmpeg looks at what is in a file
    assert sorted(map(len, (opened(tmp_path, block=20), opened(tmp_path, "test", 20)))) == [1, 4]


def test_stored_pixels_that_are_not_square_are_said(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8), format="rgb24")))
            container.mux(stream.encode())
    with pytest.warns(UserWarning, match=r"2 videos have pixels that are not square, the first 'a\.mp4' 1\.33 times"):
        pictures = opened(tmp_path)
    assert pictures[0].image.shape == (32, 48, 3)


def test_hdr_is_said(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.color_trc, stream.codec_context.colorspace = 16, 9
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    with pytest.warns(UserWarning, match=r"1 videos are HDR, the first 'a\.mkv'"):
        opened(tmp_path)


def test_several_pictures_in_a_file_are_said(tmp_path):
    shot(tmp_path / "a.png")
    Image.new("RGB", (40, 30)).save(
        tmp_path / "b.gif", save_all=True, append_images=[Image.new("RGB", (40, 30), "red")]
    )
    with pytest.warns(UserWarning, match=r"1 of 2 files that were looked at hold several pictures .* first 'b\.gif'"):
        assert len(opened(tmp_path)) == 1


def test_the_white_of_a_set_is_that_of_both_parts(tmp_path):
    for k in range(10):
        Image.fromarray(np.full((30, 40), 4000 if k == 9 else 500 + k, np.uint16)).save(tmp_path / f"{k}.png")
    with pytest.warns(UserWarning, match="their highest level is 4000 of 65535"):
        assert opened(tmp_path, block=1)[0].image.max() < 8
    for part in ("train", "test"):
        pictures = opened(tmp_path, part, block=1, white="auto")
        assert pictures.identity["white"] == 4095
        assert pictures[0].image.max() == round(pictures.people.frames[0] * 255 / 4095 + 500 * 255 / 4095)
    assert "white" not in opened(shot(tmp_path / "eight" / "a.png").parent).identity


def with_exif(path, focal):
    """A photograph that tells its focal length as of 35 mm film."""
    tags = Image.Exif()
    tags[0x8769] = {0xA405: focal}
    return shot(path, 60, size=(360, 240), exif=tags)


def test_no_camera_unless_one_is_stated_and_none_is_said(root):
    made = opened(root)
    assert made.people.camera is None
    assert not made[0].camera.any()
    assert not made.said
    assert "focal" not in made.identity


def test_the_stated_camera_of_every_picture_and_frame(root):
    made = opened(root, focal=[50.0])
    for row in (0, len(made) - 1):
        height, width = made[row].image.shape[:2]
        assert np.allclose(made[row].camera, [50, 50, width / 2, height / 2])
    assert made.said == ("the camera is the one given: focal length 50 px, principal point the picture's middle",)
    assert made.identity["focal"] == [50.0]


def test_a_camera_that_cannot_be_is_refused(root):
    with pytest.raises(ValueError, match="focal=0"):
        opened(root, focal=[0.0])
    with pytest.raises(ValueError, match=r"focal=\[1.0\] and camera=exif both state the camera"):
        opened(root, focal=[1.0], camera="exif")
    with pytest.raises(ValueError, match="pictures and videos tell no camera"):
        opened(root, camera="exif")


def test_an_assumed_camera_says_what_follows(root):
    for k in range(5):
        with_exif(root / "phone" / f"{k}.jpg", 36)
    made = opened(root, camera="assumed")
    parts = (made, opened(root, "test", camera="assumed"))
    assert parts[1].said == made.said
    cameras = {name: row for part in parts for name, row in zip(part.people.pictures, part.people.camera, strict=True)}
    assert cameras["phone/0.jpg"][0] == pytest.approx(360, rel=0.02)
    assert cameras["day 2/IMG_1.png"].tolist() == [1500, 1500, 20.5, 15]
    (note,) = made.said
    assert "the focal length of 5 of 31 pictures is that of their EXIF" in note
    assert "Z_true = Z * f_true / 1500" in note


def test_an_unreadable_picture_has_no_camera_and_stops_nothing(root):
    (root / "day 2" / "IMG_5.png").write_bytes(b"no picture")
    parts = [opened(root, part, focal=[50.0]) for part in ("train", "test")]
    made = next(part for part in parts if "day 2/IMG_5.png" in part.people.pictures)
    row = made.people.pictures.index("day 2/IMG_5.png")
    assert not made.people.camera[row].any()
