"""The check that every dataclass of options makes: a choice must be one of those that its type names."""

from typing import Any, Literal, get_args, get_origin, get_type_hints

from deformlab.errors import ConfigError

__all__ = ["check_choices"]


def check_choices(options: Any) -> None:
    """Refuses a value that is not one of its field's `Literal`.

    Args:
        options: A dataclass instance.

    Raises:
        ConfigError: It names the field, its legal values and the value.
    """
    for name, kind in get_type_hints(type(options)).items():
        value = getattr(options, name)
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise ConfigError(f"{name} must be one of {', '.join(map(str, get_args(kind)))}, got {value!r}")
