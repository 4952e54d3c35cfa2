import numpy as np
import pytest

from deformlab.records import draws
from deformlab.records.statistics import ratio_interval


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


def test_it_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    drawn = draws(40, resamples=400)
    covered = 0
    for _ in range(200):
        counts = rng.integers(1, 30, size=(40, 1)).astype(float)
        image_means = rng.normal(2, 1, size=(40, 1))
        low, high = ratio_interval(drawn, counts * image_means, counts)
        covered += bool(low[0] <= 2 <= high[0])
    assert 0.88 <= covered / 200 <= 0.99
