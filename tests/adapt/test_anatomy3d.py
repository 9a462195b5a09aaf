"""Each strategy on Anatomy3D, which lifts 2D keypoints: there is no picture, and a sample shows other frames too."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.regda import RegDA
from keyshift.adapt.strategies import STRATEGIES
from keyshift.adapt.strategy import Optimization
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.views import View, as_clips
from keyshift.models.saved import load_checkpoint
from keyshift.models.systems.anatomy3d import Anatomy3D

SIZE, CPU = (200, 200), torch.device("cpu")
OPTIONS = {"regda": RegDA.Options(warmup=1), "mean_teacher": MeanTeacher.Options(decay=0.5, sigma=1.0)}


class Noise(View):
    """Other labels of the same frames, and of the other ones that a sample shows."""

    def __getitem__(self, index):
        item = self.dataset[index]
        rng = np.random.default_rng(index)
        inputs = {name: rng.uniform(-900, 900, item.inputs[name].shape) for name in ("random3d",)}
        keypoints, known = rng.uniform(-900, 900, item.keypoints.shape), rng.random(item.annotated.shape) > 0.5
        return replace(
            item, inputs={**item.inputs, **inputs}, keypoints=keypoints, visible=known, annotated=known, points=None
        )


def trainer(toys, walkers, name, folder, target=None, steps=2):
    torch.manual_seed(0)
    options = Anatomy3D.Options(input_size=list(SIZE), widths=[3, 3], channels=8)
    model = Anatomy3D(5, options).know(walkers.WALKER)
    strategy = STRATEGIES[name](model, walkers.WALKER, Optimization("adam", 1e-3, {}, 0.0), "target", OPTIONS.get(name))
    target = walkers.walkers("shifted", 2, 8) if target is None else target
    sides = {"source": walkers.walkers("plain", 2, 8), "target": target}
    sides = {domain: as_clips(data, model.frames) for domain, data in sides.items()}
    return toys.trainer_of(strategy, sides, folder, steps, SIZE, Augmentation(mirror=0.5))


def weights(folder):
    return load_checkpoint(folder / "checkpoint.pt")["strategy"]


@pytest.mark.parametrize("name", STRATEGIES)
def test_two_updates(toys, walkers, tmp_path, name):
    """They are finite, move what is shipped, and do not look at the target's labels, those of other frames included."""
    whole = trainer(toys, walkers, name, tmp_path / "whole")
    before = {key: value.clone() for key, value in whole.strategy.predictor.state_dict().items()}
    whole.fit()
    after, reached = whole.strategy.predictor.state_dict(), weights(tmp_path / "whole")
    assert any(not torch.equal(before[key], after[key]) for key in before) == (name != "given")
    assert all(value.isfinite().all() for value in reached.values())
    trainer(toys, walkers, name, tmp_path / "noise", Noise(walkers.walkers("shifted", 2, 8))).fit()
    noise = weights(tmp_path / "noise")
    assert any(not torch.equal(reached[key], noise[key]) for key in reached) == (name == "oracle")


@pytest.mark.parametrize("name", ["source_only", "regda", "mean_teacher"])
def test_a_resumed_run_ends_with_the_same_weights(toys, walkers, tmp_path, name):
    """To the bit: other people's bones, dropout and the frames that are looked at are drawn anew for each step."""
    trainer(toys, walkers, name, tmp_path / "whole", steps=3).fit()
    trainer(toys, walkers, name, tmp_path / "broken", steps=2).fit()
    trainer(toys, walkers, name, tmp_path / "broken", steps=3).fit()
    reached, resumed = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert reached.keys() == resumed.keys()
    for key, value in reached.items():
        assert torch.equal(value, resumed[key]), key


@pytest.mark.parametrize("name", ["regda", "mean_teacher"])
def test_adaptation_moves_what_answers(toys, walkers, tmp_path, name):
    """The published loss of joints stops at lengths and directions; what strategies ask of the target does not."""
    strategy = trainer(toys, walkers, name, tmp_path / "run").strategy
    for _ in range(10):
        strategy.after_step()  # RegDA's gradient layer opens
    batches = trainer(toys, walkers, name, tmp_path / "batches").batches
    moved = set()
    for losses, _ in strategy.step(batches["source"][0], batches["target"][0]):
        strategy.zero_grad()
        torch.stack([value for key, value in losses.items() if key not in LEARNED]).sum().backward()
        moved |= {
            key for key, value in strategy.model.named_parameters() if value.grad is not None and value.grad.any()
        }
    for part in ("direction.second", "length.attention"):
        assert any(key.startswith(part) for key in moved), part


@pytest.mark.parametrize("name", ["self_training", "mean_teacher_free", "keyshift"])
def test_pseudo_labels_say_nothing_of_other_frames(toys, walkers, tmp_path, name):
    """Whose poses nobody answered: there is no loss of them, where zeros would teach bones without lengths."""
    made = trainer(toys, walkers, name, tmp_path / name)
    made.strategy.begin_round(made.target(made.strategy.predictor))
    batches = made.batches
    losses, _ = next(iter(made.strategy.train().step(batches.get("source", [None])[0], batches["target"][0])))
    of_target = "target_lengths" if "source" in batches else "lengths"
    assert of_target in losses
    frames = {key for key in losses if key.endswith("frame") or "augmented" in key}
    assert frames == ({"frame", "augmented_frame", "augmented_lengths"} if "source" in batches else set())


LEARNED = {
    *("points", "directions", "first_directions", "lengths", "shifts", "first_shifts", "frame"),
    *("augmented_frame", "augmented_lengths"),
}
"""What the source's labels teach."""
