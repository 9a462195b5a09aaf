"""Commands of keyshift that are interrupted again and again, go on, and are compared with undisturbed ones at the end.

A trial runs a command in a fresh copy of the same folder; each time that it is struck, the same command is started
again, until it ends. Its folder must then hold what that of the undisturbed run holds, to the bit but for times.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .injection import AWAY, DATA, FULL, LIMIT, TRACKER, Fault
from .server import End, Server, fresh
from .snapshot import broken, differences, snapshot
from .world import STORE, TRAIN, Case, make_world

SAID = 2000
"""Characters of what a command printed last, in reports."""
PRINTED = 8192
"""Bytes that a command may print, whatever the limit of its files."""
MOST = 12
"""Interruptions of one trial: then the command may end."""
ENDS = {
    "SIGKILL": (-9,),
    "SIGTERM": (-15, 130),
    "SIGINT": (130,),
    FULL: (0, 2),
    LIMIT: (2,),
    TRACKER: (0,),
    DATA: (0, 2),
}
"""With which status a command may end that was struck: 0 where it could do without what was gone."""


@dataclass
class Tally:
    """Of one command."""

    made: Counter[str] = field(default_factory=Counter)
    """Interruptions by kind."""
    ends: int = 0
    """Ends that were compared."""
    differed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Undisturbed:
    """How a command ends that nobody disturbs."""

    end: dict[str, str]
    seconds: float
    writes: int
    largest: int
    """Bytes of the largest file that it wrote."""


class Campaign:
    """At least `count` interruptions, drawn by `seed`, shared out over `cases`. Folders lie below `place`; that of a
    trial that ended otherwise is kept."""

    def __init__(
        self, place: Path, count: int, seed: int, say: Callable[[str], object], cases: tuple[Case, ...]
    ) -> None:
        self.place, self.count, self.say, self.cases = place, count, say, cases
        self.random = random.Random(seed)
        self.template, self.now = place / "template", place / "now"
        self.tallies = {case.name: Tally() for case in cases}

    def run(self) -> dict[str, Tally]:
        with Server() as self.server:
            self.prepare()
            shares = sum(case.share for case in self.cases)
            for case in self.cases:
                start, tally = time.monotonic(), self.tallies[case.name]
                wanted = -(-self.count * case.share // shares)
                expected = self.undisturbed(case)
                while sum(tally.made.values()) < wanted:
                    self.trial(case, expected, int(wanted - sum(tally.made.values())))
                made = ", ".join(f"{number} {kind}" for kind, number in tally.made.items())
                self.say(f"{case.name}: {made}; {tally.ends} ends compared, {time.monotonic() - start:.0f} s")
        return self.tallies

    def prepare(self) -> None:
        """The template: the user's files, a trained run, and an MLflow store without a run."""
        make_world(self.template)
        self.renew()
        done = self.server.run([*TRAIN, f"tracking={STORE}"], self.now)
        if done.status:
            raise RuntimeError(f"the run that others start from ended with {done.status}:\n{done.said}")
        shutil.copytree(self.now / "runs" / "one", self.template / "given")
        for name in (".mlflow-id", "mlflow.json"):
            (self.template / "given" / name).unlink()
        shutil.copytree(self.now / "tracker", self.template / "tracker")

    def renew(self) -> None:
        shutil.rmtree(self.now, ignore_errors=True)
        shutil.copytree(self.template, self.now)

    def undisturbed(self, case: Case) -> Undisturbed:
        """Twice from the server, once in a process of its own where the case says so; the two must agree."""
        ends = []
        for run in (fresh if case.fresh else self.server.run, self.server.run):
            self.renew()
            done = self.checked(case, run(case.words, self.now, exports=case.exports))
            for words in case.after:
                self.checked(case, self.server.run(words, self.now))
            ends.append(snapshot(self.now))
        self.compare(case, ends[0], [])
        written = ends[0].keys() - snapshot(self.template).keys()
        largest = max((self.now / name).stat().st_size for name in written)
        return Undisturbed(ends[0], done.seconds, done.writes, largest)

    def checked(self, case: Case, done: End) -> End:
        """Raises RuntimeError for a command that nobody disturbed and that did not end well."""
        if done.status:
            raise RuntimeError(f"{case.name}, undisturbed, ended with {done.status}:\n{done.said}")
        return done

    def trial(self, case: Case, expected: Undisturbed, most: int) -> None:
        """Strike a command up to `most` times, until it ends by itself; and compare."""
        self.renew()
        tally, history = self.tallies[case.name], list[str]()
        for number in range(min(most, MOST) + 1):
            fault = self.draw(case, expected) if number < min(most, MOST) else None  # at last nothing is in its way
            done = self.server.run(case.words, self.now, fault, case.exports)
            self.put_back()
            struck = fault is not None and (done.struck or (fault.kind == LIMIT and done.status))
            if fault is not None and struck:
                tally.made[fault.kind] += 1
                history.append(f"{fault.kind} {fault.after or fault.write:g}: {done.status}")
                self.judge(case, fault, done, history)
            elif done.status:
                tally.differed.append(f"it does not go on after {history}: {done.said[-SAID:]}")
                return
            if not done.status:
                break
        if history:
            for words in case.after:
                self.checked(case, self.server.run(words, self.now))
            tally.ends += 1
            self.compare(case, expected.end, history)

    def draw(self, case: Case, expected: Undisturbed) -> Fault:
        """A kind, and a moment of the undisturbed run: of the clock, or before one of its writes."""
        kind = self.random.choice(case.kinds)
        if kind == LIMIT:
            return Fault(kind, write=PRINTED + self.random.randrange(expected.largest))
        folder = {DATA: self.random.choice(case.data or ("",)), TRACKER: "tracker"}.get(kind, "")
        folder = str(self.now / folder) if folder else ""
        share = self.random.random() ** 2  # early ones more often: a command that goes on has less before it
        if kind == FULL or self.random.random() < 0.5:
            return Fault(kind, write=int(share * expected.writes), folder=folder)
        return Fault(kind, after=share * expected.seconds, folder=folder)

    def put_back(self) -> None:
        """What was away. A store that the mirror began meanwhile in its place is thrown away."""
        for away in self.now.glob(f"*{AWAY}"):
            place = away.with_name(away.name.removesuffix(AWAY))
            shutil.rmtree(place, ignore_errors=True)
            away.rename(place)

    def judge(self, case: Case, fault: Fault, done: End, history: list[str]) -> None:
        """What an interruption leaves: a status that is its own, one line instead of a traceback, whole files."""
        tally = self.tallies[case.name]
        lost = fault.kind == "SIGINT" and "Exception ignored in" in done.said  # Python could not raise it there
        if not lost and (done.status not in ENDS[fault.kind] or "Traceback" in done.said):
            tally.differed.append(f"{fault} ended with {done.status}: {done.said[-SAID:]}")
        tally.differed += [f"{name} is half written after {history}" for name in broken(self.now)]

    def compare(self, case: Case, expected: dict[str, str], history: list[str]) -> None:
        lost, differed = differences(expected, snapshot(self.now))
        tally = self.tallies[case.name]
        tally.lost += lost
        tally.differed += differed
        if lost or differed:
            kept = self.place / f"differed-{sum(len(one.differed) + len(one.lost) for one in self.tallies.values())}"
            shutil.copytree(self.now, kept)
            self.say(f"{case.name}: lost {lost}, differing {differed}, after {history}; kept in {kept}")
