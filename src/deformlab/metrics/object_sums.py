"""The state of `EffectiveDilation`: rows of float64 sums per object of an image, and the records they make.

Shapes: K objects of an image, V values per filter, M rings near the border of a layer's map.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from deformlab.metrics.effective_dilation import effective_dilation, effective_dilation_where_it_counts
from deformlab.metrics.image_objects import ImageObjects, count_pixels, owner_of_cells
from deformlab.metrics.layer_geometry import LayerGeometry, distance_from_border
from deformlab.records import FilterSums, ObjectRecords

__all__ = ["filter_values", "head_sums", "layer_sums", "records_of", "row_width"]

# Of a row of sums, before those of the layers: image, object, label, box area, mask area, scale, pixels,
# hits, false positives. All are integers below 2^53 or float64 as they are.
_HEAD = 9
# Background rows per image: one per 8-bit label.
_LABELS = 256


def row_width(layers: Mapping[str, LayerGeometry]) -> int:
    """Numbers in a row: the object's, then those of each layer."""
    return _HEAD + sum(2 * _values(geometry) + 2 * geometry.margin for geometry in layers.values())


def _values(geometry: LayerGeometry) -> int:
    """Values per filter: 1, effective dilation, its square; weighted; per group both again."""
    return 3 + geometry.modulated + (2 * geometry.deform_groups if geometry.deform_groups > 1 else 0)


def filter_values(
    name: str,
    geometry: LayerGeometry,
    offsets: Mapping[str, Tensor],
    modulation: Mapping[str, Tensor] | None,
    images: int,
) -> Tensor:
    """What is summed of each filter, (N, V, H_f, W_f) float64.

    Raises:
        ValueError: The layer is missing or its shapes do not fit.
    """
    if name not in offsets:
        raise ValueError(f"offsets has no layer {name}, only {', '.join(offsets) or 'none'}")
    offset = offsets[name]
    if len(offset) != images:
        raise ValueError(f"offsets[{name!r}] has {len(offset)} images, instances {images}")
    groups = effective_dilation(offset, geometry.kernel_size, geometry.dilation).double()
    if groups.shape[1] != geometry.deform_groups:
        raise ValueError(
            f"offsets[{name!r}] is for {groups.shape[1]} offset groups, layers says {geometry.deform_groups}"
        )
    mean = groups.mean(1, keepdim=True)
    parts = [torch.ones_like(mean), mean, mean.square()]
    if geometry.modulated:
        if modulation is None or name not in modulation:
            raise ValueError(f"modulation has no layer {name}, though layers says that it is modulated")
        weighted = effective_dilation_where_it_counts(
            offset, modulation[name], geometry.kernel_size, geometry.dilation
        )
        parts.append(weighted.mean(1, keepdim=True))
    if geometry.deform_groups > 1:
        parts += [groups, groups.square()]
    return torch.cat(parts, dim=1)


def head_sums(
    objects: ImageObjects, label: Tensor | None, prediction: Tensor | None, key: int, scale: float
) -> Tensor:
    """The first columns of an image's rows, (K + 256, 9)."""
    count = len(objects.ids)
    head = torch.zeros(count + _LABELS, _HEAD, dtype=torch.float64, device=objects.owner.device)
    head[:, 0], head[:, 5] = key, scale
    head[:count, 1], head[:count, 3], head[:count, 4] = objects.ids, objects.box_area, objects.mask_area
    if label is None:
        head[: count + 1, 2] = -1
        head[:, 8] = -1
        return head
    head[:count, 2] = objects.label
    head[count:, 2] = torch.arange(_LABELS, device=head.device)
    if prediction is None:
        head[:, 8] = -1
        return head
    for rows, counts in zip(
        (slice(count), slice(count, None)), count_pixels(objects, label, prediction), strict=True
    ):
        head[rows, 6], head[rows, 7], head[rows, 8] = counts
    return head


def layer_sums(
    objects: ImageObjects,
    label: Tensor | None,
    values: Tensor,
    geometry: LayerGeometry,
    network_size: tuple[int, int],
    region: str,
) -> Tensor:
    """A layer's columns of an image's rows, (K + 256, 2·V + 2·M).

    Sums over all filters; over those away from the border; and of each ring near it the number of filters and
    the sum of their effective dilation.

    Args:
        objects: The image's objects.
        label: (H, W) classes as uint8, 255 ignored; None without classes.
        values: (V, H_f, W_f) of each filter.
        geometry: The layer's.
        network_size: Height and width of the network's input.
        region: `mask` or `box`, as for `owner_of_cells`.
    """
    size = (values.shape[1], values.shape[2])
    owner, place = owner_of_cells(objects, size, geometry.stride, network_size, region)
    count = len(objects.ids)
    row = (
        owner if label is None else torch.where(owner == count, count + label.flatten()[place].long(), owner)
    )
    counted = owner <= count
    row, values = row[counted], values.flatten(1)[:, counted]
    distance = distance_from_border(*size, values.device).flatten()[counted]
    rows, margin = count + _LABELS, geometry.margin
    inside, near = distance >= margin, distance < margin
    rings = _sums(values[:2, near], row[near] * margin + distance[near], rows * margin)
    return torch.cat(
        [
            _sums(values, row, rows),
            _sums(values[:, inside], row[inside], rows),
            rings.reshape(rows, 2 * margin),
        ],
        dim=1,
    )


def _sums(values: Tensor, row: Tensor, rows: int) -> Tensor:
    """(rows, V) sums of (V, n) values, each over the filters of a row, in the filters' order."""
    sums = values.new_zeros(len(values), rows)
    for target, source in zip(sums, values, strict=True):
        target.index_add_(0, row, source)
    return sums.T


def records_of(sums: np.ndarray, layers: Mapping[str, LayerGeometry]) -> ObjectRecords:
    """The state's columns by name.

    Args:
        sums: (R, `row_width`), sorted by image, object and class.
        layers: Geometry of each layer by name.
    """
    groups = tuple(geometry.deform_groups for geometry in layers.values())
    margins = tuple(geometry.margin for geometry in layers.values())
    shape = (len(sums), len(layers))
    everywhere, inside = (FilterSums.zeros(*shape, max(groups, default=1)) for _ in range(2))
    ring_filters, ring_total = np.zeros((2, *shape, max(margins, default=0)))
    start = _HEAD
    for i, geometry in enumerate(layers.values()):
        width, margin = _values(geometry), margins[i]
        for part in (everywhere, inside):
            _fill(part, i, sums[:, start : start + width].T, geometry)
            start += width
        rings = sums[:, start : start + 2 * margin].reshape(len(sums), margin, 2)
        ring_filters[:, i, :margin], ring_total[:, i, :margin] = rings[..., 0], rings[..., 1]
        start += 2 * margin
    integers = sums[:, [1, 2, 6, 7, 8]].astype(np.int64).T
    return ObjectRecords(
        layers=tuple(layers),
        groups=groups,
        modulated=tuple(geometry.modulated for geometry in layers.values()),
        margins=margins,
        image=sums[:, 0].astype(np.int64).astype(np.str_),
        object=integers[0],
        label=integers[1],
        box_area=sums[:, 3],
        mask_area=sums[:, 4],
        scale=sums[:, 5],
        pixels=integers[2],
        hits=integers[3],
        false_positives=integers[4],
        everywhere=everywhere,
        inside=inside,
        ring_filters=ring_filters.astype(np.int64),
        ring_total=ring_total,
    )


def _fill(part: FilterSums, layer: int, columns: np.ndarray, geometry: LayerGeometry) -> None:
    """Puts a layer's columns (V, R) where they belong."""
    groups = geometry.deform_groups
    part.filters[:, layer], part.total[:, layer], part.squares[:, layer] = columns[:3]
    if geometry.modulated:
        part.weighted[:, layer] = columns[3]
    of_groups = columns[-2 * groups :] if groups > 1 else columns[1:3]
    part.group_total[:, layer, :groups] = of_groups[:groups].T
    part.group_squares[:, layer, :groups] = of_groups[groups:].T
