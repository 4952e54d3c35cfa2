"""The objects of one image, from an instance map or from boxes, without a loop over objects.

They are found once per image and given to every metric that needs them.

Shapes: K objects, (H, W) the label map.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deformlab.labels import IGNORED
from deformlab.records import REGIONS, FilterSums, ObjectRecords

__all__ = [
    "HEAD",
    "ImageObjects",
    "find_objects",
    "head_rows",
    "image_key",
    "objects_from_boxes",
    "records_of_rows",
    "sorted_rows",
]

# Of a metric's row, before what it counts: image, object, label, box area, mask area, scale. All are float64:
# integers below 2^53, or numbers as they are.
HEAD = 6

# Labels are 8-bit codes.
_CODES = 256
# Ids up to this go through a table; beyond it (24-bit colours taken as ids) sorting takes less memory.
_LARGEST_TABLE = 2**22


class ImageObjects(NamedTuple):
    """The objects of one image.

    Attributes:
        name: The image's name, unique in the data set.
        size: (H, W) of the label map, or of the image in whose pixels the boxes are.
        network_size: Height and width of the network's input.
        ids: (K,) instance ids, increasing, above 0.
        label: (K,) the class that most of an object's pixels have; -1 where classes are unknown.
        top, left, bottom, right: (K,) bounding boxes in pixels, `bottom` and `right` just outside.
        mask_area: (K,) pixels; 0 where there are only boxes.
        owner: (H, W) the object's index in `ids`; K: background; K + 1: ignored. None where there are only
            boxes.
        object_pixels: (P,) indices in the flattened map of the P pixels that are on objects; None as `owner`.
        label_map: (H, W) classes as uint8, 255 ignored; None where there are none.
    """

    name: str
    size: tuple[int, int]
    network_size: tuple[int, int]
    ids: Tensor
    label: Tensor
    top: Tensor
    left: Tensor
    bottom: Tensor
    right: Tensor
    mask_area: Tensor
    owner: Tensor | None
    object_pixels: Tensor | None
    label_map: Tensor | None

    @property
    def box_area(self) -> Tensor:
        """(K,) area of the bounding box in pixels."""
        return (self.bottom - self.top) * (self.right - self.left)

    @property
    def scale(self) -> float:
        """Pixels of the network's input per pixel of the label map."""
        return self.network_size[0] * self.network_size[1] / (self.size[0] * self.size[1])


def find_objects(
    instances: Tensor,
    label: Tensor | None,
    names: Sequence[str],
    network_size: Sequence[int] | None = None,
) -> list[ImageObjects]:
    """The objects of each image of a batch.

    Args:
        instances: Instance ids (N, H, W) of an integer type, unique within an image; 0 for none, below 0
            where there are objects that are not told apart: such pixels count as ignored.
        label: Classes (N, H, W), 255 ignored. None counts all pixels, without classes.
        names: The images' names, unique in the data set.
        network_size: Height and width of the network's input; None where it is that of the instance map.

    Raises:
        ValueError: Shapes do not fit.
    """
    if instances.dim() != 3 or (label is not None and label.shape != instances.shape):
        raise ValueError(
            f"instances and label must both be (N, H, W), got {tuple(instances.shape)} and "
            f"{None if label is None else tuple(label.shape)}"
        )
    if len(names) != len(instances):
        raise ValueError(f"names has {len(names)} names, instances {len(instances)} images")
    label = None if label is None else label.to(torch.uint8)
    height, width = instances.shape[-2:] if network_size is None else network_size
    return [
        _objects_of(instance, None if label is None else label[i], name, (height, width))
        for i, (instance, name) in enumerate(zip(instances, names, strict=True))
    ]


def objects_from_boxes(
    boxes: Tensor,
    label: Tensor | None,
    name: str,
    size: tuple[int, int],
    network_size: tuple[int, int] | None = None,
) -> ImageObjects:
    """The objects of an image that has boxes but no masks.

    Args:
        boxes: (K, 4) left, top, right, bottom in pixels; a box contains the pixels whose centres it contains.
        label: (K,) classes; None where they are unknown.
        name: The image's name, unique in the data set.
        size: Height and width of the image.
        network_size: Height and width of the network's input; None where it is `size`.

    Raises:
        ValueError: Shapes do not fit.
    """
    if boxes.dim() != 2 or boxes.shape[1] != 4 or (label is not None and len(label) != len(boxes)):
        raise ValueError(
            f"boxes must be (K, 4) and label (K,), got {tuple(boxes.shape)} and "
            f"{None if label is None else tuple(label.shape)}"
        )
    # Pixel i's centre is at i + 0.5 from the image's edge.
    left, top, right, bottom = (boxes - 0.5).ceil().long().unbind(1)
    ids = torch.arange(1, len(boxes) + 1, device=boxes.device)
    return ImageObjects(
        name=name,
        size=size,
        network_size=network_size or size,
        ids=ids,
        label=torch.full_like(ids, -1) if label is None else label.long(),
        top=top,
        left=left,
        bottom=bottom,
        right=right,
        mask_area=torch.zeros_like(ids),
        owner=None,
        object_pixels=None,
        label_map=None,
    )


def _objects_of(
    instance: Tensor, label: Tensor | None, name: str, network_size: tuple[int, int]
) -> ImageObjects:
    ignored = instance < 0
    if label is not None:
        ignored = ignored | (label == IGNORED)
    ids, owner = _compact(instance.masked_fill(ignored, 0))
    count = len(ids)
    owner[ignored] = count + 1
    pixels = (owner < count).flatten().nonzero()[:, 0]
    which, width = owner.flatten()[pixels], owner.shape[1]
    top, bottom = _extent(which, pixels // width, count, owner.shape[0])
    left, right = _extent(which, pixels % width, count, width)
    if label is None:
        classes = torch.full_like(ids, -1)
    else:
        codes = which * _CODES + label.flatten()[pixels]
        classes = torch.bincount(codes, minlength=count * _CODES).view(count, _CODES).argmax(1)
    return ImageObjects(
        name=name,
        size=(owner.shape[0], width),
        network_size=network_size,
        ids=ids,
        label=classes,
        top=top,
        left=left,
        bottom=bottom,
        right=right,
        mask_area=torch.bincount(which, minlength=count),
        owner=owner,
        object_pixels=pixels,
        label_map=label,
    )


def _compact(instance: Tensor) -> tuple[Tensor, Tensor]:
    """The ids above 0, and for each pixel the position of its id; their number where it is 0."""
    largest = int(instance.max()) if instance.numel() else 0
    if largest >= _LARGEST_TABLE:
        ids, owner = instance.unique(return_inverse=True)
        if len(ids) and ids[0] == 0:
            ids, owner = ids[1:], owner - 1
        return ids, torch.where(owner < 0, len(ids), owner)
    there = torch.zeros(largest + 1, dtype=torch.bool, device=instance.device)
    there[instance.long()] = True
    there[0] = False
    ids = there.nonzero()[:, 0]
    position = torch.full((largest + 1,), len(ids), dtype=torch.long, device=instance.device)
    position[ids] = torch.arange(len(ids), device=instance.device)
    return ids, position[instance.long()]


def _extent(which: Tensor, line: Tensor, count: int, lines: int) -> tuple[Tensor, Tensor]:
    """The first line that each of `count` objects touches and the one after its last."""
    touched = torch.zeros(count, lines, dtype=torch.bool, device=which.device)
    touched[which, line] = True
    number = torch.arange(lines, device=which.device)
    return torch.where(touched, number, lines).amin(1), torch.where(touched, number + 1, 0).amax(1)


def image_key(name: str) -> int:
    """A number for an image's name, the same everywhere and exact in float64."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big")


def head_rows(objects: ImageObjects) -> Tensor:
    """What identifies and describes each row of an image, (K + 256, HEAD): its objects, then the background.

    The background has one row for each label that an 8-bit label map can have; without one, only the first
    counts, and its label is -1.
    """
    count = len(objects.ids)
    rows = torch.zeros(count + _CODES, HEAD, dtype=torch.float64, device=objects.ids.device)
    rows[:, 0], rows[:, 5] = image_key(objects.name), objects.scale
    rows[:count, 1], rows[:count, 2] = objects.ids, objects.label
    rows[:count, 3], rows[:count, 4] = objects.box_area, objects.mask_area
    rows[count:, 2] = -1 if objects.label_map is None else torch.arange(_CODES, device=rows.device)
    return rows


def sorted_rows(rows: Tensor) -> np.ndarray:
    """A metric's rows by image, object and label, in any order of counting."""
    values = rows.cpu().numpy()
    return values[np.lexsort((values[:, 2], values[:, 1], values[:, 0]))]


def records_of_rows(rows: np.ndarray) -> ObjectRecords:
    """Records without layers and scores from sorted rows (R, HEAD or more)."""
    shape = (len(rows), 0)
    nothing = np.full(len(rows), -1)
    return ObjectRecords(
        layers=(),
        groups=(),
        modulated=(),
        margins=(),
        image=rows[:, 0].astype(np.int64).astype(np.str_),
        object=rows[:, 1].astype(np.int64),
        label=rows[:, 2].astype(np.int64),
        box_area=rows[:, 3],
        mask_area=rows[:, 4],
        scale=rows[:, 5],
        pixels=np.zeros(len(rows), dtype=np.int64),
        hits=nothing,
        false_positives=nothing,
        sums={region: FilterSums.zeros(*shape, 0) for region in REGIONS},
        ring_filters=np.zeros((*shape, 0), dtype=np.int64),
        ring_total=np.zeros((*shape, 0)),
    )
