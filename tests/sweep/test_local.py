import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from deformlab.errors import RunFolderError
from deformlab.run_folder import read_json
from deformlab.run_folder.lock import acquire
from deformlab.sweep import Identify, PlannedTrial, make_trials, read_sweep
from deformlab.sweep.executors import LocalExecutor, LocalTrial, visible_gpus


@pytest.fixture
def trials(write_sweep: Callable[..., Path], tmp_path: Path) -> list[PlannedTrial]:
    sweep = read_sweep(write_sweep("seeds: [0]\ntrials: [{name: a}, {name: b}, {name: c}]"))
    return make_trials(sweep, tmp_path / "runs", {}, Identify(dict))


def environment_of(trial: PlannedTrial, executor: LocalExecutor) -> dict[str, str]:
    """What a trial sees; the process has ended when this returns."""
    trial.prepare_folder()
    running = executor.start(trial)
    running.process.wait()
    return read_json(trial.folder / "result.json")["environment"]


def running_together(
    trials: list[PlannedTrial], executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """CUDA_VISIBLE_DEVICES of trials none of which ends."""
    seen: list[str] = []

    class Endless:
        def poll(self) -> None:
            return None

    def note(command: object, folder: object, environment: dict[str, str]) -> Endless:
        seen.append(environment.get("CUDA_VISIBLE_DEVICES", "none"))
        return Endless()

    monkeypatch.setattr("deformlab.sweep.executors.start_process", note)
    for trial in trials:
        executor.start(trial)
    return seen


def test_trials_share_the_cores(
    trials: list[PlannedTrial], fake_command: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr("deformlab.sweep.executors.available_cores", lambda: 16)
    environment = environment_of(trials[0], LocalExecutor(3, fake_command))
    assert (environment["OMP_NUM_THREADS"], environment["MKL_NUM_THREADS"]) == ("5", "5")


def test_the_users_number_of_threads_is_kept(
    trials: list[PlannedTrial], fake_command: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert environment_of(trials[0], LocalExecutor(2, fake_command))["OMP_NUM_THREADS"] == "3"


def test_trials_at_the_same_time_get_one_gpu_each_in_turn(
    trials: list[PlannedTrial], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")
    assert running_together(trials, LocalExecutor(3), monkeypatch) == ["2", "GPU-5", "2"]


def test_a_single_job_sees_every_gpu(trials: list[PlannedTrial], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")
    assert running_together(trials[:1], LocalExecutor(1), monkeypatch) == ["2,GPU-5"]


def test_a_slot_is_used_again_when_its_trial_has_ended(
    trials: list[PlannedTrial], fake_command: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    executor = LocalExecutor(2, fake_command)
    assert [environment_of(trial, executor)["CUDA_VISIBLE_DEVICES"] for trial in trials] == ["4", "4", "4"]


@pytest.mark.parametrize(("listed", "names"), [("", []), ("-1", []), ("0, 1", ["0", "1"])])
def test_gpus_are_those_that_cuda_may_see(listed: str, names: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_gpus() == names


def test_a_command_that_does_not_exist_says_so_in_the_log(trials: list[PlannedTrial]):
    trials[0].prepare_folder()
    running = LocalExecutor(1, ["/no/such/command"]).start(trials[0])
    assert running.process.wait() == 1
    assert (
        "cannot run /no/such/command: No such file or directory" in (trials[0].folder / "log.txt").read_text()
    )


def test_a_trial_holds_the_lock_of_its_folder_as_long_as_it_runs(
    trials: list[PlannedTrial], fake_command: list[str]
):
    trial = dataclasses.replace(trials[0], name="hang")
    trial.prepare_folder()
    running = LocalExecutor(1, fake_command).start(trial)
    with pytest.raises(RunFolderError, match=f"in use by process {running.process.pid}"):
        acquire(trial.folder / ".lock", "run folder")
    running.send_signal(signal.SIGKILL)
    running.process.wait()
    acquire(trial.folder / ".lock", "run folder").close()


def test_a_signal_to_a_trial_that_has_ended_does_nothing(trials: list[PlannedTrial], fake_command: list[str]):
    trials[0].prepare_folder()
    running: LocalTrial = LocalExecutor(1, fake_command).start(trials[0])
    running.process.wait()
    running.send_signal(2)
    assert running.poll() == 0
