"""MuPoTS-3D's protocol, against a loop over people and joints as its publishers write it, and by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from keyshift.adapt.scoring import mupots
from keyshift.adapt.scoring.people import LabelledPeople, PredictedPeople
from keyshift.datasets.bodies.skeletons import MPI3DHP17

FOCAL, MIDDLE = 1000.0, 500.0
LIMIT = 150


def flat(points):
    return points[..., :2] / points[..., 2:] * FOCAL + MIDDLE


def standing():
    """A person of 17 joints, mm, 4 m away; every bone has a length."""
    places = {
        **{"head_top": (0, -750, 0), "head": (0, -600, 30), "neck": (0, -450, 0), "spine": (0, -200, 20)},
        **{"pelvis": (0, 0, 0), "shoulder": (180, -430, 0), "elbow": (250, -150, 20), "wrist": (270, 80, -80)},
        **{"hip": (110, 30, 0), "knee": (120, 450, -30), "ankle": (120, 880, 30)},
    }
    rows = []
    for name in MPI3DHP17.keypoints:
        side, joint = name.split("_") if name.startswith(("left", "right")) else ("left", name)
        x, y, z = places[joint]
        rows.append((x if side == "left" else -x, y, 4000 + z))
    return torch.tensor(rows, dtype=torch.float64)


def label(points, image, valid=None):
    n = len(points)
    valid = torch.ones(n, dtype=torch.bool) if valid is None else valid
    return LabelledPeople(points, torch.ones(n, 17, dtype=torch.bool), valid, torch.tensor(image), flat(points))


def predict(points, image, score=None):
    score = torch.ones(len(points)) if score is None else score
    return PredictedPeople(points, torch.tensor(image), score, flat(points))


def crowd(seed):
    """Six images of up to four people, some not valid, some missed, some seen twice, some invented."""
    rng = np.random.default_rng(seed)
    people, image, valid, seen, where = [], [], [], [], []
    for i in (4, 9, 2, 0, 1, 7):
        for _ in range(rng.integers(1, 5)):
            body = standing().numpy() + rng.normal(0, 60, (17, 3)) + rng.uniform([-600, -200, 0], [600, 200, 1500])
            people.append(body)
            image.append(i)
            valid.append(rng.random() > 0.2)
            for _ in range(rng.integers(0, 3)):
                seen.append(1.02 * body + rng.normal(0, rng.choice([20, 90]), (17, 3)) + rng.normal(0, 40, 3))
                where.append(i)
    seen.append(people[0] + [50.0, 2000.0, 0.0])  # far below
    where.append(4)
    seen.append(people[0])  # in an image without labels
    where.append(13)
    order = rng.permutation(len(seen))
    truth = label(torch.tensor(np.array(people)), image, torch.tensor(valid))
    return predict(torch.tensor(np.array(seen)[order]), [where[o] for o in order]), truth


def naive_match(predicted, truth):
    place, taken = [-1] * len(truth), set()
    for p in range(len(truth)):
        if not truth.valid[p]:
            continue
        best = 0
        for q in range(len(predicted)):
            if q in taken or predicted.image_index[q] != truth.image_index[p]:
                continue
            near = 0
            for k in range(1, 14):
                (x, y), (u, v) = predicted.keypoints[q, k].tolist(), truth.keypoints[p, k].tolist()
                near += abs(x - u) < 40 and abs(y - v) < 40 and (x, y) != (0, 0)
            if near > best:
                best, place[p] = near, q
        taken.add(place[p])
    return place


def naive_errors(predicted, truth, relative):
    """Sequence of rows of 17 distances for valid people, None for others."""
    parents = [p - 1 for p in (2, 16, 2, 3, 4, 2, 6, 7, 15, 9, 10, 15, 12, 13, 15, 15, 2)]
    order = [k - 1 for k in (16, 2, 1, 17, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)]
    errors = []
    for p, q in enumerate(naive_match(predicted, truth)):
        own = truth.points[p].numpy()
        own = own - own[14] if relative else own
        if q < 0:
            pose = np.full((17, 3), 1e5)
        else:
            first = predicted.points[q].numpy()
            first = first - first[14] if relative else first
            pose = first.copy()
            for k in order:
                bone = first[k] - first[parents[k]]
                length = np.linalg.norm(own[k] - own[parents[k]])
                pose[k] = pose[parents[k]] + bone * length / np.linalg.norm(bone)
        errors.append(np.sqrt(((pose - own) ** 2).sum(1)) if truth.valid[p] else None)
    return errors


def naive_tables(predicted, truth, relative, sequence, only_matched):
    place = naive_match(predicted, truth)
    errors = naive_errors(predicted, truth, relative)
    joints = [0, 1, 2, 5, 3, 6, 4, 7, 8, 11, 9, 12, 10, 13]
    pck, auc = {}, {}
    for name in dict.fromkeys(sequence):
        rows = [
            e
            for e, s, q in zip(errors, sequence, place, strict=True)
            if s == name and e is not None and (q >= 0 or not only_matched)
        ]
        if not rows:
            pck[name] = auc[name] = np.nan
            continue
        values = np.array(rows)[:, joints]
        pck[name] = (values < LIMIT).mean()
        auc[name] = np.mean([(values < t).mean() for t in range(0, 151, 5)])
    return pck, auc


@pytest.mark.parametrize("seed", range(6))
def test_against_loops(seed):
    predicted, truth = crowd(seed)
    assert mupots.match(predicted, truth).tolist() == naive_match(predicted, truth)
    sequence = [f"TS{i % 4}" for i in truth.image_index.tolist()]
    totals = []
    for relative in (True, False):
        parts = mupots.errors(predicted, truth, relative)
        for row, wanted in zip(parts[0], naive_errors(predicted, truth, relative), strict=True):
            if wanted is not None:
                np.testing.assert_allclose(row, wanted, atol=1e-6)
        for only_matched in (False, True):
            pck, auc = mupots.shares(*parts, sequence, only_matched)
            for shares, wanted in zip(
                (pck, auc), naive_tables(predicted, truth, relative, sequence, only_matched), strict=True
            ):
                assert shares.by_sequence() == pytest.approx(wanted, nan_ok=True)
                assert shares.total() == pytest.approx(np.nanmean(list(wanted.values())))
                totals.append(shares.total())
    assert len(set(totals)) == 8
    assert min(totals) > 0
    assert max(totals) < 1


def test_the_crowds_hold_everything_that_the_protocol_can_meet():
    crowds = [crowd(seed) for seed in range(6)]
    places = [mupots.match(*people) for people in crowds]
    assert any((~truth.valid).any() for _, truth in crowds)
    assert any(((place < 0) & truth.valid).any() for place, (_, truth) in zip(places, crowds, strict=True))
    assert all((place >= 0).sum() < len(predicted) for place, (predicted, _) in zip(places, crowds, strict=True))


def test_joints_are_those_of_the_set():
    names = MPI3DHP17.keypoints
    assert names[mupots.PELVIS] == "pelvis"
    by_name = {names[k]: names[parent] for k, parent in enumerate(mupots.PARENTS)}
    assert by_name["left_wrist"] == "left_elbow"
    assert by_name["right_knee"] == "right_hip"
    assert (by_name["head_top"], by_name["head"], by_name["neck"]) == ("neck", "neck", "spine")
    for group, members in mupots.GROUPS.items():
        assert all(names[k].split("_")[-1] in (group, "top") for k in members)
    done = {mupots.PELVIS}
    for joint in mupots.FROM_PELVIS:
        assert mupots.PARENTS[joint] in done
        done.add(joint)
    assert len(done) == 17


def test_a_perfect_prediction_and_a_larger_one():
    truth = label(standing()[None], [0])
    for scale in (1.0, 1.3):
        root = standing()[14]
        grown = predict((root + scale * (standing() - root))[None], [0])
        errors, _, found = mupots.errors(grown, truth, relative=False)
        assert found.all()
        assert errors.max().item() == pytest.approx(0, abs=1e-9)  # bones are given the true length


def test_only_the_absolute_form_sees_depth():
    truth = label(standing()[None], [0])
    behind = replace(predict(standing()[None] + torch.tensor([0, 0, 151.0]), [0]), keypoints=truth.keypoints)
    relative, absolute = (mupots.shares(*mupots.errors(behind, truth, r), ["TS1"])[0].total() for r in (True, False))
    assert (relative, absolute) == (1, 0)
    errors = mupots.errors(behind, truth, relative=False)[0]
    torch.testing.assert_close(errors, torch.full((1, 17), 151.0).double())


def test_one_person_missed():
    two = torch.stack([standing(), standing() + torch.tensor([700.0, 0, 0])])
    truth, seen = label(two, [0, 0]), predict(two[1:], [0])
    parts = mupots.errors(seen, truth, relative=True)
    assert parts[2].tolist() == [False, True]
    assert parts[0][0].min() > 1.7e5  # 1e5 on each axis
    names = ["TS3", "TS3"]
    assert [mupots.shares(*parts, names, only)[0].total() for only in (False, True)] == [0.5, 1]


def test_two_predictions_for_one_person():
    two = torch.stack([standing(), standing() + torch.tensor([700.0, 0, 0])])
    near = standing() + torch.tensor([30.0, 0, 0])
    truth = label(two, [0, 0])
    assert mupots.match(predict(torch.stack([near, two[0]]), [0, 0]), truth).tolist() == [0, -1]  # both within reach
    farther = torch.stack([standing() + torch.tensor([200.0, 0, 0]), near])
    assert mupots.match(predict(farther, [0, 0], torch.tensor([0.9, 0.1])), truth).tolist() == [1, -1]  # more in reach


def test_labels_choose_in_their_order():
    close = torch.stack([standing(), standing() + torch.tensor([100.0, 0, 0])])
    truth, seen = label(close, [0, 0]), predict(close[1:], [0])  # 25 px beside the first, on the second
    assert mupots.match(seen, truth).tolist() == [0, -1]


def test_reach_is_along_each_axis_and_one_joint_is_enough():
    truth = label(standing()[None], [0])
    off = torch.tensor([39.0, 39.0])
    assert mupots.match(replace(predict(standing()[None], [0]), keypoints=truth.keypoints + off), truth).tolist() == [0]
    far = truth.keypoints + torch.tensor([40.0, 0])
    seen = replace(predict(standing()[None], [0]), keypoints=far)
    assert mupots.match(seen, truth).tolist() == [-1]
    far[0, 5] = truth.keypoints[0, 5]
    assert mupots.match(seen, truth).tolist() == [0]
    far[0, 5] += 500
    far[:, [0, 14, 15, 16]] = truth.keypoints[:, [0, 14, 15, 16]]  # which do not take part
    assert mupots.match(seen, truth).tolist() == [-1]


def test_keypoints_at_zero_are_not_seen():
    corner = standing()[None] - torch.tensor([2000.0, 2000, 0])  # around the corner of the picture
    truth = label(corner, [0])
    seen = predict(corner, [0])
    assert mupots.match(seen, truth).tolist() == [0]  # a person out of the frame is matched where it is
    truth = replace(truth, keypoints=torch.ones(1, 17, 2).double())
    assert mupots.match(replace(seen, keypoints=torch.zeros(1, 17, 2).double()), truth).tolist() == [-1]
    assert mupots.match(replace(seen, keypoints=torch.full((1, 17, 2), 0.5).double()), truth).tolist() == [0]


def test_invalid_people_take_no_prediction():
    truth = label(torch.stack([standing(), standing()]), [0, 0], torch.tensor([False, True]))
    parts = mupots.errors(predict(standing()[None], [0]), truth, relative=True)
    assert parts[2].tolist() == [False, True]
    assert mupots.shares(*parts, ["TS1", "TS1"])[0].total() == 1


def test_a_mirrored_pose_is_wrong():
    truth = label(standing()[None], [0])
    swapped = standing()[MPI3DHP17.flip]  # left is taken for right
    seen = replace(predict(swapped[None], [0]), keypoints=truth.keypoints)
    groups = mupots.shares(*mupots.errors(seen, truth, relative=True), ["TS1"])[0].groups()
    assert groups == {**{"head": 1, "neck": 1, "shoulder": 0, "elbow": 0, "wrist": 0, "hip": 0, "knee": 0, "ankle": 0}}


def test_bones_without_length_end_where_they_start():
    truth = standing()[None]
    points = torch.zeros_like(truth) + truth[:, 14:15]
    torch.testing.assert_close(mupots.with_true_bones(points, truth), points)
    points = truth.clone()
    points[:, 3] = points[:, 2]
    mapped = mupots.with_true_bones(points, truth)
    torch.testing.assert_close(mapped[:, 3], truth[:, 2])
    length = torch.linalg.vector_norm(mapped[:, 4] - mapped[:, 3], dim=-1)
    torch.testing.assert_close(length, torch.linalg.vector_norm(truth[:, 4] - truth[:, 3], dim=-1))


def test_shares_by_hand():
    errors = torch.full((4, 17), 200.0)
    errors[0, 0] = 149.9
    errors[1, 0] = 150.0
    errors[2] = 0
    errors[2, 14:] = 999  # pelvis, spine and head do not count
    valid, found = torch.tensor([True, True, True, False]), torch.tensor([True, False, True, True])
    pck, auc = mupots.shares(errors, valid, found, ["TS1", "TS1", "TS2", "TS20"])
    assert pck.sequences == ("TS1", "TS2", "TS20")
    assert pck.by_sequence() == pytest.approx({"TS1": 0.5 / 14, "TS2": 1, "TS20": np.nan}, nan_ok=True)
    of_matched, _ = mupots.shares(errors, valid, found, ["TS1", "TS1", "TS2", "TS20"], only_matched=True)
    assert of_matched.by_sequence() == pytest.approx({"TS1": 1 / 14, "TS2": 1, "TS20": np.nan}, nan_ok=True)
    assert pck.total() == pytest.approx((0.5 / 14 + 1) / 2)  # each sequence weighs the same
    assert pck.groups()["head"] == 0.75
    assert pck.joints()["pelvis"] == 0
    assert pck.joints()["head_top"] == 0.75
    assert auc.groups()["head"] == pytest.approx((0.5 / 31 + 30 / 31) / 2)  # 149.9 is below 150 alone, 0 not below 0


def test_published_totals_are_means_over_sequences():
    every = [94.4, 77.5, 79.0, 81.9, 85.3, 72.8, 81.9, 75.7, 90.2, 90.4, 79.2, 79.9, 75.1, 72.7, 81.1, 89.9, 89.6]
    every += [81.8, 81.7, 76.2]
    pck = mupots.Shares(tuple(f"TS{i + 1}" for i in range(20)), torch.tensor(every)[:, None].expand(-1, 17))
    assert round(pck.total(), 1) == 81.8  # PoseNet's, README of the reference


def test_nobody():
    truth, people = label(standing()[None], [0]), predict(standing()[None], [0])
    none = torch.zeros(0, 17, 3).double()
    nothing, no_one = predict(none, []), label(none, [])
    nothing, no_one = (replace(p, image_index=p.image_index.long()) for p in (nothing, no_one))
    parts = mupots.errors(nothing, truth, relative=False)
    assert mupots.shares(*parts, ["TS1"])[0].total() == 0
    for shares in mupots.shares(*parts, ["TS1"], only_matched=True):
        assert np.isnan(shares.total())
    for seen in (people, nothing):
        pck, auc = mupots.shares(*mupots.errors(seen, no_one, relative=True), [])
        assert np.isnan(pck.total())
        assert all(np.isnan(value) for value in (*pck.joints().values(), *auc.groups().values()))


def test_what_the_protocol_refuses():
    truth, people = label(standing()[None], [0]), predict(standing()[None], [0])
    with pytest.raises(ValueError, match="need keypoints in file pixels"):
        mupots.match(replace(people, keypoints=None), truth)
    more = torch.cat([standing(), standing()[:4]])[None]
    with pytest.raises(ValueError, match="PredictedPeople of 21 joints: MuPoTS has 17, in the order head_top, neck"):
        mupots.match(predict(more, [0]), truth)
    with pytest.raises(ValueError, match="2 labels for 1 people"):
        mupots.shares(*mupots.errors(people, truth, relative=True), ["TS1", "TS2"])
