"""`ResNet`: torchvision's network with atrous or deformable last layers."""

import hashlib

import pytest
import torch

from deformlab.errors import ConfigError
from deformlab.layers import DeformConv2d
from deformlab.models import BackboneConfig, ResNet

# First 16 digits of the SHA-256 of the lines "name shape" of torchvision 0.28's state_dict without fc.*.
TORCHVISION_NAMES = {
    "resnet18": "3e41db4eb3bc5ae8",
    "resnet34": "3d6e9094c640cf42",
    "resnet50": "3fd989592177b1c7",
    "resnet101": "ae2a783082f291ca",
    "resnet152": "8edd28a3b55d4400",
}


def resnet(backbone="resnet50", *, conv5="atrous", **options):
    return ResNet(BackboneConfig(backbone, conv5=conv5, **options))


def on_meta(backbone="resnet50", **options):
    with torch.device("meta"):
        return resnet(backbone, **options)


def deformable_names(network):
    return [name for name, layer in network.conv3x3_layers().items() if isinstance(layer, DeformConv2d)]


@pytest.mark.parametrize("name", TORCHVISION_NAMES)
def test_parameters_have_the_names_and_shapes_of_torchvision(name):
    lines = [f"{key} {tuple(value.shape)}" for key, value in on_meta(name).state_dict().items()]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == TORCHVISION_NAMES[name]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_computes_what_torchvision_computes(name):
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)().eval()
    ours = resnet(name, output_stride=32, dilation=1).eval()
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")})
    image = torch.randn(1, 3, 70, 90)
    theirs.avgpool = theirs.fc = torch.nn.Identity()
    torch.testing.assert_close(ours(image).flatten(1), theirs(image))


@pytest.mark.parametrize("name", ["resnet10", "resnet50"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("conv5", ["atrous", "deformable"])
def test_output_stride_sets_the_size_of_the_feature_map(name, output_stride, conv5):
    network = on_meta(name, output_stride=output_stride, conv5=conv5)
    features = network(torch.empty(2, 3, 97, 65, device="meta"))
    cells = tuple(-(-pixels // output_stride) for pixels in (97, 65))
    assert features.shape == (2, network.channels[-1], *cells)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_dilation_applies_to_every_3x3_convolution_of_layer4(output_stride):
    layers = on_meta(output_stride=output_stride, dilation=6).conv3x3_layers()
    assert {layer.dilation for name, layer in layers.items() if name.startswith("layer4")} == {(6, 6)}
    assert {layer.dilation for name, layer in layers.items() if name.startswith("layer2")} == {(1, 1)}


def test_layer3_is_dilated_if_it_has_no_stride():
    for output_stride, dilation in ((8, (2, 2)), (16, (1, 1)), (32, (1, 1))):
        layers = on_meta(output_stride=output_stride).conv3x3_layers()
        assert {layer.dilation for name, layer in layers.items() if name.startswith("layer3")} == {dilation}


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, []),
        (1, ["layer4.2.conv2"]),
        (2, ["layer4.1.conv2", "layer4.2.conv2"]),
        (3, ["layer4.0.conv2", "layer4.1.conv2", "layer4.2.conv2"]),
        (6, [f"layer3.{i}.conv2" for i in (20, 21, 22)] + [f"layer4.{i}.conv2" for i in range(3)]),
    ],
)
def test_deformable_layers_are_counted_from_the_end(count, expected):
    network = on_meta("resnet101", conv5="deformable", num_deformable_layers=count)
    assert deformable_names(network) == expected


def test_a_basic_block_counts_as_two_layers():
    network = on_meta("resnet18", conv5="deformable", num_deformable_layers=3)
    assert deformable_names(network) == ["layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"]


def test_all_makes_every_3x3_convolution_of_conv3_to_conv5_modulated():
    network = on_meta("resnet50", conv5="modulated", num_deformable_layers="all")
    names = deformable_names(network)
    # ResNet-50 has 4 + 6 + 3 of them; DCNv2's text says 12.
    assert len(names) == 13
    assert names[0] == "layer2.0.conv2"
    assert all(network.conv3x3_layers()[name].modulated for name in names)


def test_atrous_has_no_deformable_layer():
    assert deformable_names(on_meta(conv5="atrous", num_deformable_layers=3)) == []


def test_offset_options_are_passed_to_the_layers():
    network = on_meta(
        conv5="modulated",
        dilation=4,
        deform_groups=4,
        offset_dilation=1,
        modulation_scale=2.0,
        boundary="clamp",
    )
    for layer in network.tracked_layers().values():
        assert layer.modulated
        assert layer.deform_groups == 4
        assert layer.conv_offset.dilation == (1, 1)
        assert layer.modulation_scale == 2.0
        assert layer.boundary == "clamp"


def test_tracked_layers_are_the_deformable_ones_or_else_the_last_three():
    assert list(on_meta(conv5="deformable", num_deformable_layers=1).tracked_layers()) == ["layer4.2.conv2"]
    last = ["layer4.0.conv2", "layer4.1.conv2", "layer4.2.conv2"]
    assert list(on_meta(conv5="atrous").tracked_layers()) == last


def test_width_scales_all_channels_to_multiples_of_8():
    network = on_meta(width=0.3)
    assert network.conv1.out_channels == 16
    assert network.channels[-1] == 4 * 152
    channels = [layer.out_channels for layer in network.conv3x3_layers().values()]
    assert all(c % 8 == 0 for c in channels)


def test_atrous_and_deformable_networks_start_with_the_same_weights():
    image = torch.randn(1, 3, 48, 40, dtype=torch.float64)
    features = []
    for options in (
        {"conv5": "atrous"},
        {"conv5": "deformable", "offset_dilation": 1},
        {"conv5": "modulated", "modulation_scale": 2.0, "num_deformable_layers": "all"},
    ):
        torch.manual_seed(0)
        features.append(resnet("resnet18", width=0.25, dilation=4, **options).double().eval()(image))
    torch.testing.assert_close(features[1], features[0])
    torch.testing.assert_close(features[2], features[0])


def test_networks_of_bottlenecks_also_start_with_the_same_weights():
    image = torch.randn(1, 3, 48, 40, dtype=torch.float64)
    features = []
    for conv5 in ("atrous", "deformable"):
        torch.manual_seed(0)
        features.append(resnet("resnet50", width=0.25, conv5=conv5).double().eval()(image))
    torch.testing.assert_close(features[1], features[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"backbone": "resnet20"},
            "backbone must be one of resnet10, .*, resnet152, got 'resnet20'",
        ),
        ({"output_stride": 4}, "output_stride must be one of 8, 16, 32, got 4"),
        ({"conv5": "dcn"}, "conv5 must be one of atrous, deformable, modulated, got 'dcn'"),
        ({"batch_norm": "group"}, "batch_norm must be one of trainable, frozen, sync, got 'group'"),
        ({"freeze_at": 6}, "freeze_at must be one of 0, 1, 2, 3, 4, 5, got 6"),
        ({"width": 0.0}, "width must be > 0 and <= 64, got 0"),
        ({"width": 1e9}, "width must be .* got 1000000000"),
        ({"width": float("nan")}, "width must be .* got nan"),
        ({"dilation": 0}, "dilation must be an integer in 1 to 4096, got 0"),
        ({"dilation": 10**13}, "dilation must be an integer in 1 to 4096, got 10000000000000"),
        ({"conv5": "deformable", "num_deformable_layers": 17}, "'all' or 0 to 16, .*, got 17"),
        ({"conv5": "deformable", "num_deformable_layers": "last"}, "num_deformable_layers .* got 'last'"),
        ({"conv5": "deformable", "deform_groups": 3}, r"layer4\.0\.conv2: deform_groups must divide"),
        ({"deform_groups": 0}, "deform_groups must be an integer >= 1, got 0"),
        ({"modulation_scale": float("nan")}, "modulation_scale must be a number > 0, got nan"),
        ({"dilation": 1.5}, "dilation must be an integer in 1 to 4096, got 1.5"),
        ({"deform_groups": 1.5}, "deform_groups must be an integer >= 1, got 1.5"),
        ({"deform_groups": True}, "deform_groups must be an integer >= 1, got True"),
        ({"width": "1"}, "width must be .* got '1'"),
        ({"modulation_scale": "2"}, "modulation_scale must be a number > 0, got '2'"),
        ({"boundary": "mirror"}, "boundary must be one of zeros, clamp, got 'mirror'"),
        ({"conv5": "deformable", "offset_dilation": 0}, "offset_dilation must be"),
        ({"conv5": "deformable", "offset_dilation": 10**13}, "offset_dilation must be"),
    ],
)
def test_an_illegal_option_gives_one_line_that_names_it(options, message):
    with pytest.raises(ConfigError, match=message) as error:
        on_meta(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("output_stride", "last"), [(8, 8), (16, 16), (32, 32)])
def test_cells_of_the_last_layer_are_the_output_stride_apart(output_stride, last):
    network = resnet("resnet10", width=0.125, output_stride=output_stride)
    assert network.pixels_per_cell("layer1.0.conv1") == 4
    assert network.pixels_per_cell("layer2.0.conv1") == 4
    assert network.pixels_per_cell("layer2.0.conv2") == 8
    assert network.pixels_per_cell("layer4.0.conv2") == last


def test_pixels_per_cell_of_an_unknown_layer_names_the_layers():
    with pytest.raises(ValueError, match=r"layer4\.0\.conv2.*'conv9'"):
        resnet("resnet10", width=0.125).pixels_per_cell("conv9")
