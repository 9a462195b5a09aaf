"""Anatomy3D: its losses by loops, its two forms, what it may look at, and what it learns."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from keyshift.adapt.scoring.evaluation import predict, with_mirror
from keyshift.datasets.augment import Augmentation
from keyshift.datasets.bodies.skeletons import COCO19, H36M17, MPI3DHP17
from keyshift.datasets.loading import EvaluationBatches, TrainingBatches
from keyshift.datasets.skeleton import Skeleton
from keyshift.datasets.views import as_clips
from keyshift.models.export import to_onnx
from keyshift.models.parts import anatomy
from keyshift.models.parts.bones import PUBLISHED, below, bones_of, lengthened, vectors
from keyshift.models.saved import load_model, save_model
from keyshift.models.systems import anatomy3d
from keyshift.models.systems.anatomy3d import Anatomy3D

CPU = torch.device("cpu")
SMALL = {"input_size": [200, 200], "widths": [3, 3], "channels": 12}


def build(walkers, seed=0, **options):
    torch.manual_seed(seed)
    return Anatomy3D(5, Anatomy3D.Options(**SMALL | options)).know(walkers.WALKER)


def settled(model, sample):
    """`model` whose norms have seen something, in evaluation mode, so that nothing is as it began."""
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(sample)
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def batch(walkers, model, count=4, **more):
    data = as_clips(walkers.walkers(**more), model.frames)
    return TrainingBatches(data, "source", 0, count, model.input_size, Augmentation(mirror=0.5, area=[1.0, 1.0]), True)[
        0
    ]


# Bones


def test_bones_of_other_skeletons_are_those_of_their_trees(walkers):
    assert bones_of(walkers.WALKER) == ((1, 0), (2, 1), (3, 0), (4, 3))
    for skeleton in (COCO19, MPI3DHP17, Skeleton("apart", ("a", "b", "c"), edges=((0, 1),), root=1)):
        bones = bones_of(skeleton)
        assert len(bones) == len(skeleton) - 1
        assert {one for one, _ in bones} == set(range(len(skeleton))) - {skeleton.root}
    names = H36M17.keypoints[::-1]
    reversed_bones = bones_of(H36M17.select(names))
    wanted = {(H36M17.keypoints[a], H36M17.keypoints[b]) for a, b in PUBLISHED}
    assert {(names[a], names[b]) for a, b in reversed_bones} == wanted


def test_what_moves_with_each_published_bone():
    """As the reference lists it: with the two that point down, joints move against them."""
    listed = {
        **{0: [16], 1: [15, 16], 2: [13], 3: [12, 13], 4: [10], 5: [9, 10], 6: [*range(8, 17)], 7: [11, 12, 13]},
        **{8: [14, 15, 16], 9: [*range(7, 17)], 10: [3], 11: [2, 3], 12: [6], 13: [5, 6], 14: [1, 2, 3], 15: [4, 5, 6]},
    }
    moves = below(PUBLISHED, 0, 17)
    for bone, joints in listed.items():
        assert moves[bone].nonzero().flatten().tolist() == joints
        assert moves[bone, joints].unique().tolist() == [-1.0 if bone in (7, 8) else 1.0]


@pytest.mark.parametrize("skeleton", [H36M17, COCO19], ids=lambda skeleton: skeleton.name)
def test_longer_bones_point_where_they_did(skeleton):
    bones = bones_of(skeleton)
    ends, count = torch.tensor(bones), len(skeleton)
    poses, change = torch.randn(2, 3, count, 3).double(), torch.rand(2, len(bones)).double() - 0.3
    longer = lengthened(poses, ends, below(bones, skeleton.root, count).double(), change)
    before, after = vectors(poses, ends), vectors(longer, ends)
    torch.testing.assert_close(after.norm(dim=-1), (before.norm(dim=-1) + change[:, None]).abs())
    kept = (before.norm(dim=-1) + change[:, None]) > 0
    torch.testing.assert_close(F.normalize(after, dim=-1)[kept], F.normalize(before, dim=-1)[kept])
    torch.testing.assert_close(longer[:, :, skeleton.root], poses[:, :, skeleton.root])


# Losses


def naive(model, votes, sample, told, one):
    """The stated losses by loops, in float64; `told` are poses and lengths of augmented frames, and what is true."""
    extra, bones = votes.extra, bones_of(model.skeleton)
    count, joints = sample.keypoints.shape[:2]
    pairs = [(i, j) for i in range(joints) for j in range(i, joints) if (i, j) not in bones and (j, i) not in bones]
    totals = dict.fromkeys(
        ("points", "directions", "first_directions", "lengths", "shifts", "first_shifts", "frame"), 0.0
    )
    totals |= dict.fromkeys(("augmented_frame", "augmented_lengths"), 0.0) if told else {}
    poses, lengths, longer = told or (None, None, None)
    for b in range(count):
        truth = sample.keypoints[b] / 1000
        known = sample.annotated[b].tolist()
        for k in range(joints):
            if known[k]:
                r = int(one[b])
                plain = sample.inputs["random3d"][b, r, k] / 1000
                plain = longer[b, r, k] if model.options.reference else plain
                totals["points"] += (extra["apart"][b, k] - truth[k]).norm() / (count * joints)
                totals["frame"] += (extra["pose"][b, k] - plain).norm() / (count * joints)
                if told:
                    totals["augmented_frame"] += (poses[b, r, k] - longer[b, r, k]).norm() / (count * joints)
        for n, (p, q) in enumerate(bones):
            if known[p] and known[q]:
                bone = truth[p] - truth[q]
                for name, share in (("directions", 0.3), ("first_directions", 0.15)):
                    away = extra[name][b, 3 * n : 3 * n + 3] - bone / bone.norm()
                    totals[name] += share * away.square().sum() / (count * len(bones))
                totals["lengths"] += 100 * (extra["lengths"][b, n] - bone.norm()) ** 2 / (count * len(bones))
                if told:
                    mean = sum((longer[b, r, p] - longer[b, r, q]).norm() for r in range(longer.shape[1]))
                    away = lengths[b, n] - mean / longer.shape[1]
                    totals["augmented_lengths"] += 100 * away**2 / (count * len(bones))
        for n, (i, j) in enumerate(pairs):
            if known[i] and known[j]:
                for name, share in (("shifts", 2), ("first_shifts", 1)):
                    away = (extra[name][b, n] - (truth[j] - truth[i])).norm()
                    totals[name] += share * away / (count * len(pairs))
    return totals


@pytest.mark.parametrize("options", [{}, {"reference": True}, {"lengthening": 0.0}, {"coordinates": "camera"}])
def test_losses_and_gradients_are_those_of_loops(walkers, options):
    """In training, with one joint unknown; gradients reach what they are said to reach."""
    model = build(walkers, dropout=0.0, **options).double()
    model.skeleton = walkers.WALKER
    sample = batch(walkers, model).each(lambda value: value.double() if value.is_floating_point() else value)
    sample.annotated[1, 4] = False
    label = sample.inputs["random3d"].clone()
    seen = {}
    lengths_of, poses_of, augmented = model.lengths_of, model.length.poses, model.augmented
    model.lengths_of = lambda poses: seen.setdefault("lengths", []).append(lengths_of(poses)) or seen["lengths"][-1]
    model.length.poses = lambda places: seen.setdefault("poses", []).append(poses_of(places)) or seen["poses"][-1]
    model.augmented = lambda *given: seen.setdefault("longer", []).append(augmented(*given)) or seen["longer"][-1]
    votes = model(sample)
    losses = model.loss(votes, sample)
    told = (seen["poses"][1], seen["lengths"][1], seen["longer"][0][0]) if "longer" in seen else None
    one = (sample.frame * 2654435761 >> 16) % 6
    wanted = naive(model, votes, sample, told, one)
    assert losses.keys() == wanted.keys()
    parameters = list(model.parameters())
    for name, value in wanted.items():
        torch.testing.assert_close(losses[name], value, atol=1e-10, rtol=1e-8)
        pairs = [
            torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            for loss in (losses[name], value)
        ]
        for ours, theirs in zip(*pairs, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-6)
    assert torch.equal(label, sample.inputs["random3d"]), "labels are not written into"


def reached(model, loss):
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    there = {
        name for name, value in zip(names, gradients, strict=True) if value is not None and bool((value != 0).any())
    }
    return {".".join(name.split(".")[:2]) for name in there}


def test_what_each_loss_teaches(walkers):
    """Joints teach what joins directions and lengths; shifts teach directions, and not lengths. An adapting strategy's
    loss of the votes reaches all that is answered with."""
    model = build(walkers, dropout=0.0)
    sample = batch(walkers, model)
    votes = model(sample)
    losses = model.loss(votes, sample)
    assert reached(model, losses["points"]) == {"head.joints"}
    assert reached(model, losses["lengths"]) == {"length.attention"}
    assert "length.entry" in reached(model, losses["frame"]) & reached(model, losses["augmented_frame"])
    assert {"direction.second", "head.directions"} <= reached(model, losses["shifts"])
    assert not {"direction.first", "length.attention"} & reached(model, losses["shifts"])
    assert {"direction.first", "direction.places", "direction.scores"} <= reached(model, losses["first_shifts"])
    answered = reached(model, votes.mean().square().sum())
    assert {"head.joints", "head.directions", "direction.second", "length.attention"} == answered
    other = model.votes(model.features(sample), sample, model.new_head(2))
    assert model.loss(other, sample).keys() == {"points", "directions"}


def test_augmented_people(walkers):
    """Bones change by up to 30 % and alike in all frames; people stand about 5 m away, and are seen by the camera."""
    model = build(walkers)
    sample = batch(walkers, model, count=12)
    poses, lens = sample.inputs["random3d"] / 1000, sample.inputs["lens"]
    torch.manual_seed(3)
    longer, places = model.augmented(poses, lens)
    ratio = vectors(longer, model.ends).norm(dim=-1) / vectors(poses, model.ends).norm(dim=-1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-4, rtol=0)
    assert 0.7 < ratio.min() < 0.8
    assert 1.2 < ratio.max() < 1.3
    torch.manual_seed(3)
    torch.rand(12, 4)
    roots = 0.5 * torch.randn(12, 6, 1, 3) + torch.tensor([0.0, -0.3, 5.0])
    for b in range(12):
        for point, place in zip((longer + roots)[b].view(-1, 3), places[b].view(-1, 2), strict=True):
            fx, fy, cx, cy = lens[b].tolist()
            x, y, z = point.tolist()
            wanted = torch.tensor([(x / z * fx + cx) / 100 - 1, (y / z * fy + cy) / 100 - 1])
            torch.testing.assert_close(place, wanted, atol=1e-4, rtol=0)


def test_samples_without_a_camera_are_not_augmented_and_a_run_says_so(walkers):
    model = build(walkers, dropout=0.0)
    sample = batch(walkers, model)
    sample.inputs["lens"][2] = 0
    with pytest.warns(UserWarning, match="without a camera"):
        some = model.loss(model(sample), sample)
    sample.inputs["lens"][:] = 0
    none = model.loss(model(sample), sample)  # said once
    assert some["augmented_frame"] > 0
    assert none["augmented_frame"] == none["augmented_lengths"] == 0


def test_samples_without_random_frames_tell_lengths_themselves(walkers):
    """The frame in their middle, whose label they have, is then the single one that is taught."""
    model = build(walkers, dropout=0.0)
    sample = batch(walkers, model, random=0)
    assert "random2d" not in sample.inputs
    votes = model(sample)
    window = model.normalised(sample.inputs["keypoints2d"], None)[..., :2]
    model.eval()
    poses = model.length.poses(window)
    torch.testing.assert_close(model(sample).extra["lengths"], model.lengths_of(poses))
    torch.testing.assert_close(model(sample).extra["pose"], poses[:, 4])
    losses = model.train().loss(votes, sample)
    away = (votes.extra["pose"] - sample.keypoints / 1000).norm(dim=-1)
    torch.testing.assert_close(losses["frame"], away.mean())
    assert losses["augmented_frame"] > 0
    unsaid = batch(walkers, model)
    del unsaid.inputs["random3d"]
    assert "frame" not in model.loss(model(unsaid), unsaid)


# Forms


def given(walkers, model, video=0, **more):
    """A video (T, K, 3) px and its camera (4,)."""
    recording = walkers.walkers(**more).recordings[video]
    return torch.from_numpy(recording.keypoints2d), torch.from_numpy(recording.camera).float()


def windows(model, video):
    """(T, frames, K, 3): of each frame its window, the ends repeated."""
    half, count = model.frames // 2, len(video)
    return torch.stack([video[(torch.arange(t - half, t + half + 1)).clamp(0, count - 1)] for t in range(count)])


def framewise(walkers, model, video, lens):
    """A sample of each frame of a video, whose other frames are all of it."""
    count = len(video)
    inputs = {
        "keypoints2d": windows(model, video),
        "random2d": video.expand(count, -1, -1, -1),
        "lens": lens.expand(count, 4),
    }
    return replace(batch(walkers, model, count), inputs=inputs)


@pytest.mark.parametrize("options", [{}, {"widths": [3, 5, 3]}, {"widths": [5]}, {"coordinates": "camera"}])
def test_both_forms_agree(walkers, monkeypatch, options):
    """Windows whose other frames are all of the video, and the whole video, in parts of any size."""
    model = build(walkers, **options)
    model = settled(model, batch(walkers, model))
    video, lens = given(walkers, model)
    sample = framewise(walkers, model, video, lens)
    with torch.no_grad():
        wanted = model.decode(model(sample), sample).points
    assert wanted.std(0).max() > 1, "else windows would not matter"
    whole = model.lift(video, lens)
    assert whole.shape == (len(video), 5, 3)
    assert not whole[:, 0].any()
    torch.testing.assert_close(whole, wanted, atol=0.02, rtol=1e-5)
    monkeypatch.setattr(anatomy, "AT_ONCE", 3)
    monkeypatch.setattr(anatomy3d, "PART", 7)
    torch.testing.assert_close(model.lift(video, lens), whole, atol=0.02, rtol=1e-5)
    assert not model.training


def test_causal_answers_know_nothing_of_what_follows(walkers):
    model = build(walkers, causal=True)
    model = settled(model, batch(walkers, model))
    assert model.frames == 17
    video, lens = given(walkers, model)
    whole, first = model.lift(video, lens), model.lift(video[:12], lens)
    torch.testing.assert_close(whole[:12], first, atol=0.02, rtol=1e-5)
    other = build(walkers)
    other.load_state_dict(model.state_dict())
    assert not torch.allclose(other.eval().lift(video, lens)[:6], other.lift(video[:12], lens)[:6], atol=0.1)
    logits, lengths = [], []
    frames = model.normalised(video, None)
    with torch.no_grad():
        for t in range(len(video)):  # what all earlier frames tell, by a loop
            pose = model.length.poses(frames[: t + 1, :, :2])
            shares = (10 * model.length.belief(pose)).softmax(0)
            lengths.append((shares * vectors(pose, model.ends).norm(dim=-1)).sum(0))
            logits.append(shares)
        torch.testing.assert_close(model.lengths_over(frames), torch.stack(lengths), atol=1e-5, rtol=1e-4)
    assert torch.stack(lengths).std(0).max() > 1e-4
    count = len(video)
    sample = batch(walkers, model, count)
    inputs = {"keypoints2d": windows(model, video), "lens": lens.expand(count, 4)}
    later = {**inputs, "keypoints2d": inputs["keypoints2d"].clone(), "random2d": video.expand(count, -1, -1, -1)}
    later["keypoints2d"][:, 9:] = 0
    with torch.no_grad():
        answers = [model(replace(sample, inputs=one)).mean() for one in (inputs, later)]
    assert torch.equal(*answers), "nor do windows look at later or other frames"
    with torch.no_grad():  # the window's frames told the lengths; give the whole video the same
        told = model.lengths_of(model.length.poses(model.normalised(inputs["keypoints2d"], None)[:, :9, :, :2]))
        padded = torch.cat([frames[:1].expand(8, -1, -1), frames])
        joints = 1000 * model.joints_over(padded, told, rooted=True)
    torch.testing.assert_close(joints, answers[0], atol=0.02, rtol=1e-5)


def test_a_mirrored_video_and_the_flip_test(walkers):
    model = build(walkers)
    model = settled(model, batch(walkers, model))
    video, lens = given(walkers, model)
    flip, back = walkers.WALKER.flip, torch.tensor([-1.0, 1.0, 1.0])
    there = video[:, flip] * back + torch.tensor([200.0, 0, 0])
    wanted = (model.lift(video, lens) + back * model.lift(there, lens)[:, flip]) / 2
    torch.testing.assert_close(model.lift(video, lens, flip), wanted, atol=0.02, rtol=1e-5)
    torch.testing.assert_close(model.lift(there, lens, flip), back * wanted[:, flip], atol=0.02, rtol=1e-5)
    sample = framewise(walkers, model, video, lens)
    with torch.no_grad():
        poses = with_mirror(model.decode(model(sample), sample), model, sample, flip)
    torch.testing.assert_close(poses.points, wanted, atol=0.02, rtol=1e-5)


def test_a_long_video(walkers):
    """Ten minutes of 25 frames a second, by a small network."""
    model = build(walkers, channels=4).eval()
    rng = np.random.default_rng(0)
    video = torch.from_numpy(rng.uniform(0, 200, (15_000, 5, 3)).astype(np.float32))
    held = []
    hook = model.direction.second[0].register_forward_hook(lambda _, given, out: held.append(given[0].numel()))
    poses = model.lift(video)
    hook.remove()
    assert poses.shape == (15_000, 5, 3)
    assert max(held) <= anatomy.AT_ONCE * 3 * 8, "no more windows at once than in a short video"
    part = model.joints_over(
        model.normalised(video[None], None)[0, 9_000:9_109],
        model.lengths_over(model.normalised(video[None], None)[0])[:101],
    )
    torch.testing.assert_close(poses[9_004:9_105], 1000 * (part - part[:, :1]), atol=0.02, rtol=1e-5)


def test_what_another_camera_changes(walkers):
    """Of rays nothing: the same directions seen by a longer lens, shifted and with uneven pixels."""
    rays, screen = (
        settled(m, batch(walkers, m)) for m in (build(walkers, coordinates=c) for c in ("camera", "screen"))
    )
    video, lens = given(walkers, rays)
    other = torch.tensor([700.0, 650.0, 80.0, 130.0])
    seen = torch.cat([(video[..., :2] - lens[2:]) / lens[:2] * other[:2] + other[2:], video[..., 2:]], -1)
    torch.testing.assert_close(rays.lift(seen, other), rays.lift(video, lens), atol=0.05, rtol=1e-4)
    assert (screen.lift(seen, other) - screen.lift(video, lens)).abs().max() > 1
    assert rays.reads == ("keypoints2d", "lens")
    for unknown in (None, torch.zeros(4)):
        with pytest.raises(ValueError, match=r"coordinates=camera needs to know the camera"):
            rays.lift(video, unknown)
    sample = batch(walkers, rays)
    sample.inputs["lens"][1] = 0
    with pytest.raises(ValueError, match=r"^sofa.train: model.coordinates=camera needs"):
        rays.check(sample, "sofa.train")
    screen.check(sample, "sofa.train")


def test_coordinates_are_those_of_the_screen():
    model = Anatomy3D(17, Anatomy3D.Options(channels=4, widths=[3]))
    places = torch.tensor([[[0.0, 0.0, 0.7], [1000.0, 1002.0, 0.1], [500.0, 501.0, 1.0]]])
    wanted = torch.tensor([[[-1.0, -1.002, 0.7], [1.0, 1.002, 0.1], [0.0, 0.0, 1.0]]])
    torch.testing.assert_close(model.normalised(places, None), wanted)


# Around it


def test_it_is_refused(walkers):
    for wrong in ([3, 4], []):
        with pytest.raises(ValueError, match=r"model.widths=\[.*must be odd numbers"):
            build(walkers, widths=wrong)
    with pytest.raises(ValueError, match="needs a root"):
        Anatomy3D.learns(replace(walkers.WALKER, root=None))
    with pytest.raises(ValueError, match="2 keypoints or more"):
        Anatomy3D.learns(walkers.WALKER.select(("pelvis",)))
    model = build(walkers)
    with pytest.raises(ValueError, match=r"reads clips of 9 frames; walkers gives clips of 5 frames"):
        model.check(EvaluationBatches(as_clips(walkers.walkers(), 5), 2, (200, 200))[0], "walkers")


def test_released_weights(walkers, tmp_path):
    """Any checkpoint with the released keys, whatever wraps it; not one of other sizes, nor for other keypoints."""
    options = {"widths": [3, 3], "channels": 8}
    model = Anatomy3D(17, Anatomy3D.Options(**options)).know(H36M17)
    names = anatomy3d.released_names(model.state_dict(), 1)
    state = {
        f"module.{names[key]}": value[..., None] if names[key] in anatomy3d.POINTWISE else value
        for key, value in model.state_dict().items()
    }
    assert state["module.shrink.weight"].dim() == 3
    path = str(tmp_path / "epoch_60.bin")
    torch.save({"epoch": 60, "lr": 1e-4, "model_pos": state}, path)
    again = Anatomy3D(17, Anatomy3D.Options(**options, weights=path)).know(H36M17)
    for key, value in again.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
    sized = anatomy3d.load_reference(torch.load(path), causal=True)
    assert (sized.options.widths, sized.options.channels, sized.options.causal) == ([3, 3], 8, True)
    assert torch.equal(sized.head.joints.vectors.weight, model.head.joints.vectors.weight)
    with pytest.raises(ValueError, match=r"not an Anatomy3D checkpoint: expected expand_conv.weight"):
        anatomy3d.load_reference({"model_pos": {"layers_conv.0.weight": torch.zeros(8, 16, 3)}})
    with pytest.raises(ValueError, match=r"epoch_60.bin is no Anatomy3D of these model.widths, channels"):
        Anatomy3D(17, Anatomy3D.Options(widths=[3, 3, 3], channels=8, weights=path))
    with pytest.raises(
        ValueError, match=r"is of pelvis, right_hip.*in this order; skeleton 'mpi_inf_3dhp17' has head_top"
    ):
        Anatomy3D(17, Anatomy3D.Options(**options, weights=path)).know(MPI3DHP17)


def test_checkpoint(walkers, tmp_path):
    model = build(walkers, causal=True, coordinates="camera")
    model = settled(model, batch(walkers, model))
    save_model(tmp_path / "weights.pt", model, walkers.WALKER, 7)
    again, skeleton = load_model(tmp_path / "weights.pt")
    video, lens = given(walkers, model)
    assert skeleton == walkers.WALKER
    assert torch.equal(again.lift(video, lens), model.lift(video, lens))


@pytest.mark.parametrize("options", [{}, {"coordinates": "camera", "causal": True}])
def test_an_exported_window_answers_as_pytorch(walkers, tmp_path, options):
    pytest.importorskip("onnxruntime")
    import onnxruntime

    model = build(walkers, **options)
    model = settled(model, batch(walkers, model))
    to_onnx(model, (200, 200), tmp_path / "model.onnx", walkers.WALKER)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    notes = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    assert (notes["frames"], notes["root"]) == (model.frames, 0)
    video, lens = given(walkers, model)
    clips = windows(model, video)
    read = {"keypoints2d": clips.numpy(), "lens": lens.expand(len(clips), 4).numpy()}
    points, confidence = session.run(None, {name: read[name] for name in model.reads})
    sample = replace(batch(walkers, model), inputs={"keypoints2d": clips, "lens": lens.expand(len(clips), 4)})
    with torch.no_grad():
        wanted = model(sample).mean()
    np.testing.assert_allclose(points, wanted, atol=0.05)
    assert (confidence == 1).all()


def learned(walkers, seed, steps=100, rate=1e-2, **options):
    """How far a network that learned from walkers is from others, mm, and how far the mean of the first is."""
    model = build(walkers, seed, channels=32, dropout=0.0, **options)
    some, others = walkers.walkers(count=60, frames=15), walkers.walkers(count=10, frames=20, first=500)
    mirrored = Augmentation(rotation=0, area=[1.0, 1.0], mirror=0.5)
    batches = TrainingBatches(as_clips(some, model.frames), "source", seed, 32, model.input_size, mirrored, True)
    optimizer = torch.optim.Adam(model.parameters(), rate, amsgrad=True)
    for step in range(steps):
        sample = batches[step]
        optimizer.zero_grad()
        sum(model.loss(model(sample), sample).values()).backward()
        optimizer.step()
    tests = EvaluationBatches(as_clips(others, model.frames), 200, model.input_size)[0]
    predictions = predict(model, [tests], CPU)
    rooted = [np.concatenate([one.points - one.points[:, :1] for one in data.recordings]) for data in (some, others)]
    mean = np.linalg.norm(rooted[1] - rooted[0].mean(0), axis=-1).mean()
    return float((predictions.points - predictions.truth).norm(dim=-1).mean()), float(mean)


@pytest.mark.parametrize("seed", [0])
def test_it_learns(walkers, seed):
    error, mean = learned(walkers, seed)
    assert error < 0.85 * mean
