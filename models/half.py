"""An ONNX file's layers in half precision: half the bytes, and faster where the hardware has it.

Only what lies between the first and the last layers with weights is of fp16. Normalising a picture of 255 levels before
them and decoding coordinates behind them is not: fp16 counts pixels above 256 in quarters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

LAYERS = ("Conv", "ConvTranspose", "Gemm")


def halved(model: Any) -> Any:
    """`model`, an onnx.ModelProto, with its layers in fp16; inputs and outputs are what they were. Raises ValueError
    where it has no such layers."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    nodes = model.graph.node
    for number, node in enumerate(nodes):
        node.name = f"{node.op_type}_{number}"
    layers = [node for node in nodes if node.op_type in LAYERS]
    if not layers:
        raise ValueError(f"precision=fp16: it has no layer of {', '.join(LAYERS)}; leave it out")
    behind = reached(nodes, layers, "input", "output")
    before = reached(list(nodes)[::-1], layers, "output", "input")
    kept = [node.name for node in nodes if not (node.name in behind and node.name in before)]
    return convert_float_to_float16(model, keep_io_types=True, node_block_list=kept)


def reached(nodes: Iterable[Any], start: Sequence[Any], takes: str, gives: str) -> set[str]:
    """Names of `start` and of all nodes, in their order, that take what those reached before give."""
    names = {node.name for node in start}
    values: set[str] = set()
    for node in nodes:
        if node.name in names or values & set(getattr(node, takes)):
            names.add(node.name)
            values |= set(getattr(node, gives)) - {""}
    return names
