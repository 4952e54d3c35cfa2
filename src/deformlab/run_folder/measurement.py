"""Which way of measuring effective dilation and objects a run's numbers come from.

`result.json` has it as `"measurement": {"version": ..., "options": {...}}`. Numbers of two versions do not
compare, so a change of what is measured raises the version. A finished network can be measured again without
training it again.

| version | what was measured |
|---|---|
| 1 | A filter was given to the object in the middle of its cell, half a cell away from the filter's centre. |
| 2 | A filter is given to the object at its centre, as `deformlab.metrics.filter_centre` says. |

Later runs of version 2 record sums over the filters away from the border of the feature map beside those over
all filters, which are the same as before.

The first runs of either version lack the field. Those of version 2 have an `objects.json` of version 2 or
later, or the column `inside_count` in `effective_dilation.csv`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deformlab.errors import RunFolderError
from deformlab.run_folder.files import read_csv, read_json

__all__ = ["VERSION", "measurement", "version_of"]

VERSION = 2


def measurement(options: Mapping[str, Any]) -> dict[str, Any]:
    """The entry `measurement` of a result.

    Args:
        options: Dotted options of measuring that differ from their defaults.
    """
    return {"version": VERSION, "options": dict(options)}


def version_of(run_dir: Path, result: Mapping[str, Any]) -> int:
    """The version that a run was measured with.

    Args:
        run_dir: The run folder.
        result: The content of its result.json.
    """
    entry = result.get("measurement")
    if isinstance(entry, Mapping) and isinstance(entry.get("version"), int):
        return int(entry["version"])
    try:
        if int(read_json(run_dir / "objects.json").get("version", 1)) > 1:
            return 2
    except (RunFolderError, TypeError, ValueError):
        pass
    try:
        return 2 if "inside_count" in read_csv(run_dir / "effective_dilation.csv", ("layer",))[0] else 1
    except RunFolderError:
        return 1
