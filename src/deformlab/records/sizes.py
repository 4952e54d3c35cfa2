"""Object sizes: which objects are small, medium and large.

Defaults as in DCNv1, section 3: by the area of the bounding box, with thresholds 96² and 224² pixels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from deformlab.errors import ConfigError
from deformlab.records.records import ObjectRecords

SIZES = ("small", "medium", "large", "background")
"""The sizes in the order of the tables."""


@dataclass(frozen=True)
class SizeRule:
    """How an object's size is measured, and the thresholds for small and large objects.

    Args:
        thresholds: Two areas in pixels, 0 < first <= second: objects below the first are small, above the
            second large, otherwise medium. Or `thirds`: the terciles of the evaluated objects' areas, which
            are equal if all objects have the same size.
        area: `box`, the area of the object's bounding box (as in the paper), or `mask`, the number of its
            pixels.
        pixels: Measure areas in pixels of the `original` label map or of the `network`'s input.

    Raises:
        ConfigError: A value is not legal.
    """

    thresholds: Sequence[float] | Literal["thirds"] = (96.0**2, 224.0**2)
    area: Literal["box", "mask"] = "box"
    pixels: Literal["original", "network"] = "original"

    def __post_init__(self) -> None:
        """Checks the values."""
        given = self.thresholds
        if isinstance(given, str):
            legal, shown = given == "thirds", repr(given)
        else:
            legal, shown = len(given) == 2 and 0 < given[0] <= given[1] < math.inf, str(list(given))
        if not legal:
            raise ConfigError(
                "object_sizes (thresholds) must be two areas with 0 < first <= second, or thirds, got "
                + shown
            )
        for name, value, values in (
            ("object_area (area)", self.area, ("box", "mask")),
            ("object_pixels (pixels)", self.pixels, ("original", "network")),
        ):
            if value not in values:
                raise ConfigError(f"{name} must be {' or '.join(values)}, got {value!r}")

    def areas(self, records: ObjectRecords) -> npt.NDArray[np.float64]:
        """(R,) area of each row's object in pixels; 0 for background."""
        area = records.box_area if self.area == "box" else records.mask_area
        return area * records.scale if self.pixels == "network" else area

    def thresholds_of(self, records: ObjectRecords) -> tuple[float, float] | None:
        """The two threshold areas in pixels; None for `thirds` if the records have no objects."""
        if not isinstance(self.thresholds, str):
            return float(self.thresholds[0]), float(self.thresholds[1])
        areas = self.areas(records)[records.is_object]
        if not len(areas):
            return None
        low, high = np.quantile(areas, (1 / 3, 2 / 3))
        return float(low), float(high)

    def sizes(self, records: ObjectRecords) -> npt.NDArray[np.int64]:
        """(R,) index into `SIZES` of each row's size."""
        thresholds = self.thresholds_of(records)
        if thresholds is None:
            return np.full(len(records.object), SIZES.index("background"))
        areas = self.areas(records)
        size = 1 + (areas > thresholds[1]).astype(np.int64) - (areas < thresholds[0])
        return np.where(records.is_object, size, SIZES.index("background"))

    def describe(self, records: ObjectRecords, assignment: str) -> dict[str, Any]:
        """The rule as `result.json` stores it under `measurement.sizes`.

        Args:
            records: The records that the rule was applied to.
            assignment: How filters were assigned to objects: `mask` or `box`.

        Returns:
            `thresholds` (the two areas; None without objects), `thirds`, `area`, `pixels`, `assignment`.
        """
        return {
            "thresholds": self.thresholds_of(records),
            "thirds": self.thresholds == "thirds",
            "area": self.area,
            "pixels": self.pixels,
            "assignment": assignment,
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> "SizeRule":
        """The rule from the output of `describe`, with the thresholds that were used.

        Args:
            description: With the keys `thresholds`, `area` and `pixels`.

        Raises:
            ConfigError: A value is not legal.
            KeyError: `thresholds`, `area` or `pixels` is missing.
            TypeError: The thresholds are not two numbers.
        """
        # Without objects there are no thresholds, and the defaults do no harm.
        thresholds = description["thresholds"] or cls().thresholds
        return cls(thresholds, description["area"], description["pixels"])
