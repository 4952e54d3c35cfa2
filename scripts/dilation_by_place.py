"""How much of effective dilation is where a filter is in the image, and how much what it sees there.

    python scripts/dilation_by_place.py RUN [RUN ...] [--output FILE.csv]

In road scenes small objects are near the horizon, and a network may have learned to look further there
whatever stands there. So each filter's effective dilation is compared with that of the filter at the same
place of the map in the other validation images; what remains is not the place's. Per deformable layer, of the
filters away from the border of the map:

- `place`: share of the variance over all filters and images that the means of the places explain, less what
  they would explain by chance.
- `class`: the same of the classes of the pixels at the filters' centres.
- `small`, `medium`, `large`, `background`: effective dilation in cells, and relative to the place's.
- `rank correlation` (Spearman's) of an object's size and the mean of its filters, of both.

Intervals are of 95 %, from 1,000 resamplings of the images. All images must have one size.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from dilation_of_runs import Row, load_networks, margin_of, parser_for_runs, run_script, tabulate

from deformlab.inspection import TrainedNetwork
from deformlab.layers import DeformConv2d, record_offsets
from deformlab.metrics import distance_from_border, effective_dilation
from deformlab.metrics.image_objects import IGNORE_INDEX, find_objects, owner_of_cells
from deformlab.records.statistics import draws, ratio_interval, spearman

SIZES = ("small", "medium", "large", "background")
NOTHING = len(SIZES)  # of ignored pixels
VALUES = ("effective dilation", "relative to the place")


class Filters(NamedTuple):
    """One layer's filters in all images.

    Attributes:
        dilation: (I, H_f, W_f) effective dilation in cells.
        size: (I, H_f, W_f) positions in `SIZES`, or NOTHING.
        label: (I, H_f, W_f) class of the pixel at the filter's centre, `IGNORE_INDEX` where it has none.
        item: (I, H_f, W_f) a number for each object, different in each image; -1 on no object.
        area: (items,) the objects' bounding boxes in pixels of the label map.
        inside: (H_f, W_f) whether a filter is away from the border.
    """

    dilation: np.ndarray
    size: np.ndarray
    label: np.ndarray
    item: np.ndarray
    area: np.ndarray
    inside: np.ndarray


def main() -> None:
    parser = parser_for_runs(__doc__)
    options = parser.parse_args()
    networks = load_networks(parser, options)
    for run, network in zip(options.runs, networks, strict=True):
        if network.object_sizes == "thirds":
            parser.error(f"{run}: objects are sized by thirds; this script needs borders in pixels")
    tabulate(networks, rows_of, options.output)


def rows_of(network: TrainedNetwork) -> Iterator[Row]:
    for layer, filters in measure(network).items():
        for found in table(filters):
            yield {"layer": layer, **found}


def measure(network: TrainedNetwork) -> dict[str, Filters]:
    """The filters of every deformable layer in the validation images, which are open."""
    borders = torch.tensor(network.object_sizes)
    layers = network.deformable_layers
    found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in layers}
    areas: list[torch.Tensor] = []
    for batch in network.data.val_dataloader():
        with torch.no_grad(), record_offsets(layers) as offsets:
            network.model(batch["image"].to(network.device))
        seen = batch["image"].shape[-2], batch["image"].shape[-1]
        for i, (instance, label) in enumerate(zip(batch["instance"], batch["label"], strict=True)):
            objects = find_objects(instance, label.to(torch.uint8))
            count, before = len(objects.ids), sum(map(len, areas))
            size_of_object = torch.bucketize(objects.box_area.double(), borders.double())
            size_of_owner = torch.cat([size_of_object, torch.tensor([SIZES.index("background"), NOTHING])])
            item_of_owner = torch.cat([torch.arange(before, before + count), torch.tensor([-1, -1])])
            areas.append(objects.box_area)
            for name, layer in layers.items():
                values = effective_dilation(offsets[name][i : i + 1], layer.kernel_size, layer.dilation)
                values = values.mean(1)[0].double().cpu()
                stride = network.model.backbone.pixels_per_cell(name) * layer.stride[0]
                cells = values.shape[0], values.shape[1]
                owner, place = owner_of_cells(objects, cells, stride, seen, "mask")
                of_filters = size_of_owner[owner], label.flatten()[place], item_of_owner[owner]
                found[name].append((values, *(part.view_as(values) for part in of_filters)))
    area = torch.cat(areas).double().numpy()
    return {name: together(found[name], area, layer) for name, layer in layers.items()}


def together(images: list[tuple[Any, ...]], area: np.ndarray, layer: DeformConv2d) -> Filters:
    """The images of one layer, stacked."""
    sizes = {tuple(values.shape) for values, *_ in images}
    if len(sizes) > 1:
        raise SystemExit(
            f"the images give maps of {len(sizes)} sizes; a place is one only in maps of one size"
        )
    dilation, size, label, item = (torch.stack(parts).numpy() for parts in zip(*images, strict=True))
    inside = (distance_from_border(*dilation.shape[1:]) >= margin_of(layer)).numpy()
    if not inside.any():
        cells = "x".join(map(str, inside.shape))
        raise SystemExit(f"maps of {cells} cells have no filter away from the border; take larger images")
    return Filters(dilation, size, label, item, area, inside)


def table(filters: Filters) -> list[Row]:
    """The rows of one layer, of the filters away from the border; bounds are None where there are none."""
    relative = relative_to_place(filters.dilation)
    values, label = filters.dilation[:, filters.inside], filters.label[:, filters.inside]
    place = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    known = label != IGNORE_INDEX
    rows = [
        row("place", "share of variance", share_explained(values.ravel(), place.ravel())),
        row("class", "share of variance", share_explained(values[known], label[known])),
    ]
    drawn = draws(len(relative))
    for number, size in enumerate(SIZES):
        chosen = (filters.size == number) & filters.inside
        for name, values in zip(VALUES, (filters.dilation, relative), strict=True):
            total, count = np.where(chosen, values, 0).sum((1, 2)), chosen.sum((1, 2)).astype(float)
            if count.any():
                low, high = ratio_interval(drawn, total[:, None], count[:, None])[:, 0]
                rows.append(row(size, name, total.sum() / count.sum(), low, high, int(count.sum())))
    item = np.where(filters.inside, filters.item, -1)
    counts = np.bincount(item[item >= 0], minlength=len(filters.area))
    seen = counts > 0
    image = np.zeros(len(filters.area), dtype=np.int64)
    image[item[item >= 0]] = np.broadcast_to(np.arange(len(item))[:, None, None], item.shape)[item >= 0]
    for name, values in zip(VALUES, (filters.dilation, relative), strict=True):
        sums = np.bincount(item[item >= 0], values[item >= 0], minlength=len(filters.area))
        bounds = spearman(filters.area[seen], sums[seen] / counts[seen], image[seen], drawn)
        rows.append(row("rank correlation", name, *bounds, int(seen.sum())))
    return rows


def row(
    of: str,
    value: str,
    mean: float,
    low: float | None = None,
    high: float | None = None,
    count: int | None = None,
) -> Row:
    low, high = (None if bound is None else float(bound) for bound in (low, high))
    return {"of": of, "value": value, "mean": float(mean), "low": low, "high": high, "count": count}


def relative_to_place(values: np.ndarray) -> np.ndarray:
    """Values (I, ...) less the mean of the same place in the other images."""
    return (values - values.mean(0)) * len(values) / (len(values) - 1)


def share_explained(values: np.ndarray, groups: np.ndarray) -> float:
    """Share of the variance of values (n,) that their groups' means explain, adjusted for their number."""
    _, group = np.unique(groups, return_inverse=True)
    count = np.bincount(group)
    mean = np.bincount(group, values) / count
    within = ((values - mean[group]) ** 2).sum() / (len(values) - len(count))
    return float(1 - within / values.var(ddof=1))


if __name__ == "__main__":
    run_script(main)
