"""Scores of the same networks on other data or with other options, beside those of their own validation."""

from collections.abc import Sequence
from dataclasses import replace

from deformlab.analysis.formats import Cell, Table
from deformlab.analysis.measure import Measure, over_seeds
from deformlab.analysis.run import Run
from deformlab.analysis.trial import Trial
from deformlab.run_folder import Evaluation

# By the evaluation's name, then the run: its mIoU as a fraction.
Scores = dict[str, list[tuple[Run, float]]]


def evaluation_scores(trials: Sequence[Trial]) -> tuple[Scores, list[str]]:
    """The evaluations that compare with each other, and a line for each reason why others do not.

    Evaluations of one name compare if they were made on the same split and data with the same options. An
    evaluation counts if it has the run's classes and is of the run's last epoch.
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
    lines = [f"not in the scores on other data: {why} ({_some(runs)})" for why, runs in unusable.items()]
    scores: Scores = {}
    for name, pairs in sorted(found.items()):
        kinds: dict[str, list[str]] = {}
        for run, evaluation in pairs:
            kinds.setdefault(_kind(evaluation), []).append(run.folder.name)
        if len(kinds) > 1:
            sides = "; ".join(f"{kind} ({_some(runs)})" for kind, runs in kinds.items())
            lines.append(
                f"not in the scores on other data: {name}: the runs were evaluated differently: {sides}; "
                "evaluate all of them on the same data with the same options"
            )
        else:
            scores[name] = [(run, float(evaluation.score.value or 0)) for run, evaluation in pairs]
    return scores, lines


def scores_on_other_data(trials: Sequence[Trial]) -> Table | None:
    """A row per trial, for each evaluation the score and how far it is below that of the run's validation.

    None where no trial was evaluated on other data.
    """
    scores, _ = evaluation_scores(trials)
    if not scores:
        return None
    rows: list[tuple[Cell, ...]] = []
    for trial in trials:
        row: list[Cell] = [trial.name, replace(trial.miou, count=len(trial.runs))]
        for pairs in scores.values():
            row += _score_and_drop([(run, value) for run, value in pairs if run.trial == trial.name])
        rows.append(tuple(row))
    header = ["Trial", "Validation mIoU (%)"]
    for name in scores:
        header += [f"{name}: mIoU (%)", f"{name}: drop (points)"]
    return Table(
        "evaluations",
        "Scores on other data",
        "mIoU in percent of the trained networks on other data or with other options, by the name of the "
        "evaluation; mean ± standard deviation over the n seeds that have it. The drop is the mIoU of the "
        "validation minus this one, seed by seed: below 0, the network is better there.",
        tuple(header),
        tuple(rows),
        row_sources=tuple(trial.name for trial in trials),
    )


def _score_and_drop(pairs: Sequence[tuple[Run, float]]) -> tuple[Measure | None, Measure | None]:
    return _counted([100 * value for _, value in pairs]), _counted([100 * (run.miou - v) for run, v in pairs])


def _counted(values: Sequence[float]) -> Measure | None:
    measure = over_seeds(values)
    return None if measure is None else replace(measure, count=len(values))


def _unusable(run: Run, evaluation: Evaluation) -> str:
    """Why an evaluation cannot stand beside the run's score; empty where it can."""
    score, epochs = evaluation.score, evaluation.checkpoint.get("epochs")
    if score.name != "miou":
        return f"is of {score.name!r:.40}, not of mIoU"
    if list(evaluation.class_scores.values) != list(run.classes):
        return "has other classes than the training"
    if score.value is None:
        return "has no mIoU: none of its pixels are labelled"
    if epochs != run.epochs:
        return f"is of epoch {epochs!r:.20}, but the run ended after epoch {run.epochs}; evaluate again"
    return ""


def _kind(evaluation: Evaluation) -> str:
    options = [f"{name} = {value}" for name, value in sorted(evaluation.options.items())]
    fingerprint = f"data {evaluation.data.get('fingerprint')!s:.12}"
    return ", ".join([str(evaluation.split), fingerprint, f"{evaluation.images} images", *options])


def _some(names: Sequence[str]) -> str:
    more = [f"{len(names) - 3} more"] if len(names) > 3 else []
    return ", ".join([*names[:3], *more])
