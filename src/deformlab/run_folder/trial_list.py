"""Reads and writes `trials.json`, the list of the run folders that belong to a sweep."""

import json
from collections.abc import Sequence
from pathlib import Path

from deformlab.errors import RunFolderError
from deformlab.run_folder.fields import first_line
from deformlab.run_folder.files import write_atomically

__all__ = ["read_trial_list", "write_trial_list"]

FILE = "trials.json"


def write_trial_list(sweep_dir: Path, names: Sequence[str]) -> None:
    """Writes the names of a sweep's run folders.

    Args:
        sweep_dir: The sweep's folder.
        names: The names of the run folders in it.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written; the old file is kept.
    """
    write_atomically(sweep_dir / FILE, json.dumps(list(names), indent=2) + "\n")


def read_trial_list(sweep_dir: Path) -> list[str] | None:
    """Reads the names of a sweep's run folders.

    Returns:
        The names without duplicates; None if the folder has no list.

    Raises:
        RunFolderError: The file is damaged, or contains a path instead of a name.
    """
    path = sweep_dir / FILE
    if not path.is_file():
        return None
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: not readable as JSON ({first_line(error)})") from error
    if not isinstance(names, list) or any(
        not isinstance(name, str) or Path(name).name != name or not name.isprintable() for name in names
    ):
        raise RunFolderError(f"{path}: not a list of run folders; run the sweep again to replace it")
    return list(dict.fromkeys(names))
