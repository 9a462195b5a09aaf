"""`keyshift report`: finished comparisons merged into one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...datasets.reading.files import check_place
from ..report.merged import merged
from ..report.merged_page import write


def report(folders: Sequence[Path], output: Path, overwrite: bool = False) -> None:
    """Raises ValueError for a folder that holds no finished comparison, and where `output` is there already."""
    together = merged(folders)
    if output.exists() and not overwrite:
        raise ValueError(f"{output} is there already: choose another file with --output FILE, or pass --overwrite")
    check_place(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    write(together, output)
    print(f"report: {output}")
