"""Every strategy can be measured, those that read files or look at the source too."""

from keyshift.adapt.strategies import STRATEGIES
from keyshift.experiments.commands.bench_step import step
from keyshift.experiments.commands.bench_strategies import kept_for_backward, steps


def test_every_strategy_has_a_step():
    made = steps(2, "cpu", step)
    assert set(made) == {name for name, one in STRATEGIES.items() if not one.reads}
    for name in ("ssa", "distil"):
        with kept_for_backward() as kept:
            made[name]()
        assert kept[0] > 0
