"""Checkpoints that survive a full disk: the old file stays until the new one is whole."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from deformlab.errors import CheckpointError
from deformlab.run_folder.files import replacing

__all__ = ["AtomicCheckpointIO", "check_checkpoint"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the old checkpoint, flushes to disk, then takes the old one's place."""

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
        target = Path(path)
        kept = "the previous checkpoint is kept: " if target.is_file() else ""
        try:
            with replacing(target) as file:
                torch.save(checkpoint, file)
        # torch's own writer reports a full disk as a RuntimeError.
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise CheckpointError(
                f"{target}: cannot be written ({reason}); {kept}free space and start the same command again"
            ) from error


def check_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint's index, so that a broken file is named before anything is built.

    Args:
        path: A checkpoint of a training.

    Returns:
        Its content; tensors have shapes but no values.

    Raises:
        CheckpointError: The file is not there, is damaged or holds no training.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint; train one with deformlab fit")
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="meta")
    except Exception as error:
        raise CheckpointError(
            f"{path}: this is not a checkpoint of deformlab, or it is damaged; use another one, for example "
            "best.ckpt beside it"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint or "loops" not in checkpoint:
        raise CheckpointError(
            f"{path}: holds weights but no training; to start from them use --model.init_weights instead"
        )
    return checkpoint
