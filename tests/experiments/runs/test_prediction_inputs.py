"""Reading ahead: the next batch is made while one is used, in order, and no more than one."""

import threading

import pytest

from keyshift.experiments.runs.prediction_inputs import one_ahead


def test_the_next_is_made_while_one_is_used():
    begun = [threading.Event() for _ in range(4)]

    def made():
        for number, event in enumerate(begun):
            event.set()
            yield number

    for number in one_ahead(made()):
        assert number == 3 or begun[number + 1].wait(60)
        assert not any(event.is_set() for event in begun[number + 2 :])
    assert number == 3


def test_what_goes_wrong_in_making_reaches_who_uses():
    def made():
        yield 1
        raise ValueError("the second")

    got = one_ahead(made())
    assert next(got) == 1
    with pytest.raises(ValueError, match="the second"):
        next(got)


def test_who_stops_leaves_nothing_running():
    before = threading.active_count()
    for _ in one_ahead(iter(range(100))):
        break
    assert threading.active_count() == before
