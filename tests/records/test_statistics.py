import numpy as np
import pytest
from scipy.stats import spearmanr

from deformlab.records import Interval, draws, spearman
from deformlab.records.statistics import percentile_bounds, ratio_interval


def test_draws_are_deterministic_and_draw_as_many_images_as_there_are():
    drawn = draws(7)
    assert drawn.shape == (1000, 7)
    assert (drawn.sum(1) == 7).all()
    assert np.array_equal(drawn, draws(7))
    assert drawn.mean(0) == pytest.approx(np.ones(7), abs=0.1)


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation():
    rng = np.random.default_rng(1)
    values = rng.normal(3, 2, size=(400, 1))
    low, high = ratio_interval(draws(400), values, np.ones_like(values))
    half = 1.96 * values.std() / 20
    assert low[0] == pytest.approx(values.mean() - half, abs=0.03)
    assert high[0] == pytest.approx(values.mean() + half, abs=0.03)


def test_filters_of_one_image_are_not_independent():
    # Ten images that differ; a thousand equal filters in each must not narrow the interval.
    means = np.arange(10.0)[:, None]
    few = ratio_interval(draws(10), means, np.ones((10, 1)))
    many = ratio_interval(draws(10), 1000 * means, np.full((10, 1), 1000.0))
    np.testing.assert_allclose(few, many)
    assert many[1] - many[0] > 2


def test_one_image_has_no_interval():
    numerator = np.array([[3.0], [0.0]])
    denominator = np.array([[2.0], [0.0]])
    assert np.isnan(ratio_interval(draws(2), numerator, denominator)).all()


def test_the_interval_covers_the_truth_at_its_level():
    rng = np.random.default_rng(0)
    drawn = draws(40, resamples=400)
    covered = 0
    for _ in range(200):
        counts = rng.integers(1, 30, size=(40, 1)).astype(float)
        image_means = rng.normal(2, 1, size=(40, 1))
        low, high = ratio_interval(drawn, counts * image_means, counts)
        covered += bool(low[0] <= 2 <= high[0])
    assert 0.88 <= covered / 200 <= 0.99


def test_half_undefined_has_no_bounds():
    values = np.array([[1.0, 1.0, np.nan], [2.0, np.nan, np.nan], [3.0, np.nan, np.nan], [4.0, 4.0, 4.0]])
    bounds = percentile_bounds(values)
    assert np.isnan(bounds[:, 1:]).all()
    assert bounds[:, 0].tolist() == pytest.approx([1.075, 3.925])


@pytest.mark.parametrize("ties", [False, True])
def test_the_coefficient_is_scipys(ties):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 60))
    y += x
    if ties:
        x, y = x.round(), y.round()
    value, low, high = spearman(x, y, np.arange(60) % 9, draws(9))
    assert value == pytest.approx(spearmanr(x, y).statistic)
    assert low < value < high


def test_the_interval_is_that_of_repeating_whole_images():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, size=(2, 30)).astype(float)
    image, drawn = np.arange(30) // 6, draws(5, resamples=200)
    values = []
    for counts in drawn.astype(int):
        chosen = np.repeat(np.arange(30), counts[image])
        values.append(spearmanr(x[chosen], y[chosen]).statistic)
    _, low, high = spearman(x, y, image, drawn)
    assert [low, high] == pytest.approx(np.quantile(values, (0.025, 0.975)).tolist())


def test_a_monotone_relation_is_one():
    x = np.arange(10.0)
    assert spearman(x, np.exp(x), np.arange(10), draws(10)) == pytest.approx((1, 1, 1))


def test_a_constant_has_no_correlation():
    assert spearman(np.arange(9.0), np.full(9, 2.0), np.arange(9), draws(9)) == Interval(None)


def test_two_objects_have_no_correlation_and_one_image_no_interval():
    assert spearman(np.arange(2.0), np.arange(2.0), np.arange(2), draws(2)) == Interval(None)
    value, low, high = spearman(np.arange(5.0), np.arange(5.0), np.zeros(5, dtype=int), draws(3))
    assert value == pytest.approx(1)
    assert (low, high) == (None, None)
