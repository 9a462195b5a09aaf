"""`keyshift data prepare`: a raw set, downloaded where it can be, and its crops kept as fast arrays."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...datasets.catalog import Entry, entry_of, open_dataset
from ...datasets.reading.download import FOLDER, fetch, is_unpacked, unpack
from ...datasets.reading.files import only_one, write_text
from ...datasets.reading.origin import Origin
from ...datasets.reading.prepared import BEGUN, DONE, differences, given, is_prepared, read_about, resolved, spelled
from ...datasets.reading.preparing import MARK, bytes_needed, convert, plan
from ...datasets.reading.splits import PARTS
from ...datasets.sample import PoseDataset
from ..config import Data, build
from ..runs.progress import PLAIN_EVERY, Reporter

SIZE = 256
"""Side in pixels of the crops that prepared pictures are kept for, where none is told."""


def prepare(name: str, overrides: list[str], reporter: Reporter, accept: bool = False, overwrite: bool = False) -> Path:
    """Get the raw set where it is missing and can be downloaded, and keep the crops of both parts as arrays.

    Overrides are keys of the configuration's Data, and output=FOLDER (default: ROOT-prepared/NAME). `accept`: the
    licence is accepted, which a terminal asks for. Goes on where an earlier call was stopped. Gives the output folder.
    Raises ValueError for rendered and depth sets, for a folder with something else in it or made from other options or
    other annotations (unless `overwrite`), and where the disk is too small.
    """
    outputs = [o.removeprefix("output=") for o in overrides if o.startswith("output=")]
    told = [o for o in overrides if not o.startswith("output=")]
    config = build({"target": {"name": name}}, [f"target.{o}" for o in told])
    size = config.target.size if any(o.startswith("size=") for o in told) else SIZE
    data, entry = replace(config.target, size=Data().size), entry_of(name)
    _refuse(data, entry)
    if data.root is not None:
        _obtain(name, entry.origin, Path(data.root).expanduser(), reporter, accept)
    opened = {part: open_dataset(data, part) for part in PARTS}
    raw = Path(str(data.root)).expanduser().resolve()
    output = Path(outputs[-1]).expanduser() if outputs else raw.with_name(f"{raw.name}-prepared") / name
    if output.resolve() in (raw, *raw.parents):
        raise ValueError(f"output={output} holds the raw set at {raw}; choose another folder")
    about = _plan(name, data, size, opened, entry.origin)
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


def _refuse(data: Data, entry: Entry) -> None:
    if "train" in entry.options:
        raise ValueError(f"{data.name} is rendered, and kept ready in the cache already; nothing is to be prepared")
    if entry.depth or data.joints != "all":
        raise ValueError(f"{data.name} gives depth, of which whole frames are needed; use the raw set as it is")
    if is_prepared(data.root):
        raise ValueError(f"root={data.root} is prepared already; root must be the folder of the raw set")


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

    def told(done: int, total: int | None) -> None:
        nonlocal printed
        if time.monotonic() - printed > PLAIN_EVERY:
            printed = time.monotonic()
            reporter.say(f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else f"{done / 1e6:,.0f} MB")

    return told


def _asked() -> bool:
    if not sys.stdin.isatty():
        return False
    with suppress(EOFError):
        return input("Do you accept the licence? [y/N] ").strip().lower() in ("y", "yes")
    return False


def _plan(name: str, data: Data, size: int, opened: dict[str, PoseDataset], origin: Origin | None) -> dict[str, Any]:
    more: dict[str, Any] = {"keyshift": version("keyshift")}
    if origin is not None:
        more |= {"title": origin.title, "licence": origin.licence, "home": origin.home}
    made: dict[str, Any] = plan(name, given(data), size, opened, more)
    return made


def _check_room(output: Path, opened: dict[str, PoseDataset], size: int, overwrite: bool, reporter: Reporter) -> None:
    """Raises ValueError where the disk is smaller than what is still to be written."""
    if (output / DONE).is_file() and not overwrite:
        return
    there = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    needed = max(sum(bytes_needed(dataset, size) for dataset in opened.values()) - there, 0)
    standing = next(folder for folder in (output, *output.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(standing).free
    told = f"{needed / 1e9:.2f} GB to write to {output}, {free / 1e9:.2f} GB free there"
    if needed > free:
        raise ValueError(f"{told}: make room, choose another disk with output=FOLDER, or a smaller size=")
    reporter.say(told)


def _write(
    output: Path, about: dict[str, Any], opened: dict[str, PoseDataset], size: int, overwrite: bool, reporter: Reporter
) -> None:
    done, begun = output / DONE, output / BEGUN
    if overwrite:
        for path in (done, begun):
            path.unlink(missing_ok=True)
        for part in PARTS:
            shutil.rmtree(output / part, ignore_errors=True)
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
        with reporter.counted(f"preparing {dataset.name}", len(dataset)) as told:
            unreadable = convert(dataset, output / part, size, told)
        for _, reason in unreadable:
            reporter.say(f"left out: {reason}")
        about["parts"][part]["unreadable"] = unreadable
        reporter.say(f"{dataset.name}: {len(dataset) - len(unreadable):,} crops in {output / part}")
    write_text(output / DONE, _text(about))


def _text(about: dict[str, Any]) -> str:
    return json.dumps(about, indent=1, ensure_ascii=False) + "\n"


def _check_same(there: dict[str, Any], about: dict[str, Any], output: Path) -> None:
    choice = "choose another folder with output=FOLDER, or pass --overwrite"
    named = [{"name": told["name"], "size": told["size"], **resolved(told["options"])} for told in (there, about)]
    if told := differences(*named):
        raise ValueError(f"{output} was prepared otherwise: {told}; {choice}")
    for part in PARTS:
        if told := differences(*(side["parts"][part]["identity"] for side in (there, about))):
            raise ValueError(f"the raw set has changed since {output} was prepared, {part}: {told}; {choice}")


def _usage(name: str, output: Path, options: dict[str, Any]) -> str:
    return spelled({"name": name, "root": str(output), **options}, "target.")
