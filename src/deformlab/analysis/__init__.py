"""Tables, findings, plots and reports from run folders; imports no model and no PyTorch.

Reproduces tables 1 to 3 of Deformable Convolutional Networks from whatever trials exist.
"""

from deformlab.analysis.by_object import Joined
from deformlab.analysis.curve_plots import learning_curves
from deformlab.analysis.dilation_plots import effective_dilation_by_size
from deformlab.analysis.estimate import Estimate, Measure, over_seeds, pool
from deformlab.analysis.export import Table
from deformlab.analysis.find import find
from deformlab.analysis.findings import Finding, best_deformable
from deformlab.analysis.joined_plot import dilation_and_iou_by_size
from deformlab.analysis.joined_rows import BorderRow, CorrelationRow, JoinedRow
from deformlab.analysis.report import Report, write_report
from deformlab.analysis.run import SIZES, FilterStatistics, Run
from deformlab.analysis.score_plots import miou_over_dilation
from deformlab.analysis.trial import Trial
from deformlab.analysis.trials import RunSet, read_runs
from deformlab.figure_style import save_figure

__all__ = [
    "SIZES",
    "BorderRow",
    "CorrelationRow",
    "Estimate",
    "FilterStatistics",
    "Finding",
    "Joined",
    "JoinedRow",
    "Measure",
    "Report",
    "Run",
    "RunSet",
    "Table",
    "Trial",
    "best_deformable",
    "dilation_and_iou_by_size",
    "effective_dilation_by_size",
    "find",
    "learning_curves",
    "miou_over_dilation",
    "over_seeds",
    "pool",
    "read_runs",
    "save_figure",
    "write_report",
]
