"""What makes the trials of a report hard to compare: unequal budgets, seeds, networks, data or measurement.

A sweep is fair only if nothing but the variant differs; these warnings say where that is not so.
"""

import json
from collections.abc import Collection, Sequence

from deformlab.analysis.run import Run
from deformlab.analysis.run_tables import total_epochs
from deformlab.analysis.runs import RunSet
from deformlab.analysis.trial import Trial
from deformlab.run_folder import MEASUREMENT_VERSION as VERSION

# Settings that every trial of a sweep over conv5 is expected to share.
SHARED = ("backbone", "width", "output_stride", "num_classes")


def comparability(runs: RunSet) -> list[str]:
    """One line for each way in which the trials differ beyond their variant."""
    trials = runs.trials
    return [
        *_seeds(trials),
        *_unfinished(trials),
        *_budgets(trials, runs.pretraining),
        *_settings(trials),
        *_training_data(trials),
        *_thresholds(runs),
        *_measurement(trials),
    ]


def unequal_terms(runs: RunSet, names: Collection[str]) -> list[str]:
    """One line for each way in which these trials had other budgets or networks; none for fewer than two."""
    trials = [trial for trial in runs.trials if trial.name in names]
    return [*_budgets(trials, runs.pretraining), *_settings(trials)] if len(trials) > 1 else []


def _seeds(trials: Sequence[Trial]) -> list[str]:
    by_seeds: dict[str, list[str]] = {}
    for trial in trials:
        by_seeds.setdefault(", ".join(str(run.seed) for run in trial.runs), []).append(trial.name)
    if len(by_seeds) < 2:
        return []
    return [f"trials have different seeds: {_sides(by_seeds)}"]


def _unfinished(trials: Sequence[Trial]) -> list[str]:
    """A score counts as that of the whole training, so it has to be validated after the last epoch."""
    early = [
        f"{run.folder.name} after epoch {run.epochs} of {run.max_epochs}"
        for trial in trials
        for run in trial.runs
        if run.max_epochs is not None and run.epochs < run.max_epochs
    ]
    if not early:
        return []
    return [f"scores are not those after the last epoch: {'; '.join(early)}"]


def _budgets(trials: Sequence[Trial], pretraining: Sequence[Run]) -> list[str]:
    by_budget: dict[str, list[str]] = {}
    for trial in trials:
        for run in trial.runs:
            own, before = total_epochs(run, pretraining)
            budget = f"{own} + unknown" if before is None else str(own + before)
            names = by_budget.setdefault(budget, [])
            if run.trial not in names:
                names.append(run.trial)
    if len(by_budget) < 2:
        return []
    return [f"trials were trained for different numbers of epochs in all: {_sides(by_budget)}"]


def _settings(trials: Sequence[Trial]) -> list[str]:
    lines = []
    for setting in SHARED:
        by_value: dict[str, list[str]] = {}
        for trial in trials:
            by_value.setdefault(str(trial.first.model.get(setting)), []).append(trial.name)
        if len(by_value) > 1:
            lines.append(f"trials have different model.{setting}: {_sides(by_value)}")
    for trial in trials:
        if any(run.model != trial.first.model for run in trial.runs):
            lines.append(f"the runs of {trial.name} have different model settings; its ± is not over seeds")
    return lines


def _training_data(trials: Sequence[Trial]) -> list[str]:
    by_data: dict[str, list[str]] = {}
    for trial in trials:
        for run in trial.runs:
            if "train" in run.data:
                names = by_data.setdefault(f"{run.data['train']['fingerprint']:.12}", [])
                if trial.name not in names:
                    names.append(trial.name)
    return [f"trials were trained on different data: {_sides(by_data)}"] if len(by_data) > 1 else []


def _measurement(trials: Sequence[Trial]) -> list[str]:
    """Effective dilation and objects of different versions, or with different options, do not compare."""
    by_version: dict[int, list[str]] = {}
    by_options: dict[str, list[str]] = {}
    for trial in trials:
        for run in trial.runs:
            if not run.effective_dilation and run.objects is None:
                continue
            options = json.dumps(run.measurement.options, sort_keys=True)
            for found in (
                by_version.setdefault(run.measurement.version, []),
                by_options.setdefault(options, []),
            ):
                if trial.name not in found:
                    found.append(trial.name)
    lines = [
        f"effective dilation and objects were measured by {'an older' if version < VERSION else 'a newer'} "
        f"version of deformlab (measurement {version}, not {VERSION}), which may give filters to other "
        f"objects: {', '.join(names)}; run `deformlab validate --run_dir RUN` to measure them again"
        for version, names in sorted(by_version.items())
        if version != VERSION
    ]
    # Runs of before options were recorded say nothing about theirs.
    by_options.pop("null", None)
    if len(by_options) > 1:
        lines.append(
            f"effective dilation and objects were measured with different options: {_sides(by_options)}; run "
            "`deformlab validate --run_dir RUN` with the same options"
        )
    return lines


def _thresholds(runs: RunSet) -> list[str]:
    if len({run.thresholds for trial in runs.trials for run in trial.runs}) < 2:
        return []
    return [
        "runs were measured with different thresholds of object size: the effective dilations do not pool"
    ]


def _sides(by_value: dict[str, list[str]]) -> str:
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items())
