"""`DeformConv2d`: a drop-in replacement for `nn.Conv2d` that starts as the plain convolution."""

import copy
import inspect
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from deformlab.layers import DeformConv2d
from deformlab.ops import backend

GEOMETRIES = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 4, "dilation": 4},
    {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": 2},
    {"kernel_size": (1, 3), "stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)},
    {"kernel_size": 2},
    {"kernel_size": 1, "groups": 2},
    {"kernel_size": 3, "padding": 1, "groups": 4, "bias": False},
    {"kernel_size": 3, "padding": "same", "dilation": 3},
    {"kernel_size": 5, "padding": "valid"},
]


def conv_with_weights_of(layer: DeformConv2d) -> nn.Conv2d:
    conv = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        layer.bias is not None,
    )
    conv.load_state_dict({k: v for k, v in layer.state_dict().items() if "conv_offset" not in k})
    return conv


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_starts_as_the_plain_convolution(geometry):
    torch.manual_seed(0)
    layer = DeformConv2d(8, 4, **geometry)
    image = torch.randn(2, 8, 13, 17)
    torch.testing.assert_close(layer(image), conv_with_weights_of(layer)(image))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_takes_the_arguments_of_conv2d(geometry):
    image = torch.randn(2, 8, 13, 17)
    assert DeformConv2d(8, 4, **geometry)(image).shape == nn.Conv2d(8, 4, **geometry)(image).shape


def test_its_signature_is_that_of_conv2d_except_padding_mode():
    ours, theirs = (dict(inspect.signature(layer).parameters) for layer in (DeformConv2d, nn.Conv2d))
    del theirs["padding_mode"]
    assert ours.keys() > theirs.keys()
    assert {name: ours[name].default for name in theirs} == {name: theirs[name].default for name in theirs}
    positional = [name for name, parameter in ours.items() if parameter.kind is not parameter.KEYWORD_ONLY]
    assert positional == list(theirs)[: len(positional)]


def test_the_same_seed_gives_the_weights_of_conv2d():
    torch.manual_seed(3)
    ours = DeformConv2d(4, 6, 3)
    after_ours = torch.rand(1)
    torch.manual_seed(3)
    theirs = nn.Conv2d(4, 6, 3)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
    assert torch.equal(after_ours, torch.rand(1))


def test_modulated_with_scale_2_starts_as_the_plain_convolution():
    layer = DeformConv2d(4, 6, 3, padding=1, modulated=True, modulation_scale=2.0)
    image = torch.randn(1, 4, 9, 9)
    torch.testing.assert_close(layer(image), conv_with_weights_of(layer)(image))


def test_modulated_as_in_the_paper_starts_as_half_the_plain_convolution():
    layer = DeformConv2d(4, 6, 3, padding=1, bias=False, modulated=True)
    image = torch.randn(1, 4, 9, 9)
    torch.testing.assert_close(layer(image), conv_with_weights_of(layer)(image) / 2)


def test_an_offset_of_one_column_samples_one_column_to_the_right():
    layer = DeformConv2d(1, 1, 1, bias=False)
    nn.init.ones_(layer.weight)
    with torch.no_grad():
        layer.conv_offset.bias.copy_(torch.tensor([0.0, 1.0]))
    image = torch.arange(9.0).view(1, 1, 3, 3)
    expected = torch.tensor([[1.0, 2, 0], [4, 5, 0], [7, 8, 0]])
    torch.testing.assert_close(layer(image)[0, 0], expected)


def test_modulation_silences_a_sample():
    layer = DeformConv2d(1, 1, 1, bias=False, modulated=True)
    with torch.no_grad():
        layer.conv_offset.bias[2] = -100
    assert layer(torch.ones(1, 1, 3, 3)).abs().max() == 0


@pytest.mark.parametrize(("boundary", "below"), [("zeros", 2.0), ("clamp", 4.0)])
def test_boundary_decides_what_a_sample_below_the_last_row_is(boundary, below):
    layer = DeformConv2d(1, 1, 1, bias=False, boundary=boundary)
    nn.init.ones_(layer.weight)
    nn.init.constant_(layer.conv_offset.bias, 0.5)
    image = torch.tensor([[[[1.0], [4.0]]]]).expand(1, 1, 2, 2)
    assert layer(image)[0, 0, 1, 0] == below
    assert ("boundary='clamp'" in repr(layer)) == (boundary == "clamp")


def test_offsets_and_modulation_learn():
    layer = DeformConv2d(4, 6, 3, padding=1, deform_groups=2, modulated=True)
    layer(torch.randn(1, 4, 7, 7)).square().sum().backward()
    offsets, logits = layer.conv_offset.weight.grad.split([2 * 2 * 9, 2 * 9])
    assert (offsets.abs().amax((1, 2, 3)) > 0).all()
    assert (logits.abs().amax((1, 2, 3)) > 0).all()


@pytest.mark.parametrize(("modulated", "channels"), [(False, 2 * 4 * 15), (True, 3 * 4 * 15)])
def test_every_deform_group_has_separate_offsets(modulated, channels):
    layer = DeformConv2d(8, 8, (3, 5), deform_groups=4, modulated=modulated)
    assert layer.conv_offset.out_channels == channels


def test_offsets_are_predicted_at_the_layers_own_dilation():
    assert DeformConv2d(4, 4, 3, padding=6, dilation=6).conv_offset.dilation == (6, 6)


@pytest.mark.parametrize("stride", [1, 2])
def test_offset_dilation_changes_the_reach_of_the_offset_convolution_but_not_its_size(stride):
    layer = DeformConv2d(4, 4, 3, stride, padding=6, dilation=6, offset_dilation=1)
    assert layer.conv_offset.dilation == (1, 1)
    assert layer.conv_offset.padding == (1, 1)
    image = torch.randn(1, 4, 20, 23)
    assert layer(image).shape == conv_with_weights_of(layer)(image).shape


def test_resetting_the_parameters_keeps_the_offsets_at_zero():
    layer = DeformConv2d(4, 4, 3)
    nn.init.ones_(layer.conv_offset.weight)
    for module in layer.modules():
        module.reset_parameters()
    assert layer.conv_offset.weight.count_nonzero() == 0
    assert layer.conv_offset.bias.count_nonzero() == 0
    assert layer.weight.count_nonzero() > 0


def test_weights_of_a_plain_convolution_load():
    layer = DeformConv2d(4, 6, 3)
    result = layer.load_state_dict(nn.Conv2d(4, 6, 3).state_dict(), strict=False)
    assert result.unexpected_keys == []
    assert result.missing_keys == ["conv_offset.weight", "conv_offset.bias"]


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_computes_the_same(copy_of):
    torch.manual_seed(0)
    layer = DeformConv2d(
        4, 6, 3, padding=2, dilation=2, deform_groups=2, modulated=True, modulation_scale=2.0
    )
    nn.init.normal_(layer.conv_offset.weight)
    image = torch.randn(1, 4, 7, 7)
    assert torch.equal(copy_of(layer)(image), layer(image))


def test_a_state_dict_carries_the_offsets():
    layer, other = (DeformConv2d(4, 6, 3, modulated=True) for _ in range(2))
    nn.init.normal_(layer.conv_offset.weight)
    other.load_state_dict(layer.state_dict())
    image = torch.randn(1, 4, 7, 7)
    assert torch.equal(other(image), layer(image))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_runs_under_autocast_close_to_float32(dtype):
    torch.manual_seed(0)
    layer = DeformConv2d(8, 8, 3, padding=1, modulated=True)
    nn.init.normal_(layer.conv_offset.weight, std=0.01)
    image = torch.randn(1, 8, 9, 9)
    with torch.autocast("cpu", dtype):
        output = layer(image)
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), layer(image), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("modulated", [False, True])
def test_compiles_as_one_graph(modulated):
    layer = DeformConv2d(4, 6, 3, padding=1, modulated=modulated)
    nn.init.normal_(layer.conv_offset.weight)
    image = torch.randn(1, 4, 7, 7)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image), layer(image))


def test_device_and_dtype_reach_the_offsets_too():
    layer = DeformConv2d(4, 6, 3, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.float64)}


def test_its_repr_has_the_options_of_deformable_convolution():
    text = repr(DeformConv2d(4, 6, 3, deform_groups=2, modulated=True, modulation_scale=2.0))
    assert "4, 6, kernel_size=(3, 3)" in text
    assert "deform_groups=2, modulated=True, modulation_scale=2.0" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 0}, "kernel_size must be one integer or two, each >= 1, got 0"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size must be"),
        ({"kernel_size": 3, "stride": 0}, "stride must be"),
        ({"kernel_size": 3, "dilation": (1, 0)}, "dilation must be"),
        ({"kernel_size": 3, "padding": -1}, "padding must be"),
        ({"kernel_size": 3, "padding": "full"}, "padding must be integers, 'valid' or 'same', got 'full'"),
        ({"kernel_size": 3, "padding": "same", "stride": 2}, "padding='same' needs stride 1"),
        ({"kernel_size": 2, "padding": "same"}, "equal padding on both sides"),
        ({"kernel_size": 3, "deform_groups": 3}, "deform_groups must divide in_channels"),
        ({"kernel_size": 3, "deform_groups": 0}, "deform_groups must be >= 1, got 0"),
        ({"kernel_size": 3, "groups": 3}, "in_channels must be divisible by groups"),
        ({"kernel_size": 3, "modulation_scale": 0.0}, "modulation_scale must be > 0"),
        ({"kernel_size": 3, "boundary": "border"}, "boundary must be 'zeros' or 'clamp', got 'border'"),
        ({"kernel_size": 3, "offset_dilation": 0}, "offset_dilation must be"),
        ({"kernel_size": 3, "dilation": 4, "offset_dilation": 1}, "offset_dilation=.* cannot give"),
        ({"kernel_size": 2, "padding": 2, "dilation": 2, "offset_dilation": 1}, "offset_dilation=.* cannot"),
    ],
)
def test_a_bad_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        DeformConv2d(4, 6, **arguments)


def test_an_input_of_a_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"input must be \(N, C, H, W\), got a tensor of shape \(4, 7, 7\)"):
        DeformConv2d(4, 6, 3)(torch.randn(4, 7, 7))


class RecordNeeds(TorchDispatchMode):
    """Which gradients the operator was asked for: of input, offset, weight and mask."""

    needs = None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.name().startswith("deformlab::deform_conv2d_backward"):
            self.needs = dict(zip(("input", "offset", "weight", "mask"), args[-4:], strict=True))
        return func(*args, **(kwargs or {}))


@pytest.mark.skipif(backend("cpu") != "native", reason="the native operators are not compiled")
@pytest.mark.parametrize(
    ("frozen", "image_needs", "wanted"),
    [
        ([], False, {"offset", "weight", "mask"}),
        (["weight", "bias"], False, {"offset", "mask"}),
        (["conv_offset"], False, {"weight"}),
        (["conv_offset", "weight"], False, None),  # the bias needs no sampling
        (["conv_offset", "weight", "bias"], True, {"input", "offset", "mask"}),
    ],
)
def test_no_gradient_is_computed_for_frozen_parameters(frozen, image_needs, wanted):
    layer = DeformConv2d(4, 6, 3, modulated=True)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(frozen)))
    image = torch.randn(1, 4, 7, 7, requires_grad=image_needs)
    output = layer(image).sum()
    with RecordNeeds() as record:
        output.backward()
    assert record.needs == (
        wanted and {name: name in wanted for name in ("input", "offset", "weight", "mask")}
    )


def test_with_zero_offsets_the_gradients_are_those_of_conv2d():
    torch.manual_seed(0)
    layer = DeformConv2d(4, 6, 3, padding=1)
    image = torch.randn(1, 4, 7, 7)
    layer(image).square().sum().backward()
    weight = layer.weight.detach().clone().requires_grad_()
    F.conv2d(image, weight, layer.bias.detach(), padding=1).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, weight.grad)


def test_sampling_at_the_predicted_offsets_gives_the_output_of_the_layer():
    torch.manual_seed(0)
    layer = DeformConv2d(4, 6, 3, padding=1, modulated=True)
    nn.init.normal_(layer.conv_offset.weight, std=0.2)
    x = torch.rand(1, 4, 8, 9)
    offset, mask = layer.predict_offsets(x)
    assert offset.shape == (1, 18, 8, 9)
    assert 0 < mask.min() < mask.max() < 1
    torch.testing.assert_close(layer.sample(x, offset, mask), layer(x))


def test_offsets_of_an_unbatched_input_are_refused():
    with pytest.raises(ValueError, match="input must be"):
        DeformConv2d(2, 2, 3).predict_offsets(torch.zeros(2, 8, 8))
