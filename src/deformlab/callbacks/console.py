"""One line an epoch where no progress bar can be drawn: log files, pipes and continuous integration."""

import time

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info

from deformlab.tasks import SemanticSegmentation

__all__ = ["EpochLines"]


class EpochLines(pl.Callback):
    """Prints epoch, mean loss (as in metrics.csv), mIoU and seconds after every validation."""

    def __init__(self) -> None:
        self._started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the epoch's clock."""
        self._started = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prints the line."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        assert isinstance(pl_module, SemanticSegmentation)
        miou = float(trainer.callback_metrics.get("val/miou", float("nan")))
        rank_zero_info(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {pl_module.train_loss:.3f}  "
            f"mIoU {100 * miou:.1f} %  {time.monotonic() - self._started:.1f} s"
        )
