"""Units to look at: one output position of a layer, named by what lies under its filter's centre."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deformlab.errors import ConfigError
from deformlab.inspection.cells import Cells
from deformlab.labels import IGNORED

__all__ = ["Unit", "choose_units", "unit_at"]


@dataclass(frozen=True)
class Unit:
    """One output position of a layer.

    Attributes:
        name: What lies under it, for titles.
        pixel: (y, x) of the image that it stands for.
        cell: (row, column) in the layer's output.
    """

    name: str
    pixel: tuple[int, int]
    cell: tuple[int, int]


def unit_at(pixel: tuple[int, int], cells: Cells, name: str = "") -> Unit:
    """The unit whose filter is centred nearest to a pixel.

    Args:
        pixel: (y, x) in the image.
        cells: The layer's output positions.
        name: What lies under it.

    Raises:
        ConfigError: The pixel is outside the image.
    """
    height, width = cells.image_size
    if not (0 <= pixel[0] < height and 0 <= pixel[1] < width):
        raise ConfigError(
            f"--at {pixel[0]},{pixel[1]}: outside the image, where y goes from 0 to {height - 1} and x from "
            f"0 to {width - 1}"
        )
    return Unit(name, pixel, cells.nearest(pixel))


def choose_units(
    instance: NDArray[np.integer],
    label: NDArray[np.integer],
    classes: tuple[str, ...],
    object_sizes: tuple[float, float] | Literal["thirds"],
    cells: Cells,
) -> list[Unit]:
    """One unit on background, one on a small and one on a large object, as in DCNv1 figures 5 and 6.

    Of the small objects the one with the most pixels is taken, of the large ones as well; where an image has
    none of either, the smallest or the largest of those there are. Each unit is the one deepest inside. A
    kind of which no unit has its centre there is left out.

    Args:
        instance: Object ids (H, W), 0 for none.
        label: Class indices (H, W), 255 for ignored.
        classes: Names of the classes.
        object_sizes: Areas of the bounding box below which an object is small and above which it is large;
            `thirds` are those of this image's objects.
        cells: The layer's output positions.

    Returns:
        Background, small, large, those that there are.
    """
    ids = [int(i) for i in np.unique(instance[_centres(cells)]) if i]
    boxes = ndimage.find_objects(instance)
    areas = {i: _extent(boxes[i - 1])[0] * _extent(boxes[i - 1])[1] for i in ids}
    pixels = {i: int((instance == i).sum()) for i in ids}
    if isinstance(object_sizes, str):
        object_sizes = tuple(np.quantile(list(areas.values()), (1 / 3, 2 / 3))) if ids else (0.0, 0.0)
    chosen: list[int] = []
    for legal, fallback in (
        ([i for i in ids if areas[i] < object_sizes[0]], min),
        ([i for i in ids if areas[i] > object_sizes[1]], max),
    ):
        if ids:
            chosen.append(
                max(legal, key=pixels.__getitem__) if legal else fallback(ids, key=areas.__getitem__)
            )
    units = [_deepest(_background(instance, label), "background", label, classes, cells)]
    for i in dict.fromkeys(chosen):
        small, large = areas[i] < object_sizes[0], areas[i] > object_sizes[1]
        size = "small" if small else "large" if large else "medium"
        units.append(_deepest(instance == i, f"{size} object", label, classes, cells))
    return [unit for unit in units if unit is not None]


def _background(instance: NDArray[np.integer], label: NDArray[np.integer]) -> NDArray[np.bool_]:
    return (instance == 0) & (label != IGNORED)


def _extent(box: tuple[slice, slice]) -> tuple[int, int]:
    return box[0].stop - box[0].start, box[1].stop - box[1].start


def _centres(cells: Cells) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """The pixels nearest to the filters' centres, as an open index grid."""
    rows, columns = ((centres + 0.5).astype(int) for centres in cells.centres())
    return rows[:, None], columns[None, :]


def _deepest(
    region: NDArray[np.bool_],
    kind: str,
    label: NDArray[np.integer],
    classes: tuple[str, ...],
    cells: Cells,
) -> Unit | None:
    """The unit whose centre is farthest from the region's outline and the image's."""
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    centres = _centres(cells)
    cell = np.unravel_index(int(depth[centres].argmax()), cells.size)
    row, column = int(cell[0]), int(cell[1])
    pixel = (int(centres[0][row, 0]), int(centres[1][0, column]))
    if not region[pixel]:
        return None
    name = classes[int(label[pixel])]
    return Unit(kind if name == kind else f"{kind}: {name}", pixel, (row, column))
