"""Progress of a training: a bar on a terminal, one line per epoch in log files and pipes."""

import time

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.utilities import rank_zero_info

from deformlab.callbacks.score import logged_score

__all__ = ["EpochBar", "EpochLines"]


class EpochBar(RichProgressBar):
    """Lightning's progress bar, with epochs counted from 1 as in `EpochLines`."""

    def _get_train_description(self, current_epoch: int) -> str:
        epochs = self.trainer.max_epochs
        return f"epoch {current_epoch + 1}" + (f"/{epochs}" if epochs and epochs > 0 else "")


class EpochLines(pl.Callback):
    """Prints a line after every validation: epoch, mean loss (as in metrics.csv), score and seconds."""

    def __init__(self) -> None:
        self._started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the epoch's clock."""
        self._started = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prints the line."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        score = logged_score(pl_module, trainer.callback_metrics, "val")
        epochs = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        rank_zero_info(
            f"epoch {trainer.current_epoch + 1}{epochs}  loss {pl_module.train_loss:.3f}  "
            f"{score.text}  {time.monotonic() - self._started:.1f} s"
        )
