"""What a checkpoint and its run folder say of a training: its options, its classes, and how far it is."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deformlab.callbacks import RECORD, check_checkpoint
from deformlab.errors import ConfigError, RunFolderError
from deformlab.run_folder.files import read_json
from deformlab.yaml_file import read_yaml

__all__ = ["RecordedTraining", "evaluation_configuration", "for_evaluation"]

EVALUATION_PARTS = ("seed_everything", "model", "data")
# What of the trainer's options an evaluation takes over; all others say how and where a training ran.
EVALUATION_OPTIONS = ("precision", "limit_val_batches")


@dataclass(frozen=True)
class RecordedTraining:
    """A training as it was recorded.

    Args:
        run_dir: The run folder.
        checkpoint: The checkpoint's file.
        config: The configuration it was trained with.
        epochs: Whole epochs that the checkpoint was trained for.
        steps: Steps of the optimizer.
        classes: Names of the classes; empty where an older version wrote the checkpoint and result.json is
            gone.
        data: Fingerprints by split; empty for an older version.
        result: The content of result.json; empty where it is missing or damaged.
    """

    run_dir: Path
    checkpoint: Path
    config: dict[str, Any]
    epochs: int
    steps: int
    classes: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, checkpoint: Path) -> "RecordedTraining":
        """Reads what is recorded in a checkpoint, and for one of an older version beside it.

        Raises:
            CheckpointError: The checkpoint is missing, damaged or holds no training.
            RunFolderError: Nothing says what it was trained with.
        """
        content = check_checkpoint(checkpoint)
        run_dir = checkpoint.parent.parent
        record = content.get(RECORD) or {}
        try:
            result = read_json(run_dir / "result.json")
        except RunFolderError:
            result = {}
        loops = content["loops"]["fit_loop"]
        return cls(
            run_dir=run_dir,
            checkpoint=checkpoint,
            config=record["config"] if record else _old_config(run_dir, checkpoint),
            epochs=int(loops["epoch_progress"]["current"]["processed"]),
            steps=int(content["global_step"]),
            classes=tuple(record.get("classes") or result.get("classes") or ()),
            data=dict(record.get("data") or {}),
            result=result,
        )

    @property
    def complete(self) -> bool:
        """Whether nothing is left to train."""
        trainer = self.config.get("trainer") or {}
        epochs, steps = trainer.get("max_epochs") or -1, trainer.get("max_steps") or -1
        return self.result.get("status") == "finished" or 0 < epochs <= self.epochs or 0 < steps <= self.steps

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


def evaluation_configuration(run_dir: Path) -> dict[str, Any]:
    """What an evaluation takes of a run's config.yaml: the model, the data and the precision.

    A run folder may be somebody else's. Nothing in it is imported or called.

    Raises:
        ConfigError: The file is not YAML, or names a class to import.
        RunFolderError: There is no such file.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise RunFolderError(f"{path}: there is no such file; --run_dir names a folder that fit wrote")
    config = read_yaml(path, "configuration")
    taken = for_evaluation(config)
    if _names_a_class(taken):
        raise ConfigError(f"{path}: names a class_path; a run's model and data are never imported from it")
    return taken


def for_evaluation(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a training's configuration that an evaluation takes over."""
    trainer = config.get("trainer")
    trainer = trainer if isinstance(trainer, dict) else {}
    parts: dict[str, Any] = {
        name: config[name] for name in ("model", "data", "seed_everything") if name in config
    }
    return {**parts, "trainer": {name: trainer[name] for name in EVALUATION_OPTIONS if name in trainer}}


def _names_a_class(value: Any) -> bool:
    if isinstance(value, dict):
        return "class_path" in value or any(map(_names_a_class, value.values()))
    return isinstance(value, list) and any(map(_names_a_class, value))


def _old_config(run_dir: Path, checkpoint: Path) -> dict[str, Any]:
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise RunFolderError(
            f"{path}: there is no such file, so nothing says what {checkpoint.name} was trained with; "
            "restore it, or give another --run_dir"
        )
    return read_yaml(path, "configuration")
