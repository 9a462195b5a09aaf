"""Tables in narrow terminals: names stay whole."""

import pytest

from keyshift.experiments.runs.progress import Reporter

NAMES = ("right_shoulder", "left_shoulder", "front_left_upper_paw_inner_tip", "front_left_upper_paw_outer_tip")
COLUMNS = ["", "train annotated", "train visible", "test annotated", "test visible"]


@pytest.mark.parametrize("width", [200, 80, 79, 40, 20])
@pytest.mark.parametrize("names", [NAMES, NAMES[:2]])
def test_names_are_neither_cut_nor_broken(monkeypatch, capsys, width, names):
    monkeypatch.setenv("COLUMNS", str(width))
    Reporter().table("joints", COLUMNS, [[name, "12,345", "1", "2", "3"] for name in names])
    lines = capsys.readouterr().out.splitlines()
    for name in names:
        (line,) = (line for line in lines if name in line)
        assert "12,345" in line
    assert "…" not in "".join(lines)
