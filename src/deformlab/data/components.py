"""Objects for data sets without instance annotations: connected components of the classes that are things."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage


def connected_objects(label: npt.NDArray[np.uint8], things: list[int]) -> npt.NDArray[np.int32]:
    """Number the 8-connected components of each thing class.

    Args:
        label: shape (H, W).
        things: label values of the classes to take apart.

    Returns:
        Ids from 1, 0 outside the thing classes, shape (H, W).
    """
    instance = np.zeros(label.shape, dtype=np.int32)
    count = 0
    for value in things:
        mask = label == value
        if mask.any():
            components, found = ndimage.label(mask, structure=np.ones((3, 3)))
            instance[mask] = components[mask] + count
            count += found
    return instance
