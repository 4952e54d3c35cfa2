"""Sums per object and image, from which every table by object size follows.

Sums rather than means, so that records of several processes or seeds are simply put together.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

BACKGROUND = 0
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


_SUMMED = ("pixels", "hits", "false_positives", "ring_filters", "ring_total")
_DESCRIBED = ("layers", "groups", "modulated", "margins")


def merge_records(parts: Sequence[ObjectRecords]) -> ObjectRecords:
    """One row per object of an image, with the sums of all parts; an object is counted once.

    Raises:
        ValueError: The parts are not `alike`.
    """
    first = parts[0]
    for part in parts[1:]:
        if not alike(part, first):
            raise ValueError(
                f"layers {', '.join(part.layers)} and {', '.join(first.layers)} do not go together"
            )

    def together(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    _, image = np.unique(together("image"), return_inverse=True)
    keys = np.stack([image, together("object"), together("label")])
    _, index, row = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    row = row.reshape(-1)

    def summed(column: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(index), *column.shape[1:]), dtype=column.dtype)
        np.add.at(sums, row, column)
        return sums

    merged: dict[str, Any] = {}
    for name in ObjectRecords._fields[len(_DESCRIBED) :]:
        if isinstance(getattr(first, name), FilterSums):
            of_parts = zip(*(getattr(part, name) for part in parts), strict=True)
            merged[name] = FilterSums(*(summed(np.concatenate(columns)) for columns in of_parts))
        else:
            merged[name] = summed(together(name)) if name in _SUMMED else together(name)[index]
    return first._replace(**merged)


def alike(one: ObjectRecords, other: ObjectRecords) -> bool:
    """Whether both have the same layers, offset groups, modulation and margins."""
    return all(getattr(one, name) == getattr(other, name) for name in _DESCRIBED)
