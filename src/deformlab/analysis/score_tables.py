"""The papers' tables of scores (Deformable Convolutional Networks, tables 1 and 3), and IoU of every class.

Every score is the one after the last epoch, as the papers report it, never the best epoch's.
"""

from collections.abc import Sequence
from dataclasses import replace

from deformlab.analysis.estimate import over_seeds
from deformlab.analysis.export import PUBLISHED, Cell, Table
from deformlab.analysis.published import COLUMN, table1_miou, table3_miou
from deformlab.analysis.trial import Trial

MIOU_NOTE = (
    "mIoU in percent after the last epoch on the validation images at their original resolution; "
    "mean ± standard deviation over seeds, no ± for a single seed."
)


def atrous_against_deformable(trials: Sequence[Trial]) -> Table:
    """Table 3: atrous rates against deformable variants."""
    table = Table(
        "table3_atrous_against_deformable",
        "Atrous rates against deformable convolution",
        MIOU_NOTE,
        ("Variant", "Trial", "mIoU (%)", "Seeds"),
        tuple((trial.description, trial.name, trial.miou, len(trial.runs)) for trial in trials),
        row_sources=tuple(trial.name for trial in trials),
    )
    return _beside_published(
        table, trials[0].first.dataset, 3, [table3_miou(trial.first) for trial in trials]
    )


def deformable_layers(trials: Sequence[Trial]) -> Table | None:
    """Table 1: mIoU by the number of deformable layers, beside the atrous network of the same dilation.

    None where no trial is deformable.
    """
    dilations = {trial.dilation for trial in trials if trial.deformable}
    chosen = [trial for trial in trials if trial.dilation in dilations]
    if not chosen:
        return None
    chosen = sorted(chosen, key=lambda trial: (trial.dilation, trial.order))
    rows: list[tuple[Cell, ...]] = []
    for trial in chosen:
        first = trial.first
        kind = (str(first.deformable_layers or "none"), first.conv5, first.dilation, trial.name)
        rows.append((*kind, trial.miou, len(trial.runs), first.parameters))
    table = Table(
        "table1_deformable_layers",
        "Number of deformable layers",
        MIOU_NOTE
        + " Layers are counted from the end of the backbone; all: every 3x3 convolution of conv3 to conv5.",
        ("Deformable layers", "Kind", "Dilation", "Trial", "mIoU (%)", "Seeds", "Parameters"),
        tuple(rows),
        row_sources=tuple(trial.name for trial in chosen),
    )
    return _beside_published(
        table, trials[0].first.dataset, 1, [table1_miou(trial.first) for trial in chosen]
    )


def _beside_published(table: Table, dataset: str, number: int, values: Sequence[float | None]) -> Table:
    """The table with the values of the paper's table of that number beside it, on the paper's data."""
    if dataset not in COLUMN:
        return table
    source = f"Published: Deformable Convolutional Networks, table {number}, DeepLab with ResNet-101."
    return replace(
        table,
        note=f"{table.note} {source}",
        header=(*table.header, f"Published mIoU@{'V' if dataset == 'voc' else 'C'} (%)"),
        rows=tuple((*row, value) for row, value in zip(table.rows, values, strict=True)),
        column_sources=(*(None,) * len(table.header), PUBLISHED),
    )


def iou_per_class(trials: Sequence[Trial]) -> Table:
    """IoU of every class and trial, in percent over seeds; a dash where a class is absent."""
    rows: list[tuple[Cell, ...]] = []
    for name in trials[0].first.classes:
        values = [[run.iou.get(name) for run in trial.runs] for trial in trials]
        rows.append(
            (name, *(over_seeds([None if v is None else 100 * v for v in value]) for value in values))
        )
    rows.append(("mean", *(trial.miou for trial in trials)))
    return Table(
        "iou_per_class",
        "IoU per class",
        "IoU in percent after the last epoch; mean ± standard deviation over seeds. A dash: the class is "
        "neither in the labels nor in the predictions.",
        ("Class", *(trial.name for trial in trials)),
        tuple(rows),
        column_sources=(None, *(trial.name for trial in trials)),
    )
