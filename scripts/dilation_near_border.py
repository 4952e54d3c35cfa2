"""Effective dilation by distance from the image's border, and by object size with and without the border.

    python scripts/dilation_near_border.py RUN [--margin 3] [--output FILE.csv]

Large objects and background reach the border more often than small objects do. Where a filter's samples, and
those of the convolution that predicts its offsets, meet the zeros around the image, its offsets differ
whatever it looks at. So a table of effective dilation by object size also says where objects are; this script
tells the two apart. A filter's distance is counted in cells, 0 in the outermost ring. Intervals are of 95 %,
from 1,000 resamplings of the validation images.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from deformlab.inspection import load_network
from deformlab.layers import record_offsets
from deformlab.metrics import effective_dilation
from deformlab.metrics.image_objects import find_objects, owner_of_cells

SIZES = ("small", "medium", "large", "background")
RINGS = 5  # the last one holds all that is further inside
RESAMPLES = 1000
# Per layer, what is averaged, and image: sum of effective dilation and number of filters.
Sums = dict[str, dict[tuple[str, str], list[tuple[float, int]]]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder of a deformable network")
    parser.add_argument("--margin", type=int, default=3, help="rings that `inside` leaves out, default 3")
    parser.add_argument("--output", type=Path, help="CSV file for the table")
    options = parser.parse_args()
    rows = [
        (layer, where, of, *mean_and_interval(images), sum(count for _, count in images))
        for layer, parts in measure(options.run, options.margin).items()
        for (where, of), images in sorted(parts.items(), key=lambda part: order(part[0]))
    ]
    for layer, where, of, mean, low, high, filters in rows:
        print(f"{layer:<16} {where:<8} {of:<10} {mean:5.2f} [{low:.2f}, {high:.2f}] {filters:7,}")
    if options.output:
        with options.output.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("layer", "where", "of", "mean", "low", "high", "filters"))
            writer.writerows((*row[:3], *(f"{value:.4f}" for value in row[3:6]), row[6]) for row in rows)


def measure(run: Path, margin: int) -> Sums:
    """Sums per layer: by ring, and by object size over all filters and over those inside."""
    network = load_network(run)
    network.data.setup("validate")
    if network.object_sizes == "thirds":
        raise SystemExit(f"{run}: objects are sized by thirds; this script needs borders in pixels")
    borders = torch.tensor(network.object_sizes)
    sums: Sums = {name: defaultdict(list) for name in network.deformable_layers}
    if not sums:
        raise SystemExit(f"{run}: has no deformable layers, whose effective dilation could differ")
    for batch in network.data.val_dataloader():
        with torch.no_grad(), record_offsets(network.deformable_layers) as offsets:
            network.model(batch["image"])
        seen = batch["image"].shape[-2], batch["image"].shape[-1]
        for i, (instance, label) in enumerate(zip(batch["instance"], batch["label"], strict=True)):
            objects = find_objects(instance, label.to(torch.uint8))
            size_of_object = torch.bucketize(objects.box_area.double(), borders.double())
            # Objects, then background, then what belongs to nothing.
            size_of_owner = torch.cat([size_of_object, torch.tensor([3, 4])])
            for name, layer in network.deformable_layers.items():
                values = effective_dilation(offsets[name][i : i + 1], layer.kernel_size, layer.dilation)
                values = values.mean(1)[0].double()
                stride = network.model.backbone.pixels_per_cell(name) * layer.stride[0]
                owner, _ = owner_of_cells(objects, (values.shape[0], values.shape[1]), stride, seen, "mask")
                size = size_of_owner[owner].view_as(values)
                distance = distance_from_border(*values.shape)
                for ring in range(RINGS):
                    chosen = distance == ring if ring < RINGS - 1 else distance >= ring
                    add(sums[name]["ring", str(ring)], values[chosen])
                for number, of in enumerate(SIZES):
                    add(sums[name]["all", of], values[size == number])
                    add(sums[name]["inside", of], values[(size == number) & (distance >= margin)])
    return sums


def distance_from_border(height: int, width: int) -> torch.Tensor:
    """(height, width) cells to the nearest border, 0 in the outermost ring."""
    row, column = torch.arange(height), torch.arange(width)
    return torch.minimum(
        torch.minimum(row, height - 1 - row)[:, None], torch.minimum(column, width - 1 - column)[None]
    )


def add(images: list[tuple[float, int]], values: torch.Tensor) -> None:
    images.append((float(values.sum()), values.numel()))


def mean_and_interval(images: list[tuple[float, int]]) -> tuple[float, float, float]:
    """Mean over filters, and its interval by resampling images; nan where there is no filter."""
    sums = np.array(images)
    draws = np.random.default_rng(0).integers(len(sums), size=(RESAMPLES, len(sums)))
    total, count = sums[draws].sum(1).T
    means = (total / np.where(count > 0, count, np.nan))[count > 0]
    if not len(means):
        return (float("nan"),) * 3
    low, high = np.quantile(means, [0.025, 0.975])
    return float(sums[:, 0].sum() / sums[:, 1].sum()), float(low), float(high)


def order(part: tuple[str, str]) -> tuple[int, int]:
    where, of = part
    return ("ring", "all", "inside").index(where), int(of) if where == "ring" else SIZES.index(of)


if __name__ == "__main__":
    main()
