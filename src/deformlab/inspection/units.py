"""Output units of a layer, the cells they stand for, and where these lie on the image.

Figures show pixels of the image as it came. A network sees it resized, and its layers in cells;
`deformlab.metrics.filter_centre` ties the three together.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deformlab.errors import ConfigError
from deformlab.labels import IGNORED
from deformlab.metrics import filter_centre

__all__ = ["Cells", "Unit", "UnitMark", "choose_units", "to_image", "unit_at"]


class Cells(NamedTuple):
    """The output positions of a layer for one image.

    A cell is the square of pixels that are nearer to its filter's centre than to any other; those at the
    border reach beyond the image.

    Attributes:
        size: Rows and columns of the layer's output.
        stride: Pixels of the network's input from one filter to the next.
        input_size: Height and width of the network's input.
        image_size: Height and width of the image.
    """

    size: tuple[int, int]
    stride: int
    input_size: tuple[int, int]
    image_size: tuple[int, int]

    def centres(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """The filters' centres in pixels of the image: y of each row, x of each column."""
        rows, columns = (
            filter_centre(np.arange(cells, dtype=float), self.stride, seen, pixels)
            for cells, seen, pixels in zip(self.size, self.input_size, self.image_size, strict=True)
        )
        return rows, columns

    def nearest(self, pixel: tuple[int, int]) -> tuple[int, int]:
        """Row and column of the cell whose filter's centre is nearest to a pixel (y, x) of the image."""
        row, column = (
            int(np.abs(centres - coordinate).argmin())
            for centres, coordinate in zip(self.centres(), pixel, strict=True)
        )
        return row, column

    def position(self, cell: tuple[float, float]) -> NDArray[np.floating]:
        """(y, x) in pixels of the image of a row and a column; whole numbers are filters' centres."""
        return to_image(np.asarray(cell) * self.stride, self.image_size, self.input_size)

    def extent(self, first: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None) -> tuple:
        """Left, right, bottom and top edge of some cells, as matplotlib's `imshow` takes them.

        Args:
            first: Row and column of the first of them.
            size: Rows and columns; None for those of the map.
        """
        rows, columns = self.size if size is None else size
        top, left = self.position((first[0] - 0.5, first[1] - 0.5)).tolist()
        bottom, right = self.position((first[0] + rows - 0.5, first[1] + columns - 0.5)).tolist()
        return left, right, bottom, top


def to_image(
    points: NDArray[np.floating], image_size: tuple[int, int], input_size: tuple[int, int]
) -> NDArray[np.floating]:
    """Positions in the network's input as positions in the image; whole numbers are centres of pixels.

    Args:
        points: (..., 2), y and x in pixels of the input.
        image_size: Height and width of the image.
        input_size: Height and width of the network's input.

    Returns:
        (..., 2), y and x in pixels of the image.
    """
    positions = np.asarray(points, dtype=float)
    axes = [filter_centre(positions[..., i], 1, input_size[i], image_size[i]) for i in (0, 1)]
    return np.stack(axes, -1)


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


class UnitMark(NamedTuple):
    """Where a unit is, in pixels of the image.

    Attributes:
        centre: (y, x) on which its undeformed filter is centred.
        cell: Left, right, bottom and top edge of the pixels that are nearer to it than to any other's.
    """

    centre: NDArray[np.floating]
    cell: tuple[float, float, float, float]


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
