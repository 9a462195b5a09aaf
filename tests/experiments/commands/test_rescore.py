"""`keyshift rescore`: from a run to weights whose scores are corrected, which all other commands take."""

import json

import numpy as np
import torch
import yaml

from keyshift.adapt.scoring.matching import SMALLEST
from keyshift.datasets.loading import EvaluationBatches
from keyshift.experiments.cli import main
from keyshift.experiments.commands.rescore import likeness
from keyshift.models.output import Poses
from keyshift.models.saved import load_checkpoint, load_model

SHORT = {
    "name": "toys",
    "model": {
        "name": "dekr",
        "input_size": [32, 32],
        "backbone": "small",
        "channels": 8,
        "head_layers": 1,
        "keypoint_channels": 4,
        "threshold": 0.0,
        "loss_weight": 1.0,
    },
    "source": {"name": "scenes.plain", "train": 8, "test": 4},
    "target": {"name": "scenes.shifted", "train": 4, "test": 4},
    "batch": 4,
    "pretrain_steps": 2,
    "steps": 2,
    "evaluate_every": 2,
    "checkpoint_every": 2,
    "tracking": "off",
    "device": "cpu",
}


def test_likeness(toys):
    """Against a loop over people: the most similar of the own picture, and 0 where nobody is labelled."""
    scenes = toys.Scenes(toys.Scenes.Options(train=12), "train")
    batch = EvaluationBatches(scenes, 12, (64, 64))[0]
    generator = torch.Generator().manual_seed(0)
    image = torch.arange(12).repeat_interleave(3)
    points = 32 * torch.rand(36, 3, 2, generator=generator)
    for person, number in enumerate(batch.image_index.tolist()):  # one of each picture is near someone
        points[3 * number] = batch.keypoints[person] / 2 + torch.randn(3, 2, generator=generator)
    poses = Poses(points, torch.ones(36, 3), image, torch.ones(36))
    sigmas, alike = (0.1, 0.05, 0.2), []
    for pose, number in zip(points.numpy(), image.tolist(), strict=True):
        item, best = scenes[number], 0.0
        for person, known in zip(item.keypoints, item.annotated, strict=True):
            if known.any():
                sides = np.ptp(person[known], axis=0)
                area = np.prod(np.maximum(sides, max(sides.max() / 4, SMALLEST * float(batch.side[number]))))
                away = np.square(pose - person)[known].sum(1)
                best = max(best, np.exp(-away / (2 * area * (2 * np.array(sigmas)[known]) ** 2)).mean())
        alike.append(best)
    ours = likeness(poses, batch, sigmas)
    np.testing.assert_allclose(ours, alike, atol=1e-4)
    assert (ours > 0.1).any()
    assert (ours == 0).any()


def test_from_a_run_to_corrected_scores(registered, tmp_path, monkeypatch, capsys, no_export):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "toys.yaml").write_text(yaml.safe_dump(SHORT))
    assert main(["train", "toys.yaml", "strategy=source_only"]) == 0
    run = next(path.parent for path in (tmp_path / "runs").rglob("config.yaml"))
    capsys.readouterr()
    assert main(["rescore", str(run)]) == 0
    said = capsys.readouterr().out
    assert "samples of scenes.plain.train" in said
    assert main(["rescore", str(run)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    model, skeleton = load_model(run / "rescored.pt")
    assert model.options.rescored
    assert model.rescoring.l3.weight.any()
    before, _ = load_model(next(iter(sorted(run.glob("weights-*.pt")))))
    batch = EvaluationBatches(registered.Scenes(registered.Scenes.Options(), "test"), 4, (32, 32))[0]
    with torch.no_grad():
        old, new = (one.eval().decode(one(batch), batch) for one in (before, model))
    assert torch.equal(old.points, new.points)
    assert not torch.equal(old.score, new.score)
    assert len(skeleton) == 3
    assert load_checkpoint(run / "rescored.pt")["architecture"]["rescored"]
    assert json.loads(json.dumps(load_checkpoint(run / "rescored.pt")["architecture"]))


def test_what_cannot_be_judged(registered, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alone.pt").write_bytes(b"")
    assert main(["rescore", "alone.pt"]) == 2
    assert "a weights file without its run" in capsys.readouterr().err
