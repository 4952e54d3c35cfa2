"""Training on two processes gives the folder and the numbers of one."""

import csv
import os
import subprocess
import sys

import pytest

from deformlab.cli import main
from deformlab.run_folder import read_objects, read_result

# Batch norm's statistics are those of a process; without them both trainings do the same arithmetic.
SAME = ["--trainer.max_epochs", "1", "--data.options.val_images", "5", "--model.batch_norm", "frozen"]


@pytest.fixture(scope="module")
def two_process_run(tiny_config, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("distributed") / "run"
    options = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    # Five images on two processes: a sampler that repeats one of them would change the score.
    command = [sys.executable, "-m", "deformlab", "fit", "--config", str(tiny_config), *options, *SAME]
    command += ["--data.batch_size", "2"]
    command += ["--run_dir", str(run_dir), "--wandb", "off"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    (run_dir / "stderr.txt").write_text(finished.stderr)
    return run_dir


@pytest.fixture(scope="module")
def one_process_run(tiny_config, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("single") / "run"
    arguments = ["fit", "--config", str(tiny_config), *SAME, "--data.batch_size", "4"]
    assert main([*arguments, "--run_dir", str(run_dir), "--wandb", "off"]) == 0
    return run_dir


def metrics(run_dir) -> dict[str, str]:
    return next(csv.DictReader((run_dir / "metrics.csv").open()))


def test_the_loss_is_the_mean_over_the_processes(two_process_run, one_process_run):
    losses = [float(metrics(run)["train/loss"]) for run in (two_process_run, one_process_run)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert f"loss {losses[0]:.3f}" in (two_process_run / "stderr.txt").read_text()


def test_the_effective_batch_size_is_said(two_process_run):
    said = (two_process_run / "stderr.txt").read_text()
    assert said.count("effective batch size 4: 2 images x 2 processes") == 1


def test_the_score_of_two_processes_is_that_of_one(two_process_run, capsys):
    one_process = ["--trainer.devices", "1", "--trainer.strategy", "auto"]
    assert main(["validate", "--run_dir", str(two_process_run), *one_process]) == 0
    miou = read_result(two_process_run).score.value
    assert f"mIoU {100 * miou:.1f} %" in capsys.readouterr().out


def test_every_filter_is_counted_once(two_process_run):
    records, positions = read_objects(two_process_run, read_result(two_process_run).classes)
    assert records.sums["all"].filters.sum(0).tolist() == [5 * 4 * 4] * len(records.layers)
    assert len(positions) == 2


def test_two_processes_validate_and_end(two_process_run):
    command = [sys.executable, "-m", "deformlab", "validate", "--run_dir", str(two_process_run)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("mIoU") == 1
    assert "layer4.0.conv2" in finished.stdout


def test_a_diverged_training_of_two_processes_is_one_line(tiny_config, tmp_path):
    run_dir = tmp_path / "run"
    options = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.batch_size", "2"]
    command = [sys.executable, "-m", "deformlab", "fit", "--config", str(tiny_config), *options]
    command += ["--model.optimization.learning_rate", "1e30", "--run_dir", str(run_dir), "--wandb", "off"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    said = ("run folder", "effective batch")
    (line,) = [line for line in ended.stderr.strip().splitlines() if not any(map(line.count, said))]
    assert ended.returncode == 2
    assert "learning_rate" in line
    # Two images of either process.
    assert line.count("train_0") == 4
    assert not list(run_dir.rglob("*.ckpt"))
