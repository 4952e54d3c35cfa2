"""What all figures share: width, colours, line styles, and the files that they become.

Colours are Okabe and Ito's, which the colour-blind can tell apart; line style and marker repeat what the
colour says, so that a print in black and white does too. All figures have one width, that of a page's column:
their text is then as large on a phone as in print, and more panels make a figure longer, never smaller.
"""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES: tuple = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH = 5.2  # inches


def save_figure(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write a figure as PNG (for pages) and PDF (for papers); the same figure gives the same bytes."""
    paths = [Path(folder) / f"{name}.png", Path(folder) / f"{name}.pdf"]
    figure.savefig(paths[0], dpi=200)
    # The layout is found; it holds for the other file too, and finding it takes as long as drawing.
    figure.set_layout_engine("none")
    figure.savefig(paths[1], metadata={"CreationDate": None, "ModDate": None})
    return paths


def plain(words: str) -> str:
    """Words as figures show them as they are: a dollar begins no formula, an underscore hides no label."""
    words = words.replace("$", r"\$")
    return f" {words}" if words.startswith("_") else words


def look(index: int) -> dict[str, Any]:
    """Colour, line style and marker of the line at that place in a legend."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINES[index % len(LINES)],
        "marker": MARKERS[index % len(MARKERS)],
    }


def panels(count: int, height: float, legend_lines: int = 0, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, two in a row, each `height` inches high, with room for a legend below.

    Args:
        count: At least 1; a single panel has the whole width.
        height: Of a row, in inches.
        legend_lines: Lines of the legend below.
        options: For `Figure.subplots`.
    """
    columns = min(count, 2)
    rows = ceil(count / columns)
    figure = Figure(figsize=(WIDTH, height * rows + 0.2 * legend_lines + 0.15), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, list(grid.flat[:count])


def legend_below(figure: Figure, first: Sequence[str] = (), columns: int = 1) -> None:
    """One legend of everything that any panel names, below all of them; labels in `first` lead."""
    handles = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    labels = sorted(handles, key=lambda label: label not in first)
    figure.legend(
        [handles[label] for label in labels],
        labels,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize="small",
    )


def finish(axes: Axes) -> None:
    """No frame, and a faint grid to read values by."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
