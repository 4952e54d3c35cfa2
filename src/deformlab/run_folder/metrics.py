"""Reads and writes `metrics.csv`, one row per validation, and `offsets.csv`, one row per epoch and layer.

The columns of metrics.csv are `epoch` (from 0), `step`, `train/loss`, `lr`, `images_per_second` and the
results of the validation: `val/<score>` and `val/<class score>/<class>`. offsets.csv only has deformable
layers.
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
# A network that was measured again on another machine may differ by rounding.
SAME_SCORE = 5e-3
# The columns between `layer` and `runaway` are those of `deformlab.metrics.OffsetStatistics`.
OFFSET_COLUMNS = (
    *("epoch", "layer"),
    *("filters", "length_q05", "length_q25", "length_q50", "length_q75", "length_q95", "length_over_side"),
    *("outside", "outside_undeformed", "modulation_low", "modulation_high", "effective_dilation"),
    "runaway",
)
"""The columns of offsets.csv."""


@dataclass(frozen=True)
class Progress:
    """The progress of a training: the latest value of each column.

    Args:
        epochs: The number of complete epochs.
        score: Name of the score; None before the first validation.
        value: The score, a fraction from 0 to 1; None before the first validation.
        images_per_second: Training speed; None if it was not logged.
    """

    epochs: int = 0
    score: str | None = None
    value: float | None = None
    images_per_second: float | None = None


def write_metrics(run_dir: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes metrics.csv; missing values of a row are empty cells.

    Args:
        run_dir: The run folder.
        rows: The values of each validation, by column.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written; the old file is kept.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    write_atomically(run_dir / METRICS, csv_text(columns, rows))


def read_curves(run_dir: Path, result: Result) -> tuple[dict[str, float], ...]:
    """Reads metrics.csv and checks that it belongs to the same training as result.json.

    Args:
        run_dir: The run folder.
        result: The content of result.json, from `read_result`.

    Returns:
        A dictionary per validation, by ascending epoch. Empty cells are left out; undefined scores are nan.

    Raises:
        RunFolderError: The file is missing or damaged, has an illegal value, or ends with another epoch or
            score than the result.
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
            raise RunFolderError(f"{path}: line {number}: the epochs do not increase")
        if not 0 <= values.get(score, 0) <= 1 and not math.isnan(values[score]):
            raise RunFolderError(f"{path}: line {number}: {score} is not a fraction from 0 to 1")
        rows.append(values)
    last = int(rows[-1]["epoch"]) + 1
    if last != result.epochs:
        raise RunFolderError(f"{path}: ends after epoch {last}, but result.json has epoch {result.epochs}")
    scores = [row[score] for row in rows if not math.isnan(row.get(score, math.nan))]
    recorded = result.score.value
    if not scores or recorded is None or abs(scores[-1] - recorded) > SAME_SCORE:
        found, expected = (
            "undefined" if value is None else f"{value:.4f}"
            for value in (scores[-1] if scores else None, recorded)
        )
        label = SCORES[result.score.name].label
        raise RunFolderError(f"{path}: its last {label} is {found}, but result.json has {expected}")
    return tuple(rows)


def read_progress(run_dir: Path) -> Progress:
    """Reads the progress of a training from metrics.csv.

    Returns:
        The latest values. A missing or only partly written file is not an error: unreadable values have
        their defaults.
    """
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
    """Writes offsets.csv; missing values of a row, such as a modulation, are empty cells.

    Args:
        run_dir: The run folder.
        rows: The values of each epoch and layer, by column; see `OFFSET_COLUMNS`.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written; the old file is kept.
    """
    write_atomically(run_dir / OFFSETS, csv_text(OFFSET_COLUMNS, rows))


def read_offsets(run_dir: Path) -> tuple[dict[str, Any], ...]:
    """Reads offsets.csv.

    Returns:
        A dictionary per epoch and layer: `epoch` and `runaway` are int, `layer` is text, and all other values
        are float. Empty cells are left out. No rows if the file does not exist, because the network has no
        deformable layers or an older version trained it.

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
    """The first rows of metrics.csv as text, for a checkpoint of an older version, which has no copy of them.

    Args:
        run_dir: The run folder.
        epochs: The checkpoint's number of epochs; later rows are left out.

    Raises:
        RunFolderError: The file is damaged.
    """
    return _rows_before(run_dir / METRICS, epochs)


def offsets_before(run_dir: Path, epochs: int) -> list[dict[str, Any]]:
    """The first rows of offsets.csv, see `metrics_before`."""
    return _rows_before(run_dir / OFFSETS, epochs)


def _rows_before(path: Path, epochs: int) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        rows: list[dict[str, Any]] = [dict(row) for row in read_csv(path, ("epoch",))]
        return [row for row in rows if int(row["epoch"]) < epochs]
    except (RunFolderError, ValueError) as error:
        raise RunFolderError(
            f"{error}; the checkpoint of an older version has no copy of it: restore {path}, or remove it to "
            "continue without the earlier epochs"
        ) from error
