"""Reads and writes the checkpoints of a run, `checkpoints/last.ckpt` and `checkpoints/best.ckpt`.

torch is imported when a checkpoint is written or read, not with this module.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deformlab.errors import CheckpointError, ConfigError, RunFolderError
from deformlab.run_folder.config import read_config
from deformlab.run_folder.files import replacing
from deformlab.run_folder.result import Result, read_result

__all__ = [
    "RecordedTraining",
    "TrainingRecord",
    "check_checkpoint",
    "checkpoint_folder",
    "last_checkpoint",
    "write_checkpoint",
]

# The entry of a checkpoint that contains its `TrainingRecord`.
RECORD = "deformlab"


def checkpoint_folder(run_dir: Path) -> Path:
    """The folder of a run's checkpoints."""
    return run_dir / "checkpoints"


def last_checkpoint(run_dir: Path) -> Path:
    """The file of the latest epoch's checkpoint."""
    return checkpoint_folder(run_dir) / "last.ckpt"


@dataclass(frozen=True)
class TrainingRecord:
    """The description of a training that its checkpoint contains besides weights and the trainer's state.

    Args:
        config: The resolved configuration.
        classes: Names of the classes in label order.
        data: The data set's name, fingerprint and number of images by split.
        epochs: The rows of metrics.csv so far.
        thresholds: The two areas that separated small, medium and large objects at the latest validation;
            empty before the first one.
        seconds: Duration of the training so far.
        peak_memory_bytes: Peak memory of the training's processes so far.
    """

    config: dict[str, Any]
    classes: list[str]
    data: dict[str, Any]
    epochs: list[dict[str, Any]]
    thresholds: list[float]
    seconds: float
    peak_memory_bytes: int

    def add_to(self, checkpoint: dict[str, Any]) -> None:
        """Adds the record to a checkpoint's content."""
        checkpoint[RECORD] = asdict(self)

    @classmethod
    def of(cls, checkpoint: dict[str, Any]) -> "TrainingRecord | None":
        """The record in a checkpoint's content; None if a version without records wrote it."""
        content = checkpoint.get(RECORD)
        return None if content is None else cls(**content)


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint; if that fails, an existing file is kept.

    Args:
        checkpoint: The checkpoint's content.
        path: The file.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written.
    """
    import torch

    kept = "the previous checkpoint is kept: " if path.is_file() else ""
    try:
        with replacing(path) as file:
            torch.save(checkpoint, file)
    # torch reports a full disk as a RuntimeError.
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CheckpointError(
            f"{path}: cannot be written ({reason}); {kept}free space and start the same command again"
        ) from error


def check_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint without the values of its tensors, to detect a broken file early.

    Args:
        path: The checkpoint of a training.

    Returns:
        The checkpoint's content; its tensors are on the meta device.

    Raises:
        CheckpointError: The file is missing, damaged or not the checkpoint of a training.
    """
    import torch

    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint; the run folder has none (perhaps it was copied without its "
            "checkpoints); give --ckpt_path FILE.ckpt"
        )
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="meta")
    except Exception as error:
        raise CheckpointError(
            f"{path}: is damaged or not a checkpoint of deformlab; use another checkpoint, for example "
            "best.ckpt in the same folder"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint or "loops" not in checkpoint:
        raise CheckpointError(
            f"{path}: contains weights but no training; to start from them, use --model.init_weights instead"
        )
    return checkpoint


@dataclass(frozen=True)
class RecordedTraining:
    """A training as described by a checkpoint and its run folder.

    Args:
        run_dir: The run folder.
        checkpoint: The checkpoint's file.
        config: The resolved configuration of the training.
        epochs: The number of complete epochs.
        steps: The number of optimizer steps.
        classes: Names of the classes in label order; empty if an older version wrote the checkpoint and
            result.json is missing.
        data: The data set's name, fingerprint and number of images by split; empty if an older version wrote
            the checkpoint.
        result: The content of result.json; None if it is missing or damaged.
    """

    run_dir: Path
    checkpoint: Path
    config: dict[str, Any]
    epochs: int
    steps: int
    classes: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    result: Result | None = None

    @classmethod
    def read(cls, checkpoint: Path) -> "RecordedTraining":
        """Reads a checkpoint; for one of an older version, also config.yaml and result.json.

        Args:
            checkpoint: The checkpoint's file in its run folder.

        Raises:
            CheckpointError: The checkpoint is missing, damaged or not that of a training.
            RunFolderError: The checkpoint does not contain its configuration, and config.yaml is missing.
        """
        content = check_checkpoint(checkpoint)
        record = TrainingRecord.of(content)
        run_dir = checkpoint.parent.parent
        try:
            result = read_result(run_dir)
        except RunFolderError:
            result = None
        return cls(
            run_dir=run_dir,
            checkpoint=checkpoint,
            config=_config_beside(checkpoint) if record is None else record.config,
            epochs=int(content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]),
            steps=int(content["global_step"]),
            classes=tuple(record.classes if record else result.classes if result else ()),
            data=dict(record.data) if record else {},
            result=result,
        )

    @property
    def finished(self) -> bool:
        """Whether the training has ended and its final network was measured."""
        return self.result is not None and self.result.status == "finished"

    @property
    def complete(self) -> bool:
        """Whether all planned epochs or steps are trained."""
        trainer = self.config.get("trainer") or {}
        epochs, steps = trainer.get("max_epochs") or -1, trainer.get("max_steps") or -1
        return self.finished or 0 < epochs <= self.epochs or 0 < steps <= self.steps

    def check_classes(self, classes: tuple[str, ...]) -> None:
        """Refuses data whose classes differ from those of the training.

        Args:
            classes: Names of the classes of the data in label order.

        Raises:
            ConfigError: The classes differ; the message names the first difference.
        """
        if not self.classes or self.classes == tuple(classes):
            return
        pairs = zip(self.classes, classes, strict=False)
        position, differing = next(
            ((number, pair) for number, pair in enumerate(pairs) if pair[0] != pair[1]), (None, None)
        )
        detail = (
            f"class {position} is {differing[0]!r} in the training and {differing[1]!r} in the data"
            if differing
            else f"the training has {len(self.classes)} classes, the data {len(classes)}"
        )
        raise ConfigError(f"the classes of the data differ from those of the training: {detail}")


def _config_beside(checkpoint: Path) -> dict[str, Any]:
    try:
        return read_config(checkpoint.parent.parent)
    except RunFolderError as error:
        raise RunFolderError(
            f"{checkpoint.parent.parent / 'config.yaml'}: no such file, so the configuration of "
            f"{checkpoint.name} is unknown; restore the file, or give another --run_dir"
        ) from error
