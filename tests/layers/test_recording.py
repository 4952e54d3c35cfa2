"""`record_offsets`, `record_modulation` and `record_forward` while a network runs."""

import pytest
import torch
from torch import nn

from deformlab.layers import DeformConv2d, record_forward, record_modulation, record_offsets


def test_the_offsets_of_the_last_forward_pass_are_kept():
    layer = DeformConv2d(4, 6, 3, padding=1)
    nn.init.normal_(layer.conv_offset.weight)
    first, last = torch.randn(2, 1, 4, 5, 7)
    with record_offsets({"conv": layer}) as offsets:
        layer(first)
        layer(last)
    assert torch.equal(offsets["conv"], layer.conv_offset(last))


def test_offsets_do_not_include_the_modulation():
    layer = DeformConv2d(4, 6, 3, deform_groups=2, modulated=True)
    with record_offsets({"conv": layer}) as offsets:
        layer(torch.randn(1, 4, 5, 7))
    assert offsets["conv"].shape == (1, 2 * 2 * 9, 3, 5)


def test_the_recorded_modulation_is_the_factor_of_each_sample():
    layer = DeformConv2d(4, 6, 3, deform_groups=2, modulated=True, modulation_scale=2.0)
    nn.init.normal_(layer.conv_offset.weight)
    image = torch.randn(1, 4, 5, 7)
    with record_modulation({"v2": layer, "v1": DeformConv2d(4, 6, 3), "plain": nn.Conv2d(4, 6, 3)}) as mask:
        layer(image)
    assert list(mask) == ["v2"]
    assert torch.equal(mask["v2"], layer.predict_offsets(image)[1])
    assert not mask["v2"].requires_grad


def test_the_offsets_of_a_plain_convolution_are_zero():
    conv = nn.Conv2d(4, 6, 3, stride=2)
    with record_offsets({"conv": conv}) as offsets:
        conv(torch.randn(2, 4, 9, 9))
    assert offsets["conv"].shape == (2, 18, 4, 4)
    assert offsets["conv"].count_nonzero() == 0


def test_offsets_carry_no_gradient():
    layer = DeformConv2d(4, 6, 3)
    with record_offsets({"conv": layer}) as offsets:
        layer(torch.randn(1, 4, 5, 7))
    assert not offsets["conv"].requires_grad


def test_nothing_is_recorded_after_the_block_even_if_it_raised_an_error():
    layer = DeformConv2d(4, 6, 3)
    try:
        with record_offsets({"conv": layer}) as offsets:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        layer(torch.randn(1, 4, 5, 7))
    assert offsets == {}


def test_a_network_that_is_compiled_inside_a_block_is_recorded_in_later_blocks():
    layer = DeformConv2d(4, 6, 3)
    nn.init.normal_(layer.conv_offset.weight)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    for image in torch.randn(3, 1, 4, 5, 7):
        with record_offsets({"conv": layer}) as offsets:
            compiled(image)
        torch.testing.assert_close(offsets["conv"], layer.conv_offset(image))


def test_a_network_that_was_compiled_outside_a_block_is_recorded_in_eager_mode():
    layer = DeformConv2d(4, 6, 3)
    compiled = torch.compile(layer, backend="eager")
    image = torch.randn(1, 4, 5, 7)
    compiled(image)
    with torch.compiler.set_stance("force_eager"), record_offsets({"conv": layer}) as offsets:
        compiled(image)
    assert offsets["conv"].shape == (1, 18, 3, 5)


def test_read_gets_the_name_and_the_input_and_output_attached_to_their_graph():
    conv = nn.Conv2d(4, 6, 3)
    image = torch.randn(1, 4, 5, 7)
    with record_forward({"first": conv}, lambda *passed: passed) as passes:
        output = conv(image)
    name, recorded_input, recorded_output = passes["first"]
    assert name == "first"
    assert recorded_input is image
    assert recorded_output is output
    assert output.requires_grad


def test_an_error_while_reading_ends_the_forward_pass():
    first, second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def stop(*passed):
        raise StopAsyncIteration

    with (
        record_forward({"first": first}, stop),
        record_forward({"second": second}, lambda *passed: None) as reached,
        pytest.raises(StopAsyncIteration),
    ):
        nn.Sequential(first, second)(torch.randn(1, 4, 5, 7))
    assert reached == {}


def test_a_layer_that_is_not_a_convolution_is_refused():
    with (
        pytest.raises(TypeError, match="layer 'x' is not a convolution"),
        record_offsets({"x": nn.Linear(2, 2)}),
    ):
        pass


def test_a_module_called_with_keyword_arguments_only_is_refused():
    conv = nn.Conv2d(1, 1, 1)
    with (
        record_forward({"x": conv}, lambda name, input, output: output),
        pytest.raises(TypeError, match="x was called without positional"),
    ):
        conv(input=torch.zeros(1, 1, 2, 2))
