"""Checks of values read from JSON; an error names the key, the value and the legal values."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "amount",
    "choice",
    "count",
    "first_line",
    "fraction",
    "is_clean",
    "list_of",
    "mapping",
    "optional_count",
    "optional_text",
    "refuse_odd_values",
    "text",
]


def text(content: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """A non-empty text.

    Raises:
        ValueError: The value is not text or is empty.
        KeyError: The key is missing and has no default.
    """
    value = content[key] if default is None else content.get(key) or default
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is {value!r:.60}, expected text")
    return value


def optional_text(content: Mapping[str, Any], key: str) -> str | None:
    """A non-empty text, or None if the key is missing or null."""
    return None if content.get(key) is None else text(content, key)


def choice(content: Mapping[str, Any], key: str, legal: Sequence[str], default: str | None = None) -> Any:
    """One of several legal values."""
    value = content[key] if default is None else content.get(key, default)
    if value not in legal:
        raise ValueError(f"{key} is {value!r:.60}, expected one of {', '.join(legal)}")
    return value


def list_of(content: Mapping[str, Any], key: str) -> list[Any]:
    """A list."""
    value = content[key]
    if not isinstance(value, list):
        raise ValueError(f"{key} is {value!r:.60}, expected a list")
    return value


def mapping(content: Mapping[str, Any], key: str, default: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An object; the default replaces a missing or null value."""
    value = content[key] if default is None else content.get(key)
    if value is None and default is not None:
        value = dict(default)
    if not isinstance(value, dict):
        raise TypeError(f"{key} is {value!r:.60}, expected an object")
    return value


def count(content: Mapping[str, Any], key: str, least: int = 0) -> int:
    """An integer that is at least `least`."""
    value = content[key]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
        raise ValueError(f"{key} is {value!r:.60}, expected an integer >= {least}")
    return value


def optional_count(content: Mapping[str, Any], key: str) -> int | None:
    """An integer >= 0, or None if the key is missing or null."""
    return None if content.get(key) is None else count(content, key)


def amount(content: Mapping[str, Any], key: str) -> float | None:
    """A number >= 0, or None if the key is missing or null."""
    value = content.get(key)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e15:
        raise ValueError(f"{key} is {value!r:.60}, expected a number >= 0")
    return float(value)


def fraction(content: Mapping[str, Any], key: str) -> float | None:
    """A fraction from 0 to 1, or None if the value is null."""
    value = content[key]
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"{key} is {value!r:.60}, expected a fraction from 0 to 1")
    return float(value)


def refuse_odd_values(value: Any, where: str = "") -> None:
    """Refuses values that reports cannot show: control characters, nan and infinity.

    Args:
        value: A value from JSON, which is searched recursively.
        where: The dotted key of the value, for the message.

    Raises:
        ValueError: The value contains one of these; the message names its key.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            refuse_odd_values(key, where)
            refuse_odd_values(item, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for item in value:
            refuse_odd_values(item, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}")
    elif isinstance(value, str) and not is_clean(value):
        raise ValueError(f"{where} has a control character: {value!r:.60}")


def is_clean(text: str) -> bool:
    """Whether a text has no control characters and no line breaks."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text)


def first_line(error: object) -> str:
    """The first line of an error's message, with control characters replaced, for one-line messages."""
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    return "".join(letter if is_clean(letter) else "?" for letter in line)
