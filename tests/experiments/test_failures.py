"""What the system refuses is one line with the file and the reason; a defect of ours keeps its traceback."""

import errno
import io
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from keyshift.datasets.reading import files
from keyshift.datasets.reading.files import check_place, naming, only_one, sweep, temporary_of, write_json, write_whole
from keyshift.datasets.reading.images import UnreadableImage
from keyshift.datasets.reading.video import read_named
from keyshift.datasets.rendered import cache
from keyshift.experiments import cli
from keyshift.experiments.failures import REMEDIES, failure
from keyshift.experiments.report.drawing import write_picture
from keyshift.experiments.runs.folder import locked
from keyshift.models.saved import save_checkpoint

REFUSED = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG]


class Full:
    """A file on a disk that takes so many bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.room -= len(memoryview(data).cast("B"))
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


@pytest.fixture(params=[0, 200, 3000])
def full(request, monkeypatch):
    monkeypatch.setattr(files, "open", lambda *a: Full(io.FileIO(a[0], a[1].rstrip("b")), request.param), raising=False)


NOISE = np.random.default_rng(0).integers(0, 255, 64 * 64 * 3, np.uint8)
WRITERS = {
    "a checkpoint": lambda path: save_checkpoint(path, {"weights": torch.zeros(5000), "step": 3}),
    "arrays": lambda path: write_whole(path, lambda file: np.savez_compressed(file, a=NOISE)),
    "JSON": lambda path: write_json(path, list(range(5000))),
    "a picture": lambda path: write_picture(path, NOISE.reshape(64, 64, 3)),
}


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_leaves_nothing_half_written(write, tmp_path, monkeypatch):
    path = tmp_path / "file.png"
    path.write_bytes(b"as it was")
    with pytest.raises(OSError, match="No space left on device") as error:
        write(path)
    assert failure(error.value) == f"{path}: No space left on device; make room, and the same command goes on"
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("file.png", b"as it was")]
    monkeypatch.undo()
    write(path)
    assert path.stat().st_size > 1000


def test_an_error_of_the_writer_itself_stays_what_it_is(tmp_path):
    with pytest.raises(KeyError, match="ours"):
        write_whole(tmp_path / "file", lambda file: {}["ours"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["notes.txt/sheet.png", "missing/sheet.png", f"{'long' * 63}.png"])
def test_a_file_that_cannot_be_made_is_named_as_the_user_did(name, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OSError) as error:  # noqa: PT011
        write_whole(tmp_path / name, lambda file: file.write(b"new"))
    assert error.value.filename == str(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("number", REFUSED)
def test_each_refusal_of_the_system_names_file_and_remedy(number, monkeypatch, capsys):
    def run(arguments):
        raise OSError(number, os.strerror(number), "runs/x")

    monkeypatch.setattr("keyshift.experiments.arguments.runs.run", run)
    monkeypatch.delenv("KEYSHIFT_DEBUG", raising=False)
    assert cli.main(["runs"]) == 2
    shown = capsys.readouterr().err
    assert shown == f"keyshift: error: runs/x: {os.strerror(number)}; {REMEDIES[number]}\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("Unable to allocate 3.1 GiB for an array"), ["not enough memory", "allocate 3.1 GiB", "batch"]),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nlong advice"), ["memory", "--batch"]),
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried"), ["not enough memory"]),
        (cv2.error("OpenCV(4) alloc.cpp: Insufficient memory (Failed to allocate 9 bytes)"), ["not enough memory"]),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Bus error. It is"), ["Bus error", "workers=0"]),
        (RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error: Connection reset by peer"), ["another process of"]),
        (OSError("Caught OSError in DataLoader worker process 0.\nOSError: [Errno 28] No room"), ["No room; make"]),
        (OSError("the video could not be written"), ["the video could not be written"]),
        (OSError(errno.ENOENT, "No such file", "a" * 5000), ["(5000 characters): No such file"]),
    ],
    ids=range(9),
)  # fmt: skip
def test_other_refusals_are_one_line_too(error, words):
    line = failure(error)
    assert line
    assert "\n" not in line
    assert len(line) < 500
    for word in words:
        assert word in line


def test_an_error_that_a_library_raised_for_a_full_disk_counts():
    error = RuntimeError("unexpected pos 64 vs 0")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device", "net.onnx")
    assert failure(error).startswith("net.onnx: No space left on device; make room")


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), RuntimeError("shapes"), AttributeError("memory")])
def test_a_defect_keeps_its_traceback(error, monkeypatch):
    def run(arguments):
        try:
            raise PermissionError(errno.EACCES, "Permission denied", "x")
        except PermissionError:
            raise error  # noqa: B904 a defect in what is done about another error

    monkeypatch.setattr("keyshift.experiments.arguments.runs.run", run)
    with pytest.raises(type(error)):
        cli.main(["runs"])


def test_errors_without_a_file_get_one(tmp_path):
    with pytest.raises(IsADirectoryError) as error, naming(tmp_path / "x"):
        raise OSError(errno.EISDIR, "Is a directory")
    assert error.value.filename == str(tmp_path / "x")
    with pytest.raises(OSError, match="other"), naming(tmp_path / "x"):
        raise OSError(errno.EIO, "I/O error", "other")


def test_a_folder_below_a_file_and_a_name_too_long(tmp_path, capsys):
    (tmp_path / "labels.json").write_text("{}")
    for name, reason in (("labels.json/run", "Not a directory"), ("x" * 300, "File name too long")):
        with pytest.raises(OSError, match=reason) as error, only_one(tmp_path / name):
            pass
        assert reason in failure(error.value)


@pytest.mark.parametrize("name", ["notes.txt", "notes.txt/x", "notes.txt/x/y"])
def test_a_place_below_a_file_is_refused(tmp_path, name):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"cannot write into .*: .*notes\.txt is a file; choose another folder"):
        check_place(tmp_path / name)
    check_place(tmp_path / "not" / "there" / "yet")


def test_a_place_that_can_only_be_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "access", lambda place, right: False)
    with pytest.raises(ValueError, match="can only be read; choose another folder"):
        check_place(tmp_path / "x")


def test_no_error_names_a_temporary_file(tmp_path):
    (tmp_path / "a").touch()
    for path in (tmp_path / "a/b.json", tmp_path / "not/there.json"):
        with pytest.raises(OSError, match=path.name) as error:
            write_json(path, {})
        assert error.value.filename == str(path)


@pytest.mark.parametrize(
    "words",
    [["adapt", "run", "--target", ""], ["predict", "run", ""], ["predict", "", "a.png"], ["export", ""], ["sync", ""]],
)
def test_an_empty_word_is_not_the_folder_one_stands_in(words, capsys):
    with pytest.raises(SystemExit):
        cli.main(words)
    assert "it is empty: a variable that is not set?" in capsys.readouterr().err


def test_a_lock_that_a_disk_does_not_have_is_not_taken_for_another_process(tmp_path, monkeypatch):
    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with pytest.raises(OSError, match="No locks available"), only_one(tmp_path):
        pass


def test_rendered_arrays_take_their_room_before_they_are_filled(tmp_path, monkeypatch):
    def fallocate(descriptor, start, length):
        assert length > 100_000
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.os, "posix_fallocate", fallocate)
    with pytest.raises(OSError, match="No space left") as error:
        cache.fill(tmp_path / "set-1", {}, 1000, lambda: [{"image": np.zeros((1000, 16, 16), np.uint8)}])
    assert error.value.filename == str(tmp_path / "set-1")
    assert not list(tmp_path.iterdir())


def test_a_limit_on_files_in_a_process_of_its_own(tmp_path):
    """The whole way, as a user meets it: exit status, one line, nothing half-written."""
    code = (
        "import resource, signal, sys, torch; from pathlib import Path\n"
        "from keyshift.experiments import cli; from keyshift.experiments.arguments import runs\n"
        "from keyshift.models.saved import save_checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "runs.run = lambda a: save_checkpoint(Path('weights.pt'), {'w': torch.zeros(99999)})\n"
        "sys.exit(cli.main(['runs']))"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("keyshift: error: weights.pt: File too large; ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("name: x\n")
    command = [sys.executable, "-m", "keyshift.experiments.cli", "runs", str(tmp_path)]
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert ended.stderr == b""
    assert ended.returncode != 0


def test_addresses_in_errors_are_masked(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "demo", "http://me:hunter2@host", "--no"])
    assert "hunter2" not in capsys.readouterr().err


def test_a_run_whose_last_line_a_full_disk_cut_is_listed(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text("name: x\nsteps: 9\n")
    (tmp_path / "a" / "metrics.jsonl").write_text('{"step": 3, "metrics": {}}\n{"step": 4, "met')
    assert cli.main(["runs", str(tmp_path)]) == 0
    assert "step 3 of 9" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def killed():
    """The number of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_what_killed_writers_left_is_swept(tmp_path, killed):
    ours = temporary_of(tmp_path / "answers.json")
    for name in (ours.name, f".answers.json.{killed}.tmp", f".other.json.{killed}.tmp", ".notes.tmp", ".a.mine.tmp"):
        (tmp_path / name).touch()
    (tmp_path / f".net.onnx.{killed}.tmp").mkdir()
    (tmp_path / f".net.onnx.{killed}.tmp" / "net.onnx").touch()
    sweep(tmp_path, ["answers.json", "net.onnx"])
    kept = {ours.name, f".other.json.{killed}.tmp", ".notes.tmp", ".a.mine.tmp"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept - {f".other.json.{killed}.tmp"}


def test_a_run_folder_is_swept_and_can_be_emptied_again(tmp_path, killed, monkeypatch):
    """config.yaml goes last: a process that is killed while it empties a run leaves one that may be emptied."""
    for name in ("config.yaml", "a.json", "z.json", f".result.json.{killed}.tmp"):
        (tmp_path / name).touch()
    with locked(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "config.yaml", "a.json", "z.json"}
    removed = []
    unlink = type(tmp_path).unlink
    monkeypatch.setattr(type(tmp_path), "unlink", lambda path, **how: (removed.append(path.name), unlink(path, **how)))
    with locked(tmp_path, overwrite=True):
        assert removed[-1] == "config.yaml"


def test_pictures_of_a_folder_that_is_gone_are_not_taken_for_broken_ones(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(UnreadableImage):
        read_named(tmp_path / "set", "a.png")
    with pytest.raises(FileNotFoundError) as error:
        read_named(tmp_path / "gone", "a.png")
    assert failure(error.value).startswith(f"{tmp_path / 'gone'}: the folder of the pictures is gone; bring it back")
