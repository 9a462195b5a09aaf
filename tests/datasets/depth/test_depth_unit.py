import numpy as np
import pytest

from keyshift.datasets.depth.unit import likely, mm_of, seen_ratios, shown, unit_by


@pytest.mark.parametrize(
    ("said", "step"),
    [
        *(("mm", 1), ("m", 1000), ("cm", 10), ("um", 0.001), ("µm", 0.001), (" MM ", 1), ("meters", 1000)),
        *(("millimetre", 1), ("millimeters", 1), (0.25, 0.25), ("0.1", 0.1), ("0.25mm", 0.25), ("0.1 cm", 1)),
        *((1, 1), ("1e-3", 0.001), (".2", 0.2), ("0.001 m", 1)),
    ],
)
def test_units(said, step):
    assert mm_of(said) == pytest.approx(step)


@pytest.mark.parametrize(
    "said", ["", "inch", True, None, 0, -1, "-0.1", "nan", float("inf"), [1], "1 2", "0.1.2", "1/5000"]
)
def test_no_units(said):
    with pytest.raises(ValueError, match=r"unit=.* must be mm, cm, m or um, or the mm in a step: 0\.25 \(RealSense"):
        mm_of(said)


def test_shown():
    assert [shown(step) for step in (1.0, 1000.0, 0.25)] == ["mm", "m", "0.25"]


def test_likely_units_need_returns_that_are_all_out_of_range():
    far = np.linspace(2400, 4800, 50)
    assert likely(far, 1.0, 100, 2000).startswith("0.25 (RealSense L515: 600 to 1200 mm), 0.2 (")
    assert likely(np.append(far, [600] * 5), 1.0, 100, 2000) == ""
    assert likely(far[:0], 1.0, 100, 2000) == ""
    assert likely(far / 1000, 1.0, 100, 2000) == ""  # 2.4 to 4.8 m are beyond
    assert likely(far / 4000, 1.0, 100, 2000).startswith("m (")


def test_ratios_of_what_is_seen_to_what_is_said():
    depth = np.zeros((20, 20))
    depth[5:15, 5:15] = 2400
    points = np.array([[10.0, 10, 600], [1, 1, 600], [-4, 90, 600], [np.nan] * 3])
    assert seen_ratios(depth, points) == [4.0]
    assert "with unit: 0.25" in unit_by([4.0] * 5, 1.0, 5)
    assert unit_by([4.0] * 4, 1.0, 5) == ""
    assert unit_by([1030.0] * 5, 1.0, 5) == ": z is in metres there, by what the frames return; write mm"
    assert unit_by([1.1] * 9, 1.0, 5) == ""
    assert unit_by([2.9] * 9, 1.0, 5) == ""  # no camera writes so
