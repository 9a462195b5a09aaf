"""Pose-guided proposals against loops written from their formulas, and what they are for: a model that was trained with
the right ones is better where boxes are another detector's."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from keyshift.datasets.augment import Augmentation
from keyshift.datasets.loading import TrainingBatches, crop, loader
from keyshift.datasets.proposals import (
    DPG,
    Proposals,
    aligned,
    mean_pose,
    measure,
    open_proposals,
    proposed,
    save_proposals,
    true_boxes,
)
from keyshift.datasets.reading.people import square
from keyshift.datasets.sample import Item
from keyshift.datasets.skeleton import Skeleton

NAMES = ("head", "hip", "hand", "foot")
STANDING = np.array([[0.0, -2.0], [0.0, 0.0], [0.3, 0.2], [0.0, 2.0]])
WAVING = np.array([[0.0, -2.0], [0.0, 0.0], [2.0, -1.5], [0.0, 2.0]])


def crowd(count=400, seed=0, hidden=0.2):
    """Poses of two kinds, anywhere and of any size, some joints unknown; which kind each is of."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(2, size=count)
    poses = np.stack([STANDING, WAVING])[kind] + 0.1 * rng.standard_normal((count, 4, 2))
    poses = poses * rng.uniform(5, 60, (count, 1, 1)) + rng.uniform(200, 400, (count, 1, 2))
    annotated = rng.random((count, 4)) >= hidden
    annotated[:, 1:3] = True
    return poses, annotated, kind


def aligned_by_loops(pose, known, middle):
    """The known joints with the centre and the spread of the same joints of `middle`; the others are those of it."""
    joints = [k for k in range(len(pose)) if known[k]]
    own, wanted = (np.mean([points[k] for k in joints], axis=0) for points in (pose, middle))
    spread = [
        sum(float(((points[k] - at) ** 2).sum()) for k in joints) for points, at in ((pose, own), (middle, wanted))
    ]
    made = middle.copy()
    for k in joints:
        made[k] = (pose[k] - own) * np.sqrt(spread[1] / spread[0]) + wanted
    return made


def test_poses_are_aligned_as_by_loops():
    poses, annotated, _ = crowd(30)
    middle = mean_pose(poses, annotated)
    made = aligned(poses, annotated, middle)
    for pose, known, ours in zip(poses, annotated, made, strict=True):
        np.testing.assert_allclose(ours, aligned_by_loops(pose, known, middle), atol=1e-9)
    whole = aligned(poses, np.ones_like(annotated), middle)
    np.testing.assert_allclose(whole.mean(1), 0, atol=1e-9)
    np.testing.assert_allclose(np.square(whole).sum(-1).mean(1), 1, atol=1e-9)


def test_the_mean_pose_is_the_pose_that_all_have():
    """Copies of one pose, moved and scaled, a quarter of their joints unknown."""
    rng = np.random.default_rng(1)
    poses = WAVING * rng.uniform(1, 9, (50, 1, 1)) + rng.uniform(-99, 99, (50, 1, 2))
    annotated = rng.random((50, 4)) < 0.75
    annotated[:, :2] = True
    centred = WAVING - WAVING.mean(0)
    wanted = centred / np.sqrt(np.square(centred).sum(-1).mean())
    np.testing.assert_allclose(mean_pose(poses, annotated), wanted, atol=1e-3)
    turned = WAVING[:, ::-1]  # who lies is not who stands: nobody is turned
    assert np.abs(mean_pose(np.stack([turned] * 9), np.ones((9, 4), bool)) - wanted).max() > 0.5


def test_true_boxes_are_those_of_the_joints_as_by_loops():
    poses, annotated, _ = crowd(40, hidden=0.6)
    annotated[0] = False
    annotated[1] = [True, False, False, False]
    poses[2] += 5000
    shown = np.tile([0.0, 0.0, 420.0, 410.0], (40, 1))
    boxes, usable = true_boxes(poses, annotated, shown)
    for pose, known, box, use in zip(poses, annotated, boxes, usable, strict=True):
        joints = pose[known]
        if len(joints) < 2 or (joints.min(0) > 420).any():
            assert not use
            continue
        low, high = joints.min(0), joints.max(0)
        half = 1.2 * np.maximum((high - low) / 2, 0.25 * (high - low).max() / 2)
        wanted = np.concatenate([(low + high) / 2 - half, (low + high) / 2 + half]).clip(0, [420, 410, 420, 410])
        assert use
        np.testing.assert_allclose(box, wanted)
    assert usable.sum() > 30


def planted(count=3000, seed=0, hidden=0.2):
    """People whose detected boxes differ by their pose: of those who wave the right side is cut by a quarter."""
    poses, annotated, kind = crowd(count, seed, hidden)
    boxes, _ = true_boxes(poses, annotated, np.tile([-1e4, -1e4, 1e4, 1e4], (count, 1)))
    mean = np.array([[0.02, -0.01, 0.03, 0.0], [0.0, 0.05, -0.25, -0.1]])
    std = np.array([[0.02, 0.05, 0.04, 0.03], [0.08, 0.03, 0.1, 0.05]])
    offsets = mean[kind] + std[kind] * np.random.default_rng(seed + 1).standard_normal((count, 4))
    return (poses, annotated, boxes, boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2], 2)), kind, mean, std


def test_offsets_are_measured_for_each_kind_of_pose():
    people, kind, mean, std = planted(hidden=0.0)
    made = measure(*people, NAMES, atoms=2)
    atom = made.atoms(*people[:2])
    first = atom[kind == 0][0]
    assert ((atom == first) == (kind == 0)).all()
    order = [first, 1 - first]
    np.testing.assert_allclose(made.mean[order], mean, atol=0.01)
    np.testing.assert_allclose(made.std[order], std, atol=0.01)
    assert [made.people[k] for k in order] == [int((kind == 0).sum()), int((kind == 1).sum())]


def test_atoms_and_offsets_are_those_of_loops():
    (poses, annotated, boxes, detected), *_ = planted(300)
    made = measure(poses, annotated, boxes, detected, NAMES, atoms=5)
    members = {k: [] for k in range(5)}
    for n in range(300):
        pose = aligned_by_loops(poses[n], annotated[n], made.middle)
        away = [sum(((pose[j] - made.poses[k, j]) ** 2).sum() for j in range(4) if annotated[n, j]) for k in range(5)]
        width, height = boxes[n, 2] - boxes[n, 0], boxes[n, 3] - boxes[n, 1]
        moved = detected[n] - boxes[n]
        members[int(np.argmin(away))].append([moved[0] / width, moved[1] / height, moved[2] / width, moved[3] / height])
    for k, offsets in members.items():
        assert made.people[k] == len(offsets)
        np.testing.assert_allclose(made.mean[k], np.mean(offsets, axis=0), atol=1e-9)
        np.testing.assert_allclose(made.std[k], np.std(offsets, axis=0), atol=1e-9)


def test_as_many_atoms_as_people_suffice_for():
    people, *_ = planted(200)
    assert len(measure(*people, NAMES).people) >= 2
    assert min(measure(*people, NAMES).people) >= 10
    few = [values[:25] for values in people]
    assert len(measure(*few, NAMES).people) <= 2
    with pytest.raises(ValueError, match="25 people with a detected box are too few for 3 atoms, of 10 or more each"):
        measure(*few, NAMES, atoms=3)
    lone = [values.copy() for values in people]
    lone[0][:3] *= [1, -1]  # three who stand on their heads
    with pytest.raises(ValueError, match=r"of 200 people, 12 atoms leave \d to one of them"):
        measure(*lone, NAMES, atoms=12)


def test_poses_that_repeat_are_as_many_atoms_as_there_are_different_ones():
    """Of people who hold one of three poses exactly, at any place and size; sklearn's warning would be an error."""
    rng = np.random.default_rng(0)
    three = np.stack([STANDING, WAVING, WAVING[:, ::-1]])
    poses = three[np.arange(90) % 3] * rng.uniform(5, 60, (90, 1, 1)) + rng.uniform(200, 400, (90, 1, 2))
    annotated, shown = np.ones((90, 4), bool), np.tile([-1e4, -1e4, 1e4, 1e4], (90, 1))
    boxes, _ = true_boxes(poses, annotated, shown)
    assert measure(poses, annotated, boxes, boxes + 1, NAMES).people == (30, 30, 30)
    same = [values[::3] for values in (poses, annotated, boxes, boxes + 1)]
    assert measure(*same, NAMES).people == (30,)
    with pytest.raises(ValueError, match="30 people have 1 different poses, fewer than 2 atoms"):
        measure(*same, NAMES, atoms=2)


TWO = Proposals(
    NAMES,
    middle=np.zeros((4, 2)),
    poses=np.zeros((2, 4, 2)),
    mean=np.array([[0.0, 0.0, 0.0, 0.0], [0.1, -0.05, -0.2, 0.02]]),
    std=np.array([[0.0, 0.0, 0.0, 0.0], [0.03, 0.05, 0.02, 0.01]]),
)
SHOWN = np.array([0.0, 0.0, 1000.0, 1000.0])


@pytest.mark.parametrize(("proposals", "atom"), [(TWO, 1), (DPG, 0)])
def test_boxes_are_drawn_from_the_atoms_offsets(proposals, atom):
    """One in so many is a part of the true box of scale u; the others' sides are moved by normal draws, in w and h."""
    box, rng = np.array([400.0, 300.0, 500.0, 500.0]), np.random.default_rng(0)
    drawn = np.stack([proposals.draw(box, atom, SHOWN, rng) for _ in range(20000)])
    sides = drawn[:, 2:] - drawn[:, :2]
    scales = sides / [100.0, 200.0]
    parts = np.isclose(scales[:, 0], scales[:, 1]) & (drawn[:, :2] >= box[:2] - 1e-9).all(1)
    parts &= (drawn[:, 2:] <= box[2:] + 1e-9).all(1)
    assert parts.mean() == pytest.approx(proposals.patch_share, abs=0.01)
    scale = scales[parts, 0]
    assert (scale.min(), scale.max()) == pytest.approx((1 - proposals.patch_share, 1), abs=0.01)
    assert scale.mean() == pytest.approx(1 - proposals.patch_share / 2, abs=0.01)
    place = (drawn[parts, :2] - box[:2]) / (np.array([100.0, 200.0]) * (1 - scale[:, None]))
    assert np.histogram(place, 5, (0, 1))[0] / place.size == pytest.approx(np.full(5, 0.2), abs=0.02)
    offsets = (drawn[~parts] - box) / [100.0, 200.0, 100.0, 200.0]
    np.testing.assert_allclose(offsets.mean(0), proposals.mean[atom], atol=0.004)
    np.testing.assert_allclose(offsets.std(0), proposals.std[atom], atol=0.004)


def test_alphaposes_numbers():
    np.testing.assert_array_equal(DPG.mean, [[-0.0142, 0.0043, 0.0154, -0.0013]])
    np.testing.assert_array_equal(DPG.std, [[0.1158, 0.068, 0.1337, 0.0711]])
    assert (DPG.patch_share, DPG.smallest) == (0.15, 2.0)
    assert open_proposals("dpg", NAMES) is DPG


def test_boxes_stay_in_the_picture_and_have_a_size():
    wild = replace(TWO, std=np.full((2, 4), 2.0))
    box, rng = np.array([5.0, 5.0, 25.0, 45.0]), np.random.default_rng(0)
    drawn = np.stack([wild.draw(box, 0, np.array([0.0, 0.0, 64.0, 48.0]), rng) for _ in range(2000)])
    assert (drawn[:, 2:] - drawn[:, :2]).min() >= 5 - 1e-9
    assert drawn.min() >= -2.5
    assert (drawn[:, 2:] <= [66.5, 50.5]).all()
    assert ((drawn[:, 0] == 0) | (drawn[:, 2] == 64)).any()


def test_the_crop_is_cut_around_the_drawn_box(dots):
    item = dots(1)[0]
    moved = proposed(item, replace(DPG, std=np.zeros((1, 4)), patch_share=0.0), np.random.default_rng(0))
    box, _ = true_boxes(item.keypoints[None], item.annotated[None], np.array([[0, 0, 32, 32]]))
    wanted = box[0] + DPG.mean[0] * np.tile(box[0, 2:] - box[0, :2], 2)
    np.testing.assert_allclose(moved.box, square(wanted, 1.25), rtol=1e-6)
    assert moved.keypoints is item.keypoints
    assert moved.image is item.image
    unknown = replace(item, annotated=np.array([True, False, False]))
    assert proposed(unknown, DPG, np.random.default_rng(0)) is unknown


def drawn_batches(dataset, labels=True, **more):
    proposals = replace(DPG, std=DPG.std / 2)
    return TrainingBatches(dataset, "source", 3, 8, (32, 32), Augmentation(), labels, proposals=proposals, **more)


def test_boxes_are_the_same_in_any_worker_process_and_order(dots):
    whole = drawn_batches(dots(20))
    batches = [whole[step] for step in range(3)]
    for step, batch in enumerate(loader(drawn_batches(dots(20)), range(3), workers=1)):
        assert torch.equal(batch.to_file, batches[step].to_file)
        assert torch.equal(batch.image, batches[step].image)
    assert torch.equal(drawn_batches(dots(20))[2].to_file, batches[2].to_file)
    parts = [drawn_batches(dots(20), rank=rank, processes=2)[1] for rank in range(2)]
    assert torch.equal(torch.cat([part.keypoints for part in parts]), batches[1].keypoints)
    plain = TrainingBatches(dots(20), "source", 3, 8, (32, 32), Augmentation(), True)[0]
    assert plain.id == batches[0].id
    assert (plain.side != batches[0].side).all()
    assert drawn_batches(dots(20), views=2)[0].views[0].side.equal(batches[0].side)  # one detector, two views


def test_without_labels_there_are_none(dots):
    with pytest.raises(ValueError, match="read without its labels, by which proposals move boxes"):
        drawn_batches(dots(20), labels=False)


def test_files_keep_what_was_measured(tmp_path):
    people, *_ = planted(300)
    made = measure(*people, NAMES, atoms=3)
    save_proposals(tmp_path / "made.json", made, {"boxes": "a detector"})
    read = open_proposals(str(tmp_path / "made.json"), NAMES)
    other = open_proposals(str(tmp_path / "made.json"), NAMES[::-1])
    for name in ("middle", "poses", "mean", "std"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
    assert (read.patch_share, read.smallest) == (0.3, 5.0)
    poses, annotated = people[:2]
    assert (other.atoms(poses[:, ::-1], annotated[:, ::-1]) == made.atoms(poses, annotated)).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "keyshift proposals 0"}, "Make it anew: keyshift proposals"),
        ({"keypoints": ["head", "hip", "tail", "foot"]}, "boxes around head, hip, tail, foot; this run has head, hip"),
        ({"atoms": []}, "one or more of each"),
        ({"patch_share": 30}, "patch_share is 30.0, expected a share from 0, of no patches, to 1"),
        ({"mean_pose": [[0, 0]]}, r"mean_pose is of shape \(1, 2\), expected finite numbers of shape \(4, 2\)"),
        ({"atoms": [{"pose": [[0, 0]] * 4, "mean": [0] * 4}]}, "atom 0: std is missing"),
        ({"atoms": [{"pose": [[0, 0]] * 4, "mean": [0] * 4, "std": [1, 1, -1, 1]}]}, "deviations from 0 on"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, change, text):
    people, *_ = planted(100)
    path = tmp_path / "made.json"
    save_proposals(path, measure(*people, NAMES, atoms=1), {})
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=text):
        open_proposals(str(path), NAMES)
    with pytest.raises(ValueError, match="proposals= takes dpg, or a file that keyshift proposals wrote"):
        open_proposals(str(tmp_path / "other.json"), NAMES)


class Bars:
    """Coloured dots on a vertical bar of any length, anywhere; boxes are those of the dots. A poor detector misses the
    lower third."""

    skeleton = Skeleton("bar", ("red", "green", "blue"))
    name, identity = "bars", {}
    poor = replace(
        DPG, mean=np.array([[0.0, 0.05, 0.0, -0.4]]), std=np.array([[0.05, 0.05, 0.05, 0.05]]), patch_share=0.0
    )

    def __len__(self):
        return 400

    def __getitem__(self, index):
        rng = np.random.default_rng([index, 5])
        length, x, y = rng.uniform(12, 26), rng.uniform(20, 44), rng.uniform(18, 30)
        points = np.array([[x, y], [x, y + length * rng.uniform(0.4, 0.6)], [x, y + length]])
        points[:, 0] += rng.uniform(-4, 4, 3)
        yy, xx = np.mgrid[:64, :64] + 0.5
        away = (xx - points[:, 0].reshape(3, 1, 1)) ** 2 + (yy - points[:, 1].reshape(3, 1, 1)) ** 2
        known = np.ones(3, bool)
        true, _ = true_boxes(points[None], known[None], np.array([[0, 0, 64, 64]]))
        return Item(
            image=(255 * np.exp(-away / 8)).round().astype(np.uint8).transpose(1, 2, 0),
            box=square(true[0], 1.25),
            id=f"bar{index}",
            sequence="bars",
            frame=index,
            camera=np.zeros(4),
            keypoints=points,
            visible=known,
            annotated=known,
        )


def trained(proposals):
    """A network without convolutions, which knows the places and sizes that it has seen: its mean error, px of the
    input, on held-out bars that the poor detector cut."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 64), nn.ReLU(), nn.Linear(64, 6))
    optimizer, options = (
        torch.optim.Adam(model.parameters(), 3e-3),
        Augmentation(rotation=0, area=[1, 1], color=0, blur=0),
    )
    data = TrainingBatches(Bars(), "source", 0, 32, (16, 16), options, True, proposals=proposals)
    for step in range(150):
        batch = data[step]
        away = model(batch.image / 255.0).view(-1, 3, 2) * 16 - batch.keypoints
        optimizer.zero_grad()
        away.abs().mean().backward()
        optimizer.step()
    errors = []
    for index in range(400, 460):
        item = proposed(Bars()[index], Bars.poor, np.random.default_rng(index))
        cut = crop(item, (16, 16), None, None, [0, 1, 2])
        with torch.no_grad():
            points = model(torch.from_numpy(cut.inputs["image"].copy())[None] / 255.0).view(3, 2) * 16
        errors.append(float((points - torch.from_numpy(cut.keypoints[0])).norm(dim=-1).mean()))
    return np.mean(errors)


def test_a_model_that_was_trained_with_the_right_ones_is_better_on_poor_boxes():
    without, right = trained(None), trained(Bars.poor)
    assert right < 0.6 * without
