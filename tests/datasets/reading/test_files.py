"""Files that stay whole, and one process at a time in a folder."""

import json
import os
import threading

import pytest

from keyshift.datasets.reading.files import only_one, write_json, write_text, write_whole


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    write_text(tmp_path / "a.txt", "größer\n")

    def half(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.txt", half)
    assert (tmp_path / "a.txt").read_bytes() == "größer\n".encode()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    write_json(tmp_path / "a.json", {1: (float("nan"), float("-inf"), 0.5), "b": {"c": float("inf")}})
    assert json.loads((tmp_path / "a.json").read_text()) == {"1": [None, None, 0.5], "b": {"c": None}}


def test_one_process_at_a_time(tmp_path):
    with (
        only_one(tmp_path / "new"),
        pytest.raises(ValueError, match=r"another process is working .*; go elsewhere"),
        only_one(tmp_path / "new", otherwise="go elsewhere"),
    ):
        pass
    with only_one(tmp_path / "new"):
        assert os.listdir(tmp_path / "new") == [".lock"]


def test_one_waits_for_the_other(tmp_path):
    order = []

    def second():
        with only_one(tmp_path, wait=True):
            order.append("second")

    with only_one(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
