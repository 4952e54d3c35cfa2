"""Each object of the evaluated images: its size, how much of it was found, how far filters on it looked.

NumPy only, so that training writes with it what analysis reads without PyTorch.
"""

from deformlab.records.estimates import (
    DilationCells,
    ScoreCells,
    border_rows,
    by_size,
    correlations,
    dilation_cells,
    iou_difference,
    score_cells,
)
from deformlab.records.records import BACKGROUND, FilterSums, ObjectRecords, alike, merge_records
from deformlab.records.sizes import SIZES, SizeRule
from deformlab.records.statistics import draws, spearman
from deformlab.records.summary import READABLE, VERSION, summarize
from deformlab.records.text import NO_OBJECTS, summary_lines

__all__ = [
    "BACKGROUND",
    "NO_OBJECTS",
    "READABLE",
    "SIZES",
    "VERSION",
    "DilationCells",
    "FilterSums",
    "ObjectRecords",
    "ScoreCells",
    "SizeRule",
    "alike",
    "border_rows",
    "by_size",
    "correlations",
    "dilation_cells",
    "draws",
    "iou_difference",
    "merge_records",
    "score_cells",
    "spearman",
    "summarize",
    "summary_lines",
]
