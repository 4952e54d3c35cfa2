"""A number of a report and how sure it is: its spread, its interval, and how many values are behind it."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number with whatever is known of its uncertainty; None where something is not known.

    Attributes:
        value: The number. NaN prints as a dash.
        std: Standard deviation: over seeds, unless the table says that it is over filters.
        low: Lower bound of the 95 % interval.
        high: Upper bound of it.
        count: How many filters or seeds are behind the number.
        digits: Decimals to print; the numbers themselves are not rounded.
        signed: Whether positive numbers are printed with their sign.
        seeds: The number of each seed alone; None for a seed that has none.
    """

    value: float
    std: float | None = None
    low: float | None = None
    high: float | None = None
    count: int | None = None
    digits: int = 1
    signed: bool = False
    seeds: tuple[float | None, ...] = ()

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both bounds, or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def __str__(self) -> str:
        """`value ± std [low, high] (n = count)`, as far as they are known."""
        if math.isnan(self.value):
            return "–"
        sign = "+" if self.signed else ""
        words = f"{self.value:{sign}.{self.digits}f}"
        if self.std is not None:
            words += f" ± {self.std:.{self.digits}f}"
        if self.interval is not None:
            words += f" [{self.low:{sign}.{self.digits}f}, {self.high:{sign}.{self.digits}f}]"
        if self.count is not None:
            words += f" (n = {self.count:,})"
        return words


def over_seeds(values: Sequence[float | None], digits: int = 1) -> Estimate | None:
    """Mean and sample standard deviation (n - 1) of one value per seed; None if no seed has a value."""
    known = _known(values)
    if not known:
        return None
    return Estimate(statistics.fmean(known), spread(values), digits=digits, seeds=tuple(values))


def spread(values: Sequence[float | None]) -> float | None:
    """Sample standard deviation (n - 1) over seeds; None if fewer than two have a value."""
    known = _known(values)
    return statistics.stdev(known) if len(known) > 1 else None


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None and not math.isnan(value)]
