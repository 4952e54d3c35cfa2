"""The table of effective dilation by object size (DCNv1, table 2), as sums per object of every image."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from deformlab.metrics.effective_dilation import effective_dilation, effective_dilation_where_it_counts
from deformlab.metrics.image_objects import ImageObjects, count_pixels, find_objects, owner_of_cells
from deformlab.objects import BACKGROUND, ObjectRecords, SizeRule, by_size

__all__ = [
    "EffectiveDilation",
    "EffectiveDilationResult",
    "EffectiveDilationRow",
    "LayerGeometry",
    "image_key",
]

# Of a row of sums, before those of the layers: image, object, label, box area, mask area, scale, pixels,
# hits, false positives. All are integers below 2^53 or float64 as they are.
_HEAD = 9
# Background rows per image: one per 8-bit label.
_LABELS = 256


class LayerGeometry(NamedTuple):
    """What effective dilation needs to know of a layer.

    Attributes:
        kernel_size: Taps (height, width).
        dilation: The undeformed dilation (height, width).
        stride: Pixels of the network's input from one filter to the next.
        deform_groups: Channel groups with offsets of their own.
        modulated: Whether its samples are modulated (DCNv2).
    """

    kernel_size: tuple[int, int]
    dilation: tuple[int, int]
    stride: int
    deform_groups: int = 1
    modulated: bool = False


class EffectiveDilationRow(NamedTuple):
    """One cell of the paper's table 2; mean and std in cells, nan where count is 0.

    Attributes:
        layer: The layer's name.
        size: `small`, `medium`, `large` or `background`.
        mean: Mean effective dilation of the filters, offset groups averaged.
        std: Their standard deviation (of the population).
        count: Number of filters.
    """

    layer: str
    size: str
    mean: float
    std: float
    count: int  # type: ignore[assignment] # the table's word, though tuples have a method of this name


class EffectiveDilationResult(NamedTuple):
    """What was measured.

    Attributes:
        rows: The paper's table: layers in their order, sizes from small to large, then background.
        records: Everything behind it, per object and image, for `deformlab.objects.summarize`. Images are
            named by what `image_key` makes of their names; `ObjectRecords.named` gives them back.
    """

    rows: list[EffectiveDilationRow]
    records: ObjectRecords


def image_key(name: str) -> int:
    """A number for an image's name, the same everywhere and exact in float64."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big")


class EffectiveDilation(Metric):
    """Effective dilation per layer and object, and how much of each object was found.

    A filter is one output position of one layer. It belongs to the object whose instance mask covers its
    centre; or, with `region="box"`, to the one with the smallest bounding box that contains it, which is the
    paper's annotation. It belongs to the background where there is no object, and to nothing where the label
    is ignored or objects are not told apart. `filter_centre` says where the centre is. Offset groups are
    averaged, and kept apart too.

    The state is one row of float64 sums per object and image, so that any batching and any number of
    processes give the same, and intervals can be had by resampling images.

    Args:
        layers: Geometry of each layer by name; kernels of two taps or more.
        thresholds: Two areas in pixels, 0 < first < second, or `thirds`; see `SizeRule`, as for the next two.
        area: `box` or `mask`.
        pixels: `original` or `network`.
        region: `mask` or `box`.

    Raises:
        ValueError: An argument is out of its range.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    sums: list[Tensor]

    def __init__(
        self,
        layers: Mapping[str, LayerGeometry],
        thresholds: Sequence[float] | Literal["thirds"] = (96.0**2, 224.0**2),
        area: Literal["box", "mask"] = "box",
        pixels: Literal["original", "network"] = "original",
        region: Literal["mask", "box"] = "mask",
    ) -> None:
        super().__init__()
        if region not in ("mask", "box"):
            raise ValueError(f"region must be mask or box, got {region!r}")
        self.layers = {name: LayerGeometry(*geometry) for name, geometry in layers.items()}
        for name, geometry in self.layers.items():
            if geometry.kernel_size[0] * geometry.kernel_size[1] < 2:
                raise ValueError(f"layers: {name} is 1x1 and has no neighbouring taps")
        self.rule = SizeRule(thresholds, area, pixels)
        self.region = region
        self.add_state("sums", [], dist_reduce_fx="cat")
        self._start()

    def reset(self) -> None:
        """Forgets everything that was counted."""
        super().reset()
        self._start()

    def _start(self) -> None:
        self._unnamed = 0
        # A process that gets no image must still have rows of the right width to put together.
        self.sums.append(torch.zeros(0, self._width, dtype=torch.float64, device=self.device))

    @property
    def _width(self) -> int:
        return _HEAD + sum(_layer_width(geometry) for geometry in self.layers.values())

    def update(
        self,
        offsets: Mapping[str, Tensor],
        instances: Tensor,
        label: Tensor | None = None,
        *,
        prediction: Tensor | None = None,
        modulation: Mapping[str, Tensor] | None = None,
        names: Sequence[str] | None = None,
        network_size: Sequence[int] | None = None,
    ) -> None:
        """Counts one batch.

        Args:
            offsets: By layer name, (N, 2·G·K, H_f, W_f) each, as `record_offsets` gives them.
            instances: Instance ids (N, H, W) of an integer type, unique within an image; 0 for none, below 0
                where there are objects that are not told apart.
            label: Classes (N, H, W), 255 ignored. None counts all pixels, without classes.
            prediction: Predicted classes (N, H, W), for recall and IoU of each object; needs `label`.
            modulation: By name of the modulated layers, (N, G·K, H_f, W_f) each, from `record_modulation`.
            names: The images' names, unique in the data set. None numbers them; name them where the metrics
                of several processes come together.
            network_size: Height and width of the network's input, for sizes in its pixels; None where it is
                that of the instance map.

        Raises:
            ValueError: A layer is missing or shapes do not fit.
        """
        for name, maps in (("label", label), ("prediction", prediction)):
            if instances.dim() != 3 or (maps is not None and maps.shape != instances.shape):
                raise ValueError(
                    f"instances and {name} must both be (N, H, W), got {tuple(instances.shape)} and "
                    f"{None if maps is None else tuple(maps.shape)}"
                )
        if prediction is not None and label is None:
            raise ValueError("prediction needs label: without classes nothing is right or wrong")
        if names is None:
            names = [f"#{self._unnamed + i:09}" for i in range(len(instances))]
            self._unnamed += len(instances)
        elif len(names) != len(instances):
            raise ValueError(f"names has {len(names)} names, instances {len(instances)} images")
        if label is not None:
            label = label.to(torch.uint8)
        if prediction is not None:
            prediction = prediction.to(torch.uint8)
        values = {name: self._values(name, offsets, modulation, len(instances)) for name in self.layers}
        height, width = instances.shape[-2:]
        seen = (height, width) if network_size is None else (network_size[0], network_size[1])
        self._check_strides(values, seen)
        scale = seen[0] * seen[1] / (height * width)
        for i, name in enumerate(names):
            objects = find_objects(instances[i], None if label is None else label[i])
            image_label = None if label is None else label[i]
            image_prediction = None if prediction is None else prediction[i]
            rows = torch.cat(
                [
                    _head(objects, image_label, image_prediction, image_key(name), scale),
                    *(
                        self._layer_sums(objects, image_label, of_layer[i], self.layers[layer].stride, seen)
                        for layer, of_layer in values.items()
                    ),
                ],
                dim=1,
            )
            # Of the background's labels those that occur.
            background = rows[:, 1] == BACKGROUND
            self.sums.append(rows[~background | (rows[:, 6:] > 0).any(1)])

    def _values(
        self,
        name: str,
        offsets: Mapping[str, Tensor],
        modulation: Mapping[str, Tensor] | None,
        images: int,
    ) -> Tensor:
        """What is summed of each filter, (N, V, H_f, W_f) float64: see `_layer_width`."""
        geometry = self.layers[name]
        if name not in offsets:
            raise ValueError(f"offsets has no layer {name}, only {', '.join(offsets) or 'none'}")
        offset = offsets[name]
        if len(offset) != images:
            raise ValueError(f"offsets[{name!r}] has {len(offset)} images, instances {images}")
        groups = effective_dilation(offset, geometry.kernel_size, geometry.dilation).double()
        if groups.shape[1] != geometry.deform_groups:
            raise ValueError(
                f"offsets[{name!r}] is for {groups.shape[1]} offset groups, layers says "
                f"{geometry.deform_groups}"
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

    def _check_strides(self, values: Mapping[str, Tensor], network_size: tuple[int, int]) -> None:
        for name, maps in values.items():
            stride, size = self.layers[name].stride, (maps.shape[-2], maps.shape[-1])
            expected = (-(-network_size[0] // stride), -(-network_size[1] // stride))
            if size != expected:
                raise ValueError(
                    f"offsets[{name!r}] has {size[0]}x{size[1]} filters, but a stride of {stride} on "
                    f"{network_size[0]}x{network_size[1]} pixels makes {expected[0]}x{expected[1]}; check "
                    "the stride in layers, and network_size"
                )

    def _layer_sums(
        self,
        objects: ImageObjects,
        label: Tensor | None,
        values: Tensor,
        stride: int,
        network_size: tuple[int, int],
    ) -> Tensor:
        """Sums of (V, H_f, W_f) values per object and per label on the background, (K + 256, V)."""
        size = (values.shape[1], values.shape[2])
        owner, place = owner_of_cells(objects, size, stride, network_size, self.region)
        count = len(objects.ids)
        row = (
            owner
            if label is None
            else torch.where(owner == count, count + label.flatten()[place].long(), owner)
        )
        counted = owner <= count
        row, chosen = row[counted], values.flatten(1)[:, counted]
        sums = values.new_zeros(len(values), count + _LABELS)
        for target, source in zip(sums, chosen, strict=True):
            target.index_add_(0, row, source)  # in the filters' order, whatever the batch
        return sums.T

    def compute(self) -> EffectiveDilationResult:
        """The table and what is behind it."""
        sums = dim_zero_cat(self.sums).cpu().numpy()
        sums = sums[np.lexsort((sums[:, 2], sums[:, 1], sums[:, 0]))]
        records = self._records(sums)
        rows = [
            EffectiveDilationRow(layer, size, mean, std, count)
            for layer, size, mean, std, count in by_size(records, self.rule)
        ]
        return EffectiveDilationResult(rows, records)

    def _records(self, sums: np.ndarray) -> ObjectRecords:
        """Columns of the state by name; rows are sorted by image, object and class."""
        shape = (len(sums), len(self.layers))
        groups = tuple(geometry.deform_groups for geometry in self.layers.values())
        filters, total, squares = np.zeros((3, *shape))
        weighted = np.full(shape, np.nan)
        group_total, group_squares = np.zeros((2, *shape, max(groups, default=1)))
        start = _HEAD
        for i, geometry in enumerate(self.layers.values()):
            columns = sums[:, start : start + _layer_width(geometry)].T
            start += len(columns)
            filters[:, i], total[:, i], squares[:, i] = columns[:3]
            if geometry.modulated:
                weighted[:, i] = columns[3]
            of_groups = columns[-2 * groups[i] :] if groups[i] > 1 else columns[1:3]
            group_total[:, i, : groups[i]] = of_groups[: groups[i]].T
            group_squares[:, i, : groups[i]] = of_groups[groups[i] :].T
        integers = sums[:, [1, 2, 6, 7, 8]].astype(np.int64).T
        return ObjectRecords(
            layers=tuple(self.layers),
            groups=groups,
            modulated=tuple(geometry.modulated for geometry in self.layers.values()),
            image=sums[:, 0].astype(np.int64).astype(np.str_),
            object=integers[0],
            label=integers[1],
            box_area=sums[:, 3],
            mask_area=sums[:, 4],
            scale=sums[:, 5],
            pixels=integers[2],
            hits=integers[3],
            false_positives=integers[4],
            filters=filters.astype(np.int64),
            total=total,
            squares=squares,
            weighted=weighted,
            group_total=group_total,
            group_squares=group_squares,
        )


def _layer_width(geometry: LayerGeometry) -> int:
    """Sums per layer: filters, effective dilation, its square; weighted; per group both again."""
    return 3 + geometry.modulated + (2 * geometry.deform_groups if geometry.deform_groups > 1 else 0)


def _head(
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
