"""Batches whose samples are no crops: pictures with several people or nobody, 2D sequences, clips; and 3D labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import UNUSABLE, EvaluationBatches, TrainingBatches, crop
from keyshift.datasets.reading.images import UnreadableImage
from keyshift.datasets.rendered.hands import RenderedHands
from keyshift.datasets.sample import CAMERA_MM, PIXELS, PIXELS_AND_MM, Labeled, to_pixels
from keyshift.datasets.skeleton import Skeleton
from keyshift.datasets.views import Selected, View, WithoutLabels
from keyshift.models.output import per_image

TURNED = Augmentation(rotation=30, mirror=0.5)


def scenes(toys, count=8, style="plain"):
    return toys.Scenes(toys.Scenes.Options(train=count), "train", style)


def sequences(toys, count=8):
    return toys.Sequences(toys.Sequences.Options(train=count), "train")


def file_points(sample, person):
    """A person's keypoints by the sample's affine, in double."""
    matrix = sample.to_file[sample.image_index[person]].double()
    return sample.keypoints[person].double() @ matrix[:, :-1].T + matrix[:, -1]


def test_people_are_flat_and_know_their_picture(toys):
    data = scenes(toys, 16)
    batch = TrainingBatches(data, "source", 0, 8, (32, 32), TURNED, labels=True)[1]
    place = 0
    for image, row in enumerate(batch.row.tolist()):
        item = data[row]
        assert batch.id[image] == item.id
        for k in range(len(item.keypoints)):
            assert batch.image_index[place] == image
            torch.testing.assert_close(file_points(batch, place), torch.tensor(item.keypoints[k]), atol=1e-3, rtol=0)
            assert batch.annotated[place].tolist() == item.annotated[k].tolist()
            assert batch.visible[place].tolist() == item.visible[k].tolist()
            place += 1
    assert place == len(batch.keypoints) != len(batch)
    assert len({len(data[row].keypoints) for row in range(16)} | {0}) == 4  # nobody to three
    assert batch.space == PIXELS


def test_crops_are_one_person_an_image(dots):
    batch = EvaluationBatches(dots(5), 5, (32, 32))[0]
    assert batch.keypoints.shape == (5, 3, 2)
    assert batch.image_index.tolist() == list(range(5))
    values = torch.rand(5, 3, 4, 4)
    assert torch.equal(per_image(values, batch.image_index, 5), values)  # the sum over one is the same to the bit


def test_how_many_people_there_are_is_a_label_too(toys):
    batch = TrainingBatches(scenes(toys), "target", 0, 8, (32, 32), TURNED, labels=False, views=2)[0]
    assert not isinstance(batch, Labeled)
    hidden = EvaluationBatches(WithoutLabels(scenes(toys)), 8, (32, 32))[0]
    assert hidden.keypoints.shape == (0, 3, 2)
    assert not hasattr(batch.views[0], "image_index")


@pytest.mark.parametrize("kind", ["Scenes", "Sequences", "Clips"])
def test_two_processes_hold_what_one_does(toys, kind):
    data = getattr(toys, kind)(toys.Scenes.Options(train=12), "train")
    whole = TrainingBatches(data, "source", 3, 6, (32, 32), TURNED, True)[4]
    parts = [TrainingBatches(data, "source", 3, 6, (32, 32), TURNED, True, rank=r, processes=2)[4] for r in (0, 1)]
    assert whole.id == parts[0].id + parts[1].id
    for name in whole.inputs:
        assert torch.equal(whole.inputs[name], torch.cat([part.inputs[name] for part in parts]))
    assert torch.equal(whole.keypoints, torch.cat([part.keypoints for part in parts]))
    assert torch.equal(whole.image_index, torch.cat([parts[0].image_index, parts[1].image_index + 3]))


def test_3d_labels_reach_the_batch_and_change_names_in_a_mirrored_view(tmp_path):
    """A rendered hand's points: as the file has them, but for the names where the crop is seen in a mirror."""
    hands = RenderedHands("studio", 6, 0, 32, cache=tmp_path)
    paired = Skeleton("paired", hands.skeleton.keypoints, flip_pairs=((1, 5), (2, 6)))
    data, flip = View(hands, skeleton=paired), paired.flip
    batch = TrainingBatches(data, "source", 0, 6, (32, 32), TURNED, labels=True, views=2)[0]
    seen = set()
    for sample in (batch, *batch.views):
        assert sample.points.shape == (6, 21, 3)
        for image, row in enumerate(sample.row.tolist()):
            mirrored = bool(torch.det(sample.to_file[image, :, :2]) < 0)
            seen.add(mirrored)
            item = hands[row]
            order = flip if mirrored else list(range(21))
            assert item.points is not None
            wanted = torch.tensor(item.points[order].astype(np.float32))
            torch.testing.assert_close(sample.points[image], wanted, atol=0, rtol=0)
            truth = torch.tensor(item.keypoints[order], dtype=torch.float64)
            torch.testing.assert_close(file_points(sample, image), truth, atol=1e-3, rtol=0)
    assert seen == {True, False}
    plain = EvaluationBatches(hands, 6, (32, 32))[0]
    assert plain.points is not None
    assert not hasattr(plain.without_labels(), "points")
    assert EvaluationBatches(WithoutLabels(hands), 6, (32, 32))[0].points is None


def test_what_the_coordinates_are(toys, dots, balls):
    for data, space, dims in (
        (dots(4), PIXELS, 2),
        (scenes(toys), PIXELS, 2),
        (balls(4), PIXELS_AND_MM, 3),
        (sequences(toys), CAMERA_MM, 3),
    ):
        batch = TrainingBatches(data, "source", 0, 4, (32, 32), Augmentation(), labels=True)[0]
        assert batch.space == space
        assert batch.keypoints.shape[-1] == dims
        assert batch.to_file.shape == (4, dims, dims + 1)


def test_sequences_are_cut_and_mirrored_and_never_turned(toys):
    """Keypoints of a sequence move as a picture's would; those in the camera's frame are mirrored alone."""
    data = sequences(toys, 12)
    paired = View(data, skeleton=Skeleton("pair", toys.DOTS.keypoints, flip_pairs=((1, 2),)))
    batch = TrainingBatches(paired, "source", 0, 12, (64, 64), Augmentation(rotation=90, mirror=0.5), labels=True)[0]
    assert batch.gives == {"keypoints2d", "lens", "camera"}
    projected = to_pixels(batch.keypoints, batch.inputs["lens"])[..., :2]
    torch.testing.assert_close(projected, batch.inputs["keypoints2d"][:, 2, :, :2], atol=0.5, rtol=0)  # both mirrored
    given = batch.inputs["keypoints2d"]
    assert given.shape == (12, 5, 3, 3)
    seen = set()
    for i, row in enumerate(batch.row.tolist()):
        item, order = data[row], [0, 1, 2]
        signs = torch.ones(3)
        if batch.to_file[i, 0, 0] < 0:
            order, signs = [0, 2, 1], torch.tensor([-1.0, 1.0, 1.0])
        seen.add(tuple(order))
        torch.testing.assert_close(batch.keypoints[i], torch.tensor(item.keypoints[order]).float() * signs)
        torch.testing.assert_close(batch.points[i], torch.tensor(item.points[order]).float())
        assert torch.equal(batch.to_file[i], torch.cat([torch.diag(signs), torch.zeros(3, 1)], 1))
        pixels = item.inputs["keypoints2d"][:, order, :2].reshape(-1, 2)
        design = np.column_stack([pixels, np.ones(len(pixels))])
        there = given[i, ..., :2].reshape(-1, 2).double().numpy()
        affine, *_ = np.linalg.lstsq(design, there, rcond=None)
        np.testing.assert_allclose(design @ affine, there, atol=1e-3)  # one affine for all frames
        np.testing.assert_allclose([affine[0, 1], affine[1, 0]], 0, atol=1e-4)  # which does not turn
        assert affine[0, 0] * float(signs[0]) > 0
        assert affine[1, 1] > 0
        assert (given[i, ..., 2] == 1).all()
    assert len(seen) == 2


def test_clips_share_what_is_drawn(toys):
    """All frames are warped and coloured alike: a clip of equal frames stays one."""

    class Still(View):
        def __getitem__(self, index):
            item = self.dataset[index]
            return replace(item, image=np.repeat(item.image[:1], 3, 0))

    clips = toys.Clips(toys.Scenes.Options(train=4), "train")
    batch = TrainingBatches(Still(clips), "source", 0, 4, (24, 16), TURNED, labels=True)[0]
    assert batch.image.shape == (4, 3, 3, 16, 24)
    assert batch.image.dtype == torch.uint8
    assert torch.equal(batch.image[:, 0], batch.image[:, 1])
    assert torch.equal(batch.image[:, 0], batch.image[:, 2])
    moving = TrainingBatches(clips, "source", 0, 4, (24, 16), TURNED, labels=True)[0]
    assert not torch.equal(moving.image[:, 0], moving.image[:, 2])
    plain = EvaluationBatches(clips, 4, (32, 32))[0]
    for row in range(4):
        wanted = torch.tensor(np.moveaxis(clips[row].image, -1, 1))
        assert torch.equal(plain.image[row], wanted)


def test_a_clip_trains(toys):
    torch.manual_seed(0)
    clips = toys.Clips(toys.Scenes.Options(train=8), "train")
    model = toys.ClipNet(3, toys.ClipNet.Options()).train()
    model.check(EvaluationBatches(WithoutLabels(clips), 2, (32, 32))[0], clips.name)
    batches = TrainingBatches(clips, "source", 0, 4, (32, 32), TURNED, labels=True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for step in range(30):
        sample = batches[step]
        loss = model.loss(model(sample), sample)["heat"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    assert torch.stack(losses[-5:]).mean() < 0.6 * torch.stack(losses[:5]).mean()


def test_keypoints_that_one_side_lacks_leave_the_sequences_too(toys):
    data = sequences(toys)
    few = Selected(data, ("blue", "red"))
    assert np.array_equal(few[0].inputs["keypoints2d"], data[0].inputs["keypoints2d"][:, [2, 0]])
    assert np.array_equal(few[0].keypoints, data[0].keypoints[[2, 0]])
    cut = crop(few[0], (32, 32), None, None, few.skeleton.flip)
    assert cut.inputs["keypoints2d"].shape == (5, 2, 3)


def test_a_window_of_a_clip(toys):
    batch = EvaluationBatches(toys.Clips(toys.Scenes.Options(train=2), "train"), 2, (32, 32))[0]
    batch = replace(batch, inputs={**batch.inputs, "margins": torch.tensor([[1.0, 2.0]]).repeat(2, 1)})
    middle, pair = batch.window(1, 0), batch.window(1, 2)
    assert torch.equal(middle.image, batch.image[:, 1])
    assert middle.inputs["margins"].shape == (2, 0)
    assert torch.equal(pair.image, batch.image[:, 1:])
    assert pair.inputs["margins"].tolist() == [[2.0], [2.0]]
    points = EvaluationBatches(sequences(toys), 2, (32, 32))[0]
    assert torch.equal(points.window(1, 3).inputs["keypoints2d"], points.inputs["keypoints2d"][:, 1:4])
    assert torch.equal(points.window(1, 3).keypoints, points.keypoints)


@pytest.mark.parametrize("kind", ["Scenes", "Clips", "Sequences", "Lifted"])
def test_what_cannot_be_read_stays_in_its_place(toys, kind):
    """Empty, of the others' form, and with nothing known; so do pictures whose points are in the camera's frame."""
    base = getattr(toys, "Sequences" if kind == "Lifted" else kind)

    class Broken(base):
        def __getitem__(self, index):
            if index == 1:
                raise UnreadableImage("broken.png")
            item = super().__getitem__(index)
            return replace(item, image=np.zeros((32, 32, 3), np.uint8)) if kind == "Lifted" else item

    data = Broken(toys.Scenes.Options(train=3), "train")
    with pytest.warns(UserWarning, match=r"left out of the metrics: broken\.png"):
        batch = EvaluationBatches(data, 3, (32, 32))[0]
    assert batch.sequence[1] == UNUSABLE
    assert batch.id[0] == data[0].id
    assert not batch.annotated[batch.image_index == 1].any()
    assert batch.keypoints.isfinite().all()
    assert all(len(value) == 3 for value in batch.inputs.values())
