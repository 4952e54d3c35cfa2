"""The score of a task as the run folder names it."""

from collections.abc import Mapping, Sequence
from typing import Any

from deformlab.run_folder import SCORES, ClassScores, Score, finite
from deformlab.run_folder.scores import Mode

__all__ = ["class_scores", "logged_score", "monitored", "score_name"]


def monitored(task: Any) -> tuple[str, Mode]:
    """The name of the logged score, `val/miou`, and whether the max or the min of it is best."""
    return task.monitor, task.mode


def score_name(task: Any) -> str:
    """The score's key in `SCORES`, `miou`."""
    return monitored(task)[0].partition("/")[2]


def logged_score(task: Any, metrics: Mapping[str, Any], split: str) -> Score:
    """The score of a split, among what the task logged; its `best` is None."""
    name = score_name(task)
    return Score(name, finite(metrics.get(f"{split}/{name}")), mode=monitored(task)[1])


def class_scores(task: Any, metrics: Mapping[str, Any], split: str, classes: Sequence[str]) -> ClassScores:
    """The scores of the classes of a split, among what the task logged."""
    name = SCORES[score_name(task)].class_score
    return ClassScores(name, {label: finite(metrics.get(f"{split}/{name}/{label}")) for label in classes})
