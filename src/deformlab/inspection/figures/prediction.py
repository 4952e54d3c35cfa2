"""Draws image, label, prediction, error and entropy side by side."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy import ndimage

from deformlab.callbacks import colourise
from deformlab.figure_style import COLOUR_MAP
from deformlab.inspection.figures.photograph import (
    backdrop,
    draw_outlines,
    outer_labels,
    panel_grid,
    pixel_axes,
    row_label,
)
from deformlab.inspection.scene import Scene
from deformlab.inspection.views import Prediction
from deformlab.labels import IGNORED

__all__ = ["prediction_figure"]

# Regions below this share of the image are too small for the name of their class.
NAMED = 0.015


def prediction_figure(
    scene: Scene,
    rows: Sequence[tuple[str, Prediction]],
    classes: Sequence[str],
    palette: NDArray[np.uint8],
    title: str,
) -> Figure:
    """Draws image, label and legend, and below them prediction, error and entropy of each network.

    Args:
        scene: The image, with its label if it has one.
        rows: Name and prediction of each network.
        classes: Names of the classes.
        palette: (C, 3), RGB colours of the classes.
        title: Title of the figure.
    """
    figure, grid = panel_grid(scene.size, len(rows) + 1, 3, extra=0.9, title_lines=1)
    image_axes, label_axes, legend_axes = grid[0]
    image_axes.imshow(scene.image)
    pixel_axes(image_axes, scene.size)
    image_axes.set_title("image", fontsize="medium")
    if scene.label is None:
        backdrop(label_axes, scene.image)
        label_axes.set_title("no label", fontsize="medium")
    else:
        _class_map(label_axes, scene.label, classes, palette)
        label_axes.set_title("label", fontsize="medium")
    shown = {int(value) for _, prediction in rows for value in np.unique(prediction.classes)}
    if scene.label is not None:
        shown |= {int(value) for value in np.unique(scene.label)}
    _legend(legend_axes, sorted(shown), classes, palette)
    for axes_row, (name, prediction) in zip(grid[1:], rows, strict=True):
        _class_map(axes_row[0], prediction.classes, classes, palette)
        axes_row[0].set_title("prediction", fontsize="medium")
        _error(axes_row[1], scene, prediction)
        mappable = axes_row[2].imshow(
            prediction.entropy, cmap=COLOUR_MAP, vmin=0, vmax=float(np.log(len(classes)))
        )
        axes_row[2].set_title(f"entropy, mean {prediction.entropy.mean():.2f} nats", fontsize="medium")
        pixel_axes(axes_row[2], scene.size)
        bar = axes_row[2].inset_axes((1.03, 0, 0.05, 1))
        figure.colorbar(mappable, cax=bar, label=f"entropy (nats, at most log {len(classes)})")
        row_label(axes_row[0], name)
    outer_labels(grid)
    figure.suptitle(title)
    return figure


def _class_map(
    axes: Axes, label: NDArray[np.integer], classes: Sequence[str], palette: NDArray[np.uint8]
) -> None:
    """Draws classes in their colours, with outlines and names for colour-blind readers."""
    axes.imshow(colourise(label, palette))
    draw_outlines(axes, label, 1.0)
    for value in np.unique(label):
        if value != IGNORED:
            _name_regions(axes, label == value, classes[value])
    pixel_axes(axes, label.shape)


def _name_regions(axes: Axes, mask: NDArray[np.bool_], name: str) -> None:
    regions, count = ndimage.label(mask)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    for region in range(1, count + 1):
        if sizes[region] >= NAMED * mask.size:
            depth = ndimage.distance_transform_edt(np.pad(regions == region, 1))[1:-1, 1:-1]
            y, x = np.unravel_index(int(depth.argmax()), depth.shape)
            axes.text(
                float(x),
                float(y),
                name,
                ha="center",
                va="center",
                fontsize="small",
                color="white",
                clip_on=True,
                path_effects=[withStroke(linewidth=2, foreground="black")],
            )


def _error(axes: Axes, scene: Scene, prediction: Prediction) -> None:
    backdrop(axes, scene.image)
    if scene.label is None or prediction.wrong is None:
        axes.set_title("error unknown without a label", fontsize="medium")
        return
    colour = np.zeros((*scene.size, 4))
    colour[prediction.wrong] = (0.55, 0.05, 0.12, 0.9)
    axes.imshow(colour)
    ignored = scene.label == IGNORED
    if ignored.any():
        axes.contourf(ignored, levels=[0.5, 1.5], colors="none", hatches=["////"])
    right = (
        "no labelled pixels" if prediction.accuracy is None else f"{100 * prediction.accuracy:.1f} % correct"
    )
    axes.set_title(f"error: wrong pixels dark, ignored pixels hatched; {right}", fontsize="medium")


def _legend(axes: Axes, shown: Sequence[int], classes: Sequence[str], palette: NDArray[np.uint8]) -> None:
    axes.axis("off")
    handles = [
        Patch(facecolor=palette[value] / 255, edgecolor="black", linewidth=0.5, label=classes[value])
        for value in shown
        if value != IGNORED
    ]
    if IGNORED in shown:
        handles.append(Patch(facecolor="black", edgecolor="black", label="ignored"))
    axes.legend(handles=handles, loc="center", ncols=2, frameon=False, title="classes in this image")
