import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deformlab.errors import ConfigError, RunFolderError
from deformlab.run_folder import read_json
from deformlab.sweep import Identify, PlannedTrial, make_trials, read_sweep, run_sweep
from deformlab.sweep.display import PlainLines
from deformlab.sweep.schedule import Interruption, run_trials
from deformlab.sweep.slurm import SlurmExecutor, SlurmTrial
from deformlab.sweep.state import TrialState

FAKE_SLURM = {
    "sbatch": "cp $1 $FAKE/job.sh; echo x >> $FAKE/submissions; echo Submitted batch job 42",
    "sacct": "echo 'JobID|State|NodeList'; echo \"42|$(cat $FAKE/state)|\"",
    "scancel": "echo $* > $FAKE/cancelled",
    "srun": "exit 0",
}


@pytest.fixture
def trials(write_sweep: Callable[..., Path], tmp_path: Path) -> list[PlannedTrial]:
    rest = "seeds: [0]\ntrials: [{name: fail}, {name: a}, {name: child, init_from: a}]"
    return make_trials(read_sweep(write_sweep(rest)), tmp_path / "runs", {}, Identify(dict))


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that answer like SLURM's, and the folder where they note what they were asked."""
    pytest.importorskip("submitit")
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, script in FAKE_SLURM.items():
        (folder / name).write_text(f"#!/bin/sh\nFAKE={folder}\n{script}\n")
        (folder / name).chmod(0o755)
    (folder / "state").write_text("RUNNING")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_without_submitit_one_line_says_what_to_install(
    write_sweep: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "submitit", None)
    path = write_sweep("seeds: [0]\ntrials: [{name: a}]")
    with pytest.raises(
        ConfigError, match=r"needs submitit, which is not installed; pip install 'deformlab\[slurm\]'"
    ):
        run_sweep(path, tmp_path / "runs", executor="slurm")


def test_without_slurm_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"executor slurm: .*srun.*; check the parameters under slurm: in the sweep file"
    ):
        SlurmExecutor(tmp_path, 1, {})


def test_an_unknown_parameter_is_one_line(tmp_path: Path, fake_slurm: Path):
    with pytest.raises(ConfigError, match=r"executor slurm: .*partitionn") as caught:
        SlurmExecutor(tmp_path, 1, {"slurm_partitionn": "gpu"})
    assert "\n" not in str(caught.value)


def test_jobs_of_submitit_run_the_same_command_line(
    trials: list[PlannedTrial], fake_command: list[str], tmp_path: Path
):
    pytest.importorskip("submitit")
    from rich.console import Console

    executor = SlurmExecutor(tmp_path / "jobs", 2, {"timeout_min": 5}, fake_command, cluster="local")
    states = [TrialState(trial) for trial in trials]
    run_trials(states, executor, PlainLines(2, Console()), Interruption(), poll_seconds=0.05)
    assert {state.trial.name: state.status for state in states} == {
        "fail": "failed",
        "a": "finished",
        "child": "finished",
    }
    failed, child = (read_json(state.trial.folder / "result.json") for state in (states[0], states[2]))
    assert failed["error"] == "exit code 1: the last words"
    assert child["environment"]["DEFORMLAB_INIT_FROM"] == "a"


def test_the_sweep_files_parameters_reach_the_cluster(
    trials: list[PlannedTrial], fake_slurm: Path, tmp_path: Path
):
    executor = SlurmExecutor(tmp_path / "jobs", 1, {"slurm_partition": "long", "gpus_per_node": 2})
    trials[1].prepare_folder()
    executor.start(trials[1])
    script = (fake_slurm / "job.sh").read_text()
    assert "#SBATCH --partition=long" in script
    assert "#SBATCH --gpus-per-node=2" in script
    assert "#SBATCH --time=1440" in script


def test_a_job_that_still_runs_is_not_submitted_again(
    trials: list[PlannedTrial], fake_slurm: Path, tmp_path: Path
):
    trials[1].prepare_folder()
    for _ in range(2):
        running = SlurmExecutor(tmp_path / "jobs", 1, {}).start(trials[1])
        assert running.poll() is None
    assert (fake_slurm / "submissions").read_text().count("x") == 1


def test_a_job_that_ended_without_an_exit_code_is_submitted_again(
    trials: list[PlannedTrial], fake_slurm: Path, tmp_path: Path
):
    trials[1].prepare_folder()
    SlurmExecutor(tmp_path / "jobs", 1, {}).start(trials[1])
    (fake_slurm / "state").write_text("NODE_FAIL")
    SlurmExecutor(tmp_path / "jobs", 1, {}).start(trials[1])
    assert (fake_slurm / "submissions").read_text().count("x") == 2


def test_stopping_cancels_the_job_once(trials: list[PlannedTrial], fake_slurm: Path, tmp_path: Path):
    trials[1].prepare_folder()
    running: SlurmTrial = SlurmExecutor(tmp_path / "jobs", 1, {}).start(trials[1])
    running.send_signal(2)
    assert (fake_slurm / "cancelled").read_text().split() == ["42"]
    (fake_slurm / "cancelled").unlink()
    running.send_signal(9)
    assert not (fake_slurm / "cancelled").exists()
    assert running.poll() == 130


def test_a_refused_submission_is_one_line(trials: list[PlannedTrial], fake_slurm: Path, tmp_path: Path):
    (fake_slurm / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    trials[1].prepare_folder()
    with pytest.raises(
        RunFolderError, match=r"cannot submit a seed 0 to SLURM: .*invalid partition"
    ) as caught:
        SlurmExecutor(tmp_path / "jobs", 1, {}).start(trials[1])
    assert "\n" not in str(caught.value)
