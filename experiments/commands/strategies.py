"""`keyshift strategies`: what there is to adapt with; docs/strategies.md is what this writes from the registry."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence

from ...adapt.strategies import STRATEGIES
from ...adapt.strategy import KINDS, Strategy
from ...datasets.options import choose, listed
from ..runs.progress import Reporter
from .options import COLUMNS

HEADER = """# Strategies

Written by `keyshift strategies --markdown`, from the code. A comparison takes names, kinds and `all`:
`keyshift compare demo strategies=[source_only,aligned,regda,oracle]`; options of a strategy stand under its name
(`regda.margin=2`). Cost is that of a step as a multiple of a supervised one, as `keyshift bench strategies` measured; –
is not measured. A name in the table leads to the paper, the formulas, what differs from the reference and why, and the
strategy's options.
"""


def print_strategies(names: Sequence[str], reporter: Reporter) -> None:
    """A table of all strategies, or of `names` (names or kinds) what their pages say. Raises ValueError for others."""
    for name in names:
        choose("strategy", name, [*STRATEGIES, *KINDS])
    if not names:
        rows = [[name, one.kind, needs(one), cost(one), one.about] for name, one in STRATEGIES.items()]
        reporter.table("strategies", ["name", "kind", "needs", "cost", "about"], rows)
    for name, strategy in STRATEGIES.items():
        if name in names or strategy.kind in names:
            reporter.say(page(name, strategy))


def needs(strategy: type[Strategy]) -> str:
    """What it is given, in words."""
    given = [part for part, there in parts(strategy).items() if there]
    return ", ".join(given) or "nothing"


def parts(strategy: type[Strategy]) -> dict[str, bool]:
    return {
        "a trained model": "source" not in strategy.needs and not strategy.labelled_target,
        "labelled source": "source" in strategy.needs,
        "target with labels": strategy.labelled_target,
        "target": "target" in strategy.needs and not strategy.labelled_target,
        strategy.besides: bool(strategy.besides),
    }


def cost(strategy: type[Strategy]) -> str:
    """Of a step, as a multiple of a supervised one."""
    return f"{strategy.cost:.1f}" if strategy.cost else "–"


def markdown() -> str:
    """docs/strategies.md."""
    return "\n".join([HEADER, *overview(), *(chapter(kind) for kind in KINDS)]).rstrip() + "\n"


def overview() -> Iterator[str]:
    yield "| name | kind | needs | cost | about |\n| --- | --- | --- | --- | --- |"
    for name, one in STRATEGIES.items():
        yield f"| [{name}](#{name}) | {one.kind} | {needs(one)} | {cost(one)} | {one.about} |"


def chapter(kind: str) -> str:
    """The pages of a kind's strategies; of one that has none, nothing."""
    pages = [page(name, one) for name, one in STRATEGIES.items() if one.kind == kind]
    return f"\n## {kind}: {KINDS[kind]}\n\n" + "\n".join(pages) if pages else ""


def page(name: str, strategy: type[Strategy]) -> str:
    """A strategy's page in Markdown: what its file says of it, what it needs, and its own options."""
    own = list(listed(strategy.Options))
    lines = ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in own]
    table = ["| " + " | ".join(COLUMNS) + " |", "| --- | --- | --- | --- |", *lines] if own else []
    said = fenced(inspect.cleandoc(sys.modules[strategy.__module__].__doc__ or ""))
    more = inspect.cleandoc(strategy.__doc__ or "")
    facts = f"**{strategy.title}**: {strategy.about}. Needs {needs(strategy)}. Cost {cost(strategy)}."
    facts += "" if strategy.prefers == Strategy.prefers else f" From given weights `batch_norm={strategy.prefers}`."
    return "\n\n".join([f"### {name}", facts, *([said] if said else []), more, "\n".join(table)]).rstrip() + "\n"


def fenced(text: str) -> str:
    """Markdown of a docstring, in which formulas, lines that are indented by four or more, stand as they are written:
    a block of them is fenced, in its list item where the block is deeper."""

    def block(lines: re.Match[str]) -> str:
        depth = min(len(line) - len(line.lstrip()) for line in lines[0].splitlines()) - 4
        return textwrap.indent(f"```text\n{textwrap.dedent(lines[0]).rstrip()}\n```", " " * depth) + "\n"

    return re.sub(r"(?m)^(?: {4,}\S.*(?:\n|\Z))+", block, text).rstrip()
