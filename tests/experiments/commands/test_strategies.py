"""What there is to adapt with, in a table, on pages and in comparisons of kinds."""

from itertools import pairwise

import pytest

from keyshift.adapt.strategies import STRATEGIES, expanded
from keyshift.adapt.strategy import KINDS
from keyshift.experiments.cli import main
from keyshift.experiments.commands.bench_strategies import kept_for_backward
from keyshift.experiments.commands.strategies import page
from keyshift.experiments.config import build


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
    names = expanded([kind])
    assert names
    assert {STRATEGIES[name].kind for name in names} == {kind}


def test_all_is_everything_that_requires_no_file_between_its_references():
    names = expanded(["all"])
    assert set(names) == {name for name, one in STRATEGIES.items() if not one.requires}
    assert len(names) == len(set(names))
    assert names[-1] == "oracle"
    assert names[:3] == ["given", "source_only", "bn_control"]


@pytest.mark.parametrize("said", ["all", "[source_only,aligned]", "[all]"])
def test_comparisons_take_kinds(said):
    config = build({}, [f"strategies={said}"])
    words = said.strip("[]").split(",")
    assert config.strategies == expanded(words)
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


@pytest.mark.parametrize("name", STRATEGIES)
def test_formulas_are_blocks_of_their_own(name):
    """A line that is indented by four goes on a block or begins one behind a blank line; else Markdown runs it into the
    sentence before."""
    lines = page(name, STRATEGIES[name]).splitlines()
    for before, line in pairwise(lines):
        assert not line.startswith("    ") or not before or before.startswith("    "), line
