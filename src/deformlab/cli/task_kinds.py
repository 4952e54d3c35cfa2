"""The tasks of the command line: for each, its LightningModule, its data module and its output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deformlab.callbacks import DetectionPictures, DetectionWriter, PredictionPictures, PredictionWriter
from deformlab.data import SegmentationDataModule
from deformlab.data.detection import DetectionDataModule
from deformlab.errors import ConfigError
from deformlab.run_folder.identity import DEFAULT_TASK
from deformlab.tasks import BaseTask, Detection, SemanticSegmentation
from deformlab.yaml_file import parse_yaml

__all__ = ["TASKS", "TaskKind", "chosen_task", "task_kind"]


@dataclass(frozen=True)
class TaskKind:
    """What the command line builds for a task.

    Args:
        task: The LightningModule, whose arguments are the options `model.*`.
        datamodule: The LightningDataModule, whose arguments are the options `data.*`.
        pictures: The callback that draws predictions during training; called with the run folder.
        writer: The callback that writes the results of `predict`; called with the output folder.
    """

    task: type[BaseTask]
    datamodule: type[Any]
    pictures: type[Any]
    writer: type[Any]


TASKS = {
    "segmentation": TaskKind(
        SemanticSegmentation, SegmentationDataModule, PredictionPictures, PredictionWriter
    ),
    "detection": TaskKind(Detection, DetectionDataModule, DetectionPictures, DetectionWriter),
}
"""The tasks by their names in configurations."""


def task_kind(configuration: Mapping[str, Any]) -> TaskKind:
    """The task of a configuration.

    Raises:
        ConfigError: No task has this name.
    """
    name = configuration.get("task", DEFAULT_TASK)
    if name not in TASKS:
        raise ConfigError(f"task: {name!r} must be one of {', '.join(TASKS)}")
    return TASKS[name]


def chosen_task(arguments: Sequence[str]) -> str:
    """The name of the task that a command line chooses, by `--task` or in a configuration.

    The options of a verb depend on the task, so it must be known before the arguments are parsed. An
    unreadable configuration is ignored here; the parser reports it.

    Args:
        arguments: The command line from the verb on.
    """
    name = DEFAULT_TASK
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if option not in ("--task", "-c", "--config"):
            continue
        value = value if equals else next(words, "")
        name = value if option == "--task" else _task_of(value) or name
    return name


def _task_of(config: str) -> str | None:
    """The task in a configuration, given as a file's name or as YAML text."""
    try:
        content = parse_yaml(config)
        if isinstance(content, str):
            with open(content, encoding="utf-8") as file:
                content = parse_yaml(file.read())
    except Exception:  # whatever it is, the parser reads it again and says what is wrong
        return None
    task = content.get("task") if isinstance(content, dict) else None
    return task if isinstance(task, str) else None
