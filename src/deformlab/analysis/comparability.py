"""Warnings about trials that are hard to compare: unequal budgets, seeds, networks, data or measurements.

A comparison is fair only if the trials differ in nothing but their variant.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from deformlab.analysis.trial_set import TrialSet, some_of
from deformlab.analysis.trials import Run, Trial
from deformlab.errors import DeformlabError
from deformlab.run_folder import MEASUREMENT_VERSION, SCORES, Evaluation, objects_path, read_config

# Settings that all trials of a sweep over conv5 should share.
SHARED = ("backbone", "width", "output_stride", "num_classes")
# File locations and loading options do not make a variant; `init_from` names the pretraining.
NOT_A_VARIANT = ("init_weights", "backbone_weights", "root", "predict_root", "num_workers", "seed", "logger")
SECTIONS = ("model", "data", "trainer")
MEASURE_AGAIN = "run `deformlab validate --run_dir RUN` to measure again"

# Runs and their scores as fractions, by the name of the evaluation.
Scores = dict[str, list[tuple[Run, float]]]


def comparability(trials: TrialSet) -> list[str]:
    """One line for each difference between the trials beyond their variant."""
    return [
        *_seeds(trials.trials),
        *_unfinished(trials.trials),
        *_budgets(trials.trials, trials.pretraining),
        *_settings(trials.trials),
        *_training_data(trials.trials),
        *_sizes(trials.trials),
        *_measurement(trials.trials),
        *_not_by_object(trials),
        *evaluation_scores(trials.trials)[1],
    ]


def unequal_terms(trials: TrialSet, names: Collection[str]) -> list[str]:
    """One line for each difference in budget or network between the named trials; none for fewer than two."""
    named = [trial for trial in trials.trials if trial.name in names]
    return [*_budgets(named, trials.pretraining), *_settings(named)] if len(named) > 1 else []


def total_epochs(run: Run, pretraining: Sequence[Run]) -> tuple[int, int | None]:
    """Epochs of a run and of the pretraining before it: 0 without pretraining, None if unknown."""
    if run.result.init_from is None:
        return run.result.epochs, 0
    for parent in pretraining:
        if (parent.trial, parent.seed) == (run.result.init_from, run.seed):
            return run.result.epochs, parent.result.epochs
    return run.result.epochs, None


def descriptions(trials: Sequence[Trial]) -> dict[str, str]:
    """Description of each trial by name; equal descriptions are extended by the settings that differ."""
    kinds: dict[str, list[Trial]] = {}
    for trial in trials:
        kinds.setdefault(trial.description, []).append(trial)
    found = {}
    for description, alike in kinds.items():
        differences = _differences(alike) if len(alike) > 1 else [()]
        for trial, own in zip(alike, differences, strict=True):
            found[trial.name] = ", ".join([description, *own])
    return found


def read_settings(run: Run) -> dict[str, str]:
    """Settings of the network, the data and the training as text, by dotted name.

    The network's settings are stored in every run. The others come from `config.yaml`, if it can be read.
    """
    settings = {"init_from": str(run.result.init_from or "–"), "epochs": str(run.result.epochs)}
    settings |= _flat(run.result.model, "model")
    try:
        config = read_config(run.folder)
    except (DeformlabError, OSError, ValueError, RecursionError):
        return settings
    for section in SECTIONS:
        settings |= _flat(config.get(section), section)
    return settings


def evaluation_scores(trials: Sequence[Trial]) -> tuple[Scores, list[str]]:
    """The comparable evaluations on other data, and a line for each one that is left out.

    Evaluations with the same name are comparable if they used the same split, data and options. An evaluation
    is usable if it has the run's score and classes and was made after the run's last epoch.
    """
    found: dict[str, list[tuple[Run, Evaluation]]] = {}
    unusable: dict[str, list[str]] = {}
    for run in (run for trial in trials for run in trial.runs):
        for evaluation in run.evaluations:
            reason = _unusable(run, evaluation)
            if reason:
                unusable.setdefault(f"{evaluation.name}: {reason}", []).append(run.folder.name)
            else:
                found.setdefault(evaluation.name, []).append((run, evaluation))
    lines = [f"not in the scores on other data: {why} ({some_of(runs)})" for why, runs in unusable.items()]
    scores: Scores = {}
    for name, pairs in sorted(found.items()):
        made: dict[str, list[str]] = {}
        for run, evaluation in pairs:
            made.setdefault(_how_made(evaluation), []).append(run.folder.name)
        if len(made) > 1:
            sides = "; ".join(f"{how} ({some_of(runs)})" for how, runs in made.items())
            lines.append(
                f"not in the scores on other data: {name}: the runs were evaluated differently: {sides}; "
                "evaluate all of them on the same data with the same options"
            )
        else:
            scores[name] = [(run, float(evaluation.score.value or 0)) for run, evaluation in pairs]
    return scores, lines


def _seeds(trials: Sequence[Trial]) -> list[str]:
    by_seeds: dict[str, list[str]] = {}
    for trial in trials:
        by_seeds.setdefault(", ".join(str(run.seed) for run in trial.runs), []).append(trial.name)
    if len(by_seeds) < 2:
        return []
    return [f"trials have different seeds: {_sides(by_seeds)}"]


def _unfinished(trials: Sequence[Trial]) -> list[str]:
    """Scores should be from a validation after the last epoch, because they represent the whole training."""
    early = [
        f"{run.folder.name} after epoch {run.result.epochs} of {run.result.max_epochs}"
        for trial in trials
        for run in trial.runs
        if run.result.max_epochs is not None and run.result.epochs < run.result.max_epochs
    ]
    return [f"scores are not from the last epoch: {'; '.join(early)}"] if early else []


def _budgets(trials: Sequence[Trial], pretraining: Sequence[Run]) -> list[str]:
    by_budget: dict[str, list[str]] = {}
    for trial in trials:
        for run in trial.runs:
            own, before = total_epochs(run, pretraining)
            _add(by_budget, f"{own} + unknown" if before is None else str(own + before), trial.name)
    if len(by_budget) < 2:
        return []
    return [f"trials were trained for different total numbers of epochs: {_sides(by_budget)}"]


def _settings(trials: Sequence[Trial]) -> list[str]:
    lines = []
    for setting in SHARED:
        by_value: dict[str, list[str]] = {}
        for trial in trials:
            by_value.setdefault(str(trial.first.result.model.get(setting)), []).append(trial.name)
        if len(by_value) > 1:
            lines.append(f"trials have different model.{setting}: {_sides(by_value)}")
    for trial in trials:
        if any(run.result.model != trial.first.result.model for run in trial.runs):
            lines.append(
                f"the runs of {trial.name} have different model settings; its ± is not over seeds alone"
            )
    return lines


def _training_data(trials: Sequence[Trial]) -> list[str]:
    by_data: dict[str, list[str]] = {}
    for trial in trials:
        for run in trial.runs:
            if "train" in run.result.data:
                _add(by_data, f"{run.result.data['train']['fingerprint']:.12}", trial.name)
    return [f"trials were trained on different data: {_sides(by_data)}"] if len(by_data) > 1 else []


def _sizes(trials: Sequence[Trial]) -> list[str]:
    if len({run.result.measurement.sizes for trial in trials for run in trial.runs if run.objects}) < 2:
        return []
    return ["runs were measured with different object-size thresholds: effective dilation is not comparable"]


def _measurement(trials: Sequence[Trial]) -> list[str]:
    """Records of different measurement versions or options are not comparable."""
    by_version: dict[int, list[str]] = {}
    by_options: dict[str, list[str]] = {}
    for trial in trials:
        for run in trial.runs:
            if run.objects is None:
                continue
            measurement = run.result.measurement
            _add(by_version, measurement.version, trial.name)
            if measurement.options is not None:
                _add(by_options, json.dumps(measurement.options, sort_keys=True), trial.name)
    lines = [
        f"objects were measured by {'an older' if version < MEASUREMENT_VERSION else 'a newer'} version of "
        f"deformlab (measurement version {version}, not {MEASUREMENT_VERSION}): {', '.join(names)}; "
        f"{MEASURE_AGAIN}"
        for version, names in sorted(by_version.items())
        if version != MEASUREMENT_VERSION
    ]
    if len(by_options) > 1:
        lines.append(
            f"objects were measured with different options: {_sides(by_options)}; {MEASURE_AGAIN}, all with "
            "the same options"
        )
    return lines


def _not_by_object(trials: TrialSet) -> list[str]:
    """A line for each reason why trials are missing from the tables by object."""
    runs = [run for trial in trials.trials for run in trial.runs]
    without = [run.folder.name for run in runs if not objects_path(run.folder).is_file()]
    lines = []
    if without:
        how_many = (
            ("no run has" if len(runs) > 1 else "the run has no")
            if len(without) == len(runs)
            else f"{len(without)} of {len(runs)} runs {'has' if len(without) == 1 else 'have'} no"
        )
        names = "" if len(without) == len(runs) else f" ({some_of(without)})"
        lines.append(f"{how_many} object measurements{names}; {MEASURE_AGAIN}")
    if trials.by_object.other_images:
        names = ", ".join(trial.name for trial in trials.by_object.other_images)
        lines.append(
            f"not in the tables by object: {names}: evaluated on different images from the other trials; "
            "validate all of them on the same data"
        )
    if trials.by_object.incompatible:
        names = ", ".join(trial.name for trial in trials.by_object.incompatible)
        lines.append(
            f"not in the tables by object: {names}: the seeds recorded different layers, or only some of "
            "them recorded interior filters; validate all of them again"
        )
    return lines


def _unusable(run: Run, evaluation: Evaluation) -> str:
    """Why an evaluation is not comparable with the run's score; empty if it is."""
    ours, score, epochs = run.result, evaluation.score, evaluation.checkpoint.get("epochs")
    label = SCORES[ours.score.name].label
    if score.name != ours.score.name:
        return f"has the score {score.name!r:.40}, not {label}"
    if list(evaluation.class_scores.values) != list(ours.classes):
        return "has different classes from the training"
    if score.value is None or not math.isfinite(score.value):
        return f"has no {label}: none of its pixels are labelled"
    if epochs != ours.epochs:
        return (
            f"was made after epoch {epochs!r:.20}, but the run ended after epoch {ours.epochs}; evaluate "
            "again"
        )
    return ""


def _how_made(evaluation: Evaluation) -> str:
    options = [f"{name} = {value}" for name, value in sorted(evaluation.options.items())]
    fingerprint = f"data {evaluation.data.get('fingerprint')!s:.12}"
    return ", ".join([evaluation.split, fingerprint, f"{evaluation.images} images", *options])


def _differences(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """The values of as few settings as are needed to distinguish the trials, for each trial."""
    settings = [read_settings(trial.first) for trial in trials]
    # A setting with the same name and values in two sections of the configuration counts once.
    columns = dict.fromkeys(
        tuple(f"{name.split('.')[-1]} = {known.get(name, '–')}" for known in settings)
        for name in sorted({name for known in settings for name in known})
        if len({known.get(name) for known in settings}) > 1
    )
    rows: list[tuple[str, ...]] = [()] * len(trials)
    for column in columns:
        longer = [(*row, value) for row, value in zip(rows, column, strict=True)]
        if len(set(longer)) > len(set(rows)):
            rows = longer
    return rows


def _flat(value: Any, name: str) -> dict[str, str]:
    key = name.split(".")[-1]
    if key in NOT_A_VARIANT or key == "max_epochs":
        return {}
    if isinstance(value, Mapping):
        return {found: text for item in value for found, text in _flat(value[item], f"{name}.{item}").items()}
    if isinstance(value, list):
        scalar = all(isinstance(item, bool | int | float | str | None) for item in value)
        return {name: ", ".join(map(str, value))} if scalar else {}
    return {name: str(value)}


def _add(groups: dict[Any, list[str]], key: Any, name: str) -> None:
    names = groups.setdefault(key, [])
    if name not in names:
        names.append(name)


def _sides(by_value: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items())
