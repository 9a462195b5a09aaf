"""The rule of `adapt`, fitted to a laboratory's points: what was found on half a, and what it is worth on half b."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...adapt.scoring.rule import TRAINED, Rule
from ...adapt.scoring.rule_fit import BETTER, WORSE, fit, points_of
from ...adapt.strategies import STRATEGIES
from ...models.saved import MODELS
from ..runs.shipping import reading
from .plan import Plan
from .points import Row


def fit_rule(plan: Plan, rows: Sequence[Row]) -> Rule:
    """Of the runs of the plan that are scored, without those that learn from target labels. Raises ValueError for too
    few points."""
    rows = [row for row in rows if usable(plan, row)]
    systems = {reading(MODELS[plan.config(pair).model.name]) for pair in {str(row["pair"]) for row in rows}}
    return fit(points_of(rows), sorted(systems))


def usable(plan: Plan, row: Row) -> bool:
    asked = row["pair"] in plan.pairs and row["candidate"] in plan.candidates and row["seed"] in plan.seeds
    return asked and not STRATEGIES[row["strategy"]].labelled_target and any(n.startswith("after.") for n in row)


def rule_table(rule: Rule) -> str:
    """What a rule reads and its rates, as Markdown."""
    names = ", ".join("a constant" if name == TRAINED else f"fall of {name[:-1]}" if name.endswith("-") else name
                      for name in rule.features)  # fmt: skip
    unchanged = rule.predict(*[dict.fromkeys(rule.scores, 0.0)] * 2)
    least = unchanged.least if unchanged else math.nan
    sides = {"found on (each pair by the others)": rule.basis["found"], "not used": rule.basis.get("shown")}
    lines = [
        f"Reads: {names}. Where all of it is measured, a model is shipped from {least:+.1f} predicted points on.",
        "",
        f"| pairs | | checkpoints | harm shipped: of those worse by over {-WORSE:g} | gain missed: of those better by "
        f"over {BETTER:g} | mean points lost | truth within the 80 % interval |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for title, side in sides.items():
        lines += [] if side is None else [row(title, what, side) for what in ("points", "runs")]
    for title, side in sides.items():
        bins = [] if side is None else [f"{predicted:+.1f} ({true:+.1f})" for predicted, true in side["bins"]]
        lines += ["", f"Predicted (true) mean gain from the least predicted to the most, {title}: {', '.join(bins)}"]
    if still := rule.basis.get("left_out"):
        lines += ["", f"Left out, for all candidates gain exactly the same there: {', '.join(still)}"]
    return "\n".join(lines)


def row(title: str, what: str, side: Mapping[str, Any]) -> str:
    counts = side[what]
    named = "each checkpoint" if what == "points" else "the chosen one of each run"
    lost = f"{counts['lost']:.2f}" if "lost" in counts else "–"
    cells = [f"{title}, {len(side['pairs'])}", named, str(counts["all"]), share(counts["harm"], counts["worse"])]
    cells += [share(counts["missed"], counts["better"]), lost, f"{100 * (side['inside'] or 0):.0f} %"]
    return f"| {' | '.join(cells)} |"


def share(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({100 * part / whole:.0f} %)" if whole else "")
