"""Finished comparisons beside each other."""

import json

import pytest

from keyshift.adapt.scoring.selection import PCK
from keyshift.experiments.cli import main
from keyshift.experiments.report.merged import ranked


def results(metric, values, seconds):
    def row(name):
        gain = {"mean": None, "interval": [None, None]}
        if name not in ("source_only", "oracle"):
            gain = {"mean": 0.05, "interval": [0.01, 0.09]}
        return {"target": {"mean": values[name], "std": None}, "base": "source_only", "gain": gain}

    runs = {name: {"0": {"seconds_per_iteration": seconds[name]}} for name in values}
    return {"schema": 1, "metric": metric, "strategies": runs, "summary": {name: row(name) for name in values}}


@pytest.fixture
def folders(tmp_path):
    seconds = {"source_only": 0.1, "dan": 0.2, "regda": 0.3, "oracle": 0.1}
    made = {
        "hands": results("pck@0.1", {"source_only": 0.5, "dan": 0.6, "regda": 0.7, "oracle": 0.9}, seconds),
        "depth": results("mm", {"source_only": 30.0, "dan": 20.0, "regda": 25.0}, seconds),
    }
    for name, content in made.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(content))
    return [str(tmp_path / name) for name in made]


def test_ranks_and_cost(folders, capsys):
    assert main(["table", *folders]) == 0
    head, _, *rows = capsys.readouterr().out.strip().splitlines()
    assert head.startswith("| strategy | hands, PCK@0.1 | depth, ")
    cells = {row.split(" | ")[0].removeprefix("| "): row.removesuffix(" |").split(" | ")[1:] for row in rows}
    assert list(cells) == ["Source only", "DAN", "RegDA", "Oracle"]
    assert cells["DAN"] == ["0.600, +0.050 [+0.010, +0.090]", "20.00, +0.05 [+0.01, +0.09]", "1.5 (2)", "2.0"]
    assert cells["RegDA"][2] == "1.5 (2)"
    assert cells["Oracle"] == ["0.900", "–", "–", "1.0"]


def test_equal_ones_share_a_rank():
    assert ranked(PCK, {"dan": 0.6, "jan": 0.6, "regda": 0.7}) == {"dan": 2.5, "jan": 2.5, "regda": 1.0}


@pytest.mark.parametrize(("content", "text"), [(None, "holds no finished comparison"), ("{", "expected whole UTF-8")])
def test_what_is_no_comparison(tmp_path, capsys, content, text):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    assert main(["table", str(tmp_path)]) == 2
    assert text in capsys.readouterr().err
