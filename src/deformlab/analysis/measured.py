"""What records of objects say about one network or several seeds of it: dilation, scores, correlation."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from deformlab.analysis.run import Run
from deformlab.records import (
    DilationCells,
    FilterSums,
    ObjectRecords,
    ScoreCells,
    SizeRule,
    border_rows,
    correlations,
    dilation_cells,
    draws,
    merge_records,
    score_cells,
)


class Measured:
    """The records of runs put together, and what follows from them.

    Args:
        runs: With records of the same layers and images; at least one.
        resamples: For intervals; 1 where only the numbers are wanted.
    """

    def __init__(self, runs: Sequence[Run], resamples: int = 1000) -> None:
        self.records: ObjectRecords = merge_records([run.objects for run in runs if run.objects])
        self.rule: SizeRule = runs[0].size_rule
        self.classes = runs[0].classes
        self.images: list[str] = np.unique(self.records.image).tolist()
        self.drawn = draws(len(self.images), resamples)

    @cached_property
    def scores(self) -> ScoreCells | None:
        """None where nothing was predicted."""
        if not self.records.scored:
            return None
        return score_cells(self.records, self.rule, len(self.classes), self.images, self.drawn)

    def dilation(self, layer: str) -> DilationCells:
        """Of one layer, by size and class."""
        return self._dilation(layer, self.records.everywhere)

    def dilation_inside(self, layer: str) -> DilationCells:
        """The same over the filters away from the border of the map."""
        return self._dilation(layer, self.records.inside)

    def correlations(self, layer: str) -> list[dict]:
        """Of objects' sizes and effective dilations, by class; keys as in `objects.json`."""
        return self._correlations(layer, self.records.everywhere)

    def correlations_inside(self, layer: str) -> list[dict]:
        """The same over the filters away from the border of the map."""
        return self._correlations(layer, self.records.inside)

    def border(self, layer: str) -> list[dict]:
        """Effective dilation by distance from the border of the map; keys as in `objects.json`."""
        return border_rows(self.records, self.records.layers.index(layer), self.images, self.drawn)

    def _dilation(self, layer: str, sums: FilterSums) -> DilationCells:
        position, classes = self.records.layers.index(layer), len(self.classes)
        return dilation_cells(self.records, sums, position, self.rule, classes, self.images, self.drawn)

    def _correlations(self, layer: str, sums: FilterSums) -> list[dict]:
        position = self.records.layers.index(layer)
        return correlations(self.records, sums, position, self.rule, self.classes, self.images, self.drawn)
