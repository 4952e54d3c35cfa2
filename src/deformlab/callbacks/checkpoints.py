"""Writing of the two checkpoints that a run keeps, best.ckpt and last.ckpt.

If the disk is full, the old file is kept. A run folder may be moved or copied before a training is resumed.
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
    """Writes checkpoints atomically, like all files of a run folder."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Saves a checkpoint.

        Args:
            checkpoint: The checkpoint's content.
            path: The file; if it exists, a failure leaves it unchanged.
            storage_options: Unused; part of Lightning's interface.

        Raises:
            CheckpointError: The disk is full or the folder cannot be written.
        """
        write_checkpoint(checkpoint, Path(path))


class LastCheckpoint(ModelCheckpoint):
    """Writes last.ckpt after every epoch.

    This is a separate callback, because with Lightning's `save_last`, last.ckpt is only written when the best
    checkpoint changes.

    Args:
        directory: The folder of the checkpoints.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
        )

    def state_dict(self) -> dict[str, Any]:
        """An empty state, because the file name is fixed."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Does nothing, because there is no state."""


class BestCheckpoint(ModelCheckpoint):
    """Writes best.ckpt after every epoch whose score is better than all earlier ones.

    A resumed training reads the score to beat from best.ckpt itself. Lightning would read it from last.ckpt,
    and only if the folder had not moved; otherwise the next epoch would replace a better network.

    Args:
        directory: The folder of the checkpoints.
        monitor: Name of the logged score.
        mode: `max` if a higher score is better, `min` if a lower one is.
    """

    def __init__(self, directory: Path, monitor: str, mode: Mode) -> None:
        super().__init__(directory, filename="best", monitor=monitor, mode=mode, enable_version_counter=False)

    def state_dict(self) -> dict[str, Any]:
        """The best score and its name."""
        return {"monitor": self.monitor, "best_model_score": self.best_model_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Does nothing, because a training is resumed from last.ckpt, not from best.ckpt."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reads the score of best.ckpt if a training is resumed."""
        if trainer.ckpt_path is None:
            return
        path = Path(self.format_checkpoint_name({}))
        # Only one process reads the file, so that all agree even if the others cannot access the folder.
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
                f"{path}: {what}; the best of the following epochs will be written there"
            )
            return None
