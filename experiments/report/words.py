"""Numbers in words: how the report prints them, and the one sentence that it opens with."""

from __future__ import annotations

from dataclasses import dataclass

from ...adapt.scoring.selection import Headline
from ..runs.results import ABSENT
from .data import RULES, Comparison, dig
from .registry import adapts, title


@dataclass(frozen=True)
class Texts:
    """What the report says of a headline."""

    subject: str
    gain: str
    """The unit of the column of gains."""
    reached: str
    gained: str
    signed: bool
    """Whether the number in `gained` has a sign."""
    metric: str
    of: str
    """After a sample's error."""
    errors: str
    missed: str
    """How people whom a model did not see enter it."""
    curve: str
    curve_axes: tuple[str, str]


TEXTS = {
    "pck": Texts(
        subject="PCK",
        gain="points",
        reached="{} PCK",
        gained="gains {} of PCK over {}",
        signed=True,
        metric="the share of annotated joints whose distance from the truth is at most {} the crop's side, pooled over "
        "the test set. EPE is the mean distance in pixels of the file. AUC is the area under the PCK curve from 0 to "
        "{}, as a share of the whole.",
        of=" of the crop's side",
        errors="as a share of the crop's side and in pixels of the file",
        missed="The joints of missed people are misses; EPE is that of the people who were seen.",
        curve="PCK over thresholds",
        curve_axes=("threshold, share of the crop's side", "PCK, %"),
    ),
    "mm": Texts(
        subject="the mean error",
        gain="mm less",
        reached="a mean error of {}",
        gained="lowers the mean error by {} against {}",
        signed=False,
        metric="the mean distance between predicted and true joints in mm in the camera's frame, over all annotated "
        "joints of the test set. Lower is better; a gain is by how much it falls. EPE is the mean distance in pixels "
        "of the file. AUC is the area under the curve of frames whose worst joint is within a threshold, from 0 to "
        "{} mm, as a share of the whole.",
        of="",
        errors="in mm in the camera's frame and in pixels of the file",
        missed="The mean error and EPE are those of the people who were seen.",
        curve="Frames whose worst joint is within a threshold",
        curve_axes=("threshold, mm", "frames, %"),
    ),
    "ap": Texts(
        subject="OKS-AP",
        gain="points",
        reached="{} OKS-AP",
        gained="gains {} of OKS-AP over {}",
        signed=True,
        metric="the area under precision over recall of the people that a model finds, as a share of the whole, "
        "averaged over the likeness that is asked for, object keypoint similarity of 0.50 to 0.95, as COCO does, with "
        "the 20 surest people of a picture. PCK is the share of annotated joints whose distance from the truth is at "
        "most {} the picture's longer side, EPE the mean distance in pixels of the file.",
        of=" of the picture's longer side",
        errors="as a share of the picture's longer side and in pixels of the file",
        missed="A person is missed whom nobody found is like, invented who is like nobody labelled. The joints of "
        "missed people are misses in PCK; EPE is that of the people who were seen.",
        curve="PCK over thresholds",
        curve_axes=("threshold, share of the picture's longer side", "PCK, %"),
    ),
}


def metric(headline: Headline) -> str:
    """What the headline, EPE and AUC are, in sentences."""
    text, end = TEXTS[headline.key].metric, f"{headline.highest:g}"
    if headline.key == "mm":
        return text.format(end)
    return text.format("a set share of" if headline.threshold is None else f"{headline.threshold} of", end)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval; None where undefined."""

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

    def __neg__(self) -> Estimate:
        mean, low, high = (None if end is None else -end for end in (self.mean, self.high, self.low))
        return Estimate(mean, low, high)


def estimate(comparison: Comparison, strategy: str, what: str) -> Estimate:
    """`what`: gain, gain_over_given or gap_closed."""
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
    names = [name for name in comparison.runs if adapts(name) and name != comparison.adapted]
    return [_claim(comparison, name) + "." for name in names]


def called(base: str) -> str:
    """A base in a sentence."""
    return "the given model" if base == "given" else base


def basis(comparison: Comparison) -> str:
    """What gains and shares of the gap are measured against, in a sentence."""
    given = [name for name in comparison.runs if comparison.base(name) == "given" != name]
    if not given:
        start = (
            "Gain is measured against source_only and needs it; the share closed is gain over the gap from source_only"
        )
    elif comparison.bases == {"given"}:
        start = (
            "Gain is measured against the given model and needs it; the share closed is gain over the gap from there"
        )
    else:
        start = (
            f"Gain is measured against source_only, that of strategies without a source ({', '.join(given)}) against "
            "the given model, and needs it; the share closed is gain over the gap from there"
        )
    return f"{start} to oracle, and is undefined where oracle is missing or where the gap's own interval includes zero."


def _claim(comparison: Comparison, name: str) -> str:
    headline, base = comparison.headline, comparison.base(name)
    texts, reference = TEXTS[headline.key], called(base)
    gain, share = estimate(comparison, name, "gain"), estimate(comparison, name, "gap_closed")
    seeds = len(set(comparison.runs[name]) & set(comparison.runs.get(base, {})))
    target = {n: shown(comparison.mean(n, "target", headline.key), headline) for n in (name, base)}
    reached = f"{title(name)} reaches {texts.reached.format(target[name])} on the target"
    if base not in comparison.runs:
        return f"{reached}; without {reference} in the comparison its gain is undefined"
    before = f"{target[base]} of {reference}"
    if seeds < 2:
        return f"{'One seed' if seeds else 'No seed in common'}: no claim. {reached} against {before}"
    if not gain.known:
        return f"No claim: the gain has no interval. {reached} against {before}, over {seeds} seeds"
    if gain.below_zero:
        loss = difference(-gain, headline, sign=False)
        return f"{title(name)} is worse than {reference} by {loss} of {headline.noun} over {seeds} seeds"
    if not gain.above_zero:
        return (
            f"No gain can be claimed: {title(name)} changes {texts.subject} by {_change(gain, headline)} against "
            f"{reference} over {seeds} seeds, and the interval includes zero"
        )
    if share.known:
        return f"{title(name)} closes {portion(share)} of the gap between {reference} and oracle over {seeds} seeds"
    why = "its own interval includes zero" if "oracle" in comparison.runs else "there is no oracle run"
    gained = texts.gained.format(difference(gain, headline, sign=texts.signed), reference)
    return f"{title(name)} {gained} over {seeds} seeds; what share of the gap that closes is undefined, because {why}"


def _control(comparison: Comparison, name: str) -> str:
    """What batch norm alone does, against the same base and in the unit that the claim is made in."""
    base = comparison.base(name)
    same = base == comparison.base("bn_control")
    gain = estimate(comparison, "bn_control", "gain" if same else f"gain_over_{base}")
    mine = estimate(comparison, name, "gain")
    seeds = min(len(comparison.runs.get(n, {})) for n in (name, base, "bn_control"))
    if seeds < 2 or not gain.known or not mine.known or gain.mean is None or mine.mean is None:
        return ""
    share, whole = estimate(comparison, "bn_control", "gap_closed"), estimate(comparison, name, "gap_closed")
    as_share = same and mine.above_zero and share.known and whole.known
    does = f"closes {portion(share)}" if as_share else f"changes it by {_change(gain, comparison.headline)}"
    equal = ", which is no less" if mine.mean <= gain.mean else ""
    return f"; bn_control alone {does}{equal}"


def shown(value: float | None, headline: Headline) -> str:
    """47.8 % or 23.4 mm, in one piece."""
    return ABSENT if value is None else headline.show(value).replace(" ", "\u00a0").replace("-", "−")


def number(value: float | None, decimals: int = 2, sign: bool = False) -> str:
    """With a true minus sign, and no negative zero."""
    if value is None:
        return ABSENT
    text = f"{round(value, decimals) + 0.0:{'+' if sign else ''}.{decimals}f}"
    return text.replace("-", "−")


def difference(value: Estimate, headline: Headline, *, sign: bool = True, unit: bool = True) -> str:
    """+11.2 points [8.0, 14.1] or +8.6 mm [7.1, 9.9]; without the sign of the mean, or without the unit."""
    if value.mean is None:
        return ABSENT
    said = f"\u00a0{headline.points}" if unit else ""
    ends = _interval([value.low, value.high], 1, headline.scale)
    return f"{number(headline.scale * value.mean, 1, sign=sign)}{said}{ends}"


def _change(gain: Estimate, headline: Headline) -> str:
    """What a gain does to the headline itself: an error falls."""
    return difference(gain if headline.sign > 0 else -gain, headline)


def portion(value: Estimate) -> str:
    """41 % [33, 52]: decimals only where an end would be rounded to zero."""
    if value.mean is None:
        return ABSENT
    ends = [value.low, value.high]
    decimals = 1 if any(end is not None and 0 < abs(end) < 0.005 for end in ends) else 0
    return f"{number(100 * value.mean, decimals)}\u00a0%{_interval(ends, decimals, 100)}"


def seconds(value: float | None) -> str:
    """Three digits, in the unit that suits."""
    if value is None:
        return ABSENT
    for limit, scale, unit in ((0.9995, 1000, "ms"), (120, 1, "s"), (7200, 1 / 60, "min")):
        if value < limit:
            return f"{value * scale:.3g}\u00a0{unit}"
    return f"{value / 3600:.1f}\u00a0h"


def _interval(ends: list[float | None], decimals: int, scale: float) -> str:
    low, high = ends
    if low is None or high is None:
        return ""
    return f" [{number(scale * low, decimals)}, {number(scale * high, decimals)}]"
