"""What pip would write into a user's environment, and what pyproject.toml says of it."""

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, TOOL = SETTINGS["project"], SETTINGS["tool"]
FOLDERS = ("adapt", "datasets", "experiments", "models")


@pytest.fixture(scope="module")
def files():
    """All files of the project that git knows or would add, relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    return sorted(name for name in names if name and (ROOT / name).is_file())


@pytest.fixture(scope="module")
def code(files):
    """Those below the four folders."""
    return [name for name in files if name.split("/")[0] in FOLDERS]


@pytest.fixture(scope="module")
def dist(files, tmp_path_factory):
    """An sdist, and a wheel built from it; both from a copy, so that the checkout stays clean."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def wheel(dist):
    (path,) = dist.glob("*.whl")
    return path


def test_every_folder_of_code_is_in_the_wheel(files, code):
    assert {f"keyshift.{name}": name for name in FOLDERS} == TOOL["setuptools"]["package-dir"]
    folders = {Path(name).parent for name in code}
    at_root = {name.split("/")[0] for name in files if name.endswith(".py")}
    assert at_root == {*FOLDERS, "tests", ".ci"}
    assert sorted(TOOL["setuptools"]["packages"]) == sorted(".".join(("keyshift", *path.parts)) for path in folders)


def test_no_init_file_shadows_other_packages(files):
    assert not [name for name in files if Path(name).name == "__init__.py"]


def test_the_linters_settings_name_what_exists():
    assert sorted(TOOL["mypy"]["packages"]) == sorted(TOOL["setuptools"]["package-dir"])
    for name in TOOL["ruff"]["lint"]["per-file-ignores"]:
        assert (ROOT / name).is_file(), name


def test_the_wheel_holds_the_four_folders_and_nothing_else(wheel, code):
    names = zipfile.ZipFile(wheel).namelist()
    about = f"keyshift-{PROJECT['version']}.dist-info"
    assert sorted(name for name in names if not name.startswith(about)) == [f"keyshift/{name}" for name in code]
    assert {f"{about}/licenses/LICENSE", f"{about}/METADATA", f"{about}/entry_points.txt"} < set(names)
    for needed in (
        "adapt/methods/regda.py",
        "experiments/demo.yaml",
        "experiments/report/report.html",
        "models/py.typed",
    ):
        assert f"keyshift/{needed}" in names


def test_the_sdist_holds_what_the_wheel_is_built_from_and_nothing_else(dist, code):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    made = {name for name in names if name.split("/")[0] in {"PKG-INFO", "setup.cfg", "keyshift.egg-info"}}
    assert names - made == {*code, "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml"}


def test_the_package_describes_itself(wheel):
    with zipfile.ZipFile(wheel) as archive:
        about = archive.read(f"keyshift-{PROJECT['version']}.dist-info/METADATA").decode()
    head, _, readme = about.partition("\n\n")
    assert readme == (ROOT / "README.md").read_text()
    for line in ("License-Expression: MIT", "License-File: LICENSE", "Classifier: Typing :: Typed"):
        assert line in head.splitlines()
    assert "Project-URL: Issues, https://" in head


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


def names_of(requirements):
    return {re.split(r"[\[>]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def test_every_package_that_the_code_imports_is_declared(code):
    """What comes along with another dependency today may not tomorrow."""
    imported = set()
    for name in code:
        if name.endswith(".py"):
            for node in ast.walk(ast.parse((ROOT / name).read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    imported.add(node.module.split(".")[0])
    extras = [packages for extra, packages in PROJECT["optional-dependencies"].items() if extra != "dev"]
    declared = names_of(chain(PROJECT["dependencies"], *extras))
    sources = packages_distributions()  # reads what every installed package holds
    for module in sorted(imported - set(sys.stdlib_module_names) - {"keyshift"}):
        packages = {name.lower().replace("_", "-") for name in sources.get(module, [module])}
        assert packages & declared, f"{module} is imported, and pyproject.toml declares none of {sorted(packages)}"


def test_every_direct_dependency_takes_part_in_the_run_with_the_lowest_versions():
    command = [sys.executable, str(ROOT / ".ci" / "versions.py"), "lowest"]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    direct = names_of(chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()))
    assert {line.split("==")[0].lower() for line in lines} == direct - {"keyshift"}
    assert "torch==2.11" in lines
