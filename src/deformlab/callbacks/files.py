"""Files of a run folder that a reader never sees half written."""

import os
from pathlib import Path

from deformlab.errors import RunFolderError

__all__ = ["write_atomically"]


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
