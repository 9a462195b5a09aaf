"""The strategies' pages: docs/strategies.md is what the code says, and formulas stand in it as they are written."""

import re
from pathlib import Path

import pytest

from keyshift.adapt.strategies import STRATEGIES
from keyshift.experiments.commands.strategies import fenced, markdown, page

WITHOUT_FORMULA = {"given", "source_only", "bn_control", "oracle"}


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
