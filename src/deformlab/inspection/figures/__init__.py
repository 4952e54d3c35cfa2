"""Draws what `deformlab.inspection` computes; each function returns a matplotlib figure."""

from deformlab.inspection.figures.fields import (
    MapPanel,
    OffsetPanel,
    dilation_figure,
    offset_colours,
    offset_figure,
)
from deformlab.inspection.figures.prediction import prediction_figure
from deformlab.inspection.figures.sampling import SamplingPanel, sampling_figure
from deformlab.inspection.figures.style import UnitMark
from deformlab.inspection.figures.support import SupportPanels, holding, support_figure

__all__ = [
    "MapPanel",
    "OffsetPanel",
    "SamplingPanel",
    "SupportPanels",
    "UnitMark",
    "dilation_figure",
    "holding",
    "offset_colours",
    "offset_figure",
    "prediction_figure",
    "sampling_figure",
    "support_figure",
]
