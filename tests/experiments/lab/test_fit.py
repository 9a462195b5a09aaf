"""`keyshift lab FILE --fit`: a rule from a laboratory's points, where adapt reads it."""

import numpy as np
import pytest
import yaml

from keyshift.adapt.scoring import rule as rules
from keyshift.experiments.cli import main
from keyshift.experiments.commands import lab
from keyshift.experiments.lab.fit import rule_table


def points(pairs=8):
    """Agreement follows the gain."""
    rng = np.random.default_rng(0)
    for pair in range(pairs):
        for candidate in range(8):
            gain = float(rng.normal(0, 6))
            row = {"pair": f"p{pair}", "half": "ab"[pair % 2], "kind": "light", "candidate": f"c{candidate}"}
            row |= {"strategy": "regda", "seed": 0, "step": 100, "gain": gain, "gain_se": None}
            yield row | {"before.agreement": 0.5, "after.agreement": 0.5 + gain / 50 + rng.normal(0, 0.01)}


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = {f"p{i}": {"half": "ab"[i % 2], "kind": "light"} for i in range(8)}
    pairs["p0"]["model"] = {"name": "a2j"}
    candidates = {f"c{i}": {"strategy": "regda"} for i in range(8)} | {"oracle": {"strategy": "oracle"}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"base": {}, "pairs": pairs, "candidates": candidates}))


def test_the_command_fits_and_writes_the_rule_of_adapt(plan, monkeypatch, capsys):
    monkeypatch.setattr(lab, "collect", lambda _: list(points()))
    assert main(["lab", "plan.yaml", "--fit"]) == 0
    rule = rules.load()
    assert rule.scores == ["agreement"]
    assert rule.basis["systems"] == ["image and reach, one person", "image, one person"]
    assert rule.predict({"agreement": 0.5}, {"agreement": 0.6}).gain == pytest.approx(5, abs=2)
    out = capsys.readouterr().out
    assert rule_table(rule) in out
    assert "written: " in out
    shown = rule.basis["shown"]["points"]
    rows = [line.split("|")[1:-1] for line in out.splitlines() if line.startswith("| not used, 4 |")]
    assert [row[1].strip() for row in rows] == ["each checkpoint", "the chosen one of each run"]
    assert rows[0][3].strip().startswith(f"{shown['harm']} of {shown['worse']} (")


def test_only_scored_runs_of_the_plan_without_target_labels_are_fitted_to(plan, monkeypatch):
    """Not other candidates, pairs and seeds of the folder, not the oracle, not what is judged by truth alone."""
    asked = list(points())
    wrong = [row | {"gain": -row["gain"]} for row in asked]
    others = {"candidate": "other"}, {"pair": "other"}, {"seed": 5}, {"candidate": "oracle", "strategy": "oracle"}
    rows = [row | other for other in others for row in wrong]
    rows += [{name: value for name, value in row.items() if not name.startswith("after.")} for row in wrong]
    fitted = []
    for some in (asked, asked + rows):
        monkeypatch.setattr(lab, "collect", lambda _, some=some: some)
        assert main(["lab", "plan.yaml", "--fit", "--seeds", "0"]) == 0
        fitted.append(rules.RULE.read_text())
    assert fitted[0] == fitted[1]


def test_too_few_points_are_said(plan, monkeypatch, capsys):
    before = rules.RULE.read_text()
    for rows in ([], list(points(2))):
        monkeypatch.setattr(lab, "collect", lambda _, rows=rows: rows)
        assert main(["lab", "plan.yaml", "--fit"]) == 2
        assert "a rule needs three pairs" in capsys.readouterr().err
    assert rules.RULE.read_text() == before
