"""A number of a report with its uncertainty: standard deviation, interval and count."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number and its uncertainty; parts that are unknown are None.

    Attributes:
        value: The number; NaN is printed as a dash.
        std: Standard deviation over seeds, unless a table says that it is over filters.
        low: Lower bound of the 95 % interval.
        high: Upper bound of the interval.
        count: Number of filters or seeds behind the value (n); None if unknown.
        digits: Decimals to print; the stored numbers are not rounded.
        signed: Whether positive numbers are printed with their sign.
        seeds: The value of each seed alone; None for a seed without a value.
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
        """Lower and upper bound; None if unknown."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def __str__(self) -> str:
        """`value ± std [low, high] (n = count)`, without the parts that are unknown."""
        if math.isnan(self.value):
            return "–"
        sign = "+" if self.signed else ""
        text = f"{self.value:{sign}.{self.digits}f}"
        if self.std is not None:
            text += f" ± {self.std:.{self.digits}f}"
        if self.interval is not None:
            text += f" [{self.low:{sign}.{self.digits}f}, {self.high:{sign}.{self.digits}f}]"
        if self.count is not None:
            text += f" (n = {self.count:,})"
        return text


def over_seeds(values: Sequence[float | None], digits: int = 1) -> Estimate | None:
    """Mean and sample standard deviation (n - 1) of one value per seed; None if no seed has a value.

    Args:
        values: The value of each seed; None or NaN for a seed without a value.
        digits: Decimals to print.
    """
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
