"""The style of all figures: colours, line styles, widths, legends and file formats.

The colours are those of Okabe and Ito, which colour-blind readers can distinguish. Each colour also has its
own line style and marker, so that figures can be read in black and white. All figures of a report have the
width of a column, so that their text is legible on a phone and in print. A figure with more panels is longer,
not smaller.
"""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "COLOUR_MAP",
    "LINES",
    "MARKERS",
    "WIDTH",
    "finish_axes",
    "legend_below",
    "line_style",
    "panels",
    "plain",
    "save_figure",
]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES: tuple = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# For values drawn over an image: lightness increases evenly, also for colour-blind readers and in black and
# white.
COLOUR_MAP = "cividis"
WIDTH = 5.2  # inches


def save_figure(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write a figure as PNG (for pages) and PDF (for papers). The same figure gives the same bytes each time.

    Args:
        figure: The figure. Its layout is fixed afterwards.
        folder: An existing folder.
        name: Name of the files without an extension.

    Returns:
        The paths `<folder>/<name>.png` and `<folder>/<name>.pdf`.
    """
    paths = [Path(folder) / f"{name}.png", Path(folder) / f"{name}.pdf"]
    figure.savefig(paths[0], dpi=200)
    # Both files have the same layout. Do not compute it again, which would take as long as drawing.
    figure.set_layout_engine("none")
    figure.savefig(paths[1], metadata={"CreationDate": None, "ModDate": None})
    return paths


def plain(text: str) -> str:
    """Return text that matplotlib shows literally.

    Without this, matplotlib reads text between dollar signs as a formula and hides labels that start with an
    underscore.
    """
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def line_style(index: int) -> dict[str, Any]:
    """Return colour, line style and marker of line number `index`, for `Axes.plot` and `Axes.errorbar`."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINES[index % len(LINES)],
        "marker": MARKERS[index % len(MARKERS)],
    }


def panels(count: int, height: float, legend_lines: int = 0, **options: Any) -> tuple[Figure, list[Axes]]:
    """Make a figure of `count` panels, two in a row, with room for a legend below.

    Args:
        count: Number of panels, at least 1. A single panel has the full width.
        height: Height of a row, in inches.
        legend_lines: Number of lines of the legend.
        options: Options of `Figure.subplots`.

    Returns:
        The figure and its panels.
    """
    columns = min(count, 2)
    rows = ceil(count / columns)
    figure = Figure(figsize=(WIDTH, height * rows + 0.2 * legend_lines + 0.15), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, list(grid.flat[:count])


def legend_below(
    figure: Figure, first: Sequence[str] = (), columns: int = 1, fontsize: str = "small"
) -> None:
    """Draw one legend below all panels, in which each label occurs once.

    Args:
        figure: The figure. If none of its lines has a label, no legend is drawn.
        first: Labels that come first in the legend.
        columns: Number of columns of the legend.
        fontsize: A font size as in matplotlib.
    """
    handles = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if not handles:
        return
    labels = sorted(handles, key=lambda label: label not in first)
    figure.legend(
        [handles[label] for label in labels],
        labels,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=fontsize,
    )


def finish_axes(axes: Axes) -> None:
    """Remove the top and right edges of the frame, and draw faint horizontal lines for reading values."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
