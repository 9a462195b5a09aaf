"""What the pages of docs/ that are written by hand must name, and the numbers that they compute."""

import re
from pathlib import Path

import pytest

from keyshift.adapt.scoring.label_free import SCORES
from keyshift.experiments.lab.plan import read_plan, shipped_plans
from keyshift.experiments.lab.points import ABOUT, MEASURED

DOCS = Path(__file__).parents[1] / "docs"


def test_each_score_has_a_paragraph():
    assert set(re.findall(r"^\*\*`(\w+)`\*\*", (DOCS / "scores.md").read_text(), re.MULTILINE)) == set(SCORES)


def test_the_laboratory_names_its_plans_and_columns(tmp_path):
    text = (DOCS / "lab.md").read_text()
    missing = [name for name in (*ABOUT, *MEASURED, "step", "last", *shipped_plans()) if f"`{name}`" not in text]
    assert not missing
    (plan,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "plan.yaml").write_text(plan)
    read_plan([str(tmp_path / "plan.yaml")]).check()


def test_what_intervals_of_labels_are_worth():
    text = (DOCS / "trust.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    page: dict = {}
    exec(block.partition("\nfor recording")[0], page)
    row = r"^\| (\d+) \| (\d+) \| (yes|no) \| ([\d.]+) points \| ([\d.]+) points \| (\d+) % \|$"
    rows = re.findall(row, text, re.MULTILINE)
    assert len(rows) == 9
    for pictures, recordings, said, formula, half, above in rows:
        each = int(pictures) / int(recordings)
        exact = 196 * ((0.2 / (21 * each) + 0.2 * 0.2**2) / int(recordings)) ** 0.5
        assert float(formula) == pytest.approx(exact, rel=0.03)
        width, share = page["simulated"](int(pictures), 1 if each == 1 else 20, said == "yes", trials=60)
        assert float(half) == pytest.approx(width, rel=0.2)
        assert int(above) / 100 == pytest.approx(share, abs=0.12)
