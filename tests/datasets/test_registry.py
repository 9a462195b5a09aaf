"""Registries: what is chosen by name is imported when it is asked for."""

import sys

import pytest

from keyshift.adapt.scoring.label_free import SCORES
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Strategy
from keyshift.datasets.registry import Registry
from keyshift.models.pose_model import PoseModel
from keyshift.models.saved import MODELS


def test_an_entry_is_imported_when_it_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "one.py").write_text("class Thing: pass\nclass Other: pass\n")
    (tmp_path / "two.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.setattr("keyshift.__path__", [*__import__("keyshift").__path__, str(tmp_path)])
    registry = Registry("keyshift.registry", {"thing": "one:Thing", "broken": "two:Thing"})
    assert list(registry) == ["thing", "broken"]
    assert "thing" in registry
    assert registry.get("foreign") is None
    assert "keyshift.one" not in sys.modules
    try:
        thing = registry["thing"]
        assert thing is sys.modules["keyshift.one"].Thing is registry["thing"]
        assert registry.name_of(thing) == "thing"
        with pytest.raises(KeyError):
            registry.name_of(sys.modules["keyshift.one"].Other)
        with pytest.raises(RuntimeError, match="imported"):
            registry["broken"]
        registry["broken"] = thing
        assert registry["broken"] is thing
    finally:
        del sys.modules["keyshift.one"]


def test_a_name_is_told_without_importing_the_others(monkeypatch):
    registry = Registry("keyshift.models.saved", {"absent": "systems.absent:A", "a2j": "systems.a2j:A2J"})
    assert registry.name_of(MODELS["a2j"]) == "a2j"


def test_every_entry_is_there_under_its_name():
    for name, kind in MODELS.items():
        assert issubclass(kind, PoseModel)
        assert MODELS.name_of(kind) == name
    assert all(issubclass(kind, Strategy) for kind in STRATEGIES.values())
    assert all(map(callable, SCORES.values()))
