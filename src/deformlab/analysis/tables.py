"""The papers' tables from whatever trials exist (Deformable Convolutional Networks, tables 1 to 3).

Every score is the one after the last epoch, as the papers report it, never the best epoch's.
"""

import math
from collections.abc import Sequence

from deformlab.analysis.formats import Cell, Table
from deformlab.analysis.joined_tables import joined_tables
from deformlab.analysis.measure import Measure, over_seeds
from deformlab.analysis.published import COLUMN, published, table1_miou, table3_miou
from deformlab.analysis.run import SIZES, Run
from deformlab.analysis.runs import RunSet
from deformlab.analysis.trial import Trial

MIOU_NOTE = (
    "mIoU in percent after the last epoch on the validation images at their original resolution; "
    "mean ± standard deviation over seeds, no ± for a single seed."
)


def build_tables(runs: RunSet) -> list[Table]:
    """Every table that the runs have data for, in the order of the report."""
    trials = runs.trials
    tables = [
        atrous_against_deformable(trials),
        deformable_layers(trials),
        effective_dilation(trials),
        published_effective_dilation(runs.dataset),
        *joined_tables(trials),
        iou_per_class(trials),
        cost(trials, runs.pretraining),
        provenance(trials),
    ]
    return [table for table in tables if table is not None]


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
    )


def _published_header(dataset: str) -> str:
    return f"Published mIoU@{'V' if dataset == 'voc' else 'C'} (%)"


def effective_dilation(trials: Sequence[Trial]) -> Table | None:
    """Table 2: effective dilation per layer and object size; None where no run measured it."""
    rows: list[tuple[Cell, ...]] = [
        (trial.name, layer, *(trial.effective_dilation(layer, size) for size in SIZES))
        for trial in trials
        for layer in trial.layers
    ]
    if not rows:
        return None
    return Table(
        "table2_effective_dilation",
        "Effective dilation by object size",
        "In cells of the layer's input feature map; mean ± standard deviation over the filters of all seeds "
        f"together, n filters. {_size_note(trials[0].first)} An atrous layer's effective dilation is its "
        "dilation.",
        ("Trial", "Layer", *(size.capitalize() for size in SIZES)),
        tuple(rows),
    )


def _size_note(run: Run) -> str:
    if len(run.thresholds) != 2:
        return "The thresholds of object size were not recorded."
    small, large = (_squared(value) for value in run.thresholds)
    return (
        f"Object size is the area of its bounding box: small under {small} pixels, large over {large}, "
        "medium between."
    )


def _squared(area: float) -> str:
    side = math.isqrt(round(area))
    return f"{side}²" if side**2 == area else f"{area:,.0f}"


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
    )


def total_epochs(run: Run, pretraining: Sequence[Run]) -> tuple[int, int | None]:
    """Epochs of a run and of the pretraining that it started from: 0 for none, None where unknown."""
    if run.init_from is None:
        return run.epochs, 0
    for parent in pretraining:
        if (parent.trial, parent.seed) == (run.init_from, run.seed):
            return run.epochs, parent.epochs
    return run.epochs, None


def cost(trials: Sequence[Trial], pretraining: Sequence[Run]) -> Table:
    """What each trial cost: parameters, epochs, training speed, time and memory."""
    rows: list[tuple[Cell, ...]] = []
    for trial in trials:
        first = trial.first
        epochs, before = total_epochs(first, pretraining)
        start = f"{'?' if before is None else before} + " if first.init_from else ""
        rows.append(
            (
                first.trial,
                first.parameters,
                start + str(epochs),
                over_seeds([run.images_per_second for run in trial.runs]),
                over_seeds([run.seconds / 60 for run in trial.runs if run.seconds is not None]),
                over_seeds([run.peak_memory_bytes / 2**20 for run in trial.runs if run.peak_memory_bytes], 0),
            )
        )
    return Table(
        "cost",
        "Cost",
        "Training images per second, minutes and peak memory of one run; mean ± standard deviation over "
        "seeds. Epochs as a + b: a of pretraining, b of the trial. Speeds compare only on one idle machine.",
        ("Trial", "Parameters", "Epochs", "Images/s", "Minutes", "Peak memory (MiB)"),
        tuple(rows),
    )


def provenance(trials: Sequence[Trial]) -> Table:
    """Where every number comes from: one row per run."""
    rows: list[tuple[Cell, ...]] = []
    for trial in trials:
        for run in trial.runs:
            best = None if run.best_miou is None else 100 * run.best_miou
            source = run.provenance
            rows.append(
                (
                    run.folder.name,
                    run.trial,
                    run.seed,
                    100 * run.miou,
                    best,
                    run.init_from or "–",
                    *(source[key] for key in ("revision", "versions", "machine", "operators", "precision")),
                )
            )
    return Table(
        "runs",
        "Runs",
        "One row per run folder. The best epoch's mIoU is chosen on the validation images themselves, so no "
        "table uses it.",
        (
            "Folder",
            "Trial",
            "Seed",
            "mIoU (%)",
            "Best epoch (%)",
            "Started from",
            "Revision",
            "Versions",
            "Machine",
            "Operators",
            "Precision",
        ),
        tuple(rows),
    )
