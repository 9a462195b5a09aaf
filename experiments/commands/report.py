"""`keyshift report`: finished comparisons merged into one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...datasets.reading.files import check_output
from ..report.merged import merged
from ..report.merged_page import write


def report(folders: Sequence[Path], output: Path, overwrite: bool = False) -> None:
    """Raises ValueError for a folder that holds no finished comparison, and where `output` is there already."""
    together = merged(folders)
    output.parent.mkdir(parents=True, exist_ok=True)
    check_output(output, overwrite)
    write(together, output)
    print(f"report: {output}")
