"""Which checkpoints a run keeps, best.ckpt and last.ckpt, and how they are written and read.

A full disk leaves the old file as it was. A run folder may be moved or copied between two trainings.
"""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from deformlab.run_folder import write_checkpoint
from deformlab.run_folder.scores import Mode

__all__ = ["AtomicCheckpointIO", "BestCheckpoint", "LastCheckpoint"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints as all files of a run folder: whole or not at all."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Saves a checkpoint.

        Args:
            checkpoint: What to save.
            path: Where to; what is there already survives a failure.
            storage_options: As Lightning's.

        Raises:
            CheckpointError: The disk is full or the folder cannot be written.
        """
        write_checkpoint(checkpoint, Path(path))


class LastCheckpoint(ModelCheckpoint):
    """Writes last.ckpt after every epoch.

    Not `save_last` of the best one: Lightning then writes last.ckpt only when the best one changes.

    Args:
        directory: Where to.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
        )

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the file's name says all."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing."""


class BestCheckpoint(ModelCheckpoint):
    """Writes best.ckpt after every epoch that scores better than all before.

    A training that continues takes the score to beat from best.ckpt itself. Lightning takes it from
    last.ckpt, and only where the folder has not moved since; the next network would replace a better one.

    Args:
        directory: Where to.
        monitor: The logged score.
        mode: `max` or `min`.
    """

    def __init__(self, directory: Path, monitor: str, mode: Mode) -> None:
        super().__init__(directory, filename="best", monitor=monitor, mode=mode, enable_version_counter=False)

    def state_dict(self) -> dict[str, Any]:
        """The score, and what it is the score of."""
        return {"monitor": self.monitor, "best_model_score": self.best_model_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing: the checkpoint that a training continues from is not best.ckpt."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes up the score of best.ckpt where a training continues."""
        if trainer.ckpt_path is None:
            return
        path = Path(self.format_checkpoint_name({}))
        # One process reads, so that all agree even where only that one sees the folder.
        score = trainer.strategy.broadcast(self._score_of(path) if trainer.is_global_zero else None)
        if score is None:
            return
        self.best_model_path = self.kth_best_model_path = str(path)
        self.best_model_score = self.kth_value = score
        self.best_k_models = {str(path): score}

    def _score_of(self, path: Path) -> Tensor | None:
        try:
            checkpoint = torch.load(path, weights_only=True, map_location="cpu")
            states = checkpoint["callbacks"].values()
            return next(state["best_model_score"] for state in states if state.get("monitor") == self.monitor)
        except Exception as error:
            what = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
            logging.getLogger(__name__).warning(
                f"{path}: {what}; the best epoch from here on will be written there"
            )
            return None
