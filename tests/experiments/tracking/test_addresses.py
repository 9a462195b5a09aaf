"""No user, password or token of a tracking address is kept or shown; the variables that hold them are named."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from keyshift.experiments.cli import main
from keyshift.experiments.config import build, load, load_folder
from keyshift.experiments.tracking.addresses import masked, refuse_secret, without_secret

SECRETS = ["alice", "hunter2"]
WITH = {
    "http://alice:hunter2@host:5000": "http://host:5000",
    "https://alice:hunter2@host/mlflow": "https://host/mlflow",
    "https://alice@host": "https://host",
    "http://:hunter2@host": "http://host",
    "http://alice:hunter2%40@host": "http://host",
    "http://alice:hun/ter2@host": "http://host",
    "http://alice:hun#ter2@host": "http://host",
    "http://alice:hun@ter2@host": "http://host",
    "https://host/?token=hunter2": "https://host/",
    "https://host/x?a=1&api_key=hunter2&b=2": "https://host/x?a=1&b=2",
    "postgresql://alice:hunter2@host/db": "postgresql://host/db",
    "mysql+pymysql://alice:hunter2@host:3306/db?charset=utf8": "mysql+pymysql://host:3306/db?charset=utf8",
    "postgresql://host/db?user=bob&password=hunter2": "postgresql://host/db?user=bob",
    "http:/alice:hunter2@host": "http:/host",
    "//alice:hunter2@host": "//host",
    "alice:hunter2@host/x": "host/x",
    "http://alice:two words hunter2@host": "http://host",
    "https://host/#token=hunter2": "https://host/",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Dhunter2": "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3B",
}
WITHOUT = [
    *("http://host:5000", "https://host/mlflow", "off", "databricks://profile", "http://[::1]:5000", "runs/mlflow.db"),
    *("postgresql://bob@host/db", "sqlite:////home/me@work/a:b/mlflow.db", "file:///home/me@work/mlruns"),
    *("/home/me@work/mlruns", "runs/me@work", "C:/runs/me@work", "../a:b@c/x", "http://host:5000/#/experiments/1"),
]


@pytest.mark.parametrize(("address", "bare"), WITH.items())
def test_an_address_with_a_secret_is_refused_and_not_repeated(address, bare, tmp_path):
    assert without_secret(address) == bare
    refuse_secret(bare)
    (tmp_path / "own.yaml").write_text(f"tracking: '{address}'\n")
    for ask in (lambda: build({}, [f"tracking={address}"]), lambda: load(str(tmp_path / "own.yaml"))):
        with pytest.raises(ValueError, match="holds a user, a password or a token") as error:
            ask()
        message = str(error.value)
        assert f"Give tracking={bare}, and" in message
        assert ("MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in message) == address.startswith("http")
        assert not [part for part in ("alice", "hunter2", "hun/", "hun#", "hun@", "ter2") if part in message]


@pytest.mark.parametrize("address", WITHOUT)
def test_an_address_without_one_is_taken_as_it_is(address):
    refuse_secret(address)
    assert without_secret(address) == address if "bob" not in address else "postgresql://host/db"
    assert build({}, [f"tracking={address}"]).tracking == address
    assert masked(f"cannot write {address}: full") == f"cannot write {address}: full".replace("bob@", "***@")


def test_a_folder_that_an_earlier_version_wrote_is_read_without_its_secret(tmp_path):
    (tmp_path / "config.yaml").write_text("name: x\nstrategy: regda\ntracking: http://alice:hunter2@host:5000\n")
    assert load_folder(tmp_path).tracking == "http://host:5000"


def test_texts_are_masked_wherever_an_address_stands():
    text = "no http://alice:hunter2@host/x?token=hunter2 (see 'https://alice:hunter2@b') at me@work.org"
    assert not [secret for secret in SECRETS if secret in masked(text)]
    assert "host/x?token=*** (see 'https://***@b') at me@work.org" in masked(text)


class Recorder(BaseHTTPRequestHandler):
    """A tracking server that answers whatever is asked with the same run, and keeps all that it is sent."""

    received: ClassVar[list[bytes]] = []

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.received.append(f"{self.command} {self.path}\n{self.headers}".encode() + body)
        info = {"run_id": "1" * 32, "run_uuid": "1" * 32, "experiment_id": "7", "status": "RUNNING", "start_time": 1}
        info |= {"lifecycle_stage": "active", "artifact_uri": "mlflow-artifacts:/7/artifacts"}
        run = {"info": info, "data": {}}
        told = {
            "experiment": {"experiment_id": "7", "name": "x", "lifecycle_stage": "active"},
            "run": run,
            "runs": [run],
        }
        answer = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_PATCH = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    Recorder.received.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def test_nothing_that_is_written_or_sent_holds_the_password(server, tmp_path, monkeypatch, capsys):
    """The folder as an earlier version left it, its server asked with the password from the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    old = server.replace("://", "://alice:hunter2@")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(f"name: x\nstrategy: regda\nseed: 0\ntracking: {old}\n")
    (run / "environment.json").write_text("{}")
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1, "time": 1.0, "metrics": {"loss": 1.0}}) + "\n")
    (run / "mlflow.json").write_text(json.dumps({"uri": old}))
    assert main(["sync", str(run)]) == 0
    assert main(["sync", str(run), "--tracking", old]) == 2
    assert main(["runs", str(tmp_path)]) == 0
    shown = "".join(capsys.readouterr())
    assert "MLFLOW_TRACKING_PASSWORD" in shown
    sent = b"\n".join(Recorder.received)
    assert b"config.yaml" in sent
    assert base64.b64encode(b"alice:hunter2") in sent, "the server gets it in the header that is made for it"
    written = b"\n".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for text in (shown.encode(), sent, written):
        assert b"hunter2" not in text
        assert b"alice" not in text
