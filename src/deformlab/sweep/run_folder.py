"""What a sweep reads from a run folder and writes to it: status, progress and the end of the log.

Files are replaced as a whole: a full disk or a crash leaves the old content and never half of the new.
"""

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deformlab.run_folder.files import write_atomically
from deformlab.sweep.trials import Trial

LOG_HEADER = "deformlab sweep runs: "


@dataclass(frozen=True)
class EpochRow:
    """The newest row of metrics.csv.

    Attributes:
        epochs: Epochs that are complete.
        miou: Validation mIoU as a fraction, None before the first validation.
        images_per_second: Training speed, None where it was not logged.
    """

    epochs: int = 0
    miou: float | None = None
    images_per_second: float | None = None


def read_result(folder: Path) -> dict[str, Any]:
    """The content of result.json, empty where there is none that can be read."""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) else {}


def prepare_run_folder(trial: Trial) -> None:
    """Writes the configuration that the trial's process reads, and a result.json with status "running".

    The status is written here and not only by the process, so that a trial which dies while it starts is told
    from one that has not been tried.
    """
    write_atomically(trial.folder / "config.yaml", yaml.safe_dump(trial.config, sort_keys=False))
    mark(trial, "running", None)


def identity(trial: Trial) -> dict[str, Any]:
    """The part of result.json that says which trial it is."""
    return {
        "trial": trial.name,
        "sweep": trial.sweep,
        "seed": trial.seed,
        "role": trial.role,
        "init_from": trial.parent.name if trial.parent else None,
    }


def mark(trial: Trial, status: str, error: str | None) -> None:
    """Corrects the status in result.json and keeps everything else that is there."""
    news = identity(trial) | {"status": status, "error": error}
    write_atomically(
        trial.folder / "result.json", json.dumps(read_result(trial.folder) | news, indent=2) + "\n"
    )


def read_epoch(folder: Path) -> EpochRow:
    """Progress by metrics.csv; nothing where the file is missing or cannot be read."""
    row = EpochRow()
    try:
        with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
            for values in csv.DictReader(file):
                epoch = _number(values.get("epoch"))
                if epoch is not None:
                    miou, speed = _number(values.get("val/miou")), _number(values.get("images_per_second"))
                    row = EpochRow(
                        int(epoch) + 1,
                        row.miou if miou is None else miou,
                        row.images_per_second if speed is None else speed,
                    )
    except (OSError, UnicodeDecodeError, csv.Error):
        pass
    return row


def last_log_lines(folder: Path, count: int) -> list[str]:
    """The end of log.txt, of the newest try only, without blank lines and overwritten progress bars."""
    try:
        with open(folder / "log.txt", "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 64 * 1024))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    newest = text.rpartition(LOG_HEADER)[2].partition("\n")[2] if LOG_HEADER in text else text
    lines = [line.rstrip().rsplit("\r", 1)[-1] for line in newest.split("\n")]
    return [line for line in lines if line.strip()][-count:]


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
