"""What there is to adapt with, in a table, on pages and in comparisons of kinds."""

import re
from pathlib import Path

import pytest

from keyshift.adapt.strategies import STRATEGIES, expanded
from keyshift.adapt.strategy import KINDS
from keyshift.experiments.cli import main
from keyshift.experiments.commands.bench_strategies import kept_for_backward
from keyshift.experiments.commands.strategies import fenced, markdown, page
from keyshift.experiments.config import build

WITHOUT_FORMULA = {"given", "source_only", "bn_control", "oracle"}


def test_a_table_of_all(capsys):
    assert main(["strategies"]) == 0
    said = capsys.readouterr().out
    for name, strategy in STRATEGIES.items():
        (row,) = (line for line in said.splitlines() if line.split("│")[1:2] and line.split("│")[1].strip() == name)
        assert strategy.kind in row
        assert ("labelled source" in row) == ("source" in strategy.needs)


def test_pages_of_some(capsys):
    assert main(["strategies", "regda", "online"]) == 0
    said = capsys.readouterr().out
    pages = [line.removeprefix("### ") for line in said.splitlines() if line.startswith("### ")]
    assert pages == ["regda", *(name for name, one in STRATEGIES.items() if one.kind == "online")]
    assert "KL(p || q)" in said
    assert "| margin | 4.0 |" in said


def test_a_name_that_nothing_has(capsys):
    assert main(["strategies", "regdaa"]) == 2
    assert "regda" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "other"])
def test_every_kind_has_strategies(kind):
    names = expanded([kind], ["image"])
    assert names
    assert {STRATEGIES[name].kind for name in names} == {kind}


def test_all_is_everything_that_requires_no_file_between_its_references():
    names = expanded(["all"], ["image"])
    assert set(names) == {name for name, one in STRATEGIES.items() if not one.requires and not one.reads}
    assert len(names) == len(set(names))
    assert names[-1] == "oracle"
    assert names[:3] == ["given", "source_only", "bn_control"]


def test_a_kind_stands_for_what_suits_the_system():
    assert set(expanded(["source_free"], ["keypoints2d"])) - set(expanded(["source_free"], ["image"])) == {"lift"}
    assert "lift_online" in expanded(["all"], ["keypoints2d", "lens"])
    assert expanded(["lift"], ["image"]) == ["lift"]  # and prepare() says why it does not


@pytest.mark.parametrize("said", ["all", "[source_only,aligned]", "[all]"])
def test_comparisons_take_kinds(said):
    config = build({}, [f"strategies={said}"])
    words = said.strip("[]").split(",")
    assert config.strategies == expanded(words, ["image"])
    assert len(config.strategies) > 5


def test_a_kind_that_nothing_has_names_the_known_ones():
    with pytest.raises(ValueError, match="strategy='alinged'"):
        build({}, ["strategies=[alinged]"])


def test_what_is_kept_for_a_backward_pass_is_counted_once():
    import torch

    inputs = torch.ones(1000, requires_grad=True)
    with kept_for_backward() as kept:
        (inputs.exp() * 2).sum().backward()  # exp keeps its answer
    assert kept == [4000]


def test_the_pages_are_those_of_the_code():
    path = Path(__file__).parents[3] / "docs/strategies.md"
    assert path.read_text() == markdown(), "write it anew: keyshift strategies --markdown > docs/strategies.md"


def test_formulas_are_fenced_where_they_stand():
    text = "Of a batch z\n    f = |z| * w,\n      g = 2\nis seen.\n\n1. First\n       x_i = 1\n2. Then"
    wanted = (
        "Of a batch z\n```text\nf = |z| * w,\n  g = 2\n```\nis seen.\n\n"
        "1. First\n   ```text\n   x_i = 1\n   ```\n2. Then"
    )
    assert fenced(text) == wanted
    assert fenced("At the end\n    y = x") == "At the end\n```text\ny = x\n```"
    assert fenced("- An item\n  of two lines") == "- An item\n  of two lines"


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_page_has_formulas_and_prose_that_renders(name):
    said = page(name, STRATEGIES[name])
    blocks = re.findall(r"(?ms)^ *```text\n(.*?)^ *```$", said)
    assert bool(blocks) == (name not in WITHOUT_FORMULA), "formulas are lines of the docstring indented by four"
    prose = re.sub(r"(?ms)^ *```text\n.*?^ *```$", "", said).partition("\n| option")[0]
    prose = re.sub(r"`[^`]*`", "", prose)
    assert not re.search(r"(?m)^ {4,}\S", prose)
    assert not re.search(r"<[a-zA-Z/!]", prose), "looks like HTML"
    assert not re.search(r"(?m)^[#>+*] |^\d+\)? *$", prose), "looks like a heading, a quotation or a list"
    assert not re.search(r"~~|(?<!\w)_\w[^_\n]*_(?!\w)", prose), "looks like emphasis"
