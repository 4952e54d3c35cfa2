"""`OffsetMonitor`: what it writes, what it warns of, and that it changes nothing."""

import copy
import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from deformlab.callbacks import OffsetMonitor
from deformlab.cli import main
from deformlab.errors import ConfigError, RunFolderError
from deformlab.layers import DeformConv2d
from deformlab.tasks import Optimization, SemanticSegmentation

LAYERS = ["layer4.0.conv1", "layer4.0.conv2"]


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "offsets.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def task(**options) -> SemanticSegmentation:
    torch.manual_seed(0)
    small = {"backbone": "resnet10", "width": 0.125, "head_channels": 8, "num_deformable_layers": 2}
    return SemanticSegmentation(num_classes=3, **{**small, **options}).eval()


def shift_all_samples(module: SemanticSegmentation, cells: float) -> None:
    for layer in module.tracked_layers.values():
        nn.init.zeros_(layer.conv_offset.weight)
        with torch.no_grad():
            layer.conv_offset.bias.zero_()[0 : 2 * layer.num_samples : 2] = cells


def resume(monitor: OffsetMonitor, state: dict | None, epochs: int) -> None:
    """What Lightning does with a checkpoint; None for one of an older version."""
    progress = {"epoch_progress": {"current": {"processed": epochs}}}
    callbacks = {} if state is None else {monitor.state_key: state}
    monitor.on_load_checkpoint(None, None, {"callbacks": callbacks, "loops": {"fit_loop": progress}})


class Training:
    """The hooks of a trainer, in its order, on a map of 12x16 cells."""

    def __init__(self, monitor: OffsetMonitor, module: SemanticSegmentation, first_epoch: int = 0) -> None:
        self.logged: list[dict[str, float]] = []
        logger = SimpleNamespace(log_metrics=lambda values, step: self.logged.append(values))
        self.trainer = SimpleNamespace(
            is_global_zero=True,
            current_epoch=first_epoch,
            num_training_batches=3,
            global_step=0,
            loggers=[logger],
        )
        self.monitor, self.module = monitor, module
        self.network = module.model
        monitor.setup(self.trainer, module, "fit")

    def epoch(self) -> None:
        self.monitor.on_train_epoch_start(self.trainer, self.module)
        for index in range(3):
            self.network(torch.ones(2, 3, 192, 256))
            self.monitor.on_train_batch_end(self.trainer, self.module, None, None, index)
        self.monitor.on_train_epoch_end(self.trainer, self.module)
        self.trainer.current_epoch += 1

    def end(self) -> None:
        self.monitor.teardown(self.trainer, self.module, "fit")


def test_a_run_has_a_row_per_epoch_and_layer(trained_run):
    found = rows(trained_run)
    assert [(row["epoch"], row["layer"]) for row in found] == [
        (str(e), name) for e in (0, 1) for name in LAYERS
    ]
    assert all(float(row["length_q50"]) >= 0 and row["runaway"] == "0" for row in found)
    assert all(row["modulation_low"] == "" for row in found)


def test_a_modulated_network_also_shows_its_modulation(tmp_path):
    training = Training(OffsetMonitor(tmp_path), task(conv5="modulated"))
    training.epoch()
    assert [(row["modulation_low"], row["modulation_high"]) for row in rows(tmp_path)] == [("0.0", "0.0")] * 2


def test_known_offsets_are_written_and_logged(tmp_path):
    module = task()
    shift_all_samples(module, 3.0)
    training = Training(OffsetMonitor(tmp_path), module)
    training.epoch()
    row = rows(tmp_path)[0]
    assert float(row["length_q05"]) == float(row["length_q95"]) == 3
    assert float(row["length_over_side"]) == 3 / 12
    assert float(row["effective_dilation"]) == 2
    assert {f"offsets/{name}/length_q50" for name in LAYERS} <= {
        key for line in training.logged for key in line
    }


def test_a_network_without_offsets_writes_no_file(tmp_path):
    training = Training(OffsetMonitor(tmp_path), task(conv5="atrous"))
    training.epoch()
    assert not list(tmp_path.iterdir())
    assert training.logged == []


@pytest.mark.parametrize(("cells", "warnings"), [(3.0, 0), (5.9, 0), (6.1, 2), (30.0, 2), (float("nan"), 2)])
def test_a_median_above_half_the_shorter_side_gives_a_warning(tmp_path, caplog, cells, warnings):
    module = task()
    shift_all_samples(module, cells)
    Training(OffsetMonitor(tmp_path), module).epoch()
    assert len(caplog.messages) == warnings
    assert [row["runaway"] for row in rows(tmp_path)] == [str(int(warnings > 0))] * 2


def test_the_warning_is_one_line_that_says_what_to_change(tmp_path, caplog):
    module = task(optimization=Optimization(offset_lr_multiplier=1.0))
    shift_all_samples(module, 20.0)
    Training(OffsetMonitor(tmp_path), module).epoch()
    message = caplog.messages[0]
    assert message.startswith(
        "the offsets of layer4.0.conv1 ran away in epoch 1: their median is 20.0 cells on a map of 12x16"
    )
    assert "and 100% of the samples are outside it" in message
    assert "lower --model.optimization.offset_lr_multiplier (now 1)" in message
    assert "raise --model.optimization.offset_warmup_steps (now 0)" in message
    assert "\n" not in message


def test_offsets_within_the_reach_of_the_undeformed_filter_are_not_runaway(tmp_path, caplog):
    module = task(dilation=8)
    shift_all_samples(module, 7.0)
    Training(OffsetMonitor(tmp_path), module).epoch()
    assert caplog.messages == []


def test_each_layer_gives_one_warning_per_run_even_if_resumed(tmp_path, caplog):
    module = task()
    shift_all_samples(module, 20.0)
    training = Training(OffsetMonitor(tmp_path), module)
    training.epoch()
    training.epoch()
    training.end()
    resumed = Training(OffsetMonitor(tmp_path), module, first_epoch=2)
    resume(resumed.monitor, training.monitor.state_dict(), epochs=2)
    resumed.epoch()
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(("limit", "warnings"), [(0.2, 2), (0.3, 0), (None, 0)])
def test_the_limit_can_be_set(tmp_path, caplog, limit, warnings):
    module = task()
    shift_all_samples(module, 3.0)
    Training(OffsetMonitor(tmp_path, limit), module).epoch()
    assert len(caplog.messages) == warnings


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_an_illegal_limit_is_refused(limit):
    with pytest.raises(ConfigError, match="offset_limit must be > 0"):
        OffsetMonitor(Path(), limit)


def test_epochs_that_are_trained_again_replace_the_old_ones(tmp_path):
    module = task()
    training = Training(OffsetMonitor(tmp_path), module)
    training.epoch()
    checkpoint = copy.deepcopy(training.monitor.state_dict())
    training.epoch()
    training.end()
    # What became of the file meanwhile does not matter.
    (tmp_path / "offsets.csv").write_bytes(b"\0" * 100)
    resumed = Training(OffsetMonitor(tmp_path), module, first_epoch=1)
    resume(resumed.monitor, checkpoint, epochs=1)
    resumed.epoch()
    assert [row["epoch"] for row in rows(tmp_path)] == ["0", "0", "1", "1"]


def test_with_a_checkpoint_of_an_older_version_the_history_comes_from_the_file(tmp_path):
    training = Training(OffsetMonitor(tmp_path), task())
    training.epoch()
    training.epoch()
    training.end()
    resumed = Training(OffsetMonitor(tmp_path), task(), first_epoch=1)
    resume(resumed.monitor, None, epochs=1)
    resumed.epoch()
    assert [row["epoch"] for row in rows(tmp_path)] == ["0", "0", "1", "1"]
    (tmp_path / "offsets.csv").write_bytes(b"\0" * 100)
    with pytest.raises(RunFolderError, match=r"offsets\.csv.*restore"):
        resume(OffsetMonitor(tmp_path), None, epochs=1)


def test_a_compiled_network_is_monitored(tmp_path):
    module = task()
    shift_all_samples(module, 4.0)
    training = Training(OffsetMonitor(tmp_path), module)
    training.network = torch.compile(module.model, backend="eager", fullgraph=True)
    training.epoch()
    assert float(rows(tmp_path)[0]["length_q50"]) == 4


def test_the_hooks_are_removed_after_the_training(tmp_path):
    training = Training(OffsetMonitor(tmp_path), task())
    training.end()
    layers = [layer for layer in training.module.modules() if isinstance(layer, DeformConv2d)]
    assert layers
    assert not any(layer.conv_offset._forward_hooks for layer in layers)


def test_accumulating_gradients_over_batches_counts_each_of_them(tiny_config, tmp_path):
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(tmp_path), "--wandb", "off"]
    assert main([*arguments, "--trainer.max_epochs", "1", "--trainer.accumulate_grad_batches", "2"]) == 0
    assert [row["filters"] for row in rows(tmp_path)] == [str(2 * 4 * 4 * 4)] * 2


def test_the_monitor_changes_no_result(tiny_config, tmp_path, monkeypatch, trained_run):
    monkeypatch.setattr(OffsetMonitor, "setup", lambda *args, **kwargs: None)
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(tmp_path), "--wandb", "off"]
    assert main(arguments) == 0
    assert not (tmp_path / "offsets.csv").exists()
    weights = [torch.load(run / "checkpoints" / "last.ckpt")["state_dict"] for run in (tmp_path, trained_run)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_a_training_with_runaway_offsets_warns_and_continues(tiny_config, tmp_path, caplog):
    arguments = ["fit", "--config", str(tiny_config), "--run_dir", str(tmp_path), "--wandb", "off"]
    assert main([*arguments, "--model.optimization.offset_lr_multiplier", "10000"]) == 0
    warnings = [message for message in caplog.messages if "ran away" in message]
    assert len(warnings) == sum(
        any(int(row["runaway"]) for row in rows(tmp_path) if row["layer"] == name) for name in LAYERS
    )
    assert warnings
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "finished"
