"""Trials of a sweep: each is one configuration with one seed in one run folder.

The run folder's name ends with a digest of the options that decide the weights. An existing run folder is a
trial's if its configuration describes the same training, even if another version of deformlab wrote it. This
is how a repeated sweep finds its finished trials.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deformlab.errors import ConfigError, DeformlabError
from deformlab.run_folder import (
    RunStatus,
    last_checkpoint,
    mark_status,
    read_config,
    read_status,
    write_config,
)
from deformlab.run_folder.identity import Identity, digest, skeleton
from deformlab.run_folder.identity import identify as identify_configuration
from deformlab.run_folder.result import State
from deformlab.sweep.specification import SweepSpecification, apply_settings

Resolve = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class PlannedTrial:
    """One run of a sweep.

    Attributes:
        name: The trial's name in the sweep file.
        seed: The value of `seed_everything`.
        role: `trial` or `pretraining`, see `TrialSpecification`.
        sweep: The sweep's name.
        settings: The options in which the trial differs from the base, by dotted names.
        config: The resolved configuration that the trial's process reads.
        identity: The options that decide the weights, and those that decide the score.
        digest: Eight hexadecimal digits of a SHA-256 digest of the options that decide the weights and of the
            parent's digest.
        folder: The run folder, `<sweep folder>/<name>-seed<seed>-<digest>`. If an older version has created a
            folder for the same training, that folder, whose digits may differ.
        parent: The trial from whose last weights this one starts; or None.
    """

    name: str
    seed: int
    role: str
    sweep: str
    settings: dict[str, Any]
    config: dict[str, Any]
    identity: Identity
    digest: str
    folder: Path
    parent: "PlannedTrial | None"

    @property
    def label(self) -> str:
        """The trial's name in tables and messages."""
        return f"{self.name} seed {self.seed}"

    @property
    def max_epochs(self) -> int | None:
        """The number of epochs of the trial; None if something else ends its training."""
        epochs = (self.config.get("trainer") or {}).get("max_epochs")
        return epochs if isinstance(epochs, int) and epochs > 0 else None

    def prepare_folder(self) -> None:
        """Writes the configuration that the trial's process reads, and a result.json with status `running`.

        The process writes this status too, but may die before it does.

        Raises:
            RunFolderError: The disk is full or the folder cannot be written.
        """
        write_config(self.folder, self.config)
        self.mark("running")

    def mark(self, status: State, error: str | None = None) -> None:
        """Writes the status into result.json and keeps the results of the training.

        Args:
            status: The new status.
            error: The reason of a failure or an interruption, one line.

        Raises:
            RunFolderError: The disk is full or the folder cannot be written; the old file is kept.
        """
        mark_status(
            self.folder,
            RunStatus(
                status=status,
                error=error,
                trial=self.name,
                sweep=self.sweep,
                role=self.role,
                init_from=self.parent.name if self.parent else None,
                seed=self.seed,
            ),
        )


class Identify:
    """Finds the options of a configuration that decide its result.

    The defaults are cached for configurations with the same sections.

    Args:
        resolve: Checks a configuration and returns it with all defaults.
    """

    def __init__(self, resolve: Resolve) -> None:
        self.resolve = resolve
        self._defaults: dict[str, dict[str, Any]] = {}

    def __call__(self, config: Mapping[str, Any]) -> Identity:
        """The identity of a configuration.

        Raises:
            ConfigError: The configuration has a section that this version does not know.
        """
        sections = skeleton(config)
        key = json.dumps(sections, sort_keys=True)
        if key not in self._defaults:
            self._defaults[key] = self.resolve(sections)
        return identify_configuration(config, self._defaults[key])

    def of_run(self, run_dir: Path) -> Identity | None:
        """The identity of a run; None if its config.yaml is missing or illegal."""
        try:
            return self(read_config(run_dir))
        except DeformlabError:
            return None


def make_trials(
    sweep: SweepSpecification, folder: Path, overrides: Mapping[str, Any], identify: Identify
) -> list[PlannedTrial]:
    """All trials of a sweep, sorted by seed, with each parent before its children.

    Args:
        sweep: The checked sweep file.
        folder: The sweep's folder.
        overrides: Options for every trial by dotted names, which take precedence over the file's.
        identify: Checks merged configurations, adds their defaults and finds their decisive options.

    Raises:
        ConfigError: A configuration is illegal; the message names the file and the trial.
    """
    if "seed_everything" in overrides:
        raise ConfigError(f"seed_everything comes from seeds in {sweep.path}; change it there")
    # Configurations of different seeds only differ in the seed, so each trial is resolved once.
    resolved = {}
    for specification in sweep.trials:
        try:
            config = apply_settings(sweep.base, specification.settings)
            config = apply_settings(config, {**overrides, "seed_everything": sweep.seeds[0]})
            resolved[specification.name] = _plain(identify.resolve(config))
        except ConfigError as error:
            raise ConfigError(f"{sweep.path}: trial {specification.name}: {error}") from error
    trials: list[PlannedTrial] = []
    for seed in sweep.seeds:
        by_name: dict[str, PlannedTrial] = {}
        for specification in sweep.trials:
            config = apply_settings(resolved[specification.name], {"seed_everything": seed})
            parent = by_name[specification.init_from] if specification.init_from else None
            identity = identify(config)
            name = f"{specification.name}-seed{seed}"
            trial_digest = digest(identity.training, parent.digest if parent else None)
            run_dir = _earlier_folder(folder, name, trial_digest, identity, parent, identify)
            if parent:
                weights = str(last_checkpoint(parent.folder))
                config = apply_settings(config, {"model.init_weights": weights})
            by_name[specification.name] = PlannedTrial(
                name=specification.name,
                seed=seed,
                role=specification.role,
                sweep=sweep.name,
                settings={key: overrides.get(key, value) for key, value in specification.settings.items()},
                config=config,
                identity=identity,
                digest=trial_digest,
                folder=run_dir or folder / f"{name}-{trial_digest}",
                parent=parent,
            )
        trials += by_name.values()
    return trials


def _earlier_folder(
    folder: Path, name: str, digits: str, identity: Identity, parent: PlannedTrial | None, identify: Identify
) -> Path | None:
    """A trial's existing run folder: preferably a finished one, then one with the trial's digest."""
    training = dict(identity.training)
    if parent:
        training["model.init_weights"] = last_checkpoint(Path(parent.folder.name)).as_posix()
    pattern = re.compile(rf"{re.escape(name)}-[0-9a-f]{{8}}")
    found = [path for path in sorted(folder.glob("*")) if pattern.fullmatch(path.name)]
    same = []
    for path in found:
        recorded = identify.of_run(path)
        if recorded is not None and recorded.training == training:
            same.append(path)
    return max(same, key=lambda path: (_is_finished(path), path.name.endswith(digits)), default=None)


def _is_finished(run_dir: Path) -> bool:
    recorded = read_status(run_dir)
    return recorded is not None and recorded.status == "finished"


def _plain(value: Any) -> Any:
    """A value that YAML and JSON can represent; for example, paths become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    return str(value)
