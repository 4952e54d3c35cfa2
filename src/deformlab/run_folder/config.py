"""Reads and writes `config.yaml`, the resolved configuration of a run, for `deformlab fit --config`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deformlab.errors import ConfigError, RunFolderError
from deformlab.run_folder.files import write_atomically
from deformlab.yaml_file import read_yaml

__all__ = ["evaluation_config", "read_config", "read_evaluation_config", "write_config"]

FILE = "config.yaml"
EVALUATION_SECTIONS = ("task", "model", "data", "seed_everything")
# The trainer's options that an evaluation uses too; the others are about the training only.
EVALUATION_TRAINER_OPTIONS = ("precision", "limit_val_batches")


def write_config(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Writes config.yaml.

    Args:
        run_dir: The run folder.
        config: The nested options as plain values: text, numbers, booleans, None, lists and dictionaries.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written; the old file is kept.
    """
    write_atomically(run_dir / FILE, yaml.safe_dump(dict(config), sort_keys=False))


def read_config(run_dir: Path) -> dict[str, Any]:
    """Reads config.yaml.

    Raises:
        RunFolderError: The file is missing.
        ConfigError: The file is damaged.
    """
    path = run_dir / FILE
    if not path.is_file():
        raise RunFolderError(f"{path}: no such file; give a folder that deformlab fit wrote")
    return read_yaml(path, "configuration")


def read_evaluation_config(run_dir: Path) -> dict[str, Any]:
    """The part of config.yaml that an evaluation uses: the model, the data and the precision.

    The run folder may come from somebody else, so nothing that it names is imported or called.

    Raises:
        ConfigError: The file is not YAML, or names a class to import.
        RunFolderError: The file is missing.
    """
    config = evaluation_config(read_config(run_dir))
    if _names_a_class(config):
        raise ConfigError(
            f"{run_dir / FILE}: contains a class_path, but an evaluation never imports classes that a run "
            "folder names; remove it"
        )
    return config


def evaluation_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a training's configuration that an evaluation uses: model, data and precision."""
    trainer = config.get("trainer")
    options = trainer if isinstance(trainer, dict) else {}
    return {
        **{name: config[name] for name in EVALUATION_SECTIONS if name in config},
        "trainer": {name: options[name] for name in EVALUATION_TRAINER_OPTIONS if name in options},
    }


def _names_a_class(value: Any) -> bool:
    if isinstance(value, dict):
        return "class_path" in value or any(map(_names_a_class, value.values()))
    return isinstance(value, list) and any(map(_names_a_class, value))
