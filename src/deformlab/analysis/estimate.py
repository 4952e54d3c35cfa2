"""A measured number with its spread: over seeds, or over the filters of several runs pooled.

The two spreads mean different things: over seeds it says how far a repetition may land from this one, over
filters how different the filters of one network are.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deformlab.analysis.run import FilterStatistics


@dataclass(frozen=True)
class Measure:
    """A mean, its standard deviation where more than one value is behind it, and how many filters.

    `digits` is the number of decimals to print; the numbers themselves are not rounded.
    """

    mean: float
    std: float | None = None
    count: int | None = None
    digits: int = 1


@dataclass(frozen=True)
class Estimate:
    """A number with the bounds of its 95 % interval, None where it has none.

    `digits` is the number of decimals to print; `signed` prints the sign of positive numbers too; `seeds` has
    the number of each seed alone, None where a seed has none.
    """

    value: float
    low: float | None = None
    high: float | None = None
    digits: int = 1
    signed: bool = False
    seeds: tuple[float | None, ...] = ()

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None where fewer than two have a number."""
        spread = over_seeds(self.seeds)
        return None if spread is None else spread.std


def over_seeds(values: Sequence[float | None], digits: int = 1) -> Measure | None:
    """Mean and sample standard deviation (n - 1) of one value per seed; None where no seed has a value."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    if not known:
        return None
    std = statistics.stdev(known) if len(known) > 1 else None
    return Measure(statistics.fmean(known), std, digits=digits)


def pool(parts: Iterable[FilterStatistics]) -> Measure:
    """Mean and standard deviation of all filters together, as if they had been counted in one run.

    With n_i filters of mean m_i and population standard deviation s_i in part i, N = sum n_i:
    M = sum n_i m_i / N and S^2 = sum n_i (s_i^2 + (m_i - M)^2) / N. No filters give NaN and a count of 0.
    """
    filled = [part for part in parts if part.count]
    count = sum(part.count for part in filled)
    if not count:
        return Measure(math.nan, math.nan, 0, digits=2)
    mean = sum(part.count * part.mean for part in filled) / count
    variance = sum(part.count * (part.std**2 + (part.mean - mean) ** 2) for part in filled) / count
    return Measure(mean, math.sqrt(variance), count, digits=2)
