"""Writes the run folder while a network trains."""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from deformlab import ops, provenance
from deformlab.callbacks.object_files import measured_objects
from deformlab.callbacks.score import class_scores, logged_score, other_scores
from deformlab.errors import ConfigError
from deformlab.records import REGIONS, ObjectMeasurement, SizeRow, by_size
from deformlab.run_folder import (
    MEASUREMENT_VERSION,
    ClassScores,
    MeasuredSizes,
    Measurement,
    Result,
    RunStatus,
    Score,
    TrainingRecord,
    finite,
    metrics_before,
    read_status,
    write_config,
    write_metrics,
    write_objects,
    write_result,
)

__all__ = ["RunWriter", "measured_sizes"]


class RunWriter(pl.Callback):
    """Writes config.yaml, metrics.csv, result.json and the records of objects during training.

    The history of a run is also in its checkpoints. A resumed training reads it from there and rewrites the
    files, so that they always agree with the checkpoint.

    Args:
        directory: The run folder; created if it is missing.
        name: The run's names, see `RunStatus.from_environment`.
        config: The resolved configuration.
        options: Its options that decide how the network is measured, by dotted names.

    Attributes:
        epochs: The rows of metrics.csv.
        effective_dilation: Effective dilation by layer and object size at the latest validation.
    """

    def __init__(
        self, directory: Path, name: RunStatus, config: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        self.directory = directory
        self.config = dict(config)
        self.epochs: list[dict[str, Any]] = []
        self.effective_dilation: list[SizeRow] = []
        self._name = name
        self._options = dict(options)
        # Scores of a measurement after the training; None means those of the last epoch.
        self._scores: tuple[Score, ClassScores, dict[str, float | None]] | None = None
        self._measured_step = -1
        self._trained_epochs = 0
        self._thresholds: list[float] = []
        self._data: dict[str, Any] = {}
        self._earlier_seconds = 0.0
        self._earlier_peak = 0
        self._started = time.monotonic()
        self._begun = False
        self._epoch_started = 0.0
        self._train_seconds = 0.0
        self._images = 0

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds configuration, classes, data and history to the checkpoint."""
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        TrainingRecord(
            config=self.config,
            classes=list(datamodule.classes),
            data=datamodule.fingerprints(),
            epochs=self.epochs,
            thresholds=self._thresholds,
            seconds=self._seconds(),
            peak_memory_bytes=self._peak(),
        ).add_to(checkpoint)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restores the history and refuses to continue with other images than before.

        Raises:
            ConfigError: The training or validation images differ from those of the checkpoint.
            RunFolderError: An older version wrote the checkpoint, and metrics.csv is damaged.
        """
        self._trained_epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        record = TrainingRecord.of(checkpoint)
        if record is None:
            self.epochs = metrics_before(self.directory, self._trained_epochs)
            return
        self.epochs = list(record.epochs)
        self._measured_step = int(self.epochs[-1]["step"]) if self.epochs else -1
        self._thresholds = list(record.thresholds)
        self._data = dict(record.data)
        self._earlier_seconds = float(record.seconds)
        self._earlier_peak = int(record.peak_memory_bytes)
        if trainer.state.fn == "fit":
            _check_data(record.data, trainer.datamodule.fingerprints())  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Creates the run folder and marks the run as running."""
        if not trainer.is_global_zero:
            return
        # The time that a killed process spent after its last checkpoint counts too.
        previous = read_status(self.directory)
        if previous is not None:
            self._earlier_seconds = max(self._earlier_seconds, previous.seconds or 0.0)
            self._earlier_peak = max(self._earlier_peak, previous.peak_memory_bytes or 0)
        write_config(self.directory, self.config)
        self._begun = True
        self._write_epochs()
        self._write_result(trainer, pl_module, "running")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the epoch's clock."""
        self._epoch_started = time.monotonic()
        self._images = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the images of all processes, and validates after the last step of the training."""
        self._images += len(batch["image"]) * trainer.world_size
        if _is_last_step(trainer):
            # The result needs the final network's score, even if the interval between validations is long.
            trainer.check_val_every_n_epoch = 1
            trainer.val_check_batch = batch_idx + 1

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the epoch's clock, so that images per second do not include validation."""
        self._train_seconds = time.monotonic() - self._epoch_started

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the epoch's row and writes the files."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        objects = self._objects(trainer, pl_module)
        row: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "train/loss": pl_module.train_loss,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "images_per_second": self._images / max(self._train_seconds, 1e-9),
            **{
                key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")
            },
        }
        self.epochs.append(row)
        self._measured_step = trainer.global_step
        self._trained_epochs = trainer.current_epoch + 1
        self._scores = None
        for logger in trainer.loggers:
            logger.log_metrics({"images_per_second": row["images_per_second"]}, trainer.global_step)
        if trainer.is_global_zero:
            self._write_epochs()
            self._write_objects(trainer, pl_module, objects)
            self._write_result(trainer, pl_module, "running")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Counts the finished epoch."""
        self._trained_epochs = trainer.current_epoch + 1

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Marks the run as finished, unless its final network must still be measured."""
        if not trainer.interrupted and not self.must_measure(trainer):
            self._write_result(trainer, pl_module, "finished")

    def must_measure(self, trainer: pl.Trainer) -> bool:
        """Whether validation is on but the final network has not been validated."""
        return self._measured_step != trainer.global_step and trainer.limit_val_batches != 0

    def record_measurement(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the results of `Trainer.validate` on the final network and marks the run as finished."""
        objects = self._objects(trainer, pl_module)
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        metrics = trainer.callback_metrics
        self._scores = (
            logged_score(pl_module, metrics, "val"),
            class_scores(pl_module, metrics, "val", datamodule.classes),
            other_scores(pl_module, metrics, "val"),
        )
        if trainer.is_global_zero:
            self._write_epochs()
            self._write_objects(trainer, pl_module, objects)
            self._write_result(trainer, pl_module, "finished")

    @rank_zero_only
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Marks the run as interrupted, or as failed with the reason."""
        if trainer.state.fn != "fit":
            return
        if not self._begun:
            return  # Nothing was written yet, and files of an earlier run must not change.
        if isinstance(exception, KeyboardInterrupt):
            self._write_result(trainer, pl_module, "interrupted")
        else:
            reason = f"{type(exception).__name__}: {exception}".splitlines()[0]
            self._write_result(trainer, pl_module, "failed", reason)

    def _objects(self, trainer: pl.Trainer, task: Any) -> ObjectMeasurement | None:
        # All processes take part in the reduction; only one of them writes.
        objects = measured_objects(task, trainer.datamodule.val_dataset)  # type: ignore[attr-defined]
        if objects is None:
            return None
        rule = task.effective_dilation.rule
        self.effective_dilation = [
            row for region in REGIONS for row in by_size(objects.records, region, rule)
        ]
        return objects

    def _write_objects(self, trainer: pl.Trainer, task: Any, objects: ObjectMeasurement | None) -> None:
        if objects is None:
            return
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._thresholds = list(task.effective_dilation.rule.thresholds_of(objects.records) or ())
        write_objects(self.directory, objects, datamodule.classes)

    def _write_epochs(self) -> None:
        if self.epochs:
            write_metrics(self.directory, self.epochs)

    def _write_result(self, trainer: pl.Trainer, task: Any, status: Any, error: str | None = None) -> None:
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        last: dict[str, Any] = self.epochs[-1] if self.epochs else {}
        score, of_classes, others = self._scores or (
            logged_score(task, last, "val"),
            class_scores(task, last, "val", datamodule.classes),
            other_scores(task, last, "val"),
        )
        curve = [logged_score(task, row, "val").value for row in self.epochs]
        defined = [value for value in curve if value is not None]
        best = (max if score.mode == "max" else min)(defined, default=None)
        names = asdict(self._name)
        result = Result(
            **names
            | {
                "status": status,
                "error": error,
                "seconds": round(self._seconds(), 2),
                "peak_memory_bytes": self._peak(),
                "measurement": Measurement(
                    MEASUREMENT_VERSION, self._options, measured_sizes(task, self._thresholds)
                ),
            },
            score=replace(score, best=best),
            class_scores=of_classes,
            epochs=self._trained_epochs,
            max_epochs=trainer.max_epochs,
            dataset=datamodule.dataset_class.name,
            data=self._data | datamodule.fingerprints(),
            classes=tuple(datamodule.classes),
            palette=tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in datamodule.palette),
            model=task.configuration,
            parameters=sum(parameter.numel() for parameter in task.model.parameters()),
            images_per_second=finite(last.get("images_per_second")),
            precision=str(trainer.precision),
            versions=provenance.versions(),
            git_revision=provenance.git_revision(),
            operator_backend=ops.backend(task.device.type),
            machine=provenance.machine(),
            other_scores=others,
        )
        write_result(self.directory, result)

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started

    def _peak(self) -> int:
        return max(self._earlier_peak, provenance.peak_memory_bytes())


def measured_sizes(task: Any, thresholds: list[float]) -> MeasuredSizes:
    """The rule of object sizes that a task's evaluation used; without thresholds if it measures no objects.

    Args:
        task: The task.
        thresholds: The areas that the latest validation used, in pixels; they only matter for `thirds`.
    """
    if not hasattr(task, "effective_dilation"):
        return MeasuredSizes(thresholds=None)
    options = task.evaluation
    thirds = options.object_sizes == "thirds"
    used = tuple(thresholds if thirds else options.object_sizes)
    return MeasuredSizes(
        thresholds=(float(used[0]), float(used[1])) if used else None,
        thirds=thirds,
        area=options.object_area,
        pixels=options.object_pixels,
        assignment=options.object_region,
    )


def _is_last_step(trainer: pl.Trainer) -> bool:
    """Whether the step just finished is the last one according to `max_epochs` and `max_steps`."""
    if trainer.limit_val_batches == 0:
        return False
    progress = trainer.fit_loop.epoch_loop.batch_progress
    epochs, steps = trainer.max_epochs or -1, trainer.max_steps
    of_epochs = progress.is_last_batch and 0 < epochs <= trainer.current_epoch + 1
    return bool(of_epochs or 0 < steps <= trainer.global_step)


def _check_data(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    for split, what in (("train", "training"), ("val", "validation")):
        then, now = recorded.get(split) or {}, present.get(split) or {}
        if then and now and then["fingerprint"] != now["fingerprint"]:
            raise ConfigError(
                f"the {what} images differ from those that this run started with: {then['images']} of "
                f"{then['dataset']} then, {now['images']} of {now['dataset']} now, or files with other names "
                "or sizes; restore them or give a new --run_dir"
            )
