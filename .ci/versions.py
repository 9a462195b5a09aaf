"""The direct dependencies of pyproject.toml, those of its extras included.

versions.py lowest       the lowest version that is declared for each, as constraints for pip
versions.py installed    what the Python that runs this has of them
"""

import platform
import re
import sys
import tomllib
from importlib.metadata import version
from itertools import chain
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def lowest() -> dict[str, str]:
    """{name: version}. Raises ValueError for a requirement that is more than a name and one lower bound."""
    bounds = {}
    for requirement in chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        if requirement.startswith(f"{PROJECT['name']}["):
            continue
        bound = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
        if not bound:
            raise ValueError(f"pyproject.toml: {requirement}: expected NAME>=VERSION")
        bounds[bound[1]] = bound[2]
    return bounds


if __name__ == "__main__":
    if sys.argv[1:] == ["lowest"]:
        print(*(f"{name}=={bound}" for name, bound in lowest().items()), sep="\n")
    elif sys.argv[1:] == ["installed"]:
        print(f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in lowest()), sep=", ")
    else:
        sys.exit(__doc__)
