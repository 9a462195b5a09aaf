"""Many runs at once end as the same runs one after another, to the bit, whatever happens in between."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from keyshift.adapt.trainer import Interrupted
from keyshift.experiments.cli import main
from keyshift.experiments.config import load, shipped
from keyshift.experiments.runs import cluster, conclusion, processes
from keyshift.experiments.runs.job import Job
from keyshift.experiments.runs.many import RETRIES, Many
from keyshift.experiments.runs.processes import Processes
from keyshift.experiments.runs.progress import Reporter
from keyshift.experiments.runs.worker import Done, Failed, Lost, Step

RUNS = ("source_only-seed0", "bn_control-seed0")
SMALL = [
    *("precision=32-true", "steps=60", "log_every=6", "evaluate_every=30", "checkpoint_every=6"),
    *("strategies=[source_only,bn_control]", "seeds=1", "report.pictures=none"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder to stand in, with the cache of what is rendered; ONNX files take longest, and are not written."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "without").mkdir()
    (folder / "without" / "onnx.py").write_text("raise ImportError('not in this test')\n")
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KEYSHIFT_CACHE", str(folder / "cache"))
        patch.setenv("PYTHONPATH", str(folder / "without"), prepend=os.pathsep)
        patch.setattr(conclusion, "export", lambda *_: None)
        yield folder
    assert Path.cwd() == before


@pytest.fixture(scope="module")
def alone(home, small_demo):
    """The comparison's folder, made by one process with one thread."""
    assert main(["compare", "demo", *small_demo, *SMALL, "output=runs/alone", "--cpus", "1"]) == 0
    return home / "runs" / "alone"


def same(one: Path, other: Path) -> None:
    for name in RUNS:
        a, b = (json.loads((folder / name / "result.json").read_text()) for folder in (one, other))
        assert a | {"seconds_per_iteration": None} == b | {"seconds_per_iteration": None}
        with np.load(one / name / "predictions.npz") as a, np.load(other / name / "predictions.npz") as b:
            assert all(np.array_equal(a[key], b[key]) for key in a.files)
        a, b = (json.loads((folder / name / "environment.json").read_text()) for folder in (one, other))
        assert a["threads"] == b["threads"] == 1
        a, b = (torch.load(folder / name / "weights-000060.pt", weights_only=True) for folder in (one, other))
        assert all(torch.equal(a["model"][key], b["model"][key]) for key in a["model"])
    a, b = (json.loads((folder / "results.json").read_text()) for folder in (one, other))
    assert a["summary"] == b["summary"]


def first(run: Path) -> str:
    """Line of its metrics, which says the time too."""
    return (run / "metrics.jsonl").read_text().partition("\n")[0]


@contextmanager
def meanwhile(folder: Path, *events) -> Iterator[dict[str, str]]:
    """Beside what is done within it, one event after another, each once a run in the middle has a new checkpoint, and
    again until it says that it took place. Gives the first lines of such runs as they were then."""
    lines, over, stamps = dict[str, str](), threading.Event(), dict[str, int]()

    def under_way() -> dict[str, int]:
        runs = [folder / name for name in RUNS if (folder / name / "checkpoint.pt").exists()]
        now = {run.name: (run / "checkpoint.pt").stat().st_mtime_ns for run in runs}
        new = {run.name: first(run) for run in runs if now[run.name] != stamps.get(run.name)}
        new = {name: line for name, line in new.items() if not (folder / name / "result.json").exists()}
        lines.update(new)
        return {name: now[name] for name in new}

    def watch() -> None:
        for event in events:
            while not ((seen := under_way()) and event()):
                if over.wait(0.02):
                    return
            stamps.update(seen)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lines
    finally:
        over.set()
        thread.join()


def test_processes_that_are_killed_and_stopped(home, alone, capsys, small_demo):
    """Killed in the middle a run goes on from its checkpoint; after Ctrl-C the same command goes on."""
    folder = Path("runs/processes")
    words = ["compare", "demo", *small_demo, *SMALL, f"output={folder}", "--jobs", "2"]

    def kill() -> bool:
        for process in active_children():
            process.kill()
        return True

    def interrupt() -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return True

    with meanwhile(folder, kill, interrupt) as lines:
        assert main([*words, "--cpus", "1"]) == 130
    said = capsys.readouterr()
    assert "its process was killed (SIGKILL); it goes on from its checkpoint" in said.out
    assert "keyshift: stopped, checkpoints are written; the same command goes on" in said.err
    assert not active_children()
    assert not (folder / "results.json").exists()
    assert main([*words, "--cpus", "1"]) == 0
    assert all(first(folder / name) == line for name, line in lines.items())
    same(alone, folder)


# On a Ray cluster


@pytest.fixture(scope="module")
def nodes(home):
    """A cluster on this machine: a head that only listens, and two nodes of one CPU."""
    utils = pytest.importorskip("ray.cluster_utils")
    size = {"object_store_memory": 80 * 2**20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
        made = utils.Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, **size},
            shutdown_at_exit=False,
        )
        made.more = lambda: made.add_node(num_cpus=1, **size)
        made.more()
        made.more()
        yield made
        made.shutdown()


def kill_a_busy(nodes) -> bool:
    """Node, other than that by which this process is in the cluster: on one machine it may be any. Whether one is busy
    its processes say by their names; what Ray says of resources is old."""
    import psutil
    import ray

    def at_work(node) -> bool:
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        return any("ray::serve" in " ".join(child.cmdline()) for child in raylet.children())

    own = ray.get_runtime_context().get_node_id()
    with suppress(psutil.NoSuchProcess):
        for node in nodes.worker_nodes:
            if node.node_id != own and at_work(node):
                nodes.remove_node(node, allow_graceful=False)
                return True
    return False


@pytest.mark.parametrize("shared", [True, False])
def test_a_node_dies_in_the_middle(home, alone, nodes, shared, monkeypatch, capsys, small_demo):
    """Its run goes on elsewhere; what nodes write comes back where they do not see the folder."""
    name = "shared" if shared else "apart"
    folder = Path(f"runs/{name}")
    monkeypatch.setattr(cluster, "SENT_EVERY", 0.0)
    if not shared:
        monkeypatch.setattr(cluster.Cluster, "sign", lambda *_: None)
    with meanwhile(folder, lambda: kill_a_busy(nodes)) as lines:
        assert main(["compare", "demo", *small_demo, *SMALL, f"output={folder}", "--ray", nodes.address]) == 0
    said = capsys.readouterr().out
    assert f"Ray cluster at {nodes.address}: 2 nodes with 2 CPUs and 0 GPUs; each run has 1 CPU, as threads" in said
    assert ("is on storage that all nodes share" in said) == shared
    assert ("no shared storage: " in said) == (not shared)
    assert "its worker is gone (NodeDiedError); it goes on from its checkpoint" in said
    assert all(first(folder / name) == line for name, line in lines.items())
    same(alone, folder)
    nodes.more()
    nodes.wait_for_nodes(60)  # the dead one is seen to be dead


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense"])
def test_where_no_cluster_is(address):
    pytest.importorskip("ray")
    with pytest.raises(ValueError, match=f"no Ray cluster at {address}: .*; start one"):
        cluster.Cluster(address, Reporter()).__enter__()


# What a crew is asked


class Answering:
    """A crew of two, whose jobs end as `script` says, by title: one answer after another, the last one again."""

    cpus = 1

    def __init__(self, **script) -> None:
        self.script, self.running, self.began, self.stopped = script, [], [], False

    room = property(lambda self: len(self.running) < 2)

    def start(self, job):
        self.running.append(job)
        self.began.append(job.title)

    def messages(self, wait):
        for job in list(self.running):
            answers = self.script.get(job.title.replace(" ", "_"), [Done()])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            yield job, Step(1, 2, {"loss/x": 1.0})
            self.running.remove(job)
            yield job, Lost("stopped") if self.stopped else answer

    def stop(self):
        self.stopped = True

    def __enter__(self):
        return self

    def __exit__(self, *error):
        assert not self.running


def asked(seeds: int = 2) -> list[Job]:
    config, jobs = load("demo"), []
    for seed in range(seeds):
        jobs.append(Job.pretraining(config, seed, Path(f"pretrained/{seed}")))
        jobs += [
            Job.of(config, name, seed, Path(f"{name}{seed}"), Path(f"pretrained/{seed}")) for name in ("dan", "regda")
        ]
    return jobs


def done_by(crew, jobs, live=False) -> tuple[Many, list[str]]:
    ended, reporter = list[str](), Reporter()
    reporter.live = live
    many = Many(jobs, crew, reporter, lambda job: None, lambda job: ended.append(job.title))
    many.do()
    return many, ended


@pytest.mark.parametrize("live", [True, False])
def test_what_needs_pretraining_waits_for_that_of_its_seed(live):
    crew = Answering()
    many, ended = done_by(crew, asked(), live)
    assert crew.began[:2] == ["pretraining seed 0", "pretraining seed 1"]
    assert sorted(ended) == sorted(job.title for job in asked())
    assert many.failed == 0


def test_what_fails_is_said_and_the_others_go_on(capsys):
    """Of pretraining what needs it fails too; nothing is tried again."""
    crew = Answering(pretraining_seed_0=[Failed("no such file: x")], dan_seed_1=[Failed("a loss is not finite")])
    many, ended = done_by(crew, asked())
    said = capsys.readouterr().out
    assert sorted(ended) == ["pretraining seed 1", "regda seed 1"]
    assert "failed: pretraining seed 0: no such file: x" in said
    assert "failed: regda seed 0: its pretraining failed" in said
    assert "failed: dan seed 1: a loss is not finite" in said
    assert many.failed == 4
    assert len(crew.began) == 4


def test_what_is_lost_is_done_again_so_many_times(capsys):
    crew = Answering(dan_seed_0=[Lost("gone"), Lost("gone"), Done()], regda_seed_0=[Lost("killed")])
    many, ended = done_by(crew, asked(1))
    assert ended == ["pretraining seed 0", "dan seed 0"]
    assert crew.began.count("dan seed 0") == 3
    assert crew.began.count("regda seed 0") == 1 + RETRIES
    assert f"failed: regda seed 0: killed, {1 + RETRIES} times" in capsys.readouterr().out
    assert many.failed == 1


def test_a_signal_stops_the_crew_and_nothing_else_begins():
    crew, signals = Answering(), iter([signal.SIGTERM])
    many = Many(asked(), crew, Reporter(), lambda job: [os.kill(os.getpid(), one) for one in signals], lambda job: None)
    with pytest.raises(Interrupted):
        many.do()
    assert crew.stopped
    assert len(crew.began) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["demo", "--jobs", "0"], "--jobs 0: one at least"),
        (["demo", "--jobs", "2", "--cpus", "0"], "--cpus 0"),
        (["demo", "--jobs", "2", "--ray", "auto"], "--jobs and --ray"),
        (["demo", "--gpus", "0.5"], "say --jobs N or --ray ADDRESS too"),
        (["demo", "--jobs", "2", "--gpus", "1.5"], "a share of one, such as 0.5"),
        (["demo", "--jobs", "2", "--gpus", "0.5", "device=cpu"], "torch sees no GPU here"),
        (["demo", "demo"], "two experiments would be written into runs/demo"),
        (["demo", "dsnt_studio_to_webcam", "name=both"], "two experiments would be written into runs/both"),
        (["demo", "dmeo"], "Did you mean demo?"),
        (["steps=3"], "no experiment 'steps=3'"),
    ],
)
def test_what_does_not_go_together(home, words, message, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["compare", *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs/demo").exists()


def test_gpus_are_given_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert Processes(8, 1, 0.5).count == 4
    assert Processes(8, 1).count == 8
    assert Processes(8, 1).gpus == ["3", "5"]
    with pytest.MonkeyPatch.context() as patch:
        made: list[dict[str, str]] = []
        patch.setattr(processes, "Slot", lambda number, cpus, environment: made.append(environment) or Busy(number))
        crew = Processes(4, 1, 0.5)
        for _ in range(4):
            crew.start(None)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in made] == ["3", "5", "3", "5"]
    assert not crew.room


class Busy:
    def __init__(self, number):
        self.number, self.job = number, None

    def give(self, job):
        self.job = "a job"


def test_several_experiments_each_in_its_folder(home, capsys, small_demo):
    """One pretraining where they have it in common; the words are of all."""
    Path("twin.yaml").write_text(shipped()["demo"].read_text().replace("name: demo", "name: twin"))
    words = [*small_demo, *SMALL, "steps=6", "strategies=[source_only]", "output=runs/all"]
    assert main(["compare", "demo", *words[:3], "twin.yaml", *words[3:]]) == 0
    said = capsys.readouterr().out
    assert said.count("pretraining seed 0") == 1
    for name in ("demo", "twin"):
        assert (Path("runs/all") / name / "report.html").exists()
        assert yaml.safe_load((Path("runs/all") / name / "config.yaml").read_text())["steps"] == 6
    assert main(["compare", "runs/all/demo", "runs/all/twin"]) == 0
    assert capsys.readouterr().out.count("is finished: nothing is trained") == 2
    assert main(["compare", "runs/all/demo", "runs/all/twin", "output=elsewhere"]) == 2
    Path("runs/all/demo/source_only-seed0/result.json").unlink()
    assert main(["compare", "runs/all/demo", "--cpus", str(torch.get_num_threads() + 1)]) == 0
    assert "source_only seed 0 was begun with" in capsys.readouterr().out
