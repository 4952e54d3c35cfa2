"""What `deformlab data check` takes from a configuration of the training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deformlab.data.check import DEFAULT_RULE_SOURCE
from deformlab.errors import ConfigError
from deformlab.records import SizeRule


@dataclass(frozen=True)
class CheckSettings:
    """Arguments of `check_dataset` that depend on the training.

    Attributes:
        rule: how an object's size is measured and where small ends and large begins.
        rule_source: where that comes from.
        options: the data set's own arguments.
    """

    rule: SizeRule = field(default_factory=SizeRule)
    rule_source: str = DEFAULT_RULE_SOURCE
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def choose(
        cls, dataset: str, config: Path | None, object_sizes: Sequence[float] | None
    ) -> "CheckSettings":
        """The settings of a configuration file, or of two areas, or the defaults.

        Args:
            dataset: the data set's name; `data.options` of a configuration for another one are left out.
            config: a configuration of `fit`, for example the config.yaml of a run.
            object_sizes: two increasing areas in pixels.

        Raises:
            ConfigError: the file is missing or no configuration, or the areas are not legal.
        """
        if object_sizes is not None:
            return cls(SizeRule(tuple(object_sizes)), "given by --object-sizes")
        if config is None:
            return cls()
        content = _read(config)
        evaluation = _part(config, _part(config, content, "model"), "evaluation")
        data = _part(config, content, "data")
        names = {"object_sizes": "thresholds", "object_area": "area", "object_pixels": "pixels"}
        try:
            rule = SizeRule(**{names[key]: value for key, value in evaluation.items() if key in names})
        except (ConfigError, TypeError) as error:
            raise ConfigError(f"{config}: model.evaluation: {error}") from None
        source = f"model.evaluation.object_sizes of {config}"
        if "object_sizes" not in evaluation:
            source = f"{config} does not set model.evaluation.object_sizes: these are its default"
        options = _part(config, data, "options") if data.get("dataset", "shapes") == dataset else {}
        return cls(rule, source, options)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file}: cannot be read as YAML ({reason})") from None
    if not isinstance(content, Mapping) or not {"model", "data"} & set(content):
        raise ConfigError(f"{file}: is no configuration of a training: it has neither model nor data")
    return content


def _part(file: Path, content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = content.get(key) or {}
    if not isinstance(part, Mapping):
        raise ConfigError(f"{file}: {key} must hold options by name, got {part!r}")
    return part
