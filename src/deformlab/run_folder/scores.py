"""The names of scores in files, and their labels in tables and messages.

A task logs its score as `<split>/<name>` (`val/miou`) and each class score as
`<split>/<class score>/<class>` (`val/iou/car`). All scores are fractions from 0 to 1.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["SCORES", "Mode", "ScoreFormat", "finite", "format_score"]

Mode = Literal["max", "min"]


@dataclass(frozen=True)
class ScoreFormat:
    """The names and labels of one score.

    Args:
        label: The score's label, as in the heading of a table.
        class_score: The name of the corresponding class score.
        class_label: The label of the class score.
    """

    label: str
    class_score: str
    class_label: str

    @property
    def heading(self) -> str:
        """Label and unit, for example `mIoU %`."""
        return f"{self.label} %"


SCORES = {"miou": ScoreFormat(label="mIoU", class_score="iou", class_label="IoU")}
"""The format of each score, by its name."""


def format_score(value: float | None) -> str:
    """A score in percent with one decimal, for example `45.3 %`; `not defined` for None."""
    return "not defined" if value is None else f"{100 * value:.1f} %"


def finite(value: Any) -> float | None:
    """A value as a float; None if it is not a number, infinite or nan, which JSON cannot represent."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
