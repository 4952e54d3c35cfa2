"""Training on two processes gives the folder and the numbers of one."""

import csv
import json
import os
import subprocess
import sys

import pytest

from deformlab.cli import main


@pytest.fixture(scope="module")
def two_process_run(tiny_config, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("distributed") / "run"
    options = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_epochs", "1"]
    # Five images on two processes: a sampler that repeats one of them would change the score.
    data = ["--data.batch_size", "2", "--data.options.val_images", "5"]
    command = [sys.executable, "-m", "deformlab", "fit", "--config", str(tiny_config), *options, *data]
    command += ["--run_dir", str(run_dir), "--wandb", "off"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return run_dir


def test_the_score_of_two_processes_is_that_of_one(two_process_run, capsys):
    one_process = ["--trainer.devices", "1", "--trainer.strategy", "auto"]
    assert main(["validate", "--run_dir", str(two_process_run), *one_process]) == 0
    miou = json.loads((two_process_run / "result.json").read_text())["miou"]
    assert f"mIoU {100 * miou:.1f} %" in capsys.readouterr().out


def test_every_filter_is_counted_once(two_process_run):
    rows = csv.DictReader((two_process_run / "effective_dilation.csv").open())
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["layer"]] = counts.get(row["layer"], 0) + int(row["count"])
    assert set(counts.values()) == {5 * 4 * 4}


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
    (line,) = ended.stderr.strip().splitlines()
    assert ended.returncode == 2
    assert "learning_rate" in line
    # Two images of either process.
    assert line.count("train_0") == 4
    assert not list(run_dir.rglob("*.ckpt"))
