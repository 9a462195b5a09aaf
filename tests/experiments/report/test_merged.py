"""Finished comparisons merged into one page: ranks over pairs, what differs for sure, cost, and links to each pair."""

import json
import re

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from keyshift.experiments.cli import main
from keyshift.experiments.report.merged import merged

SECONDS = {"source_only": 0.1, "bn_control": 0.12, "dan": 0.2, "regda": 0.3, "mean_teacher": 0.25, "oracle": 0.1}


def write(folder, metric, values, base="source_only", config=None):
    """A finished comparison in which every gain is the difference to the base, 0.02 to either side."""
    sign = -1 if metric == "mm" else 1

    def row(name):
        gain, nothing = sign * (values[name] - values[base]), {"mean": None, "interval": [None, None]}
        known = {"mean": gain, "interval": [gain - 0.02, gain + 0.02]}
        closed = {"mean": 0.5, "interval": [0.4, 0.6]} if name in ("dan", "regda") else nothing
        own = nothing if name in ("source_only", "oracle") else known
        return {"target": {"mean": values[name], "std": None}, "base": base, "gain": own, "gap_closed": closed}

    runs = {name: {"0": {"seconds_per_iteration": SECONDS[name]}} for name in values}
    folder.mkdir(parents=True)
    content = {"schema": 1, "metric": metric, "strategies": runs, "summary": {name: row(name) for name in values}}
    (folder / "results.json").write_text(json.dumps(content))
    if config:
        (folder / "config.yaml").write_text(config)
    return folder


@pytest.fixture
def folders(tmp_path):
    """Three pairs; mean_teacher is in one of them alone."""
    pairs = {
        "hands": ("pck@0.1", {"source_only": 0.5, "bn_control": 0.55, "dan": 0.6, "regda": 0.7, "oracle": 0.9}),
        "depth": ("mm", {"source_only": 30.0, "dan": 20.0, "regda": 25.0, "mean_teacher": 10.0}),
        "bodies": ("pck@0.1", {"source_only": 0.5, "dan": 0.495, "regda": 0.4}),
    }
    return [write(tmp_path / name, *content) for name, content in pairs.items()]


def test_ranks_are_among_the_strategies_that_all_pairs_have(folders):
    together = merged(folders)
    assert together.common == ["dan", "regda"]
    assert together.ranks == {"dan": [2.0, 1.0, 1.0], "regda": [1.0, 2.0, 2.0]}
    assert together.mean_rank("dan") == pytest.approx(4 / 3)
    assert together.mean_rank("mean_teacher") is None
    assert together.left_out == {"mean_teacher": 1}
    assert together.time("regda") == pytest.approx(3.0)
    assert together.time("mean_teacher") == pytest.approx(2.5)
    assert together.friedman is None  # of two strategies


def test_whether_ranks_differ_is_asked_as_the_tests_say(tmp_path):
    """Nemenyi's difference for 3 strategies on 4 pairs by Demšar's table of q (2.343 at 0.05)."""
    values = np.random.default_rng(0).uniform(0.4, 0.9, (4, 3))
    names = ("dan", "regda", "mean_teacher")
    folders = [
        write(tmp_path / str(i), "pck@0.1", {"source_only": 0.4, **dict(zip(names, map(float, row), strict=True))})
        for i, row in enumerate(values)
    ]
    together = merged(folders)
    assert together.friedman == pytest.approx(friedmanchisquare(*values.T).pvalue)
    assert together.critical_difference == pytest.approx(2.343 * (3 * 4 / (6 * 4)) ** 0.5, abs=2e-3)


def test_strategies_that_are_alike_everywhere_share_their_ranks_and_nothing_is_asked(tmp_path):
    same = {"source_only": 0.4, "dan": 0.6, "regda": 0.6, "mean_teacher": 0.6}
    together = merged([write(tmp_path / str(i), "pck@0.1", same) for i in range(3)])
    assert together.ranks["dan"] == [2.0, 2.0, 2.0]
    assert together.friedman is None


def test_the_page(folders, tmp_path, capsys):
    (folders[0] / "report.html").write_text("its own")
    output = tmp_path / "pages/all.html"
    assert main(["report", *map(str, folders), "--output", str(output)]) == 0
    assert str(output) in capsys.readouterr().out
    page = output.read_text()
    ranks = page[page.index("<h2>Ranks") : page.index("<h2>Cost")]
    order = re.findall(r"</svg>([^<]+)</th>", ranks)
    assert order == ["DAN", "RegDA", "Mean teacher"]
    assert re.findall(r">([^<>]*)</td>", ranks)[:6] == ["1.33", "3", "2", "0", "50 % (3)", "2.0"]
    assert re.findall(r">([^<>]*)</td>", ranks)[6:12] == ["1.67", "3", "2", "1", "50 % (3)", "3.0"]
    assert "Not ranked, for not every pair has them: Mean teacher (1 of 3 pairs)" in page
    assert page.count("<a href=") == 1
    assert '<a href="../hands/report.html">hands</a>' in page
    everyone = page[page.index("<h2>Every pair") : page.index("<h2>Gains")]
    names = ["Source only", "Batch norm control", "DAN", "RegDA", "Mean teacher", "Oracle"]
    assert re.findall(r"</svg>([^<]+)</th>", everyone) == names
    assert "20.0\u00a0mm<br><small>+10.0 [10.0, 10.0]</small>" in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", page)
    assert page.count("data:image/svg+xml") == 4  # cost, and the gains of each pair


def test_nothing_is_overwritten_unasked(folders, tmp_path, capsys):
    words = ["report", str(folders[0]), "--output", str(tmp_path / "page.html")]
    assert main(words) == 0
    before = (tmp_path / "page.html").read_text()
    (tmp_path / "page.html").write_text("mine")
    assert main(words) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert (tmp_path / "page.html").read_text() == "mine"
    assert main([*words, "--overwrite"]) == 0
    assert (tmp_path / "page.html").read_text() == before


UNFINISHED = "strategies: [source_only, dan]\nseeds: 2\n"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (None, "holds no finished comparison: expected results.json"),
        (UNFINISHED, "holds no finished comparison: 1 of its 4 runs are done. The command that began it goes on"),
        ("strategy: dan\nseed: 0\n", "holds a single run and no comparison"),
    ],
)
def test_what_is_no_finished_comparison(folders, tmp_path, capsys, config, text):
    folder = tmp_path / "other"
    (folder / "dan-seed1").mkdir(parents=True)
    (folder / "dan-seed1/result.json").write_text("{}")
    if config:
        (folder / "config.yaml").write_text(config)
    assert main(["report", str(folders[0]), str(folder), "--output", str(tmp_path / "page.html")]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_a_folder_counts_once(folders, capsys):
    assert main(["report", str(folders[0]), f"{folders[0]}/../hands"]) == 2
    assert "is named twice" in capsys.readouterr().err
