"""Tables, findings, plots and reports from the run folders of a sweep; does not import PyTorch.

Reproduces tables 1 to 3 of Deformable Convolutional Networks (DCNv1, ICCV 2017).
"""

import deformlab._needs_toolkit  # noqa: F401
from deformlab.analysis.by_object import (
    ObjectComparison,
    TrialCorrelation,
    TrialEffect,
    TrialRing,
    TrialSizeRow,
)
from deformlab.analysis.estimate import Estimate
from deformlab.analysis.export import Table
from deformlab.analysis.findings import judge
from deformlab.analysis.plots import (
    dilation_and_iou_by_size,
    dilation_by_layer,
    learning_curves,
    same_position_effect,
    score_over_dilation,
    score_over_layers,
    trial_styles,
)
from deformlab.analysis.report import Report, write_report
from deformlab.analysis.results import results
from deformlab.analysis.trial_set import TrialSet, read_trials
from deformlab.analysis.trials import Run, Trial, best_deformable
from deformlab.analysis.verdicts import Finding

__all__ = [
    "Estimate",
    "Finding",
    "ObjectComparison",
    "Report",
    "Run",
    "Table",
    "Trial",
    "TrialCorrelation",
    "TrialEffect",
    "TrialRing",
    "TrialSet",
    "TrialSizeRow",
    "best_deformable",
    "dilation_and_iou_by_size",
    "dilation_by_layer",
    "judge",
    "learning_curves",
    "read_trials",
    "results",
    "same_position_effect",
    "score_over_dilation",
    "score_over_layers",
    "trial_styles",
    "write_report",
]
