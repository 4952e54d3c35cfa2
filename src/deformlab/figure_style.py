"""The style of every figure of deformlab: colours, line styles, widths, legends and the files they become.

Colours are Okabe and Ito's, which colour-blind readers can tell apart. Line style and marker repeat what the
colour says, so that figures can be read in black and white. Figures of a report all have the width of a
column: their text is legible on a phone and in print. More panels make a figure longer, not smaller.
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
# For values over an image: lightness rises evenly, also for colour-blind readers and on paper.
COLOUR_MAP = "cividis"
WIDTH = 5.2  # inches


def save_figure(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write a figure as PNG (for pages) and PDF (for papers); the same figure gives the same bytes.

    Returns:
        `<folder>/<name>.png` and `<folder>/<name>.pdf`.
    """
    paths = [Path(folder) / f"{name}.png", Path(folder) / f"{name}.pdf"]
    figure.savefig(paths[0], dpi=200)
    # The layout is the same in both files; computing it takes as long as drawing.
    figure.set_layout_engine("none")
    figure.savefig(paths[1], metadata={"CreationDate": None, "ModDate": None})
    return paths


def plain(words: str) -> str:
    """Text that matplotlib shows as it is: no formulas from dollars, no hidden labels from underscores."""
    words = words.replace("$", r"\$")
    return f" {words}" if words.startswith("_") else words


def line_style(index: int) -> dict[str, Any]:
    """Colour, line style and marker number `index`, for `Axes.plot` and `Axes.errorbar`."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINES[index % len(LINES)],
        "marker": MARKERS[index % len(MARKERS)],
    }


def panels(count: int, height: float, legend_lines: int = 0, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, two in a row, with room for a legend below.

    Args:
        count: At least 1; a single panel has the whole width.
        height: Of a row, in inches.
        legend_lines: Lines of the legend.
        options: For `Figure.subplots`.
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
    """One legend below all panels, with each label once.

    Args:
        figure: Without labels it gets no legend.
        first: Labels that come first.
        columns: Columns of the legend.
        fontsize: As matplotlib names it.
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
    """Remove the frame and draw faint lines to read values by."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
