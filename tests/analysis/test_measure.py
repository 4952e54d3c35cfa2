import math

import pytest

from deformlab.analysis import FilterStatistics, Measure, over_seeds, pool


def test_seeds_give_mean_and_sample_deviation():
    # Mean of 44, 46, 48 is 46; squared differences 4 + 0 + 4 over 2 are 4, whose root is 2.
    assert over_seeds([44.0, 46.0, 48.0]) == Measure(46.0, 2.0)


def test_one_seed_has_no_spread():
    assert over_seeds([44.0]) == Measure(44.0, None)


def test_seeds_without_a_value_do_not_count():
    assert over_seeds([None, 44.0, math.nan]) == Measure(44.0, None)
    assert over_seeds([None, None]) is None


def test_pooling_is_as_if_all_filters_had_been_counted_together():
    # 1, 3 has mean 2 and deviation 1; 5, 7, 9 mean 7 and variance 8/3. All five: mean 5, variance 8.
    parts = [FilterStatistics("l", "small", 2, 1, 2), FilterStatistics("l", "small", 7, math.sqrt(8 / 3), 3)]
    pooled = pool(parts)
    assert (pooled.mean, pooled.count) == (5, 5)
    assert pooled.std == pytest.approx(math.sqrt(8))


def test_pooling_skips_parts_without_filters():
    parts = [FilterStatistics("l", "small", 2, 1, 2), FilterStatistics("l", "small", math.nan, math.nan, 0)]
    assert pool(parts).mean == 2


def test_pooling_nothing_counts_nothing():
    assert pool([]).count == 0
    assert math.isnan(pool([]).mean)
