"""Statistics of a layer's offsets, for offsets whose statistics are known."""

import math

import pytest
import torch
from torch import Tensor, nn

from deformlab.metrics import FilterSample, OffsetStatistics, offset_statistics, sample_filters

PLAIN = nn.Conv2d(1, 1, 3, padding=1)


def sample(output: Tensor, count: int = 10**6, phase: float = 0.0, taps: int = 9) -> FilterSample:
    return sample_filters(output, (output.shape[-2], output.shape[-1]), taps, count, phase)


def statistics(output: Tensor, layer: nn.Conv2d = PLAIN) -> OffsetStatistics:
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    return offset_statistics([sample(output, taps=taps)], layer)


def test_zero_offsets():
    found = statistics(torch.zeros(2, 18, 6, 8))
    assert found.filters == 2 * 6 * 8
    assert found.length_q05 == found.length_q95 == found.length_over_side == 0
    assert found.effective_dilation == 1
    assert found.modulation_low is None
    assert found.modulation_high is None


def test_undeformed_samples_outside_the_image_are_those_in_the_padding():
    found = statistics(torch.zeros(1, 18, 6, 8))
    # Of a 3x3 filter's taps (5 + 6 + 5) / 18 of the rows and (7 + 8 + 7) / 24 of the columns are inside.
    assert found.outside == found.outside_undeformed == pytest.approx(1 - 16 / 18 * 22 / 24)


def test_lengths_are_those_of_the_vectors():
    offset = torch.zeros(1, 18, 6, 8)
    offset[:, 0::2], offset[:, 1::2] = 3.0, -4.0
    found = statistics(offset)
    assert found.length_q05 == found.length_q50 == found.length_q95 == 5
    assert found.length_over_side == pytest.approx(5 / 6)
    assert found.effective_dilation == 1  # all taps moved alike


def test_quantiles_are_over_all_taps():
    offset = torch.zeros(1, 18, 6, 8)
    offset[:, 1] = 9.0  # one tap of nine
    found = statistics(offset)
    assert (found.length_q50, found.length_q75, found.length_q95) == (0, 0, 9)


def test_a_shift_by_the_size_of_the_map_leaves_no_sample_inside():
    offset = torch.zeros(1, 18, 6, 8)
    offset[:, 1::2] = 9.0
    assert statistics(offset).outside == 1
    offset[:, 1::2] = 1.0
    # Columns 0 and 1 of the taps are inside everywhere, at x and x + 1; the third leaves its last two.
    assert statistics(offset).outside == pytest.approx(1 - 16 / 18 * (8 + 7 + 6) / 24)


def test_sampling_positions_follow_stride_padding_dilation_and_kernel_size():
    layer = nn.Conv2d(1, 1, (3, 1), stride=(2, 3), padding=(2, 0), dilation=(2, 1))
    output = torch.zeros(1, 6, 4, 3)
    found = offset_statistics([sample_filters(output, (7, 8), 3, 100, 0.0)], layer)
    # Rows -2, 0, 2, 4 for the first tap, 0 to 6 for the second, 2 to 8 for the third; columns 0, 3, 6.
    assert found.outside_undeformed == pytest.approx((1 + 0 + 1) / 12)


def test_shares_of_low_and_high_modulation():
    output = torch.zeros(1, 27, 5, 5)
    output[:, 18:20], output[:, 20] = -9.0, 9.0
    found = statistics(output)
    assert found.modulation_low == pytest.approx(2 / 9)
    assert found.modulation_high == pytest.approx(1 / 9)


def test_all_offset_groups_have_the_same_weight():
    offset = torch.zeros(1, 36, 5, 5)
    offset[:, 18::2] = 4.0
    found = offset_statistics([sample(offset, taps=18)], PLAIN)
    assert (found.filters, found.length_q25, found.length_q75) == (25, 0, 4)


def test_a_1x1_kernel_has_offsets_but_no_dilation():
    found = statistics(torch.ones(1, 2, 5, 5), nn.Conv2d(1, 1, 1))
    assert found.length_q50 == pytest.approx(math.sqrt(2))
    assert found.effective_dilation is None


def test_a_nan_offset_makes_the_lengths_nan_and_counts_as_outside():
    found = statistics(torch.full((1, 18, 5, 5), float("nan")))
    assert math.isnan(found.length_q50)
    assert found.outside == 1


def test_forward_passes_of_different_image_sizes_are_combined():
    samples = [sample(torch.full((1, 18, 4, 4), 3.0)), sample(torch.full((3, 18, 8, 16), 3.0))]
    found = offset_statistics(samples, PLAIN)
    assert found.filters == 16 + 3 * 128
    assert found.length_over_side == pytest.approx(math.hypot(3, 3) / 8)


def test_a_sample_of_the_filters_represents_all():
    torch.manual_seed(0)
    output = torch.randn(4, 18, 32, 64) * torch.linspace(0, 3, 64)
    everything = statistics(output)
    part = offset_statistics([sample(output, count=512, phase=i * 0.618 % 1) for i in range(8)], PLAIN)
    assert part.filters == 8 * 512
    assert part.length_q50 == pytest.approx(everything.length_q50, rel=0.05)
    assert part.effective_dilation == pytest.approx(everything.effective_dilation, rel=0.05)


@pytest.mark.parametrize("phase", [0.0, 0.5, 0.999])
def test_a_few_filters_of_each_image_are_copied(phase):
    output = torch.arange(2 * 18 * 5 * 7.0).view(2, 18, 5, 7).to(memory_format=torch.channels_last)
    found = sample(output, count=10, phase=phase)
    assert 4 <= len(found.cells) <= 6
    assert torch.equal(found.offset, output.flatten(2)[:, :, list(found.cells)])
    assert found.offset.untyped_storage().nbytes() < output.untyped_storage().nbytes()


def test_at_least_one_filter_of_each_image_is_sampled():
    assert len(sample(torch.zeros(64, 18, 2, 2), count=10, phase=0.9).cells) == 1


def test_offsets_in_half_precision_are_evaluated_in_float32():
    found = statistics(torch.full((1, 18, 5, 5), 3.0, dtype=torch.bfloat16))
    assert found.length_q50 == pytest.approx(math.hypot(3, 3))


@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        ((18, 4, 4), {}, r"output must be \(N, C, H_out, W_out\) and not empty, got \(18, 4, 4\)"),
        ((1, 18, 0, 4), {}, r"not empty, got \(1, 18, 0, 4\)"),
        ((1, 18, 4, 4), {"num_samples": 8}, "2 or 3 times num_samples channels, got 18 channels and .*=8"),
        ((1, 18, 4, 4), {"count": 0}, "count must be >= 1, got 0"),
        ((1, 18, 4, 4), {"phase": 2.0}, "phase must be >= 0 and < 1, got 2.0"),
        ((1, 18, 4, 4), {"phase": math.nan}, "phase must be >= 0 and < 1, got nan"),
    ],
)
def test_filters_are_not_sampled_with_illegal_arguments(shape, changes, message):
    arguments = {"input_size": (4, 4), "num_samples": 9, "count": 10, "phase": 0.0}
    with pytest.raises(ValueError, match=message):
        sample_filters(torch.zeros(shape), **(arguments | changes))


def test_samples_that_do_not_fit_the_layer_are_refused():
    good = sample(torch.zeros(1, 27, 4, 4))
    logits = torch.zeros(1, 8, 16)
    for changes, message in (
        ({"offset": torch.zeros(1, 20, 16)}, r"offset must be \(N, 18·G, 16\) .*, got \(1, 20, 16\)"),
        ({"offset": torch.zeros(1, 18, 15)}, r"offset must be \(N, 18·G, 16\) .*, got \(1, 18, 15\)"),
        ({"offset": torch.zeros(0, 18, 16)}, r"not empty, got \(0, 18, 16\)"),
        ({"mask_logits": logits}, r"mask_logits must be \(1, 9, 16\) .*, got \(1, 8, 16\)"),
    ):
        with pytest.raises(ValueError, match=rf"samples\[1\]\..*{message}"):
            offset_statistics([good, good._replace(**changes)], PLAIN)
    with pytest.raises(ValueError, match="samples must contain at least one FilterSample"):
        offset_statistics([], PLAIN)
    with pytest.raises(ValueError, match="layer must have a numeric padding, got 'same'"):
        offset_statistics([good], nn.Conv2d(1, 1, 3, padding="same"))
