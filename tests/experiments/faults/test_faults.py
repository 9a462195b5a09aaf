"""A short campaign, and that what it compares by sees every difference, loss and half file."""

import json
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest
import torch

from keyshift.experiments.commands import bench as benches
from keyshift.experiments.commands.bench_faults import rows
from keyshift.experiments.faults.campaign import Campaign, Tally
from keyshift.experiments.faults.injection import KINDS
from keyshift.experiments.faults.snapshot import broken, differences, snapshot
from keyshift.experiments.faults.world import CASES
from keyshift.models.saved import save_checkpoint


def write(folder, weight=1.0, seconds=1.0):
    """A folder as a run leaves it; `seconds` are of the clock."""
    folder.mkdir()
    save_checkpoint(folder / "checkpoint.pt", {"step": 3, "model": {"w": torch.tensor([weight, 2.0])}})
    np.savez(folder / "predictions.npz", points=np.arange(6.0))
    (folder / "result.json").write_text(json.dumps({"pck": 0.5, "seconds_per_iteration": seconds}))
    (folder / "report.html").write_text(f"<td>{seconds:g}\N{NO-BREAK SPACE}ms</td><td>0.5</td>")
    metrics = {"loss": 1 / 3, "seconds/iteration": seconds}
    lines = [{"step": step, "time": seconds, "metrics": metrics} for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with closing(sqlite3.connect(folder / "mlflow.db")) as store, store:
        store.execute("CREATE TABLE metrics (run_uuid, key, step, value)")
        store.execute("CREATE TABLE runs (run_uuid, status)")
        store.execute("INSERT INTO runs VALUES ('a', 'FINISHED')")
        store.execute("CREATE TABLE tags (run_uuid, key, value)")
        store.execute("INSERT INTO tags VALUES ('a', 'mlflow.runName', 'one')")
        store.executemany("INSERT INTO metrics VALUES ('a', 'loss', ?, 0.5)", [(1,), (2,)])
    return snapshot(folder)


def twice(path):
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("INSERT INTO metrics VALUES ('a', 'loss', 2, 0.5)")


PLANTED = {
    "checkpoint.pt": lambda path: save_checkpoint(path, {"step": 3, "model": {"w": torch.tensor([1.0, 2.0000002])}}),
    "predictions.npz": lambda path: np.savez(path, points=np.arange(6.0).astype(np.float32)),
    "result.json": lambda path: path.write_text('{"pck": 0.5000000000000001}'),
    "report.html": lambda path: path.write_text(path.read_text().replace("0.5", "0.6")),
    "metrics.jsonl": lambda path: path.write_text(path.read_text() * 2),
    "mlflow.db": twice,
}


def test_times_are_no_difference(tmp_path):
    assert differences(write(tmp_path / "a"), write(tmp_path / "b", seconds=2.5)) == ([], [])


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_difference_is_reported(name, tmp_path):
    before = write(tmp_path / "a")
    PLANTED[name](tmp_path / "a" / name)
    assert differences(before, snapshot(tmp_path / "a")) == ([], [name])


def test_what_is_lost_or_left_behind_is_reported(tmp_path):
    before = write(tmp_path / "a")
    (tmp_path / "a" / "result.json").rename(tmp_path / "a" / ".result.json.7.tmp")
    assert differences(before, snapshot(tmp_path / "a")) == (["result.json"], [".result.json.7.tmp (left behind)"])


@pytest.mark.parametrize("name", ["checkpoint.pt", "predictions.npz", "result.json"])
def test_half_a_file_is_seen(name, tmp_path):
    write(tmp_path / "a")
    path = tmp_path / "a" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert broken(tmp_path / "a") == [name]


def test_a_short_campaign(tmp_path):
    """Few interruptions of one command end as the undisturbed one does; a changed end is told."""
    case = next(case for case in CASES if case.name == "data prepare")
    said = []
    campaign = Campaign(tmp_path, 4, 1, said.append, (case,))
    (tally,) = campaign.run().values()
    assert tally.made.total() >= 4
    assert tally.ends >= 1
    assert (tally.differed, tally.lost) == ([], [])
    there = snapshot(campaign.now)
    array = next(campaign.now.rglob("images.npy"))
    array.write_bytes(array.read_bytes()[:-1] + b"\x99")
    array.with_name("names.jsonl").unlink()
    campaign.compare(case, there, [])
    assert tally.differed == [str(array.relative_to(campaign.now))]
    assert tally.lost == [str(array.with_name("names.jsonl").relative_to(campaign.now))]
    assert "kept in" in said[-1]
    shutil.rmtree(tmp_path / "template")


def test_the_table_counts_by_command_and_kind():
    first, second = Tally(), Tally()
    first.made.update({"SIGKILL": 2, "disk full": 1})
    second.made.update({"SIGKILL": 3})
    second.ends, second.lost = 1, ["result.json"]
    table = rows({"train": first, "predict": second})
    assert [row[0] for row in table] == ["train", "predict", "all"]
    total = dict(zip([*KINDS, "all", "ends", "differed", "lost"], table[-1][1:], strict=True))
    expected = {"SIGKILL": "5", "disk full": "1", "all": "6", "ends": "1", "differed": "0", "lost": "1"}
    assert {name: total[name] for name in expected} == expected


def test_a_bare_bench_leaves_the_campaign_out(monkeypatch):
    done = []
    monkeypatch.setattr(
        benches, "BENCHES", {name: lambda name=name: done.append(name) or [] for name in ("regda", "compile")}
    )
    monkeypatch.setattr(benches, "faults", lambda reporter, count, seed: done.append((count, seed)) or False)
    assert benches.bench([])
    assert done == ["regda"]
    assert not benches.bench(["faults"], 5, 7)
    assert done == ["regda", (5, 7)]
