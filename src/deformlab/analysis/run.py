"""One run folder: what `fit` left on disk, read without importing a model or PyTorch.

Run folders are the only contract between training and analysis.
"""

import csv
import json
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deformlab.errors import RunFolderError
from deformlab.objects import READABLE, ObjectRecords, SizeRule, read_records

SIZES = ("small", "medium", "large", "background")
CONV5_KINDS = ("atrous", "deformable", "modulated")


@dataclass(frozen=True)
class FilterStatistics:
    """Effective dilation of one layer's filters that belong to one object size, in feature-map cells.

    `inside` has the same over the filters away from the border of the map, None where that was not recorded.
    """

    layer: str
    size: str
    mean: float
    std: float
    count: int
    inside: "FilterStatistics | None" = None


@dataclass(frozen=True)
class Run:
    """One finished training: a trial with one seed. Scores are fractions, times seconds."""

    folder: Path
    trial: str
    seed: int | None
    role: str
    dataset: str
    classes: tuple[str, ...]
    model: dict[str, Any]
    miou: float
    best_miou: float | None
    iou: dict[str, float | None]
    epochs: int
    parameters: int
    seconds: float | None
    images_per_second: float | None
    peak_memory_bytes: int | None
    thresholds: tuple[float, ...]
    provenance: dict[str, str]
    init_from: str | None
    effective_dilation: tuple[FilterStatistics, ...]
    curves: tuple[dict[str, float], ...]
    palette: tuple[str, ...] = ()
    objects: ObjectRecords | None = None
    size_rule: SizeRule = field(default_factory=SizeRule)

    @property
    def conv5(self) -> str:
        """Kind of the 3x3 convolutions of conv5: atrous, deformable or modulated."""
        return str(self.model["conv5"])

    @property
    def dilation(self) -> int:
        """Dilation of the 3x3 convolutions of conv5."""
        return int(self.model["dilation"])

    @property
    def deformable_layers(self) -> int | str:
        """Number of deformable layers; 0 for an atrous network, "all" for every 3x3 of conv3 to conv5."""
        if self.conv5 == "atrous":
            return 0
        number = self.model["num_deformable_layers"]
        return number if number == "all" else int(number)


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key that puts `layer3.5` before `layer3.22`."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]


def read_run(folder: Path) -> tuple[Run, list[str]]:
    """Read one run folder.

    Returns:
        The run, and a line for each optional file (effective dilation, curves) that is missing or broken.

    Raises:
        RunFolderError: The run is not finished, or its `result.json` is missing or broken.
    """
    path = folder / "result.json"
    if not path.is_file():
        raise RunFolderError(f"{folder}: has no result.json; the run never started, run the sweep again")
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: not readable as JSON ({first_line(error)})") from error
    if not isinstance(result, dict):
        raise RunFolderError(f"{path}: holds {type(result).__name__}, expected an object")
    status = result.get("status")
    if status != "finished":
        reason = f" ({first_line(result['error'])})" if result.get("error") else ""
        raise RunFolderError(f"{folder}: {status or 'status unknown'}{reason}; run the sweep again")
    missing = []
    effective_dilation: tuple[FilterStatistics, ...] = ()
    curves: tuple[dict[str, float], ...] = ()
    try:
        effective_dilation = _read_effective_dilation(folder / "effective_dilation.csv")
    except RunFolderError as error:
        missing.append(f"not in the effective-dilation table: {error}")
    try:
        curves = _read_curves(folder / "metrics.csv")
    except RunFolderError as error:
        missing.append(f"not in the learning curves: {error}")
    try:
        run = _make_run(folder, result, effective_dilation, curves)
    except KeyError as error:
        raise RunFolderError(f"{path}: lacks {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise RunFolderError(f"{path}: has a value of the wrong kind ({first_line(error)})") from error
    if (folder / "objects.json").is_file() or (folder / "objects.csv").is_file():
        try:
            records, rule = _read_objects(folder, run.classes)
            # Of the same validation as effective_dilation.csv, maybe a later one than the training's.
            run = replace(
                run, objects=records, size_rule=rule, thresholds=rule.borders(records) or run.thresholds
            )
        except RunFolderError as error:
            missing.append(f"not in the tables by object: {error}")
    return run, missing


def _make_run(
    folder: Path,
    result: dict[str, Any],
    effective_dilation: tuple[FilterStatistics, ...],
    curves: tuple[dict[str, float], ...],
) -> Run:
    model = dict(result["model"])
    if model["conv5"] not in CONV5_KINDS:
        raise ValueError(f"model.conv5 is {model['conv5']!r}, expected one of {', '.join(CONV5_KINDS)}")
    int(model["dilation"])
    if model["conv5"] != "atrous" and model["num_deformable_layers"] != "all":
        int(model["num_deformable_layers"])
    miou = float(result["miou"])
    if not 0 <= miou <= 1:
        raise ValueError(f"miou is {miou}, expected a fraction from 0 to 1")
    versions = result.get("versions") or {}
    return Run(
        folder=folder,
        trial=str(result["trial"]),
        seed=_optional(int, result["seed"]),
        role=str(result.get("role") or "trial"),
        dataset=str(result["dataset"]),
        classes=tuple(str(name) for name in result["classes"]),
        model=model,
        miou=miou,
        best_miou=_optional(float, result.get("best_miou")),
        iou={str(name): _optional(float, value) for name, value in result["iou"].items()},
        epochs=int(result["epochs"]),
        parameters=int(result["parameters"]),
        seconds=_optional(float, result.get("seconds")),
        images_per_second=_optional(float, result.get("images_per_second")),
        peak_memory_bytes=_optional(int, result.get("peak_memory_bytes")),
        thresholds=tuple(float(value) for value in result.get("thresholds") or ()),
        provenance={
            "revision": str(result.get("git_revision") or "unknown"),
            "versions": ", ".join(f"{name} {version}" for name, version in versions.items()) or "unknown",
            "machine": str(result.get("machine") or "unknown"),
            "operators": str(result.get("operator_backend") or "unknown"),
            "precision": str(result.get("precision") or "unknown"),
        },
        init_from=result.get("init_from"),
        effective_dilation=effective_dilation,
        curves=curves,
        palette=tuple(str(colour) for colour in result.get("palette") or ()),
    )


def _read_effective_dilation(path: Path) -> tuple[FilterStatistics, ...]:
    rows = _read_csv(path, ("layer", "size", "mean", "std", "count"))
    statistics = []
    for number, row in enumerate(rows, start=2):
        try:
            if row["size"] not in SIZES:
                raise ValueError(f"size is {row['size']!r}, expected one of {', '.join(SIZES)}")
            of_all = _statistics(row)
            # Runs of an older version have no such columns.
            inside = _statistics(row, "inside_") if "inside_count" in row else None
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(f"{path}: line {number}: {first_line(error)}") from error
        statistics.append(replace(of_all, inside=inside))
    return tuple(statistics)


def _statistics(row: dict[str, str], prefix: str = "") -> FilterStatistics:
    count = int(float(row[f"{prefix}count"]))
    mean, std = (float(row[f"{prefix}{name}"]) if count else math.nan for name in ("mean", "std"))
    if count and not (math.isfinite(mean) and math.isfinite(std)):
        raise ValueError(f"{prefix}mean or {prefix}std of {count} filters is not a number")
    return FilterStatistics(row["layer"], row["size"], mean, std, count)


def _read_objects(folder: Path, classes: tuple[str, ...]) -> tuple[ObjectRecords, SizeRule]:
    path = folder / "objects.json"
    try:
        summary = json.loads(path.read_text())
        version, rule = summary["version"], summary["rule"]
        if version not in READABLE:
            raise RunFolderError(
                f"{path}: is of version {version}, this deformlab reads "
                f"{' and '.join(map(str, READABLE))}; validate the run again"
            )
        # Without objects there are no thresholds, and nothing that they would divide.
        thresholds = rule["thresholds"] or SizeRule().thresholds
        size_rule = SizeRule(thresholds, rule["area"], rule["pixels"])
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: no such file") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path}: not readable as a summary of objects ({first_line(error)})") from error
    return read_records(folder / "objects.csv", classes), size_rule


def _read_curves(path: Path) -> tuple[dict[str, float], ...]:
    rows = _read_csv(path, ("epoch", "val/miou"))
    try:
        return tuple({name: float(value) for name, value in row.items() if name and value} for row in rows)
    except (TypeError, ValueError) as error:
        raise RunFolderError(f"{path}: {first_line(error)}") from error


def _read_csv(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            absent = [name for name in columns if name not in (reader.fieldnames or ())]
            if absent:
                raise RunFolderError(f"{path}: lacks the column {', '.join(absent)}")
            rows = list(reader)
    except FileNotFoundError as error:
        raise RunFolderError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunFolderError(f"{path}: not readable as CSV ({first_line(error)})") from error
    if not rows:
        raise RunFolderError(f"{path}: has no rows")
    return rows


def _optional(kind: type, value: Any) -> Any:
    return None if value is None else kind(value)


def first_line(error: object) -> str:
    """First line of an error's text, for messages that must stay on one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
