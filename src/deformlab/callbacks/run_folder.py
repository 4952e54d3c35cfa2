"""The run folder: the only thing that analysis reads of a training."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.utilities import rank_zero_only

from deformlab import ops, provenance
from deformlab.callbacks.object_files import measured_objects
from deformlab.errors import ConfigError, RunFolderError
from deformlab.records import REGIONS, ObjectMeasurement, SizeRow, by_size
from deformlab.run_folder.files import csv_text, read_csv, read_json, write_atomically
from deformlab.run_folder.measurement import measurement
from deformlab.run_folder.objects import write_objects
from deformlab.tasks import SemanticSegmentation

__all__ = ["RECORD", "RunFolder", "RunIdentity", "Scores"]

# The entry of a checkpoint that says what was trained, on what, and how it went.
RECORD = "deformlab"


@dataclass(frozen=True)
class RunIdentity:
    """What a run is called and which sweep it belongs to; a sweep passes it through the environment."""

    trial: str
    sweep: str | None = None
    role: str = "trial"
    init_from: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], default_trial: str) -> "RunIdentity":
        """Reads `DEFORMLAB_TRIAL`, `_SWEEP`, `_ROLE` and `_INIT_FROM`."""
        return cls(
            trial=environment.get("DEFORMLAB_TRIAL") or default_trial,
            sweep=environment.get("DEFORMLAB_SWEEP") or None,
            role=environment.get("DEFORMLAB_ROLE") or "trial",
            init_from=environment.get("DEFORMLAB_INIT_FROM") or None,
        )


@dataclass(frozen=True)
class Scores:
    """What a validation or test found; fractions, None where nothing was labelled."""

    miou: float | None
    iou: dict[str, float | None]

    @classmethod
    def of(cls, metrics: Mapping[str, Any], split: str, classes: Sequence[str]) -> "Scores":
        """Takes the scores of a split from what the task logged."""
        return cls(
            miou=_number(metrics.get(f"{split}/miou")),
            iou={name: _number(metrics.get(f"{split}/iou/{name}")) for name in classes},
        )


class RunFolder(pl.Callback):
    """Writes config.yaml, metrics.csv, result.json, objects.csv and positions.npz while training.

    The history of a run is in its checkpoints, too. Where a training is resumed it is taken from there, and
    the files are written anew, so that they always say what the checkpoint has seen.

    Args:
        directory: The run folder; made if it is not there.
        identity: The run's name and sweep.
        config: The resolved configuration.
        options: What of it decides how the network is measured, dotted.
    """

    def __init__(
        self,
        directory: Path,
        identity: RunIdentity,
        config: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        self.directory = directory
        self.identity = identity
        self.config = dict(config)
        self.options = dict(options)
        self.epochs: list[dict[str, Any]] = []
        self.effective_dilation: list[SizeRow] = []
        self._scores: Scores | None = None
        self._measured_step = -1
        self._trained_epochs = 0
        self._thresholds: list[float] = []
        self._sizes: dict[str, Any] = {}
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
        """Adds what was trained, on what, and how it went."""
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        checkpoint[RECORD] = {
            "config": self.config,
            "classes": list(datamodule.classes),
            "data": datamodule.fingerprints(),
            "epochs": self.epochs,
            "thresholds": self._thresholds,
            "seconds": self._seconds(),
            "peak_memory_bytes": self._peak(),
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Takes up the history, and refuses to go on with other images than the training began with.

        Raises:
            ConfigError: The training or validation images are others.
            RunFolderError: An older version wrote the checkpoint, and metrics.csv is damaged.
        """
        self._trained_epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        record = checkpoint.get(RECORD)
        if record is None:
            self.epochs = rows_of_an_older_version(self.directory / "metrics.csv", self._trained_epochs)
            return
        self.epochs = list(record["epochs"])
        self._measured_step = int(self.epochs[-1]["step"]) if self.epochs else -1
        self._thresholds = list(record["thresholds"])
        self._data = dict(record["data"])
        self._earlier_seconds = float(record["seconds"])
        self._earlier_peak = int(record["peak_memory_bytes"])
        if trainer.state.fn == "fit":
            _check_data(record["data"], trainer.datamodule.fingerprints())  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Makes the folder and says that the run has begun."""
        if not trainer.is_global_zero:
            return
        previous = self._previous_result()
        # The seconds that a killed process spent after its last checkpoint were spent all the same.
        self._earlier_seconds = max(self._earlier_seconds, _number(previous.get("seconds")) or 0.0)
        self._earlier_peak = max(self._earlier_peak, int(_number(previous.get("peak_memory_bytes")) or 0))
        write_atomically(self.directory / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))
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
        """Counts images, of all processes in equal batches; makes sure that the last step is validated."""
        self._images += len(batch["label"]) * trainer.world_size
        if _is_last_step(trainer):
            # A finished run has its finished network's score, whatever the interval between validations.
            trainer.check_val_every_n_epoch = 1
            trainer.val_check_batch = batch_idx + 1

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the epoch's clock: images per second are those of training."""
        self._train_seconds = time.monotonic() - self._epoch_started

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the epoch's row and writes the folder."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        objects = self._objects(trainer, pl_module)
        logged = {
            key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")
        }
        optimizer = trainer.optimizers[0]
        row: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "train/loss": pl_module.train_loss,
            "lr": optimizer.param_groups[0]["lr"],
            "images_per_second": self._images / max(self._train_seconds, 1e-9),
            **logged,
        }
        self.epochs.append(row)
        self._measured_step = trainer.global_step
        self._trained_epochs = trainer.current_epoch + 1
        self._scores = None  # those of the row count
        for logger in trainer.loggers:
            logger.log_metrics({"images_per_second": row["images_per_second"]}, trainer.global_step)
        if trainer.is_global_zero:
            self._write_epochs()
            self._write_objects(objects, trainer)
            self._write_result(trainer, pl_module, "running")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Counts the epoch."""
        self._trained_epochs = trainer.current_epoch + 1

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Marks the run finished, unless its network has yet to be measured."""
        if not trainer.interrupted and not self.must_measure(trainer):
            self._write_result(trainer, pl_module, "finished")

    def must_measure(self, trainer: pl.Trainer) -> bool:
        """Whether the network as it is has not been validated, although validation is not switched off."""
        return self._measured_step != trainer.global_step and trainer.limit_val_batches != 0

    def record_measurement(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes what `Trainer.validate` just found of the finished network, and marks the run finished."""
        objects = self._objects(trainer, pl_module)
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._scores = Scores.of(trainer.callback_metrics, "val", datamodule.classes)
        if trainer.is_global_zero:
            self._write_epochs()
            self._write_objects(objects, trainer)
            self._write_result(trainer, pl_module, "finished")

    @rank_zero_only
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Marks the run interrupted or failed, with the reason."""
        if trainer.state.fn != "fit":
            return
        if not self._begun:
            return  # it failed before there was anything to mark, or must not touch what is there
        status = "interrupted" if isinstance(exception, KeyboardInterrupt) else "failed"
        reason = (
            None if status == "interrupted" else f"{type(exception).__name__}: {exception}".splitlines()[0]
        )
        self._write_result(trainer, pl_module, status, reason)

    def _objects(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> ObjectMeasurement:
        assert isinstance(pl_module, SemanticSegmentation)
        # Every process takes part in the reduction, one of them writes.
        objects = measured_objects(pl_module, trainer.datamodule.val_dataset)  # type: ignore[attr-defined]
        metric = pl_module.effective_dilation
        self.effective_dilation = [
            row for region in REGIONS for row in by_size(objects.records, region, metric.rule)
        ]
        self._sizes = metric.rule.describe(objects.records, metric.assignment)
        return objects

    def _write_objects(self, objects: ObjectMeasurement, trainer: pl.Trainer) -> None:
        self._thresholds = self._sizes["thresholds"] or []
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        write_objects(self.directory, objects, datamodule.classes)

    def _write_epochs(self) -> None:
        if self.epochs:
            columns = list(dict.fromkeys(column for row in self.epochs for column in row))
            write_atomically(self.directory / "metrics.csv", csv_text(columns, self.epochs))

    def _write_result(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, status: str, error: str | None = None
    ) -> None:
        assert isinstance(pl_module, SemanticSegmentation)
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        last: dict[str, Any] = self.epochs[-1] if self.epochs else {}
        sizes = pl_module.evaluation.object_sizes
        curve = [score for row in self.epochs if (score := _number(row.get("val/miou"))) is not None]
        scores = self._scores or Scores.of(last, "val", datamodule.classes)
        result = {
            "status": status,
            "error": error,
            "trial": self.identity.trial,
            "sweep": self.identity.sweep,
            "role": self.identity.role,
            "init_from": self.identity.init_from,
            "seed": self.config.get("seed_everything"),
            "miou": scores.miou,
            "best_miou": max(curve) if curve else None,
            "iou": scores.iou,
            "measurement": measurement(self.options) | {"sizes": self._sizes},
            "epochs": self._trained_epochs,
            "max_epochs": trainer.max_epochs,
            "dataset": datamodule.dataset_class.name,
            "data": self._data | datamodule.fingerprints(),
            "classes": list(datamodule.classes),
            "palette": [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in datamodule.palette],
            "model": pl_module.configuration,
            "thresholds": list(self._thresholds if sizes == "thirds" else sizes),
            "parameters": sum(parameter.numel() for parameter in pl_module.model.parameters()),
            "seconds": round(self._seconds(), 2),
            "images_per_second": _number(last.get("images_per_second")),
            "peak_memory_bytes": self._peak(),
            "precision": str(trainer.precision),
            "versions": provenance.versions(),
            "git_revision": provenance.git_revision(),
            "operator_backend": ops.backend(pl_module.device.type),
            "machine": provenance.machine(),
        }
        write_atomically(self.directory / "result.json", json.dumps(result, indent=2) + "\n")

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started

    def _peak(self) -> int:
        return max(self._earlier_peak, provenance.peak_memory_bytes())

    def _previous_result(self) -> dict[str, Any]:
        try:
            return read_json(self.directory / "result.json")
        except RunFolderError:
            return {}  # damaged or not there; everything but the time spent is written anew


def rows_of_an_older_version(path: Path, epochs: int) -> list[dict[str, Any]]:
    """The rows of a CSV file before an epoch, for a checkpoint that holds no copy of them.

    Raises:
        RunFolderError: The file is damaged.
    """
    if not path.is_file():
        return []
    try:
        rows: list[dict[str, Any]] = [dict(row) for row in read_csv(path, ("epoch",))]
        return [row for row in rows if int(row["epoch"]) < epochs]
    except (RunFolderError, ValueError) as error:
        raise RunFolderError(
            f"{error}; the checkpoint is of an older version and holds no copy: restore {path}, or remove it "
            "to go on without the epochs before"
        ) from error


def _is_last_step(trainer: pl.Trainer) -> bool:
    """Whether the training ends with the step that was just done, as far as that is known."""
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
                f"the {what} images are not those that this run began with ({then['images']} of "
                f"{then['dataset']} then, {now['images']} of {now['dataset']} now, or files of other sizes); "
                "restore them or give a new --run_dir"
            )


def _number(value: Any) -> float | None:
    """JSON has no NaN: a class that occurs nowhere has no IoU."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
