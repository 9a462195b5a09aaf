"""`keyshift data prepare`: a raw set, downloaded where it can be, and its crops kept as fast arrays."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...datasets.catalog import entry_of, open_dataset
from ...datasets.options import Options, option
from ...datasets.reading.download import FOLDER, fetch, is_unpacked, unpack
from ...datasets.reading.files import from_home, only_one, write_text
from ...datasets.reading.origin import FolderOptions, Origin
from ...datasets.reading.people import PictureOptions, PictureSet
from ...datasets.reading.prepared import BEGUN, DONE, differences, given, is_prepared, read_about, resolved, spelled
from ...datasets.reading.preparing import MARK, bytes_needed, convert, plan
from ...datasets.reading.splits import PARTS
from ...datasets.rendered.options import RenderedOptions
from ...datasets.sample import PoseDataset
from ..runs.progress import PLAIN_EVERY, Reporter
from .data_words import read_words


@dataclass(frozen=True)
class PrepareOptions(Options):
    """Of the command, beside the dataset's."""

    output: str | None = option(None, "folder of what is prepared; null: ROOT-prepared/NAME")
    size: int = option(256, "side in pixels of the crops that the pictures are kept for", low=16, high=4096)


def prepare(name: str, words: list[str], reporter: Reporter, accept: bool = False, overwrite: bool = False) -> Path:
    """Get the raw set where it is missing and can be downloaded, and keep the crops of both parts as arrays.

    `words` are key=value of the dataset's options and of PrepareOptions. `accept`: the licence is accepted, which a
    terminal asks for. Goes on where an earlier call was stopped. Gives the output folder. Raises ValueError for
    rendered and depth sets, for a folder with something else in it or made from other options or other annotations
    (unless `overwrite`), and where the disk is too small.
    """
    own, options = read_words(name, words, PrepareOptions)
    if isinstance(options, PictureOptions):
        options = replace(options, keypoints=None, rename=None)  # all are kept; these are laid over them
    size, origin = own.size, entry_of(name).origin
    raw = _raw_folder(name, options)
    if raw is not None:
        _obtain(name, origin, raw, reporter, accept)
    opened = {part: open_dataset(name, options, part) for part in PARTS}
    raw = (raw or _pictures_folder(opened["train"])).resolve()
    output = from_home(own.output) if own.output else raw.with_name(f"{raw.name}-prepared") / name
    if output.resolve() in (raw, *raw.parents):
        raise ValueError(f"output={output} holds the raw set at {raw}; choose another folder")
    about = _plan(name, options, size, opened, origin)
    if output.exists() and any(output.glob("[!.]*")) and not is_prepared(output):
        raise ValueError(f"{output} holds something else; choose another folder with output=FOLDER")
    _check_room(output, opened, size, overwrite, reporter)
    with only_one(output), _going_on():
        _write(output, about, opened, size, overwrite, reporter)
    reporter.say("use it with: " + _usage(name, output, about["options"]))
    return output


@contextmanager
def _going_on() -> Iterator[None]:
    """Ctrl-C says that the same command goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("stopped") from stop


def _raw_folder(name: str, options: Options) -> Path | None:
    """Where the raw set lies, or is to lie; None where the options do not say. Raises ValueError for a set that is not
    prepared."""
    if isinstance(options, RenderedOptions):
        raise ValueError(f"{name} is rendered, and kept ready in the cache already; nothing is to be prepared")
    if entry_of(name).depth:
        raise ValueError(f"{name} gives depth, of which whole frames are needed; use the raw set as it is")
    if not isinstance(options, FolderOptions) or options.root is None:
        return None
    if is_prepared(options.root):
        raise ValueError(f"root={options.root} is prepared already; root must be the folder of the raw set")
    return options.folder


def _pictures_folder(dataset: PoseDataset) -> Path:
    """Where the pictures of own labels lie; no other set can be opened without `root`."""
    assert isinstance(dataset, PictureSet)
    return dataset.root


def _obtain(name: str, origin: Origin | None, root: Path, reporter: Reporter, accept: bool) -> None:
    """Download and unpack into `root` what is not there: where it is empty, or where that was begun."""
    downloads = [d for d in (origin.downloads if origin else ()) if not is_unpacked(d, root)]
    begun = (root / FOLDER).is_dir() or not root.exists() or not any(root.iterdir())
    if origin is None or not downloads or not begun:
        return
    reporter.say(f"{name}: {origin.title}\nlicence: {origin.licence}; read and accept it at {origin.home}")
    if not accept and not _asked():
        raise ValueError(
            f"{name} is downloaded only under its licence ({origin.licence}; {origin.home}): pass --accept-licence"
        )
    with only_one(root / FOLDER), _going_on():
        for download in downloads:
            fetch(download, root, _megabytes(download.url, reporter))
            reporter.say(f"unpacking {download.url.rpartition('/')[2]}")
            unpack(download, root)
    reporter.say(f"all of it lies in {root}; the archives in {root / FOLDER} are no longer needed")


def _megabytes(url: str, reporter: Reporter) -> Callable[[int, int | None], None]:
    """Says now and then how much of a download is there."""
    reporter.say(f"downloading {url}")
    printed = time.monotonic()

    def progress(done: int, total: int | None) -> None:
        nonlocal printed
        if time.monotonic() - printed > PLAIN_EVERY:
            printed = time.monotonic()
            reporter.say(f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else f"{done / 1e6:,.0f} MB")

    return progress


def _asked() -> bool:
    if not sys.stdin.isatty():
        return False
    with suppress(EOFError):
        return input("Do you accept the licence? [y/N] ").strip().lower() in ("y", "yes")
    return False


def _plan(
    name: str, options: Options, size: int, opened: dict[str, PoseDataset], origin: Origin | None
) -> dict[str, Any]:
    more: dict[str, Any] = {"keyshift": version("keyshift")}
    if origin is not None:
        more |= {"title": origin.title, "licence": origin.licence, "home": origin.home}
    return dict(plan(name, given(options), size, opened, more))


def _check_room(output: Path, opened: dict[str, PoseDataset], size: int, overwrite: bool, reporter: Reporter) -> None:
    """Raises ValueError where the disk is smaller than what is still to be written."""
    if (output / DONE).is_file() and not overwrite:
        return
    there = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    needed = max(sum(bytes_needed(dataset, size) for dataset in opened.values()) - there, 0)
    standing = next(folder for folder in (output, *output.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(standing).free
    room = f"{needed / 1e9:.2f} GB to write to {output}, {free / 1e9:.2f} GB free there"
    if needed > free:
        raise ValueError(f"{room}: make room, choose another disk with output=FOLDER, or a smaller size=")
    reporter.say(room)


def _write(
    output: Path, about: dict[str, Any], opened: dict[str, PoseDataset], size: int, overwrite: bool, reporter: Reporter
) -> None:
    done, begun = output / DONE, output / BEGUN
    if overwrite:
        if done.is_file():
            os.replace(done, begun)  # until the arrays are gone this stays a folder that was prepared
        for part in PARTS:
            shutil.rmtree(output / part, ignore_errors=True)
        begun.unlink(missing_ok=True)
    for path in (done, begun):
        if path.is_file():
            _check_same(read_about(path), about, output)
    if done.is_file():
        reporter.say(f"{output} is finished already: nothing to do")
    else:
        _convert(output, about, opened, size, reporter)
    killed = output.rglob(".*.tmp")  # what a writer that was killed left
    for path in (begun, *(output / part / MARK for part in PARTS), *killed):
        path.unlink(missing_ok=True)


def _convert(
    output: Path, about: dict[str, Any], opened: dict[str, PoseDataset], size: int, reporter: Reporter
) -> None:
    write_text(output / BEGUN, _text(about))
    for part, dataset in opened.items():
        with reporter.counted(f"preparing {dataset.name}", len(dataset)) as progress:
            unreadable = convert(dataset, output / part, size, progress)
        for _, reason in unreadable:
            reporter.say(f"left out: {reason}")
        about["parts"][part]["unreadable"] = unreadable
        reporter.say(f"{dataset.name}: {len(dataset) - len(unreadable):,} crops in {output / part}")
    write_text(output / DONE, _text(about))


def _text(about: dict[str, Any]) -> str:
    return json.dumps(about, indent=1, ensure_ascii=False) + "\n"


def _check_same(there: dict[str, Any], about: dict[str, Any], output: Path) -> None:
    choice = "choose another folder with output=FOLDER, or pass --overwrite"
    named = [{"name": side["name"], "size": side["size"], **resolved(side["options"])} for side in (there, about)]
    if other := differences(*named):
        raise ValueError(f"{output} was prepared otherwise: {other}; {choice}")
    for part in PARTS:
        if other := differences(*(side["parts"][part]["identity"] for side in (there, about))):
            raise ValueError(f"the raw set has changed since {output} was prepared, {part}: {other}; {choice}")


def _usage(name: str, output: Path, options: dict[str, Any]) -> str:
    return spelled({"name": name, "root": str(output), **options}, "target.")
