"""What a wheel would write into a user's environment."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_of_code_is_in_the_wheel():
    folders = {p.parent.name for p in ROOT.glob("*/*.py")} - {"tests"}
    assert {f"keyshift.{name}": name for name in folders} == PROJECT["tool"]["setuptools"]["package-dir"]
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(f"keyshift.{name}" for name in folders)


def test_no_init_file_shadows_other_packages():
    assert not list(ROOT.glob("__init__.py")) + list(ROOT.glob("*/__init__.py"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that the checkout stays clean."""
    copy = tmp_path_factory.mktemp("source")
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in names.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_writes_into_its_own_folder_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"keyshift"}
    assert not [name for name in names if name.endswith("__init__.py")]
    for needed in ("adapt/methods/regda.py", "experiments/demo.yaml", "experiments/report.html", "datasets/py.typed"):
        assert f"keyshift/{needed}" in names
    written = {name for name in names if name.endswith(".py")}
    tracked = {
        f"keyshift/{p.relative_to(ROOT)}"
        for folder in ("adapt", "datasets", "experiments", "models")
        for p in (ROOT / folder).glob("*.py")
    }
    assert written == tracked


def test_it_lives_beside_packages_of_its_folders_names(wheel, tmp_path):
    """Install and uninstall beside packages called datasets and adapt: all stay as they were."""
    site = tmp_path / "site"
    for name in ("datasets", "adapt", "models"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text(f"mine = {name!r}")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        installed = archive.namelist()
    code = (
        "import datasets, adapt, models, keyshift.datasets.sample as s; assert (datasets.mine, adapt.mine, models.mine)"
    )
    code += f" == ('datasets', 'adapt', 'models'); assert s.__file__.startswith({str(site)!r}), s.__file__"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(site)}, check=True)
    for name in installed:  # what pip uninstall removes
        (site / name).unlink()
    code = "import datasets, adapt; assert (datasets.mine, adapt.mine) == ('datasets', 'adapt')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(site)}, check=True)
