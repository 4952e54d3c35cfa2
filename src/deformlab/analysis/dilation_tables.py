"""Effective dilation by object size (Deformable Convolutional Networks, table 2)."""

from collections.abc import Callable, Sequence

from deformlab.analysis.estimate import Measure
from deformlab.analysis.export import PUBLISHED, Cell, Table, area_text
from deformlab.analysis.published import published
from deformlab.analysis.run import SIZES, Run
from deformlab.analysis.trial import Trial


def effective_dilation(trials: Sequence[Trial]) -> Table | None:
    """Table 2: effective dilation per layer and object size; None where no run measured it."""
    return _by_size(
        "table2_effective_dilation",
        "Effective dilation by object size",
        "In cells of the layer's input feature map; mean ± standard deviation over the filters of all seeds "
        "together, n filters. {} An atrous layer's effective dilation is its dilation. All filters, also "
        "those near the image's border.",
        trials,
        Trial.effective_dilation,
    )


def effective_dilation_inside(trials: Sequence[Trial]) -> Table | None:
    """As table 2, over the filters away from the border; None where no deformable trial recorded them."""
    return _by_size(
        "effective_dilation_inside",
        "Effective dilation by object size, away from the image's border",
        "As the table above, without the filters that meet the zeros around the feature map, undeformed, or "
        "whose offsets were predicted with them: these differ whatever is in the image, and large objects "
        "and background have more of them than small objects. {}",
        [trial for trial in trials if trial.deformable and trial.knows_border],
        Trial.effective_dilation_inside,
    )


def effective_dilation_over_seeds(trials: Sequence[Trial]) -> Table | None:
    """Effective dilation with its spread over seeds; None where no deformable trial has several."""
    return _by_size(
        "effective_dilation_over_seeds",
        "Effective dilation by object size, over seeds",
        "In cells of the layer's input feature map; mean ± standard deviation of each seed's mean: how far a "
        "repetition may land from this one. {}",
        [trial for trial in trials if trial.deformable and len(trial.runs) > 1],
        Trial.effective_dilation_over_seeds,
    )


def _by_size(
    name: str,
    title: str,
    note: str,
    trials: Sequence[Trial],
    number: Callable[[Trial, str, str], Measure | None],
) -> Table | None:
    """A row per trial and layer, a column per size; `note` has a place for what is small and large."""
    measured = [(trial, layer) for trial in trials for layer in trial.layers]
    if not measured:
        return None
    return Table(
        name,
        title,
        note.format(_size_note(trials[0].first)),
        ("Trial", "Layer", *(size.capitalize() for size in SIZES)),
        tuple((trial.name, layer, *(number(trial, layer, s) for s in SIZES)) for trial, layer in measured),
        row_sources=tuple(trial.name for trial, _ in measured),
    )


def _size_note(run: Run) -> str:
    if len(run.thresholds) != 2:
        return "The thresholds of object size were not recorded."
    small, large = (area_text(value) for value in run.thresholds)
    return (
        f"Object size is the area of its bounding box: small under {small} pixels, large over {large}, "
        "medium between."
    )


def published_effective_dilation(dataset: str) -> Table | None:
    """The paper's table 2, for reference beside VOC runs; None for other data sets."""
    if dataset != "voc":
        return None
    values = published()["dcnv1_table2"]
    rows: list[tuple[Cell, ...]] = [
        (layer, *(Measure(m, s) for m, s in zip(row["mean"], row["std"], strict=True)))
        for layer, row in values.items()
        if layer != "columns"
    ]
    return Table(
        "published_effective_dilation",
        "Published effective dilation (another task)",
        "Deformable Convolutional Networks, table 2: R-FCN, an object detector, with ResNet-101 on VOC 2007 "
        "test. Only the order of the columns compares with DeepLab on VOC 2012.",
        ("Layer", *(size.capitalize() for size in values["columns"])),
        tuple(rows),
        row_sources=(PUBLISHED,) * len(rows),
    )
