"""Object measurements of a validation: `objects.csv.gz` and `positions.npz` of a run folder.

`objects.csv.gz` is a CSV file compressed with gzip: `pandas.read_csv(path)` reads it directly, `zcat` prints
it, and `gunzip` unpacks it for a spreadsheet. It has one row per object and image, and one per image and
class for the background (`ObjectRecords`). Columns: `image`, `object` (0: background), `class`, `box_area`,
`mask_area`, `scale`, `pixels`, `hits` and `false_positives` (empty without predictions). Instead of the last
three, the table of a detector has the columns of `DetectionSums`: `counted`, `found50`, `found70`, `false50`,
`false70`, `best_iou`, `score50`, `score70`. Versions of deformlab without detectors refuse this table,
because it lacks `pixels`. For each layer, over all filters of the row: `<layer>:filters`, `<layer>:sum` and
`<layer>:sum_of_squares` of their effective dilation; `<layer>:weighted_sum` if the layer is modulated;
`<layer>:group<g>_sum` and `<layer>:group<g>_sum_of_squares` if it has several offset groups. The same columns
with the prefix `interior_` are over interior filters. `<layer>:ring<r>_filters` and `<layer>:ring<r>_sum` are
over the filters at distance r from the border of the map, for each r of the layer's margin. Each filter is
either interior or in one ring.

`positions.npz` contains the interior filters of each deformable layer one by one (`PositionRecords`):
`layers`, `images`, and for each layer `<layer>:map_size`, `:image`, `:position`, `:dilation`, `:object` and
`:label`.
`objects_sha256`, the digest of the uncompressed table, identifies the table it belongs to. Networks without
deformable layers have no `positions.npz`. Equal measurements give equal bytes.

Files of older measurement versions differ as follows:

- 3, first runs: `objects.csv`, not compressed; `positions.npz` even without deformable layers.
- 2 and before: `objects.csv`, not compressed. No `positions.npz`.
- 2, first runs: no columns for interior filters and rings; `ObjectRecords.has_interior` is false.
- 2: columns have the prefix `inside_` instead of `interior_`.
"""

import contextlib
import csv
import gzip
import hashlib
import io
import itertools
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deformlab.errors import RunFolderError
from deformlab.records import (
    BACKGROUND,
    REGIONS,
    DetectionSums,
    FilterSums,
    ObjectMeasurement,
    ObjectRecords,
    PositionRecords,
)
from deformlab.run_folder.files import compressed, csv_cell, read_csv, write_atomically

__all__ = ["OBJECTS", "POSITIONS", "ObjectMeasurement", "objects_path", "read_objects", "write_objects"]

OBJECTS = "objects.csv.gz"
# Older versions wrote these.
_UNCOMPRESSED_OBJECTS = "objects.csv"
_REPLACED = (_UNCOMPRESSED_OBJECTS, "effective_dilation.csv", "objects.json")
POSITIONS = "positions.npz"
_MEASURE_AGAIN = "validate the run again"
# The prefix of a column's name, after the name of the layer.
_PREFIX = {"all": "", "interior": "interior_"}
# Columns of interior filters in measurement version 2.
_OLD_INTERIOR_PREFIX = "inside_"
# Larger than any feature map, so a larger effective dilation is damage.
_MAX_CELLS = 1e6
_PER_FILTER = {
    "image": np.dtype(np.int32),
    "position": np.dtype(np.int32),
    "dilation": np.dtype(np.float32),
    "object": np.dtype(np.int64),
    "label": np.dtype(np.int16),
}

_Floats = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]


def objects_path(run_dir: Path) -> Path:
    """Return the path of a run folder's table of objects.

    Args:
        run_dir: The run folder.

    Returns:
        The path of `objects.csv.gz`, also if there is no table; of `objects.csv`, which older versions wrote,
        if only that exists.
    """
    path, older = run_dir / OBJECTS, run_dir / _UNCOMPRESSED_OBJECTS
    return older if older.is_file() and not path.is_file() else path


def write_objects(run_dir: Path, measurement: ObjectMeasurement, classes: Sequence[str]) -> None:
    """Write `objects.csv.gz` and, if the network has deformable layers, `positions.npz`.

    Removes the files that older versions wrote instead.

    Args:
        run_dir: The run folder; created if it is missing.
        measurement: The measurement to write.
        classes: Names of the classes in label order.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written.
    """
    table = _text(measurement.records, classes).encode()
    if measurement.positions:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **_arrays(measurement.positions, table))  # type: ignore[arg-type]
        write_atomically(run_dir / POSITIONS, buffer.getvalue())
    write_atomically(run_dir / OBJECTS, compressed(table))
    # They belong to an older validation now.
    for name in (*_REPLACED, *([] if measurement.positions else [POSITIONS])):
        (run_dir / name).unlink(missing_ok=True)


def read_objects(run_dir: Path, classes: Sequence[str]) -> ObjectMeasurement:
    """Read the files that `write_objects` of this version or an older one wrote.

    Args:
        run_dir: The run folder.
        classes: Names of the classes in label order.

    Returns:
        The measurement; its positions are empty if there is no `positions.npz`.

    Raises:
        RunFolderError: The table of objects is missing; or a file is damaged, contains a class that is not in
            `classes`, or contains impossible numbers; or the two files belong to different validations.
    """
    path = objects_path(run_dir)
    rows = read_csv(path, ("image", "object", "class"))
    columns = {_current_name(name): [row[name] for row in rows] for name in rows[0]}
    try:
        records = _from_columns(columns, classes)
        _check(records)
    except KeyError as error:
        raise RunFolderError(f"{path}: lacks the column or class {error}; {_MEASURE_AGAIN}") from None
    except (ValueError, OverflowError) as error:
        raise RunFolderError(f"{path}: not readable as a table of objects ({_first_line(error)})") from None
    return ObjectMeasurement(records, _read_positions(run_dir / POSITIONS, path, records))


def _text(records: ObjectRecords, classes: Sequence[str]) -> str:
    names = [*classes, ""]  # -1, no label, is the last
    scored = records.false_positives >= 0
    columns: dict[str, list[str]] = {
        "image": records.image.tolist(),
        "object": _integer_cells(records.object),
        "class": [names[label] for label in records.label.tolist()],
        "box_area": _float_cells(records.box_area),
        "mask_area": _float_cells(records.mask_area),
        "scale": [_exact_cell(value) for value in records.scale.tolist()],
    }
    if records.detections is not None:
        for name, column in records.detections._asdict().items():
            columns[name] = (_integer_cells if column.dtype == np.int64 else _float_cells)(column)
    else:
        columns |= {
            "pixels": _integer_cells(records.pixels),
            "hits": _integer_cells(records.hits, scored),
            "false_positives": _integer_cells(records.false_positives, scored),
        }
    for i, layer in enumerate(records.layers):
        for region in REGIONS if records.has_interior else REGIONS[:1]:
            columns |= _sum_columns(
                records.sums[region],
                i,
                f"{layer}:{_PREFIX[region]}",
                modulated=records.modulated[i],
                groups=records.groups[i],
            )
        for ring in range(records.margins[i] if records.has_interior else 0):
            columns[f"{layer}:ring{ring}_filters"] = _integer_cells(records.ring_filters[:, i, ring])
            columns[f"{layer}:ring{ring}_sum"] = _float_cells(records.ring_total[:, i, ring])
    # Names of images and classes are the only text.
    for name in ("image", "class"):
        columns[name] = [csv_cell(value) for value in columns[name]]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()


def _current_name(column: str) -> str:
    """Return the current name of a column."""
    layer, separator, name = column.rpartition(":")
    if separator and name.startswith(_OLD_INTERIOR_PREFIX):
        return f"{layer}:{_PREFIX['interior']}{name.removeprefix(_OLD_INTERIOR_PREFIX)}"
    return column


def _from_columns(columns: Mapping[str, Sequence[str]], classes: Sequence[str]) -> ObjectRecords:
    labels = {name: label for label, name in enumerate(classes)} | {"": -1}
    # "<layer>:filters", but not "<layer>:interior_filters".
    layers = tuple(name.removesuffix(":filters") for name in columns if name.endswith(":filters"))
    groups = tuple(max(1, _count(columns, f"{layer}:group{{}}_sum")) for layer in layers)
    modulated = tuple(f"{layer}:weighted_sum" in columns for layer in layers)
    margins = tuple(_count(columns, f"{layer}:ring{{}}_filters") for layer in layers)
    shape = (len(columns["image"]), len(layers))
    sums = {region: FilterSums.zeros(*shape, max(groups, default=1)) for region in REGIONS}
    ring_filters = np.zeros((*shape, max(margins, default=0)), dtype=np.int64)
    ring_total = np.zeros(ring_filters.shape)
    # Every layer has a margin of a ring at least: without any, interior filters were not recorded.
    if not all(margins):
        margins = ()
    for i, layer in enumerate(layers):
        for region in REGIONS if margins else REGIONS[:1]:
            _fill(sums[region], i, f"{layer}:{_PREFIX[region]}", modulated[i], groups[i], columns)
        for ring in range(margins[i] if margins else 0):
            ring_filters[:, i, ring] = _integers(columns[f"{layer}:ring{ring}_filters"])
            ring_total[:, i, ring] = _floats(columns[f"{layer}:ring{ring}_sum"])
    return ObjectRecords(
        layers=layers,
        groups=groups,
        modulated=modulated,
        margins=margins,
        image=np.array(columns["image"], dtype=np.str_),
        object=_integers(columns["object"]),
        label=np.array([labels[name] for name in columns["class"]], dtype=np.int64),
        box_area=_floats(columns["box_area"]),
        mask_area=_floats(columns["mask_area"]),
        scale=_floats(columns["scale"]),
        **_scores(columns),
        sums=sums,
        ring_filters=ring_filters,
        ring_total=ring_total,
    )


def _scores(columns: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Read the scores: `pixels`, `hits`, `false_positives` and `detections` of the records.

    Raises:
        KeyError: A column is missing.
        ValueError: A cell is not a number.
    """
    if "counted" not in columns:
        return {
            "pixels": _integers(columns["pixels"]),
            "hits": _integers(columns["hits"], empty=-1),
            "false_positives": _integers(columns["false_positives"], empty=-1),
        }
    parsed: dict[str, Any] = {
        name: (_integers if like.dtype == np.int64 else _floats)(columns[name])
        for name, like in DetectionSums.zeros(0)._asdict().items()
    }
    # A detector predicts no pixels.
    rows = len(parsed["counted"])
    return {
        "pixels": np.zeros(rows, dtype=np.int64),
        "hits": np.full(rows, -1),
        "false_positives": np.full(rows, -1),
        "detections": DetectionSums(**parsed),
    }


def _count(columns: Mapping[str, Sequence[str]], name: str) -> int:
    """Count the columns named `name` with 0, 1, 2, ... filled in."""
    return next(number for number in itertools.count() if name.format(number) not in columns)


def _check(records: ObjectRecords) -> None:
    """Refuse impossible numbers, whose sums would be wrong but plausible.

    Raises:
        ValueError: A row is impossible.
    """
    if ((records.hits == -1) != (records.false_positives == -1)).any():
        raise ValueError("a row has only one of hits and false_positives")
    if (records.hits > records.pixels).any():
        raise ValueError("a row has more hits than pixels")
    if ((records.sums["all"].filters == 0) & (records.sums["all"].total > 0)).any():
        raise ValueError("a row has a sum over no filters")
    counted = records.ring_filters.sum(2) + records.sums["interior"].filters
    if records.has_interior and (counted != records.sums["all"].filters).any():
        raise ValueError("a row has filters that are neither interior nor in a ring near the border")
    if records.detections is not None:
        sums = records.detections
        if (sums.found70 > sums.found50).any() or (sums.found50 > sums.counted).any():
            raise ValueError("a row has more objects found than there are, or more at IoU 0.7 than at 0.5")
        false = sums.false50 + sums.false70
        if (sums.counted[~records.is_object] > 0).any() or (false[records.is_object] > 0).any():
            raise ValueError("the background has objects to find, or an object has false positives")
        if (sums.best_iou > sums.counted).any():
            raise ValueError("a row has an IoU above 1")
    keys = zip(records.image.tolist(), records.object.tolist(), records.label.tolist(), strict=True)
    if len(set(keys)) < len(records.image):
        raise ValueError("two rows have the same image, object and class")


def _sum_columns(
    sums: FilterSums, layer: int, prefix: str, *, modulated: bool, groups: int
) -> dict[str, list[str]]:
    """Return the columns of a layer; their names start with `prefix`."""
    columns = {
        f"{prefix}filters": _integer_cells(sums.filters[:, layer]),
        f"{prefix}sum": _float_cells(sums.total[:, layer]),
        f"{prefix}sum_of_squares": _float_cells(sums.squares[:, layer]),
    }
    if modulated:
        columns[f"{prefix}weighted_sum"] = _float_cells(sums.weighted[:, layer])
    for group in range(groups if groups > 1 else 0):
        columns[f"{prefix}group{group}_sum"] = _float_cells(sums.group_total[:, layer, group])
        columns[f"{prefix}group{group}_sum_of_squares"] = _float_cells(sums.group_squares[:, layer, group])
    return columns


def _fill(
    sums: FilterSums,
    layer: int,
    prefix: str,
    modulated: bool,
    groups: int,
    columns: Mapping[str, Sequence[str]],
) -> None:
    """Fill in the sums of a layer from its columns.

    Raises:
        KeyError: A column is missing.
        ValueError: A cell is not a number.
    """
    sums.filters[:, layer] = _integers(columns[f"{prefix}filters"])
    sums.total[:, layer] = _floats(columns[f"{prefix}sum"])
    sums.squares[:, layer] = _floats(columns[f"{prefix}sum_of_squares"])
    if modulated:
        sums.weighted[:, layer] = _floats(columns[f"{prefix}weighted_sum"])
    if groups == 1:
        sums.group_total[:, layer, 0] = sums.total[:, layer]
        sums.group_squares[:, layer, 0] = sums.squares[:, layer]
    for group in range(groups if groups > 1 else 0):
        sums.group_total[:, layer, group] = _floats(columns[f"{prefix}group{group}_sum"])
        sums.group_squares[:, layer, group] = _floats(columns[f"{prefix}group{group}_sum_of_squares"])


def _integer_cells(values: _Integers, known: npt.NDArray[np.bool_] | None = None) -> list[str]:
    """Format integers; cells that are not `known` are empty."""
    if known is None:
        return [str(value) for value in values.tolist()]
    return [str(value) if there else "" for value, there in zip(values.tolist(), known.tolist(), strict=True)]


def _float_cells(values: _Floats) -> list[str]:
    # Twelve digits are far more precise than any interval, at half the size of the file.
    return [f"{value:.12g}" for value in values.tolist()]


def _exact_cell(value: float) -> str:
    """Format a scale exactly: areas computed with it are compared with exact thresholds."""
    short = f"{value:.12g}"
    return short if float(short) == value else repr(value)


def _integers(column: Sequence[str], empty: int | None = None) -> _Integers:
    """Parse a column of integers >= 0.

    Args:
        column: The cells.
        empty: The value of an empty cell; None if empty cells are an error.

    Raises:
        ValueError: A cell is not an integer >= 0.
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


def _floats(column: Sequence[str]) -> _Floats:
    """Parse a column of finite numbers >= 0.

    Raises:
        ValueError: A cell is not a finite number >= 0.
    """
    numbers = np.array(column, dtype=np.float64)
    wrong = ~np.isfinite(numbers) | (numbers < 0)
    if wrong.any():
        raise ValueError(f"{numbers[wrong][0]} is not a finite number >= 0")
    return numbers


def _arrays(positions: Sequence[PositionRecords], table: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of `positions.npz`; `table` is the uncompressed table of objects."""
    arrays = {
        "objects_sha256": np.array(_digest(table)),
        "layers": np.array([part.layer for part in positions], dtype=np.str_),
        "images": positions[0].images,
    }
    for part in positions:
        arrays[f"{part.layer}:map_size"] = part.map_size.astype(np.int32)
        for name, kind in _PER_FILTER.items():
            arrays[f"{part.layer}:{name}"] = getattr(part, name).astype(kind)
    return arrays


def _read_positions(path: Path, objects: Path, records: ObjectRecords) -> tuple[PositionRecords, ...]:
    """Read the filters in `positions.npz`, which must belong to the table that contained `records`."""
    if not path.is_file():
        return ()
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = str(arrays["objects_sha256"])
            positions = tuple(_layer_positions(arrays, layer) for layer in arrays["layers"].tolist())
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunFolderError(f"{path}: not readable as positions of filters ({_first_line(error)})") from None
    content = objects.read_bytes()
    if found != _digest(gzip.decompress(content) if objects.suffix == ".gz" else content):
        raise RunFolderError(f"{path}: belongs to another validation than {objects.name}; {_MEASURE_AGAIN}")
    for part in positions:
        if not set(part.images.tolist()) <= set(records.images) or part.layer not in records.layers:
            raise RunFolderError(
                f"{path}: has images or layers that are not in {objects.name}; {_MEASURE_AGAIN}"
            )
    return positions


def _layer_positions(arrays: Mapping[str, np.ndarray], layer: str) -> PositionRecords:
    """Read the filters of a layer.

    Raises:
        KeyError: An array is missing.
        ValueError: An array has the wrong type or shape, or contains impossible numbers.
    """
    images, map_size = arrays["images"], arrays[f"{layer}:map_size"]
    columns = {name: arrays[f"{layer}:{name}"] for name in _PER_FILTER}
    if images.ndim != 1 or images.dtype.kind != "U" or map_size.shape != (len(images), 2):
        raise ValueError(f"the images of {layer} and their map sizes do not fit")
    lengths = {column.shape for column in columns.values()}
    kinds = all(columns[name].dtype == kind for name, kind in _PER_FILTER.items())
    if len(lengths) > 1 or columns["image"].ndim != 1 or not kinds or map_size.dtype.kind != "i":
        raise ValueError(f"the filters of {layer} are not columns of one length")
    image, position = columns["image"].astype(np.int64), columns["position"].astype(np.int64)
    dilation = columns["dilation"]
    if ((image < 0) | (image >= len(images))).any():
        raise ValueError(f"a filter of {layer} is in no image")
    cells = map_size.astype(np.int64).prod(1)[image]
    if ((position < 0) | (position >= cells)).any():
        raise ValueError(f"a filter of {layer} is outside its map")
    if not ((dilation >= 0) & (dilation < _MAX_CELLS)).all():
        raise ValueError(f"a filter of {layer} has an effective dilation that is not a number of cells")
    if (columns["object"] < BACKGROUND).any() or (columns["label"] < -1).any():
        raise ValueError(f"a filter of {layer} has an object or a class below 0")
    keys = image * (cells.max(initial=0) + 1) + position
    if (np.diff(keys) <= 0).any():
        raise ValueError(f"the filters of {layer} are not sorted by image and position")
    return PositionRecords(
        layer=layer,
        images=images,
        map_size=map_size.astype(np.int64),
        image=image,
        position=position,
        dilation=dilation,
        object=columns["object"],
        label=columns["label"].astype(np.int64),
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _first_line(error: object) -> str:
    with contextlib.suppress(IndexError):
        return str(error).splitlines()[0]
    return type(error).__name__
