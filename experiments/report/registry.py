"""What a report says of a strategy, by its name: what the registry knows, and what goes for names that it does not.

Results may hold strategies of which this installation knows nothing (a plug-in that was removed).
"""

from __future__ import annotations

from ...adapt.strategies import STRATEGIES


def title(name: str) -> str:
    """As a person reads it; the name of one that is not known."""
    return STRATEGIES[name].title if name in STRATEGIES else name


def about(names: list[str]) -> dict[str, str]:
    """What each of them does, in one line; those that are not known are left out."""
    return {name: STRATEGIES[name].about for name in names if name in STRATEGIES}


def adapts(name: str) -> bool:
    """False of what adaptation is measured against."""
    return name not in STRATEGIES or STRATEGIES[name].adapts


def trains(name: str) -> bool:
    """False of the model that stays as it was given."""
    return name not in STRATEGIES or bool(STRATEGIES[name].needs)


def place(name: str) -> float:
    """What reports sort by: the registry's order, and what is not known before the oracle, that ends a table."""
    known = list(STRATEGIES)
    if name in STRATEGIES:
        return known.index(name)
    return next((i for i, kind in enumerate(STRATEGIES.values()) if kind.labelled_target), len(known)) - 0.5
