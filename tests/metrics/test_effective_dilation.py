"""Effective dilation: the mean distance of neighbouring taps."""

import math

import pytest
import torch

from deformlab.metrics import effective_dilation, weighted_effective_dilation


def offsets_of(taps):
    """Offsets (1, 2·K, 1, 1) from a list of (dy, dx)."""
    return torch.tensor(taps, dtype=torch.float32).reshape(1, -1, 1, 1)


@pytest.mark.parametrize("dilation", [1, 2, 3, 4, 6, 7, 8, 12, 18, 24])
@pytest.mark.parametrize("kernel_size", [2, 3, 5, (1, 3), (3, 1), (3, 5), (7, 7)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_an_undeformed_filter_has_exactly_its_dilation(dilation, kernel_size, dtype):
    kernel_h, kernel_w = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    offset = torch.zeros(2, 2 * kernel_h * kernel_w, 3, 4, dtype=dtype)
    assert (effective_dilation(offset, kernel_size, dilation) == dilation).all()


def test_a_translated_filter_has_the_effective_dilation_of_an_undeformed_one():
    assert effective_dilation(offsets_of([(0.5, -1.25)] * 9), 3, 2).item() == 2


def test_by_hand():
    # Taps of a 2x2 kernel at (0, 0), (0, 1), (1, 0), (1, 1); the last moves to (4, 5): its distance to
    # (0, 1) becomes sqrt(16 + 16), to (1, 0) sqrt(9 + 25); two pairs stay at 1.
    offset = offsets_of([(0, 0), (0, 0), (0, 0), (3, 4)])
    expected = (1 + 1 + math.sqrt(32) + math.sqrt(34)) / 4
    assert effective_dilation(offset, 2, 1).item() == pytest.approx(expected, rel=1e-6)


def test_a_filter_stretched_by_two_has_twice_the_dilation():
    taps = [(2 * (row - 1), 2 * (column - 1)) for row in range(3) for column in range(3)]
    assert effective_dilation(offsets_of(taps), 3, 2).item() == 4


def test_dy_comes_before_dx():
    # Rows pushed apart by 1, columns untouched: 6 vertical pairs of 2, 6 horizontal pairs of 1.
    taps = [(row - 1, 0) for row in range(3) for _ in range(3)]
    assert effective_dilation(offsets_of(taps), 3, (1, 1)).item() == 1.5
    assert effective_dilation(offsets_of(taps[:3] + taps[3:6]), (2, 3), 1).item() == pytest.approx(10 / 7)


def test_different_dilations_of_rows_and_columns_are_weighted_by_their_number_of_pairs():
    assert effective_dilation(torch.zeros(1, 18, 1, 1), 3, (2, 6)).item() == 4
    assert effective_dilation(torch.zeros(1, 6, 1, 1), (1, 3), (2, 6)).item() == 6


def test_equals_the_definition_for_random_offsets():
    torch.manual_seed(0)
    kernel_h, kernel_w, dilation = 3, 4, (2, 3)
    offset = torch.randn(2, 2 * 2 * 12, 2, 3, dtype=torch.float64)
    result = effective_dilation(offset, (kernel_h, kernel_w), dilation)
    assert result.shape == (2, 2, 2, 3)
    for n, g, y, x in torch.cartesian_prod(*(torch.arange(s) for s in result.shape)).tolist():
        place = {}
        for i in range(kernel_h):
            for j in range(kernel_w):
                channel = 2 * (g * 12 + i * kernel_w + j)
                dy, dx = offset[n, channel : channel + 2, y, x].tolist()
                place[i, j] = (i * dilation[0] + dy, j * dilation[1] + dx)
        distances = [
            math.dist(place[a], place[b])
            for a in place
            for b in ((a[0] + 1, a[1]), (a[0], a[1] + 1))
            if b in place
        ]
        assert result[n, g, y, x].item() == pytest.approx(sum(distances) / len(distances), abs=1e-12)


@pytest.mark.parametrize(
    ("shape", "kernel_size", "dilation", "message"),
    [
        ((1, 2, 4, 4), 1, 1, r"kernel_size must have two taps or more, got \(1, 1\)"),
        ((1, 18, 4, 4), 3.0, 1, "kernel_size must be one integer or a pair of integers, got 3.0"),
        ((1, 18, 4, 4), (3, 3, 1), 1, r"or a pair of integers, got \(3, 3, 1\)"),
        ((1, 18, 4, 4), 3, 0, r"dilation must be >= 1, got \(0, 0\)"),
        ((1, 17, 4, 4), 3, 1, r"offset must be \(N, 18·G, H, W\) for a 3x3 kernel, got \(1, 17, 4, 4\)"),
        ((1, 0, 4, 4), 3, 1, "offset must be"),
        ((18, 4, 4), 3, 1, "offset must be"),
    ],
)
def test_a_bad_argument_is_named(shape, kernel_size, dilation, message):
    with pytest.raises(ValueError, match=message):
        effective_dilation(torch.zeros(shape), kernel_size, dilation)


def test_equal_modulation_does_not_change_effective_dilation():
    offset = torch.randn(2, 36, 3, 4)
    expected = effective_dilation(offset, 3, 2).double()
    modulation = torch.full((2, 18, 3, 4), 0.25)
    torch.testing.assert_close(weighted_effective_dilation(offset, modulation, 3, 2), expected)


def test_a_pair_is_weighted_by_the_modulation_of_both_taps():
    # As in `test_by_hand`; pairs (0, 1), (0, 2), (1, 3), (2, 3) weigh 1·2, 1·0.5, 2·4 and 0.5·4.
    offset = offsets_of([(0, 0), (0, 0), (0, 0), (3, 4)])
    modulation = torch.tensor([1, 2, 0.5, 4]).reshape(1, 4, 1, 1)
    expected = (2 * 1 + 0.5 * 1 + 8 * math.sqrt(32) + 2 * math.sqrt(34)) / 12.5
    assert weighted_effective_dilation(offset, modulation, 2, 1).item() == pytest.approx(expected)


def test_a_tap_with_modulation_0_does_not_count():
    offset = torch.zeros(1, 18, 1, 1)
    offset[0, 16:] = 100  # the last tap is far off
    modulation = torch.ones(1, 9, 1, 1)
    modulation[0, 8] = 0
    assert weighted_effective_dilation(offset, modulation, 3, 2).item() == 2


def test_a_filter_with_modulation_0_everywhere_has_its_unweighted_effective_dilation():
    offset = torch.randn(1, 18, 2, 2)
    weighted = weighted_effective_dilation(offset, torch.zeros(1, 9, 2, 2), 3, 2)
    assert torch.equal(weighted, effective_dilation(offset, 3, 2).double())


def test_modulation_must_fit_the_offsets():
    with pytest.raises(ValueError, match=r"modulation must be \(1, 9, 4, 4\) for these offsets, got \(1, 18"):
        weighted_effective_dilation(torch.zeros(1, 18, 4, 4), torch.zeros(1, 18, 4, 4), 3, 1)


def test_nan_in_the_modulation_is_not_hidden():
    modulation = torch.ones(1, 9, 1, 1)
    modulation[0, 4] = math.nan
    assert weighted_effective_dilation(torch.zeros(1, 18, 1, 1), modulation, 3, 2).isnan().all()
