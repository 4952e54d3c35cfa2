"""A trial's process: its own group and session, its output in log.txt, and an end no later than its parent's.

On Linux the process dies with its parent. Elsewhere an orphan works on, but it holds the lock of its run
folder, so that a sweep which is started again does not run the same trial twice.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deformlab.errors import RunFolderError
from deformlab.run_folder.lock import INHERITED, ORPHAN_PATIENCE, acquire, sign
from deformlab.sweep.run_folder import LOG_HEADER


def start_process(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Starts a command whose run folder is `folder`.

    Raises:
        RunFolderError: Another process works in the folder, or the log cannot be written.
    """
    launcher = [
        sys.executable,
        "-I",
        "-S",
        str(Path(__file__).with_name("_die_with_parent.py")),
        str(os.getpid()),
    ]
    with acquire(folder / ".lock", f"run folder {folder}", ORPHAN_PATIENCE) as lock:
        try:
            with open(folder / "log.txt", "ab") as log:
                # Divides the tries of a trial that is taken up again.
                log.write(f"{LOG_HEADER}{shlex.join(command)}\n".encode())
                log.flush()
                process = subprocess.Popen(
                    [*launcher, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**environment, INHERITED: str(lock.fileno())},
                    start_new_session=True,
                    pass_fds=(lock.fileno(),),
                )
        except OSError as error:
            raise RunFolderError(f"cannot start a trial in {folder}: {error.strerror}") from error
        sign(lock, process.pid)
    return process
