"""Peak memory as `keyshift bench volumes` counts it, against what is known to be held."""

import pytest
import torch

from keyshift.experiments.commands import bench_deformable, bench_grouping, bench_memory
from keyshift.experiments.commands.bench import alternate
from keyshift.experiments.commands.bench_memory import compared, peak_bytes
from keyshift.experiments.commands.bench_step import step

MEGA = 2**20


def held(*sizes):
    """A run that holds megabytes one after another, each let go before the next but the last."""

    def run():
        for size in sizes:
            part = torch.empty(size * MEGA, dtype=torch.uint8)
        return part.numel()

    return run


def test_the_peak_is_what_is_held_at_once():
    assert peak_bytes(held(3), "cpu") == 3 * MEGA
    assert peak_bytes(held(3, 2), "cpu") == 5 * MEGA  # the second is made before the first is let go
    kept = []
    assert peak_bytes(lambda: kept.append(torch.empty(MEGA, dtype=torch.uint8)), "cpu") == MEGA
    assert peak_bytes(lambda: None, "cpu") == 0
    with pytest.raises(ValueError, match="cpu and cuda, not on mps"):
        peak_bytes(lambda: None, "mps")


def test_two_ways_are_compared():
    result = compared(held(8), held(2), "cpu", alternate, rounds=1)
    assert result.memory == 4
    assert result.time > 0
    rows = result.rows("bytes", ("much", "little"), "none")
    assert rows[1] == ("bytes: peak memory, much / little", "4.00 (8 / 2 MB)", "none")


def test_the_table_of_volumes(monkeypatch):
    monkeypatch.setattr(bench_memory, "SIDE", 8)
    rows = bench_memory.rows(2, "cpu", lambda sides, rounds: alternate(sides, 1))
    assert [len(row) for row in rows] == [3] * 6
    assert "beyond" in rows[2][0]


def test_the_table_of_deformable_convolutions(monkeypatch):
    monkeypatch.setattr(
        bench_deformable, "CASES", {"DCPose": (1, 4, (6, 5), 4, True, 3), "DEKR": (1, 2, (5, 5), 1, False, 1)}
    )
    table = bench_deformable.rows("cpu", lambda sides, rounds: alternate(sides, 1))
    assert [len(row) for row in table] == [3] * 8
    assert table[4][0] == "DEKR, forward: seconds, ours / torchvision's"


def test_the_table_of_grouping(monkeypatch):
    for name, value in {"PEOPLE": 4, "KEYPOINTS": 3, "SIDE": 16, "TIMES": 1}.items():
        monkeypatch.setattr(bench_grouping, name, value)
    table = bench_grouping.rows(lambda sides, rounds: alternate(sides, 1))
    assert [len(row) for row in table] == [3] * 7
    assert table[0][0] == "4 people x 3 keypoints: step by step / grouping"


def test_the_adversary_on_volumes_costs_no_more_than_twice_the_memory(toys, monkeypatch):
    """Of a network whose volumes are most of what it holds, as they are of PoseNet's."""
    monkeypatch.setattr("keyshift.models.people.build_backbone", lambda *_: toys.Tiny())
    rows = bench_memory.adversary_rows(4, "cpu", step, alternate, size=64, rounds=1)
    assert [len(row) for row in rows] == [3, 3]
    assert rows[1][0].startswith("RegDA on PoseNet (resnet18, 18 joints, 16^3), batch 4 + 4: peak memory, iteration /")
    assert 1 < float(rows[1][1].split()[0]) <= 2
