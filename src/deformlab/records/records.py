"""Sums per object and image, the source of every table by object size.

Sums rather than means are stored, so that records of several processes or seeds can be added up.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

BACKGROUND = 0
"""Object id of filters and pixels outside all objects."""
Region = Literal["all", "interior"]
"""The filters that a number describes: all, or interior filters only."""
REGIONS: tuple[Region, ...] = ("all", "interior")
"""All regions."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class FilterSums(NamedTuple):
    """Sums over the filters of each row of the records.

    Shapes: R rows, L layers, G the largest number of offset groups of a layer.

    Attributes:
        filters: (R, L) number of filters.
        total: (R, L) sum of their effective dilation in cells, averaged over offset groups.
        squares: (R, L) sum of the squares of the same values.
        weighted: (R, L) sum of the effective dilation weighted by modulation; NaN for unmodulated layers.
        group_total: (R, L, G) as `total`, per offset group; 0 for groups that a layer does not have.
        group_squares: (R, L, G) as `squares`, per offset group.
    """

    filters: Integers
    total: Floats
    squares: Floats
    weighted: Floats
    group_total: Floats
    group_squares: Floats

    @classmethod
    def zeros(cls, rows: int, layers: int, groups: int) -> "FilterSums":
        """Sums over no filters; `weighted` is NaN."""
        total, squares = np.zeros((2, rows, layers))
        group_total, group_squares = np.zeros((2, rows, layers, groups))
        filters = np.zeros((rows, layers), dtype=np.int64)
        return cls(filters, total, squares, np.full((rows, layers), np.nan), group_total, group_squares)


class DetectionSums(NamedTuple):
    """How well a detector found the object of each row, and its false positives per image and class.

    A detection counts if its score is greater than a threshold, which the metric and not the records know.
    Detections are matched by decreasing score: each with the object of its class of the largest IoU that no
    earlier one was matched with, if this IoU is at least 0.5 (columns 50) or 0.7 (columns 70). All are sums,
    so that records of several seeds can be added up; a single run has 0 or 1 object per row.

    Attributes:
        counted: (R,) number of objects that had to be found; 0 for difficult objects, crowds and background.
        found50: (R,) how many of `counted` were matched at IoU 0.5.
        found70: (R,) how many of `counted` were matched at IoU 0.7; at most `found50`.
        false50: (R,) in a background row, detections of its class that match no object at IoU 0.5.
        false70: (R,) the same at IoU 0.7.
        best_iou: (R,) sum of the largest IoU of each counted object with a detection of its class, matched or
            not.
        score50: (R,) sum of the scores of the detections that were matched at IoU 0.5, also of those that do
            not count; 0 for an object that was not matched.
        score70: (R,) the same at IoU 0.7.
    """

    counted: Integers
    found50: Integers
    found70: Integers
    false50: Integers
    false70: Integers
    best_iou: Floats
    score50: Floats
    score70: Floats

    @classmethod
    def zeros(cls, rows: int) -> "DetectionSums":
        """Sums over no objects."""
        counts = np.zeros((5, rows), dtype=np.int64)
        return cls(*counts, *np.zeros((3, rows)))


class ObjectRecords(NamedTuple):
    """One row per object and image, and one row per image and class for the background.

    Shapes: R rows, L layers, M the largest margin of a layer. Rows are sorted by image, object and class.

    Filters near the feature-map border read the zero padding, which changes their effective dilation, and
    objects of some sizes are near the border more often than others. Sums are therefore kept for all filters
    and for interior filters. Interior filters: neither the undeformed filter nor the offset convolution reads
    the zero padding.

    Attributes:
        layers: Names of the layers.
        groups: Offset groups of each layer.
        modulated: Whether each layer is modulated.
        margins: How many of the outermost rings of each layer's feature map are not interior
            (`LayerGeometry.margin`). Empty if this was not recorded (early runs); the sums over interior
            filters and rings are then 0.
        image: (R,) names of the images.
        object: (R,) instance ids; `BACKGROUND` for a background row.
        label: (R,) classes; -1 without labels.
        box_area: (R,) area of the object's bounding box in pixels of the label map, 0 for background.
        mask_area: (R,) number of the object's pixels, without ignored ones; 0 if objects are boxes without
            masks.
        scale: (R,) pixels of the network's input per pixel of the label map.
        pixels: (R,) labelled pixels of the row's class, on the object or on background.
        hits: (R,) how many of `pixels` were predicted as that class; -1 without a prediction.
        false_positives: (R,) pixels of other classes predicted as this one: within the object's region, or
            in the whole image for a background row; -1 without a prediction.
        sums: Sums over the filters of each region.
        ring_filters: (R, L, M) number of filters in each ring of the margin, the outermost first; 0 for rings
            that a layer's margin does not have.
        ring_total: (R, L, M) sum of the effective dilation of these filters, in cells.
        detections: How well each object was found; None if the network is no detector. A detector has no
            predicted pixels: `pixels` is 0, `hits` and `false_positives` are -1.
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
    detections: DetectionSums | None = None

    @property
    def is_object(self) -> npt.NDArray[np.bool_]:
        """(R,) whether a row is for an object, not for background."""
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
        """Sorted names of all images, which are the units of the bootstrap."""
        return np.unique(self.image).tolist()

    @property
    def image_numbers(self) -> Integers:
        """(R,) index into `images` of each row's image."""
        return np.unique(self.image, return_inverse=True)[1].reshape(-1)

    def named(self, names: Mapping[str, str]) -> "ObjectRecords":
        """The same records with renamed images, sorted again.

        Args:
            names: New names by old name; an image that it does not list keeps its name.
        """
        image = _renamed(self.image, names)
        order = np.lexsort((self.label, self.object, image))
        return self._replace(image=image)._rows(order)

    def _rows(self, chosen: Integers) -> "ObjectRecords":
        """The records of the chosen rows, in the order of `chosen`."""
        columns = {name: getattr(self, name)[chosen] for name in _COLUMNS}
        sums = {
            region: FilterSums._make(column[chosen] for column in sums) for region, sums in self.sums.items()
        }
        detections = self.detections
        if detections is not None:
            detections = DetectionSums._make(column[chosen] for column in detections)
        return self._replace(**columns, sums=sums, detections=detections)


class PositionRecords(NamedTuple):
    """Effective dilation of each interior filter of one layer, on a regular grid of positions.

    `size_effects` uses them to compare object sizes at the same position.

    Shapes: N filters, I images. Filters are sorted by image and position. Filters on ignored pixels are left
    out.

    Attributes:
        layer: Name of the layer.
        images: (I,) names of the images.
        map_size: (I, 2) rows and columns of the layer's feature map in each image. Positions in feature maps
            of different sizes count as different.
        image: (N,) index into `images`.
        position: (N,) row · columns + column of the filter in its feature map.
        dilation: (N,) float32, effective dilation in cells, averaged over offset groups.
        object: (N,) instance id of the object that the filter belongs to; `BACKGROUND` for none.
        label: (N,) class of the pixel at the filter's centre; -1 without labels.
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
        """The same records with renamed images, sorted again.

        Args:
            names: New names by old name; an image that it does not list keeps its name.
        """
        images = _renamed(self.images, names)
        new = np.argsort(images)
        image = np.argsort(new)[self.image]
        order = np.lexsort((self.position, image))
        columns = {name: getattr(self, name)[order] for name in ("position", "dilation", "object", "label")}
        return self._replace(images=images[new], map_size=self.map_size[new], image=image[order], **columns)


class ObjectMeasurement(NamedTuple):
    """The object measurements of one validation.

    Attributes:
        records: Sums per object and image.
        positions: The interior filters of each deformable layer; empty if they were not recorded.
    """

    records: ObjectRecords
    positions: tuple[PositionRecords, ...] = ()

    def named(self, names: Mapping[str, str]) -> "ObjectMeasurement":
        """The same measurement with renamed images.

        Args:
            names: New names by old name; an image that it does not list keeps its name.
        """
        return ObjectMeasurement(
            self.records.named(names), tuple(positions.named(names) for positions in self.positions)
        )


_SUMMED = ("pixels", "hits", "false_positives", "ring_filters", "ring_total")
_DESCRIBED = ("layers", "groups", "modulated", "margins")
# Arrays of one value or more per row.
_COLUMNS = tuple(name for name in ObjectRecords._fields if name not in (*_DESCRIBED, "sums", "detections"))


def merge_records(parts: Sequence[ObjectRecords]) -> ObjectRecords:
    """Adds up the records of several networks on the same images, for example the seeds of one trial.

    Args:
        parts: At least one.

    Returns:
        One row per object and image with the sums over all parts. Areas come from the first part.

    Raises:
        ValueError: The parts are not `alike`.
    """
    first = parts[0]
    for part in parts[1:]:
        if not alike(part, first):
            raise ValueError(
                f"cannot merge records of layers {', '.join(part.layers)} with records of layers "
                f"{', '.join(first.layers)}: layers, offset groups, modulation and margins must be equal, "
                "and all or none must be records of detectors"
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
    of_detectors = [part.detections for part in parts if part.detections is not None]
    if of_detectors:
        merged["detections"] = DetectionSums(
            *(summed(np.concatenate(columns)) for columns in zip(*of_detectors, strict=True))
        )
        # They are unknown (-1), not sums.
        merged["hits"] = merged["false_positives"] = np.full(len(index), -1)
    return first._replace(**merged)


def join_scores(filters: ObjectRecords, scores: ObjectRecords) -> ObjectRecords:
    """Joins the effective dilation from one set of records with the scores from another.

    Args:
        filters: Records with layers; their scores are dropped.
        scores: Records of the same images with scores; their layers are dropped.

    Returns:
        One row for each row of either. Filters or pixels are 0 where only the other has the row.
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
    detections = scores.detections
    if detections is not None:
        detections = DetectionSums._make(placed(column, of_scores) for column in detections)
        columns["hits"] = columns["false_positives"] = np.full(len(index), -1)
    return filters._replace(**columns, sums=sums, detections=detections)


def alike(one: ObjectRecords, other: ObjectRecords) -> bool:
    """Whether both have the same layers, offset groups, modulation and margins, and kind of scores."""
    same_kind = (one.detections is None) == (other.detections is None)
    return same_kind and all(getattr(one, name) == getattr(other, name) for name in _DESCRIBED)


def _renamed(images: npt.NDArray[np.str_], names: Mapping[str, str]) -> npt.NDArray[np.str_]:
    return np.array([names.get(name, name) for name in images.tolist()], dtype=np.str_)
