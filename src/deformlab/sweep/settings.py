"""Dotted settings such as `model.dilation: 4` on top of a nested configuration."""

import copy
from collections.abc import Mapping
from typing import Any

import yaml

from deformlab.errors import ConfigError
from deformlab.yaml_file import parse_yaml


def apply_settings(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration with dotted settings merged into it.

    A mapping is merged key by key, unless it names a `class_path`; any other value replaces what was there.

    Raises:
        ConfigError: A dotted key leads through a value that is no mapping.
    """
    merged = copy.deepcopy(dict(config))
    for key, value in settings.items():
        *sections, last = key.split(".")
        section = merged
        for name in sections:
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
            if not isinstance(section, dict):
                raise ConfigError(f"{key}: {name} is {section!r}, not a section with keys of its own")
        old = section.get(last)
        if isinstance(value, Mapping) and isinstance(old, dict) and "class_path" not in value:
            section[last] = apply_settings(old, value)
        else:
            section[last] = copy.deepcopy(value)
    return merged


def parse_setting(text: str) -> tuple[str, Any]:
    """`model.dilation=4` as `("model.dilation", 4)`; the value is read as YAML.

    Raises:
        ConfigError: There is no `=`, no key, or the value is no YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise ConfigError(f"--set {text}: give KEY=VALUE with a dotted key, for example model.dilation=4")
    try:
        return key.strip(), parse_yaml(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not valid YAML; put it in quotes") from error


def format_settings(settings: Mapping[str, Any]) -> str:
    """Settings as one line, `model.conv5=atrous model.dilation=2`."""
    return " ".join(f"{key}={value}" for key, value in settings.items())
