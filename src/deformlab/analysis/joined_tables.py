"""The joined table of effective dilation and IoU by object size, for all classes and per class."""

from collections.abc import Sequence
from itertools import groupby

from deformlab.analysis.by_object import ALL, Joined
from deformlab.analysis.estimate import Estimate
from deformlab.analysis.export import Cell, Table
from deformlab.analysis.findings import best_deformable
from deformlab.analysis.joined_rows import BorderRow, CorrelationRow, JoinedRow
from deformlab.analysis.trial import Trial

EVERYWHERE = "Effective dilation (cells)"
AWAY = "Away from the border (cells)"
AWAY_FILTERS = "Filters away from it"
_INTERVAL = (
    "±: standard deviation over seeds, if there are several; [ ]: 95 % by resampling images, seeds together."
)
_SCORES = (
    "An object's recall is the share of its pixels that were given its class; its IoU counts false positives "
    "within its box made twice as high and wide, and pixels of one bin are summed. Classes without objects "
    "have their ordinary IoU under background. Rows of all classes have the mean over classes."
)
_SPEARMAN = (
    "Spearman's rank correlation of objects' areas and the means of their filters' effective dilation, over "
    "the objects that have a filter; seeds averaged per object."
)
_BORDER = (
    "Away from the border are the filters that do not meet the zeros around the feature map, undeformed, and "
    "whose offsets were predicted without them. Nearer to it effective dilation differs whatever is in the "
    "image, and large objects and background are there more often than small objects."
)


def joined_tables(joined: Joined) -> list[Table]:
    """The tables that the runs have records of objects for, none where they have none."""
    if not joined.trials:
        return []
    tables = [_by_size(joined)]
    best = best_deformable(joined.trials)
    if best is not None:
        by_distance = _by_distance(joined)
        tables += [_by_layer(joined), *([by_distance] if by_distance else []), _correlation(joined)]
        by_class = [row for row in joined.correlations(best) if row.label != ALL]
        if by_class:
            tables.append(_correlation_by_class(best, by_class))
        tables.append(_by_class(joined, best))
    return tables


def _by_size(joined: Joined) -> Table:
    shown = [
        row
        for trial in joined.trials
        for row in joined.rows(trial)
        if row.label == ALL and row.layer == joined.rows(trial)[0].layer
    ]
    rows = [(row.trial, row.size, *_cells(joined, row)) for row in shown]
    return Table(
        "dilation_and_iou_by_size",
        "Does the network look further where objects are larger, and does it gain there?",
        f"The last layer's effective dilation, in cells of its input feature map{_weighted(joined)}. "
        f"{_BORDER} {_SCORES}{_gain(joined)} {_INTERVAL}",
        ("Trial", "Size", *_header(joined)),
        tuple(rows),
        row_sources=tuple(row.trial for row in shown),
        column_sources=_column_sources(joined, 2),
    )


def _by_layer(joined: Joined) -> Table:
    """Deformable trials only: the layers of an atrous network say the same."""
    shown = [
        row
        for trial in joined.trials
        if trial.deformable
        for row in joined.rows(trial)
        if row.label == ALL and row.filters
    ]
    modulated = _modulated(joined)
    rows: list[tuple[Cell, ...]] = [
        (
            row.trial,
            row.layer,
            row.size,
            row.dilation,
            row.inside,
            *((row.weighted,) if modulated else ()),
            row.filters,
            row.inside_filters,
            None if row.size == "background" else row.seen,
        )
        for row in shown
    ]
    weighted = ("By modulation (cells)",) if modulated else ()
    return Table(
        "dilation_by_layer_and_size",
        "Effective dilation by layer and object size, with intervals",
        f"In cells of the layer's input feature map{_weighted(joined)}. {_BORDER} {_INTERVAL}",
        (
            "Trial",
            "Layer",
            "Size",
            EVERYWHERE,
            AWAY,
            *weighted,
            "Filters",
            AWAY_FILTERS,
            "Objects with a filter",
        ),
        tuple(rows),
        row_sources=tuple(row.trial for row in shown),
    )


def _by_distance(joined: Joined) -> Table | None:
    """A row per layer of the deformable trials, a column per distance near the border of any of them."""
    found = [
        (trial.name, layer, list(rows))
        for trial in joined.trials
        if trial.deformable
        for layer, rows in groupby(joined.border(trial), key=lambda row: row.layer)
    ]
    if not found:
        return None
    near = max(row.distance for _, _, rows in found for row in rows if not row.inside)
    rows = tuple(
        (
            trial,
            layer,
            *(_at(rows, distance) for distance in range(near + 1)),
            next((row.dilation for row in rows if row.inside), None),
            sum(row.filters for row in rows),
            sum(row.filters for row in rows if row.inside),
        )
        for trial, layer, rows in found
    )
    names = ("Outermost ring", *(f"{ring} {'cell' if ring == 1 else 'cells'}" for ring in range(1, near + 1)))
    return Table(
        "dilation_by_distance",
        "Effective dilation by distance from the image's border",
        f"In cells of the layer's input feature map; distance of the filter from the outermost ring of its "
        f"map, in cells. {_BORDER} {_INTERVAL}",
        ("Trial", "Layer", *names, AWAY, "Filters", AWAY_FILTERS),
        rows,
        row_sources=tuple(trial for trial, _, _ in found),
    )


def _at(rows: Sequence[BorderRow], distance: int) -> Estimate | None:
    """Of the filters of one distance near the border."""
    return next((row.dilation for row in rows if row.distance == distance and not row.inside), None)


def _by_class(joined: Joined, trial: Trial) -> Table:
    rows = [
        (row.layer, row.label, row.size, *_cells(joined, row))
        for row in joined.rows(trial)
        if row.label != ALL
    ]
    return Table(
        "dilation_and_iou_by_class",
        f"Effective dilation and IoU by object size and class: {trial.name}",
        f"As the table by size, for the best deformable trial. {_SCORES}{_gain(joined)} {_INTERVAL}",
        ("Layer", "Class", "Size", *_header(joined)),
        tuple(rows),
        row_sources=(trial.name,) * len(rows),
        column_sources=_column_sources(joined, 3),
    )


def _header(joined: Joined) -> tuple[str, ...]:
    gain = () if joined.baseline is None else (f"Gain over {joined.baseline.name} (points)",)
    weighted = ("By modulation (cells)",) if _modulated(joined) else ()
    scores = ("Objects", "With a filter", "Recall (%)", "IoU (%)")
    return (EVERYWHERE, AWAY, *weighted, "Filters", AWAY_FILTERS, *scores, *gain)


def _column_sources(joined: Joined, before: int) -> tuple[str | None, ...]:
    """The gain is over the baseline's runs."""
    gain = () if joined.baseline is None else (joined.baseline.name,)
    return (*(None,) * (before + len(_header(joined)) - len(gain)), *gain)


def _cells(joined: Joined, row: JoinedRow) -> tuple[Cell, ...]:
    gain: tuple[Cell, ...] = () if joined.baseline is None else (row.gain,)
    background = row.size == "background"
    objects: tuple[Cell, Cell] = (None, None) if background else (row.objects, row.seen)
    weighted: tuple[Cell, ...] = (row.weighted,) if _modulated(joined) else ()
    dilations = [row.dilation, row.inside]
    if row.std == 0:
        # What no filter varies in is no estimate: an atrous network's rate.
        dilations = [None if found is None else Estimate(found.value, digits=2) for found in dilations]
    counts = (row.filters, row.inside_filters)
    return (*dilations, *weighted, *counts, *objects, row.recall, row.iou, *gain)


def _modulated(joined: Joined) -> bool:
    return any(trial.first.conv5 == "modulated" for trial in joined.trials)


def _correlation(joined: Joined) -> Table:
    found = [
        row
        for trial in joined.trials
        if trial.deformable
        for row in joined.correlations(trial)
        if row.label == ALL
    ]
    return Table(
        "size_and_dilation",
        "Correlation of an object's size and how far the filters on it look",
        f"{_SPEARMAN} {_BORDER} {_INTERVAL} A dash: constant, or under three objects.",
        ("Trial", "Layer", *_COEFFICIENTS),
        tuple((row.trial, row.layer, *_coefficients(row)) for row in found),
        row_sources=tuple(row.trial for row in found),
    )


_COEFFICIENTS = ("Spearman", "Objects", "Spearman away from the border", "Objects away from it")


def _coefficients(row: CorrelationRow) -> tuple[Cell, ...]:
    return (row.spearman, row.objects, row.inside, row.inside_objects)


def _correlation_by_class(trial: Trial, found: Sequence[CorrelationRow]) -> Table:
    return Table(
        "size_and_dilation_by_class",
        f"Correlation of size and effective dilation within a class: {trial.name}",
        "As above, for the best deformable trial: within a class, size alone is left to explain it. "
        f"{_INTERVAL}",
        ("Layer", "Class", *_COEFFICIENTS),
        tuple((row.layer, row.label, *_coefficients(row)) for row in found),
        row_sources=(trial.name,) * len(found),
    )


def _weighted(joined: Joined) -> str:
    return ", and weighted by the product of both taps' modulation" if _modulated(joined) else ""


def _gain(joined: Joined) -> str:
    if joined.baseline is None:
        return ""
    return (
        f" The gain is IoU minus that of {joined.baseline.name}, the best atrous trial, in points, resampled "
        "on the same images."
    )
