"""The run folder: the only thing that analysis reads of a training."""

import csv
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.utilities import rank_zero_only

from deformlab import ops, provenance
from deformlab.callbacks.object_files import ObjectFiles
from deformlab.metrics import EffectiveDilationRow
from deformlab.run_folder.files import csv_text, write_atomically
from deformlab.tasks import SemanticSegmentation

__all__ = ["RunFolder", "RunIdentity"]


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


class RunFolder(pl.Callback):
    """Writes config.yaml, metrics.csv, result.json, effective_dilation.csv and objects.* while training.

    Args:
        directory: The run folder; made if it is not there.
        identity: The run's name and sweep.
        config: The resolved configuration.
    """

    def __init__(self, directory: Path, identity: RunIdentity, config: Mapping[str, Any]) -> None:
        self.directory = directory
        self.identity = identity
        self.config = dict(config)
        self.epochs: list[dict[str, Any]] = []
        self.effective_dilation: list[EffectiveDilationRow] = []
        self._thresholds: list[float] = []
        self._earlier_seconds = 0.0
        self._earlier_peak = 0
        self._started = time.monotonic()
        self._epoch_started = 0.0
        self._images = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Makes the folder and says that the run has begun."""
        if stage != "fit" or not trainer.is_global_zero:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        previous = self._previous_result()
        self._earlier_seconds = float(previous.get("seconds") or 0.0)
        self._earlier_peak = int(previous.get("peak_memory_bytes") or 0)
        self._thresholds = list(previous.get("thresholds") or [])
        self.epochs = list(self._previous_epochs())
        write_atomically(self.directory / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))
        self._write_result(trainer, pl_module, "running")

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes up the epochs that the checkpoint has seen; later ones are trained again."""
        self.epochs = [row for row in self.epochs if int(row["epoch"]) < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the epoch's clock."""
        self._epoch_started = time.monotonic()
        self._images = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the images of all processes, whose batches have equal size."""
        self._images += len(batch["label"]) * trainer.world_size

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the epoch's clock: images per second are those of training."""
        self._train_seconds = time.monotonic() - self._epoch_started

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the epoch's row and writes the folder."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        assert isinstance(pl_module, SemanticSegmentation)
        # Every process takes part in the reduction, one of them writes.
        objects = ObjectFiles(pl_module, trainer.datamodule.val_dataset)  # type: ignore[attr-defined]
        self.effective_dilation = objects.rows
        if not trainer.is_global_zero:
            return
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
        for logger in trainer.loggers:
            logger.log_metrics({"images_per_second": row["images_per_second"]}, trainer.global_step)
        write_atomically(self.directory / "metrics.csv", csv_text(list(row), self.epochs))
        summary = objects.write(self.directory)
        self._thresholds = summary["rule"]["thresholds"] or []
        self._write_result(trainer, pl_module, "running")

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Marks the run finished."""
        if trainer.interrupted:
            return
        self._write_result(trainer, pl_module, "finished")

    @rank_zero_only
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Marks the run interrupted or failed, with the reason."""
        if trainer.state.fn != "fit":
            return
        if not self.directory.is_dir():
            return  # it failed before there was anything to mark
        status = "interrupted" if isinstance(exception, KeyboardInterrupt) else "failed"
        reason = (
            None if status == "interrupted" else f"{type(exception).__name__}: {exception}".splitlines()[0]
        )
        self._write_result(trainer, pl_module, status, reason)

    def _write_result(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, status: str, error: str | None = None
    ) -> None:
        assert isinstance(pl_module, SemanticSegmentation)
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        last: dict[str, Any] = self.epochs[-1] if self.epochs else {}
        sizes = pl_module.evaluation.object_sizes
        scores = [float(row["val/miou"]) for row in self.epochs if row.get("val/miou") not in (None, "")]
        result = {
            "status": status,
            "error": error,
            "trial": self.identity.trial,
            "sweep": self.identity.sweep,
            "role": self.identity.role,
            "init_from": self.identity.init_from,
            "seed": self.config.get("seed_everything"),
            "miou": scores[-1] if scores else None,
            "best_miou": max(scores) if scores else None,
            "iou": {name: _number(last.get(f"val/iou/{name}")) for name in datamodule.classes},
            "epochs": int(last["epoch"]) + 1 if last else 0,
            "max_epochs": trainer.max_epochs,
            "dataset": datamodule.dataset_class.name,
            "classes": list(datamodule.classes),
            "palette": [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in datamodule.palette],
            "model": pl_module.configuration,
            "thresholds": list(self._thresholds if sizes == "thirds" else sizes),
            "parameters": sum(parameter.numel() for parameter in pl_module.model.parameters()),
            "seconds": round(self._earlier_seconds + time.monotonic() - self._started, 2),
            "images_per_second": _number(last.get("images_per_second")),
            "peak_memory_bytes": max(self._earlier_peak, provenance.peak_memory_bytes()),
            "precision": str(trainer.precision),
            "versions": provenance.versions(),
            "git_revision": provenance.git_revision(),
            "operator_backend": ops.backend(pl_module.device.type),
            "machine": provenance.machine(),
        }
        write_atomically(self.directory / "result.json", json.dumps(result, indent=2) + "\n")

    def _previous_result(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.directory / "result.json").read_text()))
        except (OSError, ValueError):
            return {}

    def _previous_epochs(self) -> list[dict[str, Any]]:
        try:
            with (self.directory / "metrics.csv").open(newline="") as file:
                return list(csv.DictReader(file))
        except OSError:
            return []


def _number(value: Any) -> float | None:
    """JSON has no NaN: a class that occurs nowhere has no IoU."""
    if value in (None, "") or math.isnan(float(value)):
        return None
    return float(value)
