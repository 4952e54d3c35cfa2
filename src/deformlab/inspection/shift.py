"""Tests whether effective dilation follows the image content or the position, by shifting the image.

A network can infer a filter's position from the zero padding, whose effect its layers pass on, or from what
is usually there: road below, sky above. Every validation image is enlarged so that two windows of the
original size fit into it. The second window lies some cells of the feature map below or to the right of the
first. The same filter then sees different content, and a different filter sees the same content.

For each deformable layer and all filters that are interior in both windows, Pearson's correlation is computed
between effective dilation in the second window and

- `same content`: effective dilation of the filter that sees the same pixels in the first window;
- `same position`: effective dilation of the same filter in the first window. It is above zero even if
  position does not matter, because neighbouring pixels are alike.

Intervals are 95 % bootstrap intervals over images (`deformlab.records.draws`).
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deformlab.errors import ConfigError, DatasetError
from deformlab.inspection.network import TrainedNetwork, load_network
from deformlab.layers import DeformConv2d, record_offsets
from deformlab.metrics import LayerGeometry, effective_dilation
from deformlab.records import Interval, draws
from deformlab.records.statistics import percentile_bounds

__all__ = ["ShiftCorrelation", "run", "shift_correlations"]

Direction = Literal["vertical", "horizontal"]
DIRECTIONS: tuple[Direction, ...] = ("vertical", "horizontal")
# Limits the memory for enlarged images.
_MAX_SCALE = 16


class ShiftCorrelation(NamedTuple):
    """Correlation of effective dilation before and after the image is shifted.

    Attributes:
        direction: `vertical` or `horizontal`.
        layer: The layer's name.
        value: `same content` or `same position`.
        correlation: Pearson's coefficient and its interval.
        filters: Number of filters.
    """

    direction: Direction
    layer: str
    value: str
    correlation: Interval
    filters: int


def run(runs: Sequence[Path], scale: float, shift: int, output: Path | None = None) -> int:
    """Prints the correlations of each run, and writes all of them to a CSV file.

    Args:
        runs: Run folders of deformable networks.
        scale: Enlargement of the images, > 1 and <= 16.
        shift: Cells of the layer's feature map between the windows, >= 1.
        output: CSV file; None to write none.

    Returns:
        The exit code, 0.

    Raises:
        DeformlabError: A mistake that the user can fix.
    """
    if not 1 < scale <= _MAX_SCALE:
        raise ConfigError(f"--scale {scale:g}: must be above 1 and at most {_MAX_SCALE}")
    if shift < 1:
        raise ConfigError(f"--shift {shift}: must be at least 1")
    if output is not None and not output.absolute().parent.is_dir():
        raise ConfigError(f"--output {output}: the folder {output.parent} does not exist; create it first")
    # Open every run first, so that errors appear before minutes of measuring.
    networks = [_open(path) for path in runs]
    rows: list[tuple[str, ...]] = []
    for network in networks:
        print(network.name, flush=True)
        for found in shift_correlations(network, scale, shift):
            value, low, high = found.correlation
            number = "    -" if value is None else f"{value:5.2f}"
            bounds = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
            print(f"  {found.direction:<11} {found.layer:<16} {found.value:<14}{number}{bounds}", flush=True)
            cells = ("" if number is None else f"{number:.4f}" for number in found.correlation)
            rows.append((network.name, found.direction, found.layer, found.value, *cells, str(found.filters)))
    if output is not None:
        _write(rows, output)
    return 0


def shift_correlations(network: TrainedNetwork, scale: float, shift: int) -> Iterator[ShiftCorrelation]:
    """Computes the correlations for each direction and deformable layer.

    Args:
        network: A deformable network whose validation split is open.
        scale: Enlargement of the images, > 1.
        shift: Cells of the layer's feature map between the windows, >= 1.

    Yields:
        Two correlations per direction and layer: `same content`, then `same position`.

    Raises:
        ConfigError: The windows do not fit into the enlarged images, or share no interior filters.
        DatasetError: The images have different sizes.
    """
    for direction in DIRECTIONS:
        for layer, filters in _measure(network, direction, scale, shift).items():
            drawn = draws(len(filters.second))
            pairs = {"same content": filters.same_content, "same position": filters.same_position}
            for value, first in pairs.items():
                (coefficient,) = correlations(filters.second, first, np.ones((1, len(first))))
                bounds = percentile_bounds(correlations(filters.second, first, drawn))
                correlation = Interval.of(coefficient, bounds)
                yield ShiftCorrelation(direction, layer, value, correlation, first.size)


class _Filters(NamedTuple):
    """Effective dilation of one layer's filters that are interior in both windows, in cells; (I, n) each.

    Attributes:
        second: In the second window.
        same_content: In the first window, for the filters that see the same pixels.
        same_position: In the first window, for the filters at the same position.
    """

    second: np.ndarray
    same_content: np.ndarray
    same_position: np.ndarray


def _open(path: Path) -> TrainedNetwork:
    network = load_network(path)
    network.data.setup("validate")
    if not network.deformable_layers:
        raise ConfigError(
            f"{path}: has no deformable layers, so its effective dilation is constant; give a deformable run"
        )
    return network


def _measure(network: TrainedNetwork, direction: Direction, scale: float, shift: int) -> dict[str, _Filters]:
    """Effective dilation of every deformable layer's filters in the validation images."""
    by_stride: dict[int, dict[str, DeformConv2d]] = {}
    for name, layer in network.deformable_layers.items():
        stride = network.model.backbone.pixels_per_cell(name) * layer.stride[0]
        by_stride.setdefault(stride, {})[name] = layer
    found: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in network.deformable_layers}
    for batch in network.data.val_dataloader():
        for stride, layers in by_stride.items():
            pair = windows(batch["image"], direction, scale, shift * stride)
            before, after = (_maps(network, layers, window) for window in pair)
            for name, layer in layers.items():
                margin = LayerGeometry.of(layer).margin
                found[name].append(counterparts(before[name], after[name], direction, shift, margin))
    return {name: _stacked(name, parts) for name, parts in found.items()}


def _maps(network: TrainedNetwork, layers: Mapping[str, DeformConv2d], images: Tensor) -> dict[str, Tensor]:
    """Effective dilation (N, H_f, W_f) of each layer."""
    with torch.no_grad(), record_offsets(layers) as offsets:
        network.model(images.to(network.device))
    return {
        name: effective_dilation(offsets[name], layer.kernel_size, layer.dilation).mean(1).double().cpu()
        for name, layer in layers.items()
    }


def windows(images: Tensor, direction: Direction, scale: float, pixels: int) -> tuple[Tensor, Tensor]:
    """Enlarges images (N, C, H, W) and cuts two windows (N, C, H, W) from them, `pixels` apart.

    Raises:
        ConfigError: The windows do not fit.
    """
    height, width = images.shape[-2:]
    large = F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)
    down, right = (pixels, 0) if direction == "vertical" else (0, pixels)
    top, left = (large.shape[-2] - height - down) // 2, (large.shape[-1] - width - right) // 2
    if min(top, left) < 0:
        raise ConfigError(
            f"images of {height}x{width} pixels enlarged by {scale:g} have no room for windows {pixels} "
            "pixels apart; choose a larger --scale or a smaller --shift"
        )
    return (
        large[..., top : top + height, left : left + width],
        large[..., top + down : top + down + height, left + right : left + right + width],
    )


def counterparts(
    before: Tensor, after: Tensor, direction: Direction, shift: int, margin: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs the interior filters of the second window with their counterparts in the first.

    Args:
        before: (N, H_f, W_f) values in the first window.
        after: (N, H_f, W_f) values in the second window.
        direction: Direction of the shift.
        shift: Cells between the windows.
        margin: Number of outermost rings that are not interior.

    Returns:
        Values in the second window, then values in the first window with the same content, and those at the
        same position; (N, n) each.
    """
    if direction == "horizontal":
        before, after = before.transpose(1, 2), after.transpose(1, 2)
    rows = max(0, before.shape[1] - 2 * margin - shift)
    columns = slice(margin, before.shape[2] - margin)
    here, moved = slice(margin, margin + rows), slice(margin + shift, margin + shift + rows)
    return (
        after[:, here, columns].flatten(1),
        before[:, moved, columns].flatten(1),
        before[:, here, columns].flatten(1),
    )


def _stacked(name: str, parts: Sequence[tuple[Tensor, ...]]) -> _Filters:
    """Concatenates the images of one layer."""
    if len({part[0].shape[1] for part in parts}) > 1:
        raise DatasetError("the validation images have different sizes; shift needs images of one size")
    if not parts[0][0].numel():
        raise ConfigError(
            f"--shift: {name} has no filters that are interior in both windows; choose a smaller --shift"
        )
    return _Filters(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))


def correlations(first: np.ndarray, second: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Pearson's coefficient (B,) of values (I, n), with each image repeated `drawn` (B, I) times."""
    first, second = first - first.mean(), second - second.mean()
    count = drawn.sum(1) * first.shape[1]
    mean_first, mean_second, squares_first, squares_second, products = (
        drawn @ values.sum(1) / count
        for values in (first, second, first * first, second * second, first * second)
    )
    spread = np.sqrt((squares_first - mean_first**2) * (squares_second - mean_second**2))
    return (products - mean_first * mean_second) / spread


def _write(rows: Sequence[Sequence[str]], output: Path) -> None:
    with output.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("network", "direction", "layer", "value", "mean", "low", "high", "count"))
        writer.writerows(rows)
