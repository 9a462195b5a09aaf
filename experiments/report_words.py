"""Numbers in words: how the report prints them, and the one sentence that it opens with."""

from __future__ import annotations

from dataclasses import dataclass

from .report_data import RULES, Comparison, dig

ABSENT = "–"
TITLES = {"regda": "RegDA", "mean_teacher": "Mean teacher"}


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval; fractions, None where undefined."""

    mean: float | None
    low: float | None
    high: float | None

    @property
    def known(self) -> bool:
        return None not in (self.mean, self.low, self.high)

    @property
    def above_zero(self) -> bool:
        return self.low is not None and self.low > 0

    @property
    def below_zero(self) -> bool:
        return self.high is not None and self.high < 0


def estimate(comparison: Comparison, strategy: str, what: str) -> Estimate:
    """`what`: gain or gap_closed."""
    entry = (comparison.summary.get(strategy) or {}).get(what) or {}
    low, high = entry.get("interval") or (None, None)
    ends = {"low": low, "high": high}
    return Estimate(dig(entry, "mean"), dig(ends, "low"), dig(ends, "high"))


def finding(comparison: Comparison) -> str:
    """The main finding in one sentence, no stronger than its numbers."""
    name, rule = comparison.adapted, comparison.rule
    chosen = f"checkpoints by the rule “{rule}”: {RULES[rule]}"
    if rule == "oracle":
        chosen += ", which no one has without target labels"
    if name is None:
        return f"No adaptation strategy was compared, so there is no gain to report ({chosen})."
    sentence = _claim(comparison, name)
    control = _control(comparison, name)
    return f"{sentence}{control} ({chosen})."


def others(comparison: Comparison) -> list[str]:
    """The same claim for each further strategy that adapts."""
    names = [name for name in comparison.runs if name not in ("source_only", "bn_control", "oracle")]
    return [_claim(comparison, name) + "." for name in names if name != comparison.adapted]


def _claim(comparison: Comparison, name: str) -> str:
    title = TITLES.get(name, name)
    gain, share = estimate(comparison, name, "gain"), estimate(comparison, name, "gap_closed")
    seeds = len(set(comparison.runs[name]) & set(comparison.runs.get("source_only", {})))
    reached = f"{title} reaches {percent(comparison.mean(name, 'target', 'pck'))} PCK on the target"
    if "source_only" not in comparison.runs:
        return f"{reached}; without source_only in the comparison its gain is undefined"
    before = f"{percent(comparison.mean('source_only', 'target', 'pck'))} of source_only"
    if seeds < 2:
        return f"{'One seed' if seeds else 'No seed in common'}: no claim. {reached} against {before}"
    if not gain.known:
        return f"No claim: the gain has no interval. {reached} against {before}, over {seeds} seeds"
    if gain.below_zero:
        return f"{title} is worse than source_only by {points(gain, size=True)} of PCK over {seeds} seeds"
    if not gain.above_zero:
        return (
            f"No gain can be claimed: {title} changes PCK by {points(gain)} against source_only over {seeds} seeds, "
            "and the interval includes zero"
        )
    if share.known:
        return f"{title} closes {portion(share)} of the gap between source_only and oracle over {seeds} seeds"
    why = "its own interval includes zero" if "oracle" in comparison.runs else "there is no oracle run"
    return (
        f"{title} gains {points(gain)} of PCK over source_only over {seeds} seeds; "
        f"what share of the gap that closes is undefined, because {why}"
    )


def _control(comparison: Comparison, name: str) -> str:
    """What batch norm alone does, in the unit that the claim is made in."""
    gain, mine = estimate(comparison, "bn_control", "gain"), estimate(comparison, name, "gain")
    seeds = min(len(comparison.runs.get(n, {})) for n in (name, "source_only", "bn_control"))
    if seeds < 2 or not gain.known or not mine.known or gain.mean is None or mine.mean is None:
        return ""
    share, whole = estimate(comparison, "bn_control", "gap_closed"), estimate(comparison, name, "gap_closed")
    as_share = mine.above_zero and share.known and whole.known
    does = f"closes {portion(share)}" if as_share else f"changes it by {points(gain)}"
    equal = ", which is no less" if mine.mean <= gain.mean else ""
    return f"; bn_control alone {does}{equal}"


def percent(value: float | None, decimals: int = 1) -> str:
    return ABSENT if value is None else f"{number(100 * value, decimals)}\u00a0%"


def number(value: float | None, decimals: int = 2, sign: bool = False) -> str:
    """With a true minus sign, and no negative zero."""
    if value is None:
        return ABSENT
    text = f"{round(value, decimals) + 0.0:{'+' if sign else ''}.{decimals}f}"
    return text.replace("-", "−")


def points(value: Estimate, size: bool = False) -> str:
    """+11.2 points [8.0, 14.1]; `size`: of a loss, without signs."""
    if value.mean is None:
        return ABSENT
    mean, ends = 100 * value.mean, [value.low, value.high]
    if size:
        mean, ends = abs(mean), [None if end is None else abs(end) for end in reversed(ends)]
    return f"{number(mean, 1, sign=not size)}\u00a0points{_interval(ends, 1)}"


def portion(value: Estimate) -> str:
    """41 % [33, 52]: decimals only where an end would be rounded to zero."""
    if value.mean is None:
        return ABSENT
    ends = [value.low, value.high]
    decimals = 1 if any(end is not None and 0 < abs(end) < 0.005 for end in ends) else 0
    return f"{number(100 * value.mean, decimals)}\u00a0%{_interval(ends, decimals)}"


def seconds(value: float | None) -> str:
    """Three digits, in the unit that suits."""
    if value is None:
        return ABSENT
    for limit, scale, unit in ((0.9995, 1000, "ms"), (120, 1, "s"), (7200, 1 / 60, "min")):
        if value < limit:
            return f"{value * scale:.3g}\u00a0{unit}"
    return f"{value / 3600:.1f}\u00a0h"


def _interval(ends: list[float | None], decimals: int) -> str:
    low, high = ends
    if low is None or high is None:
        return ""
    return f" [{number(100 * low, decimals)}, {number(100 * high, decimals)}]"
