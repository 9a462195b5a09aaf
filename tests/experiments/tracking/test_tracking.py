from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from keyshift.experiments.tracking import mirror as tracking
from keyshift.experiments.tracking.background import Mirror, default_uri
from keyshift.experiments.tracking.mirror import MlflowClient, TrackingError, sync
from keyshift.experiments.tracking.records import table

PIXELS = b"\x89PNG\r\n\x1a\n"


def write_run(folder: Path, strategy: str = "regda", seed: int = 0, steps: int = 5, pck: float | None = 0.6) -> Path:
    """A run folder with one metrics line for each of the steps; unfinished if pck is None."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"name": "hands", "model": {"backbone": "resnet18", "size": [64, 64]}, "strategy": strategy, "seed": seed}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    environment = {"keyshift": "0.1.0", "torch": "2.11.0", "threads": 2, "commit": "abc123"}
    (folder / "environment.json").write_text(json.dumps(environment))
    identity = {"name": "rendered", "seed": seed, "count": 100}
    roles = {"source_train": identity, "target_test": {**identity, "style": "clutter"}}
    (folder / "identity.json").write_text(json.dumps(roles))
    append(folder, range(1, steps + 1))
    if pck is not None:
        score = {"pck": pck, "epe": 5.0, "groups": {"MCP": 0.7}, "joints": {"wrist": 0.8}}
        selected = {"last": {"step": steps, "target": score}}
        (folder / "result.json").write_text(json.dumps({"target": score, "source": score, "selected": selected}))
    return folder


def append(folder: Path, steps: range, start: float = 1763690000.123456) -> None:
    with open(folder / "metrics.jsonl", "a") as file:
        for step in steps:
            metrics = {"loss/supervised": 1 / step, "target/pck": step / 10, "undefined": None}
            if step % 2:
                metrics["target/pck@0.2"] = 0.5
            file.write(json.dumps({"step": step, "time": start + step, "metrics": metrics}) + "\n")


def write_comparison(folder: Path) -> Path:
    write_run(folder, pck=None, steps=0)
    (folder / "metrics.jsonl").unlink()
    write_run(folder / "bn_control-seed0", "bn_control", pck=None)
    scores = {"source_only": 0.5, "regda": 0.6, "oracle": 0.8}
    nothing = {"mean": None, "interval": [None, None]}
    summary: dict[str, Any] = {}
    for name, pck in scores.items():
        write_run(folder / f"{name}-seed0", name, pck=pck)
        gain = {"mean": pck - 0.5, "interval": [0.05, 0.15]} if name != "source_only" else nothing
        closed = {"mean": 0.333, "interval": [0.2, 0.4]} if name == "regda" else nothing
        summary[name] = {"target": {"mean": pck, "std": None}, "gain": gain, "gap_closed": closed}
    results = {"schema": 1, "metric": "pck@0.1", "strategies": {}, "summary": summary}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "report.html").write_text("<p>report</p>")
    (folder / "chart.png").write_bytes(PIXELS)
    return folder


def run_of(folder: Path, uri: str | None = None) -> Any:
    client = MlflowClient(uri or default_uri(folder.parent))
    return client.get_run(json.loads((folder / "mlflow.json").read_text())["run_id"])


def runs_in(uri: str) -> list[Any]:
    client = MlflowClient(uri)
    return client.search_runs([it.experiment_id for it in client.search_experiments()])


def steps_of(folder: Path, key: str = "loss/supervised", uri: str | None = None) -> list[int]:
    """The steps of all stored points, with repetitions."""
    run = run_of(folder, uri)
    history = MlflowClient(uri or default_uri(folder.parent)).get_metric_history(run.info.run_id, key)
    return sorted(point.step for point in history)


def artifacts_of(folder: Path) -> set[str]:
    run = run_of(folder)
    return {it.path for it in MlflowClient(default_uri(folder.parent)).list_artifacts(run.info.run_id)}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Creating MLflow's tables takes 2 s: done once, and copied."""
    runs = tmp_path_factory.mktemp("store")
    MlflowClient(default_uri(runs)).search_experiments()
    return runs / "mlflow.db"


@pytest.fixture
def runs(tmp_path: Path, empty_store: Path) -> Path:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


def test_run(runs: Path) -> None:
    folder = write_run(runs / "adapt")
    done = sync(folder)
    run = run_of(folder)
    assert (done.run_id, done.points, done.uri) == (run.info.run_id, 13, default_uri(runs))
    assert (run.info.run_name, run.info.status) == ("regda seed 0", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (1763690001123, 1763690005123)
    assert run.data.params == {"name": "hands", "model.backbone": "resnet18", "model.size": "[64, 64]"} | {
        "strategy": "regda",
        "seed": "0",
    }
    tags = {"strategy": "regda", "seed": "0", "keyshift.version": "0.1.0", "environment.threads": "2"}
    assert run.data.tags.items() >= (tags | {"mlflow.source.git.commit": "abc123", "kind": "run"}).items()
    assert steps_of(folder) == [1, 2, 3, 4, 5]
    assert steps_of(folder, "target/pck_0.2") == [1, 3, 5]  # MLflow refuses the @
    final = {"final/target/pck": 0.6, "final/target/epe": 5.0, "final/target/groups/MCP": 0.7, "final/source/pck": 0.6}
    assert run.data.metrics.items() >= (final | {"selected/last/target/pck": 0.6, "selected/last/step": 5}).items()
    assert not [key for key in run.data.metrics if "joints" in key or "undefined" in key]
    assert artifacts_of(folder) == {"config.yaml", "environment.json", "identity.json", "result.json"}
    inputs = {it.tags[0].value: it.dataset for it in run.inputs.dataset_inputs}
    assert set(inputs) == {"source_train", "target_test"}
    assert json.loads(inputs["target_test"].source)["style"] == "clutter"
    assert inputs["source_train"].digest != inputs["target_test"].digest


def test_a_run_without_a_source(runs: Path) -> None:
    """The configuration names a system with its own options, and the options of the strategy that is used."""
    folder = write_run(runs / "free", "alone")
    system = {"name": "a2j", "input_size": [64, 64], "weights": None, "depth": True}
    config = {"name": "hands", "source": None, "target": {"name": "hands.webcam", "train": 20}, "model": system}
    config |= {"strategy": "alone", "seed": 0, "alone": {"decay": 0.9, "parts": {"deep": {"er": 1e-4}}, "none": {}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "identity.json").write_text(json.dumps({"source_train": None, "target_test": {"name": "webcam"}}))
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"source": None}))
    sync(folder)
    run = run_of(folder)
    assert run.data.params == {
        **{"name": "hands", "source": "null", "target.name": "hands.webcam", "target.train": "20"},
        **{"model.name": "a2j", "model.input_size": "[64, 64]", "model.weights": "null", "model.depth": "true"},
        **{"strategy": "alone", "seed": "0", "alone.decay": "0.9", "alone.parts.deep.er": "0.0001", "alone.none": "{}"},
    }
    assert not [key for key in run.data.metrics if key.startswith("final/source")]
    assert [it.tags[0].value for it in run.inputs.dataset_inputs] == ["target_test"]


def test_gains_over_the_given_model(runs: Path) -> None:
    folder = write_comparison(runs / "compare")
    results = json.loads((folder / "results.json").read_text())
    for name, row in results["summary"].items():
        row["base"] = "given" if name == "regda" else "source_only"
        row["gain_over_given"] = {"mean": 0.25, "interval": [0.2, 0.3]}
    (folder / "results.json").write_text(json.dumps(results))
    sync(folder)
    parent = run_of(folder)
    note = parent.data.tags["mlflow.note.content"].splitlines()
    assert note[2] == "| strategy | target | std | gain [95 % interval] | gain is over | gap closed [95 % interval] |"
    assert note[2].count("|") == note[3].count("|")
    assert "| regda | 60.0 % | – | 10.0 % [5.0 %, 15.0 %] | given | 33.3 % [20.0 %, 40.0 %] |" in note
    assert parent.data.metrics.items() >= {"regda/gain_over_given": 0.25, "regda/gain_over_given_hi": 0.3}.items()
    assert run_of(folder / "regda-seed0", default_uri(runs)).data.metrics["gain_over_given"] == 0.25


def test_comparison(runs: Path) -> None:
    folder = write_comparison(runs / "compare")
    sync(folder)
    parent = run_of(folder)
    assert (parent.info.run_name, parent.info.status, parent.data.tags["kind"]) == ("compare", "FINISHED", "comparison")
    metrics = {"source_only/target/mean": 0.5, "oracle/target/mean": 0.8, "regda/gain_lo": 0.05, "regda/gain_hi": 0.15}
    assert parent.data.metrics.items() >= (metrics | {"regda/gap_closed": 0.333}).items()
    assert "source_only/gain" not in parent.data.metrics  # null
    assert "oracle/gap_closed" not in parent.data.metrics
    assert "| regda | 60.0 % | – | 10.0 % [5.0 %, 15.0 %]" in parent.data.tags["mlflow.note.content"]
    assert artifacts_of(folder) >= {"report.html", "results.json", "chart.png", "config.yaml"}
    children = [run for run in runs_in(default_uri(runs)) if run.info.run_id != parent.info.run_id]
    names = {"bn_control seed 0", "source_only seed 0", "regda seed 0", "oracle seed 0"}
    assert {run.info.run_name for run in children} == names
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in children} == {"FINISHED"}
    child = run_of(folder / "regda-seed0", default_uri(runs)).data.metrics
    assert child["gap_closed"] == 0.333
    assert child["gain"] == pytest.approx(0.1)


def test_child_first(runs: Path) -> None:
    """A child's own mirror comes before the comparison's, and finds the store of the comparison and its parent run."""
    folder = write_comparison(runs / "compare")
    sync(folder / "regda-seed0")
    assert {run.info.run_name for run in runs_in(default_uri(runs))} == {"compare", "regda seed 0"}
    sync(folder)
    assert len(runs_in(default_uri(runs))) == 5
    child, parent = run_of(folder / "regda-seed0", default_uri(runs)), run_of(folder)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_again_and_again(runs: Path) -> None:
    folder = write_comparison(runs / "compare")
    sync(folder)
    before = {run.info.run_id: (run.info.to_proto(), run.data.to_dictionary()) for run in runs_in(default_uri(runs))}
    again = sync(folder)
    assert (again.points, again.files) == (0, 0)
    for state in folder.rglob("mlflow.json"):
        state.unlink()
    assert sync(folder).points == 0
    after = {run.info.run_id: (run.info.to_proto(), run.data.to_dictionary()) for run in runs_in(default_uri(runs))}
    assert before == after
    assert steps_of(folder / "regda-seed0", uri=default_uri(runs)) == [1, 2, 3, 4, 5]


def test_result_written_again(runs: Path) -> None:
    """The same numbers in a newer file add nothing; a new number is the one that shows."""
    folder = write_run(runs / "adapt")
    sync(folder)
    os.utime(folder / "result.json", (1763790000, 1763790000))
    sync(folder)
    assert steps_of(folder, "final/target/pck") == [0]
    write_run(folder, steps=0, pck=0.4)
    sync(folder)
    assert run_of(folder).data.metrics["final/target/pck"] == 0.4


def test_growing_folder(runs: Path) -> None:
    folder = write_run(runs / "adapt", pck=None, steps=2)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "time": 1763690003, "met')
    assert sync(folder, live=True).points == 5
    assert run_of(folder).info.status == "RUNNING"
    sync(folder, live=False)
    assert run_of(folder).info.status == "KILLED"
    sync(folder)  # by hand, on a dead run
    assert run_of(folder).info.status == "KILLED"
    (folder / "metrics.jsonl").unlink()
    write_run(folder, steps=4)
    (folder / "chart.png").write_bytes(PIXELS)
    sync(folder)
    (folder / "chart.png").write_bytes(PIXELS + b"more")
    assert sync(folder).files == 1
    assert (steps_of(folder), run_of(folder).info.status) == ([1, 2, 3, 4], "FINISHED")


def test_resumed_run(runs: Path) -> None:
    """Cut back to step 2 and written again with other times."""
    folder = write_run(runs / "adapt", pck=None)
    sync(folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:2]))
    append(folder, range(3, 5), start=1763699999.0)
    assert sync(folder).points == 0
    append(folder, range(5, 8), start=1763699999.0)
    sync(folder)
    assert steps_of(folder) == [1, 2, 3, 4, 5, 6, 7]
    assert steps_of(folder, "target/pck_0.2") == [1, 3, 5, 7]


@pytest.mark.parametrize("resumed", [False, True])
def test_death_before_the_state_is_written(runs: Path, monkeypatch: pytest.MonkeyPatch, resumed: bool) -> None:
    folder = write_run(runs / "adapt")
    send = MlflowClient.log_batch

    def send_and_die(self: MlflowClient, run_id: str, metrics: Any = (), **rest: Any) -> None:
        send(self, run_id, metrics, **rest)
        if metrics:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", send_and_die)
        with pytest.raises(KeyboardInterrupt):
            sync(folder)
    if resumed:
        (folder / "metrics.jsonl").unlink()
        append(folder, range(1, 6), start=1763699999.0)
    assert sync(folder).points == 0
    assert steps_of(folder) == [1, 2, 3, 4, 5]


def test_death_after_create_run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(runs / "adapt")
    create = MlflowClient.create_run

    def create_twice_and_die(*arguments: Any) -> None:  # twice: mlflow repeats a request that timed out
        create(*arguments)
        create(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", create_twice_and_die)
        with pytest.raises(KeyboardInterrupt):
            sync(folder)
    sync(folder)
    assert len(runs_in(default_uri(runs))) == 1


def test_the_store_lies_beside_the_runs_whatever_their_folder_is_called(tmp_path: Path, empty_store: Path) -> None:
    for name in ("a%20b", "a?b", "a#b&c;d", "~x", "Größe 2", "sqlite:///c@d"):
        runs = tmp_path / name
        runs.mkdir(parents=True)
        shutil.copy(empty_store, runs / "mlflow.db")
        folder = write_run(runs / "adapt")
        assert sync(folder).points == 13
        assert sync(folder).points == 0, "and it is the same store the next time"
        assert len(list((runs / "mlartifacts").rglob("config.yaml"))) == 1
        assert len(runs_in(tracking.store_uri(default_uri(runs)))) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a%20b", "a?b", "a#b&c;d", "~x", "Größe 2", "sqlite:"}


def test_an_address_of_a_file_may_be_written_as_a_url(runs: Path) -> None:
    place = runs / "a b"
    place.mkdir()
    shutil.copy(runs / "mlflow.db", place)
    folder = write_run(runs / "adapt")
    assert sync(folder, f"sqlite:///{runs}/a%20b/mlflow.db").uri == default_uri(place)


def test_stores_before_and_after_sqlalchemy_decodes_their_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def literal(uri: str) -> Any:
        return SimpleNamespace(database=uri.partition(":///")[2].partition("?")[0])

    def decoding(uri: str) -> Any:
        return SimpleNamespace(database=unquote(literal(uri).database))

    for read, name, wanted in (
        (decoding, "a%20b?c", "sqlite+pysqlite:////x/a%2520b%3Fc/m.db"),
        (literal, "a%20b", "sqlite:////x/a%20b/m.db"),
        (literal, "a?b%", "sqlite+pysqlite:///file:/x/a%3Fb%25/m.db?uri=true"),
        (decoding, "Größe 2#", "sqlite:////x/Größe 2#/m.db"),
        (literal, "runs", "sqlite:////x/runs/m.db"),
    ):
        monkeypatch.setattr(tracking.sqlalchemy, "make_url", read)
        assert tracking.store_uri(f"sqlite:////x/{name}/m.db") == wanted
    assert tracking.store_uri("http://host:5000") == "http://host:5000"


def test_a_store_that_cannot_be_written_is_no_server(runs: Path) -> None:
    folder = write_run(runs / "adapt")
    (runs / "mlflow.db").write_bytes(b"no database" * 99)
    with pytest.raises(
        TrackingError, match=r"^cannot write the MLflow store at \S+: file is not a database; s"
    ) as error:
        sync(folder)
    assert "server" not in str(error.value)


def test_a_store_that_goes_away_is_said_without_a_traceback(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """MLflow logs one of what it raises."""
    folder = write_run(runs / "adapt", steps=3, pck=None)
    sync(folder)
    (runs / "mlflow.db").unlink()
    append(folder, range(4, 6))
    with pytest.raises(TrackingError, match=r"attempt to write a readonly database|no such table"):
        sync(folder)
    assert not caplog.records


def test_run_deleted_in_mlflow_comes_back(runs: Path) -> None:
    folder = write_run(runs / "adapt")
    client = MlflowClient(default_uri(runs))
    client.delete_run(sync(folder).run_id)
    assert sync(folder).points == 13
    assert len(runs_in(default_uri(runs))) == 1


def test_changed_config(runs: Path) -> None:
    folder = write_run(runs / "adapt")
    sync(folder)
    config = yaml.safe_load((folder / "config.yaml").read_text()) | {"seed": 7, "notes": "x" * 9000}
    config["tracking"] = "postgresql://me:secret@host/db"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    sync(folder)
    data = run_of(folder).data
    assert (data.params["seed"], data.tags["changed.seed"], len(data.params["notes"])) == ("0", "7", 6000)
    assert data.params["tracking"] == "postgresql://host/db"
    assert "secret" not in (folder / "config.yaml").read_text(), "it is uploaded"


def test_at_the_same_time(runs: Path) -> None:
    """Threads and a process, on a store whose tables do not exist yet."""
    (runs / "mlflow.db").unlink()
    folder = write_comparison(runs / "compare")
    code = f"from keyshift.experiments.tracking.mirror import *; sync(Path({str(folder)!r}))"
    with subprocess.Popen([sys.executable, "-c", code]) as process, ThreadPoolExecutor() as pool:
        list(pool.map(sync, [folder, folder, folder / "regda-seed0", folder / "oracle-seed0"]))
        assert process.wait(30) == 0
    assert len(runs_in(default_uri(runs))) == 5
    assert steps_of(folder / "regda-seed0", uri=default_uri(runs)) == [1, 2, 3, 4, 5]


def test_model(runs: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 3, 64, 64])
    points = helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ["batch", 21, 2])
    sure = helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["batch", 21])
    shapes = {"a": [-1, 21, 2], "b": [-1, 21]}
    constants = [helper.make_tensor(name, TensorProto.INT64, [len(s)], s) for name, s in shapes.items()]
    nodes = [helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Reshape", ["float", "a"], ["keypoints"])]
    nodes += [helper.make_node("Reshape", ["float", "b"], ["confidence"])]
    graph = helper.make_graph(nodes, "tiny", [image], [points, sure], constants)
    folder = write_run(runs / "adapt")
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "model.onnx"
    )
    (folder / "model.json").write_text(json.dumps({"keypoints": ["wrist"], "input": {"height": 64, "width": 64}}))
    assert sync(folder).notes == []
    state = json.loads((folder / "mlflow.json").read_text())
    (folder / "mlflow.json").write_text(json.dumps({"uri": state["uri"]}))
    sync(folder)
    client, run = MlflowClient(default_uri(runs)), run_of(folder)
    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (model.name, model.status) == ("regda-seed0", "READY")
    assert len(client.search_logged_models([run.info.experiment_id])) == 1
    place = Path(model.artifact_location.removeprefix("file://"))
    assert not [path for path in place.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt")]
    signature = tracking.Model.load(place).signature
    assert [(it.name, str(it.type), it.shape) for it in signature.inputs] == [("image", "uint8", (-1, 3, 64, 64))]
    outputs = [("keypoints", "float32", (-1, 21, 2)), ("confidence", "float32", (-1, 21))]
    assert [(it.name, str(it.type), it.shape) for it in signature.outputs] == outputs


def test_model_without_onnx(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(runs / "adapt")
    (folder / "model.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnx", None)
    (note,) = sync(folder).notes
    assert "keyshift[export]" in note


def test_errors(runs: Path) -> None:
    with pytest.raises(TrackingError, match=r"no config\.yaml"):
        sync(runs)
    folder = write_run(runs / "adapt")
    with pytest.raises(TrackingError, match=r"cannot reach the MLflow server at http://127.0.0.1:9: .*keyshift sync"):
        sync(folder, "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9"):  # the folder remembers, though nothing was sent
        sync(folder)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write("{oops\n")
    with pytest.raises(TrackingError, match="line 6, is not valid JSON"):
        sync(folder, default_uri(runs))


def test_off(tmp_path: Path) -> None:
    threads = threading.active_count()
    mirror = Mirror(tmp_path / "missing", "off")
    mirror.notify()
    assert mirror.close()
    assert threading.active_count() == threads
    assert sync(write_run(tmp_path / "adapt"), "off").run_id is None
    assert not (tmp_path / "mlflow.db").exists()


def test_mirror(runs: Path) -> None:
    folder = write_run(runs / "adapt", pck=None, steps=0)
    said: list[str] = []
    mirror = Mirror(folder, say=said.append)
    for step in range(1, 30):
        append(folder, range(step, step + 1))
        mirror.notify()
    assert mirror.close()
    assert (steps_of(folder), said, run_of(folder).info.status) == (list(range(1, 30)), [], "KILLED")


def test_mirror_of_a_comparison_that_fails(runs: Path) -> None:
    folder = write_comparison(runs / "compare")
    (folder / "results.json").unlink()
    mirror = Mirror(folder)
    mirror.notify()
    assert mirror.close()
    status = {run.info.run_name: run.info.status for run in runs_in(default_uri(runs))}
    assert (status["compare"], status["bn_control seed 0"], status["regda seed 0"]) == ("KILLED", "KILLED", "FINISHED")
    assert run_of(folder).info.start_time == 1763690001123  # of its first run
    assert str(sync(folder)) == f"0 new points and 0 new files in {default_uri(runs)}"


def test_mirror_of_a_broken_folder(runs: Path) -> None:
    said: list[str] = []
    mirror = Mirror(runs / "missing", say=said.append, wait=0)
    for _ in range(3):
        mirror.notify()
        time.sleep(0.02)
    assert not mirror.close()
    assert len(said) == 1


class Server:
    """A real MLflow server on a SQLite store, which can be killed and started again."""

    def __init__(self, place: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.place, self.uri = place, f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", default_uri(self.place)]
        command += ["--artifacts-destination", str(self.place / "artifacts")]
        log = open(self.place / "log", "a")  # noqa: SIM115
        self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=self.place)
        log.close()
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError((self.place / "log").read_text())

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


@pytest.fixture
def server(runs: Path) -> Iterator[Server]:
    server = Server(runs)
    server.start()
    yield server
    server.kill()


def test_server_dies(tmp_path: Path, server: Server) -> None:
    folder = write_run(tmp_path / "runs" / "adapt", pck=None)
    (folder / "chart.png").write_bytes(PIXELS)
    said: list[str] = []
    mirror = Mirror(folder, server.uri, say=said.append, wait=0.1)
    mirror.notify()
    deadline = time.monotonic() + 20
    while '"chart.png"' not in (folder / "mlflow.json").read_text() if (folder / "mlflow.json").exists() else True:
        assert time.monotonic() < deadline, said
        time.sleep(0.02)
    server.kill()
    longest = 0.0
    for step in range(6, 30):
        append(folder, range(step, step + 1))
        start = time.perf_counter()
        mirror.notify()
        longest = max(longest, time.perf_counter() - start)
        time.sleep(0.02)
    start = time.perf_counter()
    assert not mirror.close(timeout=8)
    assert time.perf_counter() - start < 9
    assert longest < 0.1
    (line,) = said
    assert server.uri in line
    assert f"keyshift sync {folder}" in line

    write_run(folder, steps=0)
    server.start()
    assert sync(folder).points == 24 * 2 + 12
    counts = Counter(steps_of(folder, uri=server.uri))
    assert counts == Counter(range(1, 30))
    assert run_of(folder, server.uri).info.status == "FINISHED"


def test_quiet_and_private(tmp_path: Path) -> None:
    """Nothing is printed while the tables are created; telemetry is off; what the user set stays."""
    folder = write_run(tmp_path / "adapt")
    code = (
        f"from keyshift.experiments.tracking.mirror import *; from mlflow.telemetry.utils import is_telemetry_disabled;"
        f"sync(Path({str(folder)!r})); print(is_telemetry_disabled(), os.environ['MLFLOW_HTTP_REQUEST_TIMEOUT'])"
    )
    drop = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_HTTP_REQUEST_TIMEOUT")
    environment = {key: value for key, value in os.environ.items() if key not in drop}
    environment["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "9"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True 9\n", "")


def test_moved_runs(runs: Path, tmp_path: Path) -> None:
    folder = write_run(runs / "old" / "adapt")
    sync(folder)
    (runs / "old").rename(runs / "new")
    assert sync(runs / "new" / "adapt").uri == default_uri(runs / "new")


def test_table_without_results() -> None:
    assert table({}) == ""


def test_depth(runs: Path) -> None:
    """Metric names come from the results, and the table is in mm."""
    folder = write_comparison(runs / "compare")
    for file in [folder / "results.json", *folder.glob("*/result.json")]:
        file.write_text(file.read_text().replace('"pck@0.1"', '"mm"').replace('"pck"', '"mm"'))
    results = json.loads((folder / "results.json").read_text())
    results["summary"]["regda"] |= {"target": {"mean": 23.44, "std": 0.5}, "gain": {"mean": 8.6, "interval": [7, 9.96]}}
    (folder / "results.json").write_text(json.dumps(results))
    sync(folder)
    note = run_of(folder).data.tags["mlflow.note.content"]
    assert "Target test set, mean error, mean over seeds." in note
    assert "| regda | 23.4 mm | 0.5 mm | 8.6 mm [7.0 mm, 10.0 mm] | 33.3 % [20.0 %, 40.0 %] |" in note
    metrics = run_of(folder).data.metrics
    assert (metrics["regda/target/mean"], metrics["regda/gain_hi"]) == (23.44, 9.96)
    child = run_of(folder / "regda-seed0", default_uri(runs)).data.metrics
    assert child.items() >= {"final/target/mm": 0.6, "selected/last/target/mm": 0.6, "gain": 8.6}.items()
    assert "final/target/pck" not in child
