"""Renames the offset weights of other packages' checkpoints so that they load into deformlab's layers.

mmcv, mmdetection and deformlab keep the convolution that predicts the offsets inside the deformable layer
(`conv2.conv_offset`). detectron2 and early versions of mmdetection keep it beside the layer (`conv2_offset`).
The weights themselves are the same in all of them. The output channels are (dy, dx) of each tap of each
offset group; in v2, the modulation logits follow.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from deformlab.errors import CheckpointError
from deformlab.layers.deform_conv import DeformConv2d

__all__ = ["convert_offset_names"]


def convert_offset_names(network: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a checkpoint's offset weights to the names that the network's `DeformConv2d` layers use.

    For a layer `conv2`, the checkpoint may contain `conv2.conv_offset.weight` (mmcv, mmdetection, deformlab)
    or `conv2_offset.weight` (detectron2); the same holds for the bias. All other names stay the same. The
    checkpoint may lack the offsets of a layer, for example if it comes from a plain network; they are then
    missing from the result as well.

    mmcv and detectron2 predict the offsets at the dilation of the deformable layer and multiply each sample
    by a sigmoid. To compute the same, use the defaults `offset_dilation=None` and `modulation_scale=1`.

    Args:
        network: The network into which the checkpoint will be loaded. Apart from the offset weights, its
            parameters must have the same names as in the checkpoint.
        state_dict: The checkpoint's parameters by name.

    Returns:
        A new dictionary with the same tensors.

    Raises:
        CheckpointError: The offsets of a layer have both names, lack the weight or the bias, or have another
            shape than in the network (v1 instead of v2, or another number of offset groups); or offsets
            belong to no deformable layer of the network.

    Example:
        >>> weights = torch.load("detectron2.pth", weights_only=True)["model"]
        >>> network.load_state_dict(convert_offset_names(network, weights))
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
                f"{name} in the checkpoint belongs to no deformable layer of this network (deformable "
                f"layers: {_listed(layers)}); offsets of a layer X must be named X.conv_offset or X_offset"
            )
    return converted


def _check_layer(layer: DeformConv2d, ours: str, weights: Mapping[str, Tensor]) -> None:
    ends = (".weight", ".bias")
    present = [end for end in ends if ours + end in weights]
    if not present:
        return
    if len(present) == 1:
        (missing,) = set(ends) - set(present)
        raise CheckpointError(
            f"the checkpoint has {ours + present[0]} but lacks {ours + missing}: both are needed"
        )
    for end, own in zip(ends, (layer.conv_offset.weight, layer.conv_offset.bias), strict=True):
        assert own is not None
        shape = weights[ours + end].shape
        if shape != own.shape:
            raise CheckpointError(
                f"{ours + end} is {list(shape)} in the checkpoint and {list(own.shape)} in this network: "
                f"with K taps and G deform_groups, v1 has 2·G·K channels and modulated=True has 3·G·K"
            )


def _is_offset_of_a_layer(name: str, weights: Mapping[str, Tensor]) -> bool:
    """Return whether a parameter's name says that it predicts the offsets of a layer.

    Its module then has `offset` in its name, and lies inside or beside another module that has a weight.
    """
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
