"""Sums per object and image, from which every table by object size follows, and their file `objects.csv`.

Sums rather than means, so that records of several processes or seeds are simply put together.
"""

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deformlab.errors import RunFolderError
from deformlab.objects.filter_sums import (
    FilterSums,
    Floats,
    Integers,
    floats_of,
    integer_column,
    integers_of,
    number_column,
)
from deformlab.run_folder.files import csv_cell, read_csv

BACKGROUND = 0


class ObjectRecords(NamedTuple):
    """One row per object and image, and one per image and class for what is on no object.

    R rows, L layers, M the largest margin of a layer. Rows are sorted by image, object and class, however
    they were computed.

    Filters near the border of their map meet the zeros around it and look further or less far for that,
    whatever is in the image; objects of some sizes are there more often than others. So every sum over
    filters is there twice: over all of them, and over those away from the border, whose distance from it in
    cells is the layer's margin or more.

    Attributes:
        layers: Names of the layers.
        groups: Offset groups of each layer.
        modulated: Whether each layer has a modulation.
        margins: Rings of each layer's map that are near the border, the outermost first; `LayerGeometry` says
            why so many. Empty where distances were not recorded (before version 3): then `inside` and the
            rings have no filters.
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
        everywhere: Sums over all filters that belong to the row.
        inside: Sums over those of them that are away from the border.
        ring_filters: (R, L, M) filters in each ring of the margin; 0 beyond a layer's margin.
        ring_total: (R, L, M) sum of their effective dilation, in cells.
    """

    layers: tuple[str, ...]
    groups: tuple[int, ...]
    modulated: tuple[bool, ...]
    margins: tuple[int, ...]
    image: npt.NDArray[np.str_]
    object: Integers
    label: Integers
    box_area: Floats
    mask_area: Floats
    scale: Floats
    pixels: Integers
    hits: Integers
    false_positives: Integers
    everywhere: FilterSums
    inside: FilterSums
    ring_filters: Integers
    ring_total: Floats

    @property
    def is_object(self) -> npt.NDArray[np.bool_]:
        """(R,) whether a row is an object's."""
        return self.object != BACKGROUND

    @property
    def scored(self) -> bool:
        """Whether predictions were counted."""
        return bool(len(self.hits)) and bool((self.false_positives >= 0).all())

    @property
    def knows_border(self) -> bool:
        """Whether the filters' distances from the border were recorded."""
        return len(self.margins) == len(self.layers)

    def image_numbers(self, images: Sequence[str]) -> Integers:
        """(R,) position in `images` of each row's image; `images` holds all of them, sorted."""
        return np.searchsorted(np.asarray(images), self.image)

    def named(self, names: Mapping[str, str]) -> "ObjectRecords":
        """The same records with other names of the images; a name that is not in `names` stays."""
        renamed = [names.get(name, name) for name in self.image.tolist()]
        return self._replace(image=np.array(renamed, dtype=np.str_))


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
        columns |= records.everywhere.columns(i, f"{layer}:", *kind)
        if not records.knows_border:
            continue
        columns |= records.inside.columns(i, f"{layer}:inside_", *kind)
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
        everywhere.fill(i, f"{layer}:", *kind, columns)
        if not margins:
            continue
        inside.fill(i, f"{layer}:inside_", *kind, columns)
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
