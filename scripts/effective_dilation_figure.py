"""Draws docs/figures/effective_dilation.png: what effective dilation measures, for three 3x3 filters.

The offsets of the two deformed filters are made up for the drawing. The numbers in the titles are computed by
`deformlab.metrics.effective_dilation`.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deformlab.figure_style import COLOURS, WIDTH
from deformlab.metrics import effective_dilation

OUTPUT = Path(__file__).parents[1] / "docs" / "figures" / "effective_dilation.png"
DILATION = 2
# Cells of the feature map on each side of the filter's centre.
REACH = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="PNG file (default: %(default)s)")
    output = parser.parse_args().output
    regular = np.stack(np.meshgrid((-1, 0, 1), (-1, 0, 1), indexing="ij"), axis=-1) * DILATION  # (3, 3, 2)
    jitter = np.random.default_rng(3).uniform(-0.45, 0.45, regular.shape)
    offsets = {
        "atrous, d = 2": np.zeros(regular.shape),
        "deformed, small object": -0.5 * regular + 0.6 * jitter,
        "deformed, large object": 0.9 * regular + jitter,
    }
    figure = Figure(figsize=(WIDTH, WIDTH / 3 + 0.35), layout="constrained")
    for axes, (name, offset), colour in zip(figure.subplots(1, 3), offsets.items(), COLOURS, strict=False):
        tensor = torch.tensor(offset).reshape(1, 18, 1, 1)
        value = effective_dilation(tensor, kernel_size=3, dilation=DILATION).item()
        draw_filter(axes, regular + offset, colour)
        axes.set_title(f"{name}\n{value:.2f} cells", fontsize=8)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=200)


def draw_filter(axes: Axes, taps: np.ndarray, colour: str) -> None:
    """The grid of cells, the taps (3, 3, 2) in (y, x), and a line between each pair of neighbours."""
    lines = np.arange(-REACH, REACH + 2) - 0.5
    axes.hlines(lines, lines[0], lines[-1], color="0.88", linewidth=0.5)
    axes.vlines(lines, lines[0], lines[-1], color="0.88", linewidth=0.5)
    for pairs in (taps, taps.swapaxes(0, 1)):
        for line in pairs:
            axes.plot(line[:, 1], line[:, 0], color=colour, linewidth=1)
    axes.plot(taps[..., 1].ravel(), taps[..., 0].ravel(), "o", color=colour, markersize=4)
    axes.plot(0, 0, "+", color="black", markersize=7)
    axes.set(xlim=(lines[0], lines[-1]), ylim=(lines[-1], lines[0]), aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


if __name__ == "__main__":
    main()
