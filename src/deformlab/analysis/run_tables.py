"""What the runs cost, and where every number of a report comes from."""

from collections.abc import Sequence

from deformlab.analysis.estimate import over_seeds
from deformlab.analysis.export import Cell, Table
from deformlab.analysis.run import Run, natural
from deformlab.analysis.trial import Trial


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
        row_sources=tuple(trial.name for trial in trials),
    )


def provenance(trials: Sequence[Trial], pretraining: Sequence[Run]) -> Table:
    """Where every number comes from: one row per run, those that others started from last."""
    runs = [run for trial in trials for run in trial.runs]
    runs += sorted(pretraining, key=lambda run: (natural(run.trial), run.seed is None, run.seed or 0))
    rows: list[tuple[Cell, ...]] = []
    for run in runs:
        best = None if run.best_miou is None else 100 * run.best_miou
        config = run.folder / "config.yaml"
        rows.append(
            (
                run.trial,
                run.seed,
                100 * run.miou,
                best,
                run.provenance["revision"],
                f"{run.folder.name}/{config.name}" if config.is_file() else "missing",
                run.init_from or "–",
                *(run.provenance[key] for key in ("versions", "machine", "operators", "precision")),
            )
        )
    return Table(
        "runs",
        "Runs",
        "One row per run; `deformlab fit --config` with its configuration repeats it. The best epoch's mIoU "
        "is chosen on the validation images themselves, so no table uses it.",
        (
            "Trial",
            "Seed",
            "mIoU (%)",
            "Best epoch (%)",
            "Revision",
            "Configuration",
            "Started from",
            "Versions",
            "Machine",
            "Operators",
            "Precision",
        ),
        tuple(rows),
        row_sources=tuple(run.trial for run in runs),
    )
