"""The papers' tables of scores (Deformable Convolutional Networks, tables 1 and 3), and IoU of every class.

Every score is the one after the last epoch, as the papers report it, never the best epoch's.
"""

from collections.abc import Sequence

from deformlab.analysis.formats import PUBLISHED, Cell, Table
from deformlab.analysis.measure import over_seeds
from deformlab.analysis.published import COLUMN, table1_miou, table3_miou
from deformlab.analysis.trial import Trial

MIOU_NOTE = (
    "mIoU in percent after the last epoch on the validation images at their original resolution; "
    "mean ± standard deviation over seeds, no ± for a single seed."
)


def atrous_against_deformable(trials: Sequence[Trial]) -> Table:
    """Table 3: atrous rates against deformable variants."""
    header = ["Variant", "Trial", "mIoU (%)", "Seeds"]
    rows: list[list[Cell]] = [
        [trial.description, trial.name, trial.miou, len(trial.runs)] for trial in trials
    ]
    dataset, note = trials[0].first.dataset, MIOU_NOTE
    if dataset in COLUMN:
        header.append(_published_header(dataset))
        for row, trial in zip(rows, trials, strict=True):
            row.append(table3_miou(trial.first))
        note += " Published: Deformable Convolutional Networks, table 3, DeepLab with ResNet-101."
    return Table(
        "table3_atrous_against_deformable",
        "Atrous rates against deformable convolution",
        note,
        tuple(header),
        tuple(tuple(row) for row in rows),
        row_sources=tuple(trial.name for trial in trials),
        column_sources=_column_sources(header),
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
    header = ["Deformable layers", "Kind", "Dilation", "Trial", "mIoU (%)", "Seeds", "Parameters"]
    rows: list[list[Cell]] = []
    for trial in chosen:
        first = trial.first
        number = str(first.deformable_layers or "none")
        kind: list[Cell] = [number, first.conv5, first.dilation, trial.name]
        rows.append([*kind, trial.miou, len(trial.runs), first.parameters])
    dataset, note = trials[0].first.dataset, MIOU_NOTE
    note += " Layers are counted from the end of the backbone; all: every 3x3 convolution of conv3 to conv5."
    if dataset in COLUMN:
        header.append(_published_header(dataset))
        for row, trial in zip(rows, chosen, strict=True):
            row.append(table1_miou(trial.first))
        note += " Published: Deformable Convolutional Networks, table 1, DeepLab with ResNet-101."
    return Table(
        "table1_deformable_layers",
        "Number of deformable layers",
        note,
        tuple(header),
        tuple(tuple(row) for row in rows),
        row_sources=tuple(trial.name for trial in chosen),
        column_sources=_column_sources(header),
    )


def _published_header(dataset: str) -> str:
    return f"Published mIoU@{'V' if dataset == 'voc' else 'C'} (%)"


def _column_sources(header: Sequence[str]) -> tuple[str | None, ...]:
    return tuple(PUBLISHED if name.startswith("Published") else None for name in header)


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
