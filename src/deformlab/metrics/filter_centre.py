"""The pixel on which a filter is centred: one convention for the tables and for the pictures."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["filter_centre"]

Number = TypeVar("Number", float, NDArray[np.floating], Tensor)


def filter_centre(cell: Number, stride: float, input_pixels: int, image_pixels: int) -> Number:
    """Where filters are centred on the image, along one axis; whole numbers are centres of pixels.

    Output i of a convolution with stride s, an odd kernel k and padding (k - 1) / 2 · dilation is centred on
    input i·s - padding + (k - 1) / 2 · dilation = i·s. One such layer after the other, as in every network
    here, filter i is centred on pixel i·stride of the network's input: not in the middle of the stride x
    stride pixels whose scores it gives when its map is upsampled, which is half a cell further.

    Resizing aligns the edges of image and input: pixel p of the input is (p + 0.5)·image / input - 0.5 of
    the image. With stride 1 this maps any place in the input.

    Args:
        cell: Positions in the layer's output map; they may lie between cells.
        stride: Pixels of the network's input from one filter to the next.
        input_pixels: Length of the network's input.
        image_pixels: Length of the image.
    """
    # Multiplied before it is divided, so that a centre on the border of two pixels is exactly there.
    return (cell * stride + 0.5) * image_pixels / input_pixels - 0.5
