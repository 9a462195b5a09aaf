"""`keyshift options`: every option, from the dataclasses that own them; docs/options.md is what this writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...adapt.strategies import STRATEGIES
from ...datasets.catalog import DATASETS
from ...datasets.options import listed
from ...models.saved import MODELS
from ..config import Settings
from ..runs.progress import Reporter

COLUMNS = ["option", "default", "values", "meaning"]
Table = tuple[str, list[tuple[str, str, str, str]]]


def tables(names: Sequence[str] = ()) -> Iterator[Table]:
    """(title, rows of option, default, limits and meaning) of the run and of everything that can be chosen by name, or
    of `names` alone. Raises ValueError for a name that nothing has."""
    groups = (("model", MODELS), ("strategy", STRATEGIES), ("dataset", DATASETS))
    known = {"run", *(name for _, registry in groups for name in registry)}
    foreign = [name for name in names if name not in known]
    if foreign:
        raise ValueError(f"nothing is called {foreign[0]!r}; known: {', '.join(sorted(known))}")
    if not names or "run" in names:
        yield "run", list(listed(Settings))
    for group, registry in groups:
        alike: dict[tuple[tuple[str, str, str, str], ...], list[str]] = {}
        for name, entry in registry.items():
            if not names or name in names:
                alike.setdefault(tuple(listed(entry.Options)), []).append(name)
        for rows, same in alike.items():
            yield f"{group} {', '.join(same)}", list(rows)


def print_options(names: Sequence[str], reporter: Reporter) -> None:
    for title, rows in tables(names):
        if rows:
            reporter.table(title, COLUMNS, [list(row) for row in rows])
        else:
            reporter.say(f"{title}: no options")


def markdown() -> str:
    """docs/options.md."""
    parts = [
        "# Options\n\nWritten by `keyshift options --markdown`, from the code. In a YAML a run's options stand at the "
        "top, those of a system under `model:` beside its `name`, those of a dataset under `source:` and `target:` "
        "beside theirs, and those of a strategy under its name. On the command line: `model.name=a2j "
        "model.channels=64`.\n"
    ]
    for title, rows in tables():
        parts.append(f"\n## {title}\n")
        lines = ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in rows]
        parts.append("\n".join(["| option | default | values | meaning |", "| --- | --- | --- | --- |", *lines]))
        if not rows:
            parts[-1] = "No options."
    return "\n".join(parts) + "\n"


def help_text() -> str:
    """All of it as plain lines, for `--help`."""
    lines = []
    for title, rows in tables():
        lines.append(f"\n{title}:" + ("" if rows else " no options"))
        for name, default, values, meaning in rows:
            lines.append(f"  {name}={default}  {meaning}" + (f" ({values})" if values else ""))
    return "\n".join(lines)
