"""Units of a layer, their cells, and the positions of these on the image.

Figures use pixels of the original image, the network a resized input, and its layers cells of feature maps.
`deformlab.metrics.filter_centre` converts between them.
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

    A cell is the square of pixels that are nearer to its filter's centre than to any other filter's. Cells at
    the border extend beyond the image.

    Attributes:
        size: Rows and columns of the layer's output.
        stride: Distance between neighbouring filters in pixels of the network's input.
        input_size: Height and width of the network's input.
        image_size: Height and width of the image.
    """

    size: tuple[int, int]
    stride: int
    input_size: tuple[int, int]
    image_size: tuple[int, int]

    def centres(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """The centres of the filters in pixels of the image: y of each row, and x of each column."""
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
        """Position (y, x) in pixels of the image of a row and column; whole numbers are filter centres."""
        return to_image(np.asarray(cell) * self.stride, self.image_size, self.input_size)

    def extent(self, first: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None) -> tuple:
        """Edges of a block of cells in pixels of the image, as the `extent` of matplotlib's `imshow`.

        Args:
            first: Row and column of the first cell.
            size: Rows and columns of the block; None for the whole feature map.

        Returns:
            Left, right, bottom and top edge.
        """
        rows, columns = self.size if size is None else size
        top, left = self.position((first[0] - 0.5, first[1] - 0.5)).tolist()
        bottom, right = self.position((first[0] + rows - 0.5, first[1] + columns - 0.5)).tolist()
        return left, right, bottom, top


def to_image(
    points: NDArray[np.floating], image_size: tuple[int, int], input_size: tuple[int, int]
) -> NDArray[np.floating]:
    """Converts positions in the network's input to positions in the image; pixel centres are whole numbers.

    Args:
        points: (..., 2), y and x in pixels of the network's input.
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
        name: What the unit lies on, for titles.
        pixel: (y, x) of the unit in the image.
        cell: (row, column) in the layer's output.
    """

    name: str
    pixel: tuple[int, int]
    cell: tuple[int, int]


class UnitMark(NamedTuple):
    """Position of a unit in pixels of the image.

    Attributes:
        centre: (y, x) of the centre of its undeformed filter.
        cell: Left, right, bottom and top edge of its cell.
    """

    centre: NDArray[np.floating]
    cell: tuple[float, float, float, float]


def unit_at(pixel: tuple[int, int], cells: Cells, name: str = "") -> Unit:
    """The unit whose filter is centred nearest to a pixel.

    Args:
        pixel: (y, x) in the image.
        cells: The layer's output positions.
        name: What the unit lies on.

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
    """Chooses a unit on background, on a small and on a large object, as in DCNv1, figures 5 and 6.

    The object with the most pixels is chosen, both among small and among large objects. If the image has no
    small object, the smallest object is used, and if it has no large object, the largest. On each region, the
    unit farthest from the region's outline is chosen. A region without the centre of a unit is left out.

    Args:
        instance: Instance ids (H, W), 0 for background.
        label: Class indices (H, W), 255 for ignored.
        classes: Names of the classes.
        object_sizes: The bounding-box areas below which objects are small and above which they are large;
            `thirds` for the terciles of the objects in this image.
        cells: The layer's output positions.

    Returns:
        Up to three units: background, small, large.
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
    """The pixels nearest to the filter centres, as an open index grid."""
    rows, columns = ((centres + 0.5).astype(int) for centres in cells.centres())
    return rows[:, None], columns[None, :]


def _deepest(
    region: NDArray[np.bool_],
    kind: str,
    label: NDArray[np.integer],
    classes: tuple[str, ...],
    cells: Cells,
) -> Unit | None:
    """The unit whose centre is farthest from the outlines of the region and the image; None if outside."""
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    centres = _centres(cells)
    cell = np.unravel_index(int(depth[centres].argmax()), cells.size)
    row, column = int(cell[0]), int(cell[1])
    pixel = (int(centres[0][row, 0]), int(centres[1][0, column]))
    if not region[pixel]:
        return None
    name = classes[int(label[pixel])]
    return Unit(kind if name == kind else f"{kind}: {name}", pixel, (row, column))
