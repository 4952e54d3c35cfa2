"""`objects.csv`: one row per object and image, the source of every table by object size."""

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deformlab.errors import RunFolderError
from deformlab.records.records import FilterSums, Floats, Integers, ObjectRecords
from deformlab.run_folder.files import csv_cell, read_csv

__all__ = ["read_records", "records_text"]


def records_text(records: ObjectRecords, classes: Sequence[str]) -> str:
    """The text of `objects.csv`.

    Columns: image, object (0: on no object), class, box_area, mask_area, scale, pixels, hits and
    false_positives as in `ObjectRecords` (empty where nothing was predicted); then for each layer
    `<layer>:filters`, `<layer>:sum`, `<layer>:sum_of_squares`, `<layer>:weighted_sum` where it is modulated,
    and `<layer>:group<g>_sum`, `<layer>:group<g>_sum_of_squares` where it has several offset groups; the same
    with `inside_` before the name over the filters away from the border; and `<layer>:ring<r>_filters`,
    `<layer>:ring<r>_sum` over those at distance r from it, for each r of the layer's margin. Rings and inside
    together are all filters.
    """
    names = [*classes, ""]  # -1, no label, is the last
    scored = records.false_positives >= 0
    columns: dict[str, list[str]] = {
        "image": records.image.tolist(),
        "object": integer_column(records.object),
        "class": [names[label] for label in records.label.tolist()],
        "box_area": number_column(records.box_area),
        "mask_area": number_column(records.mask_area),
        "scale": number_column(records.scale),
        "pixels": integer_column(records.pixels),
        "hits": integer_column(records.hits, scored),
        "false_positives": integer_column(records.false_positives, scored),
    }
    for i, layer in enumerate(records.layers):
        kind = records.modulated[i], records.groups[i]
        columns |= _columns(records.everywhere, i, f"{layer}:", *kind)
        if not records.knows_border:
            continue
        columns |= _columns(records.inside, i, f"{layer}:inside_", *kind)
        for ring in range(records.margins[i]):
            columns[f"{layer}:ring{ring}_filters"] = integer_column(records.ring_filters[:, i, ring])
            columns[f"{layer}:ring{ring}_sum"] = number_column(records.ring_total[:, i, ring])
    # Names of images and classes are the only text; what a spreadsheet takes for a formula is marked.
    for name in ("image", "class"):
        columns[name] = [csv_cell(value) for value in columns[name]]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()


def read_records(path: Path, classes: Sequence[str]) -> ObjectRecords:
    """The records of an `objects.csv`.

    Raises:
        RunFolderError: The file is missing, is not such a file, has a class that is not in `classes`, or
            numbers that no validation gives.
    """
    rows = read_csv(path, ("image", "object", "class"))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    try:
        records = _from_columns(columns, classes)
        _check(records)
    except KeyError as error:
        raise RunFolderError(f"{path}: lacks the column or class {error}; validate the run again") from None
    except (ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunFolderError(f"{path}: not readable as a table of objects ({reason})") from None
    return records


def _from_columns(columns: Mapping[str, Sequence[str]], classes: Sequence[str]) -> ObjectRecords:
    labels = {name: label for label, name in enumerate(classes)} | {"": -1}

    layers = tuple(name.removesuffix(":filters") for name in columns if name.endswith(":filters"))
    groups = tuple(max(1, _count(columns, f"{layer}:group{{}}_sum")) for layer in layers)
    modulated = tuple(f"{layer}:weighted_sum" in columns for layer in layers)
    margins = tuple(_count(columns, f"{layer}:ring{{}}_filters") for layer in layers)
    shape = (len(columns["image"]), len(layers))
    everywhere, inside = (FilterSums.zeros(*shape, max(groups, default=1)) for _ in range(2))
    ring_filters = np.zeros((*shape, max(margins, default=0)), dtype=np.int64)
    ring_total = np.zeros(ring_filters.shape)
    # Every layer has a margin of a ring at least: without any, distances were not recorded.
    if not all(margins):
        margins = ()
    for i, layer in enumerate(layers):
        kind = modulated[i], groups[i]
        _fill(everywhere, i, f"{layer}:", *kind, columns)
        if not margins:
            continue
        _fill(inside, i, f"{layer}:inside_", *kind, columns)
        for ring in range(margins[i]):
            ring_filters[:, i, ring] = integers_of(columns[f"{layer}:ring{ring}_filters"])
            ring_total[:, i, ring] = floats_of(columns[f"{layer}:ring{ring}_sum"])
    return ObjectRecords(
        layers=layers,
        groups=groups,
        modulated=modulated,
        margins=margins,
        image=np.array(columns["image"], dtype=np.str_),
        object=integers_of(columns["object"]),
        label=np.array([labels[name] for name in columns["class"]], dtype=np.int64),
        box_area=floats_of(columns["box_area"]),
        mask_area=floats_of(columns["mask_area"]),
        scale=floats_of(columns["scale"]),
        pixels=integers_of(columns["pixels"]),
        hits=integers_of(columns["hits"], empty=-1),
        false_positives=integers_of(columns["false_positives"], empty=-1),
        everywhere=everywhere,
        inside=inside,
        ring_filters=ring_filters,
        ring_total=ring_total,
    )


def _count(columns: Mapping[str, Sequence[str]], name: str) -> int:
    """How many columns are there of the name that takes 0, 1, 2, ..."""
    return next(number for number in itertools.count() if name.format(number) not in columns)


def _check(records: ObjectRecords) -> None:
    """Refuses what no validation gives: sums over it would be wrong and look right.

    Raises:
        ValueError: There is such a row.
    """
    if ((records.hits == -1) != (records.false_positives == -1)).any():
        raise ValueError("a row has only one of hits and false_positives")
    if (records.hits > records.pixels).any():
        raise ValueError("a row has more hits than pixels")
    if ((records.everywhere.filters == 0) & (records.everywhere.total > 0)).any():
        raise ValueError("a row has a sum over no filters")
    away = records.ring_filters.sum(2) + records.inside.filters
    if records.knows_border and (away != records.everywhere.filters).any():
        raise ValueError("a row has filters that are neither near the border nor away from it")
    keys = zip(records.image.tolist(), records.object.tolist(), records.label.tolist(), strict=True)
    if len(set(keys)) < len(records.image):
        raise ValueError("two rows are of the same image, object and class")


def _columns(sums: FilterSums, layer: int, prefix: str, modulated: bool, groups: int) -> dict[str, list[str]]:
    """The layer's columns of `objects.csv`; their names begin with `prefix`."""
    columns = {
        f"{prefix}filters": integer_column(sums.filters[:, layer]),
        f"{prefix}sum": number_column(sums.total[:, layer]),
        f"{prefix}sum_of_squares": number_column(sums.squares[:, layer]),
    }
    if modulated:
        columns[f"{prefix}weighted_sum"] = number_column(sums.weighted[:, layer])
    for group in range(groups if groups > 1 else 0):
        columns[f"{prefix}group{group}_sum"] = number_column(sums.group_total[:, layer, group])
        columns[f"{prefix}group{group}_sum_of_squares"] = number_column(sums.group_squares[:, layer, group])
    return columns


def _fill(
    sums: FilterSums,
    layer: int,
    prefix: str,
    modulated: bool,
    groups: int,
    columns: Mapping[str, Sequence[str]],
) -> None:
    """Takes a layer's sums from the columns of `objects.csv`.

    Raises:
        KeyError: A column is missing.
        ValueError: A value is no number.
    """
    sums.filters[:, layer] = integers_of(columns[f"{prefix}filters"])
    sums.total[:, layer] = floats_of(columns[f"{prefix}sum"])
    sums.squares[:, layer] = floats_of(columns[f"{prefix}sum_of_squares"])
    if modulated:
        sums.weighted[:, layer] = floats_of(columns[f"{prefix}weighted_sum"])
    if groups == 1:
        sums.group_total[:, layer, 0] = sums.total[:, layer]
        sums.group_squares[:, layer, 0] = sums.squares[:, layer]
    for group in range(groups if groups > 1 else 0):
        sums.group_total[:, layer, group] = floats_of(columns[f"{prefix}group{group}_sum"])
        sums.group_squares[:, layer, group] = floats_of(columns[f"{prefix}group{group}_sum_of_squares"])


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
