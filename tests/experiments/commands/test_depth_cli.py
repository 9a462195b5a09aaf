"""Depth from the command line: own cameras, centres by a network, public result files, and what is refused."""

import cv2
import numpy as np
import pytest
import yaml

from keyshift.datasets.rendered.depth import render_depth
from keyshift.experiments.cli import main

pytestmark = pytest.mark.usefixtures("no_export")

TINY = [
    *("source.train=8", "source.test=4", "target.train=8", "target.test=4", "source.size=48", "target.size=48"),
    *("model.input_size=[32,32]", "model.channels=8", "batch=4", "pretrain_steps=1", "steps=2", "evaluate_every=2"),
    *("checkpoint_every=2", "tracking=off"),
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYSHIFT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def refused(words, capsys):
    assert main(words) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["source.name=hands.studio"],
            "A2J reads image and reach; hands.studio gives camera and image",
        ),
        (["model.sigma=1"], "the command line: unknown key model.sigma"),
        (["model.a2j.spatal=1"], "Did you mean model.spatial?"),
        (["model.name=awr", "model.std=1"], "the command line: unknown key model.std"),
        (["model.a2j.depth_reach=100"], "depth_reach=100 does not cover the cubes of depth_hands"),
        (["source.name=hands.studio", "source.cube=100"], "cube=100 is no option of hands.studio"),
        (["crop=a2"], "Did you mean a2j?"),
        (["source.joints=centre"], "Did you mean center?"),
        (
            ["source.cube=[100,100]"],
            "must have 3 entries: edge in mm of what is cut out, or [x, y, z]",
        ),
        (["source.cube=big"], "source.cube=big must be at least 1"),
        (["target.name=nyu"], "nyu needs root=FOLDER"),
        (["target.name=nyu", "target.root=nowhere"], "nowhere"),
        (["target.name=depth_folder"], "camera.yaml"),
        (["target.name=depth_hands.structured"], "Did you mean depth_hands.structured_light?"),
        (["target.centers=runs/none"], "centers='runs/none'"),
    ],
)
def test_bad_input_is_named(home, capsys, words, message):
    err = refused(["train", "a2j_ideal_to_structured_light", *TINY, *words], capsys)
    assert message in err
    assert not (home / "runs").exists()


def write_camera(root, count=24):
    """A user's folder: 16-bit frames of a rendered structured-light camera, labels for the report."""
    made = render_depth("hands", "structured_light", 5, range(count), 48)
    root.mkdir()
    for i, depth in enumerate(made["depth"]):
        cv2.imwrite(str(root / f"{i:04d}.png"), depth.round().astype(np.uint16))
    fx, fy, cx, cy = made["camera"][0].tolist()
    text = {"fx": fx, "fy": fy, "cx": cx - 0.5, "cy": cy - 0.5, "unit": "mm", "cube": 240, "width": 48, "height": 48}
    (root / "camera.yaml").write_text(yaml.safe_dump(text))


def test_a_new_depth_camera_from_centres_to_a_comparison(home, capsys):
    write_camera(home / "frames")
    folder = ["target.name=depth_folder", "target.root=frames", "target.block=4"]
    assert main(["train", "depth_center", *TINY, *folder, "output=runs/centers"]) == 0
    words = ["compare", "a2j_ideal_to_structured_light", *TINY, *folder, "target.centers=runs/centers"]
    assert main([*words, "seeds=1", "strategies=[regda]", "output=runs/new"]) == 0
    shown = capsys.readouterr().out
    assert "depth_folder (12 unlabelled, 12 to test)" in shown.replace("\n", " ")
    assert (home / "runs/new/report.html").exists()


def test_public_result_files(home, capsys):
    rng = np.random.default_rng(0)
    truth = np.concatenate([rng.uniform(100, 200, (5, 16, 2)), rng.uniform(300, 400, (5, 16, 1))], -1)
    predicted = truth.copy()
    predicted[..., 2] *= 1.01
    for name, values in (("truth", truth), ("found", predicted)):
        np.savetxt(home / f"{name}.txt", values.reshape(5, -1), fmt="%.4f")
    words = ["evaluate", "--predictions", "found.txt", "--truth", "truth.txt", "--dataset", "icvl"]
    assert main(words) == 0
    u, v, d = truth[..., 0], truth[..., 1], truth[..., 2]
    slope = np.sqrt(((u - 160) / 240.99) ** 2 + ((v - 120) / 240.96) ** 2 + 1)
    assert f"{(0.01 * d * slope).mean():.2f}" in capsys.readouterr().out
    assert "missing: --dataset" in refused(words[:-2], capsys)
    assert "no depth dataset 'icv'" in refused([*words[:-1], "icv"], capsys)
    assert "RUN" in refused(["evaluate"], capsys)
