"""Many jobs at once: which is done when, what is done again, and what a user sees of it. Who does them is a crew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Protocol, Self

from ...adapt.trainer import Interrupted, interruptible
from .job import Job
from .progress import Callback, Reporter
from .worker import Failed, Lost, Message, Said, Step

RETRIES = 3
"""How often a job is done again after its worker is gone."""
TICK = 0.5
"""Seconds for which messages are waited for."""


class Crew(Protocol):
    """Workers. Left as a context manager, they are gone."""

    cpus: int
    """Threads of a job."""

    @property
    def room(self) -> bool:
        """Whether one more job can be given to them."""

    def start(self, job: Job) -> None:
        """Begin it, or go on with it from its checkpoint."""

    def messages(self, wait: float) -> Iterable[tuple[Job, Message]]:
        """What workers sent; waits so many seconds for some. The last of a job is Done, Failed or Lost."""

    def stop(self) -> None:
        """Ask them to write their checkpoints and to end: each job is lost then."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def crew_of(
    jobs: int | None, address: str | None, cpus: int | None, gpus: float | None, reporter: Reporter
) -> Crew | None:
    """That of `--jobs` processes of this machine, or of a Ray cluster at an address; None where runs are made one after
    another. Raises ValueError for what does not go together."""
    for name, value in {"--jobs": jobs, "--cpus": cpus}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} {value}: one at least")
    if gpus is not None and not 0 < gpus <= 1:
        raise ValueError(f"--gpus {gpus:g}: a run has one GPU or a share of one, such as 0.5")
    if jobs is not None and address is not None:
        raise ValueError("--jobs and --ray: runs are made by processes of this machine, or by a Ray cluster")
    if address is not None:
        from .cluster import Cluster

        return Cluster(address, reporter, cpus or 1, gpus)
    if jobs is not None and jobs > 1:
        from .processes import Processes

        return Processes(jobs, cpus, gpus)
    if gpus is not None:
        raise ValueError("--gpus is of runs that are made at once: say --jobs N or --ray ADDRESS too")
    return None


class Many:
    """Does `jobs` by a crew. `seen` is called where a job's folder holds something new, `ended` where it is done.

    A job waits for the pretraining that it needs. One whose worker is gone is done again, from its checkpoint. One that
    fails is said, and the others go on; `failed` counts those.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        crew: Crew,
        reporter: Reporter,
        seen: Callable[[Job], None],
        ended: Callable[[Job], None],
    ) -> None:
        self.waiting, self.running, self.total = list(jobs), dict[str, Job](), len(jobs)
        self.crew, self.reporter, self.seen, self.ended = crew, reporter, seen, ended
        self.tries, self.failed = Counter[str](), 0
        several = len({job.config["name"] for job in jobs}) > 1
        self.names = {job.folder: f"{job.config['name']} {job.title}" if several else job.title for job in jobs}
        self.bars = dict[str, Callback]()

    def do(self) -> None:
        """Raises Interrupted after Ctrl-C or SIGTERM, once the workers have written their checkpoints."""
        stopping = False
        with interruptible() as interrupted, self.crew, self.reporter.board() as self.board:
            self.reporter.say(str(self.crew))
            everything = self.board.open("runs", self.total)
            while self.running or (self.waiting and not stopping):
                if interrupted and not stopping:
                    stopping = True
                    self.reporter.say("stopping: checkpoints are written")
                    self.crew.stop()
                if not stopping:
                    self.start()
                for job, message in self.crew.messages(TICK):
                    self.take(job, message, stopping)
                everything(self.total - len(self.waiting) - len(self.running), {})
        if self.waiting:
            raise Interrupted("stopped, checkpoints are written")

    def start(self) -> None:
        """Begin the first jobs that can begin, as far as there is room."""
        before = {job.folder for job in [*self.waiting, *self.running.values()]}
        for job in [job for job in self.waiting if job.after not in before]:
            if not self.crew.room:
                break
            self.waiting.remove(job)
            self.running[job.folder] = job
            self.crew.start(job)

    def take(self, job: Job, message: Message, stopping: bool) -> None:
        name = self.names[job.folder]
        if isinstance(message, Step):
            self.show(job, message)
        elif isinstance(message, Said):
            self.reporter.say(message.text if name in message.text else f"{name}: {message.text}")
        else:
            del self.running[job.folder]
            self.close(job)
            if isinstance(message, Lost):
                self.lost(job, message.why, stopping)
            elif isinstance(message, Failed):
                self.fail(job, message.text)
            else:
                self.say(name)
                self.ended(job)

    def lost(self, job: Job, why: str, stopping: bool) -> None:
        self.tries[job.folder] += 1
        if stopping:
            self.waiting.append(job)
        elif self.tries[job.folder] > RETRIES:
            self.fail(job, f"{why}, {self.tries[job.folder]} times")
        else:
            self.waiting.insert(0, job)
            self.reporter.say(f"{self.names[job.folder]}: {why}; it goes on from its checkpoint")

    def fail(self, job: Job, text: str) -> None:
        """Leave a job, and those that need it."""
        self.failed += 1
        self.say(f"failed: {self.names[job.folder]}: {text}")
        for needing in [one for one in self.waiting if one.after == job.folder]:
            self.waiting.remove(needing)
            self.fail(needing, "its pretraining failed")

    def say(self, text: str) -> None:
        done = self.total - len(self.waiting) - len(self.running)
        self.reporter.say(f"[{done}/{self.total}] {text}")

    def show(self, job: Job, step: Step) -> None:
        if job.folder not in self.bars:
            self.bars[job.folder] = self.board.open(self.names[job.folder], step.steps)
        self.bars[job.folder](step.done, step.metrics)
        if step.metrics:
            self.seen(job)

    def close(self, job: Job) -> None:
        if job.folder in self.bars:
            self.board.close(self.bars.pop(job.folder))
