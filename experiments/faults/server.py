"""A process that has imported everything and forks a child for each command: a start takes milliseconds, not seconds.

A request is a line of JSON on standard input, the answer one on standard output. No thread of ours runs when it forks,
and its children compute with one: results are to the bit those of a process of their own with one, which the campaign
looks at.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import redirect_stderr, suppress
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Self

from .injection import Fault, Seen, arm, strike

POLL = 0.002
"""Seconds between two looks at a child."""
LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT
"""Whether a child has ended, which stays to be waited for."""


@dataclass(frozen=True)
class End:
    """How a command ended."""

    status: int
    """Its exit status, minus the signal's number where one ended it."""
    seconds: float
    writes: int
    """How often it was about to open a file for writing, to rename, to make or to remove one, below its folder."""
    struck: bool
    """Whether the fault came before the end."""
    said: str
    """What it printed."""


class Server:
    """Starts commands in children of a process of its own; used by `with`, at whose end that ends."""

    def __enter__(self) -> Self:
        words = [sys.executable, "-m", __name__]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=single_threaded()
        )
        self.answer()  # it has imported everything
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def run(self, words: list[str], folder: Path, fault: Fault | None = None, exports: bool = True) -> End:
        """A command of keyshift in `folder`, disturbed by `fault`; without `exports` as where ONNX is not installed."""
        assert self.process.stdin
        request = {"words": words, "folder": str(folder), "fault": fault and asdict(fault), "exports": exports}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return End(**self.answer())

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that starts the commands has ended with {self.process.wait()}")
        return dict(json.loads(line))


def single_threaded() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "KEYSHIFT_DEBUG": ""}


def fresh(words: list[str], folder: Path, exports: bool = True) -> End:
    """The same command in a process of its own, undisturbed."""
    start = time.monotonic()
    code = "" if exports else "sys.modules['onnx'] = None; "
    code = f"import sys; {code}from keyshift.experiments.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=folder, env=single_threaded(), capture_output=True, text=True)
    return End(done.returncode, time.monotonic() - start, 0, False, done.stdout + done.stderr)


def serve() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    prepare()
    print("{}", file=answers, flush=True)
    shared = mmap.mmap(-1, Seen.size)
    for line in sys.stdin:
        request = json.loads(line)
        fault = Fault(**request["fault"]) if request["fault"] else None
        end = attended(request["words"], request["folder"], fault, request["exports"], Seen(shared))
        print(json.dumps(end), file=answers, flush=True)


def attended(words: list[str], folder: str, fault: Fault | None, exports: bool, seen: Seen) -> dict[str, Any]:
    """Fork a child for a command, strike it where it is time to, and wait for its end."""
    seen.clear()
    start, status = time.monotonic(), None
    with tempfile.TemporaryFile() as printed:
        child = os.fork()
        if not child:
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
            os.chdir(folder)
            if not exports:
                sys.modules["onnx"] = None  # type: ignore[assignment]
            perform(words, fault, seen)
        begun = None
        while status is None:
            if begun is None and seen.ready:
                begun = time.monotonic()
            due = fault and fault.after is not None and begun and time.monotonic() - begun >= fault.after
            late = seen.over or seen.struck
            if fault and due and not late and os.waitid(os.P_PID, child, LOOK) is None:
                seen.struck = True
                strike(fault, child)  # it is not waited for yet, so that its number is still its own
            done, code = os.waitpid(child, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if done else None
            time.sleep(POLL)
        printed.seek(0)
        said = printed.read().decode(errors="replace")
    seconds = time.monotonic() - (begun or start)
    return {"status": status, "seconds": seconds, "writes": seen.writes, "struck": seen.struck, "said": said}


def perform(words: list[str], fault: Fault | None, seen: Seen) -> None:
    """In the child: the command, and the end."""
    from ..cli import main

    status = 1
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it starts in the background ignore it
    try:
        arm(fault, seen, Path.cwd())
        status = main(words)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        seen.over = True
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                status = 1
        os._exit(status)


def prepare() -> None:
    """Import what the commands import, and let the exporter make what it makes once."""
    import torch

    torch.set_num_threads(1)
    from ...models.export import Decoded, examples, traced
    from ...models.systems.pose_resnet import PoseResNet
    from ..commands import adapt, adapt_online, data_prepare, export, predict, predict_chain, train  # noqa: F401
    from ..runs import comparison  # noqa: F401
    from ..tracking import mirror  # noqa: F401

    if "tqdm" in sys.modules:  # of a library
        sys.modules["tqdm"].tqdm.monitor_interval = 0  # no thread

    small = PoseResNet(2, PoseResNet.Options(backbone="small", input_size=[32, 32], heatmap_size=[8, 8], channels=8))
    with warnings.catch_warnings(), redirect_stderr(StringIO()), suppress(ImportError):
        warnings.simplefilter("ignore")
        decoded = Decoded(small.eval())
        program = traced(decoded, next(examples(small, (32, 32), (2,))))
        torch.onnx.export(program, dynamo=True, verbose=False)


if __name__ == "__main__":
    serve()
