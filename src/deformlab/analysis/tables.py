"""All tables of a report, from whatever trials exist, in its order."""

from deformlab.analysis.dilation_tables import (
    effective_dilation,
    effective_dilation_inside,
    effective_dilation_over_seeds,
    published_effective_dilation,
)
from deformlab.analysis.evaluation_tables import scores_on_other_data
from deformlab.analysis.export import Table
from deformlab.analysis.joined_tables import joined_tables
from deformlab.analysis.run_tables import cost, provenance
from deformlab.analysis.score_tables import atrous_against_deformable, deformable_layers, iou_per_class
from deformlab.analysis.trials import RunSet


def build_tables(runs: RunSet) -> list[Table]:
    """Every table that the runs have data for."""
    trials = runs.trials
    tables = [
        *joined_tables(runs.joined),
        atrous_against_deformable(trials),
        scores_on_other_data(trials),
        deformable_layers(trials),
        iou_per_class(trials),
        effective_dilation(trials),
        effective_dilation_inside(trials),
        effective_dilation_over_seeds(trials),
        published_effective_dilation(runs.dataset),
        cost(trials, runs.pretraining),
        provenance(trials, runs.pretraining),
    ]
    return [table for table in tables if table is not None]
