"""Each object of the evaluated images: its size, how much of it was found, how far filters on it looked.

NumPy only, so that training writes with it what analysis reads without PyTorch.
"""

from deformlab.objects.bootstrap import draws
from deformlab.objects.border import border_rows
from deformlab.objects.correlation import spearman
from deformlab.objects.filter_sums import FilterSums
from deformlab.objects.merge import alike, merge_records
from deformlab.objects.records import BACKGROUND, ObjectRecords, read_records, records_text
from deformlab.objects.sizes import SIZES, SizeRule
from deformlab.objects.summary import READABLE, VERSION, correlations, summarize
from deformlab.objects.tally import (
    DilationCells,
    ScoreCells,
    by_size,
    dilation_cells,
    iou_difference,
    score_cells,
)
from deformlab.objects.text import NO_OBJECTS, summary_lines

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
    "read_records",
    "records_text",
    "score_cells",
    "spearman",
    "summarize",
    "summary_lines",
]
