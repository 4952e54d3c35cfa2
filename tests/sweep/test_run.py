"""The whole sweep, with trials that do what their name says."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deformlab.errors import ConfigError, RunFolderError
from deformlab.run_folder import read_json
from deformlab.run_folder.lock import acquire, locked
from deformlab.sweep import PlannedTrial, run_sweep, sweep_folder

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, write_sweep: Callable[..., Path], fake_command: list[str]) -> Iterator[Run]:
    """Runs a sweep over the given trials in tmp_path/runs."""

    def run(trials: str, seeds: str = "[0]", **options: object) -> int:
        path = write_sweep(f"seeds: {seeds}\ntrials: {trials}\n")
        options = {"output": tmp_path / "runs", "command": fake_command, "poll_seconds": 0.01} | options
        return run_sweep(path, **options)  # type: ignore[arg-type]

    yield run
    assert not list(tmp_path.glob("runs/*/hung")), "a trial was not stopped in time"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def result(runs: Path, name: str, seed: int = 0) -> dict:
    (folder,) = runs.glob(f"{name}-seed{seed}-*")
    return read_json(folder / "result.json")


def starts(runs: Path, name: str) -> int:
    (folder,) = runs.glob(f"{name}-seed0-*")
    return len((folder / "starts.txt").read_text().split())


def test_all_trials_finish_with_code_0(run: Run, runs: Path, capsys: pytest.CaptureFixture[str]):
    assert run("[{name: a}, {name: b}]", seeds="[0, 1]") == 0
    assert [result(runs, name, seed)["status"] for name in "ab" for seed in (0, 1)] == ["finished"] * 4
    out = capsys.readouterr().out
    assert "a seed 1: finished, epoch 2/2, mIoU 45.3 %, 31.5 img/s" in out
    assert f"sweep study: 4 finished; folder {runs}" in out


def test_the_sweep_folder_contains_the_sweep_file_and_the_list_of_its_trials(run: Run, runs: Path):
    run("[{name: a}, {name: b}]")
    run("[{name: a, set: {model.dilation: 4}}, {name: b}]")
    listed = json.loads((runs / "trials.json").read_text())
    assert "model.dilation: 4" in (runs / "sweep.yaml").read_text()
    assert len(listed) == 2
    assert len(list(runs.glob("a-seed0-*"))) == 2
    assert all((runs / name / "result.json").is_file() for name in listed)


def test_the_default_folder_is_named_by_the_sweep(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_sweep: Callable[..., Path]
):
    monkeypatch.chdir(tmp_path)
    run("[{name: a}]", output=None)
    assert (tmp_path / "runs" / "study" / "trials.json").is_file()
    assert sweep_folder(tmp_path / "sweep.yaml") == Path("runs/study")
    assert sweep_folder(tmp_path / "sweep.yaml", "elsewhere") == Path("elsewhere")


def test_a_second_run_skips_finished_trials_and_repeats_failed_ones(run: Run, runs: Path):
    run("[{name: a}, {name: fail}]")
    assert run("[{name: a}, {name: fail}]") == 1
    assert starts(runs, "a") == 1
    assert starts(runs, "fail") == 2


def test_a_sweep_continues_after_a_failure_and_ends_with_code_1_and_the_end_of_the_log(
    run: Run, runs: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("[{name: fail}, {name: a}]") == 1
    assert result(runs, "a")["status"] == "finished"
    assert result(runs, "fail")["status"] == "failed"
    assert result(runs, "fail")["error"] == "exit code 1: the last words"
    out = capsys.readouterr().out
    assert "fail seed 0 failed: exit code 1: the last words" in out
    assert "    line 16\n" in out
    assert "    line 15\n" not in out
    (log,) = runs.glob("fail-*/log.txt")
    assert f"whole log: {log}" in out
    assert "1 finished, 1 failed" in out


def test_a_trial_that_dies_silently_is_marked_failed(run: Run, runs: Path):
    assert run("[{name: die}]") == 1
    assert result(runs, "die")["status"] == "failed"
    assert result(runs, "die")["error"].startswith("signal SIGKILL")


def test_a_trial_with_exit_code_0_but_no_result_is_marked_failed(run: Run, runs: Path):
    assert run("[{name: lie}]") == 1
    assert result(runs, "lie")["error"] == "the process ended without a finished result.json"


def test_a_users_mistake_is_reported_with_its_own_message(run: Run, runs: Path):
    assert run("[{name: mistake}]") == 1
    assert result(runs, "mistake")["error"] == "data.root: there is no folder /nowhere"


@pytest.mark.parametrize("name", ["quit", "quit-by-sigterm"])
def test_a_trial_whose_own_process_was_interrupted_is_marked_interrupted(run: Run, runs: Path, name: str):
    assert run(f"[{{name: {name}}}, {{name: a}}]") == 1
    assert result(runs, name)["status"] == "interrupted"
    assert result(runs, "a")["status"] == "finished"


def test_a_child_waits_for_its_parent_even_if_a_slot_is_free(run: Run, runs: Path):
    assert run("[{name: child, init_from: parent}, {name: parent}]", jobs=2) == 0
    order = [line.split("-")[0] for line in (runs / "order.txt").read_text().split()]
    assert order == ["parent", "child"]


def test_a_child_of_a_failed_parent_is_not_run(run: Run, runs: Path, capsys: pytest.CaptureFixture[str]):
    trials = "[{name: fail}, {name: child, init_from: fail}, {name: grandchild, init_from: child}]"
    assert run(trials) == 1
    assert result(runs, "child")["status"] == "failed"
    assert result(runs, "child")["error"] == "parent fail seed 0 failed"
    assert result(runs, "grandchild")["error"] == "parent child seed 0 failed"
    assert len((runs / "order.txt").read_text().split()) == 1
    assert "3 failed" in capsys.readouterr().out


def test_jobs_run_at_the_same_time(run: Run, runs: Path):
    runs.mkdir()
    os.mkfifo(runs / "meeting")
    assert run("[{name: meet-a}, {name: meet-b}]", jobs=2) == 0


def test_a_trial_gets_its_names_through_the_environment(run: Run, runs: Path):
    run("[{name: base, role: pretraining}, {name: child, init_from: base}]")
    parent, child = (result(runs, name)["environment"] for name in ("base", "child"))
    assert (parent["DEFORMLAB_SWEEP"], parent["DEFORMLAB_TRIAL"]) == ("study", "base")
    assert (parent["DEFORMLAB_ROLE"], child["DEFORMLAB_ROLE"]) == ("pretraining", "trial")
    assert "DEFORMLAB_INIT_FROM" not in parent
    assert child["DEFORMLAB_INIT_FROM"] == "base"


def test_a_dry_run_prints_the_trials_and_their_commands_and_touches_nothing(
    run: Run, runs: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("[{name: a}, {name: b, init_from: a, set: {model.dilation: 4}}]", dry_run=True) == 0
    out = capsys.readouterr().out
    assert not runs.exists()
    assert "model.dilation=4 (starts from a)" in out
    assert f"--config {runs}/b-seed0-" in out
    assert out.count("--run_dir") == 2


def test_a_dry_run_shows_which_trials_are_finished(run: Run, capsys: pytest.CaptureFixture[str]):
    run("[{name: a}]")
    capsys.readouterr()
    run("[{name: a}, {name: b}]", dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    assert "finished" in lines[1]
    assert "new" in lines[2]


def test_an_interrupt_keeps_finished_trials_and_the_same_command_continues(
    run: Run, runs: Path, capsys: pytest.CaptureFixture[str]
):
    trials = "[{name: a}, {name: stop-sweep}, {name: b}]"
    assert run(trials) == 130
    assert result(runs, "a")["status"] == "finished"
    assert result(runs, "stop-sweep")["status"] == "interrupted"
    assert not list(runs.glob("b-*"))
    out = capsys.readouterr().out
    assert "1 finished, 1 interrupted, 1 waiting" in out
    assert "run the same command again to continue" in out
    assert run(trials) == 0
    assert (starts(runs, "a"), starts(runs, "stop-sweep"), starts(runs, "b")) == (1, 2, 1)


def test_an_interrupted_trial_gets_time_to_end(run: Run, runs: Path):
    run("[{name: stop-sweep}]")
    (log,) = runs.glob("stop-sweep-*/log.txt")
    assert "asked to stop" in log.read_text()


@pytest.fixture
def hang_ups_count():
    """Tests themselves may run under nohup, where hang-ups are ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hang_ups_count")
@pytest.mark.parametrize("name", ["terminate-sweep", "hang-up-sweep"])
def test_a_termination_or_a_lost_terminal_stops_a_sweep_like_an_interrupt(run: Run, runs: Path, name: str):
    assert run(f"[{{name: {name}}}]") == 130
    assert result(runs, name)["status"] == "interrupted"


def test_a_trials_worker_processes_end_with_it(run: Run, runs: Path):
    assert run("[{name: has-workers}]") == 130
    (folder,) = runs.glob("has-workers-*")
    # A worker that lives on keeps the lock that it inherited.
    acquire(folder / ".lock", "it", patience=5.0).close()


def test_a_second_interrupt_kills_a_trial_that_ignores_the_first(
    run: Run, runs: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("deformlab.sweep.schedule.GRACE", ((signal.SIGINT, 1000.0), (signal.SIGKILL, 10.0)))
    assert run("[{name: deaf}]") == 130
    assert result(runs, "deaf")["status"] == "interrupted"


def test_the_trial_of_a_killed_sweep_dies_too_and_the_sweep_can_be_continued(
    run: Run, runs: Path, tmp_path: Path, write_sweep: Callable[..., Path], fake_command: list[str]
):
    trials = "[{name: a}, {name: kill-sweep}]"
    path = write_sweep(f"seeds: [0]\ntrials: {trials}\n")
    code = (
        "import sys; from deformlab.sweep import run_sweep; run_sweep(*sys.argv[1:3], command=sys.argv[3:])"
    )
    killed = subprocess.run([sys.executable, "-c", code, path, runs, *fake_command], check=False)
    assert killed.returncode == -9
    assert result(runs, "kill-sweep")["status"] == "running"
    (folder,) = runs.glob("kill-sweep-*")
    # The orphan's end frees its lock; one that lives on keeps it.
    acquire(folder / ".lock", "it", patience=10.0).close()
    assert run(trials) == 0
    assert (starts(runs, "a"), starts(runs, "kill-sweep")) == (1, 2)


def test_a_trial_whose_process_still_runs_is_not_started_again(
    run: Run, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("deformlab.run_folder.lock.ORPHAN_PATIENCE", 0.0)
    run("[{name: fail}]")
    (folder,) = runs.glob("fail-*")
    with locked(folder / ".lock", "it"):
        assert run("[{name: fail}]") == 1
    assert starts(runs, "fail") == 1
    assert f"run folder {folder} is in use by process" in capsys.readouterr().out


def test_a_second_sweep_on_the_same_folder_is_refused(run: Run, runs: Path):
    with (
        locked(runs / ".lock", "it"),
        pytest.raises(RunFolderError, match=r"sweep folder .* is in use by process"),
    ):
        run("[{name: a}]")
    assert not (runs / "trials.json").exists()


def test_a_full_disk_stops_the_sweep_and_its_trials(run: Run, runs: Path, monkeypatch: pytest.MonkeyPatch):
    mark = PlannedTrial.mark

    def full_for_failures(trial: PlannedTrial, status: Any, error: str | None = None) -> None:
        if status == "failed":
            raise RunFolderError("cannot write result.json: No space left on device")
        mark(trial, status, error)

    monkeypatch.setattr(PlannedTrial, "mark", full_for_failures)
    with pytest.raises(RunFolderError, match="No space left on device"):
        run("[{name: hang}, {name: fail}]", jobs=2)
    assert result(runs, "hang")["status"] == "interrupted"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "--jobs 0: must be at least 1"),
        ({"executor": "cloud"}, "--executor cloud: must be one of local, slurm"),
    ],
)
def test_an_illegal_option_says_what_is_legal(run: Run, options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        run("[{name: a}]", **options)


def test_importing_the_sweep_does_not_import_torch():
    code = (
        "import sys, deformlab.sweep; sys.exit('torch' in sys.modules or 'pytorch_lightning' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
