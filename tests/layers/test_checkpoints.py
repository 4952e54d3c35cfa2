"""Offset weights of mmcv, mmdetection and detectron2 load, and the layer computes the same as there."""

import pytest
import torch
from torch import nn

from deformlab.errors import CheckpointError
from deformlab.layers import DeformConv2d, convert_offset_names
from deformlab.ops import reference

GEOMETRY = {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": 2}


class InTheLayer(nn.Module):
    """mmcv's DeformConv2dPack and ModulatedDeformConv2dPack: `conv_offset` is inside the layer."""

    def __init__(self, modulated, deform_groups, bias=True):
        super().__init__()
        self.modulated = modulated
        self.weight = nn.Parameter(torch.randn(6, 8, 3, 3))
        self.bias = nn.Parameter(torch.randn(6)) if bias else None
        self.conv_offset = nn.Conv2d(8, deform_groups * (3 if modulated else 2) * 9, **GEOMETRY)

    def forward(self, x):
        return sample_and_convolve(x, self.conv_offset(x), self.modulated, self.weight, self.bias)


class InTheLayerBlock(nn.Module):
    def __init__(self, modulated, deform_groups):
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, 1)
        self.conv2 = InTheLayer(modulated, deform_groups)

    def forward(self, x):
        return self.conv2(self.conv1(x))


class BesideTheLayer(nn.Module):
    """detectron2's DeformBottleneckBlock: `conv2_offset` is beside `conv2`, which has no bias."""

    def __init__(self, modulated, deform_groups):
        super().__init__()
        self.modulated = modulated
        self.conv1 = nn.Conv2d(8, 8, 1)
        self.conv2_offset = nn.Conv2d(8, deform_groups * (3 if modulated else 2) * 9, **GEOMETRY)
        self.conv2 = nn.Conv2d(8, 6, 3, bias=False)

    def forward(self, x):
        x = self.conv1(x)
        return sample_and_convolve(x, self.conv2_offset(x), self.modulated, self.conv2.weight, None)


def sample_and_convolve(x, predicted, modulated, weight, bias):
    """Use the prediction as both packages do: for v2, the last of its three equal parts is the mask."""
    mask = None
    offset = predicted
    if modulated:
        first, second, mask = torch.chunk(predicted, 3, dim=1)
        offset, mask = torch.cat((first, second), dim=1), mask.sigmoid()
    return reference.deform_conv2d(x, offset, weight, bias, (2, 2), (2, 2), (2, 2), mask)


class Ours(nn.Module):
    def __init__(self, modulated=False, deform_groups=1, bias=True):
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, 1)
        self.conv2 = DeformConv2d(
            8, 6, **GEOMETRY, bias=bias, modulated=modulated, deform_groups=deform_groups
        )

    def forward(self, x):
        return self.conv2(self.conv1(x))


@pytest.mark.parametrize("deform_groups", [1, 2])
@pytest.mark.parametrize("modulated", [False, True], ids=["v1", "v2"])
@pytest.mark.parametrize("block", [InTheLayerBlock, BesideTheLayer])
def test_the_layer_computes_what_the_checkpoints_network_did(block, modulated, deform_groups):
    torch.manual_seed(0)
    theirs = block(modulated, deform_groups)
    ours = Ours(modulated, deform_groups, bias=block is InTheLayerBlock)
    ours.load_state_dict(convert_offset_names(ours, theirs.state_dict()))
    image = torch.randn(2, 8, 11, 13)
    expected = theirs(image)
    torch.testing.assert_close(ours(image), expected)
    ours.conv2.conv_offset.bias.data += 0.3
    assert not torch.allclose(ours(image), expected)


def test_the_names_of_mmdetection_and_detectron2():
    ours = nn.ModuleDict({"layer4": nn.Sequential(Ours(bias=False), Ours(bias=False))})
    state = {
        name.replace("layer4.1.conv2.conv_offset.", "layer4.1.conv2_offset."): value
        for name, value in ours.state_dict().items()
    }
    assert {name for name in state if "offset" in name} == {
        "layer4.0.conv2.conv_offset.weight",
        "layer4.0.conv2.conv_offset.bias",
        "layer4.1.conv2_offset.weight",
        "layer4.1.conv2_offset.bias",
    }
    assert convert_offset_names(ours, state).keys() == ours.state_dict().keys()


def test_a_single_layer_counts_as_a_network():
    layer, other = DeformConv2d(4, 6, 3), DeformConv2d(4, 6, 3)
    other.load_state_dict(convert_offset_names(other, layer.state_dict()))
    assert torch.equal(other.weight, layer.weight)
    with pytest.raises(CheckpointError, match=r"^conv_offset.weight is \[18, 4, 3, 3\] in the checkpoint"):
        convert_offset_names(DeformConv2d(4, 6, 3, modulated=True), layer.state_dict())


def test_the_given_state_dict_is_not_changed():
    state = BesideTheLayer(False, 1).state_dict()
    before = list(state)
    convert_offset_names(Ours(bias=False), state)
    assert list(state) == before


def test_a_plain_checkpoint_and_unrelated_offsets_are_unchanged():
    network = Ours()
    network.offset_head = nn.Conv2d(6, 2, 1)
    plain = {name: value for name, value in network.state_dict().items() if "conv_offset" not in name}
    plain["head.loc_offset.weight"] = torch.zeros(1)
    plain["head.offset_branch.weight"] = torch.zeros(1)
    assert convert_offset_names(network, plain) == plain


def renamed(state, old, new):
    return {name.replace(old, new): value for name, value in state.items()}


@pytest.mark.parametrize(
    ("network", "state", "message"),
    [
        (
            Ours(),
            Ours().state_dict() | {"conv2_offset.bias": torch.zeros(18)},
            r"offsets of conv2 under two names, conv2.conv_offset.bias and conv2_offset.bias: remove one",
        ),
        (
            Ours(),
            {"conv2_offset.weight": torch.zeros(18, 8, 3, 3)},
            r"has conv2.conv_offset.weight but lacks conv2.conv_offset.bias: both are needed",
        ),
        (
            Ours(modulated=True),
            Ours().state_dict(),
            r"conv2.conv_offset.weight is \[18, 8, 3, 3\] in the checkpoint and \[27, 8, 3, 3\] in this "
            r"network.*modulated=True has 3·G·K",
        ),
        (
            Ours(),
            renamed(Ours().state_dict(), "conv_offset", "conv_offset_mask"),
            r"conv2.conv_offset_mask.weight in the checkpoint belongs to no deformable layer.*\(deformable "
            r"layers: conv2\); .* X.conv_offset or X_offset",
        ),
        (
            Ours(),
            renamed(BesideTheLayer(False, 1).state_dict(), "conv", "backbone.conv"),
            r"backbone.conv2_offset.weight in the checkpoint belongs to no deformable layer.*layers: conv2\)",
        ),
        (nn.Conv2d(4, 4, 3), Ours().state_dict(), r"conv2.conv_offset.weight .* layers: none\)"),
        (
            nn.Sequential(*(Ours() for _ in range(4))),
            Ours().state_dict(),
            r"conv2.conv_offset.weight .* layers: 0.conv2, 1.conv2 \.\.\. 3.conv2\)",
        ),
    ],
)
def test_names_that_are_mixed_or_unknown_give_one_line(network, state, message):
    with pytest.raises(CheckpointError, match=message) as error:
        convert_offset_names(network, state)
    assert "\n" not in str(error.value)
