"""The identity of a training: the options that decide its weights and differ from their defaults.

A training is only continued, and a sweep's trial only counts as finished, if its identity is unchanged.
Options of the measurement form a separate part, because a network can be measured again without training.
Options about file locations, speed and display belong to neither part.

Because only differences from the defaults count, a new option whose default means the previous behaviour does
not change the identity of earlier trainings. Any other change is recorded in `CHANGES`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "CHANGES",
    "DEFAULT_TASK",
    "VERSION",
    "Change",
    "Identity",
    "digest",
    "flatten",
    "identify",
    "skeleton",
]

DEFAULT_TASK = "segmentation"
"""The task of configurations that name none."""

SECTIONS = ("task", "seed_everything", "trainer", "model", "data")
# Options, or sections of options, that affect neither weights nor score.
NEITHER = (
    "data.num_workers",
    "data.options.cache",
    "data.predict_root",
    "data.root",
    "trainer.accelerator",
    "trainer.barebones",
    "trainer.default_root_dir",
    "trainer.detect_anomaly",
    "trainer.enable_autolog_hparams",
    "trainer.enable_checkpointing",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "trainer.inference_mode",
    "trainer.limit_predict_batches",
    "trainer.limit_test_batches",
    "trainer.log_every_n_steps",
    "trainer.logger",
    "trainer.model_registry",
    "trainer.num_sanity_val_steps",
    "trainer.profiler",
)
# Options, or sections of options, of the measurement.
MEASUREMENT = (
    "data.eval_transform",
    "data.val_batch_size",
    "model.evaluation",
    "trainer.check_val_every_n_epoch",
    "trainer.limit_val_batches",
    "trainer.val_check_interval",
)
# Options of the measurement that do not affect the final score: the size of evaluation batches, whose images
# are not padded, and the interval between validations.
NOT_IN_SCORE = ("data.val_batch_size", "trainer.check_val_every_n_epoch", "trainer.val_check_interval")
# Weights that a training starts from. Their run folder may have moved, but its name has the trial's digest.
START = ("model.init_weights", "model.backbone_weights")


@dataclass(frozen=True)
class Change:
    """A change in the meaning of configurations.

    Args:
        version: The first version with the new meaning.
        renamed: The new dotted names by the old ones.
        removed: Removed options, with the value that is equivalent to the option's absence.
        implied: New options whose default is not the previous behaviour, with the value that is.
    """

    version: int
    renamed: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, Any] = field(default_factory=dict)
    implied: Mapping[str, Any] = field(default_factory=dict)


# Sorted by version. A configuration without `config_version` has version 1.
CHANGES: tuple[Change, ...] = ()
VERSION = CHANGES[-1].version if CHANGES else 1


@dataclass(frozen=True)
class Identity:
    """The decisive options of a run that differ from their defaults, by dotted names.

    Args:
        training: Options that decide the weights.
        measurement: Options that decide the score of given weights.
        every: All options with their values, including defaults.
    """

    training: dict[str, Any]
    measurement: dict[str, Any]
    every: dict[str, Any] = field(default_factory=dict, compare=False)

    def changed(self, present: "Identity") -> dict[str, Any]:
        """The decisive options that differ in another identity, with the other's values."""
        return {key: present.every.get(key) for key in self._differing(present, ("training", "measurement"))}

    def differences(self, present: "Identity", kind: Literal["training", "measurement"]) -> list[str]:
        """A text for each differing option of one kind, for example `model.dilation (2 then, 4 now)`."""
        return [
            f"{key} ({json.dumps(self.every.get(key))} then, {json.dumps(present.every.get(key))} now)"
            for key in self._differing(present, (kind,))
        ]

    def _differing(self, present: "Identity", kinds: Iterable[str]) -> list[str]:
        keys: list[str] = []
        for kind in kinds:
            then, now = getattr(self, kind), getattr(present, kind)
            keys += [key for key in set(then) | set(now) if then.get(key, ...) != now.get(key, ...)]
        return sorted(keys)


def identify(
    config: Mapping[str, Any], defaults: Mapping[str, Any], changes: Iterable[Change] | None = None
) -> Identity:
    """The identity of a configuration.

    Args:
        config: A nested configuration; missing options have their defaults.
        defaults: All options of this version with their defaults, nested: the resolved `skeleton(config)`.
        changes: Changes in the meaning of configurations; None for `CHANGES`.

    Returns:
        The decisive options, with the names and meanings of this version.
    """
    options = _migrate(flatten(config), CHANGES if changes is None else changes)
    default_options = flatten(defaults) | {"task": DEFAULT_TASK}
    training: dict[str, Any] = {}
    measurement: dict[str, Any] = {}
    for key, value in sorted(options.items()):
        if (
            not _in(key, SECTIONS)
            or _in(key, NEITHER)
            or (key in default_options and _plain(default_options[key]) == _plain(value))
        ):
            continue
        # An empty or missing section means its defaults.
        if value in (None, {}) and any(name.startswith(f"{key}.") for name in default_options):
            continue
        if not _in(key, MEASUREMENT):
            training[key] = _start(value) if key in START else _plain(value)
        elif key not in NOT_IN_SCORE:
            measurement[key] = _plain(value)
    every = {key: _plain(value) for key, value in (default_options | options).items()}
    return Identity(training, measurement, every)


def skeleton(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a configuration without their options; resolving them gives all defaults.

    The task is kept, because the options depend on it.
    """
    sections = {key: skeleton(value) for key, value in config.items() if isinstance(value, Mapping)}
    return sections | {key: config[key] for key in ("task",) if isinstance(config.get(key), str)}


def digest(training: Mapping[str, Any], parent: str | None) -> str:
    """Eight hexadecimal digits that identify a training.

    Args:
        training: The options of `Identity.training`.
        parent: The digest of the training from whose weights this one starts; or None.
    """
    canonical = json.dumps([training, parent], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The options of a nested configuration by dotted names; lists and empty sections count as values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return flat


def _migrate(flat: dict[str, Any], changes: Iterable[Change]) -> dict[str, Any]:
    version = flat.get("config_version") or 1
    for change in changes:
        if change.version <= version:
            continue
        flat = {change.renamed.get(key, key): value for key, value in flat.items()}
        gone = {key for key, value in change.removed.items() if _plain(flat.get(key, value)) == _plain(value)}
        flat = {**change.implied, **{key: value for key, value in flat.items() if key not in gone}}
    return flat


def _in(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _plain(value: Any) -> Any:
    """A value in canonical form: tuples as lists, whole floats as integers, paths as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _start(value: Any) -> Any:
    """A checkpoint's path from its run folder's name on; any other value unchanged."""
    parts = str(value).replace("\\", "/").split("/")
    return "/".join(parts[-3:]) if len(parts) > 2 and parts[-2] == "checkpoints" else _plain(value)
