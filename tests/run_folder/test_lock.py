import os
import subprocess
import sys
from pathlib import Path

import pytest

from deformlab.errors import RunFolderError
from deformlab.run_folder.lock import acquire, locked, sign


def test_a_second_holder_is_refused_with_the_name_of_the_first(tmp_path: Path):
    with (
        locked(tmp_path / ".lock", "sweep folder runs/a"),
        pytest.raises(
            RunFolderError, match=f"sweep folder runs/a is in use by process {os.getpid()} on .*; wait"
        ),
        locked(tmp_path / ".lock", "sweep folder runs/a"),
    ):
        pass


def test_a_lock_is_free_again_after_the_block(tmp_path: Path):
    for _ in range(2):
        with locked(tmp_path / ".lock", "it"):
            pass


def test_the_lock_of_a_process_that_died_is_free(tmp_path: Path):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from deformlab.run_folder.lock import acquire, sign\n"
        "lock = acquire(Path(sys.argv[1]), 'it')\n"
        "sign(lock, os.getpid()); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / ".lock")], check=False)
    assert "process" in (tmp_path / ".lock").read_text()
    with locked(tmp_path / ".lock", "it"):
        pass


def test_a_lock_lasts_until_processes_that_inherited_it_end(tmp_path: Path):
    with acquire(tmp_path / ".lock", "it") as lock:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock.fileno(),)
        )
        sign(lock, child.pid)
    with pytest.raises(RunFolderError, match=f"in use by process {child.pid}"):
        acquire(tmp_path / ".lock", "it")
    child.communicate(b"\n")
    acquire(tmp_path / ".lock", "it").close()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot open the lock file"):
        acquire(tmp_path / "file" / ".lock", "it")
