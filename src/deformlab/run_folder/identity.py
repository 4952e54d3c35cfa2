"""What a training is: the options that decide its weights and differ from their defaults.

A run folder is continued, and a sweep's trial counts as done, only if that is the same. What is measured of a
trained network is kept apart: it can be measured again without training. Where files lie, how fast they are
read and what is shown on the way decides neither.

Only differences from the defaults count, so an option that comes later, with a default that means what was
done before, leaves every earlier training what it is. A change that does mean something else is recorded in
`CHANGES`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "CHANGES",
    "VERSION",
    "Change",
    "Identity",
    "digest",
    "flatten",
    "identify",
    "skeleton",
]

SECTIONS = ("seed_everything", "trainer", "model", "data")
# Each of these names an option or a section of options.
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
MEASUREMENT = (
    "data.eval_transform",
    "data.val_batch_size",
    "model.evaluation",
    "trainer.check_val_every_n_epoch",
    "trainer.limit_val_batches",
    "trainer.val_check_interval",
)
# A batch of evaluation holds images of one size, and how often is measured does not change the last score.
NOT_IN_SCORE = ("data.val_batch_size", "trainer.check_val_every_n_epoch", "trainer.val_check_interval")
# Weights that a training started from. Their run folder may have moved; its name has the trial's digest.
START = ("model.init_weights", "model.backbone_weights")


@dataclass(frozen=True)
class Change:
    """What became different in the meaning of configurations with a version.

    Args:
        version: The first version with the new meaning.
        renamed: New dotted name by the old one.
        removed: Options that are gone, with the value under which the rest means what it meant.
        implied: Options that came with this version, with the value that describes what was done before,
            where that is not the option's default.
    """

    version: int
    renamed: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, Any] = field(default_factory=dict)
    implied: Mapping[str, Any] = field(default_factory=dict)


# The newest last. A configuration without `config_version` in a run folder is of version 1.
CHANGES: tuple[Change, ...] = ()
VERSION = CHANGES[-1].version if CHANGES else 1


@dataclass(frozen=True)
class Identity:
    """The options that differ from their defaults, dotted.

    Args:
        training: Those that decide the weights.
        measurement: Those that decide the score of given weights.
        every: Every option with its value, also where that is the default.
    """

    training: dict[str, Any]
    measurement: dict[str, Any]
    every: dict[str, Any] = field(default_factory=dict, compare=False)

    def changed(self, present: "Identity") -> dict[str, Any]:
        """The decisive options in which another identity differs, with its values."""
        return {key: present.every.get(key) for key in self._differing(present, ("training", "measurement"))}

    def differences(self, present: "Identity", kind: Literal["training", "measurement"]) -> list[str]:
        """A text for each option of one kind that differs: `model.dilation (2 then, 4 now)`."""
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
    """What decides a run's result.

    Args:
        config: A configuration, nested; options that it leaves out have their defaults.
        defaults: Every option of this version with its default, nested, as the command line resolves
            `skeleton(config)`.
        changes: What became different since; None for `CHANGES`.

    Returns:
        The decisive options in the names and meanings of this version.
    """
    ours = _migrate(flatten(config), CHANGES if changes is None else changes)
    standard = flatten(defaults)
    training: dict[str, Any] = {}
    measurement: dict[str, Any] = {}
    for key, value in sorted(ours.items()):
        if (
            not _in(key, SECTIONS)
            or _in(key, NEITHER)
            or (key in standard and _plain(standard[key]) == _plain(value))
        ):
            continue
        # An empty section, or one that is not given, is what its defaults are.
        if value in (None, {}) and any(name.startswith(f"{key}.") for name in standard):
            continue
        if not _in(key, MEASUREMENT):
            training[key] = _start(value) if key in START else _plain(value)
        elif key not in NOT_IN_SCORE:
            measurement[key] = _plain(value)
    every = {key: _plain(value) for key, value in (standard | ours).items()}
    return Identity(training, measurement, every)


def skeleton(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a configuration without any option: resolved, they give the defaults of them all."""
    return {key: skeleton(value) for key, value in config.items() if isinstance(value, Mapping)}


def digest(training: Mapping[str, Any], parent: str | None) -> str:
    """Eight hexadecimal digits that stand for a training.

    Args:
        training: `Identity.training`.
        parent: Those of the training whose weights it starts from.
    """
    canonical = json.dumps([training, parent], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration by dotted names; lists and empty sections are values."""
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
    """A value in one spelling: tuples as lists, whole floats as integers, paths as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _start(value: Any) -> Any:
    """A checkpoint of a run by the run folder's name, anything else as it is."""
    parts = str(value).replace("\\", "/").split("/")
    return "/".join(parts[-3:]) if len(parts) > 2 and parts[-2] == "checkpoints" else _plain(value)
