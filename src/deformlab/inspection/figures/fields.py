"""Draws quantities over a layer's feature map: offsets as colours, effective dilation as a heat map."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deformlab.figure_style import COLOUR_MAP
from deformlab.inspection.figures.photograph import (
    backdrop,
    draw_outlines,
    outer_labels,
    panel_grid,
    pixel_axes,
    row_label,
)
from deformlab.inspection.views import MapPanel, OffsetPanel

__all__ = ["dilation_figure", "offset_colours", "offset_figure"]

# Offsets longer than this quantile get the strongest colour, so that outliers do not fade the others.
LONGEST = 0.98
OPACITY = 0.8
# CIELAB lightness and chroma of the longest offsets: the highest chroma that sRGB allows in all hues.
DARKEST = 55.0
CHROMA = 32.0
XYZ_TO_RGB = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)
WHITE = np.linalg.inv(XYZ_TO_RGB).sum(1)


def dilation_figure(
    image: NDArray[np.uint8],
    rows: Sequence[tuple[str, Sequence[MapPanel]]],
    title: str,
    regions: NDArray[np.integer] | None = None,
) -> Figure:
    """Draws effective dilation over the image: a row per network, a column per layer, one colour scale.

    Args:
        image: RGB (H, W, 3).
        rows: The network's name and its panels.
        title: Title of the figure.
        regions: (H, W), regions of equal numbers are outlined; None for no outlines.
    """
    columns = max(len(panels) for _, panels in rows)
    figure, grid = panel_grid(image.shape[:2], len(rows), columns, extra=0.9)
    values = np.concatenate([panel.values.ravel() for _, panels in rows for panel in panels])
    low, high = float(values.min()), float(values.max())
    if high - low < 0.1:
        low, high = low - 0.5, high + 0.5
    scale = Normalize(low, high)
    for axes_row, (name, panels) in zip(grid, rows, strict=True):
        for axes, panel in zip(axes_row, panels, strict=False):
            backdrop(axes, image)
            axes.imshow(panel.values, cmap=COLOUR_MAP, norm=scale, alpha=OPACITY, extent=panel.extent)
            if regions is not None:
                draw_outlines(axes, regions, 1.0)
            pixel_axes(axes, image.shape[:2])
            spread = f"mean {panel.values.mean():.2f}, {panel.values.min():.2f} to {panel.values.max():.2f}"
            axes.set_title(f"{panel.title}\n{spread} cells", fontsize="medium")
        for axes in axes_row[len(panels) :]:
            axes.remove()
        row_label(axes_row[0], name)
    outer_labels(grid)
    figure.colorbar(
        ScalarMappable(scale, COLOUR_MAP),
        ax=[axes for axes in grid.flat if axes.figure is not None],  # without those that were removed
        alpha=OPACITY,
        label="effective dilation (feature-map cells)",
        pad=0.01,
    )
    figure.suptitle(title)
    return figure


def offset_colours(offset: NDArray[np.floating], longest: float) -> NDArray[np.floating]:
    """Offsets as colours: the hue shows the direction, stronger and darker colours greater length.

    Zero is white. Hues are from CIELAB, so all directions of the same length are equally light. In greyscale,
    and for colour-blind readers, the lightness shows the length and the arrows show the direction.

    Args:
        offset: (..., 2), dy and dx.
        longest: Length in cells that gets the strongest colour, > 0.

    Returns:
        (..., 3), RGB in [0, 1]: right is red, down is olive, left is teal, up is blue.
    """
    length = np.clip(np.hypot(offset[..., 0], offset[..., 1]) / longest, 0, 1)
    direction = np.arctan2(offset[..., 0], offset[..., 1])
    lightness = (100 - (100 - DARKEST) * length + 16) / 116
    # From CIELAB to XYZ relative to the white point D65, then to linear and to gamma-encoded sRGB.
    lab = np.stack(
        [
            lightness + CHROMA * length * np.cos(direction) / 500,
            lightness,
            lightness - CHROMA * length * np.sin(direction) / 200,
        ],
        -1,
    )
    xyz = np.where(lab > 6 / 29, lab**3, 3 * (6 / 29) ** 2 * (lab - 4 / 29)) * WHITE
    linear = np.clip(xyz @ XYZ_TO_RGB.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def offset_figure(
    image: NDArray[np.uint8],
    rows: Sequence[OffsetPanel],
    title: str,
    regions: NDArray[np.integer] | None = None,
) -> Figure:
    """Draws offset fields: the mean shift of each filter and the shift of each tap, with common scales.

    Args:
        image: RGB (H, W, 3).
        rows: One layer of each network.
        title: Title of the figure.
        regions: (H, W), regions of equal numbers are outlined; None for no outlines.
    """
    fields = [np.moveaxis(row.offset, 1, -1) for row in rows]
    longest_mean = _longest(np.concatenate([field.mean(0).reshape(-1, 2) for field in fields]))
    longest = _longest(np.concatenate([field.reshape(-1, 2) for field in fields]))
    ratio = min(2.0, max(0.4, image.shape[0] / image.shape[1]))
    figure = Figure(figsize=(15, (6 * ratio + 1.2) * len(rows) + 0.4), layout="constrained")
    for part, row, field in zip(
        figure.subfigures(len(rows), 1, squeeze=False).flat, rows, fields, strict=True
    ):
        left, right, legend = part.subfigures(1, 3, width_ratios=(1, 1.1, 0.26))
        axes = left.subplots()
        _field(axes, image, field.mean(0), longest_mean, row.extent, OPACITY)
        if regions is not None:
            draw_outlines(axes, regions, 0.0)
        axes.set_title(
            f"{row.title}\nshift of the whole filter: mean over its taps (arrows show relative length)",
            fontsize="medium",
        )
        right.suptitle("shift of each tap, arranged as in the kernel", fontsize="medium")
        grid = right.subplots(*row.kernel_size, squeeze=False, sharex=True, sharey=True)
        for tap, axes in zip(field, grid.flat, strict=True):
            _field(axes, image, tap, longest, row.extent, 1.0, most=8)
            axes.label_outer()
            axes.tick_params(labelsize="small")
        upper, lower = legend.subplots(2, 1)
        _wheel(upper, longest_mean, "whole filter")
        _wheel(lower, longest, "single tap")
    figure.suptitle(title)
    return figure


def _field(
    axes: Axes,
    image: NDArray[np.uint8],
    field: NDArray[np.floating],
    longest: float,
    extent: tuple[float, float, float, float],
    opacity: float,
    most: int = 16,
) -> None:
    """Draws offsets (H_f, W_f, 2) as colours and arrows over the image."""
    backdrop(axes, image)
    axes.imshow(offset_colours(field, longest), extent=extent, alpha=opacity, interpolation="nearest")
    _arrows(axes, field, longest, extent, most)
    pixel_axes(axes, image.shape[:2])


def _longest(field: NDArray[np.floating]) -> float:
    return max(1e-3, float(np.quantile(np.hypot(field[..., 0], field[..., 1]), LONGEST)))


def _arrows(
    axes: Axes,
    field: NDArray[np.floating],
    longest: float,
    extent: tuple[float, float, float, float],
    most: int,
) -> None:
    """Draws arrows at every cell or every few cells; `longest` almost reaches the next arrow."""
    height, width = field.shape[:2]
    step = max(1, -(-max(height, width) // most))
    left, right, bottom, top = extent
    y = top + (np.arange(height) + 0.5) * (bottom - top) / height
    x = left + (np.arange(width) + 0.5) * (right - left) / width
    part = slice(step // 2, None, step)
    shown = field[part, part]
    cell = step * (right - left) / width
    axes.quiver(
        x[part],
        y[part],
        shown[..., 1],
        shown[..., 0],
        angles="xy",
        scale_units="xy",
        scale=longest / (0.9 * cell),
        width=0.004 if most > 8 else 0.009,
        pivot="mid",
        color="black",
    )


def _wheel(axes: Axes, longest: float, title: str) -> None:
    """Draws the legend of `offset_colours`: a disc whose rim is an offset of `longest` cells."""
    position = np.linspace(-1, 1, 121)
    y, x = np.meshgrid(position, position, indexing="ij")
    colours = offset_colours(np.stack([y, x], -1) * longest, longest)
    opaque = np.hypot(y, x) <= 1
    limits = (-longest, longest, longest, -longest)
    axes.imshow(np.dstack([colours, opaque]), extent=limits, interpolation="bilinear")
    ticks = [-longest, 0, longest]
    labels = [f"{-longest:.2g}", "0", f"{longest:.2g}"]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    axes.set_xlabel("dx (cells)")
    axes.set_ylabel("dy (cells)", labelpad=-4)
    axes.set_title(title, fontsize="medium")
    axes.spines[:].set_visible(False)
