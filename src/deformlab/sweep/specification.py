"""A sweep file: the base configuration, the trials that change it, and the seeds of each trial.

This module does not know the options of a configuration: `Resolve` checks, for example, that `model.dilation`
exists.
"""

import copy
import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from deformlab.errors import ConfigError
from deformlab.yaml_file import parse_yaml, read_yaml

SWEEP_KEYS = ("name", "base", "seeds", "trials", "set", "slurm")
TRIAL_KEYS = ("name", "role", "init_from", "set", "grid")
ROLES = ("trial", "pretraining")

Fail = Callable[[str], NoReturn]


@dataclass(frozen=True)
class TrialSpecification:
    """One trial of a sweep file, or one point of its grid.

    Attributes:
        name: Unique in the sweep, and part of the run folder's name.
        role: `trial` is in the tables, `pretraining` only provides weights for other trials.
        settings: The options in which this trial differs from the base, by dotted names.
        init_from: Name of the trial from whose last weights, of the same seed, this one starts; or None.
    """

    name: str
    role: str
    settings: dict[str, Any]
    init_from: str | None


@dataclass(frozen=True)
class SweepSpecification:
    """A checked sweep file, whose configurations are not checked yet.

    Attributes:
        path: The sweep file.
        name: The sweep's name; its default folder is `runs/<name>`.
        base: The base configuration with the sweep's own `set` merged into it.
        seeds: The seeds; every trial runs once with each.
        trials: The trials in the order of the file, except that a trial follows the one it starts from.
        slurm: Parameters for submitit's `update_parameters`.
    """

    path: Path
    name: str
    base: dict[str, Any]
    seeds: tuple[int, ...]
    trials: tuple[TrialSpecification, ...]
    slurm: dict[str, Any]


def read_sweep(path: str | Path) -> SweepSpecification:
    """Reads and checks a sweep file.

    Args:
        path: The sweep file, in YAML.

    Raises:
        ConfigError: The file or its base configuration is missing or illegal; the message names the key.
    """
    path = Path(path)
    content = read_yaml(path, "sweep file")

    def fail(problem: str) -> NoReturn:
        raise ConfigError(f"{path}: {problem}")

    configuration = {"model", "data", "trainer"} & set(content)
    hint = "; this is a configuration for fit, not a sweep file" if configuration else ""
    _check_keys(content, SWEEP_KEYS, fail, "", hint)
    for key in ("name", "base", "seeds", "trials"):
        if key not in content:
            fail(f"the key '{key}' is missing; a sweep needs name, base, seeds and trials")
    name = content["name"]
    if not _is_name(name):
        fail(f"name: {name!r} must be made of letters, digits, '.', '_', '+' and '-', as it names a folder")
    base_path = path.parent / str(content["base"])
    if not base_path.is_file():
        fail(f"base: no file {base_path}; give a configuration's path relative to the sweep file")
    base = read_yaml(base_path, "base configuration")
    settings = _settings(content.get("set"), "set", fail)
    try:
        base = apply_settings(base, settings)
    except ConfigError as error:
        fail(f"set.{error}")
    slurm = content.get("slurm") or {}
    if not isinstance(slurm, dict):
        fail(f"slurm: {slurm!r} must be a mapping of submitit's parameters, for example {{timeout_min: 600}}")
    seeds = _seeds(content["seeds"], fail)
    trials = _trials(content["trials"], fail)
    return SweepSpecification(path, name, base, seeds, _parents_first(trials, fail), slurm)


def _seeds(seeds: Any, fail: Fail) -> tuple[int, ...]:
    if (
        not isinstance(seeds, list)
        or not seeds
        or any(type(seed) is not int or not 0 <= seed < 2**32 for seed in seeds)
        or len(set(seeds)) < len(seeds)
    ):
        fail(f"seeds: {seeds!r} must be a list of one or more different integers from 0, for example [0, 1]")
    return tuple(seeds)


def _trials(entries: Any, fail: Fail) -> list[TrialSpecification]:
    if not isinstance(entries, list) or not entries:
        fail(f"trials: {entries!r:.60} must be a list of one or more trials, each with a name")
    trials: list[TrialSpecification] = []
    for position, entry in enumerate(entries, start=1):
        where = f"trial {position}"
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            fail(f"{where}: must be a mapping with a name, as in {{name: a, set: {{model.dilation: 2}}}}")
        where = f"trial {entry['name']}"
        _check_keys(entry, TRIAL_KEYS, fail, f"{where}: ")
        role = entry.get("role", "trial")
        if role not in ROLES:
            fail(f"{where}: role: {role!r} must be one of {', '.join(ROLES)}")
        settings = _settings(entry.get("set"), f"{where}: set", fail)
        for point in _grid_points(entry.get("grid"), where, fail):
            name = _fill(entry["name"], point, f"{where}: name", fail)
            if not _is_name(name):
                fail(f"{where}: name: {name!r} must be made of letters, digits, '.', '_', '+' and '-'")
            parent = entry.get("init_from")
            if parent is not None:
                parent = _fill(str(parent), point, f"{where}: init_from", fail)
                if "model.init_weights" in settings:
                    fail(f"{where}: give init_from or set model.init_weights, not both")
            trials.append(TrialSpecification(name, role, settings | point, parent))
    names = [trial.name for trial in trials]
    for name in names:
        if names.count(name) > 1:
            fail(
                f"trials: {names.count(name)} trials are called {name!r}; give each its own name"
                " (in a grid, name: atrous-{model.dilation} inserts a value)"
            )
    return trials


def _grid_points(grid: Any, where: str, fail: Fail) -> list[dict[str, Any]]:
    if grid is None:
        return [{}]
    _settings(grid, f"{where}: grid", fail)
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            fail(f"{where}: grid: {key}: {values!r} must be a list of one or more values")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _fill(template: str, point: Mapping[str, Any], where: str, fail: Fail) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in point:
            legal = ", ".join(point) or "none, the trial has no grid"
            fail(f"{where}: {match[0]} is not a key of the trial's grid; legal: {legal}")
        return str(point[match[1]])

    return re.sub(r"\{([^{}]*)\}", value, template)


def _settings(settings: Any, where: str, fail: Fail) -> dict[str, Any]:
    if settings is None:
        return {}
    if not isinstance(settings, dict) or any(not isinstance(key, str) for key in settings):
        fail(f"{where}: {settings!r:.60} must be a mapping with dotted keys, as in {{model.dilation: 2}}")
    if "seed_everything" in settings:
        fail(f"{where}: seed_everything comes from the sweep's seeds; remove it")
    return settings


def _check_keys(
    mapping: Mapping[Any, Any], legal: tuple[str, ...], fail: Fail, where: str, advice: str = ""
) -> None:
    for key in mapping:
        if key not in legal:
            close = difflib.get_close_matches(str(key), legal, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            fail(f"{where}unknown key {key!r}{hint}; legal: {', '.join(legal)}{advice}")


def _is_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name) is not None


def _parents_first(trials: Iterable[TrialSpecification], fail: Fail) -> tuple[TrialSpecification, ...]:
    by_name = {trial.name: trial for trial in trials}
    ordered: dict[str, TrialSpecification] = {}
    for trial in by_name.values():
        line = [trial]
        while (parent := line[-1].init_from) is not None:
            if parent not in by_name:
                legal = ", ".join(by_name)
                fail(f"trial {line[-1].name}: init_from: no trial is called {parent!r}; legal: {legal}")
            if parent in (ancestor.name for ancestor in line):
                names = " <- ".join([*(ancestor.name for ancestor in line), parent])
                fail(f"trial {trial.name}: init_from forms a cycle: {names}")
            line.append(by_name[parent])
        for ancestor in reversed(line):
            ordered.setdefault(ancestor.name, ancestor)
    return tuple(ordered.values())


def apply_settings(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration with dotted settings merged into it.

    Mappings are merged key by key, unless they have a `class_path`. Other values replace the old ones.

    Args:
        config: The configuration, nested.
        settings: New values by dotted names.

    Raises:
        ConfigError: A part of a dotted name is not a section of the configuration.
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
                raise ConfigError(f"{key}: {name} is {section!r}, not a section with keys")
        old = section.get(last)
        if isinstance(value, Mapping) and isinstance(old, dict) and "class_path" not in value:
            section[last] = apply_settings(old, value)
        else:
            section[last] = copy.deepcopy(value)
    return merged


def parse_setting(text: str) -> tuple[str, Any]:
    """Parses `model.dilation=4` into `("model.dilation", 4)`; the value is read as YAML.

    Raises:
        ConfigError: The text has no `=` or no key, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise ConfigError(f"--set {text}: give KEY=VALUE with a dotted key, for example model.dilation=4")
    try:
        return key.strip(), parse_yaml(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not valid YAML; put it in quotes") from error


def format_settings(settings: Mapping[str, Any]) -> str:
    """Settings as one line, for example `model.conv5=atrous model.dilation=2`."""
    return " ".join(f"{key}={value}" for key, value in settings.items())
