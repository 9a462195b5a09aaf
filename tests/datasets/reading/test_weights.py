"""Weights of others: found wherever they are in a file, read without running it, and what is none is named."""

import argparse
import copy
import datetime
import gzip
import json
import struct
import warnings
import zipfile

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from keyshift.datasets.reading.weights import SAVE, fitting, read_content, unwrapped

ADVICE = ("weights_only", "trust", "arbitrary code", "add_safe_globals")


class Net(nn.Module):
    def __init__(self, keypoints: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.final = nn.Conv2d(4, keypoints, 1)


def state_of(seed: int = 0, keypoints: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(Net(keypoints).state_dict())


STATE, OTHER = state_of(0), state_of(1)


def prefixed(prefix: str, state=STATE):
    return {f"{prefix}{key}": value for key, value in state.items()}


def through_file(content, tmp_path, wanted=STATE):
    torch.save(content, tmp_path / "weights.pt")
    return fitting(read_content(tmp_path / "weights.pt"), wanted, "weights.pt")


LIGHTNING = {
    **{"epoch": 3, "pytorch-lightning_version": "2.5", "hyper_parameters": {"rate": 0.1}, "optimizer_states": []},
    "state_dict": {**prefixed("network."), "loss.weight": torch.ones(2), "metric.total": torch.tensor(3)},
}
WRAPPED = {
    "alone": STATE,
    "model_state_dict": {"model_state_dict": STATE, "epoch": 3, "optimizer_state_dict": {"state": {}}},
    "network, parallel": {"network": prefixed("module."), "epoch": 3},
    "compiled": prefixed("_orig_mod."),
    "compiled, then parallel": prefixed("module._orig_mod."),
    "parallel, then compiled": {"net": prefixed("_orig_mod.module.")},
    "a compiled part": {key.replace("body.", "body._orig_mod."): value for key, value in STATE.items()},
    "Lightning": LIGHTNING,
    "Lightning, compiled": {"state_dict": prefixed("model._orig_mod.")},
    "deep": {"checkpoint": {"models": {"pose": {"weights": prefixed("pose_net.backbone.")}}}},
    "arguments beside it": {"model": STATE, "args": argparse.Namespace(rate=0.1), "best": np.float64(0.5)},
    "before batches were counted": {k: v for k, v in STATE.items() if not k.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("content", WRAPPED.values(), ids=WRAPPED)
def test_weights_are_found_wherever_they_are(content, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state = through_file(content, tmp_path)
    assert state.keys() == STATE.keys() or "before" in str(set(STATE) - set(state)) or len(state) == len(STATE) - 1
    assert all(torch.equal(value, STATE[key]) for key, value in state.items())


def test_weights_of_what_the_network_wraps_are_read(tmp_path):
    state = through_file({"model": STATE, "epoch": 1}, tmp_path, prefixed("net."))
    assert state.keys() == prefixed("net.").keys()


def test_half_precision_is_read(tmp_path):
    half = {key: value.half() if value.is_floating_point() else value for key, value in STATE.items()}
    network = Net()
    network.load_state_dict(through_file(half, tmp_path))
    assert network.final.weight.dtype == torch.float32
    torch.testing.assert_close(network.final.weight, STATE["final.weight"], atol=1e-3, rtol=1e-3)


def test_trained_weights_go_before_their_average_and_that_is_said(tmp_path):
    for content in ({"ema": OTHER, "model": STATE}, {"model": STATE, "ema": OTHER}):
        with pytest.warns(UserWarning, match=r"weights.pt holds several.*under 'model' are taken, not.*under 'ema'"):
            state = through_file(content, tmp_path)
        assert torch.equal(state["final.weight"], STATE["final.weight"])
    with pytest.warns(UserWarning, match=r"behind 'model.'.* are taken, not those .*behind 'teacher.'"):
        through_file({"state_dict": {**prefixed("teacher.", OTHER), **prefixed("model.")}}, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        through_file({"model": STATE, "model_ema": copy.deepcopy(STATE)}, tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"model_state_dict": state_of(0, 5), "epoch": 3},
            ["model_state_dict, epoch", "final.weight (5, 4, 1, 1), here (3"],
        ),
        ({"epoch": 3, "seeds": [1, 2]}, ["no tensors by name", "epoch, seeds", SAVE]),
        ([torch.ones(2)], ["no tensors by name, but a list"]),
        (torch.ones(2), ["but a Tensor"]),
        ({"net": {"a" * 300: torch.ones(2)}}, ["under 'net'", "are missing: body.0.weight"]),
        ({k: v for k, v in STATE.items() if "final" not in k}, ["2 are missing: final.weight, final.bias"]),
        (STATE | {"aux.weight": torch.ones(2)}, ["1 are not of the network: aux.weight"]),
        (prefixed("encoder."), ["at the top"]),
    ],
    ids=range(8),
)
def test_what_does_not_fit_is_told_in_one_short_line(content, words, tmp_path):
    wanted = STATE if words != ["at the top"] else STATE | {"more.weight": torch.ones(3)}
    with pytest.raises(ValueError, match=r"\S") as error:
        through_file(content, tmp_path, wanted)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 420
    for word in words:
        assert word in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_named(value, tmp_path):
    state = copy.deepcopy(STATE)
    state["final.weight"][0, 0] = value
    with pytest.raises(ValueError, match=r"final.weight holds NaN or infinite values, as 1 of 9 tensors do"):
        through_file({"model": state}, tmp_path)


def test_safetensors_are_read_without_their_library(tmp_path):
    content, data = {}, b""
    for key, value in STATE.items():
        kind = "I64" if value.dtype == torch.int64 else "BF16" if "final" in key else "F32"
        stored = value.bfloat16().view(torch.int16) if kind == "BF16" else value
        raw = stored.numpy().tobytes()
        ends = [len(data), len(data) + len(raw)]
        content[f"model.{key}"] = {"dtype": kind, "shape": list(value.shape), "data_offsets": ends}
        data += raw
    text = json.dumps({"__metadata__": {"format": "pt"}, **content}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    state = fitting(read_content(path), STATE, path)
    assert torch.equal(state["body.0.weight"], STATE["body.0.weight"])
    assert torch.equal(state["final.weight"], STATE["final.weight"].bfloat16())
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"^it is a damaged safetensors file.*ends behind the file"):
        read_content(path)


BESIDE = {
    "a history": {"history": np.ones((2, 3)), "best": np.float64(0.5)},
    "a moment": {"at": datetime.datetime(2024, 1, 15, 12, 30), "took": datetime.timedelta(seconds=3)},
    "what a profiler counted": {"state": {**STATE, "total_ops": torch.zeros(1), "body.0.total_params": torch.zeros(1)}},
    "a list of networks": {"networks": [STATE, {"w": torch.ones(2)}]},
    "sparse tensors": {"state": {k: v.to_sparse() if v.dim() == 1 else v for k, v in STATE.items()}},
}


@pytest.mark.parametrize("content", BESIDE.values(), ids=BESIDE)
def test_harmless_data_beside_the_weights(content, tmp_path):
    content = content if {"state", "networks"} & set(content) else {**content, "model": STATE}
    state = through_file(content, tmp_path)
    assert state.keys() == STATE.keys()
    assert all(torch.equal(value, STATE[key]) for key, value in state.items())


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_are_no_weights(dtype, tmp_path):
    quantized = {key: (20 * value).to(dtype) for key, value in STATE.items()}
    with pytest.raises(ValueError, match=r"are no floats, as quantized weights are: body.0.weight"):
        through_file(quantized, tmp_path)


@pytest.mark.parametrize(("content", "held"), [({}, "nothing at all"), ([], "a list"), ({"a": 3}, "the keys a")])
def test_a_file_without_tensors(content, held, tmp_path):
    with pytest.raises(ValueError, match=f"it holds no tensors by name, but {held};"):
        through_file(content, tmp_path)


def scripted(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 1))).save(path)


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/best.pt", b"x")
        archive.writestr("readme.txt", b"x")


def keras(path):
    with h5py.File(path, "w") as file:
        file["model_weights"] = [1.0]


FOREIGN = {
    "a whole module": (lambda path: torch.save(Net(), path), r"holds an object of \S*Net besides.*torch.save\(model"),
    "an object inside": (lambda path: torch.save({"model": STATE, "net": Net()}, path), r"holds an object of \S*Net"),
    "TorchScript": (scripted, "a TorchScript archive, which is code; load it with torch.jit.load"),
    "a zip": (zipped, r"a zip archive of 2 files \(weights/best.pt, readme.txt\): unpack it"),
    "Keras": (keras, "HDF5, as Keras and TensorFlow write it"),
    "a page": (lambda path: path.write_text("\n<!DOCTYPE html><html>Sign in</html>"), "a web page instead"),
    "Git LFS": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid x"), "git lfs pull"),
    "a text": (lambda path: path.write_text("weights: 3\n"), "a text, which begins with 'weights: 3'"),
    "nothing": (lambda path: path.write_bytes(b""), "it is empty"),
    "an array": (lambda path: np.save(path.open("wb"), np.ones(3)), "a NumPy array"),
    "arrays": (lambda path: np.savez(path.open("wb"), a=np.ones(3)), "NumPy arrays"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x")), "compressed with gzip: unpack it"),
    "noise": (lambda path: path.write_bytes(bytes(range(256)) * 9), "is damaged, or no weights file of PyTorch"),
    "half a file": (lambda path: (torch.save(STATE, path), path.write_bytes(path.read_bytes()[:-400])), "incomplete"),
    "an exported program": (
        lambda path: torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), path),
        "exported program of torch.export",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("write", "message"), FOREIGN.values(), ids=FOREIGN)
def test_a_file_of_another_kind_says_what_it_is(write, message, tmp_path):
    path = tmp_path / "net.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(path)
    with pytest.raises(ValueError, match=message) as error:
        read_content(path)
    assert "\n" not in str(error.value)
    assert not [word for word in ADVICE if word in str(error.value)]


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(ValueError, match="it cannot be read: No such file"):
        read_content(tmp_path / "none.pt")
    with pytest.raises(ValueError, match="it cannot be read: Is a directory"):
        read_content(tmp_path)
    graph = tmp_path / "net.onnx"
    graph.write_bytes(b"\x08\x08\x12\x07pytorch")
    with pytest.raises(ValueError, match="an ONNX graph, which holds no module"):
        read_content(graph)


def test_reference_weights_are_unwrapped_by_one_of_their_keys():
    bare = {"body.0.weight": 1, "final.weight": torch.ones(1)}
    state = {key: torch.ones(1) for key in bare}
    for content in (state, prefixed("module.", state), {"network": prefixed("model._orig_mod.", state), "epoch": 1}):
        assert unwrapped(content, "other.weight", "final.weight").keys() == bare.keys()
    assert unwrapped({"a": torch.ones(1)}, "final.weight").keys() == {"a"}
