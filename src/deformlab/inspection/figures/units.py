"""Draws where units sample (DCNv1, figures 5 and 6) and what they react to (DCNv2's three views)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deformlab.figure_style import COLOUR_MAP, MARKERS, legend_below
from deformlab.inspection.figures.photograph import (
    SAMPLE_COLOUR,
    backdrop,
    mark_unit,
    outer_labels,
    panel_grid,
    pixel_axes,
    row_label,
)
from deformlab.inspection.views import SamplingPanel, SupportPanels

__all__ = ["holding", "sampling_figure", "support_figure"]

# Samples beyond this margin, a share of the image size, are only counted in the title of the panel.
MARGIN = 0.1
# Samples weaker than this share of the strongest one are not drawn.
FAINTEST = 0.02
# The size of a receptive field is that of the smallest area with this share of the gradient.
HELD = 0.95


def sampling_figure(
    image: NDArray[np.uint8],
    rows: Sequence[tuple[str, Sequence[SamplingPanel]]],
    title: str,
    regions: NDArray[np.integer] | None = None,
) -> Figure:
    """Draws the samples of units: a row of panels per network, a column per unit.

    Args:
        image: RGB (H, W, 3).
        rows: The name of each network and its panels, equally many per network.
        title: Title of the figure.
        regions: (H, W), regions of equal numbers are outlined; None for no outlines.
    """
    figure, grid = panel_grid(image.shape[:2], len(rows), len(rows[0][1]))
    for axes_row, (name, panels) in zip(grid, rows, strict=True):
        for axes, panel in zip(axes_row, panels, strict=True):
            _sampling_panel(axes, image, regions, panel)
        row_label(axes_row[0], name)
    outer_labels(grid)
    figure.suptitle(title)
    legend_below(figure, columns=4, fontsize="medium")
    return figure


def _sampling_panel(
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
            label="sample that reads zero: outside the feature map at some level",
            zorder=3,
        )
    mark_unit(axes, panel.unit)
    note = f"effective dilation {panel.effective_dilation:.2f} cells"
    if len(outside):
        note += f", {len(outside)} zero sample{'s' if len(outside) > 1 else ''}"
    axes.set_title(f"{panel.title}\n{note}", fontsize="medium")


def holding(weights: NDArray[np.floating], share: float) -> NDArray[np.bool_]:
    """Selects the largest elements that together have at least a given share of the sum.

    Args:
        weights: Any shape, >= 0.
        share: In (0, 1].

    Returns:
        Whether each element is selected, same shape. None is selected if all weights are 0.
    """
    order = np.sort(weights, axis=None)[::-1]
    total = np.cumsum(order, dtype=np.float64)
    if not total[-1] > 0:
        return np.zeros(weights.shape, dtype=bool)
    needed = int(np.searchsorted(total, share * total[-1] * (1 - 1e-12)))
    return weights >= order[needed]


def support_figure(
    image: NDArray[np.uint8],
    rows: Sequence[SupportPanels],
    title: str,
    regions: NDArray[np.integer] | None = None,
) -> Figure:
    """Draws a row per unit: effective sampling locations, effective receptive field and saliency region.

    Args:
        image: RGB (H, W, 3).
        rows: The units.
        title: Title of the figure.
        regions: (H, W), regions of equal numbers are outlined behind the samples; None for no outlines.
    """
    figure, grid = panel_grid(image.shape[:2], len(rows), 3, extra=0.9)
    scale = PowerNorm(0.5, 0, 1)
    for axes_row, row in zip(grid, rows, strict=True):
        _effective_samples(axes_row[0], image, regions, row, scale)
        _receptive_field(axes_row[1], image, row, scale)
        _saliency(axes_row[2], image, row)
        row_label(axes_row[0], row.title)
    outer_labels(grid)
    figure.colorbar(
        ScalarMappable(scale, COLOUR_MAP),
        ax=grid.ravel().tolist(),
        label="strength of the gradient\n(share of the largest, square-root scale)",
        pad=0.01,
    )
    figure.suptitle(title)
    legend_below(figure, columns=5, fontsize="medium")
    return figure


def _effective_samples(
    axes: Axes,
    image: NDArray[np.uint8],
    regions: NDArray[np.integer] | None,
    row: SupportPanels,
    scale: PowerNorm,
) -> None:
    backdrop(axes, image, regions)
    strongest = max((float(strength.max(initial=0)) for _, _, strength in row.samples), default=0.0) or 1.0
    for i, (name, points, strength) in enumerate(row.samples):
        share = strength / strongest
        order = np.argsort(share)
        order = order[share[order] >= FAINTEST]
        axes.scatter(
            points[order, 1],
            points[order, 0],
            c=share[order],
            s=8 + 40 * share[order],
            marker=MARKERS[i % len(MARKERS)],
            cmap=COLOUR_MAP,
            norm=scale,
            edgecolors="black",
            linewidths=0.3,
            label=f"sample of {name}",
            zorder=4,
        )
    pixel_axes(axes, image.shape[:2])
    mark_unit(axes, row.unit)
    axes.set_title(
        f"effective sampling locations\nabove {100 * FAINTEST:.0f} % of the strongest sample",
        fontsize="medium",
    )


def _extent(image: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    return (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)


def _receptive_field(axes: Axes, image: NDArray[np.uint8], row: SupportPanels, scale: PowerNorm) -> None:
    field = row.receptive_field / (float(row.receptive_field.max()) or 1.0)
    axes.imshow(field, cmap=COLOUR_MAP, norm=scale, extent=_extent(image), interpolation="nearest")
    pixel_axes(axes, image.shape[:2])
    mark_unit(axes, row.unit)
    held = holding(row.receptive_field, HELD)
    share = f"{100 * HELD:.0f} % of the gradient in {100 * held.mean():.0f} % of the image"
    axes.set_title(f"effective receptive field\n{share}", fontsize="medium")


def _saliency(axes: Axes, image: NDArray[np.uint8], row: SupportPanels) -> None:
    height, width = row.saliency.shape
    rows = np.minimum((np.arange(image.shape[0]) + 0.5) * height / image.shape[0], height - 1).astype(int)
    columns = np.minimum((np.arange(image.shape[1]) + 0.5) * width / image.shape[1], width - 1).astype(int)
    kept = row.saliency[rows[:, None], columns]
    ghost = 225 + 30 * (image.mean(2, keepdims=True) / 255)
    axes.imshow(np.where(kept[..., None], image, ghost).astype(np.uint8))
    if kept.any() and not kept.all():
        axes.contour(kept, levels=[0.5], colors="black", linewidths=0.7)
    pixel_axes(axes, image.shape[:2])
    mark_unit(axes, row.unit)
    axes.set_title(f"error-bounded saliency region\n{row.saliency_note}", fontsize="medium")
