"""Draws the results of `deformlab.inspection`; each `*_figure` function returns a matplotlib figure."""

from deformlab.inspection.figures.fields import dilation_figure, offset_colours, offset_figure
from deformlab.inspection.figures.prediction import prediction_figure
from deformlab.inspection.figures.units import holding, sampling_figure, support_figure

__all__ = [
    "dilation_figure",
    "holding",
    "offset_colours",
    "offset_figure",
    "prediction_figure",
    "sampling_figure",
    "support_figure",
]
