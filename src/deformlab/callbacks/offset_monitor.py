"""Follows the offsets of every deformable layer while it trains, and says so when they run away."""

import logging
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from deformlab.errors import ConfigError
from deformlab.layers import DeformConv2d, record_forward
from deformlab.metrics import FilterSample, OffsetStatistics, offset_statistics, sample_filters
from deformlab.run_folder import offsets_before, write_offsets
from deformlab.tasks import Optimization

__all__ = ["OffsetMonitor"]

# Together some hundred thousand offsets of each layer an epoch, whatever the data set and the batch.
BATCHES_PER_EPOCH = 32
FILTERS_PER_BATCH = 512
EVERY_WHERE_LENGTH_IS_UNKNOWN = 50
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


class OffsetMonitor(pl.Callback):
    """Writes offsets.csv, a row per epoch and layer, and logs the same numbers as `offsets/<layer>/<column>`.

    The columns are `epoch`, from 0; `layer`, as in effective_dilation.csv; those of `OffsetStatistics`, over
    the training batches of the epoch; and `runaway`, 1 where the layer's offsets had run away. A value that
    does not exist, such as the modulation of a layer without one, is empty. A network without deformable
    layers writes no file.

    It looks at a few filters of some batches, in the first process only. Nothing waits for the device before
    the epoch's end and no random numbers are drawn, so that the monitor does not change the trained weights.

    Offsets have run away when their median is longer than `limit` times the shorter side of the layer's input
    and longer than the reach of the undeformed filter. At the default, half a side, an offset takes even a
    filter in the middle of the image to its edge. Samples beyond the edge are zero and give no gradient that
    would bring the offset back.

    Args:
        directory: The run folder.
        limit: Share of the shorter side, > 0; None never warns, and `runaway` stays 0.

    Raises:
        ConfigError: The limit is not > 0.
    """

    def __init__(self, directory: Path, limit: float | None = 0.5) -> None:
        if limit is not None and not limit > 0:
            raise ConfigError(
                f"offset_limit must be > 0, got {limit}; 0.5 is half the shorter side of the map"
            )
        self.directory = directory
        self.limit = limit
        self._layers: dict[str, DeformConv2d] = {}
        self._watching = ExitStack()
        self._last: dict[str, tuple[Tensor, tuple[int, int]]] = {}
        self._samples: dict[str, list[FilterSample]] = {}
        self._rows: list[dict[str, Any]] = []

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Starts to watch, before the first forward pass: a compiled network keeps the hooks of that pass."""
        if stage != "fit" or not trainer.is_global_zero:
            return
        self._layers = {
            name: layer for name, layer in pl_module.tracked_layers.items() if isinstance(layer, DeformConv2d)
        }
        convolutions = {name: layer.conv_offset for name, layer in self._layers.items()}
        self._last = self._watching.enter_context(record_forward(convolutions, _detached))

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far, so that a checkpoint does not depend on the file."""
        return {"rows": self._rows}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Takes up the epochs that the checkpoint has seen; later ones are trained again."""
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None:
            epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
            self._rows = offsets_before(self.directory, epochs)
        else:
            self._rows = list(state["rows"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forgets what an epoch that was interrupted has left."""
        self._samples = {name: [] for name in self._layers}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Copies a few offsets of some batches, without waiting for the device."""
        batches = trainer.num_training_batches
        every = EVERY_WHERE_LENGTH_IS_UNKNOWN if math.isinf(batches) else -(-batches // BATCHES_PER_EPOCH)
        if batch_idx % every == 0:
            for name, (output, input_size) in self._last.items():
                samples = self._samples[name]
                samples.append(
                    sample_filters(
                        output,
                        input_size,
                        self._layers[name].num_samples,
                        count=FILTERS_PER_BATCH,
                        phase=len(samples) * GOLDEN_RATIO % 1,
                    )
                )
        self._last.clear()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Writes, logs and judges the epoch."""
        for name, samples in self._samples.items():
            if not samples:
                continue
            layer = self._layers[name]
            statistics = offset_statistics(samples, layer)
            runaway = self._has_run_away(statistics, layer)
            if runaway and not any(row["layer"] == name and int(row["runaway"]) for row in self._rows):
                _warn(pl_module.optimization, trainer.current_epoch, name, statistics, samples[-1].input_size)
            values = {key: value for key, value in statistics._asdict().items() if value is not None}
            self._rows.append(
                {"epoch": trainer.current_epoch, "layer": name, **values, "runaway": int(runaway)}
            )
            for logger in trainer.loggers:
                logger.log_metrics(
                    {f"offsets/{name}/{key}": value for key, value in values.items()}, trainer.global_step
                )
        self._samples = {name: [] for name in self._layers}
        if self._rows:
            write_offsets(self.directory, self._rows)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Stops watching."""
        self._watching.close()
        self._last.clear()

    def _has_run_away(self, statistics: OffsetStatistics, layer: DeformConv2d) -> bool:
        if self.limit is None:
            return False
        reach = max(
            dilation * (taps - 1) / 2
            for dilation, taps in zip(layer.dilation, layer.kernel_size, strict=True)
        )
        # NaN counts as runaway.
        return not (statistics.length_over_side <= self.limit or statistics.length_q50 <= reach)


def _detached(name: str, input: Tensor, output: Tensor) -> tuple[Tensor, tuple[int, int]]:
    return output.detach(), (input.shape[-2], input.shape[-1])


def _warn(
    optimization: Optimization,
    epoch: int,
    layer: str,
    statistics: OffsetStatistics,
    input_size: tuple[int, int],
) -> None:
    height, width = input_size
    logging.getLogger(__name__).warning(
        f"the offsets of {layer} run away: their median is {statistics.length_q50:.1f} cells on a map of "
        f"{height}x{width} in epoch {epoch + 1}, and {statistics.outside:.0%} of the samples lie outside it; "
        f"lower --model.optimization.offset_lr_multiplier (now {optimization.offset_lr_multiplier:g}) or "
        f"raise --model.optimization.offset_warmup_steps (now {optimization.offset_warmup_steps})"
    )
