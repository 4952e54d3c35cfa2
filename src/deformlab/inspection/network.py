"""A trained network from its run folder, with the transform and the classes it was trained with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse import ArgumentError, ArgumentParser
from torch import Tensor, nn

from deformlab.data import SegmentationDataModule
from deformlab.errors import ConfigError, RunFolderError
from deformlab.layers import DeformConv2d
from deformlab.models import DeepLab
from deformlab.quiet import silence_developer_messages
from deformlab.run_folder import (
    check_checkpoint,
    checkpoint_folder,
    last_checkpoint,
    read_evaluation_config,
    read_status,
)
from deformlab.tasks import SemanticSegmentation

__all__ = ["TrainedNetwork", "load_network"]

# What of a configuration says how a network is built.
PARTS = ("model", "data")
ANOTHER_RUN = "give another run, or train this one again with deformlab fit"


@dataclass(frozen=True)
class TrainedNetwork:
    """A network to look into; it is in evaluation mode and its weights have no gradients.

    Attributes:
        name: The trial and its seed, or the run folder's name.
        model: The network.
        data: What it was trained on: classes, palette and transforms; no split is opened.
        object_sizes: Areas in pixels below which an object is small and above which it is large, or `thirds`.
    """

    name: str
    model: DeepLab
    data: SegmentationDataModule
    object_sizes: tuple[float, float] | Literal["thirds"]

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.model.classifier.weight.device

    @property
    def layers(self) -> dict[str, nn.Conv2d]:
        """Every 3x3 convolution by its name in tables (`layer4.1.conv2`), in forward order."""
        return self.model.backbone.conv3x3_layers()

    @property
    def deformable_layers(self) -> dict[str, DeformConv2d]:
        """Those of `layers` that learn where to look."""
        return {name: layer for name, layer in self.layers.items() if isinstance(layer, DeformConv2d)}

    def input(self, image: Any) -> Tensor:
        """The network's input (1, 3, h, w) for an RGB image (H, W, 3), made as in its evaluation."""
        tensor = self.data.eval_transform.image(image)[None].to(self.device)
        return tensor.contiguous(memory_format=torch.channels_last)

    def check_layer(self, name: str) -> str:
        """The name of a layer, if there is one of this name.

        Raises:
            ConfigError: There is none; the layers are listed.
        """
        if name not in self.layers:
            raise ConfigError(
                f"--layer {name}: {self.name} has no such layer; its 3x3 convolutions are "
                f"{', '.join(self.layers)}"
            )
        return name


def load_network(path: Path) -> TrainedNetwork:
    """Builds the network of a run and loads its weights; on the GPU where there is one.

    Args:
        path: A run folder, whose last checkpoint is taken, or a checkpoint in one.

    Raises:
        RunFolderError: There is no run, or its configuration does not say how the network is built.
        ConfigError: Its configuration is not YAML, or names a class to import.
        CheckpointError: The checkpoint is missing, damaged or of another architecture.
        DatasetError: The file that names the data set's classes is missing.
    """
    silence_developer_messages()
    run_dir, checkpoint = _find(path)
    config_file = run_dir / "config.yaml"
    config = read_evaluation_config(run_dir)
    if not all(isinstance(config.get(part), dict) for part in PARTS):
        raise RunFolderError(
            f"{config_file}: lacks {' or '.join(PARTS)}, which say how the network is built; {ANOTHER_RUN}"
        )
    try:
        task, data = _build(config)
    except (TypeError, ArgumentError) as error:
        raise RunFolderError(
            f"{config_file}: is not a configuration of this version ({' '.join(str(error).split())}); "
            f"{ANOTHER_RUN}"
        ) from error
    check_checkpoint(checkpoint)
    content = torch.load(checkpoint, weights_only=True, map_location="cpu")
    task.on_load_checkpoint(content)
    task.load_state_dict(content["state_dict"])
    model = task.model.eval().requires_grad_(False)
    return TrainedNetwork(
        name=_name(run_dir),
        model=model.to("cuda" if torch.cuda.is_available() else "cpu"),
        data=data,
        object_sizes=task.evaluation.object_sizes,
    )


def _find(path: Path) -> tuple[Path, Path]:
    """The run folder and the checkpoint."""
    if path.is_dir():
        if not (path / "config.yaml").is_file():
            raise RunFolderError(
                f"{path}: holds no config.yaml; give a run folder that fit wrote, or a checkpoint in one"
            )
        last, best = last_checkpoint(path), checkpoint_folder(path) / "best.ckpt"
        return path, best if best.is_file() and not last.is_file() else last
    if not path.exists():
        raise RunFolderError(f"{path}: there is no such run folder or checkpoint")
    for run_dir in (path.absolute().parent.parent, path.absolute().parent):
        if (run_dir / "config.yaml").is_file():
            return run_dir, path
    raise RunFolderError(
        f"{path}: no config.yaml in its folder or the one above, which says how the network is built; "
        "leave the checkpoint in its run folder"
    )


def _build(config: dict[str, Any]) -> tuple[SemanticSegmentation, SegmentationDataModule]:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SegmentationDataModule, "data")
    parser.add_class_arguments(SemanticSegmentation, "model")
    parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
    # Its own weights are in the checkpoint; those it started from may be gone.
    model = config["model"] | {"init_weights": None, "backbone_weights": None}
    parsed = parser.instantiate(parser.parse_object({"data": config["data"], "model": model}))
    return parsed.model, parsed.data


def _name(run_dir: Path) -> str:
    status = read_status(run_dir)
    return run_dir.resolve().name if status is None else f"{status.trial}, seed {status.seed}"
