"""Where filters lie on the image: the same in tables and figures."""

import numpy as np
import pytest
import torch
from torch import nn

from deformlab.inspection import Cells, effective_receptive_field, to_image
from deformlab.metrics.effective_dilation import assign_filters
from deformlab.metrics.image_objects import find_objects
from deformlab.models import BackboneConfig, ResNet


def test_pixel_centres_stay_pixel_centres_when_the_image_is_resized():
    assert to_image(np.array([[-0.5, -0.5], [89.5, 119.5]]), (180, 240), (90, 120)).tolist() == [
        [-0.5, -0.5],
        [179.5, 239.5],
    ]
    assert to_image(np.array([0.0, 0.0]), (180, 240), (90, 120)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_what_a_filter_sees_lies_evenly_around_its_centre(output_stride):
    config = BackboneConfig("resnet10", width=0.125, output_stride=output_stride, conv5="atrous")
    network = ResNet(config).eval()
    network.maxpool = nn.AvgPool2d(3, stride=2, padding=1)
    for weight in network.parameters():
        weight.data.fill_(0.1)  # nothing is cut off by ReLU, nothing cancels
    layer, cell = "layer4.0.conv2", (192 // output_stride, 224 // output_stride)
    image = torch.ones(1, 3, 384, 448)
    seen = effective_receptive_field(network, image, layer, cell).nonzero()
    first, last = seen.min(0).values, seen.max(0).values
    assert first.min() > 0
    cells = Cells((384 // output_stride, 448 // output_stride), output_stride, (384, 448), (384, 448))
    assert ((first + last) / 2).tolist() == cells.position(cell).tolist() == [192, 224]
    assert cells.nearest((192, 224)) == cell


def test_a_map_reaches_half_a_cell_beyond_its_outer_centres():
    cells = Cells((2, 3), 16, (32, 48), (64, 96))
    rows, columns = cells.centres()
    assert (rows.tolist(), columns.tolist()) == ([0.5, 32.5], [0.5, 32.5, 64.5])
    assert cells.extent() == (-15.5, 80.5, 48.5, -15.5)
    assert cells.extent((1, 2), (1, 1)) == (48.5, 80.5, 48.5, 16.5)


def test_tables_and_figures_assign_a_filter_to_the_same_pixel():
    cells = Cells((12, 15), 16, (180, 240), (375, 500))
    (objects,) = find_objects(torch.zeros(1, 375, 500, dtype=torch.int64), None, ["image"], cells.input_size)
    _, pixel = assign_filters(objects, cells.size, cells.stride, "mask")
    rows, columns = ((centres + 0.5).astype(int) for centres in cells.centres())
    assert pixel.tolist() == (rows[:, None] * 500 + columns).ravel().tolist()
