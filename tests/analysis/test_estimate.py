import math

import pytest

from deformlab.analysis import Estimate
from deformlab.analysis.estimate import over_seeds, spread


def test_seeds_give_mean_and_sample_deviation():
    # Mean of 44, 46, 48 is 46; squared differences 4 + 0 + 4 over 2 are 4, whose root is 2.
    found = over_seeds([44.0, 46.0, 48.0])
    assert (found.value, found.std, found.seeds) == (46.0, 2.0, (44.0, 46.0, 48.0))


def test_one_seed_has_no_spread():
    assert over_seeds([44.0]).std is None
    assert spread([None, 44.0]) is None


def test_seeds_without_a_value_do_not_count():
    assert over_seeds([None, 44.0, math.nan]).value == 44.0
    assert over_seeds([None, None]) is None


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(45.26), "45.3"),
        (Estimate(45.26, 0.31), "45.3 ± 0.3"),
        (Estimate(2.2, 0.5, count=1200, digits=2), "2.20 ± 0.50 (n = 1,200)"),
        (Estimate(4.25, 1.77, 4.0, 4.5, digits=2), "4.25 ± 1.77 [4.00, 4.50]"),
        (Estimate(1.25, None, 1.0, 1.5, signed=True), "+1.2 [+1.0, +1.5]"),
        (Estimate(math.nan, 0.3), "–"),
    ],
)
def test_an_estimate_prints_its_known_parts(estimate, text):
    assert str(estimate) == text
