"""Gradient views of a unit against networks whose support is known."""

import pytest
import torch
from torch import nn

from deformlab.inspection import effective_receptive_field, effective_sampling_locations
from deformlab.layers import DeformConv2d

SIZE = (24, 30)


def convolutions(*dilations: int) -> nn.Sequential:
    """Plain 3x3 convolutions with positive weights, so that no path cancels another."""
    layers = [nn.Conv2d(1, 1, 3, padding=d, dilation=d) for d in dilations]
    for layer in layers:
        nn.init.uniform_(layer.weight, 0.5, 1.0)
    return nn.Sequential(*layers).eval()


def test_the_receptive_field_of_stacked_convolutions_is_the_square_that_arithmetic_gives():
    network = convolutions(1, 1, 1)
    field = effective_receptive_field(network, torch.rand(1, 1, *SIZE), "2", (10, 12))
    expected = torch.zeros(SIZE, dtype=torch.bool)
    expected[10 - 3 : 10 + 4, 12 - 3 : 12 + 4] = True
    assert torch.equal(field > 0, expected)


def test_a_dilated_convolution_sees_its_taps_only():
    field = effective_receptive_field(convolutions(4), torch.rand(1, 1, *SIZE), "0", (10, 12))
    assert field.nonzero().tolist() == [[10 + 4 * i, 12 + 4 * j] for i in (-1, 0, 1) for j in (-1, 0, 1)]


def test_a_shift_moves_the_receptive_field():
    layer = DeformConv2d(1, 1, 3, padding=1)
    nn.init.uniform_(layer.weight, 0.5, 1.0)
    layer.conv_offset.bias.data[0::2] = 3.0
    layer.conv_offset.bias.data[1::2] = -5.0
    field = effective_receptive_field(nn.Sequential(layer), torch.rand(1, 1, *SIZE), "0", (10, 12))
    rows, columns = field.nonzero().unbind(1)
    assert (rows.min(), rows.max()) == (12, 14)
    assert (columns.min(), columns.max()) == (6, 8)


def test_the_receptive_field_of_a_linear_filter_is_its_weights():
    network = convolutions(1)
    field = effective_receptive_field(network, torch.rand(1, 1, *SIZE), "0", (10, 12), channel=0)
    torch.testing.assert_close(field[9:12, 11:14], network[0].weight[0, 0].detach())


def test_the_place_of_a_sample_matters_as_much_as_weight_times_slope():
    # On a plane that rises by 2 a row and 1 a column, moving a sample by a cell changes it by (2, 1).
    layer = DeformConv2d(1, 1, 3, padding=1)
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(30.0), indexing="ij")
    image = (2 * rows + columns)[None, None]
    network = nn.Sequential(layer)
    found = effective_sampling_locations(network, image, "0", (10, 12), 0, layers={"layer": layer})["layer"]
    own = found.strength > 0
    expected = [[10.0 + i, 12.0 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    assert found.points[own].tolist() == expected
    torch.testing.assert_close(found.strength[own], layer.weight.detach().flatten().abs() * 5**0.5)


def test_a_plain_convolution_has_the_samples_of_one_that_never_moves():
    torch.manual_seed(0)
    plain = nn.Conv2d(2, 3, 3, padding=2, dilation=2)
    moving = DeformConv2d(2, 3, 3, padding=2, dilation=2)
    moving.load_state_dict(plain.state_dict(), strict=False)
    image = torch.rand(1, 2, *SIZE)
    found = [
        effective_sampling_locations(nn.Sequential(layer), image, "0", (10, 12), layers={"layer": layer})[
            "layer"
        ]
        for layer in (plain, moving)
    ]
    torch.testing.assert_close(found[0].points, found[1].points)
    torch.testing.assert_close(found[0].strength, found[1].strength)


def test_the_gradient_of_a_lower_layer_is_that_of_its_offsets():
    torch.manual_seed(0)
    lower, upper = (DeformConv2d(2, 2, 3, padding=1, modulated=True) for _ in range(2))
    for layer in (lower, upper):
        nn.init.normal_(layer.conv_offset.weight, std=0.1)
    image = torch.rand(1, 2, 9, 9)
    found = effective_sampling_locations(
        nn.Sequential(lower, nn.ReLU(), upper), image, "2", (4, 4), 1, layers={"lower": lower}
    )["lower"]
    offset, mask = (value.detach() for value in lower.predict_offsets(image))
    offset.requires_grad_()
    upper(lower.sample(image, offset, mask).relu())[0, 1, 4, 4].backward()
    expected = offset.grad[0].unflatten(0, (9, 2)).norm(dim=1).reshape(-1)
    torch.testing.assert_close(found.strength, expected)
    assert expected.count_nonzero() > 9


def test_a_layer_that_the_unit_does_not_see_has_no_strength():
    network = convolutions(1, 1)
    found = effective_sampling_locations(
        network, torch.rand(1, 1, *SIZE), "0", (10, 12), layers={"behind": network[1]}
    )
    assert not found["behind"].strength.any()


@pytest.mark.parametrize("view", [effective_receptive_field, effective_sampling_locations])
def test_looking_leaves_no_gradients_behind(view):
    network = convolutions(1, 1)
    image = torch.rand(1, 1, *SIZE)
    options = {"layers": {"first": network[0]}} if view is effective_sampling_locations else {}
    view(network, image, "1", (10, 12), **options)
    assert image.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())
