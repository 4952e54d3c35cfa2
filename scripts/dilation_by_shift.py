"""Does effective dilation belong to the place of a filter, or to what stands there? Move the image and see.

    python scripts/dilation_by_shift.py RUN [RUN ...] [--scale 1.3334] [--shift 3] [--output FILE.csv]

A network can know a filter's place from the zeros beyond the border, which its layers hand on, or only from
what always stands there, road below and sky above. Every validation image is enlarged by `--scale`, so that
two windows of its former size fit into it, the second `--shift` cells of the feature map below, or right of,
the first. The same filter then sees other things, and the same things are seen by other filters. Per
deformable layer, of the filters that are away from the border in both windows, Pearson's correlation of their
effective dilation in the second window

- `same content`: with that of the filter in the first which has the same pixels before it.
- `same place`: with their own in the first. Neighbours resemble each other, so this is above zero even where
  the place means nothing.

Intervals are of 95 %, from 1,000 resamplings of the images. All images must have one size.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from dilation_of_runs import Row, load_networks, margin_of, parser_for_runs, run_script, tabulate
from torch import Tensor

from deformlab.inspection import TrainedNetwork
from deformlab.layers import DeformConv2d, record_offsets
from deformlab.metrics import effective_dilation
from deformlab.records.statistics import draws, interval

DIRECTIONS = ("vertical", "horizontal")


class Filters(NamedTuple):
    """One layer's filters away from the border in both windows: effective dilation in cells, each (I, n).

    Attributes:
        second: In the second window.
        same_content: In the first window, of the filters with the same pixels before them.
        same_place: In the first window, of the filters at the same place.
    """

    second: np.ndarray
    same_content: np.ndarray
    same_place: np.ndarray


def main() -> None:
    parser = parser_for_runs(__doc__)
    parser.add_argument("--scale", type=float, default=4 / 3, help="enlargement of the images, default 4/3")
    parser.add_argument("--shift", type=int, default=3, help="cells between the windows, default 3")
    options = parser.parse_args()
    if options.scale <= 1 or options.shift < 1:
        parser.error("--scale must be above 1 and --shift at least 1: the windows have to differ")

    def rows_of(network: TrainedNetwork) -> Iterator[Row]:
        for direction in DIRECTIONS:
            for layer, filters in measure(network, direction, options.scale, options.shift).items():
                for row in table(filters):
                    yield {"direction": direction, "layer": layer, **row}

    tabulate(load_networks(parser, options), rows_of, options.output)


def measure(network: TrainedNetwork, direction: str, scale: float, shift: int) -> dict[str, Filters]:
    """The filters of every deformable layer in the validation images, which are open."""
    by_stride: dict[int, dict[str, DeformConv2d]] = {}
    for name, layer in network.deformable_layers.items():
        stride = network.model.backbone.pixels_per_cell(name) * layer.stride[0]
        by_stride.setdefault(stride, {})[name] = layer
    found: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in network.deformable_layers}
    for batch in network.data.val_dataloader():
        for stride, layers in by_stride.items():
            pair = windows(batch["image"], direction, scale, shift * stride)
            before, after = (maps_of(network, layers, window) for window in pair)
            for name, layer in layers.items():
                found[name].append(
                    counterparts(before[name], after[name], direction, shift, margin_of(layer))
                )
    return {name: together(name, parts) for name, parts in found.items()}


def maps_of(network: TrainedNetwork, layers: dict[str, DeformConv2d], images: Tensor) -> dict[str, Tensor]:
    """Effective dilation (N, H_f, W_f) of each layer."""
    with torch.no_grad(), record_offsets(layers) as offsets:
        network.model(images.to(network.device))
    return {
        name: effective_dilation(offsets[name], layer.kernel_size, layer.dilation).mean(1).double().cpu()
        for name, layer in layers.items()
    }


def windows(images: Tensor, direction: str, scale: float, pixels: int) -> tuple[Tensor, Tensor]:
    """Two windows (N, C, H, W) into the enlarged images (N, C, H, W), the second `pixels` further on."""
    height, width = images.shape[-2:]
    large = F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)
    down, right = (pixels, 0) if direction == "vertical" else (0, pixels)
    top, left = (large.shape[-2] - height - down) // 2, (large.shape[-1] - width - right) // 2
    if min(top, left) < 0:
        raise SystemExit(
            f"images of {height}x{width} enlarged by {scale:g} have no room for windows {pixels} pixels "
            "apart; take a larger --scale or a smaller --shift"
        )
    return (
        large[..., top : top + height, left : left + width],
        large[..., top + down : top + down + height, left + right : left + right + width],
    )


def counterparts(
    before: Tensor, after: Tensor, direction: str, shift: int, margin: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What `Filters` has, from the maps (N, H_f, W_f) of both windows."""
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


def together(name: str, parts: list[tuple[Tensor, ...]]) -> Filters:
    """The images of one layer, stacked."""
    if len({part[0].shape[1] for part in parts}) > 1:
        raise SystemExit("the images differ in size; windows can be compared only in images of one size")
    if not parts[0][0].numel():
        raise SystemExit(
            f"{name}: no filter is away from the border together with the one that has its content in the "
            "other window; take a smaller --shift"
        )
    return Filters(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))


def table(filters: Filters) -> list[Row]:
    """The rows of one layer."""
    rows = []
    drawn = draws(len(filters.second))
    for value, first in (("same content", filters.same_content), ("same place", filters.same_place)):
        (mean,) = correlations(filters.second, first, np.ones((1, len(first))))
        low, high = interval(correlations(filters.second, first, drawn))
        bounds = {"mean": float(mean), "low": float(low), "high": float(high)}
        rows.append({"value": value, **bounds, "count": first.size})
    return rows


def correlations(first: np.ndarray, second: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Pearson's coefficient (R,) of values (I, n) when images count as often as `drawn` (R, I) says."""
    first, second = first - first.mean(), second - second.mean()
    count = drawn.sum(1) * first.shape[1]
    mean_first, mean_second, squares_first, squares_second, products = (
        drawn @ values.sum(1) / count
        for values in (first, second, first * first, second * second, first * second)
    )
    spread = np.sqrt((squares_first - mean_first**2) * (squares_second - mean_second**2))
    return (products - mean_first * mean_second) / spread


if __name__ == "__main__":
    run_script(main)
