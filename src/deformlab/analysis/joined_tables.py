"""The joined table of effective dilation and IoU by object size, for all classes and per class."""

from collections.abc import Sequence

from deformlab.analysis.findings import best_deformable
from deformlab.analysis.formats import Cell, Table
from deformlab.analysis.joined import ALL, Joined, JoinedRow
from deformlab.analysis.trial import Trial

_INTERVAL = "[ ]: 95 % by resampling images, seeds together."
_SCORES = (
    "An object's recall is the share of its pixels that were given its class; its IoU counts false positives "
    "within its box made twice as high and wide, and pixels of one bin are summed. Classes without objects "
    "have their ordinary IoU under background. Rows of all classes have the mean over classes."
)


def joined_tables(trials: Sequence[Trial]) -> list[Table]:
    """The tables that the runs have records of objects for, none where they have none."""
    joined = Joined(trials)
    if not joined.trials:
        return []
    tables = [_by_size(joined), _correlation(joined)]
    best = best_deformable(joined.trials)
    if best is not None:
        tables.append(_by_class(joined, best))
    return tables


def _header(joined: Joined) -> tuple[str, ...]:
    gain = () if joined.baseline is None else (f"Gain over {joined.baseline.name}",)
    weighted = ("By modulation",) if _modulated(joined) else ()
    return (
        "Effective dilation",
        *weighted,
        "Filters",
        "Objects",
        "With a filter",
        "Recall (%)",
        "IoU (%)",
        *gain,
    )


def _cells(joined: Joined, row: JoinedRow) -> tuple[Cell, ...]:
    gain: tuple[Cell, ...] = () if joined.baseline is None else (row.gain,)
    background = row.size == "background"
    objects: tuple[Cell, Cell] = (None, None) if background else (row.objects, row.seen)
    weighted: tuple[Cell, ...] = (row.weighted,) if _modulated(joined) else ()
    return (row.dilation, *weighted, row.filters, *objects, row.recall, row.iou, *gain)


def _modulated(joined: Joined) -> bool:
    return any(trial.first.conv5 == "modulated" for trial in joined.trials)


def _by_size(joined: Joined) -> Table:
    rows = [
        (row.trial, row.layer, row.size, *_cells(joined, row))
        for trial in joined.trials
        for row in joined.rows(trial)
        # The layers of an atrous network say the same.
        if row.label == ALL and (trial.deformable or row.layer == trial.layers[0])
    ]
    return Table(
        "dilation_and_iou_by_size",
        "Does the network look further where objects are larger, and does it gain there?",
        f"Effective dilation in cells of the layer's input feature map{_weighted(joined)}. "
        f"{_SCORES}{_gain(joined)} {_INTERVAL}",
        ("Trial", "Layer", "Size", *_header(joined)),
        tuple(rows),
    )


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
    )


def _correlation(joined: Joined) -> Table:
    rows = [
        (row.trial, row.layer, row.label, row.spearman, row.objects)
        for trial in joined.trials
        if trial.deformable
        for row in joined.correlations(trial)
    ]
    return Table(
        "size_and_dilation",
        "Correlation of an object's size and how far the filters on it look",
        "Spearman's rank correlation of objects' areas and the means of their filters' effective dilation, "
        f"over the objects that have a filter; seeds averaged per object. {_INTERVAL} A dash: constant.",
        ("Trial", "Layer", "Class", "Spearman", "Objects"),
        tuple(rows),
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
