"""Sums per object and image, from which every table by object size follows, and their file `objects.csv`.

Sums rather than means, so that records of several processes or seeds are simply put together.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deformlab.errors import RunFolderError

BACKGROUND = 0
_Floats = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]


class ObjectRecords(NamedTuple):
    """One row per object and image, and one per image and class for what is on no object.

    R rows, L layers, G the largest number of offset groups of a layer. Rows are sorted by image, object
    and class, however they were computed.

    Attributes:
        layers: Names of the layers.
        groups: Offset groups of each layer.
        modulated: Whether each layer has a modulation.
        image: (R,) names of the images.
        object: (R,) instance ids, `BACKGROUND` for a row of what is on no object.
        label: (R,) classes; -1 where there were no labels.
        box_area: (R,) area of the object's bounding box in pixels of the label map, 0 for background.
        mask_area: (R,) its pixels, without ignored ones.
        scale: (R,) pixels of the network's input per pixel of the label map.
        pixels: (R,) labelled pixels of the row's class: those of the object, or of the class on no object.
        hits: (R,) those of them that were predicted as that class.
        false_positives: (R,) pixels of other classes predicted as this one: within the object's region, or
            in the whole image for a background row. -1 where there was no prediction.
        filters: (R, L) filters that belong to the row.
        total: (R, L) sum of their effective dilation, groups averaged, in cells.
        squares: (R, L) sum of its squares.
        weighted: (R, L) sum of the effective dilation weighted by modulation; nan for unmodulated layers.
        group_total: (R, L, G) as `total`, per offset group; 0 beyond a layer's groups.
        group_squares: (R, L, G) sum of squares per offset group.
    """

    layers: tuple[str, ...]
    groups: tuple[int, ...]
    modulated: tuple[bool, ...]
    image: npt.NDArray[np.str_]
    object: _Integers
    label: _Integers
    box_area: _Floats
    mask_area: _Floats
    scale: _Floats
    pixels: _Integers
    hits: _Integers
    false_positives: _Integers
    filters: _Integers
    total: _Floats
    squares: _Floats
    weighted: _Floats
    group_total: _Floats
    group_squares: _Floats

    @property
    def is_object(self) -> npt.NDArray[np.bool_]:
        """(R,) whether a row is an object's."""
        return self.object != BACKGROUND

    @property
    def scored(self) -> bool:
        """Whether predictions were counted."""
        return bool(len(self.hits)) and bool((self.false_positives >= 0).all())

    def named(self, names: Mapping[str, str]) -> "ObjectRecords":
        """The same records with other names of the images; a name that is not in `names` stays."""
        renamed = [names.get(name, name) for name in self.image.tolist()]
        return self._replace(image=np.array(renamed, dtype=np.str_))


def records_text(records: ObjectRecords, classes: Sequence[str]) -> str:
    """The text of `objects.csv`.

    Columns: image, object (0: on no object), class, box_area, mask_area, scale, pixels, hits and
    false_positives as in `ObjectRecords` (empty where nothing was predicted); then for each layer
    `<layer>:filters`, `<layer>:sum`, `<layer>:sum_of_squares`, `<layer>:weighted_sum` where it is modulated,
    and `<layer>:group<g>_sum`, `<layer>:group<g>_sum_of_squares` where it has several offset groups.
    """
    names = [*classes, ""]  # -1, no label, is the last
    scored = records.false_positives >= 0
    columns: dict[str, list[str]] = {
        "image": records.image.tolist(),
        "object": _integers(records.object),
        "class": [names[label] for label in records.label.tolist()],
        "box_area": _numbers(records.box_area),
        "mask_area": _numbers(records.mask_area),
        "scale": _numbers(records.scale),
        "pixels": _integers(records.pixels),
        "hits": _integers(records.hits, scored),
        "false_positives": _integers(records.false_positives, scored),
    }
    for i, layer in enumerate(records.layers):
        columns[f"{layer}:filters"] = _integers(records.filters[:, i])
        columns[f"{layer}:sum"] = _numbers(records.total[:, i])
        columns[f"{layer}:sum_of_squares"] = _numbers(records.squares[:, i])
        if records.modulated[i]:
            columns[f"{layer}:weighted_sum"] = _numbers(records.weighted[:, i])
        for group in range(records.groups[i] if records.groups[i] > 1 else 0):
            columns[f"{layer}:group{group}_sum"] = _numbers(records.group_total[:, i, group])
            columns[f"{layer}:group{group}_sum_of_squares"] = _numbers(records.group_squares[:, i, group])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return buffer.getvalue()


def read_records(path: Path, classes: Sequence[str]) -> ObjectRecords:
    """The records of an `objects.csv`.

    Raises:
        RunFolderError: The file is missing, is not such a file, or has a class that is not in `classes`.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else {}
        return _from_columns(columns, classes)
    except FileNotFoundError:
        raise RunFolderError(f"{path}: no such file") from None
    except KeyError as error:
        raise RunFolderError(f"{path}: lacks the column or class {error}; validate the run again") from None
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunFolderError(f"{path}: not readable as a table of objects ({reason})") from None


def _from_columns(columns: Mapping[str, Sequence[str]], classes: Sequence[str]) -> ObjectRecords:
    if not columns:
        raise ValueError("it has no rows")
    labels = {name: label for label, name in enumerate(classes)} | {"": -1}

    def floats(name: str) -> _Floats:
        return np.array(columns[name], dtype=np.float64)

    def integers(name: str) -> _Integers:
        return np.array([value or "-1" for value in columns[name]]).astype(np.int64)

    layers = tuple(name.removesuffix(":filters") for name in columns if name.endswith(":filters"))
    groups = tuple(max(1, sum(f"{layer}:group{g}_sum" in columns for g in range(1024))) for layer in layers)
    modulated = tuple(f"{layer}:weighted_sum" in columns for layer in layers)
    rows = len(columns["image"])
    shape = (rows, len(layers))
    filters = np.zeros(shape, dtype=np.int64)
    total, squares, weighted = np.zeros(shape), np.zeros(shape), np.full(shape, np.nan)
    group_total, group_squares = np.zeros((2, *shape, max(groups, default=1)))
    for i, layer in enumerate(layers):
        filters[:, i] = integers(f"{layer}:filters")
        total[:, i], squares[:, i] = floats(f"{layer}:sum"), floats(f"{layer}:sum_of_squares")
        if modulated[i]:
            weighted[:, i] = floats(f"{layer}:weighted_sum")
        if groups[i] == 1:
            group_total[:, i, 0], group_squares[:, i, 0] = total[:, i], squares[:, i]
        for group in range(groups[i] if groups[i] > 1 else 0):
            group_total[:, i, group] = floats(f"{layer}:group{group}_sum")
            group_squares[:, i, group] = floats(f"{layer}:group{group}_sum_of_squares")
    return ObjectRecords(
        layers=layers,
        groups=groups,
        modulated=modulated,
        image=np.array(columns["image"], dtype=np.str_),
        object=integers("object"),
        label=np.array([labels[name] for name in columns["class"]], dtype=np.int64),
        box_area=floats("box_area"),
        mask_area=floats("mask_area"),
        scale=floats("scale"),
        pixels=integers("pixels"),
        hits=integers("hits"),
        false_positives=integers("false_positives"),
        filters=filters,
        total=total,
        squares=squares,
        weighted=weighted,
        group_total=group_total,
        group_squares=group_squares,
    )


def _integers(values: _Integers, there: npt.NDArray[np.bool_] | None = None) -> list[str]:
    if there is None:
        return [str(value) for value in values.tolist()]
    return [str(value) if known else "" for value, known in zip(values.tolist(), there.tolist(), strict=True)]


def _numbers(values: _Floats) -> list[str]:
    # Twelve digits keep sums of any data set exact to what an interval can show, at half the file's size.
    return [f"{value:.12g}" for value in values.tolist()]
