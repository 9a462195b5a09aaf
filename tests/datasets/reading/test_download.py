"""Against a server that drops connections, with and without ranges; and archives that mean harm."""

import errno
import gzip
import hashlib
import io
import shutil
import stat
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from keyshift.datasets.reading import download
from keyshift.datasets.reading.download import fetch, is_unpacked, unpack
from keyshift.datasets.reading.origin import Download

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server(ThreadingHTTPServer):
    """One file. `drops` are numbers of bytes after which the next connections break."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.drops, self.ranges, self.tag, self.status = CONTENT, [], True, '"one"', 200
        self.asked, self.sent = [], 0
        self.url = f"http://127.0.0.1:{self.server_port}/set/data.bin"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server, total = self.server, len(self.server.content)
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if server.status != 200:
            return self.send_error(server.status)
        same = self.headers.get("If-Range") in (None, server.tag)
        start = int(wanted[len("bytes=") : -1]) if wanted and server.ranges and same else 0
        if start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(total - start))
        if server.tag:
            self.send_header("ETag", server.tag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        body = server.content[start:]
        if server.drops:
            body, self.close_connection = body[: server.drops.pop(0)], True
        server.sent += len(body)
        self.wfile.write(body)


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def get(server, root, sha256=None):
    return fetch(Download(server.url, sha256), root, wait=0.0)


def test_a_dropped_download_goes_on_where_it_ended(server, tmp_path):
    server.drops = [100_000, 0, 50_000, 0]
    path = get(server, tmp_path)
    assert path == tmp_path / "downloads" / "data.bin"
    assert path.read_bytes() == CONTENT
    assert server.sent == len(CONTENT)  # nothing came twice
    assert server.asked == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    assert (tmp_path / "downloads/data.bin.sha256").read_text().startswith(hashlib.sha256(CONTENT).hexdigest())
    assert sorted(p.name for p in path.parent.iterdir()) == ["data.bin", "data.bin.sha256"]
    get(server, tmp_path)
    assert len(server.asked) == 5


def test_without_ranges_it_starts_again(server, tmp_path):
    server.ranges, server.drops = False, [100_000, 200_000]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.sent == 300_000 + len(CONTENT)


@pytest.mark.parametrize(
    ("tag", "content"),
    [('"two"', CONTENT[::-1]), ('"two"', CONTENT[-50_000:]), (None, CONTENT[::-1] + b"longer")],
)
def test_halves_of_two_files_are_not_put_together(server, tmp_path, tag, content):
    server.tag = server.tag if tag else None
    server.drops = [100_000, *[0] * 20]
    with pytest.raises(ValueError, match="100,000 bytes are there; the same command goes on"):
        get(server, tmp_path)
    server.drops, server.content, server.tag = [], content, tag
    assert get(server, tmp_path).read_bytes() == server.content


def test_a_whole_file_that_was_not_yet_renamed(server, tmp_path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/data.bin.part").write_bytes(CONTENT)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.sent == 0
    (tmp_path / "downloads/data.bin").rename(tmp_path / "downloads/data.bin.part")
    with open(tmp_path / "downloads/data.bin.part", "ab") as file:
        file.write(b"more than there is")
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_wrong_sum_is_an_error_and_the_file_is_kept(server, tmp_path):
    with pytest.raises(ValueError, match=f"not {'0' * 64} as its publisher states"):
        get(server, tmp_path, "0" * 64)
    assert (tmp_path / "downloads/data.bin.bad").read_bytes() == CONTENT
    assert not (tmp_path / "downloads/data.bin").exists()
    assert get(server, tmp_path, hashlib.sha256(CONTENT).hexdigest().upper()).read_bytes() == CONTENT


def test_later_downloads_are_held_to_the_first_ones_sum(server, tmp_path):
    get(server, tmp_path).unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(ValueError, match="holds from the first download"):
        get(server, tmp_path)
    (tmp_path / "downloads/data.bin.sha256").unlink()
    assert get(server, tmp_path).read_bytes() == server.content


def test_what_a_server_refuses_is_not_asked_for_again(server, tmp_path):
    server.status = 404
    with pytest.raises(ValueError, match="answers 404"):
        get(server, tmp_path)
    assert len(server.asked) == 1
    server.status = 503
    with pytest.raises(ValueError, match="after 6 attempts"):
        get(server, tmp_path)
    assert len(server.asked) == 1 + download.ATTEMPTS
    for url in ("file:///etc/passwd", "http://host/", "ftp://host/file"):
        with pytest.raises(ValueError, match="expected http"):
            fetch(Download(url), tmp_path)


def test_a_full_disk_is_told_before_and_while(server, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(ValueError, match=r"full \(1,000 bytes free\)"):
            get(server, tmp_path)
    assert get(server, tmp_path).read_bytes() == CONTENT


FILES = {"images/a.png": b"A" * 5000, "images/deep/ü b.png": b"", "labels.json": b"{}"}


def archive(root, kind, files=None):
    files = FILES if files is None else files
    path = root / "downloads" / f"set.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            made.mkdir("images")
            for name, content in files.items():
                made.writestr(name, content)
    else:
        with tarfile.open(path, f"w:{kind.partition('.')[2]}") as made:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                made.addfile(info, io.BytesIO(content))
    return Download(f"http://host/set.{kind}", folder="raw")


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_archives_are_unpacked_and_again_after_an_interruption(tmp_path, monkeypatch, kind):
    download = archive(tmp_path, kind)
    copy, count = shutil.copyfileobj, []

    def broken(source, target, length):
        count.append(1)
        target.write(b"half")
        if len(count) == 2:
            raise OSError(errno.ENOSPC, "no space left")
        target.seek(0)
        copy(source, target, length)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", broken)
        with pytest.raises(ValueError, match="the disk is full"):
            unpack(download, tmp_path)
    assert not is_unpacked(download, tmp_path)
    unpack(download, tmp_path)
    assert is_unpacked(download, tmp_path)
    assert tree(tmp_path / "raw") == FILES


def test_single_files_are_put_in_place(tmp_path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/a.mat").write_bytes(b"content")
    (tmp_path / "downloads/b.h5.gz").write_bytes(gzip.compress(b"more"))
    for name in ("a.mat", "b.h5.gz"):
        unpack(Download(f"http://host/{name}"), tmp_path)
    assert (tmp_path / "a.mat").read_bytes() == b"content"
    assert (tmp_path / "b.h5").read_bytes() == b"more"


def test_a_users_file_is_not_overwritten(tmp_path):
    download = archive(tmp_path, "zip")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/labels.json").write_text("my own")
    with pytest.raises(ValueError, match=r"labels\.json is there and differs"):
        unpack(download, tmp_path)
    assert (tmp_path / "raw/labels.json").read_text() == "my own"


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/tmp/keyshift-out.txt", "..\\out.txt", "C:/out"])
def test_no_member_leads_out(tmp_path, kind, name):
    root = tmp_path / "inner" / "root"
    with pytest.raises(ValueError, match="expected a path below the root"):
        unpack(archive(root, kind, {name: b"harm"}), root)
    assert set(tree(tmp_path)) == {f"inner/root/downloads/set.{kind}"}


def links(path, *pairs):
    with tarfile.open(path, "w") as made:
        for name, target, kind in pairs:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            made.addfile(info)


@pytest.mark.parametrize(
    "pairs",
    [
        [("a", "/etc/passwd", tarfile.SYMTYPE)],
        [("a", "../../../etc/passwd", tarfile.SYMTYPE)],
        [("a", "../outside", tarfile.LNKTYPE)],
        [("a", "a", tarfile.SYMTYPE)],
        [("a", "b", tarfile.SYMTYPE), ("b", "a", tarfile.SYMTYPE)],
        [("a", "", tarfile.CHRTYPE)],
    ],
)
def test_links_out_loops_and_devices_are_refused(tmp_path, pairs):
    download = archive(tmp_path, "tar")
    links(tmp_path / "downloads/set.tar", *pairs)
    with pytest.raises(ValueError, match=r"is broken|is a device"):
        unpack(download, tmp_path)
    assert not (tmp_path / "raw").exists()


def test_links_inside_become_copies(tmp_path):
    download = archive(tmp_path, "tar")
    with tarfile.open(tmp_path / "downloads/set.tar", "a") as made:
        info = tarfile.TarInfo("again.json")
        info.type, info.linkname = tarfile.SYMTYPE, "labels.json"
        made.addfile(info)
    unpack(download, tmp_path)
    assert (tmp_path / "raw/again.json").read_bytes() == FILES["labels.json"]
    assert not (tmp_path / "raw/again.json").is_symlink()


def test_links_in_a_zip_are_refused(tmp_path):
    download = archive(tmp_path, "zip")
    with zipfile.ZipFile(tmp_path / "downloads/set.zip", "w") as made:
        info = zipfile.ZipInfo("a")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="is a link"):
        unpack(download, tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("harm", ["cut", "flipped"])
def test_broken_archives_are_kept_aside(tmp_path, kind, harm):
    rng = np.random.default_rng(1)
    download = archive(tmp_path, kind, {f"{i}.bin": rng.bytes(3000) for i in range(5)})
    path = tmp_path / "downloads" / f"set.{kind}"
    content = bytearray(path.read_bytes())
    if harm == "cut":
        del content[len(content) * 2 // 3 :]
    else:
        content[len(content) // 2] ^= 255  # within stored random bytes: only the sum can tell
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is broken .* kept as set"):
        unpack(download, tmp_path)
    assert not path.exists()
    assert not is_unpacked(download, tmp_path)
    if (tmp_path / "raw").exists():  # whatever was written before the break was noticed is right
        rng = np.random.default_rng(1)
        whole = {f"{i}.bin": rng.bytes(3000) for i in range(5)}
        there = tree(tmp_path / "raw")
        there.pop(".unpacking", None)
        assert all(whole[name] == content for name, content in there.items())
