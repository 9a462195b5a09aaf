"""From a network that finds centres to a dataset that is cut around them."""

import hashlib

import numpy as np
import pytest
import torch

from keyshift.datasets import catalog
from keyshift.datasets.depth.center_task import CENTER, LARGER, CenterTask, Recentered
from keyshift.datasets.depth.options import DepthOptions
from keyshift.datasets.loading import EvaluationBatches
from keyshift.experiments.config import Config, build
from keyshift.experiments.runs.centers import open_centered, recenter
from keyshift.models.saved import save_model
from keyshift.models.systems.a2j import A2J

SMALL = A2J.Options(backbone="small", input_size=[32, 32], channels=16, head_layers=1)


def config() -> Config:
    return build({"model": {"name": "a2j", "input_size": [32, 32]}})


def test_the_task_is_the_mean_of_the_annotated_joints(balls):
    item, plain = CenterTask(balls(4))[2], balls(4)[2]
    np.testing.assert_allclose(item.keypoints, plain.keypoints.mean(0, keepdims=True))
    np.testing.assert_allclose(item.cube, LARGER * plain.cube)
    assert item.box[2] - item.box[0] == pytest.approx(LARGER * (plain.box[2] - plain.box[0]))
    assert EvaluationBatches(CenterTask(balls(4)), 4, (32, 32))[0].keypoints.shape == (4, 1, 3)


def test_a_dataset_around_predicted_centres(balls, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = A2J(1, SMALL)
    save_model(tmp_path / "weights.pt", model, CENTER, 1)
    moved = recenter(balls(70), tmp_path / "weights.pt", config(), torch.device("cpu"))
    digest = hashlib.sha256((tmp_path / "weights.pt").read_bytes()).hexdigest()
    assert digest.startswith(moved.identity["centers"])
    batch = EvaluationBatches(CenterTask(balls(70)), 70, (32, 32))[0]
    with torch.no_grad():
        points = model.eval().decode(model(batch), batch).points
    wanted = torch.einsum("bij,bj->bi", batch.to_file[:, :, :3], points[:, 0]) + batch.to_file[:, :, 3]
    np.testing.assert_allclose(np.stack([moved[i].center for i in range(70)]), wanted, rtol=1e-4)
    left, _, right, _ = moved[3].box
    assert (left + right) / 2 == pytest.approx(moved[3].center[0])


@pytest.fixture
def centers_run(balls, tmp_path, monkeypatch):
    """A run folder with a network for centres, and a set of balls in the catalog."""

    def opened(options, part):
        return balls(6, first=0 if part == "train" else 100)

    monkeypatch.setitem(catalog.DATASETS, "balls", catalog.Data(opened, DepthOptions))
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("model: {name: a2j, input_size: [32, 32]}\n")
    torch.save({"selection": {"steps": {"last": 1}}}, run / "checkpoint.pt")
    save_model(run / "weights-000001.pt", A2J(1, SMALL), CENTER, 1)
    return run


def test_a_run_folder_says_where_the_centres_are(centers_run, balls, tmp_path):
    cut = open_centered("balls", DepthOptions(centers=str(centers_run)), "test", device="cpu")
    weights = centers_run / "weights-000001.pt"
    assert cut.identity["centers"] == hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    assert (len(cut), cut[0].id) == (6, "balls.plain/100")
    assert isinstance(open_centered("balls", DepthOptions(centers="threshold"), "test"), balls)
    (tmp_path / "x-seed0").mkdir()
    for folder in (tmp_path, tmp_path / "x-seed0"):
        (folder / "config.yaml").touch()
    with pytest.raises(ValueError, match="is a comparison; name one of its runs"):
        open_centered("balls", DepthOptions(centers=str(tmp_path)), "test")


def test_frames_without_a_centre_are_masked(balls):
    centers = np.full((4, 3), np.nan)
    centers[1:] = [16, 16, 600]
    with pytest.warns(UserWarning, match="left out of the metrics"):
        batch = EvaluationBatches(Recentered(balls(4), centers, "x"), 4, (32, 32))[0]
    assert batch.annotated.any(1).tolist() == [False, True, True, True]


def test_another_network_is_refused(balls, tmp_path):
    save_model(tmp_path / "weights.pt", A2J(3, SMALL), balls.skeleton, 1)
    with pytest.raises(ValueError, match="its network predicts small, middle, large"):
        recenter(balls(4), tmp_path / "weights.pt", config(), torch.device("cpu"))


def test_pictures_have_no_centres(dots):
    with pytest.raises(ValueError, match="joints=center is of depth datasets"):
        CenterTask(dots(4))[0]
