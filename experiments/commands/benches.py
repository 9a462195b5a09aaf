"""The benchmarks by name, listed by `keyshift bench --help` without torch. Each is `bench_NAME` of bench.py."""

from __future__ import annotations

from collections.abc import Callable

from ...datasets.registry import Registry

NAMES = (
    "step systems compile strategies labels votes volumes deformable grouping render loading predict scale tables gpu"
)
BENCHES: Registry[Callable[[], list[tuple[str, str, str]]]] = Registry(
    __name__, {name: f"bench:bench_{name}" for name in NAMES.split()}
)
FAULTS = "faults"
"""What measures no speed."""
ALONE = ("compile", FAULTS)
"""What takes minutes by itself: run where it is named."""
