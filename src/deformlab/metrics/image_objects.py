"""Finds the objects of an image, from an instance map or from boxes.

They are found once per image, without a loop over objects, and passed to every metric that needs them.

Shape letters: K objects of an image, (H, W) the size of its label map.
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
    "class_codes",
    "find_objects",
    "has_integers",
    "head_rows",
    "image_key",
    "objects_from_boxes",
    "records_of_rows",
    "sorted_rows",
]

# Number of columns at the start of a metric's row that identify and describe it: image, object, label, box
# area, mask area, scale. All values are float64, which represents integers below 2^53 exactly.
HEAD = 6

# Labels are 8-bit codes.
_CODES = 256
# Ids below this number are looked up in a table. For larger ids, such as 24-bit colours, sorting needs less
# memory.
_LARGEST_TABLE = 2**22


class ImageObjects(NamedTuple):
    """The objects of one image.

    Attributes:
        name: Name of the image, unique in the data set.
        size: (H, W) of the label map; for boxes, height and width of the image in whose pixels they are
            given.
        network_size: Height and width of the network's input.
        ids: (K,) instance ids, increasing, greater than 0.
        label: (K,) the most frequent class among each object's pixels; -1 if classes are unknown.
        top: (K,) first row of each bounding box.
        left: (K,) first column of each bounding box.
        bottom: (K,) row after the last one of each bounding box.
        right: (K,) column after the last one of each bounding box.
        mask_area: (K,) number of pixels of each mask; 0 if there are only boxes.
        owner: (H, W) index of each pixel's object in `ids`; K: background; K + 1: ignored. None if there are
            only boxes.
        object_pixels: (P,) indices, in the flattened map, of the P pixels that are on objects. None if there
            are only boxes.
        label_map: (H, W) classes as uint8, 255 ignored. None if classes are unknown.
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
        """(K,) areas of the bounding boxes, in pixels of the label map."""
        return (self.bottom - self.top) * (self.right - self.left)

    @property
    def scale(self) -> float:
        """Number of pixels of the network's input per pixel of the label map: a ratio of areas."""
        return self.network_size[0] * self.network_size[1] / (self.size[0] * self.size[1])


def find_objects(
    instances: Tensor,
    label: Tensor | None,
    names: Sequence[str],
    network_size: Sequence[int] | None = None,
) -> list[ImageObjects]:
    """Find the objects of each image of a batch.

    Args:
        instances: Instance ids (N, H, W) of an integer type, unique within an image. 0 means no object. A
            negative id means several objects that the labels do not separate; such pixels count as ignored.
        label: Classes (N, H, W) of an integer type, 0 to 254; 255 is ignored. None if classes are unknown;
            then no pixel is ignored because of its class.
        names: The names of the N images, unique in the data set.
        network_size: Height and width of the network's input; None if it has the size of the instance maps.

    Returns:
        The objects of each image.

    Raises:
        ValueError: `instances` or `label` is not (N, H, W) or not of an integer type, their shapes differ,
            `label` has a value outside 0 to 255, or `names` does not have N names.
    """
    if instances.dim() != 3 or (label is not None and label.shape != instances.shape):
        raise ValueError(
            f"instances and label must both be (N, H, W), got {tuple(instances.shape)} and "
            f"{None if label is None else tuple(label.shape)}"
        )
    if len(names) != len(instances):
        raise ValueError(f"names has {len(names)} names, but instances has {len(instances)} images")
    if not has_integers(instances):
        raise ValueError(f"instances must be of an integer type, got {instances.dtype}")
    label = None if label is None else class_codes("label", label)
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
    """Return the objects of an image that has boxes but no masks.

    Args:
        boxes: (K, 4) floats: left, top, right, bottom, in pixels from the top-left corner of the image. Boxes
            are not clipped to the image. A pixel belongs to a box that contains its centre.
        label: (K,) classes of an integer type; None if they are unknown.
        name: Name of the image, unique in the data set.
        size: Height and width of the image.
        network_size: Height and width of the network's input; None if it has the size of the image.

    Returns:
        The objects, with the ids 1 to K in the order of the boxes, and without masks.

    Raises:
        ValueError: `boxes` does not have the shape (K, 4), or `label` not the shape (K,) or not an integer
            type; or a box is not finite, or has left > right or top > bottom.
    """
    if boxes.dim() != 2 or boxes.shape[1] != 4 or (label is not None and label.shape != boxes.shape[:1]):
        raise ValueError(
            f"boxes must be (K, 4) and label (K,), got {tuple(boxes.shape)} and "
            f"{None if label is None else tuple(label.shape)}"
        )
    if label is not None and not has_integers(label):
        raise ValueError(f"label must be of an integer type, got {label.dtype}")
    legal = (boxes.isfinite() & (boxes[:, :2] <= boxes[:, 2:]).repeat(1, 2)).all(1)
    if not legal.all():
        bad = int((~legal).nonzero()[0])
        raise ValueError(
            f"boxes must be finite with left <= right and top <= bottom, got {boxes[bad].tolist()} in row "
            f"{bad}"
        )
    # The centre of pixel i is at i + 0.5.
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


def has_integers(values: Tensor) -> bool:
    """Return whether a tensor is of an integer type; bool is none."""
    return not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)


def class_codes(name: str, values: Tensor, meaning_of_255: str = "ignored") -> Tensor:
    """Return classes as uint8.

    Args:
        name: What the message of an error calls the classes.
        values: Classes of an integer type, 0 to 255.
        meaning_of_255: What the message of an error says about 255.

    Returns:
        The classes, in the same shape.

    Raises:
        ValueError: The type is not an integer type, or a value is outside 0 to 255. The message lists the
            illegal values.
    """
    if not has_integers(values):
        raise ValueError(f"{name} must be of an integer type, got {values.dtype}")
    if values.dtype != torch.uint8 and values.numel():
        lowest, highest = torch.stack(values.aminmax()).tolist()
        if lowest < 0 or highest >= _CODES:
            found = values[(values < 0) | (values >= _CODES)].unique().tolist()
            shown = ", ".join(map(str, found[:10])) + (", ..." if len(found) > 10 else "")
            raise ValueError(
                f"{name} contains illegal values: {shown}; legal are 0 to 255 (255: {meaning_of_255})"
            )
    return values.to(torch.uint8)


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
    """Return the ids greater than 0, and the index of each pixel's id; the index of id 0 is their number."""
    largest = int(instance.max()) if instance.numel() else 0
    if largest >= _LARGEST_TABLE:
        ids, owner = instance.unique(return_inverse=True)
        if len(ids) and ids[0] == 0:
            ids, owner = ids[1:], owner - 1
        return ids, torch.where(owner < 0, len(ids), owner)
    occurs = torch.zeros(largest + 1, dtype=torch.bool, device=instance.device)
    occurs[instance.long()] = True
    occurs[0] = False
    ids = occurs.nonzero()[:, 0]
    position = torch.full((largest + 1,), len(ids), dtype=torch.long, device=instance.device)
    position[ids] = torch.arange(len(ids), device=instance.device)
    return ids, position[instance.long()]


def _extent(which: Tensor, line: Tensor, count: int, lines: int) -> tuple[Tensor, Tensor]:
    """Return the first line (row or column) that each of `count` objects touches, and one past the last."""
    touched = torch.zeros(count, lines, dtype=torch.bool, device=which.device)
    touched[which, line] = True
    number = torch.arange(lines, device=which.device)
    return torch.where(touched, number, lines).amin(1), torch.where(touched, number + 1, 0).amax(1)


def image_key(name: str) -> int:
    """Return a hash of an image's name that is the same on every machine and exact in float64.

    Args:
        name: Name of the image.

    Returns:
        An integer from 0 to 2^48 - 1.
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big")


def head_rows(objects: ImageObjects) -> Tensor:
    """Return the columns that identify and describe each row of an image, (K + 256, HEAD).

    The rows are the image's objects, then one background row for each label of an 8-bit label map. If there
    is no label map, only the first background row is used, and the label of these rows is -1.
    """
    count = len(objects.ids)
    rows = torch.zeros(count + _CODES, HEAD, dtype=torch.float64, device=objects.ids.device)
    rows[:, 0], rows[:, 5] = image_key(objects.name), objects.scale
    rows[:count, 1], rows[:count, 2] = objects.ids, objects.label
    rows[:count, 3], rows[:count, 4] = objects.box_area, objects.mask_area
    rows[count:, 2] = -1 if objects.label_map is None else torch.arange(_CODES, device=rows.device)
    return rows


def sorted_rows(rows: Tensor) -> np.ndarray:
    """Sort a metric's rows by image, object and label, so that their order does not depend on the batches."""
    values = rows.cpu().numpy()
    return values[np.lexsort((values[:, 2], values[:, 1], values[:, 0]))]


def records_of_rows(rows: np.ndarray) -> ObjectRecords:
    """Make records without layers and without scores from sorted rows (R, HEAD or more)."""
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
