"""Sampling locations against filters whose offsets are known."""

import pytest
import torch
from torch import nn

from deformlab.inspection import record_passes, sampling_locations
from deformlab.layers import DeformConv2d


def deformable(offset=(), dilation=2, **options) -> DeformConv2d:
    """A layer with the same offsets everywhere: those of its taps, (dy, dx) interleaved."""
    layer = DeformConv2d(1, 1, 3, padding=dilation, dilation=dilation, **options)
    if len(offset):
        layer.conv_offset.bias.data[: len(offset)] = torch.tensor(offset)
    return layer


def locations(layers, cells=((10, 12),), size=(21, 25), **options):
    names = [str(i) for i in range(len(layers))]
    with torch.no_grad(), record_passes(dict(zip(names, layers, strict=True))) as passes:
        nn.Sequential(*layers)(torch.rand(1, 1, *size))
    return sampling_locations(layers, [passes[name] for name in names], torch.tensor(cells), **options)


def test_an_undeformed_filter_samples_its_grid():
    found = locations([deformable(dilation=2)])
    expected = [[10 + 2 * i, 12 + 2 * j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    assert found.points[0].tolist() == expected
    assert found.inside.all()
    assert (found.weight == 1).all()


def test_a_plain_convolution_is_an_undeformed_filter():
    plain = locations([nn.Conv2d(1, 1, 3, padding=2, dilation=2)])
    torch.testing.assert_close(plain.points, locations([deformable(dilation=2)]).points)


def test_three_levels_have_729_points_within_the_reach_of_three_filters():
    found = locations([deformable(dilation=d) for d in (1, 2, 3)])
    assert found.points.shape == (1, 729, 2)
    assert found.points[0].amin(0).tolist() == [10 - 6, 12 - 6]
    assert found.points[0].amax(0).tolist() == [10 + 6, 12 + 6]


def test_a_shift_in_every_level_adds_up():
    shift = (0.5, -1.25)
    still, moved = (locations([deformable(offset) for _ in range(3)]).points for offset in ((), shift * 9))
    torch.testing.assert_close(moved, still + 3 * torch.tensor(shift))


def test_offsets_that_scale_the_grid_are_a_larger_dilation():
    grid = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2))
    scaled = [deformable(grid.reshape(-1).float().tolist(), dilation=2) for _ in range(2)]
    wider = [deformable(dilation=3) for _ in range(2)]
    torch.testing.assert_close(locations(scaled).points, locations(wider).points)


def test_a_stride_is_followed_to_the_input():
    layers = [nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.Conv2d(1, 1, 3, padding=1)]
    found = locations(layers, cells=((5, 6),))
    assert found.points[0].mean(0).tolist() == [10, 12]
    assert found.points[0].amax(0).tolist() == [10 + 2 + 1, 12 + 2 + 1]


def test_between_cells_the_offsets_below_are_interpolated():
    # The lower level shifts each filter by half its column; the upper one looks between two columns.
    lower, upper = deformable(), deformable((0.0, 0.5) * 9)
    lower.conv_offset.weight.data[1::2, 0, 1, 1] = 0.5
    column = torch.arange(25.0).expand(1, 1, 21, 25)
    with torch.no_grad(), record_passes({"lower": lower, "upper": upper}) as passes:
        lower(column)
        upper(column)
    found = sampling_locations([lower, upper], [passes["lower"], passes["upper"]], torch.tensor([[10, 8]]))
    middle = found.points[0].unflatten(0, (9, 9))[4, 4]
    torch.testing.assert_close(middle, torch.tensor([10.0, 8.5 + 0.5 * 8.5]))


def test_a_sample_outside_the_map_at_some_level_does_not_count():
    found = locations([deformable(dilation=1), deformable(dilation=2)], cells=((0, 12),))
    # Three of the nine upper taps are outside; of the rest, those
    # on row 0 have three lower taps outside.
    assert found.inside.sum() == 3 * 6 + 3 * 9
    assert not found.inside[found.points[..., 0] < -1].any()


def test_modulation_weighs_the_samples():
    layers = [deformable(modulated=True), deformable(modulated=True)]
    assert locations(layers).weight.unique().tolist() == [0.25]


def test_each_deform_group_has_its_own_samples():
    layer = DeformConv2d(2, 1, 3, padding=1, deform_groups=2)
    layer.conv_offset.bias.data[18:] = 1.0
    with torch.no_grad(), record_passes({"layer": layer}) as passes:
        layer(torch.rand(1, 2, 9, 9))
    first, second = (
        sampling_locations([layer], [passes["layer"]], torch.tensor([[4, 4]]), group).points
        for group in (0, 1)
    )
    torch.testing.assert_close(second, first + 1)


@pytest.mark.parametrize("count", [1, 3])
def test_units_are_followed_together(count):
    cells = ((10, 12), (5, 6), (0, 24))[:count]
    layers = [deformable(dilation=1), deformable((0.25, 0.5) * 9)]
    together = locations(layers, cells).points
    for points, cell in zip(together, cells, strict=True):
        torch.testing.assert_close(points, locations(layers, (cell,)).points[0])
