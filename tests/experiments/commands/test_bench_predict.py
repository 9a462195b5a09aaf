"""`keyshift bench predict` measures what it says: every picture is read and answered on one side, and as many crops go
through the network on the other."""

import torch

from keyshift.experiments.commands import bench_predict
from keyshift.models.systems.pose_resnet import PoseResNet


def test_both_sides_see_as_many_pictures(monkeypatch):
    monkeypatch.setattr(bench_predict, "SIZE", (40, 30))
    options = PoseResNet.Options(backbone="small", channels=8, input_size=[32, 32], heatmap_size=[8, 8])
    model, batches = PoseResNet(21, options), []
    model.register_forward_hook(lambda _, inputs, __: batches.append(len(inputs[0].image)))
    threads, seen = torch.get_num_threads(), {}

    def alternate(sides, rounds):
        for name, run in sides.items():
            batches.clear()
            run()
            seen[name] = list(batches)
        return {"predict": 2.0, "network": 1.5}

    rows = bench_predict.rows(model, 40, "cpu", alternate)
    assert seen == {"predict": [32, 8], "network": [32, 8]}
    assert [value for _, value, _ in rows] == ["0.75", "20"]
    assert torch.get_num_threads() == threads
