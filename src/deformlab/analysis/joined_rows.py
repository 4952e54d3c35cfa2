"""The rows of the joined table, of the correlations and of the table by distance from the border."""

from dataclasses import dataclass

from deformlab.analysis.estimate import Estimate


@dataclass(frozen=True)
class JoinedRow:
    """One layer, object size and class of a trial, its seeds together; `all` is every class.

    Attributes:
        dilation: Mean effective dilation of the filters, in cells; None without filters.
        std: Its standard deviation over filters.
        weighted: The mean weighted by modulation, None where the layer is not modulated.
        filters: Filters of all seeds.
        inside: As `dilation`, over the filters away from the border of the map; None without any.
        inside_filters: Their number; None where distances from the border were not recorded.
        seen: Objects that have a filter.
        objects: All objects, also those between the filters.
        recall: In percent; of `all`, the mean over classes.
        iou: In percent; of an object, within its box made twice as large.
        gain: IoU minus that of the baseline on the same images, in points; None for the baseline itself. A
            seed's gain is over the baseline's run of the same seed.
    """

    trial: str
    layer: str
    size: str
    label: str
    dilation: Estimate | None
    std: float | None
    weighted: Estimate | None
    filters: int
    inside: Estimate | None
    inside_filters: int | None
    seen: int
    objects: int
    recall: Estimate | None
    iou: Estimate | None
    gain: Estimate | None


@dataclass(frozen=True)
class CorrelationRow:
    """Spearman's coefficient of objects' sizes and effective dilations in one layer of a trial.

    `inside` and `inside_objects` are over the filters away from the border of the map; both are None where
    distances from it were not recorded.
    """

    trial: str
    layer: str
    label: str
    spearman: Estimate | None
    objects: int
    inside: Estimate | None
    inside_objects: int | None


@dataclass(frozen=True)
class BorderRow:
    """Effective dilation of the filters at one distance from the border of a layer's map, in cells.

    With `inside`, of all filters of that distance or more: those that count as away from the border.
    """

    trial: str
    layer: str
    distance: int
    inside: bool
    dilation: Estimate
    filters: int
