"""The command line as a user meets it: bad input ends with status 2, a sentence, and nothing written."""

import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import yaml

from keyshift.experiments.cli import main
from keyshift.experiments.commands.benches import ALONE, BENCHES
from keyshift.experiments.config import build, load, shipped
from keyshift.experiments.runs import conclusion, training
from keyshift.experiments.runs import folder as folders
from keyshift.experiments.runs.progress import Reporter, _brief
from keyshift.experiments.runs.results import print_table
from keyshift.models.export import to_onnx

SMALL = ["steps=3", "evaluate_every=2", "checkpoint_every=1"]


@pytest.fixture
def home(tmp_path, monkeypatch, no_export):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def written(home):
    return sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file() and "cache" not in p.parts)


HELP = "try: main({words})\nexcept SystemExit: pass\n"
UNTRACKED = """from pathlib import Path; from keyshift.experiments.runs.engine import Mirror
mirror = Mirror(Path("runs"), "off"); mirror.notify(); assert mirror.close()"""
USED_LATER = {"albumentations", "matplotlib", "pandas", "sklearn", "sympy", "torchvision", "transformers"}


UNUSED = [
    (HELP.format(words=["--help"]), {"torch", "numpy", "mlflow", "yaml"}),
    (HELP.format(words=["predict", "--help"]), {"torch", "numpy", "mlflow", "yaml"}),
    (HELP.format(words=["bench", "--help"]), {"torch", "numpy", "mlflow", "yaml"}),
    ("parse(['train', 'demo', 'steps=3'])", {"torch", "numpy", "mlflow", "yaml"}),
    ("main(['runs', 'tests'])", {"torch", "numpy", "mlflow"}),
    ("from keyshift.experiments.commands.data_show import show", {"mlflow", "scipy", *USED_LATER}),
    ("main(['predict', 'nothing', 'missing.png'])", {"mlflow", "scipy", *USED_LATER}),
    (UNTRACKED, {"mlflow", "sqlalchemy", *USED_LATER} - {"sympy"}),  # of Fabric
    ("from keyshift.experiments.config import load; load('demo')", {"mlflow", "scipy", "sklearn", "albumentations"}),
]
"""What a process runs in this order, and what is not imported by then: whoever needs less comes first."""


def test_what_a_command_does_not_use_is_not_imported():
    """What takes a second to import is imported where it is used; a system is where it is chosen. One process does all,
    for each would take seconds."""
    code = "import sys; from keyshift.experiments.cli import main, parse\n"
    code += "".join(f"{line}\nprint('\\nMODULES', *sys.modules)\n" for line, _ in UNUSED)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("MODULES ")]
    for (line, unused), names in zip(UNUSED, imported, strict=True):
        assert not unused & {name.partition(".")[0] for name in names}, line
        systems = [name for name in names if name.startswith("keyshift.models.systems.")]
        assert set(systems) <= {"keyshift.models.systems.pose_resnet"}, line


def test_the_help_of_bench_names_each(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    short, alone = [name for name in BENCHES if name not in ALONE], "where they are named, for they take minutes"
    line = " ".join(capsys.readouterr().out.split("\nWHAT: ")[1].split())
    assert line.startswith(f"{', '.join(short)}; {alone}: {ALONE[0]}; {ALONE[1]}: ")
    assert all(callable(bench) for bench in BENCHES.values())


@pytest.mark.parametrize(
    ("words", "usage", "near"),
    [
        (["predict", "RUN", "photos", "--drow", "drawn"], "keyshift predict", "Did you mean --draw?"),
        (["export", "RUN", "--opsett=17"], "keyshift export", "Did you mean --opset?"),
        (["data", "show", "demo", "--overwite"], "keyshift data show", "Did you mean --overwrite?"),
        (["adapt", "RUN", "--target", "photos", "--quick"], "keyshift adapt", "arguments: --quick\n"),
    ],
)
def test_an_option_that_a_command_lacks_is_answered_with_its_usage_and_the_nearest(words, usage, near, capsys):
    with pytest.raises(SystemExit) as exit:
        main(words)
    assert exit.value.code == 2
    said = capsys.readouterr().err
    assert f"usage: {usage} " in said
    assert near in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "dmeo"], "Did you mean demo"),
        (["compare", "demo", "bacth=3"], "Did you mean batch"),
        (["compare", "demo", "model.backbon=small"], "Did you mean model.backbone"),
        (["compare", "demo", "batch=many"], "batch"),
        (["compare", "demo", "batch=0"], "at least 1"),
        (["compare", "demo", "seeds=0"], "seeds"),
        (["compare", "demo", "seed=-1"], "seed=-1 must be at least 0"),
        (["compare", "demo", "regda.warmup=0"], "regda.warmup"),
        (["compare", "demo", "device=cuda"], "no GPU"),
        (["compare", "demo", "--overwrite", "target.name=hands.photo", "target.root=nowhere"], "nowhere"),
        (["compare", "demo", "model=3"], "model must be a mapping"),
        (["compare", "demo", "source=freihand"], "did you mean source.name=freihand?"),
        (["train", "demo", "source=rhd", "source.root=there"], "did you mean source.name=rhd?"),
        (["train", "demo", "root=there"], "Did you mean source.root or target.root?"),
        (["train", "demo", "backbone=resnet18"], "Did you mean model.backbone?"),
        (["compare", "demo", "strategies=[regd]"], "Did you mean regda"),
        (["compare", "demo", "selection=best"], "selection"),
        (["compare", "demo", "model.heatmap_size=[15,15]"], "does not divide"),
        (["compare", "demo", "model.backbone=resnet19"], "resnet18"),
        (
            [
                "compare",
                "demo",
                "model.weights=/nowhere/weights.pt",
                "model.backbone=resnet18",
                "model.input_size=[64,64]",
            ],
            "no such file",
        ),
        (["compare", "demo", "target.name=hand_snap"], "hand_snap needs root=FOLDER"),
        (["compare", "demo", "target.name=hand_snap", "target.root=nowhere"], "nowhere"),
        (["compare", "demo", "target.name=hands.webcm"], "Did you mean hands.webcam"),
        (["compare", "demo", "source.name=hands.photo", "source.root=nowhere"], "nowhere"),
        (["train", "."], "config.yaml"),
        (["evaluate", "nowhere"], "no trained run"),
        (["data", "show", "hands.studo"], "Did you mean hands.studio"),
        (["bench", "nothing"], "no benchmark"),
        (["sync", "nowhere"], "no run folder"),
        (["runs", "nowhere"], "nowhere"),
    ],
)
def test_bad_input(home, capsys, words, message):
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert written(home) == []


def test_more_processes_than_samples(home, capsys, monkeypatch, small_demo):
    monkeypatch.setenv("WORLD_SIZE", "16")
    assert main(["train", "demo", *small_demo, *SMALL, "batch=16"]) == 2
    assert "12 samples for 16 processes" in capsys.readouterr().err
    assert written(home) == []


def test_bad_yaml(home, capsys):
    Path("mine.yaml").write_text("name: [unclosed")
    assert main(["train", "mine.yaml"]) == 2
    assert "not valid YAML" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(shipped()))
def test_shipped_experiments_are_valid_and_say_what_they_are(name):
    path = shipped()[name]
    config = load(name)
    assert config.name == name
    lines = path.read_text().splitlines()
    assert len(lines) < 40
    assert lines[0].startswith("#")
    assert re.search(f"keyshift (compare|train) {name}\\b", path.read_text())
    assert build(yaml.safe_load(path.read_text())) == config


def test_a_comparison_end_to_end(home, capsys, monkeypatch, small_demo):
    def of_one(model, size, path, skeleton):
        return to_onnx(model, size, path, skeleton) if "regda-seed1" in path.parts else None

    monkeypatch.setattr(conclusion, "to_onnx", of_one)
    words = ["compare", "demo", *small_demo, *SMALL, "seeds=2", "strategies=[source_only,regda,oracle]", "log_every=1"]
    assert main([*words[:2], "--overwrite", *words[2:]]) == 0
    out = capsys.readouterr().out
    assert "regda seed 1: 3/3" in out
    assert "report.html" in out
    assert list(Path("runs").rglob("model.onnx")) == [Path("runs/demo/regda-seed1/model.onnx")]
    results = json.loads(Path("runs/demo/results.json").read_text())
    assert results["schema"] == 1
    assert results["metric"] == "pck@0.1"
    assert set(results["strategies"]["regda"]) == {"0", "1"}
    run = results["strategies"]["regda"]["0"]
    assert {"target", "source", "selected", "seconds_per_iteration"} <= set(run)
    assert {"pck", "epe", "groups"} <= set(run["target"])
    assert set(run["selected"]) == {"last", "source", "target_score", "oracle"}
    assert run["selected"]["last"]["step"] == 3
    assert results["summary"]["source_only"]["gain"]["mean"] is None
    page = Path("runs/demo/report.html")
    assert page.stat().st_size > 10_000
    shutil.copytree("runs/demo", "runs/again", ignore=shutil.ignore_patterns("*.pt"))
    assert main(["report", "runs/demo", "runs/again"]) == 0
    merged = Path("runs/report.html").read_text()
    assert '<a href="demo/report.html">demo</a>' in merged
    assert '<a href="again/report.html">again</a>' in merged
    stamps = {p: p.stat().st_mtime_ns for p in Path("runs").rglob("*.pt")}
    assert main(words) == 0  # finished runs are kept
    assert {p: p.stat().st_mtime_ns for p in Path("runs").rglob("*.pt")} == stamps
    capsys.readouterr()
    assert main(["evaluate", "runs/demo"]) == 0
    assert f"{run['target']['pck']:.4f}" in capsys.readouterr().out
    assert main(["runs"]) == 0
    assert "finished" in capsys.readouterr().out
    assert main(["train", "runs/demo"]) == 2
    assert "keyshift compare" in capsys.readouterr().err
    assert main([*words, "steps=4"]) == 2
    assert "steps was 3, now 4" in capsys.readouterr().err


def test_a_run_folder_continues_and_is_one_process_own(home, capsys, monkeypatch, small_demo):
    folder = Path("runs/demo-keyshift-seed0")
    whole = ["train", "demo", *small_demo, *SMALL, "log_every=1"]
    assert main([*whole, "output=whole/run"]) == 0

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training, "conclude", stop)
        assert main(whole) == 130
    assert not (folder / "result.json").exists()
    with folders.locked(folder):
        assert main(["train", str(folder)]) == 2
    assert "another process is working" in capsys.readouterr().err
    assert main(["train", str(folder)]) == 0
    first, second = (
        torch.load(f / "checkpoint.pt", weights_only=True)["strategy"] for f in (Path("whole/run"), folder)
    )
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    (folder / "result.json").unlink()
    (folder / "checkpoint.pt").write_bytes(b"nonsense")
    assert main(["train", str(folder)]) == 2
    assert "checkpoint.pt is corrupt" in capsys.readouterr().err


def test_data_show(home, capsys):
    assert main(["data", "show", "hands.studio", "size=48", "train=4"]) == 0
    assert Path("hands.studio.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["data", "show", "hands.studio", "size=48", "train=4"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_depth_is_told_in_mm(home, capsys):
    reporter = Reporter()
    reporter.console.width = 160
    score = {"mm": 23.414, "epe": 5.2}
    nothing = {"mean": None, "interval": [None, None]}
    summary = {"target": {"mean": 23.414, "std": 0.51}, "gain": nothing, "gain_over_bn_control": nothing}
    summary = {"source_only": summary | {"gap_closed": nothing}}
    summary["regda"] = summary["source_only"] | {"gain": {"mean": 8.62, "interval": [7.1, 9.96]}}
    runs = {name: {"0": {"target": score, "source": score}, "1": {"source": {"mm": 20.0}}} for name in summary}
    results = {"schema": 1, "metric": "mm", "strategies": runs, "summary": summary}
    print_table(results, reporter)
    shown = capsys.readouterr().out
    for part in ("mean error in mm, 2 seeds", "23.41 ± 0.51", "21.71", "+8.62 [+7.10, +9.96]"):
        assert part in shown
    for name in ("whole", "single"):
        folder = Path("runs", name)
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("source: {name: hands.studio}\ntarget: {name: hands.webcam}\n")
    Path("runs/whole/results.json").write_text(json.dumps(results))
    Path("runs/single/result.json").write_text(json.dumps({"target": score}))
    assert main(["runs"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("23.41 mm") + shown.count("23.41") >= 2
    assert "pck" not in shown.lower()
    metrics = {"loss/supervised": 0.5, "source/mm": 31.27, "target/mm": 40.0, "source/epe": 3.0}
    assert _brief(metrics) == "loss 0.500  0.0 it/s  source 31.27"
    assert _brief({"source/pck": 0.4567}) == "0.0 it/s  source 0.457"


def test_a_gain_without_an_interval_is_told(capsys):
    """One seed on one block of frames has nothing to resample."""
    nothing, gain = {"mean": None, "interval": [None, None]}, {"mean": 0.1, "interval": [None, None]}
    row = {"target": {"mean": 0.5, "std": None}, "gain": gain, "gain_over_bn_control": nothing, "gap_closed": nothing}
    results = {"metric": "pck@0.1", "strategies": {"regda": {"0": {"source": {"pck": 0.6}}}}, "summary": {"regda": row}}
    print_table(results, Reporter())
    assert "+0.100" in capsys.readouterr().out


def test_foreign_folders_are_left_alone(home, capsys, small_demo):
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    assert main(["train", "demo", *small_demo, *SMALL, "output=mine"]) == 2
    assert main(["train", "demo", *small_demo, *SMALL, "output=mine", "--overwrite"]) == 2
    assert written(home) == ["mine/thesis.tex"]


def test_pretraining_that_was_interrupted_goes_on(home, monkeypatch, small_demo):
    whole = ["train", "demo", *small_demo, *SMALL, "log_every=1"]
    assert main([*whole, "output=whole/run"]) == 0
    fit = training.fit

    def stop(*arguments, **options):
        fit(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training, "fit", stop)
        assert main(whole) == 130
    (begun,) = Path("runs/pretrained").glob("*/config.yaml")
    assert not begun.with_name("done").exists()
    assert main(whole) == 0
    first, second = (
        torch.load(f / "checkpoint.pt", weights_only=True)["strategy"]
        for f in (Path("whole/run"), Path("runs/demo-keyshift-seed0"))
    )
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_warning_is_one_line_once_for_each_text_and_shows_no_code(home, monkeypatch, capsys):
    def run(*_):
        for line in (1, 2):
            warnings.warn_explicit("3 files are left out,\n  the first a.png", UserWarning, "/keyshift/x.py", line)
        warnings.warn_explicit("another", UserWarning, "/keyshift/x.py", 3)

    before = warnings.formatwarning
    monkeypatch.setattr("keyshift.experiments.arguments.runs.run", run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "_showwarnmsg_impl", _shown, raising=False)
        assert main(["runs"]) == 0
    assert capsys.readouterr().err == (
        "keyshift: warning: 3 files are left out, the first a.png\nkeyshift: warning: another\n"
    )
    assert warnings.formatwarning is before


def _shown(message):
    """What Python does with a warning outside a test."""
    sys.stderr.write(warnings.formatwarning(message.message, message.category, message.filename, message.lineno))
