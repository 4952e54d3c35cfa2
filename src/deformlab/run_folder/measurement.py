"""What a finished network's numbers were measured with; they can be measured again without training.

Version 2 is the present one. Version 1 is that of results without this entry: their filter centres lay
elsewhere, they lack options that came later, and where the interval between validations did not divide the
number of epochs, their score is that of an earlier epoch than the last.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["VERSION", "measurement", "version_of"]

VERSION = 2


def measurement(options: Mapping[str, Any]) -> dict[str, Any]:
    """The entry `measurement` of a result.

    Args:
        options: Dotted options of measuring that differ from their defaults.
    """
    return {"version": VERSION, "options": dict(options)}


def version_of(result: Mapping[str, Any]) -> int:
    """The version that a result was measured with."""
    entry = result.get("measurement")
    return int(entry["version"]) if isinstance(entry, Mapping) and "version" in entry else 1
