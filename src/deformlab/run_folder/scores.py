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


SCORES = {
    "miou": ScoreFormat(label="mIoU", class_score="iou", class_label="IoU"),
    # Detection: COCO's AP over IoU thresholds 0.50 to 0.95, AP at one threshold, AP by object size, of masks.
    "ap": ScoreFormat(label="AP", class_score="ap", class_label="AP"),
    **{
        f"ap{threshold}": ScoreFormat(f"AP{threshold}", f"ap{threshold}", f"AP{threshold}")
        for threshold in (50, 70, 75)
    },
    **{
        f"ap_{size}": ScoreFormat(f"AP {size}", f"ap_{size}", f"AP {size}")
        for size in ("small", "medium", "large")
    },
    "mask_ap": ScoreFormat(label="mask AP", class_score="mask_ap", class_label="mask AP"),
    "mask_ap50": ScoreFormat(label="mask AP50", class_score="mask_ap50", class_label="mask AP50"),
    # Classification.
    "top1": ScoreFormat(label="top-1", class_score="accuracy", class_label="accuracy"),
    "top5": ScoreFormat(label="top-5", class_score="accuracy", class_label="accuracy"),
}
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
