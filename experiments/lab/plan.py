"""What the laboratory does: domain pairs, candidates and seeds, read from YAML files that are laid over one another.

    base: {keys of an experiment, for all runs}
    pairs: {NAME: {half: a or b, kind: WORD, keys laid over the base}}
    candidates: {NAME: {strategy: NAME, keys laid over the pair's: its options, its rates}}
    seeds: how many, or a list
    shares: numbers between 0 and 1, for each run's last checkpoint mixed with the given weights (adapt/mixture.py)

A candidate is a strategy with overrides, so that a strategy stands there twice: once as it should be, once too strong.
A rule is found on the pairs of half a and shown on those of half b; `kind` groups pairs, by their shift say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...adapt.scoring.label_free import SCORES
from ...adapt.strategies import STRATEGIES
from ...datasets.options import BadOption, Options, choose, make, option, unknown
from ...datasets.words import command_words
from ..config import LAB, SHIPPED, Config, build, laid, of_pretraining, plain, read, seeds

PARTS = ("base", "pairs", "candidates", "seeds", "shares")
HALVES = ("a", "b")


@dataclass(frozen=True)
class Pair:
    name: str
    half: str
    kind: str
    keys: Mapping[str, Any]


@dataclass(frozen=True)
class Candidate:
    name: str
    keys: Mapping[str, Any]
    """With its strategy."""

    @property
    def strategy(self) -> str:
        return str(self.keys["strategy"])


@dataclass(frozen=True)
class Mixtures(Options):
    shares: list[float] = option([], "of the way from the given to the last weights of each run", low=0, high=1)


@dataclass(frozen=True)
class Plan:
    base: Mapping[str, Any]
    pairs: Mapping[str, Pair]
    candidates: Mapping[str, Candidate]
    seeds: Sequence[int]
    typed: Mapping[str, Any]
    """Keys of the command line, laid over those of all runs."""
    shares: Sequence[float] = ()
    """Those of Mixtures, which are scored and not trained: what is done of a plan stays valid when they change."""
    scored: bool = True
    """False: checkpoints are judged by truth alone."""

    def config(self, pair: str, candidate: str | None = None) -> Config:
        """Of a run; without a candidate what all runs of the pair have. Raises ValueError that names both."""
        keys, over = self.pairs[pair].keys, f"pair {pair}"
        if candidate is not None:
            keys, over = laid(keys, self.candidates[candidate].keys), f"{over}, candidate {candidate}"
        return build(self.base, laid(keys, self.typed), "base", over)

    def said(self, pair: str, candidate: str) -> str:
        """What stands for all that is said of a run, without building its configuration."""
        parts = self.base, self.pairs[pair].keys, self.candidates[candidate].keys, self.typed
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def scores(self) -> Collection[str]:
        """What has to be known of each checkpoint beside the truth."""
        return SCORES if self.scored else ()

    def shares_of(self, pair: str, candidate: str) -> list[float]:
        """Of a run: none where its head restarts, so that nothing is between."""
        strategy = self.candidates[candidate].strategy
        options = self.config(pair, candidate).method(strategy) if self.shares else None
        return [] if options is None or STRATEGIES[strategy].restarts(options) else list(self.shares)

    def check(self) -> None:
        """Raises ValueError where keys are wrong: each pair is tried with one candidate, each candidate with one
        pair."""
        every = list(self.candidates)
        for place, pair in enumerate(self.pairs):
            own = self.config(pair)
            for candidate in every[:1] if place else every:
                check_start(own, self.config(pair, candidate), f"pair {pair}", f"candidate {candidate}")

    def chosen(self, pairs: Sequence[str], candidates: Sequence[str], seeds: Sequence[int]) -> Plan:
        """The named part of it; where nothing is named, all. Raises ValueError for names that it does not have."""
        named: dict[str, Any] = {"pairs": _some("pair", self.pairs, pairs)}
        named |= {"candidates": _some("candidate", self.candidates, candidates)}
        return replace(self, **named, seeds=list(seeds) or self.seeds)


def _some(what: str, known: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    for name in names:
        choose(what, name, list(known))
    return {name: known[name] for name in names} or known


def check_start(pair: Config, candidate: Config, *names: str) -> None:
    """Raises ValueError where a candidate (the second of `names`) asks for other data, or another given model, than its
    pair has."""
    own, theirs = (
        {key: plain(config)[key] for key in ("target", "start", "threshold")} | of_pretraining(config)
        for config in (pair, candidate)
    )
    for key in (key for key in own if own[key] != theirs[key]):
        raise ValueError(
            f"{names[1]} has {key}={theirs[key]!r}, {names[0]} {own[key]!r}: candidates start from one given model on "
            "the same data; say it of the pair or of the base"
        )


def read_plan(files: Sequence[str], overrides: Sequence[str] = ()) -> Plan:
    """The plan of files, or of shipped ones' names, with key=value `overrides`: those that begin with a pair's name are
    that pair's, the others all runs'. Raises ValueError for unknown keys and what is missing."""
    content: Any = {}
    for file in files:
        path = shipped_plans().get(file, Path(file))
        if not path.is_file():
            raise ValueError(f"no plan {file!r}: neither a YAML file nor one of {', '.join(shipped_plans())}")
        part = read(path)
        for key in part:
            if key not in PARTS:
                raise unknown(str(key), PARTS, str(path))
        content = laid(content, part)
    for key in ("pairs", "candidates"):
        if not content.get(key):
            raise ValueError(f"{', '.join(files)}: no {key}; name the file that has them too")
    typed = command_words(overrides)
    pairs = {name: keys or {} for name, keys in content["pairs"].items()}
    own = {name: typed.pop(name) for name in pairs if name in typed}
    mixtures = make(Mixtures, {"shares": typed.pop("shares", content.get("shares", []))}, "the plan")
    return Plan(
        {key: value for key, value in (content.get("base") or {}).items() if key not in ("strategies", "seeds")},
        {name: _pair(name, laid(keys, own.get(name, {}))) for name, keys in pairs.items()},
        {name: _candidate(name, keys) for name, keys in content["candidates"].items()},
        seeds(build({"seeds": content.get("seeds", 3)})),
        typed,
        mixtures.shares,
    )


def shipped_plans() -> dict[str, Path]:
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml")) if path.stem in LAB}


def _pair(name: str, keys: Mapping[str, Any]) -> Pair:
    if keys.get("half") not in HALVES or not keys.get("kind"):
        raise BadOption(f"pair {name} must say half: a or b, and kind: WORD; found {dict(keys)}")
    rest = {key: value for key, value in keys.items() if key not in ("half", "kind")}
    return Pair(str(name), str(keys["half"]), str(keys["kind"]), rest)


def _candidate(name: str, keys: Any) -> Candidate:
    if not isinstance(keys, Mapping) or "strategy" not in keys:
        raise BadOption(f"candidate {name} must say strategy: NAME; found {keys!r}")
    return Candidate(str(name), keys)
