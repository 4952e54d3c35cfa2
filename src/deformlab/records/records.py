"""Sums per object and image, from which every table by object size follows.

Sums rather than means, so that records of several processes or seeds are simply put together.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

BACKGROUND = 0
"""Object id of the filters and pixels that are on no object."""
Region = Literal["all", "interior"]
"""Which filters a number is about."""
REGIONS: tuple[Region, ...] = ("all", "interior")
"""All regions."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class FilterSums(NamedTuple):
    """Sums over the filters that belong to each row of the records.

    R rows, L layers, G the largest number of offset groups of a layer.

    Attributes:
        filters: (R, L) number of filters.
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
        """Sums over no filters; `weighted` is nan."""
        total, squares = np.zeros((2, rows, layers))
        group_total, group_squares = np.zeros((2, rows, layers, groups))
        filters = np.zeros((rows, layers), dtype=np.int64)
        return cls(filters, total, squares, np.full((rows, layers), np.nan), group_total, group_squares)


class ObjectRecords(NamedTuple):
    """One row per object and image, and one per image and class for what is on no object.

    R rows, L layers, M the largest margin of a layer. Rows are sorted by image, object and class.

    Filters near the border of their map read the zero padding, which changes how far they look. Objects of
    some sizes are near the border more often than others. So there are sums over all filters and over
    interior filters. Interior filters: neither the undeformed filter nor the offset convolution reads the
    zero padding.

    Attributes:
        layers: Names of the layers.
        groups: Offset groups of each layer.
        modulated: Whether each layer has a modulation.
        margins: How many of the outermost rings of each layer's map are not interior
            (`LayerGeometry.margin`). Empty where this was not recorded (early runs): then the sums over
            interior filters and the rings are 0.
        image: (R,) names of the images.
        object: (R,) instance ids, `BACKGROUND` for a row of what is on no object.
        label: (R,) classes; -1 where there were no labels.
        box_area: (R,) area of the object's bounding box in pixels of the label map, 0 for background.
        mask_area: (R,) its pixels, without ignored ones; 0 where objects are boxes without masks.
        scale: (R,) pixels of the network's input per pixel of the label map.
        pixels: (R,) labelled pixels of the row's class: those of the object, or of the class on no object.
        hits: (R,) those of them that were predicted as that class; -1 where there was no prediction.
        false_positives: (R,) pixels of other classes predicted as this one: within the object's region, or
            in the whole image for a background row. -1 where there was no prediction.
        sums: Sums over the filters of each region.
        ring_filters: (R, L, M) number of filters in each ring of the margin, the outermost first; 0 beyond a
            layer's margin.
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
    sums: dict[Region, FilterSums]
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
    def has_interior(self) -> bool:
        """Whether interior filters were recorded."""
        return len(self.margins) == len(self.layers)

    @property
    def images(self) -> list[str]:
        """Names of all images, sorted: the units of the bootstrap."""
        return np.unique(self.image).tolist()

    @property
    def image_numbers(self) -> Integers:
        """(R,) position in `images` of each row's image."""
        return np.unique(self.image, return_inverse=True)[1].reshape(-1)

    def named(self, names: Mapping[str, str]) -> "ObjectRecords":
        """The same records with other names of the images; a name that is not in `names` stays."""
        image = _renamed(self.image, names)
        order = np.lexsort((self.label, self.object, image))
        return self._replace(image=image)._rows(order)

    def _rows(self, chosen: Integers) -> "ObjectRecords":
        """The chosen rows, in their order."""
        columns = {name: getattr(self, name)[chosen] for name in _COLUMNS}
        sums = {
            region: FilterSums._make(column[chosen] for column in sums) for region, sums in self.sums.items()
        }
        return self._replace(**columns, sums=sums)


class PositionRecords(NamedTuple):
    """Effective dilation of one layer's interior filters, one by one, on a regular grid of positions.

    They are what a comparison at the same position needs (`same_place.size_effects`). N filters of I images;
    sorted by image and position. Filters on ignored pixels are left out.

    Attributes:
        layer: Name of the layer.
        images: (I,) names of the images.
        map_size: (I, 2) rows and columns of the layer's map in each image. Positions in maps of different
            size are different positions.
        image: (N,) index into `images`.
        position: (N,) row · columns + column of the filter in its map.
        dilation: (N,) float32, effective dilation in cells, groups averaged.
        object: (N,) instance id of the object that the filter belongs to; `BACKGROUND` on none.
        label: (N,) class of the pixel at the filter's centre; -1 where there were no labels.
    """

    layer: str
    images: npt.NDArray[np.str_]
    map_size: Integers
    image: Integers
    position: Integers
    dilation: npt.NDArray[np.float32]
    object: Integers
    label: Integers

    def named(self, names: Mapping[str, str]) -> "PositionRecords":
        """The same records with other names of the images; a name that is not in `names` stays."""
        images = _renamed(self.images, names)
        new = np.argsort(images)
        image = np.argsort(new)[self.image]
        order = np.lexsort((self.position, image))
        columns = {name: getattr(self, name)[order] for name in ("position", "dilation", "object", "label")}
        return self._replace(images=images[new], map_size=self.map_size[new], image=image[order], **columns)


class ObjectMeasurement(NamedTuple):
    """What one validation measured of objects.

    Attributes:
        records: Sums per object and image.
        positions: Filters one by one, for each deformable layer; empty where they were not recorded.
    """

    records: ObjectRecords
    positions: tuple[PositionRecords, ...] = ()

    def named(self, names: Mapping[str, str]) -> "ObjectMeasurement":
        """The same measurement with other names of the images; a name that is not in `names` stays."""
        return ObjectMeasurement(
            self.records.named(names), tuple(positions.named(names) for positions in self.positions)
        )


_SUMMED = ("pixels", "hits", "false_positives", "ring_filters", "ring_total")
_DESCRIBED = ("layers", "groups", "modulated", "margins")
# Arrays of one value or more per row.
_COLUMNS = tuple(name for name in ObjectRecords._fields if name not in (*_DESCRIBED, "sums"))


def merge_records(parts: Sequence[ObjectRecords]) -> ObjectRecords:
    """Records of several networks on the same images, as for the seeds of one trial, put together.

    Returns:
        One row per object and image with the sums over all parts; areas are those of the first part.

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

    merged: dict[str, Any] = {
        name: summed(together(name)) if name in _SUMMED else together(name)[index] for name in _COLUMNS
    }
    merged["sums"] = {
        region: FilterSums(
            *(
                summed(np.concatenate(columns))
                for columns in zip(*(part.sums[region] for part in parts), strict=True)
            )
        )
        for region in REGIONS
    }
    return first._replace(**merged)


def join_scores(filters: ObjectRecords, scores: ObjectRecords) -> ObjectRecords:
    """Records of where filters look together with the scores of the same objects.

    Args:
        filters: Records with layers; their scores are left out.
        scores: Records of the same images with scores; their layers are left out.

    Returns:
        One row for each row that is in either; filters or pixels that the other has not counted are 0.
    """

    def together(name: str) -> np.ndarray:
        return np.concatenate([getattr(filters, name), getattr(scores, name)])

    _, image = np.unique(together("image"), return_inverse=True)
    keys = np.stack([image.reshape(-1), together("object"), together("label")])
    _, index, row = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    row = row.reshape(-1)
    of_filters, of_scores = row[: len(filters.image)], row[len(filters.image) :]

    def placed(column: np.ndarray, rows: Integers) -> np.ndarray:
        values = np.zeros((len(index), *column.shape[1:]), dtype=column.dtype)
        values[rows] = column
        return values

    columns: dict[str, Any] = {name: together(name)[index] for name in _COLUMNS if name not in _SUMMED}
    for name in ("pixels", "hits", "false_positives"):
        columns[name] = placed(getattr(scores, name), of_scores)
    for name in ("ring_filters", "ring_total"):
        columns[name] = placed(getattr(filters, name), of_filters)
    sums = {
        region: FilterSums._make(placed(column, of_filters) for column in part)
        for region, part in filters.sums.items()
    }
    for i, modulated in enumerate(filters.modulated):
        if not modulated:
            for part in sums.values():
                part.weighted[:, i] = np.nan
    return filters._replace(**columns, sums=sums)


def alike(one: ObjectRecords, other: ObjectRecords) -> bool:
    """Whether both have the same layers, offset groups, modulation and margins."""
    return all(getattr(one, name) == getattr(other, name) for name in _DESCRIBED)


def _renamed(images: npt.NDArray[np.str_], names: Mapping[str, str]) -> npt.NDArray[np.str_]:
    return np.array([names.get(name, name) for name in images.tolist()], dtype=np.str_)
