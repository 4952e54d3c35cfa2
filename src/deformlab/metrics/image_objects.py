"""The objects of one image and what was predicted on them, without a loop over objects.

Shapes: K objects, (H, W) the label map.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from deformlab.metrics.filter_centre import filter_centre

__all__ = ["ImageObjects", "PixelCounts", "count_pixels", "find_objects", "owner_of_cells"]

IGNORE_INDEX = 255
# Labels and predictions are 8-bit codes: a pair of them is an index into a table of this side.
_CODES = 256
# Ids up to this go through a table; beyond it (24-bit colours taken as ids) sorting takes less memory.
_LARGEST_TABLE = 2**22


class ImageObjects(NamedTuple):
    """The objects of one image.

    Attributes:
        ids: (K,) instance ids, increasing.
        label: (K,) the class that most of an object's pixels have; 0 where there are no labels.
        top, left, bottom, right: (K,) bounding boxes in pixels, `bottom` and `right` just outside.
        mask_area: (K,) pixels.
        owner: (H, W) the object's position in `ids`, K on no object, K + 1 on what belongs to nothing.
        place: (P,) positions in the flattened map of the P pixels that are on objects.
    """

    ids: Tensor
    label: Tensor
    top: Tensor
    left: Tensor
    bottom: Tensor
    right: Tensor
    mask_area: Tensor
    owner: Tensor
    place: Tensor

    @property
    def box_area(self) -> Tensor:
        """(K,) area of the bounding box in pixels."""
        return (self.bottom - self.top) * (self.right - self.left)


def find_objects(instance: Tensor, label: Tensor | None) -> ImageObjects:
    """The objects of an instance map.

    Args:
        instance: (H, W) ids of an integer type, 0 where there is no object, below 0 where objects are there
            but not told apart; such pixels belong to nothing, as ignored ones do.
        label: (H, W) classes as uint8, 255 ignored; None counts all pixels.
    """
    nothing = instance < 0
    if label is not None:
        nothing = nothing | (label == IGNORE_INDEX)
    instance = instance.masked_fill(nothing, 0)
    ids, owner = _compact(instance)
    count = len(ids)
    owner[nothing] = count + 1
    place = (owner < count).flatten().nonzero()[:, 0]
    which, width = owner.flatten()[place], owner.shape[1]
    top, bottom = _extent(which, place // width, count, owner.shape[0])
    left, right = _extent(which, place % width, count, width)
    if label is None:
        classes = torch.zeros_like(ids)
    else:
        codes = which * _CODES + label.flatten()[place]
        classes = torch.bincount(codes, minlength=count * _CODES).view(count, _CODES).argmax(1)
    area = torch.bincount(which, minlength=count)
    return ImageObjects(ids, classes, top, left, bottom, right, area, owner, place)


def _compact(instance: Tensor) -> tuple[Tensor, Tensor]:
    """The ids above 0, and for each pixel the position of its id, their number where it is 0."""
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


def owner_of_cells(
    objects: ImageObjects, size: tuple[int, int], stride: int, network_size: tuple[int, int], region: str
) -> tuple[Tensor, Tensor]:
    """To which object the filter at each cell of a feature map belongs: the pixel nearest to its centre.

    Args:
        objects: The image's objects.
        size: (H_f, W_f).
        stride: Pixels of the network's input from one filter to the next.
        network_size: Height and width of the network's input.
        region: `mask`, the object whose mask covers the centre; or `box`, of those whose box contains it the
            one with the smallest box (the first of equals). A centre on what belongs to nothing stays there.

    Returns:
        (H_f·W_f,) positions as in `ImageObjects.owner`, and the centres' positions in the flattened map.
    """
    device, width = objects.owner.device, objects.owner.shape[1]
    row, column = (
        (filter_centre(torch.arange(cells, device=device).double(), stride, network, pixels) + 0.5).long()
        for cells, network, pixels in zip(size, network_size, objects.owner.shape, strict=True)
    )
    place = (row[:, None] * width + column).flatten()
    owner = objects.owner.flatten()[place]
    count = len(objects.ids)
    if region == "box" and count:
        rows = (row[:, None] >= objects.top) & (row[:, None] < objects.bottom)
        columns = (column[:, None] >= objects.left) & (column[:, None] < objects.right)
        inside = (rows[:, None] & columns[None]).flatten(0, 1)
        smallest = torch.where(inside, objects.box_area, torch.iinfo(torch.long).max).argmin(1)
        in_box = torch.where(inside.any(1), smallest, count)
        owner = torch.where(owner == count + 1, owner, in_box)
    return owner, place


class PixelCounts(NamedTuple):
    """Labelled pixels, those of them found, and false positives, per object (K,) or per class (256,)."""

    pixels: Tensor
    hits: Tensor
    false_positives: Tensor


def count_pixels(objects: ImageObjects, label: Tensor, prediction: Tensor) -> tuple[PixelCounts, PixelCounts]:
    """Hits and false positives of each object, and of each class on what is on no object.

    An object's pixels are those of its mask that have its class. Its false positives are pixels of other
    classes that were predicted as its class within its region: its box, made twice as high and as wide. A
    false positive near two objects of a class counts for both, one far from all for none of them. Those of a
    class are counted in the whole image.

    Args:
        objects: The image's objects.
        label: (H, W) classes as uint8, 255 ignored.
        prediction: (H, W) predicted classes as uint8.
    """
    count = len(objects.ids)
    codes = label.to(torch.int32) * _CODES + prediction
    table = torch.bincount(codes.flatten(), minlength=_CODES**2).view(_CODES, _CODES)[:IGNORE_INDEX]
    which = objects.owner.flatten()[objects.place]
    own = label.flatten()[objects.place] == objects.label[which]
    place, which = objects.place[own], which[own]
    found = prediction.flatten()[place] == objects.label[which]
    pixels = torch.bincount(which, minlength=count)
    hits = torch.bincount(which[found], minlength=count)
    of_class = torch.nn.functional.pad(table.sum(1), (0, 1))
    hits_of_class = torch.nn.functional.pad(table.diagonal(), (0, 1))
    background = PixelCounts(
        of_class.index_add(0, objects.label, -pixels),
        hits_of_class.index_add(0, objects.label, -hits),
        table.sum(0) - hits_of_class,
    )
    return PixelCounts(pixels, hits, _false_positives(objects, label, prediction)), background


def _false_positives(objects: ImageObjects, label: Tensor, prediction: Tensor) -> Tensor:
    """Of each object in its region, (K,): from the false positives of its class, summed along each row."""
    height, width = label.shape
    classes, index = objects.label.unique(return_inverse=True)
    # 255 is no class that an object can have.
    wrong = prediction.masked_fill((prediction == label) | (label == IGNORE_INDEX), IGNORE_INDEX)
    along = torch.zeros(len(classes), height, width + 1, dtype=torch.int32, device=label.device)
    torch.cumsum(wrong == classes.to(torch.uint8)[:, None, None], 2, dtype=torch.int32, out=along[:, :, 1:])
    half_height = (objects.bottom - objects.top + 1) // 2
    half_width = (objects.right - objects.left + 1) // 2
    left, right = (objects.left - half_width).clamp_min(0), (objects.right + half_width).clamp_max(width)
    row = torch.arange(height, device=label.device)
    in_row = along[index[:, None], row, right[:, None]] - along[index[:, None], row, left[:, None]]
    top, bottom = objects.top - half_height, objects.bottom + half_height
    return (in_row * ((row >= top[:, None]) & (row < bottom[:, None]))).sum(1)
