"""MLflow: a mirror of the run folders, never the truth.

A run folder on disk holds everything. `sync(folder)` brings an MLflow store up to date with it, as often as one likes:
during training (background.py does), after a crash, after days without a server. A comparison is a parent run; its
strategies and seeds are its children.

How points never appear twice. `mlflow.json` keeps, for each metric, the last step that the store holds; only later
steps are sent, because a resumed run writes the same steps again with other times. Before sending, the file says
`"sending": true`; if that is still there at the next call, something died in between, and the store is asked what it
has. Which MLflow run belongs to a folder is said by the tag `keyshift.folder`: a random id, written to `.mlflow-id` in
the folder before the run is created.

What is mirrored is decided in `records.py`. This is the only file that imports mlflow (1 to 3 seconds, so import it
where it is needed).
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote as quoted
from typing import IO, Any
from urllib.parse import quote, unquote

# All of this is read by mlflow when it is imported, or at each request.
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # its default is 7, with minutes of back-off
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # eight processes less under `mlflow ui`
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # no warning where git is not installed

import mlflow.onnx
import mlflow.store.tracking.dbmodels.models  # noqa: F401  (its mappers are configured below)
import sqlalchemy
import sqlalchemy.orm
import yaml
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from sqlalchemy.exc import SQLAlchemyError

from ...datasets.reading.files import write_json, write_text
from . import records as tracked
from .addresses import HTTP, masked, refuse_secret, without_secret
from .background import OFF, default_uri
from .records import TrackingError

for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.ERROR)  # "Creating initial database tables", one line a migration
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # the traceback of what is raised and said here

# mlflow 3.17 uses a loader that SQLAlchemy 2.1 deprecates. The filter stays: a thread may import this, and one that put
# the filters back would undo what others do to them meanwhile.
warnings.filterwarnings("ignore", category=DeprecationWarning, module=re.escape(__name__))
sqlalchemy.orm.configure_mappers()

STATE, IDENTITY = "mlflow.json", ".mlflow-id"
FILES = ("report.html", "results.json", "result.json", "config.yaml", "environment.json", "identity.json")
POINTS, TEXTS = 1000, 100  # the most that one request may carry


@dataclass
class Synced:
    """What one `sync` did; `points` and `files` count new ones, children included."""

    uri: str
    run_id: str | None = None
    points: int = 0
    files: int = 0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{self.points} new points and {self.files} new files in {masked(self.uri)}"
        return "; ".join([text, *self.notes])


def store_uri(uri: str) -> str:
    """The address as MLflow is to be given it: SQLAlchemy ends a path at a question mark, and decodes it as a URL's
    since 2.1. Named with its driver where it is encoded, or MLflow makes a folder of the encoded name."""
    database = _sqlite_file(uri)
    if database is None or sqlalchemy.make_url(uri).database == str(database):
        return uri
    encoded = f"sqlite+pysqlite:///{quote(str(database))}"
    if sqlalchemy.make_url(encoded).database == str(database):
        return encoded
    return f"sqlite+pysqlite:///file:{quote(str(database))}?uri=true"


def sync(folder: Path, uri: str | None = None, *, live: bool | None = None) -> Synced:
    """Bring MLflow up to date with a run folder, or with a comparison folder and all of its runs.

    `uri` is any MLflow tracking URI, or "off"; without it the store that the folder was mirrored to before, else
    `default_uri` beside it. `live` sets the status of runs that have no result yet: True for running, False for killed,
    None to leave it alone. Raises TrackingError.
    """
    folder = Path(folder).resolve()
    if not (folder / "config.yaml").is_file():
        raise TrackingError(f"{folder} is not a run folder: it has no config.yaml")
    refuse_secret(uri)
    uri = _absolute(uri or _remembered_uri(folder))
    if uri in OFF:
        return Synced(uri)
    try:
        with _locked(folder / IDENTITY):
            state = tracked.read_json(folder / STATE)
            if state.get("uri") != uri:  # kept before anything can fail, for a later sync without a URI
                write_json(folder / STATE, {"uri": uri})
        client = _connect(uri)
        parent, done = tracked.parent_of(folder), Synced(uri)
        parent_id = _run_id_of(client, parent, uri) if parent else None
        done.run_id = _sync_one(client, folder, uri, parent_id, live, done)
        for child in tracked.children_of(folder):
            _sync_one(client, child, uri, done.run_id, live, done)
        return done
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        raise TrackingError(_explain(error, uri, folder)) from error


def _explain(error: Exception, uri: str, folder: Path) -> str:
    """One line for the user: not reached, or reached and refused; without passwords."""
    if isinstance(error, OSError) and error.errno and error.filename:
        return masked(f"{error.filename}: {error.strerror}; mend that, then run `keyshift sync {quoted(str(folder))}`")
    reason = " ".join(str(error).split())
    if _sqlite_file(uri):
        reason = re.split(r" ?(?:\(Background|\[SQL)", re.sub(r"\(sqlite3\.\w+\) ", "", reason))[0]
        what, remedy = "cannot write the MLflow store at", "see that its folder is there, can be written, and has room,"
    elif "API request to" in reason or isinstance(error, (ConnectionError, SQLAlchemyError)):
        kernel = re.search(r"\[Errno -?\d+\] ([\w ]+)|Read timed out", reason)  # buried in three exceptions' texts
        what, reason, remedy = "cannot reach the MLflow server at", kernel[0] if kernel else reason, "start it"
    else:
        what, remedy = "error from MLflow at", "mend it"
    if re.search(r"\b40[13]\b|Unauthorized|Forbidden", reason):
        remedy = HTTP
    text = (
        f"{what} {uri}: {reason[:300]}; {remedy} or pass tracking=URI, then run `keyshift sync {quoted(str(folder))}`"
    )
    return masked(text)


# Folders, state and locks


def _remembered_uri(folder: Path) -> str:
    """The store that the folder was mirrored to, else its comparison's, else the default one beside them."""
    parent = tracked.parent_of(folder)
    for place in filter(None, (folder, parent)):
        uri = tracked.read_json(place / STATE).get("uri")
        database = _sqlite_file(uri or "")
        if uri and (database is None or database.parent.is_dir()):  # else the folder of runs was moved
            return without_secret(uri)
    return default_uri((parent or folder).parent)


def _sqlite_file(uri: str) -> Path | None:
    """The file of an embedded store, whose path stands in the address as it is."""
    whole = uri.startswith("sqlite:///") and not uri.startswith("sqlite:///file:")
    return Path(uri.removeprefix("sqlite:///")) if whole else None


def _absolute(uri: str) -> str:
    """A relative SQLite path would mean another file in another working directory. One that is encoded as a URL, as
    `mlflow ui` takes it, is decoded where no such folder is there."""
    database = _sqlite_file(uri)
    if database and not database.parent.is_dir() and Path(unquote(str(database))).parent.is_dir():
        database = Path(unquote(str(database)))
    return f"sqlite:///{database.resolve()}" if database else uri.lower() if uri.lower() in OFF else uri


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    """One holder at a time among all threads and processes; freed when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield file
        finally:
            file.flush()
            fcntl.flock(file, fcntl.LOCK_UN)  # closing would not do: a forked loader worker may hold a copy


def _store_lock(uri: str) -> AbstractContextManager[object]:
    """An embedded store is written by one process at a time: tables are created once, no "database is locked"."""
    database = _sqlite_file(uri)
    return _locked(database.with_name(f".{database.name}.lock")) if database else nullcontext()


def _connect(uri: str) -> MlflowClient:
    database = _sqlite_file(uri)
    with _store_lock(uri):
        if database and not (database.is_file() and database.stat().st_size):
            _create(database)
        return MlflowClient(tracking_uri=store_uri(uri), registry_uri=store_uri(uri))


def _create(database: Path) -> None:
    """MLflow's tables, all of them or no file: a store whose making was cut short cannot be mended."""
    part = database.with_name(f".{database.name}.part")
    beside = [part.with_name(part.name + ending) for ending in ("", "-journal", "-wal", "-shm")]
    try:
        for path in beside:
            path.unlink(missing_ok=True)
        MlflowClient(tracking_uri=store_uri(f"sqlite:///{part}")).search_experiments(max_results=1)
        os.replace(part, database)
    finally:
        for path in beside:
            path.unlink(missing_ok=True)


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
        write_json(self.folder / STATE, self.state)


@contextmanager
def _opened(client: MlflowClient, folder: Path, uri: str, parent_id: str | None) -> Iterator[_Job]:
    """Lock a folder and find its run, or create it."""
    with _locked(folder / IDENTITY) as file, _store_lock(uri):
        _forget_secrets(folder)
        config, state, identity = tracked.read_config(folder), tracked.read_json(folder / STATE), _identity(file)
        if state.get("uri") != uri:
            state = {"uri": uri}
        run = _remembered_run(client, state) or _tagged_run(client, folder, config, identity, uri, parent_id)
        if run.info.run_id != state.get("run_id"):  # new, or the state was lost: ask the store what it holds
            state = {"uri": uri, "experiment_id": run.info.experiment_id, "run_id": run.info.run_id}
        job = _Job(client, folder, config, state, run)
        job.save()
        yield job


def _forget_secrets(folder: Path) -> None:
    """The configuration is uploaded; version 0.2 wrote passwords of the address into it."""
    config = tracked.read_config(folder)
    address = config.get("tracking")
    if isinstance(address, str) and without_secret(address) != address:
        text = yaml.safe_dump(config | {"tracking": without_secret(address)}, sort_keys=False)
        write_text(folder / "config.yaml", text)


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
    runs = client.search_runs([experiment], query)
    if not runs:
        start = int(tracked.span(folder)[0] * 1000)
        client.create_run(experiment, start, {"keyshift.folder": identity}, tracked.run_name(folder, config))
        runs = client.search_runs([experiment], query)
    for twin in runs[1:]:  # a request that was answered too late is sent twice by mlflow
        client.delete_run(twin.info.run_id)
    return runs[0]


def _experiment(client: MlflowClient, name: str, uri: str, folder: Path) -> str:
    """Id of the experiment of that name. Without a server its artifacts go beside the runs, not to ./mlruns."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        root = (_sqlite_file(uri) or folder).parent / "mlartifacts"
        try:
            place = None if uri.startswith("http") else root.as_uri()
            return client.create_experiment(name, place, {"mlflow.experimentKind": "custom_model_development"})
        except MlflowException as error:
            experiment = client.get_experiment_by_name(name)  # another process was quicker
            if experiment is None:
                raise error
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(experiment.experiment_id)
    return experiment.experiment_id


# What is mirrored


def _sync_one(
    client: MlflowClient, folder: Path, uri: str, parent_id: str | None, live: bool | None, done: Synced
) -> str:
    """Mirror one folder without its children, add to `done`, and give the run's id."""
    with _opened(client, folder, uri, parent_id) as job:
        places = [folder / "result.json", folder / "results.json"]
        places += [folder.parent / "results.json"] if parent_id else []
        result, own, shared = [*(tracked.read_json(place) for place in places), {}][:3]
        _describe(job, parent_id, own)
        _log_datasets(job)
        done.points += _log_points(job)
        values = tracked.result_metrics(result) | tracked.summary_metrics(own)
        values |= tracked.gain_metrics(shared, job.config)
        _log_final(job, values, max((place.stat().st_mtime for place in places if place.exists()), default=0))
        done.files += _log_files(job)
        done.notes += _log_model(job)
        _set_status(job, live, finished=bool(result or own or shared) or (folder / "adapt.json").exists())
        return job.id


def _describe(job: _Job, parent_id: str | None, results: dict[str, Any]) -> None:
    """Name, parameters and tags. A stored parameter cannot change: what a resumed run changed becomes a tag."""
    known, params = job.run.data, tracked.params(job.config)
    tags = tracked.tags(job.folder, job.config, results) | ({"mlflow.parentRunId": parent_id} if parent_id else {})
    tags |= {f"changed.{key}": value for key, value in params.items() if known.params.get(key, value) != value}
    new_params = [Param(key, value) for key, value in params.items() if key not in known.params]
    for some in _batches(new_params, TEXTS):
        job.client.log_batch(job.id, params=some)
    for some in _batches([RunTag(*tag) for tag in tags.items() if known.tags.get(tag[0]) != tag[1]], TEXTS):
        job.client.log_batch(job.id, tags=some)
    name = tracked.run_name(job.folder, job.config)
    if job.state.get("name") != name:  # only then: a name given in MLflow's pages stays
        job.client.update_run(job.id, name=name)
        job.save(name=name)


def _log_datasets(job: _Job) -> None:
    known = {
        (one.dataset.name, one.dataset.digest) for one in (job.run.inputs.dataset_inputs if job.run.inputs else [])
    }
    new = [
        DatasetInput(Dataset(*key, "keyshift", source), [InputTag("mlflow.data.context", roles)])
        for key, (roles, source) in tracked.datasets(job.folder).items()
        if key not in known
    ]
    if new:
        job.client.log_inputs(job.id, new)


def _log_points(job: _Job) -> int:
    """Send the steps that the store does not hold yet; how many points that was."""
    if job.state.get("steps") is None or job.state.get("sending"):
        history = {key: job.client.get_metric_history(job.id, key) for key in job.run.data.metrics}
        job.state["steps"] = {key: max(point.step for point in points) for key, points in history.items()}
    steps, points = dict(job.state["steps"]), []
    for line in tracked.lines(job.folder):
        for name, value in line["metrics"].items():
            key = tracked.metric_key(name)
            if tracked.is_number(value) and line["step"] > steps.get(key, -1):
                steps[key] = line["step"]
                points.append(Metric(key, float(value), int(line["time"] * 1000), line["step"]))
    if points:
        job.save(sending=True)
        for some in _batches(points, POINTS):
            job.client.log_batch(job.id, metrics=some)
    job.save(steps=steps, sending=False)
    return len(points)


def _log_final(job: _Job, values: dict[str, Any], moment: float) -> None:
    """Numbers without a step, where they differ from the stored ones: calling again adds nothing."""
    numbers = {tracked.metric_key(name): float(value) for name, value in values.items() if tracked.is_number(value)}
    known, at = job.run.data.metrics, int(moment * 1000)
    changed = [Metric(key, value, at, 0) for key, value in numbers.items() if known.get(key) != value]
    for some in _batches(changed, POINTS):
        job.client.log_batch(job.id, metrics=some)


def _log_files(job: _Job) -> int:
    """Upload pictures, tables and settings that are new or were written again; how many."""
    names = [name for name in FILES if (job.folder / name).is_file()]
    names += sorted(path.name for path in job.folder.glob("*.png"))
    count = 0
    for name in names:
        stamp = _stamp(job.folder / name)
        if job.state.setdefault("files", {}).get(name) != stamp:
            job.client.log_artifact(job.id, str(job.folder / name))
            job.state["files"][name] = stamp
            job.save()
            count += 1
    return count


def _log_model(job: _Job) -> list[str]:
    """model.onnx as an MLflow model (no pickle). Gives notes: why it was left out, if it was."""
    path = job.folder / "model.onnx"
    if not path.is_file() or job.state.get("model") == (stamp := _stamp(path)):
        return []
    try:
        import onnx
    except ImportError:
        return [f"{path} was not logged: onnx is not installed (pip install 'keyshift[export]')"]
    experiment, digest = job.run.info.experiment_id, hashlib.sha256(path.read_bytes()).hexdigest()
    name, query = f"{job.config.get('strategy')}-seed{job.config.get('seed')}", f"source_run_id = '{job.id}'"
    made = [one for one in job.client.search_logged_models([experiment], query) if one.tags.get("sha256") == digest]
    model = made[0] if made else job.client.create_logged_model(experiment, name, job.id, {"sha256": digest})
    if model.status != "READY":
        _upload_model(job, model, onnx.load(path))
    job.save(model=stamp)
    return []


def _upload_model(job: _Job, model: Any, network: Any) -> None:
    """What mlflow.onnx.log_model does, through the client instead of mlflow's global state."""
    import onnx

    with warnings.catch_warnings():  # mlflow.onnx needs it, and importing it warns of mlflow's own type hints
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
    described = Model(model.artifact_location, job.id, signature=_signature(network), model_id=model.model_id)
    described.metadata = tracked.read_json(job.folder / "model.json")
    with tempfile.TemporaryDirectory() as temporary:
        place, needs = Path(temporary, "model"), [f"onnx=={onnx.__version__}", "onnxruntime"]
        mlflow.onnx.save_model(network, place, mlflow_model=described, pip_requirements=needs)
        job.client.log_model_artifacts(model.model_id, str(place))
    job.client.finalize_logged_model(model.model_id, "READY")
    job.client.log_outputs(job.id, [LoggedModelOutput(model.model_id, step=0)])


def _signature(network: Any) -> ModelSignature:
    """image (-1, 3, H, W) uint8 in; keypoints (-1, K, 2) and confidence (-1, K) out, as the graph says."""
    from onnx.helper import tensor_dtype_to_np_dtype

    def schema(values: Any) -> Schema:
        types = [(value.name, value.type.tensor_type) for value in values]
        shapes = [[-1] + [size.dim_value or -1 for size in tensor.shape.dim[1:]] for _, tensor in types]
        dtypes = [tensor_dtype_to_np_dtype(tensor.elem_type) for _, tensor in types]
        return Schema([TensorSpec(d, s, name) for (name, _), d, s in zip(types, dtypes, shapes, strict=True)])

    return ModelSignature(schema(network.graph.input), schema(network.graph.output))


def _set_status(job: _Job, live: bool | None, *, finished: bool) -> None:
    now = job.run.info.status
    wanted = "FINISHED" if finished else {True: "RUNNING", False: "KILLED", None: now}[live]
    if wanted == now:
        return
    if wanted == "RUNNING":
        job.client.update_run(job.id, wanted)
    else:
        job.client.set_terminated(job.id, wanted, max(int(tracked.span(job.folder)[1] * 1000), job.run.info.start_time))


def _stamp(path: Path) -> list[int]:
    return [path.stat().st_mtime_ns, path.stat().st_size]


def _batches(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
