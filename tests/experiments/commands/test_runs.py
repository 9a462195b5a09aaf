"""The list of runs: what stands in the folders, of every version."""

import json
import shutil
from pathlib import Path

import pytest

from keyshift.experiments.commands.runs import print_runs, run_folders
from keyshift.experiments.runs.progress import Reporter


def write(folder: Path, config: str, **files) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def rows(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")  # of no terminal nothing is cut
    print_runs(runs)
    lines = [line.strip("│ ").split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_runs_of_today(tmp_path, capsys, monkeypatch):
    source = "source: {name: hands.studio, train: 20}\ntarget: {name: hands.webcam}\n"
    model = "model: {name: a2j, input_size: [64, 64]}\n"
    score = {"target": {"mm": 23.414}, "source": None}
    write(tmp_path / "done", f"{source}{model}strategy: regda\nseed: 2\n", result=score)
    both = {"source_train": {}, "target_train": {}}
    write(tmp_path / "going", f"{source}strategy: regda\nsteps: 50\nseed: 0\n", identity=both)
    (tmp_path / "going" / "metrics.jsonl").write_text('{"step": 20, "metrics": {}}\n')
    free = "source: {name: hands.studio}\ntarget: {name: pictures, root: wild}\nstrategy: alone\nsteps: 9\n"
    write(tmp_path / "adapt-wild", free, identity={"target_train": {"name": "pictures"}})
    labels = {"metric": "pck@0.1", "after": {"pck": 0.7}}
    for name, outcome in (
        ("adapted", {"adapted": True, "check": labels}),
        ("adapted-unchecked", {"adapted": True, "check": None}),
        ("unchanged", {"adapted": False, "check": None}),
    ):
        write(tmp_path / name, free, identity={"target_train": {"name": "pictures"}}, adapt=outcome)
    summary = {"given": {"target": {"mean": 0.5}}, "alone": {"target": {"mean": None}}}
    results = {"metric": "pck@0.1", "summary": summary}
    write(tmp_path / "whole", f"source: null\n{free.split(chr(10), 1)[1]}strategies: [given, alone]\n", results=results)
    write(tmp_path / "parts", f"{source}strategies: [source_only, regda]\n")
    write(tmp_path / "parts" / "regda-seed0", f"{source}strategy: regda\n", result=score)
    write(tmp_path / "broken", "name: [unclosed")
    write(tmp_path / "[bold]words", "only words")
    listed = rows(tmp_path, capsys, monkeypatch)
    assert listed.pop("broken")[2].startswith("unreadable: while parsing a flow sequence")
    assert listed == {
        "done": ["hands.studio -> hands.webcam", "regda seed 2", "finished", "23.41 mm"],
        "going": ["hands.studio -> hands.webcam", "regda seed 0", "step 20 of 50", "–"],
        "adapt-wild": ["given model -> pictures", "alone seed 0", "step 0 of 9", "–"],
        "adapted": ["given model -> pictures", "alone seed 0", "finished", "adapted, 0.700"],
        "adapted-unchecked": ["given model -> pictures", "alone seed 0", "finished", "adapted"],
        "unchanged": ["given model -> pictures", "alone seed 0", "finished", "not adapted"],
        "whole": ["– -> pictures", "given, alone", "finished", "given 0.500, alone –"],
        "parts": ["hands.studio -> hands.webcam", "source_only, regda", "1 runs finished", "–"],
        "[bold]words": ["–", "–", "unreadable: expected a mapping, found a str", "–"],
    }


def test_runs_of_version_0_1_0(shared, tmp_path, capsys, monkeypatch):
    stored = shared / "cases" / "run_0_1_0"
    if not stored.is_dir():
        pytest.skip("no run folders of version 0.1.0 among the shared values")
    shutil.copytree(stored, tmp_path / "runs", ignore=shutil.ignore_patterns("*.pt"))
    assert rows(tmp_path / "runs", capsys, monkeypatch) == {
        "pictures": [
            "hands.studio -> hands.webcam",
            "source_only, regda",
            "finished",
            "source_only 0.143, regda 0.137",
        ],
        "unfinished-mean_teacher-seed3": [
            "hands.studio -> hands.webcam",
            "mean_teacher seed 3",
            "step 335 of 4000",
            "–",
        ],
    }
    assert [folder.name for folder in run_folders(tmp_path / "nothing")] == []


@pytest.mark.parametrize("columns", [30, 60, 80])
def test_in_a_narrow_terminal_long_names_are_wrapped_whole(tmp_path, capsys, monkeypatch, columns):
    name = "adapt-" + "of_the_second_camera_in_the_yard" * 3
    write(tmp_path / name, "source: {name: hands.studio}\ntarget: {name: hands.webcam}\nstrategy: mean_teacher\n")
    reporter = Reporter()
    reporter.live, reporter.console.width = True, columns
    monkeypatch.setattr("keyshift.experiments.runs.progress.Reporter", lambda: reporter)
    print_runs(tmp_path)
    out = capsys.readouterr().out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= columns or str(tmp_path) in out
    assert name in out.replace("\n", "")


def test_a_pipe_gets_every_name_on_one_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"right_shoulder_{side}" * 9 for side in ("outer", "inner")]
    Reporter().table("joints", ["joint", "[seen]"], [[name, "100 [%]"] for name in names])
    out = capsys.readouterr().out
    for name in names:
        assert f"│ {name} │ 100 [%] │" in out
    assert "[seen]" in out
