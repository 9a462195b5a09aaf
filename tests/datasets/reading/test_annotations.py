"""What other people's files may do to the readers: nothing but raise."""

import pickle

import numpy as np
import pytest
import scipy.io

from keyshift.datasets.reading.annotations import (
    BadAnnotation,
    numbers,
    picture_name,
    probe_mats,
    read_mat,
    read_pickle,
)


def test_a_matlab_file_that_kills_its_reader(tmp_path):
    """scipy's reader of uncompressed files trusts the type of an element, and dies on one that there is not."""
    paths = [tmp_path / f"{i}.mat" for i in range(3)]
    for path in paths:
        scipy.io.savemat(path, {"joints": np.random.default_rng(0).random((3, 14, 4)), "s": {"a": "x"}})
    raw = bytearray(paths[1].read_bytes())
    assert raw[192] == 9
    raw[192] = 203
    paths[1].write_bytes(raw)
    with pytest.raises(BadAnnotation, match=r"1\.mat: the content is such that its reader breaks off"):
        probe_mats(paths)
    with pytest.raises(BadAnnotation, match="breaks off"):
        read_mat(paths[1])
    assert read_mat(paths[2])["joints"].shape == (3, 14, 4)


class Evil:
    def __reduce__(self):
        return (open, ("written.txt", "w"))


def test_pickles_call_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {0: {"uv": np.arange(6.0).reshape(2, 3), "n": np.float32(2), "t": ["a", 1, None, True]}}
    (tmp_path / "good.pickle").write_bytes(pickle.dumps(content))
    assert (read_pickle(tmp_path / "good.pickle")[0]["uv"] == content[0]["uv"]).all()
    (tmp_path / "evil.pickle").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(BadAnnotation, match="asks for"):
        read_pickle(tmp_path / "evil.pickle")
    assert not (tmp_path / "written.txt").exists()


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x.png", "a/../../x.png", "C:/x.png", "a\\b.png", "a\0.png", "", 3, None]
)
def test_names_stay_below_the_root(name):
    with pytest.raises(BadAnnotation):
        picture_name(name, "f.json", 1)


@pytest.mark.parametrize(
    "value", [[1, float("nan")], [1, 1e7], [1, "2"], [1, None], [[1], 2], [1, 2, 3], 1, [True, False]]
)
def test_numbers_are_numbers(value):
    with pytest.raises(BadAnnotation, match=r"f\.json, 7: box is .*, expected finite numbers of shape \(2\)"):
        numbers(value, (2,), "f.json", 7, "box")


def test_an_error_crosses_processes():
    error = BadAnnotation("labels.json", "entry 3", "id", 7, "a name")
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other)) == (BadAnnotation, str(error))
