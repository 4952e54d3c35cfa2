"""`EpochLoss`: one mean for the table, the terminal and the logger."""

import csv
import math

import pytest
import torch

from deformlab.cli import main
from deformlab.tasks.epoch_loss import EpochLoss


def test_the_mean_is_that_of_the_losses_one_by_one():
    losses = torch.rand(100, generator=torch.Generator().manual_seed(0))
    epoch = EpochLoss()
    for loss in losses:
        epoch.add(loss)
    assert epoch.mean() == sum(losses.tolist()) / 100


def test_an_epoch_does_not_include_the_previous_one():
    epoch = EpochLoss()
    epoch.add(torch.tensor(7.0))
    epoch.reset()
    assert math.isnan(epoch.mean())
    epoch.add(torch.tensor(1.0))
    assert epoch.mean() == 1


def test_adding_reads_nothing_back():
    EpochLoss().add(torch.ones((), device="meta"))


def test_the_printed_loss_is_the_epochs_mean_as_in_the_table(tiny_config, tmp_path, monkeypatch, caplog):
    losses = iter([1.0, 3.0])

    def known(module, scores, label):
        return 0 * scores.sum() + next(losses) * label.numel()

    monkeypatch.setattr(torch.nn.CrossEntropyLoss, "forward", known)
    run_dir = tmp_path / "run"
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(run_dir), "--wandb", "off"]
    with caplog.at_level("INFO"):
        assert main([*arguments, "--trainer.max_epochs", "1"]) == 0
    (row,) = csv.DictReader((run_dir / "metrics.csv").open())
    assert float(row["train/loss"]) == pytest.approx(2)
    assert "loss 2.000" in caplog.text
