"""Offset weights of other packages' checkpoints under the names of our layers.

mmcv and mmdetection keep the convolution that predicts offsets inside the layer (`conv2.conv_offset`, as we
do), detectron2 and early mmdetection beside it (`conv2_offset`). The values need no change: v1 has the
offsets, v2 the offsets and then the logits of the modulation, offsets as (dy, dx) of each tap of each group.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from deformlab.errors import CheckpointError
from deformlab.layers.deform_conv import DeformConv2d

__all__ = ["convert_offset_names"]


def convert_offset_names(network: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a checkpoint's offset weights to those of the network's `DeformConv2d` layers.

    For a layer `conv2`, the checkpoint may say `conv2.conv_offset.weight` (mmcv, mmdetection, deformlab) or
    `conv2_offset.weight` (detectron2), and so for the bias; all other names stay as they are. A layer whose
    offsets the checkpoint does not have is left out: those of a plain network start at zero.

    Both packages predict offsets at the layer's own dilation and multiply samples by a sigmoid, which is what
    `offset_dilation=None` and `modulation_scale=1` give.

    Args:
        network: Has the layers; with the checkpoint's names but for the offsets.
        state_dict: Parameters by name.

    Returns:
        A new dictionary with the same tensors.

    Raises:
        CheckpointError: Offsets have both names, only weight or bias, another shape than the layer (v1
            instead of v2, other offset groups), or belong to no deformable layer of the network.

    Example:
        >>> network.load_state_dict(convert_offset_names(network, torch.load("detectron2.pth")))
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, DeformConv2d)}
    converted = dict(state_dict)
    for name, layer in layers.items():
        ours = f"{name}.conv_offset" if name else "conv_offset"
        for end in (".weight", ".bias"):
            theirs = f"{name}_offset{end}"
            if theirs in converted:
                if ours + end in converted:
                    raise CheckpointError(
                        f"the checkpoint has the offsets of {name} under two names, {ours + end} and "
                        f"{theirs}: remove one"
                    )
                converted[ours + end] = converted.pop(theirs)
        _check_layer(layer, ours, converted)
    own = network.state_dict().keys()
    for name in converted:
        if name not in own and _is_offset_of_a_layer(name, converted):
            raise CheckpointError(
                f"{name} in the checkpoint are offsets of no deformable layer of this network: its layers X, "
                f"{_listed(layers)}, take X.conv_offset or X_offset"
            )
    return converted


def _check_layer(layer: DeformConv2d, ours: str, weights: Mapping[str, Tensor]) -> None:
    there = [end for end in (".weight", ".bias") if ours + end in weights]
    if not there:
        return
    if len(there) == 1:
        raise CheckpointError(f"the checkpoint has {ours + there[0]} alone: weight and bias are expected")
    for end, own in zip(there, (layer.conv_offset.weight, layer.conv_offset.bias), strict=True):
        assert own is not None
        shape = weights[ours + end].shape
        if shape != own.shape:
            raise CheckpointError(
                f"{ours + end} is {list(shape)} in the checkpoint and {list(own.shape)} in this network: "
                f"with K taps and G deform_groups, v1 has 2·G·K channels and modulated=True has 3·G·K"
            )


def _is_offset_of_a_layer(name: str, weights: Mapping[str, Tensor]) -> bool:
    """Whether a parameter of this name sits in or beside a layer with weights, called after its offsets."""
    module = name.rpartition(".")[0]
    parent, _, last = module.rpartition(".")
    beside = module.removesuffix("_offset")
    return "offset" in last and (
        f"{parent}.weight" in weights or f"{beside}.weight" in weights.keys() - {name}
    )


def _listed(layers: Mapping[str, object]) -> str:
    names = list(layers)
    if len(names) > 3:
        return f"{names[0]}, {names[1]} ... {names[-1]}"
    return ", ".join(names) or "none"
