"""The paired difference of two models and its interval."""

import numpy as np
import pytest
from scipy import stats

from keyshift.adapt.scoring.paired import interval, paired


def test_blocks_of_one_size_give_the_paired_t_test():
    rng = np.random.default_rng(0)
    hits, counts = rng.random((2, 12)) * 10, np.full(12, 10.0)
    difference, error = paired((hits[0], counts), (hits[1], counts))
    test = stats.ttest_rel(hits[1] / 10, hits[0] / 10)
    assert difference / error == pytest.approx(test.statistic)
    assert interval(difference, error, 12) == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_a_block_without_a_keypoint_that_counts_changes_only_how_many_blocks_there_are():
    before, after = (np.array([3.0, 0, 5]), np.array([4.0, 0, 8])), (np.array([4.0, 0, 5]), np.array([4.0, 0, 8]))
    difference, error = paired(before, after)
    assert difference == pytest.approx(9 / 12 - 8 / 12)
    assert error > 0


def test_a_single_block_says_nothing_of_its_error():
    difference, error = paired((np.array([3.0]), np.array([4.0])), (np.array([4.0]), np.array([4.0])))
    assert difference == 0.25
    assert np.isnan([error, *interval(difference, error, 1)]).all()
