"""A trial: the runs of one configuration that differ in their seed only.

Its scores are those after the last epoch, as the papers report them, never the best epoch's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deformlab.analysis.estimate import Measure, over_seeds, pool
from deformlab.analysis.run import CONV5_KINDS, Run, natural
from deformlab.analysis.settings import read_settings


@dataclass(frozen=True)
class Trial:
    """Runs of one configuration, seeds ascending, then those without one; never empty."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """The run of the smallest seed, for what all runs of the trial share."""
        return self.runs[0]

    @property
    def name(self) -> str:
        """Name in the sweep file."""
        return self.first.trial

    @property
    def deformable(self) -> bool:
        """Whether some layer learns offsets, modulated or not."""
        return self.first.conv5 != "atrous"

    @property
    def dilation(self) -> int:
        """Dilation of the 3x3 convolutions of conv5."""
        return self.first.dilation

    @property
    def description(self) -> str:
        """What it is in the papers' terms: `deformable, 3 layers, d = 2`."""
        if not self.deformable:
            return f"atrous, d = {self.dilation}"
        number = self.first.deformable_layers
        return f"{self.first.conv5}, {number} layer{'' if number == 1 else 's'}, d = {self.dilation}"

    @property
    def miou(self) -> Measure:
        """Mean IoU in percent over seeds."""
        measure = over_seeds([100 * run.miou for run in self.runs])
        assert measure is not None
        return measure

    @property
    def layers(self) -> list[str]:
        """Layers whose effective dilation was measured, the last one first, as the paper lists them."""
        names = {part.layer for run in self.runs for part in run.effective_dilation}
        return sorted(names, key=natural, reverse=True)

    def effective_dilation(self, layer: str, size: str) -> Measure:
        """Effective dilation of a layer's filters of one object size, the filters of all seeds pooled."""
        parts = (part for run in self.runs for part in run.effective_dilation)
        return pool(part for part in parts if (part.layer, part.size) == (layer, size))

    def effective_dilation_inside(self, layer: str, size: str) -> Measure:
        """As `effective_dilation`, over the filters away from the border of the map."""
        parts = (part.inside for run in self.runs for part in run.effective_dilation)
        return pool(part for part in parts if part is not None and (part.layer, part.size) == (layer, size))

    @property
    def knows_border(self) -> bool:
        """Whether every seed recorded which filters are away from the border of their map."""
        return all(part.inside is not None for run in self.runs for part in run.effective_dilation)

    def effective_dilation_over_seeds(self, layer: str, size: str) -> Measure | None:
        """Mean and spread over seeds of each seed's mean; None where no seed has filters."""
        alone = [Trial((run,)).effective_dilation(layer, size) for run in self.runs]
        return over_seeds([measure.mean if measure.count else None for measure in alone], digits=2)

    @property
    def order(self) -> tuple:
        """Sort key: atrous, deformable, modulated; then number of layers; then dilation."""
        return CONV5_KINDS.index(self.first.conv5), self.layers_key, self.dilation, natural(self.name)

    @property
    def layers_key(self) -> float:
        """Number of deformable layers as a sort key, infinite for all."""
        number = self.first.deformable_layers
        return math.inf if number == "all" else float(number)


def descriptions(trials: Sequence[Trial]) -> dict[str, str]:
    """What each trial is, by name.

    Trials that would have the same description also say in which settings they differ.
    """
    kinds: dict[str, list[Trial]] = {}
    for trial in trials:
        kinds.setdefault(trial.description, []).append(trial)
    found = {}
    for description, alike in kinds.items():
        differences = _differences(alike) if len(alike) > 1 else [()]
        for trial, own in zip(alike, differences, strict=True):
            found[trial.name] = ", ".join([description, *own])
    return found


def _differences(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """For each trial its value of the settings that tell the trials apart, as few as are needed."""
    settings = [read_settings(trial.first) for trial in trials]
    # A setting of the same name in two sections of the configuration, with the same values, is one.
    columns = dict.fromkeys(
        tuple(f"{name.split('.')[-1]} = {known.get(name, '–')}" for known in settings)
        for name in sorted({name for known in settings for name in known})
        if len({known.get(name) for known in settings}) > 1
    )
    rows: list[tuple[str, ...]] = [()] * len(trials)
    for column in columns:
        longer = [(*row, value) for row, value in zip(rows, column, strict=True)]
        if len(set(longer)) > len(set(rows)):
            rows = longer
    return rows


def trials_of(runs: Sequence[Run]) -> tuple[Trial, ...]:
    """Runs grouped by the name of their trial, in the order of the tables."""
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.seed is None, run.seed or 0)):
        groups.setdefault(run.trial, []).append(run)
    return tuple(sorted((Trial(tuple(group)) for group in groups.values()), key=lambda trial: trial.order))
