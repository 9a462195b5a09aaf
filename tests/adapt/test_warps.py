"""UniFrame's warps, mask and occlusion against its reference code, and against loops."""

import json

import numpy as np
import pytest
import torch

from keyshift.adapt import warps


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.load("strategy_uniframe")


class Network(torch.nn.Module):
    """The toy network of the recorded steps."""

    def __init__(self, joints):
        super().__init__()
        self.head = torch.nn.Conv2d(3, joints, 4, stride=4)

    def forward(self, image):
        return self.head(image)


class Step:
    """What a recorded step starts from: networks, images and labels by the recipe."""

    def __init__(self, golden, arrays):
        self.settings = json.loads(str(arrays["meta"]))["step"]
        self.batch, self.joints = arrays["step.mask"].shape
        self.ratio = self.settings["image_size"] // self.settings["heatmap_size"]
        side, cells = self.settings["image_size"], self.settings["heatmap_size"]
        x = {name: golden.texture(f"step.{name}", (self.batch, 3, side, side)) for name in ("x_s", "x_stu", "x_tea0")}
        self.source, self.view, self.taught = x.values()
        self.label = golden.normal("step.label", (self.batch, self.joints, cells, cells), 0.3)
        self.weight = torch.from_numpy(golden.uniform("step.weight", (self.batch, self.joints, 1)) > 0.3).float()
        self.student, self.teacher = (self.network(golden, seed) for seed in (golden.seed, golden.seed + 1000))
        self.undo_student, self.undo_teacher = (torch.from_numpy(arrays[f"step.undo_{n}"]) for n in ("stu", "tea0"))

    def network(self, golden, seed):
        network, before = Network(self.joints), golden.seed
        golden.seed = seed
        keys = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        network.load_state_dict({k: golden.weight(k, s, [("head.weight", 0.5)]) for k, s in keys.items()})
        golden.seed = before
        return network

    def occluded(self, image, rows, maps):
        """As the reference covers: undone with the ratio of the maps, covered, redone."""
        rows = torch.from_numpy(rows)
        centre, corner = torch.zeros(2, self.batch, 2, dtype=torch.int64)
        where = torch.zeros(self.batch, dtype=torch.bool)
        sample, joint = rows[:, 0], rows[:, 1]
        centre[sample] = self.ratio * warps.peaks(maps)[sample, joint]
        corner[sample], where[sample] = rows[:, [3, 2]], True
        base = warps.undo(image, self.undo_student, self.ratio)
        done = warps.covered(base, centre, corner, where, self.settings["occlude_size"])
        done = warps.redo(done, self.undo_student, self.ratio)
        return torch.where(where.view(-1, 1, 1, 1), done, image)


def run(golden, arrays, tag, style):
    """A recorded step from our functions: every one of its arrays is compared. `style`(content, style, alpha)."""
    step = Step(golden, arrays)
    student, teacher, settings = step.student, step.teacher, step.settings
    to_target, to_source = (float(a) for a in arrays[f"{tag}.style_alpha"])
    source = style(step.source, step.taught, to_target) if to_target >= 0 else step.source
    taught = style(step.taught, step.source, to_source) if to_source >= 0 else step.taught
    for name, image in (("source_input", source), ("teacher_input", taught)):
        if f"{tag}.{name}" in arrays.files:
            golden.compare(arrays, f"{tag}.{name}", image)
    with torch.no_grad():
        maps = warps.undo(teacher(taught), step.undo_teacher, step.ratio)
    golden.compare(arrays, f"{tag}.teacher_maps", maps)
    seen = step.occluded(step.view, arrays[f"{tag}.occlusion"], maps)
    golden.compare(arrays, f"{tag}.student_input", seen)
    undone = warps.undo(student(seen), step.undo_student, step.ratio)
    golden.compare(arrays, f"{tag}.student_maps", undone)
    mask = warps.above(maps.amax((2, 3)), settings["mask_ratio"])
    assert np.array_equal(mask.numpy(), arrays[f"{tag}.mask"])
    supervised = warps.map_loss(student(source), step.label, step.weight[..., 0])
    consistency = warps.map_consistency(undone, warps.rectify(maps, settings["sigma"]), mask)
    loss = supervised + settings["lambda_c"] * consistency
    for name, value in (("loss_supervised", supervised), ("loss_consistency", consistency), ("loss", loss)):
        golden.compare(arrays, f"{tag}.{name}", value)
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-4)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - 0.999)
    for key, parameter in student.named_parameters():
        golden.compare(arrays, f"{tag}.grad.{key}", parameter.grad)
        golden.compare(arrays, f"{tag}.student.{key}", parameter)
        golden.compare(arrays, f"{tag}.teacher.{key}", dict(teacher.named_parameters())[key])


def test_a_step(golden, arrays):
    run(golden, arrays, "step", None)


def test_a_styled_step(golden, arrays):
    low, high = torch.from_numpy(arrays["style.clamp"]).view(2, 1, 3, 1, 1).float()
    run(golden, arrays, "step_styled", lambda c, s, alpha: (2 * (alpha * s + (1 - alpha) * c)).clamp(low, high))


def test_rectify_mask_and_consistency(golden):
    arrays = golden.load("uniframe")
    shape = tuple(arrays["rectify.s1.shape"])
    teacher = golden.normal("teacher", shape, 0.2)
    share = torch.from_numpy(golden.uniform("confidence", (*shape[:2], 1, 1))).float()
    teacher = teacher * (share + 0.1)
    teacher[0, 0, 0, -1], teacher[1, 2, 31, 1] = 0.95, 0.92
    teacher[0, 1] -= 5
    student = golden.normal("student", shape, 0.3)
    column, row = warps.peaks(teacher).unbind(-1)
    cell = torch.from_numpy(arrays["teacher.argmax"])
    positive = teacher.amax((2, 3)) > 0
    assert torch.equal((row * shape[-1] + column)[positive], cell[positive])
    goal = warps.rectify(teacher, 2)
    golden.compare(arrays, "rectify.s1", warps.rectify(teacher, 1))
    golden.compare(arrays, "rectify.s2", goal)
    confidence = teacher.amax((2, 3))
    golden.compare(arrays, "confidence", confidence)
    for ratio in (0.5, 0.25):
        golden.compare(arrays, f"mask.r{ratio}.threshold", warps.threshold(confidence, ratio))
        mask = warps.above(confidence, ratio)
        assert np.array_equal(mask.numpy(), arrays[f"mask.r{ratio}"])
        golden.compare(arrays, f"consistency.r{ratio}", warps.map_consistency(student, goal, mask))
    golden.compare(arrays, "consistency.unmasked", warps.map_consistency(student, goal))
    golden.compare(arrays, "mse", warps.map_loss(student, goal))


def test_nothing_is_masked_at_share_zero():
    assert warps.above(torch.rand(2, 3), 0.0).all()


def test_redo_without_shift_and_shear_undoes_undo():
    """A point of the middle comes back where turning and scaling alone were undone."""
    maps = torch.zeros(2, 1, 33, 33)
    maps[:, :, 14:19, 14:19] = 1
    parameters = torch.tensor([[30.0, 0, 0, 0, 0, 1.2], [-70, 0, 0, 0, 0, 0.8]])
    there = warps.redo(warps.undo(maps, parameters), parameters)
    assert (there != maps).float().mean() < 0.02
    shifted = warps.undo(maps, torch.tensor([[0.0, 3, -2, 0, 0, 1]]).expand(2, -1))
    assert torch.equal(shifted, maps.roll((3, -2), (3, 2)))


def test_covering_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 12, 17, generator=generator)
    centre = torch.tensor([[0, 0], [16, 11], [8, 5], [3, 10], [8, 5], [40, 5]])
    where = torch.tensor([True, True, True, True, False, True])
    corner = warps.patch_corner(centre, (17, 12), 3, torch.rand(6, 2, generator=generator))
    wanted = images.clone()
    for i, ((x, y), (u, v)) in enumerate(zip(centre.tolist(), corner.tolist(), strict=True)):
        left, top, right, bottom = max(0, x - 3), max(0, y - 3), min(17, x + 3), min(12, y + 3)
        if where[i] and right > left:
            patch = images[i, :, v : v + bottom - top, u : u + right - left]
            assert patch.shape[1:] == (bottom - top, right - left)
            wanted[i, :, top:bottom, left:right] = patch
    assert torch.equal(warps.covered(images, centre, corner, where, 3), wanted)


def test_one_sure_keypoint_is_chosen_in_each_image():
    generator = torch.Generator().manual_seed(0)
    sure = torch.rand(5, 4, generator=generator) > 0.5
    sure[2] = False
    image_index = torch.tensor([3, 0, 1, 3, 0])
    taken = torch.zeros(5, 4)
    for draw in torch.arange(0, 1, 1 / 60):
        choice = warps.chosen(sure, image_index, draw.expand(4))
        assert torch.zeros(4, dtype=torch.int64).index_add(0, image_index, choice.sum(1)).tolist() == [1, 0, 0, 1]
        taken += choice
    for image in (0, 3):  # all of an image alike
        mine = image_index == image
        many = sure[mine].sum()
        torch.testing.assert_close(taken[mine], sure[mine] * (60 / many), atol=1.0, rtol=0)
    assert not warps.chosen(sure[:0], image_index[:0], torch.rand(4)).any()
