"""Annotation tables that are kept on the disk: those that are in memory, written whole, and pickled by their path."""

import errno
import json
import multiprocessing
import os
import pickle
import signal
import sys
import warnings
from dataclasses import fields, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from keyshift.datasets.own.chosen import chosen
from keyshift.datasets.reading import columns, tables
from keyshift.datasets.reading.columns import Mapped, Picked, Texts
from keyshift.datasets.reading.people import People, PictureSet
from keyshift.datasets.reading.regions import Region
from keyshift.datasets.skeleton import Skeleton

_spec = spec_from_file_location("raw_pictures", Path(__file__).parents[1] / "raw_pictures.py")
raw = sys.modules.setdefault("raw_pictures", module_from_spec(_spec))
if not hasattr(raw, "WRITERS"):
    _spec.loader.exec_module(raw)
SETS = {
    **{name: {} for name in ("interhand", "surreal_lists", "surreal_clips", "human36m", "coco", "crowdpose")},
    **{"coco whole": {"crops": "whole"}, "crowdpose whole": {"crops": "whole"}, "human36m thorax": {"thorax": True}},
    **{"coco middles": {"middles": True}, "surreal_lists stride": {"stride": 2}},
}
"""Those whose tables are kept, with options of theirs."""
PAIR = Skeleton("pair", ("a", "b"))


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """All tables are kept, and chosen rows of them too; the cache's folder."""
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "LARGE", 0)
    monkeypatch.setattr(columns, "FEW", 0)
    return tmp_path / "cache/tables"


def same(one, other):
    """Two tables hold the same."""
    for column in fields(People):
        ours, theirs = getattr(one, column.name), getattr(other, column.name)
        if isinstance(theirs, np.ndarray | Picked):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours[:], theirs[:])
        elif column.name == "unlabelled" and theirs is not None:
            assert [repr(region) for region in ours] == [repr(region) for region in theirs]
        else:
            assert (None if ours is None else list(ours) if isinstance(ours, Texts) else ours) == theirs


def in_memory(monkeypatch, open_set):
    with monkeypatch.context() as patch:
        patch.setattr(tables, "LARGE", 1 << 60)
        return open_set()


@pytest.mark.parametrize("name", SETS)
def test_a_kept_table_is_that_in_memory(name, tmp_path, monkeypatch, kept):
    (tmp_path / "root").mkdir()
    made = raw.WRITERS[name.partition(" ")[0]](tmp_path / "root")
    made = replace(made, options=made.options | SETS[name])
    plain = in_memory(monkeypatch, lambda: raw.opened(made, tmp_path / "root"))
    assert not kept.exists()
    first, second = (raw.opened(made, tmp_path / "root") for _ in range(2))
    assert len(list(kept.glob("*/*/about.json"))) == 1
    for data in (first, second, pickle.loads(pickle.dumps(second))):
        assert isinstance(data.people.keypoints, Mapped | Picked)
        assert isinstance(data.people.ids, Texts)
        assert data.identity == plain.identity
        same(data.people, plain.people)
    names = plain.skeleton.keypoints[4:2:-1]
    same(chosen(second, names).people, chosen(plain, names).people)


@pytest.fixture
def files(tmp_path):
    """Annotation files; what is in them is the business of the test's parser."""
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in paths:
        path.write_text(path.name)
    return paths


def piece(first, count):
    rows = np.arange(first, first + count)
    known = np.stack([rows % 2 == 0, rows % 3 > 0], 1)
    return People(
        file="a.json",
        skeleton=PAIR,
        pictures=[f"{row // 2}.jpg" for row in rows],
        ids=[f"row/{row} ü" for row in rows],
        sequences=[f"s{row // 7}" for row in rows],
        frames=rows,
        keypoints=np.stack([rows, rows + 0.5, rows, rows * 2], 1).reshape(-1, 2, 2).astype(float),
        annotated=known,
        visible=known,
    )


class Parser:
    def __init__(self, count=100, at_once=30):
        self.count, self.at_once, self.calls = count, at_once, 0

    def __call__(self, about):
        self.calls += 1
        for first in range(0, self.count, self.at_once):
            yield piece(first, min(self.at_once, self.count - first))
        about["unit"] = "mm"


def test_parsed_once_and_anew_where_something_has_changed(files, kept):
    parse = Parser()
    for _ in range(3):
        people, about = tables.read_table("set", files, {"step": 1}, parse)
    assert parse.calls == 1
    assert about == {"unit": "mm", "sha256": tables.digest(*files)}
    same(people, piece(0, 100))
    tables.read_table("set", files, {"step": 2}, parse)
    assert parse.calls == 2
    tables.read_table("set", files, {"step": 1}, parse)
    assert parse.calls == 2, "tables of other options stay"
    state = files[1].stat()
    files[1].write_text("B.json")
    os.utime(files[1], ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert tables.read_table("set", files, {"step": 1}, parse)[1]["sha256"] == tables.digest(*files) != about["sha256"]
    assert parse.calls == 3
    assert len(list(kept.glob("*/*/about.json"))) == 2, "the table of the old file is gone"


def test_another_version_of_the_code_parses_anew(files, monkeypatch):
    parse = Parser()
    tables.read_table("set", files, {}, parse)
    monkeypatch.setattr(tables, "_code", lambda: "another")
    tables.read_table("set", files, {}, parse)
    assert parse.calls == 2


def test_small_files_are_parsed_into_memory(files, kept, monkeypatch):
    monkeypatch.setattr(tables, "LARGE", sum(file.stat().st_size for file in files) + 1)
    people, _ = tables.read_table("set", files, {}, Parser())
    assert type(people.keypoints) is np.ndarray
    assert not kept.exists()


def test_chosen_rows_and_keypoints_are_not_read(files):
    people, _ = tables.read_table("set", files, {}, Parser())
    plain = piece(0, 100)
    for rows in (np.arange(100) % 3 == 0, [5, 2, 99], np.arange(0, 100, 7)):
        same(people.select(rows), plain.select(rows))
        same(people.select(rows).select([1, 0]), plain.select(rows).select([1, 0]))
        swapped = Skeleton("other", ("b", "a"))
        ours, theirs = (table.choose(swapped, [1, 0]).select(rows) for table in (people, plain))
        same(ours, theirs)
        same(ours.choose(PAIR, [1, 0]), plain.select(rows))
        same(pickle.loads(pickle.dumps(ours)), theirs)
        assert isinstance(ours.keypoints, Picked)
        assert ours.keypoints.shape == theirs.keypoints.shape
        np.testing.assert_array_equal(ours.keypoints[1, 0], theirs.keypoints[1, 0])
        np.testing.assert_array_equal(ours.keypoints[:, 0, 1], theirs.keypoints[:, 0, 1])
        np.testing.assert_array_equal(ours.keypoints[[0, 2], 1], theirs.keypoints[[0, 2], 1])
        np.testing.assert_array_equal(~ours.annotated, ~theirs.annotated)
        np.testing.assert_array_equal(ours.annotated.any(1) & theirs.annotated[:, 0], theirs.annotated[:, 0])
        np.testing.assert_array_equal(np.isnan(ours.keypoints), np.isnan(theirs.keypoints))
    one = people.choose(PAIR, [0, 1])
    assert one.keypoints is people.keypoints, "nothing is chosen"
    with pytest.raises(IndexError):
        people.ids[100]
    assert people.ids[-1] == "row/99 ü"
    assert people.ids[3:7:2] == plain.ids[3:7:2]


def test_a_pickle_holds_no_rows(files, tmp_path):
    (tmp_path / "0.jpg").touch()
    lengths = []
    for count in (1_000, 20_000):
        people, _ = tables.read_table("set", files, {"count": count}, Parser(count, 1_000))
        data = PictureSet("set", tmp_path, people, {})
        assert data.rows["3.jpg"] == [6, 7]
        lengths.append(len(pickle.dumps(data)))
        assert len(pickle.loads(pickle.dumps(data))) == count
        some = chosen(data, rename={"a": "c"})
        assert 2 * count / 3 <= len(some) < count
        assert len(pickle.dumps(some)) < 2 * 8 * count + 10_000, "which rows are chosen, once for each of two tables"
    assert abs(lengths[1] - lengths[0]) < 500, lengths
    assert max(lengths) < 10_000


def _described(dataset, queue):
    columns = [dataset.people.keypoints, dataset.people.ids.bytes]
    queue.put((all(isinstance(column, np.memmap) for column in columns), dataset.people.ids[77]))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_map_the_same_files(files, tmp_path, method):
    (tmp_path / "0.jpg").touch()
    data = PictureSet("set", tmp_path, tables.read_table("set", files, {}, Parser())[0], {})
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    worker = context.Process(target=_described, args=(data, queue))
    worker.start()
    assert queue.get(timeout=60) == (True, "row/77 ü")
    worker.join()


class Slow:
    """Says that it parses, and waits for leave to."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, about):
        (self.folder / f"parses.{os.getpid()}").touch()
        yield piece(0, 50)
        while not (self.folder / "go").exists():
            pass
        yield piece(50, 50)


def _open(files, parse, queue):
    queue.put(len(tables.read_table("set", files, {}, parse)[0]))


def test_of_several_processes_one_parses(files, tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_open, args=(files, Slow(tmp_path), queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    while not list(tmp_path.glob("parses.*")):
        pass
    (tmp_path / "go").touch()
    assert [queue.get(timeout=60) for _ in workers] == [100, 100, 100]
    for worker in workers:
        worker.join()
    assert len(list(tmp_path.glob("parses.*"))) == 1


def test_a_parser_that_is_killed_leaves_no_table(files, tmp_path, kept):
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=_open, args=(files, Slow(tmp_path), context.Queue()))
    worker.start()
    while not list(kept.glob("*/part/keypoints.bin")):
        pass
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert not list(kept.glob("*/*/about.json"))
    parse = Parser()
    same(tables.read_table("set", files, {}, parse)[0], piece(0, 100))
    assert parse.calls == 1
    assert [path.name for path in kept.glob("*/*") if path.is_dir()] == [next(kept.glob("*/*/about.json")).parent.name]


def test_a_table_that_is_not_whole_is_parsed_again(files, kept):
    parse = Parser()
    tables.read_table("set", files, {}, parse)
    path = next(kept.glob("*/*/points.bin"), next(kept.glob("*/*/keypoints.bin")))
    os.truncate(path, path.stat().st_size // 2)
    same(tables.read_table("set", files, {}, parse)[0], piece(0, 100))
    assert parse.calls == 2


def test_where_the_cache_cannot_be_written_tables_are_in_memory(files, kept, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    kept.parent.write_text("a file")
    with pytest.warns(UserWarning, match=r"cannot be kept in .*set KEYSHIFT_CACHE to a folder on another disk"):
        people, about = tables.read_table("set", files, {}, Parser())
    same(people, piece(0, 100))
    assert about["unit"] == "mm"
    kept.parent.unlink()
    monkeypatch.setattr(columns.Writer, "sync", full)
    with pytest.warns(UserWarning, match="No space left on device: the table of .*a.json cannot be kept"):
        people, _ = tables.read_table("set", files, {}, Parser())
    same(people, piece(0, 100))
    assert not list(kept.glob("*/part"))


def test_a_broken_file_leaves_nothing_and_its_error_stays(files, kept):
    def broken(about):
        yield piece(0, 10)
        raise ValueError("b.json, entry 3: broken")

    with pytest.raises(ValueError, match="entry 3: broken"):
        tables.read_table("set", files, {}, broken)
    assert not [path for path in kept.glob("*/*") if path.is_dir()]


def test_warnings_of_the_parser_come_each_time(files):
    def doubtful(about):
        warnings.warn("3 of 100 annotations have no box", stacklevel=2)
        yield piece(0, 100)

    for _ in range(2):
        with pytest.warns(UserWarning, match="3 of 100 annotations have no box"):
            tables.read_table("set", files, {}, doubtful)


def test_outlines_are_kept(files):
    corners = np.array([[0.1, 0.2], [3, 4], [5, 6.7]], np.float32)
    regions = [None, Region((corners, corners[::-1])), Region(counts=np.array([2, 3, 1]), size=(2, 3)), *[None] * 7]
    parse = lambda about: [replace(piece(0, 10), unlabelled=regions)]  # noqa: E731
    people = tables.read_table("set", files, {}, parse)[0]
    assert [repr(region) for region in people.unlabelled] == [repr(region) for region in regions]
    assert people.unlabelled[2].pixels().tolist() == regions[2].pixels().tolist()
    assert json.loads(json.dumps(people.unlabelled[1].area)) == pytest.approx(regions[1].area)
