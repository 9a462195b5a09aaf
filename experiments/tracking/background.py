"""MLflow kept up to date while a run is going on, by a thread that imports mlflow when there is something to mirror."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from shlex import quote as quoted

from .records import TrackingError

OFF = ("off", "none")


def default_uri(runs_folder: Path) -> str:
    """The embedded SQLite store beside the runs: runs/mlflow.db, artifacts in runs/mlartifacts."""
    return f"sqlite:///{Path(runs_folder).resolve() / 'mlflow.db'}"


class Mirror:
    """Calls `sync(folder, uri)` from a daemon thread; nothing that goes wrong there reaches the training.

    After a failure one line is printed by `say`, once; later calls of `notify` try again, at most every `wait` seconds.
    With uri "off" nothing happens at all.
    """

    def __init__(
        self, folder: Path, uri: str | None = None, say: Callable[[str], object] = print, wait: float = 30.0
    ) -> None:
        self._name = quoted(str(folder))
        self._folder, self.uri, self._say, self._wait = Path(folder), uri or "", say, wait
        self._wake, self._closing, self._said, self._retry_at = threading.Event(), False, False, 0.0
        self.error: Exception | None = None
        self._thread: threading.Thread | None = None
        if self.uri.lower() not in OFF:
            self._thread = threading.Thread(target=self._work, name="keyshift-mlflow", daemon=True)
            self._thread.start()

    def notify(self) -> None:
        """There is something new in the folder. Returns at once; calls during a sync become one more sync."""
        self._wake.set()

    def close(self, timeout: float = 30.0) -> bool:
        """One last sync. True when the mirror is complete; waits no longer than `timeout` seconds."""
        if self._thread is None:
            return True
        self._closing = True
        self._wake.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._complain(f"the MLflow mirror is not complete after {timeout:g} s; run `keyshift sync {self._name}`")
            return False
        return self.error is None

    def _work(self) -> None:
        closing = False
        while not closing:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing
            if closing or time.monotonic() >= self._retry_at:
                self._try(live=not closing)

    def _try(self, live: bool) -> None:
        try:
            from .mirror import sync

            sync(self._folder, self.uri or None, live=live)
            self.error = None
        except Exception as error:  # whatever it is, training goes on
            self.error, self._retry_at = error, time.monotonic() + self._wait
            remedy = "" if isinstance(error, TrackingError) else f"; run `keyshift sync {self._name}` later"
            self._complain(f"{error}{remedy} (training goes on)")

    def _complain(self, text: str) -> None:
        if not self._said:
            self._said = True
            self._say(" ".join(text.split()))
