"""The unit of depth files: how many mm a step is, and which unit would bring returns where they are expected."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

WORDS = {"um": 0.001, "mm": 1.0, "cm": 10.0, "m": 1000.0}
KNOWN = {
    "mm": (1.0, "most cameras"),
    "m": (1000.0, "float files"),
    "0.25": (0.25, "RealSense L515"),
    "0.2": (0.2, "TUM RGB-D, 5000 a metre"),
    "0.1": (0.1, "RealSense D405, 10000 a metre"),
    "0.125": (0.125, "RealSense SR300"),
    "cm": (10.0, "centimetres"),
    "um": (0.001, "micrometres"),
}
"""What camera.yaml may say to mm a step, and who writes so."""
EXPECTED = "mm, cm, m or um, or the mm in a step: 0.25 (RealSense L515), 0.2 (TUM RGB-D), 0.1 (RealSense D405)"
_UNIT = re.compile(r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]+)?|)\s*([a-z]*)")
_LONG = re.compile(r"(milli|centi|micro)?met(?:er|re)s?")
_PREFIX = {"milli": "mm", "centi": "cm", "micro": "um", "": "m"}


def mm_of(unit: Any) -> float:
    """mm in a step of `unit`: a word, a number of mm, or both ("0.25 mm"). Raises ValueError for anything else."""
    parts = _UNIT.fullmatch(str(unit).strip().lower().replace("µ", "u").replace("μ", "u"))
    number, word = parts.groups() if parts else ("", "")
    if long := _LONG.fullmatch(word):
        word = _PREFIX[long[1] or ""]
    try:
        step = float(number or 1) * WORDS[word or "mm"]
    except (ValueError, KeyError):
        step = np.nan
    if isinstance(unit, bool) or not (number or word) or not 0 < step < np.inf:
        raise ValueError(f"unit={unit!r} must be {EXPECTED}")
    return step


def shown(step: float) -> str:
    """What camera.yaml may say for so many mm a step."""
    return next((word for word, mm in WORDS.items() if mm == step), f"{step:g}")


def likely(returns: np.ndarray, unit: float, near: float, far: float) -> str:
    """The units that would bring `returns` (N,), mm read with `unit`, to between `near` and `far`, and where; ""
    where some lie there already or no known unit brings them there."""
    if not len(returns) or ((returns >= near) & (returns <= far)).mean() > 0.01:
        return ""
    first, low, high = np.percentile(returns, [1, 0, 100]) / unit
    fits = {word: (step, who) for word, (step, who) in KNOWN.items() if near <= first * step <= far and step != unit}
    return ", ".join(f"{word} ({who}: {low * step:.0f} to {high * step:.0f} mm)" for word, (step, who) in fits.items())


def seen_ratios(depth: np.ndarray, points: np.ndarray) -> list[float]:
    """What the frame (H, W) mm returns around each of `points` (N, 3: px, px, mm), against their z."""
    ratios = []
    for x, y, z in points[np.isfinite(points).all(1)]:
        part = depth[max(int(y) - 2, 0) : max(int(y) + 3, 0), max(int(x) - 2, 0) : max(int(x) + 3, 0)]
        if (part > 0).any():
            ratios.append(float(np.median(part[part > 0]) / z))
    return ratios


def unit_by(ratios: list[float], unit: float, least: int) -> str:
    """The known unit in which frames return what labels or centres say, where it is not `unit`; "" where there is
    none, or fewer than `least` ratios."""
    ratio = float(np.median(ratios)) if len(ratios) >= least else 1.0
    if abs(ratio / 1000 - 1) < 0.15:
        return ": z is in metres there, by what the frames return; write mm"
    fits = [word for word, (step, _) in KNOWN.items() if abs(unit / ratio / step - 1) < 0.15]
    if not fits or abs(np.log(ratio)) < 0.3:
        return ""
    return (
        f": with unit: {shown(unit)} the frames return {ratio:.3g} times the z that is given there; with unit: "
        f"{fits[0]} the two agree"
    )
