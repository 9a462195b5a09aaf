"""Strategies are told apart in print, by colour-blind readers, and by the same look everywhere."""

from __future__ import annotations

import base64
import re
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest

from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Strategy
from keyshift.experiments.report import charts, registry
from keyshift.experiments.report.looks import Look, adapting, looks, reference

FIRST = [*map(adapting, range(30)), *map(reference, range(4))]

TO_XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
DEUTERANOPIA = np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]])
"""On linear RGB: Machado, Oliveira, Fernandes, IEEE TVCG 2009, severity 1."""


def linear(colour: str) -> np.ndarray:
    part = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB."""
    ratio = TO_XYZ @ rgb.clip(0, 1) / TO_XYZ.sum(1)
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart_by_colour(a: Look, b: Look) -> bool:
    """Far enough apart for a colour-blind reader, and as greys."""
    one, other = linear(a.colour), linear(b.colour)
    blind = np.linalg.norm(lab(DEUTERANOPIA @ one) - lab(DEUTERANOPIA @ other))
    return bool(blind > 15 and abs(lab(one)[0] - lab(other)[0]) > 12)


def test_the_measure_of_colours_knows_what_looks_alike() -> None:
    red, green, light = (Look(colour, (), (), False) for colour in ("#C00000", "#5C7000", "#FFE0E0"))
    assert not apart_by_colour(red, red)
    assert not apart_by_colour(red, green)
    assert apart_by_colour(red, light)


@pytest.mark.parametrize("chart", ["lines", "bars"])
def test_any_two_of_the_first_thirty_differ_by_more_than_a_hue(chart: str) -> None:
    def form(look: Look) -> tuple[object, ...]:
        return (look.shape, look.hollow, *([look.dash] if chart == "lines" else []))

    alike = [(a, b) for a, b in combinations(FIRST, 2) if form(a) == form(b) and not apart_by_colour(a, b)]
    assert not alike


def test_many_more_differ_in_something() -> None:
    assert len({*map(adapting, range(60)), *map(reference, range(8))}) == 68


def test_every_colour_is_seen_on_white_and_lightness_varies() -> None:
    lightness = [lab(linear(look.colour))[0] for look in FIRST]
    assert max(lightness) < 75
    assert np.ptp([lab(linear(adapting(i).colour))[0] for i in range(7)]) > 40


def test_a_look_does_not_hang_on_what_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    before = looks(list(STRATEGIES))
    assert all(looks([name])[name] == before[name] for name in STRATEGIES)
    for name in ("newer", "newest"):
        monkeypatch.setitem(STRATEGIES, name, type(name, (Strategy,), {"title": name, "about": "new"}))
    after = looks([*STRATEGIES, "unknown", "known_to_no_one"])
    assert {name: after[name] for name in before} == before
    assert len(set(after.values())) == len(after)
    assert looks(["unknown", "source_only", "known_to_no_one"])["unknown"] == after["unknown"]


def test_the_first_strategies_keep_the_colours_that_they_have_always_had() -> None:
    colours = {name: look.colour for name, look in looks(list(STRATEGIES)).items()}
    assert (colours["source_only"], colours["bn_control"], colours["oracle"]) == ("#D55E00", "#7A7A7A", "#009E73")
    assert (colours["regda"], colours["mean_teacher"]) == ("#0072B2", "#B5559A")


def test_keys_are_small_pictures_of_the_look() -> None:
    for look in FIRST:
        for picture in (look.mark, look.line, look.bar):
            root = ElementTree.fromstring(picture)
            assert root.get("aria-hidden") == "true"
            assert root.find("polygon").get("stroke") == look.colour  # type: ignore[union-attr]
        path = ElementTree.fromstring(look.line).find("path")
        assert path is not None
        assert bool(path.get("stroke-dasharray")) == bool(look.dash)


def test_charts_draw_the_look() -> None:
    names = ["source_only", "bn_control", "oracle", "regda"]
    curve = (np.arange(0, 100, 10), np.linspace(0, 1, 10))
    line = charts.lines("t", {name: [curve] for name in names}, ("step", "loss"), looks(names)).picture
    row = {"wrist": (0.5, 0.1), "thumb": (None, None)}
    bar = charts.bars("t", dict.fromkeys(names, row), list(row), "PCK, %", 100, 100, looks(names)).picture
    drawn = [base64.b64decode(picture.split(",")[1]).decode().lower() for picture in (line, bar)]
    for name, look in looks(names).items():
        assert all(look.colour.lower() in svg for svg in drawn), name
    assert len(set(re.findall(r"stroke-dasharray: ([\d. ,]+)", drawn[0]))) >= 2  # bn_control's and oracle's
    markers = [re.findall(r'<use xlink:href="#m[^"]+"', svg) for svg in drawn]
    assert all(len(set(uses)) >= 4 for uses in markers)


def test_what_is_said_of_strategies_comes_from_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type("New", (Strategy,), {"title": "New one", "about": "does something new"})
    monkeypatch.setitem(STRATEGIES, "new", kind)
    assert (registry.title("new"), registry.title("removed")) == ("New one", "removed")
    assert registry.about(["new", "removed"]) == {"new": "does something new"}
    assert [registry.adapts(name) for name in ("new", "removed", "source_only", "oracle")] == [True, True, False, False]
    order = ["oracle", "removed", "mean_teacher", "source_only"]
    assert sorted(order, key=registry.place) == ["source_only", "mean_teacher", "removed", "oracle"]
