"""`checkpoints/last.ckpt` and `best.ckpt`: where they are, what they record, how they are written and read.

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

# The entry of a checkpoint that says what was trained, on what, and how it went.
RECORD = "deformlab"


def checkpoint_folder(run_dir: Path) -> Path:
    """Where the checkpoints of a run are."""
    return run_dir / "checkpoints"


def last_checkpoint(run_dir: Path) -> Path:
    """The checkpoint of the newest epoch."""
    return checkpoint_folder(run_dir) / "last.ckpt"


@dataclass(frozen=True)
class TrainingRecord:
    """What a checkpoint records of its training beside weights and the trainer's state.

    Args:
        config: The resolved configuration.
        classes: Names of the classes, in label order.
        data: Fingerprints by split.
        epochs: The rows of metrics.csv so far.
        thresholds: Areas that divided small, medium and large objects at the latest validation; empty before.
        seconds: Spent so far.
        peak_memory_bytes: The most that a process held so far.
    """

    config: dict[str, Any]
    classes: list[str]
    data: dict[str, Any]
    epochs: list[dict[str, Any]]
    thresholds: list[float]
    seconds: float
    peak_memory_bytes: int

    def add_to(self, checkpoint: dict[str, Any]) -> None:
        """Puts the record into a checkpoint that is about to be written."""
        checkpoint[RECORD] = asdict(self)

    @classmethod
    def of(cls, checkpoint: dict[str, Any]) -> "TrainingRecord | None":
        """The record of a checkpoint; None where a version before records wrote it."""
        content = checkpoint.get(RECORD)
        return None if content is None else cls(**content)


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint; the file that is there survives a failure.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written.
    """
    import torch

    kept = "the previous checkpoint is kept: " if path.is_file() else ""
    try:
        with replacing(path) as file:
            torch.save(checkpoint, file)
    # torch's own writer reports a full disk as a RuntimeError.
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CheckpointError(
            f"{path}: cannot be written ({reason}); {kept}free space and start the same command again"
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
    import torch

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


@dataclass(frozen=True)
class RecordedTraining:
    """What a checkpoint and its run folder say of a training.

    Args:
        run_dir: The run folder.
        checkpoint: The checkpoint's file.
        config: The configuration it was trained with.
        epochs: Whole epochs that the checkpoint was trained for.
        steps: Steps of the optimizer.
        classes: Names of the classes; empty where an older version wrote the checkpoint and result.json is
            gone.
        data: Fingerprints by split; empty for an older version.
        result: What result.json says; None where it is missing or damaged.
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
        """Reads what is recorded in a checkpoint, and for one of an older version beside it.

        Raises:
            CheckpointError: The checkpoint is missing, damaged or holds no training.
            RunFolderError: Nothing says what it was trained with.
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
        """Whether the training has ended and its network was measured."""
        return self.result is not None and self.result.status == "finished"

    @property
    def complete(self) -> bool:
        """Whether nothing is left to train."""
        trainer = self.config.get("trainer") or {}
        epochs, steps = trainer.get("max_epochs") or -1, trainer.get("max_steps") or -1
        return self.finished or 0 < epochs <= self.epochs or 0 < steps <= self.steps

    def check_classes(self, classes: tuple[str, ...]) -> None:
        """Refuses data with other classes than the network was trained for.

        Raises:
            ConfigError: It names the first class that differs.
        """
        if not self.classes or self.classes == tuple(classes):
            return
        pairs = zip(self.classes, classes, strict=False)
        position, differing = next(
            ((number, pair) for number, pair in enumerate(pairs) if pair[0] != pair[1]), (None, None)
        )
        detail = (
            f"class {position} is {differing[0]!r} in the training and {differing[1]!r} here"
            if differing
            else f"the training has {len(self.classes)} classes, the data {len(classes)}"
        )
        raise ConfigError(f"the data have other classes than the network was trained for: {detail}")


def _config_beside(checkpoint: Path) -> dict[str, Any]:
    try:
        return read_config(checkpoint.parent.parent)
    except RunFolderError as error:
        raise RunFolderError(
            f"{checkpoint.parent.parent / 'config.yaml'}: there is no such file, so nothing says what "
            f"{checkpoint.name} was trained with; restore it, or give another --run_dir"
        ) from error
