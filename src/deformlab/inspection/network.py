"""Loads a trained network from its run folder, with its transform and classes."""

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
from deformlab.run_folder.identity import DEFAULT_TASK
from deformlab.tasks import SemanticSegmentation

__all__ = ["TrainedNetwork", "load_network"]

# The sections of a configuration that define the network.
PARTS = ("model", "data")
ANOTHER_RUN = "give another run, or train this one again with deformlab fit"


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network in evaluation mode, whose weights do not require gradients.

    Attributes:
        name: The trial and its seed, or the name of the run folder.
        model: The network.
        data: The data module of the training, with classes, palette and transforms; no split is opened.
        object_sizes: The areas in pixels below which objects are small and above which they are large, or
            `thirds`.
    """

    name: str
    model: DeepLab
    data: SegmentationDataModule
    object_sizes: tuple[float, float] | Literal["thirds"]

    @property
    def device(self) -> torch.device:
        """The device of the network's weights."""
        return self.model.classifier.weight.device

    @property
    def layers(self) -> dict[str, nn.Conv2d]:
        """Every 3x3 convolution of the backbone by name (such as `layer4.1.conv2`), in forward order."""
        return self.model.backbone.conv3x3_layers()

    @property
    def deformable_layers(self) -> dict[str, DeformConv2d]:
        """The deformable layers among `layers`."""
        return {name: layer for name, layer in self.layers.items() if isinstance(layer, DeformConv2d)}

    def input(self, image: Any) -> Tensor:
        """The network's input (1, 3, h, w) for an RGB image (H, W, 3), transformed as in its evaluation."""
        tensor = self.data.eval_transform.image(image)[None].to(self.device)
        return tensor.contiguous(memory_format=torch.channels_last)

    def check_layer(self, name: str) -> str:
        """Returns `name` if the network has a 3x3 convolution of that name.

        Raises:
            ConfigError: It has none; the message lists the layers.
        """
        if name not in self.layers:
            raise ConfigError(
                f"--layer {name}: {self.name} has no such layer; choose one of its 3x3 convolutions: "
                f"{', '.join(self.layers)}"
            )
        return name


def load_network(path: Path) -> TrainedNetwork:
    """Builds the network of a run and loads its weights, on the GPU if one is available.

    Args:
        path: A run folder, whose last checkpoint is loaded, or a checkpoint in a run folder.

    Raises:
        RunFolderError: The run does not exist, or its configuration does not define the network.
        ConfigError: The configuration is not YAML, or names a class to import.
        CheckpointError: The checkpoint is missing, damaged or from another architecture.
        DatasetError: The file with the names of the data set's classes is missing.
    """
    silence_developer_messages()
    run_dir, checkpoint = _find(path)
    config_file = run_dir / "config.yaml"
    config = read_evaluation_config(run_dir)
    task_name = config.get("task", DEFAULT_TASK)
    if task_name != DEFAULT_TASK:
        raise ConfigError(
            f"{run_dir}: is a run of task {task_name!r}; this draws networks of task {DEFAULT_TASK!r} only"
        )
    if not all(isinstance(config.get(part), dict) for part in PARTS):
        raise RunFolderError(
            f"{config_file}: lacks {' or '.join(PARTS)}, which define the network; {ANOTHER_RUN}"
        )
    try:
        task, data = _build(config)
    except (TypeError, ArgumentError) as error:
        raise RunFolderError(
            f"{config_file}: does not match this version of deformlab ({' '.join(str(error).split())}); "
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
                f"{path}: contains no config.yaml; give a run folder that fit wrote, or a checkpoint in one"
            )
        last, best = last_checkpoint(path), checkpoint_folder(path) / "best.ckpt"
        return path, best if best.is_file() and not last.is_file() else last
    if not path.exists():
        raise RunFolderError(f"{path}: no such run folder or checkpoint")
    for run_dir in (path.absolute().parent.parent, path.absolute().parent):
        if (run_dir / "config.yaml").is_file():
            return run_dir, path
    raise RunFolderError(
        f"{path}: its folder and the one above contain no config.yaml, which defines the network; "
        "leave the checkpoint in its run folder"
    )


def _build(config: dict[str, Any]) -> tuple[SemanticSegmentation, SegmentationDataModule]:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SegmentationDataModule, "data")
    parser.add_class_arguments(SemanticSegmentation, "model")
    parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
    # The checkpoint contains all weights; the files of the initial weights may no longer exist.
    model = config["model"] | {"init_weights": None, "backbone_weights": None}
    parsed = parser.instantiate(parser.parse_object({"data": config["data"], "model": model}))
    return parsed.model, parsed.data


def _name(run_dir: Path) -> str:
    status = read_status(run_dir)
    return run_dir.resolve().name if status is None else f"{status.trial}, seed {status.seed}"
