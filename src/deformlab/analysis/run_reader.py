"""Reads run folders, the only contract between training and analysis, without a model or PyTorch.

Numbers that cannot be right are refused, and so are files of different validations. The report says what it
lacks for that.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from deformlab.analysis.run import SIZES, FilterStatistics, Run
from deformlab.errors import RunFolderError
from deformlab.objects import READABLE, ObjectRecords, SizeRule, by_size, read_records
from deformlab.run_folder import (
    Result,
    first_line,
    is_clean,
    read_csv,
    read_curves,
    read_evaluations,
    read_finished_result,
    read_json,
)

MEASURE_AGAIN = "run `deformlab validate --run_dir RUN` to measure again"
# Larger than any feature map: no filter looks that many cells far.
MAX_CELLS = 1e6
# Two validations of one network on the same images differ by rounding only, in points of a fraction.
SAME_SCORE = 0.005


def read_run(folder: Path) -> tuple[Run, list[str]]:
    """Read one run folder.

    Returns:
        The run, and a line for each optional file (effective dilation, curves, objects, evaluations) that is
        missing or broken.

    Raises:
        RunFolderError: The run is not finished or has no score, or its `result.json` is missing or broken.
    """
    result = read_finished_result(folder)
    return _with_files(_make_run(folder, result), result)


def _with_files(run: Run, result: Result) -> tuple[Run, list[str]]:
    """The run with what its optional files hold, and a line for each that is missing or broken."""
    folder, missing = run.folder, []
    try:
        run = replace(run, effective_dilation=_read_effective_dilation(folder / "effective_dilation.csv"))
    except RunFolderError as error:
        missing.append(f"not in the effective-dilation table: {error}")
    try:
        run = replace(run, curves=read_curves(folder, result))
    except RunFolderError as error:
        missing.append(f"not in the learning curves: {error}")
    if (folder / "objects.json").is_file() or (folder / "objects.csv").is_file():
        try:
            records, rule = _read_objects(folder, run.classes)
            thresholds = rule.borders(records) or run.thresholds
            other = _of_other_validation(run, records, rule)
            if other is None:
                run = replace(run, objects=records, size_rule=rule, thresholds=thresholds)
            else:
                run = replace(run, effective_dilation=())
                missing.append(f"not in the tables of effective dilation: {other}; {MEASURE_AGAIN}")
        except RunFolderError as error:
            missing.append(f"not in the tables by object: {error}")
    evaluations, problems = read_evaluations(folder)
    missing += [f"not in the scores on other data: {first_line(problem)}" for problem in problems]
    return replace(run, evaluations=tuple(evaluations)), missing


def _make_run(folder: Path, result: Result) -> Run:
    assert result.score.value is not None
    return Run(
        folder=folder,
        trial=result.trial,
        seed=result.seed,
        role=result.role,
        dataset=result.dataset,
        classes=result.classes,
        model=result.model,
        miou=result.score.value,
        best_miou=result.score.best,
        iou=result.class_scores.values,
        epochs=result.epochs,
        parameters=result.parameters,
        seconds=result.seconds,
        images_per_second=result.images_per_second,
        peak_memory_bytes=result.peak_memory_bytes,
        thresholds=result.measurement.sizes.thresholds or (),
        provenance={
            "revision": result.git_revision or "unknown",
            "versions": ", ".join(f"{name} {version}" for name, version in result.versions.items())
            or "unknown",
            "machine": result.machine or "unknown",
            "operators": result.operator_backend or "unknown",
            "precision": result.precision or "unknown",
        },
        init_from=result.init_from,
        effective_dilation=(),
        curves=(),
        palette=result.palette,
        max_epochs=result.max_epochs,
        measurement=result.measurement,
        data=result.data,
    )


def _read_effective_dilation(path: Path) -> tuple[FilterStatistics, ...]:
    statistics = []
    for number, row in enumerate(read_csv(path, ("layer", "size", "mean", "std", "count")), start=2):
        try:
            if row["size"] not in SIZES:
                raise ValueError(f"size is {row['size']!r}, expected one of {', '.join(SIZES)}")
            of_all = _statistics(row)
            # Runs of an older version have no such columns.
            inside = _statistics(row, "inside_") if "inside_count" in row else None
            if inside is not None and inside.count > of_all.count:
                raise ValueError("more filters are away from the border than there are")
        except (KeyError, ValueError) as error:
            raise RunFolderError(f"{path}: line {number}: {first_line(error)}") from error
        statistics.append(replace(of_all, inside=inside))
    for layer in {part.layer for part in statistics}:
        sizes = [part.size for part in statistics if part.layer == layer]
        if sorted(sizes) != sorted(SIZES):
            raise RunFolderError(f"{path}: has not one row for each size of {layer}; {MEASURE_AGAIN}")
    return tuple(statistics)


def _statistics(row: Mapping[str, str], prefix: str = "") -> FilterStatistics:
    count = float(row[f"{prefix}count"])
    if not (0 <= count < 2**53 and count == int(count)):
        raise ValueError(f"{prefix}count is {row[f'{prefix}count']}, expected a whole number of 0 or more")
    mean, std = (float(row[f"{prefix}{name}"]) if count else math.nan for name in ("mean", "std"))
    if count and not (0 <= mean < MAX_CELLS and 0 <= std < MAX_CELLS):
        raise ValueError(f"{prefix}mean or {prefix}std of {count:.0f} filters is not a number of cells")
    if not is_clean(row["layer"]):
        raise ValueError("layer has a control character")
    return FilterStatistics(row["layer"], row["size"], mean, std, int(count))


def _read_objects(folder: Path, classes: tuple[str, ...]) -> tuple[ObjectRecords, SizeRule]:
    """The records, and what is small and large."""
    path = folder / "objects.json"
    summary = read_json(path)
    try:
        version, rule = summary["version"], summary["rule"]
        if version not in READABLE:
            raise RunFolderError(
                f"{path}: is of version {version!r:.20}, this deformlab reads "
                f"{' and '.join(map(str, READABLE))}; validate the run again"
            )
        # Without objects there are no thresholds, and nothing that they would divide.
        thresholds = rule["thresholds"] or SizeRule().thresholds
        size_rule = SizeRule(thresholds, rule["area"], rule["pixels"])
        counted = {key: summary[key] for key in ("images", "objects", "layers", "classes")}
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path}: not readable as a summary of objects ({first_line(error)})") from error
    records = read_records(folder / "objects.csv", classes)
    there = {
        "images": len(np.unique(records.image)),
        "objects": int(records.is_object.sum()),
        "layers": list(records.layers),
        "classes": list(classes),
    }
    odd = [key for key in there if there[key] != counted[key]]
    if odd:
        raise RunFolderError(
            f"{folder / 'objects.csv'}: has other {' and '.join(odd)} than objects.json; {MEASURE_AGAIN}"
        )
    if not records.layers:
        raise RunFolderError(f"{folder / 'objects.csv'}: has no layers; {MEASURE_AGAIN}")
    if "all" in classes:
        raise RunFolderError(f"{path}: a class is called all, as all classes together are; rename it")
    return records, size_rule


def _of_other_validation(run: Run, records: ObjectRecords, rule: SizeRule) -> str | None:
    """How the records show that they are not of the validation that the run's other files are of."""
    found = {
        (layer, size): (mean, n) for layer, size, mean, _, n in by_size(records, records.everywhere, rule)
    }
    listed = {(part.layer, part.size): (part.mean, part.count) for part in run.effective_dilation}
    if listed and not (
        found.keys() == listed.keys()
        and all(np.allclose(found[key], listed[key], rtol=1e-5, equal_nan=True) for key in found)
    ):
        return f"{run.folder}: effective_dilation.csv and objects.csv are of different validations"
    if not records.scored:
        return None
    for label, name in enumerate(run.classes):
        rows = records.label == label
        union = int(records.pixels[rows].sum() + records.false_positives[rows].sum())
        known = run.iou[name]
        # Only of classes without objects are all false positives in the records.
        if records.is_object[rows].any() or not union or known is None:
            continue
        score = int(records.hits[rows].sum()) / union
        if abs(score - known) > SAME_SCORE:
            return (
                f"{run.folder}: objects.csv is of other data or options than the scores: "
                f"IoU of {name} is {100 * score:.1f} there and {100 * known:.1f} in result.json"
            )
    return None
