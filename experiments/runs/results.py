"""What a comparison ends in: `results.json`, a stable format, the intervals in it, and its table on a terminal.

{"schema": 1, "metric": "pck@0.1", "mm" or "ap",
 "strategies": {NAME: {SEED: {"target": {"pck" or "mm", "epe", "auc", "groups", "joints"}, "source": {the same} or null,
                              "selected": {RULE: {"step", "target"}}, "seconds_per_iteration",
                              "guard": {"step", "back", "measure", "start", "value", "bound", "said", ...} or null,
                              "batch_norm": {"batch_norm", "batch_norm_share", "evidence", "why"} or null}}},
 "summary": {NAME: {"target": {"mean", "std"}, "base": "source_only" or "given",
                    "gain": {"mean", "interval": [lo, hi]},
                    "gain_over_bn_control": {the same}, "gain_over_given": {the same}, "gap_closed": {the same},
                    "selected": {RULE: {"target", "gain", "gap_closed"}}}}}

Numbers are fractions, EPE is in file pixels; null where undefined. `gain` is over the strategy's `base`: source_only;
but the given model of a strategy that is source-free, and of all where there is no source_only. `gap_closed` is the
gain as a share of the oracle's over the same base, null where the oracle's own interval includes zero. Intervals are
95 %, by a bootstrap over seeds and blocks of frames, paired: all strategies are resampled alike. Files of version 0.1.0
have no "base" and no "gain_over_given"; all gains in them are over source_only. "source" is null of a run that opened
no source. "guard" says how a run left the road (adapt/guard.py), "batch_norm" what batch_norm=auto chose.

Of depth the metric is "mm": targets, groups and joints are mean errors in mm, where lower is better; beside them stand
"map", the share within 100 mm averaged over the joints, and an "auc" of worst joints (see `scores`). A gain is positive
where the strategy is better under either metric: what it adds to PCK, what it takes off the error.

Of people in space "mm" is MPJPE counted from the root, of systems that answer with the root alone MRPE; beside it stand
those of "pa_mm", "n_mm", "pck_150mm", "auc_150mm", "protocol1_mm", "protocol2_mm", "mrpe", "mrpe_x", "mrpe_y",
"mrpe_z" and "absolute_mm" that the system's answers have (adapt/scoring/space_scores.py). Earlier files lack them.

Of systems that find people in pictures the metric is "ap", the mean over OKS thresholds, and beside it stand COCO's
"ap50", "ap75", "ap_medium", "ap_large", the same of recall as "ar...", and where pictures have a crowdIndex CrowdPose's
"ap_easy", "ap_medium_crowd" and "ap_hard" (adapt/scoring/oks_ap.py); "oks" says in words which fall-offs and areas were
taken. Groups and joints are of "pck". AP is no mean over keypoints: each of RESAMPLES_OF_AP draws makes it anew of the
predictions in the drawn blocks, for each seed. "missed" and "invented" count labelled people whom the model did not see
and people whom nobody labelled. PCK takes the joints of missed people for misses; EPE is that of the people who were
seen. Files of earlier versions have the metric "pck" of such systems, and the counts where they are not 0.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...adapt.scoring.people_ap import COCO
from ...adapt.scoring.predictions import Predictions
from ...adapt.scoring.resampling import Ratios, Runs, runs_of
from ...adapt.scoring.selection import PCK, RULES, Headline
from ...adapt.scoring.space_scores import SHOWN, Named
from ...adapt.strategies import STRATEGIES
from ...adapt.strategy import source_free
from .progress import Reporter, counted

RESAMPLES = 4000
RESAMPLES_OF_AP = 1000
"""AP is made anew of all predictions in each."""
ABSENT = "–"
BESIDE: dict[str, Mapping[str, Named]] = {"People in space": SHOWN, "People in pictures": COCO}
"""Tables of what scores say beside the headline."""


def base_of(name: str, names: Collection[str]) -> str:
    """What the gain of a strategy is over, in a comparison of `names`: source_only or given."""
    kind = STRATEGIES.get(name)
    if name == "given" or (kind is not None and source_free(kind)):
        return "given"
    return "given" if "given" in names and "source_only" not in names else "source_only"


def collect(folder: Path, strategies: list[str], seeds: list[int], threshold: float) -> dict[str, Any]:
    """The results of the finished runs `folder/STRATEGY-seedN`."""
    runs, headline = runs_in(folder, strategies, seeds, threshold)
    folders = {name: {seed: folder / f"{name}-seed{seed}" for seed in seeds} for name in strategies}
    results = {
        n: {str(s): json.loads((r / "result.json").read_text()) for s, r in of.items()} for n, of in folders.items()
    }
    summary = summarized(runs, headline)
    for name, rules in by_rule(results, headline).items():
        summary[name]["selected"] = rules
    return {"schema": 1, "metric": headline.name, "strategies": results, "summary": summary}


def runs_in(
    folder: Path, strategies: Sequence[str], seeds: Sequence[int], threshold: float
) -> tuple[dict[str, Runs], Headline]:
    """Each strategy's finished runs, and what they are judged by."""
    runs: dict[str, Runs] = {}
    headlines: dict[Headline, None] = {}
    for name in strategies:
        loaded = [Predictions.load(folder / f"{name}-seed{seed}" / "predictions.npz") for seed in seeds]
        headlines |= dict.fromkeys(own.headline(threshold) for own in loaded)
        if len(headlines) > 1:
            raise ValueError(
                f"{folder}: some runs are of an earlier keyshift, which judged people in pictures by PCK and kept less "
                "of them; run the comparison again in another folder"
            )
        runs[name] = runs_of(loaded, next(iter(headlines)))
    return runs, next(iter(headlines), PCK)


def against(folder: Path, results: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """By how much strategy `name` is better than each of the others of a finished comparison, {"mean", "interval"}, as
    `summarize` has gains."""
    runs, threshold = results["strategies"], Headline.named(results["metric"]).threshold
    judged, headline = runs_in(folder, list(runs), [int(seed) for seed in runs[name]], threshold or 0.0)

    def over(other: str) -> dict[str, Any]:
        gain: dict[str, Any] = summarized({"given": judged[other], "ours": judged[name]}, headline)["ours"]
        return gain["gain_over_given"]

    return {other: over(other) for other in runs if other != name}


def behind(results: Mapping[str, Any], name: str) -> float | None:
    """By how much the last checkpoint of a strategy's worst run is behind the best that it had, by target labels; None
    where no run says both."""
    headline, off = Headline.named(results["metric"]), []
    for run in results["strategies"][name].values():
        last, best = (run["selected"].get(rule) for rule in ("last", "oracle"))
        if last and best:
            off.append(headline.improvement(best["target"][headline.key], last["target"][headline.key]) + 0.0)  # no -0
    return max(off, default=None)


def guarded(runs: dict[str, Any]) -> list[str]:
    """What the guards of runs {NAME: {SEED: result}} say, a sentence for each run that left the road."""
    left = {f"{n} seed {seed}": (run or {}).get("guard") for n, of in runs.items() for seed, run in of.items()}
    return [f"{name}: {guard['said']}" for name, guard in left.items() if guard]


def by_rule(results: dict[str, Any], headline: Headline) -> dict[str, dict[str, Any]]:
    """For each strategy and selection rule the means over seeds of target, gain and share of the gap closed, every
    strategy's checkpoint being chosen by that rule."""

    def mean(name: str, rule: str) -> float | None:
        chosen = [run["selected"].get(rule) for run in results.get(name, {}).values()]
        values = [run["target"][headline.key] for run in chosen if run is not None]
        return float(np.mean(values)) if values and None not in values else None

    def entry(name: str, rule: str) -> dict[str, float | None]:
        reference = base_of(name, results)
        own, base, top = (mean(n, rule) for n in (name, reference, "oracle"))
        gain = None if own is None or base is None or name == reference else headline.improvement(own, base)
        gap = None if base is None or top is None or name == "oracle" else headline.improvement(top, base)
        return {"target": own, "gain": gain, "gap_closed": gain / gap if gain is not None and gap and gap > 0 else None}

    return {n: {rule: entry(n, rule) for rule in RULES} for n in results}


def summarize(
    totals: dict[str, np.ndarray],
    counts: np.ndarray | dict[str, np.ndarray],
    headline: Headline = PCK,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """`summarized` from a headline's totals (seeds, blocks) of each strategy and counts: (blocks,) where they are the
    same for all runs, else each strategy's (seeds, blocks)."""
    by_name = counts if isinstance(counts, dict) else dict.fromkeys(totals, counts)
    runs = {name: Ratios(own, np.broadcast_to(by_name[name], own.shape)) for name, own in totals.items()}
    return summarized(runs, headline, resamples)


def summarized(runs: Mapping[str, Runs], headline: Headline, resamples: int | None = None) -> dict[str, Any]:
    """Means and intervals of each strategy's runs. All null where nothing counts, the target's test part having no
    labels."""
    resamples = resamples or (RESAMPLES_OF_AP if headline.key == "ap" else RESAMPLES)
    bases = {name: base_of(name, runs) for name in runs}
    if not any(own.counts for own in runs.values()):
        nothing = {key: _undefined() for key in ("gain", "gain_over_bn_control", "gain_over_given", "gap_closed")}
        return {n: {"target": {"mean": None, "std": None}, "base": bases[n]} | nothing for n in runs}
    seeds, blocks = next(iter(runs.values())).shape
    rng = np.random.default_rng(0)
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    drawn_blocks = rng.multinomial(blocks, np.full(blocks, 1 / blocks), resamples)
    drawn = {name: own.drawn(drawn_seeds, drawn_blocks) for name, own in runs.items()}
    means = {name: own.means() for name, own in runs.items()}
    better = headline.improvement

    single = seeds * blocks < 2  # nothing to resample

    def interval(values: np.ndarray) -> list[float | None]:
        defined = values[~np.isnan(values)]  # all, but where a draw holds missed people alone
        if single or not len(defined):
            return [None, None]
        low, high = np.quantile(defined, [0.025, 0.975])
        return [float(low), float(high)]

    def gain(name: str, base: str) -> dict[str, Any]:
        if name == base or base not in means:
            return _undefined()
        own = better(means[name], means[base])
        return {"mean": _defined(np.mean(own)), "interval": interval(better(drawn[name], drawn[base]))}

    def over_control(name: str) -> dict[str, Any]:
        return _undefined() if name in ("source_only", "given") else gain(name, "bn_control")

    def closed(name: str, base: str) -> dict[str, Any]:
        if name in (base, "oracle") or not {base, "oracle"} <= set(means):
            return _undefined()
        gap = better(drawn["oracle"], drawn[base])
        low = interval(gap)[0]
        if low is None or not low > 0:
            return _undefined()
        share = np.mean(better(means[name], means[base])) / np.mean(better(means["oracle"], means[base]))
        return {"mean": _defined(share), "interval": interval(better(drawn[name], drawn[base]) / gap)}

    return {
        name: {
            "target": {"mean": _defined(value.mean()), "std": _defined(value.std(ddof=1)) if seeds > 1 else None},
            "base": bases[name],
            "gain": gain(name, bases[name]),
            "gain_over_bn_control": over_control(name),
            "gain_over_given": gain(name, "given"),
            "gap_closed": closed(name, bases[name]),
        }
        for name, value in means.items()
    }


def _defined(value: np.floating[Any]) -> float | None:
    return None if np.isnan(value) else float(value)


def _undefined() -> dict[str, Any]:
    return {"mean": None, "interval": [None, None]}


# On a terminal


def print_table(results: dict[str, Any], reporter: Reporter) -> None:
    """A row for each strategy, with the columns that the comparison has numbers for."""
    headline, summary = Headline.named(results["metric"]), results["summary"]
    runs = {name: list(results["strategies"][name].values()) for name in summary}
    bases = {name: row.get("base") or base_of(name, summary) for name, row in summary.items()}
    others = {base for name, base in bases.items() if name != base}
    columns = {"strategy": list(summary), "target": [_target(row["target"], headline) for row in summary.values()]}
    for what in ("missed", "invented"):
        people = {name: [(run.get("target") or {}).get(what) or 0 for run in own] for name, own in runs.items()}
        if headline.key == "ap" or any(map(any, people.values())):
            columns[what] = [f"{sum(values) / len(values):.1f}" for values in people.values()]
    source = {n: [run["source"][headline.key] for run in own if run.get("source")] for n, own in runs.items()}
    if any(source.values()):
        columns["source"] = [_mean(values, headline) for values in source.values()]
    of = " over given" if others == {"given"} else ""
    columns[f"gain{of} [95 %]"] = [_signed(row["gain"], headline) for row in summary.values()]
    if len(others) > 1:
        columns["is over"] = [ABSENT if row["gain"]["mean"] is None else bases[n] for n, row in summary.items()]
    for other in ("bn_control", "given"):
        if other in summary and not (other == "given" and of):
            columns[f"over {other}"] = [_signed(row.get(f"gain_over_{other}"), headline) for row in summary.values()]
    if "oracle" in summary:
        columns["gap closed"] = [_percent(row["gap_closed"]) for row in summary.values()]
    count = len(next(iter(runs.values())))
    title = f"{headline.heading}, {counted(count, 'seed')}"
    reporter.table(title, list(columns), [list(row) for row in zip(*columns.values(), strict=True)])
    targets = {name: [run.get("target") or {} for run in own] for name, own in runs.items()}
    for title, shown in tables_of(headline).items():
        means = means_of(targets, shown)
        if means:
            rows = [[name, *(shown[key].show(own[name]) for key, own in means.items())] for name in summary]
            reporter.table(f"{title.lower()}, target", ["strategy", *(shown[key].heading for key in means)], rows)
    if words := oks_of(results["strategies"]):
        reporter.say(f"OKS: {words}")


def oks_of(runs: Mapping[str, Mapping[str, Any]]) -> str | None:
    """How the likeness of people was measured in runs {NAME: {SEED: result}}, where they are judged by it."""
    said = [(run or {}).get("oks") for seeds in runs.values() for run in seeds.values()]
    return next((one for one in said if one), None)


def tables_of(headline: Headline) -> dict[str, Mapping[str, Named]]:
    """Of `BESIDE` those that say something beside a headline, PCK for one."""
    return {title: shown for title, shown in BESIDE.items() if headline.key not in shown}


def told(shown: Mapping[str, Named], scored: Sequence[Mapping[str, Any]]) -> dict[str, Named]:
    """Those of `shown` of which any of the scores has a number."""
    values = {key: [one.get(key) for one in scored] for key in shown}
    return {key: shown[key] for key, own in values.items() if any(v is not None and not np.isnan(v) for v in own)}


def means_of(
    scored: Mapping[str, Sequence[Mapping[str, Any]]], shown: Mapping[str, Named]
) -> dict[str, dict[str, float | None]]:
    """{score: {strategy: mean over its seeds}} of those that are `shown`, in that order, where any run has it."""
    values = {
        key: {name: [one[key] for one in seeds if one.get(key) is not None] for name, seeds in scored.items()}
        for key in shown
    }
    return {
        key: {name: sum(seeds) / len(seeds) if seeds else None for name, seeds in own.items()}
        for key, own in values.items()
        if any(own.values())
    }


def _target(target: dict[str, Any], headline: Headline) -> str:
    mean = "no labels" if target["mean"] is None else headline.bare(target["mean"])
    return mean if target["std"] is None else f"{mean} ± {headline.bare(target['std'])}"


def _mean(values: list[float | None], headline: Headline) -> str:
    known = [value for value in values if value is not None]
    return headline.bare(sum(known) / len(known)) if known else ABSENT


def _signed(value: dict[str, Any] | None, headline: Headline) -> str:
    if value is None or value["mean"] is None:
        return ABSENT
    mean, ends = headline.bare(value["mean"], sign=True), [end for end in value["interval"] if end is not None]
    return f"{mean} [{', '.join(headline.bare(end, sign=True) for end in ends)}]" if ends else mean


def _percent(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return ABSENT
    low, high = value["interval"]
    return f"{value['mean']:.0%} [{low:.0%}, {high:.0%}]"
