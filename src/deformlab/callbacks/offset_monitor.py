"""Records statistics of every deformable layer's offsets during training, and warns of runaway offsets."""

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

# Together some hundred thousand offsets per layer and epoch, for any data set and batch size.
BATCHES_PER_EPOCH = 32
FILTERS_PER_BATCH = 512
BATCH_INTERVAL_IF_LENGTH_IS_UNKNOWN = 50
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


class OffsetMonitor(pl.Callback):
    """Writes offsets.csv, with one row per epoch and layer, and logs its values.

    The columns are `epoch`, from 0; `layer`, the layer's name; those of `OffsetStatistics`, over the training
    batches of the epoch; and `runaway`, 1 if the layer's offsets ran away, else 0. Values that do not exist,
    such as the modulation of an unmodulated layer, are empty. Loggers get the values as
    `offsets/<layer>/<column>`. For networks without deformable layers, no file is written.

    The statistics are over a sample of filters from some of the batches, in the first process only. The
    monitor draws no random numbers and does not change the trained weights, and the CPU does not wait for the
    device before the end of the epoch.

    Offsets have run away if their median length is larger than `limit` times the shorter side of the layer's
    input, and larger than the reach of the undeformed filter. With the default, half a side, such an offset
    moves even a filter in the middle of the image to its edge. Samples outside the image are zero and have no
    gradient that could move the offset back.

    Args:
        directory: The run folder.
        limit: Share of the input's shorter side, > 0; None never warns, and `runaway` is always 0.

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
        """Registers the hooks; a compiled network only has hooks from before its first forward pass."""
        if stage != "fit" or not trainer.is_global_zero:
            return
        self._layers = {
            name: layer for name, layer in pl_module.tracked_layers.items() if isinstance(layer, DeformConv2d)
        }
        convolutions = {name: layer.conv_offset for name, layer in self._layers.items()}
        self._last = self._watching.enter_context(record_forward(convolutions, _detached))

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, so that a checkpoint does not depend on offsets.csv."""
        return {"rows": self._rows}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restores the rows of the epochs before the checkpoint; later epochs are trained again."""
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None:
            epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
            self._rows = offsets_before(self.directory, epochs)
        else:
            self._rows = list(state["rows"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Discards the samples of an interrupted epoch."""
        self._samples = {name: [] for name in self._layers}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Copies a sample of the offsets at regular intervals, without waiting for the device."""
        batches = trainer.num_training_batches
        interval: float = BATCH_INTERVAL_IF_LENGTH_IS_UNKNOWN
        if not math.isinf(batches):
            interval = -(-batches // BATCHES_PER_EPOCH)
        if batch_idx % interval == 0:
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
        """Writes and logs the epoch's statistics, and warns once per layer if its offsets ran away."""
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
        """Removes the hooks."""
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
        f"the offsets of {layer} ran away in epoch {epoch + 1}: their median is {statistics.length_q50:.1f} "
        f"cells on a map of {height}x{width}, and {statistics.outside:.0%} of the samples are outside it; "
        f"lower --model.optimization.offset_lr_multiplier (now {optimization.offset_lr_multiplier:g}) or "
        f"raise --model.optimization.offset_warmup_steps (now {optimization.offset_warmup_steps})"
    )
