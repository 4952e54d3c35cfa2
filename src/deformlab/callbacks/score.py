"""A task's score and class scores, in the form that the run folder records."""

from collections.abc import Mapping, Sequence
from typing import Any

from deformlab.run_folder import SCORES, ClassScores, Score, finite
from deformlab.run_folder.scores import Mode

__all__ = ["class_scores", "logged_score", "monitored", "other_scores", "score_name"]


def monitored(task: Any) -> tuple[str, Mode]:
    """The name of the logged score, for example `val/miou`, and its mode, `max` or `min`."""
    return task.monitor, task.mode


def score_name(task: Any) -> str:
    """The score's key in `SCORES`, for example `miou`."""
    return monitored(task)[0].partition("/")[2]


def logged_score(task: Any, metrics: Mapping[str, Any], split: str) -> Score:
    """The score that a task logged for a split; its `best` is None.

    Args:
        task: The task.
        metrics: The logged values by name.
        split: The prefix of the logged names, for example `val`.
    """
    name = score_name(task)
    return Score(name, finite(metrics.get(f"{split}/{name}")), mode=monitored(task)[1])


def class_scores(task: Any, metrics: Mapping[str, Any], split: str, classes: Sequence[str]) -> ClassScores:
    """The class scores that a task logged for a split; None for classes without a finite score.

    Args:
        task: The task.
        metrics: The logged values by name.
        split: The prefix of the logged names, for example `val`.
        classes: The names of the classes.
    """
    name = SCORES[score_name(task)].class_score
    return ClassScores(name, {label: finite(metrics.get(f"{split}/{name}/{label}")) for label in classes})


def other_scores(task: Any, metrics: Mapping[str, Any], split: str) -> dict[str, float | None]:
    """The further scores that a task logged for a split, in the order of `SCORES`.

    Args:
        task: The task.
        metrics: The logged values by name.
        split: The prefix of the logged names, for example `val`.
    """
    return {
        name: finite(metrics[f"{split}/{name}"])
        for name in SCORES
        if name != score_name(task) and f"{split}/{name}" in metrics
    }
