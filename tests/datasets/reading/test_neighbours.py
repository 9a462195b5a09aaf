"""Which files of a folder follow each other, and with which margins."""

import numpy as np
import pytest

from keyshift.datasets.reading.neighbours import FAR, Neighbours, series_of
from keyshift.datasets.reading.video import write_video


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))


def named(*names):
    return [[name for name, _ in one] for one in series_of(names)]


def test_names_are_counted_by_value():
    assert series_of(["a_10.jpg", "a_9.jpg", "a_2.jpg"]) == [[("a_2.jpg", 2), ("a_9.jpg", 9), ("a_10.jpg", 10)]]
    assert named("0001.jpg", "0002.jpg", "0001.png") == [["0001.jpg", "0002.jpg"], ["0001.png"]]


def test_other_words_are_another_series():
    assert named("a1.jpg", "b2.jpg", "a3.jpg") == [["a1.jpg", "a3.jpg"], ["b2.jpg"]]


@pytest.mark.parametrize("form", ["{0:03d}_cam{1}.jpg", "cam{1}_{0:03d}.jpg", "take_07_cam{1}_no{0}_x.jpg"])
def test_the_number_that_makes_the_fewest_series_counts(form):
    names = [form.format(frame, camera) for frame in range(5) for camera in (0, 1)]
    made = series_of(names)
    assert [[number for _, number in one] for one in made] == [[0, 1, 2, 3, 4]] * 2
    assert made[0] == [(form.format(frame, 0), frame) for frame in range(5)]


def test_of_equals_the_last_number_counts():
    assert series_of(["1_1.jpg", "1_2.jpg", "2_1.jpg", "2_2.jpg"]) == [
        [("1_1.jpg", 1), ("1_2.jpg", 2)],
        [("2_1.jpg", 1), ("2_2.jpg", 2)],
    ]


def test_names_without_numbers_follow_in_their_order():
    assert series_of(["c.jpg", "a.jpg", "b.jpg"]) == [[("a.jpg", 0), ("b.jpg", 1), ("c.jpg", 2)]]


def test_a_folder_with_gaps(tmp_path):
    (tmp_path / "day").mkdir()
    for number in (1, 2, 4, 4 + FAR - 1, 4 + 2 * FAR, 3000):
        (tmp_path / f"day/f{number}.jpg").write_bytes(b"x")
    (tmp_path / "day/f3.txt").write_bytes(b"x")
    (tmp_path / "day/.f3.jpg").write_bytes(b"x")
    near = Neighbours(tmp_path)
    assert near.from_here("day/f1.jpg", 1, 3) == [
        ("day/f2.jpg", 1),
        ("day/f4.jpg", 2),
        (f"day/f{3 + FAR}.jpg", FAR - 1),
    ]
    assert near.from_here("day/f4.jpg", -1, 5) == [("day/f2.jpg", 2), ("day/f1.jpg", 1)]
    assert near.from_here(f"day/f{3 + FAR}.jpg", 1, 2) == []
    assert near.from_here("day/f1.jpg", -1, 2) == []
    assert near.from_here("day/gone.jpg", 1, 2) == near.from_here("nowhere/1.jpg", 1, 2) == []


def test_frames_of_a_video_end_where_it_ends(tmp_path):
    write_video(tmp_path / "a.mp4", [np.full((32, 32, 3), 10 * k, np.uint8) for k in range(4)], 25)
    near = Neighbours(tmp_path)
    assert near.from_here("a.mp4#2", 1, 2) == [("a.mp4#3", 1)]
    assert near.from_here("a.mp4#2", -1, 2) == [("a.mp4#1", 1), ("a.mp4#0", 1)]
