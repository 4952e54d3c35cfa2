"""`result.json`: how a run went, what its network scored, and what it was made by.

A sweep writes the keys of `RunStatus` before a trial's process starts; the training writes those of `Result`.
The present version is 2. Version 1 has no key `version`; `_migrate` says what became of its keys. A file of
version 1 is read as it is and becomes one of version 2 when it is next written.
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
# Numbers of two measurement versions do not compare. A finished network can be measured again.
# 1  A filter was given to the object in the middle of its cell, half a cell from the filter's centre.
# 2  A filter is given to the object at its centre, as `deformlab.metrics.filter_centre` says. Later runs also
#    record sums over interior filters; the sums over all filters are the same as before.
# 3  Interior filters of deformable layers are also recorded one by one; the sums are the same as in 2.
MEASUREMENT_VERSION = 3
"""Version of the measurement; numbers of two versions cannot be compared."""

State = Literal["running", "finished", "failed", "interrupted"]
CONV5_KINDS = ("atrous", "deformable", "modulated")
"""The kinds of conv5."""
FILE = "result.json"


@dataclass(frozen=True)
class Score:
    """The score by which networks are compared.

    Args:
        name: A key of `SCORES`.
        value: A fraction from 0 to 1, of the finished network; None where nothing was labelled or measured.
        best: The best value of all validations while it trained.
        mode: Whether `max` or `min` is better.
    """

    name: str
    value: float | None
    best: float | None = None
    mode: Mode = "max"

    @property
    def text(self) -> str:
        """How people read it, `mIoU 45.3 %` or `mIoU not defined`."""
        return f"{SCORES[self.name].label} {format_score(self.value)}"


@dataclass(frozen=True)
class ClassScores:
    """The score of each class.

    Args:
        name: What is scored, `iou` for a score of `miou`.
        values: Fractions by class; None for a class that is neither in the labels nor in the predictions.
    """

    name: str
    values: dict[str, float | None]


@dataclass(frozen=True)
class MeasuredSizes:
    """Which objects were called small and large.

    Args:
        thresholds: Areas: small is below the first, large above the second. None where thirds were asked of
            data without objects.
        thirds: Whether the thresholds divide the evaluated objects into thirds.
        area: `box`, of the bounding box, or `mask`, the number of pixels.
        pixels: Areas in pixels of the `original` label map or of the `network`'s input.
        assignment: Whether filters were given to an object's `mask` or to its `box`.
    """

    thresholds: tuple[float, float] | None
    thirds: bool = False
    area: Literal["box", "mask"] = "box"
    pixels: Literal["original", "network"] = "original"
    assignment: Literal["mask", "box"] = "mask"


@dataclass(frozen=True)
class Measurement:
    """How effective dilation and objects were measured.

    Args:
        version: See `MEASUREMENT_VERSION`.
        options: Dotted options of measuring that differ from their defaults; None where an early run did not
            record them.
        sizes: Which objects were called small and large.
    """

    version: int
    options: dict[str, Any] | None
    sizes: MeasuredSizes = field(default_factory=lambda: MeasuredSizes(None))


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """Which trial a run is and how far it is: what a sweep needs to know.

    Args:
        status: `running` until the process or its sweep says otherwise.
        error: Why it failed or was interrupted, one line.
        trial: Its name in the sweep, or the run folder's name.
        sweep: The sweep's name.
        role: `trial` counts in the tables, `pretraining` only feeds other trials.
        init_from: The trial whose last weights it starts from.
        seed: Of the training; None where it was not seeded.
        seconds: Spent so far, also by processes that were killed.
        peak_memory_bytes: The most that a process held so far, on the GPU where there is one.
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
        """What a run is called: a sweep sets `DEFORMLAB_TRIAL`, `_SWEEP`, `_ROLE` and `_INIT_FROM`."""
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
    """Everything that `result.json` says of a training; every value has been checked.

    Args:
        score: Of the finished network; while it trains, of the latest validation.
        class_scores: The same of each class of `classes`.
        measurement: How effective dilation and objects were measured.
        epochs: Whole epochs that were trained.
        max_epochs: The planned number; None where something else ends the training.
        dataset: Name of the data set.
        data: By split (`train`, `val`): `dataset`, `fingerprint` and `images`; early runs have none.
        classes: One or more different names, in label order.
        palette: A colour `#rrggbb` for each class; early runs have none.
        model: What the network is: at least `conv5`, `dilation` and `num_deformable_layers`.
        parameters: Number of weights.
        images_per_second: Of the last epoch's training, over all processes.
        precision: Lightning's name of it.
        versions: Of deformlab, Python and the libraries that shape a result.
        git_revision: Of the checkout, `-dirty` behind it with local changes; None for an installed package.
        operator_backend: `native` or `reference`.
        machine: Processor or GPU and the number of cores.
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


def write_result(run_dir: Path, result: Result) -> None:
    """Writes result.json.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written; the old file is still there.
    """
    _write(run_dir, asdict(result))


def mark_status(run_dir: Path, status: RunStatus) -> None:
    """Writes which trial a run is and its status; keeps what the training has written.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written; the old file is still there.
    """
    kept = ("seconds", "peak_memory_bytes", "measurement")
    news = {key: value for key, value in asdict(status).items() if key not in kept or value is not None}
    _write(run_dir, _content(run_dir) | news)


def read_status(run_dir: Path) -> RunStatus | None:
    """How far a run is; None where result.json is missing or damaged, or says nothing of it."""
    content = _content(run_dir)
    try:
        return _status(content, run_dir)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def read_result(run_dir: Path) -> Result:
    """Reads the result of a training, of any status.

    Raises:
        RunFolderError: result.json is missing, damaged or of a later version, lacks a key (the training never
            began), or has a value that no training writes.
    """
    path = run_dir / FILE
    content = read_json(path)
    try:
        if check.count({"version": 1} | content, "version") > VERSION:
            raise RunFolderError(
                f"{path}: is of version {content['version']}, this deformlab reads up to {VERSION}; "
                "use the version that wrote it"
            )
        return _result(_migrate(content, run_dir), run_dir)
    except KeyError as error:
        raise RunFolderError(f"{path}: lacks {error}") from error
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RunFolderError(f"{path}: has a value of the wrong kind ({check.first_line(error)})") from error


def read_finished_result(run_dir: Path) -> Result:
    """Reads the result of a run that a report can count.

    Raises:
        RunFolderError: The run never started, is not finished or has no score, or as `read_result`.
    """
    path = run_dir / FILE
    if not path.is_file():
        raise RunFolderError(f"{run_dir}: has no result.json; the run never started, run the sweep again")
    content = read_json(path)
    status = content.get("status")
    if status != "finished":
        reason = f" ({check.first_line(content['error'])})" if content.get("error") else ""
        known = f"{status:.40}" if isinstance(status, str) and check.is_clean(status) else "status unknown"
        raise RunFolderError(f"{path if status is None else run_dir}: {known}{reason}; run the sweep again")
    result = read_result(run_dir)
    if result.score.value is None:
        raise RunFolderError(
            f"{run_dir}: has no {SCORES[result.score.name].label}: it was never validated, or all its labels "
            "are ignored; train it with validation after the last epoch"
        )
    return result


def _write(run_dir: Path, content: Mapping[str, Any]) -> None:
    # In one order, whoever writes.
    ordered = {"version": VERSION} | {key: content[key] for key in KEYS if key in content}
    write_atomically(run_dir / FILE, json.dumps(ordered | dict(content), indent=2) + "\n")


KEYS = ("version", "status", "error", *(f.name for f in fields(Result) if f.name not in ("status", "error")))


def _content(run_dir: Path) -> dict[str, Any]:
    """The keys of result.json in the present version; none where it is missing or damaged."""
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
        raise ValueError("palette has a value that is no colour #rrggbb")
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
    )


def score_of(content: Mapping[str, Any]) -> Score:
    """The score that an object of JSON holds.

    Raises:
        KeyError, TypeError, ValueError: It is none.
    """
    named = {"score.best": None} | {f"score.{key}": value for key, value in content.items()}
    return Score(
        name=check.choice(named, "score.name", tuple(SCORES)),
        value=check.fraction(named, "score.value"),
        best=check.fraction(named, "score.best"),
        mode=check.choice(named, "score.mode", get_args(Mode)),
    )


def class_scores_of(content: Mapping[str, Any], classes: tuple[str, ...] | None = None) -> ClassScores:
    """The scores of classes that an object of JSON holds, in the order of `classes` where that is given.

    Raises:
        KeyError, TypeError, ValueError: It holds none, or those of other classes.
    """
    name, values = check.text(content, "name"), check.mapping(content, "values")
    if classes is not None and set(values) != set(classes):
        odd = sorted(set(values) ^ set(classes))
        raise ValueError(f"{name} and classes do not name the same: {', '.join(odd)}")
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
    """The keys of version 2 for those of version 1.

    `miou` and `best_miou` became `score`, `iou` became `class_scores`, `thresholds` became
    `measurement.sizes`, whose rule was in objects.json.
    """
    if content.get("version", 1) != 1:
        return content
    gone = ("version", "miou", "best_miou", "iou", "thresholds")
    new = {key: value for key, value in content.items() if key not in gone}
    if "miou" in content:
        new["score"] = asdict(Score("miou", content["miou"], content.get("best_miou")))
    if "iou" in content:
        new["class_scores"] = {"name": "iou", "values": content["iou"]}
    # A sweep's own file has no measurement.
    if "measurement" in content or "classes" in content:
        entry = content.get("measurement")
        entry = dict(entry) if entry is not None else {"version": _early_version(run_dir), "options": None}
        new["measurement"] = entry | {"sizes": _early_sizes(run_dir, content.get("thresholds"))}
    return new


def _early_version(run_dir: Path) -> int:
    """With which version a run was measured that did not record it.

    Version 2 has an objects.json of version 2 or later, or interior filters in effective_dilation.csv.
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
    """What is small and large in a run of version 1, by objects.json, or else by its thresholds."""
    try:
        rule = dict(read_json(run_dir / "objects.json")["rule"])
        rule["assignment"] = rule.pop("region")
        _measurement({"version": 1, "sizes": rule})
        return {"thresholds": thresholds or None, **rule}
    except (RunFolderError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {"thresholds": thresholds or None}
