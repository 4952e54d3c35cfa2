"""Loads weights from files and from torch hub. Code in a checkpoint file is never run (`weights_only`)."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from deformlab.errors import CheckpointError, ConfigError
from deformlab.layers import convert_offset_names
from deformlab.models.backbone import Backbone

__all__ = ["load_backbone_weights", "load_model_weights"]

IMAGENET_URL = "https://download.pytorch.org/models/"


def load_backbone_weights(backbone: Backbone, source: str | Path) -> list[str]:
    """Load the weights of a classification network into a backbone, except for its classifier (`fc`).

    If the checkpoint contains a complete network whose backbone is called `backbone` (mmdetection), only the
    weights under `backbone.` are loaded. Offset weights may have any of the names that
    `deformlab.layers.convert_offset_names` accepts. A checkpoint may lack offset weights, but offset weights
    of layers that are not deformable here are an error.

    Args:
        backbone: The network to load into.
        source: A checkpoint file with torchvision's parameter names, or `imagenet` for torchvision's ImageNet
            weights of this backbone, which torch hub downloads once.

    Returns:
        The names of parameters that the checkpoint lacks. They all belong to offset convolutions, which keep
        their initial value of zero.

    Raises:
        ConfigError: There are no ImageNet weights for this backbone.
        CheckpointError: The file cannot be downloaded or read, or has a different architecture.
    """
    if source == "imagenet":
        weights, source = _from_hub(backbone)
    else:
        weights = _read(Path(source))
    prefix = "backbone."
    if any(name.startswith(prefix) for name in weights):
        weights = _below(weights, prefix)
    weights = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    return _load(backbone, weights, source, "--model.backbone and --model.width")


def load_model_weights(model: nn.Module, path: str | Path) -> list[str]:
    """Load the weights of a complete network, for example those of an atrous network into a deformable one.

    A checkpoint may lack offset weights, but offset weights of layers that are not deformable here are an
    error.

    Args:
        model: The network to load into.
        path: A checkpoint of a deformlab training, or a file with a `state_dict` of the network.

    Returns:
        The names of parameters that the checkpoint lacks. They all belong to offset convolutions, which keep
        their initial value of zero.

    Raises:
        CheckpointError: The file cannot be read or has a different architecture.
    """
    weights = _read(Path(path))
    prefix = "model."
    if any(name.startswith(prefix) for name in weights):
        weights = _below(weights, prefix)
    return _load(
        model,
        weights,
        path,
        "--model.backbone, --model.width, --model.conv5, --model.head_channels and the data set's classes",
    )


def _below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _from_hub(backbone: Backbone) -> tuple[dict[str, Tensor], Path]:
    name, width = backbone.config.backbone, backbone.config.width
    if name not in backbone.imagenet_files or width != 1:
        raise ConfigError(
            f"there are no ImageNet weights for {name} at width {width:g}; they exist for "
            f"{', '.join(backbone.imagenet_files)} at width 1; load a checkpoint file, or train from random "
            "weights"
        )
    file_name = backbone.imagenet_files[name]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / file_name
    if not path.exists():
        try:
            torch.hub.load_state_dict_from_url(
                IMAGENET_URL + file_name, map_location="cpu", check_hash=True, weights_only=True
            )
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"cannot download {file_name} ({error}): download {IMAGENET_URL}{file_name} on a machine "
                f"with internet access and copy it into {folder}"
            ) from error
    return _read(path), path


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; give a checkpoint file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make the unpickler raise any exception
        raise CheckpointError(
            f"cannot read the checkpoint {path}: it is damaged, or contains objects other than tensors, "
            f"which could run code and are refused; download it again, or save only its state_dict"
        ) from error
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise CheckpointError(f"{path} contains no weights: expected a checkpoint or a state_dict")
    return dict(weights)


def _load(module: nn.Module, weights: dict[str, Tensor], source: str | Path, options: str) -> list[str]:
    """Load all weights if only offset convolutions are missing; otherwise load none and raise an error."""
    try:
        weights = convert_offset_names(module, weights)
    except CheckpointError as error:
        raise CheckpointError(
            f"{source} has offset weights that do not fit this network: {error}; set conv5, "
            "num_deformable_layers and deform_groups as in the checkpoint"
        ) from error
    own = module.state_dict()
    missing = []
    for name in own | weights:
        if name in weights and name in own and weights[name].shape == own[name].shape:
            continue
        if name not in weights and "conv_offset." in name:
            missing.append(name)
        elif name in weights or not name.endswith(".num_batches_tracked"):
            raise CheckpointError(
                f"{source} is of another architecture: {name} is {_shape(weights, name)} in the "
                f"checkpoint and {_shape(own, name)} in this network; check {options}"
            )
    module.load_state_dict(weights, strict=False)
    return missing


def _shape(weights: Mapping[str, Tensor], name: str) -> str:
    return str(list(weights[name].shape)) if name in weights else "missing"
