import dataclasses
import pickle

import numpy as np
import pytest
import torch

from keyshift.datasets import loading
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import EvaluationBatches, Kept, Mapped, TrainingBatches, crop, loader
from keyshift.datasets.reading.images import UnreadableImage
from keyshift.datasets.rendered.hands import RenderedHands
from keyshift.datasets.sample import Labeled, Unlabeled, invert, transform
from keyshift.datasets.skeleton import HAND, Skeleton, pair
from keyshift.datasets.views import Selected, View, WithoutLabels


def same(a, b):
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, torch.Tensor):
            assert torch.equal(x, y), field.name
        elif field.name == "inputs":
            assert x.keys() == y.keys()
            assert all(torch.equal(x[name], y[name]) for name in x)
        elif field.name == "views":
            for p, q in zip(x, y, strict=True):
                same(p, q)
        else:
            assert x == y, field.name


def batches(dataset, domain="source", seed=3, labels=True, **more):
    return TrainingBatches(dataset, domain, seed, 8, (32, 32), Augmentation(), labels, **more)


def test_a_batch_depends_on_seed_domain_and_step_alone(dots):
    plain = batches(dots(20))
    first = [plain[step] for step in range(5)]
    again = batches(dots(20))
    for step in (4, 0, 2):  # another order, another object
        same(again[step], first[step])
    assert batches(dots(20), seed=4)[0].id != first[0].id
    assert batches(dots(20), domain="target")[0].id != first[0].id


def test_workers_do_not_change_batches(tmp_path):
    """Of two, who take turns; one by itself is tested with the trainer, in tests/adapt/test_trainer.py."""
    plain = batches(RenderedHands("studio", 12, 0, 32, cache=tmp_path), views=2)
    for step, batch in zip(range(2, 5), loader(plain, range(2, 5), 2), strict=True):
        same(batch, plain[step])


def test_processes_share_the_global_batch(dots):
    whole = batches(dots(20))[1]
    parts = [batches(dots(20), rank=rank, processes=2)[1] for rank in range(2)]
    assert torch.equal(torch.cat([p.image for p in parts]), whole.image)
    assert torch.equal(torch.cat([p.keypoints for p in parts]), whole.keypoints)


def test_every_sample_once_an_epoch(dots):
    data = batches(dots(24))
    seen = [i for step in range(3) for i in data[step].id]
    assert len(set(seen)) == 24
    assert [i for step in range(3, 6) for i in data[step].id] != seen


def test_unlabelled_batches_have_no_place_for_labels(dots):
    batch = batches(dots(20), labels=False)[0]
    assert type(batch) is Unlabeled
    assert not {"keypoints", "visible", "annotated"} & {f.name for f in dataclasses.fields(batch)}
    item = WithoutLabels(dots(4))[0]
    assert not item.keypoints.any()
    assert not item.annotated.any()


def test_keypoints_follow_the_warp(dots):
    """A dot's centre of mass in the warped picture is where the keypoint says, to 0.05 px."""
    spot = Skeleton("spot", ("dot",))

    class Spot(dots):
        skeleton = spot

        def __getitem__(self, index):
            rng = np.random.default_rng(index)
            point = rng.uniform(22, 42, (1, 2))
            yy, xx = np.mgrid[:64, :64] + 0.5
            disc = np.exp(-((xx - point[0, 0]) ** 2 + (yy - point[0, 1]) ** 2) / 18) * 255
            known = np.ones(1, bool)
            return dataclasses.replace(
                super().__getitem__(index),
                image=np.repeat(disc.round()[..., None], 3, 2).astype(np.uint8),
                box=np.array([0, 0, 64, 64]),
                keypoints=point,
                visible=known,
                annotated=known,
            )

    options = Augmentation(color=0, blur=0, mirror=0.5)
    for size in (64, 128, 32):
        data = TrainingBatches(Spot(32), "source", 0, 32, (size, size), options, True)
        batch = data[0]
        mass = batch.image[:, 0].double()
        axis = torch.arange(size) + 0.5
        center = torch.stack([(mass.sum(1) * axis).sum(1), (mass.sum(2) * axis).sum(1)], -1) / mass.sum((1, 2))[:, None]
        whole = ((batch.keypoints > 0.3 * size) & (batch.keypoints < 0.7 * size)).all(-1)[:, 0]
        assert whole.sum() > 5
        assert (center - batch.keypoints[:, 0])[whole].abs().max() < 0.05


def test_no_joint_is_dropped_and_all_return_to_the_file(dots):
    data = dots(40)
    batch = TrainingBatches(data, "source", 0, 40, (48, 48), Augmentation(area=[0.2, 0.4]), True)[0]
    assert batch.keypoints.shape == (40, 3, 2)
    outside = (batch.keypoints < 0) | (batch.keypoints > 48)
    assert outside.any()
    truth = {data[i].id: data[i].keypoints for i in range(40)}
    back = transform(batch.to_file, batch.keypoints).numpy()
    np.testing.assert_allclose(back, np.stack([truth[i] for i in batch.id]), atol=1e-4)
    assert torch.allclose(transform(invert(batch.to_file), torch.from_numpy(back)), batch.keypoints, atol=1e-3)


def test_a_mirrored_view_names_its_joints_anew(dots):
    item = dots(1)[0]
    rng = np.random.default_rng(0)
    plain = crop(item, (32, 32), None, None, [0, 2, 1])
    mirrored = crop(item, (32, 32), Augmentation(rotation=0, area=[1, 1], color=0, blur=0, mirror=1), rng, [0, 2, 1])
    np.testing.assert_allclose(mirrored.keypoints[0, :, 0], 32 - plain.keypoints[0, [0, 2, 1], 0])
    np.testing.assert_array_equal(mirrored.inputs["image"], plain.inputs["image"][..., ::-1])


def test_reference_ranges(dots):
    """Rotation uniform over the circle, the crop 0.6 to 1 of the area and inside the picture."""
    batch = TrainingBatches(dots(64), "source", 0, 512, (32, 32), Augmentation(), True)[0]
    linear = batch.to_file[:, :, :2]
    area = torch.linalg.det(linear).abs()
    assert 0.6 - 1e-4 <= area.min() < 0.62
    assert 0.98 < area.max() <= 1 + 1e-4
    angle = torch.atan2(linear[:, 1, 0], linear[:, 0, 0])
    assert torch.histc(angle, 8, -torch.pi, torch.pi).min() > 35
    middle = transform(batch.to_file, torch.full((512, 1, 2), 16.0))[:, 0]
    assert (middle - 16).abs().max() <= 16 * 0.5**0.5


def test_evaluation_keeps_the_order(dots):
    data = EvaluationBatches(dots(10), 4, (32, 32))
    assert [len(data[i]) for i in range(len(data))] == [4, 4, 2]
    assert isinstance(data[0], Labeled)
    assert [i for n in range(3) for i in data[n].id] == [f"dots.plain/{i}" for i in range(10)]
    np.testing.assert_array_equal(data[1].image[0].permute(1, 2, 0).numpy(), dots(10)[4].image)


def test_what_is_kept_is_cut_once_within_its_bound(dots, monkeypatch):
    """Of three batches of 4, 4 and 2 pictures of 32 x 32 the first alone fits: the others are made at each reading."""
    plain, read = EvaluationBatches(dots(10), 4, (32, 32)), []
    monkeypatch.setattr(loading, "MOST_KEPT", 4 * 3 * 32 * 32)
    kept = Kept(Mapped(plain, lambda batch: read.append(batch.id) or batch))
    for _ in range(2):
        for own, made in zip(plain, kept, strict=True):
            assert torch.equal(own.image, made.image)
            assert torch.equal(own.keypoints, made.keypoints)
    assert [len(ids) for ids in read] == [4, 4, 2, 4, 2]
    assert len(kept) == 3


class Broken(View):
    def __init__(self, dataset, bad):
        super().__init__(dataset)
        self.bad = bad

    def __getitem__(self, index):
        if index in self.bad:
            raise UnreadableImage(f"cannot read the image {index}.jpg")
        return self.dataset[index]


def test_an_unreadable_image_is_skipped_and_many_stop_the_run(dots):
    data = batches(Broken(dots(16), {5}))
    with pytest.warns(UserWarning, match=r"5\.jpg"):
        drawn = [data[step] for step in range(2)]
    assert "dots.plain/5" not in [i for batch in drawn for i in batch.id]
    data = batches(Broken(dots(16), {5, 6}))
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(ValueError, match="more than 1 %"):
        [data[step] for step in range(2)]


def test_datasets_are_picklable_and_paired_by_name(dots):
    pickle.loads(pickle.dumps(batches(dots(8))))[0]
    other = Skeleton("other", ("blue", "black", "red"))
    shared, left_out = pair(dots.skeleton, other)
    assert shared.keypoints == ("red", "blue")
    assert left_out == ["green", "black"]
    chosen = Selected(dots(2), shared.keypoints)[1]
    np.testing.assert_array_equal(chosen.keypoints, dots(2)[1].keypoints[[0, 2]])
    with pytest.raises(ValueError, match="share no keypoint"):
        pair(HAND, other)


def test_impossible_splits_are_refused(dots):
    with pytest.raises(ValueError, match="processes"):
        batches(dots(20), processes=3)
    with pytest.raises(ValueError, match="start fewer"):
        batches(dots(1), processes=2)
