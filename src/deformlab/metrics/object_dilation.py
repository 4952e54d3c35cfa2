"""The table of effective dilation by object size (DCNv1, table 2), as sums per object of every image."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from deformlab.metrics.image_objects import find_objects
from deformlab.metrics.layer_geometry import LayerGeometry
from deformlab.metrics.object_sums import filter_values, head_sums, layer_sums, records_of, row_width
from deformlab.records import BACKGROUND, ObjectRecords, SizeRule, by_size

__all__ = [
    "EffectiveDilation",
    "EffectiveDilationResult",
    "EffectiveDilationRow",
    "image_key",
]


class EffectiveDilationRow(NamedTuple):
    """One cell of the paper's table 2; mean and std in cells, nan where count is 0.

    Attributes:
        layer: The layer's name.
        size: `small`, `medium`, `large` or `background`.
        mean: Mean effective dilation of the filters, offset groups averaged.
        std: Their standard deviation (of the population).
        count: Number of filters.
        inside_mean, inside_std, inside_count: The same over the filters away from the border of the map.
    """

    layer: str
    size: str
    mean: float
    std: float
    count: int  # type: ignore[assignment] # the table's word, though tuples have a method of this name
    inside_mean: float
    inside_std: float
    inside_count: int


class EffectiveDilationResult(NamedTuple):
    """What was measured.

    Attributes:
        rows: The paper's table: layers in their order, sizes from small to large, then background.
        records: Everything behind it, per object and image, for `deformlab.records.summarize`. Images are
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

    Near the border of the feature map filters and the convolution that predicts their offsets meet zeros, and
    effective dilation differs there whatever is in the image; large objects and background are there more
    often than small objects. So each number is also counted over the filters away from the border, and by
    distance from it; `LayerGeometry.margin` says where near ends.

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
        return row_width(self.layers)

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
        values = {
            name: filter_values(name, geometry, offsets, modulation, len(instances))
            for name, geometry in self.layers.items()
        }
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
                    head_sums(objects, image_label, image_prediction, image_key(name), scale),
                    *(
                        layer_sums(objects, image_label, of_layer[i], self.layers[layer], seen, self.region)
                        for layer, of_layer in values.items()
                    ),
                ],
                dim=1,
            )
            # Of the background's labels those that occur.
            background = rows[:, 1] == BACKGROUND
            self.sums.append(rows[~background | (rows[:, 6:] > 0).any(1)])

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

    def compute(self) -> EffectiveDilationResult:
        """The table and what is behind it."""
        sums = dim_zero_cat(self.sums).cpu().numpy()
        sums = sums[np.lexsort((sums[:, 2], sums[:, 1], sums[:, 0]))]
        records = records_of(sums, self.layers)
        rows = [
            EffectiveDilationRow(*row, *inside[2:])
            for row, inside in zip(
                by_size(records, records.everywhere, self.rule),
                by_size(records, records.inside, self.rule),
                strict=True,
            )
        ]
        return EffectiveDilationResult(rows, records)
