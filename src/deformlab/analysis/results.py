"""All results of a sweep as one pandas data frame, for analyses beyond the report."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deformlab.analysis.trial_set import read_trials
from deformlab.analysis.trials import Run
from deformlab.records import SIZES, by_size, draws, score_cells

if TYPE_CHECKING:
    from pandas import DataFrame

# Columns with missing values become nullable integers.
_INTEGERS = ("seed", "epochs", "parameters", "filters", "interior_filters", "objects")


def results(folder: str | Path) -> "DataFrame":
    """Return all finished trials of a sweep as a data frame: one row per trial, seed, layer and object size.

    A run without object records has one row without layer and size.

    Args:
        folder: A sweep folder, or a single run folder.

    Returns:
        A data frame with these columns:

        - `trial`, `seed`, `kind` (atrous, deformable or modulated), `dilation` (of conv5),
          `deformable_layers`, `epochs`, `parameters`
        - `score_name`, `score` (after the last epoch) and `best_score` (of the best epoch), in percent
        - `layer`, `size`
        - `effective_dilation` and `effective_dilation_std` (standard deviation over filters), in cells, and
          `filters` (their number); the same for interior filters, with the prefix `interior_`
        - `objects` (number of objects of the size), `recall` and `iou` (percent, means over classes)
        - `folder` (the run folder)

    Raises:
        RunFolderError: The folder does not exist or has no finished run, or its runs have different data
            sets, classes or scores, or were validated on different data.
    """
    import pandas as pd

    trials = read_trials(folder)
    frame = pd.DataFrame([row for trial in trials.trials for run in trial.runs for row in _rows(run)])
    return frame.astype({name: "Int64" for name in _INTEGERS if name in frame})


def _rows(run: Run) -> Iterator[dict[str, Any]]:
    best = run.result.score.best
    common = {
        "trial": run.trial,
        "seed": run.seed,
        "kind": run.kind,
        "dilation": run.dilation,
        "deformable_layers": str(run.deformable_layers),
        "score_name": run.result.score.name,
        "score": run.score,
        "best_score": None if best is None else 100 * best,
        "epochs": run.result.epochs,
        "parameters": run.result.parameters,
    }
    folder = {"folder": str(run.folder)}
    records = run.objects
    if records is None:
        yield common | {"layer": None, "size": None} | folder
        return
    all_filters = by_size(records, "all", run.size_rule)
    interior = by_size(records, "interior", run.size_rule)
    scores = None
    if records.scored:
        scores = score_cells(records, run.size_rule, len(run.result.classes), draws(len(records.images), 1))
    for all_, inner in zip(all_filters, interior, strict=True):
        row = common | {
            "layer": all_.layer,
            "size": all_.size,
            "effective_dilation": all_.mean,
            "effective_dilation_std": all_.std,
            "filters": all_.count,
            "interior_effective_dilation": inner.mean,
            "interior_effective_dilation_std": inner.std,
            "interior_filters": inner.count if records.has_interior else None,
        }
        if scores is not None:
            at = (SIZES.index(all_.size), -1)
            row |= {
                "objects": int(scores.objects[at]),
                "recall": 100 * float(scores.recall[at]),
                "iou": 100 * float(scores.iou[at]),
            }
        yield row | folder
