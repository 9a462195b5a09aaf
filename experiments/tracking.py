"""MLflow: a mirror of the run folders, never the truth.

A run folder on disk holds everything. `sync(folder)` brings an MLflow store up to date with it, as often as one likes:
during training, after a crash, after days without a server. `Mirror` does that from a background thread while a run is
going on. A comparison is a parent run; its strategies and seeds (and the shared pretraining) are its children.

How points never appear twice. `mlflow.json` keeps, for each metric, the last step that the store holds; only later
steps are sent, because a resumed run writes the same steps again with other times. Before sending, the file says
`"sending": true`; if that is still there at the next call, something died in between, and the store is asked what it
has. Which MLflow run belongs to a folder is said by the tag `keyshift.folder`: a random id, written to `.mlflow-id` in
the folder before the run is created.

This is the only file that imports mlflow (1 to 3 seconds: import it where it is needed).
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import logging
import math
import os
import re
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

# All of this is read by mlflow when it is imported, or at each request.
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # its default is 7, with minutes of back-off
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # no warning where git is not installed

import mlflow.onnx
import mlflow.store.db.utils  # sets up alembic's logging, which is made silent below
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from sqlalchemy.exc import SQLAlchemyError

for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.ERROR)  # "Creating initial database tables", one line a migration

OFF = ("off", "none")
STATE = "mlflow.json"
FILES = ("report.html", "results.json", "result.json", "config.yaml", "environment.json", "identity.json")
POINTS, PARAMS = 1000, 100  # the most that one request may carry
KEY, PARAM, TAG = 250, 6000, 8000  # characters


class TrackingError(RuntimeError):
    """The store could not be brought up to date. The message says why and what to do."""


@dataclass
class Synced:
    """What one `sync` did; `points` and `files` count new ones, children included."""

    uri: str
    run_id: str | None = None
    points: int = 0
    files: int = 0
    notes: list[str] = field(default_factory=list)


def default_uri(runs_folder: Path) -> str:
    """The embedded SQLite store beside the runs: runs/mlflow.db, artifacts in runs/mlartifacts."""
    return f"sqlite:///{Path(runs_folder).resolve() / 'mlflow.db'}"


def ui_command(uri: str, port: int = 5000) -> list[str]:
    """The command that shows a store in the browser. Run it with this process's environment: telemetry is off there."""
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", uri]
    database = _sqlite_file(uri)
    return command + (["--artifacts-destination", str(database.parent / "mlartifacts")] if database else [])


def sync(folder: Path, uri: str | None = None, *, live: bool | None = None) -> Synced:
    """Bring MLflow up to date with a run folder, or with a comparison folder and all of its runs.

    `uri` is any MLflow tracking URI, or "off"; without it the store that the folder was mirrored to before, else
    `default_uri` beside it. `live` sets the status of a run that has no result yet: True for running, False for killed,
    None to leave it alone. Raises TrackingError.
    """
    folder = Path(folder).resolve()
    if not (folder / "config.yaml").is_file():
        raise TrackingError(f"{folder} is not a run folder: it has no config.yaml")
    uri = _absolute(uri or _remembered_uri(folder))
    if uri in OFF:
        return Synced(uri)
    try:
        with _locked(folder / ".mlflow-id"):
            state = _read_json(folder / STATE)
            if state.get("uri") != uri:  # kept before anything can fail, for a later sync without a URI
                _write_json(folder / STATE, {"uri": uri})
        client = _connect(uri)
        parent, done = _parent_of(folder), Synced(uri)
        parent_id = _run_id_of(client, parent, uri) if parent else None
        done.run_id = _sync_one(client, folder, uri, parent_id, live, done)
        for child in _children_of(folder):
            _sync_one(client, child, uri, done.run_id, None, done)
        return done
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(_explain(error, uri, folder)) from error


def _explain(error: Exception, uri: str, folder: Path) -> str:
    """One line for the user: unreachable, or reached and refused; without passwords."""
    reason = " ".join(str(error).split())
    lost = "API request to" in reason or isinstance(error, (ConnectionError, SQLAlchemyError))
    said = re.sub(r".*(?:Caused by|exception)\s*", "", reason)[:200].strip(" '\"()") if lost else reason[:300]
    what, remedy = ("cannot reach the MLflow server at", "start it") if lost else ("error from MLflow at", "mend it")
    return _no_password(f"{what} {uri}: {said}; {remedy} or pass tracking=URI, then run `keyshift sync {folder}`")


def _no_password(text: str) -> str:
    return re.sub(r"(://[^/:@\s]+):[^@\s/]+@", r"\1:***@", text)


# Folders, state and locks


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and (folder / "environment.json").is_file()


def _children_of(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and _is_run(child))


def _parent_of(folder: Path) -> Path | None:
    return folder.parent if _is_run(folder.parent) else None


def _remembered_uri(folder: Path) -> str:
    """The store that the folder was mirrored to, else its comparison's, else the default one beside them."""
    parent = _parent_of(folder)
    for place in filter(None, (folder, parent)):
        uri = _read_json(place / STATE).get("uri")
        database = _sqlite_file(uri or "")
        if uri and (database is None or database.parent.is_dir()):  # else the folder of runs was moved
            return uri
    return default_uri((parent or folder).parent)


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _absolute(uri: str) -> str:
    """A relative SQLite path would mean another file in another working directory."""
    database = _sqlite_file(uri)
    return f"sqlite:///{database.resolve()}" if database else uri.lower() if uri.lower() in OFF else uri


def _read_json(path: Path) -> dict[str, Any]:
    """{} where there is no such file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise TrackingError(f"{path} is not valid JSON: {error}") from error


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def _locked(path: Path | None) -> Iterator[IO[str] | None]:
    """One holder at a time among all threads and processes; freed when the holder dies."""
    if path is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield file
        finally:
            file.flush()
            fcntl.flock(file, fcntl.LOCK_UN)  # closing would not do: a forked loader worker may hold a copy


def _store_lock(uri: str) -> Path | None:
    """An embedded store is written by one process at a time: tables are created once, no "database is locked"."""
    database = _sqlite_file(uri)
    return database.with_name(f".{database.name}.lock") if database else None


@functools.lru_cache(maxsize=1)
def _known_client(uri: str, made: float) -> MlflowClient:
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _connect(uri: str) -> MlflowClient:
    with _locked(_store_lock(uri)):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


# The run of a folder


@dataclass
class _Job:
    """One folder under its lock, with its MLflow run as the store has it now."""

    client: MlflowClient
    folder: Path
    config: dict[str, Any]
    state: dict[str, Any]
    run: Run

    @property
    def id(self) -> str:
        return self.run.info.run_id

    def save(self, **change: Any) -> None:
        self.state |= change
        _write_json(self.folder / STATE, self.state)


@contextmanager
def _opened(client: MlflowClient, folder: Path, uri: str, parent_id: str | None) -> Iterator[_Job]:
    """Lock a folder and find its run, or create it."""
    with _locked(folder / ".mlflow-id") as file, _locked(_store_lock(uri)):
        config = yaml.safe_load((folder / "config.yaml").read_text())
        state, identity = _read_json(folder / STATE), _identity(file)
        if state.get("uri") != uri:
            state = {"uri": uri}
        run = _remembered_run(client, state) or _tagged_run(client, folder, config, identity, uri, parent_id)
        if run.info.run_id != state.get("run_id"):  # new, or the state was lost: ask the store what it holds
            state = {"uri": uri, "experiment_id": run.info.experiment_id, "run_id": run.info.run_id}
        job = _Job(client, folder, config, state, run)
        job.save()
        yield job


def _run_id_of(client: MlflowClient, folder: Path, uri: str) -> str:
    with _opened(client, folder, uri, None) as job:
        return job.id


def _identity(file: IO[str]) -> str:
    """The random id in the locked file, written on the first call."""
    file.seek(0)
    identity = file.read().strip()
    if len(identity) != 32:
        identity = uuid.uuid4().hex
        file.truncate(0)
        file.write(identity)
        file.flush()
        os.fsync(file.fileno())
    return identity


def _remembered_run(client: MlflowClient, state: dict[str, Any]) -> Run | None:
    """None if there is none, or if it was deleted in MLflow (then it is made again)."""
    if "run_id" not in state:
        return None
    try:
        run = client.get_run(state["run_id"])
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def _tagged_run(
    client: MlflowClient, folder: Path, config: dict[str, Any], identity: str, uri: str, parent_id: str | None
) -> Run:
    if parent_id:  # MLflow nests runs of one experiment only
        experiment = client.get_run(parent_id).info.experiment_id
    else:
        experiment = _experiment(client, str(config.get("name") or folder.name), uri, folder)
    query = f"tags.`keyshift.folder` = '{identity}'"
    found = client.search_runs([experiment], query)
    if not found:
        start = int(next((line["time"] for line in _lines(folder)), (folder / "config.yaml").stat().st_mtime) * 1000)
        client.create_run(experiment, start, {"keyshift.folder": identity}, _run_name(folder, config))
        found = client.search_runs([experiment], query)
    for twin in found[1:]:  # a request that was answered too late is sent twice by mlflow
        client.delete_run(twin.info.run_id)
    return found[0]


def _experiment(client: MlflowClient, name: str, uri: str, folder: Path) -> str:
    """Id of the experiment of that name. Without a server its artifacts go beside the runs, not to ./mlruns."""
    found = client.get_experiment_by_name(name)
    if found is None:
        root = (_sqlite_file(uri) or folder).parent / "mlartifacts"
        try:
            return client.create_experiment(name, None if uri.startswith("http") else root.as_uri())
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _run_name(folder: Path, config: dict[str, Any]) -> str:
    if _children_of(folder) or "strategy" not in config:
        return folder.name
    kind = "pretrain" if folder.name.startswith("pretrain") else config["strategy"]
    return f"{kind} seed {config.get('seed', 0)}"


# What is mirrored


def _sync_one(
    client: MlflowClient, folder: Path, uri: str, parent_id: str | None, live: bool | None, done: Synced
) -> str:
    with _opened(client, folder, uri, parent_id) as job:
        summary = _read_json(folder / "results.json") or _read_json(folder.parent / "results.json")
        _describe(job, parent_id)
        _log_datasets(job)
        done.points += _log_points(job)
        _log_final(job)
        done.files += _log_files(job)
        done.notes += _log_model(job)
        _set_status(job, bool(summary), live)
        return job.id


def _describe(job: _Job, parent_id: str | None) -> None:
    pass
