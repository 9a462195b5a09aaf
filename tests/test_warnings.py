"""Which warnings fail the suite: those of our code and of its calls, not those that a library raises about itself."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
INSIDE = '''
import gc
import threading
import warnings

import pytest


def module(name, source, **names):
    names = {"__name__": name, "warnings": warnings, **names}
    exec(source, names)
    return names


library = module("torch.nn.functional", """
def odd(): warnings.warn("odd number")
def old(): warnings.warn("use the new one", DeprecationWarning, stacklevel=2)
def inside(): old()
def leak(path): path.open("w")
class Closing:
    def __del__(self): raise OSError("closed twice")
""")
ours = module("keyshift.datasets.reading.images", """
def odd(): warnings.warn("odd number", stacklevel=1)
def old(library): library["old"]()
def leak(path): path.open("w")
""")


def test_library_about_itself():
    library["odd"]()


def test_library_calls_its_own_old_function():
    library["inside"]()


def test_library_leaks_a_file(tmp_path):
    library["leak"](tmp_path / "file")
    gc.collect()


def test_library_raises_while_it_is_deleted():
    library["Closing"]()
    gc.collect()


def test_ours_warns():
    ours["odd"]()


def test_ours_calls_an_old_function():
    ours["old"](library)


def test_ours_leaks_a_file(tmp_path):
    ours["leak"](tmp_path / "file")
    gc.collect()


def test_ours_is_called_in_an_old_way_by_a_test():
    library["old"]()


def test_ours_raises_in_a_thread():
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()


def test_ours_warns_where_it_is_expected():
    with pytest.warns(UserWarning, match="odd"):
        ours["odd"]()
'''


def test_only_our_own_warnings_are_errors(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_inside.py").write_text(INSIDE)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    outcomes = {}
    for line in ran.stdout.splitlines():
        outcome, _, name = line.partition(" tests/test_inside.py::")
        if name and outcome in {"PASSED", "FAILED", "ERROR"}:
            outcomes[name.split()[0].removeprefix("test_")] = outcome
    assert outcomes == {
        "library_about_itself": "PASSED",
        "library_calls_its_own_old_function": "PASSED",
        "library_leaks_a_file": "PASSED",
        "library_raises_while_it_is_deleted": "PASSED",
        "ours_warns": "FAILED",
        "ours_calls_an_old_function": "FAILED",
        "ours_leaks_a_file": "FAILED",
        "ours_is_called_in_an_old_way_by_a_test": "FAILED",
        "ours_raises_in_a_thread": "FAILED",
        "ours_warns_where_it_is_expected": "PASSED",
    }, ran.stdout
