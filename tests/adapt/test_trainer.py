"""The promises of the trainer: exact resume, the same weights for any number of workers and processes, no label of
the target in any weight, errors that say where."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from keyshift.adapt.methods.baselines import SourceOnly
from keyshift.adapt.scoring.evaluation import everyone
from keyshift.adapt.strategies import STRATEGIES, suited
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.trainer import Interrupted, Loop, NotFinite, Trainer, updates
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches
from keyshift.datasets.rendered.hands import RenderedHands
from keyshift.models.saved import load_checkpoint, load_model, save_checkpoint
from keyshift.models.systems.pose_resnet import PoseResNet

SCRIPT = Path(__file__).with_name("train_in_process.py")


def trainer(data, folder, name="regda", steps=6, workers=0, callbacks=(), **loop_options):
    torch.manual_seed(0)
    options = PoseResNet.Options(backbone="small", input_size=[32, 32], heatmap_size=[8, 8], channels=16)
    model = PoseResNet(len(data["source"].skeleton), options)
    strategy = STRATEGIES[name](model, data["source"].skeleton, Optimization("adam", 1e-3, {}, 0.0))
    labels = {"source": True, "target": strategy.labelled_target}
    batches = {
        d: TrainingBatches(data[d], d, 5, 4, (32, 32), Augmentation(), labels[d], strategy.views[d]) for d in data
    }
    folder.mkdir(exist_ok=True)
    loop = Loop(steps, log_every=2, evaluate_every=100, checkpoint_every=2, workers=workers, **loop_options)
    return Trainer(
        Fabric(accelerator="cpu", devices=1),
        strategy,
        batches,
        folder,
        loop,
        5,
        target=lambda model: everyone(model, data["target"], 4, (32, 32), Augmentation(), torch.device("cpu")),
        callbacks=callbacks,
    )


def weights(folder):
    return load_checkpoint(folder / "checkpoint.pt")["strategy"]


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return {
        "source": RenderedHands("studio", 10, 0, 32, cache=cache),
        "target": RenderedHands("webcam", 10, 0, 32, cache=cache),
    }


def test_workers_do_not_change_weights(rendered, tmp_path):
    """One for each side; how several share their batches is tested in tests/datasets/test_loading.py."""
    for workers in (0, 1):
        trainer(rendered, tmp_path / str(workers), workers=workers, steps=3).fit()
    same(weights(tmp_path / "0"), weights(tmp_path / "1"))


@pytest.mark.parametrize("name", sorted(suited(["image"])))
def test_target_labels_never_reach_training(dots, tmp_path, name):
    class Noise(dots):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            rng = np.random.default_rng(index)
            item.keypoints[:] = rng.uniform(-100, 100, item.keypoints.shape)
            item.annotated[:] = item.visible[:] = rng.random(len(item.visible)) > 0.5
            return item

    for folder, target in (("true", dots(12, "shifted")), ("noise", Noise(12, "shifted"))):
        trainer({"source": dots(12), "target": target}, tmp_path / folder, name, steps=2).fit()
    if name == "oracle":  # the test can fail: the one strategy that is handed labels differs
        before, after = (weights(tmp_path / f) for f in ("true", "noise"))
        assert any(not torch.equal(before[k], after[k]) for k in before)
    else:
        same(weights(tmp_path / "true"), weights(tmp_path / "noise"))


@pytest.mark.parametrize("name", ["regda", "mean_teacher"])
def test_an_interrupted_run_ends_with_the_same_weights(dots, tmp_path, name):
    data = {"source": dots(12), "target": dots(12, "shifted")}
    trainer(data, tmp_path / "whole", name).fit()

    def interrupt(step, metrics):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    broken = tmp_path / "broken"
    with pytest.raises(Interrupted, match=r"step 4"):
        trainer(data, broken, name, callbacks=[interrupt]).fit()
    assert load_checkpoint(broken / "checkpoint.pt")["step"] == 4
    trainer(data, broken, name).fit()
    same(weights(tmp_path / "whole"), weights(broken))
    steps = [json.loads(line)["step"] for line in (broken / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 6


def test_a_signal_during_the_last_step_stops_before_what_follows(dots, tmp_path):
    def interrupt(step, metrics):
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"after the last step"):
        trainer({"source": dots(12)}, tmp_path, "source_only", callbacks=[interrupt]).fit()
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 6


def test_weights_that_no_rule_chose_go_when_a_run_goes_on(dots, tmp_path):
    """Those of a process that was killed between its last checkpoint and their removal."""
    data = {"source": dots(12)}
    trainer(data, tmp_path, "source_only").fit()
    (tmp_path / "weights-000002.pt").write_bytes(b"")
    trainer(data, tmp_path, "source_only").fit()
    assert not list(tmp_path.glob("weights-*.pt"))


def test_killed_at_any_step_a_run_continues_to_the_same_weights(tmp_path):
    """SIGKILL of a real process, at a step nobody chose."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen([sys.executable, str(SCRIPT), str(tmp_path / "killed"), "40"], env=environment)
    path = tmp_path / "killed/metrics.jsonl"
    end = time.monotonic() + 100
    while (
        not (path.exists() and path.read_text().count("\n") >= 6) and time.monotonic() < end and killed.poll() is None
    ):
        time.sleep(0.01)
    time.sleep(0.05 * np.random.default_rng().random())
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert load_checkpoint(tmp_path / "killed/checkpoint.pt")["step"] < 40
    spec = importlib.util.spec_from_file_location("train_in_process", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the process has it
    try:
        for folder in ("whole", "killed"):
            script.main(tmp_path / folder, 40)
    finally:
        torch.set_num_threads(threads)
    same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_a_loss_that_is_not_finite_stops_the_run(dots, tmp_path):
    class Poisoned(SourceOnly):
        count = 0

        def supervised(self, batch):
            self.count += 1
            losses = super().supervised(batch)
            return losses | {"bad": losses["heatmap"] * (float("nan") if self.count == 3 else 0.0)}

    made = trainer({"source": dots(12)}, tmp_path / "run", "source_only", steps=8)
    made.strategy.__class__ = Poisoned
    with pytest.raises(NotFinite, match=r"step 2: heatmap = [\d.]+, bad = nan.*name=adam.*source: dots.plain/\d+"):
        made.fit()
    assert load_checkpoint(tmp_path / "run/checkpoint.pt")["step"] == 2  # nothing of the bad step is kept


@pytest.mark.parametrize("broken", ["truncated", "foreign", "pickle", "other model"])
def test_bad_checkpoints_are_named(dots, tmp_path, broken):
    data = {"source": dots(12), "target": dots(12)}
    folder = tmp_path / "run"
    trainer(data, folder, "source_only", steps=2).fit()
    path = folder / "checkpoint.pt"
    if broken == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    elif broken == "foreign":
        torch.save({"state_dict": {}}, path)
    elif broken == "pickle":
        torch.save({"step": Path("x")}, path)
    with pytest.raises(ValueError, match=r"checkpoint\.pt"):
        trainer(data, folder, "regda" if broken == "other model" else "source_only", steps=4)


def test_a_checkpoint_never_runs_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"step": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="corrupt or not a keyshift checkpoint"):
        load_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()


def test_files_are_written_whole_or_not_at_all(tmp_path):
    save_checkpoint(tmp_path / "a.pt", {"step": 1})

    class Unsavable:
        def __reduce__(self):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        save_checkpoint(tmp_path / "a.pt", {"step": Unsavable()})
    assert load_checkpoint(tmp_path / "a.pt") == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("options", [{"channels_last": True}, {"precision": "bf16-mixed"}])
def test_options_train_to_nearly_the_same(dots, tmp_path, options):
    data = {"source": dots(12), "target": dots(12, "shifted")}
    trainer(data, tmp_path / "plain", steps=2).fit()
    made = trainer(data, tmp_path / "option", steps=2, channels_last="channels_last" in options)
    if "precision" in options:
        made.fabric = Fabric(accelerator="cpu", devices=1, precision=options["precision"])
    made.fit()
    first, second = weights(tmp_path / "plain"), weights(tmp_path / "option")
    for key, value in first.items():
        assert value.dtype == second[key].dtype
        assert (value.float() - second[key].float()).abs().max() < 0.05, key


@pytest.mark.parametrize("clip", [0.0, 1e-3, 1e6])
def test_long_gradients_are_scaled_down_to_the_norm_asked_for(dots, tmp_path, clip):
    """All parameters of an update together; shorter ones stay as they are."""
    made = trainer({"source": dots(12), "target": dots(12)}, tmp_path, "source_only", steps=1)
    made.strategy.optimization = replace(made.strategy.optimization, clip=clip)
    norms = []
    for _ in updates(made.fabric, made.strategy, made.strategy.optimizers(), made.batches["source"][0], None):
        gradients = [p.grad for p in made.strategy.parameters() if p.grad is not None]
        norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
    assert len(norms) == 1
    assert norms[0] == pytest.approx(1e-3, rel=1e-3) if clip == 1e-3 else norms[0] > 0.1


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adamw_draws_weights_back_apart_from_gradients(name):
    """Without a gradient Adam's decay is a gradient, of one size for all weights; AdamW's is a share of the weight."""
    weight = torch.nn.Parameter(torch.tensor([1.0, 10.0]))
    optimizer, _ = Optimization(name, 0.1, {}, weight_decay=0.5, gamma=0.0).optimizer({"head": [weight]})
    weight.grad = torch.zeros(2)
    optimizer.step()
    lost = torch.tensor([1.0, 10.0]) - weight.detach()
    torch.testing.assert_close(lost, torch.tensor([0.1, 0.1] if name == "adam" else [0.05, 0.5]))


def test_the_weights_of_all_evaluations_may_be_kept(dots, tmp_path):
    for keep_all, kept in ((False, [4]), (True, [2, 4])):
        folder = tmp_path / str(keep_all)
        made = trainer({"source": dots(12), "target": dots(12)}, folder, "source_only", steps=4, keep_all=keep_all)
        made.loop.evaluate_every, made.evaluate = 2, lambda model: {}
        made.fit()
        assert sorted(path.name for path in folder.glob("weights-*")) == [f"weights-{step:06d}.pt" for step in kept]


def test_selected_weights_build_the_network_again(dots, tmp_path):
    made = trainer({"source": dots(12), "target": dots(12)}, tmp_path / "run", steps=2)
    made.evaluate = lambda model: {"source/pck": 0.5, "target/score": 0.5, "target/pck": 0.1}
    made.fit()
    model, skeleton = load_model(tmp_path / "run/weights-000002.pt")
    assert skeleton == dots.skeleton
    same(model.state_dict(), made.strategy.predictor.state_dict())
