"""Whether `keyshift adapt` ships its best checkpoint, or a network on the way to it: by the rule, which predicts its
gain without a label, or by labels where that was asked for. Pure functions, one sentence an outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...adapt.mixture import mixed
from ...adapt.scoring.evidence import Evidence
from ...adapt.scoring.label_free import SCORES, measured
from ...adapt.scoring.rule import Prediction, Rule
from ...adapt.scoring.rule import load as load_rule
from ...adapt.scoring.selection import Headline
from ...datasets.sample import ROOT_MM
from ...models.pose_model import PoseModel
from .progress import counted

CHANCE = 0.1
"""Agreement under which predictions hardly follow the picture, so that no change of a score says anything."""
FEWEST = 30
"""Pictures of which scores say enough to predict by."""
SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of the way from the given weights to the adapted ones, of which the best is taken."""
KEPT = 0.8
"""Least share of the people whom the given model finds that a candidate must find too: scores of keypoints do not see
whom nobody finds."""
UNJUDGED = (
    "`keyshift train EXPERIMENT start=MODEL target.name=sequences2d target.root=FILE.json` adapts to 2D keypoints, and "
    "leaves it to you to judge"
)
"""What is left to systems that lift: neither the rule nor labels in pictures know their poses."""
SURE = 0.975
"""The one-sided level at which labels decide: that of a 95 % interval's lower end."""


@dataclass(frozen=True)
class Decision:
    outcome: str
    """adapted, or in two or three words why not."""
    why: str
    """A clause that says which test was passed, which failed, with the numbers."""

    @property
    def adapted(self) -> bool:
        return self.outcome == "adapted"


@dataclass(frozen=True)
class Expected:
    """The mean error in mm that is expected on the target of the given network and of a candidate, without a label."""

    before: float
    after: float
    what: str
    """The error's name."""

    @property
    def words(self) -> str:
        return f"{self.what} is expected to go from {self.before:.1f} to {self.after:.1f} mm"


@dataclass(frozen=True)
class People:
    """How many people are found on the same pictures by the given network and by a candidate."""

    before: int
    after: int
    pictures: int

    @property
    def words(self) -> str:
        return f"in {counted(self.pictures)} the given model finds {self.before} people and the candidate {self.after}"


@dataclass(frozen=True)
class Mixture:
    """A network that is `share` of the way from the given one to the adapted one, and what is predicted of it."""

    share: float
    model: PoseModel
    prediction: Prediction | None
    record: dict[str, Any]


class Forecaster:
    """The rule, with what it reads of the given network on one set of pictures."""

    def __init__(self, rule: Rule, given: Evidence) -> None:
        self.rule, self.given = rule, given
        self.before = measured(given, rule.scores)

    def after(self, model: PoseModel) -> dict[str, float]:
        """What it reads of a candidate."""
        return measured(Evidence(model, self.given.looks, self.given), self.rule.scores)

    def gain(self, candidate: Evidence) -> float:
        """As a label-free score of a candidate: the predicted gain, NaN where nothing that is read can be measured."""
        prediction = self.rule.predict(self.before, measured(candidate, self.rule.scores))
        return math.nan if prediction is None else prediction.gain

    def predict(self, model: PoseModel) -> tuple[Prediction | None, dict[str, Any]]:
        """Of a candidate, and for adapt.json with what it rests on."""
        after = self.after(model)
        prediction = self.rule.predict(self.before, after)
        scores = {name: [self.before[name], after[name]] for name in self.rule.scores}
        record = {} if prediction is None else asdict(prediction)
        return prediction, record | {"pictures": len(self.given.looks.target), "scores": scores}

    def best(self, adapted: PoseModel, shares: Sequence[float]) -> Mixture:
        """Of the given network's mixtures with `adapted` the one of which the highest gain is predicted; the last of
        `shares` where nothing is. Its record holds the gain predicted at each share, by its name."""
        mixtures = []
        for share in shares:
            model = adapted if share == 1 else mixed(self.given.model, adapted, share)
            mixtures.append(Mixture(share, model, *self.predict(model)))
        best = max(mixtures, key=lambda one: (one.record.get("gain", -math.inf), one.share))
        return replace(
            best, record=best.record | {"shares": {f"{one.share:g}": one.record.get("gain") for one in mixtures}}
        )


def known_rule() -> Rule:
    """That of keyshift. Raises ValueError where there is none, or one that reads scores which are not there."""
    rule = load_rule()
    unknown = [name for name in rule.scores if name not in SCORES]
    if unknown:
        raise ValueError(
            f"the rule reads {', '.join(unknown)}, and the label-free scores are {', '.join(SCORES)}: fit it again by "
            "`keyshift lab FILE --fit`"
        )
    return rule


def reading(kind: type[PoseModel]) -> str:
    """What a system reads and finds: the rule is good for what it was fitted on."""
    return f"{' and '.join(kind.reads)}, {'one person' if kind.single else 'several people'}"


def fitted_on(basis: Mapping[str, Any], system: str) -> bool:
    """Whether a rule of that `basis` is for models that read and find what `reading` says; one that does not say is."""
    return system in basis.get("systems", [system])


def borrowed(kind: type[PoseModel], threshold: float, basis: Mapping[str, Any] | None = None) -> str | None:
    """What is to be said of a rule of that `basis` where it is used on systems that it was not fitted on: people in
    space, and everyone in a picture; None where it was, and where it is not used."""
    if not (kind.single or fitted_on(basis or {}, reading(kind))):
        return (
            f"the rule was fitted on systems that answer a crop with one person, on none that finds everyone in a "
            f"picture as {kind.__name__} does: a point is 1 % of keypoints within {threshold:g} of the picture's side, "
            "and how often it is wrong here is not known"
        )
    if not kind.in_space():
        return None
    return (
        "the rule was fitted on systems that answer in the picture's plane or in depth frames, on none that sees "
        f"people in space as {kind.__name__} does: a point is 1 % of keypoints within {threshold:g} of the crop's side "
        "and of the extent of what is looked at, and how often it is wrong here is not known"
    )


def error_of(kind: type[PoseModel]) -> str:
    """What the error in mm of a system in space is."""
    return "the mean error relative to the root" if kind.space == ROOT_MM else "the root's mean distance from its place"


def beforehand(
    agreement: float, pictures: int, system: str, basis: Mapping[str, Any], lent: bool = False
) -> Decision | None:
    """What is decided before any training, by the given network's `agreement` on the `pictures` to adapt to, what its
    `system` reads, the rule's `basis`, and whether it is `lent` to systems that it was not fitted on; None: nothing
    yet."""
    if pictures < FEWEST:
        return Decision(
            "too few pictures",
            f"nothing can be predicted from {counted(pictures)}: the rule asks for {FEWEST} or more to adapt to; give "
            "more, or labels that decide (--decide-by-check)",
        )
    if not agreement >= CHANCE:
        number = "no keypoint could be compared" if math.isnan(agreement) else f"{agreement:.3f}, under {CHANCE}"
        return Decision(
            "hardly above chance",
            f"its agreement with itself on the pictures to adapt to is hardly above chance ({number}), where no score "
            "says anything; train it longer, or on a source that is nearer to these pictures",
        )
    if not fitted_on(basis, system) and not lent:
        remedy = UNJUDGED if "keypoints2d" in system else "labels can decide (--decide-by-check)"
        return Decision(
            "not known to the rule",
            f"the rule was not fitted on models of {system}, but of {'; '.join(basis['systems'])}, so it predicts "
            f"nothing here; {remedy}",
        )
    return None


def decide(
    step: int,
    prediction: Prediction | None,
    held: Prediction | None,
    pictures: int = 0,
    share: float = 1.0,
    expected: Expected | None = None,
    people: People | None = None,
) -> Decision:
    """Whether the checkpoint of `step`, or what is `share` of the way to it, is shipped, by its `prediction` on the
    pictures adapted to, the one on the `pictures` held out, None where these are too few, of a system in space the
    error in mm that is `expected`, where one is, and of one that finds `people` how many. Step 0: training kept no
    checkpoint."""
    if not step:
        return Decision("no checkpoint", "training kept no checkpoint")
    if prediction is None:
        return Decision("nothing to predict by", f"no score that the rule reads could be measured of update {step}")
    words = f"the predicted gain of {called(step, share)}, the best of those evaluated, is {points(prediction.gain)}"
    words = f"{words} ({interval(prediction)})"
    if prediction.gain <= 0:
        return Decision("no gain predicted", words)
    least = f"{points(prediction.least)}, from which on the rule ships"
    if not prediction.ships:
        return Decision("too small a gain", f"{words}, under the {least}")
    if held is not None and held.gain <= 0:
        return Decision("worse on held-out", f"{words}, but on {counted(pictures)} held out it is {points(held.gain)}")
    if expected is not None and not expected.after < expected.before:
        return Decision("no gain in mm", f"{words}, but {expected.words}")
    if people is not None and people.after < KEPT * people.before:
        return Decision("loses people", f"{words}, but {people.words}, under {KEPT:g} of them")
    more = "".join(f"; {part.words}" for part in (expected, people) if part is not None)
    return Decision("adapted", f"{words}, above the {least}{more}")


def by_labels(step: int, check: Mapping[str, Any], share: float = 1.0) -> Decision:
    """Whether it is shipped by labels: what `judge` of runs/check.py says of the checkpoint of `step`, or of what is
    `share` of the way to it."""
    headline, gain = Headline.named(check["metric"]), check["gain"]
    words = f"the labels of {counted(check['pictures'])} decide (--decide-by-check): by them {called(step, share)}"
    low, high = gain["interval"]
    if low is None:
        return Decision(
            "labels of one block",
            f"{words} has a gain without an interval, for all of these pictures are of one recording or block; label "
            "some of another",
        )
    ends = f"[{headline.bare(low, sign=True)}, {headline.bare(high, sign=True)}]"
    words = f"{words} gains {headline.bare(gain['mean'], sign=True)} {ends} of {headline.heading}"
    sure = f"at the one-sided level of {100 * SURE:g} %"
    if not low > 0:
        return Decision("no gain by labels", f"{words}, whose lower end is not above 0 {sure}")
    return Decision("adapted", f"{words}, whose lower end is above 0 {sure}")


def called(step: int, share: float) -> str:
    way = "" if share == 1 else f" ({share:g} of the way from the given weights to the adapted ones)"
    return f"update {step}{way}"


def points(gain: float) -> str:
    return f"{round(gain, 1) + 0.0:+.1f} points"


def interval(prediction: Prediction) -> str:
    low, high = (f"{round(end, 1) + 0.0:+.1f}" for end in (prediction.low, prediction.high))
    return f"{100 * prediction.level:g} % interval {low} to {high}"
