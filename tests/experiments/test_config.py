"""Options with their owners: one configuration put together from the registries, and that of version 0.1.0 read."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.strategies import STRATEGIES
from keyshift.datasets.catalog import DATASETS
from keyshift.datasets.options import Options, default_of, listed
from keyshift.experiments.commands.options import markdown
from keyshift.experiments.config import (
    Config,
    Settings,
    build,
    differing,
    load,
    of_comparison,
    of_pretraining,
    of_run,
    plain,
)
from keyshift.models.saved import MODELS
from keyshift.models.systems.a2j import A2J
from keyshift.models.systems.awr import AWR

SAVED_DATA = {
    **{"name": "hands.studio", "root": None, "boxes": None, "split": None, "train": 24, "test": 16, "size": 64},
    **{"scenes": 0, "block": 20, "labels": None, "skeleton": None, "stride": None, "duplicates": None, "version": None},
    **{"protocol": 2, "shoulders": "smpl", "centers": None, "joints": "all", "cube": None, "subject": 0},
}
SAVED_MODEL = {
    **{"name": "pose_resnet", "backbone": "small", "weights": None, "input_size": [64, 64], "heatmap_size": [16, 16]},
    **{"channels": 8, "head_layers": None, "sigma": 1.0, "reference": False},
    "a2j": {"depth": True, "spatial": 0.5, "std": 50.0, "depth_reach": 120.0},
    "awr": {"downsample": 2, "form": "offset", "kernel": None},
    "own": {"file": "", "object": "", "weights": None, "gives": "heatmaps"},
}
"""As version 0.1.0 wrote them into each run, used or not (the systems' blocks shortened)."""


def owners():
    return [entry.Options for registry in (MODELS, STRATEGIES, DATASETS) for entry in registry.values()] + [Settings]


@pytest.mark.parametrize("kind", owners(), ids=lambda kind: kind.__qualname__)
def test_every_option_is_frozen_explained_and_within_its_own_limits(kind):
    assert issubclass(kind, Options)
    assert kind.__dataclass_params__.frozen
    for one in dataclasses.fields(kind):
        assert one.metadata["about"], one.name
        assert default_of(one) == getattr(kind(), one.name)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"own"}))
def test_a_name_alone_is_the_papers_network(name):
    config = build({"model": {"name": name}})
    assert config.model.options == MODELS[name].Options()


def test_the_papers_sizes():
    chosen = {name: build({"model": {"name": name}}).model.options for name in MODELS}
    assert (chosen["pose_resnet"].backbone, chosen["pose_resnet"].input_size) == ("resnet101", [256, 256])
    assert (chosen["a2j"].backbone, chosen["a2j"].input_size, chosen["a2j"].head_layers) == ("resnet50", [176, 176], 4)
    assert (chosen["awr"].backbone, chosen["awr"].input_size) == ("resnet18", [128, 128])
    demo = load("demo", ["model.name=awr"]).model.options
    assert demo == AWR.Options(), "a name on the command line starts from the system's own defaults"
    assert load("demo", ["model.name=awr", "model.channels=8"]).model.options == AWR.Options(channels=8)


def test_a_dataset_that_takes_anothers_place_keeps_what_both_have():
    config = load("demo", ["target.name=hand_snap", "target.root=photos"])
    assert config.target.plain() == {"name": "hand_snap", "root": "photos", "block": 20}
    config = load("demo", ["source.name=hands.photo", "source.root=photos"])
    assert (config.source.options.train, config.source.options.size) == (3000, 64)


def test_a_run_says_what_it_uses_and_nothing_else():
    config = load("demo")
    assert set(plain(config)["model"]) == {"name", *(f.name for f in dataclasses.fields(MODELS["pose_resnet"].Options))}
    run = of_run(config, "regda", 3)
    assert (run["strategy"], run["seed"], run["regda"]["highest"]) == ("regda", 3, 1.0)
    assert not {"mean_teacher", "source_only", "strategies", "seeds"} & set(run)
    assert "regda" not in of_run(config, "source_only", 3)
    assert of_comparison(config)["regda"]["margin"] == 1.0


def test_what_is_said_builds_the_same_again():
    for name in ("demo", "a2j_ideal_to_structured_light", "rhd_to_freihand"):
        config = load(name)
        assert of_comparison(build(of_comparison(config))) == of_comparison(config)
        run = of_run(config, "regda", 1)
        again = build(run)
        assert of_run(again, again.strategy, again.seed) == run


def test_an_option_that_is_added_leaves_old_runs_as_they_are(monkeypatch):
    config = load("demo")
    said, weights = of_run(config, "regda", 0), of_pretraining(config)

    @dataclasses.dataclass(frozen=True)
    class More(RegDA.Options):
        novelty: float = dataclasses.field(default=0.5, metadata=RegDA.Options.__dataclass_fields__["margin"].metadata)

    monkeypatch.setattr(RegDA, "Options", More)
    monkeypatch.setitem(STRATEGIES, "later", type("Later", (MeanTeacher,), {}))
    old = build(said)
    assert not differing(of_run(old, "regda", 0), of_run(load("demo"), "regda", 0))
    assert of_pretraining(load("demo")) == weights
    assert differing(of_run(old, "regda", 0), of_run(load("demo", ["regda.novelty=1"]), "regda", 0)) == {
        "regda.novelty": (0.5, 1.0)
    }


def test_pretrained_weights_depend_on_what_they_are_made_of_alone():
    base = of_pretraining(load("demo"))
    for word in ("target.train=10", "regda.margin=2", "optimization.rate=1", "steps=3", "batch_norm=both", "workers=2"):
        assert of_pretraining(load("demo", [word])) == base, word
    for word in ("source.train=10", "model.channels=8", "pretrain.rate=1", "pretrain_steps=3", "batch=4"):
        assert of_pretraining(load("demo", [word])) != base, word


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"name": "a2j", "sigma": 2}}, "unknown key model.sigma"),
        ({"model": {"name": "a2", "sigma": 2}}, "Did you mean a2j"),
        ({"model": {"name": "awr", "form": "offse"}}, "model.form='offse' is not known.*Did you mean offset"),
        ({"model": {"input_size": [64]}}, "model.input_size=.64. must have 2 entries"),
        ({"source": {"name": "rhd", "protocol": 1}}, "protocol=1 is no option of rhd, which takes root, boxes"),
        ({"regda": {"margn": 1}}, "unknown key regda.margn. Did you mean regda.margin"),
        ({"mean_teacher": {"decay": 2}}, "mean_teacher.decay=2.0 must be at least 0, at most 1"),
        ({"optimization": {"name": "lion"}}, "optimization.name='lion' is not known"),
        ({"augmentation": {"area": [1.0, 0.5]}}, "augmentation.area="),
        ({"strategies": ["regda", "daan"]}, "strategy='daan' is not known"),
        ({"pretrain": 3}, "pretrain must be a mapping"),
        ({"modle": {}}, "Did you mean model"),
    ],
)
def test_what_is_wrong_is_named(content, message):
    with pytest.raises(ValueError, match=message):
        build(content)


def test_a_saved_run_of_0_1_0_reads_as_today():
    saved = {
        **{"name": "old", "source": SAVED_DATA, "target": {**SAVED_DATA, "name": "hands.webcam"}},
        **{"model": SAVED_MODEL, "strategy": "regda", "seed": 3, "batch": 4, "steps": 6, "batch_norm": "target"},
        "regda": {"margin": 1.0, "head_layers": 2, "fresh_head": False},
        "mean_teacher": {"decay": 0.99, "weight": 1.0, "masked": 0.5, "sigma": 1.0},
    }
    config = build(saved)
    newer = {"hands": None, "crops": None, "video": 0, "speed": 1.0, "smeared": 0.0, "exposure": 1.5, "passing": 0.0}
    assert config.source.plain() == {"name": "hands.studio", "train": 24, "test": 16, "size": 64, "scenes": 0} | newer
    assert config.model.options.head_layers == 1
    assert (config.batch_norm, config.policy("regda", True)) == ("own", "target")
    assert build({"batch_norm": "target"}).policy("keyshift", True) == "target", "what is said now is meant"
    assert "mean_teacher" not in of_run(config, config.strategy, config.seed)
    depth = build({**saved, "model": {**SAVED_MODEL, "name": "a2j", "head_layers": 2}})
    assert depth.model.options == A2J.Options(
        backbone="small", input_size=[64, 64], channels=8, head_layers=2, std=50.0, depth_reach=120.0
    )


def test_its_mean_teacher_goes_on_as_it_began():
    saved = {"model": SAVED_MODEL, "mean_teacher": {"decay": 0.9}}
    began = build({**saved, "strategy": "mean_teacher", "seed": 3})
    assert began.method("mean_teacher") == MeanTeacher.Options(decay=0.9, averaging="copied")
    added = build({**saved, "strategies": ["source_only", "regda"]}, ["strategies=[regda,mean_teacher]"])
    assert added.method("mean_teacher").averaging == "paper", "a strategy that is added is today's"


def test_a_yaml_of_0_1_0_may_nest_its_own_system():
    config = build({"model": {"name": "own", "own": {"file": "net.py", "object": "Net"}}}, ["model.own.scale=20"])
    assert (config.model.options.file, config.model.options.scale) == ("net.py", 20.0)
    with pytest.raises(ValueError, match=r"unknown key model\.awr"):
        build({"model": {"name": "a2j", "awr": {"form": "pose"}}})


def test_the_table_in_the_docs_is_the_codes():
    path = Path(__file__).parents[2] / "docs/options.md"
    assert path.read_text() == markdown(), "write it anew: keyshift options --markdown > docs/options.md"
    assert {row[0] for row in listed(RegDA.Options)} == {f.name for f in dataclasses.fields(RegDA.Options)}


def test_defaults_are_the_references():
    config = Config()
    regda = config.method("regda")
    assert (regda.margin, regda.trade_off, regda.warmup, regda.highest) == (4, 1, 1000, 0.1)
    assert (config.optimization.rate, config.optimization.gamma, config.optimization.power) == (0.1, 1e-4, 0.75)
    assert config.pretrain.factors == {"backbone": 0.1}
    assert config.augmentation.rotation == 180
    assert build(yaml.safe_load("tracking: off")).tracking == "off"
