"""Distances from the border of a feature map, and the margin of interior filters."""

import pytest
import torch
from torch import nn

from deformlab.layers import DeformConv2d
from deformlab.metrics import LayerGeometry, distance_from_border


def test_distance_is_counted_from_the_nearest_border():
    assert distance_from_border(3, 5).tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    assert distance_from_border(1, 2).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("changes", "margin"),
    [
        ({}, 3),  # taps two cells from the centre, and a cell for a tap that moves
        ({"dilation": (1, 1)}, 2),
        ({"dilation": (4, 4)}, 5),
        ({"kernel_size": (1, 5)}, 5),
        ({"kernel_size": (2, 2), "dilation": (1, 1)}, 2),  # half a cell is a cell
        ({"offset_dilation": (1, 1)}, 3),  # the authors' code: the filter reaches further
        ({"offset_dilation": (6, 6)}, 7),
        ({"step": 2}, 2),  # three cells of the input are two filters further inside
        ({"step": 3}, 1),
    ],
)
def test_the_margin_is_the_reach_of_filter_and_offset_convolution_plus_one_cell(changes, margin):
    geometry = LayerGeometry((3, 3), (2, 2), stride=16)._replace(**changes)
    assert geometry.margin == margin


@pytest.mark.parametrize(("dilation", "offset_dilation", "step"), [(2, None, 1), (1, 3, 1), (2, 1, 2)])
def test_interior_filters_do_not_read_the_zero_padding(dilation, offset_dilation, step):
    """With offsets of less than one cell, the values of the padding do not change interior filters."""
    torch.manual_seed(0)
    layer = DeformConv2d(
        2, 1, 3, step, padding=dilation, dilation=dilation, offset_dilation=offset_dilation
    ).double()
    layer.conv_offset.weight.data.uniform_(-0.03, 0.03)
    image = torch.rand(1, 2, 17, 18, dtype=torch.float64)
    wide = torch.nn.functional.pad(image, (12,) * 4, value=1.0)
    offset, _ = layer.predict_offsets(image)
    assert 0 < offset.abs().max() < 1
    with torch.no_grad():
        output, padded = layer(image), layer(wide)
    start = 12 // step
    same = padded[:, :, start:, start:][:, :, : output.shape[2], : output.shape[3]].isclose(output)[0, 0]
    geometry = LayerGeometry(
        (3, 3),
        (dilation,) * 2,
        stride=step,
        offset_dilation=None if offset_dilation is None else (offset_dilation,) * 2,
        step=step,
    )
    inside = distance_from_border(*same.shape) >= geometry.margin
    assert inside.any()
    assert same[inside].all()
    assert not same[distance_from_border(*same.shape) == 0].any()


@pytest.mark.parametrize(
    ("layer", "pixels_per_cell", "message"),
    [
        (nn.Linear(2, 2), 1, "layer must be an nn.Conv2d, got Linear"),
        (nn.Conv2d(1, 1, 3, stride=(1, 2)), 1, r"same stride for height and width, got \(1, 2\)"),
        (nn.Conv2d(1, 1, 3), 0, "pixels_per_cell must be an integer of at least 1, got 0"),
        (nn.Conv2d(1, 1, 3), 8.5, "pixels_per_cell must be an integer of at least 1, got 8.5"),
    ],
)
def test_layers_whose_filters_have_no_single_stride_are_refused(layer, pixels_per_cell, message):
    with pytest.raises(ValueError, match=message):
        LayerGeometry.of(layer, pixels_per_cell)
