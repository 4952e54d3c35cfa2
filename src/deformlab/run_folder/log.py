"""Reads and writes `log.txt`, the output of a trial's process; each start adds a header line."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import IO

__all__ = ["begin_log", "last_log_lines"]

FILE = "log.txt"
HEADER = "deformlab sweep runs: "
# The number of bytes at the end of a log that are read.
END = 64 * 1024


def begin_log(run_dir: Path, command: Sequence[str]) -> IO[bytes]:
    """Opens the log for appending and writes a header line with the command.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    log = open(run_dir / FILE, "ab")  # noqa: SIM115  (the caller closes it)
    log.write(f"{HEADER}{shlex.join(command)}\n".encode())
    log.flush()
    return log


def last_log_lines(run_dir: Path, count: int) -> list[str]:
    """The last lines of the latest start's log, without blank lines and overwritten progress bars.

    Args:
        run_dir: The run folder.
        count: At most as many lines are returned, >= 1.

    Returns:
        The lines; none if the log cannot be read.
    """
    try:
        with open(run_dir / FILE, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - END))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    newest = text.rpartition(HEADER)[2].partition("\n")[2] if HEADER in text else text
    lines = [line.rstrip().rsplit("\r", 1)[-1] for line in newest.split("\n")]
    return [line for line in lines if line.strip()][-count:]
