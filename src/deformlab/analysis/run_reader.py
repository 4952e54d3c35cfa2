"""Reads run folders, the only contract between training and analysis, without a model or PyTorch.

Numbers that cannot be right are refused, and so are files of different validations. The report says what it
lacks for that.
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deformlab.analysis.run import CONV5_KINDS, SIZES, FilterStatistics, Measurement, Run
from deformlab.errors import RunFolderError
from deformlab.records import READABLE, ObjectRecords, SizeRule, by_size
from deformlab.run_folder.evaluations import Evaluation, read_evaluations
from deformlab.run_folder.files import read_csv, read_json
from deformlab.run_folder.measurement import VERSION, version_of
from deformlab.run_folder.objects import read_records

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
    path = folder / "result.json"
    if not path.is_file():
        raise RunFolderError(f"{folder}: has no result.json; the run never started, run the sweep again")
    result = read_json(path)
    status = result.get("status")
    if status != "finished":
        reason = f" ({first_line(result['error'])})" if result.get("error") else ""
        known = f"{status:.40}" if isinstance(status, str) and _is_clean(status) else "status unknown"
        raise RunFolderError(f"{path if status is None else folder}: {known}{reason}; run the sweep again")
    score = result.get("miou", 0)
    if score is None or (isinstance(score, float) and math.isnan(score)):
        raise RunFolderError(
            f"{folder}: has no mIoU: it was never validated, or all its labels are ignored; train it with "
            "validation after the last epoch"
        )
    try:
        _refuse_odd_values(result)
        run = _make_run(folder, result)
    except KeyError as error:
        raise RunFolderError(f"{path}: lacks {error}") from error
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RunFolderError(f"{path}: has a value of the wrong kind ({first_line(error)})") from error
    return _with_files(run, result)


def _with_files(run: Run, result: Mapping[str, Any]) -> tuple[Run, list[str]]:
    """The run with what its optional files hold, and a line for each that is missing or broken."""
    folder, missing = run.folder, []
    try:
        run = replace(run, effective_dilation=_read_effective_dilation(folder / "effective_dilation.csv"))
    except RunFolderError as error:
        missing.append(f"not in the effective-dilation table: {error}")
    try:
        run = replace(run, curves=_read_curves(folder / "metrics.csv", run))
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
    if "measurement" not in result:
        run = replace(run, measurement=Measurement(version_of(folder, result), None))
    evaluations, problems = read_evaluations(folder)
    for evaluation in list(evaluations):
        try:
            _refuse_odd_evaluation(evaluation)
        except (TypeError, ValueError, RecursionError) as error:
            evaluations.remove(evaluation)
            problems.append(f"{folder / 'evaluations' / evaluation.name}.json: {first_line(error)}")
    missing += [f"not in the scores on other data: {first_line(problem)}" for problem in problems]
    return replace(run, evaluations=tuple(evaluations)), missing


def _make_run(folder: Path, result: Mapping[str, Any]) -> Run:
    model = dict(result["model"])
    if model["conv5"] not in CONV5_KINDS:
        raise ValueError(f"model.conv5 is {model['conv5']!r}, expected one of {', '.join(CONV5_KINDS)}")
    _count(model, "dilation", least=1)
    if model["conv5"] != "atrous" and model["num_deformable_layers"] != "all":
        _count(model, "num_deformable_layers")
    classes = tuple(_text({"classes": name}, "classes") for name in _list(result, "classes"))
    if not classes or len(set(classes)) < len(classes):
        raise ValueError("classes must be one or more different names")
    if set(result["iou"]) != set(classes):
        odd = sorted(set(result["iou"]) ^ set(classes))
        raise ValueError(f"iou and classes do not name the same: {', '.join(odd)}")
    palette = tuple(_text({"palette": colour}, "palette") for colour in result.get("palette") or ())
    if not all(re.fullmatch("#[0-9a-fA-F]{6}", colour) for colour in palette):
        raise ValueError("palette has a value that is no colour #rrggbb")
    versions = dict(result.get("versions") or {})
    measurement = result.get("measurement") or {"version": VERSION}
    data = {name: dict(part) for name, part in dict(result.get("data") or {}).items() if part is not None}
    for part in data.values():
        _text(part, "fingerprint")
    seed = result["seed"]
    if seed is not None:
        seed = _count(result, "seed")
    return Run(
        folder=folder,
        trial=_text(result, "trial"),
        seed=seed,
        role=_text(result, "role", "trial"),
        dataset=_text(result, "dataset"),
        classes=classes,
        model=model,
        miou=_fraction(result, "miou"),
        best_miou=None if result.get("best_miou") is None else _fraction(result, "best_miou"),
        iou={
            name: None if result["iou"][name] is None else _fraction(result["iou"], name) for name in classes
        },
        epochs=_count(result, "epochs"),
        parameters=_count(result, "parameters"),
        seconds=_amount(result, "seconds"),
        images_per_second=_amount(result, "images_per_second"),
        peak_memory_bytes=None
        if result.get("peak_memory_bytes") is None
        else _count(result, "peak_memory_bytes"),
        thresholds=_thresholds(result),
        provenance={
            "revision": str(result.get("git_revision") or "unknown"),
            "versions": ", ".join(f"{name} {version}" for name, version in versions.items()) or "unknown",
            "machine": str(result.get("machine") or "unknown"),
            "operators": str(result.get("operator_backend") or "unknown"),
            "precision": str(result.get("precision") or "unknown"),
        },
        init_from=None if result.get("init_from") is None else _text(result, "init_from"),
        effective_dilation=(),
        curves=(),
        palette=palette,
        max_epochs=_max_epochs(result.get("max_epochs")),
        measurement=Measurement(
            _count(measurement, "version", least=1), dict(measurement.get("options") or {})
        ),
        data=data,
    )


def _refuse_odd_evaluation(evaluation: Evaluation) -> None:
    for part in ("score", "iou", "data", "checkpoint", "options"):
        if not isinstance(getattr(evaluation, part), dict):
            raise TypeError(f"{part} is not an object")
    _refuse_odd_values({"data": evaluation.data, "split": evaluation.split, "options": evaluation.options})


def _refuse_odd_values(value: Any, where: str = "") -> None:
    """Refuses what JSON can hold and no report can show: control characters, nan, infinity.

    Raises:
        ValueError: There is one; the message names the key.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_odd_values(key, where)
            _refuse_odd_values(item, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for item in value:
            _refuse_odd_values(item, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}")
    elif isinstance(value, str) and not _is_clean(value):
        raise ValueError(f"{where} has a control character: {value!r:.60}")


def _is_clean(text: str) -> bool:
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text)


def _text(content: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = content[key] if default is None else content.get(key) or default
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is {value!r:.60}, expected text")
    return value


def _list(content: Mapping[str, Any], key: str) -> list[Any]:
    value = content[key]
    if not isinstance(value, list):
        raise ValueError(f"{key} is {value!r:.60}, expected a list")
    return value


def _count(content: Mapping[str, Any], key: str, least: int = 0) -> int:
    value = content[key]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
        raise ValueError(f"{key} is {value!r:.60}, expected a whole number of {least} or more")
    return value


def _fraction(content: Mapping[str, Any], key: str) -> float:
    value = content[key]
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"{key} is {value!r:.60}, expected a fraction from 0 to 1")
    return float(value)


def _amount(content: Mapping[str, Any], key: str) -> float | None:
    value = content.get(key)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e15:
        raise ValueError(f"{key} is {value!r:.60}, expected a number of 0 or more")
    return float(value)


def _thresholds(result: Mapping[str, Any]) -> tuple[float, ...]:
    found = [_amount({"thresholds": value}, "thresholds") for value in result.get("thresholds") or ()]
    return tuple(value for value in found if value is not None)


def _max_epochs(value: Any) -> int | None:
    """None where the number of epochs has no bound."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


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
    if not _is_clean(row["layer"]):
        raise ValueError("layer has a control character")
    return FilterStatistics(row["layer"], row["size"], mean, std, int(count))


def _read_curves(path: Path, run: Run) -> tuple[dict[str, float], ...]:
    """The rows of metrics.csv, which must end where result.json does."""
    rows: list[dict[str, float]] = []
    for number, row in enumerate(read_csv(path, ("epoch", "val/miou")), start=2):
        try:
            values = {name: float(value) for name, value in row.items() if name and value}
        except ValueError as error:
            raise RunFolderError(f"{path}: line {number}: {first_line(error)}") from error
        odd = [name for name, value in values.items() if math.isinf(value)]
        if odd or not float(values.get("epoch", -1)).is_integer() or not 0 <= values["epoch"] < 2**31:
            raise RunFolderError(f"{path}: line {number}: {odd[0] if odd else 'epoch'} is not a number")
        if rows and values["epoch"] <= rows[-1]["epoch"]:
            raise RunFolderError(f"{path}: line {number}: the epochs do not rise")
        if not 0 <= values.get("val/miou", 0) <= 1 and not math.isnan(values["val/miou"]):
            raise RunFolderError(f"{path}: line {number}: val/miou is no fraction from 0 to 1")
        rows.append(values)
    last = int(rows[-1]["epoch"]) + 1
    if last != run.epochs:
        raise RunFolderError(f"{path}: ends after epoch {last}, but result.json is of epoch {run.epochs}")
    scores = [row["val/miou"] for row in rows if not math.isnan(row.get("val/miou", math.nan))]
    # Measured again on another machine, a network differs by rounding.
    if not scores or abs(scores[-1] - run.miou) > 5e-3:
        found = f"{scores[-1]:.4f}" if scores else "nothing"
        raise RunFolderError(f"{path}: its last mIoU is {found}, but result.json has {run.miou:.4f}")
    return tuple(rows)


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


def first_line(error: object) -> str:
    """First line of an error's text, for messages that must stay on one line."""
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    return "".join(letter if _is_clean(letter) else "?" for letter in line)
