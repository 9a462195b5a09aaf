"""What an evaluation during training costs: pictures are cut for the first one alone, and pass once in each view."""

import torch

from keyshift.adapt.scoring.evidence import WARPS, Evidence
from keyshift.datasets import loading
from keyshift.experiments import config as configs
from keyshift.experiments.runs.before_training import looks_of
from keyshift.experiments.runs.task import build_model, prepare
from keyshift.experiments.runs.training import evaluator


def test_later_evaluations_cut_nothing_and_say_the_same(tmp_path, monkeypatch, small_demo):
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path))
    task, device = prepare(configs.load("demo", small_demo), ["regda"]), torch.device("cpu")
    torch.manual_seed(0)
    model = build_model(task.config.model, task.skeleton)
    reads, passes, read = [], [], loading.EvaluationBatches.read
    monkeypatch.setattr(loading.EvaluationBatches, "read", lambda self, i: reads.append(i) or read(self, i))
    model.register_forward_hook(lambda *_: passes.append(1))
    given = Evidence(model, looks_of(task, device))
    evaluate = evaluator(task, device, given)
    first = evaluate(model)
    assert len(reads) == 6 + 6 + 12 * (1 + WARPS)  # held-out source and target, target training pictures in each view
    assert len(passes) == 1 + 1 + 1 + WARPS
    assert evaluate(model) == first
    another = Evidence(model, looks_of(task, device))
    assert evaluator(task, device, another)(model) == first  # another run cuts what its score looks at alone
    assert len(reads) == 6 + 6 + 2 * 12 * (1 + WARPS)
    assert len(passes) == 3 * (3 + WARPS)
    assert {f"{side}/pck" for side in ("source", "target")} | {"target/score"} <= set(first)
    for side, batches in task.held_out.items():  # and nobody changed what is kept
        for kept, anew in zip(batches, task.batches(task.test_sets()[side]), strict=True):
            assert torch.equal(kept.image, anew.image)
            assert torch.equal(kept.keypoints, anew.keypoints)
