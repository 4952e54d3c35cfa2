"""Signals end a training in order, and the same command continues it exactly."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from deformlab.cli import main
from deformlab.tasks import SemanticSegmentation


@pytest.fixture
def fit(tiny_config, tmp_path, capsys, monkeypatch):
    """Trains for two epochs of two steps and sends a signal to itself in one of the four."""
    step_of_task = SemanticSegmentation.training_step

    def run(name: str, at: int | None = None, number: int = signal.SIGTERM, *options: str):
        def training_step(module, batch, batch_idx):
            if module.global_step == at:
                os.kill(os.getpid(), number)
            return step_of_task(module, batch, batch_idx)

        monkeypatch.setattr(SemanticSegmentation, "training_step", training_step)
        run_dir = tmp_path / name
        arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
        code = main([*arguments, *options])
        return code, capsys.readouterr().err.strip().splitlines(), run_dir

    return run


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_marks_the_run_interrupted_and_says_how_to_continue(fit, number, code):
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests may run under nohup
    ended, errors, run_dir = fit("run", 3, number)
    signal.signal(signal.SIGHUP, before)
    assert ended == code
    (line,) = [line for line in errors if line.startswith("deformlab")]
    assert errors[-1] == line
    assert number.name in line
    assert f"--run_dir {run_dir}" in line
    result = json.loads((run_dir / "result.json").read_text())
    assert (result["status"], result["error"], result["epochs"]) == ("interrupted", None, 1)


def test_a_hang_up_that_nohup_ignores_stays_ignored(fit):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    code, _, _ = fit("run", 1, signal.SIGHUP)
    signal.signal(signal.SIGHUP, before)
    assert code == 0


def test_the_previous_handlers_are_restored(fit):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    fit("run", 1)
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


@pytest.mark.parametrize("at", [1, 3])
def test_an_interrupted_training_ends_bit_for_bit_like_an_uninterrupted_one(fit, at):
    assert fit("stopped", at)[0] == 143
    assert fit("stopped")[0] == 0
    assert fit("whole")[0] == 0
    stopped, whole = (
        torch.load(fit(name)[2] / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("stopped", "whole")
    )
    assert all(torch.equal(stopped[name], whole[name]) for name in whole)


@pytest.mark.parametrize("whom", ["first process", "group"])
@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_process_and_the_group_end_in_the_same_way(tiny_config, tmp_path, processes, whom):
    run_dir = tmp_path / "run"
    command = [sys.executable, "-m", "deformlab", "fit", "--config", str(tiny_config), "--wandb", "off"]
    command += ["--run_dir", str(run_dir), "--trainer.max_epochs", "10000", "--data.num_workers", "1"]
    if processes > 1:
        command += ["--trainer.devices", str(processes), "--trainer.strategy", "ddp"]
        command += ["--data.batch_size", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    training = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert training.stderr is not None
    try:
        said = []
        for line in training.stderr:
            said.append(line)
            if line.startswith("epoch 2/"):
                break
        else:
            raise AssertionError("".join(said))
        if whom == "group":
            os.killpg(training.pid, signal.SIGTERM)
        else:
            training.send_signal(signal.SIGTERM)
        # The pipe ends with the last process that holds it.
        rest = [line for line in training.stderr if not line.startswith("epoch ")]
        assert training.wait(60) == 143
    finally:
        if training.poll() is None:
            os.killpg(training.pid, signal.SIGKILL)
        training.stderr.close()
    (line,) = rest
    assert "interrupted by SIGTERM" in line
    assert json.loads((run_dir / "result.json").read_text())["status"] == "interrupted"
