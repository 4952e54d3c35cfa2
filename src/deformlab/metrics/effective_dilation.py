"""Effective dilation: how far apart the taps of a filter are, per layer and object.

Source: DCNv1 (arXiv 1703.06211), section 3 and table 2: "the mean of the distances between all adjacent
pairs of sampling locations".

Shape letters: K objects of an image, (H_f, W_f) the size of a layer's output map (one filter per cell), V
values that are summed per filter, M rings near the border of the map.
"""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.utils import _pair
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from deformlab.layers import DeformConv2d
from deformlab.metrics.image_objects import (
    HEAD,
    ImageObjects,
    head_rows,
    image_key,
    records_of_rows,
    sorted_rows,
)
from deformlab.records import (
    BACKGROUND,
    REGIONS,
    FilterSums,
    ObjectMeasurement,
    ObjectRecords,
    PositionRecords,
    SizeRule,
)

__all__ = [
    "EffectiveDilation",
    "LayerGeometry",
    "assign_filters",
    "distance_from_border",
    "effective_dilation",
    "filter_centre",
    "position_grid",
    "weighted_effective_dilation",
]

Number = TypeVar("Number", float, NDArray[np.floating], Tensor)
# Background rows per image: one for each 8-bit label.
_LABELS = 256
# In the state `filter_object`: the filter is on an ignored pixel.
_ON_IGNORED = -1
# The largest number of filters of a map that are recorded individually.
_MAX_POSITIONS = 1024


def effective_dilation(
    offset: Tensor, kernel_size: int | tuple[int, int], dilation: int | tuple[int, int]
) -> Tensor:
    """Compute the mean distance between neighbouring taps of each filter.

    Neighbours are horizontally or vertically adjacent in the kernel's grid; a 3x3 kernel has 12 such pairs.
    An undeformed filter of dilation d therefore has an effective dilation of exactly d.

    Source: DCNv1 (arXiv 1703.06211), section 3.

    Args:
        offset: (N, 2·G·K, H, W), in cells of the layer's input, with (dy, dx) interleaved per tap. G is the
            number of offset groups, K the number of taps.
        kernel_size: Number of taps, one integer or (height, width). A 1x1 kernel is refused, because it has
            no neighbouring taps.
        dilation: Dilation of the undeformed filter, one number or (height, width), each >= 1.

    Returns:
        (N, G, H, W), in cells of the layer's input. The dtype is float64 for float64 offsets and float32
        otherwise.

    Raises:
        ValueError: An argument is out of its range, or the offsets do not fit the kernel.
    """
    vertical, horizontal = _pair_lengths(offset, kernel_size, dilation)
    pairs = vertical.shape[2] * vertical.shape[3] + horizontal.shape[2] * horizontal.shape[3]
    return (vertical.sum((2, 3)) + horizontal.sum((2, 3))) / pairs


def weighted_effective_dilation(
    offset: Tensor,
    modulation: Tensor,
    kernel_size: int | tuple[int, int],
    dilation: int | tuple[int, int],
) -> Tensor:
    """Compute effective dilation with pairs of taps weighted by the product of their two modulations.

    A tap with a modulation of 0 does not count, wherever it is. If all modulations are equal, the result
    equals `effective_dilation`.

    Args:
        offset: (N, 2·G·K, H, W), as for `effective_dilation`.
        modulation: (N, G·K, H, W), each >= 0 (not checked).
        kernel_size: Number of taps, as for `effective_dilation`.
        dilation: Dilation of the undeformed filter, as for `effective_dilation`.

    Returns:
        (N, G, H, W) float64, in cells of the layer's input. For a filter whose pairs all have weight 0, this
        is the unweighted effective dilation.

    Raises:
        ValueError: An argument is not legal for `effective_dilation`, or the modulation does not fit the
            offsets.
    """
    vertical, horizontal = _pair_lengths(offset, kernel_size, dilation)
    kernel_h, kernel_w = _pair(kernel_size)
    batch, groups, height, width = vertical.shape[0], vertical.shape[1], *vertical.shape[-2:]
    expected = (batch, groups * kernel_h * kernel_w, height, width)
    if tuple(modulation.shape) != expected:
        raise ValueError(f"modulation must be {expected} for these offsets, got {tuple(modulation.shape)}")
    # float64, so that the product of two small modulations does not underflow to zero.
    weight = modulation.double().reshape(batch, groups, kernel_h, kernel_w, height, width)
    above = weight[:, :, :-1] * weight[:, :, 1:]
    beside = weight[:, :, :, :-1] * weight[:, :, :, 1:]
    total = above.sum((2, 3)) + beside.sum((2, 3))
    mean = ((above * vertical).sum((2, 3)) + (beside * horizontal).sum((2, 3))) / total
    # A weight of zero everywhere gives no weighted mean; NaN stays NaN.
    return torch.where(total == 0, effective_dilation(offset, kernel_size, dilation).double(), mean)


def _pair_lengths(
    offset: Tensor, kernel_size: int | tuple[int, int], dilation: int | tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return the distances between neighbouring taps.

    Returns:
        Vertical neighbours (N, G, K_h - 1, K_w, H, W), and horizontal neighbours (N, G, K_h, K_w - 1, H, W).
    """
    kernel = _pair(kernel_size)
    if len(kernel) != 2 or not all(isinstance(length, Integral) for length in kernel):
        raise ValueError(f"kernel_size must be one integer or a pair of integers, got {kernel_size!r}")
    kernel_h, kernel_w = kernel
    dilation_h, dilation_w = _pair(dilation)
    if min(kernel_h, kernel_w) < 1 or kernel_h * kernel_w < 2:
        raise ValueError(f"kernel_size must have two taps or more, got {(kernel_h, kernel_w)}")
    if min(dilation_h, dilation_w) < 1:
        raise ValueError(f"dilation must be >= 1, got {(dilation_h, dilation_w)}")
    taps = kernel_h * kernel_w
    if offset.dim() != 4 or offset.shape[1] == 0 or offset.shape[1] % (2 * taps):
        raise ValueError(
            f"offset must be (N, {2 * taps}·G, H, W) for a {kernel_h}x{kernel_w} kernel, got "
            f"{tuple(offset.shape)}"
        )
    batch, channels, height, width = offset.shape
    offset = offset.to(torch.promote_types(offset.dtype, torch.float32))
    offset = offset.reshape(batch, channels // (2 * taps), kernel_h, kernel_w, 2, height, width)
    dy, dx = offset.unbind(4)
    vertical = _length(dilation_h + dy.diff(dim=2), dx.diff(dim=2))
    horizontal = _length(dy.diff(dim=3), dilation_w + dx.diff(dim=3))
    return vertical, horizontal


def _length(y: Tensor, x: Tensor) -> Tensor:
    return (y * y + x * x).sqrt()


def filter_centre(cell: Number, stride: float, input_pixels: int, image_pixels: int) -> Number:
    """Return where filters are centred on the image, along one axis. Pixel p is centred at coordinate p.

    A convolution with stride s, an odd kernel size k and padding (k - 1) / 2 · dilation centres its output i
    on its input i·s - padding + (k - 1) / 2 · dilation = i·s. All convolutions of deformlab's networks have
    this padding, so filter i is centred on pixel i·stride of the network's input. When the layer's map is
    upsampled, cell i covers stride x stride pixels, whose middle is (stride - 1) / 2 pixels further.

    Resizing aligns the edges of the image with those of the network's input: pixel p of the input lies at
    (p + 0.5)·image_pixels / input_pixels - 0.5 on the image. To map a position of the input, set the stride
    to 1.

    Args:
        cell: Positions in the layer's output map; fractions between two cells are legal.
        stride: Pixels of the network's input between neighbouring filters.
        input_pixels: Length of the network's input along the axis, in pixels.
        image_pixels: Length of the image along the axis, in pixels.

    Returns:
        Positions on the image in pixels, of the same type as `cell`.
    """
    # Multiply before dividing, so that a centre between two pixels is computed exactly.
    return (cell * stride + 0.5) * image_pixels / input_pixels - 0.5


class LayerGeometry(NamedTuple):
    """The properties of a layer that determine where its filters are and what they read.

    Attributes:
        kernel_size: Number of taps (height, width).
        dilation: Dilation (height, width) of the undeformed filter.
        stride: Pixels of the network's input between neighbouring filters.
        deform_groups: Number of channel groups with separate offsets.
        modulated: Whether the samples are modulated (DCNv2).
        offset_dilation: Dilation (height, width) of the convolution that predicts the offsets, which has the
            layer's kernel size. None for the layer's dilation.
        step: Cells of the layer's input between neighbouring filters, that is, the layer's stride.
        deformable: Whether the layer is deformable. Only the filters of deformable layers are compared at the
            same position.
    """

    kernel_size: tuple[int, int]
    dilation: tuple[int, int]
    stride: int
    deform_groups: int = 1
    modulated: bool = False
    offset_dilation: tuple[int, int] | None = None
    step: int = 1
    deformable: bool = True

    @classmethod
    def of(cls, layer: nn.Conv2d, pixels_per_cell: int = 1) -> "LayerGeometry":
        """Return the geometry of a convolution, deformable or not.

        Args:
            layer: The layer.
            pixels_per_cell: Pixels of the network's input between neighbouring cells of the layer's input, at
                least 1; `Backbone.pixels_per_cell` returns it.

        Returns:
            The geometry; `deformable` is true for a `DeformConv2d`.

        Raises:
            ValueError: `layer` is not an `nn.Conv2d` or has different strides for height and width, or
                `pixels_per_cell` is not an integer of at least 1.
        """
        if not isinstance(layer, nn.Conv2d):
            raise ValueError(f"layer must be an nn.Conv2d, got {type(layer).__name__}")
        step = layer.stride[0]
        if layer.stride[1] != step:
            raise ValueError(f"layer must have the same stride for height and width, got {layer.stride}")
        if not isinstance(pixels_per_cell, Integral) or pixels_per_cell < 1:
            raise ValueError(f"pixels_per_cell must be an integer of at least 1, got {pixels_per_cell!r}")
        kernel_size, dilation = _pair(layer.kernel_size), _pair(layer.dilation)
        if not isinstance(layer, DeformConv2d):
            return cls(kernel_size, dilation, pixels_per_cell * step, step=step, deformable=False)
        return cls(
            kernel_size,
            dilation,
            pixels_per_cell * step,
            deform_groups=layer.deform_groups,
            modulated=layer.modulated,
            offset_dilation=_pair(layer.conv_offset.dilation),
            step=step,
        )

    @property
    def margin(self) -> int:
        """The number of outermost rings of the layer's output map that are not interior.

        Interior filters: neither the undeformed filter nor the offset convolution reads the zero padding.
        Each of them reaches (k - 1) / 2 · dilation cells from its centre. One more ring is excluded, because
        a tap on the outermost cell is interpolated with the padding as soon as it moves outwards by a
        fraction of a cell. At stride 1, a 3x3 kernel has a margin of 3 rings at dilation 2 and of 5 at
        dilation 4, whatever the size of the map. At stride s, the margin is divided by s and rounded up.

        The offsets of a filter do not matter. Excluding filters because their offsets reach the border would
        bias the estimate.
        """
        dilations = (self.dilation, self.dilation if self.offset_dilation is None else self.offset_dilation)
        reach = max(
            -(-(taps - 1) * dilation // 2)
            for of_both in dilations
            for taps, dilation in zip(self.kernel_size, of_both, strict=True)
        )
        return -(-(reach + 1) // self.step)


def distance_from_border(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return each filter's distance from the border of its feature map, in cells.

    The border of the map is that of the image, because networks are evaluated on whole images without
    padding. Ignored pixels are part of the image.

    Args:
        height: Height of the map, >= 0.
        width: Width of the map, >= 0.
        device: Device of the result.

    Returns:
        (height, width) int64, 0 in the outermost ring.
    """
    row, column = torch.arange(height, device=device), torch.arange(width, device=device)
    return torch.minimum(
        torch.minimum(row, height - 1 - row)[:, None], torch.minimum(column, width - 1 - column)[None]
    )


def position_grid(rows: int, columns: int, margin: int) -> tuple[Tensor, Tensor]:
    """Return the rows and columns of the interior filters that are recorded individually.

    These are all interior filters if there are at most 1,024. Otherwise they are every n-th row and column,
    centred in the interior, with the smallest n that leaves at most 1,024.

    Args:
        rows: Number of rows of the layer's map.
        columns: Number of columns of the layer's map.
        margin: Number of outermost rings that are not interior.
    """
    height, width = max(0, rows - 2 * margin), max(0, columns - 2 * margin)
    step = 1
    while -(-height // step) * -(-width // step) > _MAX_POSITIONS:
        step += 1
    first_row, first_column = (margin + (max(length, 1) - 1) % step // 2 for length in (height, width))
    return torch.arange(first_row, margin + height, step), torch.arange(first_column, margin + width, step)


def assign_filters(
    objects: ImageObjects, size: tuple[int, int], stride: int, assignment: Literal["mask", "box"]
) -> tuple[Tensor, Tensor]:
    """Assign the filter at each cell of a feature map to an object, by the pixel nearest to its centre.

    Args:
        objects: The objects of the image.
        size: (H_f, W_f).
        stride: Pixels of the network's input between neighbouring filters.
        assignment: `mask` assigns a filter to the object whose mask covers that pixel. `box` assigns it to
            the object with the smallest bounding box that contains the pixel (the first one, if several are
            equally small). A filter centred on an ignored pixel belongs to no object.

    Returns:
        Two tensors (H_f·W_f,): the index of the object (K: background; K + 1: ignored), and the index of the
        pixel in the flattened label map.
    """
    device, width = objects.ids.device, objects.size[1]
    row, column = (
        (filter_centre(torch.arange(cells, device=device).double(), stride, network, pixels) + 0.5).long()
        for cells, network, pixels in zip(size, objects.network_size, objects.size, strict=True)
    )
    pixel = (row[:, None] * width + column).flatten()
    count = len(objects.ids)
    owner = torch.full_like(pixel, count) if objects.owner is None else objects.owner.flatten()[pixel]
    if assignment == "box" and count:
        rows = (row[:, None] >= objects.top) & (row[:, None] < objects.bottom)
        columns = (column[:, None] >= objects.left) & (column[:, None] < objects.right)
        inside = (rows[:, None] & columns[None]).flatten(0, 1)
        smallest = torch.where(inside, objects.box_area, torch.iinfo(torch.long).max).argmin(1)
        in_box = torch.where(inside.any(1), smallest, count)
        owner = torch.where(owner == count + 1, owner, in_box)
    return owner, pixel


class EffectiveDilation(Metric):
    """Metric that records effective dilation per layer and object.

    A filter is one output position of one layer; `filter_centre` says where it is centred on the image. It
    belongs to the object at its centre (`assignment`). A filter that is on no object is counted as
    background, under the class of the pixel at its centre. Filters on ignored pixels, and on regions of
    several objects that the labels do not separate, do not count. Values are averaged over the offset groups
    of a layer, and also recorded for each group.

    Effective dilation is summed over all filters, over interior filters (see `LayerGeometry.margin`), and by
    distance from the border. For deformable layers, interior filters are also recorded individually, on a
    grid of at most 1,024 positions, so that filters can be compared at the same position
    (`deformlab.records.size_effects`).

    The states are float64 sums per object and image, and the individual filters per image. Therefore any
    batch size and any number of processes give exactly the same result, and confidence intervals can be
    computed by resampling images.

    Source: DCNv1 (arXiv 1703.06211), section 3 and table 2.

    Args:
        layers: The geometry of each layer by name. Each kernel must have at least two taps.
        thresholds: Two areas in pixels, 0 < first <= second, between which an object is of medium size, or
            `thirds`. See `deformlab.records.SizeRule`. The metric only stores `thresholds`, `area` and
            `pixels`, in its attribute `rule`; the records do not depend on them.
        area: Whether the size of an object is the area of its bounding box (`box`) or of its mask (`mask`).
        pixels: Whether areas are in pixels of the label map (`original`) or of the network's input
            (`network`).
        assignment: How filters are assigned to objects. `mask`: to the object whose mask covers the filter's
            centre. `box`: to the object with the smallest bounding box that contains the filter's centre.

    Raises:
        ConfigError: `thresholds`, `area` or `pixels` is not legal.
        ValueError: `assignment` is not legal, or a layer has a 1x1 kernel.

    Example:
        A modulated layer also needs the third argument of `update`, which `record_modulation` yields.

        >>> layers = backbone.tracked_layers()
        >>> metric = EffectiveDilation({
        ...     name: LayerGeometry.of(layer, backbone.pixels_per_cell(name))
        ...     for name, layer in layers.items()
        ... })
        >>> with record_offsets(layers) as offsets:
        ...     backbone(image)
        >>> metric.update(offsets, find_objects(instances, labels, ["street"]))
        >>> metric.compute().records
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    rows: list[Tensor]
    maps: list[Tensor]
    filter_dilation: list[Tensor]
    filter_object: list[Tensor]
    filter_label: list[Tensor]

    def __init__(
        self,
        layers: Mapping[str, LayerGeometry],
        thresholds: Sequence[float] | Literal["thirds"] = (96.0**2, 224.0**2),
        area: Literal["box", "mask"] = "box",
        pixels: Literal["original", "network"] = "original",
        assignment: Literal["mask", "box"] = "mask",
    ) -> None:
        super().__init__()
        if assignment not in ("mask", "box"):
            raise ValueError(f"assignment must be mask or box, got {assignment!r}")
        self.layers = {name: LayerGeometry(*geometry) for name, geometry in layers.items()}
        for name, geometry in self.layers.items():
            if geometry.kernel_size[0] * geometry.kernel_size[1] < 2:
                raise ValueError(f"layers: {name} is 1x1 and therefore has no neighbouring taps")
        self.rule = SizeRule(thresholds, area, pixels)
        self.assignment: Literal["mask", "box"] = assignment
        for state in ("rows", "maps", "filter_dilation", "filter_object", "filter_label"):
            self.add_state(state, [], dist_reduce_fx="cat")
        self._start()

    def reset(self) -> None:
        """Discard everything that was recorded."""
        super().reset()
        self._start()

    def _start(self) -> None:
        # A process that receives no image must still have states of the right shape, because states are
        # concatenated.
        width = HEAD + sum(2 * _values(geometry) + 2 * geometry.margin for geometry in self.layers.values())
        self.rows.append(torch.zeros(0, width, dtype=torch.float64, device=self.device))
        self.maps.append(torch.zeros(0, 4, dtype=torch.int64, device=self.device))
        self.filter_dilation.append(torch.zeros(0, dtype=torch.float32, device=self.device))
        self.filter_object.append(torch.zeros(0, dtype=torch.int64, device=self.device))
        self.filter_label.append(torch.zeros(0, dtype=torch.int32, device=self.device))

    def update(
        self,
        offsets: Mapping[str, Tensor],
        objects: Sequence[ImageObjects],
        modulation: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Record one batch.

        Offsets, modulation and objects must be on one device.

        Args:
            offsets: The offsets (N, 2·G·K, H_f, W_f) of each layer by name, as `record_offsets` yields them.
            objects: The objects of each image, as `find_objects` or `objects_from_boxes` returns them.
            modulation: The modulation (N, G·K, H_f, W_f) of each modulated layer by name, as
                `record_modulation` yields it. May be None if no layer is modulated.

        Raises:
            ValueError: A layer is missing, shapes do not fit, or `assignment` or `area` is `mask` and an
                image has only boxes.
        """
        values = {
            name: _filter_values(name, geometry, offsets, modulation, len(objects))
            for name, geometry in self.layers.items()
        }
        for i, image in enumerate(objects):
            if image.owner is None and "mask" in (self.assignment, self.rule.area):
                raise ValueError(f"image {image.name} has only boxes; set both assignment and area to box")
            parts = [head_rows(image)]
            for number, (name, geometry) in enumerate(self.layers.items()):
                maps = values[name][i]
                _check_stride(name, geometry, maps, image.network_size)
                owner, pixel = assign_filters(
                    image, (maps.shape[1], maps.shape[2]), geometry.stride, self.assignment
                )
                label = None if image.label_map is None else image.label_map.flatten()[pixel]
                parts.append(_layer_sums(maps, owner, label, len(image.ids), geometry.margin))
                if geometry.deformable:
                    self._keep_positions(image, number, maps[1], owner, label)
            rows = torch.cat(parts, dim=1)
            background = rows[:, 1] == BACKGROUND
            # Keep the background rows of labels that occur.
            self.rows.append(rows[~background | (rows[:, HEAD:] > 0).any(1)])

    def _keep_positions(
        self, image: ImageObjects, layer: int, dilation: Tensor, owner: Tensor, label: Tensor | None
    ) -> None:
        """Record the filters on the grid individually, in the order of their positions in the map."""
        height, width = dilation.shape
        grid = (part.to(dilation.device) for part in position_grid(height, width, self._margin(layer)))
        row, column = grid
        chosen = (row[:, None] * width + column).flatten()
        ids = torch.cat([image.ids, image.ids.new_tensor([BACKGROUND, _ON_IGNORED])])
        self.maps.append(
            torch.tensor([[image_key(image.name), layer, height, width]], device=dilation.device)
        )
        self.filter_dilation.append(dilation.flatten()[chosen].float())
        self.filter_object.append(ids.long()[owner[chosen]])
        self.filter_label.append(
            torch.full_like(chosen, -1, dtype=torch.int32) if label is None else label[chosen].int()
        )

    def _margin(self, layer: int) -> int:
        return list(self.layers.values())[layer].margin

    def compute(self) -> ObjectMeasurement:
        """Return everything that was recorded since the last reset.

        Returns:
            An `ObjectMeasurement`: `records` holds the sums per object, without scores; `positions` holds the
            individual filters of each deformable layer. Images are identified by `image_key`;
            `ObjectMeasurement.named` replaces the keys with the names of the images.
        """
        return ObjectMeasurement(self._records(), self._positions())

    def _records(self) -> ObjectRecords:
        rows = sorted_rows(dim_zero_cat(self.rows))
        groups = tuple(geometry.deform_groups for geometry in self.layers.values())
        margins = tuple(geometry.margin for geometry in self.layers.values())
        shape = (len(rows), len(self.layers))
        sums = {region: FilterSums.zeros(*shape, max(groups, default=1)) for region in REGIONS}
        ring_filters, ring_total = np.zeros((2, *shape, max(margins, default=0)))
        start = HEAD
        for i, (geometry, margin) in enumerate(zip(self.layers.values(), margins, strict=True)):
            width = _values(geometry)
            for region in REGIONS:
                _fill(sums[region], i, rows[:, start : start + width].T, geometry)
                start += width
            rings = rows[:, start : start + 2 * margin].reshape(len(rows), margin, 2)
            ring_filters[:, i, :margin], ring_total[:, i, :margin] = rings[..., 0], rings[..., 1]
            start += 2 * margin
        return records_of_rows(rows)._replace(
            layers=tuple(self.layers),
            groups=groups,
            modulated=tuple(geometry.modulated for geometry in self.layers.values()),
            margins=margins,
            sums=sums,
            ring_filters=ring_filters.astype(np.int64),
            ring_total=ring_total,
        )

    def _positions(self) -> tuple[PositionRecords, ...]:
        maps, dilation, objects, label = (
            dim_zero_cat(state).cpu().numpy()
            for state in (self.maps, self.filter_dilation, self.filter_object, self.filter_label)
        )
        # The positions of each map's filters, and where the filters end in the concatenated states.
        positions = []
        for _, layer, height, width in maps.tolist():
            row, column = position_grid(height, width, self._margin(layer))
            positions.append((row[:, None] * width + column).flatten().numpy())
        ends = np.cumsum([len(part) for part in positions], dtype=np.int64)
        # An image whose pixels are all ignored has no records.
        recorded = np.isin(maps[:, 0], dim_zero_cat(self.rows)[:, 0].cpu().numpy().astype(np.int64))
        found = []
        for number, (name, geometry) in enumerate(self.layers.items()):
            if not geometry.deformable:
                continue
            chosen = np.flatnonzero((maps[:, 1] == number) & recorded)
            chosen = chosen[np.argsort(maps[chosen, 0])]
            filters = np.concatenate(
                [np.arange(ends[k] - len(positions[k]), ends[k]) for k in chosen] or [np.zeros(0, np.int64)]
            )
            lengths = [len(positions[k]) for k in chosen]
            position = np.concatenate([positions[k] for k in chosen] or [np.zeros(0, np.int64)])
            image = np.repeat(np.arange(len(chosen)), lengths)
            counted = objects[filters] != _ON_IGNORED
            found.append(
                PositionRecords(
                    layer=name,
                    images=maps[chosen, 0].astype(np.str_),
                    map_size=maps[chosen, 2:],
                    image=image[counted],
                    position=position[counted],
                    dilation=dilation[filters][counted],
                    object=objects[filters][counted],
                    label=label[filters][counted].astype(np.int64),
                )
            )
        return tuple(found)


def _values(geometry: LayerGeometry) -> int:
    """Return the number of values per filter.

    They are: 1, effective dilation and its square; for a modulated layer, weighted effective dilation; with
    several offset groups, effective dilation of each group and its square.
    """
    return 3 + geometry.modulated + (2 * geometry.deform_groups if geometry.deform_groups > 1 else 0)


def _filter_values(
    name: str,
    geometry: LayerGeometry,
    offsets: Mapping[str, Tensor],
    modulation: Mapping[str, Tensor] | None,
    images: int,
) -> Tensor:
    """Return the values of each filter that are summed, (N, V, H_f, W_f) float64.

    Raises:
        ValueError: The layer is missing or its shapes do not fit.
    """
    if name not in offsets:
        raise ValueError(f"offsets lacks the layer {name}; it has {', '.join(offsets) or 'none'}")
    offset = offsets[name]
    if len(offset) != images:
        raise ValueError(f"offsets[{name!r}] has {len(offset)} images, but objects has {images}")
    groups = effective_dilation(offset, geometry.kernel_size, geometry.dilation).double()
    if groups.shape[1] != geometry.deform_groups:
        raise ValueError(
            f"offsets[{name!r}] has {groups.shape[1]} offset groups, but layers[{name!r}] has "
            f"{geometry.deform_groups}"
        )
    mean = groups.mean(1, keepdim=True)
    parts = [torch.ones_like(mean), mean, mean.square()]
    if geometry.modulated:
        if modulation is None or name not in modulation:
            raise ValueError(f"modulation lacks the layer {name}, which is modulated according to layers")
        weighted = weighted_effective_dilation(
            offset, modulation[name], geometry.kernel_size, geometry.dilation
        )
        parts.append(weighted.mean(1, keepdim=True))
    if geometry.deform_groups > 1:
        parts += [groups, groups.square()]
    return torch.cat(parts, dim=1)


def _check_stride(name: str, geometry: LayerGeometry, maps: Tensor, network_size: tuple[int, int]) -> None:
    size = (maps.shape[-2], maps.shape[-1])
    expected = (-(-network_size[0] // geometry.stride), -(-network_size[1] // geometry.stride))
    if size != expected:
        raise ValueError(
            f"offsets[{name!r}] has {size[0]}x{size[1]} filters, but a stride of {geometry.stride} on "
            f"{network_size[0]}x{network_size[1]} pixels gives {expected[0]}x{expected[1]}; check the "
            "stride in layers, and network_size"
        )


def _layer_sums(maps: Tensor, owner: Tensor, label: Tensor | None, count: int, margin: int) -> Tensor:
    """Return the columns of one layer in the rows of one image, (K + 256, 2·V + 2·M).

    The columns are the sums over all filters; the sums over interior filters; and for each ring near the
    border, the number of filters and the sum of their effective dilation.

    Args:
        maps: (V, H_f, W_f) values of each filter.
        owner: (H_f·W_f,) as `assign_filters` returns it.
        label: (H_f·W_f,) classes of the pixels at the filters' centres; None if classes are unknown.
        count: Number of objects K.
        margin: Number of outermost rings that are not interior.
    """
    row = owner if label is None else torch.where(owner == count, count + label.long(), owner)
    counted = owner <= count
    row, values = row[counted], maps.flatten(1)[:, counted]
    distance = distance_from_border(maps.shape[1], maps.shape[2], maps.device).flatten()[counted]
    rows = count + _LABELS
    interior, near = distance >= margin, distance < margin
    rings = _sums(values[:2, near], row[near] * margin + distance[near], rows * margin)
    return torch.cat(
        [
            _sums(values, row, rows),
            _sums(values[:, interior], row[interior], rows),
            rings.reshape(rows, 2 * margin),
        ],
        dim=1,
    )


def _sums(values: Tensor, row: Tensor, rows: int) -> Tensor:
    """Return the (rows, V) sums of (V, n) values over the filters of each row, in the filters' order."""
    sums = values.new_zeros(len(values), rows)
    for target, source in zip(sums, values, strict=True):
        target.index_add_(0, row, source)
    return sums.T


def _fill(part: FilterSums, layer: int, columns: np.ndarray, geometry: LayerGeometry) -> None:
    """Copy the columns (V, R) of a layer into the sums."""
    groups = geometry.deform_groups
    part.filters[:, layer], part.total[:, layer], part.squares[:, layer] = columns[:3]
    if geometry.modulated:
        part.weighted[:, layer] = columns[3]
    of_groups = columns[-2 * groups :] if groups > 1 else columns[1:3]
    part.group_total[:, layer, :groups] = of_groups[:groups].T
    part.group_squares[:, layer, :groups] = of_groups[groups:].T
