"""Whether `keyshift adapt` ships its best checkpoint: a pure function of label-free scores, one sentence an outcome."""

from __future__ import annotations

import math
from dataclasses import dataclass

CHANCE = 0.1
"""Label-free score under which predictions hardly follow the picture, so that no rise says anything."""


@dataclass(frozen=True)
class Scores:
    """Label-free scores, 0 to 1, of the given model and of the best checkpoint on the same pictures."""

    pictures: int
    """How many the scores are read from."""
    before: float
    after: float = math.nan

    @property
    def noise(self) -> float:
        """Standard deviation of the share that `before` is, each picture counted once."""
        return math.sqrt(max(self.before * (1 - self.before), 1e-4) / self.pictures)


@dataclass(frozen=True)
class Decision:
    outcome: str
    """adapted, or in two or three words why not."""
    why: str
    """A clause that says which test was passed, which failed, with both numbers."""

    @property
    def adapted(self) -> bool:
        return self.outcome == "adapted"


def beforehand(score: float, held: int) -> Decision | None:
    """What is decided before any training, by the given model's `score` on the pictures to adapt to and the number of
    pictures `held` out; None: nothing yet."""
    if not score >= CHANCE:
        measured = "no keypoint could be compared" if math.isnan(score) else f"{score:.3f}, under {CHANCE}"
        return Decision(
            "hardly above chance",
            f"its label-free score on the pictures to adapt to is hardly above chance ({measured}), where no rise says "
            "anything; train it longer, or on a source that is nearer to these pictures",
        )
    if not held:
        return Decision(
            "nothing held out",
            "nothing is held out that could show whether adapting to one picture alone helps; give more pictures",
        )
    return None


def decide(step: int | None, trained: Scores, held: Scores) -> Decision:
    """Whether the checkpoint of `step`, the best on the pictures trained on, is shipped.

    `trained` are scores on pictures that are trained on, `held` on those held out. `step` None: no checkpoint was
    scored.
    """
    if known := beforehand(trained.before, held.pictures):
        return known
    where = "the label-free score on the pictures trained on"
    if step is None:
        return Decision("no better checkpoint", f"no checkpoint has {where}")
    there = f"from {trained.before:.3f} to {trained.after:.3f} at update {step}"
    if not trained.after > trained.before:
        ends = f"it was {trained.before:.3f}, and at best {trained.after:.3f}, at update {step}"
        return Decision("no better checkpoint", f"{where} did not rise: {ends}")
    if trained.after <= trained.before + trained.noise:
        return Decision(
            "within noise",
            f"{where} rose {there}, which is within its noise of {trained.noise:.3f} ({counted(trained.pictures)}; "
            "more pictures, or more updates by steps=, can rise above it)",
        )
    rose = f"{where} rose {there}, by more than its noise of {trained.noise:.3f}"
    beside = f"on {counted(held.pictures)} held out"
    ends = f"from {held.before:.3f} to {held.after:.3f}"
    if math.isnan(held.after) or math.isnan(held.before):
        return Decision("worse on held-out", f"{rose}, but {beside} no keypoint could be compared")
    if held.after < held.before:
        return Decision("worse on held-out", f"{rose}, but {beside} it fell {ends}")
    return Decision("adapted", f"{rose}, and {beside} it {'rose' if held.after > held.before else 'went'} {ends}")


def counted(pictures: int) -> str:
    """1 picture, 2 pictures."""
    return f"{pictures} picture{'s' if pictures != 1 else ''}"
