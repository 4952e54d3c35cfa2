"""Weights from files and from torch hub, never executing what a file contains (weights_only)."""

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
    """Loads a classification network's weights into the backbone; its classifier (`fc`) is left out.

    If the checkpoint is of a whole network (mmdetection), the weights under `backbone.` are loaded. Offsets
    may have the names of `deformlab.layers.convert_offset_names`.

    Args:
        backbone: The network to load into.
        source: A checkpoint file with torchvision's names, or `imagenet` for torchvision's weights of this
            backbone, which torch hub downloads once.

    Returns:
        The names that the checkpoint lacks: those of offset convolutions, which start at zero.

    Raises:
        ConfigError: There are no ImageNet weights for this backbone.
        CheckpointError: The file cannot be had, cannot be read, or is of another architecture.
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
    """Loads a whole network's weights, for instance an atrous network's into a deformable one.

    Args:
        model: The network to load into.
        path: A checkpoint of the segmentation task, or a file with the network's own `state_dict`.

    Returns:
        The names that the checkpoint lacks: those of offset convolutions, which start at zero.

    Raises:
        CheckpointError: The file cannot be read or is of another architecture.
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
            f"there are no ImageNet weights for {name} at width {width:g}: take one of "
            f"{', '.join(backbone.imagenet_files)} at width 1, or leave backbone_weights out"
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
                f"cannot download {file_name} ({error}): fetch {IMAGENET_URL}{file_name} on a machine that "
                f"is online and put it into {folder}"
            ) from error
    return _read(path), path


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint file {path}: check the path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make the unpickler fail in any way
        raise CheckpointError(
            f"cannot read the checkpoint {path}: it is damaged, or holds objects other than tensors, which "
            f"could run code and are refused; fetch it again, or save its state_dict alone"
        ) from error
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise CheckpointError(f"{path} holds no weights: a checkpoint or a state_dict is expected")
    return dict(weights)


def _load(module: nn.Module, weights: dict[str, Tensor], source: str | Path, options: str) -> list[str]:
    """Loads all weights if only offsets are missing, and none otherwise."""
    try:
        weights = convert_offset_names(module, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{source} is of another architecture: {error}; check {options}") from error
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
