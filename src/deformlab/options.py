"""Checks the options of a dataclass whose legal values are listed in their types."""

from typing import Any, Literal, get_args, get_origin, get_type_hints

from deformlab.errors import ConfigError

__all__ = ["check_choices"]


def check_choices(options: Any) -> None:
    """Refuse a dataclass in which the value of a `Literal` field is not one of the literals.

    Args:
        options: An instance of the dataclass.

    Raises:
        ConfigError: A value is not legal. The message names the field, its legal values and the value.
    """
    for name, kind in get_type_hints(type(options)).items():
        value = getattr(options, name)
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise ConfigError(f"{name} must be one of {', '.join(map(str, get_args(kind)))}, got {value!r}")
