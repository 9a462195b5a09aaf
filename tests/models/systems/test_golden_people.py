"""RootNet and PoseNet against the reference implementation's numbers."""

from dataclasses import replace

import pytest
import torch

from keyshift.datasets.sample import PIXELS_AND_MM, ROOT_MM, Labeled
from keyshift.models import people
from keyshift.models.people import raw_range
from keyshift.models.pose_model import IMAGENET_MEAN, IMAGENET_STD, normalize
from keyshift.models.systems import pose_net, root_net

FACTORS = [("root.depth_layer.weight", 0.15), ("*bn3.weight", 0.5)]
KNOWN = torch.ones(2, 1, dtype=torch.bool)


def batch(image, space, keypoints, annotated, deep, **inputs):
    count = len(image)
    return Labeled(
        inputs={"image": image, "extent": torch.full((count,), 2000.0), **inputs},
        id=("",) * count,
        sequence=("",) * count,
        frame=torch.arange(count),
        camera=torch.ones(count, 4),
        to_file=torch.eye(4)[:3].repeat(count, 1, 1),
        side=torch.full((count,), 256.0),
        space=space,
        keypoints=keypoints,
        visible=annotated,
        annotated=annotated,
        image_index=torch.arange(count),
        deep=deep & annotated,
    )


@pytest.fixture
def as_read(monkeypatch):
    """The golden images are what the reference's backbone reads, in the range of released weights."""
    monkeypatch.setattr(people, "raw_range", lambda image: image)


def at_cells(model, cells):
    """The reference's cells (P, K, 3), z in mm as it is, as points of the input."""
    plane = model.grid.marginals()[0]
    dims = len(plane.shape)
    return torch.cat([plane.to_points(cells[..., :dims]), cells[..., dims:]], -1)


@torch.no_grad()
def test_root_net(golden, as_read):
    arrays = golden.load("rootnet")
    state = {f"module.{key}": value for key, value in golden.weights("rootnet", FACTORS).items()}
    model = root_net.load_reference({"epoch": 19, "network": state})
    image, k = golden.texture("image", (2, 3, 256, 256)), torch.from_numpy(arrays["k_value"]).flatten()
    truth = at_cells(model, torch.from_numpy(arrays["target_coord"])[:, None])
    deep = torch.from_numpy(arrays["target_have_depth"]) > 0
    sample = batch(image, PIXELS_AND_MM, truth, KNOWN, deep, k=k)
    features = model.features(sample)
    golden.compare(arrays, "backbone", features)
    plane, gamma = model.head(features)
    golden.compare(arrays, "xy_logits", plane)
    golden.compare(arrays, "gamma", gamma[..., None, None])
    votes = model.votes(features, sample)
    points = model.decode(votes, sample).points[:, 0]
    cells = model.grid.marginals()[0].to_cells(points[:, :2])
    golden.compare(arrays, "coord", torch.cat([cells, points[:, 2:]], -1))
    each = [replace_rows(sample, row) for row in range(2)]
    losses = [model.loss(model(one), one) for one in each]
    golden.compare(arrays, "loss", torch.stack([sum(loss.values()) for loss in losses]))


def replace_rows(sample, row):
    """One sample of a batch of crops."""
    names = ("frame", "camera", "to_file", "side", "keypoints", "visible", "annotated", "deep")
    inputs = {name: value[row : row + 1] for name, value in sample.inputs.items()}
    parts = {name: getattr(sample, name)[row : row + 1] for name in names}
    return replace(sample, inputs=inputs, id=("",), sequence=("",), image_index=torch.zeros(1).long(), **parts)


@torch.no_grad()
def test_pose_net(golden, as_read):
    arrays = golden.load("posenet")
    model = pose_net.load_reference({"network": golden.weights("posenet", FACTORS[1:])})
    image = golden.texture("image", (2, 3, 256, 256))
    truth = torch.from_numpy((48 * golden.uniform("target.coord", (2, 18, 3))).astype("float32"))
    annotated = torch.ones(2, 18, dtype=torch.bool)
    annotated[0, 3] = annotated[1, 5] = False
    deep = torch.tensor([[True], [False]]).expand(2, 18)
    sample = batch(image, ROOT_MM, model.grid.to_points(truth), annotated, deep)
    golden.compare(arrays, "backbone", model.pictured(sample))
    votes = model(sample)
    golden.compare(arrays, "logits", votes.maps.flatten(1, 2))
    points = model.decode(votes, sample).points
    golden.compare(arrays, "coord", model.grid.to_cells(points))
    total = sum(model.loss(votes, sample).values())
    assert float(total) == pytest.approx(float(arrays["loss"].mean()), abs=3e-3)
    assert model.grid.to_points(torch.tensor([0.0, 0.0, 64.0]))[2] == 1000.0


@pytest.mark.parametrize("system", [root_net, pose_net])
def test_other_checkpoints_are_refused(system):
    with pytest.raises(ValueError, match="checkpoint: found 1 entries such as"):
        system.load_reference({"foreign": torch.zeros(1)})


def test_floats_of_restyled_pictures_mean_the_same_to_released_networks():
    """Strategies hand over pictures as ImageNet normalises them; the released networks see 0 to 255 all the same."""
    image = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(raw_range(image), (image.float() - mean) / std)
    torch.testing.assert_close(raw_range(normalize(image)), raw_range(image), atol=1e-2, rtol=1e-5)
