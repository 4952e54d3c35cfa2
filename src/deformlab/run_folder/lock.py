"""File locks that the kernel releases when their holder dies, so that a crash never leaves a lock behind.

The library filelock does not fit, for two reasons. A sweep locks a run folder and passes the open file on to
the trial's process, but filelock's file is not inherited by child processes. A process that does not get the
lock reads from the lock file who holds it, but filelock empties the file before it has the lock.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from deformlab.errors import RunFolderError

__all__ = ["INHERITED", "ORPHAN_PATIENCE", "acquire", "acquire_run_folder", "inherited", "locked", "sign"]

RUN_LOCK = ".lock"
INHERITED = "DEFORMLAB_LOCK"
# Data loader workers of a killed training keep its lock until they notice, after a few seconds.
ORPHAN_PATIENCE = 15.0


def acquire(path: Path, what: str, patience: float = 0.0) -> IO[str]:
    """Acquires an exclusive lock.

    Args:
        path: The lock file; created if it is missing.
        what: The locked object, for the error message, for example `run folder RUN`.
        patience: Seconds to wait for the current holder.

    Returns:
        The open lock file. The lock lasts until the file is closed in this process and in all processes that
        inherited it.

    Raises:
        RunFolderError: Another process holds the lock, or the file cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  (the caller closes it)
    except OSError as error:
        raise RunFolderError(f"cannot open the lock file {path}: {error.strerror}") from error
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                file.seek(0)
                holder = file.read().strip() or "another process"
                file.close()
                raise RunFolderError(f"{what} is in use by {holder}; wait for it or stop it first") from error
        except OSError as error:
            file.close()
            raise RunFolderError(
                f"cannot lock {path}: {error.strerror}; choose an --output folder on a file system with locks"
            ) from error
        time.sleep(0.05)


def acquire_run_folder(run_dir: Path) -> IO[str]:
    """Locks a run folder, see `acquire`; waits for data loader workers of a killed training."""
    return acquire(run_dir / RUN_LOCK, f"run folder {run_dir}", ORPHAN_PATIENCE)


def inherited(run_dir: Path) -> bool:
    """Whether this process inherited the lock of a run folder.

    The parent process sets the environment variable `DEFORMLAB_LOCK` to the file descriptor of the lock.
    """
    try:
        descriptor = int(os.environ.get(INHERITED, ""))
        return os.path.samestat(os.fstat(descriptor), (run_dir / RUN_LOCK).stat())
    except (ValueError, OSError):
        return False


def sign(file: IO[str], pid: int) -> None:
    """Writes the holder into the lock file, for the error message of other processes."""
    file.truncate(0)
    file.write(f"process {pid} on {socket.gethostname()}\n")
    file.flush()


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Holds a lock during a `with` block.

    Args:
        path: The lock file; created if it is missing.
        what: The locked object, for the error message.

    Raises:
        RunFolderError: Another process holds the lock.
    """
    with acquire(path, what) as file:
        sign(file, os.getpid())
        yield
