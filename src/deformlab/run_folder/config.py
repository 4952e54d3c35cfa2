"""`config.yaml`: the resolved configuration of a run; `deformlab fit --config` repeats the run with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deformlab.errors import ConfigError, RunFolderError
from deformlab.run_folder.files import write_atomically
from deformlab.yaml_file import read_yaml

__all__ = ["evaluation_config", "read_config", "read_evaluation_config", "write_config"]

FILE = "config.yaml"
EVALUATION_SECTIONS = ("model", "data", "seed_everything")
# The trainer's options that an evaluation takes over; the others say how and where a training ran.
EVALUATION_TRAINER_OPTIONS = ("precision", "limit_val_batches")


def write_config(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Writes config.yaml.

    Args:
        run_dir: The run folder.
        config: Nested options as plain values: text, numbers, booleans, None, lists and dicts.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written; the old file is still there.
    """
    write_atomically(run_dir / FILE, yaml.safe_dump(dict(config), sort_keys=False))


def read_config(run_dir: Path) -> dict[str, Any]:
    """Reads config.yaml.

    Raises:
        RunFolderError: There is no such file.
        ConfigError: It is damaged.
    """
    path = run_dir / FILE
    if not path.is_file():
        raise RunFolderError(f"{path}: there is no such file; name a folder that deformlab fit wrote")
    return read_yaml(path, "configuration")


def read_evaluation_config(run_dir: Path) -> dict[str, Any]:
    """The part of config.yaml that an evaluation takes over: the model, the data and the precision.

    A run folder may be somebody else's. Nothing in it is imported or called.

    Raises:
        ConfigError: The file is not YAML, or names a class to import.
        RunFolderError: There is no such file.
    """
    taken = evaluation_config(read_config(run_dir))
    if _names_a_class(taken):
        raise ConfigError(
            f"{run_dir / FILE}: names a class_path; a run's model and data are never imported from it"
        )
    return taken


def evaluation_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a training's configuration that an evaluation takes over."""
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
