"""What the pictures share: a pale photograph with outlines, axes in pixels of the image, marks of units.

Colours and legends are those of `deformlab.figure_style`; marks can be told apart in greyscale.
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
# So many outlines beside each other would fill a panel.
LINES_ACROSS = 400


def panel_grid(
    image_size: Sequence[int], rows: int, columns: int, extra: float = 0.0, title_lines: int = 2
) -> tuple[Figure, NDArray]:
    """A figure whose panels have the image's shape, with room for titles and labels.

    Args:
        image_size: Height and width of the image.
        rows: Rows of panels.
        columns: Columns of panels.
        extra: Width for colour bars, in inches.
        title_lines: Lines of each panel's title.

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
    """The photograph in pale colours, for marks in front of it.

    Args:
        axes: Where.
        image: RGB (H, W, 3).
        regions: Numbers (H, W) whose regions are outlined; None for no outlines.
    """
    axes.imshow(PALENESS + (1 - PALENESS) * image.astype(np.float32) / 255, interpolation="bilinear")
    if regions is not None:
        draw_outlines(axes, regions, 0.0)
    pixel_axes(axes, image.shape[:2])


def draw_outlines(axes: Axes, regions: NDArray[np.integer], grey: float) -> None:
    """Lines of one grey, 0 for black, where neighbouring pixels have different numbers."""
    edges = np.zeros(regions.shape, dtype=bool)
    edges[1:] |= regions[1:] != regions[:-1]
    edges[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    # One pixel of a large image is too thin to be seen in a panel.
    width = max(1, round(max(regions.shape) / LINES_ACROSS))
    edges = ndimage.maximum_filter(edges, width)
    axes.imshow(np.dstack([np.full((*regions.shape, 3), grey), edges * 0.8]))


def pixel_axes(axes: Axes, size: Sequence[int], margin: float = 0.0) -> None:
    """Limits and labels of an axis in pixels of the image.

    Args:
        axes: Where.
        size: Height and width of the image.
        margin: Share of the image that is shown on each side of it.
    """
    height, width = size
    axes.set_xlim(-0.5 - margin * width, width - 0.5 + margin * width)
    axes.set_ylim(height - 0.5 + margin * height, -0.5 - margin * height)
    axes.set_xlabel("x (pixels)")
    axes.set_ylabel("y (pixels)")


def mark_unit(axes: Axes, unit: UnitMark) -> None:
    """A cross at the centre of the unit's filter, and a frame around its cell."""
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
    """Names a row of panels beside its first one."""
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
    """Labels y beside the first panel of each row and x below the last of each column only."""
    for row, axes_row in enumerate(grid):
        for column, axes in enumerate(axes_row):
            if column > 0:
                axes.set_ylabel("")
            if row < len(grid) - 1:
                axes.set_xlabel("")
