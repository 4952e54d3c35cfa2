"""Saliency regions against units that depend on a known patch."""

import pytest
import torch
from torch import nn

from deformlab.inspection import saliency_region


class Patch(nn.Module):
    """A 1x1 map whose one unit has two channels that read the mean of a patch of the image."""

    def __init__(self, rows: slice, columns: slice) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        self.unit = nn.Conv2d(1, 2, 1)

    def forward(self, image):
        return self.unit(image[:, :, self.rows, self.columns].mean((2, 3), keepdim=True))


def bright(height=32, width=40):
    return torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0)) + 1


def test_the_region_of_a_unit_that_sees_one_patch_is_that_patch():
    network = Patch(slice(8, 16), slice(20, 32))
    found = saliency_region(network, bright(), "unit", (0, 0), error_bound=0.01, block=4)
    expected = torch.zeros(32, 40, dtype=torch.bool)
    expected[8:16, 20:32] = True
    assert torch.equal(found.mask, expected)
    assert found.error < 1e-5


def test_a_patch_across_blocks_keeps_every_block_it_touches():
    network = Patch(slice(6, 10), slice(6, 10))
    found = saliency_region(network, bright(), "unit", (0, 0), error_bound=0.01, block=8)
    expected = torch.zeros(32, 40, dtype=torch.bool)
    expected[:16, :16] = True
    assert torch.equal(found.mask, expected)


def test_blocks_at_the_border_may_be_cut_off():
    network = Patch(slice(28, 30), slice(0, 37))
    found = saliency_region(network, bright(30, 37), "unit", (0, 0), error_bound=0.01, block=8)
    assert found.mask.shape == (30, 37)
    assert found.mask[24:].all()
    assert not found.mask[:24].any()


def test_the_error_stays_within_the_bound_and_no_block_can_be_given_up():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 4, 5, padding=2)).eval()
    image, cell, bound, block = bright(24, 24), (12, 12), 0.2, 2
    found = saliency_region(network, image, "2", cell, error_bound=bound, block=block)

    def error(mask):
        with torch.no_grad():
            masked, whole = (network(x)[0, :, 12, 12] for x in (image * mask, image))
        return float((masked - whole).norm() / whole.norm())

    assert error(found.mask) == pytest.approx(found.error, abs=1e-6)
    assert 0 < found.error <= bound
    kept = found.mask[::block, ::block].nonzero().tolist()
    assert 0 < len(kept) < 25
    for row, column in kept:
        smaller = found.mask.clone()
        smaller[row * block : (row + 1) * block, column * block : (column + 1) * block] = False
        assert error(smaller) > bound


def test_a_necessary_block_is_not_tried_again_before_another_is_masked():
    # The response is the sum of four blocks, of which any one is more than the bound.
    network = nn.Sequential(nn.AvgPool2d((4, 16)))
    image = torch.ones(1, 1, 4, 16)
    found = saliency_region(network, image, "0", (0, 0), error_bound=0.2, block=4)
    assert found.mask.all()
    # The response to look for; runs of two and of one, each round with its gradient: 1 + (1 + 2) + (1 + 4).
    assert found.evaluations == 9


def test_what_follows_the_unit_is_not_computed():
    class Unreachable(nn.Module):
        def forward(self, x):
            raise AssertionError("computed all the same")

    network = nn.Sequential(Patch(slice(8, 16), slice(20, 32)), Unreachable())
    alone = saliency_region(network[0], bright(), "unit", (0, 0), block=4)
    found = saliency_region(network, bright(), "0.unit", (0, 0), block=4)
    assert torch.equal(found.mask, alone.mask)


def test_a_layer_that_takes_no_part_is_refused():
    network = Patch(slice(0, 8), slice(0, 8))
    network.spare = nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match="'spare' takes no part"):
        saliency_region(network, bright(), "spare", (0, 0))


def test_a_larger_bound_needs_no_more_of_the_image():
    network = Patch(slice(0, 32), slice(0, 40))
    shares = [
        saliency_region(network, bright(), "unit", (0, 0), error_bound=bound, block=8).mask.float().mean()
        for bound in (0.1, 0.4)
    ]
    assert shares[0] > shares[1] > 0


def test_progress_counts_forward_passes_and_blocks():
    seen = []
    found = saliency_region(
        Patch(slice(0, 8), slice(0, 8)), bright(), "unit", (0, 0), block=8, progress=lambda *n: seen.append(n)
    )
    assert seen[-1] == (found.evaluations, 1, 20)
    assert found.evaluations < 20


def test_about_300_blocks_unless_said_otherwise():
    counts = []
    saliency_region(
        Patch(slice(0, 4), slice(0, 4)),
        bright(180, 240),
        "unit",
        (0, 0),
        progress=lambda passes, kept, blocks: counts.append(blocks),
    )
    assert counts[0] == 300


@pytest.mark.parametrize("option", [{"error_bound": 0.0}, {"error_bound": 1.0}, {"block": 0}])
def test_numbers_out_of_range_are_named(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        saliency_region(Patch(slice(0, 8), slice(0, 8)), bright(), "unit", (0, 0), **option)


def test_a_unit_without_response_is_refused():
    network = Patch(slice(0, 8), slice(0, 8))
    nn.init.zeros_(network.unit.weight)
    nn.init.zeros_(network.unit.bias)
    with pytest.raises(ValueError, match="zero"):
        saliency_region(network, bright(), "unit", (0, 0))
