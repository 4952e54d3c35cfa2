"""Draws a unit's spatial support in DCNv2's three views: samples, receptive field, saliency region."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deformlab.inspection.figures.style import (
    COLOUR_MAP,
    UnitMark,
    backdrop,
    legend_below,
    mark_unit,
    outer_labels,
    panel_grid,
    pixel_axes,
    row_label,
)

__all__ = ["SupportPanels", "holding", "support_figure"]

MARKERS = ("o", "s", "^", "D", "v", "P")
# Samples weaker than this share of the strongest are too many and too faint to draw.
FAINTEST = 0.02
# The share of the gradient that the receptive field's outline holds.
HELD = 0.95


@dataclass(frozen=True)
class SupportPanels:
    """One unit of one network.

    Attributes:
        title: The unit and the network.
        unit: Where the unit is.
        samples: Layer name, places (S, 2) in pixels of the image and strengths (S,) of each layer's samples.
        receptive_field: (h, w), gradient at each pixel of the network's input.
        saliency: (h, w), whether a pixel is in the saliency region.
        saliency_note: Its error and cost, for the title.
    """

    title: str
    unit: UnitMark
    samples: Sequence[tuple[str, NDArray[np.floating], NDArray[np.floating]]]
    receptive_field: NDArray[np.floating]
    saliency: NDArray[np.bool_]
    saliency_note: str


def holding(weights: NDArray[np.floating], share: float) -> NDArray[np.bool_]:
    """The fewest elements that together hold a share of the sum.

    Args:
        weights: Any shape, each >= 0.
        share: In (0, 1].
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
    """A row per unit: effective sampling locations, effective receptive field, saliency region.

    Args:
        image: RGB (H, W, 3).
        rows: The units.
        title: Above all.
        regions: Numbers (H, W) whose regions are outlined behind the samples.
    """
    figure, grid = panel_grid(image.shape[:2], len(rows), 3, extra=0.9)
    scale = PowerNorm(0.5, 0, 1)
    for axes_row, row in zip(grid, rows, strict=True):
        _samples(axes_row[0], image, regions, row, scale)
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
    legend_below(figure, columns=5)
    return figure


def _samples(
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
        f"effective sampling locations\nabove {100 * FAINTEST:.0f} % of the strongest", fontsize="medium"
    )


def _extent(image: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    return (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)


def _receptive_field(axes: Axes, image: NDArray[np.uint8], row: SupportPanels, scale: PowerNorm) -> None:
    field = row.receptive_field / (float(row.receptive_field.max()) or 1.0)
    axes.imshow(field, cmap=COLOUR_MAP, norm=scale, extent=_extent(image), interpolation="nearest")
    pixel_axes(axes, image.shape[:2])
    mark_unit(axes, row.unit)
    held = holding(row.receptive_field, HELD)
    share = f"{100 * HELD:.0f} % of it in {100 * held.mean():.0f} % of the image"
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
