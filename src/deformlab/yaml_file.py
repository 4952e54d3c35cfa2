"""Reads YAML for configurations: `1e-4` is a number, `off` is text, and a duplicate key is an error."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from deformlab.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """A loader with YAML 1.2's floats and booleans, for which a duplicate key is an error.

    PyYAML would silently keep the last value of a duplicate key.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    problem = f"duplicate key {key.value!r}"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


# PyYAML follows YAML 1.1, where on, off, yes and no are booleans: `wandb: off` would not be text.
_BOOLEAN = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
# In YAML 1.1, a float also needs a dot and a signed exponent: `lr: 1e-4` would be text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml(text: str) -> Any:
    """The value that a YAML text describes.

    Raises:
        yaml.YAMLError: The text is not YAML.
    """
    return yaml.load(text, Loader=_Loader)


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        path: The file.
        what: The kind of file, for the error message, for example `configuration`.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or does not contain a mapping.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{what} {path} is not valid YAML{line}: {problem}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} {path} is not a text file in UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{what} {path} cannot be read: {error.strerror}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{what} {path} must contain a mapping of keys to values, not {content!r:.60}")
    return content
