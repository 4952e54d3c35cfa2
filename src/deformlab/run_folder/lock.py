"""Locks that the kernel frees when their holder dies, so that a crash never leaves one behind.

The library filelock cannot replace this. A sweep locks a run folder and passes the open file on to the
trial's process, but filelock closes its file to children. A process that does not get the lock reads from the
file who holds it, but filelock empties the file before it has the lock.
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
# Data loader workers look for their parent every few seconds; until then they hold their training's lock.
ORPHAN_PATIENCE = 15.0


def acquire(path: Path, what: str, patience: float = 0.0) -> IO[str]:
    """An open file that holds an exclusive lock until it is closed here and in all processes that inherit it.

    Args:
        path: The lock file; made where it is missing.
        what: What the lock protects, as the error message calls it.
        patience: Seconds to wait for a holder that is on its way out.

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
    """Locks a run folder, as `acquire`; waits for the data loader workers of a training that was killed."""
    return acquire(run_dir / RUN_LOCK, f"run folder {run_dir}", ORPHAN_PATIENCE)


def inherited(run_dir: Path) -> bool:
    """Whether the process that started this one holds the lock of a run folder and passed it on.

    It names the descriptor in the environment variable `DEFORMLAB_LOCK`.
    """
    try:
        descriptor = int(os.environ.get(INHERITED, ""))
        return os.path.samestat(os.fstat(descriptor), (run_dir / RUN_LOCK).stat())
    except (ValueError, OSError):
        return False


def sign(file: IO[str], pid: int) -> None:
    """Leaves a note in the lock file about who holds it, for the message that the next one gets."""
    file.truncate(0)
    file.write(f"process {pid} on {socket.gethostname()}\n")
    file.flush()


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Holds a lock for the length of a `with` block.

    Raises:
        RunFolderError: Another process holds the lock.
    """
    with acquire(path, what) as file:
        sign(file, os.getpid())
        yield
