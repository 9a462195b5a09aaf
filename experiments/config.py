"""The whole configuration: typed defaults, a YAML over them, key=value over that. Nothing else configures a run.

What belongs to a run as such stands here; the options of datasets, systems and strategies stand beside these, and are
put together by the names that are chosen: `model: {name: a2j, ...A2J's own options}`, `source:` and `target:` alike,
and each strategy's options under its name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from ..adapt.batch_norm import POLICIES
from ..adapt.guard import ACTIONS, Bounds
from ..adapt.scoring.label_free import SCORES
from ..adapt.scoring.selection import RULES
from ..adapt.strategies import STRATEGIES, expanded
from ..adapt.strategy import KINDS, Optimization
from ..datasets.augment import Augmentation
from ..datasets.cameras import Cameras
from ..datasets.catalog import DATASETS, entry_of, options_of
from ..datasets.depth.crop import CROPS
from ..datasets.options import (
    FILE,
    BadOption,
    Options,
    choose,
    make,
    option,
    plain_options,
    refuse_unknown,
    tagged,
    unknown,
)
from ..datasets.words import NOTHING, Loader, command_words, opened
from ..models.saved import MODELS
from .legacy import today
from .runs.device import DEVICES
from .tracking.addresses import refuse_secret, without_secret

SHIPPED = Path(__file__).parent
LAB = {"lab_ablation", "lab_candidates", "lab_pairs", "lab_real"}
"""Files of the laboratory: they are no experiments."""
FREE, PRETRAINING = "free", "pretraining"
"""Tags: keys that may differ when a run folder is continued, for they do not change its numbers; keys that pretrained
weights depend on."""


@dataclass(frozen=True)
class Report(Options):
    pictures: str = option("all", "in reports and tracking", choices=("all", "blurred", "none"))


AUTO = "auto"
"""The precision that is settled when a run begins (runs/precision.py)."""
OWN = "own"
"""The policy of batch norm that a strategy prefers."""


@dataclass(frozen=True)
class Settings(Options):
    """What a run has besides its data, its system and its strategies."""

    name: str = option("experiment", "of the folder below runs/, and in reports")
    strategy: str = option("keyshift", "of `train`")
    strategies: list[str] = option(
        ["source_only", "bn_control", "regda", "keyshift", "oracle"],
        f"of `compare`: names, kinds ({', '.join(KINDS)}) or all",
        tags=(FREE,),
    )
    seed: int = option(0, "of `train`", low=0)
    seeds: Any = option(3, "of `compare`: how many, or a list", tags=(FREE,))
    start: str | None = option(
        None,
        "a run folder or weights file to adapt, instead of pretraining on the source; where no strategy needs a "
        "source, none is opened",
    )
    batch: int = option(32, "samples of each domain in a step, over all processes", low=1, tags=(PRETRAINING,))
    pretrain_steps: int = option(
        1000, "updates on the source, shared by all strategies of a seed", low=0, tags=(PRETRAINING,)
    )
    steps: int = option(1000, "updates of each strategy after it", low=1)
    pretrain: Optimization = option(
        Optimization(factors={"backbone": 0.1}, gamma=0.0), "rates of pretraining", tags=(PRETRAINING,)
    )
    optimization: Optimization = option(Optimization(), "rates of the strategies")
    batch_norm: str = option(
        OWN,
        "which passes move the running statistics; mixed: none, they become a mixture before training; auto: target, "
        "or mixed or frozen where the rule of adapt predicts a loss of that; own: what the strategy prefers, target "
        "where it does not say (docs/strategies.md)",
        choices=(OWN, *POLICIES),
    )
    batch_norm_share: float = option(0.5, "of mixed: the target's share in the statistics", low=0, high=1)
    guard: str = option(
        "stop",
        "what follows where training leaves the road: stop and go back, watch (say so alone), off",
        choices=ACTIONS,
    )
    bounds: Bounds = option(Bounds(), "of the road, for guard")
    augmentation: Augmentation = option(Augmentation(), "of training samples", tags=(PRETRAINING,))
    cameras: Cameras = option(Cameras(), "by which source samples are shown", tags=(PRETRAINING,))
    proposals: str | None = option(
        None,
        "cut source samples by boxes as another detector would give them: a file of keyshift proposals, or dpg, "
        "AlphaPose's of people; null: by their own",
        tags=(PRETRAINING, FILE),
    )
    sensor: float = option(
        0.0, "share of source samples, after pretraining, shown as the target's sensor would", low=0, high=1
    )
    crop: str = option("exact", "of depth: exact, or a reference's chain", choices=CROPS, tags=(PRETRAINING,))
    threshold: float = option(0.1, "of PCK, share of the crop's side", low=1e-6, high=10)
    selection: str = option("last", "which checkpoint counts; oracle uses target labels", choices=tuple(RULES))
    score: str = option("agreement", "the label-free score that selection=target_score looks at: " + ", ".join(SCORES))
    log_every: int = option(20, "updates", low=1, tags=(FREE,))
    evaluate_every: int = option(100, "updates", low=1)
    checkpoint_every: int = option(100, "updates", low=1)
    workers: int = option(0, "processes that load data", low=0, tags=(FREE,))
    device: str = option("auto", f"where to train: {DEVICES}", tags=(FREE,))
    precision: str = option(
        AUTO,
        "of training; auto: bf16-mixed where a convolution is measured to be faster in it, else 32-true, settled once "
        "and kept in the run folder; evaluation, prediction and export are in float32 always",
        choices=(AUTO, "32-true", "bf16-mixed"),
        tags=(PRETRAINING,),
    )
    flip_test: bool = option(
        False, "in evaluation, answers are the mean of those for a sample and for its mirror image"
    )
    channels_last: bool | None = option(
        None,
        "pictures lie in memory with their channels innermost, for speed; null: true, but as a run began",
        tags=(PRETRAINING,),
    )
    compile: bool = option(
        False, "train the network's parts as torch.compile makes them: minutes to begin with", tags=(PRETRAINING,)
    )
    tracking: str | None = option(None, "an MLflow URI; null: mlflow.db beside the runs; off: none", tags=(FREE,))
    report: Report = option(Report(), "what reports show", tags=(FREE,))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tracking in ("False", "false"):  # what YAML makes of a bare `off`
            object.__setattr__(self, "tracking", "off")
        listed = isinstance(self.seeds, list) and bool(self.seeds) and all(_whole(seed, 0) for seed in self.seeds)
        if not (_whole(self.seeds, 1) or listed):
            raise BadOption(f"seeds={self.seeds!r} must be a positive number of seeds or a list of them")
        if not self.strategies:
            raise BadOption("strategies is empty; name at least one")


@dataclass(frozen=True)
class Chosen:
    """One of a registry by its name, with its own options."""

    name: str
    options: Any

    def plain(self) -> dict[str, Any]:
        return {"name": self.name, **plain_options(self.options)}


def _default(side: str) -> Any:
    return field(default_factory=lambda: _choose(side, {}, {}, "defaults"))


@dataclass(frozen=True)
class Config(Settings):
    source: Chosen = _default("source")
    target: Chosen | None = _default("target")
    """None where none is said beside a source that the default's does not go with: source_only needs none."""
    model: Chosen = _default("model")
    beside: Chosen | None = None
    """A second labelled set, half of the source's training samples: 2D labels beside 3D ones."""
    methods: dict[str, Any] = field(default_factory=dict)
    """Options of strategies by name: of those that it names, and of those that its YAML gives options for."""

    def method(self, strategy: str) -> Any:
        return self.methods.get(strategy) or STRATEGIES[strategy].Options()

    def policy(self, strategy: str, settled: bool) -> str:
        """Which passes of a strategy's run move batch norm's statistics. `settled` where that can be chosen before
        training: from given weights."""
        if self.batch_norm != OWN:
            return self.batch_norm
        return STRATEGIES[strategy].prefers if settled else "target"


NAMED = {"source": "hands.studio", "target": "hands.webcam", "model": "pose_resnet"}
"""What is chosen by name, and by default."""
BESIDE = "beside"
"""A second labelled set, chosen by name; by default there is none."""


def shipped() -> dict[str, Path]:
    """The experiments that come with keyshift, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml")) if path.stem not in LAB}


def load(experiment: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a shipped experiment's name or a YAML's path, with key=value overrides.

    Raises ValueError for unknown keys (naming the nearest), wrong types and unknown choices.
    """
    path = shipped().get(experiment, Path(experiment))
    if not path.is_file():
        known = ", ".join(shipped())
        near = difflib.get_close_matches(experiment, shipped(), 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"no experiment {experiment!r}: neither a YAML file nor one of {known}.{hint}")
    return build(read(path), overrides, str(path))


def load_folder(folder: Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration that a run folder was made with. Raises ValueError where it has none."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise ValueError(f"{folder} is no run folder: it has no config.yaml")
    content = read(path)
    if isinstance(content.get("tracking"), str):  # version 0.2 kept what stood in the address
        content["tracking"] = without_secret(content["tracking"])
    return build(content, overrides, str(path))


def read(path: Path) -> dict[str, Any]:
    """A YAML mapping, its values as they are written (see `words`). Raises ValueError naming the file."""
    try:
        content = yaml.load(path.read_text("utf-8"), Loader) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a mapping of configuration keys, found a {type(content).__name__}")
    return content


def build(
    content: Mapping[str, Any],
    overrides: Sequence[str] | Mapping[str, Any] = (),
    origin: str = "configuration",
    over: str = "the command line",
) -> Config:
    """The configuration of a YAML's `content` with `overrides`, key=value words or keys of a YAML, which come from
    `over`. Raises ValueError as `load` does."""
    said = today(dict(content))
    names = [f.name for f in fields(Settings)]
    nested = overrides if isinstance(overrides, Mapping) else command_words(overrides)
    typed = {key: value if key in names else opened(value) for key, value in nested.items()}
    typed = today(typed, **_system(said.get("model")))
    for part, source in ((said, origin), (typed, over)):
        known = [*names, *NAMED, BESIDE, *STRATEGIES]
        for key in part:
            if key not in known:
                if places := _places(str(key)):
                    raise ValueError(f"{source}: unknown key {key}. Did you mean {' or '.join(places)}?")
                raise unknown(str(key), known, source)
    sides = {side: (said.get(side) or {}, typed.get(side, {})) for side in NAMED}
    chosen: dict[str, Any] = {side: _choose(side, *parts, origin, over) for side, parts in sides.items()}
    if "target" not in typed and _without_target(said, chosen["source"].name):
        chosen["target"] = None
    second, over_it = said.get(BESIDE) or {}, typed.get(BESIDE, {})
    if (second or over_it) and not _nothing(over_it):
        chosen[BESIDE] = _beside(second, over_it, origin, over)
    settings = laid({k: v for k, v in said.items() if k in names}, {k: v for k, v in typed.items() if k in names})
    alone = settings.get("strategies")
    if isinstance(alone, str) and alone not in NOTHING and not alone.startswith("["):
        settings["strategies"] = [alone]
    made = make(Settings, settings, origin)
    refuse_secret(made.tracking)
    made = replace(made, strategies=expanded(made.strategies, MODELS[chosen["model"].name].reads))
    choose("strategy", made.strategy, list(STRATEGIES))
    for name in made.strategies:
        choose("strategy", name, [*STRATEGIES, *KINDS, "all"])
    choose("score", made.score, list(SCORES))
    used = dict.fromkeys([made.strategy, *made.strategies, *(name for name in STRATEGIES if name in {**said, **typed})])
    methods = {}
    for name in used:
        kind = STRATEGIES[name].Options
        for part, source in ((said, origin), (typed, over)):
            refuse_unknown(kind, part.get(name, {}), source, f"{name}.")
        methods[name] = make(kind, laid(said.get(name, {}), typed.get(name, {})), origin, f"{name}.")
    return Config(**{name: getattr(made, name) for name in names}, **chosen, methods=methods)


def _without_target(said: Mapping[str, Any], source: str) -> bool:
    """The default's target is rendered hands: it goes with a source of rendered hands alone."""
    family = NAMED["source"].partition(".")[0]
    return said.get("target", {}) is None or ("target" not in said and source.partition(".")[0] != family)


def _nothing(typed: Any) -> bool:
    """Whether what a file says is taken back: beside=null."""
    return typed is None or (isinstance(typed, str) and typed in NOTHING)


def _beside(said: Any, typed: Any, origin: str, over: str) -> Chosen:
    """The set beside the source. Raises ValueError where its name is not said."""
    if not any(isinstance(part, Mapping) and "name" in part for part in (said, typed)):
        raise ValueError(f"{origin}: {BESIDE} is a second labelled set beside the source; say {BESIDE}.name=NAME")
    return _choose(BESIDE, said, typed, origin, over)


def _places(key: str) -> list[str]:
    """Where an option that stands without its owner may belong."""
    data: list[type[Options]] = [entry.Options for entry in DATASETS.values()]
    systems: list[type[Options]] = [system.Options for system in MODELS.values()]
    kinds = {"source": data, "target": data, "model": systems}
    return [f"{side}.{key}" for side in kinds if key in {one.name for kind in kinds[side] for one in fields(kind)}]


def _system(model: Any) -> dict[str, str]:
    return {"system": str(model["name"])} if isinstance(model, Mapping) and "name" in model else {}


def _choose(side: str, said: Any, typed: Any, origin: str, over: str = "") -> Chosen:
    """What the file and what lies `over` it choose for `side`. Where that names another than the file, a system starts
    from its own defaults, and a dataset keeps what it has in common with the one whose place it takes."""
    for part, source in ((said, origin), (typed, over)):
        if not isinstance(part, Mapping):
            hint = f"; did you mean {side}.name={part}?" if isinstance(part, str) else ""
            raise ValueError(f"{source}: {side} must be a mapping, found {str(part)!r}{hint}")
    before = said.get("name", NAMED.get(side, typed.get("name")))
    name = typed.get("name", before)
    said, typed = ({key: value for key, value in part.items() if key != "name"} for part in (said, typed))
    if name != before:
        common = {} if side == "model" else {f.name: f.metadata["choices"] for f in fields(entry_of(name).Options)}
        _options(side, before, said, origin)
        said = {key: one for key, one in said.items() if key in common and _taken(one, common[key])}
    for part, source in ((said, origin), (typed, over)):
        _options(side, name, part, source)
    return Chosen(str(name), _options(side, name, laid(said, typed), origin))


def _taken(value: Any, choices: Any) -> bool:
    """Whether an option of these choices, any where there are none, can have a value of another set's."""
    return not choices or all(one in choices for one in (value if isinstance(value, list) else [value]))


def _options(side: str, name: str, content: Mapping[str, Any], origin: str) -> Options:
    if side != "model":
        return options_of(name, content, origin, f"{side}.")
    choose("model.name", name, list(MODELS))
    return make(MODELS[name].Options, content, origin, "model.")


def laid(said: Any, typed: Any) -> Any:
    """What was typed over what a file says."""
    typed = opened(typed) if isinstance(said, Mapping) else typed
    if not isinstance(said, Mapping) or not isinstance(typed, Mapping):
        return typed
    return dict(said) | {key: laid(said[key], value) if key in said else value for key, value in typed.items()}


def seeds(config: Config) -> list[int]:
    return list(range(config.seeds)) if isinstance(config.seeds, int) else list(config.seeds)


def plain(config: Config) -> dict[str, Any]:
    """The whole configuration as plain data, in the form of a YAML."""
    settings = {f.name: getattr(config, f.name) for f in fields(Settings)}
    data = {key: asdict(value) if isinstance(value, Options) else value for key, value in settings.items()}
    data |= {side: None if (chosen := getattr(config, side)) is None else chosen.plain() for side in NAMED}
    data |= {} if config.beside is None else {BESIDE: config.beside.plain()}
    return data | {name: plain_options(options) for name, options in config.methods.items() if plain_options(options)}


def of_run(config: Config, strategy: str, seed: int) -> dict[str, Any]:
    """The configuration that a run folder says: its own strategy and seed, and no other's options."""
    data = plain(config) | {"strategy": strategy, "seed": seed}
    own, others = plain_options(config.method(strategy)), {"strategies", "seeds", *config.methods}
    data = {key: value for key, value in data.items() if key not in others}
    return data | ({strategy: own} if own else {})


def of_comparison(config: Config) -> dict[str, Any]:
    """The configuration that a comparison's folder says."""
    return {key: value for key, value in plain(config).items() if key not in ("strategy", "seed")}


def of_pretraining(config: Config) -> dict[str, Any]:
    """What pretrained weights depend on: of the configuration, and what stands behind the system's options."""
    whole = plain(config)
    data = {key: whole[key] for key in (*tagged(Settings, PRETRAINING), "source", BESIDE) if key in whole}
    return data | {"model": {"name": config.model.name, **MODELS[config.model.name].identity(config.model.options)}}


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """By dotted key, what differs between two plain configurations and may not: a strategy that one of them does not
    name has nothing to differ in."""
    free = tagged(Settings, FREE)
    apart = {name for name in STRATEGIES if name not in before or name not in now}
    keys = [key for key in {**before, **now} if key not in free and key not in apart]
    return {name: pair for key in keys for name, pair in _differing(before.get(key), now.get(key), key).items()}


def _differing(before: Any, now: Any, key: str) -> dict[str, tuple[Any, Any]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        pairs = [_differing(before.get(part), now.get(part), f"{key}.{part}") for part in {**before, **now}]
        return {name: pair for differences in pairs for name, pair in differences.items()}
    return {} if before == now else {key: (before, now)}


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
