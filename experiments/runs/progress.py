"""What a person sees while training: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from ...adapt.scoring.selection import Headline

Callback = Callable[[int, dict[str, float]], None]
"""Called with (updates done, metrics) after each update; metrics are empty but when something was logged."""
PLAIN_EVERY = 10.0
"""Seconds between plain lines."""
NARROWEST = 12
"""Of a table's column, its border with it."""
UNLIMITED = 100_000
"""Columns of what is no terminal."""


def counted(count: int, what: str = "picture") -> str:
    """1 picture, 2 pictures."""
    return f"{count} {what}{'s'[: count != 1]}"


class Reporter:
    """Prints for a person; of several processes the first speaks."""

    def __init__(self) -> None:
        self.console = Console(quiet=int(os.environ.get("RANK", "0")) > 0)
        self.live = sys.stdout.isatty()

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, steps: int) -> Iterator[Callback]:
        """Show a stage of `steps` updates through the callback that this gives."""
        with self.board() as board:
            yield board.open(name, steps)

    @contextmanager
    def board(self) -> Iterator[Board]:
        """Shows stages that go on at once."""
        if not self.live:
            yield Board(self.say)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            yield Board(self.say, progress)

    @contextmanager
    def counted(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar on a terminal, now and then a line elsewhere; gives what is called with the number done."""
        printed = time.monotonic()
        with self.stage(name, total) as step:

            def count(done: int) -> None:
                nonlocal printed
                step(done, {})
                if not self.live and time.monotonic() - printed > PLAIN_EVERY:
                    printed = time.monotonic()
                    self.say(f"{name}: {done:,}/{total:,}")

            yield count

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        """Nothing of it is cut. Names in the first column of a terminal's table are not broken either: where they leave
        no room, each row is a line. Elsewhere lines are as long as they need to be."""
        table = Table(title=escape(title), title_justify="left")
        for i, column in enumerate(columns):
            table.add_column(escape(column), justify="right" if i else "left", overflow="fold", no_wrap=i == 0)
        for row in rows:
            table.add_row(*map(escape, row))
        names = max((len(row[0]) for row in rows), default=0)
        if not self.live:
            Console(width=UNLIMITED, quiet=self.console.quiet).print(table)
        elif names + 3 + NARROWEST * (len(columns) - 1) <= self.console.width:
            self.console.print(table)
        else:
            self.say(title)
            for name, *values in rows:
                self.say(f"{name}: {', '.join(f'{c} {v}' for c, v in zip(columns[1:], values, strict=True))}")


class Board:
    """Stages by name: a bar each on a terminal, elsewhere lines."""

    def __init__(self, say: Callable[[str], None], progress: Progress | None = None) -> None:
        self.say, self.progress, self.bars = say, progress, dict[Callback, TaskID]()

    def open(self, name: str, steps: int) -> Callback:
        if self.progress is None:
            return self._lines(name, steps)
        progress, bar = self.progress, self.progress.add_task(name, total=steps, text="")

        def step(done: int, metrics: dict[str, float]) -> None:
            progress.update(bar, completed=done)
            if metrics:
                progress.update(bar, text=_brief(metrics))

        self.bars[step] = bar
        return step

    def close(self, stage: Callback) -> None:
        """Take away the bar of a stage, which `open` gave."""
        if self.progress is not None:
            self.progress.remove_task(self.bars.pop(stage))

    def _lines(self, name: str, steps: int) -> Callback:
        printed = time.monotonic()

        def step(done: int, metrics: dict[str, float]) -> None:
            nonlocal printed
            if metrics and (done == steps or time.monotonic() - printed > PLAIN_EVERY):
                printed = time.monotonic()
                left = (steps - done) * metrics.get("seconds/iteration", 0.0)
                self.say(f"{name}: {done}/{steps}  {_brief(metrics)}  {left:.0f} s left")

        return step


def _brief(metrics: dict[str, float]) -> str:
    losses = [value for name, value in metrics.items() if name.startswith("loss/")]
    loss = f"loss {sum(losses):.3f}  " if losses else ""
    rate = 1 / metrics["seconds/iteration"] if metrics.get("seconds/iteration") else 0.0
    headline = Headline.among(metrics, "source/")
    score = f"  source {headline.bare(metrics[f'source/{headline.key}'])}" if headline else ""
    return f"{loss}{rate:.1f} it/s{score}"
