"""The settings of a run, to say in what two trials of the same kind differ."""

from collections.abc import Mapping
from typing import Any

import yaml

from deformlab.analysis.run import Run

# Where things lie and how they are loaded makes no variant; the pretraining is named by `init_from`.
NOT_A_VARIANT = ("init_weights", "backbone_weights", "root", "predict_root", "num_workers", "seed", "logger")
SECTIONS = ("model", "data", "trainer")


def read_settings(run: Run) -> dict[str, str]:
    """Dotted settings of the network, the data and the training, as text.

    Those of the network are in every run; the others come from `config.yaml`, where it can be read.
    """
    settings = {"init_from": str(run.init_from or "–"), "epochs": str(run.epochs)}
    settings |= _flat(run.model, "model")
    try:
        config = yaml.safe_load((run.folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return settings
    if isinstance(config, dict):
        for section in SECTIONS:
            settings |= _flat(config.get(section), section)
    return settings


def _flat(value: Any, name: str) -> dict[str, str]:
    key = name.split(".")[-1]
    if key in NOT_A_VARIANT or key == "max_epochs":
        return {}
    if isinstance(value, Mapping):
        return {found: text for item in value for found, text in _flat(value[item], f"{name}.{item}").items()}
    if isinstance(value, list):
        scalar = all(isinstance(item, bool | int | float | str | None) for item in value)
        return {name: ", ".join(map(str, value))} if scalar else {}
    return {name: str(value)}
