"""Sums over filters, per row of the records and layer, and their columns of `objects.csv`.

Shapes: R rows, L layers, G the largest number of offset groups of a layer.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class FilterSums(NamedTuple):
    """Of the filters that belong to each row.

    Attributes:
        filters: (R, L) their number.
        total: (R, L) sum of their effective dilation, groups averaged, in cells.
        squares: (R, L) sum of its squares.
        weighted: (R, L) sum of the effective dilation weighted by modulation; nan for unmodulated layers.
        group_total: (R, L, G) as `total`, per offset group; 0 beyond a layer's groups.
        group_squares: (R, L, G) sum of squares per offset group.
    """

    filters: Integers
    total: Floats
    squares: Floats
    weighted: Floats
    group_total: Floats
    group_squares: Floats

    @classmethod
    def zeros(cls, rows: int, layers: int, groups: int) -> "FilterSums":
        """Of no filters; `weighted` is nan."""
        total, squares = np.zeros((2, rows, layers))
        group_total, group_squares = np.zeros((2, rows, layers, groups))
        filters = np.zeros((rows, layers), dtype=np.int64)
        return cls(filters, total, squares, np.full((rows, layers), np.nan), group_total, group_squares)

    def columns(self, layer: int, prefix: str, modulated: bool, groups: int) -> dict[str, list[str]]:
        """The layer's columns of `objects.csv`; their names begin with `prefix`."""
        columns = {
            f"{prefix}filters": integer_column(self.filters[:, layer]),
            f"{prefix}sum": number_column(self.total[:, layer]),
            f"{prefix}sum_of_squares": number_column(self.squares[:, layer]),
        }
        if modulated:
            columns[f"{prefix}weighted_sum"] = number_column(self.weighted[:, layer])
        for group in range(groups if groups > 1 else 0):
            columns[f"{prefix}group{group}_sum"] = number_column(self.group_total[:, layer, group])
            columns[f"{prefix}group{group}_sum_of_squares"] = number_column(
                self.group_squares[:, layer, group]
            )
        return columns

    def fill(
        self, layer: int, prefix: str, modulated: bool, groups: int, columns: Mapping[str, Sequence[str]]
    ) -> None:
        """Takes a layer's sums from the columns of `objects.csv`.

        Raises:
            KeyError: A column is missing.
            ValueError: A value is no number.
        """
        self.filters[:, layer] = integers_of(columns[f"{prefix}filters"])
        self.total[:, layer] = floats_of(columns[f"{prefix}sum"])
        self.squares[:, layer] = floats_of(columns[f"{prefix}sum_of_squares"])
        if modulated:
            self.weighted[:, layer] = floats_of(columns[f"{prefix}weighted_sum"])
        if groups == 1:
            self.group_total[:, layer, 0] = self.total[:, layer]
            self.group_squares[:, layer, 0] = self.squares[:, layer]
        for group in range(groups if groups > 1 else 0):
            self.group_total[:, layer, group] = floats_of(columns[f"{prefix}group{group}_sum"])
            self.group_squares[:, layer, group] = floats_of(columns[f"{prefix}group{group}_sum_of_squares"])


def integer_column(values: Integers, there: npt.NDArray[np.bool_] | None = None) -> list[str]:
    """Integers as text, empty where not `there`."""
    if there is None:
        return [str(value) for value in values.tolist()]
    return [str(value) if known else "" for value, known in zip(values.tolist(), there.tolist(), strict=True)]


def number_column(values: Floats) -> list[str]:
    """Floats as text."""
    # Twelve digits keep sums of any data set exact to what an interval can show, at half the file's size.
    return [f"{value:.12g}" for value in values.tolist()]


def integers_of(column: Sequence[str], empty: int | None = None) -> Integers:
    """What `integer_column` wrote.

    Args:
        column: Whole numbers of 0 or more, as text.
        empty: What an empty cell stands for; None where there must be none.

    Raises:
        ValueError: A cell is no such number.
        OverflowError: A number has too many digits.
    """
    known = [cell for cell in column if cell or empty is None]
    numbers = np.array(known, dtype=np.str_).astype(np.int64)
    if (numbers < 0).any():
        raise ValueError(f"{numbers.min()} is below 0")
    if len(known) == len(column):
        return numbers
    found = np.full(len(column), empty, dtype=np.int64)
    found[[bool(cell) for cell in column]] = numbers
    return found


def floats_of(column: Sequence[str]) -> Floats:
    """What `number_column` wrote.

    Raises:
        ValueError: A cell is no finite number of 0 or more.
    """
    numbers = np.array(column, dtype=np.float64)
    wrong = ~np.isfinite(numbers) | (numbers < 0)
    if wrong.any():
        raise ValueError(f"{numbers[wrong][0]} is no finite number of 0 or more")
    return numbers
