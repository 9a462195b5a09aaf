"""Public archives: fetched so that nothing is lost when a connection drops, checked, and unpacked below the root alone.

All of it lies in ROOT/downloads: FILE once it is whole and checked, FILE.part before that, FILE.sha256 (the sum that
later downloads of the same file are held to), FILE.bad (one with another sum), FILE.unpacked once it is.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import json
import lzma
import os
import shutil
import stat
import struct
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from .annotations import picture_name
from .files import naming, write_text
from .origin import Download

FOLDER = "downloads"
ATTEMPTS = 6
"""Failures in a row, none of which brought a byte more, before giving up."""
TIMEOUT = 60.0
"""Seconds of silence that count as a dropped connection."""
BLOCK = 1 << 20
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP answers that may be another in a moment."""
BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, KeyError, OverflowError, RecursionError, struct.error),
)
"""What the archive modules raise for bytes that are not what they should be, and for links that lead nowhere."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes done and their number, None where the server does not say it."""


def archive_path(download: Download, root: Path) -> Path:
    """Where the file of `download` lies. Raises ValueError for an address that is not http(s) or names no file."""
    parts = urllib.parse.urlsplit(download.url)
    name = urllib.parse.unquote(parts.path).rpartition("/")[2]
    if parts.scheme not in ("http", "https") or name in ("", ".", ".."):
        raise ValueError(f"cannot download {download.url!r}; expected http(s)://HOST/FOLDER/FILE")
    return root / FOLDER / name


def is_unpacked(download: Download, root: Path) -> bool:
    return _beside(archive_path(download, root), "unpacked").is_file()


def fetch(download: Download, root: Path, progress: Progress | None = None, wait: float = 1.0) -> Path:
    """The archive, whole and with the right sum; what is there of it is not asked for again.

    `wait` is the pause in seconds after a first failure, doubled with each that follows. Raises ValueError where the
    server refuses, stays silent, where the disk is too small, and for a wrong sum; the bad file is kept as FILE.bad.
    """
    path = archive_path(download, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    part, noted = _beside(path, "part"), _beside(path, "sha256")
    if not path.is_file():
        _receive(download.url, part, progress or (lambda done, total: None), wait)
    there = path if path.is_file() else part
    with open(there, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    written = noted.read_text().split()[0] if noted.is_file() and noted.read_text().split() else None
    wanted = download.sha256 or written
    if wanted is not None and digest != wanted.lower():
        bad = _beside(path, "bad")
        os.replace(there, bad)
        _beside(part, "from").unlink(missing_ok=True)
        whose = "its publisher states" if download.sha256 else f"{noted} holds from the first download"
        raise ValueError(
            f"{download.url}: the sha256 is {digest}, not {wanted} as {whose}. The file is kept as {bad}; run the same "
            + ("command again" if download.sha256 else f"command again, or delete {noted} if its publisher changed it")
        )
    os.replace(there, path)
    _beside(part, "from").unlink(missing_ok=True)
    if written != digest:
        write_text(noted, f"{digest}  {path.name}\n")
    return path


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _receive(url: str, part: Path, progress: Progress, wait: float) -> None:
    """Fill `part`, over as many connections as it takes."""
    failures, farthest = 0, _size(part)
    while True:
        try:
            return _request(url, part, progress)
        except (OSError, http.client.HTTPException) as error:
            if _full(error):
                free = shutil.disk_usage(part.parent).free
                raise ValueError(
                    f"the disk of {part} is full ({free:,} bytes free): make room, and the same command goes on"
                ) from error
            if isinstance(error, urllib.error.HTTPError) and error.code not in PASSING:
                raise ValueError(f"{url}: the server answers {error.code} {error.reason}; see its publisher") from error
            failures = 0 if _size(part) > farthest else failures + 1
            farthest = max(farthest, _size(part))
            if failures >= ATTEMPTS:
                raise ValueError(
                    f"{url}: no more of it after {ATTEMPTS} attempts ({error}). {farthest:,} bytes are there; the same "
                    "command goes on"
                ) from error
            time.sleep(wait * 2**failures)


def _request(url: str, part: Path, progress: Progress) -> None:
    """One connection. Raises OSError or HTTPException where it ends early."""
    have, source = _size(part), _beside(part, "from")
    before = json.loads(source.read_text()) if have and source.is_file() else {}
    headers = {"User-Agent": "keyshift", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        headers |= {"If-Range": before["version"]} if before.get("version") else {}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if have and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # it was whole already
        part.unlink(missing_ok=True)
        raise ConnectionError(f"the server holds less than the {have:,} bytes of {part}") from error
    with response:
        start, total = _span(response)
        if start and (start != have or total != before.get("total", total)):
            part.unlink()
            raise ConnectionError("the file has changed on the server")
        if total is not None and total - start > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, f"{total - start:,} bytes are to come")
        tag = response.headers.get("ETag") or ""
        version = response.headers.get("Last-Modified") if not tag or tag.startswith("W/") else tag
        write_text(source, json.dumps({"version": version, "total": total}))
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            while block := response.read(BLOCK):
                file.write(block)
                progress(file.tell(), total)
    if total is not None and _size(part) != total:
        raise ConnectionError(f"the connection ended at {_size(part):,} of {total:,} bytes")


def _span(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Where the answer starts in the file, and the file's length."""
    length = response.headers.get("Content-Length", "")
    if response.status != 206:
        return 0, int(length) if length.isdigit() else None
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        raise http.client.HTTPException(f"a Content-Range that cannot be read: {unit} {rest}")
    return int(first), int(total) if total.isdigit() else None


def unpack(download: Download, root: Path) -> None:
    """Unpack the fetched archive into its folder below `root`; after an interruption, again.

    zip, tar (also .gz, .bz2, .xz) and single .gz files; others are put in place as they are. Links become copies of
    what they name inside the archive. Files that are there already must be the same. Raises ValueError for a broken
    archive, a member that leads out of the folder or is a device, a different file in its place, and a full disk.
    """
    path = archive_path(download, root)
    target = root / picture_name(download.folder, path, "", "folder")
    try:
        for name, content in _members(path):
            with content:
                _put(content, target / picture_name(name.replace("\\", "/"), path, "a member", "name"), path)
    except BROKEN as error:
        os.replace(path, _beside(path, "bad"))
        if download.sha256 is None:
            _beside(path, "sha256").unlink(missing_ok=True)  # it was a broken file's
        raise ValueError(
            f"{path} is broken ({type(error).__name__}: {error}) and kept as {path.name}.bad; the same command fetches "
            "it again"
        ) from error
    except RuntimeError as error:  # encrypted, or packed in a way that Python does not know
        raise ValueError(f"{path} cannot be unpacked ({error}); unpack it by hand into {target}") from error
    except OSError as error:
        problem = f"the disk is full ({shutil.disk_usage(root).free:,} bytes free)" if _full(error) else str(error)
        raise ValueError(f"cannot unpack {path} into {target}: {problem}; then the same command goes on") from error
    os.sync()  # one for all files, before the mark says that they are there
    write_text(_beside(path, "unpacked"), "")


def _members(path: Path) -> Iterator[tuple[str, Any]]:
    """The files of an archive by name."""
    name = path.name.lower()
    if name.endswith(".zip"):
        yield from _of_zip(path)
    elif name.endswith((".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")):
        yield from _of_tar(path)
    elif name.endswith(".gz"):
        with gzip.open(path) as content:
            yield path.name[: -len(".gz")], content
    else:
        with open(path, "rb") as plain:
            yield path.name, plain


def _of_zip(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if stat.S_ISLNK(info.external_attr >> 16):
                raise ValueError(f"{path}: {info.filename} is a link; unpack the archive by hand")
            if not info.is_dir():
                yield info.filename, archive.open(info)


def _of_tar(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(path, "r:*") as archive:
        while archive.fileobj is not None and archive.fileobj.read(BLOCK):
            pass  # the sum of a compressed file stands at its end, and is checked before anything is written
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            if member.isdir():
                continue
            content = archive.extractfile(member)  # of a link: the member that it names, KeyError where there is none
            if content is None:
                raise ValueError(f"{path}: {member.name} is a device or a link to a folder; unpack the archive by hand")
            yield member.name, content


def _put(content: IO[bytes], target: Path, archive: Path) -> None:
    if target.exists():
        if not target.is_file() or not _same(content, target):
            raise ValueError(f"{target} is there and differs from what {archive} holds; move it away and run it again")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(".unpacking")
    with naming(target), open(temporary, "wb") as file:
        shutil.copyfileobj(content, file, BLOCK)
    os.replace(temporary, target)


def _same(content: IO[bytes], target: Path) -> bool:
    """Whether a file holds just that; `content` is read to its end, where its sum is checked."""
    same = True
    with open(target, "rb") as file:
        while block := content.read(BLOCK):
            same = same and file.read(len(block)) == block
        return same and not file.read(1)
