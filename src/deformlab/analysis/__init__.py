"""Tables, findings, plots and reports from run folders; imports no model and no PyTorch.

Reproduces tables 1 to 3 of Deformable Convolutional Networks from whatever trials exist.
"""

from deformlab.analysis.findings import Finding, find
from deformlab.analysis.formats import Table
from deformlab.analysis.measure import Measure, over_seeds, pool
from deformlab.analysis.report import Report, write_report
from deformlab.analysis.run import FilterStatistics, Run
from deformlab.analysis.runs import RunSet, read_runs
from deformlab.analysis.trial import Trial

__all__ = [
    "FilterStatistics",
    "Finding",
    "Measure",
    "Report",
    "Run",
    "RunSet",
    "Table",
    "Trial",
    "find",
    "over_seeds",
    "pool",
    "read_runs",
    "write_report",
]
