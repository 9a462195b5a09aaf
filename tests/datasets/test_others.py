"""Where other people are moves with the picture: in crops, mirrored views, and as another camera shows them."""

from dataclasses import replace

import numpy as np
import torch

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.cameras import Cameras, another
from keyshift.datasets.loading import TrainingBatches, crop
from keyshift.datasets.sample import transform
from keyshift.datasets.views import Selected, WithoutLabels

SPREAD = Augmentation(mirror=0.5)


class Beside:
    """A set whose samples say where others are: two of them, at their own first two keypoints."""

    def __init__(self, dataset):
        self.dataset, self.name, self.skeleton = dataset, dataset.name, dataset.skeleton
        self.identity = dataset.identity

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        item = self.dataset[index]
        others = np.zeros((8, 3), np.float32)
        others[:2, :2], others[:2, 2] = item.keypoints[:2], 1
        return replace(item, inputs={"others": others})


def test_others_move_as_keypoints_do_and_nobody_stays_nobody(dots):
    data = Beside(dots(8, size=64))
    batches = TrainingBatches(data, "source", 0, 8, (32, 32), SPREAD, labels=True, views=2)
    for step in range(3):
        batch = batches[step]
        for view in (batch, *batch.views):
            others = view.inputs["others"]
            assert others.shape == (8, 8, 3)
            assert not others[:, 2:].any()
            assert (others[:, :2, 2] == 1).all()
            for row, index in enumerate(view.row.tolist()):
                told = torch.tensor(data[index].inputs["others"][:2, :2])
                back = transform(view.to_file[row : row + 1], others[row : row + 1, :2, :2])
                torch.testing.assert_close(back[0], told, rtol=0, atol=1e-3)
                # The three dots have no sides: a mirrored view names them as the file does.
                torch.testing.assert_close(others[row, :2, :2], view.keypoints[row, :2], rtol=0, atol=1e-3)


def test_others_move_with_another_camera(dots):
    item = replace(Beside(dots(4, size=64))[1], camera=np.array([80.0, 80, 32, 32]))
    seen = another(item, Cameras(focal=[1.2, 1.3], distortion=0.2), np.random.default_rng(0))
    np.testing.assert_allclose(seen.inputs["others"][:2, :2], seen.keypoints[:2], atol=1e-3)
    assert not seen.inputs["others"][2:].any()
    cut = crop(seen, (64, 64), None, None, [0, 1, 2])
    np.testing.assert_allclose(cut.inputs["others"][:2, :2], cut.keypoints[0, :2], atol=1e-3)


def test_others_stay_where_keypoints_are_chosen_or_taken_away(dots):
    data = Beside(dots(4, size=64))
    chosen = Selected(data, data.skeleton.keypoints[1:])
    for view in (chosen, WithoutLabels(data)):
        np.testing.assert_array_equal(view[2].inputs["others"], data[2].inputs["others"])
