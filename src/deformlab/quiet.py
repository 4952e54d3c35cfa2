"""Silences messages of Lightning and jsonargparse that are meant for developers, not for users."""

import logging
import os
import warnings

__all__ = ["silence_developer_messages"]

NOISE = (
    "GPU available",
    "TPU available",
    "HPU available",
    "Tip:",
    "💡",
    "Seed set to",
    "`Trainer.fit` stopped",
    "Loading `train_dataloader`",
    "Restor",
    "Detected KeyboardInterrupt",
    "Using bfloat16",
    "Using 16bit",
    "litlogger",
    "Loaded model weights",
    "Initializing distributed",
    "All distributed processes registered",
)


def silence_developer_messages() -> None:
    """Silences messages of Lightning and jsonargparse that are meant for developers, not for users."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    for text in (
        ".*does not have many workers.*",
        ".*number of training batches.*",
        ".*args parameter is intended to run from within Python.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
        ".*Be aware that when using `ckpt_path`.*",
        # Our metrics are reduced by torchmetrics before they are logged.
        ".*It is recommended to use `self.log\\(.*sync_dist=True.*",
        ".*The `srun` command is available.*",
        ".*You restored a checkpoint with current_epoch.*",
        ".*lr_scheduler.step\\(\\).*before.*optimizer.step.*",
    ):
        warnings.filterwarnings("ignore", message=text)
    for name in (
        "pytorch_lightning.utilities.rank_zero",
        "lightning_fabric.utilities.seed",
        "lightning_fabric.utilities.distributed",
    ):
        logging.getLogger(name).addFilter(_is_for_users)


def _is_for_users(record: logging.LogRecord) -> bool:
    return not any(text in record.getMessage() for text in NOISE)
