"""Trials of a sweep: one configuration, one seed, one folder, named by a hash of what decides the result.

The same configuration gives the same folder, which is how a sweep that is run again knows what is finished.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deformlab.errors import ConfigError
from deformlab.sweep.settings import apply_settings
from deformlab.sweep.specification import SweepSpecification

Resolve = Callable[[dict[str, Any]], dict[str, Any]]

# Where things lie, how fast they are read and what is warned of does not change a result, so it must not
# change a trial's id.
NOT_IN_ID = (
    "config",
    "ckpt_path",
    "run_dir",
    "wandb",
    "offset_limit",
    "data.root",
    "data.predict_root",
    "data.num_workers",
    "trainer.default_root_dir",
    "trainer.logger",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
)


@dataclass(frozen=True, eq=False)
class Trial:
    """One run of a sweep.

    Attributes:
        name: As in the sweep file.
        seed: The value of `seed_everything`.
        role: "trial" or "pretraining".
        sweep: The sweep's name.
        settings: What differs from the base, dotted.
        config: The resolved configuration that the trial's process reads.
        digest: Eight hexadecimal digits of SHA-256 over the configuration and the parent's digest.
        folder: The run folder, `<sweep folder>/<name>-seed<seed>-<digest>`.
        parent: The trial whose last weights this one starts from.
    """

    name: str
    seed: int
    role: str
    sweep: str
    settings: dict[str, Any]
    config: dict[str, Any]
    digest: str
    folder: Path
    parent: "Trial | None"

    @property
    def label(self) -> str:
        """How the trial is called in tables and messages."""
        return f"{self.name} seed {self.seed}"

    @property
    def max_epochs(self) -> int | None:
        """Epochs that the trial will train for, None where something else ends it."""
        epochs = (self.config.get("trainer") or {}).get("max_epochs")
        return epochs if isinstance(epochs, int) and epochs > 0 else None


def make_trials(
    sweep: SweepSpecification, folder: Path, overrides: Mapping[str, Any], resolve: Resolve
) -> list[Trial]:
    """All trials of a sweep, seed after seed, a parent before its children.

    Args:
        sweep: The checked sweep file.
        folder: The sweep's folder.
        overrides: Dotted settings for every trial; they win over the file's.
        resolve: Checks a merged configuration and returns it with all defaults filled in.

    Raises:
        ConfigError: A configuration is illegal; the message names the file and the trial.
    """
    if "seed_everything" in overrides:
        raise ConfigError(f"seed_everything comes from seeds in {sweep.path}; change it there")
    trials: list[Trial] = []
    for seed in sweep.seeds:
        by_name: dict[str, Trial] = {}
        for specification in sweep.trials:
            try:
                config = apply_settings(sweep.base, specification.settings)
                config = apply_settings(config, {**overrides, "seed_everything": seed})
                config = _plain(resolve(config))
            except ConfigError as error:
                raise ConfigError(f"{sweep.path}: trial {specification.name}: {error}") from error
            parent = by_name[specification.init_from] if specification.init_from else None
            digest = trial_digest(config, parent.digest if parent else None)
            if parent:
                weights = parent.folder / "checkpoints" / "last.ckpt"
                config = apply_settings(config, {"model.init_weights": str(weights)})
            by_name[specification.name] = Trial(
                name=specification.name,
                seed=seed,
                role=specification.role,
                sweep=sweep.name,
                settings=specification.settings,
                config=config,
                digest=digest,
                folder=folder / f"{specification.name}-seed{seed}-{digest}",
                parent=parent,
            )
        trials += by_name.values()
    return trials


def trial_digest(config: Mapping[str, Any], parent_digest: str | None) -> str:
    """Eight hexadecimal digits that stand for everything which decides a trial's result."""
    decisive = copy.deepcopy(dict(config))
    for key in NOT_IN_ID:
        *sections, last = key.split(".")
        section: Any = decisive
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section.pop(last, None)
    canonical = json.dumps([decisive, parent_digest], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def _plain(value: Any) -> Any:
    """What YAML and JSON can hold: paths and the like become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    return str(value)
