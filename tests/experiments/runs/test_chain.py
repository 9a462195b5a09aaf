"""Chains as folders."""

import json

import pytest

from keyshift.experiments.runs.chain import Chain, is_chain, read_chain, write_chain


def test_a_chain_comes_back_as_it_was_written(tmp_path):
    folder = tmp_path / "chain"
    folder.mkdir()
    whole = Chain(folder / "pose.pt", folder / "root", str(folder / "boxes.JSON"), None, (900.0,))
    elsewhere = Chain(tmp_path / "pose.pt", None, "maskrcnn_resnet50_fpn", "exif")
    calibrated = Chain(folder / "pose.pt", camera=str(folder / "lab" / "camera.yaml"))
    for chain in (whole, elsewhere, calibrated):
        write_chain(folder, chain)
        assert is_chain(folder)
        assert read_chain(folder) == chain
    assert json.loads((folder / "chain.json").read_text()) == {"pose": "pose.pt", "camera": "lab/camera.yaml"}
    assert not is_chain(tmp_path)


def test_paths_below_the_home_folder_are_written_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_chain(tmp_path, Chain(tmp_path / "pose.pt", boxes="~/boxes.json", camera="~/lab/camera.yaml"))
    chain = read_chain(tmp_path)
    assert (chain.boxes, chain.camera) == tuple(str(tmp_path / "home" / x) for x in ("boxes.json", "lab/camera.yaml"))
    assert "~" not in (tmp_path / "chain.json").read_text()


def test_a_chain_moves_with_its_folder(tmp_path):
    (tmp_path / "a").mkdir()
    write_chain(tmp_path / "a", Chain(tmp_path / "a" / "pose.pt", tmp_path / "a" / "root.pt", "boxes.json"))
    (tmp_path / "a").rename(tmp_path / "b")
    assert read_chain(tmp_path / "b").root == tmp_path / "b" / "root.pt"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([], "a mapping"),
        ({"root": "root.pt"}, "pose.*a text"),
        ({"pose": "pose.pt", "root": 3}, "root.*a text"),
        ({"pose": "pose.pt", "boxs": "x"}, "boxs.*one of the fields pose, root, boxes, camera, focal"),
        ({"pose": "pose.pt", "focal": [1, 2]}, "focal.*FX, FY, CX, CY"),
        ({"pose": "pose.pt", "focal": "long"}, "focal.*FX, FY, CX, CY"),
        ({"pose": "pose.pt", "focal": [True]}, "focal.*FX, FY, CX, CY"),
    ],
)
def test_other_files_are_refused(tmp_path, said, message):
    (tmp_path / "chain.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match=f"chain.json.*{message}"):
        read_chain(tmp_path)
