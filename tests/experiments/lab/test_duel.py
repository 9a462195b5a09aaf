"""One candidate against the others, from records that are written here."""

import numpy as np
import pytest

from keyshift.experiments.cli import main
from keyshift.experiments.lab.duel import duel
from keyshift.experiments.lab.records import Checkpoint, Record

PCK = {
    "given": {0: [50], 1: [54]},
    "ours": {0: [60, 58], 1: [63, 64]},
    "theirs": {0: [57, 55], 1: [55, 56]},
    "short": {0: [58, 59]},
    "oracle": {0: [70], 1: [66]},
}
"""Percent of hits by candidate, seed and checkpoint, on pair `light`."""


@pytest.fixture
def output(tmp_path):
    rng = np.random.default_rng(0)
    for pair, better in (("light", 0), ("camera", 3)):
        for name, runs in PCK.items():
            for seed, values in runs.items():
                folder = tmp_path / pair / f"seed{seed}"
                path = folder / "given.json" if name == "given" else folder / name / "scores.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                record = Record(path, {"seed": seed})
                for step, value in enumerate(values):
                    away = rng.permutation([-2.0, -1.0, 1.0, 2.0])
                    value += better * (name == "theirs")
                    truth = {"hits": (value + away).tolist(), "counts": [100] * 4}
                    record.checkpoints[Checkpoint(step)] = {"truth": truth, "scores": {}}
                    if name != "given":
                        record.checkpoints[Checkpoint(step, 0.5)] = {"truth": truth | {"hits": [0] * 4}, "scores": {}}
                record.save()
    return tmp_path


def cells(text):
    head, _, *lines = [line[2:-2].split(" | ") for line in text.splitlines()]
    return {line[0]: dict(zip(head, line, strict=True)) for line in lines}


def test_differences_of_last_checkpoints(output):
    """Means over the seeds that both have; the interval holds the difference; the worst run decides."""
    rows = cells(duel(output, "ours", ["light", "camera", "not_tried"], ["ours", "short", "theirs", "unknown"], [0, 1]))
    assert list(rows)[:2] == ["light (2)", "camera (2)"]
    light = rows["light (2)"]
    assert light["given"] == "52.0"
    for name, expected in (("given", 9.0), ("theirs", 5.5), ("short", -1.0)):
        mean, low, high = (float(v.strip("[],")) for v in light[f"over {name}"].split())
        assert mean == expected
        assert low < mean < high
    assert light["gap closed, %"].startswith(f"{100 * 9 / 16:+.1f} [")
    assert light["last behind best"] == "2.0"
    assert rows["camera (2)"]["over theirs"].startswith("+2.5")


def test_only_the_seeds_that_are_asked_for(output):
    light = cells(duel(output, "ours", ["light"], ["theirs"], [1]))["light (1)"]
    assert (light["given"], light["over theirs"].split()[0]) == ("54.0", "+8.0")


def test_mean_ranks(output):
    """Among those that have all its seeds, `short` left out, and never the oracle."""
    ranks = cells(duel(output, "theirs", ["light", "camera"], list(PCK), [0, 1]))["mean rank, theirs: 2.0 (2)"]
    assert ranks["over ours"] == "1.0 (2)"
    assert ranks["over given"] == "3.0 (2)"
    assert ranks["over short"] == "–"
    assert "over oracle" not in ranks


def test_on_the_command_line(output, plan_file, monkeypatch, capsys):
    assert main(["lab", plan_file, "--output", str(output), "--against", "surer"]) == 2
    assert "has no run of candidate 'surer'" in capsys.readouterr().err
