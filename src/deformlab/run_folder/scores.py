"""How scores are named in files and shown to people: the only table of it.

A task logs its score as `<split>/<name>` (`val/miou`), and the same of each class as
`<split>/<class score>/<class>` (`val/iou/car`). All scores are fractions from 0 to 1.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["SCORES", "Mode", "ScoreFormat", "finite", "format_score"]

Mode = Literal["max", "min"]


@dataclass(frozen=True)
class ScoreFormat:
    """How one score is shown.

    Args:
        label: What people call it, as in a table's heading.
        class_score: Name of the same score of one class.
        class_label: What people call that.
    """

    label: str
    class_score: str
    class_label: str

    @property
    def heading(self) -> str:
        """Label and unit, `mIoU %`."""
        return f"{self.label} %"


SCORES = {"miou": ScoreFormat(label="mIoU", class_score="iou", class_label="IoU")}
"""How each score is shown, by its name in files."""


def format_score(value: float | None) -> str:
    """A score in percent with one decimal, `45.3 %`; `not defined` for None."""
    return "not defined" if value is None else f"{100 * value:.1f} %"


def finite(value: Any) -> float | None:
    """A value as a number; None where it is none, infinite or nan, which JSON does not have."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
