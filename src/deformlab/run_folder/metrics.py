"""`metrics.csv`, a row per validation, and `offsets.csv`, a row per epoch and deformable layer.

The columns of metrics.csv are `epoch` (from 0), `step`, `train/loss`, `lr`, `images_per_second` and what the
task logs of the validation: `val/<score>`, `val/<class score>/<class>`.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deformlab.errors import RunFolderError
from deformlab.run_folder.fields import first_line
from deformlab.run_folder.files import csv_text, read_csv, write_atomically
from deformlab.run_folder.result import Result
from deformlab.run_folder.scores import SCORES, finite

__all__ = [
    "OFFSET_COLUMNS",
    "Progress",
    "metrics_before",
    "offsets_before",
    "read_curves",
    "read_offsets",
    "read_progress",
    "write_metrics",
    "write_offsets",
]

METRICS, OFFSETS = "metrics.csv", "offsets.csv"
# Measured again on another machine, a network differs by rounding.
SAME_SCORE = 5e-3
# Between `epoch`, `layer` and `runaway` stands what `deformlab.metrics.OffsetStatistics` explains.
OFFSET_COLUMNS = (
    *("epoch", "layer"),
    *("filters", "length_q05", "length_q25", "length_q50", "length_q75", "length_q95", "length_over_side"),
    *("outside", "outside_undeformed", "modulation_low", "modulation_high", "effective_dilation"),
    "runaway",
)
"""The columns of offsets.csv."""


@dataclass(frozen=True)
class Progress:
    """How far a training is, by the newest value of each column.

    Args:
        epochs: Epochs that are complete.
        score: Name of the score, None before the first validation.
        value: The score, a fraction; None before the first validation.
        images_per_second: Training speed, None where it was not logged.
    """

    epochs: int = 0
    score: str | None = None
    value: float | None = None
    images_per_second: float | None = None


def write_metrics(run_dir: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes metrics.csv; a column that only some rows have is left empty in the others.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written; the old file is still there.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    write_atomically(run_dir / METRICS, csv_text(columns, rows))


def read_curves(run_dir: Path, result: Result) -> tuple[dict[str, float], ...]:
    """The rows of metrics.csv, which must be of the training that result.json is of.

    Args:
        run_dir: The run folder.
        result: What `read_result` says of it.

    Returns:
        A dict per validation, epochs ascending; empty cells are left out, undefined scores are nan.

    Raises:
        RunFolderError: The file is missing or damaged, ends at another epoch or score than the result, or has
            a value that no training writes.
    """
    path, score = run_dir / METRICS, f"val/{result.score.name}"
    rows: list[dict[str, float]] = []
    for number, row in enumerate(read_csv(path, ("epoch", score)), start=2):
        try:
            values = {name: float(value) for name, value in row.items() if name and value}
        except ValueError as error:
            raise RunFolderError(f"{path}: line {number}: {first_line(error)}") from error
        odd = [name for name, value in values.items() if math.isinf(value)]
        if odd or not float(values.get("epoch", -1)).is_integer() or not 0 <= values["epoch"] < 2**31:
            raise RunFolderError(f"{path}: line {number}: {odd[0] if odd else 'epoch'} is not a number")
        if rows and values["epoch"] <= rows[-1]["epoch"]:
            raise RunFolderError(f"{path}: line {number}: the epochs do not rise")
        if not 0 <= values.get(score, 0) <= 1 and not math.isnan(values[score]):
            raise RunFolderError(f"{path}: line {number}: {score} is no fraction from 0 to 1")
        rows.append(values)
    last = int(rows[-1]["epoch"]) + 1
    if last != result.epochs:
        raise RunFolderError(f"{path}: ends after epoch {last}, but result.json is of epoch {result.epochs}")
    scores = [row[score] for row in rows if not math.isnan(row.get(score, math.nan))]
    recorded = result.score.value
    if not scores or recorded is None or abs(scores[-1] - recorded) > SAME_SCORE:
        found, known = (
            "nothing" if value is None else f"{value:.4f}"
            for value in (scores[-1] if scores else None, recorded)
        )
        label = SCORES[result.score.name].label
        raise RunFolderError(f"{path}: its last {label} is {found}, but result.json has {known}")
    return tuple(rows)


def read_progress(run_dir: Path) -> Progress:
    """How far a training is by metrics.csv, which may be half written; nothing where it cannot be read."""
    progress = Progress()
    try:
        with open(run_dir / METRICS, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                epoch = finite(row.get("epoch"))
                if epoch is None:
                    continue
                scores = ((name, finite(row.get(f"val/{name}"))) for name in SCORES)
                score, value = next(
                    (pair for pair in scores if pair[1] is not None), (progress.score, progress.value)
                )
                speed = finite(row.get("images_per_second"))
                progress = Progress(
                    int(epoch) + 1, score, value, progress.images_per_second if speed is None else speed
                )
    except (OSError, UnicodeDecodeError, csv.Error):
        pass
    return progress


def write_offsets(run_dir: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes offsets.csv; a value that does not exist, such as a modulation, is left out of its row.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written; the old file is still there.
    """
    write_atomically(run_dir / OFFSETS, csv_text(OFFSET_COLUMNS, rows))


def read_offsets(run_dir: Path) -> tuple[dict[str, Any], ...]:
    """The rows of offsets.csv: `epoch` and `runaway` are int, `layer` is text, all else float.

    Returns:
        A dict per epoch and layer; empty cells are left out. No rows where the run has no such file: only
        networks with deformable layers have one, and runs before it was recorded have none.

    Raises:
        RunFolderError: The file is damaged.
    """
    path = run_dir / OFFSETS
    if not path.is_file():
        return ()
    rows = []
    for number, row in enumerate(read_csv(path, ("epoch", "layer", "runaway")), start=2):
        try:
            values: dict[str, Any] = {
                name: value if name == "layer" else float(value) for name, value in row.items() if value
            }
            rows.append(values | {name: int(row[name]) for name in ("epoch", "runaway")})
        except ValueError as error:
            raise RunFolderError(f"{path}: line {number}: {first_line(error)}") from error
    return tuple(rows)


def metrics_before(run_dir: Path, epochs: int) -> list[dict[str, Any]]:
    """The first rows of metrics.csv as text, for a checkpoint of an older version, which holds no copy.

    Args:
        run_dir: The run folder.
        epochs: How many epochs the checkpoint was trained for; later rows are left out.

    Raises:
        RunFolderError: The file is damaged.
    """
    return _rows_before(run_dir / METRICS, epochs)


def offsets_before(run_dir: Path, epochs: int) -> list[dict[str, Any]]:
    """The first rows of offsets.csv, as `metrics_before`."""
    return _rows_before(run_dir / OFFSETS, epochs)


def _rows_before(path: Path, epochs: int) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        rows: list[dict[str, Any]] = [dict(row) for row in read_csv(path, ("epoch",))]
        return [row for row in rows if int(row["epoch"]) < epochs]
    except (RunFolderError, ValueError) as error:
        raise RunFolderError(
            f"{error}; the checkpoint is of an older version and holds no copy: restore {path}, or remove it "
            "to go on without the epochs before"
        ) from error
