"""One run: what `fit` left in its run folder; `run_reader` reads it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deformlab.objects import ObjectRecords, SizeRule
from deformlab.run_folder import MEASUREMENT_VERSION, Evaluation, Measurement

SIZES = ("small", "medium", "large", "background")


@dataclass(frozen=True)
class FilterStatistics:
    """Effective dilation of one layer's filters that belong to one object size, in feature-map cells.

    `inside` has the same over the filters away from the border of the map, None where that was not recorded.
    """

    layer: str
    size: str
    mean: float
    std: float
    count: int
    inside: "FilterStatistics | None" = None


@dataclass(frozen=True)
class Run:
    """One finished training: a trial with one seed. Scores are fractions, times seconds.

    `measurement` is the version and the options that effective dilation and objects were measured with.
    `data` has what identifies the data of `train` and `val`; runs that did not record it have none.
    """

    folder: Path
    trial: str
    seed: int | None
    role: str
    dataset: str
    classes: tuple[str, ...]
    model: dict[str, Any]
    miou: float
    best_miou: float | None
    iou: dict[str, float | None]
    epochs: int
    parameters: int
    seconds: float | None
    images_per_second: float | None
    peak_memory_bytes: int | None
    thresholds: tuple[float, ...]
    provenance: dict[str, str]
    init_from: str | None
    effective_dilation: tuple[FilterStatistics, ...]
    curves: tuple[dict[str, float], ...]
    palette: tuple[str, ...] = ()
    objects: ObjectRecords | None = None
    size_rule: SizeRule = field(default_factory=SizeRule)
    max_epochs: int | None = None
    measurement: Measurement = field(default_factory=lambda: Measurement(MEASUREMENT_VERSION, {}))
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    evaluations: tuple[Evaluation, ...] = ()

    @property
    def conv5(self) -> str:
        """Kind of the 3x3 convolutions of conv5: atrous, deformable or modulated."""
        return str(self.model["conv5"])

    @property
    def dilation(self) -> int:
        """Dilation of the 3x3 convolutions of conv5."""
        return int(self.model["dilation"])

    @property
    def deformable_layers(self) -> int | str:
        """Number of deformable layers; 0 for an atrous network, "all" for every 3x3 of conv3 to conv5."""
        if self.conv5 == "atrous":
            return 0
        number = self.model["num_deformable_layers"]
        return number if number == "all" else int(number)


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key that puts `layer3.5` before `layer3.22`."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]
