"""Files of a run folder: their form, and that a reader never sees them half written."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deformlab.errors import RunFolderError

__all__ = ["csv_text", "write_atomically"]


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that a reader sees the old text or the new one, never half of it.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written; the old file is still there.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RunFolderError(
            f"{path}: cannot be written ({error.strerror}); free space or choose another folder"
        ) from error


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A table as CSV; a column that a row does not have is left empty."""
    lines = [",".join(columns)]
    for row in rows:
        lines.append(",".join(str(row.get(column, "")) for column in columns))
    return "\n".join(lines) + "\n"
