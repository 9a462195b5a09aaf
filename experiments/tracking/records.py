"""What MLflow is told about a run folder: names, parameters, tags, numbers. Pure functions of the files in it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from ...adapt.scoring.selection import PCK, Headline
from .addresses import masked

KEY, PARAM, TAG, SOURCE = 250, 6000, 8000, 65535  # MLflow's limits, in characters
FILES = "files"
"""Under which identity.json says the sums of the files that options name, beside the datasets."""
GAINS = ("gain", "gain_over_bn_control", "gain_over_given", "gap_closed")
Tree = dict[str, Any]


class TrackingError(ValueError):
    """The store could not be brought up to date. The message says why and what to do."""


# Folders


def is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and (folder / "environment.json").is_file()


def children_of(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and is_run(child))


def parent_of(folder: Path) -> Path | None:
    return folder.parent if is_run(folder.parent) else None


def read_config(folder: Path) -> Tree:
    return yaml.safe_load((folder / "config.yaml").read_text())


def read_json(path: Path) -> Tree:
    """{} where there is no such file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise TrackingError(f"{path} is not valid JSON: {error}") from error


def lines(folder: Path) -> Iterator[Tree]:
    """The complete lines of metrics.jsonl; the last one may be under way."""
    path = folder / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if line.endswith("\n"):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise TrackingError(f"{path}, line {number}, is not valid JSON: {error}") from error


def span(folder: Path) -> tuple[float, float]:
    """First and last time in the metrics of a run, or of all the runs of a comparison; else when it was set up."""
    files = [folder, *children_of(folder)]
    times = [line["time"] for place in files for line in lines(place)] or [(folder / "config.yaml").stat().st_mtime]
    return min(times), max(times)


def is_comparison(folder: Path, config: Tree) -> bool:
    return "strategies" in config or bool(children_of(folder))


def run_name(folder: Path, config: Tree) -> str:
    """A comparison has its folder's name, a run is `regda seed 0`."""
    if is_comparison(folder, config):
        return folder.name
    return f"{config.get('strategy')} seed {config.get('seed', 0)}"


# Words


def params(config: Tree) -> dict[str, str]:
    """The config, flat: `model.backbone`; without passwords in addresses."""
    return {key[:KEY]: masked(_text(value))[:PARAM] for key, value in _flatten(config, ".").items()}


def tags(folder: Path, config: Tree, results: Tree) -> dict[str, str]:
    """`results` is the folder's own results.json, {} if it has none (yet)."""
    environment = read_json(folder / "environment.json")
    named = {f"environment.{key}": value for key, value in environment.items()}
    named |= {"keyshift.version": environment.get("keyshift"), "keyshift.path": folder}
    named |= {"mlflow.source.name": "keyshift", "mlflow.source.type": "LOCAL"}
    named |= {"mlflow.source.git.commit": environment.get("commit") or environment.get("git_commit")}
    if is_comparison(folder, config):
        named |= {"kind": "comparison", "mlflow.note.content": table(results)}
    else:
        named |= {"kind": "run", "strategy": config.get("strategy"), "seed": config.get("seed")}
    return {key[:KEY]: _text(value)[:TAG] for key, value in named.items() if value not in (None, "")}


def table(results: Tree) -> str:
    """The summary as Markdown: what MLflow shows on the comparison's page."""
    if not results.get("summary"):
        return ""
    headline = Headline.named(results.get("metric") or PCK.name)
    given = any(row.get("base") == "given" != name for name, row in results["summary"].items())
    heads = [
        "strategy",
        "target",
        "std",
        "gain [95 % interval]",
        *["gain is over"] * given,
        "gap closed [95 % interval]",
    ]
    rows = [f"Target test set, {headline.title}, mean over seeds.", "", f"| {' | '.join(heads)} |"]
    rows.append("".join(["|:--", *["|--:"] * (len(heads) - 1), "|"]))
    for name, row in results["summary"].items():
        target, show = row.get("target") or {}, headline.show
        cells = [_shown(target.get("mean"), show), _shown(target.get("std"), show), _interval(row.get("gain"), show)]
        cells += [row.get("base") or "–"] * given
        cells.append(_interval(row.get("gap_closed"), PCK.show))  # a share, as PCK is
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _shown(value: float | None, show: Callable[[float], str]) -> str:
    return "–" if value is None else show(value)


def _interval(value: Tree | None, show: Callable[[float], str]) -> str:
    if not value or value.get("mean") is None:
        return "–"
    low, high = value.get("interval") or (None, None)
    return f"{show(value['mean'])} [{_shown(low, show)}, {_shown(high, show)}]"


def datasets(folder: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """(name, digest): (roles, all that names the data as JSON). One dataset in two roles comes once, with both; a run
    without a source has its roles not."""
    named: dict[tuple[str, str], tuple[str, str]] = {}
    for role, identity in read_json(folder / "identity.json").items():
        if identity is None or role == FILES:
            continue
        source = json.dumps(identity, sort_keys=True)
        key = (str(identity.get("name") or role), hashlib.sha256(source.encode()).hexdigest()[:16])
        roles = f"{named[key][0]}, {role}" if key in named else role
        named[key] = (roles, source[:SOURCE])
    return named


# Numbers


def result_metrics(result: Tree) -> Tree:
    """result.json without the single joints, which are in the file."""
    if not result:
        return {}
    final = {key: value for key, value in result.items() if key != "selected"}
    flat = _flatten({"final": final, "selected": result.get("selected") or {}}, "/")
    return {k: v for k, v in flat.items() if "/joints/" not in k and not re.match("selected/.*/groups/", k)}


def summary_metrics(results: Tree) -> Tree:
    """regda/target/mean, regda/target/std, regda/gain, regda/gain_lo, regda/gain_hi, regda/gap_closed, ..."""
    flat: Tree = {}
    for name, row in (results.get("summary") or {}).items():
        flat |= {f"{name}/target/{key}": value for key, value in (row.get("target") or {}).items()}
        for rule, value in (row.get("selected") or {}).items():
            flat |= {f"{name}/selected/{rule}/{key}": number for key, number in value.items()}
        for key in GAINS:
            value = row.get(key) or {}
            low, high = value.get("interval") or (None, None)
            flat |= {f"{name}/{key}": value.get("mean"), f"{name}/{key}_lo": low, f"{name}/{key}_hi": high}
    return flat


def gain_metrics(results: Tree, config: Tree) -> Tree:
    """A child run carries what its strategy gained in the comparison."""
    row = (results.get("summary") or {}).get(config.get("strategy")) or {}
    return {key: (row.get(key) or {}).get("mean") for key in GAINS}


def _flatten(tree: Tree, separator: str) -> Tree:
    flat: Tree = {}
    for key, value in tree.items():
        inner = _flatten(value, separator) if isinstance(value, dict) and value else None
        flat |= {str(key): value} if inner is None else {f"{key}{separator}{k}": v for k, v in inner.items()}
    return flat


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str).strip('"')


def metric_key(name: str) -> str:
    """MLflow allows letters, digits and `_-. :/`."""
    return re.sub(r"[^\w\-. :/]", "_", name).strip("/")[:KEY]


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
