"""The network that judges poses: features against the published code's, its weights' names, and that it learns."""

import numpy as np
import pytest
import torch

from keyshift.datasets.bodies.skeletons import COCO17, MPII16
from keyshift.datasets.skeleton import Skeleton
from keyshift.models.rescoring import Rescoring, fit, links_of

COCO_A = [0, 0, 1, 1, 2, 3, 4, 5, 5, 5, 6, 6, 7, 8, 11, 11, 12, 13, 14]
COCO_B = [1, 2, 2, 3, 4, 5, 6, 6, 7, 11, 8, 12, 9, 10, 12, 13, 14, 15, 16]
CROWD_A = [12, 13, 13, 0, 1, 2, 3, 0, 1, 6, 7, 8, 9, 6, 0]
CROWD_B = [13, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 7, 1]
CROWD = Skeleton("crowd", (*COCO17.keypoints[5:], "head", "neck"))


def described(points, scores, first, second):
    """The published features, by a loop."""
    rows = []
    for pose, score in zip(points, scores, strict=True):
        links = [pose[a] - pose[b] for a, b in zip(first, second, strict=True)]
        lengths = [np.hypot(*link) for link in links]
        unit = max((lengths[9] + lengths[11]) / 2, 1)
        rows.append([*np.concatenate(links) / unit, *np.array(lengths) / unit, *score])
    return np.array(rows)


@pytest.mark.parametrize(("skeleton", "links"), [(COCO17, (COCO_A, COCO_B)), (CROWD, (CROWD_A, CROWD_B))])
def test_what_it_reads(skeleton, links):
    rng = np.random.default_rng(0)
    points, scores = rng.uniform(0, 200, (5, len(skeleton), 2)), rng.random((5, len(skeleton)))
    points[4] = 30 + points[4] / 1000  # smaller than a pixel
    network = Rescoring(skeleton).double()
    assert network.l1.in_features == 3 * len(links[0]) + len(skeleton)
    ours = network.described(torch.from_numpy(points), torch.from_numpy(scores))
    np.testing.assert_allclose(ours.numpy(), described(points, scores, *links), rtol=1e-12)


def test_published_weights():
    """74 numbers, two hidden layers of 256, 85,249 parameters, under the published names."""
    network = Rescoring(COCO17)
    state = {
        f"l{number}.{part}": torch.rand(shape)
        for number, rows, columns in ((1, 256, 74), (2, 256, 256), (3, 1, 256))
        for part, shape in (("weight", (rows, columns)), ("bias", (rows,)))
    }
    network.load_state_dict(state)
    assert sum(p.numel() for p in network.parameters()) == 85_249
    points, scores = 100 * torch.rand(4, 17, 2), torch.rand(4, 17)
    hidden = (network.described(points, scores) @ state["l1.weight"].T + state["l1.bias"]).clamp_min(0)
    hidden = (hidden @ state["l2.weight"].T + state["l2.bias"]).clamp_min(0)
    wanted = (hidden @ state["l3.weight"].T + state["l3.bias"])[:, 0]
    torch.testing.assert_close(network(points, scores), wanted)


def test_other_skeletons():
    assert links_of(MPII16) == (MPII16.edges, tuple(range(len(MPII16.edges))))
    loose = Rescoring(Skeleton("loose", ("a", "b")))
    assert torch.equal(loose.described(torch.rand(3, 2, 2), torch.eye(3, 2)), torch.eye(3, 2))


def test_it_learns():
    """At first scores stay; then the poses whose arm is out of proportion are told from those that are not. Who is
    exactly like the truth counts as nobody."""
    torch.manual_seed(0)
    skeleton = Skeleton("arm", ("shoulder", "elbow", "wrist"), edges=((0, 1), (1, 2)))
    points = torch.tensor([[0.0, 0.0], [40.0, 0.0], [80.0, 0.0]]) + 5 * torch.randn(600, 3, 2)
    good = torch.rand(600) > 0.5
    points[~good, 2] += 60 * torch.randn(int((~good).sum()), 2)
    scores = torch.full((600, 3), 0.5)
    network = Rescoring(skeleton)
    assert torch.equal(network(points, scores), torch.ones(600))
    similarity = torch.where(good, 0.8, 0.2)
    first = fit(network, points, scores, similarity, epochs=1)
    assert fit(network, points, scores, similarity, epochs=30) < 0.4 * first
    judged = network(points, scores)
    assert judged[good].mean() > judged[~good].mean() + 0.35
    assert not any(p.requires_grad for p in network.parameters())
    fit(network, points[:1], scores[:1], torch.ones(1), epochs=60)
    assert network(points[:1], scores[:1]) < 0.2
    with pytest.raises(ValueError, match="nobody was predicted"):
        fit(network, points[:0], scores[:0], similarity[:0])
