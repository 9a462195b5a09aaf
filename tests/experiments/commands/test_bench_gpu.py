"""`keyshift bench gpu`: each of its rows from a small case on the CPU, and from the same on a GPU."""

import pytest
import torch

from keyshift.experiments.commands import bench_gpu
from keyshift.experiments.commands.bench import alternate, bench

SMALL = {"backbone": "small", "batch": 2, "size": 32, "rounds": 1, "samples": 4, "workers": 0}
SMALL |= {"scenes": 2, "updates": 4, "compiled": {"compiled": {"backend": "eager"}, "broken": {"backend": "nothing"}}}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def case(request):
    return bench_gpu.Case(torch.device(request.param), **SMALL)


def numbers(rows):
    return {what: float(value.split()[0].rstrip("%,")) for what, value, _ in rows if value and "failed" not in value}


def test_steps(case, monkeypatch):
    rows = bench_gpu.step_rows(case, alternate)
    forms = ("three passes, fp32", "three passes, bf16", "fp32", "bf16", "bf16, channels_last", "bf16, compiled")
    values = numbers(rows)
    assert {f"RegDA, {name}" for name in forms} <= values.keys()
    assert all(value > 0 for value in values.values())
    assert [what for what, value, _ in rows if value.startswith("failed")] == ["RegDA, bf16, broken"]
    (goal,) = [row for row in rows if row[2] == "at most 0.33"]
    assert goal[0].endswith("/ three passes, fp32")


def test_loading_and_rendering(case):
    values = numbers([*bench_gpu.loader_rows(case), *bench_gpu.render_rows(case, alternate, 32)])
    assert len(values) == 5
    assert all(value > 0 for value in values.values())


def test_a_real_run_and_how_long_its_device_waits(case):
    values = numbers(bench_gpu.waiting_rows(case))
    share, milliseconds = values.values()
    assert 0 <= share <= 100
    assert milliseconds > 0
    assert case.device.type == "cpu" or share < 100


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_one_it_says_so(capsys):
    bench(["gpu"])
    assert "nothing was measured" in capsys.readouterr().out
