"""Common parts of the figures: a pale photograph with outlines, axes in pixels of the image, marks of units.

Colours and legends follow `deformlab.figure_style`; marks are distinguishable in greyscale.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy import ndimage

from deformlab.figure_style import COLOURS
from deformlab.inspection.units import UnitMark

SAMPLE_COLOUR = "#B2182B"
UNIT_COLOUR = COLOURS[5]
UNIT_MARKER = {
    "marker": "P",
    "markersize": 11,
    "markerfacecolor": UNIT_COLOUR,
    "markeredgecolor": "black",
    "linestyle": "none",
    "label": "centre of the unit's filter",
}
PANEL_WIDTH = 4.0
PALENESS = 0.6
# Outlines are as wide as the image divided by this number.
LINES_ACROSS = 400


def panel_grid(
    image_size: Sequence[int], rows: int, columns: int, extra: float = 0.0, title_lines: int = 2
) -> tuple[Figure, NDArray]:
    """Creates a figure whose panels have the image's shape, with room for titles and labels.

    Args:
        image_size: Height and width of the image.
        rows: Rows of panels.
        columns: Columns of panels.
        extra: Extra width for colour bars, in inches.
        title_lines: Number of lines of each panel's title.

    Returns:
        The figure and its axes (rows, columns).
    """
    ratio = min(2.0, max(0.3, image_size[0] / image_size[1]))
    width = min(PANEL_WIDTH, PANEL_WIDTH / ratio)
    figure = Figure(
        figsize=(
            width * columns + 1.0 + extra,
            ((width - 0.35) * ratio + 0.2 + 0.2 * title_lines) * rows + 1.1,
        ),
        layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06),
    )
    return figure, figure.subplots(rows, columns, squeeze=False)


def backdrop(axes: Axes, image: NDArray[np.uint8], regions: NDArray[np.integer] | None = None) -> None:
    """Draws the photograph in pale colours, as a background for marks.

    Args:
        axes: The axes to draw on.
        image: RGB (H, W, 3).
        regions: (H, W), regions of equal numbers are outlined; None for no outlines.
    """
    axes.imshow(PALENESS + (1 - PALENESS) * image.astype(np.float32) / 255, interpolation="bilinear")
    if regions is not None:
        draw_outlines(axes, regions, 0.0)
    pixel_axes(axes, image.shape[:2])


def draw_outlines(axes: Axes, regions: NDArray[np.integer], grey: float) -> None:
    """Draws lines of a grey level (0 is black) between neighbouring pixels with different numbers."""
    edges = np.zeros(regions.shape, dtype=bool)
    edges[1:] |= regions[1:] != regions[:-1]
    edges[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    # A line of one pixel would be invisible in a panel with a large image.
    width = max(1, round(max(regions.shape) / LINES_ACROSS))
    edges = ndimage.maximum_filter(edges, width)
    axes.imshow(np.dstack([np.full((*regions.shape, 3), grey), edges * 0.8]))


def pixel_axes(axes: Axes, size: Sequence[int], margin: float = 0.0) -> None:
    """Sets limits and labels of axes in pixels of the image.

    Args:
        axes: The axes.
        size: Height and width of the image.
        margin: Margin on each side, as a share of the image size.
    """
    height, width = size
    axes.set_xlim(-0.5 - margin * width, width - 0.5 + margin * width)
    axes.set_ylim(height - 0.5 + margin * height, -0.5 - margin * height)
    axes.set_xlabel("x (pixels)")
    axes.set_ylabel("y (pixels)")


def mark_unit(axes: Axes, unit: UnitMark) -> None:
    """Draws a cross at the centre of the unit's filter, and a frame around its cell."""
    left, right, bottom, top = unit.cell
    square = (left, top), right - left, bottom - top
    axes.add_patch(Rectangle(*square, fill=False, edgecolor="black", linewidth=2.6))
    axes.add_patch(
        Rectangle(
            *square, fill=False, edgecolor=UNIT_COLOUR, linewidth=1.4, label="the unit's cell", zorder=5
        )
    )
    axes.plot(unit.centre[1], unit.centre[0], **UNIT_MARKER, zorder=6)  # type: ignore[arg-type]


def row_label(axes: Axes, text: str) -> None:
    """Writes the name of a row of panels beside its first panel."""
    axes.annotate(
        text,
        (0, 0.5),
        xytext=(-46, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="center",
        ma="center",
        fontweight="bold",
    )


def outer_labels(grid: NDArray) -> None:
    """Removes y labels except in the first column, and x labels except in the last row."""
    for row, axes_row in enumerate(grid):
        for column, axes in enumerate(axes_row):
            if column > 0:
                axes.set_ylabel("")
            if row < len(grid) - 1:
                axes.set_xlabel("")
