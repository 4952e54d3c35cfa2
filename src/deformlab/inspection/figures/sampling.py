"""Draws the sampling locations of units: DCNv1 figures 5 and 6."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deformlab.inspection.figures.style import (
    SAMPLE_COLOUR,
    UnitMark,
    backdrop,
    legend_below,
    mark_unit,
    outer_labels,
    panel_grid,
    pixel_axes,
    row_label,
)

__all__ = ["SamplingPanel", "sampling_figure"]

# Samples farther outside than this share of the image are counted in the panel's title only.
MARGIN = 0.1


@dataclass(frozen=True)
class SamplingPanel:
    """The samples of one unit of one network, in pixels of the image.

    Attributes:
        title: What lies under the unit.
        unit: Where the unit is.
        points: (P, 2), y and x of each sample.
        inside: (P,), whether the sample counts.
        weight: (P,), its modulation from 0 on; one where there is none.
        effective_dilation: Of the last layer's filter, in cells.
    """

    title: str
    unit: UnitMark
    points: NDArray[np.floating]
    inside: NDArray[np.bool_]
    weight: NDArray[np.floating]
    effective_dilation: float


def sampling_figure(
    image: NDArray[np.uint8],
    rows: Sequence[tuple[str, Sequence[SamplingPanel]]],
    title: str,
    regions: NDArray[np.integer] | None = None,
) -> Figure:
    """A row of panels per network, a column per unit.

    Args:
        image: RGB (H, W, 3).
        rows: The network's name and its panels, as many in each row.
        title: Above all.
        regions: Numbers (H, W) whose regions are outlined.
    """
    figure, grid = panel_grid(image.shape[:2], len(rows), len(rows[0][1]))
    for axes_row, (name, panels) in zip(grid, rows, strict=True):
        for axes, panel in zip(axes_row, panels, strict=True):
            _panel(axes, image, regions, panel)
        row_label(axes_row[0], name)
    outer_labels(grid)
    figure.suptitle(title)
    legend_below(figure)
    return figure


def _panel(
    axes: Axes, image: NDArray[np.uint8], regions: NDArray[np.integer] | None, panel: SamplingPanel
) -> None:
    backdrop(axes, image, regions)
    axes.set_facecolor("0.97")
    pixel_axes(axes, image.shape[:2], MARGIN)
    largest = float(panel.weight.max(initial=0)) or 1.0
    points, weight = panel.points[panel.inside], panel.weight[panel.inside] / largest
    axes.scatter(
        points[:, 1],
        points[:, 0],
        s=4 + 14 * weight,
        color=SAMPLE_COLOUR,
        alpha=0.75,
        edgecolors="white",
        linewidths=0.35,
        label="sample",
        zorder=4,
    )
    outside = panel.points[~panel.inside]
    if len(outside):
        axes.scatter(
            outside[:, 1],
            outside[:, 0],
            s=14,
            color="0.35",
            marker="x",
            linewidths=0.8,
            label="sample that is zero: its way leads through the padding",
            zorder=3,
        )
    mark_unit(axes, panel.unit)
    note = f"effective dilation {panel.effective_dilation:.2f} cells"
    if len(outside):
        note += f", {len(outside)} sample{'s' if len(outside) > 1 else ''} zero"
    axes.set_title(f"{panel.title}\n{note}", fontsize="medium")
