"""UniFrame's style and occlusion do what they claim, on pictures, depth and 2D keypoints."""

from dataclasses import replace

import pytest
import torch

from keyshift.adapt.methods.mean_teacher import MeanTeacher
from keyshift.adapt.methods.uniframe import UniFrame, occlude, surely
from keyshift.adapt.strategy import Optimization
from keyshift.adapt.style import StyleNetwork, intensities
from keyshift.models.output import Poses
from keyshift.models.systems.a2j import A2J
from keyshift.models.systems.pose_resnet import PoseResNet

ADAM = Optimization("adam", 3e-3, {}, 0.0, gamma=0.0)


def build(skeleton, **options):
    torch.manual_seed(0)
    sizes = {"input_size": [32, 32], "heatmap_size": [8, 8]}
    model = PoseResNet(3, PoseResNet.Options(backbone="small", channels=16, sigma=1.0, **sizes))
    return UniFrame(model, skeleton, ADAM, options=UniFrame.Options(**options)).train()


@pytest.fixture
def sides(dots, batches):
    return batches(dots, UniFrame, "plain", "source")[0], batches(dots, UniFrame, "shifted", "target")[0]


def test_the_moving_average_is_the_references(golden):
    arrays = golden.load("uniframe")

    def network(seed):
        made, golden.seed = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)), seed
        made.load_state_dict({key: golden.weight(key, tuple(v.shape), ()) for key, v in made.state_dict().items()})
        golden.seed = 1
        return made

    class Plain(MeanTeacher):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.options, self.model, self.teacher = self.Options(), network(1001), network(1).requires_grad_(False)
            self.register_buffer("averaged", torch.zeros(()))

    plain = Plain()
    with torch.no_grad():
        for own, other in zip(plain.teacher.parameters(), plain.model.parameters(), strict=True):
            own.copy_(other)
            other *= 1.5
    for _ in range(3):
        plain.after_step()
    for key, value in plain.teacher.state_dict().items():
        if value.is_floating_point():
            golden.compare(arrays, f"ema.{key}", value)


def test_styles_are_exchanged_and_the_students_view_keeps_its_own(dots, sides):
    """Source pictures take the target's mean colour and the teacher's the source's, as they were before."""
    strategy, (source, target) = build(dots.skeleton, restyled=1.0, occluded=0.0), sides
    seen = {}
    strategy.of_source = lambda batch: seen.update(source=batch) or {}
    strategy.of_target = lambda batch: seen.update(target=batch) or {}
    next(strategy.step(source, target))
    for name, own, other in (("source", source, target), ("target", target, source)):
        means = [intensities(batch.image).mean((2, 3)) for batch in (seen[name], other, own)]
        torch.testing.assert_close(means[0], means[1], atol=1e-2, rtol=0)
        assert (means[0] - means[2]).abs().max() > 5
        assert torch.equal(seen[name].to_file, own.to_file)
    assert torch.equal(seen["target"].views[0].image, target.views[0].image)
    assert torch.equal(seen["source"].keypoints, source.keypoints)


def test_each_direction_is_drawn_by_itself(dots, sides):
    strategy, (source, target) = build(dots.skeleton, restyled=0.5, occluded=0.0), sides
    strategy.of_source = lambda batch: seen.append(batch is not source) or {}
    strategy.of_target = lambda batch: seen.append(batch is not target) or {}
    pairs = set()
    for _ in range(30):
        seen = []
        next(strategy.step(source, target))
        pairs.add(tuple(seen))
    assert len(pairs) == 4


def test_adain_takes_the_network_of_a_file(dots, sides, iterate, tmp_path):
    with pytest.raises(ValueError, match="transfer=adain needs the style network"):
        build(dots.skeleton, transfer="adain")
    StyleNetwork(2).save(tmp_path / "style.pt", 0)
    strategy, (source, target) = build(dots.skeleton, transfer="adain", style=str(tmp_path / "style.pt")), sides
    styles = {key: value.clone() for key, value in strategy.style.state_dict().items()}
    iterate(strategy, source, target, strategy.optimizers())
    assert all(torch.equal(value, styles[key]) for key, value in strategy.style.state_dict().items())
    strategy.options = replace(strategy.options, restyled=1.0)
    restyled = strategy.restyle(source, target)
    assert restyled.image.shape == source.image.shape
    assert restyled.image.dtype == torch.float32


def poses_of(points, confidence, image_index=None):
    poses = Poses.of_crops(points, confidence)
    return poses if image_index is None else replace(poses, image_index=torch.tensor(image_index))


def test_a_square_is_covered_around_a_sure_keypoint_and_nothing_else(sides):
    view = sides[1].views[0]
    image = torch.arange(8 * 3 * 32 * 32).view(8, 3, 32, 32)  # every value once
    view = replace(view, inputs={"image": image})
    torch.manual_seed(0)
    points = 4 + 24 * torch.rand(8, 3, 2)
    points[7] += 100  # out of the picture
    sure = torch.rand(8, 3) > 0.4
    sure[3] = False
    covered = occlude(view, poses_of(points, torch.ones(8, 3)), sure, 1.0, 3).image
    for i in range(8):
        changed = (covered[i] != image[i]).any(0)
        rows, columns = changed.nonzero().unbind(1)
        if i in (3, 7):
            assert not changed.any()
            continue
        x, y = points[i].round().long().unbind(1)
        squares = [(y[k] - 3, x[k] - 3) for k in range(3) if sure[i, k]]
        assert (rows.min(), columns.min()) in squares
        assert changed.sum() == 36
        patch = covered[i][:, changed].view(3, 6, 6)
        v, u = divmod(int(patch[0, 0, 0] - image[i, 0, 0, 0]), 32)
        assert torch.equal(patch, image[i, :, v : v + 6, u : u + 6])
    untouched = occlude(view, poses_of(points, torch.ones(8, 3)), sure, 0.0, 3).image
    assert torch.equal(untouched, image)


def test_several_people_clips_and_nobody(sides):
    view = sides[1].views[0]
    people = poses_of(torch.full((3, 2, 2), 16.0), torch.ones(3, 2), [0, 0, 5])
    covered = occlude(view, people, torch.ones(3, 2, dtype=torch.bool), 1.0, 2).image
    assert (covered != view.image).flatten(1).any(1).nonzero().flatten().tolist() == [0, 5]
    nobody = poses_of(torch.zeros(0, 2, 2), torch.zeros(0, 2))
    assert torch.equal(occlude(view, nobody, torch.zeros(0, 2, dtype=torch.bool), 1.0, 2).image, view.image)
    clip = replace(view, inputs={"image": view.image[:, None].expand(-1, 4, -1, -1, -1)})
    frames = occlude(clip, people, torch.ones(3, 2, dtype=torch.bool), 1.0, 2).image
    assert all(torch.equal(frames[:, t], frames[:, 0]) for t in range(4))


def test_which_keypoints_are_sure():
    confidence = torch.tensor([[0.5, 0.44, 0.46], [0.1, 0.0, 0.49]])
    assert torch.equal(surely(confidence, 0.9), confidence >= 0.45)
    assert not surely(confidence, 0.9, "one").any()
    assert surely(torch.zeros(0, 3), 0.9).shape == (0, 3)


def test_depth_is_covered_and_keeps_its_millimetres(balls, batches):
    torch.manual_seed(0)
    model = A2J(3, A2J.Options(backbone="small", input_size=[32, 32], channels=16))
    options = UniFrame.Options(restyled=1.0, occluded=1.0)
    strategy = UniFrame(model, balls.skeleton, ADAM, options=options).train()
    source, target = batches(balls, strategy, "plain", "source")[0], batches(balls, strategy, "shifted", "target")[0]
    assert strategy.restyle(source, target) is source
    view = target.views[0]
    shown = strategy.shown(view, poses_of(torch.full((8, 3, 3), 15.0), torch.ones(8, 3)))
    assert ((shown.image != view.image).sum((1, 2, 3)) <= 4).all()
    assert (shown.image != view.image).any()
    assert torch.isin(shown.image, view.image).all()
    assert shown.inputs["reach"] is view.inputs["reach"]
