"""A layer's output positions and where their filters lie on the image.

Pictures show pixels of the image as it came. A network sees it resized, and its layers in cells; the three
are tied together here, by `deformlab.metrics.filter_centre`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deformlab.metrics import filter_centre

__all__ = ["Cells", "to_image"]


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
            int(np.abs(centres - place).argmin())
            for centres, place in zip(self.centres(), pixel, strict=True)
        )
        return row, column

    def place(self, cell: tuple[float, float]) -> NDArray[np.floating]:
        """(y, x) in pixels of the image of a place on the map; whole numbers are filters' centres."""
        return to_image(np.asarray(cell) * self.stride, self.image_size, self.input_size)

    def extent(self, first: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None) -> tuple:
        """Left, right, bottom and top edge of some cells, as matplotlib's `imshow` takes them.

        Args:
            first: Row and column of the first of them.
            size: Rows and columns; None for those of the map.
        """
        rows, columns = self.size if size is None else size
        top, left = self.place((first[0] - 0.5, first[1] - 0.5)).tolist()
        bottom, right = self.place((first[0] + rows - 0.5, first[1] + columns - 0.5)).tolist()
        return left, right, bottom, top


def to_image(
    points: NDArray[np.floating], image_size: tuple[int, int], input_size: tuple[int, int]
) -> NDArray[np.floating]:
    """Places in the network's input as places in the image; whole numbers are centres of pixels.

    Args:
        points: (..., 2), y and x in pixels of the input.
        image_size: Height and width of the image.
        input_size: Height and width of the network's input.

    Returns:
        (..., 2), y and x in pixels of the image.
    """
    places = np.asarray(points, dtype=float)
    axes = [filter_centre(places[..., i], 1, input_size[i], image_size[i]) for i in (0, 1)]
    return np.stack(axes, -1)
