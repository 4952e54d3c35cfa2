"""What makes the trials of a report hard to compare: unequal budgets, seeds, networks or size thresholds.

A sweep is fair only if nothing but the variant differs; these warnings say where that is not so.
"""

from collections.abc import Collection, Sequence

from deformlab.analysis.run import Run
from deformlab.analysis.run_tables import total_epochs
from deformlab.analysis.runs import RunSet
from deformlab.analysis.trial import Trial

# Settings that every trial of a sweep over conv5 is expected to share.
SHARED = ("backbone", "width", "output_stride", "num_classes")


def comparability(runs: RunSet) -> list[str]:
    """One line for each way in which the trials differ beyond their variant."""
    trials = runs.trials
    return [*_seeds(trials), *_budgets(trials, runs.pretraining), *_settings(trials), *_thresholds(runs)]


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


def _thresholds(runs: RunSet) -> list[str]:
    if len({run.thresholds for trial in runs.trials for run in trial.runs}) < 2:
        return []
    return [
        "runs were measured with different thresholds of object size: the effective dilations do not pool"
    ]


def _sides(by_value: dict[str, list[str]]) -> str:
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items())
