"""`keyshift table`: comparisons beside each other."""

import json

import pytest

from keyshift.experiments.cli import main


def write(folder, metric="pck@0.1", **rows):
    """A comparison's results: of each strategy (mean, gain, interval, seconds of a step)."""
    summary = {n: {"target": {"mean": m}, "gain": {"mean": g, "interval": i}} for n, (m, g, i, _) in rows.items()}
    runs = {name: {"0": {"seconds_per_iteration": seconds}} for name, (*_, seconds) in rows.items()}
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({"metric": metric, "summary": summary, "strategies": runs}))
    return str(folder)


def test_two_comparisons(tmp_path, capsys):
    none = [None, None]
    first = write(
        *(tmp_path / "one",),
        source_only=(0.5, None, none, 1.0),
        dan=(0.6, 0.1, [0.05, 0.15], 2.0),
        tent=(0.55, 0.05, none, 3.0),
    )
    second = write(tmp_path / "two", "mm", source_only=(9.0, None, none, 1.0), dan=(8.0, 1.0, none, 4.0))
    assert main(["table", first, second]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[2] == "| Source only | 0.500 | 9.00 | – | 1.0 |"
    assert said[3] == "| DAN | 0.600, +0.100 [+0.050, +0.150] | 8.00, +1.00 | 1.0 of 2 | 3.0 |"
    assert said[4] == "| Tent | 0.550, +0.050 | – | 2.0 of 1 | 3.0 |"


@pytest.mark.parametrize(("content", "text"), [(None, "holds no finished comparison"), ("{", "expected whole UTF-8")])
def test_what_is_no_comparison(tmp_path, capsys, content, text):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    assert main(["table", str(tmp_path)]) == 2
    assert text in capsys.readouterr().err
