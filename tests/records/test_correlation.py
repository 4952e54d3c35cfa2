import numpy as np
import pytest
from scipy.stats import spearmanr

from deformlab.records import draws, spearman


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
    assert np.isnan(spearman(np.arange(9.0), np.full(9, 2.0), np.arange(9), draws(9))).all()


def test_two_objects_have_no_correlation_and_one_image_no_interval():
    assert np.isnan(spearman(np.arange(2.0), np.arange(2.0), np.arange(2), draws(2))).all()
    value, low, high = spearman(np.arange(5.0), np.arange(5.0), np.zeros(5, dtype=int), draws(3))
    assert value == pytest.approx(1)
    assert np.isnan([low, high]).all()
