"""`keyshift data show`: a contact sheet of any dataset."""

from __future__ import annotations

from pathlib import Path

from ..datasets.catalog import entry_of
from .config import build
from .drawing import contact_sheet, write_picture
from .run import open_centered

COUNT = 24


def show(name: str, overrides: list[str], path: Path) -> None:
    """Write COUNT samples of dataset `name` with their keypoints to the picture `path`.

    Overrides are keys of the configuration's Data, and part=train or part=test.
    """
    part = next((o.removeprefix("part=") for o in overrides if o.startswith("part=")), "train")
    dotted = [f"target.{o}" for o in overrides if not o.startswith("part=")]
    few = {"size": 192, "train": COUNT, "test": COUNT}
    own = {key: value for key, value in few.items() if key in entry_of(name).options}
    config = build({"target": {"name": name, **own}}, dotted)
    if part not in ("train", "test"):
        raise ValueError(f"part={part!r} must be train or test")
    sheet = contact_sheet(open_centered(config.target, part, config), COUNT)
    write_picture(path, sheet)
