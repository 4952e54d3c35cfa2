"""Reads and writes `result.json`: the status of a run, the scores of its network, and its provenance.

A sweep writes the keys of `RunStatus` before a trial's process starts; the training writes those of `Result`.
The current version is 2. Version 1, which has no key `version`, can still be read: `_migrate` converts its
keys. It is replaced by version 2 when the file is next written.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from deformlab.errors import RunFolderError
from deformlab.run_folder import fields as check
from deformlab.run_folder.files import read_csv, read_json, write_atomically
from deformlab.run_folder.scores import SCORES, Mode, format_score

__all__ = [
    "CONV5_KINDS",
    "MEASUREMENT_VERSION",
    "ClassScores",
    "MeasuredSizes",
    "Measurement",
    "Result",
    "RunStatus",
    "Score",
    "mark_status",
    "read_finished_result",
    "read_result",
    "read_status",
    "write_result",
]

VERSION = 2
# 1  A filter was assigned to the object in the middle of its cell, half a cell from the filter's centre.
# 2  A filter is assigned to the object at its centre, see `deformlab.metrics.filter_centre`. Later runs also
#    record sums over interior filters; the sums over all filters are unchanged.
# 3  Interior filters of deformable layers are also recorded one by one; the sums are the same as in 2.
MEASUREMENT_VERSION = 3
"""The version of the measurement of effective dilation and objects.

Results of different versions may not be comparable, but a finished network can be measured again.
"""

State = Literal["running", "finished", "failed", "interrupted"]
CONV5_KINDS = ("atrous", "deformable", "modulated")
"""The legal values of the option `conv5` in a result."""

FILE = "result.json"


@dataclass(frozen=True)
class Score:
    """The score by which networks are compared.

    Args:
        name: A key of `SCORES`.
        value: The score of the final network, a fraction from 0 to 1; None if nothing was measured or all
            pixels are ignored.
        best: The best score of all validations during the training; None if it is unknown.
        mode: `max` if a higher score is better, `min` if a lower one is.
    """

    name: str
    value: float | None
    best: float | None = None
    mode: Mode = "max"

    @property
    def text(self) -> str:
        """The score as text, for example `mIoU 45.3 %` or `mIoU not defined`."""
        return f"{SCORES[self.name].label} {format_score(self.value)}"


@dataclass(frozen=True)
class ClassScores:
    """The score of each class.

    Args:
        name: The name of the class score, for example `iou` for the score `miou`.
        values: Fractions from 0 to 1 by class name; None for a class that is neither in the labels nor in the
            predictions.
    """

    name: str
    values: dict[str, float | None]


@dataclass(frozen=True)
class MeasuredSizes:
    """The rule of object sizes that was used in a measurement.

    Args:
        thresholds: Two areas in pixels: objects below the first are small, above the second large. None if
            `thirds` is set and there are no objects.
        thirds: Whether the thresholds divide the evaluated objects into three equal parts.
        area: An object's area: `box`, that of its bounding box; `mask`, its number of pixels.
        pixels: Unit of areas: pixels of the `original` label map, or of the `network`'s input.
        assignment: Whether filters belong to an object by its `mask` or its bounding `box`.
    """

    thresholds: tuple[float, float] | None
    thirds: bool = False
    area: Literal["box", "mask"] = "box"
    pixels: Literal["original", "network"] = "original"
    assignment: Literal["mask", "box"] = "mask"


@dataclass(frozen=True)
class Measurement:
    """The version and options of the measurement of effective dilation and objects.

    Args:
        version: See `MEASUREMENT_VERSION`.
        options: Options of the measurement that differ from their defaults, by dotted names; None if an early
            run did not record them.
        sizes: The rule of object sizes.
    """

    version: int
    options: dict[str, Any] | None
    sizes: MeasuredSizes = field(default_factory=lambda: MeasuredSizes(None))


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """The names and status of a run, which a sweep needs.

    Args:
        status: The status; `running` until the process or its sweep writes another one.
        error: The reason of a failure or an interruption, one line.
        trial: The trial's name in its sweep, or the run folder's name.
        sweep: The sweep's name, or None.
        role: `trial` is in the tables, `pretraining` only provides weights for other trials.
        init_from: The trial from whose last weights the training starts, or None.
        seed: The seed of the training; None if it was not seeded.
        seconds: Duration of the training so far, including processes that were killed.
        peak_memory_bytes: Peak memory of the training's processes so far, on the GPU if there is one.
        measurement: How the network was measured; None before the training has written its part.
    """

    status: State
    trial: str
    error: str | None = None
    sweep: str | None = None
    role: str = "trial"
    init_from: str | None = None
    seed: int | None = None
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    measurement: Measurement | None = None

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], default_trial: str, seed: int | None
    ) -> "RunStatus":
        """The status of a starting run, with its names from environment variables.

        Args:
            environment: Environment variables. A sweep sets `DEFORMLAB_TRIAL`, `DEFORMLAB_SWEEP`,
                `DEFORMLAB_ROLE` and `DEFORMLAB_INIT_FROM`.
            default_trial: The trial's name outside a sweep.
            seed: The seed of the training, or None.
        """
        return cls(
            status="running",
            trial=environment.get("DEFORMLAB_TRIAL") or default_trial,
            sweep=environment.get("DEFORMLAB_SWEEP") or None,
            role=environment.get("DEFORMLAB_ROLE") or "trial",
            init_from=environment.get("DEFORMLAB_INIT_FROM") or None,
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class Result(RunStatus):
    """The content of `result.json`, in addition to `RunStatus`; all values are checked.

    Args:
        score: The score of the final network; during the training, that of the latest validation.
        class_scores: The score of each class.
        measurement: How effective dilation and objects were measured.
        epochs: The number of complete epochs.
        max_epochs: The planned number of epochs; None if something else ends the training.
        dataset: Name of the data set.
        data: For each split (`train`, `val`), its `dataset`, `fingerprint` and number of `images`; empty for
            early runs.
        classes: The names of the classes in label order, one or more, all different.
        palette: A colour `#rrggbb` for each class; empty for early runs.
        model: Options of the network, at least `conv5`, `dilation` and `num_deformable_layers`.
        parameters: Number of parameters of the network.
        images_per_second: Training speed in the last epoch, over all processes; None if it is unknown.
        precision: Lightning's name of the precision.
        versions: Versions of deformlab, Python and the libraries that affect results.
        git_revision: The commit of the checkout, with `-dirty` appended if it had changes; None for an
            installed package.
        operator_backend: `native` or `reference`.
        machine: Processor or GPU, and the number of cores.
        other_scores: Further scores of the final network by their names in `SCORES`, as fractions; None for a
            score that is not defined. A detector has AP at several thresholds and by object size.
    """

    score: Score
    class_scores: ClassScores
    measurement: Measurement
    epochs: int
    max_epochs: int | None
    dataset: str
    data: dict[str, dict[str, Any]]
    classes: tuple[str, ...]
    palette: tuple[str, ...]
    model: dict[str, Any]
    parameters: int
    images_per_second: float | None
    precision: str | None
    versions: dict[str, str]
    git_revision: str | None
    operator_backend: str | None
    machine: str | None
    other_scores: dict[str, float | None] = field(default_factory=dict)


def write_result(run_dir: Path, result: Result) -> None:
    """Writes result.json.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written; the old file is kept.
    """
    _write(run_dir, asdict(result))


def mark_status(run_dir: Path, status: RunStatus) -> None:
    """Writes the names and status of a run, and keeps the results of the training.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written; the old file is kept.
    """
    kept = ("seconds", "peak_memory_bytes", "measurement")
    updates = {key: value for key, value in asdict(status).items() if key not in kept or value is not None}
    _write(run_dir, _content(run_dir) | updates)


def read_status(run_dir: Path) -> RunStatus | None:
    """Reads the status of a run; None if result.json is missing, damaged or has no status."""
    content = _content(run_dir)
    try:
        return _status(content, run_dir)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def read_result(run_dir: Path) -> Result:
    """Reads the result of a training with any status.

    Raises:
        RunFolderError: result.json is missing, damaged or of a later version, has an illegal value, or lacks
            a key because the training never started.
    """
    path = run_dir / FILE
    content = read_json(path)
    try:
        if check.count({"version": 1} | content, "version") > VERSION:
            raise RunFolderError(
                f"{path}: has version {content['version']}, but this deformlab reads at most {VERSION}; "
                "use the deformlab that wrote it"
            )
        return _result(_migrate(content, run_dir), run_dir)
    except KeyError as error:
        raise RunFolderError(f"{path}: lacks {error}") from error
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RunFolderError(f"{path}: has an illegal value ({check.first_line(error)})") from error


def read_finished_result(run_dir: Path) -> Result:
    """Reads the result of a run that a report can use: it is finished and has a score.

    Raises:
        RunFolderError: The run never started, is not finished or has no score; also as in `read_result`.
    """
    path = run_dir / FILE
    if not path.is_file():
        raise RunFolderError(f"{run_dir}: has no result.json, so the run never started; run the sweep again")
    content = read_json(path)
    status = content.get("status")
    if status != "finished":
        reason = f" ({check.first_line(content['error'])})" if content.get("error") else ""
        shown = f"{status:.40}" if isinstance(status, str) and check.is_clean(status) else "status unknown"
        raise RunFolderError(f"{path if status is None else run_dir}: {shown}{reason}; run the sweep again")
    result = read_result(run_dir)
    if result.score.value is None:
        raise RunFolderError(
            f"{run_dir}: has no {SCORES[result.score.name].label}, because it was never validated or all its "
            "labels are ignored; train it with validation after the last epoch"
        )
    return result


def _write(run_dir: Path, content: Mapping[str, Any]) -> None:
    # The order of the keys is the same for a sweep and a training.
    ordered = {"version": VERSION} | {key: content[key] for key in KEYS if key in content}
    write_atomically(run_dir / FILE, json.dumps(ordered | dict(content), indent=2) + "\n")


KEYS = ("version", "status", "error", *(f.name for f in fields(Result) if f.name not in ("status", "error")))


def _content(run_dir: Path) -> dict[str, Any]:
    """The content of result.json in the current version; empty if it is missing or damaged."""
    try:
        return _migrate(read_json(run_dir / FILE), run_dir)
    except (RunFolderError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def _status(content: Mapping[str, Any], run_dir: Path) -> RunStatus:
    measurement = content.get("measurement")
    return RunStatus(
        status=check.choice(content, "status", get_args(State)),
        error=check.optional_text(content, "error"),
        trial=check.text(content, "trial", run_dir.name),
        sweep=check.optional_text(content, "sweep"),
        role=check.text(content, "role", "trial"),
        init_from=check.optional_text(content, "init_from"),
        seed=check.optional_count(content, "seed"),
        seconds=check.amount(content, "seconds"),
        peak_memory_bytes=check.optional_count(content, "peak_memory_bytes"),
        measurement=None if measurement is None else _measurement(measurement),
    )


def _result(content: Mapping[str, Any], run_dir: Path) -> Result:
    check.refuse_odd_values({key: value for key, value in content.items() if key != "error"})
    classes = tuple(check.text({"classes": name}, "classes") for name in check.list_of(content, "classes"))
    if not classes or len(set(classes)) < len(classes):
        raise ValueError("classes must be one or more different names")
    palette = tuple(check.text({"palette": colour}, "palette") for colour in content.get("palette") or ())
    if not all(re.fullmatch("#[0-9a-fA-F]{6}", colour) for colour in palette):
        raise ValueError("palette has a value that is not a colour #rrggbb")
    data = {name: dict(part) for name, part in dict(content.get("data") or {}).items() if part is not None}
    for part in data.values():
        check.text(part, "fingerprint")
    epochs = content.get("max_epochs")
    status = {f.name: getattr(_status(content, run_dir), f.name) for f in fields(RunStatus)}
    return Result(
        **status
        | {"trial": check.text(content, "trial"), "measurement": _measurement(content["measurement"])},
        score=score_of(check.mapping(content, "score")),
        class_scores=class_scores_of(check.mapping(content, "class_scores"), classes),
        epochs=check.count(content, "epochs"),
        max_epochs=epochs if type(epochs) is int and epochs > 0 else None,
        dataset=check.text(content, "dataset"),
        data=data,
        classes=classes,
        palette=palette,
        model=_model(check.mapping(content, "model")),
        parameters=check.count(content, "parameters"),
        images_per_second=check.amount(content, "images_per_second"),
        precision=check.optional_text(content, "precision"),
        versions={key: str(value) for key, value in check.mapping(content, "versions", {}).items()},
        git_revision=check.optional_text(content, "git_revision"),
        operator_backend=check.optional_text(content, "operator_backend"),
        machine=check.optional_text(content, "machine"),
        other_scores=other_scores_of(content),
    )


def other_scores_of(content: Mapping[str, Any]) -> dict[str, float | None]:
    """The further scores in a JSON object; empty if it has none.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A name is not in `SCORES`, or a value is not a fraction.
    """
    scores = check.mapping(content, "other_scores", {})
    for name in scores:
        check.choice({"other_scores": name}, "other_scores", tuple(SCORES))
    return {name: check.fraction(scores, name) for name in scores}


def score_of(content: Mapping[str, Any]) -> Score:
    """The score in a JSON object.

    Raises:
        KeyError: A key is missing.
        TypeError: A value has the wrong type.
        ValueError: A value is illegal.
    """
    named = {"score.best": None} | {f"score.{key}": value for key, value in content.items()}
    return Score(
        name=check.choice(named, "score.name", tuple(SCORES)),
        value=check.fraction(named, "score.value"),
        best=check.fraction(named, "score.best"),
        mode=check.choice(named, "score.mode", get_args(Mode)),
    )


def class_scores_of(content: Mapping[str, Any], classes: tuple[str, ...] | None = None) -> ClassScores:
    """The class scores in a JSON object, in the order of `classes` if that is given.

    Raises:
        KeyError: A key is missing.
        TypeError: A value has the wrong type.
        ValueError: A value is illegal, or the scores are of other classes.
    """
    name, values = check.text(content, "name"), check.mapping(content, "values")
    if classes is not None and set(values) != set(classes):
        odd = sorted(set(values) ^ set(classes))
        raise ValueError(f"{name} and classes have different names: {', '.join(odd)}")
    return ClassScores(name, {key: check.fraction(values, key) for key in classes or values})


def _measurement(content: Mapping[str, Any]) -> Measurement:
    content = check.mapping({"measurement": content}, "measurement")
    options = content.get("options")
    sizes = check.mapping(content, "sizes", {})
    thresholds = [
        check.amount({"thresholds": value}, "thresholds") for value in sizes.get("thresholds") or ()
    ]
    low, high = (thresholds or (1.0, 1.0)) if len(thresholds) in (0, 2) else (None, None)
    if low is None or high is None or not 0 < low <= high:
        raise ValueError(f"thresholds are {thresholds!r:.60}, expected two areas above 0, the smaller first")
    return Measurement(
        version=check.count(content, "version", least=1),
        options=None if options is None else dict(options),
        sizes=MeasuredSizes(
            thresholds=(low, high) if thresholds else None,
            thirds=bool(sizes.get("thirds", False)),
            area=check.choice(sizes, "area", ("box", "mask"), "box"),
            pixels=check.choice(sizes, "pixels", ("original", "network"), "original"),
            assignment=check.choice(sizes, "assignment", ("mask", "box"), "mask"),
        ),
    )


def _model(model: dict[str, Any]) -> dict[str, Any]:
    if model["conv5"] not in CONV5_KINDS:
        raise ValueError(f"model.conv5 is {model['conv5']!r}, expected one of {', '.join(CONV5_KINDS)}")
    check.count(model, "dilation", least=1)
    if model["conv5"] != "atrous" and model["num_deformable_layers"] != "all":
        check.count(model, "num_deformable_layers")
    return model


def _migrate(content: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """Converts the keys of version 1 to those of version 2.

    `miou` and `best_miou` become `score`, `iou` becomes `class_scores`. `thresholds` and the rule in
    objects.json become `measurement.sizes`.
    """
    if content.get("version", 1) != 1:
        return content
    gone = ("version", "miou", "best_miou", "iou", "thresholds")
    new = {key: value for key, value in content.items() if key not in gone}
    if "miou" in content:
        new["score"] = asdict(Score("miou", content["miou"], content.get("best_miou")))
    if "iou" in content:
        new["class_scores"] = {"name": "iou", "values": content["iou"]}
    # A file that only a sweep has written has no measurement.
    if "measurement" in content or "classes" in content:
        entry = content.get("measurement")
        entry = dict(entry) if entry is not None else {"version": _early_version(run_dir), "options": None}
        new["measurement"] = entry | {"sizes": _early_sizes(run_dir, content.get("thresholds"))}
    return new


def _early_version(run_dir: Path) -> int:
    """The measurement version of a run that did not record it.

    It is 2 if objects.json has version 2 or later, or if effective_dilation.csv has interior filters.
    """
    try:
        if int(read_json(run_dir / "objects.json").get("version", 1)) > 1:
            return 2
    except (RunFolderError, TypeError, ValueError):
        pass
    try:
        return 2 if "inside_count" in read_csv(run_dir / "effective_dilation.csv", ("layer",))[0] else 1
    except RunFolderError:
        return 1


def _early_sizes(run_dir: Path, thresholds: Any) -> dict[str, Any]:
    """The rule of object sizes of a version 1 run, from objects.json, or else from its thresholds."""
    try:
        rule = dict(read_json(run_dir / "objects.json")["rule"])
        rule["assignment"] = rule.pop("region")
        _measurement({"version": 1, "sizes": rule})
        return {"thresholds": thresholds or None, **rule}
    except (RunFolderError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {"thresholds": thresholds or None}
