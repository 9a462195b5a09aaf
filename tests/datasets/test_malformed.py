"""Annotation files as nobody should write them: each is refused with a ValueError of ours or read, and nothing else.

Every set is written in its raw layout, one of its files is changed at random, in its structure or in its bytes, and
the set is opened through the catalog and read whole, while the interpreter tells of every file that is opened.
"""

import contextlib
import functools
import importlib.util
import json
import os
import random
import sys
import sysconfig
import time
import traceback
import tracemalloc
import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keyshift.datasets
from keyshift.datasets.reading.annotations import BadAnnotation, numbers, read_arrays, read_pickle, whole

_spec = importlib.util.spec_from_file_location("raw_malformed", Path(__file__).with_name("raw_malformed.py"))
malformed = importlib.util.module_from_spec(_spec)
sys.modules["raw_malformed"] = malformed
_spec.loader.exec_module(malformed)
raw, change, nested, NAMES = malformed.raw, malformed.change, malformed.nested, malformed.NAMES

WRITERS = raw.WRITERS | raw.ROUGH | raw.DEPTH
CASES = {"mat": 6, "other": 30}
"""Of a set by the form of its files; MATLAB's take a process each."""
SECONDS = 2.0
"""Of processor time that no case may take, on a slow machine."""
SECRET = np.full((11, 7, 3), (17, 201, 93), np.uint8)
WRITES = (
    *("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown"),
    *("os.utime", "shutil.copyfile", "shutil.move", "shutil.rmtree"),
)
NEVER = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.startfile"),
    *("socket.connect", "socket.getaddrinfo"),
)
OURS = Path(keyshift.datasets.__path__[0]).resolve()
PYTHON = [Path(keyshift.datasets.__path__[0]).parent, sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()]
PYTHON = tuple({os.path.realpath(place) for place in PYTHON} | {"/dev/null"})


class Watch:
    """What the interpreter opens, lists and changes while `on`. A hook cannot be taken away again: there is one."""

    on: list | None = None
    hooked = False

    def __init__(self, root, cache):
        self.read = (os.path.realpath(root), os.path.realpath(cache), *PYTHON)
        self.written = (os.path.realpath(cache),)
        self.events = []

    def __enter__(self):
        if not Watch.hooked:
            sys.addaudithook(lambda event, args: Watch.on is not None and Watch.on.append((event, args)))
            Watch.hooked = True
        Watch.on = self.events
        return self

    def __exit__(self, *_):
        Watch.on = None

    def wrong(self):
        """What was neither read below the root, the cache or Python's own files, nor written to the cache."""
        return [event for event in self.events if not self._fine(*event)]

    def _fine(self, event, args):
        if event in NEVER:
            return event == "subprocess.Popen" and args[0] == sys.executable  # the reader of MATLAB files, apart
        if event == "open":
            path, mode, flags = args
            changes = set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            return _below(path, self.written if changes else self.read)
        if event in ("os.listdir", "os.scandir"):
            return _below(args[0], self.read)
        return event not in WRITES or all(_below(path, self.written) for path in args if isinstance(path, str | bytes))


def _below(path, places):
    if isinstance(path, int):  # a file that was opened before
        return True
    real = os.path.realpath(os.fsdecode(path) if path is not None else ".")
    return any(real == place or real.startswith(place + os.sep) for place in places)


def tree(folder):
    return {str(p): (p.lstat().st_size, p.lstat().st_mtime_ns) for p in folder.rglob("*")}


def look(made, root):
    """Open the set and read all of it: how many items came, of how many; None where the set was refused.

    Raises whatever is not a ValueError that the package itself raises.
    """
    try:
        data = raw.opened(made, root)
    except ValueError as error:
        return ours(error)
    good = 0
    for index in range(len(data)):
        try:
            item = data[index]
        except ValueError as error:
            ours(error)
            continue
        good += 1
        assert item.image.shape != SECRET.shape, "the picture beside the root"
        assert np.isfinite(item.box).all()
        assert (item.box[2:] > item.box[:2]).all()
        assert np.isfinite(item.keypoints).all()
        assert np.isfinite(item.camera).all()
        assert item.points is None or np.isfinite(item.points).all()
    return good, len(data)


def ours(error):
    """An error that escapes numpy or the like says nothing of file and entry, even where it is a ValueError."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    if OURS not in Path(last).resolve().parents:
        raise error


class Case:
    """A set in its place, with a picture beside it that nothing may read."""

    def __init__(self, name, folder):
        self.root, self.cache = folder / name / "root", folder / "cache"
        self.root.mkdir(parents=True)
        for place in (folder, folder / name):
            Image.fromarray(SECRET).save(place / "secret.png")
        self.made = WRITERS[name](self.root)
        self.good = {file: (self.root / file).read_bytes() for file in self.made.files}

    def watched(self):
        """`look`, and nothing else is touched, warned of or slow."""
        before, start = tree(self.root.parent), time.process_time()
        with warnings.catch_warnings(record=True) as caught, Watch(self.root, self.cache) as watch:
            warnings.simplefilter("always")
            outcome = look(self.made, self.root)
        foreign = [f"{one.category.__name__}: {one.message}" for one in caught if one.category is not UserWarning]
        assert not foreign, f"warnings that are none of ours: {foreign}"
        assert not watch.wrong(), f"touched: {watch.wrong()}"
        assert tree(self.root.parent) == before, "files were changed"
        assert time.process_time() - start < SECONDS, "slow"
        return outcome

    def malformed(self, seed):
        """Change a file, look, and put it back. Returns what was done and what came of it."""
        rng = random.Random(seed)
        name = rng.choice(list(self.made.files))
        done = change(self.made, self.root, name, rng)
        try:
            return done, self.watched()
        except BaseException as error:
            error.add_note(f"{name}, seed {seed}: {done}")
            raise
        finally:
            (self.root / name).write_bytes(self.good[name])


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """case(name) -> the set in its place, written once."""
    folder = tmp_path_factory.mktemp("malformed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEYSHIFT_CACHE", str(folder / "cache"))
        yield functools.cache(lambda name: Case(name, folder))


@pytest.mark.parametrize("name", WRITERS)
def test_every_malformed_file_is_refused_or_read(case, name):
    one = case(name)
    good = one.watched()
    assert good is not None, "the set as it is meant to be"
    assert good[0] > 0
    count = CASES.get(next(iter(one.made.files.values())), CASES["other"])
    outcomes = [one.malformed(f"{name} {seed}")[1] for seed in range(count)]
    assert outcomes.count(None) > count / 10, "changes that are no changes prove nothing"
    assert one.watched() == good


@pytest.mark.parametrize("name", raw.WRITERS)
def test_a_folder_in_place_of_a_file(case, name):
    one = case(name)
    file = next(iter(one.made.files))
    (one.root / file).unlink()
    (one.root / file).mkdir()
    outcome = one.watched()
    assert outcome is None or name == "panoptic_hands"  # where the files are those that are there
    (one.root / file).rmdir()
    (one.root / file).write_bytes(one.good[file])


@pytest.mark.parametrize(("name", "listed", "field"), [("h3d", None, "name"), ("coco", "images", "file_name")])
def test_every_name_of_a_picture(case, name, listed, field):
    """In all entries in turn: nothing of the kind is a picture of the set."""
    one = case(name)
    (file,) = one.made.files
    good = json.loads(one.good[file])
    for wrong in (*NAMES, str(one.root.parent / "secret.png"), str(one.root / "val2017/0.jpg")):
        content = deepcopy(good)
        for row in content[listed] if listed else content:
            row[field] = wrong
        (one.root / file).write_text(json.dumps(content))
        outcome = one.watched()
        assert outcome is None or (name, wrong) == ("coco", "0.jpg/"), wrong  # of which a path makes 0.jpg
    (one.root / file).write_bytes(one.good[file])


def test_every_name_of_a_picture_of_ones_own(case):
    """Some of these are names from elsewhere, of which the end is taken: nothing but the root is read all the same."""
    one = case("coco_json")
    good = json.loads(one.good["labels.json"])
    inside = (str(one.root / "0.jpg"), "..\\root\\0.jpg", "/x/y/0.jpg", "file:///0.jpg", "D:0.jpg")
    outcomes = []
    for wrong in (*inside, *NAMES, str(one.root.parent / "secret.png")):
        content = deepcopy(good)
        content["images"][0]["file_name"] = wrong
        (one.root / "labels.json").write_text(json.dumps(content))
        outcomes.append(one.watched())
    (one.root / "labels.json").write_bytes(one.good["labels.json"])
    assert outcomes[: len(inside)] == [one.watched()] * len(inside)
    assert outcomes.count(None) > 4


def test_what_a_watch_sees(tmp_path):
    """Else nothing is proven above."""
    root, cache = tmp_path / "root", tmp_path / "cache"
    root.mkdir()
    cache.mkdir()
    (root / "a.txt").write_text("a")
    Image.fromarray(SECRET).save(tmp_path / "secret.png")
    deeds = {
        True: (lambda: (root / "a.txt").read_text(), lambda: list(root.iterdir()), lambda: (cache / "a").mkdir()),
        False: (
            *(lambda: Image.open(root / "../secret.png").close(), lambda: list(tmp_path.iterdir())),
            *(lambda: (root / "b").mkdir(), lambda: (root / "a.txt").write_text("b"), lambda: os.open(root / "c", 65)),
            *(lambda: os.replace(root / "a.txt", root / "d"), lambda: (root / "d").unlink(), lambda: os.system("")),
        ),
    }
    for fine, acts in deeds.items():
        for act in acts:
            with Watch(root, cache) as watch:
                act()
            assert (watch.wrong() == []) == fine, watch.events


def peak(act):
    """Bytes that `act` allocates at most."""
    tracemalloc.start()
    try:
        with contextlib.suppress(ValueError):
            act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def shared(width, depth, value=1.0):
    """Nested lists that stand for width ** depth values and hold few."""
    for _ in range(depth):
        value = [value] * width
    return value


BOMBS = {
    "memo": b"\x80\x02]r\xff\xff\xff\x03.",  # item 67 million of what is remembered
    "array": b"\x80\x02cnumpy\nndarray\nM\xe8\x03M\xe8\x03M\xe8\x03\x87\x85R.",  # ndarray((1000, 1000, 1000))
    "deep": b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
}


@pytest.mark.parametrize("name", BOMBS)
def test_pickles_of_a_few_bytes_do_not_ask_for_gigabytes(tmp_path, name):
    (tmp_path / "a.pickle").write_bytes(BOMBS[name])

    def opened():
        numbers(read_pickle(tmp_path / "a.pickle"), (42, 3), "a.pickle", 1, "xyz")

    # the array is asked for once, and not touched
    assert peak(opened) < (8.1e9 if name == "array" else 5e7)


MORE = {
    "deep": shared(10, 30),
    "below": [shared(3, 40)] * 42,
    "beside": [[1.0, 2, 3], *[shared(10, 25)] * 41],
    "second": [[1.0, 2, 3], *[[shared(10, 25), 2, 3]] * 41],
    "wide": shared(10**6, 2),
}
"""Lists that stand for more than they hold."""


@pytest.mark.parametrize("name", MORE)
def test_lists_that_stand_for_more_than_they_hold(name):
    start = time.process_time()
    for check in (lambda: numbers(MORE[name], (42, 3), "f", 7, "xyz"), lambda: whole(MORE[name], "f", 7, "xyz")):
        with pytest.raises(BadAnnotation, match="7: xyz is"):
            check()
    assert time.process_time() - start < SECONDS


def test_what_was_found_is_always_said_shortly():
    objects = np.empty(2, object)
    objects[0] = nested(5000)
    bombs = (shared(10, 30), [shared(10, 30)], {"a": nested(5000)}, nested(100_000))
    for value in (*bombs, objects, 10**100_000, "x" * 10**6):
        assert len(str(BadAnnotation("a.json", 1, "x", value, "y"))) < 200


def test_files_that_are_no_arrays_are_closed(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04" + bytes(100))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(BadAnnotation, match="npz of arrays"):
            read_arrays(tmp_path / "a.npz")
    assert not caught
