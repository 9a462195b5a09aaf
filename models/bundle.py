"""One Python file that answers pictures by an exported network, made from the very source that keyshift runs."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from ..datasets import augment
from ..datasets.reading import people
from . import runtime
from .pose_model import PoseModel

Part = ModuleType | Callable[..., Any]
CUT = (augment.shift, augment.crop_matrix, augment.warp, people.square)
"""How pictures become inputs."""
HEAD = '''"""Everyone in pictures by {network}, with {needs}: python {file} PICTURE...

From Python, `everyone(picture)` is a named tuple of points (P, K, 2), confidence (P, K) and score (P,) for the P people
of a picture (H, W, 3) uint8 RGB. Points are in its pixels, whose centres stand at +0.5. Written by keyshift export,
from keyshift's own source: write it again rather than change it.
"""

from __future__ import annotations

'''
TAIL = '''

NETWORK = Path(__file__).with_name("{network}")


def everyone(picture: np.ndarray) -> People:
    """The people of one picture; for many, keep `Everyone(NETWORK, {maker})`."""
    return Everyone(NETWORK, {maker})(picture)


if __name__ == "__main__":
    print_people(NETWORK, {maker}, sys.argv[1:])
'''


def runtime_of(kind: type[PoseModel], network: str, file: str) -> str:
    """The text of `file`, which stands beside the exported `network` of a system that finds several people."""
    outside = kind.outside
    parts: list[Part] = [*CUT, *(() if outside is None else outside.parts), runtime]
    needs = "numpy, OpenCV and onnxruntime alone" if outside is None else "numpy, scipy, OpenCV and onnxruntime alone"
    maker = "None" if outside is None else outside.maker.__name__
    head = HEAD.format(network=network, needs=needs, file=file)
    return head + joined(parts) + TAIL.format(network=network, maker=maker)


def answers_alone(model: PoseModel) -> bool:
    """Whether such a file can be written for a network: it finds several people in pictures, and reads nothing else."""
    return not model.single and tuple(model.reads) == ("image",) and not model.frames


def joined(parts: Sequence[Part]) -> str:
    """The source of modules and functions as that of one module: imports first, those from keyshift and modules' own
    docstrings left out."""
    plain, named, bodies = set[str](), dict[str, set[str]](), []
    for part in parts:
        lines = inspect.getsource(part).splitlines()
        for place, node in enumerate(ast.parse("\n".join(lines)).body):
            docstring = place == 0 and isinstance(node, ast.Expr)
            if isinstance(node, ast.Import):
                plain.add(ast.unparse(node))
            elif isinstance(node, ast.ImportFrom) and not ours(node):
                named.setdefault(str(node.module), set()).update(map(ast.unparse, node.names))
            if docstring or isinstance(node, (ast.Import, ast.ImportFrom)):
                assert node.end_lineno is not None
                lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
        bodies.append("\n".join(lines).strip("\n"))
    named.pop("__future__", None)
    imports = [*sorted(plain), *(f"from {name} import {', '.join(sorted(named[name]))}" for name in sorted(named))]
    return "\n".join([*imports, "", "", *"\n\n\n".join(bodies).splitlines()]) + "\n"


def ours(node: ast.ImportFrom) -> bool:
    """Whether something is imported from keyshift."""
    return node.level > 0 or (node.module or "").split(".")[0] == "keyshift"
